/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Parses the API's own rate limits from response headers (Ratelimit, Ratelimit-Policy), and passes them to a budget.
 * For the configured limits see ais_budget.c.
 */

#include "ais_limits.h"

#include "ais_budget.h"
#include "ais_policy.h"
#include "ais_sf.h"

#define SECOND INT64_C(1000)

/* RFC 9111, section 1.2.2: a recipient uses this value if a number of seconds is greater. */
#define SECONDS_MAX (INT64_C(1) << 31)

/* The state of reading a List. Items whose type is not that of a policy's name are ignored. */
struct reader {
    struct ais_limits *limits;
    struct ais_limit item;
    bool is_policy; /* the field is Ratelimit-Policy */
    bool has_item;
    int64_t now;
};

static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("_.:-", c) != NULL;
}

static void copy_name(char name[AIS_LIMIT_NAME_SIZE], struct ais_str text)
{
    size_t len = text.len < AIS_LIMIT_NAME_SIZE - 1 ? text.len : AIS_LIMIT_NAME_SIZE - 1;

    for (size_t i = 0; i < len; i++)
        name[i] = is_plain(text.data[i]) ? text.data[i] : '_';

    name[len] = '\0';
}

struct ais_limit *ais_limits_find(struct ais_limit *items, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(items[i].name, name) == 0)
            return &items[i];
    }

    return NULL;
}

struct ais_limit *ais_limits_place(struct ais_limit *items, size_t n, const struct ais_limit *limit, int64_t now)
{
    struct ais_limit *most = &items[0];

    if (n < AIS_LIMITS_MAX)
        return &items[n];

    for (size_t i = 0; i < n; i++) {
        if (!ais_limit_is_known(&items[i], now))
            return &items[i];
        if (items[i].left > most->left)
            most = &items[i];
    }

    return limit->left >= 0 && limit->left < most->left ? most : NULL;
}

/* Adds an item. If its calls left are unknown, it does not replace another. */
static void add(struct ais_limits *limits, const struct ais_limit *item)
{
    struct ais_limit *place = ais_limits_place(limits->items, limits->n, item, INT64_MIN);

    if (limits->n == AIS_LIMITS_MAX && item->left < 0)
        return;

    if (place != NULL)
        *place = *item;
    limits->n += place == &limits->items[limits->n];
}

/* Handles an item that is complete: the next one begins, or the List ends. */
static void end_item(struct reader *r)
{
    struct ais_limit *item = &r->item;
    struct ais_limit *policy;

    if (!r->has_item)
        return;

    r->has_item = false;

    if (r->is_policy) {
        if (item->quota >= 0)
            add(r->limits, item);
        return;
    }

    policy = ais_limits_find(r->limits->items, r->limits->n, item->name);

    if (policy != NULL) {
        item->quota = policy->quota;
        item->window = policy->window;
    }

    if (item->reset_at < 0 && item->window >= 0)
        item->reset_at = r->now + item->window;

    if (item->left < 0 || item->reset_at < 0)
        return;

    if (policy == NULL)
        add(r->limits, item);
    else if (policy->left < 0 || policy->left > item->left)
        *policy = *item;
}

static void begin_item(void *data, const struct ais_sf_item *item)
{
    struct reader *r = data;

    end_item(r);
    r->item = (struct ais_limit){.left = -1, .reset_at = -1, .quota = -1, .window = -1};
    r->has_item = item->type == AIS_SF_STRING || item->type == AIS_SF_TOKEN;
    copy_name(r->item.name, item->text);
}

/* Returns a non-negative integer, or -1 for anything else. If a key appears twice, the last value counts. */
static int64_t count_of(const struct ais_sf_item *value)
{
    return value->type == AIS_SF_INTEGER && value->integer >= 0 ? value->integer : -1;
}

static int64_t seconds_of(const struct ais_sf_item *value)
{
    int64_t n = count_of(value);

    return n > SECONDS_MAX ? SECONDS_MAX * SECOND : n < 0 ? -1 : n * SECOND;
}

static void add_parameter(void *data, struct ais_str key, const struct ais_sf_item *value)
{
    struct reader *r = data;
    int64_t ms = seconds_of(value);

    if (r->is_policy && ais_str_eq(key, AIS_STR("q")))
        r->item.quota = count_of(value);
    else if (r->is_policy && ais_str_eq(key, AIS_STR("w")))
        r->item.window = ms;
    else if (!r->is_policy && ais_str_eq(key, AIS_STR("r")))
        r->item.left = count_of(value);
    else if (!r->is_policy && ais_str_eq(key, AIS_STR("t")))
        r->item.reset_at = ms < 0 ? -1 : r->now + ms;
}

/* Reads a field. If it turns out to be malformed, all of it is ignored. */
static void read_field(struct ais_limits *limits, struct ais_str field, bool is_policy, int64_t now)
{
    struct ais_limits before = *limits;
    struct reader r = {.limits = limits, .is_policy = is_policy, .now = now};
    struct ais_sf_visitor visitor = {.data = &r, .member = begin_item, .parameter = add_parameter};

    if (ais_sf_list(field, &visitor))
        end_item(&r);
    else
        *limits = before;
}

void ais_limits_parse(struct ais_limits *limits, struct ais_str ratelimit, struct ais_str policy, int64_t now)
{
    *limits = (struct ais_limits){.n = 0};
    read_field(limits, policy, true, now);
    read_field(limits, ratelimit, false, now);
}

void ais_limits_add_old(struct ais_limits *limits, int64_t remaining, int64_t reset_at)
{
    struct ais_limit item = {.name = "", .left = remaining, .reset_at = reset_at, .quota = -1, .window = -1};

    for (size_t i = 0; i < limits->n; i++) {
        if (limits->items[i].left >= 0)
            return;
    }

    if (remaining >= 0)
        add(limits, &item);
}

int64_t ais_limits_heed(struct ais_budget *b, const struct ais_limits *limits, int status, int64_t retry_after,
                        int64_t now)
{
    int64_t closed = ais_policy_closed(status, retry_after);

    for (size_t i = 0; i < limits->n; i++)
        ais_budget_observe(b, &limits->items[i], limits->uncertain, now);

    if (closed > 0)
        ais_budget_close(b, now + closed, now);

    return closed;
}

void ais_limits_heed_part(struct ais_budget *part, const struct ais_budget *whole, uint32_t percent,
                          const struct ais_limits *limits, int64_t now)
{
    for (size_t i = 0; i < limits->n; i++)
        ais_budget_part_observe(part, whole, percent, &limits->items[i], limits->uncertain, now);
}
