/* SPDX-License-Identifier: BSD-2-Clause */

/* Runs clients in an epoll(7) loop, for callers that have a thread to spare. */

#include "ais_poll.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "ais_clock.h"

/* How much is dealt with in one round; the rest is in the next one. */
#define EVENTS 64

/* A client and its timer. */
struct member {
    struct member *next;
    struct ais_poll *loop;
    struct ais_client *client;
    uint32_t number;  /* from 1 */
    int64_t deadline; /* ms of CLOCK_MONOTONIC, or AIS_NEVER */
};

/* What is watched is known by its member's number and the descriptor; that of ais_poll_wake() is 0. */
struct ais_poll {
    struct member *members;
    int epoll;
    int wake;
};

/* The driver: its slot is not NULL while the descriptor is watched. One that was closed is not watched any more. */

static int on_watch(void *data, int fd, unsigned events, void **slot)
{
    struct member *member = data;
    struct epoll_event event = {.events = ((events & AIS_IN) ? EPOLLIN : 0) | ((events & AIS_OUT) ? EPOLLOUT : 0),
                                .data.u64 = (uint64_t) member->number << 32 | (uint32_t) fd};
    int op = events == 0 ? EPOLL_CTL_DEL : *slot == NULL ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    int status = epoll_ctl(member->loop->epoll, op, fd, &event);

    if (op == EPOLL_CTL_ADD && status == 0)
        *slot = member;
    if (op != EPOLL_CTL_DEL)
        return status;
    *slot = NULL;
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
    struct epoll_event event = {.events = EPOLLIN};

    if (loop == NULL) {
        ais_error_set(err, "out of memory");
        return NULL;
    }
    loop->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (loop->wake == -1 || loop->epoll == -1 || epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->wake, &event) != 0) {
        ais_error_set(err, "no eventfd or epoll for the event loop: %s", strerror(errno));
        ais_poll_destroy(loop);
        return NULL;
    }
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
    if (loop->wake != -1)
        close(loop->wake);
    if (loop->epoll != -1)
        close(loop->epoll);
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
    member->number = loop->members != NULL ? loop->members->number + 1 : 1;
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

/* How long epoll_wait() may sleep. */
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

/* An event that is out of date by its turn does no harm: libcurl looks for itself. */
static void deal_with(const struct ais_poll *loop, const struct epoll_event *event)
{
    const struct member *member = loop->members;
    uint32_t got = event->events;
    unsigned events = 0;

    while (member != NULL && member->number != event->data.u64 >> 32)
        member = member->next;
    if (got & (EPOLLIN | EPOLLERR | EPOLLHUP))
        events |= AIS_IN;
    if (got & (EPOLLOUT | EPOLLERR | EPOLLHUP))
        events |= AIS_OUT;
    if (member != NULL)
        ais_client_socket(member->client, (int) (uint32_t) event->data.u64, events);
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
    struct epoll_event events[EVENTS];
    eventfd_t count;
    int n = epoll_wait(loop->epoll, events, EVENTS, sleep_ms(loop, timeout));

    for (int i = 0; i < n; i++) {
        if (events[i].data.u64 == 0)
            (void) eventfd_read(loop->wake, &count);
        else
            deal_with(loop, &events[i]);
    }
    run_timers(loop);
}

void ais_poll_wake(struct ais_poll *loop)
{
    int saved = errno;

    (void) eventfd_write(loop->wake, 1); /* can only fail where it is about to wake anyway */
    errno = saved;
}
