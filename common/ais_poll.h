/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_POLL_H
#define AIS_POLL_H

#include <stdint.h>

#include "ais_client.h"

#pragma GCC visibility push(hidden)

/*
 * A driver for callers that have a thread to spare: any number of clients in one epoll(7) loop. All functions belong
 * to the loop's thread, but for ais_poll_wake().
 */
struct ais_poll;

/* Returns NULL with *err filled where descriptors or memory run out. */
struct ais_poll *ais_poll_create(struct ais_error *err);

/* Destroys its clients too. NULL is fine. */
void ais_poll_destroy(struct ais_poll *loop);

/* Makes a client that this loop drives, and owns. Returns NULL with *err filled. */
struct ais_client *ais_poll_client(struct ais_poll *loop, const struct ais_client_options *options,
                                   struct ais_error *err);

/*
 * Waits until something happens, but at most timeout milliseconds (-1: for ever), and lets the clients deal with it.
 * Callbacks of fetches run in here. Returns after one round, also when woken.
 */
void ais_poll_wait(struct ais_poll *loop, int64_t timeout);

/* Makes the present, or else the next, ais_poll_wait() return. From any thread; async-signal-safe. */
void ais_poll_wake(struct ais_poll *loop);

#pragma GCC visibility pop

#endif
