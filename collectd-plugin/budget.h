#ifndef AISEARCH_BUDGET_H
#define AISEARCH_BUDGET_H

#include "ais_budget.h"
#include "ais_client.h"
#include "ais_clock.h"

/*
 * The calls that one credential may send; all limits are always met exactly. A
 * lookup starts only if the budget allows its request and those of all lookups
 * that have started before it.
 *
 * Pure: independent of collectd. All times are milliseconds of one monotonic
 * clock.
 */

/* Some requests may spend only a part of the budget, and of what the API says
 * is left, no matter how much the others leave unused. */
typedef enum {
  BUDGET_ALL,       /* all of it */
  BUDGET_DISCOVERY, /* half: lists that discover instances */
  BUDGET_FACTS,     /* a tenth: data about named instances */
} budget_part_t;

#define BUDGET_PARTS 3

typedef struct {
  struct ais_budget_limit limits[AIS_BUDGET_LIMITS];
  size_t nlimits;
  int64_t period; /* the longest interval of the limits, ms */
  int64_t hold;   /* the longest time that a call may take, ms */

  struct ais_budget parts[BUDGET_PARTS]; /* the calls that each has sent */
  ais_ticket over; /* the latest completed call; AIS_TICKET_NONE: settled */
  size_t unsent;   /* lookups that have started but not sent a request yet */
} budget_t;

/* Adds a limit; all limits apply. Returns -1 if there are too many. */
int budget_limit(budget_t *b, struct ais_budget_limit limit);

/* Starts with nothing spent. All limits and hold must be set. */
void budget_start(budget_t *b, int64_t now);

/* budget_left() returns how many lookups may start now; budget_begin() records
 * that one has started. */
uint32_t budget_left(budget_t *b, budget_part_t part, int64_t now);
void budget_begin(budget_t *b);

/* Returns the number of ms until a lookup may start if nothing else happens; 0:
 * now; AIS_NEVER: something else must happen first. */
int64_t budget_wait(budget_t *b, budget_part_t part, int64_t now);

/* Returns the sustainable number of calls per ms, reduced if the API's limits
 * show that others spend calls too. Never 0. */
double budget_rate(budget_t *b, int64_t now);

/* Returns what is left of the tightest limit, ours or the API's, in percent. */
double budget_percent(budget_t *b, int64_t now);

/* The two callbacks of the gate; see ais_client.h. */
bool budget_enter(budget_t *b, budget_part_t part, uint64_t *ticket,
                  int64_t now);
void budget_leave(budget_t *b, uint64_t ticket, bool given_up, int64_t now);

/* To be called when a lookup has ended; sets *spent to what it cost. Returns
 * the number of ms for which the API wants no more calls, or 0. A HIT in an
 * nginx in between costs nothing. EXPIRED and MISS cost a call; UPDATING and
 * STALE may, since nginx then refreshes the entry in the background. */
int64_t budget_settle(budget_t *b, const struct ais_response *response,
                      unsigned *spent, int64_t now);

#endif
