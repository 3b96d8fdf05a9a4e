/* LDFLAGS: -ldl */
/* A fetch over plain HTTP: the request that is sent, and the response that is read. */
#include "fetch_fixture.h"

/* ---- the request --------------------------------------------------------------------------------------------- */

/* Exactly these lines, in any order. */
static void expect_request(const char *request, const char *const *lines, size_t n)
{
    size_t total = 2; /* the empty line */
    size_t i;

    for (i = 0; i < n; i++) {
        const char *at = strstr(request, lines[i]);

        if (at == NULL || (at != request && at[-1] != '\n') || strncmp(at + strlen(lines[i]), "\r\n", 2) != 0) {
            fail_msg("no line \"%s\" in:\n%s", lines[i], request);
        }
        total += strlen(lines[i]) + 2;
    }
    if (strlen(request) != total) {
        fail_msg("more than that in:\n%s", request);
    }
}

/* A request for path has exactly these lines, and the ones that each request has. */
static void check_request(const struct ais_credential *cred, const char *path, const char *const *own, size_t n)
{
    struct server *server = script_start(SCRIPT(OK));
    struct driver *driver = driver_new(NULL);
    struct ais_target target = target_at(server);
    struct result result;
    char host[64];
    const char *lines[8] = {host, "User-Agent: aisearch-jobs/" AIS_VERSION, "Accept: application/json"};

    assert_true(3 + n <= COUNT(lines));
    memcpy(lines + 3, own, n * sizeof(*own));
    snprintf(host, sizeof(host), "Host: 127.0.0.1:%d", server->port);
    fetch_whole(driver, &result, &target, cred, path);
    expect_ok(&result);
    assert_int_equal(result.calls, 1);
    expect_request(server_last(server), lines, 3 + n);
    driver_free(driver);
    server_stop(server);
}

static void test_request(void **state)
{
    const char *lines[] = {
        "GET /client/v4/accounts/0/ai-search/instances/a/jobs?page=2&per_page=50 HTTP/1.1",
        ("Authorization: Bearer " TOKEN),
    };

    (void) state;
    check_request(credential, "/accounts/0/ai-search/instances/a/jobs?page=2&per_page=50", lines, COUNT(lines));
}

static void test_request_without_credential(void **state)
{
    const char *lines[] = {"GET /client/v4/a/../b HTTP/1.1"};

    (void) state;
    check_request(NULL, "/a/../b", lines, COUNT(lines));
}

static void test_request_with_email_and_key(void **state)
{
    struct ais_credential *key;
    const char *lines[] = {
        "GET /client/v4/x HTTP/1.1",
        "X-Auth-Email: user@example.com",
        ("X-Auth-Key: " TOKEN),
    };
    FILE *f = fopen(path_of("key"), "w");

    (void) state;
    assert_non_null(f);
    fputs(TOKEN, f);
    fclose(f);
    key = ais_credential_email_key("user@example.com", path_of("key"), NULL);
    unlink(path_of("key"));
    assert_non_null(key);

    check_request(key, "/x", lines, COUNT(lines));
    ais_credential_free(key);
}

static void test_unix_socket(void **state)
{
    struct server *server = server_start_unix(serve_script, path_of("api.sock"));
    struct driver *driver = driver_new(NULL);
    struct ais_target target;
    struct result result;
    char url[256];

    (void) state;
    server->data = SCRIPT(OK);
    snprintf(url, sizeof(url), "http://unix:%s:/base", path_of("api.sock"));
    target = target_of(url);
    target.proxy = "http://127.0.0.1:1"; /* unusual, but harmless */
    fetch_whole(driver, &result, &target, credential, "/x");
    expect_ok(&result);
    assert_non_null(strstr(server_last(server), "GET /base/x HTTP/1.1\r\nHost: localhost\r\n"));
    driver_free(driver);
    server_stop(server);
    unlink(path_of("api.sock"));
}

/* ---- the response -------------------------------------------------------------------------------------------- */

/* How far the wall clock is ahead of the monotonic clock. */
static int64_t time_offset(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000 - clock_ms();
}

static void test_answer_fields(void **state)
{
    struct result result;

    (void) state;
    fetch_script(&result,
                 SCRIPT("HTTP/1.1 103 Early Hints\r\nAge: 77\r\nRetry-After: 78\r\n\r\n"
                        "HTTP/1.1 404 Not Found\r\nage:  12 \r\nRETRY-AFTER: 30\r\nx-RateLimit-Remaining: 1187\r\n"
                        "X-RateLimit-Reset: Mon, 23 Nov 2026 12:00:00 GMT\r\nX-Aisearch-Cache: HIT\r\n"
                        "Transfer-Encoding: chunked\r\n\r\n"
                        "7\r\nabc\ndef\r\n0\r\nAge: 99\r\nX-Aisearch-Cache: MISS\r\n\r\n"),
                 2, 0);
    assert_int_equal(result.fault, AIS_FAULT_NONE);
    assert_int_equal(result.status, 404);
    assert_string_equal(result.body, "abc\ndef");
    assert_int_equal(result.age, 12000);
    assert_int_equal(result.retry_after, 30000);
    assert_int_equal(result.limits.n, 1);
    assert_string_equal(result.limits.items[0].name, "");
    assert_int_equal(result.limits.items[0].left, 1187);
    /* on the monotonic clock: some time in the past or future */
    assert_uint_in_range(result.limits.items[0].reset_at + time_offset() - INT64_C(1795435200000) + 1000, 0, 2000);
    assert_string_equal(result.cache, "HIT");
    assert_int_equal(result.calls, 1);
}

/* Of the final header only; lines of one field are joined; the old names are used if the new ones are missing. */
static void test_answer_limits(void **state)
{
    int64_t before = clock_ms();
    struct result result;

    (void) state;
    fetch_script(&result,
                 SCRIPT("HTTP/1.1 103 Early Hints\r\nRatelimit: \"early\";r=1;t=1\r\n\r\n"
                        "HTTP/1.1 200 OK\r\nRatelimit: \"default\";r=50;t=30\r\nX-Ratelimit-Remaining: 10\r\n"
                        "RateLimit-Policy: \"default\";q=1200;w=300\r\nratelimit:\"burst\";r=3;t=1\r\n"
                        "Transfer-Encoding: chunked\r\n\r\n10\r\n" OK_BODY "\r\n0\r\nRatelimit: \"late\";r=0;t=1\r\n"
                        "\r\n"),
                 0, 0);
    expect_ok(&result);
    assert_int_equal(result.limits.n, 2);
    assert_string_equal(result.limits.items[0].name, "default");
    assert_int_equal(result.limits.items[0].left, 50);
    assert_uint_in_range(result.limits.items[0].reset_at, before + 30000, clock_ms() + 30000);
    assert_int_equal(result.limits.items[0].quota, 1200);
    assert_int_equal(result.limits.items[0].window, 300000);
    assert_string_equal(result.limits.items[1].name, "burst");
    assert_int_equal(result.limits.items[1].left, 3);
    assert_uint_in_range(result.limits.uncertain, 0, clock_ms() - before);
}

/* A field that does not fit is ignored as a whole. */
static void test_long_answer_limits(void **state)
{
    static const char joined[] = "\"default\";r=50;t=30,\"burst\";r=3;t=1,\"third\";r=2;t=1";
    int room = 512 - (int) strlen(joined);
    char reply[2048];
    struct result result;

    (void) state;
    for (int padding = room - 1; padding <= room + 1; padding++) {
        snprintf(reply, sizeof(reply),
                 "HTTP/1.1 200 OK\r\nRatelimit: \"default\";r=50;t=30\r\nRatelimit: %*s\"burst\";r=3;t=1\r\n"
                 "Ratelimit: \"third\";r=2;t=1\r\nContent-Length: 16\r\n\r\n" OK_BODY,
                 -padding, "\"wide\";r=9;t=2,");
        fetch_script(&result, SCRIPT(reply), 0, 0);
        expect_ok(&result);
        assert_int_equal(result.limits.n, padding <= room ? 4 : 0);
    }
}

static void test_no_answer_fields(void **state)
{
    struct result result;

    (void) state;
    fetch_script(&result, SCRIPT("HTTP/1.1 103 Early Hints\r\nAge: 7\r\nX-Aisearch-Cache: HIT\r\n\r\n" OK), 0, 0);
    expect_ok(&result);
    assert_int_equal(result.age, -1);
    assert_int_equal(result.retry_after, -1);
    assert_int_equal(result.limits.n, 0);
    assert_string_equal(result.cache, "");
}

static void test_odd_answer_fields(void **state)
{
    static const char *const fields[] = {
        "Age: -1\r\nX-Ratelimit-Remaining: 1e3\r\nX-Ratelimit-Reset: soon\r\nRetry-After: never\r\n",
        "Age:\r\nX-Ratelimit-Remaining: \r\nX-Ratelimit-Reset:\r\nRetry-After:\r\nX-Aisearch-Cache:\r\n",
        "Age: 1 2\r\nX-Aisearch-Cache: hit\r\nAgent: 7\r\n",
        "X-Age: 1\r\nX-Aisearch-Cache: ABCDEFGHIJKLMNOP\r\n",
    };
    size_t i;

    (void) state;
    for (i = 0; i < COUNT(fields); i++) {
        struct result result;
        char reply[1024];

        snprintf(reply, sizeof(reply), "HTTP/1.1 200 OK\r\n%sContent-Length: 16\r\n\r\n" OK_BODY, fields[i]);
        fetch_script(&result, SCRIPT(reply), 0, 0);
        expect_ok(&result);
        assert_int_equal(result.age, -1);
        assert_int_equal(result.retry_after, -1);
        assert_int_equal(result.limits.n, 0);
        assert_string_equal(result.cache, "");
    }
}

static void test_great_answer_fields(void **state)
{
    struct result result;

    (void) state;
    fetch_script(&result,
                 SCRIPT("HTTP/1.1 200 OK\r\nAge: 99999999999999999999999999\r\nX-Ratelimit-Remaining: "
                        "99999999999999999999\r\nRetry-After: 99999999999999999999\r\nX-Aisearch-Cache: "
                        "ABCDEFGHIJKLMNO\r\nContent-Length: 16\r\n\r\n" OK_BODY),
                 0, 0);
    expect_ok(&result);
    assert_int_equal(result.age, (INT64_C(1) << 31) * 1000);
    assert_int_equal(result.limits.n, 1);
    assert_int_equal(result.limits.items[0].left, INT32_MAX);
    assert_int_equal(result.retry_after, 24 * 3600 * 1000);
    assert_string_equal(result.cache, "ABCDEFGHIJKLMNO");
}

static void test_statuses(void **state)
{
    static const int statuses[] = {200, 201, 204, 206, 301, 302, 304, 307, 308, 400, 401, 403, 404, 407, 418, 429, 511};
    size_t i;

    (void) state;
    for (i = 0; i < COUNT(statuses); i++) {
        struct result result;
        char reply[256];

        snprintf(reply, sizeof(reply), "HTTP/1.1 %d Whatever\r\nContent-Length: 0\r\n\r\n", statuses[i]);
        fetch_script(&result, SCRIPT(reply), 2, 0);
        assert_int_equal(result.fault, AIS_FAULT_NONE);
        assert_int_equal(result.status, statuses[i]);
        assert_int_equal(result.calls, 1);
        assert_int_equal(result.body_len, 0);
    }
}

static void test_redirect_is_not_followed(void **state)
{
    struct server *other = script_start(SCRIPT(OK));
    struct result result;
    char reply[256];

    (void) state;
    snprintf(reply, sizeof(reply), "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n",
             other->port);
    fetch_script(&result, SCRIPT(reply), 2, 0);
    assert_int_equal(result.status, 302);
    assert_int_equal(other->connections, 0);
    server_stop(other);
}

static void test_body_of_any_bytes(void **state)
{
    struct result result;

    (void) state;
    /* Without a length, the body ends with the connection. */
    fetch_script(&result, SCRIPT("HTTP/1.1 200 OK\r\n\r\n\x7f\xff{}" CLOSE), 0, 0);
    assert_int_equal(result.fault, AIS_FAULT_NONE);
    assert_string_equal(result.body, "\x7f\xff{}");

    /* A content encoding that was not requested is passed on unchanged. */
    fetch_script(&result, SCRIPT("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08"),
                 0, 0);
    assert_int_equal(result.fault, AIS_FAULT_NONE);
    assert_string_equal(result.body, "\x1f\x8b\x08");
}

static void test_body_cap(void **state)
{
    struct result result;

    (void) state;
    fetch_script(&result, SCRIPT(OK), 0, 16);
    expect_ok(&result);
    fetch_script(&result, SCRIPT(OK), 2, 15);
    expect_fault(&result, AIS_FAULT_BODY, "the response is larger than 15 bytes");
    assert_int_equal(result.calls, 1);

    fetch_script(&result, SCRIPT("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), 0, 3);
    assert_string_equal(result.body, "abc");
    fetch_script(&result, SCRIPT("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n" STALL),
                 2, 3);
    expect_fault(&result, AIS_FAULT_BODY, "the response is larger than 3 bytes");
    assert_int_equal(result.calls, 1);

    fetch_script(&result, SCRIPT("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" STALL), 0, 0);
    expect_fault(&result, AIS_FAULT_BODY, "the response is larger than 1048576 bytes");
}

/* An endless body. */
static void serve_flood(struct server *server, int fd, unsigned nth)
{
    static const char chunk[] = "4\r\nabcd\r\n";

    (void) nth;
    if (server_request(server, fd)) {
        server_send(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while (send(fd, chunk, strlen(chunk), MSG_NOSIGNAL) > 0) {
        }
    }
}

static void test_endless_body(void **state)
{
    struct server *server = server_start(serve_flood);
    struct driver *driver = driver_new(NULL);
    struct ais_target target = target_at(server);
    struct result result;

    (void) state;
    target.body_max = 100000;
    fetch_whole(driver, &result, &target, credential, "/x");
    expect_fault(&result, AIS_FAULT_BODY, "the response is larger than 100000 bytes");
    driver_free(driver);
    server_stop(server);
}

/* A chunk whose data never begins. */
static void serve_extension(struct server *server, int fd, unsigned nth)
{
    char extension[65536];

    (void) nth;
    memset(extension, 'x', sizeof(extension));
    if (server_request(server, fd)) {
        server_send(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;");
        while (send(fd, extension, sizeof(extension), MSG_NOSIGNAL) > 0) {
        }
    }
}

static void test_flood(void **state)
{
    struct server *hostile = server_start(serve_extension);
    struct server *honest = script_start(SCRIPT(OK));
    struct driver *driver = driver_new(NULL);
    struct ais_target target = target_at(hostile);
    struct ais_target other = target_at(honest);
    struct result results[4];
    int64_t begin;
    size_t i;

    (void) state;
    target.retries = 2;
    target.timeout = 30000;
    fetch_whole(driver, &results[0], &target, credential, "/x");
    expect_fault(&results[0], AIS_FAULT_BODY, "the connection was flooded: ");
    assert_int_equal(results[0].calls, 1);

    begin = clock_ms();

    /* The origin is paused, and then gets one try at a time. Other origins do not wait. */
    for (i = 1; i < COUNT(results); i++) {
        fetch(driver, &results[i], &target, credential, "/x");
    }
    fetch_whole(driver, &results[0], &other, credential, "/x");
    expect_ok(&results[0]);
    for (i = 1; i < COUNT(results); i++) {
        assert_int_equal(results[i].done, 0);
    }
    DRIVE_UNTIL(driver, results[1].done + results[2].done + results[3].done == 3);
    assert_true(clock_ms() - begin >= 700);
    for (i = 1; i < COUNT(results); i++) {
        expect_fault(&results[i], AIS_FAULT_BODY, "the connection was flooded: ");
    }
    assert_int_equal(hostile->connections, 4);
    driver_free(driver);
    server_stop(hostile);
    server_stop(honest);
}

static void test_large_body(void **state)
{
    struct result result;
    size_t len = AIS_BODY_MAX;
    char *reply = malloc(len + 256);
    int header;

    (void) state;
    assert_non_null(reply);
    header = sprintf(reply, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", len);
    memset(reply + header, 'x', len);
    reply[(size_t) header + len] = '\0';
    fetch_script(&result, SCRIPT(reply), 0, 0);
    assert_int_equal(result.fault, AIS_FAULT_NONE);
    assert_int_equal(result.body_len, len);
    free(reply);
}

static void test_broken_answers(void **state)
{
    static const struct {
        const char *reply;
        enum ais_fault fault;
    } cases[] = {
        {CLOSE, AIS_FAULT_CONNECT},
        {"HTTP/1.1 200 OK\r\nContent-Le" CLOSE, AIS_FAULT_SERVER},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" CLOSE, AIS_FAULT_SERVER},
        {"HTTP/1.1 103 Early Hints\r\n\r\n" CLOSE, AIS_FAULT_SERVER},
        {"SSH-2.0-OpenSSH_9.2\r\n" CLOSE, AIS_FAULT_SERVER},
        {"\x15\x03\x01\x00\x02\x02\x16" CLOSE, AIS_FAULT_SERVER},
        {"<html>Hello</html>" STALL, AIS_FAULT_SERVER},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc" CLOSE, AIS_FAULT_BODY},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" CLOSE, AIS_FAULT_BODY},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc" CLOSE, AIS_FAULT_BODY},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n" CLOSE, AIS_FAULT_BODY},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n" STALL, AIS_FAULT_BODY},
        {"HTTP/1.1 200 OK\r\nContent-Length: minus\r\n\r\nabc" STALL, AIS_FAULT_SERVER},
    };
    size_t i;

    (void) state;
    for (i = 0; i < COUNT(cases); i++) {
        struct result result;

        fetch_script(&result, SCRIPT(cases[i].reply), 0, 0);
        if (result.fault != cases[i].fault) {
            fail_msg("case %zu: %s: %s", i, ais_fault_name(result.fault), result.message);
        }
        expect_fault(&result, cases[i].fault, "");
        assert_int_equal(result.calls, 1);
    }
}

static void serve_header_flood(struct server *server, int fd, unsigned nth)
{
    (void) nth;
    if (server_request(server, fd)) {
        server_send(fd, "HTTP/1.1 200 OK\r\n");
        while (send(fd, "X-Filler: abcdefghijklmnopqrstuvwxyz\r\n", 38, MSG_NOSIGNAL) > 0) {
        }
    }
}

static void serve_long_header(struct server *server, int fd, unsigned nth)
{
    (void) nth;
    if (server_request(server, fd)) {
        server_send(fd, "HTTP/1.1 200 OK\r\nX-Filler: ");
        while (send(fd, "abcdefghijklmnopqrstuvwxyz", 26, MSG_NOSIGNAL) > 0) {
        }
    }
}

static void serve_interim_flood(struct server *server, int fd, unsigned nth)
{
    (void) nth;
    if (server_request(server, fd)) {
        while (send(fd, "HTTP/1.1 103 Early Hints\r\nX-A: b\r\n\r\n", 36, MSG_NOSIGNAL) > 0) {
        }
    }
}

static void test_endless_headers(void **state)
{
    static const serve_fn floods[] = {serve_header_flood, serve_long_header, serve_interim_flood};
    size_t i;

    (void) state;
    for (i = 0; i < COUNT(floods); i++) {
        struct server *server = server_start(floods[i]);
        struct driver *driver = driver_new(NULL);
        struct ais_target target = target_at(server);
        struct result result;

        target.timeout = 500;
        fetch_whole(driver, &result, &target, credential, "/x");
        if (result.fault != AIS_FAULT_SERVER && result.fault != AIS_FAULT_TIMEOUT) {
            fail_msg("flood %zu: %s: %s", i, ais_fault_name(result.fault), result.message);
        }
        driver_free(driver);
        server_stop(server);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request),
        cmocka_unit_test(test_request_without_credential),
        cmocka_unit_test(test_request_with_email_and_key),
        cmocka_unit_test(test_unix_socket),
        cmocka_unit_test(test_answer_fields),
        cmocka_unit_test(test_answer_limits),
        cmocka_unit_test(test_long_answer_limits),
        cmocka_unit_test(test_no_answer_fields),
        cmocka_unit_test(test_odd_answer_fields),
        cmocka_unit_test(test_great_answer_fields),
        cmocka_unit_test(test_statuses),
        cmocka_unit_test(test_redirect_is_not_followed),
        cmocka_unit_test(test_body_of_any_bytes),
        cmocka_unit_test(test_body_cap),
        cmocka_unit_test(test_endless_body),
        cmocka_unit_test(test_flood),
        cmocka_unit_test(test_large_body),
        cmocka_unit_test(test_broken_answers),
        cmocka_unit_test(test_endless_headers),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
