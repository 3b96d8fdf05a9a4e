/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_CURSOR_H
#define AIS_CURSOR_H

#include "ais_str.h"

/* Reads text from left to right. Initially all zero except text. Pure. */
struct ais_cursor {
    struct ais_str text;
    size_t pos;
};

static inline bool ais_cursor_at_end(const struct ais_cursor *cur)
{
    return cur->pos == cur->text.len;
}

/* Returns the next byte, or -1 at the end. */
static inline int ais_cursor_peek(const struct ais_cursor *cur)
{
    return cur->pos < cur->text.len ? (unsigned char) cur->text.data[cur->pos] : -1;
}

/* Skips the next byte if it is c. Returns whether it was. */
static inline bool ais_cursor_skip(struct ais_cursor *cur, char c)
{
    if (ais_cursor_peek(cur) != (unsigned char) c)
        return false;

    cur->pos++;
    return true;
}

/* Skips s if it comes next. Returns whether it did. With a literal, this is a comparison of constant length. */
static inline bool ais_cursor_skip_str(struct ais_cursor *cur, struct ais_str s)
{
    if (cur->text.len - cur->pos < s.len || memcmp(cur->text.data + cur->pos, s.data, s.len) != 0)
        return false;

    cur->pos += s.len;
    return true;
}

/* Returns what has been read since pos was start. */
static inline struct ais_str ais_cursor_since(const struct ais_cursor *cur, size_t start)
{
    return (struct ais_str){cur->text.data + start, cur->pos - start};
}

#endif
