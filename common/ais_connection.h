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
 * The client's records of its open connections: which ones have failed, and which one a try may use. Private to the
 * client and its thread. There is no I/O and no clock here; times are in ms of any one clock.
 *
 * libcurl chooses the connection for a request, and would choose one that has just failed as long as another transfer
 * uses it. But it shares a connection only among transfers with the same TLS options. So every connection and every
 * try has a label that is encoded in these options: a try cannot get a connection with a different label.
 */

#pragma GCC visibility push(hidden)

#define AIS_LABELS 7

/* The four values that identify a connection. A local port alone may belong to several connections. */
struct ais_addresses {
    char local_ip[46];
    char remote_ip[46];
    int local_port;
    int remote_port;
};

struct ais_connection {
    struct ais_connection *next;
    uint64_t id; /* never 0, never reused */
    int fd;
    unsigned label;
    const void *opener; /* the transfer that opened it; never dereferenced, since it may be gone */
    struct ais_allowance allowance;
    bool counts_itself; /* TLS records are counted as they arrive, so that ais_meter_look() need not count */
    uint64_t counted;   /* bytes counted by ais_meter_look() */
    bool flooded;       /* it has received more than its allowance */
    bool suspected;     /* its allowance was reduced because of a flood on another connection */
    bool up;            /* a request has been sent over it, and addresses is set */
    struct ais_addresses addresses;
    bool proven;     /* there was a good outcome */
    unsigned faults; /* since the last good outcome */
    bool distrusted; /* no try may use it any more */
    bool left;       /* after it became distrusted, the transfers that used it or waited for it were dealt with */
    size_t origin_len;
    char origin[]; /* scheme, host and port; not NUL-terminated */
};

struct ais_flood {
    uint64_t connection; /* the id of the connection that was cut, or 0 if none was */
    uint64_t bytes;      /* received that were not part of a response */
    uint64_t origin;     /* a hash of the origin */
    int64_t at;
};

/* Initially all zero. */
struct ais_connections {
    struct ais_connection *first;
    uint64_t last_id;
    struct ais_flood floods[16]; /* a ring of the most recent ones */
    size_t nfloods;              /* the number of floods so far */
};

/* What the end of a try says about its connection. */
enum ais_outcome {
    AIS_OUTCOME_NONE, /* nothing */
    AIS_OUTCOME_GOOD, /* a complete response that is neither 5xx nor 421 */
    AIS_OUTCOME_FAULT,
    AIS_OUTCOME_MISDIRECTED /* 421 (RFC 9110, section 15.5.20): it will never serve this origin */
};

/* Returns the outcome of a try. fault is that of the transport, status that of a complete response. */
enum ais_outcome ais_connection_outcome(enum ais_fault fault, int status);

/*
 * Adds a connection whose socket has been opened. A record with the same descriptor is removed first: that socket was
 * closed unnoticed. The record is owned by connections. Returns NULL if memory runs out; the connection is then unknown
 * to the other functions.
 */
struct ais_connection *ais_connection_add(struct ais_connections *connections, int fd, struct ais_str origin,
                                          unsigned label);

/* Removes the record of a socket, if there is one, and frees it. The socket is not closed. */
void ais_connection_remove(struct ais_connections *connections, int fd);

/* Removes all records. The sockets are not closed. */
void ais_connection_remove_all(struct ais_connections *connections);

/* Returns the connection with this id, or NULL if it has been closed or was never known. */
struct ais_connection *ais_connection_get(const struct ais_connections *connections, uint64_t id);

/* Removes the record of a socket that is about to be closed, if there is one. If the connection has used up most of its
 * allowance, though not all of it, that is noted as a flood. */
void ais_connection_close(struct ais_connections *connections, int fd, int64_t now);

/* Returns the newest connection of this opener if it is not up yet, or NULL. */
struct ais_connection *ais_connection_opened_by(const struct ais_connections *connections, const void *opener);

bool ais_addresses_eq(const struct ais_addresses *a, const struct ais_addresses *b);

/* Returns the connection between these addresses that is up, or NULL. */
struct ais_connection *ais_connection_between(const struct ais_connections *connections,
                                              const struct ais_addresses *addresses);

/*
 * Records the outcome of a try. The connection becomes distrusted for good after three faults without a good outcome
 * in between, or after one 421; fewer faults may be a problem of the API with a single request.
 */
void ais_connection_judge(struct ais_connection *connection, enum ais_outcome outcome);

/* Returns whether a try may use it: it is not distrusted, and has not had only faults. */
bool ais_connection_is_usable(const struct ais_connection *connection);

/* Returns whether it would still be usable after this outcome. */
bool ais_connection_survives(const struct ais_connection *connection, enum ais_outcome outcome);

/*
 * Notes that the connection has received too much, and distrusts it. The allowances of other connections to the same
 * origin that are not proven are reduced, because there may be many of them, and new connections have to wait.
 */
void ais_connection_note_flood(struct ais_connections *connections, struct ais_connection *connection, int64_t now);

/* Counts bytes received on the connection, as ais_allowance_take() does. Returns false once, when that is too much; the
 * flood is then noted, and the caller cuts the connection. */
bool ais_connection_take(struct ais_connections *connections, struct ais_connection *connection, size_t bytes,
                         size_t more, int64_t now);

/* Whether a try has to wait before it opens a connection, so that the client does not spend all its time on floods. */
enum ais_caution {
    AIS_CAUTION_NONE,
    AIS_CAUTION_ALONE, /* it waits while another try to this origin is under way */
    AIS_CAUTION_REST   /* it waits */
};

enum ais_caution ais_connection_caution(const struct ais_connections *connections, struct ais_str origin, int64_t now);

/* Returns how many bytes outside of responses the connection had received when it was cut, or 0 if it was not cut, or
 * that is no longer known. */
uint64_t ais_connection_flood(const struct ais_connections *connections, uint64_t id);

/* The ids of the connections that a fetch avoids. Initially all zero. */
struct ais_avoid {
    uint64_t up_to;     /* this one and all older ones */
    uint64_t failed[8]; /* a ring of the most recent ones */
    size_t nfailed;     /* the number added so far */
};

void ais_connection_avoid(struct ais_avoid *avoid, uint64_t id);

/* How a try gets a connection. */
struct ais_route {
    unsigned label;
    bool fresh;   /* every label has a connection to avoid: the try must open a new one, whatever its label */
    bool joins;   /* a connection with this label is up */
    bool detours; /* there are connections to avoid */
};

/* Returns whether a connection with this label is distrusted, so that a try with this label must not continue. */
bool ais_connection_is_barred(const struct ais_connections *connections, struct ais_str origin, unsigned label);

/*
 * Finds a route that avoids the connections to this origin that are not usable or are listed in avoid. It prefers a
 * connection that is up, and the one with the fewest faults, then one that is being opened, then a new one.
 */
struct ais_route ais_connection_route(const struct ais_connections *connections, struct ais_str origin,
                                      const struct ais_avoid *avoid);

#pragma GCC visibility pop

#endif
