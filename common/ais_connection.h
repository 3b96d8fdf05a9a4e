/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_CONNECTION_H
#define AIS_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ais_allowance.h"
#include "ais_policy.h"
#include "ais_str.h"

/*
 * What the client knows of its open connections: which one failed, and which one a try may go by. Private to the
 * client. It only keeps the books: no I/O, no clock. Times are in ms of any one clock.
 *
 * libcurl chooses the connection of a request, and would choose the one that has just failed, as long as somebody uses
 * it. But it shares a connection only among those who ask for the same, so each connection has a label, and so has each
 * try: one with another label does not get it.
 */

#pragma GCC visibility push(hidden)

#define AIS_LABELS 7

/* A port may serve several connections, to other places: only all four tell which one it is. */
struct ais_addresses {
    char local_ip[46];
    char remote_ip[46];
    int local_port;
    int remote_port;
};

struct ais_connection {
    struct ais_connection *next;
    uint64_t id; /* never 0, never used again */
    int fd;
    unsigned label;
    const void *opener; /* whose try has opened it: only to tell one from the other */
    struct ais_allowance allowance;
    bool counts_itself; /* what it brings: nobody else is to do that */
    uint64_t counted;   /* bytes, by others */
    bool flooded;       /* it has brought more than it may */
    bool suspected;     /* its allowance is small because of another */
    bool up;            /* a request has gone by it, between these addresses */
    struct ais_addresses addresses;
    bool proven;     /* it has given a good answer */
    unsigned faults; /* since then */
    bool distrusted; /* for good */
    bool left;       /* those that used it, or waited for it, when it came to that have been told */
    size_t origin_len;
    char origin[]; /* scheme, host and port */
};

struct ais_flood {
    uint64_t connection;
    uint64_t bytes;  /* that were no answer */
    uint64_t origin; /* a hash of it */
    int64_t at;
};

/* All zero: none. */
struct ais_connections {
    struct ais_connection *first;
    uint64_t last_id;
    struct ais_flood floods[16]; /* the last ones */
    size_t nfloods;              /* in all */
};

/* What a try says about the connection that it went by. */
enum ais_outcome {
    AIS_OUTCOME_NONE, /* nothing */
    AIS_OUTCOME_GOOD, /* the other side speaks: a whole answer that is neither 5xx nor 421 */
    AIS_OUTCOME_FAULT,
    AIS_OUTCOME_MISDIRECTED /* 421 (RFC 9110, section 15.5.20): for this origin it is the wrong one, and stays it */
};

/* fault is the transport's own verdict, status that of the whole answer. */
enum ais_outcome ais_connection_outcome(enum ais_fault fault, int status);

/* A socket has been opened. One that had this descriptor before is forgotten: it was closed without a word. Where
   memory runs out, nothing is known of the connection, and NULL is returned. */
struct ais_connection *ais_connection_add(struct ais_connections *connections, int fd, struct ais_str origin,
                                          unsigned label);

/* A socket has been closed; also one that is not known. */
void ais_connection_remove(struct ais_connections *connections, int fd);

/* Those that are left, without closing them. */
void ais_connection_remove_all(struct ais_connections *connections);

/* NULL where it is closed, or was never known. */
struct ais_connection *ais_connection_get(const struct ais_connections *connections, uint64_t id);

/* A socket is about to be closed; also one that is not known. Where it has brought much that was no answer, though
   not too much, that is noted as a flood. */
void ais_connection_close(struct ais_connections *connections, int fd, int64_t now);

/* The last one that this opener has opened, if it is not up, or NULL. */
struct ais_connection *ais_connection_opened_by(const struct ais_connections *connections, const void *opener);

bool ais_addresses_eq(const struct ais_addresses *a, const struct ais_addresses *b);

/* The one that is up between these addresses, or NULL. */
struct ais_connection *ais_connection_between(const struct ais_connections *connections,
                                              const struct ais_addresses *addresses);

/*
 * A try is over. After three faults without a good answer between them, or one 421, the connection is distrusted for
 * good; fewer may be the API's own trouble with one request.
 */
void ais_connection_judge(struct ais_connection *connection, enum ais_outcome outcome);

/* Whether a try may begin on it: not on one that is distrusted, nor while faults are all that it has given. */
bool ais_connection_is_usable(const struct ais_connection *connection);

/* Whether that would still be so after such an end of a try. */
bool ais_connection_survives(const struct ais_connection *connection, enum ais_outcome outcome);

/*
 * It has brought too much, and is distrusted. Others of this origin that have not proven themselves may bring little
 * more, since there may be many of them, and those that are to come have to wait.
 */
void ais_connection_note_flood(struct ais_connections *connections, struct ais_connection *connection, int64_t now);

/* Bytes have come by it, as in ais_allowance_take(). Returns whether it may stay open: once, where it has brought too
   much, and that is noted, false is returned. */
bool ais_connection_take(struct ais_connections *connections, struct ais_connection *connection, size_t bytes,
                         size_t more, int64_t now);

/* Whether a try has to wait before it opens a connection, lest floods are all that the client sees to. */
enum ais_caution {
    AIS_CAUTION_NONE,
    AIS_CAUTION_ALONE, /* it waits while another try of this origin is under way */
    AIS_CAUTION_REST   /* it waits */
};

enum ais_caution ais_connection_caution(const struct ais_connections *connections, struct ais_str origin, int64_t now);

/* What is known of the end of that connection: how many bytes that were no answer were too many, or 0. */
uint64_t ais_connection_flood(const struct ais_connections *connections, uint64_t id);

/* What a fetch is to avoid, by their ids. */
struct ais_avoid {
    uint64_t up_to; /* this one and all that are older */
    uint64_t failed[8];
    size_t nfailed; /* in all; the last ones are there */
};

void ais_connection_avoid(struct ais_avoid *avoid, uint64_t id);

/* Where a try is to go. */
struct ais_route {
    unsigned label;
    bool fresh;   /* all labels are taken by connections to avoid: it needs a new one, whatever its label */
    bool joins;   /* a connection with this label is up */
    bool detours; /* there are connections to avoid */
};

/* Whether one with this label has become distrusted, so that a try that has the label already should not go on. */
bool ais_connection_is_barred(const struct ais_connections *connections, struct ais_str origin, unsigned label);

/*
 * The route that avoids all connections of this origin that are not usable, and those that are in avoid: along a
 * connection that is up, the least faulty first, or else one that is coming, or else a new one.
 */
struct ais_route ais_connection_route(const struct ais_connections *connections, struct ais_str origin,
                                      const struct ais_avoid *avoid);

#pragma GCC visibility pop

#endif
