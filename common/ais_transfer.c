/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Sends the request of a try: finds out which connection libcurl uses, and passes the gate. Also creates, resets and
 * frees transfers.
 */

#include "ais_transfer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ais_clock.h"
#include "ais_meter.h"

/* How long the peer may take to acknowledge data. */
#define ACKNOWLEDGED_MS 10000

/* Sending the request. */

static void note_connecting(struct ais_transfer *t)
{
    if (t->connecting_since == AIS_NEVER)
        t->connecting_since = ais_clock();
}

/*
 * If sent data is not even acknowledged, the connection is dead. With this option, the kernel reports that after ms
 * rather than after a quarter of an hour, and all transfers on the connection see it. Connecting is limited by
 * libcurl's own timeout.
 */
static void limit_silence(int fd, unsigned ms)
{
#ifdef TCP_USER_TIMEOUT
    (void) setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
#endif
}

/*
 * Returns whether libcurl repeats the request because the server requires HTTP/1.1 (RST_STREAM with
 * HTTP_1_1_REQUIRED). Only libcurl's error message shows that: it names the code or, if it was the first request on the
 * connection, says that the reply was empty.
 */
static bool wants_http_1(const struct ais_transfer *t)
{
    return t->tls &&
           (strstr(t->message, "HTTP_1_1_REQUIRED") != NULL || strcmp(t->message, "Empty reply from server") == 0);
}

/*
 * libcurl is about to open a connection to repeat the request, and has abandoned the previous one for good. With TLS it
 * does that badly. If many requests were refused on one connection, 7.88 opens a connection for each of them instead of
 * one for all. If the server requires HTTP/1.1, 7.88 also sends requests for HTTP/2 over that connection, several at
 * once. So the try is restarted instead.
 */
static void begin_repeat(struct ais_transfer *t)
{
    struct ais_connection *c = ais_connection_get(t->connections, t->connection);

    if (c != NULL)
        c->distrusted = true;
    t->http_1_required = wants_http_1(t);
    if (t->calls >= t->how.calls_max)
        t->stop = AIS_STOP_REPEATED;
    else if (t->tls)
        t->stop = AIS_STOP_DEFERRED;
}

/* Returns whether the connection that the try was to use has become distrusted in the meantime. */
static bool is_stranded(const struct ais_transfer *t)
{
    return t->tls && !t->how.fresh && !t->how.http_1 &&
           ais_connection_is_barred(t->connections, t->origin, t->how.label);
}

/* Returns whether libcurl may open a connection. It opens a socket for each address that it tries. */
static bool may_open(struct ais_transfer *t)
{
    if (!t->opening) {
        t->opening = true;
        if (ais_transfer_is_sent(t))
            begin_repeat(t);
        else if (is_stranded(t))
            t->stop = AIS_STOP_DEFERRED;
    }
    return t->stop != AIS_STOP_REPEATED && t->stop != AIS_STOP_DEFERRED;
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

/* Opens a socket like libcurl, but with close-on-exec, so that child processes do not inherit connections. */
static curl_socket_t open_socket(void *data, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct ais_transfer *t = data;
    int fd;

    note_connecting(t);
    if (!may_open(t))
        return CURL_SOCKET_BAD;

    fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (fd == -1 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM))
        t->stop = AIS_STOP_NO_SOCKET;
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

/* libcurl calls this when it has connected and begins TLS. If it tried several addresses, the other sockets are closed
 * by now. */
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

/* Finds a connection by its addresses. libcurl returns the socket of a transfer only after its end, when the connection
 * may already be closed. */
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

/* libcurl calls this before it resolves a name. */
static int on_resolve(void *resolver, void *reserved, void *data)
{
    struct ais_transfer *t = data;

    (void) resolver;
    (void) reserved;
    note_connecting(t);
    return 0;
}

void ais_transfer_leave_gate(struct ais_transfer *t, bool stopped)
{
    if (t->entered) {
        t->entered = false;
        t->gate->leave(t->gate->data, t->ticket, stopped && t->stage < AIS_STAGE_HEADER);
    }
}

static bool enter_gate(struct ais_transfer *t)
{
    if (t->gate == NULL)
        return true;

    ais_transfer_leave_gate(t, false); /* libcurl repeats a request whose connection was dead: the first one is over */
    t->entered = t->gate->enter(t->gate->data, &t->ticket);
    if (!t->entered)
        t->stop = AIS_STOP_GATE;
    return t->entered;
}

/* libcurl calls this before it sends a request, including those that it repeats by itself. */
static int on_request(void *data, char *remote_ip, char *local_ip, int remote_port, int local_port)
{
    struct ais_transfer *t = data;
    struct ais_addresses addresses = {.local_port = local_port, .remote_port = remote_port};
    struct ais_connection *c;

    if (t->calls >= t->how.calls_max) {
        t->stop = AIS_STOP_REPEATED;
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
    if (t->stage < AIS_STAGE_SENT)
        t->stage = AIS_STAGE_SENT;
    t->sent_at = ais_clock();
    /* If libcurl repeats the request, it must not use another kept connection, which may be dead as well. */
    (void) curl_easy_setopt(t->easy, CURLOPT_FRESH_CONNECT, 1L);
    return CURL_PREREQFUNC_OK;
}

CURLcode ais_transfer_set_request(struct ais_transfer *t)
{
    AIS_SET(t, CURLOPT_RESOLVER_START_FUNCTION, on_resolve);
    AIS_SET(t, CURLOPT_RESOLVER_START_DATA, t);
    AIS_SET(t, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    AIS_SET(t, CURLOPT_OPENSOCKETDATA, t);
    AIS_SET(t, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
    AIS_SET(t, CURLOPT_CLOSESOCKETDATA, t->connections); /* not t: the connection outlives it */
    AIS_SET(t, CURLOPT_PREREQFUNCTION, on_request);
    AIS_SET(t, CURLOPT_PREREQDATA, t);
    if (ais_meter_sees_tls()) {
        AIS_SET(t, CURLOPT_SSL_CTX_FUNCTION, on_tls);
        AIS_SET(t, CURLOPT_SSL_CTX_DATA, t);
    }
    return CURLE_OK;
}

/* The life of a transfer. */

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

/* Returns everything before the path of a URL without a user name. */
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
        ais_transfer_set_up(t, target, ca_file, path) != CURLE_OK) {
        ais_transfer_free(t);
        return -1;
    }
    return 0;
}

void ais_transfer_clear(struct ais_transfer *t)
{
    ais_transfer_forget_answer(t);
    t->stage = AIS_STAGE_UNSENT;
    t->stop = AIS_STOP_NONE;
    t->made = 0;
    t->connection = 0;
    t->opening = false;
    t->http_1_required = false;
    t->connecting_since = AIS_NEVER;
    t->header_len = 0;
    t->header_from = 0;
    t->turns = 0;
    t->body_len = 0;
    t->message[0] = '\0';
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

void ais_transfer_fail(struct ais_transfer *t, enum ais_fault fault, const char *message, struct ais_response *response)
{
    ais_transfer_leave_gate(t, true);
    *response = ais_response_none(fault, message);
    response->calls = t->calls;
}

void ais_transfer_free(struct ais_transfer *t)
{
    ais_transfer_leave_gate(t, true);
    curl_easy_cleanup(t->easy);
    wipe_headers(t->headers);
    free(t->body);
    memset(t, 0, sizeof(*t));
}
