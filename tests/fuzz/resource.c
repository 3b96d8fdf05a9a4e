/*
 * The grammar of resources: a line with a path, a line with a query, and a line with the caller's account_id.
 */

#include "fuzz.h"

#include "ais_resource.h"

static bool is_url_safe(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("-_.~%/?&=", c) != NULL;
}

static bool inside(struct ais_str part, struct ais_str whole)
{
    return part.len == 0 || (part.data >= whole.data && part.data + part.len <= whole.data + whole.len);
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

/* The page numbers; missing ones are the API's defaults. */
static int page_of(const struct ais_resource *res)
{
    return res->page == AIS_PAGE_NONE ? 1 : res->page;
}

static int per_page_of(const struct ais_resource *res)
{
    return res->per_page == AIS_PAGE_NONE ? AIS_PER_PAGE_DEFAULT : res->per_page;
}

static bool has_pages(enum ais_kind kind)
{
    return kind == AIS_LIST || kind == AIS_LOGS || kind == AIS_INSTANCES || kind == AIS_NAMESPACES;
}

static bool has_instance(enum ais_kind kind)
{
    return kind != AIS_INSTANCES && kind != AIS_NAMESPACES && kind != AIS_NAMESPACE;
}

/* Arguments for pages or filters are only accepted for resources that have them. */
static void check_query(const struct ais_resource *res, struct ais_str query)
{
    bool filters = res->kind == AIS_INSTANCES;
    bool pages = has_pages(res->kind);
    int max = res->kind == AIS_LIST ? 50 : res->kind == AIS_LOGS ? 500 : 100;
    int min = res->kind == AIS_LIST || res->kind == AIS_LOGS ? 0 : 1;

    MUST(inside(res->search, query) && inside(res->hostname, query) && inside(res->in_namespace, query));
    MUST(res->page == AIS_PAGE_NONE || (pages && res->page >= 1));
    MUST(res->per_page == AIS_PAGE_NONE || (pages && res->per_page >= min && res->per_page <= max));
    MUST(res->search.len == 0 || filters || res->kind == AIS_NAMESPACES);
    MUST((res->hostname.len == 0 && !res->by_created_at && res->order == AIS_ORDER_NONE) || filters);
    MUST(res->in_namespace.len == 0 || (filters && res->generation == AIS_PLAIN));
    MUST(res->in_namespace.len == 0 || ais_namespace_valid(res->in_namespace));
    MUST(res->search.len <= 3 * AIS_FILTER_MAX && res->hostname.len <= 3 * AIS_FILTER_MAX);
}

static void check_parts(const struct ais_resource *res, struct ais_str path)
{
    bool named = res->generation == AIS_NAMESPACED && res->kind != AIS_NAMESPACES;

    MUST(inside(res->account, path) && inside(res->namespace, path) && inside(res->instance, path));
    MUST(inside(res->job, path) && inside(res->tail, path) && res->tail.len > 0);

    MUST(res->account.len == 0 || ais_account_id_valid(res->account));
    MUST(named == ais_namespace_valid(res->namespace));
    MUST(has_instance(res->kind) == ais_instance_valid(res->instance, res->generation));
    MUST((res->kind == AIS_JOB || res->kind == AIS_LOGS) == ais_job_id_valid(res->job));
    MUST(res->generation != AIS_AUTORAG || res->kind == AIS_JOB || res->kind == AIS_LIST || res->kind == AIS_LOGS);
    MUST((res->kind != AIS_NAMESPACES && res->kind != AIS_NAMESPACE) || res->generation == AIS_NAMESPACED);
}

static bool same(const struct ais_resource *a, const struct ais_resource *b)
{
    return a->generation == b->generation && a->kind == b->kind && ais_str_eq(a->namespace, b->namespace) &&
           ais_str_eq(a->instance, b->instance) && ais_str_eq(a->job, b->job) && page_of(a) == page_of(b) &&
           per_page_of(a) == per_page_of(b) && ais_str_eq(a->in_namespace, b->in_namespace) &&
           a->by_created_at == b->by_created_at && a->order == b->order && (a->search.len > 0) == (b->search.len > 0) &&
           (a->hostname.len > 0) == (b->hostname.len > 0);
}

/* The path and the key of a resource: valid text for a URL, where the key is the end of the path. */
struct built {
    char path_buf[AIS_RESOURCE_PATH_MAX];
    char key_buf[AIS_RESOURCE_PATH_MAX];
    struct ais_str path;
    struct ais_str key;
};

static void build(struct built *b, const struct ais_resource *res, struct ais_str account)
{
    b->path = (struct ais_str){b->path_buf, ais_resource_path(res, account, b->path_buf)};
    b->key = ais_resource_key(res, b->key_buf);

    MUST(b->path.len < sizeof(b->path_buf) && b->path.len == strlen(b->path_buf));
    for (size_t i = 0; i < b->path.len; i++)
        MUST(is_url_safe(b->path.data[i]));

    MUST(b->key.len >= 9 && b->key.len <= b->path.len);
    MUST(memcmp(b->path.data + b->path.len - b->key.len, b->key.data, b->key.len) == 0);
}

/* Only a list includes its page number and page size; each page has one key. */
static void check_page(const struct ais_resource *res, struct ais_str account)
{
    static struct built given, other;
    struct ais_resource same_page = *res;

    build(&given, res, account);
    MUST((memchr(given.key.data, '?', given.key.len) != NULL) == has_pages(res->kind));
    MUST((strstr(given.path_buf, "per_page=") != NULL) == has_pages(res->kind));

    same_page.page = res->page == 1 ? AIS_PAGE_NONE : page_of(res);
    same_page.per_page = res->per_page == AIS_PER_PAGE_DEFAULT ? AIS_PAGE_NONE : per_page_of(res);
    build(&other, &same_page, account);
    MUST(ais_str_eq(given.path, other.path) && ais_str_eq(given.key, other.key));
}

/* The path that was built is parsed as the same resource, with the same path and key. */
static void check_path(const struct ais_resource *res, struct ais_str account)
{
    static struct built first, second;
    struct ais_str path, query;
    struct ais_resource reread;

    build(&first, res, account);
    path = (struct ais_str){first.path.data + 1, first.path.len - 1};
    query = split(&path);
    MUST(ais_resource_parse(&reread, path, query) == AIS_RESOURCE_OK);
    MUST(same(res, &reread));
    MUST(ais_str_eq(reread.account, res->account.len > 0 ? res->account : account));

    build(&second, &reread, account);
    MUST(ais_str_eq(first.path, second.path));
    MUST(ais_str_eq(first.key, second.key));
}

/* A plain instance is in the namespace "default" and has the same key there. */
static void check_namespaced(const struct ais_resource *res, struct ais_str account)
{
    static struct built plain, namespaced;
    struct ais_resource other = *res;

    if (!ais_resource_to_namespaced(&other)) {
        MUST(same(res, &other) && (res->generation != AIS_PLAIN || res->kind == AIS_INSTANCES));
        return;
    }

    MUST(res->generation == AIS_PLAIN && res->kind != AIS_INSTANCES);
    MUST(other.generation == AIS_NAMESPACED && ais_str_eq(other.namespace, AIS_DEFAULT_NAMESPACE));
    build(&plain, res, account);
    build(&namespaced, &other, account);
    MUST(ais_str_eq(plain.key, namespaced.key));
    MUST(!ais_str_eq(plain.path, namespaced.path));
    check_path(&other, account);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ais_str rest = whole_input(data, size);
    struct ais_str path = exact_copy(take_line(&rest));
    struct ais_str query = exact_copy(take_line(&rest));
    struct ais_str account = exact_copy(take_line(&rest));
    struct ais_resource res;
    enum ais_resource_error error = ais_resource_parse(&res, path, query);

    MUST(ais_str_of(ais_resource_error_text(error)).len > 0);
    if (error == AIS_RESOURCE_OK) {
        check_parts(&res, path);
        check_query(&res, query);
        if (res.account.len > 0 || ais_account_id_valid(account)) {
            check_path(&res, account);
            check_page(&res, account);
            check_namespaced(&res, account);
        }
    }

    exact_free(account);
    exact_free(query);
    exact_free(path);
    return 0;
}
