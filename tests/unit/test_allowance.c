/*
 * How much data without a response a connection may receive: floods exceed it, honest servers never do.
 */

#include "unit.h"

#include "ais_allowance.h"

#define KIB 1024
#define MIB (1024 * 1024)
#define SECOND 1000

/* Returns how much a connection may receive, in pieces of that size and at one time, before it is closed. */
static size_t brings(struct ais_allowance *a, size_t piece, size_t more, int64_t now)
{
    size_t n = 0;

    while (ais_allowance_take(a, piece, more, now)) {
        n += piece;
        assert_true(n < (size_t) 100 * MIB);
    }
    return n;
}

static void test_first(void **state)
{
    struct ais_allowance a;

    (void) state;
    ais_allowance_begin(&a);
    assert_int_equal(brings(&a, KIB, 0, 5 * SECOND), 256 * KIB);
    assert_int_equal(a.beside, 257 * KIB);
    assert_false(ais_allowance_take(&a, 0, 0, 5 * SECOND));

    /* Work counts like data, but is not data. */
    ais_allowance_begin(&a);
    assert_int_equal(brings(&a, 1, 63, SECOND), 4 * KIB);
    assert_int_equal(a.beside, 4 * KIB + 1);
    ais_allowance_begin(&a);
    assert_false(ais_allowance_take(&a, 0, (size_t) 256 * KIB + 1, SECOND));
}

static void test_more(void **state)
{
    struct ais_allowance a;

    (void) state;
    ais_allowance_begin(&a);
    ais_allowance_add_request(&a);
    assert_int_equal(brings(&a, KIB, 0, SECOND), 272 * KIB);

    /* Whether the response is processed before or after it is counted. */
    ais_allowance_begin(&a);
    assert_true(ais_allowance_take(&a, 10 * KIB, 0, SECOND));
    ais_allowance_add_answer(&a, 10 * KIB);
    assert_int_equal(a.beside, 0);
    assert_int_equal(brings(&a, KIB, 0, SECOND), 276 * KIB);
    ais_allowance_begin(&a);
    ais_allowance_add_answer(&a, 10 * KIB);
    assert_int_equal(brings(&a, KIB, 0, SECOND), 286 * KIB);

    ais_allowance_begin(&a);
    ais_allowance_add_rest(&a);
    assert_true(ais_allowance_take(&a, 0, 0, SECOND));
    assert_int_equal(brings(&a, KIB, 0, SECOND), MIB);

    /* Over time; the first byte may be late. */
    ais_allowance_begin(&a);
    (void) brings(&a, KIB, 0, 1000 * SECOND);
    ais_allowance_add_answer(&a, 257 * KIB); /* back to the same balance: -1 and three */
    ais_allowance_limit(&a, 0);
    assert_int_equal(brings(&a, 100, 0, 1002 * SECOND), 32000);
}

static void test_most(void **state)
{
    struct ais_allowance a;
    int64_t now = SECOND;
    int i;

    (void) state;
    ais_allowance_begin(&a);
    for (i = 0; i < 100; i++) {
        ais_allowance_add_answer(&a, MIB / 2);
        assert_true(ais_allowance_take(&a, MIB / 2, 0, now));
        now += SECOND;
    }
    assert_true(ais_allowance_take(&a, 0, 0, now));
    assert_int_equal(a.left, MIB);
    assert_int_equal(brings(&a, KIB, 0, now), MIB);

    ais_allowance_begin(&a);
    ais_allowance_limit(&a, (int64_t) MIB);
    assert_int_equal(a.left, 256 * KIB);
    assert_false(ais_allowance_is_strained(&a));
    ais_allowance_limit(&a, 1000);
    assert_true(ais_allowance_is_strained(&a));
    assert_int_equal(a.left, 1000);
}

/* The longest possible certificates, then a response of the maximum size, processed in either order. */
static void test_honest(void **state)
{
    struct ais_allowance a;
    int64_t now = 1;
    int i;

    (void) state;
    ais_allowance_begin(&a);
    assert_true(ais_allowance_take(&a, (size_t) 110 * KIB, 8 * KIB, now));
    ais_allowance_add_request(&a);
    for (i = 0; i < 64; i++) {
        assert_true(ais_allowance_take(&a, 16 * KIB + 300, 64, now));
        ais_allowance_add_answer(&a, 16 * KIB);
    }

    /* Without TLS: all at once, after it was processed. */
    ais_allowance_begin(&a);
    ais_allowance_add_request(&a);
    ais_allowance_add_answer(&a, MIB);
    assert_true(ais_allowance_take(&a, MIB + 2 * KIB, 0, now));

    /* A body that arrives byte by byte, ten per second, each in its own frame and record. */
    ais_allowance_begin(&a);
    for (i = 0; i < 100000; i++) {
        assert_true(ais_allowance_take(&a, 1 + 9 + 22, 64, now));
        ais_allowance_add_answer(&a, 1);
        now += SECOND / 10;
    }

    /* A day with ten pings per second. */
    for (i = 0; i < 864000; i++) {
        assert_true(ais_allowance_take(&a, 17 + 22, 64, now));
        now += SECOND / 10;
    }

    /* A hundred small responses per second, each with a large header. */
    for (i = 0; i < 10000; i++) {
        ais_allowance_add_request(&a);
        assert_true(ais_allowance_take(&a, 8 * KIB, 64, now));
        ais_allowance_add_answer(&a, 4 * KIB);
        now += SECOND / 100;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first),
        cmocka_unit_test(test_more),
        cmocka_unit_test(test_most),
        cmocka_unit_test(test_honest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
