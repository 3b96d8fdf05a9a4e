/* The budget and the limits that the API reports. */
#include "budget_oracle.h"

/* limits from the API */

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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
