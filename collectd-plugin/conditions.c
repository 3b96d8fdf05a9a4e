#include "conditions.h"

#include <stdio.h>
#include <string.h>

/* Reads with something that was to be had, and none of it was. */
#define UNREACHABLE_READS 3

/* One refusal may be of a credential that was replaced a moment ago. */
#define DENIED_READS 2

#define REFUSED_READS 3

/* A scheduled job may be late, and takes its time: the next success is to come
 * within this. */
#define OVERDUE_INTERVALS 2
#define OVERDUE_GRACE (INT64_C(15) * 60 * 1000)

/* What is judged. */
typedef struct {
  outbox_told_t *told;
  outbox_t *outbox;
  const char *plugin_instance;
} subject_t;

/* Those that are not about a job. */
static void begin_condition(const subject_t *s, condition_t condition,
                            const char *message) {
  notice_t notice;

  aisearch_notice_begin(&notice, condition, s->plugin_instance);
  aisearch_notice_say(&notice, "%s", message);
  aisearch_outbox_begin(s->outbox, s->told, &notice);
}

static void end_condition(const subject_t *s, condition_t condition,
                          const char *message) {
  notice_t notice;

  aisearch_notice_end(&notice, condition, s->plugin_instance);
  aisearch_notice_say(&notice, "%s", message);
  aisearch_outbox_end(s->outbox, s->told, &notice);
}

static bool is_told(const subject_t *s, condition_t condition) {
  return aisearch_outbox_is_told(s->told, condition);
}

static int64_t time_between(int64_t from, int64_t to) {
  if (from == AIS_TIME_NONE || to == AIS_TIME_NONE)
    return -1;
  return to > from ? to - from : 0;
}

/* failed: once per failed job, until the next that succeeds. */

/* One that has ended in a year to come would outlast each success. */
static void tell_failed(const subject_t *s, const struct ais_job *job,
                        int64_t answered_at) {
  notice_t notice;

  if (job->ended_at > s->told->failed_at &&
      job->ended_at <= answered_at + CLOCKS_DIFFER)
    s->told->failed_at = job->ended_at;

  aisearch_notice_begin(&notice, CONDITION_FAILED, s->plugin_instance);
  aisearch_notice_job(&notice, job,
                      time_between(job->started_at, job->ended_at));
  aisearch_notice_say_ended(&notice, "has failed");
  aisearch_outbox_begin(s->outbox, s->told, &notice);
}

/* Further pages have older jobs: one of these is not the next success. */
static void tell_succeeded(const subject_t *s, const struct ais_job *job) {
  notice_t notice;

  if (job->ended_at != AIS_TIME_NONE && job->ended_at < s->told->failed_at)
    return;

  aisearch_notice_end(&notice, CONDITION_FAILED, s->plugin_instance);
  aisearch_notice_job(&notice, job,
                      time_between(job->started_at, job->ended_at));
  aisearch_notice_say_ended(&notice, "has succeeded");
  aisearch_outbox_end(s->outbox, s->told, &notice);
}

static void judge_ends(const subject_t *s, const history_t *history,
                       const history_news_t *news, int64_t answered_at) {
  bool was_told = is_told(s, CONDITION_FAILED);
  const struct ais_job *failed = NULL;

  for (size_t i = 0; i < news->nended; i++) {
    const struct ais_job *job = news->ended[i];

    if (job->state == AIS_FAILED) {
      tell_failed(s, job, answered_at);
      failed = job;
    } else if (job->state == AIS_SUCCEEDED) {
      tell_succeeded(s, job);
    }
  }

  /* It came to light late. */
  if (!was_told && failed != NULL && failed->ended_at != AIS_TIME_NONE &&
      failed->ended_at < history->succeeded_at)
    end_condition(s, CONDITION_FAILED, "A later job has succeeded");
}

/* stalled */

static void tell_stalled(const subject_t *s, const struct ais_job *job,
                         int64_t silence, int64_t answered_at) {
  bool queued = (job->state == AIS_QUEUED);
  int64_t age = queued ? silence : time_between(job->started_at, answered_at);
  notice_t notice;

  aisearch_notice_begin(&notice, CONDITION_STALLED, s->plugin_instance);
  aisearch_notice_job(&notice, job, age);
  if (queued)
    aisearch_notice_say(&notice, "Job %s (%s) has been queued for %.0f s",
                        notice.job, notice.source, (double)silence / 1000.0);
  else
    aisearch_notice_say(&notice,
                        "Job %s (%s) has given no sign of life for %.0f s",
                        notice.job, notice.source, (double)silence / 1000.0);
  aisearch_outbox_begin(s->outbox, s->told, &notice);
}

static void judge_silence(const subject_t *s, const history_news_t *news,
                          int64_t answered_at) {
  if (news->all_well)
    end_condition(s, CONDITION_STALLED, "No job is stalled any more");
  else if (news->silent != NULL && !is_told(s, CONDITION_STALLED))
    tell_stalled(s, news->silent, news->silence, answered_at);
}

/* overdue: not of single jobs, which succeed only once. */

static void tell_overdue(const subject_t *s,
                         const conditions_instance_t *instance, bool never,
                         int64_t age) {
  const char *since = !never ? "No job has succeeded for %.0f s"
                      : instance->facts.created_at != AIS_TIME_NONE
                          ? "No job has succeeded since the instance was "
                            "created, %.0f s ago"
                          : "No job has succeeded since the instance was "
                            "first seen, %.0f s ago";
  notice_t notice;

  aisearch_notice_begin(&notice, CONDITION_OVERDUE, s->plugin_instance);
  aisearch_notice_say(&notice, since, (double)age / 1000.0);
  aisearch_outbox_begin(s->outbox, s->told, &notice);
}

static int64_t patience(const conditions_settings_t *settings,
                        const facts_t *facts) {
  if (settings->overdue_after != OVERDUE_BY_INTERVAL)
    return settings->overdue_after;
  return OVERDUE_INTERVALS * aisearch_facts_interval(facts) + OVERDUE_GRACE;
}

/* What was excused until a moment ago has to sync from then on. */
static void judge_age(const subject_t *s, const conditions_instance_t *instance,
                      const history_t *history, int64_t patience,
                      int64_t answered_at) {
  const facts_t *facts = &instance->facts;
  int64_t begin =
      facts->created_at != AIS_TIME_NONE ? facts->created_at : history->seen_at;
  bool never = history->succeeded_at < begin;
  int64_t since = never ? begin : history->succeeded_at;

  if (answered_at - since <= patience)
    end_condition(s, CONDITION_OVERDUE, "A job has succeeded");
  else if (!is_told(s, CONDITION_OVERDUE) &&
           answered_at - patience > history->excused_at)
    tell_overdue(s, instance, never, answered_at - since);
}

/* The service pauses what is in error: that makes nothing good. */
static void judge_success(const subject_t *s,
                          const conditions_settings_t *settings,
                          const conditions_instance_t *instance,
                          history_t *history, int64_t answered_at) {
  const char *excuse = aisearch_facts_excuse(&instance->facts);

  if (!history->listed || instance->awaited)
    return;

  if (settings->overdue_after == 0) {
    end_condition(s, CONDITION_OVERDUE, "Nobody waits for a success any more");
  } else if (excuse != NULL) {
    history->excused_at = answered_at;
    if (!instance->facts.in_error)
      end_condition(s, CONDITION_OVERDUE, excuse);
  } else {
    judge_age(s, instance, history, patience(settings, &instance->facts),
              answered_at);
  }
}

void aisearch_conditions_look(outbox_told_t *told,
                              const conditions_settings_t *settings,
                              const conditions_instance_t *instance,
                              history_t *history, const history_news_t *news,
                              int64_t answered_at, outbox_t *outbox) {
  subject_t s = {told, outbox, instance->plugin_instance};

  judge_ends(&s, history, news, answered_at);
  judge_silence(&s, news, answered_at);
  if (!news->more)
    judge_success(&s, settings, instance, history, answered_at);
}

/* Whether more is to be waited for than before. */
static bool is_stricter(const facts_t *facts, const facts_t *before) {
  return aisearch_facts_excuse(facts) == NULL &&
         (aisearch_facts_excuse(before) != NULL ||
          facts->sync_interval < before->sync_interval);
}

/* What is to sync now, or more often, does so from some moment on since it was
 * told of last; that was not long ago, and what is waited for has that grace.
 */
void aisearch_conditions_know(outbox_told_t *told,
                              conditions_instance_t *instance,
                              history_t *history, const facts_t *facts,
                              int64_t now, outbox_t *outbox) {
  subject_t s = {told, outbox, instance->plugin_instance};
  char message[NOTICE_MESSAGE_SIZE];

  snprintf(message, sizeof(message), "The instance is %s%s: its status is %s",
           facts->in_error ? "in error" : "not in error any more",
           facts->in_error && facts->paused ? ", and paused" : "",
           facts->status[0] != '\0' ? facts->status : "unknown");
  if (is_stricter(facts, &instance->facts))
    history->excused_at = now - OVERDUE_GRACE;
  instance->facts = *facts;

  if (!facts->in_error)
    end_condition(&s, CONDITION_INSTANCE_ERROR, message);
  else if (!is_told(&s, CONDITION_INSTANCE_ERROR))
    begin_condition(&s, CONDITION_INSTANCE_ERROR, message);
}

void aisearch_conditions_gone(outbox_told_t *told, const char *plugin_instance,
                              outbox_t *outbox) {
  subject_t s = {told, outbox, plugin_instance};

  for (int c = CONDITION_FAILED; c <= CONDITION_INSTANCE_ERROR; c++)
    end_condition(&s, c, "The instance is not there any more");
}

/* Accounts. */

void aisearch_conditions_outcome(conditions_account_t *account,
                                 enum ais_fault fault,
                                 const refusal_t *refusal) {
  if (refusal != NULL)
    account->refusal = *refusal;

  switch (fault) {
  case AIS_FAULT_NONE:
    if (refusal == NULL)
      account->good++;
    else
      account->missing++;
    break;
  case AIS_FAULT_REFUSED:
    account->refused++;
    break;
  case AIS_FAULT_CREDENTIAL:
    account->denied++;
    break;
  case AIS_FAULT_RATE_LIMITED:
    account->limited++;
    break;
  case AIS_FAULT_INTERNAL:
    break; /* not the API's doing */
  default: /* BUDGET too: a call had failed, and there was none for a repeat */
    account->failed++;
  }
}

static void judge_credential(const subject_t *s, conditions_account_t *a) {
  if (a->good + a->missing > 0) {
    a->denied_reads = 0;
    end_condition(s, CONDITION_CREDENTIAL, "The API accepts the credential");
  } else if (a->denied > 0 && ++a->denied_reads >= DENIED_READS &&
             !is_told(s, CONDITION_CREDENTIAL)) {
    begin_condition(s, CONDITION_CREDENTIAL, "The API refuses the credential");
  }
}

/* Whoever refuses something can be reached. */
static void judge_reach(const subject_t *s, conditions_account_t *a) {
  if (a->good + a->missing + a->refused + a->denied + a->limited > 0) {
    a->failed_reads = 0;
    end_condition(s, CONDITION_UNREACHABLE, "The API answers again");
  } else if (a->failed > 0 && ++a->failed_reads >= UNREACHABLE_READS &&
             !is_told(s, CONDITION_UNREACHABLE)) {
    begin_condition(s, CONDITION_UNREACHABLE,
                    "The API cannot be reached: no look-up succeeds");
  }
}

/* Answers that were under way may come in after the 429. */
static void judge_limit(const subject_t *s, const conditions_account_t *a) {
  if (a->limited > 0) {
    if (!is_told(s, CONDITION_RATE_LIMITED))
      begin_condition(s, CONDITION_RATE_LIMITED,
                      "The rate limit of the API is reached (429)");
  } else if (a->good + a->missing + a->refused > 0) {
    end_condition(s, CONDITION_RATE_LIMITED, "The API accepts calls again");
  }
}

static void tell_refused(const subject_t *s, const refusal_t *refusal) {
  char message[NOTICE_MESSAGE_SIZE];
  char code[32] = "";

  if (refusal->code != 0)
    snprintf(code, sizeof(code), " (code %d)", refusal->code);
  snprintf(message, sizeof(message),
           "Every look-up is refused: the API answers %d%s", refusal->status,
           code);
  begin_condition(s, CONDITION_REFUSED, message);
}

/* What has failed besides may have been in order. */
static void judge_refusals(const subject_t *s, conditions_account_t *a) {
  bool all = a->denied + a->limited + a->failed == 0;

  if (a->good > 0) {
    a->refused_reads = 0;
    end_condition(s, CONDITION_REFUSED, "The API answers a look-up again");
  } else if (a->missing + a->refused > 0 && all &&
             ++a->refused_reads >= REFUSED_READS &&
             !is_told(s, CONDITION_REFUSED)) {
    tell_refused(s, &a->refusal);
  }
}

void aisearch_conditions_read(conditions_account_t *a, const char *name,
                              outbox_t *outbox) {
  subject_t s = {&a->told, outbox, name};

  judge_credential(&s, a);
  judge_reach(&s, a);
  judge_limit(&s, a);
  judge_refusals(&s, a);
  a->good = a->missing = a->refused = 0;
  a->denied = a->limited = a->failed = 0;
}

/* As text. */

void aisearch_told_print(const outbox_told_t *told, char text[TOLD_TEXT_SIZE]) {
  size_t len = 0;

  text[0] = '\0';
  for (int c = 0; c < CONDITIONS; c++) {
    const char *name = aisearch_condition_name(c);
    uint32_t bit = UINT32_C(1) << c;

    if (told->told & bit)
      len += (size_t)snprintf(text + len, TOLD_TEXT_SIZE - len, "%s%s",
                              len > 0 ? "," : "", name);
    if (told->summed & bit)
      len += (size_t)snprintf(text + len, TOLD_TEXT_SIZE - len, "%s%s+",
                              len > 0 ? "," : "", name);
  }
}

static bool parse_name(outbox_told_t *told, const char *name, size_t len) {
  bool summed = len > 0 && name[len - 1] == '+';

  len -= summed;
  for (int c = 0; c < CONDITIONS; c++) {
    const char *known = aisearch_condition_name(c);

    if (strlen(known) == len && memcmp(known, name, len) == 0) {
      *(summed ? &told->summed : &told->told) |= UINT32_C(1) << c;
      return true;
    }
  }
  return false;
}

bool aisearch_told_parse(outbox_told_t *told, const char *text) {
  *told = (outbox_told_t){0};
  if (text[0] == '\0')
    return true;

  for (;;) {
    size_t len = strcspn(text, ",");

    if (!parse_name(told, text, len)) {
      *told = (outbox_told_t){0};
      return false;
    }
    if (text[len] == '\0')
      return true;
    text += len + 1;
  }
}
