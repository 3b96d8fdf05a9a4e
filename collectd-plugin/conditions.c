/* Decides which conditions begin and end, and creates their notices. */

#include "conditions.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A scheduled job may start late and takes some time, so the next success is
 * due after two sync intervals and this grace period. */
#define OVERDUE_INTERVALS 2
#define OVERDUE_GRACE (INT64_C(15) * 60 * 1000)

bool conditions_is_failure(condition_t condition) {
  return condition == CONDITION_FAILED ||
         condition == CONDITION_INSTANCE_ERROR ||
         condition == CONDITION_CREDENTIAL;
}

const char *conditions_span(char text[SPAN_SIZE], int64_t ms) {
  static const char *const names[] = {"d", "h", "min", "s"};
  static const int units[] = {86400, 3600, 60, 1};
  long long seconds = (ms + 500) / 1000;
  size_t i = 0;

  /* at least two units, since a single digit is too coarse */
  while (units[i] > 1 && seconds < 2 * units[i])
    i++;
  snprintf(text, SPAN_SIZE, "%lld %s", seconds / units[i], names[i]);
  return text;
}

/* Notices. */

bool notices_add(notices_t *notices, const notice_t *notice) {
  notice_t *all =
      realloc(notices->all, (notices->n + 1) * sizeof(*notices->all));

  if (all == NULL)
    return false;

  all[notices->n++] = *notice;
  notices->all = all;
  notices->changed = true;
  return true;
}

static void notices_remove(notices_t *notices, size_t i) {
  notices->n--;
  notices->written -= i < notices->written;
  notices->writing -= i < notices->writing;
  notices->changed = true;
  memmove(notices->all + i, notices->all + i + 1,
          (notices->n - i) * sizeof(*notices->all));
}

bool notices_take(notices_t *notices, notice_t *notice) {
  if (notices->written == 0)
    return false;

  *notice = notices->all[0];
  notices_remove(notices, 0);
  return true;
}

/* Removes the pending notice of the condition's begin. Returns false if it was
 * sent already. */
static bool take_back(const reported_t *reported, condition_t condition) {
  for (size_t i = 0; i < reported->notices->n; i++) {
    const notice_t *notice = &reported->notices->all[i];

    if (!notice->is_over && notice->condition == condition &&
        strcmp(notice->name, reported->name) == 0) {
      notices_remove(reported->notices, i);
      return true;
    }
  }
  return false;
}

/* With a job, the message begins with "Job ID (SOURCE) ". A message that is too
 * long is truncated. */
static void write_notice(notice_t *notice, const struct ais_job *job,
                         const char *format, va_list ap) {
  char text[4 * NOTICE_MESSAGE_SIZE];
  int len = 0;

  if (job != NULL) {
    text_copy(notice->job, sizeof(notice->job), job->id);
    text_copy(notice->source, sizeof(notice->source), job->source);
    text_copy(notice->end_reason, sizeof(notice->end_reason), job->end_reason);
    len = snprintf(text, sizeof(text), "Job %s (%s) ", notice->job,
                   notice->source);
  }
  vsnprintf(text + len, sizeof(text) - (size_t)len, format, ap);
  text_copy(notice->message, sizeof(notice->message), text);
}

/* Creates a notice if the condition begins or ends. duration is that of the job
 * in ms; a negative one is unknown. If a condition ends before the notice of
 * its begin was sent, neither is. Only failed jobs create a notice each. */
__attribute__((format(printf, 6, 7))) static void
judge(reported_t *reported, condition_t condition, bool holds,
      const struct ais_job *job, int64_t duration, const char *format, ...) {
  notice_t notice = {
      .condition = condition, .is_over = !holds, .duration = duration};
  bool notifies_each = condition == CONDITION_FAILED;
  va_list ap;

  if (holds == reported->has_begun[condition] && !(holds && notifies_each))
    return;

  snprintf(notice.name, sizeof(notice.name), "%s", reported->name);
  va_start(ap, format);
  write_notice(&notice, job, format, ap);
  va_end(ap);
  if ((!holds && !notifies_each && take_back(reported, condition)) ||
      notices_add(reported->notices, &notice))
    reported->has_begun[condition] = holds;
}

/* failed: one notice per failed job, until the next job succeeds. */

/* "WHAT after 12 min: END_REASON", without the unknown parts. */
static void judge_end(reported_t *reported, bool failed,
                      const struct ais_job *job) {
  int64_t duration = time_between(job->started_at, job->ended_at);
  const char *reason = job->end_reason != NULL ? job->end_reason : "";
  char span[SPAN_SIZE];

  judge(reported, CONDITION_FAILED, failed, job, duration, "%s%s%s%s%s",
        failed ? "has failed" : "has succeeded", duration >= 0 ? " after " : "",
        duration >= 0 ? conditions_span(span, duration) : "",
        reason[0] != '\0' ? ": " : "", reason);
}

/* Ignores ends in the far future for failed_at, since no success would ever be
 * later. Later pages hold older jobs, so a success in them does not end the
 * condition if it is older than the failure. */
static void judge_ends(reported_t *reported, const history_t *history,
                       const history_news_t *news, int64_t answered_at) {
  bool had_begun = reported->has_begun[CONDITION_FAILED];
  bool is_late = false; /* a later job had succeeded when it was seen */

  for (size_t i = 0; i < news->nended; i++) {
    const struct ais_job *job = news->ended[i];
    int64_t at = job->ended_at;

    if (job->state == AIS_FAILED) {
      is_late = at != AIS_TIME_NONE && at < history->succeeded_at;
      if (at > reported->failed_at && at <= answered_at + CLOCKS_DIFFER)
        reported->failed_at = at;
      judge_end(reported, true, job);
    } else if (job->state == AIS_SUCCEEDED &&
               (at == AIS_TIME_NONE || at >= reported->failed_at)) {
      judge_end(reported, false, job);
    }
  }

  if (is_late && !had_begun)
    judge(reported, CONDITION_FAILED, false, NULL, -1,
          "A later job has succeeded");
}

/* stalled */

static void judge_silence(reported_t *reported, const history_news_t *news,
                          int64_t answered_at) {
  const struct ais_job *job = news->silent;
  bool queued = job != NULL && job->state == AIS_QUEUED;
  char span[SPAN_SIZE];

  if (news->all_well)
    judge(reported, CONDITION_STALLED, false, NULL, -1,
          "No job is stalled anymore");
  else if (job != NULL)
    judge(reported, CONDITION_STALLED, true, job,
          queued ? news->silence : time_between(job->started_at, answered_at),
          "has %s for %s", queued ? "been queued" : "shown no activity",
          conditions_span(span, news->silence));
}

/* overdue: only for lists, since a single job succeeds only once. */

/* If a success was not expected until recently, the patience starts from
 * then. */
static void judge_age(instance_t *instance, int64_t patience,
                      int64_t answered_at) {
  const history_t *history = &instance->history;
  int64_t created_at = instance->facts.created_at;
  int64_t begin = created_at != AIS_TIME_NONE ? created_at : history->seen_at;
  bool never = history->succeeded_at < begin;
  int64_t age = answered_at - (never ? begin : history->succeeded_at);
  reported_t *reported = &instance->reported;
  char span[SPAN_SIZE];

  conditions_span(span, age);
  if (age <= patience)
    judge(reported, CONDITION_OVERDUE, false, NULL, -1, "A job has succeeded");
  else if (answered_at - patience <= history->excused_at)
    return;
  else if (never)
    judge(reported, CONDITION_OVERDUE, true, NULL, -1,
          "No job has succeeded since the instance was %s, %s ago",
          created_at != AIS_TIME_NONE ? "created" : "first seen", span);
  else
    judge(reported, CONDITION_OVERDUE, true, NULL, -1,
          "No job has succeeded for %s", span);
}

/* An instance in error may be paused by the service, which does not end the
 * condition. */
static void judge_success(instance_t *instance, int64_t patience,
                          int64_t answered_at) {
  const facts_t *facts = &instance->facts;
  const char *excuse = facts_excuse(facts);
  reported_t *reported = &instance->reported;

  if (!instance->history.listed || instance->awaited)
    return;

  if (patience == OVERDUE_BY_INTERVAL)
    patience = OVERDUE_INTERVALS * facts_interval(facts) + OVERDUE_GRACE;
  if (patience != 0 && excuse != NULL)
    instance->history.excused_at = answered_at;

  if (patience == 0)
    judge(reported, CONDITION_OVERDUE, false, NULL, -1,
          "Successful jobs are no longer expected: OverdueAfter is 0");
  else if (excuse == NULL)
    judge_age(instance, patience, answered_at);
  else if (!facts->in_error)
    judge(reported, CONDITION_OVERDUE, false, NULL, -1, "%s", excuse);
}

void conditions_judge(instance_t *instance, int64_t overdue_after,
                      const history_news_t *news, int64_t answered_at) {
  judge_ends(&instance->reported, &instance->history, news, answered_at);
  judge_silence(&instance->reported, news, answered_at);
  if (!news->more)
    judge_success(instance, overdue_after, answered_at);
}

/* instance_error */

/* If the instance starts syncing, or syncs more often now, that change happened
 * after the last lookup, which was not long ago. Allow the next success the
 * grace period from now. */
void conditions_know(instance_t *instance, const facts_t *facts, int64_t now) {
  const facts_t *before = &instance->facts;

  if (facts_excuse(facts) == NULL &&
      (facts_excuse(before) != NULL ||
       facts->sync_interval < before->sync_interval))
    instance->history.excused_at = now - OVERDUE_GRACE;
  instance->facts = *facts;
  instance->is_known = true;
  judge(&instance->reported, CONDITION_INSTANCE_ERROR, facts->in_error, NULL,
        -1, "The instance is %s%s: its status is %s",
        facts->in_error ? "in error" : "no longer in error",
        facts->in_error && facts->paused ? ", and paused" : "",
        facts->status[0] != '\0' ? facts->status : "unknown");
}

void conditions_gone(reported_t *reported) {
  for (int c = 0; c < CONDITIONS_OF_INSTANCE; c++)
    judge(reported, c, false, NULL, -1, "The instance no longer exists");
}

/* Accounts. */

void conditions_count(conditions_account_t *account, enum ais_fault fault,
                      int status, int code) {
  bool is_missing = fault == AIS_FAULT_NONE && status != 0;

  if (status != 0) {
    account->status = status;
    account->code = code;
  }
  account->had[is_missing ? OUTCOME_MISSING : fault] = true;
}

/* A refusal proves that the API can be reached. Responses to requests in flight
 * may still arrive after a 429. A request that failed in the same interval as a
 * refusal might have been answered. AIS_FAULT_INTERNAL is not the API's fault.
 * AIS_FAULT_BUDGET means that a call failed and the budget allowed no retry. A
 * rejected credential may have been replaced a moment ago. */
void conditions_report(conditions_account_t *account) {
  reported_t *reported = &account->reported;
  const bool *had = account->had;
  bool refused = had[AIS_FAULT_REFUSED];
  bool denied = had[AIS_FAULT_CREDENTIAL];
  bool limited = had[AIS_FAULT_RATE_LIMITED];
  bool answered = had[AIS_FAULT_NONE] || had[OUTCOME_MISSING];
  bool failed = had[AIS_FAULT_CONNECT] || had[AIS_FAULT_TLS] ||
                had[AIS_FAULT_TIMEOUT] || had[AIS_FAULT_SERVER] ||
                had[AIS_FAULT_BODY] || had[AIS_FAULT_BUDGET];
  char code[32] = "", refusal[96];

  /* A condition begins after this many consecutive reports with a reason for
   * it. */
  const struct {
    condition_t condition;
    unsigned reports;
    bool begins, ends;
    const char *begun, *over;
  } rules[CONDITIONS_OF_ACCOUNT] = {
      {CONDITION_CREDENTIAL, 2, denied, answered,
       "The API rejects the credential", "The API accepts the credential"},
      {CONDITION_UNREACHABLE, 3, failed,
       answered || refused || denied || limited,
       "The API cannot be reached: all lookups fail", "The API responds again"},
      {CONDITION_RATE_LIMITED, 1, limited, !limited && (answered || refused),
       "The rate limit of the API has been reached (429)",
       "The API accepts calls again"},
      {CONDITION_REFUSED, 3,
       (had[OUTCOME_MISSING] || refused) && !denied && !limited && !failed,
       had[AIS_FAULT_NONE], refusal, "The API accepts lookups again"},
  };

  if (account->code != 0)
    snprintf(code, sizeof(code), " (code %d)", account->code);
  snprintf(refusal, sizeof(refusal), "The API refuses all lookups: %d%s",
           account->status, code);
  for (size_t i = 0; i < CONDITIONS_OF_ACCOUNT; i++) {
    unsigned *reports = &account->reports[i];

    *reports = rules[i].ends ? 0 : *reports + rules[i].begins;
    if (rules[i].ends)
      judge(reported, rules[i].condition, false, NULL, -1, "%s", rules[i].over);
    else if (rules[i].begins && *reports >= rules[i].reports)
      judge(reported, rules[i].condition, true, NULL, -1, "%s", rules[i].begun);
  }
  memset(account->had, 0, sizeof(account->had));
}
