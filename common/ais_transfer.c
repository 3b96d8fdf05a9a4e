#include "ais_transfer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "ais_ca.h"
#include "ais_clock.h"
#include "ais_meter.h"
#include "ais_time.h"
#include "ais_utf8.h"
#include "ais_version.h"

#define BODY_FIRST_SIZE 4096

/* The API's headers have one or two KiB. */
#define HEADER_MAX ((size_t) 128 * 1024)

/* libcurl reads a proxy's answer to CONNECT byte by byte, and does not come back before its end, or a pause in it. */
#define PROXY_TURNS_MAX (8 * 1024)

/* Of a connection without TLS. */
#define PLAIN_BUFFER_SIZE 2048L

/* How long the other side may take to acknowledge what it was sent. */
#define ACKNOWLEDGED_MS 10000

/* RFC 9111, section 1.2.2: what a recipient takes for a delta-seconds that is too great. */
#define DELTA_SECONDS_MAX ((int64_t) 1 << 31)

static int64_t wall_clock(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* The request. */

static int add_header(void *data, const char *line)
{
    struct ais_transfer *t = data;
    struct curl_slist *headers = curl_slist_append(t->headers, line);

    if (headers == NULL)
        return -1;

    t->headers = headers;
    return 0;
}

static void wipe_headers(struct curl_slist *headers)
{
    for (struct curl_slist *h = headers; h != NULL; h = h->next)
        ais_wipe(h->data, strlen(h->data));
    curl_slist_free_all(headers);
}

static void note_connecting(struct ais_transfer *t)
{
    if (t->connecting_since == AIS_NEVER)
        t->connecting_since = ais_clock();
}

/*
 * Where what was sent is not even acknowledged, the connection is dead, whatever goes on in the network: the kernel
 * tells so to all that share it, rather than a quarter of an hour later. Connects are left to libcurl's own timeout.
 */
static void limit_silence(int fd, unsigned ms)
{
#ifdef TCP_USER_TIMEOUT
    (void) setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
#endif
}

/*
 * Whether it repeats the request because the server asks for HTTP/1.1 (RST_STREAM with HTTP_1_1_REQUIRED). Only what it
 * says of the try so far tells: that code, or, where it was the first request of its connection, that nothing came.
 */
static bool wants_http_1(const struct ais_transfer *t)
{
    return t->tls &&
           (strstr(t->message, "HTTP_1_1_REQUIRED") != NULL || strcmp(t->message, "Empty reply from server") == 0);
}

/*
 * libcurl is about to make a connection to send the request again, and has left its own for good. With TLS it does that
 * badly: 7.88 makes a connection for each of the many that were refused on one, where one would do; and where the
 * server wants HTTP/1.1 it lets those that want HTTP/2 go by that connection too, several at once. So it is begun anew.
 */
static void begin_repeat(struct ais_transfer *t)
{
    struct ais_connection *c = ais_connection_get(t->connections, t->connection);

    if (c != NULL)
        c->distrusted = true;
    t->http_1_required = wants_http_1(t);
    t->repeat_refused = t->calls >= t->how.calls_max;
    t->deferred = t->tls && !t->repeat_refused;
}

/* Whether the connection that it should have joined has just turned out to be a bad one. */
static bool is_stranded(const struct ais_transfer *t)
{
    return t->tls && !t->how.fresh && !t->how.http_1 &&
           ais_connection_is_barred(t->connections, t->origin, t->how.label);
}

/* Whether libcurl may open a connection. It asks for each address. */
static bool may_open(struct ais_transfer *t)
{
    if (!t->opening) {
        t->opening = true;
        if (t->sent)
            begin_repeat(t);
        else
            t->deferred = is_stranded(t);
    }
    return !t->repeat_refused && !t->deferred;
}

static void add_connection(struct ais_transfer *t, int fd)
{
    struct ais_connection *c = ais_connection_add(t->connections, fd, t->origin, t->how.label);

    t->made = 0;
    if (c != NULL) {
        c->opener = t;
        t->made = c->id;
    }
}

/* As libcurl does it, but closed on exec: what the process starts must not get hold of a connection. */
static curl_socket_t open_socket(void *data, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct ais_transfer *t = data;
    int fd;

    note_connecting(t);
    if (!may_open(t))
        return CURL_SOCKET_BAD;

    fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (fd == -1 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM))
        t->no_socket = true;
    if (fd != -1 && purpose == CURLSOCKTYPE_IPCXN && address->family != AF_UNIX) {
        limit_silence(fd, ACKNOWLEDGED_MS);
        add_connection(t, fd);
    }
    return fd;
}

static int close_socket(void *data, curl_socket_t fd)
{
    ais_connection_close(data, fd, ais_clock());
    return close(fd);
}

/* It is connected, and TLS begins. Where it tried several addresses, the other sockets are closed by now. */
static CURLcode on_tls(CURL *easy, void *ssl_ctx, void *data)
{
    struct ais_transfer *t = data;
    struct ais_connection *c = ais_connection_opened_by(t->connections, t);

    (void) easy;
    if (c != NULL) {
        t->made = c->id;
        ais_meter_tls(ssl_ctx, t->connections, c);
    }
    return CURLE_OK;
}

static void read_address(const struct sockaddr_storage *address, char *ip, socklen_t size, int *port)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *) address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *) address;
    bool is_v6 = address->ss_family == AF_INET6;
    const void *number = is_v6 ? (const void *) &v6->sin6_addr : (const void *) &v4->sin_addr;

    *port = ntohs(is_v6 ? v6->sin6_port : v4->sin_port);
    if (inet_ntop(address->ss_family, number, ip, size) == NULL)
        ip[0] = '\0';
}

static void read_addresses(struct ais_connection *c)
{
    struct sockaddr_storage local = {.ss_family = AF_UNSPEC};
    struct sockaddr_storage remote = {.ss_family = AF_UNSPEC};
    socklen_t local_len = sizeof(local);
    socklen_t remote_len = sizeof(remote);
    struct ais_addresses *a = &c->addresses;

    (void) getsockname(c->fd, (struct sockaddr *) &local, &local_len);
    (void) getpeername(c->fd, (struct sockaddr *) &remote, &remote_len);
    read_address(&local, a->local_ip, sizeof(a->local_ip), &a->local_port);
    read_address(&remote, a->remote_ip, sizeof(a->remote_ip), &a->remote_port);
}

/* libcurl says which connection it is only after the request, and by then it may be closed. But it tells addresses. */
static uint64_t find_connection(const struct ais_transfer *t, const struct ais_addresses *addresses)
{
    struct ais_connection *c = ais_connection_between(t->connections, addresses);

    if (c != NULL)
        return c->id;

    for (c = t->connections->first; c != NULL; c = c->next) {
        if (!c->up) {
            read_addresses(c);
            c->up = ais_addresses_eq(&c->addresses, addresses);
            if (c->up)
                return c->id;
        }
    }
    return 0;
}

/* libcurl calls this before it has a name looked up. */
static int on_resolve(void *resolver, void *reserved, void *data)
{
    struct ais_transfer *t = data;

    (void) resolver;
    (void) reserved;
    note_connecting(t);
    return 0;
}

static void leave_gate(struct ais_transfer *t, bool stopped)
{
    if (t->entered) {
        t->entered = false;
        t->gate->leave(t->gate->data, t->ticket, stopped && !t->header_begun);
    }
}

static bool enter_gate(struct ais_transfer *t)
{
    if (t->gate == NULL)
        return true;

    leave_gate(t, false); /* for the request that libcurl repeats now: its connection was dead */
    t->entered = t->gate->enter(t->gate->data, &t->ticket);
    t->gate_closed = !t->entered;
    return t->entered;
}

/* libcurl calls this before each request that it sends, those that it repeats by itself included. */
static int on_request(void *data, char *remote_ip, char *local_ip, int remote_port, int local_port)
{
    struct ais_transfer *t = data;
    struct ais_addresses addresses = {.local_port = local_port, .remote_port = remote_port};
    struct ais_connection *c;

    if (t->calls >= t->how.calls_max) {
        t->repeat_refused = true;
        return CURL_PREREQFUNC_ABORT;
    }
    if (!enter_gate(t))
        return CURL_PREREQFUNC_ABORT;

    t->opening = false;
    snprintf(addresses.local_ip, sizeof(addresses.local_ip), "%s", local_ip);
    snprintf(addresses.remote_ip, sizeof(addresses.remote_ip), "%s", remote_ip);
    t->connection = find_connection(t, &addresses);
    t->newest = t->connections->last_id;
    c = ais_connection_get(t->connections, t->connection);
    if (c != NULL)
        ais_allowance_add_request(&c->allowance);
    t->calls++;
    t->sent = true;
    t->sent_at = ais_clock();
    /* Should it have to be repeated: not by another kept connection, which may be dead as well. */
    (void) curl_easy_setopt(t->easy, CURLOPT_FRESH_CONNECT, 1L);
    return CURL_PREREQFUNC_OK;
}

/* The answer. */

/* The header, but neither those of interim answers nor trailers, and the body. */
static void note_answer(const struct ais_transfer *t, size_t bytes)
{
    struct ais_connection *c = ais_connection_get(t->connections, t->connection);

    if (c != NULL)
        ais_allowance_add_answer(&c->allowance, bytes);
}

/* It has sent too much of what had to be read. */
static void note_flood(const struct ais_transfer *t, uint64_t id)
{
    struct ais_connection *c = ais_connection_get(t->connections, id);

    if (c != NULL && !c->flooded)
        ais_connection_note_flood(t->connections, c, ais_clock());
}

static bool name_is(struct ais_str name, const char *text)
{
    return name.len == strlen(text) && strncasecmp(name.data, text, name.len) == 0;
}

static void copy_cache(struct ais_transfer *t, struct ais_str value)
{
    t->cache[0] = '\0';
    if (value.len >= sizeof(t->cache))
        return;

    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] < 'A' || value.data[i] > 'Z')
            return;
    }
    memcpy(t->cache, value.data, value.len);
    t->cache[value.len] = '\0';
}

static void add_line(struct ais_field_lines *lines, struct ais_str value)
{
    size_t comma = lines->len > 0 ? 1 : 0;

    if (lines->too_long || value.len + comma > sizeof(lines->text) - lines->len) {
        lines->too_long = true;
        return;
    }
    if (comma > 0)
        lines->text[lines->len++] = ',';
    memcpy(lines->text + lines->len, value.data, value.len);
    lines->len += value.len;
}

static struct ais_str joined(const struct ais_field_lines *lines)
{
    return (struct ais_str){lines->text, lines->too_long ? 0 : lines->len};
}

static void forget_lines(struct ais_field_lines *lines)
{
    lines->len = 0;
    lines->too_long = false;
}

static void read_limits(const struct ais_transfer *t, struct ais_limits *limits)
{
    ais_limits_parse(limits, joined(&t->ratelimit), joined(&t->ratelimit_policy), t->header_at);
    ais_limits_add_old(limits, t->old_remaining, t->old_reset_at);
    limits->uncertain = t->header_at - t->sent_at;
}

static void read_field(struct ais_transfer *t, struct ais_str name, struct ais_str value)
{
    int64_t n;

    if (name_is(name, "retry-after")) {
        t->retry_after = ais_policy_retry_after(value, wall_clock());
    } else if (name_is(name, "ratelimit")) {
        add_line(&t->ratelimit, value);
    } else if (name_is(name, "ratelimit-policy")) {
        add_line(&t->ratelimit_policy, value);
    } else if (name_is(name, "x-ratelimit-remaining")) {
        t->old_remaining = ais_str_number(value, INT32_MAX);
    } else if (name_is(name, "x-ratelimit-reset")) {
        t->old_reset_at = ais_time_parse_http(value, &n) ? n - wall_clock() + ais_clock() : -1;
    } else if (name_is(name, "age")) {
        n = ais_str_number(value, DELTA_SECONDS_MAX);
        t->age = n < 0 ? -1 : n * 1000;
    } else if (name_is(name, "x-aisearch-cache")) {
        copy_cache(t, value);
    }
}

static void forget_header(struct ais_transfer *t)
{
    t->header_begun = false;
    t->header_done = false;
    t->retry_after = -1;
    t->age = -1;
    t->cache[0] = '\0';
    t->old_remaining = -1;
    t->old_reset_at = -1;
    forget_lines(&t->ratelimit);
    forget_lines(&t->ratelimit_policy);
}

/* The header is whole. It may say that the connection is not to be used any more. */
static void end_header(struct ais_transfer *t, int status)
{
    const struct ais_connection *c = ais_connection_get(t->connections, t->connection);
    enum ais_outcome outcome = ais_connection_outcome(AIS_FAULT_NONE, status);

    t->header_done = true;
    t->header_at = ais_clock();
    note_answer(t, t->header_len - t->header_from);
    if (outcome != AIS_OUTCOME_GOOD && (c == NULL || !ais_connection_survives(c, outcome)))
        ais_transfer_distrust(t);
}

/* Called with each line: the status line, the fields, the empty line; after 1xx again, and for trailers. */
static size_t on_header(char *line, size_t size, size_t n, void *data)
{
    struct ais_transfer *t = data;
    struct ais_str text = ais_str_trim((struct ais_str){line, size * n});
    const char *colon;
    long status = 0;

    t->header_len += size * n;
    if (t->header_len > HEADER_MAX) {
        t->header_too_large = true;
        note_flood(t, t->connection);
        ais_transfer_distrust(t);
        return 0;
    }
    if (t->header_done)
        return size * n; /* a trailer */
    if (text.len == 0) {
        curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
        if (status >= 200)
            end_header(t, (int) status);
        return size * n;
    }
    if (text.len >= 5 && memcmp(text.data, "HTTP/", 5) == 0) {
        forget_header(t);
        t->header_begun = true;
        t->header_from = t->header_len - size * n;
        return size * n;
    }
    colon = memchr(text.data, ':', text.len);
    if (colon != NULL) {
        struct ais_str name = {text.data, (size_t) (colon - text.data)};
        struct ais_str value = {colon + 1, text.len - name.len - 1};

        read_field(t, name, ais_str_trim(value));
    }
    return size * n;
}

static int reserve(struct ais_transfer *t, size_t len)
{
    size_t size = t->body_size > 0 ? t->body_size : BODY_FIRST_SIZE;
    char *body;

    while (size < len)
        size *= 2;
    if (size == t->body_size)
        return 0;

    body = realloc(t->body, size);
    if (body == NULL)
        return -1;

    t->body = body;
    t->body_size = size;
    return 0;
}

static size_t on_body(char *data, size_t size, size_t n, void *userdata)
{
    struct ais_transfer *t = userdata;
    size_t len = size * n;

    note_answer(t, len);
    if (len > t->body_max - t->body_len) {
        t->too_large = true;
        ais_transfer_distrust(t);
        return 0;
    }
    if (reserve(t, t->body_len + len) != 0) {
        t->no_memory = true;
        return 0;
    }
    memcpy(t->body + t->body_len, data, len);
    t->body_len += len;
    return len;
}

/* Whether it has brought too much. */
static bool is_flooded(const struct ais_transfer *t)
{
    struct ais_connection *c = ais_connection_get(t->connections, t->sent ? t->connection : t->made);

    if (c == NULL)
        return false;

    ais_meter_look(t->connections, c);
    return c->flooded;
}

/* libcurl calls this at each turn of its loops. */
static int on_progress(void *data, curl_off_t dltotal, curl_off_t dlnow, curl_off_t ultotal, curl_off_t ulnow)
{
    struct ais_transfer *t = data;

    (void) dltotal;
    (void) dlnow;
    (void) ultotal;
    (void) ulnow;
    if (is_flooded(t))
        return 1;
    if (t->sent || ++t->turns <= PROXY_TURNS_MAX)
        return 0;

    t->proxy_endless = true;
    note_flood(t, t->made);
    return 1;
}

/* Whether what its connections bring in TLS is counted there. */
static bool counts_itself(const struct ais_transfer *t)
{
    return t->tls && ais_meter_sees_tls();
}

/* The options, in groups of one concern. Each returns CURLE_OK, or what failed first. */

#define SET(t, option, value)                                                                                          \
    do {                                                                                                               \
        CURLcode rc_ = curl_easy_setopt((t)->easy, option, value);                                                     \
        if (rc_ != CURLE_OK)                                                                                           \
            return rc_;                                                                                                \
    } while (0)

static CURLcode set_request(struct ais_transfer *t, const struct ais_target *target, const char *path)
{
    size_t base_len = strlen(target->url.base);
    size_t path_len = strlen(path);
    char *url = malloc(base_len + path_len + 1);
    CURLcode rc;

    if (url == NULL)
        return CURLE_OUT_OF_MEMORY;

    memcpy(url, target->url.base, base_len);
    memcpy(url + base_len, path, path_len + 1);
    rc = curl_easy_setopt(t->easy, CURLOPT_URL, url);
    free(url);
    if (rc != CURLE_OK)
        return rc;

    SET(t, CURLOPT_PROTOCOLS_STR, "http,https");
    SET(t, CURLOPT_PATH_AS_IS, 1L);
    SET(t, CURLOPT_FOLLOWLOCATION, 0L);
    SET(t, CURLOPT_HTTPGET, 1L);
    SET(t, CURLOPT_HTTP09_ALLOWED, 0L);
    SET(t, CURLOPT_USERAGENT, "aisearch-jobs/" AIS_VERSION);
    SET(t, CURLOPT_HTTPHEADER, t->headers);
    SET(t, CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
    return CURLE_OK;
}

static CURLcode set_connection(struct ais_transfer *t, const struct ais_target *target)
{
    bool is_unix = target->url.unix_socket[0] != '\0';
    bool by_proxy = target->proxy != NULL && !is_unix;

    /* Without both, a DNS look-up that outlasts its timeout blocks until its thread has ended. */
    SET(t, CURLOPT_NOSIGNAL, 1L);
    SET(t, CURLOPT_QUICK_EXIT, 1L);

    SET(t, CURLOPT_RESOLVER_START_FUNCTION, on_resolve);
    SET(t, CURLOPT_RESOLVER_START_DATA, t);
    SET(t, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    SET(t, CURLOPT_OPENSOCKETDATA, t);
    SET(t, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
    SET(t, CURLOPT_CLOSESOCKETDATA, t->connections); /* not t: the connection outlives it */
    SET(t, CURLOPT_TCP_KEEPALIVE, 1L);
    if (!t->tls) {
        SET(t, CURLOPT_BUFFERSIZE,
            PLAIN_BUFFER_SIZE); /* 7.88 reads a hundred of them before it tells of its progress */
    }
    SET(t, CURLOPT_MAXAGE_CONN, 60L);        /* idle: before most servers drop it */
    SET(t, CURLOPT_MAXLIFETIME_CONN, 3600L); /* at all: to follow changes of the DNS */
    if (is_unix)
        SET(t, CURLOPT_UNIX_SOCKET_PATH, target->url.unix_socket);

    /* "" rather than NULL: with NULL libcurl would ask the environment. */
    SET(t, CURLOPT_PROXY, by_proxy ? target->proxy : "");
    SET(t, CURLOPT_NOPROXY, "");
    /* Always a tunnel, so that the proxy sees no request of ours, and none of its headers. */
    SET(t, CURLOPT_HTTPPROXYTUNNEL, 1L);
    SET(t, CURLOPT_NOPROGRESS, by_proxy || !counts_itself(t) ? 0L : 1L);
    SET(t, CURLOPT_XFERINFOFUNCTION, on_progress);
    SET(t, CURLOPT_XFERINFODATA, t);
    SET(t, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    SET(t, CURLOPT_HEADEROPT, (long) CURLHEADER_SEPARATE);
    return CURLE_OK;
}

static CURLcode set_tls(struct ais_transfer *t, const struct ais_target *target, const char *ca_file)
{
    SET(t, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
    SET(t, CURLOPT_SSL_VERIFYPEER, target->verify_peer ? 1L : 0L);
    SET(t, CURLOPT_SSL_VERIFYHOST, target->verify_host ? 2L : 0L);
    if (ais_meter_sees_tls()) {
        SET(t, CURLOPT_SSL_CTX_FUNCTION, on_tls);
        SET(t, CURLOPT_SSL_CTX_DATA, t);
    }
    return ais_ca_configure(t->easy, ca_file);
}

static CURLcode set_answer(struct ais_transfer *t)
{
    SET(t, CURLOPT_PREREQFUNCTION, on_request);
    SET(t, CURLOPT_PREREQDATA, t);
    SET(t, CURLOPT_HEADERFUNCTION, on_header);
    SET(t, CURLOPT_HEADERDATA, t);
    SET(t, CURLOPT_WRITEFUNCTION, on_body);
    SET(t, CURLOPT_WRITEDATA, t);
    SET(t, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t) t->body_max);
    SET(t, CURLOPT_ERRORBUFFER, t->message);
    return CURLE_OK;
}

static CURLcode set_all(struct ais_transfer *t, const struct ais_target *target, const char *ca_file, const char *path)
{
    CURLcode rc = set_request(t, target, path);

    if (rc == CURLE_OK)
        rc = set_connection(t, target);
    if (rc == CURLE_OK)
        rc = set_tls(t, target, ca_file);
    if (rc == CURLE_OK)
        rc = set_answer(t);
    return rc;
}

/* Of a URL without a user: all in front of the path. */
static struct ais_str origin_of(const char *url)
{
    const char *host = strstr(url, "://");

    host = host != NULL ? host + 3 : url;
    return (struct ais_str){url, (size_t) (host - url) + strcspn(host, "/")};
}

int ais_transfer_init(struct ais_transfer *t, const struct ais_target *target, struct ais_connections *connections,
                      const char *ca_file, const struct ais_credential *cred, const char *path)
{
    memset(t, 0, sizeof(*t));
    t->tls = target->url.tls;
    t->origin = origin_of(target->url.base);
    t->unix_socket = target->url.unix_socket;
    t->connections = connections;
    t->body_max = target->body_max > 0 ? target->body_max : AIS_BODY_MAX;
    t->gate = target->gate;
    t->easy = curl_easy_init();
    if (t->easy == NULL || add_header(t, "Accept: application/json") != 0 ||
        (cred != NULL && ais_credential_headers(cred, add_header, t) != 0) ||
        set_all(t, target, ca_file, path) != CURLE_OK) {
        ais_transfer_free(t);
        return -1;
    }
    return 0;
}

void ais_transfer_clear(struct ais_transfer *t)
{
    forget_header(t);
    t->made = 0;
    t->connection = 0;
    t->gate_closed = false;
    t->opening = false;
    t->repeat_refused = false;
    t->deferred = false;
    t->http_1_required = false;
    t->connecting_since = AIS_NEVER;
    t->sent = false;
    t->too_large = false;
    t->header_len = 0;
    t->header_from = 0;
    t->header_too_large = false;
    t->turns = 0;
    t->proxy_endless = false;
    t->no_memory = false;
    t->no_socket = false;
    t->body_len = 0;
    t->message[0] = '\0';
}

/*
 * libcurl reuses a connection only for a transfer with the same TLS options (since CVE-2022-27782). These have no
 * meaning for any TLS library but Windows' own, so here they say nothing, and tell connections apart.
 */
static long label_options(unsigned label)
{
    static const long bits[] = {CURLSSLOPT_NO_REVOKE, CURLSSLOPT_REVOKE_BEST_EFFORT, CURLSSLOPT_AUTO_CLIENT_CERT};
    long options = 0;

    for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++)
        options |= (label >> i) & 1 ? bits[i] : 0;
    return options;
}

void ais_transfer_begin(struct ais_transfer *t, const struct ais_try *how)
{
    bool http_2 = counts_itself(t) && !how->http_1; /* of HTTP/2 libcurl tells no progress */
    long version = http_2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1;

    t->how = *how;
    (void) curl_easy_setopt(t->easy, CURLOPT_TIMEOUT_MS, (long) how->timeout);
    (void) curl_easy_setopt(t->easy, CURLOPT_CONNECTTIMEOUT_MS, (long) how->connect_timeout);
    (void) curl_easy_setopt(t->easy, CURLOPT_SSL_OPTIONS, label_options(how->label));
    (void) curl_easy_setopt(t->easy, CURLOPT_FRESH_CONNECT, how->fresh ? 1L : 0L);
    (void) curl_easy_setopt(t->easy, CURLOPT_FORBID_REUSE, 0L);
    (void) curl_easy_setopt(t->easy, CURLOPT_HTTP_VERSION, version);
    (void) curl_easy_setopt(t->easy, CURLOPT_PIPEWAIT, http_2 ? 1L : 0L);
}

void ais_transfer_distrust(struct ais_transfer *t)
{
    (void) curl_easy_setopt(t->easy, CURLOPT_FORBID_REUSE, 1L);
}

void ais_transfer_give_up(const struct ais_transfer *t)
{
    struct ais_connection *c = ais_connection_get(t->connections, t->connection);

    if (c != NULL)
        ais_allowance_add_rest(&c->allowance);
}

/* A connection or an answer that broke: how far had it come? */
static enum ais_fault broken(const struct ais_transfer *t)
{
    if (t->header_done)
        return AIS_FAULT_BODY;
    return t->header_begun ? AIS_FAULT_SERVER : AIS_FAULT_CONNECT;
}

/* How many bytes were too many for the connection that it went by, or was to go by; 0: none. */
static uint64_t flood(const struct ais_transfer *t)
{
    uint64_t id = t->sent ? t->connection : t->made;

    return id != 0 ? ais_connection_flood(t->connections, id) : 0;
}

static enum ais_fault fault_of(const struct ais_transfer *t, CURLcode code)
{
    if (t->gate_closed)
        return AIS_FAULT_BUDGET;
    if (t->header_too_large)
        return t->header_done ? AIS_FAULT_BODY : AIS_FAULT_SERVER;
    if (t->repeat_refused || t->proxy_endless)
        return AIS_FAULT_CONNECT;
    if (t->too_large || code == CURLE_FILESIZE_EXCEEDED)
        return AIS_FAULT_BODY;
    if (flood(t) > 0)
        return code == CURLE_SSL_CONNECT_ERROR ? AIS_FAULT_TLS : broken(t);
    if (t->no_memory)
        return AIS_FAULT_INTERNAL;

    switch (code) {
    case CURLE_OK:
        return t->header_done ? AIS_FAULT_NONE : broken(t);

    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_PROXY:
        return t->no_socket ? AIS_FAULT_INTERNAL : AIS_FAULT_CONNECT;

    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
        return broken(t);

    case CURLE_UNSUPPORTED_PROTOCOL: /* HTTP/0.9 */
    case CURLE_WEIRD_SERVER_REPLY:
        return t->header_done ? AIS_FAULT_BODY : AIS_FAULT_SERVER;

    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CRL_BADFILE:
    case CURLE_SSL_ENGINE_INITFAILED:
    case CURLE_SSL_ENGINE_NOTFOUND:
    case CURLE_SSL_ENGINE_SETFAILED:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
    case CURLE_SSL_SHUTDOWN_FAILED:
    case CURLE_USE_SSL_FAILED:
        return AIS_FAULT_TLS;

    case CURLE_OPERATION_TIMEDOUT:
        return AIS_FAULT_TIMEOUT;

    case CURLE_OUT_OF_MEMORY: /* libcurl 7.88 says so of a line in the header that is beyond its limit, too */
        return t->header_begun && !t->header_done ? AIS_FAULT_SERVER : AIS_FAULT_INTERNAL;

    default: /* some codes are newer than the headers that this was built with */
        return t->header_begun ? broken(t) : AIS_FAULT_INTERNAL;
    }
}

/* libcurl's text, where it has one; names in it may come from a certificate, so nothing unprintable goes into a log. */
/* Where it was to go, and why it did not get there. libcurl tells neither of a Unix socket, nor an errno. */
static void set_connect_message(struct ais_transfer *t)
{
    size_t len = strlen(t->message);
    long error = 0;

    (void) curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &error);
    if (error == 0)
        return;
    if (t->unix_socket[0] != '\0') {
        snprintf(t->message, sizeof(t->message), "connect() to unix:%s failed (%ld: %s)", t->unix_socket, error,
                 strerror((int) error));
    } else {
        snprintf(t->message + len, sizeof(t->message) - len, " (%ld: %s)", error, strerror((int) error));
    }
}

static void set_message(struct ais_transfer *t, CURLcode code)
{
    if (t->gate_closed) {
        snprintf(t->message, sizeof(t->message), "%s", ais_policy_client_text(AIS_FAULT_BUDGET));
    } else if (t->proxy_endless) {
        snprintf(t->message, sizeof(t->message), "the proxy's answer to CONNECT is larger than %d bytes",
                 PROXY_TURNS_MAX);
    } else if (t->header_too_large) {
        snprintf(t->message, sizeof(t->message),
                 "the header of the answer, with its trailers, is larger than %zu bytes", HEADER_MAX);
    } else if (t->too_large || code == CURLE_FILESIZE_EXCEEDED) {
        snprintf(t->message, sizeof(t->message), "the answer is larger than %zu bytes", t->body_max);
    } else if (flood(t) > 0) {
        snprintf(t->message, sizeof(t->message), "the connection was flooded: %llu bytes came that are no answer",
                 (unsigned long long) flood(t));
    } else if (t->repeat_refused) {
        snprintf(t->message, sizeof(t->message), "the request was refused, or its connection lost, more than once");
    } else if (t->no_memory) {
        snprintf(t->message, sizeof(t->message), "out of memory");
    } else if (t->no_socket && code == CURLE_COULDNT_CONNECT) {
        snprintf(t->message, sizeof(t->message), "no socket: too many open files, or out of memory");
    } else if (code == CURLE_OK) {
        snprintf(t->message, sizeof(t->message), "the connection was closed inside the header of the answer");
    } else if (code == CURLE_OUT_OF_MEMORY && t->header_begun && !t->header_done) {
        snprintf(t->message, sizeof(t->message), "the header of the answer is too large");
    } else if (t->message[0] == '\0') {
        snprintf(t->message, sizeof(t->message), "%s", curl_easy_strerror(code));
    } else if (code == CURLE_COULDNT_CONNECT) {
        set_connect_message(t);
    }
    ais_utf8_printable(t->message, strlen(t->message));
}

void ais_transfer_end(struct ais_transfer *t, CURLcode code, struct ais_response *response)
{
    long status = 0;
    long version = 0;

    leave_gate(t, code == CURLE_OPERATION_TIMEDOUT);
    if (t->too_large || code == CURLE_FILESIZE_EXCEEDED)
        ais_transfer_give_up(t);
    memset(response, 0, sizeof(*response));
    response->fault = fault_of(t, code);
    if (t->header_done) {
        curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
        curl_easy_getinfo(t->easy, CURLINFO_HTTP_VERSION, &version);
    }
    response->status = (int) status;
    response->multiplexed = version >= CURL_HTTP_VERSION_2_0;
    response->retry_after = t->retry_after;
    if (t->header_done)
        read_limits(t, &response->limits);
    response->age = t->age;
    memcpy(response->cache, t->cache, sizeof(t->cache));
    response->calls = t->calls;
    if (response->fault == AIS_FAULT_NONE) {
        response->body = (struct ais_str){t->body != NULL ? t->body : "", t->body_len};
        response->message = "";
    } else {
        response->body = AIS_STR("");
        set_message(t, code);
        response->message = t->message;
    }
}

void ais_transfer_fail(struct ais_transfer *t, enum ais_fault fault, const char *message, struct ais_response *response)
{
    leave_gate(t, true);
    *response = ais_response_none(fault, message);
    response->calls = t->calls;
}

void ais_transfer_free(struct ais_transfer *t)
{
    leave_gate(t, true);
    curl_easy_cleanup(t->easy);
    wipe_headers(t->headers);
    free(t->body);
    memset(t, 0, sizeof(*t));
}
