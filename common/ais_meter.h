/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_METER_H
#define AIS_METER_H

#include <stdbool.h>

#include "ais_connection.h"

/*
 * Counts what connections bring, and cuts one that brings too much. Private to the client.
 *
 * That happens inside of libcurl's calls, since 7.88 does not come back while a peer sends faster than it reads. In TLS
 * each record is counted; without, what libcurl has read, whenever it tells of its progress, which is every hundred
 * buffers, but never while it reads HTTP/2.
 *
 * A connection that is cut fails as one that the peer has reset. The books say why: ais_connection_flood().
 */

#pragma GCC visibility push(hidden)

/* Whether this libcurl does TLS in a way that can be counted: with the OpenSSL that this was built with. */
bool ais_meter_sees_tls(void);

/* Counts from now on what comes in TLS; ssl_ctx is that of this connection alone. The books outlive it. */
void ais_meter_tls(void *ssl_ctx, struct ais_connections *connections, struct ais_connection *connection);

/* libcurl tells of progress. Where the connection does not count itself, what has been read is counted. */
void ais_meter_look(struct ais_connections *connections, struct ais_connection *connection);

#pragma GCC visibility pop

#endif
