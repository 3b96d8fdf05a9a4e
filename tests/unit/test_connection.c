/*
 * The client's records of its connections: which are known, which are trusted, and which one a try uses.
 */
/* LDFLAGS: -Wl,--wrap=calloc */

#include "unit.h"

#include "ais_connection.h"

#define HERE AIS_STR("https://api.test")
#define THERE AIS_STR("https://api.test:8443")

static bool no_memory;

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

void *__wrap_calloc(size_t n, size_t size)
{
    return no_memory ? NULL : __real_calloc(n, size);
}

static struct ais_connection *add(struct ais_connections *all, int fd, struct ais_str origin, unsigned label)
{
    ais_connection_add(all, fd, origin, label);
    return all->first;
}

static struct ais_connection *add_up(struct ais_connections *all, int fd, struct ais_str origin, unsigned label)
{
    struct ais_connection *c = add(all, fd, origin, label);

    c->up = true;
    return c;
}

static void judge(struct ais_connection *c, enum ais_outcome outcome, unsigned times)
{
    while (times-- > 0) {
        ais_connection_judge(c, outcome);
    }
}

static const struct ais_avoid nothing;

static void expect_route(const struct ais_connections *all, const struct ais_avoid *avoid, unsigned label, bool joins,
                         bool detours)
{
    struct ais_route route = ais_connection_route(all, HERE, avoid);

    assert_int_equal(route.label, label);
    assert_int_equal(route.joins, joins);
    assert_int_equal(route.detours, detours);
    assert_false(route.fresh);
}

static void test_outcomes(void **state)
{
    int fault;
    int status;

    (void) state;
    for (status = 100; status < 700; status++) {
        assert_int_equal(ais_connection_outcome(AIS_FAULT_NONE, status), status == 421  ? AIS_OUTCOME_MISDIRECTED
                                                                         : status < 500 ? AIS_OUTCOME_GOOD
                                                                                        : AIS_OUTCOME_FAULT);
    }
    for (fault = AIS_FAULT_NONE + 1; fault < AIS_FAULTS; fault++) {
        bool ours = fault == AIS_FAULT_TLS || fault == AIS_FAULT_CREDENTIAL || fault == AIS_FAULT_RATE_LIMITED ||
                    fault == AIS_FAULT_REFUSED || fault == AIS_FAULT_BUDGET || fault == AIS_FAULT_INTERNAL;

        assert_int_equal(ais_connection_outcome(fault, 0), ours ? AIS_OUTCOME_NONE : AIS_OUTCOME_FAULT);
        assert_int_equal(ais_connection_outcome(fault, 200), ours ? AIS_OUTCOME_NONE : AIS_OUTCOME_FAULT);
    }
}

static void test_records(void **state)
{
    struct ais_connections all = {.first = NULL};
    uint64_t id;

    (void) state;
    assert_null(ais_connection_get(&all, 0));
    assert_null(ais_connection_get(&all, 1));
    ais_connection_remove(&all, 7);

    id = add(&all, 7, HERE, 0)->id;
    add(&all, 8, HERE, 0);
    add(&all, 9, HERE, 0);
    assert_true(id != 0);
    assert_int_equal(ais_connection_get(&all, id)->fd, 7);
    ais_connection_remove(&all, 8);
    assert_int_equal(ais_connection_get(&all, id)->fd, 7);
    assert_int_equal(all.first->fd, 9);
    assert_int_equal(all.first->next->fd, 7);

    /* The descriptor is reused, although its close was not reported. */
    assert_true(add(&all, 7, THERE, 3)->id != id);
    assert_null(ais_connection_get(&all, id));
    assert_int_equal(all.first->next->fd, 9);
    assert_null(all.first->next->next);

    no_memory = true;
    assert_null(ais_connection_add(&all, 9, HERE, 0));
    no_memory = false;
    assert_int_equal(all.first->fd, 7);
    assert_null(all.first->next);

    ais_connection_remove_all(&all);
    assert_null(all.first);
}

static void test_between(void **state)
{
    static const struct ais_addresses here = {"127.0.0.1", "127.0.0.2", 1234, 80};
    static const struct ais_addresses others[] = {{"127.0.0.3", "127.0.0.2", 1234, 80},
                                                  {"127.0.0.1", "127.0.0.3", 1234, 80},
                                                  {"127.0.0.1", "127.0.0.2", 1235, 80},
                                                  {"127.0.0.1", "127.0.0.2", 1234, 81}};
    struct ais_connections all = {.first = NULL};
    struct ais_connection *c;
    size_t i;

    (void) state;
    c = add(&all, 1, HERE, 0);
    add_up(&all, 2, HERE, 0);
    c->addresses = here;
    assert_null(ais_connection_between(&all, &here));
    c->up = true;
    assert_ptr_equal(ais_connection_between(&all, &here), c);
    for (i = 0; i < COUNT(others); i++) {
        assert_null(ais_connection_between(&all, &others[i]));
    }
    ais_connection_remove_all(&all);
}

/* A try may open several connections, to several addresses, one of which remains. */
static void test_opener(void **state)
{
    struct ais_connections all = {.first = NULL};
    struct ais_connection *first = add(&all, 1, HERE, 0);
    struct ais_connection *second = add(&all, 2, HERE, 0);
    int one;
    int other;

    (void) state;
    first->opener = &one;
    second->opener = &one;
    add(&all, 3, HERE, 0)->opener = &other;
    assert_ptr_equal(ais_connection_opened_by(&all, &one), second);
    assert_null(ais_connection_opened_by(&all, &all));
    ais_connection_remove(&all, 2);
    assert_ptr_equal(ais_connection_opened_by(&all, &one), first);
    first->up = true;
    assert_null(ais_connection_opened_by(&all, &one));
    ais_connection_remove_all(&all);
}

#define KIB 1024

static void test_flood(void **state)
{
    struct ais_connections all = {.first = NULL};
    struct ais_connection *c = add_up(&all, 1, HERE, 0);
    uint64_t id = c->id;

    (void) state;
    judge(c, AIS_OUTCOME_GOOD, 1);
    assert_true(ais_connection_take(&all, c, (size_t) 200 * KIB, 0, 5000));
    assert_true(ais_connection_is_usable(c));
    assert_int_equal(ais_connection_flood(&all, id), 0);
    assert_false(ais_connection_take(&all, c, (size_t) 100 * KIB, 0, 5000));
    assert_false(ais_connection_is_usable(c));
    judge(c, AIS_OUTCOME_GOOD, 1);
    assert_true(c->distrusted);

    /* That is reported once, and remembered longer than the connection exists. */
    assert_true(ais_connection_take(&all, c, (size_t) 100 * KIB, 0, 5000));
    assert_int_equal(ais_connection_flood(&all, id), 300 * KIB);
    ais_connection_remove(&all, 1);
    assert_int_equal(ais_connection_flood(&all, id), 300 * KIB);
    assert_int_equal(ais_connection_flood(&all, id + 1), 0);

    /* Work without data is a flood, too, although there is nothing to count. */
    c = add(&all, 1, HERE, 0);
    assert_false(ais_connection_take(&all, c, 0, (size_t) 300 * KIB, 5000));
    assert_int_equal(ais_connection_flood(&all, c->id), 1);
    ais_connection_remove_all(&all);
}

/* One connection floods: others to its origin may too. */
static void test_flood_of_many(void **state)
{
    struct ais_connections all = {.first = NULL};
    struct ais_connection *unproven = add(&all, 1, HERE, 0);
    struct ais_connection *proven = add_up(&all, 2, HERE, 1);
    struct ais_connection *other = add(&all, 3, THERE, 0);
    struct ais_connection *c = add(&all, 4, HERE, 0);
    int64_t before = c->allowance.left;

    (void) state;
    judge(proven, AIS_OUTCOME_GOOD, 1);
    ais_connection_note_flood(&all, c, 5000);
    assert_true(c->flooded && c->distrusted);
    assert_int_equal(unproven->allowance.left, 32 * KIB);
    assert_int_equal(proven->allowance.left, before);
    assert_int_equal(other->allowance.left, before);
    ais_connection_remove_all(&all);
}

/* A smaller amount is suspicious when the connection ends, unless it caused the end. */
static void test_close(void **state)
{
    struct ais_connections all = {.first = NULL};
    struct ais_connection *c = add(&all, 1, HERE, 0);
    uint64_t id = c->id;

    (void) state;
    ais_connection_close(&all, 2, 5000);
    assert_true(ais_connection_take(&all, c, (size_t) 64 * KIB, 0, 5000));
    ais_connection_close(&all, 1, 5000);
    assert_null(all.first);
    assert_int_equal(all.nfloods, 0);

    add(&all, 1, HERE, 0);
    c = add(&all, 2, HERE, 0);
    assert_true(ais_connection_take(&all, c, (size_t) 65 * KIB, 0, 5000));
    ais_connection_close(&all, 2, 5000);
    assert_int_equal(ais_connection_caution(&all, HERE, 5000), AIS_CAUTION_REST);
    assert_int_equal(ais_connection_flood(&all, id + 2), 0);
    assert_int_equal(all.first->allowance.left, 32 * KIB);

    ais_connection_close(&all, 1, 5000);
    assert_int_equal(all.nfloods, 1);

    ais_connection_note_flood(&all, add(&all, 1, HERE, 0), 5000);
    ais_connection_close(&all, 1, 5000);
    assert_int_equal(all.nfloods, 2);
}

static void test_caution(void **state)
{
    struct ais_connections all = {.first = NULL};
    int i;

    (void) state;
    assert_int_equal(ais_connection_caution(&all, HERE, 0), AIS_CAUTION_NONE);
    ais_connection_note_flood(&all, add(&all, 1, HERE, 0), 100000);
    assert_int_equal(ais_connection_caution(&all, HERE, 100000), AIS_CAUTION_REST);
    assert_int_equal(ais_connection_caution(&all, HERE, 100249), AIS_CAUTION_REST);
    assert_int_equal(ais_connection_caution(&all, HERE, 100250), AIS_CAUTION_ALONE);
    assert_int_equal(ais_connection_caution(&all, HERE, 109999), AIS_CAUTION_ALONE);
    assert_int_equal(ais_connection_caution(&all, HERE, 110000), AIS_CAUTION_NONE);
    assert_int_equal(ais_connection_caution(&all, THERE, 100000), AIS_CAUTION_NONE);

    /* The last one counts; only the last ones are remembered. */
    ais_connection_note_flood(&all, add(&all, 2, HERE, 0), 105000);
    assert_int_equal(ais_connection_caution(&all, HERE, 105100), AIS_CAUTION_REST);
    for (i = 0; i < 16; i++) {
        ais_connection_note_flood(&all, add(&all, 3, THERE, 0), 105000);
    }
    assert_int_equal(ais_connection_caution(&all, HERE, 105100), AIS_CAUTION_NONE);
    assert_int_equal(ais_connection_flood(&all, 2), 0);
    assert_int_equal(ais_connection_caution(&all, THERE, 105100), AIS_CAUTION_REST);
    ais_connection_remove_all(&all);
}

static void test_trust(void **state)
{
    struct ais_connections all = {.first = NULL};
    struct ais_connection *c = add_up(&all, 1, HERE, 0);

    (void) state;
    /* Until it has worked once, a single fault is enough. */
    assert_true(ais_connection_is_usable(c));
    assert_true(ais_connection_survives(c, AIS_OUTCOME_NONE));
    assert_true(ais_connection_survives(c, AIS_OUTCOME_GOOD));
    assert_false(ais_connection_survives(c, AIS_OUTCOME_FAULT));
    assert_false(ais_connection_survives(c, AIS_OUTCOME_MISDIRECTED));
    assert_int_equal(c->faults, 0);
    judge(c, AIS_OUTCOME_FAULT, 1);
    assert_false(ais_connection_is_usable(c));
    assert_false(c->distrusted);

    /* Then three in a row. */
    judge(c, AIS_OUTCOME_GOOD, 1);
    assert_true(ais_connection_is_usable(c));
    judge(c, AIS_OUTCOME_FAULT, 2);
    judge(c, AIS_OUTCOME_NONE, 9);
    assert_true(ais_connection_is_usable(c));
    assert_false(ais_connection_survives(c, AIS_OUTCOME_FAULT));
    judge(c, AIS_OUTCOME_GOOD, 1);
    judge(c, AIS_OUTCOME_FAULT, 2);
    assert_true(ais_connection_is_usable(c));
    judge(c, AIS_OUTCOME_FAULT, 1);
    assert_true(c->distrusted);
    assert_false(ais_connection_is_usable(c));

    /* That is permanent. */
    judge(c, AIS_OUTCOME_GOOD, 1);
    judge(c, AIS_OUTCOME_FAULT, 1);
    assert_true(c->distrusted);
    assert_false(ais_connection_is_usable(c));

    c = add_up(&all, 2, HERE, 0);
    judge(c, AIS_OUTCOME_GOOD, 100);
    judge(c, AIS_OUTCOME_MISDIRECTED, 1);
    assert_false(ais_connection_is_usable(c));
    ais_connection_remove_all(&all);
}

static void test_barred(void **state)
{
    struct ais_connections all = {.first = NULL};
    struct ais_connection *c = add_up(&all, 1, HERE, 2);

    (void) state;
    assert_false(ais_connection_is_barred(&all, HERE, 2));
    judge(c, AIS_OUTCOME_MISDIRECTED, 1);
    assert_true(ais_connection_is_barred(&all, HERE, 2));
    assert_false(ais_connection_is_barred(&all, HERE, 1));
    assert_false(ais_connection_is_barred(&all, THERE, 2));
    ais_connection_remove_all(&all);
}

static void test_route(void **state)
{
    struct ais_connections all = {.first = NULL};
    struct ais_connection *first;
    struct ais_connection *second;
    struct ais_avoid failed = {.up_to = 0};

    (void) state;
    expect_route(&all, &nothing, 0, false, false);

    first = add(&all, 1, HERE, 0);
    expect_route(&all, &nothing, 0, false, false);
    first->up = true;
    expect_route(&all, &nothing, 0, true, false);

    /* A connection that has failed this fetch may be used by others. */
    ais_connection_avoid(&failed, first->id);
    ais_connection_avoid(&failed, 12345);
    judge(first, AIS_OUTCOME_GOOD, 1);
    judge(first, AIS_OUTCOME_FAULT, 1);
    expect_route(&all, &failed, 1, false, true);
    expect_route(&all, &nothing, 0, true, false);

    /* The better one if there are two; one being opened only if there is no other. */
    second = add(&all, 2, HERE, 3);
    expect_route(&all, &failed, 3, false, true);
    expect_route(&all, &nothing, 0, true, false);
    add(&all, 5, HERE, 4);
    expect_route(&all, &failed, 3, false, true);
    ais_connection_remove(&all, 5);
    second->up = true;
    expect_route(&all, &failed, 3, true, true);
    expect_route(&all, &nothing, 3, true, false);
    judge(second, AIS_OUTCOME_GOOD, 1);
    judge(second, AIS_OUTCOME_FAULT, 2);
    expect_route(&all, &nothing, 0, true, false);

    /* The best one of a label counts. */
    add_up(&all, 3, HERE, 3);
    expect_route(&all, &nothing, 3, true, false);
    second = add_up(&all, 4, HERE, 3);
    judge(second, AIS_OUTCOME_GOOD, 1);
    judge(second, AIS_OUTCOME_FAULT, 1);
    expect_route(&all, &nothing, 3, true, false);

    /* A label with a bad connection is not used. */
    judge(second, AIS_OUTCOME_MISDIRECTED, 1);
    expect_route(&all, &nothing, 0, true, true);
    expect_route(&all, &failed, 1, false, true);
    ais_connection_remove_all(&all);
}

/* Of the connections that failed a fetch, the last eight are avoided, and all that are older than a given one. */
static void test_avoid(void **state)
{
    struct ais_connections all = {.first = NULL};
    struct ais_avoid avoid = {.up_to = 0};
    uint64_t id;

    (void) state;
    add_up(&all, 1, HERE, 0);
    add_up(&all, 2, HERE, 1);
    expect_route(&all, &avoid, 0, true, false);
    for (id = 1; id <= 8; id++) {
        ais_connection_avoid(&avoid, id);
        expect_route(&all, &avoid, id == 1 ? 1 : 2, id == 1, true);
    }
    ais_connection_avoid(&avoid, 9);
    expect_route(&all, &avoid, 0, true, true);

    avoid = (struct ais_avoid){.up_to = 1};
    expect_route(&all, &avoid, 1, true, true);
    avoid.up_to = 2;
    expect_route(&all, &avoid, 2, false, true);
    ais_connection_remove_all(&all);
}

static void test_other_origins(void **state)
{
    struct ais_connections all = {.first = NULL};

    (void) state;
    judge(add_up(&all, 1, THERE, 0), AIS_OUTCOME_MISDIRECTED, 1);
    judge(add_up(&all, 2, HERE, AIS_LABELS), AIS_OUTCOME_MISDIRECTED, 1); /* over HTTP/1.1 */
    expect_route(&all, &nothing, 0, false, false);
    ais_connection_remove_all(&all);
}

static void test_no_label_left(void **state)
{
    struct ais_connections all = {.first = NULL};
    struct ais_route route;
    unsigned i;

    (void) state;
    for (i = 0; i < AIS_LABELS; i++) {
        expect_route(&all, &nothing, i, false, i > 0);
        judge(add_up(&all, (int) i, HERE, i), AIS_OUTCOME_FAULT, 1);
    }
    route = ais_connection_route(&all, HERE, &nothing);
    assert_true(route.fresh);
    assert_true(route.detours);
    assert_false(route.joins);
    ais_connection_remove(&all, 4);
    expect_route(&all, &nothing, 4, false, true);
    ais_connection_remove_all(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outcomes),      cmocka_unit_test(test_records),
        cmocka_unit_test(test_between),       cmocka_unit_test(test_opener),
        cmocka_unit_test(test_flood),         cmocka_unit_test(test_flood_of_many),
        cmocka_unit_test(test_close),         cmocka_unit_test(test_caution),
        cmocka_unit_test(test_trust),         cmocka_unit_test(test_barred),
        cmocka_unit_test(test_route),         cmocka_unit_test(test_avoid),
        cmocka_unit_test(test_other_origins), cmocka_unit_test(test_no_label_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
