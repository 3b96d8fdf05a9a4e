/*
 * For tests of the budget: an oracle that follows random schedules, which remembers each call and knows nothing of
 * groups, rings and slots; and what sets up a budget, spends it, and lets it observe the API's limits.
 */
#ifndef AIS_TEST_BUDGET_ORACLE_H
#define AIS_TEST_BUDGET_ORACLE_H

#include "unit.h"

#include "ais_budget.h"

#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)

#define HOLD (15 * SECOND)

/* ---- the oracle ----------------------------------------------------------------------------------------------------
 */

#define CALLS 2000

struct call {
    ais_ticket ticket;
    int64_t start;
    int64_t end; /* its latest end if it is in progress */
    bool flying;
    bool crashed; /* its end will not be reported */
};

struct oracle {
    uint64_t random;
    struct ais_budget budget;
    struct ais_budget_limit limits[AIS_BUDGET_LIMITS];
    size_t nlimits;
    int64_t hold;
    int64_t now;
    struct call calls[CALLS];
    size_t ncalls;
};

/* xorshift64*. */
static inline uint32_t draw(struct oracle *o, uint32_t below)
{
    o->random ^= o->random >> 12;
    o->random ^= o->random << 25;
    o->random ^= o->random >> 27;
    return (uint32_t) (((o->random * UINT64_C(2685821657736338717)) >> 32) % below);
}

#define PICK(o, ...) (((const int64_t[]){__VA_ARGS__})[draw(o, COUNT(((const int64_t[]){__VA_ARGS__})))])

/* Calls that the API may have counted in the interval that ends now, or may still count. */
static inline uint64_t oracle_count(const struct oracle *o, int64_t interval)
{
    uint64_t n = 0;

    for (size_t i = 0; i < o->ncalls; i++) {
        const struct call *call = &o->calls[i];

        n += (call->flying && !call->crashed) || call->end >= o->now - interval;
    }
    return n;
}

/* A call is only refused if a limit is spent, except for the last group. */
static inline bool oracle_is_spent(const struct oracle *o)
{
    for (size_t i = 0; i < o->nlimits; i++) {
        uint32_t share = (o->limits[i].calls + AIS_BUDGET_GROUPS - 2) / (AIS_BUDGET_GROUPS - 1);

        if (oracle_count(o, o->limits[i].interval) + share - 1 >= o->limits[i].calls)
            return true;
    }
    return false;
}

static inline void oracle_configure(struct oracle *o)
{
    o->nlimits = 1 + draw(o, AIS_BUDGET_LIMITS);
    for (size_t i = 0; i < o->nlimits; i++) {
        o->limits[i].calls = 1 + draw(o, (uint32_t) PICK(o, 3, 30, 100, 300));
        o->limits[i].interval = PICK(o, 1, 50, 65, 1000, 1000, 2500, 10000, 10000, 20000);
    }
    o->hold = PICK(o, 1, 31, 100, 1000, 3000, 15000);
    ais_budget_configure(&o->budget, o->limits, o->nlimits, o->hold, o->now);
}

static inline void oracle_start(struct oracle *o, uint64_t seed)
{
    memset(o, 0, sizeof(*o));
    o->random = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
    o->now = PICK(o, 0, 1, 12345678, INT64_C(1) << 61);
    oracle_configure(o);
}

/* If the budget says that no call is available until some time, none is until then; and then one is. */
static inline void oracle_check_wait(const struct oracle *o, bool exact)
{
    struct ais_budget copy = o->budget;
    int64_t wait = ais_budget_wait(&copy, o->now);

    assert_true(wait > 0);
    assert_int_equal(ais_budget_left(&copy, o->now + wait - 1), 0);

    for (size_t i = 0; i < o->ncalls; i++)
        exact = exact && !o->calls[i].flying;
    if (exact)
        assert_true(ais_budget_left(&copy, o->now + wait) > 0);
}

static inline void oracle_take(struct oracle *o, bool exact)
{
    uint32_t left = ais_budget_left(&o->budget, o->now);
    double share = ais_budget_share(&o->budget, NULL, 0, o->now);
    ais_ticket ticket = ais_budget_take(&o->budget, o->now);
    struct call *call = &o->calls[o->ncalls];

    assert_int_equal(ticket != AIS_TICKET_NONE, left > 0);
    assert_true(left > 0 ? share > 0.0 && share <= 1.0 : share == 0.0);

    if (ticket == AIS_TICKET_NONE) {
        oracle_check_wait(o, exact);
        if (exact)
            assert_true(oracle_is_spent(o));
        return;
    }

    assert_int_equal(ais_budget_left(&o->budget, o->now), left - 1);
    for (size_t i = 0; i < o->nlimits; i++)
        assert_true(oracle_count(o, o->limits[i].interval) < o->limits[i].calls);

    *call = (struct call){.ticket = ticket, .start = o->now, .end = o->now + o->hold, .flying = true};
    o->ncalls++;
}

/* Any call in progress. */
static inline struct call *oracle_pick(struct oracle *o)
{
    uint32_t first = draw(o, (uint32_t) o->ncalls + 1);

    for (size_t i = 0; i < o->ncalls; i++) {
        struct call *call = &o->calls[(first + i) % o->ncalls];

        if (call->flying && !call->crashed)
            return call;
    }
    return NULL;
}

static inline void oracle_end(struct oracle *o, struct call *call)
{
    ais_budget_end(&o->budget, call->ticket, o->now);
    call->flying = false;
    call->end = o->now;
}

/* Time passes; a call that would take longer than its hold ends earlier. */
static inline void oracle_pass(struct oracle *o, int64_t ms)
{
    for (size_t i = 0; i < o->ncalls; i++) {
        struct call *call = &o->calls[i];

        if (call->flying && call->end < o->now + ms) {
            if (call->crashed)
                call->flying = false;
            else
                oracle_end(o, call);
        }
    }
    o->now += ms;
}

/*
 * The API counts each call at some moment between its start and its end, with a resolution of microseconds; whatever
 * these moments are, no interval contains more calls than the limit.
 */
static inline int compare_instants(const void *a, const void *b)
{
    int64_t x = *(const int64_t *) a, y = *(const int64_t *) b;

    return (x > y) - (x < y);
}

static inline void oracle_check_instants(struct oracle *o)
{
    static int64_t instants[CALLS];
    int64_t origin = o->ncalls > 0 ? o->calls[0].start : 0;

    for (size_t i = 0; i < o->ncalls; i++) {
        const struct call *call = &o->calls[i];
        int64_t span = (call->end - call->start) * 1000 + 999;
        int64_t at = PICK(o, 0, span, draw(o, (uint32_t) span + 1));

        instants[i] = (call->start - origin) * 1000 + at;
    }
    qsort(instants, o->ncalls, sizeof(instants[0]), compare_instants);

    for (size_t l = 0; l < o->nlimits; l++) {
        for (size_t i = o->limits[l].calls; i < o->ncalls; i++)
            assert_true(instants[i] - instants[i - o->limits[l].calls] > o->limits[l].interval * 1000);
    }
}

struct mix {
    uint32_t crash;       /* per 1000 steps */
    uint32_t reconfigure; /* per 1000 steps */
};

static inline void run_schedule(struct oracle *o, uint64_t seed, struct mix mix)
{
    uint32_t takes;
    int64_t pace;
    struct call *call;

    oracle_start(o, seed);
    takes = (uint32_t) PICK(o, 300, 500, 700);
    pace = PICK(o, 2, 20, 200, 2000);

    for (int step = 0; step < 600; step++) {
        uint32_t what = draw(o, 1000);

        if (what < takes) {
            oracle_take(o, mix.crash == 0 && mix.reconfigure == 0);
        } else if (what < 900) {
            if ((call = oracle_pick(o)) != NULL)
                oracle_end(o, call);
        } else if (what < 980) {
            oracle_pass(o, draw(o, (uint32_t) pace));
        } else {
            oracle_pass(o, draw(o, (uint32_t) PICK(o, 1000, 30000, 100000)));
        }

        if (draw(o, 1000) < mix.crash && (call = oracle_pick(o)) != NULL)
            call->crashed = true;
        if (draw(o, 1000) < mix.reconfigure)
            oracle_configure(o);
        if (draw(o, 100) == 0)
            ais_budget_configure(&o->budget, o->limits, o->nlimits, o->hold, o->now); /* a reload */
    }

    oracle_pass(o, HOUR); /* all have ended, at their own times */
    if (mix.reconfigure == 0)
        oracle_check_instants(o);
}

static inline void run_schedules(unsigned n, struct mix mix)
{
    struct oracle *o = malloc(sizeof(*o));

    assert_non_null(o);
    for (unsigned seed = 1; seed <= n; seed++)
        run_schedule(o, seed, mix);
    free(o);
}

static inline void set_up(struct ais_budget *b, uint32_t calls, int64_t interval)
{
    struct ais_budget_limit limit = {calls, interval};

    memset(b, 0, sizeof(*b));
    ais_budget_configure(b, &limit, 1, HOLD, 0);
}

/* Takes n calls that end immediately. */
static inline void spend(struct ais_budget *b, unsigned n, int64_t now)
{
    for (unsigned i = 0; i < n; i++) {
        ais_ticket ticket = ais_budget_take(b, now);

        assert_true(ticket != AIS_TICKET_NONE);
        ais_budget_end(b, ticket, now);
    }
}

/* Passes what a response said about one of the API's limits. */
static inline void observe_limit(struct ais_budget *b, const char *name, int64_t left, int64_t reset_at,
                                 int64_t uncertain, int64_t now)
{
    struct ais_limit limit = {.left = left, .reset_at = reset_at, .quota = -1, .window = -1};

    strcpy(limit.name, name);
    ais_budget_observe(b, &limit, uncertain, now);
}

static inline void observe(struct ais_budget *b, int64_t left, int64_t reset_at, int64_t now)
{
    observe_limit(b, "default", left, reset_at, 0, now);
}

#endif
