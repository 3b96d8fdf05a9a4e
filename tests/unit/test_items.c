/* When the collectd plugin asks for what is indexed in an instance, and what it makes of that. */

#include "unit.h"

#include "../../collectd-plugin/items.c"

#define IDLE INT64_C(300000)

static const struct ais_stats good = {.items = {1, 2, 3, 4, 5, -1}};
static const struct ais_stats degraded = {.items = {-1, -1, -1, -1, -1, -1}, .degraded = true};

/* Not with the first look, which all instances have at once; then once in four idle intervals. */
static void test_due(void **state)
{
    items_t items = {.known = false};

    (void) state;
    assert_false(aisearch_items_due(&items, false, 1000));
    assert_true(aisearch_items_due(&items, false, 2000));
    aisearch_items_take(&items, &good, false, IDLE, 2000);
    assert_true(items.known);
    assert_int_equal(items.stats.items[3], 4);
    assert_false(aisearch_items_due(&items, false, 2000 + 4 * IDLE - 1));
    assert_true(aisearch_items_due(&items, false, 2000 + 4 * IDLE));
}

static void test_after_a_job(void **state)
{
    items_t items = {.known = false};

    (void) state;
    assert_true(aisearch_items_due(&items, true, 1000));
    aisearch_items_take(&items, &good, false, IDLE, 1000);
    assert_false(aisearch_items_due(&items, false, 1001));
    assert_true(aisearch_items_due(&items, true, 1002));
}

/* What is not known is a gap; where that may be over soon, it is asked for sooner. */
static void test_gaps(void **state)
{
    items_t items = {.known = false};

    (void) state;
    aisearch_items_due(&items, false, 0);
    aisearch_items_take(&items, &good, false, IDLE, 0);
    aisearch_items_take(&items, &degraded, false, IDLE, 0);
    assert_false(items.known);
    assert_false(aisearch_items_due(&items, false, 4 * IDLE - 1));

    aisearch_items_take(&items, &good, false, IDLE, 0);
    aisearch_items_take(&items, NULL, false, IDLE, 0);
    assert_false(items.known);
    assert_false(aisearch_items_due(&items, false, 4 * IDLE - 1));

    aisearch_items_take(&items, NULL, true, IDLE, 0);
    assert_false(items.known);
    assert_false(aisearch_items_due(&items, false, IDLE - 1));
    assert_true(aisearch_items_due(&items, false, IDLE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_due),
        cmocka_unit_test(test_after_a_job),
        cmocka_unit_test(test_gaps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
