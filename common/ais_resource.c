#include "ais_resource.h"

#include <stdint.h>

#define ACCOUNT_MAX 32
#define NAMESPACE_MAX 32
#define INSTANCE_MAX 64
#define RAG_MAX 32
#define JOB_MAX 64
#define PAGE_DIGITS 9
#define PAGE_MAX 999999999
#define PER_PAGE_MAX 50
#define INSTANCES_PER_PAGE_MAX 100

/* What a byte may be part of. */
enum {
    HEX = 1,  /* account_id */
    WORD = 2, /* name and id, between hyphens */
    JOB = 4,  /* job_id */
    DIGIT = 8,
};

static const uint8_t class_of[256] = {
    ['0' ... '9'] = HEX | WORD | JOB | DIGIT,
    ['a' ... 'f'] = HEX | WORD | JOB,
    ['g' ... 'z'] = WORD | JOB,
    ['A' ... 'Z'] = JOB,
    ['_'] = WORD | JOB,
    ['-'] = JOB,
};

/* Text that is read from left to right, once. */
struct cursor {
    struct ais_str text;
    size_t pos;
};

static inline bool at_end(const struct cursor *cur)
{
    return cur->pos == cur->text.len;
}

/* Steps over literal, where it comes next. Inline, so that the comparison is one of constant length. */
static inline bool skip(struct cursor *cur, struct ais_str literal)
{
    if (cur->text.len - cur->pos < literal.len || memcmp(cur->text.data + cur->pos, literal.data, literal.len) != 0)
        return false;

    cur->pos += literal.len;
    return true;
}

#define SKIP(cur, literal) skip(cur, AIS_STR(literal))

/* What is still to be read. */
static inline struct ais_str tail(const struct cursor *cur)
{
    return (struct ais_str){cur->text.data + cur->pos, cur->text.len - cur->pos};
}

/* A part is a whole segment: what follows it can only be a slash, or nothing. */
static bool part_end(const struct cursor *cur, size_t start, size_t max, struct ais_str *part)
{
    *part = (struct ais_str){cur->text.data + start, cur->pos - start};

    return part->len <= max && (at_end(cur) || cur->text.data[cur->pos] == '/');
}

/* Where the bytes of the given classes end that begin at pos. */
static inline size_t span(struct ais_str text, size_t pos, unsigned classes)
{
    while (pos < text.len && (class_of[(unsigned char) text.data[pos]] & classes) != 0)
        pos++;

    return pos;
}

/* The same, twelve bytes at a time: ids are long, and make up most of a path. */
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

/* 1 to max bytes of the given classes. */
static bool scan_run(struct cursor *cur, unsigned classes, size_t max, struct ais_str *part)
{
    size_t start = cur->pos;

    cur->pos = span_long(cur->text, start, classes);

    return cur->pos > start && part_end(cur, start, max, part);
}

/* ^[a-z0-9_]+(?:-[a-z0-9_]+)*$ of 1 to max bytes. */
static bool scan_name(struct cursor *cur, size_t max, struct ais_str *part)
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

static size_t instance_max(enum ais_generation generation)
{
    return generation == AIS_AUTORAG ? RAG_MAX : INSTANCE_MAX;
}

/* jobs ["/" job_id ["/logs"]], to the end. */
static enum ais_resource_status parse_jobs(struct ais_resource *res, struct cursor *cur)
{
    if (!SKIP(cur, "/jobs"))
        return AIS_RESOURCE_BAD_PATH;

    if (at_end(cur)) {
        res->kind = AIS_LIST;
        return AIS_RESOURCE_OK;
    }

    if (!SKIP(cur, "/"))
        return AIS_RESOURCE_BAD_PATH;

    if (!scan_run(cur, JOB, JOB_MAX, &res->job))
        return AIS_RESOURCE_BAD_JOB;

    if (at_end(cur)) {
        res->kind = AIS_JOB;
        return AIS_RESOURCE_OK;
    }

    if (!SKIP(cur, "/logs") || !at_end(cur))
        return AIS_RESOURCE_BAD_PATH;

    res->kind = AIS_LOGS;
    return AIS_RESOURCE_OK;
}

/* ["ai-search/"] ["namespaces/" name "/"] "instances", or ["autorag/"] "rags". */
static enum ais_resource_status parse_generation(struct ais_resource *res, struct cursor *cur)
{
    bool ai_search = SKIP(cur, "ai-search/");

    res->tail = tail(cur);

    if (SKIP(cur, "instances")) {
        res->generation = AIS_INSTANCE;
        return AIS_RESOURCE_OK;
    }

    if (SKIP(cur, "namespaces/")) {
        res->generation = AIS_NAMESPACED;
        if (!scan_name(cur, NAMESPACE_MAX, &res->namespace))
            return AIS_RESOURCE_BAD_NAMESPACE;
        return SKIP(cur, "/instances") ? AIS_RESOURCE_OK : AIS_RESOURCE_BAD_PATH;
    }

    if (ai_search)
        return AIS_RESOURCE_BAD_PATH;

    res->generation = AIS_AUTORAG;
    if (SKIP(cur, "autorag/"))
        res->tail = tail(cur);

    return SKIP(cur, "rags") ? AIS_RESOURCE_OK : AIS_RESOURCE_BAD_PATH;
}

static enum ais_resource_status parse_path(struct ais_resource *res, struct ais_str path)
{
    struct cursor cur = {path, 0};
    enum ais_resource_status status;

    if (SKIP(&cur, "accounts/")) {
        if (!scan_run(&cur, HEX, ACCOUNT_MAX, &res->account))
            return AIS_RESOURCE_BAD_ACCOUNT;
        if (!SKIP(&cur, "/"))
            return AIS_RESOURCE_BAD_PATH;
    }

    status = parse_generation(res, &cur);
    if (status != AIS_RESOURCE_OK)
        return status;

    if (at_end(&cur) && res->generation != AIS_AUTORAG) {
        res->kind = AIS_INSTANCES;
        return AIS_RESOURCE_OK;
    }

    if (!SKIP(&cur, "/"))
        return AIS_RESOURCE_BAD_PATH;

    if (!scan_name(&cur, instance_max(res->generation), &res->instance))
        return AIS_RESOURCE_BAD_INSTANCE;

    return parse_jobs(res, &cur);
}

/* The decimal number that stands between here and the next '&', once only: *number is AIS_PAGE_NONE before. */
static bool parse_number(struct cursor *cur, int min, int max, int *number)
{
    size_t start = cur->pos;
    int n = 0;

    cur->pos = span(cur->text, start, DIGIT);

    if (cur->pos == start || cur->pos - start > PAGE_DIGITS || (!at_end(cur) && cur->text.data[cur->pos] != '&'))
        return false;

    for (size_t i = start; i < cur->pos; i++)
        n = n * 10 + (cur->text.data[i] - '0');

    if (*number != AIS_PAGE_NONE || n < min || n > max)
        return false;

    *number = n;
    return true;
}

/* True where the next argument is called name, with a value or without one. */
static inline bool skip_argument(struct cursor *cur, struct ais_str name)
{
    struct cursor ahead = *cur;

    if (!skip(&ahead, name))
        return false;

    if (!at_end(&ahead) && ahead.text.data[ahead.pos] != '=' && ahead.text.data[ahead.pos] != '&')
        return false;

    (void) SKIP(&ahead, "=");
    *cur = ahead;
    return true;
}

static enum ais_resource_status parse_query(struct ais_resource *res, struct ais_str query)
{
    struct cursor cur = {query, 0};
    int per_page_max = res->kind == AIS_INSTANCES ? INSTANCES_PER_PAGE_MAX : PER_PAGE_MAX;

    while (!at_end(&cur)) {
        if (skip_argument(&cur, AIS_STR("page"))) {
            if (!parse_number(&cur, 1, PAGE_MAX, &res->page))
                return AIS_RESOURCE_BAD_PAGE;

        } else if (skip_argument(&cur, AIS_STR("per_page"))) {
            if (!parse_number(&cur, 0, per_page_max, &res->per_page))
                return AIS_RESOURCE_BAD_PER_PAGE;
        }

        while (!at_end(&cur) && !SKIP(&cur, "&"))
            cur.pos++;
    }

    return AIS_RESOURCE_OK;
}

enum ais_resource_status ais_resource_parse(struct ais_resource *res, struct ais_str path, struct ais_str query)
{
    enum ais_resource_status status;

    *res = (struct ais_resource){.page = AIS_PAGE_NONE, .per_page = AIS_PAGE_NONE};

    status = parse_path(res, path);
    if (status != AIS_RESOURCE_OK || res->kind == AIS_JOB)
        return status;

    return parse_query(res, query);
}

const char *ais_resource_status_text(enum ais_resource_status status)
{
    static const char *const texts[] = {
        [AIS_RESOURCE_OK] = "ok",
        [AIS_RESOURCE_BAD_PATH] = "the path is not that of a job, a list of jobs, logs, or a list of instances",
        [AIS_RESOURCE_BAD_ACCOUNT] = "the account id must be 1 to 32 lowercase hex digits",
        [AIS_RESOURCE_BAD_NAMESPACE] =
            "the namespace must be 1 to 32 of a-z, 0-9 and _, in words separated by single hyphens",
        [AIS_RESOURCE_BAD_INSTANCE] =
            "the instance id must be 1 to 64 (below rags/, 32) of a-z, 0-9 and _, in words separated by single hyphens",
        [AIS_RESOURCE_BAD_JOB] = "the job id must be 1 to 64 of A-Z, a-z, 0-9, _ and -",
        [AIS_RESOURCE_BAD_PAGE] = "page must be given once, as a number from 1 to 999999999",
        [AIS_RESOURCE_BAD_PER_PAGE] = "per_page must be given once, as a number from 0 to 50 (of instances, to 100)",
    };

    return texts[status];
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

static char *put_query(char *p, const struct ais_resource *res)
{
    char separator = '?';

    if (res->page != AIS_PAGE_NONE) {
        p = PUT(p, "?page=");
        p = put_number(p, res->page);
        separator = '&';
    }

    if (res->per_page != AIS_PAGE_NONE) {
        *p++ = separator;
        p = PUT(p, "per_page=");
        p = put_number(p, res->per_page);
    }

    return p;
}

static char *put_jobs(char *p, const struct ais_resource *res)
{
    p = PUT(p, "/");
    p = put(p, res->instance);
    p = PUT(p, "/jobs");

    if (res->kind != AIS_LIST) {
        p = PUT(p, "/");
        p = put(p, res->job);
    }

    return res->kind == AIS_LOGS ? PUT(p, "/logs") : p;
}

size_t ais_resource_path(const struct ais_resource *res, struct ais_str account, char *buf)
{
    char *p = PUT(buf, "/accounts/");

    p = put(p, res->account.len > 0 ? res->account : account);

    if (res->generation == AIS_AUTORAG) {
        p = PUT(p, "/autorag/rags");

    } else if (res->generation == AIS_NAMESPACED) {
        p = PUT(p, "/ai-search/namespaces/");
        p = put(p, res->namespace);
        p = PUT(p, "/instances");

    } else {
        p = PUT(p, "/ai-search/instances");
    }

    if (res->kind != AIS_INSTANCES)
        p = put_jobs(p, res);

    p = put_query(p, res);
    *p = '\0';
    return (size_t) (p - buf);
}

struct ais_str ais_resource_key(const struct ais_resource *res, char *buf)
{
    if (res->page == AIS_PAGE_NONE && res->per_page == AIS_PAGE_NONE)
        return res->tail;

    return (struct ais_str){buf, (size_t) (put_query(put(buf, res->tail), res) - buf)};
}

bool ais_account_id_valid(struct ais_str s)
{
    struct cursor cur = {s, 0};
    struct ais_str part;

    return scan_run(&cur, HEX, ACCOUNT_MAX, &part) && at_end(&cur);
}

bool ais_namespace_valid(struct ais_str s)
{
    struct cursor cur = {s, 0};
    struct ais_str part;

    return scan_name(&cur, NAMESPACE_MAX, &part) && at_end(&cur);
}

bool ais_instance_valid(struct ais_str s, enum ais_generation generation)
{
    struct cursor cur = {s, 0};
    struct ais_str part;

    return scan_name(&cur, instance_max(generation), &part) && at_end(&cur);
}

bool ais_job_id_valid(struct ais_str s)
{
    struct cursor cur = {s, 0};
    struct ais_str part;

    return scan_run(&cur, JOB, JOB_MAX, &part) && at_end(&cur);
}
