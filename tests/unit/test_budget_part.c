/* The part of a budget that is shared by some of the calls. */
#include "budget_oracle.h"

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
static void test_part_of_calls_in_progress(void **state)
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

/* The part gets its share of what the API has left, not a share of the rest after each of its own calls. */
static void test_part_of_the_limit_of_the_api(void **state)
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

/* Refreshes are slowed down only by what they have spent themselves, however much new calls spend. */
static void test_share_beside_a_part(void **state)
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_part_of),
        cmocka_unit_test(test_part_has_its_share),
        cmocka_unit_test(test_part_of_calls_in_progress),
        cmocka_unit_test(test_part_of_the_limit_of_the_api),
        cmocka_unit_test(test_share_beside_a_part),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
