/*
 * The client over plain HTTP: what it sends, what it reads, how long it takes, and that every fetch ends exactly once,
 * whatever the server, the caller and the clock do.
 */
/* LDFLAGS: -ldl */

#define _GNU_SOURCE /* for RTLD_NEXT */
#include <dlfcn.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/resource.h>

#include "driver.h"
#include "server.h"

#include <curl/curl.h>

#include "ais_credential.h"
#include "ais_version.h"

#define TOKEN "canary-token-0123456789"

#define OK_BODY "{\"success\":true}"
#define OK "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n" OK_BODY
#define UNAVAILABLE "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"
#define MISDIRECTED "HTTP/1.1 421 Misdirected Request\r\nContent-Length: 4\r\n\r\noops"
#define TOO_MANY "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 4\r\n\r\nbusy"

/* At the end of a reply: what the server does next, if it does not wait for the next request. */
#define CLOSE "\001"
#define STALL "\002"

static char dir[] = "/tmp/ais-client-XXXXXX";

/* ---- names: the test stands between libcurl and the resolver ------------------------------------------------- */

static atomic_bool resolver_stalls;
static atomic_int resolver_threads;

static int real_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **res)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

    *(void **) &real = dlsym(RTLD_NEXT, "getaddrinfo");
    return real(node, service, hints, res);
}

/* 127.0.0.2, then 127.0.0.1. */
static int two_addresses(const char *service, struct addrinfo **res)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM};
    int rc = real_getaddrinfo("127.0.0.2", service, &hints, res);

    return rc != 0 ? rc : real_getaddrinfo("127.0.0.1", service, &hints, &(*res)->ai_next);
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **res)
{
    if (node != NULL && strcmp(node, "unknown.test") == 0) {
        return EAI_NONAME;
    }
    if (node != NULL && strcmp(node, "two.test") == 0) {
        return two_addresses(service, res);
    }
    if (node != NULL && strcmp(node, "stall.test") == 0) {
        resolver_threads++;
        while (resolver_stalls) {
            usleep(1000);
        }
        resolver_threads--;
        return EAI_NONAME;
    }
    return real_getaddrinfo(node, service, hints, res);
}

/* ---- libcurl's memory: the test sees how headers with a credential are freed --------------------------------- */

static void *header_blocks[64];
static pthread_t main_thread; /* libcurl has other threads, which do not handle headers */
static unsigned headers_made;
static unsigned headers_freed;
static unsigned headers_freed_unwiped;

static bool is_secret(const char *text)
{
    return strncmp(text, "Authorization: ", 15) == 0 || strncmp(text, "X-Auth-", 7) == 0;
}

/* Counts down to the allocation that fails, and all later ones if there is a shortage; 0: none fails. */
static unsigned memory_fails_in;
static bool memory_shortage;

static bool memory_fails(void)
{
    if (!pthread_equal(pthread_self(), main_thread) || memory_fails_in == 0 || --memory_fails_in > 0) {
        return false;
    }
    memory_fails_in = memory_shortage;
    return true;
}

static void *memory_malloc(size_t size)
{
    return memory_fails() ? NULL : malloc(size);
}

static void *memory_calloc(size_t n, size_t size)
{
    return memory_fails() ? NULL : calloc(n, size);
}

static void *memory_realloc(void *p, size_t size)
{
    return memory_fails() ? NULL : realloc(p, size);
}

static char *memory_strdup(const char *text)
{
    char *copy = memory_fails() ? NULL : strdup(text);

    if (copy != NULL && pthread_equal(pthread_self(), main_thread) && is_secret(text)) {
        header_blocks[headers_made++ % COUNT(header_blocks)] = copy;
    }
    return copy;
}

static void note_free(const char *block)
{
    size_t i;

    for (i = 0; i < COUNT(header_blocks); i++) {
        if (header_blocks[i] == block) {
            header_blocks[i] = NULL;
            headers_freed++;
            headers_freed_unwiped += block[0] != '\0' || block[15] != '\0';
        }
    }
}

static void memory_free(void *p)
{
    if (p != NULL && pthread_equal(pthread_self(), main_thread)) {
        note_free(p);
    }
    free(p);
}

/* ---- common to all tests ------------------------------------------------------------------------------------- */

static struct ais_credential *credential;

static const char *path_of(const char *name)
{
    static char path[sizeof(dir) + 64];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static int set_up(void **state)
{
    struct ais_error err = {""};
    FILE *f;

    (void) state;
    if (mkdtemp(dir) == NULL) {
        return -1;
    }
    f = fopen(path_of("token"), "w");
    if (f == NULL || fputs(TOKEN "\n", f) == EOF || fclose(f) != 0) {
        return -1;
    }
    credential = ais_credential_token(path_of("token"), &err);
    unlink(path_of("token"));

    main_thread = pthread_self();

    /* The environment must have no effect. */
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("https_proxy", "http://127.0.0.1:1", 1);
    setenv("all_proxy", "http://127.0.0.1:1", 1);
    setenv("no_proxy", "nowhere", 1);

    if (curl_global_init_mem(CURL_GLOBAL_DEFAULT, memory_malloc, memory_free, memory_realloc, memory_strdup,
                             memory_calloc) != CURLE_OK) {
        return -1;
    }
    return credential != NULL && ais_client_global_init() == 0 ? 0 : -1;
}

static int tear_down(void **state)
{
    (void) state;
    ais_client_global_cleanup();
    curl_global_cleanup();
    ais_credential_free(credential);
    return rmdir(dir);
}

/* Answers the server's nth request with the nth string of server->data, and all later ones with the last. */
static void serve_script(struct server *server, int fd, unsigned nth)
{
    const char *const *script = server->data;

    (void) nth;
    while (server_request(server, fd)) {
        unsigned last = 0;
        unsigned n = server->requests - 1;
        const char *reply;
        char end;

        while (script[last + 1] != NULL) {
            last++;
        }
        reply = script[n < last ? n : last];
        end = reply[0] != '\0' ? reply[strlen(reply) - 1] : '\0';
        if (end == CLOSE[0] || end == STALL[0]) {
            char *text = strndup(reply, strlen(reply) - 1);

            server_send(fd, text);
            free(text);
            if (end == STALL[0]) {
                server_linger(server, fd);
            }
            return;
        }
        server_send(fd, reply);
    }
}

#define SCRIPT(...) ((void *) (const char *const[]){__VA_ARGS__, NULL})

static struct server *script_start(void *script)
{
    struct server *server = server_bind(serve_script);

    server->data = script;
    server_run(server);
    return server;
}

static struct ais_target target_at(const struct server *server)
{
    char url[64];

    snprintf(url, sizeof(url), "http://127.0.0.1:%d/client/v4", server->port);
    return target_of(url);
}

/* One fetch from a server that runs the script. */
static void fetch_script(struct result *result, void *script, unsigned retries, size_t body_max)
{
    struct server *server = script_start(script);
    struct driver *driver = driver_new(NULL);
    struct ais_target target = target_at(server);

    target.retries = retries;
    target.body_max = body_max;
    fetch_whole(driver, result, &target, credential, "/x");
    driver_free(driver);
    server_stop(server);
}

static void expect_ok(const struct result *result)
{
    assert_int_equal(result->done, 1);
    assert_string_equal(result->message, "");
    assert_int_equal(result->fault, AIS_FAULT_NONE);
    assert_int_equal(result->status, 200);
    assert_string_equal(result->body, OK_BODY);
}

static void expect_fault(const struct result *result, enum ais_fault fault, const char *message)
{
    assert_int_equal(result->done, 1);
    if (result->fault != fault || strstr(result->message, message) == NULL) {
        fail_msg("%s: %s; not %s: %s", ais_fault_name(result->fault), result->message, ais_fault_name(fault), message);
    }
    assert_int_equal(result->body_len, 0);
    assert_null(strstr(result->message, "canary"));
}

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

static void test_request(void **state)
{
    struct server *server = script_start(SCRIPT(OK));
    struct driver *driver = driver_new(NULL);
    struct ais_target target = target_at(server);
    struct result result;
    char host[64];
    const char *lines[] = {
        "GET /client/v4/accounts/0/ai-search/instances/a/jobs?page=2&per_page=50 HTTP/1.1",
        host,
        "User-Agent: aisearch-jobs/" AIS_VERSION,
        "Accept: application/json",
        "Authorization: Bearer " TOKEN,
    };

    (void) state;
    snprintf(host, sizeof(host), "Host: 127.0.0.1:%d", server->port);
    fetch_whole(driver, &result, &target, credential, "/accounts/0/ai-search/instances/a/jobs?page=2&per_page=50");
    expect_ok(&result);
    assert_int_equal(result.calls, 1);
    expect_request(server_last(server), lines, COUNT(lines));
    driver_free(driver);
    server_stop(server);
}

static void test_request_without_credential(void **state)
{
    struct server *server = script_start(SCRIPT(OK));
    struct driver *driver = driver_new(NULL);
    struct ais_target target = target_at(server);
    struct result result;
    char host[64];
    const char *lines[] = {
        "GET /client/v4/a/../b HTTP/1.1",
        host,
        "User-Agent: aisearch-jobs/" AIS_VERSION,
        "Accept: application/json",
    };

    (void) state;
    snprintf(host, sizeof(host), "Host: 127.0.0.1:%d", server->port);
    fetch_whole(driver, &result, &target, NULL, "/a/../b");
    expect_ok(&result);
    expect_request(server_last(server), lines, COUNT(lines));
    driver_free(driver);
    server_stop(server);
}

static void test_request_with_email_and_key(void **state)
{
    struct server *server = script_start(SCRIPT(OK));
    struct driver *driver = driver_new(NULL);
    struct ais_target target = target_at(server);
    struct ais_credential *key;
    struct result result;
    char host[64];
    const char *lines[] = {
        "GET /client/v4/x HTTP/1.1",
        host,
        "User-Agent: aisearch-jobs/" AIS_VERSION,
        "Accept: application/json",
        "X-Auth-Email: user@example.com",
        "X-Auth-Key: " TOKEN,
    };
    FILE *f = fopen(path_of("key"), "w");

    (void) state;
    assert_non_null(f);
    fputs(TOKEN, f);
    fclose(f);
    key = ais_credential_email_key("user@example.com", path_of("key"), NULL);
    unlink(path_of("key"));
    assert_non_null(key);

    snprintf(host, sizeof(host), "Host: 127.0.0.1:%d", server->port);
    fetch_whole(driver, &result, &target, key, "/x");
    ais_credential_free(key);
    expect_ok(&result);
    expect_request(server_last(server), lines, COUNT(lines));
    driver_free(driver);
    server_stop(server);
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
    target.proxy = "http://127.0.0.1:1"; /* makes no sense, but is harmless */
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
    expect_fault(&result, AIS_FAULT_BODY, "the answer is larger than 15 bytes");
    assert_int_equal(result.calls, 1);

    fetch_script(&result, SCRIPT("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), 0, 3);
    assert_string_equal(result.body, "abc");
    fetch_script(&result, SCRIPT("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n" STALL),
                 2, 3);
    expect_fault(&result, AIS_FAULT_BODY, "the answer is larger than 3 bytes");
    assert_int_equal(result.calls, 1);

    fetch_script(&result, SCRIPT("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" STALL), 0, 0);
    expect_fault(&result, AIS_FAULT_BODY, "the answer is larger than 1048576 bytes");
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
    expect_fault(&result, AIS_FAULT_BODY, "the answer is larger than 100000 bytes");
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

    /* It gets a pause, and then one try at a time. Others do not wait. */
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

static void test_connection_that_only_fails(void **state)
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
static void test_connection_that_begins_to_fail(void **state)
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

static void test_every_retry_goes_by_another_connection(void **state)
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

static void test_refused_then_there(void **state)
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

/* ---- time ---------------------------------------------------------------------------------------------------- */

static void expect_elapsed(const struct result *result, int64_t from)
{
    assert_true(result->elapsed >= from);
    assert_true(result->elapsed < from + 2000);
}

static void serve_stall(struct server *server, int fd, unsigned nth)
{
    (void) nth;
    server_linger(server, fd);
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

/* libcurl opens one connection while the other fetches wait for it. They must not try one by one what cannot work. */
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
    expect_timeout(serve_stall, NULL, 150, 1, "timeout of 150 ms passed waiting for the answer");
    expect_timeout(serve_script, SCRIPT("HTTP/1.1 200 OK\r\nContent-" STALL), 150, 1,
                   "timeout of 150 ms passed waiting for the answer");
    expect_timeout(serve_script, SCRIPT("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc" STALL), 150, 1,
                   "timeout of 150 ms passed inside the body of the answer");
    expect_timeout(serve_trickle, NULL, 150, 1, "timeout of 150 ms passed inside the body of the answer");
    expect_timeout(serve_script, SCRIPT(UNAVAILABLE, STALL), 600, 2, "timeout of 600 ms passed waiting for the answer");
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
    expect_fault(&less, AIS_FAULT_TIMEOUT, "timeout of 400 ms passed waiting for the answer");
    expect_elapsed(&less, 100);
    assert_int_equal(more.done, 0);
    DRIVE_UNTIL(driver, more.done);
    expect_fault(&more, AIS_FAULT_TIMEOUT, "timeout of 400 ms passed waiting for the answer");
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

static void test_timer_is_left_alone(void **state)
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

static void test_cancel_hangs_up(void **state)
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
    assert_string_equal(response->message, "given up: the process is leaving");
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
        cmocka_unit_test(test_kept_connection),
        cmocka_unit_test(test_connection_limit),
        cmocka_unit_test(test_burst),
        cmocka_unit_test(test_dead_connection_is_counted),
        cmocka_unit_test(test_closed_connection_is_noticed),
        cmocka_unit_test(test_one_repeat),
        cmocka_unit_test(test_connection_that_only_fails),
        cmocka_unit_test(test_connection_that_begins_to_fail),
        cmocka_unit_test(test_every_retry_goes_by_another_connection),
        cmocka_unit_test(test_descriptors_are_closed),
        cmocka_unit_test(test_retry),
        cmocka_unit_test(test_retries_spent),
        cmocka_unit_test(test_no_retry),
        cmocka_unit_test(test_retry_does_not_fit),
        cmocka_unit_test(test_refused_then_there),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_connect_timeout),
        cmocka_unit_test(test_next_address),
        cmocka_unit_test(test_handshake_timeout),
        cmocka_unit_test(test_total_timeout),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_unacknowledged),
        cmocka_unit_test(test_timeout_in_line),
        cmocka_unit_test(test_timer_is_left_alone),
        cmocka_unit_test(test_name_resolution_stalls),
        cmocka_unit_test(test_name_unknown),
        cmocka_unit_test(test_cancel_in_every_phase),
        cmocka_unit_test(test_cancel_hangs_up),
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
