#ifndef AISEARCH_CONDITIONS_H
#define AISEARCH_CONDITIONS_H

#include "ais_policy.h"

#include "facts.h"
#include "history.h"
#include "outbox.h"

/*
 * What is worth a notification, and when it is over. Each condition of an
 * instance or an account begins once and ends once; what has begun or ended
 * goes to the account's outbox.
 *
 * Pure, without collectd in it. All times are milliseconds since the epoch.
 */

/* Two of the instance's own sync intervals, and a quarter of an hour. */
#define OVERDUE_BY_INTERVAL (-1)

typedef struct {
  int64_t stalled_after; /* 0: never */
  int64_t overdue_after; /* 0: never; or OVERDUE_BY_INTERVAL */
} conditions_settings_t;

typedef struct {
  const char *plugin_instance;
  facts_t facts;
  bool awaited; /* it is not known yet whether they can be known */
} conditions_instance_t;

/* What the API says no with. */
typedef struct {
  int status;
  int code; /* 0: none */
} refusal_t;

/* Of an account: what came of its look-ups. */
typedef struct {
  outbox_told_t told;

  /* since the last read */
  size_t good;       /* the API has told what was asked for */
  size_t missing;    /* that there is no such thing */
  size_t refused;    /* no, in other words */
  size_t denied;     /* the credential was refused */
  size_t limited;    /* 429 */
  size_t failed;     /* anything else */
  refusal_t refusal; /* the latest one */

  unsigned denied_reads; /* and nothing good since */
  unsigned failed_reads;
  unsigned refused_reads;
} conditions_account_t;

#pragma GCC visibility push(hidden)

/* A good answer has come in, and the history has told its news. Notes in it
 * that nobody waits for a success now, where that is so. */
void aisearch_conditions_look(outbox_told_t *told,
                              const conditions_settings_t *settings,
                              const conditions_instance_t *instance,
                              history_t *history, const history_news_t *news,
                              int64_t answered_at, outbox_t *outbox);

/* The API has told of the instance itself, which is known from now on. */
void aisearch_conditions_know(outbox_told_t *told,
                              conditions_instance_t *instance,
                              history_t *history, const facts_t *facts,
                              int64_t now, outbox_t *outbox);

/* The instance is gone, and all its conditions with it. */
void aisearch_conditions_gone(outbox_told_t *told, const char *plugin_instance,
                              outbox_t *outbox);

/* A look-up of the account has ended; not one that the budget put off. refusal
 * is what the API says no with; NULL where it does not. */
void aisearch_conditions_outcome(conditions_account_t *account,
                                 enum ais_fault fault,
                                 const refusal_t *refusal);

/* The account is read: judges what has come since the last time. */
void aisearch_conditions_read(conditions_account_t *account, const char *name,
                              outbox_t *outbox);

/* For the state file: what was told, as the names of conditions with commas
 * between, those that are part of a summary with a "+" behind. Parsing returns
 * false for what is no such text; *told is then empty. */
#define TOLD_TEXT_SIZE 256

void aisearch_told_print(const outbox_told_t *told, char text[TOLD_TEXT_SIZE]);
bool aisearch_told_parse(outbox_told_t *told, const char *text);

#pragma GCC visibility pop

#endif
