/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_UTF8_H
#define AIS_UTF8_H

#include "ais_str.h"

/* UTF-8 (RFC 3629): what is a character, and what is one that may not stand in a line of text. Pure. */

#pragma GCC visibility push(hidden)

/* The longest sequence. */
#define AIS_UTF8_MAX 4

/* The length of the sequence at the start of s, or 0 where there is none. */
size_t ais_utf8_sequence(struct ais_str s);

/* The length of the control character at the start of s: C0, DEL, and C1, which has two bytes; or 0. */
size_t ais_utf8_control(struct ais_str s);

/* Puts a space in the place of each byte of a control character: so it can stand in a log or a header. */
void ais_utf8_printable(char *text, size_t len);

#pragma GCC visibility pop

#endif
