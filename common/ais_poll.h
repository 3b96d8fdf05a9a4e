/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_POLL_H
#define AIS_POLL_H

#include "ais_client.h"

#pragma GCC visibility push(hidden)

/*
 * Runs a client that was created without a driver, for a caller with a thread to spare. Blocks until something happens,
 * but for at most ms milliseconds, and then calls the client, which may call the callbacks of fetches. Returns after
 * one round, or when woken up. Must be called from the client's thread.
 */
void ais_poll_wait(struct ais_client *client, int64_t ms);

/* Makes the current ais_poll_wait() return, or else the next one. May be called from any thread while the client
 * exists. */
void ais_poll_wake(struct ais_client *client);

#pragma GCC visibility pop

#endif
