#ifndef AISEARCH_BUDGET_H
#define AISEARCH_BUDGET_H

#include "ais_budget.h"
#include "ais_client.h"
#include "ais_clock.h"

/*
 * The calls that one credential may send: all limits hold, exactly. A look-up
 * begins only where there is room for its request, and for those of all that
 * have begun before it.
 *
 * Pure, without collectd in it. All times are milliseconds of one clock that
 * nobody sets.
 */

/* What may only spend a part of it, and of what the API says is left, whatever
 * the others leave. */
typedef enum {
  BUDGET_ALL,       /* no part */
  BUDGET_DISCOVERY, /* a half: lists in search of what is there */
  BUDGET_FACTS,     /* a tenth: what is known of named instances */
} budget_part_t;

#define BUDGET_PARTS 3

typedef struct {
  struct ais_budget_limit limits[AIS_BUDGET_LIMITS];
  size_t nlimits;
  int64_t period; /* of the longest: for so long one has to look to see all */
  int64_t hold;   /* the longest time that a call may take */

  struct ais_budget parts[BUDGET_PARTS]; /* what each of them has sent */
  ais_ticket over; /* of the latest call that is over; AIS_TICKET_NONE: told */
  size_t unsent;   /* look-ups that have begun, and not sent a request */
} budget_t;

/* Adds a limit: all of them hold. Returns -1 where there are too many. */
int budget_limit(budget_t *b, struct ais_budget_limit limit);

/* Begins with nothing spent, once all limits and hold are known. */
void budget_start(budget_t *b, int64_t now);

/* How many look-ups may begin now; then one has begun. */
uint32_t budget_left(budget_t *b, budget_part_t part, int64_t now);
void budget_begin(budget_t *b);

/* How long until a look-up may begin, if nothing else happens; 0: it may now;
 * AIS_NEVER: that has to. */
int64_t budget_wait(budget_t *b, budget_part_t part, int64_t now);

/* The calls per ms that there are for ever; less where the API says that others
 * spend them too. Never 0. */
double budget_rate(budget_t *b, int64_t now);

/* What is left of the tightest limit, of ours or of what the API says of its
 * own, in percent. */
double budget_percent(budget_t *b, int64_t now);

/* The two sides of the gate; see ais_client.h. */
bool budget_enter(budget_t *b, budget_part_t part, uint64_t *ticket,
                  int64_t now);
void budget_leave(budget_t *b, uint64_t ticket, bool given_up, int64_t now);

/* A look-up has ended: *spent is what it has cost. Returns for how long its
 * answer asks for no more calls, or 0. A HIT of an nginx in between has cost
 * nothing. (EXPIRED and MISS have, UPDATING and STALE may have: nginx asks in
 * the background then.) */
int64_t budget_settle(budget_t *b, const struct ais_response *response,
                      unsigned *spent, int64_t now);

#endif
