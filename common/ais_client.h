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
 * Asynchronous GET requests to the API. A client is one pool of connections with one set of trusted certificates; it
 * speaks HTTP/2 where the server has it, with many fetches on one connection. It owns no event loop: the caller gives
 * it a driver, and calls it back when a socket is ready or the time has come; or has a thread to spare for ais_poll.h.
 *
 * A client belongs to one thread of one process: every function here is called from that thread, and a client made
 * before a fork is not used after it. Nothing here blocks, but for ais_client_load_ca(). Different clients may live in
 * different threads once ais_client_global_init() has returned.
 *
 * A try goes by no connection on which one of the same fetch has failed: 5xx, 421, broken off. None at all goes by a
 * connection that has answered 421 (RFC 9110, section 15.5.20), or failed three times in a row, or given nothing but
 * faults; those that use it go on, and it is closed with the last of them. The last try after HTTP/2 may have been at
 * fault goes by HTTP/1.1, and any after the server has asked for that; at most 8 do so at once. Many that need another
 * connection wait for one of them to make it.
 *
 * A connection that brings much more than answers is cut, wherever libcurl is (see ais_allowance.h and ais_meter.h).
 * The next one to that origin has to wait for 250 ms, and for ten seconds then one try at a time opens one.
 *
 * Redirects are never followed, since that would carry the credential away. Proxies from the environment, .netrc files
 * and cookies are not used. Every size and time is bounded.
 */

#pragma GCC visibility push(hidden)

/* How a client reaches its caller's event loop. Level-triggered. */
enum {
    AIS_IN = 1,
    AIS_OUT = 2,
};

struct ais_driver {
    void *data;

    /*
     * Watch fd for these events (AIS_IN, AIS_OUT or both) instead of those before; 0 ends the watch, before the
     * descriptor is closed or put to rest. fd is -1 then where it has been closed already, as libcurl 7.88 does when it
     * gives up a connect. *slot belongs to the driver: NULL at first, kept for this fd until the watch ends.
     *
     * Returns 0, or -1 where the descriptor cannot be watched; the fetch then fails, and a last call with 0 still
     * comes.
     */
    int (*watch)(void *data, int fd, unsigned events, void **slot);

    /* Call ais_client_timeout() once in ms milliseconds, instead of what was set before; -1: not at all. Never call it
       from inside. */
    void (*timer)(void *data, int64_t ms);
};

struct ais_client;
struct ais_fetch;

struct ais_client_options {
    const char *ca_file;           /* PEM; NULL: the system's. Copied. */
    unsigned max_host_connections; /* More fetches than they carry wait in line. 0: no limit; each fetch that finds all
                                      streams of all connections taken then opens a connection of its own. */
    unsigned max_streams;          /* of one HTTP/2 connection; 0: 100 */
};

/*
 * Who may send a request now. enter() is called right before each request is sent: that of each try, and the one that
 * is sent again at once when it was refused, or its kept connection turns out to be dead. Where it returns false,
 * nothing is sent and the fetch ends with AIS_FAULT_BUDGET. For each enter() that returned true leave() is called once,
 * with what it left in *ticket, as soon as that request is over: answered, failed, out of time, cancelled or dropped
 * with the client, and before the fetch's callback. given_up says that we stopped waiting before any of an answer had
 * come: the API may still get the request, and count it. Neither may call the client; they are called from inside of
 * it.
 */
struct ais_gate {
    void *data;
    bool (*enter)(void *data, uint64_t *ticket);
    void (*leave)(void *data, uint64_t ticket, bool given_up);
};

/* Where to ask, and how long. Owned by the caller, who keeps it until the last fetch with it is over. */
struct ais_target {
    struct ais_url url;
    const char *proxy;           /* http://HOST:PORT, or NULL */
    bool verify_peer;            /* the certificate's chain */
    bool verify_host;            /* the name in it */
    const char *ca_file;         /* PEM; NULL: the client's. A client keeps those of one file at a time: each connection
                                    after one with another file takes tens of milliseconds more. */
    int64_t connect_timeout;     /* ms, for DNS, connect and TLS together, of each try */
    int64_t timeout;             /* ms, for the whole fetch, retries and their pauses included */
    unsigned retries;            /* tries after the first; see struct ais_response, calls */
    size_t body_max;             /* bytes; 0: AIS_BODY_MAX */
    const struct ais_gate *gate; /* NULL: always open */
};

#define AIS_BODY_MAX ((size_t) 1024 * 1024)

/* The end of a fetch. All memory is valid only inside the callback. */
struct ais_response {
    enum ais_fault fault; /* of the transport: NONE where there is a whole HTTP answer, of whatever status */
    int status;           /* HTTP status, 0 where there was no answer */
    struct ais_str body;
    int64_t retry_after;      /* ms from now, or -1 */
    struct ais_limits limits; /* of the API, for ais_limits_heed(); times are of CLOCK_MONOTONIC */
    int64_t age;              /* Age (RFC 9111, section 5.1), ms, or -1 */
    char cache[16];           /* X-Aisearch-Cache, of an nginx in between, or empty */
    bool multiplexed;         /* it came over HTTP/2: others may share its connection */
    int64_t elapsed;          /* ms from ais_client_fetch() to now */
    unsigned calls;      /* requests that were sent: at most one a try, and one repeat, of a request that was refused
                            or whose kept connection was dead; so never more than retries + 2 */
    const char *message; /* why it failed, for a log; "" where it did not */
};

/* The response where no answer came. message is as above. */
static inline struct ais_response ais_response_none(enum ais_fault fault, const char *message)
{
    return (struct ais_response){.fault = fault, .body = AIS_STR(""), .retry_after = -1, .age = -1, .message = message};
}

typedef void (*ais_fetch_done)(void *data, const struct ais_response *response);

/* Once per process, before any client and before any thread. Returns 0 or -1. Each call has its global_cleanup(). */
int ais_client_global_init(void);
void ais_client_global_cleanup(void);

/* Returns NULL, with *err filled, where memory or the TLS library fails. The driver is copied; NULL: the client is run
   by ais_poll_wait(). */
struct ais_client *ais_client_create(const struct ais_driver *driver, const struct ais_client_options *options,
                                     struct ais_error *err);

/*
 * Reads and parses the trusted certificates now rather than in the first fetch, because it takes tens of milliseconds.
 * Blocks for that long; uses no network. Call it when a process starts, or to check a configuration, before the first
 * fetch. They are kept for the life of the client. ca_file is that of a target, or NULL. Returns 0, or -1 with the file
 * and the reason in *err.
 */
int ais_client_load_ca(struct ais_client *client, const char *ca_file, struct ais_error *err);

/* Closes all connections. Fetches under way are dropped; their callbacks are not called. NULL is fine. */
void ais_client_destroy(struct ais_client *client);

/*
 * Starts GET target.url.base + path. path comes from ais_resource_path() and is copied; cred may be NULL (nginx in
 * between has it), and is copied into headers that are wiped when the fetch is over.
 *
 * done(data, response) is called exactly once, from ais_client_socket(), ais_client_timeout(), ais_client_abort() or
 * ais_poll_wait(), never from inside this function, unless the fetch is cancelled. In it, new fetches may be started
 * and others cancelled, but the client may not be destroyed. Returns NULL where memory runs out; done is then not
 * called.
 */
struct ais_fetch *ais_client_fetch(struct ais_client *client, const struct ais_target *target,
                                   const struct ais_credential *cred, const char *path, ais_fetch_done done,
                                   void *data);

/*
 * Gives a fetch no more than ms milliseconds from now, where that is less than its timeout: for one that goes on with
 * what another has begun.
 */
void ais_fetch_limit(struct ais_fetch *fetch, int64_t ms);

/* Drops a fetch whose callback has not been called; it will not be. */
void ais_fetch_cancel(struct ais_fetch *fetch);

/* Ends all fetches under way with AIS_FAULT_INTERNAL, callbacks included: the process has to leave. */
void ais_client_abort(struct ais_client *client);

/* Fetches under way, those waiting for a retry included. */
size_t ais_client_inflight(const struct ais_client *client);

/* For the driver: fd is ready for these events (an error counts as both). */
void ais_client_socket(struct ais_client *client, int fd, unsigned events);

/* For the driver: the time set by timer() has come. */
void ais_client_timeout(struct ais_client *client);

#pragma GCC visibility pop

#endif
