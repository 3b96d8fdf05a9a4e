#ifndef AISEARCH_CONDITIONS_H
#define AISEARCH_CONDITIONS_H

#include "ais_policy.h"

#include "history.h"
#include "outbox.h"

/*
 * What is worth a notification, and when it is over. Each condition of an
 * instance or an account begins once and ends once; what has begun or ended
 * goes to the account's outbox.
 *
 * Pure, without collectd in it. All times are milliseconds since the epoch.
 */

typedef struct {
  int64_t stalled_after;
  int64_t overdue_after;
} conditions_settings_t;

/* What is known of an instance besides its jobs. */
typedef struct {
  const char *plugin_instance;
  int64_t created_at; /* or AIS_TIME_NONE */
  bool paused;
  bool awaited; /* what is known of these two: it is still to come */
} conditions_instance_t;

/* Of an account: what came of its look-ups. */
typedef struct {
  outbox_told_t told;

  /* since the last read */
  size_t good; /* the API has answered, and be it that there is no such job */
  size_t refused; /* the credential was */
  size_t limited; /* 429 */
  size_t failed;  /* anything else */

  unsigned refused_reads; /* and nothing good since */
  unsigned failed_reads;
} conditions_account_t;

#pragma GCC visibility push(hidden)

/* A good answer has come in, and the history has told its news. */
void aisearch_conditions_look(outbox_told_t *told,
                              const conditions_settings_t *settings,
                              const conditions_instance_t *instance,
                              const history_t *history,
                              const history_news_t *news, int64_t answered_at,
                              outbox_t *outbox);

/* The instance is gone, and all its conditions with it. */
void aisearch_conditions_gone(outbox_told_t *told, const char *plugin_instance,
                              outbox_t *outbox);

/* A look-up of the account has ended; not one that the budget put off. */
void aisearch_conditions_outcome(conditions_account_t *account,
                                 enum ais_fault fault);

/* The account is read: judges what has come since the last time. */
void aisearch_conditions_read(conditions_account_t *account, const char *name,
                              outbox_t *outbox);

/* For the state file: what was told, as the names of conditions with commas
 * between, those that are part of a summary with a "+" behind. Parsing returns
 * false for what is no such text; *told is then empty. */
#define TOLD_TEXT_SIZE 160

void aisearch_told_print(const outbox_told_t *told, char text[TOLD_TEXT_SIZE]);
bool aisearch_told_parse(outbox_told_t *told, const char *text);

#pragma GCC visibility pop

#endif
