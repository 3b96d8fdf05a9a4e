/*
 * The response header fields that are evaluated: Retry-After, Ratelimit, Ratelimit-Policy, x-ratelimit-*, Age and
 * X-Aisearch-Cache. The input is the header, line by line.
 */

#include "../../common/ais_transfer_answer.c"

#include "fuzz.h"

#define DAY INT64_C(86400000)

static void check_limits(const struct ais_transfer *t)
{
    struct ais_limits limits;

    ais_transfer_read_limits(t, &limits);
    MUST(limits.n <= AIS_LIMITS_MAX);
    for (size_t i = 0; i < limits.n; i++) {
        const struct ais_limit *item = &limits.items[i];

        MUST(memchr(item->name, '\0', sizeof(item->name)) != NULL);
        MUST(item->left >= -1 && item->quota >= -1 && item->window >= -1);
        MUST(item->left >= 0 || item->quota >= 0);
        if (item->left >= 0 && item->name[0] != '\0')
            MUST(item->reset_at >= t->header_at);
    }

    /* fields that do not fit are dropped as a whole */
    MUST(t->ratelimit.len <= sizeof(t->ratelimit.text) && t->ratelimit_policy.len <= sizeof(t->ratelimit_policy.text));
    MUST(!t->ratelimit.too_long || joined(&t->ratelimit).len == 0);
}

static void check(const struct ais_transfer *t)
{
    size_t len = strnlen(t->cache, sizeof(t->cache));

    MUST(t->retry_after >= -1 && t->retry_after <= DAY);
    MUST(t->old_remaining >= -1 && t->old_remaining <= INT32_MAX);
    check_limits(t);
    MUST(t->age >= -1 && t->age <= DELTA_SECONDS_MAX * 1000);
    MUST(len < sizeof(t->cache));
    for (size_t i = 0; i < len; i++)
        MUST(t->cache[i] >= 'A' && t->cache[i] <= 'Z');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ais_str rest = whole_input(data, size);
    struct ais_connections connections = {.first = NULL};
    struct ais_transfer t = {.easy = curl_easy_init(), .connections = &connections};

    MUST(t.easy != NULL);
    ais_transfer_clear(&t);
    while (rest.len > 0) {
        struct ais_str line = exact_copy(take_line(&rest));

        MUST(on_header((char *) line.data, 1, line.len, &t) == line.len);
        check(&t);
        exact_free(line);
    }
    ais_transfer_free(&t);
    return 0;
}
