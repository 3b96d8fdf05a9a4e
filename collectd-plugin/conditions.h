#ifndef CONDITIONS_H
#define CONDITIONS_H

#include "ais_policy.h"

#include "instance.h"

/*
 * What is worth a notification, and when it is over. Each condition of an
 * instance or an account begins once and ends once. What has begun or ended
 * becomes a notice, which waits until the state file has it, and then until a
 * report tells it.
 *
 * Pure, without collectd in it. All times are milliseconds since the epoch.
 */

/* Two of the instance's own sync intervals, and a quarter of an hour. */
#define OVERDUE_BY_INTERVAL (-1)

#define NOTICE_MESSAGE_SIZE 256 /* collectd's */

typedef struct {
  condition_t condition;
  bool is_over;   /* it has ended; or it has begun */
  char name[128]; /* the plugin instance */
  char message[NOTICE_MESSAGE_SIZE];

  /* Of the job that it is about: empty, and below 0, where there is none. */
  char job[72];
  char source[24];
  char end_reason[256];
  int64_t duration; /* ms */
} notice_t;

/* The notices of an account that wait, in order. */
typedef struct notices_s {
  notice_t *all; /* freed by who has them */
  size_t n;
  size_t written; /* so many of the first ones are in the state file, and may be
                     told */
  size_t writing; /* so many will be, once it is written */
  bool changed;   /* since then */
} notices_t;

#define CONDITIONS_OF_ACCOUNT (CONDITIONS - CONDITIONS_OF_INSTANCE)

/* What may come of a request: a fault, NONE where the API has told what was
 * asked for, or that there is no such thing. */
#define OUTCOME_MISSING AIS_FAULTS

/* Of an account. */
typedef struct {
  told_t told;
  bool had[OUTCOME_MISSING + 1]; /* which there were since the last report */
  int status, code; /* that the API has said no with last; code 0: none */
  unsigned reports[CONDITIONS_OF_ACCOUNT]; /* with reason for it to begin, and
                                              none to end since */
} conditions_account_t;

/* Whether it begins with a failure, and not only a warning. */
bool conditions_is_failure(condition_t condition);

/* A good answer has come in, and the history has told its news. A success is to
 * come within overdue_after (0: never; or OVERDUE_BY_INTERVAL). Notes in the
 * history that nobody waits for a success now, where that is so. */
void conditions_judge(instance_t *instance, int64_t overdue_after,
                      const history_news_t *news, int64_t answered_at);

/* The API has told of the instance itself, which is known from now on. */
void conditions_know(instance_t *instance, const facts_t *facts, int64_t now);

/* The instance is gone, and all its conditions with it. */
void conditions_gone(told_t *told);

/* A request of the account has ended; not one that the budget put off. Where
 * the API says no, status and code are what it says it with; else status is 0.
 */
void conditions_count(conditions_account_t *account, enum ais_fault fault,
                      int status, int code);

/* A report begins: judges what has come since the last one. */
void conditions_report(conditions_account_t *account);

/* Puts a copy of one at the end. Returns false where memory runs out. */
bool notices_add(notices_t *notices, const notice_t *notice);

/* Takes the first one, if it may be told; or returns false. */
bool notices_take(notices_t *notices, notice_t *notice);

/* Says how long something took, as "45 s", "12 min", "13 h" or "3 d". */
#define SPAN_SIZE 24
const char *conditions_span(char text[SPAN_SIZE], int64_t ms);

#endif
