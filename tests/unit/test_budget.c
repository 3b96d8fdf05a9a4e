/* The budget on a fake clock: random schedules, how much of a limit can be used, and one thing at a time. */
#include "budget_oracle.h"

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

/* A cancelled call does not increase what the API has left: others may have spent it. */
static void test_cancel_and_the_limit_of_the_api(void **state)
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

    /* closed before it was first configured */
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
    expect_most(1, (struct ais_budget_limit[]){{5000, 3600 * 1000}},
                "5000 calls in 5 minutes, but the API allows only 1200");
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
        cmocka_unit_test(test_cancel_and_the_limit_of_the_api),
        cmocka_unit_test(test_long_times),
        cmocka_unit_test(test_clock_backwards),
        cmocka_unit_test(test_close),
        cmocka_unit_test(test_counters_do_not_overflow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
