#ifndef DRIVER_H
#define DRIVER_H

/*
 * A driver that checks the client's calls: descriptors are open while they are watched, all watches end, the timer is
 * not set to the value that it has, and callbacks occur only when allowed. Also the result of a fetch.
 */

#include <fcntl.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include "ais_client.h"
#include "unit.h"

#define DRIVER_SOCKETS 600

struct driver_watch {
    int fd;
    unsigned events; /* 0: unused */
};

struct driver {
    struct ais_client *client;
    struct driver_watch watches[DRIVER_SOCKETS];
    bool timer_set;
    int64_t timer_at;
    unsigned timer_calls;
    unsigned watch_calls;
    unsigned refuse_from; /* the nth and all later watches fail; 0: none */
    unsigned refuse_to;
    bool inside; /* the client is being called, so done callbacks are allowed */
};

struct result {
    struct driver *driver;
    struct ais_fetch *fetch;
    unsigned done; /* number of calls */
    enum ais_fault fault;
    int status;
    size_t body_len;
    char body[2048];
    int64_t retry_after;
    struct ais_limits limits;
    int64_t age;
    bool multiplexed;
    int64_t elapsed;
    unsigned calls;
    char cache[16];
    char message[256];
};

static inline int64_t clock_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static inline int driver_watch(void *data, int fd, unsigned events, void **slot)
{
    struct driver *driver = data;
    struct driver_watch *watch = *slot;
    size_t i;

    if (events == 0) {
        if (watch != NULL) {
            assert_int_equal(fd, fcntl(watch->fd, F_GETFD) != -1 ? watch->fd : -1);
            watch->events = 0;
        }
        return 0;
    }
    assert_true(fcntl(fd, F_GETFD) != -1);
    driver->watch_calls++;
    if (driver->refuse_from > 0 && driver->watch_calls >= driver->refuse_from &&
        driver->watch_calls <= driver->refuse_to) {
        return -1;
    }
    if (watch == NULL) {
        for (i = 0; i < DRIVER_SOCKETS; i++) {
            assert_false(driver->watches[i].events != 0 && driver->watches[i].fd == fd);
        }
        for (i = 0; driver->watches[i].events != 0; i++) {
            assert_true(i + 1 < DRIVER_SOCKETS);
        }
        watch = &driver->watches[i];
        watch->fd = fd;
        *slot = watch;
    }
    assert_int_equal(watch->fd, fd);
    watch->events = events;
    return 0;
}

static inline void driver_timer(void *data, int64_t ms)
{
    struct driver *driver = data;

    assert_true(ms >= -1);
    assert_true(driver->timer_set || ms != -1);
    driver->timer_calls++;
    driver->timer_set = ms >= 0;
    driver->timer_at = clock_ms() + ms;
}

static inline struct driver *driver_new(const struct ais_client_options *options)
{
    struct ais_client_options none = {.ca_file = NULL};
    struct driver *driver = calloc(1, sizeof(*driver));
    struct ais_driver functions = {.data = driver, .watch = driver_watch, .timer = driver_timer};
    struct ais_error err = {""};

    assert_non_null(driver);
    driver->client = ais_client_create(&functions, options != NULL ? options : &none, &err);
    if (driver->client == NULL) {
        fail_msg("%s", err.text);
    }
    return driver;
}

static inline size_t driver_watched(const struct driver *driver)
{
    size_t n = 0;
    size_t i;

    for (i = 0; i < DRIVER_SOCKETS; i++) {
        n += driver->watches[i].events != 0;
    }
    return n;
}

static inline void driver_free(struct driver *driver)
{
    ais_client_destroy(driver->client);
    assert_int_equal(driver_watched(driver), 0);
    assert_false(driver->timer_set);
    free(driver);
}

/* One iteration of an event loop that waits at most ms. */
static inline void driver_round(struct driver *driver, int ms)
{
    struct pollfd fds[DRIVER_SOCKETS];
    nfds_t n = 0;
    nfds_t i;

    for (i = 0; i < DRIVER_SOCKETS; i++) {
        const struct driver_watch *w = &driver->watches[i];

        if (w->events != 0) {
            fds[n++] = (struct pollfd){
                .fd = w->fd,
                .events = (short) ((w->events & AIS_IN ? POLLIN : 0) | (w->events & AIS_OUT ? POLLOUT : 0)),
            };
        }
    }
    if (driver->timer_set) {
        int64_t left = driver->timer_at - clock_ms();

        ms = left < 0 ? 0 : left < ms ? (int) left : ms;
    }
    assert_true(poll(fds, n, ms) >= 0);

    driver->inside = true;
    for (i = 0; i < n; i++) {
        short r = fds[i].revents;
        bool error = (r & (POLLERR | POLLHUP)) != 0;

        assert_false(r & POLLNVAL);
        if (r != 0) {
            ais_client_socket(driver->client, fds[i].fd,
                              (r & POLLIN || error ? AIS_IN : 0u) | (r & POLLOUT || error ? AIS_OUT : 0u));
        }
    }
    if (driver->timer_set && driver->timer_at <= clock_ms()) {
        driver->timer_set = false;
        ais_client_timeout(driver->client);
    }
    driver->inside = false;
}

/* Runs the loop until the condition holds, for at most 30 s. */
#define DRIVE_UNTIL(driver, condition)                                                                                 \
    do {                                                                                                               \
        int64_t until_ = clock_ms() + 30000;                                                                           \
        while (!(condition)) {                                                                                         \
            if (clock_ms() > until_) {                                                                                 \
                fail_msg("waited in vain for %s", #condition);                                                         \
            }                                                                                                          \
            driver_round(driver, 5);                                                                                   \
        }                                                                                                              \
    } while (0)

static inline void drive_for(struct driver *driver, int64_t ms)
{
    int64_t until = clock_ms() + ms;

    while (clock_ms() < until) {
        driver_round(driver, (int) (until - clock_ms()));
    }
}

static inline void on_done(void *data, const struct ais_response *r)
{
    struct result *result = data;

    assert_true(result->driver->inside);
    assert_non_null(r->body.data);
    assert_non_null(r->message);
    assert_int_equal(r->message[0] == '\0', r->fault == AIS_FAULT_NONE);

    result->done++;
    result->fetch = NULL;
    result->fault = r->fault;
    result->status = r->status;
    result->body_len = r->body.len;
    snprintf(result->body, sizeof(result->body), "%.*s", (int) r->body.len, r->body.data);
    result->retry_after = r->retry_after;
    result->limits = r->limits;
    result->age = r->age;
    result->multiplexed = r->multiplexed;
    result->elapsed = r->elapsed;
    result->calls = r->calls;
    memcpy(result->cache, r->cache, sizeof(result->cache));
    snprintf(result->message, sizeof(result->message), "%s", r->message);
}

static inline void fetch(struct driver *driver, struct result *result, const struct ais_target *target,
                         const struct ais_credential *cred, const char *path)
{
    memset(result, 0, sizeof(*result));
    result->driver = driver;
    result->fetch = ais_client_fetch(driver->client, target, cred, path, on_done, result);
    assert_non_null(result->fetch);
    assert_int_equal(result->done, 0);
}

/* The same, and runs the loop until the fetch is over. */
static inline void fetch_whole(struct driver *driver, struct result *result, const struct ais_target *target,
                               const struct ais_credential *cred, const char *path)
{
    fetch(driver, result, target, cred, path);
    DRIVE_UNTIL(driver, result->done > 0);
    assert_int_equal(result->done, 1);
}

static inline struct ais_target target_of(const char *url)
{
    struct ais_target target = {
        .verify_peer = true, .verify_host = true, .connect_timeout = 10000, .timeout = 20000, .retries = 0};
    struct ais_error err = {""};

    if (ais_url_parse(&target.url, url, &err) != 0) {
        fail_msg("%s", err.text);
    }
    return target;
}

/* For a group of tests that need no more than the client. */
static inline int client_set_up(void **state)
{
    (void) state;
    return ais_client_global_init();
}

static inline int client_tear_down(void **state)
{
    (void) state;
    ais_client_global_cleanup();
    return 0;
}

#endif
