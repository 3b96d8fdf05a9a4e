/*
 * The budget, on a fake clock. Most tests use random schedules and an oracle that remembers each call and knows nothing
 * about groups, rings and slots.
 */

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
static uint32_t draw(struct oracle *o, uint32_t below)
{
    o->random ^= o->random >> 12;
    o->random ^= o->random << 25;
    o->random ^= o->random >> 27;
    return (uint32_t) (((o->random * UINT64_C(2685821657736338717)) >> 32) % below);
}

#define PICK(o, ...) (((const int64_t[]){__VA_ARGS__})[draw(o, COUNT(((const int64_t[]){__VA_ARGS__})))])

/* Calls that the API may have counted in the interval that ends now, or may still count. */
static uint64_t oracle_count(const struct oracle *o, int64_t interval)
{
    uint64_t n = 0;

    for (size_t i = 0; i < o->ncalls; i++) {
        const struct call *call = &o->calls[i];

        n += (call->flying && !call->crashed) || call->end >= o->now - interval;
    }
    return n;
}

/* A call is only refused if a limit is spent, except for the last group. */
static bool oracle_is_spent(const struct oracle *o)
{
    for (size_t i = 0; i < o->nlimits; i++) {
        uint32_t share = (o->limits[i].calls + AIS_BUDGET_GROUPS - 2) / (AIS_BUDGET_GROUPS - 1);

        if (oracle_count(o, o->limits[i].interval) + share - 1 >= o->limits[i].calls)
            return true;
    }
    return false;
}

static void oracle_configure(struct oracle *o)
{
    o->nlimits = 1 + draw(o, AIS_BUDGET_LIMITS);
    for (size_t i = 0; i < o->nlimits; i++) {
        o->limits[i].calls = 1 + draw(o, (uint32_t) PICK(o, 3, 30, 100, 300));
        o->limits[i].interval = PICK(o, 1, 50, 65, 1000, 1000, 2500, 10000, 10000, 20000);
    }
    o->hold = PICK(o, 1, 31, 100, 1000, 3000, 15000);
    ais_budget_configure(&o->budget, o->limits, o->nlimits, o->hold, o->now);
}

static void oracle_start(struct oracle *o, uint64_t seed)
{
    memset(o, 0, sizeof(*o));
    o->random = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
    o->now = PICK(o, 0, 1, 12345678, INT64_C(1) << 61);
    oracle_configure(o);
}

/* If the budget says that no call is available until some time, none is until then; and then one is. */
static void oracle_check_wait(const struct oracle *o, bool exact)
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

static void oracle_take(struct oracle *o, bool exact)
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
static struct call *oracle_pick(struct oracle *o)
{
    uint32_t first = draw(o, (uint32_t) o->ncalls + 1);

    for (size_t i = 0; i < o->ncalls; i++) {
        struct call *call = &o->calls[(first + i) % o->ncalls];

        if (call->flying && !call->crashed)
            return call;
    }
    return NULL;
}

static void oracle_end(struct oracle *o, struct call *call)
{
    ais_budget_end(&o->budget, call->ticket, o->now);
    call->flying = false;
    call->end = o->now;
}

/* Time passes; a call that would take longer than its hold ends earlier. */
static void oracle_pass(struct oracle *o, int64_t ms)
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
static int compare_instants(const void *a, const void *b)
{
    int64_t x = *(const int64_t *) a, y = *(const int64_t *) b;

    return (x > y) - (x < y);
}

static void oracle_check_instants(struct oracle *o)
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

static void run_schedule(struct oracle *o, uint64_t seed, struct mix mix)
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

static void run_schedules(unsigned n, struct mix mix)
{
    struct oracle *o = malloc(sizeof(*o));

    assert_non_null(o);
    for (unsigned seed = 1; seed <= n; seed++)
        run_schedule(o, seed, mix);
    free(o);
}

static void test_random_schedules(void **state)
{
    (void) state;
    run_schedules(2000, (struct mix){0, 0});
}

static void test_random_crashes(void **state)
{
    (void) state;
    run_schedules(2000, (struct mix){.crash = 30});
}

static void test_random_reloads(void **state)
{
    (void) state;
    run_schedules(2000, (struct mix){.reconfigure = 20});
    run_schedules(2000, (struct mix){.crash = 30, .reconfigure = 10});
}

/* ---- how much of a limit can be used -------------------------------------------------------------------------------
 */

static void set_up(struct ais_budget *b, uint32_t calls, int64_t interval)
{
    struct ais_budget_limit limit = {calls, interval};

    memset(b, 0, sizeof(*b));
    ais_budget_configure(b, &limit, 1, HOLD, 0);
}

/* Takes n calls that end immediately. */
static void spend(struct ais_budget *b, unsigned n, int64_t now)
{
    for (unsigned i = 0; i < n; i++) {
        ais_ticket ticket = ais_budget_take(b, now);

        assert_true(ticket != AIS_TICKET_NONE);
        ais_budget_end(b, ticket, now);
    }
}

/* Passes what a response said about one of the API's limits. */
static void observe_limit(struct ais_budget *b, const char *name, int64_t left, int64_t reset_at, int64_t uncertain,
                          int64_t now)
{
    struct ais_limit limit = {.left = left, .reset_at = reset_at, .quota = -1, .window = -1};

    strcpy(limit.name, name);
    ais_budget_observe(b, &limit, uncertain, now);
}

static void observe(struct ais_budget *b, int64_t left, int64_t reset_at, int64_t now)
{
    observe_limit(b, "default", left, reset_at, 0, now);
}

/* With a demand of one call per so many microseconds, each of which takes that long. */
static void run_demand(uint32_t calls, int64_t interval, int64_t every_us, int64_t duration)
{
    enum { INTERVALS = 20 };
    static int64_t taken[60000];
    static ais_ticket tickets[COUNT(taken)];
    struct ais_budget b;
    size_t n = 0;
    size_t ended = 0;
    size_t from = 0;

    set_up(&b, calls, interval);
    for (int64_t us = 0; us < INTERVALS * interval * 1000; us += every_us) {
        int64_t now = us / 1000;

        for (; ended < n && taken[ended] + duration <= now; ended++)
            ais_budget_end(&b, tickets[ended], taken[ended] + duration);

        assert_true(n < COUNT(taken));
        tickets[n] = ais_budget_take(&b, now);
        if (tickets[n] != AIS_TICKET_NONE)
            taken[n++] = now;

        /* the interval that ends now: never more, and not much less once it is a full one */
        while (from < n && taken[from] < now - interval)
            from++;
        assert_true(n - from <= calls);
        if (now > interval && n - from < (uint64_t) calls * 85 / 100)
            fail_msg("%zu of %u at %lld", n - from, calls, (long long) now);
    }

    if (n * 100 < (uint64_t) calls * INTERVALS * 97)
        fail_msg("%zu of %d", n, (int) calls * INTERVALS);
    assert_true(n <= (uint64_t) calls * INTERVALS);
}

static void test_throughput(void **state)
{
    (void) state;
    run_demand(100, 10 * SECOND, 6000, 5); /* 166 per second */
    run_demand(100, 10 * SECOND, 6000, 50);
    run_demand(100, 10 * SECOND, 90000, 5); /* hardly more than available */
    run_demand(100, 10 * SECOND, 1000, 5);
    run_demand(100, SECOND, 1000, 4);
    run_demand(100, SECOND, 9500, 4);
    run_demand(900, 5 * MINUTE, 100000, 100);
    run_demand(900, 5 * MINUTE, 330000, 100);
    run_demand(AIS_BUDGET_GROUPS - 1, SECOND, 1000, 1);
    run_demand(AIS_BUDGET_GROUPS, SECOND, 1000, 1);
    run_demand(7, SECOND, 1000, 1);
    run_demand(1, SECOND, 1000, 1);
    run_demand(1200, 5 * MINUTE, 200000, 200);
}

/* A limit of a few calls is exact to the millisecond. */
static void test_exact_for_few_calls(void **state)
{
    struct ais_budget b;

    (void) state;
    set_up(&b, AIS_BUDGET_GROUPS - 1, SECOND);
    for (int i = 0; i < AIS_BUDGET_GROUPS - 1; i++)
        spend(&b, 1, 10 * i);

    for (int i = 0; i < AIS_BUDGET_GROUPS - 1; i++) {
        assert_int_equal(ais_budget_left(&b, 10 * i + SECOND), 0);
        assert_int_equal(ais_budget_wait(&b, 10 * i + SECOND), 1);
        spend(&b, 1, 10 * i + SECOND + 1);
    }
}

/* ---- one thing at a time -------------------------------------------------------------------------------------------
 */

static void test_zero(void **state)
{
    struct ais_budget b = {.now = 0};

    (void) state;
    assert_true(sizeof(b) <= 1792);
    assert_int_equal(ais_budget_take(&b, 1), AIS_TICKET_NONE);
    assert_int_equal(ais_budget_left(&b, 1), 0);
    assert_true(ais_budget_share(&b, NULL, 0, 1) == 0.0);
    assert_int_equal(ais_budget_wait(&b, 1), 0);
    ais_budget_end(&b, AIS_TICKET_NONE, 1);
    memset(&b, 0, sizeof(b));
    ais_budget_end(&b, AIS_TICKET_NONE, 0);

    set_up(&b, 5, SECOND);
    assert_int_equal(ais_budget_left(&b, 0), 5);
    assert_int_equal(ais_budget_wait(&b, 0), 0);
    assert_true(ais_budget_share(&b, NULL, 0, 0) == 1.0);
    ais_budget_end(&b, AIS_TICKET_NONE, 0);
    assert_int_equal(ais_budget_left(&b, 0), 5);
}

static void test_call_counts_until_after_its_end(void **state)
{
    struct ais_budget b;
    ais_ticket ticket;

    (void) state;
    set_up(&b, 1, SECOND);
    ticket = ais_budget_take(&b, 100);
    assert_int_equal(ais_budget_take(&b, 100), AIS_TICKET_NONE);
    assert_int_equal(ais_budget_take(&b, 5000), AIS_TICKET_NONE);
    assert_int_equal(ais_budget_wait(&b, 5000), SECOND + 1);

    ais_budget_end(&b, ticket, 6000);
    assert_int_equal(ais_budget_wait(&b, 6400), 601);
    assert_int_equal(ais_budget_take(&b, 7000), AIS_TICKET_NONE);
    assert_true(ais_budget_take(&b, 7001) != AIS_TICKET_NONE);
}

static void test_each_limit_holds(void **state)
{
    static const struct ais_budget_limit limits[] = {{10, 10 * SECOND}, {3, SECOND}};
    struct ais_budget b = {.now = 0};

    (void) state;
    ais_budget_configure(&b, limits, COUNT(limits), HOLD, 0);
    assert_int_equal(ais_budget_left(&b, 0), 3);
    spend(&b, 1, 0);
    assert_true(ais_budget_share(&b, NULL, 0, 0) > 0.66 && ais_budget_share(&b, NULL, 0, 0) < 0.67);
    spend(&b, 2, 0);
    assert_int_equal(ais_budget_wait(&b, 0), 1001);
    spend(&b, 3, 2000);
    spend(&b, 3, 4000);
    assert_int_equal(ais_budget_left(&b, 6000), 1);
    assert_true(ais_budget_share(&b, NULL, 0, 6000) == 0.1);
    spend(&b, 1, 6000);
    assert_int_equal(ais_budget_wait(&b, 6000), 4001);
    assert_true(ais_budget_share(&b, NULL, 0, 6000) == 0.0);
}

/* The process that made them was killed: they count for the hold and then for the interval. */
static void test_crash(void **state)
{
    struct ais_budget b;
    int64_t latest = HOLD + HOLD / 15 + 1;

    (void) state;
    set_up(&b, 4, 10 * SECOND);
    assert_true(ais_budget_take(&b, 0) != AIS_TICKET_NONE);
    assert_true(ais_budget_take(&b, 0) != AIS_TICKET_NONE);
    assert_true(ais_budget_take(&b, 0) != AIS_TICKET_NONE);
    spend(&b, 1, 0);

    assert_int_equal(ais_budget_left(&b, HOLD), 1);
    assert_int_equal(ais_budget_left(&b, HOLD + 10 * SECOND), 1);
    assert_int_equal(ais_budget_left(&b, latest + 10 * SECOND), 4);

    /* even if the budget was not used in between for days */
    set_up(&b, 4, 10 * SECOND);
    ais_budget_take(&b, 0);
    assert_int_equal(ais_budget_left(&b, latest + 10 * SECOND), 4);
    ais_budget_take(&b, HOUR);
    assert_int_equal(ais_budget_left(&b, 1000 * HOUR), 4);
}

static void test_end_too_late_or_twice(void **state)
{
    struct ais_budget b;
    ais_ticket first, second;

    (void) state;
    set_up(&b, 2, 10 * SECOND);
    first = ais_budget_take(&b, 0);
    second = ais_budget_take(&b, 14 * SECOND);
    ais_budget_end(&b, first, 16 * SECOND); /* its hold has passed: it has already ended */
    assert_int_equal(ais_budget_left(&b, 26 * SECOND), 1);
    ais_budget_end(&b, second, 26 * SECOND);
    ais_budget_end(&b, second, 26 * SECOND);
    assert_int_equal(ais_budget_left(&b, 26 * SECOND), 1);
    assert_int_equal(ais_budget_left(&b, 36 * SECOND), 1);
    assert_int_equal(ais_budget_left(&b, 36 * SECOND + 1), 2);
}

/* Up to the last moment that it may take. */
static void test_end_in_time(void **state)
{
    struct ais_budget b;
    ais_ticket ticket;

    (void) state;
    set_up(&b, 1, SECOND);
    ticket = ais_budget_take(&b, 0);
    ais_budget_end(&b, ticket, HOLD);
    assert_int_equal(ais_budget_left(&b, HOLD + SECOND), 0);
    assert_int_equal(ais_budget_left(&b, HOLD + SECOND + 1), 1);
}

static void test_cancelled_call_does_not_count(void **state)
{
    struct ais_budget b;
    ais_ticket first, second;

    (void) state;
    set_up(&b, 2, 10 * SECOND);
    first = ais_budget_take(&b, 0);
    second = ais_budget_take(&b, 0);
    assert_int_equal(ais_budget_left(&b, 0), 0);
    ais_budget_cancel(&b, first, SECOND);
    assert_int_equal(ais_budget_left(&b, SECOND), 1);
    ais_budget_cancel(&b, AIS_TICKET_NONE, SECOND);
    assert_int_equal(ais_budget_left(&b, SECOND), 1);

    /* a longer limit also only counts the other call */
    ais_budget_end(&b, second, SECOND);
    ais_budget_configure(&b, &(struct ais_budget_limit){2, MINUTE}, 1, HOLD, 2 * SECOND);
    assert_int_equal(ais_budget_left(&b, 2 * SECOND), 1);
    assert_int_equal(ais_budget_left(&b, MINUTE + SECOND + 1), 2);
}

/* After its hold, a call may have been counted as ended; and a call is only cancelled once. */
static void test_cancel_too_late_or_twice(void **state)
{
    struct ais_budget b;
    ais_ticket first, second;

    (void) state;
    set_up(&b, 2, 10 * SECOND);
    first = ais_budget_take(&b, 0);
    second = ais_budget_take(&b, 14 * SECOND);
    ais_budget_cancel(&b, first, 16 * SECOND);
    assert_int_equal(ais_budget_left(&b, 16 * SECOND), 0);
    ais_budget_cancel(&b, second, 16 * SECOND);
    ais_budget_cancel(&b, second, 16 * SECOND);
    assert_int_equal(ais_budget_left(&b, 16 * SECOND), 1);
    assert_int_equal(ais_budget_left(&b, 27 * SECOND), 2);
}

/* A cancelled call does not increase what the API said is left: others may have spent it. */
static void test_cancel_and_what_the_api_said(void **state)
{
    struct ais_budget b;
    ais_ticket ticket;

    (void) state;
    set_up(&b, 100, SECOND);
    ticket = ais_budget_take(&b, 0);
    observe(&b, 5, MINUTE, 0);
    assert_int_equal(ais_budget_left(&b, 0), 4);
    ais_budget_cancel(&b, ticket, 0);
    assert_int_equal(ais_budget_left(&b, 0), 4);
}

/* The longest possible intervals, and times that are equal modulo 2^32. */
static void test_long_times(void **state)
{
    static const int64_t gaps[] = {INT64_C(1) << 31, INT64_C(1) << 32, (INT64_C(1) << 32) + 5, INT64_C(1) << 61};
    struct ais_budget b;

    (void) state;
    for (size_t i = 0; i < COUNT(gaps); i++) {
        set_up(&b, 100, 10 * SECOND);
        spend(&b, 99, 100);
        assert_int_equal(ais_budget_left(&b, 100 + gaps[i]), 100);
        spend(&b, 99, 100 + gaps[i]);
        assert_int_equal(ais_budget_left(&b, 100 + gaps[i] + 10 * SECOND), 1);

        set_up(&b, 100, AIS_BUDGET_INTERVAL_MAX);
        spend(&b, 50, 0);
        spend(&b, 49, 1000);
        assert_int_equal(ais_budget_left(&b, AIS_BUDGET_INTERVAL_MAX), 1);
        assert_int_equal(ais_budget_wait(&b, AIS_BUDGET_INTERVAL_MAX), 0);
        assert_uint_in_range(ais_budget_left(&b, INT64_C(1) << 31), 49, 51);
        assert_int_equal(ais_budget_left(&b, AIS_BUDGET_INTERVAL_MAX + gaps[i]), 100);
    }
}

static void test_clock_backwards(void **state)
{
    struct ais_budget b;

    (void) state;
    set_up(&b, 2, SECOND);
    spend(&b, 1, 5000);
    spend(&b, 1, 3000); /* it is still 5000 */
    assert_int_equal(ais_budget_left(&b, -1), 0);
    assert_int_equal(ais_budget_left(&b, INT64_MIN), 0);
    assert_int_equal(ais_budget_wait(&b, 4500), 1001);
    assert_int_equal(ais_budget_left(&b, 6000), 0);
    assert_int_equal(ais_budget_left(&b, 6001), 2);
}

static void test_close(void **state)
{
    struct ais_budget b;

    (void) state;
    set_up(&b, 10, SECOND);
    ais_budget_close(&b, 300 * SECOND, 1000);
    ais_budget_close(&b, 200 * SECOND, 2000);
    ais_budget_close(&b, -1, 2000);
    assert_int_equal(ais_budget_take(&b, 2000), AIS_TICKET_NONE);
    assert_int_equal(ais_budget_wait(&b, 2000), 298 * SECOND);
    assert_int_equal(ais_budget_left(&b, 299999), 0);
    assert_true(ais_budget_share(&b, NULL, 0, 299999) == 0.0);
    assert_int_equal(ais_budget_left(&b, 300 * SECOND), 10);
    assert_int_equal(ais_budget_wait(&b, 300 * SECOND), 0);

    /* closed before it is first configured */
    memset(&b, 0, sizeof(b));
    ais_budget_close(&b, 5000, 0);
    ais_budget_configure(&b, &(struct ais_budget_limit){10, SECOND}, 1, HOLD, 0);
    assert_int_equal(ais_budget_left(&b, 4999), 0);
    assert_int_equal(ais_budget_left(&b, 5000), 10);
}

/* Groups with more calls than the counters can hold, as with the largest possible limits. */
static void test_counters_do_not_overflow(void **state)
{
    static const struct ais_budget_limit longer = {UINT32_MAX, 10 * SECOND};
    struct ais_budget b;
    ais_ticket ticket;

    (void) state;
    set_up(&b, UINT32_MAX, SECOND);
    assert_int_equal(ais_budget_left(&b, 0), UINT32_MAX);
    spend(&b, 1, 0);
    b.windows[0].calls[0] = UINT32_MAX - 2;
    assert_int_equal(ais_budget_left(&b, 0), 2);
    ticket = ais_budget_take(&b, 0);
    spend(&b, 1, 0);
    assert_int_equal(ais_budget_take(&b, 0), AIS_TICKET_NONE);
    assert_int_equal(ais_budget_left(&b, 1001), UINT32_MAX - 1);

    /* more past calls than a group can hold, and one more that ends */
    b.taken = UINT64_MAX - 5;
    ais_budget_configure(&b, &longer, 1, HOLD, 1001);
    ais_budget_end(&b, ticket, 1001);
    assert_int_equal(ais_budget_left(&b, 1001), 0);
    assert_int_equal(b.windows[0].groups, 2);
    b.windows[0].groups = 1;
    b.windows[0].limit.calls = 7; /* so that the group is kept as it is */
    b.windows[0].calls[0] = 0;
    assert_int_equal(ais_budget_left(&b, 1001), 7);
    spend(&b, 1, 1001);
    b.windows[0].limit.calls = UINT32_MAX;
    b.windows[0].calls[0] = 100;
    ticket = ais_budget_take(&b, 1001);
    b.windows[0].calls[0] = UINT32_MAX;
    b.windows[0].groups = AIS_BUDGET_GROUPS;
    b.windows[0].first = 1;
    ais_budget_end(&b, ticket, 1001);
    assert_int_equal(b.windows[0].calls[0], UINT32_MAX);
    assert_int_equal(ais_budget_left(&b, 1001), 0);
}

/* ---- what the API says ---------------------------------------------------------------------------------------------
 */

static void test_observe(void **state)
{
    struct ais_budget b;
    ais_ticket tickets[3];

    (void) state;
    set_up(&b, 100, SECOND);
    for (int i = 0; i < 3; i++)
        tickets[i] = ais_budget_take(&b, 0);

    /* 10 are left, but that may not include the two in progress */
    ais_budget_end(&b, tickets[1], 10);
    observe(&b, 10, MINUTE, 10);
    assert_int_equal(ais_budget_left(&b, 10), 8);
    assert_true(ais_budget_share(&b, NULL, 0, 10) == 0.08);

    /* each call reduces it by one */
    ais_budget_end(&b, ais_budget_take(&b, 10), 10);
    assert_int_equal(ais_budget_left(&b, 10), 7);
    assert_int_equal(ais_budget_wait(&b, 10), 0);

    /* responses overtake each other: what is left only decreases */
    ais_budget_end(&b, tickets[0], 20);
    observe(&b, 11, MINUTE, 20);
    assert_int_equal(ais_budget_left(&b, 20), 7);
    ais_budget_end(&b, tickets[2], 20);
    observe(&b, 9, MINUTE, 20);
    assert_int_equal(ais_budget_left(&b, 20), 7);
    observe(&b, 3, MINUTE + SECOND, 20); /* others spend calls too; the second case is about rounding */
    assert_int_equal(ais_budget_left(&b, 20), 3);
    observe(&b, 2, MINUTE - SECOND, 20);
    assert_int_equal(ais_budget_left(&b, 20), 2);

    /* until a second after the reset, since its date has no fraction */
    spend(&b, 2, 20);
    assert_int_equal(ais_budget_take(&b, 20), AIS_TICKET_NONE);
    assert_int_equal(ais_budget_wait(&b, 20), MINUTE + SECOND - 20);
    assert_int_equal(ais_budget_left(&b, MINUTE + 999), 0);
    assert_int_equal(ais_budget_left(&b, MINUTE + SECOND), 100);
    assert_int_equal(ais_budget_wait(&b, MINUTE + SECOND), 0);
    assert_true(ais_budget_share(&b, NULL, 0, MINUTE + SECOND) == 1.0);
}

static void test_observe_periods(void **state)
{
    struct ais_budget b;

    (void) state;
    set_up(&b, 100, SECOND);
    observe(&b, 5, MINUTE, 0);
    observe(&b, 50, 6 * MINUTE, 100); /* a new window */
    assert_int_equal(ais_budget_left(&b, 100), 50);
    observe(&b, 4, MINUTE, 100); /* this response was overtaken */
    assert_int_equal(ais_budget_left(&b, 100), 50);
    assert_int_equal(ais_budget_left(&b, 2 * MINUTE), 50);
    observe(&b, 1000, 6 * MINUTE + 1001, 2 * MINUTE);
    assert_int_equal(ais_budget_left(&b, 2 * MINUTE), 100); /* now our own limit is tighter */
    assert_true(ais_budget_share(&b, NULL, 0, 2 * MINUTE) == 1.0);

    /* less than the calls in progress */
    ais_budget_take(&b, 2 * MINUTE);
    ais_budget_take(&b, 2 * MINUTE);
    observe(&b, 1, 7 * MINUTE, 2 * MINUTE);
    assert_int_equal(ais_budget_left(&b, 2 * MINUTE), 0);
    assert_true(ais_budget_share(&b, NULL, 0, 2 * MINUTE) == 0.0);
}

/* The share is that of the greatest limit. */
static void test_observe_share(void **state)
{
    static const struct ais_budget_limit limits[] = {{50, SECOND}, {400, MINUTE}, {100, SECOND}};
    struct ais_budget b = {.now = 0};

    (void) state;
    ais_budget_configure(&b, limits, COUNT(limits), HOLD, 0);
    observe(&b, 100, MINUTE, 0);
    assert_true(ais_budget_share(&b, NULL, 0, 0) == 0.25);
    spend(&b, 40, 0);
    assert_true(ais_budget_share(&b, NULL, 0, 0) == 0.15);
    observe(&b, 1200, 10 * MINUTE, 0);
    assert_true(ais_budget_share(&b, NULL, 0, 0) == 0.2);

    /* of the limits that are long enough, if any */
    assert_true(ais_budget_share(&b, NULL, SECOND, 0) == 0.2);
    assert_true(ais_budget_share(&b, NULL, SECOND + 1, 0) == 0.9);
    assert_true(ais_budget_share(&b, NULL, MINUTE + 1, 0) == 1.0);
    spend(&b, 10, 0);
    assert_true(ais_budget_share(&b, NULL, 0, 0) == 0.0);
    assert_true(ais_budget_share(&b, NULL, MINUTE, 0) == 0.875);
    observe(&b, 200, 20 * MINUTE, 0);
    assert_true(ais_budget_share(&b, NULL, MINUTE + 1, 0) == 0.5);
    ais_budget_close(&b, SECOND, 0);
    assert_true(ais_budget_share(&b, NULL, MINUTE, 0) == 0.0);
}

static void test_observe_nonsense(void **state)
{
    struct ais_budget b;

    (void) state;
    set_up(&b, 100, SECOND);
    observe(&b, -1, 10 * SECOND, SECOND);
    observe(&b, 0, -1, SECOND);
    observe(&b, 0, 0, SECOND);
    observe(&b, 0, SECOND + HOUR + 1, SECOND);
    observe(&b, 0, INT64_C(1) << 61, SECOND);
    assert_int_equal(ais_budget_left(&b, SECOND), 100);
    observe(&b, INT64_MAX, SECOND + HOUR, SECOND);
    assert_int_equal(ais_budget_left(&b, SECOND), 100);
    observe(&b, 0, SECOND + HOUR, SECOND);
    assert_int_equal(ais_budget_left(&b, SECOND), 0);
}

/* In whole seconds, a reset 0 seconds from now may still come within a second. */
static void test_observe_within_a_second(void **state)
{
    struct ais_budget b;

    (void) state;
    set_up(&b, 100, SECOND);
    observe(&b, 0, 0, 999);
    assert_int_equal(ais_budget_left(&b, 999), 0);
    assert_int_equal(ais_budget_wait(&b, 999), 1);
    assert_int_equal(ais_budget_left(&b, SECOND), 100);
    observe(&b, 0, SECOND, SECOND);
    assert_int_equal(ais_budget_wait(&b, SECOND), SECOND);
}

/* Several limits apply at once: the tightest one counts, and each until its own reset. */
static void test_observe_several(void **state)
{
    struct ais_budget b;

    (void) state;
    set_up(&b, 100, SECOND);
    observe_limit(&b, "default", 50, 10 * MINUTE, 0, 0);
    observe_limit(&b, "burst", 3, SECOND, 0, 0);
    assert_int_equal(ais_budget_left(&b, 0), 3);
    spend(&b, 3, 0);
    assert_int_equal(ais_budget_take(&b, 0), AIS_TICKET_NONE);
    assert_int_equal(ais_budget_wait(&b, 0), 2 * SECOND);

    /* the burst is over, but the long limit remains, minus those calls */
    assert_int_equal(ais_budget_left(&b, 2 * SECOND - 1), 0);
    assert_int_equal(ais_budget_left(&b, 2 * SECOND), 47);
    assert_int_equal(ais_budget_wait(&b, 2 * SECOND), 0);

    /* another burst with another reset: the same limit */
    observe_limit(&b, "burst", 5, 4 * SECOND, 0, 3 * SECOND);
    assert_int_equal(ais_budget_left(&b, 3 * SECOND), 5);
    observe_limit(&b, "default", 2, 10 * MINUTE, 0, 3 * SECOND);
    assert_int_equal(ais_budget_left(&b, 3 * SECOND), 2);
    spend(&b, 2, 3 * SECOND);
    assert_int_equal(ais_budget_wait(&b, 3 * SECOND), 10 * MINUTE + SECOND - 3 * SECOND);
    assert_int_equal(ais_budget_left(&b, 10 * MINUTE), 0);
    assert_int_equal(ais_budget_left(&b, 10 * MINUTE + SECOND), 100);
    assert_int_equal(b.nobserved, 2);
}

/* Both are spent: the wait is for the later one. */
static void test_observe_several_spent(void **state)
{
    struct ais_budget b;

    (void) state;
    set_up(&b, 100, SECOND);
    observe_limit(&b, "a", 0, 5 * SECOND, 0, 0);
    observe_limit(&b, "b", 0, 9 * SECOND, 0, 0);
    observe_limit(&b, "c", 1, 20 * SECOND, 0, 0);
    assert_int_equal(ais_budget_wait(&b, 0), 10 * SECOND);
    assert_int_equal(ais_budget_left(&b, 10 * SECOND - 1), 0);
    spend(&b, 1, 10 * SECOND);
    assert_int_equal(ais_budget_wait(&b, 10 * SECOND), 11 * SECOND);
}

/* A short limit is full again before a postponed refresh is due; a limit with an unknown window may not be. */
static void test_observe_share_of_several(void **state)
{
    struct ais_limit burst = {.name = "burst", .left = 10, .reset_at = SECOND, .quota = 100, .window = SECOND};
    struct ais_budget b;

    (void) state;
    set_up(&b, 100, MINUTE);
    observe(&b, 50, 10 * MINUTE, 0);
    ais_budget_observe(&b, &burst, 0, 0);
    assert_true(ais_budget_share(&b, NULL, 0, 0) == 0.1);
    assert_true(ais_budget_share(&b, NULL, SECOND, 0) == 0.1);
    assert_true(ais_budget_share(&b, NULL, SECOND + 1, 0) == 0.5);
    burst.window = -1;
    ais_budget_observe(&b, &burst, 0, 0);
    assert_true(ais_budget_share(&b, NULL, SECOND + 1, 0) == 0.1);
    assert_true(ais_budget_share(&b, NULL, SECOND + 1, 2 * SECOND) == 0.5);
}

/* Relative to the limit's own quota, if the API states it. */
static void test_observe_share_of_the_quota(void **state)
{
    struct ais_limit limit = {.name = "default", .left = 60, .reset_at = MINUTE, .quota = 240, .window = MINUTE};
    struct ais_budget b;

    (void) state;
    set_up(&b, 100, MINUTE);
    ais_budget_observe(&b, &limit, 0, 0);
    assert_true(ais_budget_share(&b, NULL, 0, 0) == 0.25);
}

/* The reset may be too late by the duration of the response, so what looks like a new window may not be one. */
static void test_observe_uncertain(void **state)
{
    struct ais_budget b;

    (void) state;
    set_up(&b, 100, SECOND);
    observe_limit(&b, "default", 10, MINUTE, 0, 0);
    observe_limit(&b, "default", 20, MINUTE + 4000, 3000, 0);
    assert_int_equal(ais_budget_left(&b, 0), 10);
    observe_limit(&b, "default", 9, MINUTE + 4000, 3000, 0);
    assert_int_equal(ais_budget_left(&b, 0), 9);
    observe_limit(&b, "default", 20, MINUTE + 4001, 3000, 0);
    assert_int_equal(ais_budget_left(&b, 0), 20);
    assert_int_equal(ais_budget_left(&b, MINUTE + 5000), 20);
    assert_int_equal(ais_budget_left(&b, MINUTE + 5001), 100);
}

/* A policy without what is left is kept to be displayed, but limits nothing. */
static void test_observe_policy_alone(void **state)
{
    struct ais_limit policy = {.name = "default", .left = -1, .reset_at = -1, .quota = 1200, .window = 300000};
    struct ais_budget b;

    (void) state;
    set_up(&b, 100, SECOND);
    ais_budget_observe(&b, &policy, 0, HOUR);
    assert_int_equal(ais_budget_left(&b, HOUR), 100);
    spend(&b, 2, HOUR);
    assert_int_equal(b.nobserved, 1);
    assert_int_equal(b.observed[0].left, -1);
    assert_int_equal(b.observed[0].quota, 1200);
    assert_int_equal(b.observed[0].window, 300000);

    /* what was known about it still applies */
    observe(&b, 5, HOUR + MINUTE, HOUR);
    ais_budget_observe(&b, &policy, 0, HOUR);
    assert_int_equal(ais_budget_left(&b, HOUR), 5);
}

/* Only a few are kept: those with the least left. */
static void test_observe_many(void **state)
{
    static const char *const names[AIS_LIMITS_MAX] = {"a", "b", "c", "d"};
    struct ais_budget b;

    (void) state;
    set_up(&b, 100, SECOND);
    for (int i = 0; i < AIS_LIMITS_MAX; i++)
        observe_limit(&b, names[i], 40 - 10 * i, MINUTE, 0, 0);
    assert_int_equal(b.nobserved, AIS_LIMITS_MAX);

    /* it replaces the one with the most left, if it has less */
    observe_limit(&b, "e", 40, MINUTE, 0, 0);
    observe_limit(&b, "f", 50, MINUTE, 0, 0);
    assert_string_equal(b.observed[0].name, "a");
    observe_limit(&b, "g", 5, 2 * MINUTE, 0, 0);
    assert_string_equal(b.observed[0].name, "g");
    assert_int_equal(b.nobserved, AIS_LIMITS_MAX);
    assert_int_equal(ais_budget_left(&b, 0), 5);

    /* one that is implausible replaces none, nor does one without a number */
    observe_limit(&b, "h", 1, -1, 0, 2 * SECOND);
    observe_limit(&b, "i", 1, 2 * HOUR, 0, 2 * SECOND);
    observe_limit(&b, "j", -1, MINUTE, 0, 2 * SECOND);
    assert_string_equal(b.observed[1].name, "b");
    assert_int_equal(ais_budget_left(&b, 2 * SECOND), 5);

    /* expired ones are replaced by any other */
    observe_limit(&b, "k", 99, 3 * MINUTE, 0, MINUTE + SECOND);
    assert_string_equal(b.observed[0].name, "g");
    assert_string_equal(b.observed[1].name, "k");
    assert_int_equal(b.observed[1].left, 99);
    assert_int_equal(ais_budget_left(&b, MINUTE + SECOND), 5);
    assert_int_equal(ais_budget_left(&b, 2 * MINUTE + SECOND), 99);
}

/* A name that returns after it was replaced starts anew; no name is ever kept twice. */
static void test_observe_names_again(void **state)
{
    struct ais_budget b;

    (void) state;
    set_up(&b, 100, SECOND);
    observe_limit(&b, "", 7, MINUTE, 0, 0); /* the old fields have no names */
    observe_limit(&b, "", 6, MINUTE, 0, 0);
    assert_int_equal(b.nobserved, 1);
    assert_int_equal(ais_budget_left(&b, 0), 6);

    /* long ago: its window is over */
    observe_limit(&b, "", 60, 3 * MINUTE, 0, 2 * MINUTE);
    assert_int_equal(b.nobserved, 1);
    assert_int_equal(ais_budget_left(&b, 2 * MINUTE), 60);

    observe_limit(&b, "default", 50, 3 * MINUTE, 0, 2 * MINUTE);
    assert_int_equal(b.nobserved, 2);
    assert_int_equal(ais_budget_left(&b, 2 * MINUTE), 50);
}

/* ---- a reload ------------------------------------------------------------------------------------------------------
 */

static void test_reload_changes_nothing(void **state)
{
    static const struct ais_budget_limit limits[] = {{900, 5 * MINUTE}, {100, SECOND}};
    struct ais_budget b = {.now = 0};
    struct ais_budget before;

    (void) state;
    ais_budget_configure(&b, limits, 2, HOLD, 0);
    spend(&b, 77, 100);
    ais_budget_take(&b, 150);
    ais_budget_close(&b, 4000, 150);
    observe(&b, 600, MINUTE, 200);
    before = b;
    ais_budget_configure(&b, limits, 2, HOLD, 200);
    assert_memory_equal(&b, &before, sizeof(b));
}

static void test_reload_with_other_calls(void **state)
{
    static const struct ais_budget_limit few = {50, 10 * SECOND}, many = {400, 10 * SECOND};
    struct ais_budget b;

    (void) state;
    set_up(&b, 100, 10 * SECOND);
    for (int i = 0; i < 80; i++)
        spend(&b, 1, 10 * i);
    ais_budget_configure(&b, &many, 1, HOLD, 1000);
    assert_int_equal(ais_budget_left(&b, 1000), 320);

    /* more than the limit: as they expire, calls become available, one by one or nearly so */
    ais_budget_configure(&b, &few, 1, HOLD, 1000);
    assert_int_equal(ais_budget_left(&b, 1000), 0);
    assert_int_equal(ais_budget_left(&b, 10 * SECOND + 300), 0);
    assert_uint_in_range(ais_budget_left(&b, 10 * SECOND + 401), 1, 11);
    assert_int_equal(ais_budget_left(&b, 10 * SECOND + 791), 50);
}

/* There are more groups then than with only the new limit. */
static void test_reload_with_few_calls_under_way(void **state)
{
    static const struct ais_budget_limit few = {10, 10 * SECOND};
    ais_ticket tickets[20];
    struct ais_budget b;

    (void) state;
    set_up(&b, 117, 10 * SECOND);
    for (int i = 0; i < 97; i++)
        spend(&b, 1, 10 * i);
    for (size_t i = 0; i < COUNT(tickets); i++)
        tickets[i] = ais_budget_take(&b, 970);
    ais_budget_configure(&b, &few, 1, HOLD, 1000);
    for (size_t i = 0; i < COUNT(tickets); i++)
        ais_budget_end(&b, tickets[i], 1000 + 10 * (int64_t) i);
    assert_int_equal(b.windows[0].groups, AIS_BUDGET_GROUPS);
    assert_int_equal(ais_budget_left(&b, 1000 + 10 * SECOND), 0);
    assert_int_equal(ais_budget_left(&b, 1190 + 10 * SECOND), 0);
    assert_int_equal(ais_budget_left(&b, 1191 + 10 * SECOND), 10);
}

static void test_reload_with_fewer_limits(void **state)
{
    static const struct ais_budget_limit limits[] = {{100, 10 * SECOND}, {3, SECOND}};
    struct ais_budget b = {.now = 0};

    (void) state;
    ais_budget_configure(&b, limits, 2, HOLD, 0);
    spend(&b, 3, 0);
    ais_budget_configure(&b, limits, 1, HOLD, 0);
    assert_int_equal(ais_budget_left(&b, 0), 97);
    spend(&b, 2, 500);
    ais_budget_configure(&b, limits, 2, HOLD, 500);
    assert_int_equal(ais_budget_left(&b, 500), 0);
    assert_int_equal(ais_budget_left(&b, 1001), 1);
}

/* Uses the window, of several, that knows most. */
static void test_reload_with_an_interval_between(void **state)
{
    static const struct ais_budget_limit old[] = {{1000, 2 * SECOND}, {390, 60 * SECOND}, {1000, 10 * SECOND}};
    static const struct ais_budget_limit reverse[] = {{390, 60 * SECOND}, {1000, 2 * SECOND}};
    static const struct ais_budget_limit middle = {50, 5 * SECOND}, longest = {50, 70 * SECOND};
    struct ais_budget b = {.now = 0};

    (void) state;
    ais_budget_configure(&b, old, COUNT(old), HOLD, 0);
    for (int i = 0; i < 30; i++)
        spend(&b, 1, i * SECOND);

    /* all of which are in three groups of ten for the second window, and in two for the third */
    ais_budget_configure(&b, &middle, 1, HOLD, 34 * SECOND);
    assert_uint_in_range(ais_budget_left(&b, 34 * SECOND), 39, 49);

    memset(&b, 0, sizeof(b));
    ais_budget_configure(&b, reverse, COUNT(reverse), HOLD, 0);
    spend(&b, 20, 0);
    spend(&b, 5, 14 * SECOND);
    ais_budget_configure(&b, &middle, 1, HOLD, 20 * SECOND); /* not the shortest, which does not know when they were */
    assert_int_equal(ais_budget_left(&b, 20 * SECOND), 50);

    memset(&b, 0, sizeof(b));
    ais_budget_configure(&b, old, COUNT(old), HOLD, 0);
    spend(&b, 9, 0);
    spend(&b, 1, 12 * SECOND);
    ais_budget_configure(&b, &middle, 1, HOLD, 16 * SECOND); /* nor the longest, in which they are all in one group */
    assert_int_equal(ais_budget_left(&b, 16 * SECOND), 49);

    memset(&b, 0, sizeof(b));
    ais_budget_configure(&b, old, COUNT(old), HOLD, 0);
    spend(&b, 20, 0);
    ais_budget_configure(&b, &longest, 1, HOLD, 30 * SECOND); /* the longest remembers all calls and their times */
    assert_int_equal(ais_budget_left(&b, 70 * SECOND), 30);
    assert_int_equal(ais_budget_left(&b, 70 * SECOND + 1), 50);
}

static void test_reload_with_a_shorter_interval(void **state)
{
    static const struct ais_budget_limit shorter[] = {{100, 5 * SECOND}, {100, 2 * SECOND}};
    struct ais_budget b;

    (void) state;
    set_up(&b, 31, 10 * SECOND);
    for (int i = 0; i < 10; i++)
        spend(&b, 1, i * SECOND);
    ais_budget_configure(&b, shorter, 2, HOLD, 9 * SECOND);
    assert_int_equal(ais_budget_left(&b, 9 * SECOND), 94);
    ais_budget_configure(&b, &shorter[1], 1, HOLD, 9 * SECOND);
    assert_int_equal(ais_budget_left(&b, 9 * SECOND), 97);
    ais_budget_configure(&b, shorter, 2, HOLD, 9 * SECOND); /* it may have been all ten */
    assert_int_equal(ais_budget_left(&b, 9 * SECOND), 90);
    assert_int_equal(ais_budget_left(&b, 12 * SECOND), 97);
}

/* Calls that have left the longest interval are not forgotten, unless they are too old for any interval. */
static void test_reload_with_a_longer_interval(void **state)
{
    static const struct ais_budget_limit longer[] = {{100, 10 * SECOND}, {20, 500}, {30, 700}};
    struct ais_budget b;

    (void) state;
    set_up(&b, 20, SECOND);
    spend(&b, 20, 0);
    spend(&b, 20, 2000);
    spend(&b, 5, 4000);
    assert_true(ais_budget_take(&b, 4000) != AIS_TICKET_NONE);
    ais_budget_configure(&b, longer, 3, HOLD, 4000);
    assert_int_equal(ais_budget_left(&b, 4501), 19);
    assert_int_equal(ais_budget_left(&b, 5000), 19);
    assert_int_equal(100 - 46, ais_budget_left(&b, 5000) + 35); /* all 46 are known */
    spend(&b, 19, 5000);
    spend(&b, 19, 6000);
    assert_int_equal(ais_budget_left(&b, 7000), 100 - 46 - 38);
    assert_int_equal(ais_budget_left(&b, 3000 - 1 + 10 * SECOND), 16);
    assert_int_equal(ais_budget_left(&b, 3000 + 10 * SECOND), 19);
}

/* Calls in progress keep their hold, and their tickets remain valid. */
static void test_reload_with_another_hold(void **state)
{
    static const struct ais_budget_limit limit = {10, SECOND};
    static const int64_t holds[] = {1, 30, 31, 32, 100, 900, 15000, 60000, 15000, 100, 1};
    struct ais_budget b = {.now = 0};
    ais_ticket tickets[4] = {0};

    (void) state;
    for (size_t i = 0; i < COUNT(holds); i++) {
        for (size_t j = 0; j < COUNT(holds); j++) {
            int64_t start = b.now + HOUR;
            int64_t latest = start + holds[i] - 1;

            ais_budget_configure(&b, &limit, 1, holds[i], start);
            for (size_t k = 0; k < COUNT(tickets); k++)
                tickets[k] = ais_budget_take(&b, start);
            ais_budget_configure(&b, &limit, 1, holds[j], start);
            assert_int_equal(ais_budget_left(&b, latest), 6);
            ais_budget_end(&b, tickets[0], latest);
            ais_budget_end(&b, tickets[1], latest);
            ais_budget_end(&b, tickets[2], latest);
            assert_int_equal(ais_budget_left(&b, latest + SECOND), 6);
            assert_int_equal(ais_budget_left(&b, latest + SECOND + 1), 9);
            assert_int_equal(ais_budget_left(&b, latest + 4 * SECOND + 60000 / 15), 10);
        }
    }
}

/* Another process continues some time later with what this one has spent. */
static void restart(struct ais_budget *to, const struct oracle *o, int64_t later, int64_t now)
{
    struct ais_budget from = o->budget;
    struct ais_budget_spent spent[AIS_BUDGET_SPENT_MAX];
    size_t n = ais_budget_spent(&from, spent, o->now);

    assert_true(n <= AIS_BUDGET_SPENT_MAX);
    memset(to, 0, sizeof(*to));
    ais_budget_configure(to, o->limits, o->nlimits, o->hold, now);
    for (size_t i = 0; i < n; i++) {
        assert_true(i == 0 || spent[i].ago <= spent[i - 1].ago);
        spent[i].ago += later;
        ais_budget_add_spent(to, spent[i], now);
    }
}

/* It never allows more calls than this process would have, and eventually as many. */
static void test_random_restarts(void **state)
{
    static struct oracle o;

    (void) state;
    for (unsigned seed = 1; seed <= 500; seed++) {
        oracle_start(&o, seed);
        for (int i = 0; i < 300 && o.ncalls < CALLS; i++) {
            if (draw(&o, 3) > 0)
                oracle_take(&o, false);
            else
                oracle_pass(&o, (int64_t) draw(&o, 1000));
        }

        for (int64_t later = 0; later <= 20000; later += 1 + (int64_t) draw(&o, 3000)) {
            struct ais_budget here = o.budget;
            struct ais_budget there;

            restart(&there, &o, later, HOUR);
            /* (since it began later, no calls were in progress) */
            if (later == 0)
                assert_true(ais_budget_left(&there, HOUR) <= ais_budget_left(&here, o.now));
            assert_int_equal(ais_budget_left(&there, 2 * HOUR), ais_budget_left(&here, o.now + HOUR));
        }
    }
}

static void test_restart(void **state)
{
    static const struct ais_budget_limit limits[] = {{300, 5 * MINUTE}, {100, SECOND}};
    struct ais_budget b, next;
    struct ais_budget_spent spent[AIS_BUDGET_SPENT_MAX];
    size_t n;
    uint32_t sum = 0;

    (void) state;
    memset(&b, 0, sizeof(b));
    ais_budget_configure(&b, limits, 2, HOLD, 0);
    assert_int_equal(ais_budget_spent(&b, spent, 0), 0);

    spend(&b, 50, 10 * SECOND);
    spend(&b, 60, 20 * SECOND);
    ais_budget_take(&b, 30 * SECOND);
    n = ais_budget_spent(&b, spent, 40 * SECOND);
    for (size_t i = 0; i < n; i++)
        sum += spent[i].calls;
    assert_int_equal(sum, 111);
    assert_int_equal(spent[0].ago, 30 * SECOND);
    assert_int_equal(spent[n - 1].ago, 0);
    assert_int_equal(spent[n - 1].calls, 1);

    /* down for 10 seconds */
    memset(&next, 0, sizeof(next));
    ais_budget_configure(&next, limits, 2, HOLD, HOUR);
    for (size_t i = 0; i < n; i++) {
        spent[i].ago += 10 * SECOND;
        ais_budget_add_spent(&next, spent[i], HOUR);
    }
    assert_int_equal(ais_budget_left(&next, HOUR), 100);
    spend(&next, 100, HOUR);
    assert_int_equal(ais_budget_left(&next, HOUR + 2 * SECOND), 300 - 211);
    assert_int_equal(ais_budget_left(&next, HOUR + 4 * MINUTE + 10 * SECOND), 300 - 211);
    assert_int_equal(ais_budget_left(&next, HOUR + 4 * MINUTE + 21 * SECOND), 100);

    /* the clock was set back in the meantime: treated as just spent */
    ais_budget_add_spent(&next, (struct ais_budget_spent){-HOUR, 20}, 2 * HOUR);
    assert_int_equal(ais_budget_left(&next, 2 * HOUR), 80);
    assert_int_equal(ais_budget_left(&next, 2 * HOUR + 2 * SECOND), 100);
    assert_int_equal(ais_budget_left(&next, 2 * HOUR + 5 * MINUTE + 1), 100);
}

/* ---- a part ---------------------------------------------------------------------------------------------------------
 */

struct parted {
    struct ais_budget whole;
    struct ais_budget part;
};

static void set_up_part(struct parted *p, struct ais_budget_limit limit, uint32_t percent)
{
    struct ais_budget_limit part = ais_budget_part_of(limit, percent);

    memset(p, 0, sizeof(*p));
    ais_budget_configure(&p->whole, &limit, 1, HOLD, 0);
    ais_budget_configure(&p->part, &part, 1, HOLD, 0);
}

/* Takes as many calls of the part as are available; they end immediately. */
static unsigned spend_part(struct parted *p, int64_t now)
{
    unsigned n = 0;

    for (;; n++) {
        uint32_t left = ais_budget_part_left(&p->part, &p->whole, now);
        int64_t wait = ais_budget_part_wait(&p->part, &p->whole, now);
        ais_ticket ticket = ais_budget_part_take(&p->part, &p->whole, now);

        assert_int_equal(left > 0, ticket != AIS_TICKET_NONE);
        assert_int_equal(wait == 0, ticket != AIS_TICKET_NONE);
        if (ticket == AIS_TICKET_NONE)
            return n;
        assert_int_equal(ais_budget_part_left(&p->part, &p->whole, now), left - 1);
        ais_budget_end(&p->whole, ticket, now);
    }
}

static void test_part_of(void **state)
{
    static const struct {
        struct ais_budget_limit limit;
        uint32_t percent;
        struct ais_budget_limit part;
    } cases[] = {
        {{900, 5 * MINUTE}, 50, {450, 5 * MINUTE}},
        {{900, 5 * MINUTE}, 100, {900, 5 * MINUTE}},
        {{900, 5 * MINUTE}, 1, {9, 5 * MINUTE}},
        {{7, SECOND}, 50, {3, SECOND}},
        {{2, SECOND}, 50, {1, SECOND}},
        {{1, SECOND}, 50, {1, 2 * SECOND}},
        {{5, SECOND}, 10, {1, 2 * SECOND}},
        {{3, AIS_BUDGET_INTERVAL_MAX}, 1, {1, AIS_BUDGET_INTERVAL_MAX}},
        {{UINT32_MAX, SECOND}, 100, {UINT32_MAX, SECOND}},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ais_budget_limit part = ais_budget_part_of(cases[i].limit, cases[i].percent);

        assert_int_equal(part.calls, cases[i].part.calls);
        assert_int_equal(part.interval, cases[i].part.interval);
    }
}

/* Calls that the part does not use are available to others; it may use what they leave, up to its share. */
static void test_part_has_its_share(void **state)
{
    struct parted p;

    (void) state;
    set_up_part(&p, (struct ais_budget_limit){20, 10 * SECOND}, 50);
    assert_int_equal(spend_part(&p, 0), 10);
    assert_int_equal(ais_budget_left(&p.whole, 0), 10);
    assert_int_equal(ais_budget_part_wait(&p.part, &p.whole, 0), 10 * SECOND + 1);
    spend(&p.whole, 10, 5 * SECOND);
    assert_int_equal(ais_budget_part_wait(&p.part, &p.whole, 5 * SECOND), 5 * SECOND + 1);
    assert_int_equal(spend_part(&p, 10 * SECOND + 1), 10);
    assert_int_equal(ais_budget_part_wait(&p.part, &p.whole, 10 * SECOND + 1), 10 * SECOND + 1);

    /* the others may have spent everything */
    set_up_part(&p, (struct ais_budget_limit){20, 10 * SECOND}, 50);
    spend(&p.whole, 16, 0);
    assert_int_equal(spend_part(&p, 0), 4);
    assert_int_equal(ais_budget_part_wait(&p.part, &p.whole, 0), 10 * SECOND + 1);

    /* and the API may want no calls at all */
    ais_budget_close(&p.whole, MINUTE, 20 * SECOND);
    assert_int_equal(spend_part(&p, 20 * SECOND), 0);
    assert_int_equal(ais_budget_part_wait(&p.part, &p.whole, 20 * SECOND), 40 * SECOND);
}

/* A call counts for the part from when it was sent, and for the whole until it has ended. */
static void test_part_of_calls_under_way(void **state)
{
    struct parted p;
    ais_ticket ticket;

    (void) state;
    set_up_part(&p, (struct ais_budget_limit){2, SECOND}, 50);
    ticket = ais_budget_part_take(&p.part, &p.whole, 0);
    assert_true(ticket != AIS_TICKET_NONE);
    assert_int_equal(ais_budget_part_take(&p.part, &p.whole, SECOND), AIS_TICKET_NONE);
    assert_true(ais_budget_part_take(&p.part, &p.whole, SECOND + 1) != AIS_TICKET_NONE);
    assert_int_equal(ais_budget_left(&p.whole, 3 * SECOND), 0);
    assert_int_equal(ais_budget_part_take(&p.part, &p.whole, 3 * SECOND), AIS_TICKET_NONE);
    ais_budget_end(&p.whole, ticket, 3 * SECOND);
    assert_int_equal(ais_budget_left(&p.whole, 4 * SECOND + 1), 1);
}

static void observe_parted(struct parted *p, int64_t left, int64_t reset_at, int64_t now)
{
    struct ais_limit limit = {.name = "default", .left = left, .reset_at = reset_at, .quota = -1, .window = -1};

    ais_budget_observe(&p->whole, &limit, 0, now);
    ais_budget_part_observe(&p->part, &p->whole, 50, &limit, 0, now);
}

/* The part gets its share of what the API says is left, not a share of the rest after each of its own calls. */
static void test_part_of_what_the_api_said(void **state)
{
    struct parted p;
    ais_ticket tickets[4];

    (void) state;
    set_up_part(&p, (struct ais_budget_limit){100, MINUTE}, 50);
    observe_parted(&p, -1, 0, 0);
    assert_int_equal(ais_budget_part_left(&p.part, &p.whole, 0), 50);
    observe_parted(&p, 10, MINUTE, 0);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(ais_budget_part_left(&p.part, &p.whole, 0), 5 - i);
        ais_budget_end(&p.whole, ais_budget_part_take(&p.part, &p.whole, 0), 0);
        observe_parted(&p, 9 - i, MINUTE, 0);
    }
    assert_int_equal(ais_budget_part_take(&p.part, &p.whole, 0), AIS_TICKET_NONE);
    assert_int_equal(ais_budget_part_wait(&p.part, &p.whole, 0), MINUTE + SECOND);
    assert_int_equal(ais_budget_left(&p.whole, 0), 5);

    /* others spend calls too */
    observe_parted(&p, 40, 2 * MINUTE + 2 * SECOND, MINUTE + 2 * SECOND);
    assert_int_equal(ais_budget_part_left(&p.part, &p.whole, MINUTE + 2 * SECOND), 20);
    observe_parted(&p, 7, 2 * MINUTE + 2 * SECOND, MINUTE + 2 * SECOND);
    assert_int_equal(ais_budget_part_left(&p.part, &p.whole, MINUTE + 2 * SECOND), 4);

    /* the API has not counted the calls in progress */
    observe_parted(&p, 100, 4 * MINUTE, 3 * MINUTE);
    for (size_t i = 0; i < COUNT(tickets); i++)
        tickets[i] = ais_budget_part_take(&p.part, &p.whole, 3 * MINUTE);
    ais_budget_end(&p.whole, tickets[0], 3 * MINUTE);
    observe_parted(&p, 9, 4 * MINUTE, 3 * MINUTE);
    assert_int_equal(ais_budget_left(&p.whole, 3 * MINUTE), 6);
    assert_int_equal(ais_budget_part_left(&p.part, &p.whole, 3 * MINUTE), 3);
    observe_parted(&p, 1, 4 * MINUTE, 3 * MINUTE);
    assert_int_equal(ais_budget_part_left(&p.part, &p.whole, 3 * MINUTE), 0);
}

/* However much of it new calls spend: refreshes are slowed down only by what they have spent themselves. */
static void test_share_of_what_a_part_leaves(void **state)
{
    struct parted p;
    struct ais_budget none = {.now = 0};

    (void) state;
    set_up_part(&p, (struct ais_budget_limit){20, MINUTE}, 50);
    assert_true(ais_budget_share(&p.whole, &p.part, 0, 0) == 1.0);
    assert_int_equal(spend_part(&p, 0), 10);
    assert_true(ais_budget_share(&p.whole, NULL, 0, 0) == 0.5);
    assert_true(ais_budget_share(&p.whole, &none, 0, 0) == 0.5);
    assert_true(ais_budget_share(&p.whole, &p.part, 0, 0) == 1.0);
    spend(&p.whole, 4, 0);
    assert_true(ais_budget_share(&p.whole, &p.part, 0, 0) == 0.6);
    spend(&p.whole, 6, 0);
    assert_true(ais_budget_share(&p.whole, &p.part, 0, 0) == 0.0);
    assert_true(ais_budget_share(&p.whole, &p.part, 0, MINUTE + 1) == 1.0);

    /* all of it */
    set_up_part(&p, (struct ais_budget_limit){20, MINUTE}, 100);
    assert_int_equal(spend_part(&p, 0), 20);
    assert_true(ais_budget_share(&p.whole, &p.part, 0, 0) == 0.0);
}

static void test_merge(void **state)
{
    struct ais_budget_limit limits[AIS_BUDGET_LIMITS];
    size_t n = 0;

    (void) state;
    for (; n < AIS_BUDGET_LIMITS; n++)
        assert_int_equal(ais_budget_merge(limits, n, (struct ais_budget_limit){100, 1000 + (int64_t) n}), n);

    assert_int_equal(ais_budget_merge(limits, n, (struct ais_budget_limit){1, 999}), AIS_BUDGET_LIMITS);
    assert_int_equal(ais_budget_merge(limits, n, (struct ais_budget_limit){99, 1001}), 1);
    assert_int_equal(ais_budget_merge(limits, n, (struct ais_budget_limit){101, 1002}), 2);
    assert_int_equal(ais_budget_merge(limits, 1, (struct ais_budget_limit){7, 1003}), 1);
    for (size_t i = 0; i < n; i++) {
        static const struct ais_budget_limit expected[] = {{100, 1000}, {7, 1003}, {100, 1002}, {100, 1003}};

        assert_int_equal(limits[i].calls, expected[i].calls);
        assert_int_equal(limits[i].interval, expected[i].interval);
    }
}

static void expect_most(size_t n, const struct ais_budget_limit *limits, const char *most)
{
    struct ais_error err = {""};

    assert_int_equal(ais_budget_check(limits, n, &err), most == NULL ? 0 : -1);
    if (most != NULL)
        assert_ptr_equal(strstr(err.text, most), err.text);
}

static void test_more_than_the_api_allows(void **state)
{
    (void) state;
    expect_most(0, NULL, NULL);
    expect_most(2, (struct ais_budget_limit[]){{900, 300 * 1000}, {100, 1000}}, NULL);
    expect_most(1, (struct ais_budget_limit[]){{4, 1000}}, NULL);
    expect_most(1, (struct ais_budget_limit[]){{5000, 3600 * 1000}}, "5000 calls in 5 minutes, but the API only 1200");
    expect_most(1, (struct ais_budget_limit[]){{500, 120 * 1000}}, "1500 calls");
    expect_most(1, (struct ais_budget_limit[]){{UINT32_MAX, 1}}, "1288490188500000 calls");
    expect_most(2, (struct ais_budget_limit[]){{100, 1000}, {1201, 300 * 1000}}, "1201 calls");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_more_than_the_api_allows),
        cmocka_unit_test(test_random_schedules),
        cmocka_unit_test(test_random_crashes),
        cmocka_unit_test(test_random_reloads),
        cmocka_unit_test(test_throughput),
        cmocka_unit_test(test_exact_for_few_calls),
        cmocka_unit_test(test_zero),
        cmocka_unit_test(test_call_counts_until_after_its_end),
        cmocka_unit_test(test_each_limit_holds),
        cmocka_unit_test(test_crash),
        cmocka_unit_test(test_end_too_late_or_twice),
        cmocka_unit_test(test_end_in_time),
        cmocka_unit_test(test_cancelled_call_does_not_count),
        cmocka_unit_test(test_cancel_too_late_or_twice),
        cmocka_unit_test(test_cancel_and_what_the_api_said),
        cmocka_unit_test(test_long_times),
        cmocka_unit_test(test_clock_backwards),
        cmocka_unit_test(test_close),
        cmocka_unit_test(test_counters_do_not_overflow),
        cmocka_unit_test(test_observe),
        cmocka_unit_test(test_observe_periods),
        cmocka_unit_test(test_observe_share),
        cmocka_unit_test(test_observe_nonsense),
        cmocka_unit_test(test_observe_within_a_second),
        cmocka_unit_test(test_observe_several),
        cmocka_unit_test(test_observe_several_spent),
        cmocka_unit_test(test_observe_share_of_several),
        cmocka_unit_test(test_observe_share_of_the_quota),
        cmocka_unit_test(test_observe_uncertain),
        cmocka_unit_test(test_observe_policy_alone),
        cmocka_unit_test(test_observe_many),
        cmocka_unit_test(test_observe_names_again),
        cmocka_unit_test(test_reload_changes_nothing),
        cmocka_unit_test(test_reload_with_other_calls),
        cmocka_unit_test(test_reload_with_few_calls_under_way),
        cmocka_unit_test(test_reload_with_fewer_limits),
        cmocka_unit_test(test_reload_with_an_interval_between),
        cmocka_unit_test(test_reload_with_a_shorter_interval),
        cmocka_unit_test(test_reload_with_a_longer_interval),
        cmocka_unit_test(test_reload_with_another_hold),
        cmocka_unit_test(test_random_restarts),
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_part_of),
        cmocka_unit_test(test_part_has_its_share),
        cmocka_unit_test(test_part_of_calls_under_way),
        cmocka_unit_test(test_part_of_what_the_api_said),
        cmocka_unit_test(test_share_of_what_a_part_leaves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
