/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_SF_H
#define AIS_SF_H

#include <stdbool.h>
#include <stdint.h>

#include "ais_str.h"

/*
 * Reads Lists of Structured Field Values for HTTP (RFC 9651, sections 3.1 and 4.2), and builds nothing. Pure; for any
 * thread or process.
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
    AIS_SF_INNER_LIST, /* what stands in it is checked, and not told */
};

struct ais_sf_item {
    enum ais_sf_type type;
    int64_t integer; /* of an Integer, a Date (seconds since the epoch) or a Boolean (0 or 1) */
    struct ais_str
        text; /* of a String or a Token, as it stands in the field: a backslash is still before what it escapes */
};

/* What is found, in order. */
struct ais_sf_visitor {
    void *data;
    void (*member)(void *data, const struct ais_sf_item *item);

    /* Of the member told before. A key that stands there twice is told twice: the last one counts. */
    void (*parameter)(void *data, struct ais_str key, const struct ais_sf_item *value);
};

/*
 * Reads a whole field; where it came in several lines, they have been joined by commas (section 4.2). Returns false
 * where it is malformed: then all that was told is to be forgotten, since such a field counts as absent. An empty field
 * is an empty List.
 */
bool ais_sf_list(struct ais_str field, const struct ais_sf_visitor *visitor);

#pragma GCC visibility pop

#endif
