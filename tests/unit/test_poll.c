/* A client without a driver in its own thread: many fetches, timers, and wake-ups from other threads. */

#include <sys/resource.h>

#include "driver.h"
#include "server.h"

#include "ais_poll.h"

#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static void serve_ok(struct server *server, int fd, unsigned nth)
{
    (void) nth;
    while (server_request(server, fd)) {
        server_send(fd, OK);
    }
}

static void serve_stall(struct server *server, int fd, unsigned nth)
{
    (void) nth;
    server_linger(server, fd);
}

static struct ais_target target_at(const struct server *server)
{
    char url[64];

    snprintf(url, sizeof(url), "http://127.0.0.1:%d", server->port);
    return target_of(url);
}

static struct ais_client *client_new(void)
{
    struct ais_client_options options = {.ca_file = NULL};
    struct ais_error err = {""};
    struct ais_client *client = ais_client_create(NULL, &options, &err);

    if (client == NULL) {
        fail_msg("%s", err.text);
    }
    return client;
}

struct counts {
    unsigned ok;
    unsigned timeouts;
    unsigned others;
};

static void on_counted(void *data, const struct ais_response *response)
{
    struct counts *counts = data;

    if (response->fault == AIS_FAULT_NONE && response->status == 200) {
        counts->ok++;
    } else if (response->fault == AIS_FAULT_TIMEOUT) {
        counts->timeouts++;
    } else {
        counts->others++;
    }
}

/* Some are answered and some are not: only the timers end the latter. */
static void test_parallel_fetches(void **state)
{
    enum { FETCHES = 80, STALLED = 4 };
    struct server *good = server_start(serve_ok);
    struct server *bad = server_start(serve_stall);
    struct ais_target quick = target_at(good);
    struct ais_target slow = target_at(bad);
    struct ais_client *client = client_new();
    struct counts counts = {0};
    int64_t start = clock_ms();
    int i;

    (void) state;
    slow.timeout = 200;
    for (i = 0; i < FETCHES; i++) {
        assert_non_null(ais_client_fetch(client, &quick, NULL, "/x", on_counted, &counts));
    }
    for (i = 0; i < STALLED; i++) {
        assert_non_null(ais_client_fetch(client, &slow, NULL, "/x", on_counted, &counts));
    }
    while (ais_client_inflight(client) > 0) {
        ais_poll_wait(client, 30000);
    }
    assert_true(clock_ms() - start < 10000);
    assert_int_equal(counts.ok, FETCHES);
    assert_int_equal(counts.timeouts, STALLED);
    ais_client_destroy(client);
    server_stop(bad);
    server_stop(good);
}

static void test_timeout(void **state)
{
    struct ais_client *client = client_new();
    int64_t start = clock_ms();

    (void) state;
    ais_poll_wait(client, 0);
    assert_true(clock_ms() - start < 1000);
    start = clock_ms();
    ais_poll_wait(client, 50);
    assert_true(clock_ms() - start >= 50 && clock_ms() - start < 1000);
    ais_poll_wake(client);
    ais_poll_wait(client, INT64_MAX); /* limited to the longest possible wait */
    ais_client_destroy(client);
}

/* While a fetch waits for its response, the thread sleeps. */
static void test_no_busy_loop(void **state)
{
    struct server *server = server_start(serve_stall);
    struct ais_target target = target_at(server);
    struct ais_client *client = client_new();
    struct counts counts = {0};
    unsigned rounds = 0;

    (void) state;
    target.timeout = 600;
    assert_non_null(ais_client_fetch(client, &target, NULL, "/x", on_counted, &counts));
    while (counts.timeouts == 0) {
        ais_poll_wait(client, 30000);
        rounds++;
    }
    assert_true(rounds < 50);
    ais_client_destroy(client);
    server_stop(server);
}

static void test_wake_in_advance(void **state)
{
    struct ais_client *client = client_new();
    int64_t start = clock_ms();
    int i;

    (void) state;
    for (i = 0; i < 1000; i++) {
        ais_poll_wake(client); /* several count as one */
    }
    ais_poll_wait(client, 5000);
    assert_true(clock_ms() - start < 1000);
    start = clock_ms();
    ais_poll_wait(client, 50);
    assert_true(clock_ms() - start >= 50);
    ais_client_destroy(client);
}

static void *wake_later(void *data)
{
    usleep(50000);
    ais_poll_wake(data);
    return NULL;
}

/* Also wakes a thread that waits for responses. */
static void test_wake_from_a_thread(void **state)
{
    struct server *server = server_start(serve_stall);
    struct ais_target target = target_at(server);
    struct ais_client *client = client_new();
    struct counts counts = {0};
    pthread_t thread;
    int fetches;

    (void) state;
    for (fetches = 0; fetches < 2; fetches++) {
        int64_t start = clock_ms();

        assert_int_equal(pthread_create(&thread, NULL, wake_later, client), 0);
        do {
            ais_poll_wait(client, 30000); /* a libcurl timer may also end one */
        } while (clock_ms() - start < 40);
        assert_true(clock_ms() - start < 1000);
        pthread_join(thread, NULL);
        assert_non_null(ais_client_fetch(client, &target, NULL, "/x", on_counted, &counts));
        for (start = clock_ms(); clock_ms() - start < 200;) {
            ais_poll_wait(client, 20);
        }
    }
    assert_int_equal(ais_client_inflight(client), 2);
    ais_client_destroy(client);
    server_stop(server);
}

static void test_destroy_with_pending_fetches(void **state)
{
    struct server *server = server_start(serve_stall);
    struct ais_target target = target_at(server);
    struct ais_client *client = client_new();
    struct counts counts = {0};
    int i;

    (void) state;
    for (i = 0; i < 50; i++) {
        assert_non_null(ais_client_fetch(client, &target, NULL, "/x", on_counted, &counts));
    }
    for (i = 0; i < 20; i++) {
        ais_poll_wait(client, 5);
    }
    ais_client_destroy(client);
    assert_int_equal(counts.ok + counts.timeouts + counts.others, 0);
    server_stop(server);
}

/* Each callback starts another fetch, and some cancel one, while the client processes completed fetches. */
struct relay {
    struct ais_client *client;
    struct ais_target target;
    struct ais_target stalled;
    struct ais_fetch *idle;
    unsigned left;
};

static void on_idle(void *data, const struct ais_response *response)
{
    (void) data;
    (void) response;
    fail_msg("it was cancelled");
}

static void on_relay(void *data, const struct ais_response *response)
{
    struct relay *relay = data;

    assert_int_equal(response->status, 200);
    if (relay->left == 0) {
        return;
    }
    relay->left--;
    assert_non_null(ais_client_fetch(relay->client, &relay->target, NULL, "/x", on_relay, relay));
    if (relay->idle != NULL) {
        ais_fetch_cancel(relay->idle);
    }
    relay->idle =
        relay->left % 10 == 0 ? ais_client_fetch(relay->client, &relay->stalled, NULL, "/x", on_idle, NULL) : NULL;
}

static void test_fetch_from_a_callback(void **state)
{
    struct server *server = server_start(serve_ok);
    struct server *stalled = server_start(serve_stall);
    struct relay relay = {
        .client = client_new(), .target = target_at(server), .stalled = target_at(stalled), .left = 101};
    int64_t start = clock_ms();
    size_t i;

    (void) state;
    for (i = 0; i < 4; i++) {
        assert_non_null(ais_client_fetch(relay.client, &relay.target, NULL, "/x", on_relay, &relay));
    }
    while (ais_client_inflight(relay.client) > (relay.idle != NULL)) {
        assert_true(clock_ms() - start < 30000);
        ais_poll_wait(relay.client, 1000);
    }
    assert_int_equal(relay.left, 0);
    ais_client_destroy(relay.client);
    server_stop(stalled);
    server_stop(server);
}

/* Nothing can be fetched then, but the wait is no longer than requested, and not a busy loop. */
static void test_no_descriptors(void **state)
{
    struct server *server = server_start(serve_ok);
    struct ais_target target = target_at(server);
    struct counts counts = {0};
    struct ais_client *client = client_new(); /* recent versions of libcurl need a few */
    struct rlimit limit;
    struct rlimit none;
    int64_t start = clock_ms();

    (void) state;
    target.timeout = 500;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = limit;
    none.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_non_null(ais_client_fetch(client, &target, NULL, "/x", on_counted, &counts));
    while (ais_client_inflight(client) > 0) {
        ais_poll_wait(client, 30000);
    }
    assert_int_equal(counts.ok, 0);
    assert_true(clock_ms() - start < 5000);
    start = clock_ms();
    ais_poll_wait(client, 50);
    assert_true(clock_ms() - start >= 50 && clock_ms() - start < 1000);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    ais_client_destroy(client);
    server_stop(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parallel_fetches),      cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_no_busy_loop),          cmocka_unit_test(test_wake_in_advance),
        cmocka_unit_test(test_wake_from_a_thread),    cmocka_unit_test(test_destroy_with_pending_fetches),
        cmocka_unit_test(test_fetch_from_a_callback), cmocka_unit_test(test_no_descriptors),
    };

    return cmocka_run_group_tests(tests, client_set_up, client_tear_down);
}
