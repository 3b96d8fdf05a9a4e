/* The path form in which an account's plain resources are requested. */

#include "unit.h"

#include "ais_form.h"

static bool settle(struct ais_form *form, enum ais_fault fault, bool no_route)
{
    struct ais_verdict verdict = {.fault = fault, .no_route = no_route};

    return ais_form_settle(form, &verdict);
}

/* Once there is known to be a route, this is permanent, and reported once. */
static void test_switch(void **state)
{
    struct ais_form form = {.namespaced = false};

    (void) state;
    assert_true(ais_form_try(&form, 5));
    assert_false(form.namespaced);
    assert_true(settle(&form, AIS_FAULT_NONE, false));
    assert_true(form.namespaced);
    assert_false(settle(&form, AIS_FAULT_NONE, false));
    assert_false(settle(&form, AIS_FAULT_REFUSED, true));
    assert_true(form.namespaced);
    for (int64_t now = 6; now < 9; now++)
        assert_true(ais_form_try(&form, now));
}

/* While neither form has a route, the other one is tried from time to time. */
static void test_occasional_tries(void **state)
{
    struct ais_form form = {.namespaced = false};

    (void) state;
    assert_true(ais_form_try(&form, 0));
    assert_false(ais_form_try(&form, 0));
    assert_false(settle(&form, AIS_FAULT_REFUSED, true));
    assert_false(ais_form_try(&form, AIS_FORM_PAUSE - 1));
    assert_true(ais_form_try(&form, AIS_FORM_PAUSE));
    assert_false(ais_form_try(&form, AIS_FORM_PAUSE + 1));
    assert_false(ais_form_try(&form, 2 * AIS_FORM_PAUSE - 1));
    assert_true(ais_form_try(&form, 3 * AIS_FORM_PAUSE));
    assert_false(form.namespaced);
    assert_true(settle(&form, AIS_FAULT_REFUSED, false));
    assert_true(form.namespaced);
}

/* Only a response, or a refusal of the resource, shows that there is a route. */
static void test_evidence_of_a_route(void **state)
{
    (void) state;
    for (int fault = AIS_FAULT_NONE; fault < AIS_FAULTS; fault++) {
        struct ais_form form = {.namespaced = false};
        bool shows = fault == AIS_FAULT_NONE || fault == AIS_FAULT_REFUSED;

        assert_true(ais_form_try(&form, 1));
        assert_false(settle(&form, fault, true));
        assert_int_equal(settle(&form, fault, false), shows);
        assert_int_equal(form.namespaced, shows);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_switch),
        cmocka_unit_test(test_occasional_tries),
        cmocka_unit_test(test_evidence_of_a_route),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
