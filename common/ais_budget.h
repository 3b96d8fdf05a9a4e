/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_BUDGET_H
#define AIS_BUDGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ais_error.h"
#include "ais_limits.h"

/*
 * The calls that may be sent to the API: at most so many in any rolling interval of that length, for each of several
 * limits at once. (A token bucket would let nearly twice as many through: a full bucket, and what it is refilled with
 * meanwhile.)
 *
 * A call counts from the moment it is sent until one interval after it ended, since nobody knows when in between the
 * API counted it. Calls that ended one after the other are kept in groups, and a group leaves as a whole, an interval
 * after its newest: so the budget errs low, by less than 1 in AIS_BUDGET_GROUPS - 1 calls, and not at all for limits
 * of up to that many. A call whose end is never told (its process was killed) counts as one that ended when it had to,
 * one hold after it was sent, or up to a fifteenth of a hold later.
 *
 * Plain data without pointers, in memory that the caller provides and may share between processes; the caller holds a
 * lock around each call. All-zero memory is a budget that has no calls until it is configured. Nothing in it is stored
 * twice, and what moves is added before it is taken away: a process that is killed in the middle of a call leaves, at
 * worst, a call counted twice. Pure otherwise: no clock, no I/O, no allocation.
 *
 * Time is milliseconds, from 0 to 2^61, of any one clock that does not run backwards (if it does, it is taken to stand
 * still). The more exactly the end of a call is told, the better: a clock that is late there lets a call go too early.
 */

#pragma GCC visibility push(hidden)

#define AIS_BUDGET_LIMITS 4
#define AIS_BUDGET_GROUPS 40
#define AIS_BUDGET_SLOTS 16

struct ais_budget_limit {
    uint32_t calls;   /* at least 1 */
    int64_t interval; /* ms, from 1 to AIS_BUDGET_INTERVAL_MAX */
};

#define AIS_BUDGET_INTERVAL_MAX INT32_MAX /* 24 days */

/* The calls that ended in the last interval, as far as one limit needs to know. */
struct ais_budget_window {
    struct ais_budget_limit limit;
    uint32_t first;                    /* the oldest group, in a ring */
    uint32_t groups;                   /* in use */
    uint32_t ended[AIS_BUDGET_GROUPS]; /* when the newest call of each did, modulo 2^32 */
    uint32_t calls[AIS_BUDGET_GROUPS]; /* how many there are in each */
};

struct ais_budget {
    int64_t now;          /* the latest time told */
    int64_t hold;         /* how long a call may take at most */
    int64_t closed_until; /* 0: never was closed */
    uint64_t taken;       /* since ever */
    int64_t width;        /* of the slots below */
    int64_t slot;         /* the present one */

    /* What the API said of its limits: left is less what was sent since, and holds until reset_at. */
    uint32_t nobserved;
    struct ais_limit observed[AIS_LIMITS_MAX];

    uint32_t nwindows;
    uint32_t flying[AIS_BUDGET_SLOTS]; /* calls under way, by the slot of their latest end, in a ring */
    struct ais_budget_window windows[AIS_BUDGET_LIMITS];
};

/* A call that was taken and has not ended. */
typedef uint64_t ais_ticket;

#define AIS_TICKET_NONE 0

/*
 * Adds a limit to n others of one budget, in the caller's memory, which has room for AIS_BUDGET_LIMITS of them: all of
 * them hold, and of two for the same interval the lesser. Returns where it is: below n where it has become one with
 * another, n where it is one more, or AIS_BUDGET_LIMITS where there is no room for it.
 */
size_t ais_budget_merge(struct ais_budget_limit *limits, size_t n, struct ais_budget_limit limit);

/*
 * Whether what n limits together allow is no more than what the API allows one user, with all tokens and the dashboard:
 * 1200 calls in 5 minutes. (Source: its documentation.) Returns 0, or -1 with both and the cure in *err.
 */
int ais_budget_check(const struct ais_budget_limit *limits, size_t n, struct ais_error *err);

/*
 * Sets an all-zero budget up, or gives one that is in use other limits: what was spent stays spent, never too little,
 * whatever the new limits are. (A longer interval than any before takes all calls of which it cannot be told when they
 * were sent to be as recent as they can be.) Calls under way keep the hold they were taken with. With limits that are
 * the same as before, nothing changes.
 *
 * n is 1 to AIS_BUDGET_LIMITS. hold is the longest time that a call may take, at least 1.
 */
void ais_budget_configure(struct ais_budget *b, const struct ais_budget_limit *limits, size_t n, int64_t hold,
                          int64_t now);

/*
 * Takes one call. Returns its ticket, to be given back by ais_budget_end() or ais_budget_cancel() once, or
 * AIS_TICKET_NONE where there is none left, or the budget is closed.
 */
ais_ticket ais_budget_take(struct ais_budget *b, int64_t now);

/* The call has ended, well or not. A ticket whose hold has passed, or AIS_TICKET_NONE, is fine. */
void ais_budget_end(struct ais_budget *b, ais_ticket ticket, int64_t now);

/*
 * The same for a call that turns out to have cost the API nothing, since a cache in between has answered it: it does
 * not count any more, but in what the API said is left. Where its hold has passed it counts as one that ended then.
 */
void ais_budget_cancel(struct ais_budget *b, ais_ticket ticket, int64_t now);

/* How long until a call may be had: 0 for now; else the first time that it can be, if all under way end at once. */
int64_t ais_budget_wait(struct ais_budget *b, int64_t now);

/*
 * How many more calls may be sent now, by all limits and by what the API said; 0 while it is closed. And the share that
 * this is of the tightest limit, 0.0 to 1.0, by which refreshes are slowed down; what the API said counts there as part
 * of its quota, or, where it tells none, of the greatest limit. Limits of an interval below shortest do not count as
 * the tightest: they are full again before a refresh that is put off is due. Where a part (see below; or NULL) is set
 * apart for calls that are no refreshes, the share is that of what these have left.
 */
uint32_t ais_budget_left(struct ais_budget *b, int64_t now);
double ais_budget_share(struct ais_budget *b, struct ais_budget *part, int64_t shortest, int64_t now);

/* Calls that ended so long ago. */
struct ais_budget_spent {
    int64_t ago; /* ms */
    uint32_t calls;
};

#define AIS_BUDGET_SPENT_MAX (AIS_BUDGET_GROUPS + 1)

/*
 * What was spent in the longest interval, the oldest first, with all calls under way as if they ended now: for a file,
 * from which another process may go on. Returns how many entries there are, at most AIS_BUDGET_SPENT_MAX.
 */
size_t ais_budget_spent(struct ais_budget *b, struct ais_budget_spent *spent, int64_t now);

/* Counts calls that somebody else has spent. (Told in another order than the oldest first, or after calls of its own,
 * they count for longer than they had to.) */
void ais_budget_add_spent(struct ais_budget *b, struct ais_budget_spent spent, int64_t now);

/* No calls until then: the API said so (429). Never shortens what was said before. */
void ais_budget_close(struct ais_budget *b, int64_t until, int64_t now);

/*
 * What an answer said of one of the API's own limits, which others may spend too. What is left is not believed where it
 * is negative, or the reset is a second past or over an hour away.
 *
 * Call it after the ais_budget_end() of the answer's own call. What remains is taken to be that less all calls still
 * under way, which the API may not have counted yet, and less each call taken from now on. As answers overtake each
 * other, it only falls until its reset; with a reset that is over a second later even if it is too late by uncertain
 * ms, a new window has begun, and an answer whose reset is over a second earlier comes from a window that is past. It
 * holds until a second after the reset, since that is told in whole seconds.
 */
void ais_budget_observe(struct ais_budget *b, const struct ais_limit *limit, int64_t uncertain, int64_t now);

/*
 * A part of a budget: what some calls may spend of it at most, so that the rest of each limit is kept for the others.
 * It is a budget as well, with ais_budget_part_of() of each limit, in the same order; calls count in it from when they
 * are sent.
 *
 * part_of: percent is 1 to 100. Of what is too little to be parted, one call in a longer time.
 * take, left and wait: as above, for a call that both have to have room for. Its ticket is of the whole.
 * observe: call it after that of the whole. The part has as many percent of what is left then, and of what remains of
 * that whenever it is less.
 */
struct ais_budget_limit ais_budget_part_of(struct ais_budget_limit limit, uint32_t percent);
ais_ticket ais_budget_part_take(struct ais_budget *part, struct ais_budget *whole, int64_t now);
uint32_t ais_budget_part_left(struct ais_budget *part, struct ais_budget *whole, int64_t now);
int64_t ais_budget_part_wait(struct ais_budget *part, struct ais_budget *whole, int64_t now);
void ais_budget_part_observe(struct ais_budget *part, const struct ais_budget *whole, uint32_t percent,
                             const struct ais_limit *limit, int64_t uncertain, int64_t now);

#pragma GCC visibility pop

#endif
