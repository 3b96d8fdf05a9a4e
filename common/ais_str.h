/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_STR_H
#define AIS_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Views of text, and what is read from them. Pure; for any thread or process. */

#pragma GCC visibility push(hidden)

/* Text that somebody else owns; not NUL-terminated. */
struct ais_str {
    const char *data;
    size_t len;
};

#define AIS_STR(literal) ((struct ais_str){(literal), sizeof(literal) - 1})

/* Of a C string; NULL: without text. */
static inline struct ais_str ais_str_of(const char *s)
{
    return (struct ais_str){s, s != NULL ? strlen(s) : 0};
}

static inline bool ais_str_eq(struct ais_str a, struct ais_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* A line, or the value of a field, without the blanks at its ends, and without the end of the line. */
struct ais_str ais_str_trim(struct ais_str s);

/* Of decimal digits alone: the number, or max where that is less; -1 for anything else. */
int64_t ais_str_number(struct ais_str s, int64_t max);

static inline bool ais_is_digit(int c)
{
    return c >= '0' && c <= '9';
}

/* The value of a hexadecimal digit, or -1 where c is none; c may be negative. */
int ais_hex_digit(int c);

#pragma GCC visibility pop

#endif
