/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_EVENT_STREAM_H
#define AIS_EVENT_STREAM_H

#include "ais_str.h"

/* Writes events of a text/event-stream (WHATWG HTML, section 9.2). Pure; may be called from any thread or process. */

#pragma GCC visibility push(hidden)

struct ais_event {
    struct ais_str type; /* empty: the default type, "message" */
    struct ais_str id;   /* if its data is NULL, the event has no id, and the client keeps the previous one */
    struct ais_str data; /* any text; CR, LF and CRLF each end a line, and the client receives them as LF */
};

/* Writes an event to out, without a NUL, and returns its length. If out is NULL, only returns the length. type and id
 * must not contain line breaks. */
size_t ais_event_write(char *out, const struct ais_event *event);

#pragma GCC visibility pop

#endif
