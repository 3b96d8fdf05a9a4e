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
} conditions_instance_t;

/* Of an account: what came of its look-ups. */
typedef struct {
  outbox_told_t told;

  /* since the last read */
  size_t good;    /* answers of the API, its "not found" included */
  size_t refused; /* the credential was */
  size_t limited; /* 429 */
  size_t failed;  /* anything else */

  unsigned refused_reads; /* one after the other, and nothing good between */
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
void aisearch_conditions_gone(outbox_told_t *told,
                              const conditions_instance_t *instance,
                              outbox_t *outbox);

/* A look-up of the account has ended; not one that the budget put off. */
void aisearch_conditions_outcome(conditions_account_t *account,
                                 enum ais_fault fault);

/* The account is read: judges what has come since the last time. */
void aisearch_conditions_read(conditions_account_t *account, const char *name,
                              outbox_t *outbox);

/* "failed", "stalled", "overdue", "credential", "unreachable", "rate_limited":
 * the type instance. */
const char *aisearch_condition_name(condition_t condition);

/* For the state file, as words with spaces between: what was told. Parsing
 * returns false for what is no such text. */
size_t aisearch_told_print(const outbox_told_t *told, char *buffer,
                           size_t size);
bool aisearch_told_parse(outbox_told_t *told, const char *text);

#pragma GCC visibility pop

#endif
