/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_JSON_H
#define AIS_JSON_H

#include <stddef.h>

#include "ais_str.h"

/*
 * A strict reader of JSON texts (RFC 8259) that builds nothing: it stands in front of cJSON, which takes control
 * characters, "\uZZZZ", "\u0000", 01, 1e, a byte order mark and invalid UTF-8 for JSON, and cuts strings at a NUL.
 */

#pragma GCC visibility push(hidden)

/* The longest page of the API, 500 entries of a log, has about 3000; more cost time and memory, and tell nothing. */
#define AIS_JSON_VALUES_MAX 20000

/*
 * Checks that the whole text is one JSON value in UTF-8, with white space around it at most; that no string holds a
 * NUL; that arrays and objects are nested no deeper than depth; that there are no more than AIS_JSON_VALUES_MAX values
 * in all; and that no number is longer than cJSON can read (63 bytes).
 *
 * Returns NULL, or a constant string that says what is wrong, with its position in *where.
 */
const char *ais_json_check(struct ais_str text, unsigned depth, size_t *where);

#pragma GCC visibility pop

#endif
