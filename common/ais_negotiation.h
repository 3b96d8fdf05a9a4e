/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_NEGOTIATION_H
#define AIS_NEGOTIATION_H

#include <stdbool.h>
#include <stdint.h>

#include "ais_str.h"

/*
 * Parses the request headers by which a client selects a response: whether it waits for a change (Prefer), whether it
 * wants a stream of events (Accept), which answer it already has (If-None-Match, Last-Event-ID), and how long a scrape
 * may take. A list may be spread over several header lines; call the functions for one line after the other. Malformed
 * input is ignored. All functions are pure and may be called from any thread or process.
 */

#pragma GCC visibility push(hidden)

/*
 * Returns the preference "wait" of a Prefer line (RFC 7240, sections 2 and 4.3), in seconds, at most AIS_WAIT_MAX, or
 * -1 if there is none. If it is given several times, the first one counts.
 */
int64_t ais_prefer_wait(struct ais_str line);

#define AIS_WAIT_MAX (INT64_C(365) * 24 * 3600)

/*
 * Returns how long a scrape may wait for an answer, in ms, by an X-Prometheus-Scrape-Timeout-Seconds line: half a
 * second less than Prometheus waits, but at least 0 and at most AIS_SCRAPE_WAIT_MAX, which is also the result for a
 * malformed line. (Source: the scrape loop of Prometheus, which sends seconds, with or without a fraction.)
 */
int64_t ais_scrape_wait(struct ais_str line);

#define AIS_SCRAPE_WAIT_MAX 5000

/*
 * The quality values of the relevant media ranges (RFC 9110, section 12.5.1), in thousandths, or AIS_QUALITY_NONE.
 * Initialize it with AIS_ACCEPT_NOTHING.
 */
struct ais_accept {
    int event_stream; /* text/event-stream */
    int json;         /* application/json */
    int application;  /* "application" with any subtype */
    int all;          /* any type */
};

#define AIS_QUALITY_NONE (-1)
#define AIS_ACCEPT_NOTHING ((struct ais_accept){AIS_QUALITY_NONE, AIS_QUALITY_NONE, AIS_QUALITY_NONE, AIS_QUALITY_NONE})

/* Adds an Accept line. If a range is given twice, the higher quality counts. */
void ais_accept_add(struct ais_accept *accept, struct ais_str line);

/* Returns whether the client wants a stream of events: it names that type itself, and does not prefer JSON. */
bool ais_accept_prefers_events(const struct ais_accept *accept);

/*
 * Returns whether an If-None-Match line contains this entity tag, by the weak comparison (RFC 9110, section 13.1.2).
 * etag is without its quotes. An asterisk matches nothing.
 */
bool ais_etag_listed(struct ais_str line, struct ais_str etag);

/* Returns the part of an entity tag between its quotes, without a leading "W/". Other text is returned as it is. The
 * result points into etag. */
struct ais_str ais_etag_opaque(struct ais_str etag);

#pragma GCC visibility pop

#endif
