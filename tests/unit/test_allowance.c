/*
 * How much a connection may bring that is no answer: floods are too much, and nothing that honest servers do.
 */

#include "unit.h"

#include "ais_allowance.h"

#define KIB 1024
#define MIB (1024 * 1024)
#define SECOND 1000

/* What one brings before it is over, in pieces of that size, all at one time. */
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

    /* Work counts as bytes do, but is none. */
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

    /* Whether the answer is seen before it is taken, or after. */
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

    /* With time; the first byte may come late. */
    ais_allowance_begin(&a);
    (void) brings(&a, KIB, 0, 1000 * SECOND);
    ais_allowance_add_answer(&a, 257 * KIB); /* back to where it was: -1, and three */
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

/* The longest certificates there are, then an answer of the largest size, in whatever order they are seen. */
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

    /* Without TLS: all at once, after it was seen. */
    ais_allowance_begin(&a);
    ais_allowance_add_request(&a);
    ais_allowance_add_answer(&a, MIB);
    assert_true(ais_allowance_take(&a, MIB + 2 * KIB, 0, now));

    /* A body that comes byte by byte, each in a frame and a record of its own, ten a second. */
    ais_allowance_begin(&a);
    for (i = 0; i < 100000; i++) {
        assert_true(ais_allowance_take(&a, 1 + 9 + 22, 64, now));
        ais_allowance_add_answer(&a, 1);
        now += SECOND / 10;
    }

    /* A day of ten pings a second. */
    for (i = 0; i < 864000; i++) {
        assert_true(ais_allowance_take(&a, 17 + 22, 64, now));
        now += SECOND / 10;
    }

    /* A hundred small answers a second, with a large header each. */
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
