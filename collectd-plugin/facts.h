#ifndef AISEARCH_FACTS_H
#define AISEARCH_FACTS_H

#include "ais_answer.h"

/*
 * What the API tells of an instance itself, as far as it matters to who watches
 * its jobs.
 *
 * Pure, without collectd in it. Times are milliseconds since the epoch.
 */

/* Where the API does not tell it: its default. */
#define FACTS_SYNC_INTERVAL (INT64_C(21600) * 1000) /* ms */

typedef struct {
  int64_t created_at;       /* or AIS_TIME_NONE */
  int64_t sync_interval;    /* ms between two scheduled jobs; 0: not known */
  enum ais_indexed indexed; /* whether there are any */
  bool disabled;            /* its owner wants none */
  bool paused;              /* the same, or the service has stopped them */
  bool in_error;
  char status[32]; /* the API's word, in printable ASCII; empty: none */
} facts_t;

#pragma GCC visibility push(hidden)

/* Nothing is known. */
void aisearch_facts_init(facts_t *facts);

void aisearch_facts_take(facts_t *facts, const struct ais_instance *instance);

bool aisearch_facts_equal(const facts_t *a, const facts_t *b);

/* Why no scheduled job is to come, as a sentence; NULL: they are to come. What
 * is paused while it is in error has not been paused by its owner. */
const char *aisearch_facts_excuse(const facts_t *facts);

/* What there is between two scheduled jobs, by all that is known. */
int64_t aisearch_facts_interval(const facts_t *facts);

#pragma GCC visibility pop

#endif
