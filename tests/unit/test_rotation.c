/* Which credential to use: refusals, switches, turns, and calls that end late. */

#include "unit.h"

#include "ais_rotation.h"

#define NOW INT64_C(1000000) /* ms */
#define DATE INT64_C(1763902700)
#define MINUTE (60 * 1000)

static const uint64_t versions[AIS_SLOTS] = {11, 22};

static struct ais_rotation begin(unsigned nslots)
{
    struct ais_rotation r;

    memset(&r, 0, sizeof(r));
    ais_rotation_begin(&r, versions, nslots, 1, DATE);
    return r;
}

static struct ais_choice expect_slot(struct ais_rotation *r, int64_t now, unsigned slot)
{
    struct ais_choice choice = ais_rotation_choose(r, now);

    assert_false(choice.none);
    assert_int_equal(choice.slot, slot);
    assert_int_equal(choice.version, r->slots[slot].version);
    return choice;
}

static void expect_none(struct ais_rotation *r, int64_t now, int64_t wait)
{
    struct ais_choice choice = ais_rotation_choose(r, now);

    assert_true(choice.none);
    assert_int_equal(choice.wait, wait);
}

static void refuse(struct ais_rotation *r, struct ais_choice choice, enum ais_rotation_news news)
{
    assert_int_equal(ais_rotation_refused(r, &choice, NOW, DATE + 1), news);
}

static void accept(struct ais_rotation *r, struct ais_choice choice, enum ais_rotation_news news)
{
    assert_int_equal(ais_rotation_accepted(r, &choice, DATE + 2), news);
}

static void exhaust(struct ais_rotation *r)
{
    refuse(r, expect_slot(r, NOW, 0), r->nslots == 1 ? AIS_ROTATION_EXHAUSTED : AIS_ROTATION_REFUSED);
    if (r->nslots == 2) {
        refuse(r, expect_slot(r, NOW, 1), AIS_ROTATION_EXHAUSTED);
    }
    assert_true(ais_rotation_exhausted(r));
}

static void test_initial_slot(void **state)
{
    struct ais_rotation r = begin(2);

    (void) state;
    assert_int_equal(r.since, DATE);
    assert_int_equal(r.configuration, 1);
    accept(&r, expect_slot(&r, NOW, 0), AIS_ROTATION_NO_NEWS);
    assert_int_equal(r.since, DATE);
    assert_false(ais_rotation_exhausted(&r));
}

/* All processes see the switch before it is confirmed, but it is only reported then. */
static void test_switch(void **state)
{
    struct ais_rotation r = begin(2);
    struct ais_choice choice;

    (void) state;
    refuse(&r, expect_slot(&r, NOW, 0), AIS_ROTATION_REFUSED);
    assert_int_equal(r.in_use, 0);
    assert_int_equal(r.slots[0].refused_on, DATE + 1);
    choice = expect_slot(&r, NOW, 1);
    accept(&r, choice, AIS_ROTATION_SWITCHED);
    assert_int_equal(r.in_use, 1);
    assert_int_equal(r.since, DATE + 2);
    accept(&r, choice, AIS_ROTATION_NO_NEWS);
    accept(&r, expect_slot(&r, NOW, 1), AIS_ROTATION_NO_NEWS);
    assert_int_equal(r.slots[0].refused_on, DATE + 1);
}

static void test_switch_and_back(void **state)
{
    struct ais_rotation r = begin(2);
    unsigned i;

    (void) state;
    for (i = 0; i < 5; i++) {
        refuse(&r, expect_slot(&r, NOW, i % 2), AIS_ROTATION_REFUSED);
        accept(&r, expect_slot(&r, NOW, 1 - i % 2), AIS_ROTATION_SWITCHED);
    }
    assert_int_equal(r.in_use, 1);
}

/* Many calls are in progress when the credential is revoked. */
static void test_late_refusals(void **state)
{
    struct ais_rotation r = begin(2);
    struct ais_choice early = expect_slot(&r, NOW, 0);
    struct ais_choice other = expect_slot(&r, NOW, 0);

    (void) state;
    refuse(&r, early, AIS_ROTATION_REFUSED);
    refuse(&r, other, AIS_ROTATION_NO_NEWS);
    accept(&r, expect_slot(&r, NOW, 1), AIS_ROTATION_SWITCHED);
    refuse(&r, other, AIS_ROTATION_NO_NEWS);

    /* and back: what was said about the earlier time does not count now */
    refuse(&r, expect_slot(&r, NOW, 1), AIS_ROTATION_REFUSED);
    accept(&r, expect_slot(&r, NOW, 0), AIS_ROTATION_SWITCHED);
    refuse(&r, other, AIS_ROTATION_NO_NEWS);
    (void) expect_slot(&r, NOW, 0);
}

static void test_late_acceptance(void **state)
{
    struct ais_rotation r = begin(2);
    struct ais_choice late = expect_slot(&r, NOW, 0);

    (void) state;
    refuse(&r, expect_slot(&r, NOW, 0), AIS_ROTATION_REFUSED);
    accept(&r, late, AIS_ROTATION_NO_NEWS);
    accept(&r, expect_slot(&r, NOW, 1), AIS_ROTATION_SWITCHED);
    accept(&r, late, AIS_ROTATION_NO_NEWS);
    (void) expect_slot(&r, NOW, 1);
}

static void test_a_single_credential(void **state)
{
    struct ais_rotation r = begin(1);

    (void) state;
    exhaust(&r);
    expect_none(&r, NOW, MINUTE);
    expect_none(&r, NOW + MINUTE - 1, 1);
    refuse(&r, expect_slot(&r, NOW + MINUTE, 0), AIS_ROTATION_NO_NEWS);
    expect_none(&r, NOW + MINUTE, MINUTE);
    accept(&r, expect_slot(&r, NOW + 3 * MINUTE, 0), AIS_ROTATION_RECOVERED);
    (void) expect_slot(&r, NOW + 3 * MINUTE, 0);
    (void) expect_slot(&r, NOW + 3 * MINUTE, 0);
}

static void test_rejected_credentials_take_turns(void **state)
{
    struct ais_rotation r = begin(2);

    (void) state;
    exhaust(&r);
    expect_none(&r, NOW, MINUTE);
    refuse(&r, expect_slot(&r, NOW + MINUTE, 0), AIS_ROTATION_NO_NEWS);
    expect_none(&r, NOW + MINUTE + 1, MINUTE - 1);
    refuse(&r, expect_slot(&r, NOW + 2 * MINUTE, 1), AIS_ROTATION_NO_NEWS);
    refuse(&r, expect_slot(&r, NOW + 3 * MINUTE, 0), AIS_ROTATION_NO_NEWS);
    accept(&r, expect_slot(&r, NOW + 4 * MINUTE, 1), AIS_ROTATION_RECOVERED);
    assert_int_equal(r.in_use, 1);
    assert_int_equal(r.since, DATE + 2);
    refuse(&r, expect_slot(&r, NOW, 1), AIS_ROTATION_REFUSED);
    accept(&r, expect_slot(&r, NOW, 0), AIS_ROTATION_SWITCHED);
}

/* If a turn has no result, for example because no connection could be made, the next turn is for the same
 * credential. */
static void test_turn_without_a_result(void **state)
{
    struct ais_rotation r = begin(2);

    (void) state;
    exhaust(&r);
    (void) expect_slot(&r, NOW + MINUTE, 0);
    expect_none(&r, NOW + MINUTE, MINUTE);
    (void) expect_slot(&r, NOW + 2 * MINUTE, 0);
}

static void test_renewed(void **state)
{
    struct ais_rotation r = begin(1);
    struct ais_choice old = expect_slot(&r, NOW, 0);

    (void) state;
    assert_false(ais_rotation_renewed(&r, 0, versions[0], DATE + 5));
    assert_int_equal(r.since, DATE);
    exhaust(&r);
    assert_true(ais_rotation_renewed(&r, 0, 33, DATE + 5));
    assert_int_equal(r.since, DATE + 5);
    assert_int_equal(r.slots[0].refused_on, 0);
    assert_int_equal(expect_slot(&r, NOW, 0).version, 33);

    refuse(&r, old, AIS_ROTATION_NO_NEWS);
    accept(&r, old, AIS_ROTATION_NO_NEWS);
    accept(&r, expect_slot(&r, NOW, 0), AIS_ROTATION_NO_NEWS);
}

/* It is reported once, by the process that detects it first. */
static void test_unusable(void **state)
{
    struct ais_rotation r = begin(2);

    (void) state;
    assert_true(ais_rotation_unusable(&r, 1, 77));
    assert_false(ais_rotation_unusable(&r, 1, 77));
    assert_true(ais_rotation_unusable(&r, 0, 77));
    assert_true(ais_rotation_unusable(&r, 1, 78));
    (void) expect_slot(&r, NOW, 0);
}

/* A worker that has not read the new content, or that already knows newer content. */
static void test_another_version(void **state)
{
    struct ais_rotation r = begin(2);
    struct ais_choice choice = expect_slot(&r, NOW, 0);

    (void) state;
    choice.version = 44;
    refuse(&r, choice, AIS_ROTATION_NO_NEWS);
    (void) expect_slot(&r, NOW, 0);
    exhaust(&r);
    choice = expect_slot(&r, NOW + MINUTE, 0);
    choice.version = 44;
    accept(&r, choice, AIS_ROTATION_NO_NEWS);
    assert_true(ais_rotation_exhausted(&r));
}

static void test_renewed_unused_slot(void **state)
{
    struct ais_rotation r = begin(2);

    (void) state;
    ais_rotation_renewed(&r, 1, 33, DATE + 5);
    assert_int_equal(r.since, DATE);
    (void) expect_slot(&r, NOW, 0);

    exhaust(&r);
    ais_rotation_renewed(&r, 1, 55, DATE + 5);
    accept(&r, expect_slot(&r, NOW, 1), AIS_ROTATION_SWITCHED);
}

/* The credential in use was replaced: refusals in the meantime are forgotten with the first response. */
static void test_renewed_slot_in_use(void **state)
{
    struct ais_rotation r = begin(2);

    (void) state;
    exhaust(&r);
    ais_rotation_renewed(&r, 0, 33, DATE + 5);
    accept(&r, expect_slot(&r, NOW, 0), AIS_ROTATION_NO_NEWS);
    assert_false(r.slots[1].refused);
    refuse(&r, expect_slot(&r, NOW, 0), AIS_ROTATION_REFUSED);
    (void) expect_slot(&r, NOW, 1);
}

static void test_restart(void **state)
{
    struct ais_rotation r = begin(2);
    uint64_t changed[AIS_SLOTS] = {11, 33};

    (void) state;
    refuse(&r, expect_slot(&r, NOW, 0), AIS_ROTATION_REFUSED);
    accept(&r, expect_slot(&r, NOW, 1), AIS_ROTATION_SWITCHED);

    /* nothing has changed */
    ais_rotation_begin(&r, versions, 2, 2, DATE + 9);
    assert_int_equal(r.configuration, 2);
    assert_int_equal(r.since, DATE + 2);
    assert_int_equal(r.slots[0].refused_on, DATE + 1);
    (void) expect_slot(&r, NOW, 1);

    /* new content in the slot in use */
    ais_rotation_begin(&r, changed, 2, 3, DATE + 10);
    assert_int_equal(r.since, DATE + 10);
    (void) expect_slot(&r, NOW, 1);

    /* even if one was refused */
    refuse(&r, expect_slot(&r, NOW, 1), AIS_ROTATION_REFUSED);
    refuse(&r, expect_slot(&r, NOW, 0), AIS_ROTATION_EXHAUSTED);
    ais_rotation_begin(&r, changed, 2, 4, DATE + 11);
    (void) expect_slot(&r, NOW, 1);

    /* and now there is only one */
    ais_rotation_begin(&r, versions, 1, 5, DATE + 12);
    assert_int_equal(r.in_use, 0);
    assert_int_equal(r.since, DATE + 12);
    (void) expect_slot(&r, NOW, 0);
}

static void test_counter_overflow(void **state)
{
    struct ais_rotation r;
    unsigned i;

    (void) state;
    memset(&r, 0, sizeof(r));
    r.changes = UINT32_MAX - 4;
    r.slots[0].known = r.slots[1].known = r.changes;
    ais_rotation_begin(&r, versions, 2, 1, DATE);
    for (i = 0; i < 6; i++) {
        struct ais_choice late = expect_slot(&r, NOW, i % 2);

        refuse(&r, expect_slot(&r, NOW, i % 2), AIS_ROTATION_REFUSED);
        accept(&r, late, AIS_ROTATION_NO_NEWS);
        accept(&r, expect_slot(&r, NOW, 1 - i % 2), AIS_ROTATION_SWITCHED);
    }
    assert_true(r.changes < 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_initial_slot),
        cmocka_unit_test(test_switch),
        cmocka_unit_test(test_switch_and_back),
        cmocka_unit_test(test_late_refusals),
        cmocka_unit_test(test_late_acceptance),
        cmocka_unit_test(test_a_single_credential),
        cmocka_unit_test(test_rejected_credentials_take_turns),
        cmocka_unit_test(test_turn_without_a_result),
        cmocka_unit_test(test_renewed),
        cmocka_unit_test(test_unusable),
        cmocka_unit_test(test_another_version),
        cmocka_unit_test(test_renewed_unused_slot),
        cmocka_unit_test(test_renewed_slot_in_use),
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_counter_overflow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
