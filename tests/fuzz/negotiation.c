/*
 * The headers of a client's request, and the events that the client receives. The input has one line each for Prefer,
 * which is also parsed as a scrape timeout, Accept, If-None-Match and Last-Event-ID, then a line with the type of an
 * event, and then its data. A line that is valid by the standard's grammar is parsed again by a parser for just that
 * grammar, with the same result; events are parsed as by a browser.
 */

#include "fuzz.h"

#include <ctype.h>
#include <strings.h>

#include "ais_cursor.h"
#include "ais_event_stream.h"
#include "ais_negotiation.h"

/* Grammar: each function skips the element that it is named after, and returns whether it was present. */

static bool is_tchar(int c)
{
    return c > 0 && c < 128 && (isalnum(c) || strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static void blanks(struct ais_cursor *cur)
{
    while (ais_cursor_skip(cur, ' ') || ais_cursor_skip(cur, '\t'))
        continue;
}

static bool token(struct ais_cursor *cur, struct ais_str *text)
{
    size_t start = cur->pos;

    while (is_tchar(ais_cursor_peek(cur)))
        cur->pos++;
    *text = ais_cursor_since(cur, start);
    return text->len > 0;
}

static bool quoted_string(struct ais_cursor *cur, struct ais_str *text)
{
    size_t start = cur->pos + 1;

    if (!ais_cursor_skip(cur, '"'))
        return false;
    for (int c; (c = ais_cursor_peek(cur)) != '"'; cur->pos++) {
        if (c == '\\')
            c = ++cur->pos < cur->text.len ? ais_cursor_peek(cur) : -1;
        if (c != '\t' && (c < ' ' || c == 0x7f))
            return false;
    }
    *text = ais_cursor_since(cur, start);
    cur->pos++;
    return true;
}

static bool word(struct ais_cursor *cur, struct ais_str *text)
{
    return ais_cursor_peek(cur) == '"' ? quoted_string(cur, text) : token(cur, text);
}

/* Between list elements, also if these are empty (RFC 9110, section 5.6.1.2). */
static bool commas(struct ais_cursor *cur)
{
    bool found = cur->pos == 0;

    for (blanks(cur); ais_cursor_skip(cur, ','); blanks(cur))
        found = true;
    return found || ais_cursor_at_end(cur);
}

static bool is(struct ais_str text, const char *name)
{
    return text.len == strlen(name) && strncasecmp(text.data, name, text.len) == 0;
}

/* token [ BWS "=" BWS word ] (RFC 7240, section 2); value is empty if there is none. */
static bool preference(struct ais_cursor *cur, struct ais_str *name, struct ais_str *value)
{
    value->len = 0;
    if (!token(cur, name))
        return false;
    blanks(cur);
    if (!ais_cursor_skip(cur, '='))
        return true;
    blanks(cur);
    return word(cur, value);
}

static int64_t seconds(struct ais_str text)
{
    int64_t n = 0;

    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return -1;
        n = n * 10 + text.data[i] - '0';
        n = n < AIS_WAIT_MAX ? n : AIS_WAIT_MAX;
    }
    return text.len > 0 ? n : -1;
}

static bool prefer(struct ais_str line, int64_t *wait)
{
    struct ais_cursor cur = {.text = line};

    *wait = -1;
    while (commas(&cur)) {
        struct ais_str name, value;

        if (ais_cursor_at_end(&cur))
            return true;
        if (!preference(&cur, &name, &value))
            return false;
        if (*wait < 0 && is(name, "wait"))
            *wait = seconds(value);
        for (blanks(&cur); ais_cursor_skip(&cur, ';'); blanks(&cur)) {
            blanks(&cur);
            if (is_tchar(ais_cursor_peek(&cur)) && !preference(&cur, &name, &value))
                return false;
        }
    }
    return false;
}

static int quality_of(struct ais_str text)
{
    char *number = text_dup(text);
    size_t digits = strspn(number + (text.len > 1 ? 2 : 0), "0123456789");
    bool ok = text.len > 0 && text.len <= 5 && strchr("01", number[0]) != NULL &&
              (text.len == 1 || (number[1] == '.' && digits == text.len - 2));
    int quality = ok ? (int) (strtod(number, NULL) * 1000 + 0.5) : -1;

    free(number);
    return quality <= 1000 ? quality : -1;
}

/* Parameters; q may occur only once and must be a qvalue. */
static bool parameters(struct ais_cursor *cur, int *quality)
{
    bool found = false;

    *quality = 1000;
    for (blanks(cur); ais_cursor_skip(cur, ';'); blanks(cur)) {
        struct ais_str name, value;

        blanks(cur);
        if (!is_tchar(ais_cursor_peek(cur)))
            continue;
        if (!token(cur, &name) || !ais_cursor_skip(cur, '=') || !word(cur, &value))
            return false;
        if (!is(name, "q"))
            continue;
        *quality = quality_of(value);
        if (found || *quality < 0 || value.data[-1] == '"')
            return false;
        found = true;
    }
    return true;
}

static void raise_to(int *quality, int n)
{
    *quality = n > *quality ? n : *quality;
}

static bool accepted(struct ais_str line, struct ais_accept *accept)
{
    struct ais_cursor cur = {.text = line};

    *accept = AIS_ACCEPT_NOTHING;
    while (commas(&cur)) {
        struct ais_str type, subtype;
        int quality;

        if (ais_cursor_at_end(&cur))
            return true;
        if (!token(&cur, &type) || !ais_cursor_skip(&cur, '/') || !token(&cur, &subtype) || !parameters(&cur, &quality))
            return false;
        if (is(type, "text") && is(subtype, "event-stream"))
            raise_to(&accept->event_stream, quality);
        if (is(type, "application") && is(subtype, "json"))
            raise_to(&accept->json, quality);
        if (is(type, "application") && is(subtype, "*"))
            raise_to(&accept->application, quality);
        if (is(type, "*") && is(subtype, "*"))
            raise_to(&accept->all, quality);
    }
    return false;
}

/* [ "W/" ] DQUOTE *etagc DQUOTE (RFC 9110, section 8.8.3) */
static bool entity_tag(struct ais_cursor *cur, struct ais_str *opaque)
{
    size_t start;

    (void) ais_cursor_skip_str(cur, AIS_STR("W/"));
    if (!ais_cursor_skip(cur, '"'))
        return false;
    for (start = cur->pos; ais_cursor_peek(cur) > ' ' && !strchr("\"\x7f", ais_cursor_peek(cur)); cur->pos++)
        continue;
    *opaque = ais_cursor_since(cur, start);
    return ais_cursor_skip(cur, '"');
}

/* Whether the wanted tag is listed. If none is given, the code under test must find each tag of the line. */
static bool entity_tags(struct ais_str line, struct ais_str wanted, bool *listed)
{
    struct ais_cursor cur = {.text = line};

    *listed = false;
    while (commas(&cur)) {
        struct ais_str opaque;

        if (ais_cursor_at_end(&cur))
            return true;
        if (!entity_tag(&cur, &opaque))
            return false;
        *listed = *listed || ais_str_eq(opaque, wanted);
        if (wanted.data == NULL)
            MUST(ais_etag_listed(line, opaque));
    }
    return false;
}

/* Properties of each line, alone and between others. */

static struct ais_str joined(const char *before, struct ais_str text, const char *behind)
{
    char *all = malloc(strlen(before) + text.len + strlen(behind) + 1);
    size_t len = strlen(before);

    MUST(all != NULL);
    memcpy(all, before, len);
    if (text.len > 0)
        memcpy(all + len, text.data, text.len);
    memcpy(all + len + text.len, behind, strlen(behind));
    return (struct ais_str){all, len + text.len + strlen(behind)};
}

static int64_t wait_of(const char *before, struct ais_str line, const char *behind)
{
    struct ais_str all = joined(before, line, behind);
    struct ais_str copy = exact_copy(all);
    int64_t wait = ais_prefer_wait(copy);

    exact_free(copy);
    exact_free(all);
    return wait;
}

static void check_prefer(struct ais_str line)
{
    int64_t wait = wait_of("", line, "");
    int64_t expected;

    MUST(wait >= -1 && wait <= AIS_WAIT_MAX);
    MUST(wait_of(" ,a; wait=1;b=\"\\\", wait=2\", ", line, "") == wait);
    MUST(wait_of("Wait = \"3\" ,", line, "") == 3);
    MUST(wait < 0 || wait_of("", line, ", wait=4") == wait);
    if (prefer(line, &expected)) {
        MUST(wait == expected);
        MUST(wait >= 0 || wait_of("", line, ",wait=4") == 4);
    }
}

static void check_accept(struct ais_str line)
{
    struct ais_accept accept = AIS_ACCEPT_NOTHING;
    struct ais_accept expected;
    bool prefers;

    ais_accept_add(&accept, line);
    prefers = ais_accept_prefers_events(&accept);
    MUST(!prefers || (accept.event_stream > 0 && accept.event_stream >= accept.json));
    if (accepted(line, &expected))
        MUST(memcmp(&accept, &expected, sizeof(accept)) == 0);

    ais_accept_add(&accept, AIS_STR("text/event-stream;q=1"));
    MUST(accept.event_stream == 1000 && ais_accept_prefers_events(&accept));
}

static void check_etags(struct ais_str line, struct ais_str etag)
{
    bool listed = ais_etag_listed(line, etag);
    bool expected;

    if (entity_tags(line, etag, &expected)) {
        MUST(listed == expected);
        (void) entity_tags(line, (struct ais_str){NULL, 0}, &expected);
    }
}

static void check_last_event_id(struct ais_str line)
{
    struct ais_str strong = joined("\"", line, "\"");
    struct ais_str weak = joined(" W/\"", line, "\" ");

    MUST(ais_str_eq(ais_etag_opaque(strong), line));
    MUST(ais_str_eq(ais_etag_opaque(weak), line));
    MUST(ais_etag_opaque(line).len <= line.len);
    if (memchr(line.data, '"', line.len) == NULL)
        MUST(ais_etag_listed(strong, line) && ais_etag_listed(weak, line));

    exact_free(weak);
    exact_free(strong);
}

/* Events, as interpreted by section 9.2.6 of the HTML standard. */

struct text {
    char *data;
    size_t len;
};

struct stream {
    struct text type, data, last_id; /* of the event being read */
    size_t events;
    const struct ais_event *expected; /* all of them */
    struct text expected_data;
};

static void append(struct text *text, struct ais_str s)
{
    text->data = realloc(text->data, text->len + s.len + 1);
    MUST(text->data != NULL);
    if (s.len > 0)
        memcpy(text->data + text->len, s.data, s.len);
    text->len += s.len;
}

static bool equal(const struct text *text, struct ais_str s)
{
    return ais_str_eq((struct ais_str){text->data, text->len}, s);
}

static void dispatch(struct stream *stream)
{
    const struct ais_event *expected = stream->expected;

    MUST(stream->data.len > 0 && stream->data.data[stream->data.len - 1] == '\n');
    stream->data.len--;
    MUST(equal(&stream->type, expected->type));
    MUST(equal(&stream->last_id, expected->id.data != NULL ? expected->id : AIS_STR("before")));
    MUST(equal(&stream->data, (struct ais_str){stream->expected_data.data, stream->expected_data.len}));

    stream->type.len = stream->data.len = 0;
    stream->events++;
}

static void interpret(struct stream *stream, struct ais_str line)
{
    const char *colon = memchr(line.data, ':', line.len);
    struct ais_str name = {line.data, colon != NULL ? (size_t) (colon - line.data) : line.len};
    struct ais_str value = {line.data + line.len, 0};

    if (colon != NULL)
        value = (struct ais_str){colon + 1, line.len - name.len - 1};
    if (value.len > 0 && value.data[0] == ' ')
        value = (struct ais_str){value.data + 1, value.len - 1};

    if (ais_str_eq(name, AIS_STR("event"))) {
        stream->type.len = 0;
        append(&stream->type, value);
    } else if (ais_str_eq(name, AIS_STR("data"))) {
        append(&stream->data, value);
        append(&stream->data, AIS_STR("\n"));
    } else {
        MUST(ais_str_eq(name, AIS_STR("id")));
        stream->last_id.len = 0;
        append(&stream->last_id, value);
    }
}

static void read_stream(struct stream *stream, struct ais_str text)
{
    size_t start = 0;

    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] != '\n' && text.data[i] != '\r')
            continue;
        if (i > start)
            interpret(stream, (struct ais_str){text.data + start, i - start});
        else
            dispatch(stream);
        if (text.data[i] == '\r' && i + 1 < text.len && text.data[i + 1] == '\n')
            i++;
        start = i + 1;
    }
    MUST(start == text.len);
}

/* Data is received with an LF after each line. */
static struct text with_line_feeds(struct ais_str s)
{
    struct text text = {NULL, 0};

    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] != '\n' || i == 0 || s.data[i - 1] != '\r')
            append(&text, s.data[i] == '\r' ? AIS_STR("\n") : (struct ais_str){s.data + i, 1});
    return text;
}

/* Twice, since an event must not affect the next one. */
static void check_event(struct ais_str type, struct ais_str id, struct ais_str data)
{
    struct ais_event event = {.type = type, .id = id, .data = data};
    struct stream stream = {.expected = &event, .expected_data = with_line_feeds(data)};
    size_t len = ais_event_write(NULL, &event);
    char *text = malloc(2 * len);

    MUST(text != NULL);
    MUST(ais_event_write(text, &event) == len);
    MUST(ais_event_write(text + len, &event) == len);
    append(&stream.last_id, AIS_STR("before"));
    read_stream(&stream, (struct ais_str){text, 2 * len});
    MUST(stream.events == 2);

    free(stream.type.data);
    free(stream.data.data);
    free(stream.last_id.data);
    free(stream.expected_data.data);
    free(text);
}

static struct ais_str without_line_end(struct ais_str s)
{
    const char *end = memchr(s.data, '\r', s.len);

    return end != NULL ? (struct ais_str){s.data, (size_t) (end - s.data)} : s;
}

/* Decimal numbers in Prometheus's format, compared with the C library's parser. */
static void check_scrape(struct ais_str line)
{
    int64_t wait = ais_scrape_wait(line);
    char *text = text_dup(line);
    size_t whole = strspn(text, "0123456789");
    size_t fraction = text[whole] == '.' ? strspn(text + whole + 1, "0123456789") : 0;

    MUST(wait >= 0 && wait <= AIS_SCRAPE_WAIT_MAX);
    if (whole > 0 && fraction > 0 && fraction <= 3 && whole + 1 + fraction == line.len) {
        double expected = strtod(text, NULL) * 1000 + 0.1 - 500;

        MUST(wait == (expected < 0 ? 0 : expected > 5000 ? 5000 : (int64_t) expected));
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ais_str rest = whole_input(data, size);
    struct ais_str lines[5];

    for (size_t i = 0; i < 5; i++)
        lines[i] = exact_copy(take_line(&rest));
    rest = exact_copy(rest);

    check_prefer(lines[0]);
    check_scrape(lines[0]);
    check_accept(lines[1]);
    check_etags(lines[2], ais_etag_opaque(lines[3]));
    check_last_event_id(lines[3]);
    check_event(without_line_end(lines[4]), without_line_end(lines[3]), rest);
    check_event(without_line_end(lines[4]), (struct ais_str){NULL, 0}, rest);

    exact_free(rest);
    for (size_t i = 0; i < 5; i++)
        exact_free(lines[i]);
    return 0;
}
