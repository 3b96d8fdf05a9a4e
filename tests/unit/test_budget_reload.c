/* The budget over a reload, and over a restart. */
#include "budget_oracle.h"

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
static void test_reload_with_few_calls_in_progress(void **state)
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
static void test_reload_with_an_interval_in_between(void **state)
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reload_changes_nothing),
        cmocka_unit_test(test_reload_with_other_calls),
        cmocka_unit_test(test_reload_with_few_calls_in_progress),
        cmocka_unit_test(test_reload_with_fewer_limits),
        cmocka_unit_test(test_reload_with_an_interval_in_between),
        cmocka_unit_test(test_reload_with_a_shorter_interval),
        cmocka_unit_test(test_reload_with_a_longer_interval),
        cmocka_unit_test(test_reload_with_another_hold),
        cmocka_unit_test(test_random_restarts),
        cmocka_unit_test(test_restart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
