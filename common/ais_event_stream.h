/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_EVENT_STREAM_H
#define AIS_EVENT_STREAM_H

#include "ais_str.h"

/* Writes events of a text/event-stream (WHATWG HTML, section 9.2). Pure; for any thread or process. */

#pragma GCC visibility push(hidden)

struct ais_event {
    struct ais_str type; /* empty: "message" */
    struct ais_str id;   /* without data: the event has none, and the client keeps that of the event before */
    struct ais_str data; /* any text: CR, LF and CRLF each end a line, and arrive as LF */
};

/* Writes an event to out and returns its length; with NULL for out it returns the length alone. Type and id must not
 * have the end of a line in them. */
size_t ais_event_write(char *out, const struct ais_event *event);

#pragma GCC visibility pop

#endif
