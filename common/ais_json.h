/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_JSON_H
#define AIS_JSON_H

#include <stddef.h>

#include "ais_str.h"

/*
 * A strict JSON checker (RFC 8259) that builds no tree. It runs before cJSON, which accepts control characters,
 * "\uZZZZ", "\u0000", 01, 1e, a byte order mark and invalid UTF-8, and cuts strings at a NUL. Pure; may be called from
 * any thread or process.
 */

#pragma GCC visibility push(hidden)

/* The maximum number of values. The API's longest page, 500 log entries, has about 3000; more would only cost time and
 * memory. */
#define AIS_JSON_VALUES_MAX 20000

/*
 * Checks that the text is a single JSON value in UTF-8, with optional white space around it; that no string contains a
 * NUL; that arrays and objects are not nested deeper than depth; that there are at most AIS_JSON_VALUES_MAX values; and
 * that no number is longer than cJSON can parse (63 bytes).
 *
 * Returns NULL if the text is valid, or else a constant string with the reason. *where is set to the position where the
 * check ended.
 */
const char *ais_json_check(struct ais_str text, unsigned depth, size_t *where);

#pragma GCC visibility pop

#endif
