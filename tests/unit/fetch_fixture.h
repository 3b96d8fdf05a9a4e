/* For tests of fetches over plain HTTP: a server that follows a script, and libcurl with names and memory of the test.
 */
#ifndef AIS_TEST_FETCH_FIXTURE_H
#define AIS_TEST_FETCH_FIXTURE_H

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

static inline int real_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                                   struct addrinfo **res)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

    *(void **) &real = dlsym(RTLD_NEXT, "getaddrinfo");
    return real(node, service, hints, res);
}

/* 127.0.0.2, then 127.0.0.1. */
static inline int two_addresses(const char *service, struct addrinfo **res)
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

static inline bool is_secret(const char *text)
{
    return strncmp(text, "Authorization: ", 15) == 0 || strncmp(text, "X-Auth-", 7) == 0;
}

/* Counts down to the allocation that fails, and all later ones if there is a shortage; 0: none fails. */
static unsigned memory_fails_in;
static bool memory_shortage;

static inline bool memory_fails(void)
{
    if (!pthread_equal(pthread_self(), main_thread) || memory_fails_in == 0 || --memory_fails_in > 0) {
        return false;
    }
    memory_fails_in = memory_shortage;
    return true;
}

static inline void *memory_malloc(size_t size)
{
    return memory_fails() ? NULL : malloc(size);
}

static inline void *memory_calloc(size_t n, size_t size)
{
    return memory_fails() ? NULL : calloc(n, size);
}

static inline void *memory_realloc(void *p, size_t size)
{
    return memory_fails() ? NULL : realloc(p, size);
}

static inline char *memory_strdup(const char *text)
{
    char *copy = memory_fails() ? NULL : strdup(text);

    if (copy != NULL && pthread_equal(pthread_self(), main_thread) && is_secret(text)) {
        header_blocks[headers_made++ % COUNT(header_blocks)] = copy;
    }
    return copy;
}

static inline void note_free(const char *block)
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

static inline void memory_free(void *p)
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

static inline int set_up(void **state)
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

static inline int tear_down(void **state)
{
    (void) state;
    ais_client_global_cleanup();
    curl_global_cleanup();
    ais_credential_free(credential);
    return rmdir(dir);
}

/* Answers the server's nth request with the nth string of server->data, and all later ones with the last. */
static inline void serve_script(struct server *server, int fd, unsigned nth)
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

static inline struct server *script_start(void *script)
{
    struct server *server = server_bind(serve_script);

    server->data = script;
    server_run(server);
    return server;
}

static inline struct ais_target target_at(const struct server *server)
{
    char url[64];

    snprintf(url, sizeof(url), "http://127.0.0.1:%d/client/v4", server->port);
    return target_of(url);
}

/* One fetch from a server that runs the script. */
static inline void fetch_script(struct result *result, void *script, unsigned retries, size_t body_max)
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

static inline void expect_ok(const struct result *result)
{
    assert_int_equal(result->done, 1);
    assert_string_equal(result->message, "");
    assert_int_equal(result->fault, AIS_FAULT_NONE);
    assert_int_equal(result->status, 200);
    assert_string_equal(result->body, OK_BODY);
}

static inline void expect_fault(const struct result *result, enum ais_fault fault, const char *message)
{
    assert_int_equal(result->done, 1);
    if (result->fault != fault || strstr(result->message, message) == NULL) {
        fail_msg("%s: %s; not %s: %s", ais_fault_name(result->fault), result->message, ais_fault_name(fault), message);
    }
    assert_int_equal(result->body_len, 0);
    assert_null(strstr(result->message, "canary"));
}

static inline void serve_stall(struct server *server, int fd, unsigned nth)
{
    (void) nth;
    server_linger(server, fd);
}

#endif
