/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_TRANSFER_H
#define AIS_TRANSFER_H

#include <curl/curl.h>

#include "ais_client.h"
#include "ais_connection.h"

/*
 * One GET on one libcurl easy handle: the request, and the response as it arrives. Private to the client, which adds
 * the handle to its multi handle and decides about deadlines and retries. A transfer may be tried several times; each
 * try starts with an empty response. All functions are called from the client's thread.
 */

#pragma GCC visibility push(hidden)

/* The parameters of a try. */
struct ais_try {
    int64_t connect_timeout; /* ms, greater than 0 */
    int64_t timeout;         /* ms, greater than 0; a last resort in case the client cannot end the try */
    unsigned calls_max;      /* requests over all tries; libcurl may not repeat a request beyond that */
    unsigned label;          /* as in struct ais_route; AIS_LABEL_HTTP_1 if http_1 is set */
    bool fresh;              /* always open a new connection */
    bool http_1;             /* use HTTP/1.1, because HTTP/2 does not work */
};

#define AIS_LABEL_HTTP_1 AIS_LABELS

/* The lines of a header field, joined by commas (RFC 9110, section 5.3). If they do not fit, the field counts as
 * absent. */
struct ais_field_lines {
    char text[512];
    size_t len;
    bool too_long;
};

/* How far a try has come. */
enum ais_stage {
    AIS_STAGE_UNSENT, /* waiting for a connection, or opening one */
    AIS_STAGE_SENT,   /* sending the request, or waiting for the response */
    AIS_STAGE_HEADER, /* reading a header */
    AIS_STAGE_BODY,   /* the header of the final response, not an interim (1xx) one, is complete */
};

/* Why our callbacks have stopped a try. If there are several reasons, the last one counts. */
enum ais_stop {
    AIS_STOP_NONE,
    AIS_STOP_NO_SOCKET,     /* socket() ran out of descriptors or memory; another address may still work */
    AIS_STOP_DEFERRED,      /* libcurl was about to open a connection that it should not; the try is restarted */
    AIS_STOP_REPEATED,      /* libcurl was about to repeat the request once too often */
    AIS_STOP_GATE,          /* the gate is closed */
    AIS_STOP_PROXY_ENDLESS, /* the proxy's response to CONNECT did not end */
    AIS_STOP_HEADER_TOO_LARGE,
    AIS_STOP_BODY_TOO_LARGE,
    AIS_STOP_NO_MEMORY,
};

/* The longest response to CONNECT, in bytes. libcurl reads it byte by byte, and does not return before its end or a
 * pause in it. */
#define AIS_PROXY_TURNS_MAX (8 * 1024)

/* The maximum size of all header lines of a try. The API's headers take one or two KiB. */
#define AIS_HEADER_MAX ((size_t) 128 * 1024)

struct ais_transfer {
    CURL *easy;
    struct curl_slist *headers; /* contains the credential; wiped when freed */
    size_t body_max;
    bool tls;
    struct ais_str origin;               /* points into the target's URL */
    const char *unix_socket;             /* the target's; empty: TCP */
    struct ais_connections *connections; /* the client's */
    unsigned calls;                      /* requests sent, over all tries */
    const struct ais_gate *gate;
    bool entered; /* a request has entered the gate and not left it */
    uint64_t ticket;

    /* The current try, and its response. */
    struct ais_try how;
    uint64_t made;            /* the id of the last connection opened for the try; 0: none, or unknown */
    uint64_t connection;      /* the id of the connection of the last request; 0: none, or unknown */
    uint64_t newest;          /* the id of the newest connection when that request was sent */
    int64_t connecting_since; /* by ais_clock(); AIS_NEVER while it waits for another transfer's connection */
    enum ais_stage stage;
    enum ais_stop stop;
    bool opening;         /* a connection is being opened for the next request */
    bool http_1_required; /* the server requires HTTP/1.1 */
    size_t header_len;    /* bytes of all header lines of the try, including interim responses and trailers */
    size_t header_from;   /* header_len before the current response */
    unsigned turns;       /* calls of the progress callback before the request was sent */
    char *body;
    size_t body_len;
    size_t body_size;
    int64_t retry_after; /* this and age as in struct ais_response */
    int64_t age;
    struct ais_field_lines ratelimit;
    struct ais_field_lines ratelimit_policy;
    int64_t old_remaining; /* x-ratelimit-remaining, or -1 */
    int64_t old_reset_at;  /* x-ratelimit-reset, by ais_clock(), or -1 */
    int64_t sent_at;       /* when the request was sent, by ais_clock() */
    int64_t header_at;     /* when the header was complete, by ais_clock() */
    char cache[16];        /* as in struct ais_response */
    char message[CURL_ERROR_SIZE];
};

static inline bool ais_transfer_is_sent(const struct ais_transfer *t)
{
    return t->stage >= AIS_STAGE_SENT;
}

/*
 * Prepares the request; only ais_transfer_begin() is then missing before t->easy can be used. The transfer points into
 * target, which must outlive it. Connections are added to connections when they are opened and removed when libcurl
 * closes them, so connections must outlive the multi handle. ca_file, cred and path are copied; cred may be NULL.
 *
 * Returns 0, or -1 if memory runs out; t is then empty, as after ais_transfer_free().
 */
int ais_transfer_init(struct ais_transfer *t, const struct ais_target *target, struct ais_connections *connections,
                      const char *ca_file, const struct ais_credential *cred, const char *path);

/* Resets the transfer after a try, and discards the response of that try. */
void ais_transfer_clear(struct ais_transfer *t);

/* Sets the options of the next try, on a transfer that has been cleared. */
void ais_transfer_begin(struct ais_transfer *t, const struct ais_try *how);

/* Makes libcurl close the connection of the current try once the last transfer that uses it has ended. By itself
 * libcurl keeps HTTP/2 connections open even if the peer has gone silent. */
void ais_transfer_distrust(struct ais_transfer *t);

/* Notes that the response is no longer awaited: the rest of it may still arrive on a connection that others use. */
void ais_transfer_give_up(const struct ais_transfer *t);

/* Ends a try with libcurl's result, and sets all of *response but elapsed. *response points into t. */
void ais_transfer_end(struct ais_transfer *t, CURLcode code, struct ais_response *response);

/* Ends a fetch for another reason. A partial response is dropped. *response points to message. */
void ais_transfer_fail(struct ais_transfer *t, enum ais_fault fault, const char *message,
                       struct ais_response *response);

/* Wipes the credential and frees everything that t owns, but not t itself. The easy handle must have been removed from
 * the multi handle. */
void ais_transfer_free(struct ais_transfer *t);

/* The rest is for ais_transfer*.c only. */

/* Sets an option, or returns libcurl's error. */
#define AIS_SET(t, option, value)                                                                                      \
    do {                                                                                                               \
        CURLcode rc_ = curl_easy_setopt((t)->easy, option, value);                                                     \
        if (rc_ != CURLE_OK)                                                                                           \
            return rc_;                                                                                                \
    } while (0)

/* Sets all options that are the same for all tries. The other two set only those of the callbacks for the request and
 * for the response. Returns CURLE_OK, or the first error. */
CURLcode ais_transfer_set_up(struct ais_transfer *t, const struct ais_target *target, const char *ca_file,
                             const char *path);
CURLcode ais_transfer_set_request(struct ais_transfer *t);
CURLcode ais_transfer_set_answer(struct ais_transfer *t);

/* Discards the header fields read so far: they belong to an interim response or to the previous try. */
void ais_transfer_forget_answer(struct ais_transfer *t);

/* Reads the API's own rate limits from the header of the response. */
void ais_transfer_read_limits(const struct ais_transfer *t, struct ais_limits *limits);

/* Leaves the gate if a request has entered it. stopped says that the request is over only because we stop waiting. */
void ais_transfer_leave_gate(struct ais_transfer *t, bool stopped);

#pragma GCC visibility pop

#endif
