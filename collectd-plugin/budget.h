#ifndef AISEARCH_BUDGET_H
#define AISEARCH_BUDGET_H

#include "ais_budget.h"
#include "ais_client.h"

/*
 * The calls that one credential may send, and how its look-ups share them. In
 * each round all look-ups are due; as many begin as there is room for, at the
 * pace at which the limits last for ever. So where they are too small for all,
 * everybody is looked at in turn, at an even distance, rather than all at once
 * and then nobody for long.
 *
 * Pure, without collectd in it. All times are milliseconds of one clock that
 * nobody sets, but for epoch.
 */

typedef struct {
  struct ais_budget_limit limits[AIS_BUDGET_LIMITS];
  size_t nlimits;
  int64_t hold;   /* the longest time that a call may take */
  size_t lookups; /* how many share it */

  struct ais_budget calls;
  ais_ticket over; /* of the latest call that is over; AIS_TICKET_NONE: told */

  double pace;   /* calls per round */
  double credit; /* what is left of them in this one; below 0: spent ahead */
  size_t due;    /* look-ups of this round that have not begun */
  size_t unsent; /* that have begun, and not sent a request */

  bool is_short;     /* not all look-ups of the last round have begun */
  bool scarce;       /* it does not do for all look-ups of a round */
  int64_t scarce_at; /* when that was last so */
} budget_t;

/* What the end of a round brings to light. */
typedef enum {
  BUDGET_NO_NEWS,
  BUDGET_SCARCE, /* from now on */
  BUDGET_AMPLE,  /* again, for as long as the longest limit */
} budget_news_t;

#pragma GCC visibility push(hidden)

/* Adds a limit: all of them hold. Returns -1 where there are too many. */
int aisearch_budget_limit(budget_t *b, struct ais_budget_limit limit);

/* Begins with nothing spent, once all limits, hold and lookups are known. */
void aisearch_budget_start(budget_t *b, int64_t interval, int64_t now);

/* Begins a round: all look-ups are due, or none while no calls are wanted. */
budget_news_t aisearch_budget_round(budget_t *b, int64_t now);

/* Whether a look-up may begin now; then one has begun, or one that was due is
 * left out. */
bool aisearch_budget_ready(budget_t *b, int64_t now);
void aisearch_budget_begin(budget_t *b);
void aisearch_budget_skip(budget_t *b);

/* How long until a look-up may begin, if nothing else happens; -1: for ever. */
int64_t aisearch_budget_wait(budget_t *b, int64_t now);

/* The two sides of the gate; see ais_client.h. */
bool aisearch_budget_enter(budget_t *b, uint64_t *ticket, int64_t now);
void aisearch_budget_leave(budget_t *b, uint64_t ticket, bool given_up,
                           int64_t now);

/*
 * The end of a look-up: what it has cost, and what its answer says of calls to
 * come. A HIT of an nginx in between has cost nothing. (EXPIRED and MISS have,
 * UPDATING and STALE may have: nginx asks in the background then.)
 *
 * Returns for how long the answer asks for no more calls, 0 where it does not.
 */
int64_t aisearch_budget_settle(budget_t *b, const struct ais_response *response,
                               int64_t now, int64_t epoch);

/* How many calls there are for a round: by pace, or what is left now where that
 * is less. */
double aisearch_budget_allows(budget_t *b, int64_t now);

#pragma GCC visibility pop

#endif
