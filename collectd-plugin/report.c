#include "aisearch.h"

#include "notify.h"

/*
 * Thousands of values in one burst would fill collectd's write queue. So an
 * interval has several slices; each dispatches its share of the look-ups, and
 * every look-up has its place in every interval.
 */

/* About as many values as collectd's own plugins dispatch at once: ten each. */
#define LOOKUPS_PER_SLICE 50

/* Where nobody knows how many there will be. */
#define SLICES_OF_DISCOVERED 20

#define SLICE_MIN MS_TO_CDTIME_T(100)

void aisearch_report_prepare(account_t *account, cdtime_t interval) {
  size_t wanted = account->lookups / LOOKUPS_PER_SLICE + 1;
  size_t most = (size_t)(interval / SLICE_MIN);

  if (account->discover.wanted && wanted < SLICES_OF_DISCOVERED)
    wanted = SLICES_OF_DISCOVERED;

  account->interval = interval;
  account->slices = wanted < most ? wanted : most > 0 ? most : 1;
}

/* How many look-ups are to be reported when the present slice is over: few of
 * them at once, many evenly. */
static size_t goal(const account_t *account) {
  size_t parts = account->lookups / LOOKUPS_PER_SLICE + 1;
  size_t part;

  if (parts > account->slices)
    parts = account->slices;
  part = ((account->slice + 1) * parts + account->slices - 1) / account->slices;
  return part < parts ? account->lookups * part / parts : SIZE_MAX;
}

static void dispatch(const account_t *account, const char *plugin_instance,
                     const char *type, const char *type_instance, value_t value,
                     cdtime_t now) {
  value_list_t vl = VALUE_LIST_INIT;

  vl.values = &value;
  vl.values_len = 1;
  vl.time = now;
  vl.interval = account->interval;
  sstrncpy(vl.plugin, "aisearch", sizeof(vl.plugin));
  sstrncpy(vl.plugin_instance, plugin_instance, sizeof(vl.plugin_instance));
  sstrncpy(vl.type, type, sizeof(vl.type));
  sstrncpy(vl.type_instance, type_instance, sizeof(vl.type_instance));

  plugin_dispatch_values(&vl);
}

static void gauge(const account_t *account, const char *type,
                  const char *type_instance, gauge_t value, cdtime_t now) {
  dispatch(account, account->name, type, type_instance,
           (value_t){.gauge = value}, now);
}

static void counter(const account_t *account, const char *type,
                    const char *type_instance, derive_t value, cdtime_t now) {
  dispatch(account, account->name, type, type_instance,
           (value_t){.derive = value}, now);
}

static void report_account(account_t *account, cdtime_t now) {
  derive_t requests;
  derive_t errors[AIS_FAULTS];
  gauge_t response_time = NAN;
  gauge_t left, stretch;

  pthread_mutex_lock(&account->lock);
  requests = account->requests;
  memcpy(errors, account->errors, sizeof(errors));
  if (account->responses > 0)
    response_time = account->response_time / (double)account->responses;
  account->response_time = 0.0;
  account->responses = 0;
  left = (gauge_t)account->budget_left;
  stretch = account->budget_stretch;
  pthread_mutex_unlock(&account->lock);

  counter(account, "http_requests", "", requests, now);
  for (int fault = AIS_FAULT_CONNECT; fault <= AIS_FAULT_REFUSED; fault++)
    counter(account, "errors", ais_fault_name(fault), errors[fault], now);

  gauge(account, "gauge", "budget_left", left, now);
  gauge(account, "gauge", "budget_stretch", stretch, now);
  if (!isnan(response_time))
    gauge(account, "response_time", "api", response_time, now);
}

/* Clocks differ: no duration is less than 0. */
static gauge_t seconds_since(int64_t then, cdtime_t now) {
  int64_t ms = (int64_t)CDTIME_T_TO_MS(now) - then;

  return ms > 0 ? (gauge_t)ms / 1000.0 : 0.0;
}

/* What has to be known of a look-up to report it. */
typedef struct {
  char plugin_instance[DATA_MAX_NAME_LEN];
  char job[DATA_MAX_NAME_LEN]; /* empty: the list */
  reading_t reading;
  bool watched;

  bool leads; /* these are reported too */
  int64_t changed_at;
  int64_t sync_interval; /* ms; 0: none */
  items_t items;
  uint64_t ended[AIS_STATES][HISTORY_SOURCES];

  jobs_t jobs; /* to be freed */
} snapshot_t;

/* What was known before a restart comes from there. */
static void snapshot_history(snapshot_t *snapshot, const lookup_t *lookup) {
  const history_t *history = &lookup->watch->history;

  snapshot->leads = lookup->leads;
  snapshot->changed_at = history->changed_at;
  snapshot->sync_interval = aisearch_watch_sync_interval(lookup->watch);
  memcpy(snapshot->ended, history->ended, sizeof(snapshot->ended));
  if (lookup->job == NULL &&
      history->succeeded_at > snapshot->reading.succeeded_at)
    snapshot->reading.succeeded_at = history->succeeded_at;
}

/* Of the next look-up in this slice. Returns false where there is none. */
static bool take_snapshot(account_t *account, cdtime_t now,
                          snapshot_t *snapshot) {
  lookup_t *lookup;
  cdtime_t patience = 2 * account->interval;

  pthread_mutex_lock(&account->lock);
  lookup = account->cursor;
  if (lookup == NULL || account->reported >= goal(account)) {
    pthread_mutex_unlock(&account->lock);
    return false;
  }

  sstrncpy(snapshot->plugin_instance, lookup->plugin_instance,
           sizeof(snapshot->plugin_instance));
  sstrncpy(snapshot->job, lookup->job != NULL ? lookup->job : "",
           sizeof(snapshot->job));
  snapshot->reading = lookup->reading;
  snapshot->watched = now < MS_TO_CDTIME_T(account->watched_at) + patience;
  snapshot_history(snapshot, lookup);
  snapshot->items = lookup->items;
  aisearch_jobs_copy(&snapshot->jobs, &lookup->jobs);

  account->cursor = lookup->next;
  account->reported++;
  pthread_mutex_unlock(&account->lock);
  return true;
}

/* Those of a job have its id behind their names. */
static void report_values(const account_t *account, const snapshot_t *snapshot,
                          const reading_value_t *values, size_t n,
                          const char *job, cdtime_t now) {
  for (size_t i = 0; i < n; i++) {
    char name[DATA_MAX_NAME_LEN];

    ssnprintf(name, sizeof(name), "%s%s%s", values[i].type_instance,
              job[0] != '\0' ? "-" : "", job);
    dispatch(account, snapshot->plugin_instance, values[i].type, name,
             (value_t){.gauge = values[i].value}, now);
  }
}

static void report_reading(const account_t *account, const snapshot_t *snapshot,
                           cdtime_t now) {
  reading_value_t values[READING_VALUES_MAX];
  size_t n = aisearch_reading_values(
      &snapshot->reading, (int64_t)CDTIME_T_TO_MS(now), snapshot->watched,
      account->report_jobs || snapshot->job[0] != '\0', values);

  report_values(account, snapshot, values, n, snapshot->job, now);
}

static void report_jobs(const account_t *account, const snapshot_t *snapshot,
                        cdtime_t now) {
  const reading_t *reading = &snapshot->reading;

  for (size_t i = 0; i < snapshot->jobs.njobs; i++) {
    const listed_job_t *listed = &snapshot->jobs.jobs[i];
    reading_value_t values[READING_JOB_VALUES_MAX];
    size_t n = aisearch_reading_job_values(
        &listed->job, reading->arrived_at - reading->age, values);

    report_values(account, snapshot, values, n, listed->id, now);
  }
}

static void report_ends(const account_t *account, const snapshot_t *snapshot,
                        enum ais_state end, cdtime_t now) {
  const uint64_t *ended = snapshot->ended[end];
  uint64_t sum = 0;

  for (int source = 0; source < HISTORY_SOURCES; source++) {
    char name[DATA_MAX_NAME_LEN];

    sum += ended[source];
    if (!account->report_source)
      continue;
    ssnprintf(name, sizeof(name), "%s-%s", ais_state_name(end),
              aisearch_history_source_name(source));
    dispatch(account, snapshot->plugin_instance, "operations", name,
             (value_t){.derive = (derive_t)ended[source]}, now);
  }

  dispatch(account, snapshot->plugin_instance, "operations",
           ais_state_name(end), (value_t){.derive = (derive_t)sum}, now);
}

static void report_history(const account_t *account, const snapshot_t *snapshot,
                           cdtime_t now) {
  report_ends(account, snapshot, AIS_SUCCEEDED, now);
  report_ends(account, snapshot, AIS_FAILED, now);
  report_ends(account, snapshot, AIS_CANCELLED, now);

  if (snapshot->changed_at != AIS_TIME_NONE)
    dispatch(account, snapshot->plugin_instance, "duration", "since_change",
             (value_t){.gauge = seconds_since(snapshot->changed_at, now)}, now);
  if (snapshot->sync_interval > 0)
    dispatch(account, snapshot->plugin_instance, "duration", "sync_interval",
             (value_t){.gauge = (gauge_t)snapshot->sync_interval / 1000.0},
             now);
}

static void report_items(const account_t *account, const snapshot_t *snapshot,
                         cdtime_t now) {
  const items_t *items = &snapshot->items;

  for (size_t i = 0; items->known && i < AIS_STATS_ITEMS; i++) {
    char name[DATA_MAX_NAME_LEN];

    if (items->stats.items[i] < 0)
      continue;
    ssnprintf(name, sizeof(name), "items_%s", ais_stats_name(i));
    dispatch(account, snapshot->plugin_instance, "count", name,
             (value_t){.gauge = (gauge_t)items->stats.items[i]}, now);
  }
}

static void report_lookup(const account_t *account, const snapshot_t *snapshot,
                          cdtime_t now) {
  report_reading(account, snapshot, now);
  if (!snapshot->watched || !snapshot->reading.good)
    return;

  report_jobs(account, snapshot, now);
  report_items(account, snapshot, now);
  if (snapshot->leads)
    report_history(account, snapshot, now);
}

/* What has come to light before the values were taken, to be told after them.
 */
static void take_notices(account_t *account) {
  pthread_mutex_lock(&account->lock);
  aisearch_conditions_read(&account->conditions, account->name,
                           &account->outbox);
  account->notices = aisearch_outbox_take(&account->outbox, account->name);
  pthread_mutex_unlock(&account->lock);
}

static void tell_notices(account_t *account) {
  aisearch_notify(account->notices);
  account->notices = NULL;
}

static void begin_interval(account_t *account, cdtime_t now) {
  tell_notices(account); /* if the last one was cut short */
  take_notices(account);
  report_account(account, now);

  pthread_mutex_lock(&account->lock);
  account->cursor = account->first;
  account->reported = 0;
  account->is_complete = false;
  pthread_mutex_unlock(&account->lock);
}

/* Once all look-ups are reported. */
static void complete_interval(account_t *account) {
  pthread_mutex_lock(&account->lock);
  if (account->is_complete || account->cursor != NULL) {
    pthread_mutex_unlock(&account->lock);
    return;
  }
  account->is_complete = true;
  pthread_mutex_unlock(&account->lock);

  tell_notices(account);
  aisearch_fetch_reported();
}

void aisearch_report(account_t *account) {
  cdtime_t now = cdtime();
  snapshot_t snapshot;

  if (account->slice == 0)
    begin_interval(account, now);

  while (take_snapshot(account, now, &snapshot)) {
    report_lookup(account, &snapshot, now);
    aisearch_jobs_free(&snapshot.jobs);
  }

  complete_interval(account);
  account->slice = (account->slice + 1) % account->slices;
}

void aisearch_report_last(account_t *account) {
  tell_notices(account);
  pthread_mutex_lock(&account->lock);
  account->notices = aisearch_outbox_take(&account->outbox, account->name);
  pthread_mutex_unlock(&account->lock);
  tell_notices(account);
}
