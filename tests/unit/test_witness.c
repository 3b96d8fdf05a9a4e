/* Whether a refusal concerns the credential or the resource. */

#include "unit.h"

#include "ais_witness.h"

#define TIMEOUT 15000

static struct ais_rotation rotation_of(unsigned nslots)
{
    struct ais_rotation r = {.nslots = 0};

    ais_rotation_begin(&r, (uint64_t[]){11, 22}, nslots, 1, 0);
    return r;
}

static enum ais_doubt doubt(struct ais_witness *w, struct ais_rotation *r, unsigned slot, int64_t asked, int64_t now)
{
    struct ais_choice choice = {.slot = slot, .version = r->slots[slot].version, .known = r->changes};

    return ais_witness_doubt(w, r, &choice, false, "/forbidden", asked, TIMEOUT, now);
}

static void test_no_witness(void **state)
{
    struct ais_rotation r = rotation_of(1);
    struct ais_choice choice = {.slot = 0, .version = 11};
    struct ais_witness w = {.version = 0};
    char path[AIS_WITNESS_PATH_MAX + 1];

    (void) state;
    assert_int_equal(doubt(&w, &r, 0, 5, 5), AIS_DOUBT_NONE);
    ais_witness_note(&w, 33, "/good", 1); /* with another credential */
    assert_int_equal(doubt(&w, &r, 0, 5, 5), AIS_DOUBT_NONE);
    memset(path, 'x', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    ais_witness_note(&w, 11, path, 1);
    assert_int_equal(doubt(&w, &r, 0, 5, 5), AIS_DOUBT_NONE);
    ais_witness_note(&w, 11, "/forbidden", 1); /* it is the witness itself */
    assert_int_equal(doubt(&w, &r, 0, 5, 5), AIS_DOUBT_NONE);
    ais_witness_note(&w, 11, "/good", 2);
    choice.version = 10; /* replaced in the meantime */
    assert_int_equal(ais_witness_doubt(&w, &r, &choice, false, "/forbidden", 5, TIMEOUT, 5), AIS_DOUBT_NONE);
    assert_int_equal(doubt(&w, &r, 0, 5, 5), AIS_DOUBT_ASK);
}

static void test_one_check(void **state)
{
    struct ais_rotation r = rotation_of(1);
    struct ais_witness w = {.version = 0};

    (void) state;
    ais_witness_note(&w, 11, "/good", 1);
    assert_int_equal(doubt(&w, &r, 0, 5, 10), AIS_DOUBT_ASK);
    assert_int_equal(doubt(&w, &r, 0, 5, 10 + TIMEOUT - 1), AIS_DOUBT_OWN);
    assert_int_equal(doubt(&w, &r, 0, 5, 10 + TIMEOUT), AIS_DOUBT_ASK); /* the other process was killed */

    ais_witness_settle(&w, true, 50000);
    assert_int_equal(doubt(&w, &r, 0, 5, 50000 + AIS_WITNESS_PAUSE - 1), AIS_DOUBT_OWN);
    assert_int_equal(doubt(&w, &r, 0, 5, 50000 + AIS_WITNESS_PAUSE), AIS_DOUBT_ASK);
    ais_witness_settle(&w, false, 70000);
    assert_int_equal(doubt(&w, &r, 0, 5, 70000), AIS_DOUBT_ASK);
}

/* A call that was sent later and answered has already shown it. */
static void test_unnecessary_checks(void **state)
{
    struct ais_rotation r = rotation_of(1);
    struct ais_witness w = {.version = 0};

    (void) state;
    ais_witness_note(&w, 11, "/good", 6);
    ais_witness_note(&w, 11, "/late", 4);
    assert_string_equal(w.path, "/good");
    assert_int_equal(doubt(&w, &r, 0, 5, 10), AIS_DOUBT_OWN);
    assert_int_equal(doubt(&w, &r, 0, 6, 10), AIS_DOUBT_ASK);
    ais_witness_note(&w, 22, "/next", 4); /* with another credential it is later */
    assert_int_equal(w.asking_until, 0);
    assert_string_equal(w.path, "/next");
}

/* Another credential is tried first; and the witness is requested with the credential that it was answered with. */
static void test_two_credentials(void **state)
{
    struct ais_rotation r = rotation_of(2);
    struct ais_witness w = {.version = 0};
    struct ais_choice choice = {.slot = 0, .version = 11};

    (void) state;
    ais_witness_note(&w, 11, "/good", 1);
    assert_int_equal(ais_witness_doubt(&w, &r, &choice, false, "/forbidden", 5, TIMEOUT, 5), AIS_DOUBT_OTHER);
    assert_int_equal(choice.slot, 1);
    assert_int_equal(choice.version, 22);
    assert_int_equal(ais_witness_doubt(&w, &r, &choice, true, "/forbidden", 5, TIMEOUT, 5), AIS_DOUBT_ASK);
    assert_int_equal(choice.slot, 0);
    assert_int_equal(choice.version, 11);

    ais_witness_settle(&w, false, 5);
    (void) ais_rotation_refused(&r, &(struct ais_choice){.slot = 1, .version = 22, .known = r.changes}, 0, 0);
    assert_int_equal(doubt(&w, &r, 0, 5, 5), AIS_DOUBT_ASK); /* that one is already refused */
}

static void test_good_result(void **state)
{
    static const int statuses[] = {0, 200, 204, 301, 400, 401, 403, 404, 410, 429, 500, 503};

    (void) state;
    for (size_t i = 0; i < COUNT(statuses); i++) {
        for (int fault = 0; fault < AIS_FAULTS; fault++) {
            struct ais_response response = {.fault = fault, .status = statuses[i]};
            bool good = fault == AIS_FAULT_NONE && (statuses[i] == 200 || statuses[i] == 404);

            assert_int_equal(ais_witness_is_good(&response), good);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_result),     cmocka_unit_test(test_no_witness),
        cmocka_unit_test(test_one_check),       cmocka_unit_test(test_unnecessary_checks),
        cmocka_unit_test(test_two_credentials),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
