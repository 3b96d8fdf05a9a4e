/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_LIMITS_H
#define AIS_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ais_str.h"

/*
 * The API's own rate limits, as its responses state them. Others may use up the same limits.
 *
 *     Ratelimit: "default";r=50;t=30            the calls left, and the seconds until the window is reset
 *     Ratelimit-Policy: "default";q=1200;w=300  the quota, and its window in seconds
 *
 * Both are Lists (RFC 9651) with one item per policy; all policies apply. (Source: the API's rate limits; the names are
 * those of draft-ietf-httpapi-ratelimit-headers.) The fields x-ratelimit-remaining and x-ratelimit-reset, which the API
 * announced first, are used if Ratelimit says nothing.
 *
 * The functions are pure. Times are in ms of a monotonic clock.
 */

#pragma GCC visibility push(hidden)

#define AIS_LIMITS_MAX 4
#define AIS_LIMIT_NAME_SIZE 32

/* One policy. */
struct ais_limit {
    char name[AIS_LIMIT_NAME_SIZE]; /* [A-Za-z0-9_.:-]; other bytes become '_'; "" for x-ratelimit-* */
    int64_t left;                   /* calls; -1: unknown */
    int64_t reset_at;               /* when the window is reset, at the latest */
    int64_t quota;                  /* calls per window; -1: unknown */
    int64_t window;                 /* ms; -1: unknown */
};

/* Returns whether the number of calls left is known at now. */
static inline bool ais_limit_is_known(const struct ais_limit *limit, int64_t now)
{
    return limit->left >= 0 && now < limit->reset_at;
}

struct ais_limits {
    size_t n; /* if the response has more policies, the ones with the fewest calls left are kept */
    struct ais_limit items[AIS_LIMITS_MAX];
    int64_t uncertain; /* by how many ms reset_at may be too late: the time that the response took */
};

/* Returns the one of n items with this name, or NULL. */
struct ais_limit *ais_limits_find(struct ais_limit *items, size_t n, const char *name);

/*
 * Returns where to store another limit among n items. If n is less than AIS_LIMITS_MAX, that is after the last item.
 * Otherwise the limit replaces an item whose calls left are unknown at now, or else the item with the most calls left,
 * if the limit has fewer. Returns NULL if the limit is not to be stored. (With a now of INT64_MIN, no reset has
 * passed.)
 */
struct ais_limit *ais_limits_place(struct ais_limit *items, size_t n, const struct ais_limit *limit, int64_t now);

/*
 * Sets *limits from the two fields, which were received at now. The lines of a field must have been joined by commas;
 * an absent field is empty. A field that is not a List is ignored; so is an item that is malformed. An item without a
 * time
 * ("t") is assumed to be reset after the window of its policy.
 */
void ais_limits_parse(struct ais_limits *limits, struct ais_str ratelimit, struct ais_str policy, int64_t now);

/* Adds the values of x-ratelimit-remaining (-1 if absent) and x-ratelimit-reset, unless Ratelimit has stated the calls
 * left. */
void ais_limits_add_old(struct ais_limits *limits, int64_t remaining, int64_t reset_at);

struct ais_budget;

/*
 * Applies a response to a budget: passes its limits to ais_budget_observe(), and closes the budget for as long as
 * ais_policy_closed() says. Call it after ais_budget_end() for the call of the response. The caller holds the budget's
 * lock. Returns for how many ms the response forbids calls, or 0.
 */
int64_t ais_limits_heed(struct ais_budget *b, const struct ais_limits *limits, int status, int64_t retry_after,
                        int64_t now);

/* Applies the limits of a response to a part of the budget, after ais_limits_heed(); see ais_budget_part_observe(). */
void ais_limits_heed_part(struct ais_budget *part, const struct ais_budget *whole, uint32_t percent,
                          const struct ais_limits *limits, int64_t now);

#pragma GCC visibility pop

#endif
