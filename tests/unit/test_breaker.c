/* Whether an account's API may be called: when the breaker opens, which calls test the API, and how it closes. */

#include "unit.h"

#include "ais_breaker.h"

#define TIMEOUT 15000
#define GRACE 1000

static const struct ais_verdict good = {.fault = AIS_FAULT_NONE, .pass = true};
static const struct ais_verdict unconnected = {.fault = AIS_FAULT_CONNECT};

static struct ais_pass enter(struct ais_breaker *b, int64_t now)
{
    struct ais_pass pass;

    assert_int_equal(ais_breaker_wait(b, now), 0);
    assert_int_equal(ais_breaker_enter(b, &pass, TIMEOUT, now), 0);
    return pass;
}

static int64_t refused(struct ais_breaker *b, int64_t now)
{
    struct ais_pass pass;
    int64_t wait = ais_breaker_enter(b, &pass, TIMEOUT, now);

    assert_true(wait > 0);
    assert_int_equal(wait, ais_breaker_wait(b, now));
    return wait;
}

static enum ais_breaker_news settle(struct ais_breaker *b, struct ais_pass *pass, const struct ais_verdict *verdict,
                                    int64_t now)
{
    return ais_breaker_settle(b, pass, verdict, &(struct ais_response){.retry_after = -1}, 0, now);
}

static enum ais_breaker_news call(struct ais_breaker *b, const struct ais_verdict *verdict, int64_t now)
{
    struct ais_pass pass = enter(b, now);

    return settle(b, &pass, verdict, now);
}

/* Returns a breaker that opened at this time. */
static struct ais_breaker opened(int64_t now)
{
    struct ais_breaker b = {.era = 0};

    for (int i = 1; i < AIS_BREAKER_FAULTS; i++)
        assert_int_equal(call(&b, &unconnected, now), AIS_BREAKER_NO_NEWS);
    assert_int_equal(call(&b, &unconnected, now), AIS_BREAKER_OPENED);
    assert_int_equal(b.state, AIS_BREAKER_OPEN);
    assert_int_equal(b.fault, AIS_FAULT_CONNECT);
    return b;
}

static struct ais_breaker recovering(int64_t now)
{
    struct ais_breaker b = opened(now - AIS_BREAKER_PAUSE);

    assert_int_equal(call(&b, &good, now), AIS_BREAKER_NO_NEWS);
    assert_int_equal(b.state, AIS_BREAKER_RECOVERING);
    return b;
}

static void test_a_success_in_between(void **state)
{
    struct ais_breaker b = {.era = 0};

    (void) state;
    for (int round = 0; round < 10; round++) {
        for (int i = 1; i < AIS_BREAKER_FAULTS; i++)
            assert_int_equal(call(&b, &unconnected, 5), AIS_BREAKER_NO_NEWS);
        assert_int_equal(call(&b, &good, 5), AIS_BREAKER_NO_NEWS);
    }
    assert_int_equal(b.state, AIS_BREAKER_CLOSED);
    assert_string_equal(ais_breaker_state_name(b.state), "closed");
}

/* Which results count as faults. */
static void test_failures_and_successes(void **state)
{
    static const struct {
        enum ais_fault fault;
        bool pass;
        int status;
        unsigned calls;
        int sign; /* -1: the API responded, 1: it did not, 0: neither */
    } signs[] = {
        {AIS_FAULT_NONE, true, 200, 1, -1},        {AIS_FAULT_NONE, true, 404, 1, -1},
        {AIS_FAULT_CONNECT, false, 0, 1, 1},       {AIS_FAULT_TLS, false, 0, 1, 1},
        {AIS_FAULT_TIMEOUT, false, 0, 1, 1},       {AIS_FAULT_TIMEOUT, false, 200, 1, 1},
        {AIS_FAULT_CREDENTIAL, false, 403, 1, -1}, {AIS_FAULT_RATE_LIMITED, false, 429, 1, -1},
        {AIS_FAULT_SERVER, false, 0, 1, 1},        {AIS_FAULT_SERVER, false, 200, 1, -1},
        {AIS_FAULT_SERVER, false, 503, 1, 1},      {AIS_FAULT_SERVER, true, 503, 1, 1},
        {AIS_FAULT_SERVER, false, 500, 1, 1},      {AIS_FAULT_SERVER, true, 500, 1, -1},
        {AIS_FAULT_SERVER, false, 421, 1, -1},     {AIS_FAULT_SERVER, false, 302, 1, -1},
        {AIS_FAULT_BODY, false, 200, 1, -1},       {AIS_FAULT_REFUSED, true, 400, 1, -1},
        {AIS_FAULT_BUDGET, false, 0, 0, 0},        {AIS_FAULT_BUDGET, false, 0, 2, 1},
        {AIS_FAULT_INTERNAL, false, 0, 1, 0},
    };

    (void) state;
    for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++) {
        struct ais_verdict verdict = {.fault = signs[i].fault, .pass = signs[i].pass};
        struct ais_response response = {.status = signs[i].status, .calls = signs[i].calls};
        struct ais_breaker b = {.count = AIS_BREAKER_FAULTS - 1};
        struct ais_pass pass = enter(&b, 1);

        (void) ais_breaker_settle(&b, &pass, &verdict, &response, 0, 1);
        assert_int_equal(b.state == AIS_BREAKER_OPEN, signs[i].sign == 1);
        assert_int_equal(b.state == AIS_BREAKER_CLOSED && b.count == 0, signs[i].sign == -1);
    }
}

static void test_one_probe_at_a_time(void **state)
{
    struct ais_breaker b = opened(0);
    struct ais_pass probe;

    (void) state;
    assert_string_equal(ais_breaker_state_name(b.state), "open");
    assert_int_equal(refused(&b, 0), AIS_BREAKER_PAUSE);
    assert_int_equal(refused(&b, AIS_BREAKER_PAUSE - 1), 1);
    probe = enter(&b, AIS_BREAKER_PAUSE);
    assert_true(probe.probe && probe.quick);
    assert_int_equal(refused(&b, AIS_BREAKER_PAUSE), AIS_BREAKER_PAUSE);
    assert_int_equal(settle(&b, &probe, &unconnected, 1500), AIS_BREAKER_NO_NEWS);
    assert_int_equal(refused(&b, 1500), AIS_BREAKER_PAUSE);
    probe = enter(&b, 1500 + AIS_BREAKER_PAUSE);
    assert_int_equal(settle(&b, &probe, &good, 2600), AIS_BREAKER_NO_NEWS);
    assert_string_equal(ais_breaker_state_name(b.state), "recovering");
}

/* Its process was killed, or it was never sent. */
static void test_a_lost_probe(void **state)
{
    struct ais_breaker b = opened(0);
    int64_t over = AIS_BREAKER_PAUSE + AIS_BREAKER_QUICK + GRACE;
    struct ais_pass lost = enter(&b, AIS_BREAKER_PAUSE);
    struct ais_pass probe;

    (void) state;
    assert_int_equal(refused(&b, over - 1), AIS_BREAKER_PAUSE);
    probe = enter(&b, over);
    assert_int_equal(settle(&b, &lost, &unconnected, over), AIS_BREAKER_NO_NEWS); /* it was not lost, only late */
    assert_int_equal(refused(&b, over), AIS_BREAKER_PAUSE);
    ais_breaker_cancel(&b, &probe);
    probe = enter(&b, over + 1);
    ais_breaker_cancel(&b, &lost); /* twice */
    ais_breaker_cancel(&b, &lost);
    assert_int_equal(refused(&b, over + 1), AIS_BREAKER_PAUSE);
    assert_int_equal(settle(&b, &probe, &good, over + 2), AIS_BREAKER_NO_NEWS);
    assert_int_equal(b.state, AIS_BREAKER_RECOVERING);
}

static int64_t pause_after(int status, int64_t retry_after, uint32_t random)
{
    struct ais_verdict verdict = {.fault = AIS_FAULT_SERVER};
    struct ais_response response = {.status = status, .retry_after = retry_after};
    struct ais_breaker b = opened(0);
    struct ais_pass probe = enter(&b, 1000);

    assert_int_equal(ais_breaker_settle(&b, &probe, &verdict, &response, random, 2000), AIS_BREAKER_NO_NEWS);
    assert_int_equal(b.fault, AIS_FAULT_SERVER);
    return ais_breaker_wait(&b, 2000);
}

static void test_pauses(void **state)
{
    (void) state;
    assert_int_equal(pause_after(503, -1, 0), AIS_BREAKER_PAUSE);
    assert_uint_in_range(pause_after(503, -1, UINT32_MAX), AIS_BREAKER_PAUSE * 3 / 4, AIS_BREAKER_PAUSE * 3 / 4 + 1);
    assert_int_equal(pause_after(503, 0, 0), AIS_BREAKER_PAUSE);
    assert_int_equal(pause_after(503, 7000, 5), 7000);
    assert_int_equal(pause_after(503, 60000, 5), AIS_BREAKER_PAUSE_MAX);
    assert_int_equal(pause_after(502, 60000, 0), AIS_BREAKER_PAUSE);
}

/* If the API takes long, from time to time a probe may take long too. */
static void test_long_probes(void **state)
{
    struct ais_breaker b = opened(0);
    unsigned nlong = 0;
    int64_t now = 0;

    (void) state;
    for (int i = 0; i < 65; i++) {
        struct ais_pass probe = enter(&b, now += AIS_BREAKER_PAUSE);

        nlong += !probe.quick;
        assert_int_equal(probe.until, now + (probe.quick ? AIS_BREAKER_QUICK : TIMEOUT) + GRACE);
        assert_int_equal(settle(&b, &probe, &unconnected, now), AIS_BREAKER_NO_NEWS);
    }
    assert_int_equal(nlong, 4);
    assert_int_equal(b.since, 0);
}

/* Shorter than the timeout of a quick probe. */
static void test_short_timeouts(void **state)
{
    struct ais_breaker b = opened(0);
    struct ais_pass probe;

    (void) state;
    assert_int_equal(ais_breaker_enter(&b, &probe, 200, 1000), 0);
    assert_true(probe.quick);
    assert_int_equal(probe.until, 1000 + 200 + GRACE);
}

static void test_recovery(void **state)
{
    struct ais_breaker b = recovering(5000);
    struct ais_pass passes[AIS_BREAKER_CALLS];

    (void) state;
    for (int i = 0; i < AIS_BREAKER_CALLS; i++) {
        passes[i] = enter(&b, 5000);
        assert_false(passes[i].probe);
    }
    assert_int_equal(refused(&b, 5000), AIS_BREAKER_PAUSE);
    ais_breaker_cancel(&b, &passes[7]);
    passes[7] = enter(&b, 5001);
    assert_int_equal(refused(&b, 5001), AIS_BREAKER_PAUSE);

    for (int i = 1; i < AIS_BREAKER_SUCCESSES; i++)
        assert_int_equal(settle(&b, &passes[i], &good, 5002), AIS_BREAKER_NO_NEWS);
    assert_int_equal(b.state, AIS_BREAKER_RECOVERING);
    assert_int_equal(settle(&b, &passes[7], &good, 5003), AIS_BREAKER_RECOVERED);
    assert_int_equal(b.state, AIS_BREAKER_CLOSED);
    for (int i = 0; i < 100; i++)
        (void) enter(&b, 5003);
}

/* All of them were lost with a killed process. */
static void test_recovery_with_lost_calls(void **state)
{
    struct ais_breaker b = recovering(5000);

    (void) state;
    for (int i = 0; i < AIS_BREAKER_CALLS; i++)
        (void) enter(&b, 5000);
    (void) refused(&b, 5000 + TIMEOUT + GRACE - 1);
    for (int i = 0; i < AIS_BREAKER_CALLS; i++)
        (void) enter(&b, 5000 + TIMEOUT + GRACE);
    (void) refused(&b, 5000 + TIMEOUT + GRACE);
}

static void test_failed_recovery(void **state)
{
    struct ais_breaker b = recovering(5000);
    struct ais_pass one = enter(&b, 5000);
    struct ais_pass other = enter(&b, 5000);

    (void) state;
    assert_int_equal(settle(&b, &one, &unconnected, 5100), AIS_BREAKER_NO_NEWS);
    assert_int_equal(b.state, AIS_BREAKER_OPEN);
    assert_int_equal(settle(&b, &other, &unconnected, 5200), AIS_BREAKER_NO_NEWS);
    assert_int_equal(refused(&b, 5200), AIS_BREAKER_PAUSE - 100); /* that was before it opened */
    assert_int_equal(b.since, 4000);
}

/* Calls that began before it opened end much later. */
static void test_late_ends(void **state)
{
    struct ais_breaker b = {.era = 0};
    struct ais_pass late[4] = {enter(&b, 0), enter(&b, 0), enter(&b, 0), enter(&b, 0)};

    (void) state;
    for (int i = 0; i < AIS_BREAKER_FAULTS; i++)
        (void) call(&b, &unconnected, 0);
    assert_int_equal(settle(&b, &late[0], &unconnected, 500), AIS_BREAKER_NO_NEWS);
    assert_int_equal(refused(&b, 500), AIS_BREAKER_PAUSE - 500);
    assert_int_equal(settle(&b, &late[1], &good, 500), AIS_BREAKER_NO_NEWS); /* the API does respond after all */
    assert_int_equal(b.state, AIS_BREAKER_RECOVERING);
    assert_int_equal(settle(&b, &late[2], &good, 500), AIS_BREAKER_NO_NEWS);
    assert_int_equal(b.count, 0);
    assert_int_equal(settle(&b, &late[3], &unconnected, 500), AIS_BREAKER_NO_NEWS);
    assert_int_equal(b.state, AIS_BREAKER_RECOVERING);
}

static void test_another_api(void **state)
{
    struct ais_breaker b = opened(0);
    struct ais_pass probe = enter(&b, 1000);

    (void) state;
    ais_breaker_reset(&b);
    assert_int_equal(b.state, AIS_BREAKER_CLOSED);
    assert_int_equal(settle(&b, &probe, &unconnected, 1000), AIS_BREAKER_NO_NEWS);
    assert_int_equal(b.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_success_in_between),
        cmocka_unit_test(test_failures_and_successes),
        cmocka_unit_test(test_one_probe_at_a_time),
        cmocka_unit_test(test_a_lost_probe),
        cmocka_unit_test(test_pauses),
        cmocka_unit_test(test_long_probes),
        cmocka_unit_test(test_short_timeouts),
        cmocka_unit_test(test_recovery),
        cmocka_unit_test(test_recovery_with_lost_calls),
        cmocka_unit_test(test_failed_recovery),
        cmocka_unit_test(test_late_ends),
        cmocka_unit_test(test_another_api),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
