/* What the read callbacks do: the values of an account, and its notifications.
 *
 * Thousands of values in one burst would fill collectd's write queue. So an
 * interval has several slices; each dispatches its share of the instances, and
 * every one has its place in every interval.
 */

#include "aisearch.h"

/* About as many values as collectd's own plugins dispatch at once: ten each. */
#define POLLS_PER_SLICE 50

/* Where nobody knows how many there will be. */
#define SLICES_OF_DISCOVERED 20

#define SLICE_MIN MS_TO_CDTIME_T(100)

/* So many notifications are told in one interval; the others wait. */
#define NOTICES_PER_REPORT 20

void report_prepare(account_t *account, cdtime_t interval) {
  size_t wanted = account->polls / POLLS_PER_SLICE + 1;
  size_t most = (size_t)(interval / SLICE_MIN);

  if (account->discover.wanted && wanted < SLICES_OF_DISCOVERED)
    wanted = SLICES_OF_DISCOVERED;

  account->interval = interval;
  account->slices = wanted < most ? wanted : most > 0 ? most : 1;
}

/* How many polls are to be reported when the present slice is over: few of them
 * at once, many evenly. */
static size_t slice_goal(const account_t *account) {
  size_t parts = account->polls / POLLS_PER_SLICE + 1;
  size_t part;

  if (parts > account->slices)
    parts = account->slices;
  part = ((account->slice + 1) * parts + account->slices - 1) / account->slices;
  return part < parts ? account->polls * part / parts : SIZE_MAX;
}

/* Of the types used here; the others are gauges. */
static bool is_counter(const char *type) {
  return strcmp(type, "operations") == 0 || strcmp(type, "errors") == 0 ||
         strcmp(type, "http_requests") == 0;
}

static void dispatch(const account_t *account, const char *plugin_instance,
                     const char *type, const char *type_instance, double number,
                     cdtime_t now) {
  value_t value = {.gauge = number};
  value_list_t vl = {.values = &value,
                     .values_len = 1,
                     .time = now,
                     .interval = account->interval,
                     .plugin = "aisearch"};

  if (is_counter(type))
    value.derive = (derive_t)number;
  sstrncpy(vl.plugin_instance, plugin_instance, sizeof(vl.plugin_instance));
  sstrncpy(vl.type, type, sizeof(vl.type));
  sstrncpy(vl.type_instance, type_instance, sizeof(vl.type_instance));
  plugin_dispatch_values(&vl);
}

static void report_account(account_t *account, cdtime_t now) {
  account_values_t v;
  told_t told;

  pthread_mutex_lock(&account->lock);
  v = account->values;
  account->values.response_time = 0.0;
  account->values.responses = 0;
  told = account->conditions.told;
  pthread_mutex_unlock(&account->lock);

  dispatch(account, account->name, "http_requests", "", (double)v.requests,
           now);
  for (int fault = AIS_FAULT_CONNECT; fault <= AIS_FAULT_REFUSED; fault++)
    dispatch(account, account->name, "errors", ais_fault_name(fault),
             (double)v.errors[fault], now);
  for (int c = CONDITIONS_OF_INSTANCE; c < CONDITIONS; c++)
    dispatch(account, account->name, "gauge", condition_name(c),
             condition_has_begun(&told, c), now);

  dispatch(account, account->name, "count", "instances", (double)v.instances,
           now);
  dispatch(account, account->name, "percent", "budget_left", v.budget_percent,
           now);
  dispatch(account, account->name, "gauge", "budget_left",
           (double)v.budget_left, now);
  dispatch(account, account->name, "gauge", "budget_stretch", v.stretch, now);
  if (v.responses > 0)
    dispatch(account, account->name, "response_time", "api",
             v.response_time / (double)v.responses, now);
}

/* The values of one poll. */
typedef struct {
  char plugin_instance[DATA_MAX_NAME_LEN];
  metric_t metrics[2 * METRICS_MAX];
  size_t n;
} values_t;

/* What is gone is over once its conditions were reported as such. */
static void take_values(account_t *account, poll_t *poll, cdtime_t now,
                        values_t *values) {
  instance_t *instance = poll->instance;
  metrics_settings_t settings = {.now = (int64_t)CDTIME_T_TO_MS(now),
                                 .lifetime = account_lifetime(account),
                                 .details = account->has_details};

  sstrncpy(values->plugin_instance, instance->name,
           sizeof(values->plugin_instance));
  values->n = 0;
  if (poll->leads)
    values->n = instance_metrics(instance, &settings, values->metrics);
  if (instance->is_gone) {
    if (instance->is_over)
      values->n = 0;
    instance->is_over = true;
    return;
  }

  values->n += latest_metrics(&poll->latest, instance, poll->job, &settings,
                              values->metrics + values->n);
  account->unread += poll->leads && instance_is_unread(instance, settings.now,
                                                       settings.lifetime);
}

/* Of the next poll in this slice. Returns false where there is none. */
static bool next_values(account_t *account, cdtime_t now, values_t *values) {
  poll_t *poll;

  pthread_mutex_lock(&account->lock);
  poll = account->reported < slice_goal(account) ? account->cursor : NULL;
  if (poll != NULL) {
    take_values(account, poll, now, values);
    account->cursor = poll->next;
    account->reported++;
  }
  pthread_mutex_unlock(&account->lock);
  return poll != NULL;
}

/* ---- notifications ------------------------------------------------------- */

static void add_meta(notification_t *n, const notice_t *notice) {
  plugin_notification_meta_add_string(n, "job", notice->job);
  plugin_notification_meta_add_string(n, "source", notice->source);
  if (notice->end_reason[0] != '\0')
    plugin_notification_meta_add_string(n, "end_reason", notice->end_reason);
  if (notice->duration >= 0)
    plugin_notification_meta_add_double(n, "duration",
                                        (double)notice->duration / 1000.0);
}

static void notify(const notice_t *notice) {
  notification_t n = {
      .severity = notice->is_over                            ? NOTIF_OKAY
                  : conditions_is_failure(notice->condition) ? NOTIF_FAILURE
                                                             : NOTIF_WARNING,
      .time = cdtime(),
      .plugin = "aisearch",
      .type = "gauge",
  };

  sstrncpy(n.message, notice->message, sizeof(n.message));
  sstrncpy(n.host, hostname_g, sizeof(n.host));
  sstrncpy(n.plugin_instance, notice->name, sizeof(n.plugin_instance));
  sstrncpy(n.type_instance, condition_name(notice->condition),
           sizeof(n.type_instance));
  if (notice->job[0] != '\0')
    add_meta(&n, notice);

  /* fails where no plugin cares for notifications: nobody needs to know */
  plugin_dispatch_notification(&n);
  if (n.meta != NULL)
    plugin_notification_meta_free(n.meta);
}

/* Those that were in the state file when the values were taken. */
static void tell_notices(account_t *account) {
  for (; account->to_tell > 0; account->to_tell--) {
    notice_t *notice;

    pthread_mutex_lock(&account->lock);
    notice = notices_take(&account->notices);
    pthread_mutex_unlock(&account->lock);
    if (notice == NULL)
      break;
    notify(notice);
    sfree(notice);
  }
  account->to_tell = 0;
}

/* ---- an interval --------------------------------------------------------- */

static void begin_interval(account_t *account, cdtime_t now) {
  bool has_news;

  tell_notices(account); /* if the last one was cut short */
  pthread_mutex_lock(&account->lock);
  conditions_report(&account->conditions, account->name, &account->notices);
  has_news = account->notices.changed;
  account->to_tell = notices_count(&account->notices, NOTICE_WRITTEN);
  if (account->to_tell > NOTICES_PER_REPORT)
    account->to_tell = NOTICES_PER_REPORT;
  account->cursor = account->first;
  account->reported = account->unread = 0;
  account->is_complete = false;
  pthread_mutex_unlock(&account->lock);

  if (has_news)
    poller_wake();
  report_account(account, now);
}

/* Once all are reported. */
static void complete_interval(account_t *account, cdtime_t now) {
  bool is_complete;

  pthread_mutex_lock(&account->lock);
  is_complete = !account->is_complete && account->cursor == NULL;
  account->is_complete |= is_complete;
  pthread_mutex_unlock(&account->lock);
  if (!is_complete)
    return;

  dispatch(account, account->name, "count", "unread", (double)account->unread,
           now);
  tell_notices(account);
  poller_reported();
}

int report(user_data_t *ud) {
  account_t *account = ud->data;
  cdtime_t now = cdtime();
  values_t values;

  if (account->slice == 0)
    begin_interval(account, now);
  while (next_values(account, now, &values))
    for (size_t i = 0; i < values.n; i++)
      dispatch(account, values.plugin_instance, values.metrics[i].type,
               values.metrics[i].name, values.metrics[i].value, now);
  complete_interval(account, now);
  account->slice = (account->slice + 1) % account->slices;
  return 0;
}

/* ---- collectd -T --------------------------------------------------------- */

int report_test(user_data_t *ud) {
  account_t *account = ud->data;
  static cdtime_t deadline; /* one for all accounts */
  size_t expected = account->polls + account->discover.wanted;
  size_t answers;
  char fault[sizeof(account->fault)];

  if (deadline == 0)
    deadline = cdtime() + MS_TO_CDTIME_T(account->target.timeout);
  if (expected > TEST_REQUESTS)
    expected = TEST_REQUESTS;

  do {
    nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
    pthread_mutex_lock(&account->lock);
    answers = account->answers;
    sstrncpy(fault, account->fault, sizeof(fault));
    pthread_mutex_unlock(&account->lock);
  } while (answers < expected && fault[0] == '\0' && cdtime() < deadline);

  if (answers < expected && fault[0] == '\0')
    sstrncpy(fault, "no answer within Timeout", sizeof(fault));
  if (fault[0] == '\0')
    account_log(account, LOG_NOTICE, ": OK.");
  else
    account_log(account, LOG_ERR, ": cannot be read: %s.", fault);
  return fault[0] == '\0' ? 0 : -1;
}
