/*
 * Many clients in one thread, which spends little time of its own on each response.
 *
 *     client [options] PORT TARGET
 *
 *     -c CONNECTIONS    opened before the first request (1)
 *     -n REQUESTS       the total number (one on each connection)
 *     -s SECONDS        instead of a number of requests
 *     -r RATE           total requests per second, at regular times; otherwise each connection continues at once
 *     -j JOBS           a "{}" in the target is replaced by a number below this, with 12 digits (1)
 *     -f FIRST          and not below this (0)
 *     -o                use the numbers in order instead of at random
 *     -w TARGET         requested once on each connection in advance
 *     -1                a new connection for each request
 *     -t SECONDS        timeout for a response (20)
 *     -g                when the connections are open, print "ready" and wait for a line
 *
 * Prints the results as one JSON object. Latencies are in milliseconds from the time at which a request was due.
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
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define HEAD_MAX 8192
#define CACHES 16
#define RETRIED 0.001 /* s, until a failed connect is retried */

enum phase {
    IDLE,
    WARMING,
    ASKING,
};

struct connection {
    int fd; /* -1: none */
    enum phase phase;
    bool used;      /* the connection has carried a response */
    bool refusable; /* no byte of the response has arrived */
    double due;
    double deadline;
    size_t len; /* of the part of the head that has arrived */
    char head[HEAD_MAX];
    bool head_done;
    size_t body_left;
    int status;
};

/* Options. */
static int port, nconnections = 1;
static long requests = -1, jobs = 1, first_job;
static double seconds, rate, patience = 20;
static bool in_order, one_shot, on_command;
static const char *target, *warm_target;

static struct connection *connections;
static int *idle, nidle; /* a stack of connections */
static int epoll;
static double began;
static long started, finished;

/* The results of the requests. */
static long statuses[600], retry_afters;
static struct {
    char name[32];
    long count;
} caches[CACHES];
static long connect_errors, kept_closed, cut_short, timeouts;
static double *latencies;
static size_t nlatencies, latencies_size;

static uint64_t draw(void)
{
    static uint64_t state = 88172645463325252ull; /* xorshift: the same numbers in each run */

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

/* Results. */

static void count_cache(const char *name, size_t len)
{
    size_t i;

    for (i = 0; i < CACHES - 1 && caches[i].name[0] != '\0'; i++) {
        if (strlen(caches[i].name) == len && memcmp(caches[i].name, name, len) == 0) {
            break;
        }
    }
    if (caches[i].name[0] == '\0') {
        snprintf(caches[i].name, sizeof(caches[i].name), "%.*s", (int) len, name);
    }
    caches[i].count++;
}

static void count_latency(double latency)
{
    if (nlatencies == latencies_size) {
        latencies_size = latencies_size ? 2 * latencies_size : 65536;
        latencies = realloc(latencies, latencies_size * sizeof(*latencies));
        if (latencies == NULL) {
            die("realloc");
        }
    }
    latencies[nlatencies++] = latency;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *) a, y = *(const double *) b;

    return x < y ? -1 : x > y;
}

static double quantile(double q)
{
    return nlatencies ? latencies[(size_t) ((double) (nlatencies - 1) * q)] * 1000 : 0;
}

static void print_results(double elapsed)
{
    const char *comma = "";
    double sum = 0;

    qsort(latencies, nlatencies, sizeof(*latencies), by_value);
    for (size_t i = 0; i < nlatencies; i++) {
        sum += latencies[i];
    }
    printf("{\"seconds\": %.6f, \"answers\": %zu, \"statuses\": {", elapsed, nlatencies);
    for (int i = 0; i < 600; i++) {
        if (statuses[i]) {
            printf("%s\"%d\": %ld", comma, i, statuses[i]);
            comma = ", ";
        }
    }
    printf("}, \"caches\": {");
    comma = "";
    for (int i = 0; i < CACHES && caches[i].name[0] != '\0'; i++) {
        printf("%s\"%s\": %ld", comma, caches[i].name, caches[i].count);
        comma = ", ";
    }
    printf("}, \"retry_after\": %ld, \"connect_errors\": %ld, \"kept_closed\": %ld, \"cut_short\": %ld, "
           "\"timeouts\": %ld, \"latency\": {\"mean\": %.4f, \"p50\": %.4f, \"p90\": %.4f, \"p99\": %.4f, "
           "\"max\": %.4f}}\n",
           retry_afters, connect_errors, kept_closed, cut_short, timeouts,
           nlatencies ? sum * 1000 / (double) nlatencies : 0, quantile(0.5), quantile(0.9), quantile(0.99),
           quantile(1));
}

/* Connections. */

static bool open_connection(struct connection *c)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t) port)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    int one = 1;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0) {
        die("socket");
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(c->fd, (struct sockaddr *) &address, sizeof(address)) != 0) {
        close(c->fd);
        c->fd = -1;
        return false;
    }
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) != 0) {
        die("epoll_ctl");
    }
    c->used = false;
    return true;
}

static void close_connection(struct connection *c)
{
    close(c->fd);
    c->fd = -1;
}

static void send_request(struct connection *c, const char *what)
{
    char text[2048];
    const char *mark = strstr(what, "{}");
    const char *fields = one_shot ? "Host: localhost\r\nConnection: close\r\n\r\n" : "Host: localhost\r\n\r\n";
    long job = first_job + (in_order ? started % jobs : (long) (draw() % (uint64_t) jobs));
    int len;

    if (mark != NULL) {
        len = snprintf(text, sizeof(text), "GET %.*s%012ld%s HTTP/1.1\r\n%s", (int) (mark - what), what, job, mark + 2,
                       fields);
    } else {
        len = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\n%s", what, fields);
    }
    c->len = 0;
    c->head_done = false;
    c->refusable = true;
    c->deadline = now() + patience;
    /* An error is noticed when the response is read. */
    (void) !send(c->fd, text, (size_t) len, MSG_NOSIGNAL);
}

static bool more_to_start(double when)
{
    if (requests >= 0) {
        return started < requests;
    }
    return when - began < seconds;
}

static void ask(struct connection *c, double due)
{
    started++;
    c->phase = ASKING;
    c->due = due;
    if (c->fd < 0 && !open_connection(c)) {
        connect_errors++;
        finished++;
        c->phase = IDLE;
        idle[nidle++] = (int) (c - connections);
        usleep((useconds_t) (RETRIED * 1e6));
        return;
    }
    send_request(c, target);
}

/* The connection is idle: send the next request, or wait. */
static void go_on(struct connection *c)
{
    double when = now();

    c->phase = IDLE;
    if (rate == 0 && more_to_start(when)) {
        ask(c, when);
    } else {
        idle[nidle++] = (int) (c - connections);
    }
}

static void end_answer(struct connection *c)
{
    bool warmed = c->phase == WARMING;

    c->used = true;
    if (!warmed) {
        count_latency(now() - c->due);
        statuses[c->status]++;
        finished++;
    }
    if (one_shot) {
        close_connection(c);
    }
    if (warmed) {
        c->phase = IDLE;
        idle[nidle++] = (int) (c - connections);
    } else {
        go_on(c);
    }
}

static void fail(struct connection *c, long *counter)
{
    if (c->phase == WARMING) {
        fprintf(stderr, "client: the server does not answer\n");
        exit(1);
    }
    close_connection(c);
    if (c->phase == ASKING) {
        (*counter)++;
        finished++;
        go_on(c);
    }
}

/* Responses. */

static void parse_head(struct connection *c)
{
    char *line = c->head, *end;

    c->status = atoi(line + strlen("HTTP/1.1 "));
    c->body_left = 0;
    while ((end = strstr(line, "\r\n")) != NULL && end != line) {
        if (strncasecmp(line, "Content-Length: ", 16) == 0) {
            c->body_left = strtoul(line + 16, NULL, 10);
        } else if (strncasecmp(line, "Retry-After: ", 13) == 0 && c->phase == ASKING) {
            retry_afters++;
        } else if (strncasecmp(line, "X-Aisearch-Cache: ", 18) == 0 && c->phase == ASKING) {
            count_cache(line + 18, (size_t) (end - line) - 18);
        }
        line = end + 2;
    }
}

static void take(struct connection *c, size_t n)
{
    char *end;
    size_t body;

    if (c->head_done) {
        c->body_left -= n < c->body_left ? n : c->body_left;
    } else {
        c->len += n;
        c->head[c->len] = '\0';
        end = strstr(c->head, "\r\n\r\n");
        if (end == NULL) {
            return;
        }
        c->head_done = true;
        parse_head(c);
        body = c->len - (size_t) (end + 4 - c->head);
        c->body_left -= body < c->body_left ? body : c->body_left;
    }
    if (c->body_left == 0) {
        end_answer(c);
    }
}

static void receive(struct connection *c)
{
    char *to = c->head_done ? c->head : c->head + c->len;
    size_t room = HEAD_MAX - 1 - (c->head_done ? 0 : c->len);
    ssize_t n = recv(c->fd, to, room, 0);

    if (n < 0 && errno == EAGAIN) {
        return;
    }
    if (n <= 0) {
        fail(c, c->used && c->refusable ? &kept_closed : &cut_short);
        return;
    }
    if (c->phase == IDLE) {
        fprintf(stderr, "client: an answer that nobody asked for\n");
        exit(1);
    }
    c->refusable = false;
    take(c, (size_t) n);
}

/* The loop. */

static void check_deadlines(double when)
{
    for (int i = 0; i < nconnections; i++) {
        if (connections[i].phase != IDLE && connections[i].deadline < when) {
            fail(&connections[i], &timeouts);
        }
    }
}

static void wait_for_answers(double until)
{
    struct epoll_event events[512];
    double left = until - now();
    struct timespec timeout = {0};
    int n;

    if (left > 0) {
        timeout.tv_sec = (time_t) left;
        timeout.tv_nsec = (long) ((left - (double) timeout.tv_sec) * 1e9);
    }
    n = epoll_pwait2(epoll, events, 512, &timeout, NULL);
    for (int i = 0; i < n; i++) {
        struct connection *c = events[i].data.ptr;

        if (c->fd >= 0) {
            receive(c);
        }
    }
}

static void open_all(void)
{
    connections = calloc((size_t) nconnections, sizeof(*connections));
    idle = calloc((size_t) nconnections, sizeof(*idle));
    if (connections == NULL || idle == NULL) {
        die("calloc");
    }
    for (int i = 0; i < nconnections; i++) {
        connections[i].fd = -1;
        if (one_shot) {
            idle[nidle++] = i;
            continue;
        }
        if (!open_connection(&connections[i])) {
            die("connect");
        }
        if (warm_target == NULL) {
            idle[nidle++] = i;
            continue;
        }
        connections[i].phase = WARMING;
        send_request(&connections[i], warm_target);
    }
    while (nidle < nconnections) {
        wait_for_answers(now() + 0.1);
        check_deadlines(now());
    }
}

/* Sends the requests that are due, if connections are idle. */
static void start_due(double when)
{
    while (nidle > 0 && more_to_start(when)) {
        double due = rate > 0 ? began + (double) started / rate : when;

        if (due > when) {
            return;
        }
        ask(&connections[idle[--nidle]], due);
    }
}

static void run(void)
{
    double checked;

    began = checked = now();
    while (more_to_start(now()) || finished < started) {
        double when = now();
        double until = when + 0.1;

        start_due(when);
        if (rate > 0 && nidle > 0 && more_to_start(when) && began + (double) started / rate < until) {
            until = began + (double) started / rate;
        }
        wait_for_answers(until);
        if (when - checked > 0.1) {
            check_deadlines(when);
            checked = when;
        }
    }
}

static int usage(void)
{
    fprintf(stderr, "usage: client [-c CONNECTIONS] [-n REQUESTS | -s SECONDS] [-r RATE] [-j JOBS] [-f FIRST] [-o] "
                    "[-w TARGET] [-1] [-t SECONDS] [-g] PORT TARGET\n");
    return 2;
}

int main(int argc, char **argv)
{
    int option;

    while ((option = getopt(argc, argv, "c:n:s:r:j:f:ow:1t:g")) != -1) {
        switch (option) {
        case 'c':
            nconnections = atoi(optarg);
            break;
        case 'n':
            requests = atol(optarg);
            break;
        case 's':
            seconds = atof(optarg);
            break;
        case 'r':
            rate = atof(optarg);
            break;
        case 'j':
            jobs = atol(optarg);
            break;
        case 'f':
            first_job = atol(optarg);
            break;
        case 'o':
            in_order = true;
            break;
        case 'w':
            warm_target = optarg;
            break;
        case '1':
            one_shot = true;
            break;
        case 't':
            patience = atof(optarg);
            break;
        case 'g':
            on_command = true;
            break;
        default:
            return usage();
        }
    }
    if (argc - optind != 2 || nconnections < 1 || jobs < 1) {
        return usage();
    }
    port = atoi(argv[optind]);
    target = argv[optind + 1];
    if (requests < 0 && seconds <= 0) {
        requests = nconnections;
    }
    epoll = epoll_create1(EPOLL_CLOEXEC);
    open_all();
    if (on_command) {
        printf("ready\n");
        fflush(stdout);
        (void) getchar();
    }
    run();
    print_results(now() - began);
    return 0;
}
