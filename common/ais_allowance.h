/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_ALLOWANCE_H
#define AIS_ALLOWANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

/*
 * How much a connection may bring that is no answer. A protocol has its own bytes, but no peer needs many of them
 * beside each byte of an answer; and what libcurl throws away, it may do so for as long as the peer sends faster than
 * it reads. Private to the client. Pure: no I/O, no clock.
 *
 * There are 256 KiB to begin with, more than the longest chain of certificates that is taken. Each request adds 16 KiB,
 * each byte of an answer three (its own, and two of framing), each second 16 KiB, up to 1 MiB in all, and an answer
 * that is given up as much.
 */
struct ais_allowance {
    int64_t left;
    int64_t at;     /* when that was so, in ms; 0: nothing has come */
    int64_t beside; /* bytes that have come, without those of answers */
};

void ais_allowance_begin(struct ais_allowance *allowance);

/* A request goes by it. */
void ais_allowance_add_request(struct ais_allowance *allowance);

/* Bytes of an answer, as the client sees them. They are taken, too, before or after. */
void ais_allowance_add_answer(struct ais_allowance *allowance, size_t bytes);

/* An answer is not waited for any more: the rest of it may be on its way. */
void ais_allowance_add_rest(struct ais_allowance *allowance);

/* Leaves it at most this. */
void ais_allowance_limit(struct ais_allowance *allowance, int64_t most);

/* Whether less is left than anybody who is honest would leave. */
bool ais_allowance_is_strained(const struct ais_allowance *allowance);

/* Bytes have come, at a time in ms, and they are as much work as so many more would be. Returns whether it may go on.
 */
bool ais_allowance_take(struct ais_allowance *allowance, size_t bytes, size_t more, int64_t now);

#pragma GCC visibility pop

#endif
