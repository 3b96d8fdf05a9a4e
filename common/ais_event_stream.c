/* SPDX-License-Identifier: BSD-2-Clause */

/* Writes events of a text/event-stream. */

#include "ais_event_stream.h"

#include "ais_cursor.h"
#include "ais_writer.h"

static void put_field(struct ais_writer *w, struct ais_str name, struct ais_str value)
{
    ais_writer_put(w, name);
    ais_writer_put(w, AIS_STR(": "));
    ais_writer_put(w, value);
    ais_writer_put(w, AIS_STR("\n"));
}

/* Reads a line and skips the line break. Returns whether there was a line break. */
static bool take_line(struct ais_cursor *cur, struct ais_str *line)
{
    size_t start = cur->pos;

    while (!ais_cursor_at_end(cur) && ais_cursor_peek(cur) != '\r' && ais_cursor_peek(cur) != '\n')
        cur->pos++;
    *line = ais_cursor_since(cur, start);

    return ais_cursor_skip_str(cur, AIS_STR("\r\n")) || ais_cursor_skip(cur, '\r') || ais_cursor_skip(cur, '\n');
}

size_t ais_event_write(char *out, const struct ais_event *event)
{
    struct ais_writer w = {.out = out};
    struct ais_cursor cur = {.text = event->data};
    struct ais_str line;
    bool is_more;

    if (event->type.len > 0)
        put_field(&w, AIS_STR("event"), event->type);
    if (event->id.data != NULL)
        put_field(&w, AIS_STR("id"), event->id);
    do {
        is_more = take_line(&cur, &line);
        put_field(&w, AIS_STR("data"), line);
    } while (is_more);
    ais_writer_put(&w, AIS_STR("\n"));
    return w.len;
}
