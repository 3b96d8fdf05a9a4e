/* LDFLAGS: -ldl */
/* Every fetch ends exactly once, whether it is cancelled or aborted, or runs out of descriptors or memory. */
#include "fetch_fixture.h"

/* ---- the caller drops a fetch -------------------------------------------------------------------------------- */

static void test_cancel_in_every_phase(void **state)
{
    static const char *const replies[] = {
        STALL, "HTTP/1.1 200 OK\r\nContent-" STALL, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc" STALL,
        UNAVAILABLE, /* the pause before the next try */
    };
    struct result result;
    size_t i;

    (void) state;
    for (i = 0; i < COUNT(replies); i++) {
        struct server *server = script_start(SCRIPT(replies[i]));
        struct driver *driver = driver_new(NULL);
        struct ais_target target = target_at(server);

        target.retries = 2;

        fetch(driver, &result, &target, credential, "/x");
        ais_fetch_cancel(result.fetch); /* before anything has happened */
        assert_int_equal(ais_client_inflight(driver->client), 0);
        assert_false(driver->timer_set);
        drive_for(driver, 5);

        fetch(driver, &result, &target, credential, "/x");
        driver_round(driver, 100); /* during the connect, if it is slow */
        ais_fetch_cancel(result.fetch);

        fetch(driver, &result, &target, credential, "/x");
        DRIVE_UNTIL(driver, server->requests > 0);
        drive_for(driver, 10);
        ais_fetch_cancel(result.fetch);
        assert_int_equal(result.done, 0);
        assert_int_equal(driver_watched(driver), 0);
        assert_false(driver->timer_set);
        driver_free(driver);
        server_stop(server);
    }
}

static void test_cancel_closes_the_connection(void **state)
{
    struct server *server = server_start(serve_stall);
    struct driver *driver = driver_new(NULL);
    struct ais_target target = target_at(server);
    struct result result;

    (void) state;
    fetch(driver, &result, &target, credential, "/x");
    DRIVE_UNTIL(driver, server->connections == 1);
    drive_for(driver, 10);
    ais_fetch_cancel(result.fetch);
    DRIVE_UNTIL(driver, server->closed == 1);
    driver_free(driver);
    server_stop(server);
}

static void test_cancel_in_line(void **state)
{
    struct ais_client_options options = {.max_host_connections = 1};
    struct server *server = script_start(SCRIPT(OK));
    struct driver *driver = driver_new(&options);
    struct ais_target target = target_at(server);
    struct result results[3];

    (void) state;
    fetch(driver, &results[0], &target, credential, "/x");
    fetch(driver, &results[1], &target, credential, "/x");
    fetch(driver, &results[2], &target, credential, "/x");
    driver_round(driver, 0);
    ais_fetch_cancel(results[1].fetch);
    DRIVE_UNTIL(driver, results[0].done && results[2].done);
    expect_ok(&results[0]);
    expect_ok(&results[2]);
    assert_int_equal(results[1].done, 0);
    assert_int_equal(server->connections, 1);
    driver_free(driver);
    server_stop(server);
}

/* A group of fetches; the first one that ends cancels all others. */
struct group {
    struct driver *driver;
    struct ais_fetch *fetches[8];
    unsigned done;
    bool restart;
    struct ais_target target;
    struct result restarted;
};

struct group_member {
    struct group *group;
    size_t index;
};

static void on_group_done(void *data, const struct ais_response *response)
{
    struct group_member *member = data;
    struct group *group = member->group;
    size_t i;

    (void) response;
    group->done++;
    for (i = 0; i < COUNT(group->fetches); i++) {
        if (i != member->index) {
            ais_fetch_cancel(group->fetches[i]);
        }
    }
    if (group->restart) {
        fetch(group->driver, &group->restarted, &group->target, credential, "/x");
    }
}

static void run_group(struct driver *driver, const struct ais_target *target, bool restart, struct ais_target again)
{
    struct group group = {.driver = driver, .restart = restart, .target = again};
    struct group_member members[COUNT(group.fetches)];
    size_t i;

    for (i = 0; i < COUNT(members); i++) {
        members[i] = (struct group_member){&group, i};
        group.fetches[i] = ais_client_fetch(driver->client, target, credential, "/x", on_group_done, &members[i]);
        assert_non_null(group.fetches[i]);
    }
    DRIVE_UNTIL(driver, group.done > 0 && (!restart || group.restarted.done));
    drive_for(driver, 20);
    assert_int_equal(group.done, 1);
    assert_int_equal(ais_client_inflight(driver->client), 0);
    if (restart) {
        expect_ok(&group.restarted);
    }
}

static void test_cancel_from_callback(void **state)
{
    struct server *server = script_start(SCRIPT(OK));
    struct driver *driver = driver_new(NULL);
    struct ais_target good = target_at(server);
    struct ais_target refused = target_of("http://unix:/nonexistent/api.sock:/");
    struct server *silent = server_start(serve_stall);
    struct ais_target stalled = target_at(silent);
    int restart;

    (void) state;
    stalled.timeout = 50;
    for (restart = 0; restart < 2; restart++) {
        run_group(driver, &good, restart, good);
        run_group(driver, &refused, restart, good); /* all end in a single libcurl call */
        run_group(driver, &stalled, restart, good); /* all have the same deadline */
    }
    driver_free(driver);
    server_stop(silent);
    server_stop(server);
}

/* A sequence of fetches, each started by the callback of the previous one. */
struct chain {
    struct driver *driver;
    struct ais_target target;
    unsigned left;
    unsigned ok;
};

static void on_link_done(void *data, const struct ais_response *response)
{
    struct chain *chain = data;

    chain->ok += response->fault == AIS_FAULT_NONE && response->status == 200;
    if (--chain->left > 0) {
        assert_non_null(ais_client_fetch(chain->driver->client, &chain->target, credential, "/x", on_link_done, chain));
    }
}

static void test_fetch_from_callback(void **state)
{
    struct server *server = script_start(SCRIPT(OK));
    struct driver *driver = driver_new(NULL);
    struct chain chain = {.driver = driver, .target = target_at(server), .left = 100};

    (void) state;
    assert_non_null(ais_client_fetch(driver->client, &chain.target, credential, "/x", on_link_done, &chain));
    DRIVE_UNTIL(driver, chain.left == 0);
    assert_int_equal(chain.ok, 100);
    assert_int_equal(server->connections, 1);
    driver_free(driver);
    server_stop(server);
}

static void on_aborted(void *data, const struct ais_response *response)
{
    struct group *group = data;

    assert_int_equal(response->fault, AIS_FAULT_INTERNAL);
    assert_string_equal(response->message, "aborted: the process is shutting down");
    group->done++;
    if (group->restart && group->restarted.fetch == NULL) {
        fetch(group->driver, &group->restarted, &group->target, credential, "/x");
    }
}

static void test_abort(void **state)
{
    struct ais_client_options options = {.max_host_connections = 2};
    struct server *server = script_start(SCRIPT(UNAVAILABLE, STALL, STALL, STALL));
    struct server *good = script_start(SCRIPT(OK));
    struct driver *driver = driver_new(&options);
    struct group group = {.driver = driver, .restart = true, .target = target_at(good)};
    struct ais_target target = target_at(server);
    int i;

    (void) state;
    target.retries = 1;
    for (i = 0; i < 5; i++) {
        assert_non_null(ais_client_fetch(driver->client, &target, credential, "/x", on_aborted, &group));
    }
    DRIVE_UNTIL(driver, server->requests >= 3);
    ais_client_abort(driver->client);
    assert_int_equal(group.done, 5);
    assert_int_equal(ais_client_inflight(driver->client), 1); /* the fetch that a callback started */
    DRIVE_UNTIL(driver, group.restarted.done);
    expect_ok(&group.restarted);

    ais_client_abort(driver->client); /* nothing to do */
    assert_false(driver->timer_set);
    driver_free(driver);
    server_stop(good);
    server_stop(server);
}

static void test_destroy(void **state)
{
    struct server *server =
        script_start(SCRIPT(UNAVAILABLE, STALL, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc" STALL));
    struct ais_client_options options = {.max_host_connections = 3};
    struct driver *driver = driver_new(&options);
    struct ais_target target = target_at(server);
    struct result results[6];
    size_t i;

    (void) state;
    ais_client_destroy(NULL);
    target.retries = 1;
    for (i = 0; i < COUNT(results); i++) {
        fetch(driver, &results[i], &target, credential, "/x");
    }
    DRIVE_UNTIL(driver, server->requests >= 3);
    driver_free(driver);
    for (i = 0; i < COUNT(results); i++) {
        assert_int_equal(results[i].done, 0);
    }
    server_stop(server);
}

/* ---- failures of the driver ---------------------------------------------------------------------------------- */

static void test_unwatchable_socket(void **state)
{
    struct server *server = script_start(SCRIPT(OK));
    struct driver *driver = driver_new(NULL);
    struct ais_target target = target_at(server);
    struct result kept;
    struct result result;
    struct result after;
    unsigned n;

    (void) state;
    target.retries = 2;
    /* The nth watch fails: for connecting, for reading, and others that may not happen. */
    for (n = 1; n <= 4; n++) {
        fetch(driver, &kept, &target, credential, "/x");
        while (driver_watched(driver) == 0 && !kept.done) {
            driver_round(driver, 5);
        }
        driver->refuse_from = driver->watch_calls + n;
        driver->refuse_to = driver->refuse_from;
        fetch(driver, &result, &target, credential, "/x");
        DRIVE_UNTIL(driver, result.done && kept.done);
        assert_int_equal(kept.done, 1);
        assert_int_equal(result.done, 1);
        if (n == 1) {
            assert_true(kept.fault == AIS_FAULT_INTERNAL || result.fault == AIS_FAULT_INTERNAL);
        }
        if (result.fault != AIS_FAULT_NONE) {
            expect_fault(&result, AIS_FAULT_INTERNAL, "out of connections");
            assert_int_equal(result.calls <= 1, 1);
        }
        driver->refuse_from = 0;
        fetch_whole(driver, &after, &target, credential, "/x");
        expect_ok(&after);
    }
    driver_free(driver);
    server_stop(server);
}

static void test_no_descriptors(void **state)
{
    struct server *server = script_start(SCRIPT(OK));
    struct driver *driver = driver_new(NULL);
    struct ais_target target = target_at(server);
    struct result result;
    struct rlimit limit;
    struct rlimit none;

    (void) state;
    target.retries = 2;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = limit;
    none.rlim_cur = 0;
    fetch(driver, &result, &target, credential, "/x");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    driver_round(driver, 0);
    driver_round(driver, 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    expect_fault(&result, AIS_FAULT_INTERNAL, "too many open files");

    fetch_whole(driver, &result, &target, credential, "/x");
    expect_ok(&result);
    driver_free(driver);
    server_stop(server);
}

/* ---- the credential ------------------------------------------------------------------------------------------ */

static void test_headers_are_wiped(void **state)
{
    struct server *server = script_start(SCRIPT(OK));
    struct driver *driver = driver_new(NULL);
    struct ais_target target = target_at(server);
    struct result result;
    unsigned made = headers_made;
    unsigned freed = headers_freed;

    (void) state;
    fetch_whole(driver, &result, &target, credential, "/x");
    assert_true(headers_made - made >= 1);
    assert_int_equal(headers_freed - freed, headers_made - made);

    fetch(driver, &result, &target, credential, "/x");
    ais_fetch_cancel(result.fetch);
    assert_int_equal(headers_freed - freed, headers_made - made);

    fetch(driver, &result, &target, credential, "/x");
    driver_free(driver);
    assert_int_equal(headers_freed - freed, headers_made - made);
    assert_int_equal(headers_freed_unwiped, 0); /* in all tests so far */
    server_stop(server);
}

/* ---- memory -------------------------------------------------------------------------------------------------- */

/* From the nth libcurl allocation on, one or all fail: the fetch may fail, but it must end, and the next one must
 * work. */
static bool fetch_short_of_memory(const struct ais_target *target, unsigned n, bool shortage)
{
    struct driver *driver = driver_new(NULL);
    struct ais_target hurried = *target;
    struct result result = {.driver = driver};
    bool failed;

    hurried.timeout = 200;
    memory_shortage = shortage;
    memory_fails_in = n;
    result.fetch = ais_client_fetch(driver->client, &hurried, credential, "/x", on_done, &result);
    if (result.fetch != NULL) {
        DRIVE_UNTIL(driver, result.done);
    }
    memory_fails_in = 0;
    failed = result.done == 0 || result.fault != AIS_FAULT_NONE;
    assert_int_equal(ais_client_inflight(driver->client), 0);

    fetch_whole(driver, &result, target, credential, "/x");
    expect_ok(&result);
    driver_free(driver);
    return failed;
}

static void test_out_of_memory(void **state)
{
    struct server *server = script_start(SCRIPT(OK));
    struct ais_target target = target_at(server);
    unsigned n;

    (void) state;
    assert_true(fetch_short_of_memory(&target, 1, false));
    for (n = 1; fetch_short_of_memory(&target, n, true); n++) {
        (void) fetch_short_of_memory(&target, n, false);
    }
    assert_true(n > 30);
    server_stop(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cancel_in_every_phase),
        cmocka_unit_test(test_cancel_closes_the_connection),
        cmocka_unit_test(test_cancel_in_line),
        cmocka_unit_test(test_cancel_from_callback),
        cmocka_unit_test(test_fetch_from_callback),
        cmocka_unit_test(test_abort),
        cmocka_unit_test(test_destroy),
        cmocka_unit_test(test_unwatchable_socket),
        cmocka_unit_test(test_no_descriptors),
        cmocka_unit_test(test_headers_are_wiped),
        cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
