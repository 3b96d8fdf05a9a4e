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

  history_t history; /* the account's lock */

  /* of the thread that fetches */
  outbox_told_t told;
  int64_t created_at; /* as far as it is known, or AIS_TIME_NONE */
  bool paused;
  bool awaited; /* a list of instances is still to tell these two */
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

/* The instance is not there any more. Under the account's lock. */
void aisearch_watch_end(watch_t *watch);

#pragma GCC visibility pop

#endif
