/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_NEGOTIATION_H
#define AIS_NEGOTIATION_H

#include <stdbool.h>
#include <stdint.h>

#include "ais_str.h"

/*
 * What a client says of the answer that it wants: whether it waits for a change (Prefer), whether it takes a stream of
 * events (Accept), which answer it has already (If-None-Match, Last-Event-ID), and how long a scrape may take. Pure;
 * for any thread or process. A list may be spread over several header lines: each function is called for one line after
 * the other. What is malformed is ignored.
 */

#pragma GCC visibility push(hidden)

/*
 * The preference "wait" of a Prefer line (RFC 7240, sections 2 and 4.3), in seconds, at most AIS_WAIT_MAX; -1 if there
 * is none. Of several, the first counts.
 */
int64_t ais_prefer_wait(struct ais_str line);

#define AIS_WAIT_MAX (INT64_C(365) * 24 * 3600)

/*
 * How long a scrape is to wait for its answer at most, in ms, by an X-Prometheus-Scrape-Timeout-Seconds line: half a
 * second less than Prometheus waits, but not less than 0 and no more than AIS_SCRAPE_WAIT_MAX; that is also for a line
 * that is malformed. (Source: the scrape loop of Prometheus, which sends seconds, with or without a fraction.)
 */
int64_t ais_scrape_wait(struct ais_str line);

#define AIS_SCRAPE_WAIT_MAX 5000

/*
 * The qualities, in thousandths, of the media ranges that matter, or AIS_QUALITY_NONE (RFC 9110, section 12.5.1). Begin
 * with AIS_ACCEPT_NOTHING.
 */
struct ais_accept {
    int event_stream; /* text/event-stream */
    int json;         /* application/json */
    int application;  /* of application/ with an asterisk */
    int all;          /* of two asterisks */
};

#define AIS_QUALITY_NONE (-1)
#define AIS_ACCEPT_NOTHING                                                                                             \
    ((struct ais_accept){AIS_QUALITY_NONE, AIS_QUALITY_NONE, AIS_QUALITY_NONE, AIS_QUALITY_NONE})

/* Adds an Accept line to what was accepted before. Of a range that is named twice, the higher quality counts. */
void ais_accept_add(struct ais_accept *accept, struct ais_str line);

/* Whether a stream of events is wanted: only if it is named itself, and JSON is not preferred. */
bool ais_accept_prefers_events(const struct ais_accept *accept);

/*
 * Whether an If-None-Match line names this entity tag, which comes without its quotes, by the weak comparison (RFC 9110,
 * section 13.1.2). An asterisk names none.
 */
bool ais_etag_listed(struct ais_str line, struct ais_str etag);

/* The part of an entity tag between its quotes, also without a "W/" before it. Other text is returned as it is. */
struct ais_str ais_etag_opaque(struct ais_str etag);

#pragma GCC visibility pop

#endif
