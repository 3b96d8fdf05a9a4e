#ifndef AIS_STR_H
#define AIS_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* A view of text that somebody else owns; not NUL-terminated. */
struct ais_str {
    const char *data;
    size_t len;
};

#define AIS_STR(literal) ((struct ais_str){(literal), sizeof(literal) - 1})

static inline bool ais_str_eq(struct ais_str a, struct ais_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

#endif
