/* SPDX-License-Identifier: BSD-2-Clause */

/* Trims strings, and parses numbers. */

#include "ais_str.h"

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_line_end(char c)
{
    return c == '\r' || c == '\n';
}

struct ais_str ais_str_trim(struct ais_str s)
{
    while (s.len > 0 && (is_blank(s.data[s.len - 1]) || is_line_end(s.data[s.len - 1])))
        s.len--;

    while (s.len > 0 && is_blank(s.data[0])) {
        s.data++;
        s.len--;
    }

    return s;
}

int64_t ais_str_number(struct ais_str s, int64_t max)
{
    int64_t n = 0;

    for (size_t i = 0; i < s.len; i++) {
        if (!ais_is_digit(s.data[i]))
            return -1;

        n = n * 10 + (s.data[i] - '0');
        if (n > max)
            n = max;
    }

    return s.len > 0 ? n : -1;
}

int ais_hex_digit(int c)
{
    if (ais_is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}
