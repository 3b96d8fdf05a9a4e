/* SPDX-License-Identifier: BSD-2-Clause */

/* Parses Lists of Structured Fields, and reports their members to a visitor. */

#include "ais_sf.h"

#include <stddef.h>

#include "ais_cursor.h"
#include "ais_utf8.h"

#define INTEGER_DIGITS 15
#define DECIMAL_DIGITS 12 /* before the decimal point */
#define FRACTION_DIGITS 3

static bool is_lower(int c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_alpha(int c)
{
    return is_lower(c) || (c >= 'A' && c <= 'Z');
}

static bool is_one_of(int c, const char *set)
{
    return c > 0 && strchr(set, c) != NULL;
}

/* tchar (RFC 9110, section 5.6.2), ':' or '/' */
static bool is_token(int c)
{
    return is_alpha(c) || ais_is_digit(c) || is_one_of(c, "!#$%&'*+-.^_`|~:/");
}

static void skip_spaces(struct ais_cursor *cur)
{
    while (ais_cursor_skip(cur, ' ')) {
    }
}

/* OWS (RFC 9110, section 5.6.3) */
static void skip_blanks(struct ais_cursor *cur)
{
    while (ais_cursor_skip(cur, ' ') || ais_cursor_skip(cur, '\t')) {
    }
}

/* Reads up to max digits. Returns how many there are, or max + 1 if there are more. */
static size_t read_digits(struct ais_cursor *cur, size_t max, int64_t *number)
{
    size_t n = 0;

    for (; ais_is_digit(ais_cursor_peek(cur)) && n <= max; n++, cur->pos++) {
        if (n < max)
            *number = *number * 10 + (ais_cursor_peek(cur) - '0');
    }

    return n;
}

/* Section 4.2.4. */
static bool read_number(struct ais_cursor *cur, struct ais_sf_item *item)
{
    bool negative = ais_cursor_skip(cur, '-');
    int64_t fraction = 0;
    size_t n = read_digits(cur, INTEGER_DIGITS, &item->integer);

    item->type = AIS_SF_INTEGER;
    if (negative)
        item->integer = -item->integer;

    if (n == 0 || n > INTEGER_DIGITS)
        return false;

    if (!ais_cursor_skip(cur, '.'))
        return true;

    item->type = AIS_SF_DECIMAL;
    if (n > DECIMAL_DIGITS)
        return false;

    n = read_digits(cur, FRACTION_DIGITS, &fraction);
    return n > 0 && n <= FRACTION_DIGITS;
}

/* Section 4.2.5. */
static bool read_string(struct ais_cursor *cur, struct ais_sf_item *item)
{
    size_t start = cur->pos;

    item->type = AIS_SF_STRING;

    for (; ais_cursor_peek(cur) != '"'; cur->pos++) {
        if (ais_cursor_skip(cur, '\\') && !is_one_of(ais_cursor_peek(cur), "\"\\"))
            return false;
        if (ais_cursor_peek(cur) < 0x20 || ais_cursor_peek(cur) > 0x7e)
            return false;
    }

    item->text = ais_cursor_since(cur, start);
    return ais_cursor_skip(cur, '"');
}

/* Section 4.2.6. */
static bool read_token(struct ais_cursor *cur, struct ais_sf_item *item)
{
    size_t start = cur->pos++;

    item->type = AIS_SF_TOKEN;
    while (is_token(ais_cursor_peek(cur)))
        cur->pos++;

    item->text = ais_cursor_since(cur, start);
    return true;
}

/* Section 4.2.7. The content is not decoded. Padding may be missing, but must be at the end. */
static bool read_bytes(struct ais_cursor *cur, struct ais_sf_item *item)
{
    size_t digits = 0;
    size_t padding = 0;

    item->type = AIS_SF_BYTES;

    for (;
         is_alpha(ais_cursor_peek(cur)) || ais_is_digit(ais_cursor_peek(cur)) || is_one_of(ais_cursor_peek(cur), "+/");
         cur->pos++)
        digits++;
    while (ais_cursor_skip(cur, '='))
        padding++;

    return digits % 4 != 1 && padding <= (4 - digits % 4) % 4 && ais_cursor_skip(cur, ':');
}

/* Section 4.2.8. */
static bool read_boolean(struct ais_cursor *cur, struct ais_sf_item *item)
{
    item->type = AIS_SF_BOOLEAN;
    item->integer = ais_cursor_peek(cur) == '1';
    return ais_cursor_skip(cur, '0') || ais_cursor_skip(cur, '1');
}

/* Section 4.2.9. */
static bool read_date(struct ais_cursor *cur, struct ais_sf_item *item)
{
    if (!read_number(cur, item) || item->type != AIS_SF_INTEGER)
        return false;

    item->type = AIS_SF_DATE;
    return true;
}

static int lower_hex_digit(int c)
{
    if (ais_is_digit(c))
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Returns the next byte of a Display String, or -1 if it is malformed. */
static int read_display_byte(struct ais_cursor *cur)
{
    int c = ais_cursor_peek(cur);

    if (c < 0x20 || c > 0x7e)
        return -1;

    cur->pos++;
    if (c != '%')
        return c;

    c = 0;
    for (int i = 0; i < 2; i++, cur->pos++) {
        int digit = lower_hex_digit(ais_cursor_peek(cur));

        if (digit < 0)
            return -1;
        c = c * 16 + digit;
    }

    return c;
}

/* Section 4.2.10. */
static bool read_display_string(struct ais_cursor *cur, struct ais_sf_item *item)
{
    char sequence[AIS_UTF8_MAX]; /* the bytes of the current character so far */
    size_t n = 0;

    item->type = AIS_SF_DISPLAY_STRING;

    if (!ais_cursor_skip(cur, '"'))
        return false;

    while (!ais_cursor_skip(cur, '"')) {
        int c = read_display_byte(cur);

        if (c < 0 || n == sizeof(sequence))
            return false;

        sequence[n++] = (char) c;
        if (ais_utf8_sequence((struct ais_str){sequence, n}) > 0)
            n = 0;
    }

    return n == 0;
}

/* Section 4.2.3.1. */
static bool read_bare_item(struct ais_cursor *cur, struct ais_sf_item *item)
{
    int c = ais_cursor_peek(cur);

    *item = (struct ais_sf_item){.integer = 0};

    if (c == '-' || ais_is_digit(c))
        return read_number(cur, item);
    if (ais_cursor_skip(cur, '"'))
        return read_string(cur, item);
    if (c == '*' || is_alpha(c))
        return read_token(cur, item);
    if (ais_cursor_skip(cur, ':'))
        return read_bytes(cur, item);
    if (ais_cursor_skip(cur, '?'))
        return read_boolean(cur, item);
    if (ais_cursor_skip(cur, '@'))
        return read_date(cur, item);
    return ais_cursor_skip(cur, '%') && read_display_string(cur, item);
}

/* Section 4.2.3.3. */
static bool read_key(struct ais_cursor *cur, struct ais_str *key)
{
    size_t start = cur->pos;

    if (!is_lower(ais_cursor_peek(cur)) && ais_cursor_peek(cur) != '*')
        return false;

    while (is_lower(ais_cursor_peek(cur)) || ais_is_digit(ais_cursor_peek(cur)) ||
           is_one_of(ais_cursor_peek(cur), "_-.*"))
        cur->pos++;

    *key = ais_cursor_since(cur, start);
    return true;
}

/* Section 4.2.3.2. If visitor is NULL, the parameters are only checked. */
static bool read_parameters(struct ais_cursor *cur, const struct ais_sf_visitor *visitor)
{
    while (ais_cursor_skip(cur, ';')) {
        struct ais_sf_item value = {.type = AIS_SF_BOOLEAN, .integer = 1};
        struct ais_str key;

        skip_spaces(cur);
        if (!read_key(cur, &key) || (ais_cursor_skip(cur, '=') && !read_bare_item(cur, &value)))
            return false;

        if (visitor != NULL)
            visitor->parameter(visitor->data, key, &value);
    }

    return true;
}

/* Section 4.2.1.2, after the '('. */
static bool read_inner_list(struct ais_cursor *cur, struct ais_sf_item *item)
{
    for (;;) {
        struct ais_sf_item inner;

        skip_spaces(cur);
        if (ais_cursor_skip(cur, ')')) {
            *item = (struct ais_sf_item){.type = AIS_SF_INNER_LIST};
            return true;
        }

        if (!read_bare_item(cur, &inner) || !read_parameters(cur, NULL))
            return false;

        if (ais_cursor_peek(cur) != ' ' && ais_cursor_peek(cur) != ')')
            return false;
    }
}

static bool read_member(struct ais_cursor *cur, const struct ais_sf_visitor *visitor)
{
    struct ais_sf_item item;

    if (ais_cursor_skip(cur, '(') ? !read_inner_list(cur, &item) : !read_bare_item(cur, &item))
        return false;

    visitor->member(visitor->data, &item);
    return read_parameters(cur, visitor);
}

bool ais_sf_list(struct ais_str field, const struct ais_sf_visitor *visitor)
{
    struct ais_cursor cur = {field, 0};

    skip_spaces(&cur);
    if (ais_cursor_peek(&cur) == -1)
        return true;

    for (;;) {
        if (!read_member(&cur, visitor))
            return false;

        skip_blanks(&cur);
        if (ais_cursor_peek(&cur) == -1)
            return true;

        if (!ais_cursor_skip(&cur, ','))
            return false;

        skip_blanks(&cur);
    }
}
