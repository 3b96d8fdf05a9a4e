/* SPDX-License-Identifier: BSD-2-Clause */

/* Parses paths and queries by the grammar of ais_resource.h, and builds API paths and cache keys from the parts. */

#include "ais_resource.h"

#include <stdint.h>

#include "ais_cursor.h"
#include "ais_utf8.h"

#define NAMESPACE_MAX 28
#define INSTANCE_MAX 64
#define RAG_MAX 32
#define JOB_MAX 64
#define PAGE_DIGITS 9
#define PAGE_MAX 999999999

/* The maximum per_page of each kind of list. Other kinds of resources have 0 and no arguments. */
static const int per_page_max[] = {
    [AIS_LIST] = 50, [AIS_LOGS] = 500, [AIS_INSTANCES] = 100, [AIS_NAMESPACES] = 100, [AIS_NAMESPACE] = 0,
};

/* The classes of bytes that a part may contain. */
enum {
    HEX = 1,  /* account_id */
    WORD = 2, /* id, between hyphens */
    JOB = 4,  /* job_id */
    DIGIT = 8,
    NAME = 16, /* name; it must not begin or end with a hyphen */
    FREE = 32, /* a filter, unencoded (RFC 3986, section 2.3) */
};

static const uint8_t class_of[256] = {
    ['0' ... '9'] = HEX | WORD | JOB | DIGIT | NAME | FREE,
    ['a' ... 'f'] = HEX | WORD | JOB | NAME | FREE,
    ['g' ... 'z'] = WORD | JOB | NAME | FREE,
    ['A' ... 'Z'] = JOB | FREE,
    ['_'] = WORD | JOB | FREE,
    ['-'] = JOB | NAME | FREE,
    ['.'] = FREE,
    ['~'] = FREE,
};

#define SKIP(cur, literal) ais_cursor_skip_str(cur, AIS_STR(literal))

/* Returns the rest of the text. */
static inline struct ais_str tail(const struct ais_cursor *cur)
{
    return (struct ais_str){cur->text.data + cur->pos, cur->text.len - cur->pos};
}

/* Ends a part that began at start. A part is a whole segment: it must be followed by a slash or the end. */
static bool part_end(const struct ais_cursor *cur, size_t start, size_t max, struct ais_str *part)
{
    *part = (struct ais_str){cur->text.data + start, cur->pos - start};

    return part->len <= max && (ais_cursor_at_end(cur) || cur->text.data[cur->pos] == '/');
}

/* Returns the end of the bytes of the given classes that begin at pos. */
static inline size_t span(struct ais_str text, size_t pos, unsigned classes)
{
    while (pos < text.len && (class_of[(unsigned char) text.data[pos]] & classes) != 0)
        pos++;

    return pos;
}

/* Like span(), but twelve bytes at a time: ids are long, and make up most of a path. */
static inline size_t span_long(struct ais_str text, size_t pos, unsigned classes)
{
    const unsigned char *s = (const unsigned char *) text.data;

    for (; text.len - pos >= 12; pos += 12) {
        unsigned common = classes;

#pragma GCC unroll 12
        for (size_t i = 0; i < 12; i++)
            common &= class_of[s[pos + i]];

        if (common == 0)
            break;
    }

    return span(text, pos, classes);
}

/* Scans 1 to max bytes of the given classes. */
static bool scan_run(struct ais_cursor *cur, unsigned classes, size_t max, struct ais_str *part)
{
    size_t start = cur->pos;

    cur->pos = span_long(cur->text, start, classes);

    return cur->pos > start && part_end(cur, start, max, part);
}

/* Scans ^[a-z0-9_]+(?:-[a-z0-9_]+)*$ of 1 to max bytes. */
static bool scan_id(struct ais_cursor *cur, size_t max, struct ais_str *part)
{
    size_t start = cur->pos;
    size_t word;

    do {
        word = cur->pos;
        cur->pos = span(cur->text, word, WORD);
        if (cur->pos == word)
            return false;
    } while (SKIP(cur, "-"));

    return part_end(cur, start, max, part);
}

/* Scans ^[a-z0-9]([a-z0-9-]*[a-z0-9])?$ of 1 to NAMESPACE_MAX bytes. */
static bool scan_namespace(struct ais_cursor *cur, struct ais_str *part)
{
    return scan_run(cur, NAME, NAMESPACE_MAX, part) && part->data[0] != '-' && part->data[part->len - 1] != '-';
}

static size_t instance_max(enum ais_generation generation)
{
    return generation == AIS_AUTORAG ? RAG_MAX : INSTANCE_MAX;
}

/* Parses everything after "jobs". */
static inline enum ais_resource_error parse_jobs(struct ais_resource *res, struct ais_cursor *cur)
{
    if (ais_cursor_at_end(cur)) {
        res->kind = AIS_LIST;
        return AIS_RESOURCE_OK;
    }

    if (!SKIP(cur, "/"))
        return AIS_RESOURCE_BAD_PATH;

    if (!scan_run(cur, JOB, JOB_MAX, &res->job))
        return AIS_RESOURCE_BAD_JOB;

    if (ais_cursor_at_end(cur)) {
        res->kind = AIS_JOB;
        return AIS_RESOURCE_OK;
    }

    if (!SKIP(cur, "/logs") || !ais_cursor_at_end(cur))
        return AIS_RESOURCE_BAD_PATH;

    res->kind = AIS_LOGS;
    return AIS_RESOURCE_OK;
}

/* Parses everything after an instance, if that is not "/jobs". An AutoRAG resource has nothing else. */
static enum ais_resource_error parse_rest(struct ais_resource *res, struct ais_cursor *cur)
{
    if (res->generation == AIS_AUTORAG)
        return AIS_RESOURCE_BAD_PATH;

    res->kind = SKIP(cur, "/stats") ? AIS_STATS : AIS_INSTANCE;
    return ais_cursor_at_end(cur) ? AIS_RESOURCE_OK : AIS_RESOURCE_BAD_PATH;
}

/* Parses everything after "instances" or "rags". Inline, like parse_jobs(), because every lookup needs it. */
static inline enum ais_resource_error parse_instance(struct ais_resource *res, struct ais_cursor *cur)
{
    if (!SKIP(cur, "/")) {
        res->kind = AIS_INSTANCES;
        return ais_cursor_at_end(cur) && res->generation != AIS_AUTORAG ? AIS_RESOURCE_OK : AIS_RESOURCE_BAD_PATH;
    }

    if (!scan_id(cur, instance_max(res->generation), &res->instance))
        return AIS_RESOURCE_BAD_INSTANCE;

    return SKIP(cur, "/jobs") ? parse_jobs(res, cur) : parse_rest(res, cur);
}

/* Parses everything after "namespaces". */
static enum ais_resource_error parse_namespace(struct ais_resource *res, struct ais_cursor *cur)
{
    enum ais_resource_error error;
    struct ais_str instances;

    res->generation = AIS_NAMESPACED;

    if (ais_cursor_at_end(cur)) {
        res->kind = AIS_NAMESPACES;
        return AIS_RESOURCE_OK;
    }

    if (!SKIP(cur, "/"))
        return AIS_RESOURCE_BAD_PATH;

    if (!scan_namespace(cur, &res->namespace))
        return AIS_RESOURCE_BAD_NAMESPACE;

    if (ais_cursor_at_end(cur)) {
        res->kind = AIS_NAMESPACE;
        return AIS_RESOURCE_OK;
    }

    (void) SKIP(cur, "/"); /* nothing else ends a part */
    instances = tail(cur);

    if (!SKIP(cur, "instances"))
        return AIS_RESOURCE_BAD_PATH;

    error = parse_instance(res, cur);

    /* an instance of the namespace "default" is a plain one; the list of that namespace is not the account's list */
    if (error == AIS_RESOURCE_OK && res->kind != AIS_INSTANCES && ais_str_eq(res->namespace, AIS_DEFAULT_NAMESPACE))
        res->tail = instances;

    return error;
}

static inline enum ais_resource_error parse_path(struct ais_resource *res, struct ais_str path)
{
    struct ais_cursor cur = {path, 0};
    bool ai_search;

    if (SKIP(&cur, "accounts/")) {
        if (!scan_run(&cur, HEX, AIS_ACCOUNT_ID_LEN, &res->account))
            return AIS_RESOURCE_BAD_ACCOUNT;
        if (!SKIP(&cur, "/"))
            return AIS_RESOURCE_BAD_PATH;
    }

    ai_search = SKIP(&cur, "ai-search/");
    res->tail = tail(&cur);

    if (SKIP(&cur, "instances"))
        return parse_instance(res, &cur);

    if (SKIP(&cur, "namespaces"))
        return parse_namespace(res, &cur);

    if (ai_search)
        return AIS_RESOURCE_BAD_PATH;

    res->generation = AIS_AUTORAG;
    if (SKIP(&cur, "autorag/"))
        res->tail = tail(&cur);

    return SKIP(&cur, "rags") ? parse_instance(res, &cur) : AIS_RESOURCE_BAD_PATH;
}

/* Reads a decimal number up to the next '&'. Fails if *number is set already, so that it is given twice. */
static bool parse_number(struct ais_cursor *cur, int min, int max, int *number)
{
    size_t start = cur->pos;
    int n = 0;

    cur->pos = span(cur->text, start, DIGIT);

    if (cur->pos == start || cur->pos - start > PAGE_DIGITS ||
        (!ais_cursor_at_end(cur) && cur->text.data[cur->pos] != '&'))
        return false;

    for (size_t i = start; i < cur->pos; i++)
        n = n * 10 + (cur->text.data[i] - '0');

    if (*number != AIS_PAGE_NONE || n < min || n > max)
        return false;

    *number = n;
    return true;
}

/* Skips the name of the next argument and its "=", if any. Returns false if the argument has another name. */
static inline bool skip_argument(struct ais_cursor *cur, struct ais_str name)
{
    struct ais_cursor ahead = *cur;

    if (!ais_cursor_skip_str(&ahead, name))
        return false;

    if (!ais_cursor_at_end(&ahead) && ahead.text.data[ahead.pos] != '=' && ahead.text.data[ahead.pos] != '&')
        return false;

    (void) SKIP(&ahead, "=");
    *cur = ahead;
    return true;
}

/* Reads the text up to the next '&'. Fails if it is empty, or if *value is set already, so that it is given twice. */
static bool parse_value(struct ais_cursor *cur, struct ais_str *value)
{
    struct ais_str rest = tail(cur);
    const char *end = memchr(rest.data, '&', rest.len);

    if (end != NULL)
        rest.len = (size_t) (end - rest.data);
    cur->pos += rest.len;

    if (value->len > 0 || rest.len == 0)
        return false;

    *value = rest;
    return true;
}

/*
 * Takes the next byte of a percent-encoded value. Returns -1 if the encoding is malformed. A '+' is a space, as in HTML
 * forms and in the API's own clients.
 */
static int decode(struct ais_str *value)
{
    const char *s = value->data;
    size_t used = 1;
    int c = (unsigned char) s[0];

    if (c == '%') {
        if (value->len < 3 || ais_hex_digit(s[1]) < 0 || ais_hex_digit(s[2]) < 0)
            return -1;
        used = 3;
        c = ais_hex_digit(s[1]) * 16 + ais_hex_digit(s[2]);
    }

    value->data += used;
    value->len -= used;
    return s[0] == '+' ? ' ' : c;
}

static bool filter_valid(struct ais_str value)
{
    char text[AIS_FILTER_MAX];
    struct ais_str rest = {text, 0};

    while (value.len > 0) {
        int c = decode(&value);

        if (c < 0 || rest.len == sizeof(text))
            return false;
        text[rest.len++] = (char) c;
    }

    while (rest.len > 0) {
        size_t len = ais_utf8_sequence(rest);

        if (len == 0 || ais_utf8_control(rest) > 0)
            return false;
        rest.data += len;
        rest.len -= len;
    }

    return true;
}

static bool parse_filter(struct ais_cursor *cur, struct ais_str *value)
{
    return parse_value(cur, value) && filter_valid(*value);
}

static bool parse_order_by(struct ais_resource *res, struct ais_cursor *cur)
{
    struct ais_str value = AIS_STR("");
    bool twice = res->by_created_at;

    res->by_created_at = parse_value(cur, &value) && ais_str_eq(value, AIS_STR("created_at"));
    return res->by_created_at && !twice;
}

static bool parse_direction(struct ais_resource *res, struct ais_cursor *cur)
{
    struct ais_str value = AIS_STR("");

    if (res->order != AIS_ORDER_NONE || !parse_value(cur, &value))
        return false;

    if (ais_str_eq(value, AIS_STR("asc")))
        res->order = AIS_ORDER_ASC;
    else if (ais_str_eq(value, AIS_STR("desc")))
        res->order = AIS_ORDER_DESC;

    return res->order != AIS_ORDER_NONE;
}

/* Parses an argument other than page and per_page. Unknown arguments are ignored. */
static enum ais_resource_error parse_argument(struct ais_resource *res, struct ais_cursor *cur)
{
    bool instances = res->kind == AIS_INSTANCES;
    bool ok = true;

    if ((instances || res->kind == AIS_NAMESPACES) && skip_argument(cur, AIS_STR("search")))
        return parse_filter(cur, &res->search) ? AIS_RESOURCE_OK : AIS_RESOURCE_BAD_FILTER;

    if (!instances)
        return AIS_RESOURCE_OK;

    if (skip_argument(cur, AIS_STR("hostname")))
        return parse_filter(cur, &res->hostname) ? AIS_RESOURCE_OK : AIS_RESOURCE_BAD_FILTER;

    if (res->generation == AIS_PLAIN && skip_argument(cur, AIS_STR("namespace"))) {
        ok = parse_value(cur, &res->in_namespace) && ais_namespace_valid(res->in_namespace);
        return ok ? AIS_RESOURCE_OK : AIS_RESOURCE_BAD_NAMESPACE;
    }

    if (skip_argument(cur, AIS_STR("order_by")))
        ok = parse_order_by(res, cur);
    else if (skip_argument(cur, AIS_STR("order_by_direction")))
        ok = parse_direction(res, cur);

    return ok ? AIS_RESOURCE_OK : AIS_RESOURCE_BAD_ORDER;
}

static inline bool has_pages(const struct ais_resource *res)
{
    return per_page_max[res->kind] > 0;
}

static enum ais_resource_error parse_query(struct ais_resource *res, struct ais_str query)
{
    int max = per_page_max[res->kind];
    int min = res->kind == AIS_LIST || res->kind == AIS_LOGS ? 0 : 1;
    struct ais_cursor cur = {query, 0};
    enum ais_resource_error error;

    if (max == 0)
        return AIS_RESOURCE_OK;

    while (!ais_cursor_at_end(&cur)) {
        if (skip_argument(&cur, AIS_STR("page"))) {
            if (!parse_number(&cur, 1, PAGE_MAX, &res->page))
                return AIS_RESOURCE_BAD_PAGE;

        } else if (skip_argument(&cur, AIS_STR("per_page"))) {
            if (!parse_number(&cur, min, max, &res->per_page))
                return AIS_RESOURCE_BAD_PER_PAGE;

        } else {
            error = parse_argument(res, &cur);
            if (error != AIS_RESOURCE_OK)
                return error;
        }

        while (!ais_cursor_at_end(&cur) && !SKIP(&cur, "&"))
            cur.pos++;
    }

    return AIS_RESOURCE_OK;
}

enum ais_resource_error ais_resource_parse(struct ais_resource *res, struct ais_str path, struct ais_str query)
{
    enum ais_resource_error error;

    *res = (struct ais_resource){.page = AIS_PAGE_NONE, .per_page = AIS_PAGE_NONE};

    error = parse_path(res, path);
    if (error != AIS_RESOURCE_OK || query.len == 0)
        return error;

    return parse_query(res, query);
}

const char *ais_resource_error_text(enum ais_resource_error error)
{
    static const char *const texts[] = {
        [AIS_RESOURCE_OK] = "ok",
        [AIS_RESOURCE_BAD_PATH] =
            ("the path must name a job, a list of jobs, logs, an instance, its stats, a list of instances, or "
             "namespaces"),
        [AIS_RESOURCE_BAD_ACCOUNT] = "the account id must be 1 to 32 lowercase hex digits",
        [AIS_RESOURCE_BAD_NAMESPACE] =
            "the namespace must be 1 to 28 characters of a-z, 0-9 and -, and begin and end with a letter or a digit",
        [AIS_RESOURCE_BAD_INSTANCE] =
            ("the instance id must be 1 to 64 (below rags/, 32) characters of a-z, 0-9 and _, in words separated by "
             "single hyphens"),
        [AIS_RESOURCE_BAD_JOB] = "the job id must be 1 to 64 characters of A-Z, a-z, 0-9, _ and -",
        [AIS_RESOURCE_BAD_PAGE] = "page must be given once, as a number from 1 to 999999999",
        [AIS_RESOURCE_BAD_PER_PAGE] =
            ("per_page must be given once, as a number: of jobs 0 to 50, of logs 0 to 500, of "
             "instances and namespaces 1 to 100"),
        [AIS_RESOURCE_BAD_FILTER] = "search and hostname must be given once, as 1 to 64 bytes of printable UTF-8",
        [AIS_RESOURCE_BAD_ORDER] = "order_by must be created_at, and order_by_direction asc or desc, each given once",
    };

    return texts[error];
}

static inline char *put(char *p, struct ais_str s)
{
    memcpy(p, s.data, s.len);
    return p + s.len;
}

#define PUT(p, literal) put(p, AIS_STR(literal))

static char *put_number(char *p, int number)
{
    char digits[PAGE_DIGITS];
    size_t i = sizeof(digits);

    do {
        digits[--i] = (char) ('0' + number % 10);
        number /= 10;
    } while (number > 0);

    return put(p, (struct ais_str){digits + i, sizeof(digits) - i});
}

/* Writes "?name=" for the first argument, or "&name=". */
static char *put_name(char *p, const char *start, struct ais_str name)
{
    *p = p == start ? '?' : '&';
    return PUT(put(p + 1, name), "=");
}

/* Decodes a value and percent-encodes it again, so that all its spellings become the same. */
static char *put_filter(char *p, struct ais_str value)
{
    static const char digits[] = "0123456789ABCDEF";

    while (value.len > 0) {
        unsigned char c = (unsigned char) decode(&value);

        if ((class_of[c] & FREE) != 0) {
            *p++ = (char) c;
        } else {
            *p++ = '%';
            *p++ = digits[c >> 4];
            *p++ = digits[c & 15];
        }
    }

    return p;
}

static char *put_filters(char *p, const char *start, const struct ais_resource *res)
{
    if (res->search.len > 0)
        p = put_filter(put_name(p, start, AIS_STR("search")), res->search);

    if (res->hostname.len > 0)
        p = put_filter(put_name(p, start, AIS_STR("hostname")), res->hostname);

    if (res->in_namespace.len > 0)
        p = put(put_name(p, start, AIS_STR("namespace")), res->in_namespace);

    if (res->by_created_at)
        p = PUT(put_name(p, start, AIS_STR("order_by")), "created_at");

    if (res->order == AIS_ORDER_ASC)
        p = PUT(put_name(p, start, AIS_STR("order_by_direction")), "asc");
    else if (res->order == AIS_ORDER_DESC)
        p = PUT(put_name(p, start, AIS_STR("order_by_direction")), "desc");

    return p;
}

/* Writes the query of a list. A page has the same query whether its numbers are given or are the API's defaults. */
static char *put_query(char *p, const struct ais_resource *res)
{
    const char *start = p;

    if (res->page > 1)
        p = put_number(put_name(p, start, AIS_STR("page")), res->page);

    p = put_number(put_name(p, start, AIS_STR("per_page")),
                   res->per_page != AIS_PAGE_NONE ? res->per_page : AIS_PER_PAGE_DEFAULT);

    return put_filters(p, start, res);
}

static char *put_instance(char *p, const struct ais_resource *res)
{
    p = PUT(p, "/");
    p = put(p, res->instance);

    if (res->kind == AIS_INSTANCE)
        return p;

    if (res->kind == AIS_STATS)
        return PUT(p, "/stats");

    p = PUT(p, "/jobs");

    if (res->kind != AIS_LIST) {
        p = PUT(p, "/");
        p = put(p, res->job);
    }

    return res->kind == AIS_LOGS ? PUT(p, "/logs") : p;
}

static char *put_namespace(char *p, const struct ais_resource *res)
{
    p = PUT(p, "/ai-search/namespaces");

    if (res->kind == AIS_NAMESPACES)
        return p;

    p = PUT(p, "/");
    p = put(p, res->namespace);

    return res->kind == AIS_NAMESPACE ? p : PUT(p, "/instances");
}

size_t ais_resource_path(const struct ais_resource *res, struct ais_str account, char *buf)
{
    char *p = PUT(buf, "/accounts/");

    p = put(p, res->account.len > 0 ? res->account : account);

    if (res->generation == AIS_AUTORAG)
        p = PUT(p, "/autorag/rags");
    else if (res->generation == AIS_NAMESPACED)
        p = put_namespace(p, res);
    else
        p = PUT(p, "/ai-search/instances");

    if (res->instance.len > 0)
        p = put_instance(p, res);

    if (has_pages(res))
        p = put_query(p, res);

    *p = '\0';
    return (size_t) (p - buf);
}

struct ais_str ais_resource_key(const struct ais_resource *res, char *buf)
{
    if (!has_pages(res))
        return res->tail;

    return (struct ais_str){buf, (size_t) (put_query(put(buf, res->tail), res) - buf)};
}

bool ais_resource_to_namespaced(struct ais_resource *res)
{
    if (res->generation != AIS_PLAIN || res->kind == AIS_INSTANCES)
        return false;

    res->generation = AIS_NAMESPACED;
    res->namespace = AIS_DEFAULT_NAMESPACE;
    return true;
}

bool ais_account_id_valid(struct ais_str s)
{
    struct ais_cursor cur = {s, 0};
    struct ais_str part;

    return scan_run(&cur, HEX, AIS_ACCOUNT_ID_LEN, &part) && ais_cursor_at_end(&cur);
}

bool ais_namespace_valid(struct ais_str s)
{
    struct ais_cursor cur = {s, 0};
    struct ais_str part;

    return scan_namespace(&cur, &part) && ais_cursor_at_end(&cur);
}

bool ais_instance_valid(struct ais_str s, enum ais_generation generation)
{
    struct ais_cursor cur = {s, 0};
    struct ais_str part;

    return scan_id(&cur, instance_max(generation), &part) && ais_cursor_at_end(&cur);
}

bool ais_job_id_valid(struct ais_str s)
{
    struct ais_cursor cur = {s, 0};
    struct ais_str part;

    return scan_run(&cur, JOB, JOB_MAX, &part) && ais_cursor_at_end(&cur);
}
