/* SPDX-License-Identifier: BSD-2-Clause */

/* Reads Lists of Structured Fields, and tells a visitor what is in them. */

#include "ais_sf.h"

#include <stddef.h>

#include "ais_utf8.h"

#define INTEGER_DIGITS 15
#define DECIMAL_DIGITS 12 /* before the point */
#define FRACTION_DIGITS 3

struct reader {
    struct ais_str text;
    size_t pos;
};

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

/* tchar of RFC 9110, section 5.6.2, and ':' and '/' */
static bool is_token(int c)
{
    return is_alpha(c) || ais_is_digit(c) || is_one_of(c, "!#$%&'*+-.^_`|~:/");
}

/* The next byte, or -1 at the end. */
static int peek(const struct reader *r)
{
    return r->pos < r->text.len ? (unsigned char) r->text.data[r->pos] : -1;
}

static bool skip(struct reader *r, char c)
{
    if (peek(r) != (unsigned char) c)
        return false;

    r->pos++;
    return true;
}

static void skip_spaces(struct reader *r)
{
    while (skip(r, ' ')) {
    }
}

/* OWS */
static void skip_blanks(struct reader *r)
{
    while (skip(r, ' ') || skip(r, '\t')) {
    }
}

static struct ais_str since(const struct reader *r, size_t start)
{
    return (struct ais_str){r->text.data + start, r->pos - start};
}

/* Up to max digits; returns how many there are, or max + 1 where there are more. */
static size_t read_digits(struct reader *r, size_t max, int64_t *number)
{
    size_t n = 0;

    for (; ais_is_digit(peek(r)) && n <= max; n++, r->pos++) {
        if (n < max)
            *number = *number * 10 + (peek(r) - '0');
    }

    return n;
}

/* Section 4.2.4. */
static bool read_number(struct reader *r, struct ais_sf_item *item)
{
    bool negative = skip(r, '-');
    int64_t fraction = 0;
    size_t n = read_digits(r, INTEGER_DIGITS, &item->integer);

    item->type = AIS_SF_INTEGER;
    if (negative)
        item->integer = -item->integer;

    if (n == 0 || n > INTEGER_DIGITS)
        return false;

    if (!skip(r, '.'))
        return true;

    item->type = AIS_SF_DECIMAL;
    if (n > DECIMAL_DIGITS)
        return false;

    n = read_digits(r, FRACTION_DIGITS, &fraction);
    return n > 0 && n <= FRACTION_DIGITS;
}

/* Section 4.2.5. */
static bool read_string(struct reader *r, struct ais_sf_item *item)
{
    size_t start = r->pos;

    item->type = AIS_SF_STRING;

    for (; peek(r) != '"'; r->pos++) {
        if (skip(r, '\\') && !is_one_of(peek(r), "\"\\"))
            return false;
        if (peek(r) < 0x20 || peek(r) > 0x7e)
            return false;
    }

    item->text = since(r, start);
    return skip(r, '"');
}

/* Section 4.2.6. */
static bool read_token(struct reader *r, struct ais_sf_item *item)
{
    size_t start = r->pos++;

    item->type = AIS_SF_TOKEN;
    while (is_token(peek(r)))
        r->pos++;

    item->text = since(r, start);
    return true;
}

/* Section 4.2.7; what it encodes is of no interest here. Padding may be missing, but nothing follows it. */
static bool read_bytes(struct reader *r, struct ais_sf_item *item)
{
    size_t digits = 0;
    size_t padding = 0;

    item->type = AIS_SF_BYTES;

    for (; is_alpha(peek(r)) || ais_is_digit(peek(r)) || is_one_of(peek(r), "+/"); r->pos++)
        digits++;
    while (skip(r, '='))
        padding++;

    return digits % 4 != 1 && padding <= (4 - digits % 4) % 4 && skip(r, ':');
}

/* Section 4.2.8. */
static bool read_boolean(struct reader *r, struct ais_sf_item *item)
{
    item->type = AIS_SF_BOOLEAN;
    item->integer = peek(r) == '1';
    return skip(r, '0') || skip(r, '1');
}

/* Section 4.2.9. */
static bool read_date(struct reader *r, struct ais_sf_item *item)
{
    if (!read_number(r, item) || item->type != AIS_SF_INTEGER)
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

/* The next byte of a Display String, or -1 where there is none. */
static int read_display_byte(struct reader *r)
{
    int c = peek(r);

    if (c < 0x20 || c > 0x7e)
        return -1;

    r->pos++;
    if (c != '%')
        return c;

    c = 0;
    for (int i = 0; i < 2; i++, r->pos++) {
        int digit = lower_hex_digit(peek(r));

        if (digit < 0)
            return -1;
        c = c * 16 + digit;
    }

    return c;
}

/* Section 4.2.10. */
static bool read_display_string(struct reader *r, struct ais_sf_item *item)
{
    char sequence[AIS_UTF8_MAX]; /* as far as it is read */
    size_t n = 0;

    item->type = AIS_SF_DISPLAY_STRING;

    if (!skip(r, '"'))
        return false;

    while (!skip(r, '"')) {
        int c = read_display_byte(r);

        if (c < 0 || n == sizeof(sequence))
            return false;

        sequence[n++] = (char) c;
        if (ais_utf8_sequence((struct ais_str){sequence, n}) > 0)
            n = 0;
    }

    return n == 0;
}

/* Section 4.2.3.1. */
static bool read_bare_item(struct reader *r, struct ais_sf_item *item)
{
    int c = peek(r);

    *item = (struct ais_sf_item){.integer = 0};

    if (c == '-' || ais_is_digit(c))
        return read_number(r, item);
    if (skip(r, '"'))
        return read_string(r, item);
    if (c == '*' || is_alpha(c))
        return read_token(r, item);
    if (skip(r, ':'))
        return read_bytes(r, item);
    if (skip(r, '?'))
        return read_boolean(r, item);
    if (skip(r, '@'))
        return read_date(r, item);
    return skip(r, '%') && read_display_string(r, item);
}

/* Section 4.2.3.3. */
static bool read_key(struct reader *r, struct ais_str *key)
{
    size_t start = r->pos;

    if (!is_lower(peek(r)) && peek(r) != '*')
        return false;

    while (is_lower(peek(r)) || ais_is_digit(peek(r)) || is_one_of(peek(r), "_-.*"))
        r->pos++;

    *key = since(r, start);
    return true;
}

/* Section 4.2.3.2. Without a visitor they are only checked. */
static bool read_parameters(struct reader *r, const struct ais_sf_visitor *visitor)
{
    while (skip(r, ';')) {
        struct ais_sf_item value = {.type = AIS_SF_BOOLEAN, .integer = 1};
        struct ais_str key;

        skip_spaces(r);
        if (!read_key(r, &key) || (skip(r, '=') && !read_bare_item(r, &value)))
            return false;

        if (visitor != NULL)
            visitor->parameter(visitor->data, key, &value);
    }

    return true;
}

/* Section 4.2.1.2, behind its '('. */
static bool read_inner_list(struct reader *r, struct ais_sf_item *item)
{
    for (;;) {
        struct ais_sf_item inner;

        skip_spaces(r);
        if (skip(r, ')')) {
            *item = (struct ais_sf_item){.type = AIS_SF_INNER_LIST};
            return true;
        }

        if (!read_bare_item(r, &inner) || !read_parameters(r, NULL))
            return false;

        if (peek(r) != ' ' && peek(r) != ')')
            return false;
    }
}

static bool read_member(struct reader *r, const struct ais_sf_visitor *visitor)
{
    struct ais_sf_item item;

    if (skip(r, '(') ? !read_inner_list(r, &item) : !read_bare_item(r, &item))
        return false;

    visitor->member(visitor->data, &item);
    return read_parameters(r, visitor);
}

bool ais_sf_list(struct ais_str field, const struct ais_sf_visitor *visitor)
{
    struct reader r = {field, 0};

    skip_spaces(&r);
    if (peek(&r) == -1)
        return true;

    for (;;) {
        if (!read_member(&r, visitor))
            return false;

        skip_blanks(&r);
        if (peek(&r) == -1)
            return true;

        if (!skip(&r, ','))
            return false;

        skip_blanks(&r);
    }
}
