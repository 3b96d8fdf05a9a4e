/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_BUDGET_H
#define AIS_BUDGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ais_error.h"
#include "ais_limits.h"

/*
 * A budget of calls to the API. Each of its limits allows a number of calls in any rolling interval of a given length;
 * all limits apply at once. (A token bucket would allow nearly twice as many: a full bucket, plus what is refilled in
 * the meantime.)
 *
 * A call counts from when it is sent until one interval after it ended, because it is unknown when in between the API
 * counted it. Calls that ended one after the other are kept in groups, and a group expires as a whole, one interval
 * after its newest call. So the budget may allow slightly too few calls: less than one in AIS_BUDGET_GROUPS - 1, and
 * none for limits of up to that many calls. If the end of a call is never reported, because its process was killed, the
 * call counts as if it ended one hold after it was sent, or up to a fifteenth of a hold later.
 *
 * A budget is plain data without pointers, in memory that the caller provides and may share between processes. The
 * caller holds a lock around each function call. All-zero memory is a budget without any calls, until it is configured.
 * No information is stored twice, and whatever moves is added to the new place before it is removed from the old one:
 * if a process is killed inside a function, at worst one call counts twice. The functions use no clock, no I/O and no
 * allocation.
 *
 * Times are in ms, from 0 to 2^61, of any clock that does not run backwards (if it does, it is treated as standing
 * still). Pass the exact time to ais_budget_end(): if it is before the actual end, another call may be allowed too
 * early.
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

/* The calls that ended in the last interval of a limit. */
struct ais_budget_window {
    struct ais_budget_limit limit;
    uint32_t first;                    /* the oldest group, in a ring */
    uint32_t groups;                   /* the number of groups in use */
    uint32_t ended[AIS_BUDGET_GROUPS]; /* when the newest call of each group ended, in ms modulo 2^32 */
    uint32_t calls[AIS_BUDGET_GROUPS]; /* the number of calls in each group */
};

struct ais_budget {
    int64_t now;          /* the latest time passed to any function */
    int64_t hold;         /* the longest time that a call may take */
    int64_t closed_until; /* 0: it was never closed */
    uint64_t taken;       /* the number of calls so far */
    int64_t width;        /* of the slots below, in ms */
    int64_t slot;         /* the number of the current slot: now / width */

    /* The API's own limits. left is without the calls sent since, and is valid until reset_at. */
    uint32_t nobserved;
    struct ais_limit observed[AIS_LIMITS_MAX];

    uint32_t nwindows;
    uint32_t flying[AIS_BUDGET_SLOTS]; /* calls under way, by the slot in which they end at the latest, in a ring */
    struct ais_budget_window windows[AIS_BUDGET_LIMITS];
};

/* A call that was taken and has not ended. */
typedef uint64_t ais_ticket;

#define AIS_TICKET_NONE 0

/*
 * Adds a limit to an array of n limits of one budget, which has room for AIS_BUDGET_LIMITS. If there is one with the
 * same interval, only the lower of the two is kept. Returns the index of the limit: below n if it was merged with
 * another, n if it was added, or AIS_BUDGET_LIMITS if there was no room.
 */
size_t ais_budget_merge(struct ais_budget_limit *limits, size_t n, struct ais_budget_limit limit);

/*
 * Checks that n limits together do not allow more than the API allows a user, including all tokens and the dashboard:
 * 1200 calls in 5 minutes. (Source: the API's documentation.) Returns 0, or -1 with both numbers and a fix in *err.
 */
int ais_budget_check(const struct ais_budget_limit *limits, size_t n, struct ais_error *err);

/*
 * Sets up an all-zero budget, or changes the limits of one in use. Calls that were already spent still count, and never
 * too few of them, whatever the new limits are. (If an interval is longer than all before, calls whose time is no
 * longer known count as if they had ended as recently as possible.) Calls under way keep the hold that they were taken
 * with. If the limits are the same as before, they and their windows are left alone.
 *
 * n is 1 to AIS_BUDGET_LIMITS. hold is the longest time that a call may take, in ms, at least 1.
 */
void ais_budget_configure(struct ais_budget *b, const struct ais_budget_limit *limits, size_t n, int64_t hold,
                          int64_t now);

/*
 * Takes one call. Returns its ticket, which the caller passes to ais_budget_end() or ais_budget_cancel() exactly once,
 * or AIS_TICKET_NONE if no call is left or the budget is closed.
 */
ais_ticket ais_budget_take(struct ais_budget *b, int64_t now);

/* Reports the end of a call, whatever its result. A ticket whose hold has passed and AIS_TICKET_NONE are accepted. */
void ais_budget_end(struct ais_budget *b, ais_ticket ticket, int64_t now);

/*
 * Reports the end of a call that did not reach the API, because a cache in between answered it. The call no longer
 * counts, except against the API's own limits. If its hold has passed, it counts like a call that ended then.
 */
void ais_budget_cancel(struct ais_budget *b, ais_ticket ticket, int64_t now);

/* Returns in how many ms a call will be available, 0 if one is available now. If it depends on calls under way, this
 * assumes that they all end now. */
int64_t ais_budget_wait(struct ais_budget *b, int64_t now);

/* Returns how many more calls may be sent now, by all limits and by the API's own; 0 while the budget is closed. */
uint32_t ais_budget_left(struct ais_budget *b, int64_t now);

/*
 * Returns the share of the tightest limit that is left, 0.0 to 1.0, by which refreshes are slowed down; 0.0 while the
 * budget is closed. For one of the API's own limits it is the share of its quota or, if the API states none, of the
 * greatest configured limit. Limits whose interval is less than shortest ms are ignored, because they are replenished
 * before a postponed refresh is due. part is the part of the budget (see below) for calls that are not refreshes, or
 * NULL: the calls that it has spent are deducted from each limit, so that the share is that of the rest.
 */
double ais_budget_share(struct ais_budget *b, struct ais_budget *part, int64_t shortest, int64_t now);

/* A number of calls that ended some time ago. */
struct ais_budget_spent {
    int64_t ago; /* ms */
    uint32_t calls;
};

#define AIS_BUDGET_SPENT_MAX (AIS_BUDGET_GROUPS + 1)

/*
 * Lists the calls spent in the longest interval, the oldest first. Calls under way are listed as if they ended now. The
 * list can be saved to a file, for another process to continue with. spent must have AIS_BUDGET_SPENT_MAX entries;
 * returns how many were set.
 */
size_t ais_budget_spent(struct ais_budget *b, struct ais_budget_spent *spent, int64_t now);

/* Counts calls that another process has spent. (If they are not added with the oldest first, and before any own calls,
 * they count for longer than necessary.) */
void ais_budget_add_spent(struct ais_budget *b, struct ais_budget_spent spent, int64_t now);

/* Allows no calls before until, because the API forbids them (429). A later time from an earlier call remains valid. */
void ais_budget_close(struct ais_budget *b, int64_t until, int64_t now);

/*
 * Applies what a response states about one of the API's own limits, which others may use up, too. The number of calls
 * left is ignored if it is negative, or if the reset is a second or more in the past or more than an hour away.
 *
 * Call it after ais_budget_end() for the call of the response. Calls that are still under way are subtracted from the
 * calls left, since the API may not have counted them yet, and so is every call taken later. Because responses can
 * overtake each other, the number only decreases until its reset. If the reset of a response is more than a second
 * later than the known one, even after subtracting uncertain ms, a new window has begun; if it is more than a second
 * earlier, the response belongs to a past window and is ignored. A number is valid until one second after its reset,
 * because resets are stated in whole seconds.
 */
void ais_budget_observe(struct ais_budget *b, const struct ais_limit *limit, int64_t uncertain, int64_t now);

/*
 * A part of a budget is the maximum that certain calls may spend, so that the rest of each limit remains for the
 * others. It is a budget itself, configured with ais_budget_part_of() for each limit, in the same order. In the part, a
 * call counts from when it is sent.
 *
 * part_of: percent is 1 to 100. If that is less than one call, the result is one call in a longer interval.
 * take, left and wait: as above, for a call that both budgets must have room for. The ticket belongs to the whole.
 * observe: call it after ais_budget_observe() for the whole. The part gets this percentage of the calls left, and after
 * later responses never more than the same percentage of what is left then.
 */
struct ais_budget_limit ais_budget_part_of(struct ais_budget_limit limit, uint32_t percent);
ais_ticket ais_budget_part_take(struct ais_budget *part, struct ais_budget *whole, int64_t now);
uint32_t ais_budget_part_left(struct ais_budget *part, struct ais_budget *whole, int64_t now);
int64_t ais_budget_part_wait(struct ais_budget *part, struct ais_budget *whole, int64_t now);
void ais_budget_part_observe(struct ais_budget *part, const struct ais_budget *whole, uint32_t percent,
                             const struct ais_limit *limit, int64_t uncertain, int64_t now);

#pragma GCC visibility pop

#endif
