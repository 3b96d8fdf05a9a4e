/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_CLIENT_H
#define AIS_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ais_credential.h"
#include "ais_error.h"
#include "ais_limits.h"
#include "ais_policy.h"
#include "ais_url.h"

/*
 * Asynchronous GET requests to the API. A client is a pool of connections with one set of trusted certificates. It uses
 * HTTP/2 if the server supports it, with many fetches on one connection. A client has no event loop: the caller passes
 * it a driver, and calls the client when a socket is ready or a timer expires. A caller with a thread to spare can use
 * ais_poll.h instead.
 *
 * A client belongs to one thread of one process: all functions must be called from that thread, and a client that was
 * created before a fork must not be used after it. No function blocks, except ais_client_load_ca(). After
 * ais_client_global_init() has returned, several threads may each have their own clients.
 *
 * A fetch consists of one or more tries. A try never uses a connection on which a try of the same fetch has failed
 * (with a 5xx, a 421, or a lost connection). No try uses a connection that has responded with 421 (RFC 9110, section
 * 15.5.20), has failed three times in a row, or has had nothing but faults; tries that are already using it continue,
 * and it is closed after the last of them. If HTTP/2 may be at fault, the last try uses HTTP/1.1; if the server
 * requires HTTP/1.1, all further tries use it. At most 8 tries at once use HTTP/1.1 for these reasons. If many tries
 * need a new connection, one of them opens it and the others wait.
 *
 * A connection that receives too many bytes outside of responses is cut, even while libcurl is reading from it (see
 * ais_allowance.h and ais_meter.h). New connections to that origin then have to wait for 250 ms, and until 10 seconds
 * after the flood only one try at a time may open one.
 *
 * Redirects are never followed, because that could disclose the credential. Proxies from the environment, .netrc files
 * and cookies are not used. All sizes and times are limited.
 */

#pragma GCC visibility push(hidden)

/* Events of a socket, for the driver. They are level-triggered. */
enum {
    AIS_IN = 1,
    AIS_OUT = 2,
};

/* Connects a client to the caller's event loop. Both functions are called from within client functions, and must not
 * call the client themselves. */
struct ais_driver {
    void *data; /* passed to both functions */

    /*
     * Must watch fd for these events (AIS_IN, AIS_OUT or both), replacing the previous ones. If events is 0, the watch
     * must end, because fd is about to be closed or becomes idle; fd is then -1 if it has already been closed, which
     * libcurl 7.88 does when it gives up a connect. *slot is for the driver: initially NULL, and kept for this fd until
     * the watch ends.
     *
     * Returns 0, or -1 if fd cannot be watched. The fetch then fails, and there is still a final call with 0.
     */
    int (*watch)(void *data, int fd, unsigned events, void **slot);

    /* Must set a timer that calls ais_client_timeout() once, in ms milliseconds. It replaces the previous timer; -1
     * means no timer. */
    void (*timer)(void *data, int64_t ms);
};

struct ais_client;
struct ais_fetch;

struct ais_client_options {
    const char *ca_file;           /* trusted certificates, PEM; NULL: libcurl's default. Copied. */
    unsigned max_host_connections; /* fetches that do not fit on them wait in line; 0: no limit, so a fetch that finds
                                      all streams of all connections in use opens another connection */
    unsigned max_streams;          /* per HTTP/2 connection; 0: 100 */
};

/*
 * Decides whether a request may be sent; used for the budget.
 *
 * enter() is called right before each request is sent: once for each try, and again when a request is repeated because
 * it was refused or its kept connection was dead. If it returns false, nothing is sent and the fetch ends with
 * AIS_FAULT_BUDGET. If it returns true, leave() is called exactly once, with the value that enter() stored in *ticket,
 * as soon as the request is over (answered, failed, timed out, cancelled or dropped with the client), and before the
 * callback of the fetch. given_up is true if we stopped waiting before any part of a response arrived: the API may
 * still receive the request and count it.
 *
 * Both are called from within client functions, and must not call the client themselves.
 */
struct ais_gate {
    void *data; /* passed to both functions */
    bool (*enter)(void *data, uint64_t *ticket);
    void (*leave)(void *data, uint64_t ticket, bool given_up);
};

/* An upstream, and the limits of a fetch. Owned by the caller, who keeps it until the last fetch with it has ended. */
struct ais_target {
    struct ais_url url;
    const char *proxy;           /* http://HOST:PORT, or NULL */
    bool verify_peer;            /* verify the chain of the certificate */
    bool verify_host;            /* verify the name in the certificate */
    const char *ca_file;         /* trusted certificates, PEM; NULL: the client's. A client caches one file at a time: a
                                    connection that needs another file takes tens of milliseconds longer. */
    int64_t connect_timeout;     /* ms, per try, for name resolution, connect and TLS together */
    int64_t timeout;             /* ms, for the whole fetch, including retries and their pauses */
    unsigned retries;            /* the maximum number of tries after the first one */
    size_t body_max;             /* bytes; 0: AIS_BODY_MAX */
    const struct ais_gate *gate; /* NULL: always open */
};

#define AIS_BODY_MAX ((size_t) 1024 * 1024)

/* The result of a fetch. All memory that it points to is valid only during the callback. */
struct ais_response {
    enum ais_fault fault; /* of the transport; NONE for a complete HTTP response with any status */
    int status;           /* the HTTP status; 0 if there was no response */
    struct ais_str body;
    int64_t retry_after;      /* the pause that Retry-After requests, in ms, or -1 */
    struct ais_limits limits; /* the API's own rate limits, for ais_limits_heed(); times are by ais_clock() */
    int64_t age;              /* Age (RFC 9111, section 5.1) in ms, or -1 */
    char cache[16];           /* X-Aisearch-Cache, if an nginx is in between, or empty */
    bool multiplexed;         /* HTTP/2 was used, so other fetches may share the connection */
    int64_t elapsed;          /* ms since ais_client_fetch() */
    unsigned calls;           /* the requests that were sent: at most one per try, and one repeat of a request that was
                                 refused or whose kept connection was dead; so at most retries + 2 */
    const char *message;      /* the reason of a fault, for a log; otherwise "" */
};

/* Returns the result of a fetch that got no response. message is not copied. */
static inline struct ais_response ais_response_none(enum ais_fault fault, const char *message)
{
    return (struct ais_response){.fault = fault, .body = AIS_STR(""), .retry_after = -1, .age = -1, .message = message};
}

typedef void (*ais_fetch_done)(void *data, const struct ais_response *response);

/* Initializes libcurl. Call it once per process, before clients and threads are created, and call the cleanup function
 * when it returned 0. Returns 0 or -1. */
int ais_client_global_init(void);
void ais_client_global_cleanup(void);

/* Creates a client, which the caller frees with ais_client_destroy(). The driver is copied; NULL means that the client
 * is run by ais_poll_wait(). Returns NULL, with the reason in *err, if memory runs out or libcurl lacks a feature. */
struct ais_client *ais_client_create(const struct ais_driver *driver, const struct ais_client_options *options,
                                     struct ais_error *err);

/*
 * Loads the trusted certificates, which takes tens of milliseconds, so that the first fetch does not have to. Blocks,
 * but uses no network. Call it before the first fetch, when a process starts or to check a configuration. The
 * certificates are kept as long as the client exists. ca_file is that of a target; NULL means that of the client.
 * Returns 0, or -1 with the file and the reason in *err.
 */
int ais_client_load_ca(struct ais_client *client, const char *ca_file, struct ais_error *err);

/* Closes all connections and frees the client. Fetches under way are dropped; their callbacks are not called. NULL is
 * accepted. */
void ais_client_destroy(struct ais_client *client);

/*
 * Starts a GET request for target->url.base + path. path comes from ais_resource_path() and is copied. cred is copied
 * into headers, which are wiped when the fetch ends; it may be NULL if an nginx in between adds the credential.
 *
 * Unless the fetch is cancelled, done(data, response) is called exactly once: from ais_client_socket(),
 * ais_client_timeout(), ais_client_abort() or ais_poll_wait(), never from this function. done may start new fetches and
 * cancel others, but must not destroy the client. The returned fetch is owned by the client, and is freed when done
 * returns. Returns NULL if memory runs out; done is then not called.
 */
struct ais_fetch *ais_client_fetch(struct ais_client *client, const struct ais_target *target,
                                   const struct ais_credential *cred, const char *path, ais_fetch_done done,
                                   void *data);

/*
 * Limits a fetch to ms milliseconds from now, if that is earlier than its timeout. Used for a fetch that continues what
 * another one has begun, within the same time.
 */
void ais_fetch_limit(struct ais_fetch *fetch, int64_t ms);

/* Drops a fetch whose callback has not been called yet. It will not be called any more. */
void ais_fetch_cancel(struct ais_fetch *fetch);

/* Ends all fetches under way with AIS_FAULT_INTERNAL, and calls their callbacks. For a process that has to exit. */
void ais_client_abort(struct ais_client *client);

/* Returns the number of fetches under way, including those that wait for a retry. */
size_t ais_client_inflight(const struct ais_client *client);

/* To be called by the event loop when fd is ready for these events. An error counts as both. */
void ais_client_socket(struct ais_client *client, int fd, unsigned events);

/* To be called by the event loop when the time set by timer() has come. */
void ais_client_timeout(struct ais_client *client);

#pragma GCC visibility pop

#endif
