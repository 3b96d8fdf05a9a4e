/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_TIME_H
#define AIS_TIME_H

#include <stdbool.h>
#include <stdint.h>

#include "ais_str.h"

/* Parses times. Times are in milliseconds since 1970-01-01T00:00:00Z. All functions are pure and may be called from any
 * thread or process. */

#pragma GCC visibility push(hidden)

/* A time that is absent, null, or cannot be parsed. */
#define AIS_TIME_NONE INT64_MIN

/*
 * Parses a time as the API writes it: RFC 3339, section 5.6 ("2026-11-23T12:44:10Z", with "Z" or an offset), or
 * "2026-11-23 12:44:10" or "2026-11-23T12:44:10", which are UTC. All may have a fraction. The year must be 1970 to
 * 9999. Returns true and sets *ms; or returns false for anything else, and leaves *ms unchanged.
 */
bool ais_time_parse(struct ais_str s, int64_t *ms);

/*
 * Parses an HTTP-date in any of its three forms (RFC 9110, section 5.6.7). Returns true and sets *ms; or returns false
 * for anything else, and leaves *ms unchanged.
 */
bool ais_time_parse_http(struct ais_str s, int64_t *ms);

#pragma GCC visibility pop

#endif
