/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_ALLOWANCE_H
#define AIS_ALLOWANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

/*
 * How many bytes a connection may receive that are not part of a response. A protocol has some overhead, but an honest
 * peer needs little of it per byte of a response. libcurl discards such bytes for as long as the peer sends faster than
 * libcurl reads, so they have to be limited. Private to the client. The functions are pure.
 *
 * The allowance starts at 256 KiB, more than the longest certificate chain that is accepted. It grows by 16 KiB per
 * request, by three bytes per byte of a response (one for the byte itself, two for framing), by 16 bytes per ms, and by
 * 1 MiB for a response that is given up. It is capped at 1 MiB whenever bytes arrive.
 */
struct ais_allowance {
    int64_t left;   /* bytes */
    int64_t at;     /* when left was last updated, in ms; 0: nothing has been received */
    int64_t beside; /* bytes received that were not part of a response */
};

/* Initializes the allowance of a new connection. */
void ais_allowance_begin(struct ais_allowance *allowance);

/* A request is being sent over the connection. */
void ais_allowance_add_request(struct ais_allowance *allowance);

/* The client has received these bytes of a response. They are also passed to ais_allowance_take(), before or after. */
void ais_allowance_add_answer(struct ais_allowance *allowance, size_t bytes);

/* A response is no longer awaited, but the rest of it may still arrive. */
void ais_allowance_add_rest(struct ais_allowance *allowance);

/* Reduces what is left to at most this many bytes. */
void ais_allowance_limit(struct ais_allowance *allowance, int64_t most);

/* Returns whether less is left than an honest peer would leave. */
bool ais_allowance_is_strained(const struct ais_allowance *allowance);

/* Takes bytes that were received at now (in ms), and more bytes for the work that they cause. Returns false if that is
 * more than what was left. */
bool ais_allowance_take(struct ais_allowance *allowance, size_t bytes, size_t more, int64_t now);

#pragma GCC visibility pop

#endif
