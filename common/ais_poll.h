/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_POLL_H
#define AIS_POLL_H

#include "ais_client.h"

#pragma GCC visibility push(hidden)

/*
 * For callers that have a thread to spare: runs a client that was made without a driver.
 *
 * Waits until something happens, but at most ms milliseconds, and lets the client deal with it. Callbacks of fetches
 * run in here. Returns after one round, also when woken.
 */
void ais_poll_wait(struct ais_client *client, int64_t ms);

/* Makes the present, or else the next, ais_poll_wait() return. From any thread, as long as the client is there. */
void ais_poll_wake(struct ais_client *client);

#pragma GCC visibility pop

#endif
