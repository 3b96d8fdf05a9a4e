/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Counts calls in rolling intervals, and decides whether another one may be sent. ais_budget_merge() merges the
 * configured limits of accounts that share a credential. ais_budget_observe() applies the API's own limits.
 */

#include "ais_budget.h"

#include <stdatomic.h>
#include <string.h>

#define GROUPS AIS_BUDGET_GROUPS
#define SLOTS AIS_BUDGET_SLOTS

#define SECOND INT64_C(1000)
#define HOUR (3600 * SECOND)

#define USER_CALLS INT64_C(1200)
#define USER_INTERVAL (300 * SECOND)

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Returns n / m, rounded up, without overflow. */
static int64_t divide_up(int64_t n, int64_t m)
{
    return n / m + (n % m != 0);
}

static uint32_t saturate(uint64_t n)
{
    return n < UINT32_MAX ? (uint32_t) n : UINT32_MAX;
}

/* Calls that have ended. */

/* Returns the index in the ring of group i; group 0 is the oldest. */
static uint32_t group(const struct ais_budget_window *w, uint32_t i)
{
    return (w->first + i) % GROUPS;
}

/*
 * Returns how long ago the last call of group i ended. Times are stored modulo 2^32. This is unambiguous because a
 * group expires at an age of 2^31 at the latest, and advance() clears all groups after a longer pause.
 */
static int64_t age(const struct ais_budget_window *w, uint32_t i, int64_t now)
{
    return (uint32_t) ((uint32_t) now - w->ended[group(w, i)]);
}

static void forget_old(struct ais_budget_window *w, int64_t now)
{
    while (w->groups > 0 && age(w, 0, now) > w->limit.interval) {
        w->first = group(w, 1);
        w->groups--;
    }
}

/*
 * Adds calls that ended ago ms ago, after all that were added before. They go to the newest group, or to a new group if
 * the newest one already has its share of the limit. All other groups have their share, so the ring can only be full
 * after the limit was lowered.
 */
static void count_ended(struct ais_budget_window *w, uint64_t calls, int64_t ago, int64_t now)
{
    uint32_t share = (uint32_t) divide_up(w->limit.calls, GROUPS - 1);
    uint32_t newest = group(w, w->groups + GROUPS - 1);

    if (calls == 0 || ago > w->limit.interval)
        return;

    if (w->groups > 0 && (w->groups == GROUPS || w->calls[newest] < share)) {
        calls += w->calls[newest];
    } else {
        newest = group(w, w->groups);
        w->groups++;
    }

    w->ended[newest] = (uint32_t) (now - ago);
    w->calls[newest] = saturate(calls);
}

static uint64_t count_window(const struct ais_budget_window *w)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < w->groups; i++)
        sum += w->calls[group(w, i)];

    return sum;
}

/* Calls under way. */

static uint64_t count_flying(const struct ais_budget *b)
{
    uint64_t sum = 0;

    for (int i = 0; i < SLOTS; i++)
        sum += b->flying[i];

    return sum;
}

/* Records that calls under way ended ago ms ago. */
static void land(struct ais_budget *b, uint32_t *flying, uint32_t calls, int64_t ago)
{
    for (uint32_t i = 0; i < b->nwindows; i++)
        count_ended(&b->windows[i], calls, ago, b->now);

    /* the compiler must not move the subtraction before the addition */
    atomic_signal_fence(memory_order_seq_cst);
    *flying -= calls;
}

/* Ends the calls whose hold has passed. */
static void land_overdue(struct ais_budget *b)
{
    int64_t now_slot = b->now / b->width;

    for (int i = 0; i < SLOTS && b->slot < now_slot; i++, b->slot++) {
        uint32_t *flying = &b->flying[b->slot % SLOTS];

        land(b, flying, *flying, b->now - ((b->slot + 1) * b->width - 1));
    }

    b->slot = now_slot;
}

/* Makes the slots so wide that the ring spans a hold. While there are calls under way, the new width is a multiple of
 * the old one, so that their tickets lead to the new slots. */
static void set_hold(struct ais_budget *b, int64_t hold)
{
    uint32_t old[SLOTS];
    int64_t old_slot = b->slot;
    int64_t width = divide_up(hold, SLOTS - 1);
    int64_t times = 1;

    b->hold = hold;

    if (count_flying(b) > 0) {
        times = max64(1, divide_up(width, b->width));
        width = times * b->width;
    }

    memcpy(old, b->flying, sizeof(old));
    memset(b->flying, 0, sizeof(b->flying));
    for (int64_t slot = old_slot; slot < old_slot + SLOTS; slot++)
        b->flying[slot / times % SLOTS] += old[slot % SLOTS];

    b->width = width;
    b->slot = b->now / width;
}

/* The whole budget. */

/* Advances the time: old calls expire, and calls whose hold has passed end. */
static void advance(struct ais_budget *b, int64_t now)
{
    int64_t before = b->now;
    bool is_long_ago;

    b->now = max64(before, now);
    is_long_ago = b->now - before > AIS_BUDGET_INTERVAL_MAX;
    if (b->nwindows == 0)
        return;

    for (uint32_t i = 0; i < b->nwindows; i++) {
        if (is_long_ago)
            b->windows[i].groups = 0;
        forget_old(&b->windows[i], b->now);
    }
    land_overdue(b);
}

/* Returns how many calls the limit still allows. */
static uint32_t room(const struct ais_budget_window *w, uint64_t flying)
{
    uint64_t spent = count_window(w) + flying;

    return spent < w->limit.calls ? (uint32_t) (w->limit.calls - spent) : 0;
}

static bool is_closed(const struct ais_budget *b)
{
    return b->now < b->closed_until;
}

/* Returns the fewest calls left by the API's own limits; UINT32_MAX if none is known. */
static uint32_t left_by_api(const struct ais_budget *b)
{
    int64_t left = UINT32_MAX;

    for (uint32_t i = 0; i < b->nobserved; i++) {
        if (ais_limit_is_known(&b->observed[i], b->now))
            left = min64(left, b->observed[i].left);
    }

    return (uint32_t) left;
}

/* Returns the window that knows most about the last interval: the shortest that is long enough, or else the longest. */
static const struct ais_budget_window *best_window(const struct ais_budget *b, int64_t interval)
{
    const struct ais_budget_window *best = &b->windows[0];

    for (uint32_t i = 1; i < b->nwindows; i++) {
        const struct ais_budget_window *w = &b->windows[i];
        bool is_shorter = w->limit.interval < best->limit.interval;

        if (best->limit.interval >= interval ? is_shorter && w->limit.interval >= interval : !is_shorter)
            best = w;
    }

    return best;
}

size_t ais_budget_merge(struct ais_budget_limit *limits, size_t n, struct ais_budget_limit limit)
{
    size_t i = 0;

    while (i < n && limits[i].interval != limit.interval)
        i++;

    if (i < n && limits[i].calls < limit.calls)
        return i;

    if (i < AIS_BUDGET_LIMITS)
        limits[i] = limit;
    return i;
}

int ais_budget_check(const struct ais_budget_limit *limits, size_t n, struct ais_error *err)
{
    int64_t most = n > 0 ? INT64_MAX : 0;

    for (size_t i = 0; i < n; i++)
        most = min64(most, limits[i].calls * ((USER_INTERVAL - 1) / limits[i].interval + 1));
    if (most <= USER_CALLS)
        return 0;

    ais_error_set(err,
                  "%lld calls in 5 minutes, but the API allows only %lld and blocks the user for 5 minutes after "
                  "more; use at most %lld calls in 5 minutes",
                  (long long) most, (long long) USER_CALLS, (long long) USER_CALLS);
    return -1;
}

/* Fills the window of a new limit from the windows of the old ones. */
static void derive_window(struct ais_budget_window *w, const struct ais_budget *old)
{
    const struct ais_budget_window *source = best_window(old, w->limit.interval);
    uint64_t known = count_flying(old) + count_window(source);

    /* All other calls have expired in source, but may not have expired in this window. */
    if (source->limit.interval < w->limit.interval && known < old->taken)
        count_ended(w, old->taken - known, source->limit.interval + 1, old->now);

    for (uint32_t i = 0; i < source->groups; i++)
        count_ended(w, source->calls[group(source, i)], age(source, i, old->now), old->now);
}

static bool has_limits(const struct ais_budget *b, const struct ais_budget_limit *limits, size_t n)
{
    if (b->nwindows != n)
        return false;

    for (size_t i = 0; i < n; i++) {
        if (b->windows[i].limit.calls != limits[i].calls || b->windows[i].limit.interval != limits[i].interval)
            return false;
    }

    return true;
}

void ais_budget_configure(struct ais_budget *b, const struct ais_budget_limit *limits, size_t n, int64_t hold,
                          int64_t now)
{
    struct ais_budget old;

    advance(b, now);
    if (hold != b->hold)
        set_hold(b, hold);
    if (has_limits(b, limits, n))
        return;

    old = *b;
    memset(b->windows, 0, sizeof(b->windows));
    for (size_t i = 0; i < n; i++) {
        b->windows[i].limit = limits[i];
        derive_window(&b->windows[i], &old);
    }
    b->nwindows = (uint32_t) n;
}

ais_ticket ais_budget_take(struct ais_budget *b, int64_t now)
{
    int64_t latest_end;

    if (ais_budget_left(b, now) == 0)
        return AIS_TICKET_NONE;

    latest_end = b->now + b->hold;
    b->flying[latest_end / b->width % SLOTS]++;
    b->taken++;
    for (uint32_t i = 0; i < b->nobserved; i++) {
        if (b->observed[i].left > 0)
            b->observed[i].left--;
    }
    return (ais_ticket) latest_end;
}

/* Returns the counter that contains the call of a ticket, or NULL if the call is no longer under way. */
static uint32_t *find_flying(struct ais_budget *b, ais_ticket ticket)
{
    int64_t latest_end = (int64_t) ticket;
    uint32_t *flying;

    if (ticket == AIS_TICKET_NONE || latest_end < b->now)
        return NULL; /* land_overdue() ends it, or has done so */

    flying = &b->flying[latest_end / b->width % SLOTS];
    return *flying > 0 ? flying : NULL;
}

void ais_budget_end(struct ais_budget *b, ais_ticket ticket, int64_t now)
{
    uint32_t *flying;

    advance(b, now);
    flying = find_flying(b, ticket);
    if (flying != NULL)
        land(b, flying, 1, 0);
}

void ais_budget_cancel(struct ais_budget *b, ais_ticket ticket, int64_t now)
{
    uint32_t *flying;

    advance(b, now);
    flying = find_flying(b, ticket);
    if (flying != NULL) {
        (*flying)--;
        b->taken--;
    }
}

/* Returns in how many ms the limit allows a call again. */
static int64_t wait_window(const struct ais_budget_window *w, uint64_t flying, int64_t now)
{
    uint64_t spent = count_window(w) + flying;

    if (spent < w->limit.calls)
        return 0;

    for (uint32_t i = 0; i < w->groups; i++) {
        spent -= w->calls[group(w, i)];
        if (spent < w->limit.calls)
            return w->limit.interval + 1 - age(w, i, now);
    }

    return w->limit.interval + 1;
}

int64_t ais_budget_wait(struct ais_budget *b, int64_t now)
{
    int64_t wait = 0;
    uint64_t flying;

    advance(b, now);
    flying = count_flying(b);
    for (uint32_t i = 0; i < b->nwindows; i++)
        wait = max64(wait, wait_window(&b->windows[i], flying, b->now));

    for (uint32_t i = 0; i < b->nobserved; i++) {
        if (b->observed[i].left == 0)
            wait = max64(wait, b->observed[i].reset_at - b->now);
    }

    return max64(wait, b->closed_until - b->now);
}

uint32_t ais_budget_left(struct ais_budget *b, int64_t now)
{
    uint32_t left = b->nwindows > 0 ? UINT32_MAX : 0;
    uint64_t flying;

    advance(b, now);
    if (is_closed(b))
        return 0;

    flying = count_flying(b);
    for (uint32_t i = 0; i < b->nwindows; i++)
        left = (uint32_t) min64(left, room(&b->windows[i], flying));

    return (uint32_t) min64(left, left_by_api(b));
}

/* Returns the calls of a limit without those that the part has spent, at least 1. */
static uint64_t calls_of_others(const struct ais_budget *b, const struct ais_budget *part, uint32_t window)
{
    uint64_t calls = b->windows[window].limit.calls;
    uint64_t spent = part != NULL && window < part->nwindows ? count_window(&part->windows[window]) : 0;

    return spent < calls ? calls - spent : 1;
}

double ais_budget_share(struct ais_budget *b, struct ais_budget *part, int64_t shortest, int64_t now)
{
    uint32_t greatest = 0;
    uint64_t flying;
    double share = 1.0;

    advance(b, now);
    if (part != NULL)
        advance(part, now);
    if (is_closed(b) || b->nwindows == 0)
        return 0.0;

    flying = count_flying(b);
    for (uint32_t i = 0; i < b->nwindows; i++) {
        const struct ais_budget_window *w = &b->windows[i];
        double left = (double) room(w, flying) / (double) calls_of_others(b, part, i);

        if (w->limit.interval >= shortest && left < share)
            share = left;
        if (w->limit.calls > greatest)
            greatest = w->limit.calls;
    }

    for (uint32_t i = 0; i < b->nobserved; i++) {
        const struct ais_limit *limit = &b->observed[i];
        bool is_short = limit->window >= 0 && limit->window < shortest;
        double left = (double) limit->left / (double) (limit->quota > 0 ? limit->quota : greatest);

        if (ais_limit_is_known(limit, b->now) && !is_short && left < share)
            share = left;
    }

    return share;
}

size_t ais_budget_spent(struct ais_budget *b, struct ais_budget_spent *spent, int64_t now)
{
    const struct ais_budget_window *longest;
    uint32_t flying;
    size_t n = 0;

    advance(b, now);
    longest = best_window(b, AIS_BUDGET_INTERVAL_MAX);
    for (uint32_t i = 0; i < longest->groups; i++)
        spent[n++] = (struct ais_budget_spent){age(longest, i, b->now), longest->calls[group(longest, i)]};

    flying = saturate(count_flying(b));
    if (flying > 0)
        spent[n++] = (struct ais_budget_spent){0, flying};
    return n;
}

void ais_budget_add_spent(struct ais_budget *b, struct ais_budget_spent spent, int64_t now)
{
    advance(b, now);
    for (uint32_t i = 0; i < b->nwindows; i++)
        count_ended(&b->windows[i], spent.calls, max64(spent.ago, 0), b->now);
    b->taken += spent.calls;
}

void ais_budget_close(struct ais_budget *b, int64_t until, int64_t now)
{
    advance(b, now);
    b->closed_until = max64(b->closed_until, until);
}

/* Returns where the limit is stored, or NULL if it is not to be stored. */
static struct ais_limit *find_observed(struct ais_budget *b, const struct ais_limit *limit)
{
    struct ais_limit *seen = ais_limits_find(b->observed, b->nobserved, limit->name);

    if (seen == NULL)
        seen = ais_limits_place(b->observed, b->nobserved, limit, b->now);

    if (seen == &b->observed[b->nobserved]) {
        *seen = (struct ais_limit){.left = -1, .quota = -1, .window = -1};
        b->nobserved++;
    }

    return seen;
}

void ais_budget_observe(struct ais_budget *b, const struct ais_limit *limit, int64_t uncertain, int64_t now)
{
    struct ais_limit known = *limit;
    struct ais_limit *seen;
    int64_t reset_at, left;
    bool is_other;

    advance(b, now);
    if (limit->reset_at <= b->now - SECOND || limit->reset_at - b->now > HOUR)
        known.left = -1;

    seen = find_observed(b, &known);
    if (seen == NULL)
        return;

    is_other = strcmp(seen->name, limit->name) != 0;
    memcpy(seen->name, limit->name, sizeof(seen->name));
    seen->quota = limit->quota;
    seen->window = limit->window;

    if (known.left < 0)
        return;

    /* stored resets are one second later than stated */
    reset_at = limit->reset_at + SECOND;
    left = max64(0, limit->left - (int64_t) count_flying(b));

    if (is_other || !ais_limit_is_known(seen, b->now) || reset_at - uncertain > seen->reset_at + SECOND) {
        seen->left = left;
        seen->reset_at = reset_at;

    } else if (reset_at >= seen->reset_at - SECOND) {
        seen->left = min64(seen->left, left);
    }
}

/* Parts. */

struct ais_budget_limit ais_budget_part_of(struct ais_budget_limit limit, uint32_t percent)
{
    uint64_t hundredths = (uint64_t) limit.calls * percent;

    if (hundredths >= 100)
        return (struct ais_budget_limit){(uint32_t) (hundredths / 100), limit.interval};

    return (struct ais_budget_limit){1, min64(limit.interval * 100 / (int64_t) hundredths, AIS_BUDGET_INTERVAL_MAX)};
}

/* The whole tracks the end of the call. In the part, it ends as soon as it is taken. */
ais_ticket ais_budget_part_take(struct ais_budget *part, struct ais_budget *whole, int64_t now)
{
    ais_ticket ticket;

    if (ais_budget_left(part, now) == 0)
        return AIS_TICKET_NONE;

    ticket = ais_budget_take(whole, now);
    if (ticket != AIS_TICKET_NONE)
        ais_budget_end(part, ais_budget_take(part, now), now);

    return ticket;
}

uint32_t ais_budget_part_left(struct ais_budget *part, struct ais_budget *whole, int64_t now)
{
    return (uint32_t) min64(ais_budget_left(part, now), ais_budget_left(whole, now));
}

int64_t ais_budget_part_wait(struct ais_budget *part, struct ais_budget *whole, int64_t now)
{
    return max64(ais_budget_wait(part, now), ais_budget_wait(whole, now));
}

void ais_budget_part_observe(struct ais_budget *part, const struct ais_budget *whole, uint32_t percent,
                             const struct ais_limit *limit, int64_t uncertain, int64_t now)
{
    struct ais_limit known = *limit;

    if (limit->left >= 0)
        known.left = divide_up(max64(0, limit->left - (int64_t) count_flying(whole)) * (int64_t) percent, 100);

    ais_budget_observe(part, &known, uncertain, now);
}
