/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_METER_H
#define AIS_METER_H

#include <stdbool.h>

#include "ais_connection.h"

/*
 * Counts the bytes that connections receive, and cuts a connection that receives too many. Private to the client.
 *
 * This is done inside libcurl's calls, because libcurl 7.88 does not return while a peer sends faster than it reads.
 * With TLS, every record is counted. Without TLS, the bytes that libcurl has read are counted whenever it reports
 * progress: once per hundred buffers, but never while it reads HTTP/2.
 *
 * libcurl sees a connection that was cut as reset by the peer; ais_connection_flood() returns the real reason.
 */

#pragma GCC visibility push(hidden)

/* Returns whether TLS records can be counted: libcurl must use the OpenSSL (major version) that this was built with. */
bool ais_meter_sees_tls(void);

/* Starts counting the TLS records of a connection. ssl_ctx must be used by this connection only, and connections must
 * outlive it. */
void ais_meter_tls(void *ssl_ctx, struct ais_connections *connections, struct ais_connection *connection);

/* Counts what has been read so far, unless the connection counts it itself. Called when libcurl reports progress. */
void ais_meter_look(struct ais_connections *connections, struct ais_connection *connection);

#pragma GCC visibility pop

#endif
