/* The epoll(7) loop: several clients in one thread, timers, and wake-ups from elsewhere. */

#include <signal.h>
#include <sys/resource.h>

#include "driver.h"
#include "server.h"

#include "ais_poll.h"

#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static int set_up(void **state)
{
    (void) state;
    return ais_client_global_init();
}

static int tear_down(void **state)
{
    (void) state;
    ais_client_global_cleanup();
    return 0;
}

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

static struct ais_client *client_of(struct ais_poll *loop)
{
    struct ais_client_options options = {.ca_file = NULL};
    struct ais_error err = {""};
    struct ais_client *client = ais_poll_client(loop, &options, &err);

    if (client == NULL) {
        fail_msg("%s", err.text);
    }
    return client;
}

static struct ais_poll *loop_new(void)
{
    struct ais_error err = {""};
    struct ais_poll *loop = ais_poll_create(&err);

    if (loop == NULL) {
        fail_msg("%s", err.text);
    }
    return loop;
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

static void test_clients_side_by_side(void **state)
{
    enum { CLIENTS = 4, FETCHES = 20 };
    struct server *good = server_start(serve_ok);
    struct server *bad = server_start(serve_stall);
    struct ais_target quick = target_at(good);
    struct ais_target slow = target_at(bad);
    struct ais_poll *loop = loop_new();
    struct counts counts = {0};
    int64_t start = clock_ms();
    int i;
    int k;

    (void) state;
    slow.timeout = 200;
    for (i = 0; i < CLIENTS; i++) {
        struct ais_client *client = client_of(loop);

        for (k = 0; k < FETCHES; k++) {
            assert_non_null(ais_client_fetch(client, &quick, NULL, "/x", on_counted, &counts));
        }
        assert_non_null(ais_client_fetch(client, &slow, NULL, "/x", on_counted, &counts));
    }
    while (counts.ok + counts.timeouts + counts.others < CLIENTS * (FETCHES + 1)) {
        assert_true(clock_ms() - start < 30000);
        ais_poll_wait(loop, -1); /* the timers alone have to end it */
    }
    assert_int_equal(counts.ok, CLIENTS * FETCHES);
    assert_int_equal(counts.timeouts, CLIENTS);
    ais_poll_destroy(loop);
    server_stop(bad);
    server_stop(good);
}

static void test_timeout(void **state)
{
    struct ais_poll *loop = loop_new();
    int64_t start = clock_ms();

    (void) state;
    ais_poll_wait(loop, 0);
    assert_true(clock_ms() - start < 1000);
    start = clock_ms();
    ais_poll_wait(loop, 50);
    assert_true(clock_ms() - start >= 50 && clock_ms() - start < 1000);
    (void) client_of(loop); /* an idle one changes nothing */
    start = clock_ms();
    ais_poll_wait(loop, 50);
    assert_true(clock_ms() - start >= 50 && clock_ms() - start < 1000);
    ais_poll_destroy(loop);
    ais_poll_destroy(NULL);
}

/* While a fetch waits for its answer, the thread sleeps. */
static void test_no_busy_loop(void **state)
{
    struct server *server = server_start(serve_stall);
    struct ais_target target = target_at(server);
    struct ais_poll *loop = loop_new();
    struct counts counts = {0};
    unsigned rounds = 0;

    (void) state;
    target.timeout = 600;
    assert_non_null(ais_client_fetch(client_of(loop), &target, NULL, "/x", on_counted, &counts));
    while (counts.timeouts == 0) {
        ais_poll_wait(loop, -1);
        rounds++;
    }
    assert_true(rounds < 50);
    ais_poll_destroy(loop);
    server_stop(server);
}

static void test_wake_before(void **state)
{
    struct ais_poll *loop = loop_new();
    int64_t start = clock_ms();
    int i;

    (void) state;
    for (i = 0; i < 1000; i++) {
        ais_poll_wake(loop); /* many are one */
    }
    ais_poll_wait(loop, 5000);
    assert_true(clock_ms() - start < 1000);
    start = clock_ms();
    ais_poll_wait(loop, 50);
    assert_true(clock_ms() - start >= 50);
    ais_poll_destroy(loop);
}

static void *wake_later(void *data)
{
    usleep(50000);
    ais_poll_wake(data);
    return NULL;
}

static void test_wake_from_a_thread(void **state)
{
    struct ais_poll *loop = loop_new();
    int64_t start = clock_ms();
    pthread_t thread;

    (void) state;
    assert_int_equal(pthread_create(&thread, NULL, wake_later, loop), 0);
    ais_poll_wait(loop, -1);
    assert_true(clock_ms() - start >= 40 && clock_ms() - start < 1000);
    pthread_join(thread, NULL);
    ais_poll_destroy(loop);
}

static struct ais_poll *alarmed;

static void on_alarm(int number)
{
    (void) number;
    ais_poll_wake(alarmed);
}

static void test_wake_from_a_signal(void **state)
{
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    int64_t start = clock_ms();

    (void) state;
    alarmed = loop_new();
    sigaction(SIGALRM, &action, NULL);
    ualarm(50000, 0);
    ais_poll_wait(alarmed, 5000);
    if (clock_ms() - start < 4000) {
        ais_poll_wait(alarmed, 0); /* the signal itself may have ended the first */
    }
    assert_true(clock_ms() - start < 1000);
    signal(SIGALRM, SIG_DFL);
    ais_poll_destroy(alarmed);
}

static void test_destroy_under_way(void **state)
{
    struct server *server = server_start(serve_stall);
    struct ais_target target = target_at(server);
    struct ais_poll *loop = loop_new();
    struct counts counts = {0};
    int i;

    (void) state;
    for (i = 0; i < 50; i++) {
        assert_non_null(ais_client_fetch(client_of(loop), &target, NULL, "/x", on_counted, &counts));
    }
    for (i = 0; i < 20; i++) {
        ais_poll_wait(loop, 5);
    }
    ais_poll_destroy(loop);
    assert_int_equal(counts.ok + counts.timeouts + counts.others, 0);
    server_stop(server);
}

/* Each callback starts a fetch of another client, while the loop goes through what is ready. */
struct relay {
    struct ais_poll *loop;
    struct ais_client *clients[4];
    struct ais_target target;
    unsigned left;
};

static void on_relay(void *data, const struct ais_response *response)
{
    struct relay *relay = data;
    unsigned i = relay->left % COUNT(relay->clients);

    assert_int_equal(response->status, 200);
    if (relay->left > 0) {
        relay->left--;
        assert_non_null(ais_client_fetch(relay->clients[i], &relay->target, NULL, "/x", on_relay, relay));
        if (relay->left % 10 == 0) {
            (void) client_of(relay->loop); /* a client, too, may be made here */
        }
    }
}

static void test_fetch_for_another_client(void **state)
{
    struct server *server = server_start(serve_ok);
    struct relay relay = {.loop = loop_new(), .target = target_at(server), .left = 100};
    int64_t start = clock_ms();
    size_t i;

    (void) state;
    for (i = 0; i < COUNT(relay.clients); i++) {
        relay.clients[i] = client_of(relay.loop);
    }
    for (i = 0; i < COUNT(relay.clients); i++) {
        assert_non_null(ais_client_fetch(relay.clients[i], &relay.target, NULL, "/x", on_relay, &relay));
    }
    for (;;) {
        size_t inflight = 0;

        for (i = 0; i < COUNT(relay.clients); i++) {
            inflight += ais_client_inflight(relay.clients[i]);
        }
        if (inflight == 0) {
            break;
        }
        assert_true(clock_ms() - start < 30000);
        ais_poll_wait(relay.loop, 1000);
    }
    assert_int_equal(relay.left, 0);
    ais_poll_destroy(relay.loop);
    server_stop(server);
}

static void test_no_descriptors(void **state)
{
    struct ais_error err = {""};
    struct rlimit limit;
    struct rlimit none;

    (void) state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = limit;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_null(ais_poll_create(&err));
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_non_null(strstr(err.text, "eventfd"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clients_side_by_side), cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_no_busy_loop),         cmocka_unit_test(test_wake_before),
        cmocka_unit_test(test_wake_from_a_thread),   cmocka_unit_test(test_wake_from_a_signal),
        cmocka_unit_test(test_destroy_under_way),    cmocka_unit_test(test_fetch_for_another_client),
        cmocka_unit_test(test_no_descriptors),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
