/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_UTF8_H
#define AIS_UTF8_H

#include "ais_str.h"

/* Characters and control characters in UTF-8 (RFC 3629). All functions are pure and may be called from any thread or
 * process. */

#pragma GCC visibility push(hidden)

/* The length of the longest sequence, in bytes. */
#define AIS_UTF8_MAX 4

/* Returns the length of the valid sequence at the start of s, or 0 if there is none. */
size_t ais_utf8_sequence(struct ais_str s);

/* Returns the length of the control character at the start of s (C0, DEL, or C1, which has two bytes), or 0. */
size_t ais_utf8_control(struct ais_str s);

/* Replaces every byte of control characters with a space, so that the text can be used in a log or a header. */
void ais_utf8_printable(char *text, size_t len);

#pragma GCC visibility pop

#endif
