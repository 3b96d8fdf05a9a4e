/* SPDX-License-Identifier: BSD-2-Clause */

/* Runs clients in a poll(2) loop, for callers that have a thread to spare. */

#include "ais_poll.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "ais_clock.h"

/* A client and its timer. */
struct member {
    struct member *next;
    struct ais_poll *loop;
    struct ais_client *client;
    int64_t deadline; /* ms of CLOCK_MONOTONIC, or AIS_NEVER */
};

/* A watched socket: the driver's slot. */
struct watch {
    struct member *member;
    size_t index; /* of its pollfd */
};

/* A socket that was found ready. */
struct ready {
    struct member *member;
    int fd;
    unsigned events;
};

/* The arrays are parallel. Element 0 is the eventfd of ais_poll_wake(). */
struct ais_poll {
    struct member *members;
    struct pollfd *fds;
    struct watch **watches;
    struct ready *ready;
    size_t len;
    size_t size;
    int wake;
};

static int grow(struct ais_poll *loop)
{
    size_t size = loop->size > 0 ? loop->size * 2 : 16;
    struct pollfd *fds = realloc(loop->fds, size * sizeof(*fds));
    struct watch **watches;
    struct ready *ready;

    if (fds == NULL)
        return -1;

    loop->fds = fds;
    watches = realloc(loop->watches, size * sizeof(struct watch *));
    if (watches == NULL)
        return -1;

    loop->watches = watches;
    ready = realloc(loop->ready, size * sizeof(*ready));
    if (ready == NULL)
        return -1;

    loop->ready = ready;
    loop->size = size;
    return 0;
}

/* Adds it as the last one. */
static int append(struct ais_poll *loop, int fd, struct watch *watch)
{
    if (loop->len == loop->size && grow(loop) != 0)
        return -1;

    loop->fds[loop->len] = (struct pollfd){.fd = fd};
    loop->watches[loop->len++] = watch;
    return 0;
}

/* The driver. */

static struct watch *watch_begin(struct member *member, int fd)
{
    struct watch *watch = malloc(sizeof(*watch));

    if (watch == NULL)
        return NULL;

    if (append(member->loop, fd, watch) != 0) {
        free(watch);
        return NULL;
    }
    *watch = (struct watch){.member = member, .index = member->loop->len - 1};
    return watch;
}

/* The last one takes its place. */
static void watch_end(struct ais_poll *loop, struct watch *watch)
{
    size_t last = --loop->len;

    loop->fds[watch->index] = loop->fds[last];
    loop->watches[watch->index] = loop->watches[last];
    loop->watches[watch->index]->index = watch->index;
    free(watch);
}

static int on_watch(void *data, int fd, unsigned events, void **slot)
{
    struct member *member = data;
    struct watch *watch = *slot;

    if (events == 0) {
        if (watch != NULL) {
            watch_end(member->loop, watch);
            *slot = NULL;
        }
        return 0;
    }
    if (watch == NULL) {
        watch = watch_begin(member, fd);
        if (watch == NULL)
            return -1;

        *slot = watch;
    }
    member->loop->fds[watch->index].events =
        (short) (((events & AIS_IN) ? POLLIN : 0) | ((events & AIS_OUT) ? POLLOUT : 0));
    return 0;
}

static void on_timer(void *data, int64_t ms)
{
    struct member *member = data;

    member->deadline = ms < 0 ? AIS_NEVER : ais_clock() + ms;
}

/* The loop. */

struct ais_poll *ais_poll_create(struct ais_error *err)
{
    struct ais_poll *loop = calloc(1, sizeof(*loop));

    if (loop == NULL) {
        ais_error_set(err, "out of memory");
        return NULL;
    }
    loop->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (loop->wake == -1) {
        ais_error_set(err, "no eventfd to wake the event loop: %s", strerror(errno));
        free(loop);
        return NULL;
    }
    if (append(loop, loop->wake, NULL) != 0) {
        ais_error_set(err, "out of memory");
        ais_poll_destroy(loop);
        return NULL;
    }
    loop->fds[0].events = POLLIN;
    return loop;
}

void ais_poll_destroy(struct ais_poll *loop)
{
    if (loop == NULL)
        return;

    while (loop->members != NULL) {
        struct member *member = loop->members;

        ais_client_destroy(member->client);
        loop->members = member->next;
        free(member);
    }
    close(loop->wake);
    free(loop->fds);
    free(loop->watches);
    free(loop->ready);
    free(loop);
}

struct ais_client *ais_poll_client(struct ais_poll *loop, const struct ais_client_options *options,
                                   struct ais_error *err)
{
    struct member *member = calloc(1, sizeof(*member));
    struct ais_driver driver = {.data = member, .watch = on_watch, .timer = on_timer};

    if (member == NULL) {
        ais_error_set(err, "out of memory");
        return NULL;
    }
    member->loop = loop;
    member->deadline = AIS_NEVER;
    member->client = ais_client_create(&driver, options, err);
    if (member->client == NULL) {
        free(member);
        return NULL;
    }
    member->next = loop->members;
    loop->members = member;
    return member->client;
}

/* How long poll() may sleep. */
static int sleep_ms(const struct ais_poll *loop, int64_t timeout)
{
    int64_t deadline = AIS_NEVER;
    int64_t left = timeout < 0 ? AIS_NEVER : timeout;

    for (const struct member *member = loop->members; member != NULL; member = member->next)
        deadline = ais_earlier(deadline, member->deadline);
    if (deadline != AIS_NEVER)
        left = ais_earlier(left, ais_clock_until(deadline));
    if (left == AIS_NEVER)
        return -1;
    return left < INT_MAX ? (int) left : INT_MAX;
}

/* Notes what is ready before any of it is dealt with, since that changes the arrays. An entry that is out of date by
   its turn does no harm: libcurl looks for itself. */
static size_t collect_ready(struct ais_poll *loop)
{
    size_t n = 0;

    for (size_t i = 1; i < loop->len; i++) {
        short revents = loop->fds[i].revents;
        unsigned events = 0;

        if (revents & (POLLIN | POLLERR | POLLHUP | POLLNVAL))
            events |= AIS_IN;
        if (revents & (POLLOUT | POLLERR | POLLHUP | POLLNVAL))
            events |= AIS_OUT;
        if (events != 0)
            loop->ready[n++] = (struct ready){loop->watches[i]->member, loop->fds[i].fd, events};
    }
    return n;
}

static void run_timers(struct ais_poll *loop)
{
    int64_t now = ais_clock();

    for (struct member *member = loop->members; member != NULL; member = member->next) {
        if (member->deadline <= now) {
            member->deadline = AIS_NEVER;
            ais_client_timeout(member->client);
        }
    }
}

void ais_poll_wait(struct ais_poll *loop, int64_t timeout)
{
    eventfd_t count;
    size_t n;

    if (poll(loop->fds, (nfds_t) loop->len, sleep_ms(loop, timeout)) > 0) {
        if (loop->fds[0].revents != 0)
            (void) eventfd_read(loop->wake, &count);
        n = collect_ready(loop);
        for (size_t i = 0; i < n; i++)
            ais_client_socket(loop->ready[i].member->client, loop->ready[i].fd, loop->ready[i].events);
    }
    run_timers(loop);
}

void ais_poll_wake(struct ais_poll *loop)
{
    int saved = errno;

    (void) eventfd_write(loop->wake, 1); /* can only fail where it is about to wake anyway */
    errno = saved;
}
