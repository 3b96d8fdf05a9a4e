/*
 * Many clients in one thread that wait for changes, each on its own connection, in one of these ways:
 *
 *     watchers [options] KIND PORT TARGET
 *
 *     events    "Accept: text/event-stream": each event with data counts
 *     waits     "Prefer: wait=N" with the last ETag, repeated at once: each response except 304 counts
 *     polls     once per period, spread over it: each response counts
 *
 *     -c CONNECTIONS    (1)
 *     -p SECONDS        the period (2)
 *     -w SECONDS        the longest wait (50)
 *
 * When all are connected and have received the current state, it prints "ready" and reads orders from standard input:
 *
 *     forget            resets the counters: "ok"
 *     told SECONDS      waits at most that long until each client has received something, and prints the counters
 *     count             prints them now
 *
 * The counters are printed as one JSON object; times are in seconds of CLOCK_MONOTONIC, for the first message of each
 * client. At the end of standard input it resets all connections.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define GREETED 256 /* clients that wait for their first response at once */
#define HEAD_MAX 2048
#define TAG_MAX 64
#define CONNECT 30.0  /* s, for all clients */
#define PATIENCE 0.05 /* s, less than one second */

enum kind {
    EVENTS,
    WAITS,
    POLLS,
};

struct watcher {
    int fd;
    bool greeted;     /* has received the current state */
    bool asked;       /* a response is due */
    unsigned matched; /* bytes of MARK at the end of the received data */
    double told;      /* when it first received something; 0: not yet */
    long count;
    size_t len; /* of the response received so far */
    char head[HEAD_MAX];
    char etag[TAG_MAX];
};

/* Each event with data contains it once, and nothing else does. */
static const char MARK[] = "\ndata:";

static enum kind kind;
static int port, nwatchers = 1, ngreeted, nconnected;
static double period = 2;
static int longest = 50;
static const char *target;

static struct watcher *watchers;
static int epoll;
static int ntold;
static long failed;
static double polling; /* the start */
static long polls;

/* Counters. */

static void greet(struct watcher *w)
{
    if (!w->greeted) {
        w->greeted = true;
        ngreeted++;
    }
}

static void tell(struct watcher *w, double when)
{
    if (w->count++ == 0) {
        w->told = when;
        ntold++;
    }
}

static void forget(void)
{
    for (int i = 0; i < nwatchers; i++) {
        watchers[i].told = 0;
        watchers[i].count = 0;
    }
    ntold = 0;
    failed = 0;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *) a, y = *(const double *) b;

    return x < y ? -1 : x > y;
}

static void print_counted(void)
{
    double *times = calloc((size_t) nwatchers, sizeof(*times));
    long sum = 0, least = watchers[0].count, most = 0;
    int n = 0;

    if (times == NULL) {
        die("calloc");
    }
    for (int i = 0; i < nwatchers; i++) {
        long count = watchers[i].count;

        sum += count;
        least = count < least ? count : least;
        most = count > most ? count : most;
        if (count > 0) {
            times[n++] = watchers[i].told;
        }
    }
    qsort(times, (size_t) n, sizeof(*times), by_value);
    printf("{\"told\": %d, \"count\": %ld, \"least\": %ld, \"most\": %ld, \"failed\": %ld, "
           "\"first\": %.6f, \"median\": %.6f, \"last\": %.6f}\n",
           n, sum, least, most, failed, n ? times[0] : 0, n ? times[n / 2] : 0, n ? times[n - 1] : 0);
    fflush(stdout);
    free(times);
}

/* Requests. */

/* The request, up to the ETag that a waiting client appends. */
static char plain[1024], waiting[sizeof(plain) + 64];

static void write_requests(void)
{
    snprintf(plain, sizeof(plain), "GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", target,
             kind == EVENTS ? "Accept: text/event-stream\r\n" : "");
    snprintf(waiting, sizeof(waiting), "%.*sPrefer: wait=%d\r\nIf-None-Match: ", (int) strlen(plain) - 2, plain,
             longest);
}

static void ask(struct watcher *w)
{
    char text[sizeof(waiting) + TAG_MAX + 4];
    char *end = stpcpy(text, w->etag[0] == '\0' ? plain : waiting);

    if (w->etag[0] != '\0') {
        end = stpcpy(stpcpy(end, w->etag), "\r\n\r\n");
    }
    w->len = 0;
    w->asked = true;
    if (send(w->fd, text, (size_t) (end - text), MSG_NOSIGNAL) != end - text) {
        die("send");
    }
}

static void connect_next(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t) port)};
    struct watcher *w = &watchers[nconnected++];
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = w}; /* so that each one is polled less often */
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    int one = 1;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    w->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (w->fd < 0 || connect(w->fd, (struct sockaddr *) &address, sizeof(address)) != 0) {
        die("connect");
    }
    setsockopt(w->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(w->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    fcntl(w->fd, F_SETFL, O_NONBLOCK);
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, w->fd, &event) != 0) {
        die("epoll_ctl");
    }
    ask(w);
}

/* Clients have their own times, as if independent of each other. */
static double next_poll(void)
{
    return polling + (double) polls * period / nwatchers;
}

static void poll_due(double when)
{
    while (kind == POLLS && next_poll() <= when) {
        struct watcher *w = &watchers[polls++ % nwatchers];

        if (w->asked) {
            failed++; /* too slow */
        } else {
            ask(w);
        }
    }
}

/* Responses. */

static void take_events(struct watcher *w, const char *data, size_t n)
{
    const char *end = data + n;

    while (data < end) {
        if (w->matched == 0) {
            data = memchr(data, MARK[0], (size_t) (end - data));
            if (data == NULL) {
                return;
            }
        }
        if (*data != MARK[w->matched]) {
            w->matched = 0;
            continue;
        }
        data++;
        if (MARK[++w->matched] == '\0') {
            w->matched = 0;
            tell(w, now());
            greet(w);
        }
    }
}

static const char *field(const struct watcher *w, const char *name)
{
    const char *at = memmem(w->head, w->len, name, strlen(name));

    return at ? at + strlen(name) : NULL;
}

/* Whether the response is complete. */
static bool take_answer(struct watcher *w, const char *data, size_t n)
{
    const char *end, *length;
    size_t room = HEAD_MAX - 1 - w->len;

    n = n < room ? n : room;
    memcpy(w->head + w->len, data, n);
    w->len += n;
    w->head[w->len] = '\0';
    end = strstr(w->head, "\r\n\r\n");
    if (end == NULL) {
        return false;
    }
    length = field(w, "\r\nContent-Length: ");
    return w->len >= (size_t) (end + 4 - w->head) + (length ? strtoul(length, NULL, 10) : 0);
}

static void end_answer(struct watcher *w)
{
    int status = atoi(w->head + strlen("HTTP/1.1 "));
    const char *etag = field(w, "\r\nETag: ");

    w->asked = false;
    if (status != 200 && status != 304) {
        failed++;
    } else if (status == 200 && w->greeted) {
        tell(w, now());
    }
    greet(w);
    if (kind == WAITS) {
        if (etag != NULL) {
            size_t len = strcspn(etag, "\r");

            len = len < TAG_MAX ? len : TAG_MAX - 1;
            memcpy(w->etag, etag, len);
            w->etag[len] = '\0';
        }
        ask(w);
    }
}

static void receive(struct watcher *w)
{
    static char data[65536];
    ssize_t n;

    do {
        n = recv(w->fd, data, sizeof(data), 0);
        if (n < 0 && errno == EAGAIN) {
            return;
        }
        if (n <= 0) {
            fprintf(stderr, "watchers: the server has closed a connection\n");
            exit(1);
        }
        if (kind == EVENTS) {
            take_events(w, data, (size_t) n);
        } else if (take_answer(w, data, (size_t) n)) {
            end_answer(w);
        }
    } while (n == sizeof(data));
}

/* Orders. */

static double until; /* deadline of "told"; 0: none is pending */

static void obey(const char *order)
{
    if (strcmp(order, "forget") == 0) {
        forget();
        printf("ok\n");
        fflush(stdout);
    } else if (strcmp(order, "count") == 0) {
        print_counted();
    } else if (strncmp(order, "told ", 5) == 0) {
        until = now() + atof(order + 5);
    } else {
        fprintf(stderr, "watchers: unknown order: %s\n", order);
        exit(1);
    }
}

static void read_orders(void)
{
    char text[256];
    ssize_t n = read(0, text, sizeof(text) - 1); /* one at a time: each is answered before the next one arrives */

    if (n <= 0) {
        exit(0);
    }
    text[n] = '\0';
    text[strcspn(text, "\n")] = '\0';
    obey(text);
}

/* The loop. */

static void turn(double patience)
{
    struct epoll_event events[512];
    struct timespec timeout = {.tv_nsec = patience > 0 ? (long) (patience * 1e9) : 0};
    int n = epoll_pwait2(epoll, events, 512, &timeout, NULL);

    for (int i = 0; i < n; i++) {
        if (events[i].data.ptr == NULL) {
            read_orders();
        } else {
            receive(events[i].data.ptr);
        }
    }
}

static void run(void)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};

    if (epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &event) != 0) {
        die("epoll_ctl");
    }
    polling = now();
    for (;;) {
        turn(kind == POLLS ? next_poll() - now() : PATIENCE);
        poll_due(now());
        if (until > 0 && (ntold == nwatchers || now() > until)) {
            until = 0;
            print_counted();
        }
    }
}

static void connect_all(void)
{
    double deadline = now() + CONNECT;

    watchers = calloc((size_t) nwatchers, sizeof(*watchers));
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (watchers == NULL || epoll < 0) {
        die("calloc");
    }
    while (ngreeted < nwatchers) {
        while (nconnected < nwatchers && nconnected - ngreeted < GREETED) {
            connect_next();
        }
        turn(PATIENCE);
        if (now() > deadline) {
            fprintf(stderr, "watchers: %d of %d got an answer\n", ngreeted, nwatchers);
            exit(1);
        }
    }
}

static void raise_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void) setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int usage(void)
{
    fprintf(stderr, "usage: watchers [-c CONNECTIONS] [-p SECONDS] [-w SECONDS] events|waits|polls PORT TARGET\n");
    return 2;
}

int main(int argc, char **argv)
{
    static const char *const kinds[] = {"events", "waits", "polls"};
    int option;

    while ((option = getopt(argc, argv, "c:p:w:")) != -1) {
        switch (option) {
        case 'c':
            nwatchers = atoi(optarg);
            break;
        case 'p':
            period = atof(optarg);
            break;
        case 'w':
            longest = atoi(optarg);
            break;
        default:
            return usage();
        }
    }
    if (argc - optind != 3 || nwatchers < 1) {
        return usage();
    }
    while (strcmp(argv[optind], kinds[kind]) != 0) {
        if (++kind > POLLS) {
            return usage();
        }
    }
    port = atoi(argv[optind + 1]);
    target = argv[optind + 2];
    raise_limit();
    write_requests();
    connect_all();
    forget();
    printf("ready\n");
    fflush(stdout);
    run();
}
