/*
 * An API that answers each lookup of a job after a fixed delay, fast enough never to be the bottleneck. It also serves
 * lists of one job each.
 *
 *     upstream PORT DELAY SIZE        0: any free port; milliseconds; bytes of a body
 *
 * Jobs below /active/ have been running for a long time, all others have ended. It prints its port, then reads orders
 * from standard input and prints a line for each: "delay MS", "size BYTES", "count", "forget", "change" (responses
 * differ from now on), "changing" (each response differs from the previous one), "served" (when the first response
 * since "change" was sent, in seconds of CLOCK_MONOTONIC; 0: not yet), and "times", which prints the number of requests
 * and then a line for each with its time of arrival. It exits at the end of standard input.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define FDS 65536
#define HEAD_MAX 4096

/* Like the module's own; a proxy must pass them on and store them. */
#define HEADERS                                                                                                        \
    "Server: upstream\r\nContent-Type: application/json\r\nETag: \"0123456789abcdef\"\r\nAge: 0\r\n"                   \
    "Cache-Control: private, max-age=86400\r\nX-Aisearch-State: succeeded\r\nX-Aisearch-Cache: HIT\r\n"

struct connection {
    bool waiting; /* a response is due */
    double due;
    int next; /* the next waiting connection, in the order of their times */
    size_t len;
    char head[HEAD_MAX];
};

static struct connection *connections[FDS];
static int first = -1, last = -1; /* the list of waiting connections */
static double delay;
static size_t body_size;

static double *times;
static size_t ntimes, times_size;

static char description[65536];

/* Each job contains it at the beginning. */
static unsigned long version;
static bool changing;
static double served; /* when the first response of this version was sent; 0: not yet */

static void remember(double when)
{
    if (ntimes == times_size) {
        times_size = times_size ? 2 * times_size : 65536;
        times = realloc(times, times_size * sizeof(*times));
        if (times == NULL) {
            die("realloc");
        }
    }
    times[ntimes++] = when;
}

/* Responses. */

static void change(void)
{
    char digits[32];

    snprintf(digits, sizeof(digits), "%010lu", ++version);
    memcpy(description, digits, strlen(digits));
    served = 0;
}

/* The last part of the path: the job. */
static int job_of(const char *head, const char **job)
{
    const char *path = head + strlen("GET ");
    size_t len = strcspn(path, " ?");

    *job = path + len;
    while (*job > path && (*job)[-1] != '/') {
        (*job)--;
    }
    return (int) (path + len - *job);
}

#define JOB "{\"id\":\"%.*s\",\"source\":\"user\",%s\"started_at\":\"2020-01-01T00:00:00Z\",\"description\":\"%.*s\"}"
#define ANSWER "{\"success\":true,\"result\":" JOB "}"
#define LIST                                                                                                           \
    "{\"success\":true,\"result\":[" JOB "],"                                                                          \
    "\"result_info\":{\"count\":1,\"page\":1,\"per_page\":50,\"total_count\":1}}"

static void answer(int fd, struct connection *c)
{
    static char body[sizeof(description) + 1024], message[sizeof(body) + 1024];
    bool active = strstr(c->head, "/active/") != NULL;
    const char *job, *format = strstr(c->head, "/jobs?") != NULL ? LIST : ANSWER;
    const char *ended = active ? "" : "\"ended_at\":\"2020-01-01T01:00:00Z\",";
    int job_len = job_of(c->head, &job);
    int bare = snprintf(body, sizeof(body), format, job_len, job, ended, 0, description);
    int padding = (size_t) bare < body_size ? (int) body_size - bare : 0;
    int len = snprintf(body, sizeof(body), format, job_len, job, ended, padding, description);
    int total =
        snprintf(message, sizeof(message), "HTTP/1.1 200 OK\r\n" HEADERS "Content-Length: %d\r\n\r\n%s", len, body);

    c->waiting = false;
    c->len = 0;
    if (served == 0) {
        served = now();
    }
    if (send(fd, message, (size_t) total, MSG_NOSIGNAL) != total) {
        shutdown(fd, SHUT_RDWR);
    }
    if (changing) {
        change();
    }
}

static void answer_later(int fd, struct connection *c, double when)
{
    int prev = -1, next = first;

    /* Usually the last one, except for requests that arrived before the delay was increased. */
    if (last >= 0 && connections[last]->due <= when) {
        prev = last;
        next = -1;
    }
    while (next >= 0 && connections[next]->due <= when) {
        prev = next;
        next = connections[next]->next;
    }
    c->waiting = true;
    c->due = when;
    c->next = next;
    if (prev < 0) {
        first = fd;
    } else {
        connections[prev]->next = fd;
    }
    if (next < 0) {
        last = fd;
    }
}

static void answer_due(double when)
{
    while (first >= 0 && connections[first]->due <= when) {
        int fd = first;

        first = connections[fd]->next;
        if (first < 0) {
            last = -1;
        }
        answer(fd, connections[fd]);
    }
}

static void forget_answer(int fd)
{
    int prev = -1;

    for (int at = first; at >= 0; prev = at, at = connections[at]->next) {
        if (at != fd) {
            continue;
        }
        if (prev < 0) {
            first = connections[fd]->next;
        } else {
            connections[prev]->next = connections[fd]->next;
        }
        if (last == fd) {
            last = prev;
        }
        return;
    }
}

/* Connections. */

static void accept_all(int listener, int epoll)
{
    int fd;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        int one = 1;

        if (fd >= FDS) {
            close(fd);
            continue;
        }
        if (connections[fd] == NULL && (connections[fd] = malloc(sizeof(struct connection))) == NULL) {
            die("malloc");
        }
        connections[fd]->waiting = false;
        connections[fd]->len = 0;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
            die("epoll_ctl");
        }
    }
}

static void close_connection(int fd, struct connection *c)
{
    if (c->waiting) {
        forget_answer(fd);
    }
    close(fd);
}

static void read_request(int fd)
{
    struct connection *c = connections[fd];
    ssize_t n = recv(fd, c->head + c->len, sizeof(c->head) - 1 - c->len, 0);

    if (n < 0 && errno == EAGAIN) {
        return;
    }
    if (n <= 0) {
        close_connection(fd, c);
        return;
    }
    c->len += (size_t) n;
    c->head[c->len] = '\0';
    if (strstr(c->head, "\r\n\r\n") == NULL) {
        return;
    }
    remember(now());
    if (delay > 0) {
        answer_later(fd, c, now() + delay);
    } else {
        answer(fd, c);
    }
}

/* Orders. */

static void obey(char *order)
{
    if (strncmp(order, "delay ", 6) == 0) {
        delay = atof(order + 6) / 1000;
        printf("ok\n");
    } else if (strncmp(order, "size ", 5) == 0) {
        body_size = strtoul(order + 5, NULL, 10);
        printf("ok\n");
    } else if (strcmp(order, "count") == 0) {
        printf("%zu\n", ntimes);
    } else if (strcmp(order, "forget") == 0) {
        ntimes = 0;
        printf("ok\n");
    } else if (strcmp(order, "change") == 0) {
        change();
        printf("ok\n");
    } else if (strcmp(order, "changing") == 0) {
        changing = true;
        printf("ok\n");
    } else if (strcmp(order, "served") == 0) {
        printf("%.6f\n", served);
    } else if (strcmp(order, "times") == 0) {
        printf("%zu\n", ntimes);
        for (size_t i = 0; i < ntimes; i++) {
            printf("%.6f\n", times[i]);
        }
    } else {
        printf("unknown order\n");
    }
    fflush(stdout);
}

static void read_orders(void)
{
    static char text[4096];
    static size_t len;
    ssize_t n = read(0, text + len, sizeof(text) - 1 - len);
    char *line = text, *end;

    if (n <= 0) {
        exit(0);
    }
    len += (size_t) n;
    text[len] = '\0';
    while ((end = strchr(line, '\n')) != NULL) {
        *end = '\0';
        obey(line);
        line = end + 1;
    }
    len = strlen(line);
    memmove(text, line, len + 1);
}

static int listen_on(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t) port)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (fd < 0 || bind(fd, (struct sockaddr *) &address, sizeof(address)) != 0 || listen(fd, 4096) != 0 ||
        getsockname(fd, (struct sockaddr *) &address, &len) != 0) {
        die("listen");
    }
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static void watch(int epoll, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
        die("epoll_ctl");
    }
}

int main(int argc, char **argv)
{
    struct epoll_event events[256];
    int listener, epoll;

    if (argc != 4) {
        fprintf(stderr, "usage: upstream PORT DELAY SIZE\n");
        return 2;
    }
    delay = atof(argv[2]) / 1000;
    body_size = strtoul(argv[3], NULL, 10);
    memset(description, 'x', sizeof(description) - 1);
    listener = listen_on(atoi(argv[1]));
    epoll = epoll_create1(EPOLL_CLOEXEC);
    watch(epoll, listener);
    watch(epoll, 0);

    for (;;) {
        double left = first >= 0 ? connections[first]->due - now() : 0;
        struct timespec timeout = {0};
        int n;

        if (left > 0) {
            timeout.tv_sec = (time_t) left;
            timeout.tv_nsec = (long) ((left - (double) timeout.tv_sec) * 1e9);
        }
        n = epoll_pwait2(epoll, events, 256, first >= 0 ? &timeout : NULL, NULL);
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == 0) {
                read_orders();
            } else if (events[i].data.fd == listener) {
                accept_all(listener, epoll);
            } else {
                read_request(events[i].data.fd);
            }
        }
        answer_due(now());
    }
}
