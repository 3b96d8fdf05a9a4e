#ifndef AISEARCH_ITEMS_H
#define AISEARCH_ITEMS_H

#include "ais_answer.h"

/*
 * How many items of an instance are in which state. That is asked for right
 * after looks at its jobs, as further pages of them are, so that it waits and
 * is counted as they are: after each job that has ended, and else once in four
 * idle intervals. Not after the first look, when all instances are looked at.
 *
 * Pure, without collectd in it. Times are ms of a clock that nobody sets.
 */

#define ITEMS_LOOKS 4

typedef struct {
  bool known; /* and not "degraded" */
  struct ais_stats stats;

  bool begun;
  int64_t due_at;
} items_t;

#pragma GCC visibility push(hidden)

/* A look at the jobs is over. Whether to ask for the items now. */
bool aisearch_items_due(items_t *items, bool has_ended, int64_t now);

/* They were asked for. stats is NULL where there was no good answer; is_soon:
 * there may be one soon. idle is the idle interval, as stretched as it is. */
void aisearch_items_take(items_t *items, const struct ais_stats *stats,
                         bool is_soon, int64_t idle, int64_t now);

#pragma GCC visibility pop

#endif
