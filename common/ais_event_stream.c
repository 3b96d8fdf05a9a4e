/* SPDX-License-Identifier: BSD-2-Clause */

/* Writes events of a text/event-stream. */

#include "ais_event_stream.h"

#include "ais_cursor.h"

struct writer {
    char *out; /* NULL: only the length is wanted */
    size_t len;
};

static void put(struct writer *w, struct ais_str s)
{
    if (w->out != NULL && s.len > 0)
        memcpy(w->out + w->len, s.data, s.len);
    w->len += s.len;
}

static void put_field(struct writer *w, struct ais_str name, struct ais_str value)
{
    put(w, name);
    put(w, AIS_STR(": "));
    put(w, value);
    put(w, AIS_STR("\n"));
}

/* The text up to the end of a line, which is skipped. Returns whether there was one. */
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
    struct writer w = {.out = out};
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
    put(&w, AIS_STR("\n"));
    return w.len;
}
