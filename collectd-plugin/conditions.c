/* Which conditions begin and end, and the notices of that. */

#include "conditions.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ais_utf8.h"

/* Reports with something that was to be had, and none of it was. */
#define UNREACHABLE_READS 3

/* One refusal may be of a credential that was replaced a moment ago. */
#define DENIED_READS 2

#define REFUSED_READS 3

/* A scheduled job may be late, and takes its time: the next success is to come
 * within this. */
#define OVERDUE_INTERVALS 2
#define OVERDUE_GRACE (INT64_C(15) * 60 * 1000)

bool conditions_is_failure(condition_t condition) {
  return condition == CONDITION_FAILED ||
         condition == CONDITION_INSTANCE_ERROR ||
         condition == CONDITION_CREDENTIAL;
}

/* Text of the API's is made printable, and cut where there is no room; never
 * inside of a character. */

/* Copies whole characters while there is room, and ends what had to be cut with
 * "...". */
static void text_copy(char *to, size_t size, const char *from) {
  size_t len = 0;
  size_t last_fit = 0; /* so long, and the dots fit behind */
  size_t n;

  for (; *from != '\0'; from += n > 0 ? n : 1) {
    struct ais_str rest = {from, strnlen(from, AIS_UTF8_MAX)};

    n = ais_utf8_sequence(rest);
    bool is_odd = n == 0 || ais_utf8_control(rest) > 0;
    size_t width = is_odd ? 1 : n;

    if (len + width >= size) {
      snprintf(to + last_fit, size - last_fit, "...");
      return;
    }

    if (is_odd)
      to[len] = n == 0 ? '?' : ' ';
    else
      memcpy(to + len, from, n);
    len += width;
    if (len + 3 < size)
      last_fit = len;
  }
  to[len] = '\0';
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
  notice_t **end = &notices->first;
  notice_t *copy = malloc(sizeof(*copy));

  if (copy == NULL)
    return false;

  *copy = *notice;
  copy->next = NULL;
  while (*end != NULL)
    end = &(*end)->next;
  *end = copy;
  notices->changed = true;
  return true;
}

size_t notices_count(const notices_t *notices, notice_stage_t stage) {
  size_t n = 0;

  for (const notice_t *i = notices->first; i != NULL; i = i->next)
    n += i->stage == stage;
  return n;
}

void notices_move(notices_t *notices, notice_stage_t from, notice_stage_t to) {
  for (notice_t *i = notices->first; i != NULL; i = i->next)
    if (i->stage == from)
      i->stage = to;
}

notice_t *notices_take(notices_t *notices) {
  notice_t *first = notices->first;

  if (first == NULL || first->stage != NOTICE_WRITTEN)
    return NULL;
  notices->first = first->next;
  notices->changed = true;
  return first;
}

void notices_free(notices_t *notices) {
  while (notices->first != NULL) {
    notice_t *next = notices->first->next;

    free(notices->first);
    notices->first = next;
  }
}

/* Returns whether nobody was told yet that the condition has begun, and nobody
 * needs to be any more. */
static bool notices_drop(notices_t *notices, const char *name,
                         condition_t condition) {
  notice_t **place = &notices->first;

  while (*place != NULL &&
         ((*place)->is_over || (*place)->condition != condition ||
          strcmp((*place)->name, name) != 0))
    place = &(*place)->next;
  if (*place == NULL)
    return false;

  notice_t *found = *place;
  *place = found->next;
  free(found);
  notices->changed = true;
  return true;
}

/* Whose conditions are judged. */
typedef struct {
  told_t *told;
  const char *name;
  notices_t *notices;
} subject_t;

static bool notice_put(const subject_t *s, notice_t notice,
                       condition_t condition, bool is_over) {
  notice.condition = condition;
  notice.is_over = is_over;
  snprintf(notice.name, sizeof(notice.name), "%s", s->name);
  return notices_add(s->notices, &notice);
}

static void condition_begin(const subject_t *s, condition_t condition,
                            notice_t notice) {
  if (notice_put(s, notice, condition, /* is_over = */ false))
    s->told->bits |= UINT32_C(1) << condition;
}

/* Where nobody was told that it had begun, nobody is told. Only of failed jobs
 * each is told, also where that is over. */
static void condition_end(const subject_t *s, condition_t condition,
                          notice_t notice) {
  if (!condition_has_begun(s->told, condition))
    return;

  if ((condition != CONDITION_FAILED &&
       notices_drop(s->notices, s->name, condition)) ||
      notice_put(s, notice, condition, /* is_over = */ true))
    s->told->bits &= ~(UINT32_C(1) << condition);
}

__attribute__((format(printf, 1, 2))) static notice_t
notice_say(const char *format, ...) {
  notice_t notice = {.duration = -1};
  va_list ap;

  va_start(ap, format);
  vsnprintf(notice.message, sizeof(notice.message), format, ap);
  va_end(ap);
  return notice;
}

static int64_t time_between(int64_t from, int64_t to) {
  if (from == AIS_TIME_NONE || to == AIS_TIME_NONE)
    return -1;
  return to > from ? to - from : 0;
}

/* About this job, which has taken so many ms; below 0: unknown. */
static notice_t notice_job(const struct ais_job *job, int64_t duration) {
  notice_t notice = {.duration = duration};

  text_copy(notice.job, sizeof(notice.job), job->id);
  text_copy(notice.source, sizeof(notice.source), job->source);
  if (job->end_reason != NULL)
    text_copy(notice.end_reason, sizeof(notice.end_reason), job->end_reason);
  return notice;
}

/* "Job ID (SOURCE) WHAT after 12 min: END_REASON", as far as this is known. All
 * but the reason fits; that is cut to what is left. */
static notice_t notice_end(const struct ais_job *job, const char *what) {
  int64_t duration = time_between(job->started_at, job->ended_at);
  notice_t n = notice_job(job, duration);
  char span[SPAN_SIZE];
  int len = snprintf(n.message, sizeof(n.message), "Job %s (%s) %s%s%s", n.job,
                     n.source, what, duration >= 0 ? " after " : "",
                     duration >= 0 ? conditions_span(span, duration) : "");

  if (n.end_reason[0] != '\0') {
    memcpy(n.message + len, ": ", 3);
    text_copy(n.message + len + 2, sizeof(n.message) - (size_t)len - 2,
              n.end_reason);
  }
  return n;
}

/* failed: once per failed job, until the next that succeeds. */

/* A job that has ended in a year to come would outlast each success. Further
 * pages have older jobs: one of these is not the next success. */
static void judge_ends(const subject_t *s, const history_t *history,
                       const history_news_t *news, int64_t answered_at) {
  bool had_begun = condition_has_begun(s->told, CONDITION_FAILED);
  const struct ais_job *failed = NULL;

  for (size_t i = 0; i < news->nended; i++) {
    const struct ais_job *job = news->ended[i];

    if (job->state == AIS_FAILED) {
      failed = job;
      if (job->ended_at > s->told->failed_at &&
          job->ended_at <= answered_at + CLOCKS_DIFFER)
        s->told->failed_at = job->ended_at;
      condition_begin(s, CONDITION_FAILED, notice_end(job, "has failed"));
    } else if (job->state == AIS_SUCCEEDED &&
               (job->ended_at == AIS_TIME_NONE ||
                job->ended_at >= s->told->failed_at)) {
      condition_end(s, CONDITION_FAILED, notice_end(job, "has succeeded"));
    }
  }

  /* It came to light late. */
  if (!had_begun && failed != NULL && failed->ended_at != AIS_TIME_NONE &&
      failed->ended_at < history->succeeded_at)
    condition_end(s, CONDITION_FAILED, notice_say("A later job has succeeded"));
}

/* stalled */

static void judge_silence(const subject_t *s, const history_news_t *news,
                          int64_t answered_at) {
  const struct ais_job *job = news->silent;
  bool queued = job != NULL && job->state == AIS_QUEUED;
  char span[SPAN_SIZE];

  if (news->all_well)
    condition_end(s, CONDITION_STALLED,
                  notice_say("No job is stalled any more"));
  if (news->all_well || job == NULL ||
      condition_has_begun(s->told, CONDITION_STALLED))
    return;

  notice_t notice = notice_job(
      job, queued ? news->silence : time_between(job->started_at, answered_at));
  snprintf(notice.message, sizeof(notice.message), "Job %s (%s) has %s for %s",
           notice.job, notice.source,
           queued ? "been queued" : "given no sign of life",
           conditions_span(span, news->silence));
  condition_begin(s, CONDITION_STALLED, notice);
}

/* overdue: not of single jobs, which succeed only once. */

static int64_t overdue_patience(const conditions_settings_t *settings,
                                const facts_t *facts) {
  if (settings->overdue_after != OVERDUE_BY_INTERVAL)
    return settings->overdue_after;
  return OVERDUE_INTERVALS * facts_interval(facts) + OVERDUE_GRACE;
}

static void begin_overdue(const subject_t *s, const facts_t *facts, bool never,
                          int64_t age) {
  char span[SPAN_SIZE];

  conditions_span(span, age);
  condition_begin(
      s, CONDITION_OVERDUE,
      never ? notice_say(
                  "No job has succeeded since the instance was %s, %s ago",
                  facts->created_at != AIS_TIME_NONE ? "created" : "first seen",
                  span)
            : notice_say("No job has succeeded for %s", span));
}

/* What was excused until a moment ago has to sync from then on. */
static void judge_age(const subject_t *s, const facts_t *facts,
                      const history_t *history, int64_t patience,
                      int64_t answered_at) {
  int64_t begin =
      facts->created_at != AIS_TIME_NONE ? facts->created_at : history->seen_at;
  bool never = history->succeeded_at < begin;
  int64_t since = never ? begin : history->succeeded_at;

  if (answered_at - since <= patience)
    condition_end(s, CONDITION_OVERDUE, notice_say("A job has succeeded"));
  else if (!condition_has_begun(s->told, CONDITION_OVERDUE) &&
           answered_at - patience > history->excused_at)
    begin_overdue(s, facts, never, answered_at - since);
}

/* The service pauses what is in error: that makes nothing good. */
static void judge_success(const subject_t *s,
                          const conditions_settings_t *settings,
                          instance_t *instance, int64_t answered_at) {
  const char *excuse = facts_excuse(&instance->facts);

  if (!instance->history.listed || instance->awaited)
    return;

  if (settings->overdue_after == 0) {
    condition_end(s, CONDITION_OVERDUE,
                  notice_say("Nobody waits for a success any more"));
  } else if (excuse != NULL) {
    instance->history.excused_at = answered_at;
    if (!instance->facts.in_error)
      condition_end(s, CONDITION_OVERDUE, notice_say("%s", excuse));
  } else {
    judge_age(s, &instance->facts, &instance->history,
              overdue_patience(settings, &instance->facts), answered_at);
  }
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
  notice_t notice =
      notice_say("The instance is %s%s: its status is %s",
                 facts->in_error ? "in error" : "not in error any more",
                 facts->in_error && facts->paused ? ", and paused" : "",
                 facts->status[0] != '\0' ? facts->status : "unknown");

  if (is_stricter(facts, &instance->facts))
    instance->history.excused_at = now - OVERDUE_GRACE;
  instance->facts = *facts;
  instance->is_known = true;

  if (!facts->in_error)
    condition_end(&s, CONDITION_INSTANCE_ERROR, notice);
  else if (!condition_has_begun(s.told, CONDITION_INSTANCE_ERROR))
    condition_begin(&s, CONDITION_INSTANCE_ERROR, notice);
}

void conditions_gone(told_t *told, const char *name, notices_t *notices) {
  subject_t s = {told, name, notices};

  for (int c = 0; c < CONDITIONS_OF_INSTANCE; c++)
    condition_end(&s, c, notice_say("The instance is not there any more"));
}

/* Accounts. */

void conditions_count(conditions_account_t *account, enum ais_fault fault,
                      const refusal_t *refusal) {
  bool is_missing = fault == AIS_FAULT_NONE && refusal != NULL;

  if (refusal != NULL)
    account->refusal = *refusal;
  account->missing += is_missing;
  account->ended[fault] += !is_missing;
}

/* It begins where all that there was for so many reports is like that. */
static void judge_account(const subject_t *s, condition_t condition,
                          bool begins, unsigned *reports, unsigned most,
                          bool ends, notice_t notice, const char *over) {
  if (ends) {
    *reports = 0;
    condition_end(s, condition, notice_say("%s", over));
  } else if (begins && ++*reports >= most &&
             !condition_has_begun(s->told, condition)) {
    condition_begin(s, condition, notice);
  }
}

static notice_t say_refused(const refusal_t *refusal) {
  char code[32] = "";

  if (refusal->code != 0)
    snprintf(code, sizeof(code), " (code %d)", refusal->code);
  return notice_say("Every look-up is refused: the API answers %d%s",
                    refusal->status, code);
}

/* Whoever refuses something can be reached. Answers that were under way may
 * come in after the 429. What has failed beside what is refused may have been
 * in order. INTERNAL is not the API's doing; and of BUDGET a call had failed,
 * and there was none for a repeat. */
void conditions_report(conditions_account_t *a, const char *name,
                       notices_t *notices) {
  subject_t s = {&a->told, name, notices};
  size_t answered = a->ended[AIS_FAULT_NONE] + a->missing;
  size_t refused = a->ended[AIS_FAULT_REFUSED];
  size_t denied = a->ended[AIS_FAULT_CREDENTIAL];
  size_t limited = a->ended[AIS_FAULT_RATE_LIMITED];
  size_t failed = 0;
  unsigned at_once = 0;

  for (int fault = AIS_FAULT_CONNECT; fault < AIS_FAULT_INTERNAL; fault++)
    failed += a->ended[fault];
  failed -= refused + denied + limited;

  judge_account(&s, CONDITION_CREDENTIAL, denied > 0, &a->denied_reads,
                DENIED_READS, answered > 0,
                notice_say("The API refuses the credential"),
                "The API accepts the credential");
  judge_account(&s, CONDITION_UNREACHABLE, failed > 0, &a->failed_reads,
                UNREACHABLE_READS, answered + refused + denied + limited > 0,
                notice_say("The API cannot be reached: no look-up succeeds"),
                "The API answers again");
  judge_account(&s, CONDITION_RATE_LIMITED, limited > 0, &at_once, 1,
                limited == 0 && answered + refused > 0,
                notice_say("The rate limit of the API is reached (429)"),
                "The API accepts calls again");
  judge_account(&s, CONDITION_REFUSED,
                a->missing + refused > 0 && denied + limited + failed == 0,
                &a->refused_reads, REFUSED_READS, a->ended[AIS_FAULT_NONE] > 0,
                say_refused(&a->refusal), "The API answers a look-up again");

  memset(a->ended, 0, sizeof(a->ended));
  a->missing = 0;
}
