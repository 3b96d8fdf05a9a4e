/* Which conditions begin and end, and the notices of that. */

#include "conditions.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A scheduled job may be late, and takes its time: the next success is to come
 * within this. */
#define OVERDUE_INTERVALS 2
#define OVERDUE_GRACE (INT64_C(15) * 60 * 1000)

bool conditions_is_failure(condition_t condition) {
  return condition == CONDITION_FAILED ||
         condition == CONDITION_INSTANCE_ERROR ||
         condition == CONDITION_CREDENTIAL;
}

const char *conditions_span(char text[SPAN_SIZE], int64_t ms) {
  static const struct {
    int64_t seconds;
    const char *name;
  } units[] = {{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}};
  int64_t seconds = (ms + 500) / 1000;
  size_t i = 0;

  /* at least two of them: one digit alone says little */
  while (units[i].seconds > 1 && seconds < 2 * units[i].seconds)
    i++;
  snprintf(text, SPAN_SIZE, "%lld %s", (long long)(seconds / units[i].seconds),
           units[i].name);
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

/* Whose conditions are judged. */
typedef struct {
  told_t *told;
  const char *name;
  notices_t *notices;
} subject_t;

/* Removes the notice that the condition has begun. Returns false where that was
 * told already. */
static bool take_back(const subject_t *s, condition_t condition) {
  for (size_t i = 0; i < s->notices->n; i++) {
    const notice_t *notice = &s->notices->all[i];

    if (!notice->is_over && notice->condition == condition &&
        strcmp(notice->name, s->name) == 0) {
      notices_remove(s->notices, i);
      return true;
    }
  }
  return false;
}

static int64_t time_between(int64_t from, int64_t to) {
  if (from == AIS_TIME_NONE || to == AIS_TIME_NONE)
    return -1;
  return to > from ? to - from : 0;
}

/* With a job, which has taken so many ms (below 0: unknown), the message begins
 * with "Job ID (SOURCE) "; NULL: without. What does not fit is cut off. */
static void write_notice(notice_t *notice, const struct ais_job *job,
                         const char *format, va_list ap) {
  char text[4 * NOTICE_MESSAGE_SIZE];
  int len = 0;

  if (job != NULL) {
    text_copy(notice->job, sizeof(notice->job), job->id);
    text_copy(notice->source, sizeof(notice->source), job->source);
    if (job->end_reason != NULL)
      text_copy(notice->end_reason, sizeof(notice->end_reason),
                job->end_reason);
    len = snprintf(text, sizeof(text), "Job %s (%s) ", notice->job,
                   notice->source);
  }
  vsnprintf(text + len, sizeof(text) - (size_t)len, format, ap);
  text_copy(notice->message, sizeof(notice->message), text);
}

/* The condition holds, or does not: tells that it has begun, or is over, where
 * that is new. What is over before its begin was told is not told at all. Only
 * of failed jobs each is told. */
__attribute__((format(printf, 6, 7))) static void
judge(const subject_t *s, condition_t condition, bool holds,
      const struct ais_job *job, int64_t duration, const char *format, ...) {
  notice_t notice = {
      .condition = condition, .is_over = !holds, .duration = duration};
  bool tells_each = condition == CONDITION_FAILED;
  uint32_t bit = UINT32_C(1) << condition;
  va_list ap;

  if (holds == condition_has_begun(s->told, condition) &&
      !(holds && tells_each))
    return;

  snprintf(notice.name, sizeof(notice.name), "%s", s->name);
  va_start(ap, format);
  write_notice(&notice, job, format, ap);
  va_end(ap);
  if ((holds || tells_each || !take_back(s, condition)) &&
      !notices_add(s->notices, &notice))
    return;
  s->told->bits = holds ? s->told->bits | bit : s->told->bits & ~bit;
}

/* failed: once per failed job, until the next that succeeds. */

/* "WHAT after 12 min: END_REASON", as far as this is known. */
static void judge_end(const subject_t *s, bool failed,
                      const struct ais_job *job) {
  int64_t duration = time_between(job->started_at, job->ended_at);
  const char *reason = job->end_reason != NULL ? job->end_reason : "";
  char span[SPAN_SIZE];

  judge(s, CONDITION_FAILED, failed, job, duration, "%s%s%s%s%s",
        failed ? "has failed" : "has succeeded", duration >= 0 ? " after " : "",
        duration >= 0 ? conditions_span(span, duration) : "",
        reason[0] != '\0' ? ": " : "", reason);
}

/* A job that has ended in a year to come would outlast each success. Further
 * pages have older jobs: one of these is not the next success. */
static void judge_ends(const subject_t *s, const history_t *history,
                       const history_news_t *news, int64_t answered_at) {
  bool had_begun = condition_has_begun(s->told, CONDITION_FAILED);
  int64_t *failed_at = &s->told->failed_at;
  bool is_late = false; /* it came to light when another had succeeded */

  for (size_t i = 0; i < news->nended; i++) {
    const struct ais_job *job = news->ended[i];
    int64_t at = job->ended_at;

    if (job->state == AIS_FAILED) {
      is_late = at != AIS_TIME_NONE && at < history->succeeded_at;
      if (at > *failed_at && at <= answered_at + CLOCKS_DIFFER)
        *failed_at = at;
      judge_end(s, true, job);
    } else if (job->state == AIS_SUCCEEDED &&
               (at == AIS_TIME_NONE || at >= *failed_at)) {
      judge_end(s, false, job);
    }
  }

  if (is_late && !had_begun)
    judge(s, CONDITION_FAILED, false, NULL, -1, "A later job has succeeded");
}

/* stalled */

static void judge_silence(const subject_t *s, const history_news_t *news,
                          int64_t answered_at) {
  const struct ais_job *job = news->silent;
  bool queued = job != NULL && job->state == AIS_QUEUED;
  char span[SPAN_SIZE];

  if (news->all_well)
    judge(s, CONDITION_STALLED, false, NULL, -1, "No job is stalled any more");
  else if (job != NULL)
    judge(s, CONDITION_STALLED, true, job,
          queued ? news->silence : time_between(job->started_at, answered_at),
          "has %s for %s", queued ? "been queued" : "given no sign of life",
          conditions_span(span, news->silence));
}

/* overdue: not of single jobs, which succeed only once. */

/* What was excused until a moment ago has to sync from then on. */
static void judge_age(const subject_t *s, const instance_t *instance,
                      int64_t patience, int64_t answered_at) {
  const history_t *history = &instance->history;
  int64_t created_at = instance->facts.created_at;
  int64_t begin = created_at != AIS_TIME_NONE ? created_at : history->seen_at;
  bool never = history->succeeded_at < begin;
  int64_t age = answered_at - (never ? begin : history->succeeded_at);
  char span[SPAN_SIZE];

  conditions_span(span, age);
  if (age <= patience)
    judge(s, CONDITION_OVERDUE, false, NULL, -1, "A job has succeeded");
  else if (answered_at - patience <= history->excused_at)
    return;
  else if (never)
    judge(s, CONDITION_OVERDUE, true, NULL, -1,
          "No job has succeeded since the instance was %s, %s ago",
          created_at != AIS_TIME_NONE ? "created" : "first seen", span);
  else
    judge(s, CONDITION_OVERDUE, true, NULL, -1, "No job has succeeded for %s",
          span);
}

/* The service pauses what is in error: that makes nothing good. */
static void judge_success(const subject_t *s,
                          const conditions_settings_t *settings,
                          instance_t *instance, int64_t answered_at) {
  const char *excuse = facts_excuse(&instance->facts);
  int64_t patience = settings->overdue_after;

  if (!instance->history.listed || instance->awaited)
    return;

  if (excuse != NULL)
    instance->history.excused_at = answered_at;
  if (patience == OVERDUE_BY_INTERVAL)
    patience =
        OVERDUE_INTERVALS * facts_interval(&instance->facts) + OVERDUE_GRACE;

  if (patience == 0)
    judge(s, CONDITION_OVERDUE, false, NULL, -1,
          "Nobody waits for a success any more");
  else if (excuse == NULL)
    judge_age(s, instance, patience, answered_at);
  else if (!instance->facts.in_error)
    judge(s, CONDITION_OVERDUE, false, NULL, -1, "%s", excuse);
}

void conditions_judge(instance_t *instance,
                      const conditions_settings_t *settings,
                      const history_news_t *news, int64_t answered_at,
                      notices_t *notices) {
  subject_t s = {&instance->told, instance->name, notices};

  judge_ends(&s, &instance->history, news, answered_at);
  judge_silence(&s, news, answered_at);
  if (!news->more)
    judge_success(&s, settings, instance, answered_at);
}

/* instance_error */

/* Whether more is to be waited for than before. */
static bool is_stricter(const facts_t *facts, const facts_t *before) {
  return facts_excuse(facts) == NULL &&
         (facts_excuse(before) != NULL ||
          facts->sync_interval < before->sync_interval);
}

/* What is to sync now, or more often, does so from some moment on since it was
 * told of last; that was not long ago, and what is waited for has that grace.
 */
void conditions_know(instance_t *instance, const facts_t *facts, int64_t now,
                     notices_t *notices) {
  subject_t s = {&instance->told, instance->name, notices};

  if (is_stricter(facts, &instance->facts))
    instance->history.excused_at = now - OVERDUE_GRACE;
  instance->facts = *facts;
  instance->is_known = true;
  judge(&s, CONDITION_INSTANCE_ERROR, facts->in_error, NULL, -1,
        "The instance is %s%s: its status is %s",
        facts->in_error ? "in error" : "not in error any more",
        facts->in_error && facts->paused ? ", and paused" : "",
        facts->status[0] != '\0' ? facts->status : "unknown");
}

void conditions_gone(told_t *told, const char *name, notices_t *notices) {
  subject_t s = {told, name, notices};

  for (int c = 0; c < CONDITIONS_OF_INSTANCE; c++)
    judge(&s, c, false, NULL, -1, "The instance is not there any more");
}

/* Accounts. */

void conditions_count(conditions_account_t *account, enum ais_fault fault,
                      const refusal_t *refusal) {
  bool is_missing = fault == AIS_FAULT_NONE && refusal != NULL;

  if (refusal != NULL)
    account->refusal = *refusal;
  account->had[is_missing ? OUTCOME_MISSING : fault] = true;
}

/* Whoever refuses something can be reached. Answers that were under way may
 * come in after the 429. What has failed beside what is refused may have been
 * in order. INTERNAL is not the API's doing; and of BUDGET a call had failed,
 * and there was none for a repeat. A refusal of a credential may be of one that
 * was replaced a moment ago. */
void conditions_report(conditions_account_t *account, const char *name,
                       notices_t *notices) {
  subject_t s = {&account->told, name, notices};
  const bool *had = account->had;
  bool refused = had[AIS_FAULT_REFUSED];
  bool denied = had[AIS_FAULT_CREDENTIAL];
  bool limited = had[AIS_FAULT_RATE_LIMITED];
  bool answered = had[AIS_FAULT_NONE] || had[OUTCOME_MISSING];
  bool failed = had[AIS_FAULT_CONNECT] || had[AIS_FAULT_TLS] ||
                had[AIS_FAULT_TIMEOUT] || had[AIS_FAULT_SERVER] ||
                had[AIS_FAULT_BODY] || had[AIS_FAULT_BUDGET];
  char code[32] = "", refusal[96];

  /* A condition begins with the last of so many reports, one after the other,
   * that gave reason to. */
  const struct {
    condition_t condition;
    unsigned reports;
    bool begins, ends;
    const char *begun, *over;
  } rules[CONDITIONS_OF_ACCOUNT] = {
      {CONDITION_CREDENTIAL, 2, denied, answered,
       "The API refuses the credential", "The API accepts the credential"},
      {CONDITION_UNREACHABLE, 3, failed,
       answered || refused || denied || limited,
       "The API cannot be reached: no look-up succeeds",
       "The API answers again"},
      {CONDITION_RATE_LIMITED, 1, limited, !limited && (answered || refused),
       "The rate limit of the API is reached (429)",
       "The API accepts calls again"},
      {CONDITION_REFUSED, 3,
       (had[OUTCOME_MISSING] || refused) && !denied && !limited && !failed,
       had[AIS_FAULT_NONE], refusal, "The API answers a look-up again"},
  };

  if (account->refusal.code != 0)
    snprintf(code, sizeof(code), " (code %d)", account->refusal.code);
  snprintf(refusal, sizeof(refusal),
           "Every look-up is refused: the API answers %d%s",
           account->refusal.status, code);
  for (size_t i = 0; i < CONDITIONS_OF_ACCOUNT; i++) {
    unsigned *reports = &account->reports[i];

    *reports = rules[i].ends ? 0 : *reports + rules[i].begins;
    if (rules[i].ends)
      judge(&s, rules[i].condition, false, NULL, -1, "%s", rules[i].over);
    else if (rules[i].begins && *reports >= rules[i].reports)
      judge(&s, rules[i].condition, true, NULL, -1, "%s", rules[i].begun);
  }
  memset(account->had, 0, sizeof(account->had));
}
