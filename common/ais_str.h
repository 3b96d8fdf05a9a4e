/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_STR_H
#define AIS_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Views of strings, and parsing of numbers. All functions are pure and may be called from any thread or process. */

#pragma GCC visibility push(hidden)

/* A view of memory that is owned elsewhere; not NUL-terminated. */
struct ais_str {
    const char *data;
    size_t len;
};

#define AIS_STR(literal) ((struct ais_str){(literal), sizeof(literal) - 1})

/* Returns a view of a C string; NULL becomes an empty view. */
static inline struct ais_str ais_str_of(const char *s)
{
    return (struct ais_str){s, s != NULL ? strlen(s) : 0};
}

static inline bool ais_str_eq(struct ais_str a, struct ais_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* Returns the text without leading and trailing blanks, and without trailing line breaks. */
struct ais_str ais_str_trim(struct ais_str s);

/* Returns a number of only decimal digits, at most max, or -1 for anything else. */
int64_t ais_str_number(struct ais_str s, int64_t max);

static inline bool ais_is_digit(int c)
{
    return c >= '0' && c <= '9';
}

/* Returns the value of a hexadecimal digit, or -1 for anything else; c may be negative. */
int ais_hex_digit(int c);

#pragma GCC visibility pop

#endif
