/* How the collectd plugin's look-ups share a budget, on a clock of the test's own. */

#include "unit.h"

#include "../../collectd-plugin/budget.c"

#define SECOND INT64_C(1000)
#define EPOCH INT64_C(1795435200000) /* at 0 of the clock */

#define PLAYERS 100

/* A plugin without a network: each look-up that begins is answered at once, by a cache where hits says so. */
struct play {
    budget_t budget;
    int64_t now;
    size_t turn;
    int64_t looked_at[PLAYERS];
    size_t calls;
    size_t news[BUDGET_AMPLE + 1];
    bool hits;
};

static void set_up(struct play *p, size_t lookups, int64_t interval, const struct ais_budget_limit *limits, size_t n)
{
    memset(p, 0, sizeof(*p));
    p->budget.lookups = lookups;
    p->budget.hold = SECOND;
    for (size_t i = 0; i < n; i++)
        assert_int_equal(aisearch_budget_limit(&p->budget, limits[i]), 0);
    aisearch_budget_start(&p->budget, interval, 0);
}

#define SET_UP(p, lookups, interval, ...)                                                                              \
    set_up(p, lookups, interval, (const struct ais_budget_limit[]){__VA_ARGS__},                                       \
           COUNT(((const struct ais_budget_limit[]){__VA_ARGS__})))

static struct ais_response response(int status, unsigned calls)
{
    return (struct ais_response){
        .status = status, .calls = calls, .retry_after = -1, .ratelimit_remaining = -1, .ratelimit_reset = -1};
}

static void answer(struct play *p)
{
    struct ais_response r = response(200, 1);
    uint64_t ticket;

    assert_true(aisearch_budget_enter(&p->budget, &ticket, p->now));
    aisearch_budget_leave(&p->budget, ticket, false, p->now);
    strcpy(r.cache, p->hits ? "HIT" : "");
    assert_int_equal(aisearch_budget_settle(&p->budget, &r, p->now, EPOCH + p->now), 0);
    p->calls++;
}

/* Returns how many began. */
static size_t pump(struct play *p)
{
    size_t began = 0;

    for (; aisearch_budget_ready(&p->budget, p->now); began++) {
        aisearch_budget_begin(&p->budget);
        p->looked_at[p->turn] = p->now;
        p->turn = (p->turn + 1) % p->budget.lookups;
        answer(p);
    }
    return began;
}

/* Plays one round, up to the beginning of the next. Returns how many began. */
static size_t play_round(struct play *p, int64_t interval)
{
    int64_t end = p->now + interval;
    size_t began;
    int64_t wait;

    p->news[aisearch_budget_round(&p->budget, p->now)]++;
    began = pump(p);
    while ((wait = aisearch_budget_wait(&p->budget, p->now)) != -1 && p->now + wait < end) {
        assert_true(wait > 0);
        p->now += wait;
        began += pump(p);
    }
    p->now = end;
    return began;
}

static void check_news(const struct play *p, size_t scarce, size_t ample)
{
    assert_int_equal(p->news[BUDGET_SCARCE], scarce);
    assert_int_equal(p->news[BUDGET_AMPLE], ample);
}

static void test_enough_for_all(void **state)
{
    struct play p;

    (void) state;
    SET_UP(&p, 9, 10 * SECOND, {300, 300 * SECOND}, {100, SECOND});
    for (int round = 0; round < 1000; round++)
        assert_int_equal(play_round(&p, 10 * SECOND), 9);
    check_news(&p, 0, 0);
}

/* A call counts a bit longer than the interval: rounds get later and later, until a turn is missed. */
static void test_just_enough(void **state)
{
    struct play p;

    (void) state;
    SET_UP(&p, 10, SECOND, {10, SECOND});
    for (int round = 0; round < 10000; round++)
        (void) play_round(&p, SECOND);
    assert_in_range(p.calls, 99800, 99990);
    check_news(&p, 0, 0);
}

/* A limit that is shorter than the interval makes a round longer, but nobody waits for the next one. */
static void test_a_round_in_parts(void **state)
{
    struct play p;

    (void) state;
    SET_UP(&p, 35, 10 * SECOND, {10, SECOND});
    for (int round = 0; round < 5; round++) {
        assert_int_equal(aisearch_budget_round(&p.budget, p.now), BUDGET_NO_NEWS);
        assert_int_equal(pump(&p), 10);
        assert_int_equal(aisearch_budget_wait(&p.budget, p.now), 1001);
        p.now += 1001;
        assert_int_equal(pump(&p), 10);
        p.now += 1001;
        assert_int_equal(pump(&p), 10);
        p.now += 1001;
        assert_int_equal(pump(&p), 5);
        assert_int_equal(aisearch_budget_wait(&p.budget, p.now), -1);
        p.now += 10 * SECOND - 3003;
    }
}

/* Ten, and one call every two seconds: each in its turn, every 20 s, at once and ever after. */
static void test_turns_are_even(void **state)
{
    struct play p;

    (void) state;
    SET_UP(&p, 10, SECOND, {5, 10 * SECOND});
    assert_int_equal(play_round(&p, SECOND), 1);
    assert_int_equal(play_round(&p, SECOND), 0);
    check_news(&p, 1, 0);
    for (int round = 2; round < 1000; round++) {
        (void) play_round(&p, SECOND);
        for (size_t i = 0; round >= 20 && i < 10; i++)
            assert_true(p.now - p.looked_at[i] <= 23 * SECOND);
    }
    assert_in_range(p.calls, 480, 501);
    check_news(&p, 1, 0);
}

/* Three and a half a round, and no round without three. */
static void test_fractions_add_up(void **state)
{
    struct play p;

    (void) state;
    SET_UP(&p, 10, 30 * SECOND, {35, 300 * SECOND});
    for (int round = 0; round < 1000; round++)
        assert_in_range(play_round(&p, 30 * SECOND), 3, 4);
    assert_in_range(p.calls, 3490, 3501);
    check_news(&p, 1, 0);
}

/* Large limits let a bit less through than they say; what does is even all the same. */
static void test_large_limits(void **state)
{
    struct play p;

    (void) state;
    SET_UP(&p, 20, 10 * SECOND, {300, 300 * SECOND});
    for (int round = 0; round < 1000; round++)
        assert_in_range(play_round(&p, 10 * SECOND), 9, 10);
    assert_in_range(p.calls, 9700, 9750);
    check_news(&p, 1, 0);
}

static void test_the_tightest_limit_sets_the_pace(void **state)
{
    struct play p;

    (void) state;
    SET_UP(&p, 10, SECOND, {1000, 10 * SECOND}, {36, 3600 * SECOND}, {10, SECOND});
    for (int round = 0; round < 3600; round++)
        (void) play_round(&p, SECOND);
    assert_in_range(p.calls, 35, 37);
    check_news(&p, 1, 0);
}

/* Others spend what the API leaves: turns for as long, and word of the end when it has been well for an interval. */
static void test_scarce_for_a_while(void **state)
{
    struct ais_response r = response(200, 1);
    struct play p;
    uint64_t ticket;

    (void) state;
    SET_UP(&p, 10, 10 * SECOND, {1000, 60 * SECOND});
    assert_int_equal(play_round(&p, 10 * SECOND), 10);

    r.ratelimit_remaining = 4;
    r.ratelimit_reset = EPOCH + 48 * SECOND;
    assert_true(aisearch_budget_enter(&p.budget, &ticket, p.now));
    aisearch_budget_leave(&p.budget, ticket, false, p.now);
    aisearch_budget_settle(&p.budget, &r, p.now, EPOCH + p.now);
    assert_true(aisearch_budget_allows(&p.budget, p.now) == 4.0);

    assert_int_equal(play_round(&p, 10 * SECOND), 4); /* from 10 s */
    assert_int_equal(play_round(&p, 10 * SECOND), 0);
    check_news(&p, 0, 0);
    assert_int_equal(play_round(&p, 10 * SECOND), 0); /* from 30 s */
    check_news(&p, 1, 0);
    assert_int_equal(play_round(&p, 10 * SECOND), 10); /* from 40 s, at 49 s: it was scarce until 40 s */
    while (p.now <= 100 * SECOND)
        assert_int_equal(play_round(&p, 10 * SECOND), 10);
    check_news(&p, 1, 0);
    assert_int_equal(play_round(&p, 10 * SECOND), 10);
    check_news(&p, 1, 1);
}

static void test_hits_cost_nothing(void **state)
{
    struct play p;

    (void) state;
    SET_UP(&p, 10, SECOND, {5, 10 * SECOND});
    p.hits = true;
    for (int round = 0; round < 100; round++)
        assert_int_equal(play_round(&p, SECOND), 10);
    check_news(&p, 0, 0);
    assert_true(aisearch_budget_allows(&p.budget, p.now) > 0.0);

    p.hits = false;
    assert_int_equal(play_round(&p, SECOND), 1);
}

/* No more begin than could be sent, before any of them was. */
static void test_room_is_kept_for_those_that_began(void **state)
{
    struct ais_response r = response(0, 0);
    uint64_t tickets[5], ticket;
    struct play p;

    (void) state;
    SET_UP(&p, 10, 100 * SECOND, {5, SECOND});
    aisearch_budget_round(&p.budget, 0);
    for (int i = 0; i < 5; i++) {
        assert_true(aisearch_budget_ready(&p.budget, 0));
        aisearch_budget_begin(&p.budget);
    }
    assert_false(aisearch_budget_ready(&p.budget, 0));
    assert_int_equal(aisearch_budget_wait(&p.budget, 0), -1);

    for (int i = 0; i < 4; i++)
        assert_true(aisearch_budget_enter(&p.budget, &tickets[i], 0));
    assert_false(aisearch_budget_ready(&p.budget, 0));

    /* the fifth could not connect */
    aisearch_budget_settle(&p.budget, &r, 0, EPOCH);
    assert_true(aisearch_budget_ready(&p.budget, 0));

    /* a repeat takes what was left */
    assert_true(aisearch_budget_enter(&p.budget, &tickets[4], 0));
    assert_false(aisearch_budget_ready(&p.budget, 0));
    assert_false(aisearch_budget_enter(&p.budget, &ticket, 0));
    assert_int_equal(aisearch_budget_wait(&p.budget, 0), 1001);
}

static void test_skipped_look_ups_cost_nothing(void **state)
{
    struct play p;

    (void) state;
    SET_UP(&p, 3, SECOND, {1, SECOND});
    aisearch_budget_round(&p.budget, 0);
    aisearch_budget_skip(&p.budget);
    aisearch_budget_skip(&p.budget);
    assert_int_equal(pump(&p), 1);
    assert_false(aisearch_budget_ready(&p.budget, 5 * SECOND));
    assert_int_equal(aisearch_budget_round(&p.budget, 5 * SECOND), BUDGET_NO_NEWS);
}

/* A call that was given up may be counted by the API for as long as it could have taken, 1 s here. */
static void test_given_up_calls_go_on_to_count(void **state)
{
    struct ais_response r = response(0, 1);
    uint64_t ticket;
    struct play p;

    (void) state;
    SET_UP(&p, 1, SECOND, {1, SECOND});
    assert_true(aisearch_budget_enter(&p.budget, &ticket, 0));
    aisearch_budget_leave(&p.budget, ticket, true, 100);
    aisearch_budget_settle(&p.budget, &r, 100, EPOCH + 100);
    assert_false(aisearch_budget_enter(&p.budget, &ticket, 2000));
    assert_true(aisearch_budget_enter(&p.budget, &ticket, 2200));
}

/* Of a look-up with a repeat that is a hit, the first call counts. */
static void test_repeats_count(void **state)
{
    struct ais_response r = response(200, 2);
    uint64_t ticket;
    struct play p;

    (void) state;
    strcpy(r.cache, "HIT");
    SET_UP(&p, 1, SECOND, {2, SECOND});
    assert_true(aisearch_budget_enter(&p.budget, &ticket, 0));
    aisearch_budget_leave(&p.budget, ticket, false, 0);
    assert_true(aisearch_budget_enter(&p.budget, &ticket, 0));
    aisearch_budget_leave(&p.budget, ticket, false, 0);
    assert_false(aisearch_budget_enter(&p.budget, &ticket, 0));
    aisearch_budget_settle(&p.budget, &r, 0, EPOCH);
    assert_true(aisearch_budget_enter(&p.budget, &ticket, 0));
    assert_false(aisearch_budget_enter(&p.budget, &ticket, 0));
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
        struct play p;

        r.retry_after = cases[i].retry_after;
        SET_UP(&p, 10, 10 * SECOND, {1000, SECOND});
        aisearch_budget_round(&p.budget, 0);
        aisearch_budget_begin(&p.budget);
        assert_int_equal(aisearch_budget_settle(&p.budget, &r, 0, EPOCH), cases[i].closed);

        /* it says nothing of a budget that is too small */
        for (p.now = 10 * SECOND; p.now < cases[i].closed;)
            assert_int_equal(play_round(&p, 10 * SECOND), 0);
        if (cases[i].closed > 0)
            assert_int_equal(play_round(&p, 10 * SECOND), 10);
        else
            assert_int_equal(pump(&p), 9);
        check_news(&p, 0, 0);
    }
}

static void test_limits_of_several_accounts(void **state)
{
    budget_t b = {.nlimits = 0};

    (void) state;
    assert_int_equal(aisearch_budget_limit(&b, (struct ais_budget_limit){300, 300 * SECOND}), 0);
    assert_int_equal(aisearch_budget_limit(&b, (struct ais_budget_limit){100, SECOND}), 0);
    assert_int_equal(aisearch_budget_limit(&b, (struct ais_budget_limit){50, 300 * SECOND}), 0);
    assert_int_equal(aisearch_budget_limit(&b, (struct ais_budget_limit){500, SECOND}), 0);
    assert_int_equal(b.nlimits, 2);
    assert_int_equal(b.limits[0].calls, 50);
    assert_int_equal(b.limits[1].calls, 100);

    assert_int_equal(aisearch_budget_limit(&b, (struct ais_budget_limit){1, 2 * SECOND}), 0);
    assert_int_equal(aisearch_budget_limit(&b, (struct ais_budget_limit){1, 3 * SECOND}), 0);
    assert_int_equal(aisearch_budget_limit(&b, (struct ais_budget_limit){1, 4 * SECOND}), -1);
    assert_int_equal(aisearch_budget_limit(&b, (struct ais_budget_limit){1, 3 * SECOND}), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_enough_for_all),
        cmocka_unit_test(test_just_enough),
        cmocka_unit_test(test_a_round_in_parts),
        cmocka_unit_test(test_turns_are_even),
        cmocka_unit_test(test_fractions_add_up),
        cmocka_unit_test(test_large_limits),
        cmocka_unit_test(test_the_tightest_limit_sets_the_pace),
        cmocka_unit_test(test_scarce_for_a_while),
        cmocka_unit_test(test_hits_cost_nothing),
        cmocka_unit_test(test_room_is_kept_for_those_that_began),
        cmocka_unit_test(test_skipped_look_ups_cost_nothing),
        cmocka_unit_test(test_given_up_calls_go_on_to_count),
        cmocka_unit_test(test_repeats_count),
        cmocka_unit_test(test_closed),
        cmocka_unit_test(test_limits_of_several_accounts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
