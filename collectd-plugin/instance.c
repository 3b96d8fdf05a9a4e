/* What is known about an instance, and the values derived from it. */

#include "instance.h"

#include <stdio.h>
#include <string.h>

#include "ais_utf8.h"

#define ITEMS_LOOKS 4

const char *condition_name(condition_t condition) {
  static const char *const names[CONDITIONS] = {
      "failed",     "stalled",     "overdue",      "instance_error",
      "credential", "unreachable", "rate_limited", "refused"};

  return names[condition];
}

int64_t time_between(int64_t from, int64_t to) {
  if (from == AIS_TIME_NONE || to == AIS_TIME_NONE)
    return -1;
  return to > from ? to - from : 0;
}

void text_copy(char *to, size_t size, const char *from) {
  size_t cut = size - sizeof("...");

  if ((size_t)snprintf(to, size, "%s", from != NULL ? from : "") >= size) {
    while (cut > 0 && ((unsigned char)to[cut] & 0xC0) == 0x80)
      cut--;
    memcpy(to + cut, "...", sizeof("..."));
  }
  ais_utf8_printable(to, strlen(to));
}

void instance_init(instance_t *instance, int64_t now) {
  instance->facts = (facts_t){.created_at = AIS_TIME_NONE};
  history_init(&instance->history);
  instance->read_at = now;
}

/* The API's data about the instance. */

void facts_take(facts_t *facts, const struct ais_instance *instance) {
  *facts = (facts_t){
      .created_at = instance->created_at,
      .sync_interval = instance->sync_interval,
      .indexed = instance->indexed,
      .disabled = instance->disabled,
      .paused = instance->paused,
      .in_error = instance->in_error,
  };
  text_copy(facts->status, sizeof(facts->status), instance->status);
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

/* The latest response. */

void latest_take(latest_t *latest, const struct ais_answer *answer,
                 int64_t answered_at) {
  struct ais_jobs jobs = ais_jobs_sum_up(answer->jobs, answer->njobs);
  const struct ais_job *job = jobs.newest;

  *latest = (latest_t){.good = true,
                       .answered_at = answered_at,
                       .has_job = job != NULL,
                       .running = jobs.counts[AIS_RUNNING]};
  if (job != NULL) {
    latest->state = job->state;
    latest->started_at = job->started_at;
    latest->ended_at = job->ended_at;
    latest->last_seen_at = job->last_seen_at;
  }
}

/* Items. */

/* Not at the first lookup, when all instances are read. */
bool items_due(items_t *items, bool has_ended, int64_t now) {
  bool is_first = items->due_at == 0;

  if (is_first)
    items->due_at = now;
  return has_ended || (!is_first && now >= items->due_at);
}

void items_take(items_t *items, const struct ais_stats *stats, bool is_soon,
                int64_t idle, int64_t now) {
  items->known = stats != NULL && !stats->degraded;
  if (items->known)
    items->stats = *stats;
  items->due_at = now + (is_soon ? 1 : ITEMS_LOOKS) * idle;
}

/* Values. */

void metrics_add(const metrics_t *m, const char *type, const char *name,
                 double value) {
  char text[128];

  snprintf(text, sizeof(text), "%s%s%s", name, m->job != NULL ? "-" : "",
           m->job != NULL ? m->job : "");
  if (value >= 0.0)
    m->dispatch(m, type, text, value);
}

static void add_duration(const metrics_t *m, const char *name, int64_t from,
                         int64_t to) {
  metrics_add(m, "duration", name, (double)time_between(from, to) / 1000.0);
}

void instance_metrics(const instance_t *instance, metrics_t *m) {
  const history_t *history = &instance->history;
  const items_t *items = &instance->items;
  int last = m->details ? AIS_CANCELLED : AIS_FAILED;

  m->job = NULL;
  for (int c = 0; c < CONDITIONS_OF_INSTANCE; c++)
    metrics_add(m, "gauge", condition_name(c), instance->reported.has_begun[c]);
  if (instance->is_gone)
    return;

  for (int end = AIS_SUCCEEDED; end <= last; end++)
    metrics_add(m, "operations", ais_state_name(end),
                (double)instance->written[end]);
  if (m->details)
    add_duration(m, "since_change", history->changed_at, m->now);
  if (m->details && history->listed && !instance->awaited &&
      facts_excuse(&instance->facts) == NULL)
    add_duration(m, "sync_interval", 0, facts_interval(&instance->facts));
  if (history->listed)
    add_duration(m, "since_success", history->succeeded_at, m->now);
  for (size_t i = 0; items->known && i < AIS_STATS_ITEMS; i++) {
    char name[32];

    snprintf(name, sizeof(name), "items_%s", ais_stats_name(i));
    metrics_add(m, "count", name, (double)items->stats.items[i]);
  }
}

/* Values of a job refer to the time of the response: a job seen a minute ago
 * may not have run since. A pinned job that has ended never changes again, so
 * its values do not expire. */
void latest_metrics(const latest_t *latest, const instance_t *instance,
                    const char *job, metrics_t *m) {
  bool active = ais_state_active(latest->state);
  bool is_queued = latest->state == AIS_QUEUED;
  bool is_final = job != NULL && latest->has_job && !active;
  bool was_read = latest->answered_at != 0;
  int64_t until = active ? latest->answered_at : latest->ended_at;
  int64_t read_at = was_read ? latest->answered_at : instance->read_at;

  m->job = job;
  add_duration(m, "since_read", is_final ? m->now : read_at, m->now);
  if (!was_read || (!is_final && m->now - read_at > m->lifetime))
    return;

  if (job == NULL && m->details)
    metrics_add(m, "count", "running", (double)latest->running);
  if (!latest->has_job)
    return;

  metrics_add(m, "gauge", "state", latest->state);
  add_duration(m, "job", is_queued ? until : latest->started_at, until);
  if (m->details && latest->state == AIS_RUNNING)
    add_duration(m, "last_seen", latest->last_seen_at, latest->answered_at);
  if (job != NULL && latest->state == AIS_SUCCEEDED)
    add_duration(m, "since_success", latest->ended_at, m->now);
}

bool instance_is_unread(const instance_t *instance, int64_t now,
                        int64_t lifetime) {
  return !instance->is_gone && instance->polls_over < instance->polls &&
         now - instance->read_at > lifetime;
}
