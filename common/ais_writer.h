/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_WRITER_H
#define AIS_WRITER_H

#include "ais_str.h"

/* Writes text from left to right, or only measures it. Initially all zero except out. Pure. */
struct ais_writer {
    char *out; /* must have room for all of the text; NULL: only the length is computed */
    size_t len;
};

static inline void ais_writer_put(struct ais_writer *w, struct ais_str s)
{
    if (w->out != NULL && s.len > 0)
        memcpy(w->out + w->len, s.data, s.len);
    w->len += s.len;
}

#endif
