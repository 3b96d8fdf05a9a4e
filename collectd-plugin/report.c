/* The read callbacks: dispatch an account's values and send its notifications.
 *
 * Thousands of values in one burst would fill collectd's write queue. So each
 * interval has several slices, which dispatch a share of the instances each,
 * and an instance has the same place in every interval. */

#include "aisearch.h"

/* About as many values as collectd's own plugins dispatch at once: each poll
 * has ten. */
#define POLLS_PER_SLICE 50

/* If the number of instances is not known in advance. */
#define SLICES_OF_DISCOVERED 20

#define SLICE_MIN MS_TO_CDTIME_T(100)

/* The maximum number of notifications sent in one interval; the others wait. */
#define NOTICES_PER_REPORT 20

void report_prepare(account_t *account, cdtime_t interval) {
  size_t most = (size_t)(interval / SLICE_MIN);

  account->interval = interval;
  account->conditions.reported.name = account->name;
  account->conditions.reported.notices = &account->notices;
  account->slices = account->discover.wanted
                        ? SLICES_OF_DISCOVERED
                        : account->polls / POLLS_PER_SLICE + 1;
  if (account->slices > most)
    account->slices = most > 0 ? most : 1;
}

static bool is_counter(const char *type) {
  return strcmp(type, "operations") == 0 || strcmp(type, "errors") == 0 ||
         strcmp(type, "http_requests") == 0;
}

static void dispatch(const metrics_t *metrics, const char *type,
                     const char *name, double number) {
  const account_t *account = metrics->data;
  value_t value = {.gauge = number};
  value_list_t vl = {.values = &value,
                     .values_len = 1,
                     .time = MS_TO_CDTIME_T(metrics->now),
                     .interval = account->interval,
                     .plugin = "aisearch"};

  if (is_counter(type))
    value.derive = (derive_t)number;
  sstrncpy(vl.plugin_instance, metrics->plugin_instance,
           sizeof(vl.plugin_instance));
  sstrncpy(vl.type, type, sizeof(vl.type));
  sstrncpy(vl.type_instance, name, sizeof(vl.type_instance));
  plugin_dispatch_values(&vl);
}

/* The account's own values. */
static void report_account(account_t *account, metrics_t *m) {
  account_values_t *v = &account->values;
  size_t unread = 0;

  for (const poll_t *poll = account->first; poll != NULL; poll = poll->next)
    unread +=
        poll->leads && instance_is_unread(poll->instance, m->now, m->lifetime);

  m->plugin_instance = account->name;
  metrics_add(m, "http_requests", "", (double)v->requests);
  for (int fault = AIS_FAULT_CONNECT; fault <= AIS_FAULT_REFUSED; fault++)
    metrics_add(m, "errors", ais_fault_name(fault), (double)v->errors[fault]);
  for (int c = CONDITIONS_OF_INSTANCE; c < CONDITIONS; c++)
    metrics_add(m, "gauge", condition_name(c),
                account->conditions.reported.has_begun[c]);

  metrics_add(m, "count", "instances", (double)v->instances);
  metrics_add(m, "count", "unread", (double)unread);
  metrics_add(m, "percent", "budget_left", v->budget_percent);
  metrics_add(m, "gauge", "budget_left", (double)v->budget_left);
  metrics_add(m, "gauge", "budget_stretch", v->stretch);
  /* NaN, which is not dispatched, if there were none */
  metrics_add(m, "response_time", "api",
              v->response_time / (double)v->responses);
  v->response_time = 0.0;
  v->responses = 0;
}

/* The values of one poll. An instance that is gone is over once its conditions
 * were reported as 0. */
static void report_poll(const poll_t *poll, metrics_t *m) {
  instance_t *instance = poll->instance;

  m->plugin_instance = instance->name;
  if (poll->leads && !(instance->is_gone && instance->is_over))
    instance_metrics(instance, m);
  instance->is_over = instance->is_gone;
  if (!instance->is_gone)
    latest_metrics(&poll->latest, instance, poll->job, m);
}

/* ---- notifications ------------------------------------------------------- */

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
  if (notice->job[0] != '\0') {
    plugin_notification_meta_add_string(&n, "job", notice->job);
    plugin_notification_meta_add_string(&n, "source", notice->source);
  }
  if (notice->end_reason[0] != '\0')
    plugin_notification_meta_add_string(&n, "end_reason", notice->end_reason);
  if (notice->duration >= 0)
    plugin_notification_meta_add_double(&n, "duration",
                                        (double)notice->duration / 1000.0);

  DEBUG("aisearch plugin: notification: %s", n.message);

  /* fails if no plugin handles notifications, which is not an error */
  plugin_dispatch_notification(&n);
  if (n.meta != NULL)
    plugin_notification_meta_free(n.meta);
}

/* Sends the notifications that were in the state file when the interval
 * began. */
static void send_notices(account_t *account) {
  for (size_t n = 0; n < account->to_tell && n < NOTICES_PER_REPORT; n++) {
    notice_t notice;
    bool is_taken;

    pthread_mutex_lock(&account->lock);
    is_taken = notices_take(&account->notices, &notice);
    pthread_mutex_unlock(&account->lock);
    if (is_taken)
      notify(&notice);
  }
}

/* ---- the read callback --------------------------------------------------- */

static void begin_interval(account_t *account, metrics_t *m) {
  conditions_report(&account->conditions);
  if (account->notices.changed)
    poller_wake();

  account->to_tell = account->notices.written;
  account->cursor = account->first;
  account->is_complete = false;
  report_account(account, m);
}

/* All at once if there are few polls, otherwise the same number in each slice,
 * and in the last slice all that are left. */
static size_t polls_in_slice(const account_t *account) {
  if (account->polls <= POLLS_PER_SLICE ||
      account->slice + 1 == account->slices)
    return SIZE_MAX;
  return (account->polls + account->slices - 1) / account->slices;
}

/* Values are dispatched with the lock held, since collectd only puts them into
 * its write queue. The lock is released between any two polls, to let the
 * polling thread continue. */
int report(user_data_t *ud) {
  account_t *account = ud->data;
  metrics_t metrics = {.now = epoch(),
                       .details = account->has_details,
                       .dispatch = dispatch,
                       .data = account};
  bool is_complete;

  pthread_mutex_lock(&account->lock);
  metrics.lifetime =
      (int64_t)(3.0 * (double)account->idle_interval * account->values.stretch);
  if (account->slice == 0)
    begin_interval(account, &metrics);
  for (size_t left = polls_in_slice(account);
       left > 0 && account->cursor != NULL; left--) {
    report_poll(account->cursor, &metrics);
    account->cursor = account->cursor->next;
    pthread_mutex_unlock(&account->lock);
    pthread_mutex_lock(&account->lock);
  }
  is_complete = account->cursor == NULL && !account->is_complete;
  account->is_complete |= is_complete;
  pthread_mutex_unlock(&account->lock);

  account->slice = (account->slice + 1) % account->slices;
  if (is_complete) {
    send_notices(account);
    poller_reported();
  }
  return 0;
}

/* ---- collectd -T --------------------------------------------------------- */

int report_test(user_data_t *ud) {
  account_t *account = ud->data;
  static cdtime_t deadline; /* for all accounts together */
  size_t expected = account->polls + account->discover.wanted;
  const char *fault = account->fault;
  bool is_good;

  if (deadline == 0)
    deadline = cdtime() + MS_TO_CDTIME_T(account->target.timeout);
  if (expected > TEST_REQUESTS)
    expected = TEST_REQUESTS;

  pthread_mutex_lock(&account->lock);
  while (account->answers < expected && fault[0] == '\0' &&
         cdtime() < deadline) {
    pthread_mutex_unlock(&account->lock);
    nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
    pthread_mutex_lock(&account->lock);
  }

  is_good = fault[0] == '\0' && account->answers >= expected;
  if (is_good)
    account_log(account, LOG_NOTICE, ": OK.");
  else
    account_log(account, LOG_ERR, ": cannot be read: %s.",
                fault[0] != '\0' ? fault : "no response within Timeout");
  pthread_mutex_unlock(&account->lock);
  return is_good ? 0 : -1;
}
