/*
 * The gate in front of the API is called before each request and again when the request is over, however the fetch
 * ends.
 */

#include "driver.h"
#include "server.h"

#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
#define UNAVAILABLE "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"

#define SPENT "the budget for calls to the API is used up"

/* ---- a gate that checks the client's calls ------------------------------------------------------------------- */

struct counter {
    unsigned open; /* the number of requests that may pass; then it is closed */
    unsigned entered;
    unsigned left;
    unsigned given_up;
    unsigned refused;
    uint64_t inside; /* one bit per ticket */
    struct ais_gate gate;
};

static bool counter_enter(void *data, uint64_t *ticket)
{
    struct counter *counter = data;

    *ticket = counter->entered;
    if (counter->entered == counter->open) {
        counter->refused++;
        return false;
    }
    counter->inside |= UINT64_C(1) << counter->entered++;
    return true;
}

static void counter_leave(void *data, uint64_t ticket, bool given_up)
{
    struct counter *counter = data;

    assert_true(ticket < counter->entered);
    assert_true(counter->inside & UINT64_C(1) << ticket);
    counter->inside &= ~(UINT64_C(1) << ticket);
    counter->left++;
    counter->given_up += given_up;
}

static void counter_init(struct counter *counter, unsigned open)
{
    *counter =
        (struct counter){.open = open, .gate = {.data = counter, .enter = counter_enter, .leave = counter_leave}};
}

#define expect_gate(counter, entered_, refused_)                                                                       \
    do {                                                                                                               \
        assert_int_equal((counter)->entered, entered_);                                                                \
        assert_int_equal((counter)->left, (counter)->entered);                                                         \
        assert_int_equal((counter)->refused, refused_);                                                                \
    } while (0)

/* ---- common to all tests ------------------------------------------------------------------------------------- */

/* Answers with server->data, or never. */
static void serve(struct server *server, int fd, unsigned nth)
{
    (void) nth;
    while (server_request(server, fd)) {
        if (server->data == NULL) {
            server_linger(server, fd);
            return;
        }
        server_send(fd, server->data);
    }
}

struct bench {
    struct server *server;
    struct driver *driver;
    struct ais_target target;
    struct counter counter;
    struct result result;
};

static void bench_start(struct bench *bench, serve_fn serve_with, char *answer, unsigned open)
{
    char url[64];

    memset(bench, 0, sizeof(*bench));
    bench->server = server_bind(serve_with);
    bench->server->data = answer;
    server_run(bench->server);
    bench->driver = driver_new(NULL);
    snprintf(url, sizeof(url), "http://127.0.0.1:%d/", bench->server->port);
    bench->target = target_of(url);
    counter_init(&bench->counter, open);
    bench->target.gate = &bench->counter.gate;
}

static void bench_stop(struct bench *bench)
{
    driver_free(bench->driver);
    server_stop(bench->server);
}

static void expect_refused(const struct result *result, unsigned calls)
{
    assert_int_equal(result->fault, AIS_FAULT_BUDGET);
    assert_int_equal(result->status, 0);
    assert_int_equal(result->body_len, 0);
    assert_int_equal(result->calls, calls);
    assert_string_equal(result->message, SPENT);
}

static void fetch_one(struct bench *bench)
{
    fetch_whole(bench->driver, &bench->result, &bench->target, NULL, "/x");
}

/* ---- the tests ----------------------------------------------------------------------------------------------- */

static void on_done_outside(void *data, const struct ais_response *response)
{
    struct bench *bench = data;

    assert_int_equal(response->calls, 1);
    expect_gate(&bench->counter, 1, 0);
    bench->result.done++;
    bench->result.fault = response->fault;
}

/* The callback may pass what the response says to the gate's owner, since the call is over by then. */
static void expect_left_before_callback(char *answer, int64_t timeout, bool abort, enum ais_fault fault)
{
    struct bench bench;

    bench_start(&bench, serve, answer, 1);
    bench.target.timeout = timeout;
    assert_non_null(ais_client_fetch(bench.driver->client, &bench.target, NULL, "/x", on_done_outside, &bench));
    assert_int_equal(bench.counter.entered, 0);
    if (abort) {
        DRIVE_UNTIL(bench.driver, bench.server->requests == 1);
        ais_client_abort(bench.driver->client);
    }
    DRIVE_UNTIL(bench.driver, bench.result.done == 1);
    assert_int_equal(bench.result.fault, fault);
    bench_stop(&bench);
}

static void test_leave_comes_before_the_callback(void **state)
{
    (void) state;
    expect_left_before_callback(OK, 10000, false, AIS_FAULT_NONE);
    expect_left_before_callback(NULL, 10000, true, AIS_FAULT_INTERNAL);
    expect_left_before_callback(NULL, 300, false, AIS_FAULT_TIMEOUT);
}

static void test_closed(void **state)
{
    struct bench bench;

    (void) state;
    bench_start(&bench, serve, OK, 2);
    bench.target.retries = 3;
    fetch_one(&bench);
    fetch_one(&bench);
    assert_int_equal(bench.result.fault, AIS_FAULT_NONE);
    expect_gate(&bench.counter, 2, 0);

    fetch_one(&bench);
    expect_refused(&bench.result, 0);
    expect_gate(&bench.counter, 2, 1); /* no retry */
    assert_int_equal(bench.server->requests, 2);

    /* it opens again */
    bench.counter.open++;
    fetch_one(&bench);
    assert_int_equal(bench.result.fault, AIS_FAULT_NONE);
    expect_gate(&bench.counter, 3, 1);
    assert_int_equal(bench.server->requests, 3);
    bench_stop(&bench);
}

static void test_no_gate(void **state)
{
    struct bench bench;

    (void) state;
    bench_start(&bench, serve, OK, 0);
    bench.target.gate = NULL;
    fetch_one(&bench);
    assert_int_equal(bench.result.fault, AIS_FAULT_NONE);
    assert_int_equal(bench.result.calls, 1);
    expect_gate(&bench.counter, 0, 0);
    bench_stop(&bench);
}

/* Without a connection there is no request, and the gate is not called. */
static void test_no_connection(void **state)
{
    struct bench bench;

    (void) state;
    bench_start(&bench, serve, OK, 10);
    bench.target.url = target_of("http://unix:/nonexistent/api.sock:/").url;
    bench.target.retries = 1;
    fetch_one(&bench);
    assert_int_equal(bench.result.fault, AIS_FAULT_CONNECT);
    expect_gate(&bench.counter, 0, 0);
    bench_stop(&bench);
}

static void test_each_try_passes_the_gate(void **state)
{
    struct bench bench;

    (void) state;
    bench_start(&bench, serve, UNAVAILABLE, 10);
    bench.target.retries = 2;
    fetch_one(&bench);
    assert_int_equal(bench.result.status, 503);
    assert_int_equal(bench.result.calls, 3);
    expect_gate(&bench.counter, 3, 0);
    assert_int_equal(bench.counter.given_up, 0);
    bench_stop(&bench);

    bench_start(&bench, serve, UNAVAILABLE, 2);
    bench.target.retries = 5;
    fetch_one(&bench);
    expect_refused(&bench.result, 2);
    expect_gate(&bench.counter, 2, 1);
    assert_int_equal(bench.server->requests, 2);
    bench_stop(&bench);
}

/* Between two tries, no request is in progress. */
static void test_pause_is_outside(void **state)
{
    struct bench bench;

    (void) state;
    bench_start(&bench, serve, UNAVAILABLE, 10);
    bench.target.retries = 9;
    fetch(bench.driver, &bench.result, &bench.target, NULL, "/x");
    DRIVE_UNTIL(bench.driver, bench.counter.left == 1);
    ais_fetch_cancel(bench.result.fetch);
    expect_gate(&bench.counter, 1, 0);
    bench_stop(&bench);
}

/* Closes the first connection at its second request instead of answering it: libcurl then sends the request again. */
static void serve_dead_connection(struct server *server, int fd, unsigned nth)
{
    while (server_request(server, fd)) {
        if (nth == 1 && server->requests == 2) {
            return;
        }
        server_send(fd, OK);
    }
}

static void test_dead_connection(void **state)
{
    struct bench bench;

    (void) state;
    bench_start(&bench, serve_dead_connection, NULL, 3);
    fetch_one(&bench);
    fetch_one(&bench);
    assert_int_equal(bench.result.fault, AIS_FAULT_NONE);
    assert_int_equal(bench.result.calls, 2);
    expect_gate(&bench.counter, 3, 0);
    assert_int_equal(bench.counter.given_up, 0);
    assert_int_equal(bench.server->requests, 3);
    bench_stop(&bench);

    /* no call is left for the retry */
    bench_start(&bench, serve_dead_connection, NULL, 2);
    bench.target.retries = 2;
    fetch_one(&bench);
    fetch_one(&bench);
    expect_refused(&bench.result, 1);
    expect_gate(&bench.counter, 2, 1);
    assert_int_equal(bench.server->requests, 2);
    bench_stop(&bench);
}

static void test_timeout(void **state)
{
    struct bench bench;

    (void) state;
    bench_start(&bench, serve, NULL, 10);
    bench.target.timeout = 100;
    bench.target.retries = 2;
    fetch_one(&bench);
    assert_int_equal(bench.result.fault, AIS_FAULT_TIMEOUT);
    expect_gate(&bench.counter, bench.result.calls, 0);
    assert_int_equal(bench.counter.given_up, bench.result.calls);
    bench_stop(&bench);
}

static void test_too_large(void **state)
{
    struct bench bench;

    (void) state;
    bench_start(&bench, serve, OK, 10);
    bench.target.body_max = 1;
    fetch_one(&bench);
    assert_int_equal(bench.result.fault, AIS_FAULT_BODY);
    expect_gate(&bench.counter, 1, 0);
    assert_int_equal(bench.counter.given_up, 0);
    bench_stop(&bench);
}

static void test_cancel(void **state)
{
    struct bench bench;

    (void) state;
    bench_start(&bench, serve, NULL, 10);
    fetch(bench.driver, &bench.result, &bench.target, NULL, "/x");
    ais_fetch_cancel(bench.result.fetch); /* before a request was sent */
    expect_gate(&bench.counter, 0, 0);

    fetch(bench.driver, &bench.result, &bench.target, NULL, "/x");
    DRIVE_UNTIL(bench.driver, bench.server->requests == 1);
    assert_int_equal(bench.counter.inside, 1);
    ais_fetch_cancel(bench.result.fetch);
    expect_gate(&bench.counter, 1, 0);
    assert_int_equal(bench.counter.given_up, 1);
    bench_stop(&bench);
    expect_gate(&bench.counter, 1, 0);
}

/* The process exits: all fetches end at once, including those that wait for a retry or for a connection. */
static void test_abort_and_destroy(void **state)
{
    struct bench bench;
    struct result results[4];

    (void) state;
    for (int destroy = 0; destroy < 2; destroy++) {
        bench_start(&bench, serve, NULL, 10);
        for (size_t i = 0; i < COUNT(results); i++) {
            fetch(bench.driver, &results[i], &bench.target, NULL, "/x");
        }
        DRIVE_UNTIL(bench.driver, bench.server->requests == COUNT(results));
        fetch(bench.driver, &bench.result, &bench.target, NULL, "/x");
        assert_int_equal(bench.counter.left, 0);

        if (!destroy) {
            bench.driver->inside = true;
            ais_client_abort(bench.driver->client);
            bench.driver->inside = false;
            assert_int_equal(results[0].fault, AIS_FAULT_INTERNAL);
            expect_gate(&bench.counter, COUNT(results), 0);
        }
        bench_stop(&bench);
        expect_gate(&bench.counter, COUNT(results), 0);
    }
}

/* A rejected request does not affect others, however many there are. */
static void test_many(void **state)
{
    struct bench bench;
    struct result results[40];
    unsigned ok = 0;

    (void) state;
    bench_start(&bench, serve, OK, 25);
    for (size_t i = 0; i < COUNT(results); i++) {
        fetch(bench.driver, &results[i], &bench.target, NULL, "/x");
    }
    DRIVE_UNTIL(bench.driver, ais_client_inflight(bench.driver->client) == 0);
    for (size_t i = 0; i < COUNT(results); i++) {
        ok += results[i].fault == AIS_FAULT_NONE;
        assert_true(results[i].fault == AIS_FAULT_NONE || results[i].fault == AIS_FAULT_BUDGET);
    }
    assert_int_equal(ok, 25);
    expect_gate(&bench.counter, 25, 15);
    assert_int_equal(bench.server->requests, 25);
    bench_stop(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_leave_comes_before_the_callback),
        cmocka_unit_test(test_closed),
        cmocka_unit_test(test_no_gate),
        cmocka_unit_test(test_no_connection),
        cmocka_unit_test(test_each_try_passes_the_gate),
        cmocka_unit_test(test_pause_is_outside),
        cmocka_unit_test(test_dead_connection),
        cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_abort_and_destroy),
        cmocka_unit_test(test_many),
    };

    return cmocka_run_group_tests(tests, client_set_up, client_tear_down);
}
