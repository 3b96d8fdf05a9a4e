#ifndef CONDITIONS_H
#define CONDITIONS_H

#include "ais_policy.h"

#include "instance.h"

/*
 * Decides what is worth a notification, and when it is over. Each condition of
 * an instance or an account begins once and ends once. Each begin and end
 * creates a notice, which waits until it is in the state file, and then until a
 * report sends it as a notification.
 *
 * Pure: independent of collectd. All times are milliseconds since the epoch.
 */

/* Overdue after twice the instance's own sync interval and 15 minutes. */
#define OVERDUE_BY_INTERVAL (-1)

#define NOTICE_MESSAGE_SIZE 256 /* as in collectd's notification_t */

typedef struct {
  condition_t condition;
  bool is_over;   /* the condition has ended; otherwise it has begun */
  char name[128]; /* plugin_instance */
  char message[NOTICE_MESSAGE_SIZE];

  /* The job in question; empty, and a negative duration, if there is none. */
  char job[72];
  char source[24];
  char end_reason[256];
  int64_t duration; /* ms */
} notice_t;

/* An account's pending notices, oldest first. */
typedef struct notices_s {
  notice_t *all; /* allocated; freed by the owner */
  size_t n;
  size_t written; /* the first ones: the state file has them, send them */
  size_t writing; /* the first ones: the state file being written has them */
  bool changed;   /* since it was generated */
} notices_t;

#define CONDITIONS_OF_ACCOUNT (CONDITIONS - CONDITIONS_OF_INSTANCE)

/* The outcome of a request is a fault, NONE for a good response, or this one if
 * the resource does not exist. */
#define OUTCOME_MISSING AIS_FAULTS

/* The conditions of an account. */
typedef struct {
  reported_t reported;
  bool had[OUTCOME_MISSING + 1]; /* the outcomes since the last report */
  int status, code;              /* of the API's last refusal; code 0: none */
  /* consecutive reports with a reason for the condition, and none to end it */
  unsigned reports[CONDITIONS_OF_ACCOUNT];
} conditions_account_t;

/* Whether the condition's begin is a failure and not just a warning. */
bool conditions_is_failure(condition_t condition);

/* Evaluates an instance's conditions after a good response, with the news from
 * its history. A job must succeed within overdue_after ms (0: no limit; or
 * OVERDUE_BY_INTERVAL). If no success is expected at present, records that in
 * the history. */
void conditions_judge(instance_t *instance, int64_t overdue_after,
                      const history_news_t *news, int64_t answered_at);

/* Stores what the API says about the instance itself and evaluates the
 * condition that depends on it. */
void conditions_know(instance_t *instance, const facts_t *facts, int64_t now);

/* Ends all conditions of an instance that is gone. */
void conditions_gone(reported_t *reported);

/* Counts a completed request of the account, unless it was postponed for lack
 * of budget. status and code are those of a refusal; otherwise status is 0. */
void conditions_count(conditions_account_t *account, enum ais_fault fault,
                      int status, int code);

/* Evaluates an account's conditions at the start of a report, by the requests
 * that were completed since the last one. */
void conditions_report(conditions_account_t *account);

/* Appends a copy of the notice. Returns false if out of memory. */
bool notices_add(notices_t *notices, const notice_t *notice);

/* Removes the first notice and copies it to *notice. Returns false if there is
 * none that may be sent. */
bool notices_take(notices_t *notices, notice_t *notice);

/* Formats a time span as "45 s", "12 min", "13 h" or "3 d". Returns text. */
#define SPAN_SIZE 24
const char *conditions_span(char text[SPAN_SIZE], int64_t ms);

#endif
