/* What was spent of a budget, as text in the state file: a restart goes on with it. */

#include "unit.h"

#include "../../collectd-plugin/budget_text.c"
#include "../../collectd-plugin/words.c"

#define NOW INT64_C(1795435200000) /* 2026-11-23T12:00:00Z */
#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define HOLD (5 * SECOND)

static const struct ais_budget_limit limits[] = {{300, 5 * MINUTE}, {100, SECOND}};

static struct ais_budget fresh(int64_t now)
{
    struct ais_budget b = {.now = 0};

    ais_budget_configure(&b, limits, COUNT(limits), HOLD, now);
    return b;
}

static void spend(struct ais_budget *b, int calls, int64_t now)
{
    while (calls-- > 0) {
        ais_ticket ticket = ais_budget_take(b, now);

        assert_true(ticket != AIS_TICKET_NONE);
        ais_budget_end(b, ticket, now);
    }
}

static void observe(struct ais_budget *b, const char *name, int64_t left, int64_t reset_at)
{
    struct ais_limit limit = {.left = left, .reset_at = reset_at, .quota = -1, .window = -1};

    snprintf(limit.name, sizeof(limit.name), "%s", name);
    ais_budget_observe(b, &limit, 0, HOUR);
}

/* The monotonic clock begins anew, the real one goes on. */
static struct ais_budget restart(struct ais_budget *b, int64_t now, int64_t later)
{
    struct ais_budget next = fresh(10 * SECOND);
    char text[BUDGET_TEXT_SIZE];

    aisearch_budget_print(b, now, NOW, text);
    assert_true(strlen(text) < BUDGET_TEXT_SIZE - 1);
    assert_true(aisearch_budget_parse(NULL, 0, NOW + later, text));
    assert_true(aisearch_budget_parse(&next, 10 * SECOND, NOW + later, text));
    return next;
}

static void test_nothing_spent(void **state)
{
    struct ais_budget b = fresh(HOUR);
    char text[BUDGET_TEXT_SIZE];

    (void) state;
    aisearch_budget_print(&b, HOUR, NOW, text);
    assert_string_equal(text, "");
    assert_true(aisearch_budget_parse(&b, HOUR, NOW, text));
    assert_int_equal(ais_budget_left(&b, HOUR), 100);
}

static void test_what_it_looks_like(void **state)
{
    struct ais_budget b = fresh(HOUR);
    char text[BUDGET_TEXT_SIZE];

    (void) state;
    spend(&b, 10, HOUR);
    observe(&b, "default", 120, HOUR + MINUTE);
    ais_budget_close(&b, HOUR + 2 * MINUTE, HOUR);
    aisearch_budget_print(&b, HOUR + 1500, NOW, text);
    assert_string_equal(text, "spent=8@1795435198.500,2@1795435198.500 closed=1795435318.500 left=120@1795435259.500");
}

static void test_what_was_spent_is_spent(void **state)
{
    struct ais_budget b = fresh(HOUR), next;

    (void) state;
    for (int i = 0; i < 4; i++)
        spend(&b, 70, HOUR + i * 2 * SECOND);

    next = restart(&b, HOUR + 6 * SECOND, 3 * SECOND);
    assert_int_equal(ais_budget_left(&next, 10 * SECOND), 20);
    assert_int_equal(ais_budget_left(&next, 10 * SECOND + 5 * MINUTE - 3 * SECOND + 1), 100);

    next = restart(&b, HOUR + 6 * SECOND, 5 * MINUTE + 1);
    assert_int_equal(ais_budget_left(&next, 10 * SECOND), 100);

    /* the clock was set back */
    next = restart(&b, HOUR + 6 * SECOND, -10 * MINUTE);
    assert_int_equal(ais_budget_left(&next, 10 * SECOND), 0);
    assert_int_equal(ais_budget_left(&next, 11 * SECOND), 0);
    assert_int_equal(ais_budget_left(&next, 10 * SECOND + 5 * MINUTE + 1), 100);
}

static void test_closed_stays_closed(void **state)
{
    struct ais_budget b = fresh(HOUR), next;

    (void) state;
    ais_budget_close(&b, HOUR + MINUTE, HOUR);
    next = restart(&b, HOUR, 10 * SECOND);
    assert_int_equal(ais_budget_left(&next, 10 * SECOND + 50 * SECOND - 1), 0);
    assert_int_equal(ais_budget_left(&next, 10 * SECOND + 50 * SECOND), 100);

    next = restart(&b, HOUR, 2 * MINUTE);
    assert_int_equal(ais_budget_left(&next, 10 * SECOND), 100);
}

static void test_what_the_api_said_holds(void **state)
{
    struct ais_budget b = fresh(HOUR), next;

    (void) state;
    observe(&b, "burst", 50, HOUR + 2 * MINUTE);
    observe(&b, "default", 7, HOUR + MINUTE);
    next = restart(&b, HOUR, 10 * SECOND);
    assert_int_equal(ais_budget_left(&next, 10 * SECOND), 7);
    assert_int_equal(ais_budget_left(&next, 10 * SECOND + 53 * SECOND), 50);
}

/* Written down by a clock that was wrong: what the API said holds no longer than it would if it was said now. */
static void test_what_is_of_a_time_to_come(void **state)
{
    struct ais_budget b = fresh(0);

    (void) state;
    assert_true(aisearch_budget_parse(&b, 0, NOW, "closed=4102444800.000"));
    assert_int_equal(ais_budget_left(&b, 24 * HOUR - 1), 0);
    assert_int_equal(ais_budget_left(&b, 24 * HOUR), 100);

    b = fresh(0);
    assert_true(aisearch_budget_parse(&b, 0, NOW, "left=0@4102444800.000,5@4102444800.000"));
    assert_int_equal(ais_budget_left(&b, HOUR - 1), 0);
    assert_int_equal(ais_budget_left(&b, HOUR + 2 * SECOND), 100);

    b = fresh(0);
    assert_true(aisearch_budget_parse(&b, 0, NOW, "spent=290@4102444800.000"));
    assert_int_equal(ais_budget_left(&b, 2 * SECOND), 10);
    assert_int_equal(ais_budget_left(&b, 5 * MINUTE + 1), 100);
}

static void test_what_is_no_text(void **state)
{
    static const char *const bad[] = {
        "spent",
        "spent=",
        "spent=1",
        "spent=1@",
        "spent=1@x",
        "spent=1@1",
        "spent=1@1.0000",
        "spent=-1@1.000",
        "spent=1@1.000,",
        "spent=1@1.000 x",
        "closed=1",
        "closed=1@1.000",
        "left=1.000",
        "left=4294967296@1.000",
        "left=1@1.000 spent",
        "what=1",
        " ",
    };
    struct ais_budget b = fresh(0);

    (void) state;
    for (size_t i = 0; i < COUNT(bad); i++)
        if (aisearch_budget_parse(NULL, 0, NOW, bad[i]) || aisearch_budget_parse(&b, 0, NOW, bad[i]))
            fail_msg("accepted: %s", bad[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_spent),           cmocka_unit_test(test_what_it_looks_like),
        cmocka_unit_test(test_what_was_spent_is_spent), cmocka_unit_test(test_closed_stays_closed),
        cmocka_unit_test(test_what_the_api_said_holds), cmocka_unit_test(test_what_is_no_text),
        cmocka_unit_test(test_what_is_of_a_time_to_come),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
