/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_CURSOR_H
#define AIS_CURSOR_H

#include "ais_str.h"

/* Text that is read from left to right, once. All zero but for the text: at its start. Pure. */
struct ais_cursor {
    struct ais_str text;
    size_t pos;
};

static inline bool ais_cursor_at_end(const struct ais_cursor *cur)
{
    return cur->pos == cur->text.len;
}

/* The next byte, or -1 at the end. */
static inline int ais_cursor_peek(const struct ais_cursor *cur)
{
    return cur->pos < cur->text.len ? (unsigned char) cur->text.data[cur->pos] : -1;
}

/* Steps over a byte, where it comes next. */
static inline bool ais_cursor_skip(struct ais_cursor *cur, char c)
{
    if (ais_cursor_peek(cur) != (unsigned char) c)
        return false;

    cur->pos++;
    return true;
}

/* Steps over text, where it comes next. Of a literal the comparison is one of constant length. */
static inline bool ais_cursor_skip_str(struct ais_cursor *cur, struct ais_str s)
{
    if (cur->text.len - cur->pos < s.len || memcmp(cur->text.data + cur->pos, s.data, s.len) != 0)
        return false;

    cur->pos += s.len;
    return true;
}

/* What has been read since then. */
static inline struct ais_str ais_cursor_since(const struct ais_cursor *cur, size_t start)
{
    return (struct ais_str){cur->text.data + start, cur->pos - start};
}

#endif
