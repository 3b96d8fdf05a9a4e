/* The calls that the collectd plugin's lookups may send, on a fake clock. */

#include "unit.h"

#include "../../collectd-plugin/budget.c"

#define SECOND INT64_C(1000)

static void set_up(budget_t *b, const struct ais_budget_limit *limits, size_t n)
{
    memset(b, 0, sizeof(*b));
    b->hold = SECOND;
    for (size_t i = 0; i < n; i++)
        assert_int_equal(budget_limit(b, limits[i]), 0);
    budget_start(b, 0);
}

#define SET_UP(b, ...)                                                                                                 \
    set_up(b, (const struct ais_budget_limit[]){__VA_ARGS__}, COUNT(((const struct ais_budget_limit[]){__VA_ARGS__})))

static struct ais_response response(int status, unsigned calls)
{
    return (struct ais_response){.status = status, .calls = calls, .retry_after = -1};
}

static void check_rate(budget_t *b, int64_t now, double per_second)
{
    double rate = budget_rate(b, now) * 1e3;

    if (!(rate > 0.999 * per_second && rate < 1.001 * per_second))
        fail_msg("%g calls per second, not %g", rate, per_second);
}

/* Sends calls one by one, all at the same time, until none is left. Returns their number. */
static size_t spend(budget_t *b, int64_t now, const char *cache, size_t most)
{
    size_t n = 0;

    for (; n < most && budget_left(b, BUDGET_ALL, now) > 0; n++) {
        struct ais_response r = response(200, 1);
        uint64_t ticket;
        unsigned spent;

        budget_begin(b);
        assert_true(budget_enter(b, BUDGET_ALL, &ticket, now));
        budget_leave(b, ticket, false, now);
        strcpy(r.cache, cache);
        assert_int_equal(budget_settle(b, &r, &spent, now), 0);
        assert_int_equal(spent, strcmp(cache, "HIT") == 0 ? 0 : 1);
    }
    return n;
}

static void test_all_limits_hold(void **state)
{
    budget_t b;

    (void) state;
    SET_UP(&b, {10, SECOND}, {25, 10 * SECOND});
    assert_int_equal(b.period, 10 * SECOND);
    assert_int_equal(spend(&b, 0, "", 100), 10);
    assert_int_equal(budget_wait(&b, BUDGET_ALL, 0), 1001);
    assert_int_equal(spend(&b, 1001, "MISS", 100), 10);
    assert_int_equal(spend(&b, 2002, "EXPIRED", 100), 5);
    assert_int_equal(budget_wait(&b, BUDGET_ALL, 2002), 10001 - 2002);
}

static void test_hits_cost_nothing(void **state)
{
    budget_t b;

    (void) state;
    SET_UP(&b, {5, 10 * SECOND});
    assert_int_equal(spend(&b, 0, "HIT", 100), 100);
    assert_int_equal(spend(&b, 0, "UPDATING", 3), 3);
    assert_int_equal(spend(&b, 0, "STALE", 100), 2);
}

/* The sustainable rate is that of the tightest limit. Large limits allow slightly less than their number. */
static void test_rate(void **state)
{
    budget_t b;

    (void) state;
    SET_UP(&b, {30, 10 * SECOND}, {36, 3600 * SECOND}, {10, SECOND});
    check_rate(&b, 0, 0.01);
    SET_UP(&b, {300, 300 * SECOND}, {100, SECOND});
    check_rate(&b, 0, 38.0 / 39.0);
    SET_UP(&b, {1000000, SECOND});
    check_rate(&b, 0, 1e6 * 38.0 / 39.0);
}

/* At that rate, the 390 calls of each rolling interval can all be spent. */
static void test_rate_lasts(void **state)
{
    size_t n = 0;
    budget_t b;

    (void) state;
    SET_UP(&b, {390, 100 * SECOND});
    for (int64_t now = 0; now < 10000 * SECOND; now++)
        if (n < (double) now * budget_rate(&b, now))
            n += spend(&b, now, "", 1);
    assert_uint_in_range(n, 37900, 38000);
}

/* Others spend some of what the API has left. */
static void test_rate_follows_the_api(void **state)
{
    struct ais_response r = response(200, 1);
    budget_t b;
    unsigned spent;
    uint64_t ticket;

    (void) state;
    SET_UP(&b, {1000, 100 * SECOND});
    r.limits = (struct ais_limits){
        .n = 2,
        .items = {{.name = "burst", .left = 500, .reset_at = 9 * SECOND, .quota = -1, .window = -1},
                  {.name = "default", .left = 19, .reset_at = 99 * SECOND, .quota = -1, .window = -1}},
    };
    assert_true(budget_enter(&b, BUDGET_ALL, &ticket, 0));
    budget_leave(&b, ticket, false, 0);
    budget_settle(&b, &r, &spent, 0);
    check_rate(&b, 0, 0.2);
    assert_int_equal(spend(&b, 50 * SECOND, "", 100), 19);
    check_rate(&b, 50 * SECOND, 1.0 / 50);
    assert_int_equal(budget_wait(&b, BUDGET_ALL, 50 * SECOND), 50 * SECOND);
    check_rate(&b, 100 * SECOND, 1000 * 38.0 / 39.0 / 100);
}

/* No more lookups begin than can be sent, even before any of them is. */
static void test_room_for_running_lookups(void **state)
{
    struct ais_response r = response(0, 0);
    uint64_t tickets[5], ticket;
    budget_t b;
    unsigned spent;

    (void) state;
    SET_UP(&b, {5, SECOND});
    for (int i = 5; i > 0; i--) {
        assert_int_equal(budget_left(&b, BUDGET_ALL, 0), i);
        budget_begin(&b);
    }
    assert_int_equal(budget_left(&b, BUDGET_ALL, 0), 0);
    assert_int_equal(budget_wait(&b, BUDGET_ALL, 0), AIS_NEVER);

    for (int i = 0; i < 4; i++)
        assert_true(budget_enter(&b, BUDGET_ALL, &tickets[i], 0));
    assert_int_equal(budget_left(&b, BUDGET_ALL, 0), 0);

    /* the fifth could not connect */
    budget_settle(&b, &r, &spent, 0);
    assert_int_equal(budget_left(&b, BUDGET_ALL, 0), 1);

    /* a retry takes what was left */
    assert_true(budget_enter(&b, BUDGET_ALL, &tickets[4], 0));
    assert_int_equal(budget_left(&b, BUDGET_ALL, 0), 0);
    assert_false(budget_enter(&b, BUDGET_ALL, &ticket, 0));
    assert_int_equal(budget_wait(&b, BUDGET_ALL, 0), 1001);
}

/* The API may count an aborted call for as long as it could have taken, 1 s here. */
static void test_aborted_calls_still_count(void **state)
{
    struct ais_response r = response(0, 1);
    uint64_t ticket;
    budget_t b;
    unsigned spent;

    (void) state;
    SET_UP(&b, {1, SECOND});
    assert_true(budget_enter(&b, BUDGET_ALL, &ticket, 0));
    budget_leave(&b, ticket, true, 100);
    budget_settle(&b, &r, &spent, 100);
    assert_false(budget_enter(&b, BUDGET_ALL, &ticket, 2000));
    assert_true(budget_enter(&b, BUDGET_ALL, &ticket, 2200));
}

/* If the retry of a lookup is a hit, the first call counts. */
static void test_repeats_count(void **state)
{
    struct ais_response r = response(200, 2);
    uint64_t ticket;
    budget_t b;
    unsigned spent;

    (void) state;
    strcpy(r.cache, "HIT");
    SET_UP(&b, {2, SECOND});
    assert_true(budget_enter(&b, BUDGET_ALL, &ticket, 0));
    budget_leave(&b, ticket, false, 0);
    assert_true(budget_enter(&b, BUDGET_ALL, &ticket, 0));
    budget_leave(&b, ticket, false, 0);
    assert_false(budget_enter(&b, BUDGET_ALL, &ticket, 0));
    budget_settle(&b, &r, &spent, 0);
    assert_int_equal(spent, 1);
    assert_true(budget_enter(&b, BUDGET_ALL, &ticket, 0));
    assert_false(budget_enter(&b, BUDGET_ALL, &ticket, 0));
}

static void test_closed(void **state)
{
    static const struct {
        int status;
        int64_t retry_after;
        int64_t closed;
    } cases[] = {
        {429, -1, 300 * SECOND},         {429, 0, 0},  {429, 40 * SECOND, 40 * SECOND},
        {503, 40 * SECOND, 40 * SECOND}, {503, -1, 0}, {503, 0, 0},
        {200, 40 * SECOND, 0},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ais_response r = response(cases[i].status, 1);
        unsigned spent;
        budget_t b;

        r.retry_after = cases[i].retry_after;
        SET_UP(&b, {1000, SECOND});
        assert_int_equal(budget_settle(&b, &r, &spent, 0), cases[i].closed);
        if (cases[i].closed == 0) {
            assert_int_equal(budget_left(&b, BUDGET_ALL, 0), 1000);
            continue;
        }
        assert_int_equal(budget_wait(&b, BUDGET_ALL, SECOND), cases[i].closed - SECOND);
        check_rate(&b, SECOND, 1000 * 38.0 / 39.0);
        assert_int_equal(budget_left(&b, BUDGET_ALL, cases[i].closed - 1), 0);
        assert_int_equal(budget_left(&b, BUDGET_ALL, cases[i].closed), 1000);
    }
}

static void test_limits_of_several_accounts(void **state)
{
    budget_t b = {.nlimits = 0};

    (void) state;
    assert_int_equal(budget_limit(&b, (struct ais_budget_limit){300, 300 * SECOND}), 0);
    assert_int_equal(budget_limit(&b, (struct ais_budget_limit){100, SECOND}), 0);
    assert_int_equal(budget_limit(&b, (struct ais_budget_limit){50, 300 * SECOND}), 0);
    assert_int_equal(budget_limit(&b, (struct ais_budget_limit){500, SECOND}), 0);
    assert_int_equal(b.nlimits, 2);
    assert_int_equal(b.limits[0].calls, 50);
    assert_int_equal(b.limits[1].calls, 100);

    assert_int_equal(budget_limit(&b, (struct ais_budget_limit){1, 2 * SECOND}), 0);
    assert_int_equal(budget_limit(&b, (struct ais_budget_limit){1, 3 * SECOND}), 0);
    assert_int_equal(budget_limit(&b, (struct ais_budget_limit){1, 4 * SECOND}), -1);
    assert_int_equal(budget_limit(&b, (struct ais_budget_limit){1, 3 * SECOND}), 0);
}

/* A part never spends more than its share, nor more than is left. */
static void test_parts(void **state)
{
    static const struct {
        budget_part_t part;
        struct ais_budget_limit limit;
        size_t calls; /* in this time */
        int64_t time;
    } cases[] = {
        {BUDGET_DISCOVERY, {300, 300 * SECOND}, 150, 300 * SECOND},
        {BUDGET_FACTS, {300, 300 * SECOND}, 30, 300 * SECOND},
        {BUDGET_DISCOVERY, {15, 300 * SECOND}, 7, 300 * SECOND},
        {BUDGET_FACTS, {15, 300 * SECOND}, 1, 300 * SECOND},
        {BUDGET_DISCOVERY, {1, SECOND}, 1, 2 * SECOND},
        {BUDGET_FACTS, {5, SECOND}, 1, 2 * SECOND},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        budget_part_t part = cases[i].part;
        budget_t b;

        set_up(&b, &cases[i].limit, 1);
        for (int64_t now = 0; now <= 2 * cases[i].time + 2; now += cases[i].time + 1) {
            size_t n = 0;
            uint64_t ticket;
            unsigned spent;

            while (budget_left(&b, part, now) > 0) {
                assert_true(budget_enter(&b, part, &ticket, now));
                budget_leave(&b, ticket, false, now);
                budget_settle(&b, &(struct ais_response){.calls = 1, .retry_after = -1}, &spent, now);
                n++;
            }
            assert_false(budget_enter(&b, part, &ticket, now));
            assert_int_equal(n, cases[i].calls);
            assert_int_equal(budget_wait(&b, part, now), cases[i].time + 1);
        }
    }
}

static void test_a_part_of_the_spent_budget(void **state)
{
    uint64_t ticket;
    budget_t b;

    (void) state;
    SET_UP(&b, {10, SECOND});
    assert_int_equal(spend(&b, 0, "", 8), 8);
    assert_int_equal(budget_left(&b, BUDGET_DISCOVERY, 0), 2);
    assert_int_equal(spend(&b, 0, "", 8), 2);
    assert_int_equal(budget_wait(&b, BUDGET_DISCOVERY, 0), 1001);
    assert_false(budget_enter(&b, BUDGET_DISCOVERY, &ticket, 0));
}

/* A part also gets its share of what the API has left. */
static void test_a_part_of_the_limit_of_the_api(void **state)
{
    struct ais_response r = response(200, 1);
    uint64_t ticket;
    budget_t b;
    unsigned spent;

    (void) state;
    SET_UP(&b, {100, 100 * SECOND});
    r.limits = (struct ais_limits){
        .n = 1, .items = {{.name = "default", .left = 10, .reset_at = 99 * SECOND, .quota = -1, .window = -1}}};
    budget_settle(&b, &r, &spent, 0);
    assert_int_equal(budget_left(&b, BUDGET_ALL, 0), 10);
    assert_int_equal(budget_left(&b, BUDGET_DISCOVERY, 0), 5);
    assert_int_equal(budget_left(&b, BUDGET_FACTS, 0), 1);
    assert_true(budget_enter(&b, BUDGET_FACTS, &ticket, 0));
    assert_false(budget_enter(&b, BUDGET_FACTS, &ticket, 0));
    assert_int_equal(budget_wait(&b, BUDGET_FACTS, 0), 100 * SECOND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_limits_hold),
        cmocka_unit_test(test_hits_cost_nothing),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_rate_lasts),
        cmocka_unit_test(test_rate_follows_the_api),
        cmocka_unit_test(test_room_for_running_lookups),
        cmocka_unit_test(test_aborted_calls_still_count),
        cmocka_unit_test(test_repeats_count),
        cmocka_unit_test(test_closed),
        cmocka_unit_test(test_limits_of_several_accounts),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_a_part_of_the_spent_budget),
        cmocka_unit_test(test_a_part_of_the_limit_of_the_api),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
