/* LDFLAGS: -ldl */
/* How long a fetch takes at most, whatever the server and the network do. */
#include "fetch_fixture.h"

/* ---- time ---------------------------------------------------------------------------------------------------- */

static void expect_elapsed(const struct result *result, int64_t from)
{
    assert_true(result->elapsed >= from);
    assert_true(result->elapsed < from + 2000);
}

/* A listener with a full queue: the kernel drops further SYNs. */
struct black_hole {
    struct server *server;
    int fds[8];
};

static void black_hole_open(struct black_hole *hole, struct server *server, in_addr_t address)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)};
    size_t i;

    hole->server = server;
    assert_int_equal(listen(server->fd, 0), 0);
    addr.sin_port = htons((uint16_t) server->port);
    for (i = 0; i < COUNT(hole->fds); i++) {
        hole->fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        assert_true(hole->fds[i] != -1);
        (void) connect(hole->fds[i], (struct sockaddr *) &addr, sizeof(addr));
    }
}

static void black_hole_close(struct black_hole *hole)
{
    size_t i;

    for (i = 0; i < COUNT(hole->fds); i++) {
        close(hole->fds[i]);
    }
    server_stop(hole->server);
}

static void test_connect_timeout(void **state)
{
    struct black_hole hole;
    struct driver *driver = driver_new(NULL);
    struct ais_target target;
    struct result result;

    (void) state;
    black_hole_open(&hole, server_bind(serve_stall), INADDR_LOOPBACK);
    target = target_at(hole.server);
    target.retries = 2;
    target.connect_timeout = 150;
    fetch_whole(driver, &result, &target, credential, "/x");
    expect_fault(&result, AIS_FAULT_TIMEOUT, "");
    expect_elapsed(&result, 150);
    assert_int_equal(result.calls, 0);

    /* The total timeout is shorter. */
    target.connect_timeout = 5000;
    target.timeout = 150;
    fetch_whole(driver, &result, &target, credential, "/x");
    expect_fault(&result, AIS_FAULT_TIMEOUT, "");
    expect_elapsed(&result, 150);
    driver_free(driver);
    black_hole_close(&hole);
}

/* The first address of a name does not respond: the next one is tried while there is time left for it. */
static void test_next_address(void **state)
{
    struct server *server = script_start(SCRIPT(OK));
    struct server *deaf = server_new(serve_stall, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1)};
    struct driver *driver = driver_new(NULL);
    struct black_hole hole;
    struct ais_target target;
    struct result result;
    char url[64];

    (void) state;
    deaf->port = server->port;
    addr.sin_port = htons((uint16_t) server->port);
    assert_int_equal(bind(deaf->fd, (struct sockaddr *) &addr, sizeof(addr)), 0);
    black_hole_open(&hole, deaf, INADDR_LOOPBACK + 1);

    snprintf(url, sizeof(url), "http://two.test:%d", server->port);
    target = target_of(url);
    target.connect_timeout = 1000;
    fetch_whole(driver, &result, &target, credential, "/x");
    expect_ok(&result);
    assert_true(result.elapsed >= 150); /* libcurl waits for 200 ms, or before 8.17 for half of the time */
    driver_free(driver);
    black_hole_close(&hole);
    server_stop(server);
}

/* libcurl opens one connection while the other fetches wait for it. They must not retry one by one after it has
 * failed. */
static void test_handshake_timeout(void **state)
{
    struct server *server = server_start(serve_stall);
    struct driver *driver = driver_new(NULL);
    struct ais_target target;
    struct result results[10];
    char url[64];
    size_t i;

    (void) state;
    snprintf(url, sizeof(url), "https://127.0.0.1:%d", server->port);
    target = target_of(url);
    target.verify_peer = false; /* saves the time to load certificates */
    target.connect_timeout = 150;
    target.retries = 2;
    for (i = 0; i < COUNT(results); i++) {
        fetch(driver, &results[i], &target, credential, "/x");
    }
    DRIVE_UNTIL(driver, ais_client_inflight(driver->client) == 0);
    for (i = 0; i < COUNT(results); i++) {
        expect_fault(&results[i], AIS_FAULT_TIMEOUT, results[0].message);
        assert_true(results[i].elapsed >= 150);
        assert_true(results[i].elapsed - results[0].elapsed < 150);
        assert_int_equal(results[i].calls, 0);
    }
    assert_true(server->connections <= 2); /* the next one in line may have started before it was notified */
    driver_free(driver);
    server_stop(server);
}

/* Sends a byte every few milliseconds, forever. */
static void serve_trickle(struct server *server, int fd, unsigned nth)
{
    (void) nth;
    if (server_request(server, fd)) {
        server_send(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
        while (send(fd, "x", 1, MSG_NOSIGNAL) == 1) {
            usleep(5000);
        }
    }
}

static void expect_timeout(serve_fn serve, void *script, int64_t timeout, unsigned calls, const char *message)
{
    struct server *server = server_bind(serve);
    struct driver *driver = driver_new(NULL);
    struct ais_target target = target_at(server);
    struct result result;

    server->data = script;
    server_run(server);
    target.timeout = timeout;
    target.retries = 2;
    fetch_whole(driver, &result, &target, credential, "/x");
    expect_fault(&result, AIS_FAULT_TIMEOUT, message);
    expect_elapsed(&result, timeout);
    assert_int_equal(result.calls, calls);
    driver_free(driver);
    server_stop(server);
}

static void test_total_timeout(void **state)
{
    (void) state;
    expect_timeout(serve_stall, NULL, 150, 1, "timeout of 150 ms expired while waiting for the response");
    expect_timeout(serve_script, SCRIPT("HTTP/1.1 200 OK\r\nContent-" STALL), 150, 1,
                   "timeout of 150 ms expired while waiting for the response");
    expect_timeout(serve_script, SCRIPT("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc" STALL), 150, 1,
                   "timeout of 150 ms expired while receiving the body of the response");
    expect_timeout(serve_trickle, NULL, 150, 1, "timeout of 150 ms expired while receiving the body of the response");
    expect_timeout(serve_script, SCRIPT(UNAVAILABLE, STALL), 600, 2,
                   "timeout of 600 ms expired while waiting for the response");
}

/* A fetch may have less time than its target allows, but never more. */
static void test_limit(void **state)
{
    struct server *server = server_start(serve_stall);
    struct driver *driver = driver_new(NULL);
    struct ais_target target = target_at(server);
    struct result less;
    struct result more;

    (void) state;
    target.timeout = 400;
    fetch(driver, &less, &target, credential, "/x");
    ais_fetch_limit(less.fetch, 100);
    fetch(driver, &more, &target, credential, "/x");
    ais_fetch_limit(more.fetch, 10000);
    DRIVE_UNTIL(driver, less.done);
    expect_fault(&less, AIS_FAULT_TIMEOUT, "timeout of 400 ms expired while waiting for the response");
    expect_elapsed(&less, 100);
    assert_int_equal(more.done, 0);
    DRIVE_UNTIL(driver, more.done);
    expect_fault(&more, AIS_FAULT_TIMEOUT, "timeout of 400 ms expired while waiting for the response");
    expect_elapsed(&more, 400);
    driver_free(driver);
    server_stop(server);
}

/* The kernel gives up a connection whose peer acknowledges nothing, which takes a quarter of an hour by default. */
static void test_unacknowledged(void **state)
{
    struct server *server = server_start(serve_stall);
    struct driver *driver = driver_new(NULL);
    struct ais_target target = target_at(server);
    struct result result;
    unsigned ms = 0;
    unsigned sockets = 0;
    size_t i;

    (void) state;
    fetch(driver, &result, &target, credential, "/x");
    DRIVE_UNTIL(driver, server->connections == 1 && driver_watched(driver) > 0);
    for (i = 0; i < DRIVER_SOCKETS; i++) {
        socklen_t len = sizeof(ms);

        /* Since 8.20 libcurl has something else to be watched, by which its threads wake it up. */
        if (driver->watches[i].events != 0) {
            sockets += getsockopt(driver->watches[i].fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, &len) == 0;
        }
    }
    assert_int_equal(sockets, 1);
    assert_int_equal(ms, 10000);
    driver_free(driver);
    server_stop(server);
}

/* A fetch that waits in line for a connection also has a deadline. */
static void test_timeout_in_line(void **state)
{
    struct ais_client_options options = {.max_host_connections = 1};
    struct server *server = server_start(serve_stall);
    struct driver *driver = driver_new(&options);
    struct ais_target slow = target_at(server);
    struct ais_target quick = slow;
    struct result first;
    struct result others[3];
    size_t i;

    (void) state;
    slow.timeout = 600;
    quick.timeout = 150;
    fetch(driver, &first, &slow, credential, "/x");
    for (i = 0; i < COUNT(others); i++) {
        fetch(driver, &others[i], &quick, credential, "/x");
    }
    DRIVE_UNTIL(driver, others[0].done && others[1].done && others[2].done);
    for (i = 0; i < COUNT(others); i++) {
        expect_fault(&others[i], AIS_FAULT_TIMEOUT, ""); /* libcurl may be the first to see it, on a busy machine */
        expect_elapsed(&others[i], 150);
        assert_int_equal(others[i].calls, 0);
    }
    assert_int_equal(first.done, 0);
    DRIVE_UNTIL(driver, first.done);
    expect_elapsed(&first, 600);
    assert_int_equal(server->connections, 1);
    driver_free(driver);
    server_stop(server);
}

static void test_unchanged_timer(void **state)
{
    struct server *server = server_start(serve_stall);
    struct driver *driver = driver_new(NULL);
    struct ais_target target = target_at(server);
    struct result result;
    unsigned calls;

    (void) state;
    fetch(driver, &result, &target, credential, "/x");
    assert_true(driver->timer_set);
    drive_for(driver, 300);
    calls = driver->timer_calls;
    drive_for(driver, 200);
    assert_int_equal(driver->timer_calls, calls);
    assert_true(driver->timer_at - clock_ms() > 1000); /* only deadlines are left */

    /* Calls that are early or unnecessary are harmless. */
    driver->timer_set = false;
    driver->inside = true;
    ais_client_timeout(driver->client);
    ais_client_socket(driver->client, 9999, AIS_IN | AIS_OUT);
    driver->inside = false;
    assert_int_equal(result.done, 0);
    assert_true(driver->timer_set);
    driver_free(driver);
    server_stop(server);
}

static void test_name_resolution_stalls(void **state)
{
    struct driver *driver = driver_new(NULL);
    struct ais_target target = target_of("http://stall.test:1/");
    struct result result;
    struct result dropped;
    int64_t start;
    int stalled;

    (void) state;
    resolver_stalls = true;
    target.connect_timeout = 150;
    start = clock_ms();
    fetch_whole(driver, &result, &target, credential, "/x");
    expect_fault(&result, AIS_FAULT_TIMEOUT, "Resolving timed out");
    expect_elapsed(&result, 150);
    assert_true(clock_ms() - start < 1000);

    /* Neither a cancel nor the end of the client waits for the threads. */
    target.connect_timeout = 5000;
    fetch(driver, &result, &target, credential, "/x");
    fetch(driver, &dropped, &target, credential, "/x");
    DRIVE_UNTIL(driver, resolver_threads >= 3); /* since 8.20 libcurl asks for each family by itself */
    start = clock_ms();
    ais_fetch_cancel(dropped.fetch);
    stalled = resolver_threads;
    driver_free(driver);
    assert_true(clock_ms() - start < 1000);
    assert_true(resolver_threads >= stalled);

    resolver_stalls = false;
    while (resolver_threads > 0) {
        usleep(1000);
    }
}

static void test_name_unknown(void **state)
{
    struct driver *driver = driver_new(NULL);
    struct ais_target target = target_of("http://unknown.test:1/");
    struct result result;

    (void) state;
    fetch_whole(driver, &result, &target, credential, "/x");
    expect_fault(&result, AIS_FAULT_CONNECT, "Could not resolve host: unknown.test");
    assert_int_equal(result.calls, 0);
    driver_free(driver);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connect_timeout),
        cmocka_unit_test(test_next_address),
        cmocka_unit_test(test_handshake_timeout),
        cmocka_unit_test(test_total_timeout),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_unacknowledged),
        cmocka_unit_test(test_timeout_in_line),
        cmocka_unit_test(test_unchanged_timer),
        cmocka_unit_test(test_name_resolution_stalls),
        cmocka_unit_test(test_name_unknown),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
