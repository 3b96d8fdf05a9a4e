/*
 * The grammar of resources: a line with a path, a line with a query, and a line with the account_id of the caller.
 */

#include "fuzz.h"

#include "ais_resource.h"

static bool is_url_safe(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("-_/?&=", c) != NULL;
}

static bool inside(struct ais_str part, struct ais_str whole)
{
    return part.len == 0 || (part.data >= whole.data && part.data + part.len <= whole.data + whole.len);
}

static struct ais_str text(const char *s)
{
    return (struct ais_str){s, strlen(s)};
}

/* Cuts the query off a path that was built. */
static struct ais_str split(struct ais_str *path)
{
    const char *mark = memchr(path->data, '?', path->len);
    struct ais_str query = AIS_STR("");

    if (mark != NULL) {
        query = (struct ais_str){mark + 1, path->len - (size_t) (mark + 1 - path->data)};
        path->len = (size_t) (mark - path->data);
    }
    return query;
}

static void check_parts(const struct ais_resource *res, struct ais_str path)
{
    MUST(inside(res->account, path) && inside(res->namespace, path) && inside(res->instance, path));
    MUST(inside(res->job, path) && inside(res->tail, path) && res->tail.len > 0);

    MUST(res->account.len == 0 || ais_account_id_valid(res->account));
    MUST((res->generation == AIS_NAMESPACED) == ais_namespace_valid(res->namespace));
    MUST((res->kind != AIS_INSTANCES) == ais_instance_valid(res->instance, res->generation));
    MUST((res->kind == AIS_JOB || res->kind == AIS_LOGS) == ais_job_id_valid(res->job));

    MUST(res->page == AIS_PAGE_NONE || (res->kind != AIS_JOB && res->page >= 1));
    MUST(res->per_page == AIS_PAGE_NONE || (res->kind != AIS_JOB && res->per_page >= 0 && res->per_page <= 100));
}

static bool same(const struct ais_resource *a, const struct ais_resource *b)
{
    return a->generation == b->generation && a->kind == b->kind && ais_str_eq(a->namespace, b->namespace) &&
           ais_str_eq(a->instance, b->instance) && ais_str_eq(a->job, b->job) && a->page == b->page &&
           a->per_page == b->per_page;
}

/* What was built is the same resource again, by the same path and the same key. */
static void check_path(const struct ais_resource *res, struct ais_str account)
{
    char built[AIS_RESOURCE_PATH_MAX], again[AIS_RESOURCE_PATH_MAX];
    char key_buf[AIS_RESOURCE_PATH_MAX], key_again_buf[AIS_RESOURCE_PATH_MAX];
    struct ais_str path = {built, ais_resource_path(res, account, built)};
    struct ais_str key = ais_resource_key(res, key_buf);
    struct ais_str key_again, query;
    struct ais_resource reread;

    MUST(path.len < sizeof(built) && path.len == strlen(built));
    for (size_t i = 0; i < path.len; i++)
        MUST(is_url_safe(path.data[i]));
    MUST(key.len >= 9 && key.len < sizeof(key_buf));
    for (size_t i = 0; i < key.len; i++)
        MUST(is_url_safe(key.data[i]));

    path.data++; /* the slash */
    path.len--;
    query = split(&path);
    MUST(ais_resource_parse(&reread, path, query) == AIS_RESOURCE_OK);
    MUST(same(res, &reread));
    MUST(ais_str_eq(reread.account, res->account.len > 0 ? res->account : account));

    ais_resource_path(&reread, account, again);
    MUST(strcmp(built, again) == 0);
    key_again = ais_resource_key(&reread, key_again_buf);
    MUST(ais_str_eq(key, key_again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ais_str rest = whole_input(data, size);
    struct ais_str path = exact_copy(take_line(&rest));
    struct ais_str query = exact_copy(take_line(&rest));
    struct ais_str account = exact_copy(take_line(&rest));
    struct ais_resource res;
    enum ais_resource_status status = ais_resource_parse(&res, path, query);

    MUST(text(ais_resource_status_text(status)).len > 0);
    if (status == AIS_RESOURCE_OK) {
        check_parts(&res, path);
        if (res.account.len > 0 || ais_account_id_valid(account))
            check_path(&res, account);
    }

    exact_free(account);
    exact_free(query);
    exact_free(path);
    return 0;
}
