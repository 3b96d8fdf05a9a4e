/* SPDX-License-Identifier: BSD-2-Clause */

/* Receives the response of a try, within limits: the header line by line, and the body. */

#include "ais_transfer.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "ais_clock.h"
#include "ais_meter.h"
#include "ais_time.h"

#define BODY_FIRST_SIZE 4096

/* RFC 9111, section 1.2.2: a recipient uses this value if a delta-seconds is greater. */
#define DELTA_SECONDS_MAX ((int64_t) 1 << 31)

static int64_t wall_clock(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Counts bytes of the response for the allowance of the connection: the header and the body, but neither interim
 * responses nor trailers. */
static void note_answer(const struct ais_transfer *t, size_t bytes)
{
    struct ais_connection *c = ais_connection_get(t->connections, t->connection);

    if (c != NULL)
        ais_allowance_add_answer(&c->allowance, bytes);
}

/* Marks the connection as flooded: the peer has sent a header without an end. */
static void note_flood(const struct ais_transfer *t, uint64_t id)
{
    struct ais_connection *c = ais_connection_get(t->connections, id);

    if (c != NULL && !c->flooded)
        ais_connection_note_flood(t->connections, c, ais_clock());
}

static bool name_is(struct ais_str name, const char *text)
{
    return name.len == strlen(text) && strncasecmp(name.data, text, name.len) == 0;
}

static void copy_cache(struct ais_transfer *t, struct ais_str value)
{
    t->cache[0] = '\0';
    if (value.len >= sizeof(t->cache))
        return;

    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] < 'A' || value.data[i] > 'Z')
            return;
    }
    memcpy(t->cache, value.data, value.len);
    t->cache[value.len] = '\0';
}

static void add_line(struct ais_field_lines *lines, struct ais_str value)
{
    size_t comma = lines->len > 0 ? 1 : 0;

    if (lines->too_long || value.len + comma > sizeof(lines->text) - lines->len) {
        lines->too_long = true;
        return;
    }
    if (comma > 0)
        lines->text[lines->len++] = ',';
    memcpy(lines->text + lines->len, value.data, value.len);
    lines->len += value.len;
}

static struct ais_str joined(const struct ais_field_lines *lines)
{
    return (struct ais_str){lines->text, lines->too_long ? 0 : lines->len};
}

static void forget_lines(struct ais_field_lines *lines)
{
    lines->len = 0;
    lines->too_long = false;
}

void ais_transfer_read_limits(const struct ais_transfer *t, struct ais_limits *limits)
{
    ais_limits_parse(limits, joined(&t->ratelimit), joined(&t->ratelimit_policy), t->header_at);
    ais_limits_add_old(limits, t->old_remaining, t->old_reset_at);
    limits->uncertain = t->header_at - t->sent_at;
}

static void read_field(struct ais_transfer *t, struct ais_str name, struct ais_str value)
{
    int64_t n;

    if (name_is(name, "retry-after")) {
        t->retry_after = ais_policy_retry_after(value, wall_clock());
    } else if (name_is(name, "ratelimit")) {
        add_line(&t->ratelimit, value);
    } else if (name_is(name, "ratelimit-policy")) {
        add_line(&t->ratelimit_policy, value);
    } else if (name_is(name, "x-ratelimit-remaining")) {
        t->old_remaining = ais_str_number(value, INT32_MAX);
    } else if (name_is(name, "x-ratelimit-reset")) {
        t->old_reset_at = ais_time_parse_http(value, &n) ? n - wall_clock() + ais_clock() : -1;
    } else if (name_is(name, "age")) {
        n = ais_str_number(value, DELTA_SECONDS_MAX);
        t->age = n < 0 ? -1 : n * 1000;
    } else if (name_is(name, "x-aisearch-cache")) {
        copy_cache(t, value);
    }
}

void ais_transfer_forget_answer(struct ais_transfer *t)
{
    t->retry_after = -1;
    t->age = -1;
    t->cache[0] = '\0';
    t->old_remaining = -1;
    t->old_reset_at = -1;
    forget_lines(&t->ratelimit);
    forget_lines(&t->ratelimit_policy);
}

/* The header is complete. Its status may mean that the connection must not be used any more. */
static void end_header(struct ais_transfer *t, int status)
{
    const struct ais_connection *c = ais_connection_get(t->connections, t->connection);
    enum ais_outcome outcome = ais_connection_outcome(AIS_FAULT_NONE, status);

    t->stage = AIS_STAGE_BODY;
    t->header_at = ais_clock();
    note_answer(t, t->header_len - t->header_from);
    if (outcome != AIS_OUTCOME_GOOD && (c == NULL || !ais_connection_survives(c, outcome)))
        ais_transfer_distrust(t);
}

/* libcurl calls this with each line: the status line, the fields and the empty line of each response, interim responses
 * included, and the trailers. */
static size_t on_header(char *line, size_t size, size_t n, void *data)
{
    struct ais_transfer *t = data;
    struct ais_str text = ais_str_trim((struct ais_str){line, size * n});
    const char *colon;
    long status = 0;

    t->header_len += size * n;
    if (t->header_len > AIS_HEADER_MAX) {
        t->stop = AIS_STOP_HEADER_TOO_LARGE;
        note_flood(t, t->connection);
        ais_transfer_distrust(t);
        return 0;
    }
    if (t->stage == AIS_STAGE_BODY)
        return size * n; /* a trailer */
    if (text.len == 0) {
        curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
        if (status >= 200)
            end_header(t, (int) status);
        return size * n;
    }
    if (text.len >= 5 && memcmp(text.data, "HTTP/", 5) == 0) {
        ais_transfer_forget_answer(t);
        t->stage = AIS_STAGE_HEADER;
        t->header_from = t->header_len - size * n;
        return size * n;
    }
    colon = memchr(text.data, ':', text.len);
    if (colon != NULL) {
        struct ais_str name = {text.data, (size_t) (colon - text.data)};
        struct ais_str value = {colon + 1, text.len - name.len - 1};

        read_field(t, name, ais_str_trim(value));
    }
    return size * n;
}

static int reserve(struct ais_transfer *t, size_t len)
{
    size_t size = t->body_size > 0 ? t->body_size : BODY_FIRST_SIZE;
    char *body;

    while (size < len)
        size *= 2;
    if (size == t->body_size)
        return 0;

    body = realloc(t->body, size);
    if (body == NULL)
        return -1;

    t->body = body;
    t->body_size = size;
    return 0;
}

static size_t on_body(char *data, size_t size, size_t n, void *userdata)
{
    struct ais_transfer *t = userdata;
    size_t len = size * n;

    note_answer(t, len);
    if (len > t->body_max - t->body_len) {
        t->stop = AIS_STOP_BODY_TOO_LARGE;
        ais_transfer_distrust(t);
        return 0;
    }
    if (reserve(t, t->body_len + len) != 0) {
        t->stop = AIS_STOP_NO_MEMORY;
        return 0;
    }
    memcpy(t->body + t->body_len, data, len);
    t->body_len += len;
    return len;
}

/* Returns whether the connection has received too much. */
static bool is_flooded(const struct ais_transfer *t)
{
    struct ais_connection *c = ais_connection_get(t->connections, ais_transfer_is_sent(t) ? t->connection : t->made);

    if (c == NULL)
        return false;

    ais_meter_look(t->connections, c);
    return c->flooded;
}

/* libcurl calls this in each iteration of its loops. */
static int on_progress(void *data, curl_off_t dltotal, curl_off_t dlnow, curl_off_t ultotal, curl_off_t ulnow)
{
    struct ais_transfer *t = data;

    (void) dltotal;
    (void) dlnow;
    (void) ultotal;
    (void) ulnow;
    if (is_flooded(t))
        return 1;
    if (ais_transfer_is_sent(t) || ++t->turns <= AIS_PROXY_TURNS_MAX)
        return 0;

    t->stop = AIS_STOP_PROXY_ENDLESS;
    note_flood(t, t->made);
    return 1;
}

CURLcode ais_transfer_set_answer(struct ais_transfer *t)
{
    AIS_SET(t, CURLOPT_HEADERFUNCTION, on_header);
    AIS_SET(t, CURLOPT_HEADERDATA, t);
    AIS_SET(t, CURLOPT_WRITEFUNCTION, on_body);
    AIS_SET(t, CURLOPT_WRITEDATA, t);
    AIS_SET(t, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t) t->body_max);
    AIS_SET(t, CURLOPT_XFERINFOFUNCTION, on_progress);
    AIS_SET(t, CURLOPT_XFERINFODATA, t);
    AIS_SET(t, CURLOPT_ERRORBUFFER, t->message);
    return CURLE_OK;
}
