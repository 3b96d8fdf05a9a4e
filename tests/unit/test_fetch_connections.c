/* LDFLAGS: -ldl */
/* Connections that are kept, limited or broken, and retries. */
#include "fetch_fixture.h"

/* ---- connections --------------------------------------------------------------------------------------------- */

static void test_kept_connection(void **state)
{
    struct server *server = script_start(SCRIPT(OK));
    struct driver *driver = driver_new(NULL);
    struct ais_target target = target_at(server);
    struct result result;
    int i;

    (void) state;
    for (i = 0; i < 20; i++) {
        fetch_whole(driver, &result, &target, credential, "/x");
        expect_ok(&result);
        assert_int_equal(result.calls, 1);
        assert_int_equal(driver_watched(driver), 0); /* an idle connection is not watched */
        assert_int_equal(ais_client_inflight(driver->client), 0);
    }
    assert_int_equal(server->connections, 1);
    driver_free(driver);
    server_stop(server);
}

static void test_connection_limit(void **state)
{
    enum { N = 200 };
    struct ais_client_options options = {.max_host_connections = 4};
    struct server *server = script_start(SCRIPT(OK));
    struct driver *driver = driver_new(&options);
    struct ais_target target = target_at(server);
    struct result *results = calloc(N, sizeof(*results));
    int i;

    (void) state;
    for (i = 0; i < N; i++) {
        fetch(driver, &results[i], &target, credential, "/x");
    }
    assert_int_equal(ais_client_inflight(driver->client), N);
    DRIVE_UNTIL(driver, ais_client_inflight(driver->client) == 0);
    for (i = 0; i < N; i++) {
        expect_ok(&results[i]);
    }
    assert_true(server->connections <= 4);
    driver_free(driver);
    server_stop(server);
    free(results);
}

/* Many at once, then one after the other: a sensible number of connections of the burst is kept. */
static void test_burst(void **state)
{
    enum { N = 30 };
    struct server *server = script_start(SCRIPT(OK));
    struct driver *driver = driver_new(NULL);
    struct ais_target target = target_at(server);
    struct result *results = calloc(N, sizeof(*results));
    int round;
    int i;

    (void) state;
    for (round = 0; round < 3; round++) {
        for (i = 0; i < N; i++) {
            fetch(driver, &results[i], &target, credential, "/x");
        }
        DRIVE_UNTIL(driver, ais_client_inflight(driver->client) == 0);
        for (i = 0; i < N; i++) {
            expect_ok(&results[i]);
        }
    }
    assert_true(server->connections <= N);
    driver_free(driver);
    server_stop(server);
    free(results);
}

/* The second request on the first connection is read, and the connection is closed without a response. */
static void serve_dead_connection(struct server *server, int fd, unsigned nth)
{
    while (server_request(server, fd)) {
        if (nth == 1 && server->requests == 2) {
            return;
        }
        server_send(fd, OK);
    }
}

static void test_dead_connection_is_counted(void **state)
{
    struct server *server = server_start(serve_dead_connection);
    struct driver *driver = driver_new(NULL);
    struct ais_target target = target_at(server);
    struct result result;

    (void) state;
    fetch_whole(driver, &result, &target, credential, "/x");
    assert_int_equal(result.calls, 1);
    fetch_whole(driver, &result, &target, credential, "/x");
    expect_ok(&result);
    assert_int_equal(result.calls, 2);
    assert_int_equal(server->requests, 3);
    assert_int_equal(server->connections, 2);
    driver_free(driver);
    server_stop(server);
}

static void test_closed_connection_is_noticed(void **state)
{
    struct server *server = script_start(SCRIPT(OK CLOSE));
    struct driver *driver = driver_new(NULL);
    struct ais_target target = target_at(server);
    struct result result;
    int i;

    (void) state;
    for (i = 1; i <= 3; i++) {
        fetch_whole(driver, &result, &target, credential, "/x");
        expect_ok(&result);
        usleep(20000); /* for the close to arrive; if it is late, there is a retry */
    }
    assert_int_equal(server->connections, server->requests);
    driver_free(driver);
    server_stop(server);
}

/* Answers the first few requests on a connection, and closes it at the next one. */
static void serve_few(struct server *server, int fd, unsigned nth)
{
    const unsigned *good = server->data;
    unsigned i;

    for (i = 0; server_request(server, fd) && i < (nth <= 5 ? good[0] : good[1]); i++) {
        server_send(fd, OK);
        usleep(20000); /* so that all that start together get their own connections */
    }
}

/* libcurl retries once by itself on a new connection; five idle connections are dead. */
static void expect_one_repeat(unsigned good[2], unsigned retries, enum ais_fault fault, unsigned calls)
{
    struct server *server = server_bind(serve_few);
    struct driver *driver = driver_new(NULL);
    struct ais_target target = target_at(server);
    struct result results[5];
    struct result result;
    size_t i;

    server->data = good;
    server_run(server);
    target.retries = retries;
    for (i = 0; i < COUNT(results); i++) {
        fetch(driver, &results[i], &target, credential, "/x");
    }
    DRIVE_UNTIL(driver, ais_client_inflight(driver->client) == 0);
    assert_int_equal(server->connections, 5);
    fetch_whole(driver, &result, &target, credential, "/x");
    assert_int_equal(result.fault, fault);
    assert_int_equal(result.calls, calls);
    assert_int_equal(server->requests, 5 + calls);
    driver_free(driver);
    server_stop(server);
}

static void test_one_repeat(void **state)
{
    (void) state;
    expect_one_repeat((unsigned[]){1, 1}, 0, AIS_FAULT_NONE, 2);
    expect_one_repeat((unsigned[]){1, 0}, 0, AIS_FAULT_CONNECT, 2);
    expect_one_repeat((unsigned[]){1, 0}, 2, AIS_FAULT_CONNECT, 4);
}

/* How the connections up to a certain one answer all but their first requests; the others work properly. */
struct sick {
    const char *answer;
    unsigned good;
    unsigned last;
    atomic_uint requests[16]; /* per connection */
};

static void serve_sick(struct server *server, int fd, unsigned nth)
{
    struct sick *sick = server->data;

    while (server_request(server, fd)) {
        unsigned n = sick->requests[nth]++;

        server_send(fd, nth <= sick->last && n >= sick->good ? sick->answer : OK);
    }
}

static void run_sick(struct sick *sick, const char *unix_socket, unsigned retries, unsigned fetches,
                     struct result *results)
{
    struct server *server = unix_socket != NULL ? server_start_unix(serve_sick, unix_socket) : server_bind(serve_sick);
    struct driver *driver = driver_new(NULL);
    struct ais_target target;
    char url[256];
    unsigned i;

    server->data = sick;
    if (unix_socket != NULL) {
        snprintf(url, sizeof(url), "http://unix:%s:/base", unix_socket);
        target = target_of(url);
    } else {
        server_run(server);
        target = target_at(server);
    }
    target.retries = retries;
    for (i = 0; i < fetches; i++) {
        fetch_whole(driver, &results[i], &target, credential, "/x");
    }
    driver_free(driver);
    server_stop(server);
    if (unix_socket != NULL) {
        unlink(unix_socket);
    }
}

static void test_failing_connection(void **state)
{
    static const char *const answers[] = {MISDIRECTED, UNAVAILABLE};
    const char *sockets[] = {NULL, path_of("api.sock")};
    struct result results[5];
    size_t i;
    size_t k;
    size_t n;

    (void) state;
    for (i = 0; i < COUNT(answers); i++) {
        for (k = 0; k < COUNT(sockets); k++) {
            struct sick sick = {.answer = answers[i], .last = 1};

            run_sick(&sick, sockets[k], 2, COUNT(results), results);
            for (n = 0; n < COUNT(results); n++) {
                expect_ok(&results[n]);
                assert_int_equal(results[n].calls, n == 0 ? 2 : 1);
            }
            assert_int_equal(sick.requests[1], 1);
            assert_int_equal(sick.requests[2], 5);
        }
    }
}

/* A connection that worked before is abandoned at the third fault, and each retry uses another one. */
static void test_connection_that_starts_to_fail(void **state)
{
    struct sick sick = {.answer = UNAVAILABLE, .good = 4, .last = 1};
    struct result results[20];
    unsigned calls = 0;
    size_t n;

    (void) state;
    run_sick(&sick, NULL, 1, COUNT(results), results);
    for (n = 0; n < COUNT(results); n++) {
        expect_ok(&results[n]);
        assert_true(results[n].calls <= 2);
        calls += results[n].calls;
    }
    assert_true(sick.requests[1] > 4 && sick.requests[1] <= 4 + 3);
    assert_int_equal(calls, COUNT(results) + sick.requests[1] - 4);

    /* At a 421, immediately. */
    sick = (struct sick){.answer = MISDIRECTED, .good = 4, .last = 1};
    run_sick(&sick, NULL, 1, COUNT(results), results);
    for (n = 0; n < COUNT(results); n++) {
        expect_ok(&results[n]);
        assert_int_equal(results[n].calls, n == 4 ? 2 : 1);
    }
    assert_int_equal(sick.requests[1], 5);
}

static void test_each_retry_uses_another_connection(void **state)
{
    static const char *const answers[] = {MISDIRECTED, UNAVAILABLE};
    size_t i;
    size_t k;

    (void) state;
    for (i = 0; i < COUNT(answers); i++) {
        struct sick sick = {.answer = answers[i], .last = COUNT(sick.requests)};
        struct result result;

        run_sick(&sick, NULL, 4, 1, &result);
        assert_int_equal(result.fault, AIS_FAULT_NONE);
        assert_int_equal(result.status, i == 0 ? 421 : 503);
        assert_int_equal(result.calls, 5);
        for (k = 1; k <= 5; k++) {
            assert_int_equal(sick.requests[k], 1);
        }
    }
}

/* However a connection ends, its descriptor is closed exactly once: the server's descriptors would be hit by a second
 * close. */
static void test_descriptors_are_closed(void **state)
{
    static const char *const answers[] = {MISDIRECTED, UNAVAILABLE, (OK CLOSE), CLOSE, ("HTTP/1.1 200 O" CLOSE)};
    size_t before = open_descriptors();
    size_t i;

    (void) state;
    for (i = 0; i < COUNT(answers); i++) {
        struct server *server = script_start(SCRIPT(OK, answers[i], answers[i], OK));
        struct driver *driver = driver_new(NULL);
        struct ais_target target = target_at(server);
        struct result results[8];
        size_t k;

        target.retries = 1;
        for (k = 0; k < COUNT(results); k++) {
            fetch(driver, &results[k], &target, credential, "/x");
        }
        DRIVE_UNTIL(driver, ais_client_inflight(driver->client) == 0);
        driver_free(driver);
        server_stop(server);
        assert_int_equal(open_descriptors(), before);
    }
}

/* ---- retries ------------------------------------------------------------------------------------------------- */

static void test_retry(void **state)
{
    struct result result;

    (void) state;
    fetch_script(&result, SCRIPT(UNAVAILABLE, UNAVAILABLE, OK), 2, 0);
    expect_ok(&result);
    assert_int_equal(result.calls, 3);
    assert_true(result.elapsed >= 50 + 100); /* half of 100 and of 200 is fixed */

    fetch_script(&result, SCRIPT(CLOSE, "HTTP/1.1 200 OK\r\nConte" CLOSE, OK), 2, 0);
    assert_int_equal(result.calls, 2); /* the second result is a server fault without a status: no retry */
    expect_fault(&result, AIS_FAULT_SERVER, "");
}

static void test_retries_spent(void **state)
{
    struct result result;

    (void) state;
    fetch_script(&result, SCRIPT(CLOSE, UNAVAILABLE), 1, 0);
    assert_int_equal(result.fault, AIS_FAULT_NONE);
    assert_int_equal(result.status, 503);
    assert_string_equal(result.body, "busy");
    assert_int_equal(result.calls, 2);

    fetch_script(&result, SCRIPT(UNAVAILABLE, CLOSE), 1, 0);
    expect_fault(&result, AIS_FAULT_CONNECT, "");
    assert_int_equal(result.status, 0);
    assert_int_equal(result.calls, 2); /* no retry by libcurl, since it was not the first connection */

    fetch_script(&result, SCRIPT(UNAVAILABLE), 0, 0);
    assert_int_equal(result.calls, 1);
}

static void test_no_retry(void **state)
{
    struct result result;

    (void) state;
    fetch_script(&result, SCRIPT("HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n", OK), 2, 0);
    assert_int_equal(result.status, 503);
    assert_int_equal(result.calls, 1);
    assert_int_equal(result.retry_after, 0);

    fetch_script(&result, SCRIPT(TOO_MANY, OK), 2, 0);
    assert_int_equal(result.status, 429);
    assert_int_equal(result.calls, 1);

    fetch_script(&result, SCRIPT("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc" CLOSE, OK), 2, 0);
    expect_fault(&result, AIS_FAULT_BODY, "");
    assert_int_equal(result.calls, 1);
}

/* A pause that would end after the deadline is skipped, and the last response is delivered at once. */
static void test_retry_does_not_fit(void **state)
{
    struct server *server = script_start(SCRIPT(UNAVAILABLE));
    struct driver *driver = driver_new(NULL);
    struct ais_target target = target_at(server);
    struct result result;
    int i;

    (void) state;
    target.retries = 2;
    target.timeout = 45; /* less than any pause */
    result.status = 0;
    for (i = 0; i < 100 && result.status == 0; i++) { /* on a busy machine it may be too short for one call */
        fetch_whole(driver, &result, &target, credential, "/x");
    }
    assert_int_equal(result.fault, AIS_FAULT_NONE);
    assert_int_equal(result.status, 503);
    assert_int_equal(result.calls, 1);
    driver_free(driver);
    server_stop(server);
}

static void test_refused_at_first(void **state)
{
    struct server *server = server_bind(serve_script);
    struct driver *driver = driver_new(NULL);
    struct ais_target target = target_at(server);
    struct result result;

    (void) state;
    server->data = SCRIPT(OK);
    target.retries = 5;
    fetch(driver, &result, &target, credential, "/x");
    drive_for(driver, 40); /* refused by now, and waiting for at least 50 ms */
    assert_int_equal(result.done, 0);
    assert_int_equal(driver_watched(driver), 0);
    assert_int_equal(ais_client_inflight(driver->client), 1);
    server_run(server);
    DRIVE_UNTIL(driver, result.done > 0);
    expect_ok(&result);
    assert_int_equal(result.calls, 1); /* the others were not sent */
    driver_free(driver);
    server_stop(server);
}

static void test_refused(void **state)
{
    struct server *server = server_bind(serve_script);
    struct driver *driver = driver_new(NULL);
    struct ais_target target = target_at(server);
    struct result result;

    (void) state;
    fetch_whole(driver, &result, &target, credential, "/x");
    expect_fault(&result, AIS_FAULT_CONNECT, " (111: Connection refused)");
    assert_int_equal(result.calls, 0);

    target = target_of("http://unix:/nonexistent/api.sock:/");
    fetch_whole(driver, &result, &target, credential, "/x");
    expect_fault(&result, AIS_FAULT_CONNECT,
                 "connect() to unix:/nonexistent/api.sock failed (2: No such file or directory)");
    driver_free(driver);
    server_stop(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kept_connection),
        cmocka_unit_test(test_connection_limit),
        cmocka_unit_test(test_burst),
        cmocka_unit_test(test_dead_connection_is_counted),
        cmocka_unit_test(test_closed_connection_is_noticed),
        cmocka_unit_test(test_one_repeat),
        cmocka_unit_test(test_failing_connection),
        cmocka_unit_test(test_connection_that_starts_to_fail),
        cmocka_unit_test(test_each_retry_uses_another_connection),
        cmocka_unit_test(test_descriptors_are_closed),
        cmocka_unit_test(test_retry),
        cmocka_unit_test(test_retries_spent),
        cmocka_unit_test(test_no_retry),
        cmocka_unit_test(test_retry_does_not_fit),
        cmocka_unit_test(test_refused_at_first),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
