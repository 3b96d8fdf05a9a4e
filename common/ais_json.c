/* SPDX-License-Identifier: BSD-2-Clause */

/* Checks whether a text is JSON, without building a tree. */

#include "ais_json.h"

#include <stdbool.h>

#include "ais_cursor.h"
#include "ais_utf8.h"

/* The longest number that cJSON up to 1.7.18 can parse. */
#define NUMBER_MAX 63

struct reader {
    struct ais_cursor at;
    unsigned depth;  /* how many more levels are allowed */
    unsigned values; /* how many more values are allowed */
    const char *wrong;
};

static bool read_value(struct reader *r);

static int peek(const struct reader *r)
{
    return ais_cursor_peek(&r->at);
}

static bool skip(struct reader *r, char c)
{
    return ais_cursor_skip(&r->at, c);
}

static bool fail(struct reader *r, const char *wrong)
{
    r->wrong = wrong;
    return false;
}

static void skip_space(struct reader *r)
{
    while (peek(r) == ' ' || peek(r) == '\t' || peek(r) == '\n' || peek(r) == '\r')
        r->at.pos++;
}

/* Returns the value of the four digits after \u, or -1. */
static int read_hex4(struct reader *r)
{
    int value = 0;

    for (int i = 0; i < 4; i++) {
        int digit = ais_hex_digit(peek(r));

        if (digit < 0)
            return -1;
        value = value * 16 + digit;
        r->at.pos++;
    }

    return value;
}

/* Reads what follows \u. A character outside the basic multilingual plane is a pair of escapes. */
static bool read_unicode(struct reader *r)
{
    int first = read_hex4(r);
    int second;

    if (first < 0)
        return fail(r, "an invalid escape");
    if (first == 0)
        return fail(r, "a NUL");
    if (first < 0xD800 || first > 0xDFFF)
        return true;
    if (first > 0xDBFF || !skip(r, '\\') || !skip(r, 'u'))
        return fail(r, "an unpaired surrogate");

    second = read_hex4(r);
    if (second < 0xDC00 || second > 0xDFFF)
        return fail(r, "an unpaired surrogate");
    return true;
}

static bool read_escape(struct reader *r)
{
    int c = peek(r);

    if (c == 'u') {
        r->at.pos++;
        return read_unicode(r);
    }

    if (c <= 0 || strchr("\"\\/bfnrt", c) == NULL)
        return fail(r, "an invalid escape");

    r->at.pos++;
    return true;
}

static bool read_string(struct reader *r)
{
    if (!skip(r, '"'))
        return fail(r, "no string where one is required");

    for (;;) {
        int c = peek(r);

        if (c < 0)
            return fail(r, "an unterminated string");

        if (c == '"') {
            r->at.pos++;
            return true;
        }

        if (c == '\\') {
            r->at.pos++;
            if (!read_escape(r))
                return false;

        } else if (c < 0x20) {
            return fail(r, c == 0 ? "a NUL" : "a control character in a string");

        } else if (c < 0x80) {
            r->at.pos++;

        } else {
            size_t len = ais_utf8_sequence((struct ais_str){r->at.text.data + r->at.pos, r->at.text.len - r->at.pos});

            if (len == 0)
                return fail(r, "invalid UTF-8");
            r->at.pos += len;
        }
    }
}

static size_t skip_digits(struct reader *r)
{
    size_t start = r->at.pos;

    while (peek(r) >= '0' && peek(r) <= '9')
        r->at.pos++;

    return r->at.pos - start;
}

static bool read_number(struct reader *r)
{
    size_t start = r->at.pos;

    (void) skip(r, '-');
    if (!skip(r, '0') && skip_digits(r) == 0)
        return fail(r, "an invalid value");

    if (skip(r, '.') && skip_digits(r) == 0)
        return fail(r, "an invalid number");

    if (skip(r, 'e') || skip(r, 'E')) {
        if (!skip(r, '+'))
            (void) skip(r, '-');
        if (skip_digits(r) == 0)
            return fail(r, "an invalid number");
    }

    if (r->at.pos - start > NUMBER_MAX)
        return fail(r, "a number that is too long");
    return true;
}

static bool read_array(struct reader *r)
{
    skip_space(r);
    if (skip(r, ']'))
        return true;

    do {
        if (!read_value(r))
            return false;
    } while (skip(r, ','));

    return skip(r, ']') || fail(r, "an unterminated array");
}

static bool read_object(struct reader *r)
{
    skip_space(r);
    if (skip(r, '}'))
        return true;

    do {
        skip_space(r);
        if (!read_string(r))
            return false;
        skip_space(r);
        if (!skip(r, ':'))
            return fail(r, "no colon after a name");
        if (!read_value(r))
            return false;
    } while (skip(r, ','));

    return skip(r, '}') || fail(r, "an unterminated object");
}

static bool read_literal(struct reader *r, struct ais_str literal)
{
    return ais_cursor_skip_str(&r->at, literal) || fail(r, "an invalid value");
}

/* Reads an array or an object, which are the only recursion. */
static bool read_nested(struct reader *r, bool (*read)(struct reader *r))
{
    bool ok;

    if (r->depth == 0)
        return fail(r, "too deep nesting");

    r->depth--;
    r->at.pos++;
    ok = read(r);
    r->depth++;
    return ok;
}

static bool read_bare_value(struct reader *r)
{
    switch (peek(r)) {
    case '{':
        return read_nested(r, read_object);
    case '[':
        return read_nested(r, read_array);
    case '"':
        return read_string(r);
    case 't':
        return read_literal(r, AIS_STR("true"));
    case 'f':
        return read_literal(r, AIS_STR("false"));
    case 'n':
        return read_literal(r, AIS_STR("null"));
    default:
        return read_number(r);
    }
}

/* Reads a value and the white space around it. */
static bool read_value(struct reader *r)
{
    if (r->values-- == 0)
        return fail(r, "too many values");

    skip_space(r);
    if (!read_bare_value(r))
        return false;
    skip_space(r);
    return true;
}

const char *ais_json_check(struct ais_str text, unsigned depth, size_t *where)
{
    struct reader r = {.at = {text, 0}, .depth = depth, .values = AIS_JSON_VALUES_MAX};

    if (read_value(&r) && r.at.pos < text.len)
        (void) fail(&r, "data after the end of the document");

    *where = r.at.pos;
    return r.wrong;
}
