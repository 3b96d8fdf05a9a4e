#ifndef AISEARCH_WATCH_H
#define AISEARCH_WATCH_H

#include "conditions.h"
#include "history.h"

/*
 * What is remembered of an instance from look to look, over all look-ups that
 * report by its name, and over restarts.
 */

typedef struct account_s account_t;

typedef struct {
  account_t *account;
  char *plugin_instance;
  size_t users; /* look-ups */

  /* the account's lock */
  history_t history;
  conditions_instance_t instance;

  outbox_told_t told; /* of the thread that fetches */
} watch_t;

#pragma GCC visibility push(hidden)

/* Returns the one that others of this name have, or else a new one; NULL where
 * memory runs out. */
watch_t *aisearch_watch_join(account_t *account, char *plugin_instance);

/* The last one frees it. */
void aisearch_watch_leave(watch_t *watch);

/* An answer has come in, for a page of the list, or for a job where page is 0.
 * Under the account's lock. */
void aisearch_watch_look(watch_t *watch, const struct ais_answer *answer,
                         unsigned page, int64_t answered_at,
                         history_news_t *news);

/* The API has told of the instance itself. Under the account's lock. */
void aisearch_watch_know(watch_t *watch, const facts_t *facts);

/* How long there is between two of its scheduled jobs, ms; 0: it is not known
 * yet, or none is to come. Under the account's lock. */
int64_t aisearch_watch_sync_interval(const watch_t *watch);

/* The instance is not there any more. Under the account's lock. */
void aisearch_watch_end(watch_t *watch);

#pragma GCC visibility pop

#endif
