/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_WRITER_H
#define AIS_WRITER_H

#include "ais_str.h"

/* Text that is written from left to right, or only measured. All zero but for out: at its start. Pure. */
struct ais_writer {
    char *out; /* has room for all of it; NULL: only the length is wanted */
    size_t len;
};

static inline void ais_writer_put(struct ais_writer *w, struct ais_str s)
{
    if (w->out != NULL && s.len > 0)
        memcpy(w->out + w->len, s.data, s.len);
    w->len += s.len;
}

#endif
