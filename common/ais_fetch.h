/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_FETCH_H
#define AIS_FETCH_H

#include <curl/curl.h>

#include "ais_client.h"
#include "ais_connection.h"
#include "ais_transfer.h"

/*
 * The life of a fetch: its tries, its deadline, its end. Private to the client.
 *
 * libcurl must not be entered from its own callbacks, and a done callback may do as it likes with other fetches. So all
 * that libcurl reports is only noted while it runs, and acted upon afterwards, one fetch at a time.
 *
 * A try does not go by a connection on which one of this fetch has failed, nor by one that is distrusted. While the
 * first of those who need another is making it, the rest wait in line, here rather than in libcurl: that would, in
 * 7.88, open one for each.
 */

#pragma GCC visibility push(hidden)

/* What becomes of a fetch now. */
enum ais_fetch_phase {
    AIS_FETCH_PAUSES,  /* between two tries */
    AIS_FETCH_IN_LINE, /* a try has begun, but waits for a connection that another makes */
    AIS_FETCH_RUNS,    /* libcurl has a try of it */
};

struct ais_fetch {
    struct ais_fetch *prev;
    struct ais_fetch *next;
    struct ais_client *client;
    const struct ais_target *target;
    ais_fetch_done done;
    void *data;
    int64_t started;
    int64_t deadline;
    enum ais_fetch_phase phase;
    int64_t retry_at; /* when the next try begins, or in line, the next look is; AIS_NEVER while one runs */
    int64_t nudge_at;
    unsigned tries;         /* begun so far */
    bool runs_http_1;       /* libcurl has a try by HTTP/1.1 in the place of HTTP/2 */
    bool leads;             /* those that come after it wait for its connection, too */
    bool is_repeat;         /* it goes on with a try whose request was refused */
    bool http2_fault;       /* a try was broken off that may have gone by HTTP/2 */
    bool http_1;            /* the server has asked for HTTP/1.1 */
    struct ais_avoid avoid; /* the connections on which a try has failed */
    const char *doom;       /* noted: it has to end, and why */
    CURLcode failure;       /* noted: how the try ends, without a message from libcurl; CURLE_OK: not yet */
    struct ais_transfer transfer;
};

struct ais_client {
    CURLM *multi;             /* NULL where there was no memory for a new one */
    bool broken;              /* it has run out of memory */
    struct ais_driver driver; /* all NULL: there is none */
    char *ca_file;
    long max_host_connections;
    long max_streams;
    uint64_t random;
    struct ais_connections connections;
    unsigned http_1;                 /* tries by HTTP/1.1 in the place of HTTP/2 */
    const struct ais_fetch *pioneer; /* one that others waited for, to look there first; may be NULL */

    /* The fetches under way, in the order they were started. */
    struct ais_fetch *first;
    struct ais_fetch *last;
    struct ais_fetch *cursor; /* the next one of ais_fetch_walk(), which stays valid whatever is freed */
    size_t inflight;
    bool noted; /* something, in one of them */

    int64_t called_at; /* when libcurl was called last */
    int64_t curl_at;   /* when libcurl wants to be called */
    int64_t due_at;    /* no fetch has anything to do before; may be too early, never too late */
    int64_t armed_at;  /* what the driver was told last */
    unsigned depth;    /* of calls into the client; only the outermost sets the timer */
};

/* Returns NULL where memory runs out. The fetch is not part of the client yet. */
struct ais_fetch *ais_fetch_create(struct ais_client *client, const struct ais_target *target,
                                   const struct ais_credential *cred, const char *path, ais_fetch_done done,
                                   void *data);

/* Adds it to the client and begins its first try. Returns 0, or -1 where memory runs out; it is then freed. */
int ais_fetch_start(struct ais_fetch *fetch);

/* Its deadline, where it has a later one. */
void ais_fetch_end_by(struct ais_fetch *fetch, int64_t deadline);

/* Takes it out of the client and frees it, without a callback. */
void ais_fetch_drop(struct ais_fetch *fetch);

/* A try has ended: tries again after a pause, or ends the fetch. */
void ais_fetch_conclude(struct ais_fetch *fetch, CURLcode code);

/* Notes that a fetch has to end with AIS_FAULT_INTERNAL. reason is a constant. */
void ais_fetch_doom(struct ais_fetch *fetch, const char *reason);

/* The same for all that are under way, but not for those that their callbacks will start. */
void ais_fetch_doom_all(struct ais_client *client, const char *reason);

/* Acts on all that was noted. */
void ais_fetch_settle(struct ais_client *client);

/* Acts on the time, where it has come for a fetch. */
void ais_fetch_expire(struct ais_client *client);

/* Has libcurl look at all sockets, and acts on that and on the time: for a client without a driver. */
void ais_client_perform(struct ais_client *client);

#pragma GCC visibility pop

#endif
