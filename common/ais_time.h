/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_TIME_H
#define AIS_TIME_H

#include <stdbool.h>
#include <stdint.h>

#include "ais_str.h"

/* Points in time: milliseconds since 1970-01-01T00:00:00Z. Pure functions, for any thread. */

#pragma GCC visibility push(hidden)

/* A time that is absent, null, or not readable. */
#define AIS_TIME_NONE INT64_MIN

/*
 * Reads a time as the API writes it: RFC 3339 ("2026-11-23T12:44:10Z", with or without a fraction, "Z" or an offset,
 * section 5.6), "2026-11-23 12:44:10" or "2026-11-23T12:44:10", also with a fraction, which are UTC. Years 1970 to
 * 9999. Returns false, and leaves *ms alone, for anything else.
 */
bool ais_time_parse(struct ais_str s, int64_t *ms);

/*
 * Reads an HTTP-date (RFC 9110, section 5.6.7, all three forms) and returns true, or false for anything else.
 */
bool ais_time_parse_http(struct ais_str s, int64_t *ms);

#pragma GCC visibility pop

#endif
