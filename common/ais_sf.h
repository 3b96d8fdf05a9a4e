/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_SF_H
#define AIS_SF_H

#include <stdbool.h>
#include <stdint.h>

#include "ais_str.h"

/*
 * Parses Lists of Structured Field Values for HTTP (RFC 9651, sections 3.1 and 4.2) without building a tree: it calls a
 * visitor for each member. Pure; may be called from any thread or process.
 */

#pragma GCC visibility push(hidden)

enum ais_sf_type {
    AIS_SF_INTEGER,
    AIS_SF_DECIMAL,
    AIS_SF_STRING,
    AIS_SF_TOKEN,
    AIS_SF_BYTES,
    AIS_SF_BOOLEAN,
    AIS_SF_DATE,
    AIS_SF_DISPLAY_STRING,
    AIS_SF_INNER_LIST, /* its items are checked, but not reported */
};

struct ais_sf_item {
    enum ais_sf_type type;
    int64_t integer;     /* Integer, Date (seconds since the epoch) or Boolean (0 or 1) */
    struct ais_str text; /* String or Token; points into the field, and still contains the backslashes of escapes */
};

/* Called in the order of the field. */
struct ais_sf_visitor {
    void *data; /* passed to both functions */
    void (*member)(void *data, const struct ais_sf_item *item);

    /* A parameter of the last member. A key that appears twice is reported twice; the last value counts. */
    void (*parameter)(void *data, struct ais_str key, const struct ais_sf_item *value);
};

/*
 * Parses a field, whose lines must have been joined by commas (section 4.2). An empty field is an empty List. Returns
 * false if the field is malformed; such a field counts as absent, so the caller must discard what was reported.
 */
bool ais_sf_list(struct ais_str field, const struct ais_sf_visitor *visitor);

#pragma GCC visibility pop

#endif
