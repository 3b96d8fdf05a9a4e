/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_LIMITS_H
#define AIS_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ais_str.h"

/*
 * What an answer says of the API's own limits, which others may spend too:
 *
 *     Ratelimit: "default";r=50;t=30            calls that are left, and seconds until the window is reset
 *     Ratelimit-Policy: "default";q=1200;w=300  the quota, and its window in seconds
 *
 * Both are Lists (RFC 9651) with an item for each policy; all of them hold. (Source: the API's rate limits; the names
 * are those of draft-ietf-httpapi-ratelimit-headers.) The x-ratelimit-* of its first announcement count where the first
 * field says nothing.
 *
 * Pure. Times are milliseconds of one clock that nobody sets.
 */

#pragma GCC visibility push(hidden)

#define AIS_LIMITS_MAX 4
#define AIS_LIMIT_NAME_SIZE 32

/* One policy. */
struct ais_limit {
    char name[AIS_LIMIT_NAME_SIZE]; /* of [A-Za-z0-9_.:-], others have become '_'; "" for x-ratelimit-* */
    int64_t left;                   /* calls; -1: not told */
    int64_t reset_at;               /* when the window is reset, at the latest */
    int64_t quota;                  /* calls in each window; -1: not told */
    int64_t window;                 /* ms; -1: not told */
};

/* Whether it is known now what it leaves. */
static inline bool ais_limit_is_known(const struct ais_limit *limit, int64_t now)
{
    return limit->left >= 0 && now < limit->reset_at;
}

struct ais_limits {
    size_t n; /* where there are more, those that leave least */
    struct ais_limit items[AIS_LIMITS_MAX];
    int64_t uncertain; /* by how much reset_at may be too late: how long the answer took */
};

/* The one of that name among n, or NULL. */
struct ais_limit *ais_limits_find(struct ais_limit *items, size_t n, const char *name);

/*
 * Where to keep one more among n: behind them, while there are less than AIS_LIMITS_MAX; else in the place of one of
 * which it is not known now what it leaves, or of the one that leaves most, if this one leaves less. NULL: nowhere. (To
 * a now of INT64_MIN, no reset has passed.)
 */
struct ais_limit *ais_limits_place(struct ais_limit *items, size_t n, const struct ais_limit *limit, int64_t now);

/*
 * Takes over the two fields as of now, the time at which they came in; lines of one field are joined by commas, an
 * absent one is empty. What is malformed is ignored: a field as a whole where it is no List, else an item. An item
 * without a time ("t") holds for the window of its policy.
 */
void ais_limits_parse(struct ais_limits *limits, struct ais_str ratelimit, struct ais_str policy, int64_t now);

/* Adds what x-ratelimit-remaining and x-ratelimit-reset say (-1 for a remaining that is absent), unless the answer has
   said by Ratelimit what is left. */
void ais_limits_add_old(struct ais_limits *limits, int64_t remaining, int64_t reset_at);

struct ais_budget;

/*
 * The one place where a budget learns from an answer: takes over its limits, and closes the budget for as long as
 * ais_policy_closed() says. Call it after the ais_budget_end() of the answer's own call. Returns for how many ms the
 * answer asks for no calls; 0: it does not.
 */
int64_t ais_limits_heed(struct ais_budget *b, const struct ais_limits *limits, int status, int64_t retry_after,
                        int64_t now);

/* And then for each part of that budget: see ais_budget_part_observe(). */
void ais_limits_heed_part(struct ais_budget *part, const struct ais_budget *whole, uint32_t percent,
                          const struct ais_limits *limits, int64_t now);

#pragma GCC visibility pop

#endif
