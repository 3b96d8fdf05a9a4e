/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_FETCH_H
#define AIS_FETCH_H

#include <curl/curl.h>

#include "ais_client.h"
#include "ais_connection.h"
#include "ais_transfer.h"

/*
 * A fetch: its tries, its deadline and its end. Private to the client and its thread.
 *
 * libcurl must not be called from its own callbacks, and a done callback may start and cancel other fetches. So what
 * libcurl reports is only noted while it runs, and acted upon afterwards, one fetch at a time.
 *
 * A try does not use a connection on which a try of the same fetch has failed, nor a distrusted one. If several fetches
 * need a new connection, the first one opens it and the others wait in line. They wait here and not in libcurl, because
 * 7.88 would open a connection for each of them.
 */

#pragma GCC visibility push(hidden)

enum ais_fetch_phase {
    AIS_FETCH_PAUSES,  /* between two tries */
    AIS_FETCH_IN_LINE, /* a try has begun, but waits for another fetch's connection, or because of a limit */
    AIS_FETCH_RUNS,    /* the easy handle of a try is in the multi handle */
};

struct ais_fetch {
    struct ais_fetch *prev;
    struct ais_fetch *next;
    struct ais_client *client;
    const struct ais_target *target;
    ais_fetch_done done;
    void *data;
    int64_t started; /* this and the other times are by ais_clock() */
    int64_t deadline;
    enum ais_fetch_phase phase;
    int64_t retry_at;       /* when the next try begins or, in line, checks again; AIS_NEVER while a try runs */
    int64_t nudge_at;       /* when to wake up a transfer that is not connected; AIS_NEVER: never */
    unsigned tries;         /* begun so far */
    bool runs_http_1;       /* the current try uses HTTP/1.1 instead of HTTP/2 */
    bool leads;             /* other fetches wait in line for its connection, even those on their first try */
    bool is_repeat;         /* the current try continues one whose request was refused */
    bool http2_fault;       /* a try that may have used HTTP/2 broke off */
    bool http_1;            /* the server requires HTTP/1.1 */
    struct ais_avoid avoid; /* the connections on which a try has failed */
    const char *doom;       /* noted: why the fetch has to end; NULL: it need not */
    CURLcode failure;       /* noted: the result of the try, instead of one from libcurl; CURLE_OK: none */
    struct ais_transfer transfer;
};

struct ais_client {
    CURLM *multi;             /* NULL if there was no memory for a new one */
    bool broken;              /* the multi handle has run out of memory */
    struct ais_driver driver; /* all NULL: the client is run by ais_poll_wait() */
    char *ca_file;
    long max_host_connections;
    long max_streams;
    uint64_t random;
    struct ais_connections connections;
    unsigned http_1;                 /* how many tries use HTTP/1.1 instead of HTTP/2 */
    const struct ais_fetch *pioneer; /* the result of the last find_pioneer(), which checks it first; may be NULL */

    /* The fetches under way, in the order in which they were started. */
    struct ais_fetch *first;
    struct ais_fetch *last;
    struct ais_fetch *cursor; /* the next fetch of walk(); stays valid if fetches are freed */
    size_t inflight;
    bool noted; /* something is noted in at least one fetch */

    int64_t called_at; /* when libcurl was last called */
    int64_t curl_at;   /* when libcurl wants to be called */
    int64_t due_at;    /* no fetch has anything to do before; may be too early, but never too late */
    int64_t armed_at;  /* the time last passed to the driver's timer */
    unsigned depth;    /* of nested calls into the client; only the outermost one sets the timer */
};

/* Creates a fetch that is not part of the client yet. Returns NULL if memory runs out. */
struct ais_fetch *ais_fetch_create(struct ais_client *client, const struct ais_target *target,
                                   const struct ais_credential *cred, const char *path, ais_fetch_done done,
                                   void *data);

/* Adds the fetch to the client and begins its first try. If memory runs out, frees the fetch and returns -1; else 0. */
int ais_fetch_start(struct ais_fetch *fetch);

/* Shortens the deadline to this time, unless it is earlier already. */
void ais_fetch_end_by(struct ais_fetch *fetch, int64_t deadline);

/* Removes the fetch from the client and frees it, without calling its callback. */
void ais_fetch_drop(struct ais_fetch *fetch);

/* Handles the end of a try: plans a retry after a pause, or ends the fetch, which calls its callback and frees it. */
void ais_fetch_conclude(struct ais_fetch *fetch, CURLcode code);

/* Notes that the fetch has to end with AIS_FAULT_INTERNAL. reason must be a constant string. */
void ais_fetch_doom(struct ais_fetch *fetch, const char *reason);

/* Does the same for all fetches under way, but not for those that their callbacks may start. */
void ais_fetch_doom_all(struct ais_client *client, const char *reason);

/* Acts on everything that was noted. */
void ais_fetch_settle(struct ais_client *client);

/* Acts on deadlines, retries and nudges that are due. */
void ais_fetch_expire(struct ais_client *client);

/* Lets libcurl check all sockets, then acts on what it reports and on what is due. For a client without a driver. */
void ais_client_perform(struct ais_client *client);

#pragma GCC visibility pop

#endif
