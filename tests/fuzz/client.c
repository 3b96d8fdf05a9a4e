/* LDFLAGS: -Wl,--wrap=clock_gettime -Wl,--wrap=malloc -Wl,--wrap=calloc -Wl,--wrap=realloc -Wl,--wrap=strdup */
/*
 * The client with a server that sends whatever the input contains. The first line consists of words that configure the
 * client:
 *
 *     fetches=N retries=N max=N gate=N oom=N token email tcp tls proxy dead cancel abort drop ca=good|empty|missing
 *
 * The other lines are what the server sends, except for these:
 *
 *     %next   waits for another request     %close   closes the connection, and continues with the next one
 *     %wait   lets a second pass            %reset   resets it instead
 *     %fill TEXT      sends that text repeatedly, 32 KiB in all
 *     %lines TEXT     the same, as lines
 *
 * Everything runs in one thread, on a clock that only advances when nothing else happens.
 */

#define _GNU_SOURCE
#include "fuzz.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "ais_client.h"
#include "ais_clock.h"

#define PATH "/accounts/abc/ai-search/instances/x/jobs/1"
#define REQUEST "GET /client/v4" PATH " HTTP/1.1\r\n"
#define SECRET "fuzz-secret-0123456789"
#define TIMEOUT 20000
#define FETCHES 3

/* The clock. */

static int64_t now_ms = 1000000;

int __wrap_clock_gettime(clockid_t id, struct timespec *ts);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
    (void) id;
    ts->tv_sec = (time_t) (now_ms / 1000);
    ts->tv_nsec = (long) (now_ms % 1000 * 1000000);
    return 0;
}

/* Memory: the input may let one allocation of the library or of libcurl fail. */

static __thread unsigned long until_failure; /* 0: none fails */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__wrap_strdup(const char *s);

static bool fails(void)
{
    return until_failure > 0 && --until_failure == 0;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return fails() ? NULL : __real_realloc(p, size);
}

char *__wrap_strdup(const char *s)
{
    return fails() ? NULL : __real_strdup(s);
}

static void curl_free_memory(void *p)
{
    free(p);
}

/* The configuration of the client. */

struct options {
    int fetches;
    int retries;
    int max;
    int gate; /* number of requests that it allows; -1: any */
    int oom;
    bool token, email, proxy, tcp, tls, dead, cancel, abort, drop;
    char ca;
};

static int number_after(struct ais_str word, const char *name, int fallback)
{
    size_t len = strlen(name);
    int n = 0;

    if (word.len <= len || memcmp(word.data, name, len) != 0)
        return fallback;
    for (size_t i = len; i < word.len && i < len + 5 && word.data[i] >= '0' && word.data[i] <= '9'; i++)
        n = n * 10 + (word.data[i] - '0');
    return n;
}

static bool is(struct ais_str word, const char *text)
{
    return word.len == strlen(text) && memcmp(word.data, text, word.len) == 0;
}

static void read_word(struct options *o, struct ais_str word)
{
    o->fetches = number_after(word, "fetches=", o->fetches);
    o->retries = number_after(word, "retries=", o->retries);
    o->max = number_after(word, "max=", o->max);
    o->gate = number_after(word, "gate=", o->gate);
    o->oom = number_after(word, "oom=", o->oom);
    o->token |= is(word, "token");
    o->email |= is(word, "email");
    o->proxy |= is(word, "proxy");
    o->tcp |= is(word, "tcp");
    o->tls |= is(word, "tls");
    o->dead |= is(word, "dead");
    o->drop |= is(word, "drop");
    o->cancel |= is(word, "cancel");
    o->abort |= is(word, "abort");
    if (word.len > 3 && memcmp(word.data, "ca=", 3) == 0)
        o->ca = word.data[3];
}

static struct options read_options(struct ais_str line)
{
    struct options o = {.fetches = 1, .max = 1000, .gate = -1};

    while (line.len > 0) {
        const char *blank = memchr(line.data, ' ', line.len);
        struct ais_str word = {line.data, blank != NULL ? (size_t) (blank - line.data) : line.len};
        size_t used = word.len + (blank != NULL);

        read_word(&o, word);
        line.data += used;
        line.len -= used;
    }
    o.fetches = o.fetches < 1 ? 1 : o.fetches > FETCHES ? FETCHES : o.fetches;
    o.retries = o.retries > 3 ? 3 : o.retries;
    o.max = o.max > 0 ? o.max : 1; /* 0 means another limit */
    return o;
}

/* The server. */

struct server {
    int fd;
    int peer; /* -1: none */
    struct ais_str script;
    bool asked; /* a request has arrived since %next */
    bool ended; /* the end of the script */
    int64_t wait_until;
    char request[4096];
    size_t request_len;
};

static int tcp_port;
static char socket_path[100];
static int listeners[2]; /* Unix, TCP */

static void server_hang_up(struct server *s, bool hard)
{
    struct linger linger = {.l_onoff = 1};

    if (s->peer == -1)
        return;
    if (hard)
        (void) setsockopt(s->peer, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(s->peer);
    s->peer = -1;
    s->request_len = 0;
    s->asked = false;
}

/* The request is exactly as expected: nothing from the server's responses gets into a request. */
static void check_request(const struct server *s, const struct options *o)
{
    bool connect = memcmp(s->request, "CONNECT ", 8) == 0;

    MUST(connect || memcmp(s->request, REQUEST, strlen(REQUEST)) == 0);
    if (!o->token && !o->email)
        MUST(memmem(s->request, s->request_len, SECRET, strlen(SECRET)) == NULL);
    if (connect)
        MUST(memmem(s->request, strcspn(s->request, "\n"), SECRET, strlen(SECRET)) == NULL);
}

static void server_hear(struct server *s, const struct options *o, size_t len)
{
    s->request_len += len;
    s->request[s->request_len] = '\0';
    if (o->tls) {
        s->request_len = 0; /* a handshake that will fail, since this is not TLS */
        s->asked = true;
    } else if (s->request_len >= 4 && memcmp(s->request + s->request_len - 4, "\r\n\r\n", 4) == 0) {
        check_request(s, o);
        s->request_len = 0;
        s->asked = true;
    }
}

static bool server_listen(struct server *s, const struct options *o)
{
    bool progress = false;
    ssize_t n;

    if (s->peer == -1) {
        s->peer = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        return s->peer != -1;
    }
    while ((n = recv(s->peer, s->request + s->request_len, sizeof(s->request) - 1 - s->request_len, 0)) > 0) {
        progress = true;
        server_hear(s, o, (size_t) n);
    }
    if (n == 0 || (n == -1 && errno != EAGAIN)) {
        server_hang_up(s, false);
        progress = true;
    }
    return progress;
}

/* Sends the text, each time followed by the suffix. */
static void server_repeat(const struct server *s, struct ais_str text, const char *end)
{
    char data[32768];
    size_t piece = text.len + strlen(end);
    size_t len = 0;

    while (piece > 0 && piece <= sizeof(data) - len) {
        memcpy(data + len, text.data, text.len);
        memcpy(data + len + text.len, end, strlen(end));
        len += piece;
    }
    (void) send(s->peer, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Runs one line of the script. */
static bool server_act(struct server *s)
{
    struct ais_str line;

    if (s->peer == -1 || !s->asked || now_ms < s->wait_until)
        return false;
    if (s->script.len == 0) {
        bool progress = !s->ended;

        s->ended = true;
        return progress;
    }
    line = take_line(&s->script);
    if (is(line, "%next")) {
        s->asked = false;
    } else if (is(line, "%wait")) {
        s->wait_until = now_ms + 1000;
    } else if (is(line, "%close") || is(line, "%reset")) {
        server_hang_up(s, line.data[1] == 'r');
    } else if (line.len > 6 && memcmp(line.data, "%fill ", 6) == 0) {
        server_repeat(s, (struct ais_str){line.data + 6, line.len - 6}, "");
    } else if (line.len > 7 && memcmp(line.data, "%lines ", 7) == 0) {
        server_repeat(s, (struct ais_str){line.data + 7, line.len - 7}, "\r\n");
    } else {
        (void) send(s->peer, line.data, line.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        (void) send(s->peer, "\r\n", 2, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    return true;
}

/* The driver. */

#define WATCHES 64

struct loop {
    struct pollfd fds[WATCHES]; /* -1: unused */
    int64_t deadline;           /* for the timer, or AIS_NEVER */
};

static int loop_watch(void *data, int fd, unsigned events, void **slot)
{
    struct loop *loop = data;
    struct pollfd *watch = *slot;

    for (size_t i = 0; watch == NULL && events != 0 && i < WATCHES; i++)
        if (loop->fds[i].fd == -1)
            watch = &loop->fds[i];
    if (watch == NULL)
        return -1;
    watch->fd = events != 0 ? fd : -1;
    watch->events = (short) ((events & AIS_IN ? POLLIN : 0) | (events & AIS_OUT ? POLLOUT : 0));
    *slot = watch;
    return 0;
}

static void loop_timer(void *data, int64_t ms)
{
    struct loop *loop = data;

    loop->deadline = ms < 0 ? AIS_NEVER : ais_clock() + ms;
}

/* One iteration that does not wait. */
static void loop_run(struct loop *loop, struct ais_client *client)
{
    struct pollfd ready[WATCHES];

    memcpy(ready, loop->fds, sizeof(ready));
    (void) poll(ready, WATCHES, 0);
    for (size_t i = 0; i < WATCHES; i++) {
        bool error = (ready[i].revents & (POLLERR | POLLHUP)) != 0;
        unsigned events =
            (ready[i].revents & POLLIN || error ? AIS_IN : 0u) | (ready[i].revents & POLLOUT || error ? AIS_OUT : 0u);

        if (ready[i].fd != -1 && events != 0)
            ais_client_socket(client, ready[i].fd, events);
    }
    if (loop->deadline <= ais_clock()) {
        loop->deadline = AIS_NEVER;
        ais_client_timeout(client);
    }
}

/* The gate. */

struct gate {
    int left;
    unsigned inside;
    unsigned passed;
};

static bool enter(void *data, uint64_t *ticket)
{
    struct gate *gate = data;

    if (gate->left == 0)
        return false;
    gate->left -= gate->left > 0;
    gate->inside++;
    *ticket = 4000 + gate->passed++;
    return true;
}

static void leave(void *data, uint64_t ticket, bool given_up)
{
    struct gate *gate = data;

    (void) given_up;
    MUST(gate->inside > 0 && ticket >= 4000 && ticket < 4000 + gate->passed);
    gate->inside--;
}

/* Responses. */

struct result {
    struct ais_fetch *fetch;
    const struct options *options;
    unsigned done;
};

static void on_done(void *data, const struct ais_response *r)
{
    struct result *result = data;

    result->done++;
    result->fetch = NULL;
    MUST(result->done == 1);
    MUST((r->fault == AIS_FAULT_NONE) == (r->message[0] == '\0'));
    MUST(r->body.data != NULL && r->body.len <= (size_t) result->options->max);
    MUST(r->fault == AIS_FAULT_NONE || r->body.len == 0);
    MUST(r->fault != AIS_FAULT_NONE || (r->status >= 200 && r->status <= 999 && r->calls > 0));
    MUST(r->retry_after >= -1 && r->age >= -1 && r->limits.n <= AIS_LIMITS_MAX);
    MUST(r->limits.n == 0 || (r->status >= 200 && r->limits.uncertain >= 0));
    MUST(r->elapsed >= 0 && r->elapsed <= TIMEOUT + 2000);
    MUST(strstr(r->message, SECRET) == NULL);
    for (const char *p = r->message; *p != '\0'; p++)
        MUST((unsigned char) *p >= 0x20 && *p != 0x7f);
    MUST(memchr(r->cache, '\0', sizeof(r->cache)) != NULL);
}

/* The whole test. */

enum { UNIX, TCP, TLS, PROXY, DEAD, TARGETS };

static struct ais_credential *token, *email_key;
static struct ais_target targets[TARGETS];
static char ca_path[32];

struct play {
    const struct options *options;
    struct server server;
    struct loop loop;
    struct ais_client *client;
    struct ais_target target;
    struct gate gate;
    struct ais_gate gate_functions;
    struct result results[FETCHES];
};

static const struct ais_target *choose_target(const struct options *o)
{
    return &targets[o->dead ? DEAD : o->proxy ? PROXY : o->tls ? TLS : o->tcp ? TCP : UNIX];
}

static const struct ais_credential *choose_credential(const struct options *o)
{
    return o->token ? token : o->email ? email_key : NULL;
}

static const char *choose_ca(const struct options *o)
{
    return o->ca == 'e' ? "/dev/null" : o->ca == 'm' ? "/nonexistent/ca.pem" : ca_path;
}

/* Bounded time: whatever the server does, each fetch ends when it must. */
static void run(struct play *p)
{
    int64_t end = now_ms + TIMEOUT + 2000;

    while (ais_client_inflight(p->client) > 0) {
        bool progress;

        MUST(now_ms < end);
        loop_run(&p->loop, p->client);
        progress = server_listen(&p->server, p->options);
        progress |= server_act(&p->server);
        if (!progress)
            now_ms += 250;
    }
}

static void start_fetch(struct play *p, struct result *result)
{
    *result = (struct result){.options = p->options};
    result->fetch = ais_client_fetch(p->client, &p->target, choose_credential(p->options), PATH, on_done, result);
    MUST(result->fetch != NULL || p->options->oom > 0);
}

static void fetch_all(struct play *p)
{
    const struct options *o = p->options;
    int i;

    for (i = 0; i < o->fetches; i++)
        start_fetch(p, &p->results[i]);
    loop_run(&p->loop, p->client);
    if (o->cancel && p->results[0].fetch != NULL)
        ais_fetch_cancel(p->results[0].fetch);
    if (o->abort)
        ais_client_abort(p->client);
    if (o->drop)
        return; /* ended with the client */

    run(p);
    MUST(p->gate.inside == 0);
    for (i = 0; i < o->fetches; i++)
        MUST(p->results[i].fetch == NULL || (i == 0 && o->cancel && p->results[i].done == 0));
}

/* A file that contains no certificate, or does not exist, must be rejected. */
static void load_ca(struct play *p)
{
    struct ais_error err = {""};
    int rc = ais_client_load_ca(p->client, NULL, &err);

    MUST((rc == 0) == (err.text[0] == '\0'));
    MUST((rc == 0) == (p->options->ca != 'e' && p->options->ca != 'm') || p->options->oom > 0);
}

static void play(struct play *p)
{
    const struct options *o = p->options;
    struct ais_client_options client_options = {.ca_file = choose_ca(o), .max_host_connections = 1};
    struct ais_driver driver = {.data = &p->loop, .watch = loop_watch, .timer = loop_timer};
    struct ais_error err = {""};

    p->gate.left = o->gate;
    p->gate_functions = (struct ais_gate){.data = &p->gate, .enter = enter, .leave = leave};
    p->target = *choose_target(o);
    p->target.retries = (unsigned) o->retries;
    p->target.body_max = (size_t) o->max;
    p->target.gate = o->gate >= 0 ? &p->gate_functions : NULL;

    until_failure = (unsigned long) o->oom;
    for (size_t i = 0; i < WATCHES; i++)
        p->loop.fds[i].fd = -1;
    p->loop.deadline = AIS_NEVER;
    p->client = ais_client_create(&driver, &client_options, &err);
    MUST((p->client != NULL) == (err.text[0] == '\0') && (p->client != NULL || o->oom > 0));
    if (p->client != NULL && o->ca != '\0')
        load_ca(p);
    if (p->client != NULL)
        fetch_all(p);
    ais_client_destroy(p->client);
    until_failure = 0;
    MUST(p->gate.inside == 0);
}

/* Preparations before the first input. */

/* Creates a file in memory that is read from its beginning by everyone who opens it. It stays open. */
static void make_file(char *path, size_t size, const char *text)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);

    MUST(fd != -1 && write(fd, text, strlen(text)) == (ssize_t) strlen(text));
    snprintf(path, size, "/proc/self/fd/%d", fd);
}

static void make_credentials(void)
{
    char path[32];

    make_file(path, sizeof(path), SECRET "\n");
    token = ais_credential_token(path, NULL);
    email_key = ais_credential_email_key("user@example.com", path, NULL);
    MUST(token != NULL && email_key != NULL);
}

static void make_ca(void)
{
    make_file(ca_path, sizeof(ca_path),
              "-----BEGIN CERTIFICATE-----\n"
              "MIIBbzCCARWgAwIBAgIURs3U2z08Y/k7bF02O7XOu4uq2FowCgYIKoZIzj0EAwIw\n"
              "DDEKMAgGA1UEAwwBeDAgFw0yNjExMjMxNzM2MzdaGA8yMTI2MTAzMDE3MzYzN1ow\n"
              "DDEKMAgGA1UEAwwBeDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABGWqR7wypv/9\n"
              "I/2S026WD0g228BBi6z4OJ+2M7h99d6YbJCpb3qOGhR8GtJkZ86REvu9lg+zrGiZ\n"
              "50nLYyPuMSmjUzBRMB0GA1UdDgQWBBSo20SGpzmYArFXOE7B7Cdjz37T7DAfBgNV\n"
              "HSMEGDAWgBSo20SGpzmYArFXOE7B7Cdjz37T7DAPBgNVHRMBAf8EBTADAQH/MAoG\n"
              "CCqGSM49BAMCA0gAMEUCIFDiRptZj/w9hnje4eGhhHA2/K2/mJqi7nl7jR1/vLrD\n"
              "AiEA+bQIf6WOHnBiAQUjTaPCyAMso3SzZRripoYTQJhMnr8=\n"
              "-----END CERTIFICATE-----\n");
}

static int listen_at(int family, const struct sockaddr *address, socklen_t len)
{
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    MUST(fd != -1 && bind(fd, address, len) == 0 && listen(fd, 16) == 0);
    return fd;
}

static void remove_socket(void)
{
    unlink(socket_path);
}

static void listen_unix(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *dir = getenv("TMPDIR");

    snprintf(socket_path, sizeof(socket_path), "%s/aisearch-fuzz-%ld.sock", dir != NULL ? dir : "/tmp",
             (long) getpid());
    unlink(socket_path);
    strcpy(address.sun_path, socket_path);
    listeners[0] = listen_at(AF_UNIX, (struct sockaddr *) &address, sizeof(address));
    atexit(remove_socket);
}

static void listen_tcp(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);

    listeners[1] = listen_at(AF_INET, (struct sockaddr *) &address, sizeof(address));
    MUST(getsockname(listeners[1], (struct sockaddr *) &address, &len) == 0);
    tcp_port = ntohs(address.sin_port);
}

static void make_target(int which, const char *proxy, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void make_target(int which, const char *proxy, const char *format, ...)
{
    struct ais_target *target = &targets[which];
    char url[200];
    va_list args;

    va_start(args, format);
    vsnprintf(url, sizeof(url), format, args);
    va_end(args);
    *target = (struct ais_target){
        .proxy = proxy,
        .verify_peer = true,
        .verify_host = true,
        .connect_timeout = TIMEOUT,
        .timeout = TIMEOUT,
    };
    MUST(ais_url_parse(&target->url, url, NULL) == 0);
}

static void make_targets(void)
{
    static char proxy[64];

    snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%d", tcp_port);
    make_target(UNIX, NULL, "http://unix:%s:/client/v4", socket_path);
    make_target(TCP, NULL, "http://127.0.0.1:%d/client/v4", tcp_port);
    make_target(TLS, NULL, "https://127.0.0.1:%d/client/v4", tcp_port);
    make_target(PROXY, proxy, "http://api.invalid/client/v4");
    make_target(DEAD, NULL, "http://unix:/nonexistent/api.sock:/client/v4");
}

static void set_up(void)
{
    MUST(curl_global_init_mem(CURL_GLOBAL_DEFAULT, __wrap_malloc, curl_free_memory, __wrap_realloc, __wrap_strdup,
                              __wrap_calloc) == CURLE_OK);
    MUST(ais_client_global_init() == 0);
    make_credentials();
    make_ca();
    listen_unix();
    listen_tcp();
    make_targets();
}

/* Connections that are still queued from this input must not be accepted for the next one. */
static void empty_line(int fd)
{
    int peer;

    while ((peer = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) != -1)
        close(peer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ais_str rest = whole_input(data, size);
    struct options options = read_options(take_line(&rest));
    struct play p = {.options = &options, .server = {.peer = -1, .script = rest}};

    if (token == NULL)
        set_up();
    p.server.fd = listeners[options.tcp || options.proxy || options.tls];
    play(&p);
    server_hang_up(&p.server, false);
    empty_line(p.server.fd);
    return 0;
}
