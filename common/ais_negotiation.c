/* SPDX-License-Identifier: BSD-2-Clause */

/* Parses the request headers that say which response a client wants, and which answer it already has. */

#include "ais_negotiation.h"

#include <strings.h>

#include "ais_cursor.h"

/* Reads the text up to a separator outside of quotes, and skips the separator. */
static struct ais_str take_until(struct ais_cursor *cur, char separator, bool has_escapes)
{
    size_t start = cur->pos;
    bool quoted = false;
    struct ais_str part;

    for (; !ais_cursor_at_end(cur) && (quoted || ais_cursor_peek(cur) != separator); cur->pos++) {
        if (ais_cursor_peek(cur) == '"')
            quoted = !quoted;
        else if (has_escapes && quoted && ais_cursor_peek(cur) == '\\' && cur->pos + 1 < cur->text.len)
            cur->pos++;
    }

    part = ais_cursor_since(cur, start);
    (void) ais_cursor_skip(cur, separator);
    return ais_str_trim(part);
}

/* Like take_until(), with backslash escapes in quoted strings (RFC 9110, section 5.6.4). */
static struct ais_str take_part(struct ais_cursor *cur, char separator)
{
    return take_until(cur, separator, true);
}

/* Names of preferences, media types and parameters are case-insensitive. */
static bool is_name(struct ais_str s, struct ais_str name)
{
    return s.len == name.len && strncasecmp(s.data, name.data, s.len) == 0;
}

/* Splits NAME=VALUE, with optional blanks around the "=". Without a "=", the data of value is NULL. */
static struct ais_str take_name(struct ais_str text, struct ais_str *value)
{
    struct ais_cursor cur = {.text = text};
    struct ais_str name = take_part(&cur, '=');

    *value = cur.pos > 0 && text.data[cur.pos - 1] == '='
                 ? ais_str_trim((struct ais_str){text.data + cur.pos, text.len - cur.pos})
                 : (struct ais_str){NULL, 0};
    return name;
}

static struct ais_str unquote(struct ais_str s)
{
    if (s.len >= 2 && s.data[0] == '"' && s.data[s.len - 1] == '"')
        return (struct ais_str){s.data + 1, s.len - 2};
    return s;
}

int64_t ais_prefer_wait(struct ais_str line)
{
    struct ais_cursor cur = {.text = line};

    while (!ais_cursor_at_end(&cur)) {
        struct ais_cursor preference = {.text = take_part(&cur, ',')};
        struct ais_str value;
        int64_t seconds;

        if (!is_name(take_name(take_part(&preference, ';'), &value), AIS_STR("wait")))
            continue;
        seconds = ais_str_number(unquote(value), AIS_WAIT_MAX);
        if (seconds >= 0)
            return seconds;
    }
    return -1;
}

/* Reads a number from 0 to 1 with up to three decimals. Returns thousandths, or AIS_QUALITY_NONE for anything else. */
static int read_quality(struct ais_str s)
{
    int quality = 0;
    int scale = 1000;

    if (s.len == 0 || s.len > sizeof("0.123") - 1 || (s.data[0] != '0' && s.data[0] != '1') ||
        (s.len > 1 && s.data[1] != '.'))
        return AIS_QUALITY_NONE;

    quality = (s.data[0] - '0') * scale;
    for (size_t i = 2; i < s.len; i++) {
        if (!ais_is_digit(s.data[i]))
            return AIS_QUALITY_NONE;
        scale /= 10;
        quality += (s.data[i] - '0') * scale;
    }
    return quality <= 1000 ? quality : AIS_QUALITY_NONE;
}

/* Reads the quality from the parameters of a media range. */
static int take_quality(struct ais_cursor *range)
{
    int quality = 1000;

    while (!ais_cursor_at_end(range)) {
        struct ais_str value;

        if (is_name(take_name(take_part(range, ';'), &value), AIS_STR("q")))
            quality = read_quality(value);
    }
    return quality;
}

void ais_accept_add(struct ais_accept *accept, struct ais_str line)
{
    const struct {
        struct ais_str name;
        int *quality;
    } ranges[] = {
        {AIS_STR("text/event-stream"), &accept->event_stream},
        {AIS_STR("application/json"), &accept->json},
        {AIS_STR("application/*"), &accept->application},
        {AIS_STR("*/*"), &accept->all},
    };
    struct ais_cursor cur = {.text = line};

    while (!ais_cursor_at_end(&cur)) {
        struct ais_cursor range = {.text = take_part(&cur, ',')};
        struct ais_str name = take_part(&range, ';');
        int quality = take_quality(&range);

        for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
            if (is_name(name, ranges[i].name) && quality > *ranges[i].quality)
                *ranges[i].quality = quality;
    }
}

bool ais_accept_prefers_events(const struct ais_accept *accept)
{
    int json = accept->json != AIS_QUALITY_NONE          ? accept->json
               : accept->application != AIS_QUALITY_NONE ? accept->application
                                                         : accept->all;

    return accept->event_stream > 0 && accept->event_stream >= json;
}

/* Time in ms for everything but the wait, so that the response arrives before Prometheus gives up. */
#define SCRAPE_MARGIN 500

/* Returns seconds with an optional fraction as ms, or -1 if malformed. Text after the third decimal is ignored. */
static int64_t parse_seconds(struct ais_str s)
{
    struct ais_cursor cur = {.text = s};
    int64_t ms;

    while (!ais_cursor_at_end(&cur) && ais_cursor_peek(&cur) != '.')
        cur.pos++;

    ms = ais_str_number(ais_cursor_since(&cur, 0), AIS_SCRAPE_WAIT_MAX);
    if (ms < 0)
        return -1;

    (void) ais_cursor_skip(&cur, '.');
    for (int i = 0; i < 3; i++) {
        int c = ais_cursor_at_end(&cur) ? '0' : ais_cursor_peek(&cur);

        if (!ais_is_digit(c))
            return -1;
        ms = ms * 10 + (c - '0');
        cur.pos += !ais_cursor_at_end(&cur);
    }

    return ms;
}

int64_t ais_scrape_wait(struct ais_str line)
{
    int64_t timeout = parse_seconds(ais_str_trim(line));

    if (timeout < 0 || timeout > AIS_SCRAPE_WAIT_MAX + SCRAPE_MARGIN)
        return AIS_SCRAPE_WAIT_MAX;
    return timeout > SCRAPE_MARGIN ? timeout - SCRAPE_MARGIN : 0;
}

struct ais_str ais_etag_opaque(struct ais_str etag)
{
    struct ais_cursor cur = {.text = ais_str_trim(etag)};

    (void) ais_cursor_skip_str(&cur, AIS_STR("W/"));
    return unquote((struct ais_str){cur.text.data + cur.pos, cur.text.len - cur.pos});
}

bool ais_etag_listed(struct ais_str line, struct ais_str etag)
{
    struct ais_cursor cur = {.text = line};

    while (!ais_cursor_at_end(&cur)) {
        struct ais_str tag = take_until(&cur, ',', false); /* in a tag, a backslash is an ordinary character */

        if (tag.len > 0 && tag.data[tag.len - 1] == '"' && ais_str_eq(ais_etag_opaque(tag), etag))
            return true;
    }
    return false;
}
