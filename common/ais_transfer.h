/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_TRANSFER_H
#define AIS_TRANSFER_H

#include <curl/curl.h>

#include "ais_client.h"
#include "ais_connection.h"

/*
 * One GET on one libcurl easy handle: the request that is sent, and the answer as it comes in. Private to the client,
 * which adds the handle to its multi handle and decides on deadlines and retries. The same transfer may be tried
 * several times; each try starts with a clean answer.
 */

#pragma GCC visibility push(hidden)

/* How to try it. */
struct ais_try {
    int64_t connect_timeout; /* ms, greater than 0 */
    int64_t timeout;         /* ms, greater than 0: the last line, should nobody else end it */
    unsigned calls_max;      /* requests over all tries: libcurl is let repeat one by itself only up to this */
    unsigned label;          /* as in struct ais_route; AIS_LABEL_HTTP_1 with http_1 */
    bool fresh;              /* by a new connection, at any rate */
    bool http_1;             /* by HTTP/1.1, where HTTP/2 has failed */
};

#define AIS_LABEL_HTTP_1 AIS_LABELS

/* The lines of a field, joined by commas (RFC 9110, section 5.3). More than there is room for is none. */
struct ais_field_lines {
    char text[512];
    size_t len;
    bool too_long;
};

/* How far a try has come. */
enum ais_stage {
    AIS_STAGE_UNSENT, /* it waits for a connection, or makes one */
    AIS_STAGE_SENT,   /* the request, or a part of it */
    AIS_STAGE_HEADER, /* a part of a header has come */
    AIS_STAGE_BODY,   /* all of it, and it is not an interim (1xx) answer's */
};

/* What was in the way of a try, as was found here rather than by libcurl; the last one counts. */
enum ais_stop {
    AIS_STOP_NONE,
    AIS_STOP_NO_SOCKET,     /* the process has too many open files; another address may do */
    AIS_STOP_DEFERRED,      /* libcurl was about to make a connection that it should not: the try is to be begun anew */
    AIS_STOP_REPEATED,      /* or to send the request again once too often */
    AIS_STOP_GATE,          /* it is closed */
    AIS_STOP_PROXY_ENDLESS, /* its answer to CONNECT did not end */
    AIS_STOP_HEADER_TOO_LARGE,
    AIS_STOP_BODY_TOO_LARGE,
    AIS_STOP_NO_MEMORY,
};

/* libcurl reads a proxy's answer to CONNECT byte by byte, and does not come back before its end, or a pause in it. */
#define AIS_PROXY_TURNS_MAX (8 * 1024)

/* Of all header lines of a try. The API's headers have one or two KiB. */
#define AIS_HEADER_MAX ((size_t) 128 * 1024)

struct ais_transfer {
    CURL *easy;
    struct curl_slist *headers; /* with the credential: wiped when freed */
    size_t body_max;
    bool tls;
    struct ais_str origin;               /* of the URL, whose memory it is */
    const char *unix_socket;             /* of the URL, too; empty: it goes by TCP */
    struct ais_connections *connections; /* the client's */
    unsigned calls;                      /* requests sent, over all tries */
    const struct ais_gate *gate;
    bool entered; /* a request has passed the gate and is not over */
    uint64_t ticket;

    /* The present try, and its answer. */
    struct ais_try how;
    uint64_t made;            /* the last connection that was opened for it; 0: none, or one that is not known */
    uint64_t connection;      /* by which the last request went; 0: none, or one that is not known */
    uint64_t newest;          /* of the connections that had been opened by then */
    int64_t connecting_since; /* by ais_clock(); AIS_NEVER while it waits in line for a connection of another */
    enum ais_stage stage;
    enum ais_stop stop;
    bool opening;         /* a connection, for its next request */
    bool http_1_required; /* the server has asked for HTTP/1.1 */
    size_t header_len;    /* of all header lines of the try: those of interim answers and trailers, too */
    size_t header_from;   /* of it, those that came before the present answer's */
    unsigned turns;       /* of libcurl's loops, before the request was sent */
    char *body;
    size_t body_len;
    size_t body_size;
    int64_t retry_after; /* these as in struct ais_response */
    int64_t age;
    struct ais_field_lines ratelimit;
    struct ais_field_lines ratelimit_policy;
    int64_t old_remaining; /* of x-ratelimit-*, or -1 */
    int64_t old_reset_at;
    int64_t sent_at;   /* the request, by ais_clock() */
    int64_t header_at; /* when the header was complete */
    char cache[16];
    char message[CURL_ERROR_SIZE];
};

static inline bool ais_transfer_is_sent(const struct ais_transfer *t)
{
    return t->stage >= AIS_STAGE_SENT;
}

/* Prepares the request. t->easy is then ready for everything but ais_transfer_begin(). connections is told of each that
   is opened and closed, for as long as libcurl has them. Returns 0, or -1 where memory runs out; t is then empty, as
   after ais_transfer_free(). */
int ais_transfer_init(struct ais_transfer *t, const struct ais_target *target, struct ais_connections *connections,
                      const char *ca_file, const struct ais_credential *cred, const char *path);

/* Forgets the try before, and its answer. */
void ais_transfer_clear(struct ais_transfer *t);

/* Before each try, on a transfer that is clear. */
void ais_transfer_begin(struct ais_transfer *t, const struct ais_try *how);

/* Before the end of a try: if it is the last that uses its connection, that is closed. By itself libcurl keeps HTTP/2
   connections, also those that have fallen silent. */
void ais_transfer_distrust(struct ais_transfer *t);

/* No answer is waited for. Others may go on with its connection, where the rest of it still comes. */
void ais_transfer_give_up(const struct ais_transfer *t);

/* After each try: fills all of *response but elapsed. It points into t. */
void ais_transfer_end(struct ais_transfer *t, CURLcode code, struct ais_response *response);

/* The same for a fetch that ends for another reason; what there is of an answer is dropped. */
void ais_transfer_fail(struct ais_transfer *t, enum ais_fault fault, const char *message,
                       struct ais_response *response);

/* Wipes the credential and frees all but t itself. The easy handle must not be part of a multi handle. */
void ais_transfer_free(struct ais_transfer *t);

/* What its files say to each other. */

#define AIS_SET(t, option, value)                                                                                      \
    do {                                                                                                               \
        CURLcode rc_ = curl_easy_setopt((t)->easy, option, value);                                                     \
        if (rc_ != CURLE_OK)                                                                                           \
            return rc_;                                                                                                \
    } while (0)

/* All options that are the same for each try; with those of the callbacks in the request's way, and in the answer's.
   They return CURLE_OK, or what failed first. */
CURLcode ais_transfer_set_up(struct ais_transfer *t, const struct ais_target *target, const char *ca_file,
                             const char *path);
CURLcode ais_transfer_set_request(struct ais_transfer *t);
CURLcode ais_transfer_set_answer(struct ais_transfer *t);

/* The header so far: that was an interim answer's, or that of the try before. */
void ais_transfer_forget_answer(struct ais_transfer *t);

/* What the header says of the API's limits. */
void ais_transfer_read_limits(const struct ais_transfer *t, struct ais_limits *limits);

/* The request is over, if one is under way; stopped: for us alone. */
void ais_transfer_leave_gate(struct ais_transfer *t, bool stopped);

#pragma GCC visibility pop

#endif
