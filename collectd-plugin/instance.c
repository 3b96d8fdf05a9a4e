/* What is known of an instance, and the values made of it. */

#include "instance.h"

#include <stdio.h>
#include <string.h>

#define ITEMS_LOOKS 4

const char *condition_name(condition_t condition) {
  static const char *const names[CONDITIONS] = {
      [CONDITION_FAILED] = "failed",
      [CONDITION_STALLED] = "stalled",
      [CONDITION_OVERDUE] = "overdue",
      [CONDITION_INSTANCE_ERROR] = "instance_error",
      [CONDITION_CREDENTIAL] = "credential",
      [CONDITION_UNREACHABLE] = "unreachable",
      [CONDITION_RATE_LIMITED] = "rate_limited",
      [CONDITION_REFUSED] = "refused",
  };

  return names[condition];
}

bool condition_has_begun(const told_t *told, condition_t condition) {
  return (told->bits >> condition & 1) != 0;
}

void facts_init(facts_t *facts) {
  *facts = (facts_t){.created_at = AIS_TIME_NONE};
}

void instance_init(instance_t *instance, int64_t now) {
  facts_init(&instance->facts);
  history_init(&instance->history);
  instance->first_at = now;
  instance->read_at = AIS_TIME_NONE;
}

/* What the API tells of it. */

/* It ends up in messages, where a line is a line. */
static void copy_status(char to[sizeof(((facts_t *)0)->status)],
                        const char *from) {
  size_t len = 0;

  for (; len < sizeof(((facts_t *)0)->status) - 1 && from[len] != '\0'; len++)
    to[len] = from[len] >= ' ' && from[len] <= '~' ? from[len] : '?';
  to[len] = '\0';
}

void facts_take(facts_t *facts, const struct ais_instance *instance) {
  *facts = (facts_t){
      .created_at = instance->created_at,
      .sync_interval = instance->sync_interval,
      .indexed = instance->indexed,
      .disabled = instance->disabled,
      .paused = instance->paused,
      .in_error = instance->in_error,
  };
  if (instance->status != NULL)
    copy_status(facts->status, instance->status);
}

bool facts_equal(const facts_t *a, const facts_t *b) {
  return a->created_at == b->created_at &&
         a->sync_interval == b->sync_interval && a->indexed == b->indexed &&
         a->disabled == b->disabled && a->paused == b->paused &&
         a->in_error == b->in_error && strcmp(a->status, b->status) == 0;
}

const char *facts_excuse(const facts_t *facts) {
  if (facts->indexed == AIS_INDEXED_AS_STORED)
    return "The instance has built-in storage, and no sync jobs";
  if (facts->disabled)
    return "Syncing is off";
  if (facts->paused && !facts->in_error)
    return "The instance is paused";
  return NULL;
}

int64_t facts_interval(const facts_t *facts) {
  return facts->sync_interval > 0 ? facts->sync_interval : FACTS_SYNC_INTERVAL;
}

/* What its latest answer says. */

void latest_take(latest_t *latest, bool is_list,
                 const struct ais_answer *answer, int64_t now, int64_t age) {
  struct ais_jobs jobs = ais_jobs_sum_up(answer->jobs, answer->njobs);
  const struct ais_job *job = jobs.newest;

  *latest = (latest_t){
      .good = true, .arrived_at = now, .age = age, .is_list = is_list};
  latest->running = jobs.counts[AIS_RUNNING];
  latest->active = latest->running + jobs.counts[AIS_QUEUED] > 0;

  latest->has_job = job != NULL;
  if (job != NULL) {
    latest->state = job->state;
    latest->started_at = job->started_at;
    latest->ended_at = job->ended_at;
    latest->last_seen_at = job->last_seen_at;
  }
}

/* Its items. */

/* Not after the first look, when all instances are looked at. */
bool items_due(items_t *items, bool has_ended, int64_t now) {
  bool due = has_ended || (items->begun && now >= items->due_at);

  if (!items->begun)
    items->due_at = now;
  items->begun = true;
  return due;
}

void items_take(items_t *items, const struct ais_stats *stats, bool is_soon,
                int64_t idle, int64_t now) {
  items->known = stats != NULL && !stats->degraded;
  if (items->known)
    items->stats = *stats;
  items->due_at = now + (is_soon ? 1 : ITEMS_LOOKS) * idle;
}

/* Values. */

typedef struct {
  metric_t *metrics;
  size_t n;
  const char *job; /* NULL: none */
} metrics_t;

static void metric_add(metrics_t *list, const char *type, const char *name,
                       double value) {
  metric_t *metric = &list->metrics[list->n++];
  const char *job = list->job != NULL ? list->job : "";

  *metric = (metric_t){.type = type, .value = value};
  snprintf(metric->name, sizeof(metric->name), "%s%s%s", name,
           job[0] != '\0' ? "-" : "", job);
}

static void metric_add_ends(metrics_t *list, const instance_t *instance,
                            enum ais_state end) {
  metric_add(list, "operations", ais_state_name(end),
             (double)instance->written[end]);
}

/* Clocks differ, between us and the API too: no duration is less than 0. */
static double seconds(int64_t from, int64_t to) {
  return to > from ? (double)(to - from) / 1000.0 : 0.0;
}

static void metric_add_since(metrics_t *list, const char *name, int64_t then,
                             int64_t now) {
  if (then != AIS_TIME_NONE)
    metric_add(list, "duration", name, seconds(then, now));
}

static void metric_add_items(metrics_t *list, const items_t *items) {
  for (size_t i = 0; items->known && i < AIS_STATS_ITEMS; i++) {
    char name[32];

    snprintf(name, sizeof(name), "items_%s", ais_stats_name(i));
    if (items->stats.items[i] >= 0)
      metric_add(list, "count", name, (double)items->stats.items[i]);
  }
}

size_t instance_metrics(const instance_t *instance,
                        const metrics_settings_t *settings,
                        metric_t metrics[METRICS_MAX]) {
  const history_t *history = &instance->history;
  metrics_t list = {.metrics = metrics};

  for (int c = 0; c < CONDITIONS_OF_INSTANCE; c++)
    metric_add(&list, "gauge", condition_name(c),
               condition_has_begun(&instance->told, c));
  if (instance->is_gone)
    return list.n;

  metric_add_ends(&list, instance, AIS_SUCCEEDED);
  metric_add_ends(&list, instance, AIS_FAILED);
  if (settings->details) {
    metric_add_ends(&list, instance, AIS_CANCELLED);
    metric_add_since(&list, "since_change", history->changed_at, settings->now);
    if (history->listed && !instance->awaited &&
        facts_excuse(&instance->facts) == NULL)
      metric_add(&list, "duration", "sync_interval",
                 (double)facts_interval(&instance->facts) / 1000.0);
  }
  if (history->listed)
    metric_add_since(&list, "since_success", history->succeeded_at,
                     settings->now);
  metric_add_items(&list, &instance->items);
  return list.n;
}

/* What is known of a job is known as of the time of the answer: a job seen a
 * minute ago is not taken to have run for that minute too. */
static void metric_add_job(metrics_t *list, const latest_t *latest,
                           bool details) {
  int64_t answered_at = latest->arrived_at - latest->age;
  bool active = ais_state_active(latest->state);
  int64_t until = active ? answered_at : latest->ended_at;

  metric_add(list, "gauge", "state", (double)latest->state);
  if (latest->state == AIS_QUEUED)
    metric_add(list, "duration", "job", 0.0);
  else if (latest->started_at != AIS_TIME_NONE && until != AIS_TIME_NONE)
    metric_add(list, "duration", "job", seconds(latest->started_at, until));
  if (details && latest->state == AIS_RUNNING)
    metric_add_since(list, "last_seen", latest->last_seen_at, answered_at);
}

/* A pinned job that has ended never changes again: what is known of it does not
 * get old. */
size_t latest_metrics(const latest_t *latest, const instance_t *instance,
                      const char *job, const metrics_settings_t *settings,
                      metric_t metrics[METRICS_MAX]) {
  metrics_t list = {.metrics = metrics, .job = job};
  bool is_final =
      !latest->is_list && latest->has_job && !ais_state_active(latest->state);
  bool was_read = latest->arrived_at != AIS_TIME_NONE;
  int64_t read_at = was_read ? latest->arrived_at - latest->age
                    : instance->read_at != AIS_TIME_NONE ? instance->read_at
                                                         : instance->first_at;

  metric_add_since(&list, "since_read", is_final ? settings->now : read_at,
                   settings->now);
  if (!was_read || (!is_final && settings->now - read_at > settings->lifetime))
    return list.n;

  if (latest->is_list && settings->details)
    metric_add(&list, "count", "running", (double)latest->running);
  if (latest->has_job)
    metric_add_job(&list, latest, settings->details);
  if (job != NULL && latest->has_job && latest->state == AIS_SUCCEEDED)
    metric_add_since(&list, "since_success", latest->ended_at, settings->now);
  return list.n;
}

bool instance_is_unread(const instance_t *instance, int64_t now,
                        int64_t lifetime) {
  int64_t since = instance->read_at != AIS_TIME_NONE ? instance->read_at
                                                     : instance->first_at;

  return instance->polls_over < instance->polls && now - since > lifetime;
}
