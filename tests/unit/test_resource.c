#include "unit.h"

#include <regex.h>

#include "ais_resource.h"

#define ACCOUNT "c3dc5f0b34a14ff8e1b3ec04895e1b22"
#define UUID "3f1e2d4c-5b6a-4978-8899-aabbccddeeff"
#define JOB_ID_BYTES "0123456789abcdefghijklmnopqrstuvwxyz_-ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define NAME_BYTES "0123456789abcdefghijklmnopqrstuvwxyz"
#define X4 "xxxx"
#define X8 X4 X4
#define X28 X8 X8 X8 X4
#define X32 X8 X8 X8 X8
#define X64 X32 X32

static enum ais_resource_error parse(struct ais_resource *res, const char *path, const char *query)
{
    return ais_resource_parse(res, str(path), str(query));
}

/*
 * The key is the part of the API path after the account, without the word that the generation implies, and without the
 * namespace if that is "default".
 */
static const char *key_in(const char *api_path)
{
    const char *p = strstr(api_path, "/ai-search/");

    if (p == NULL)
        return strstr(api_path, "rags/");

    p += strlen("/ai-search/");
    return strncmp(p, "namespaces/default/instances/", 29) == 0 ? p + strlen("namespaces/default/") : p;
}

static bool ends_with(struct ais_str text, struct ais_str end)
{
    return text.len >= end.len && memcmp(text.data + text.len - end.len, end.data, end.len) == 0;
}

/* Properties of the path of any resource. */
static void assert_path(const struct ais_resource *res, const char *expected)
{
    char path[AIS_RESOURCE_PATH_MAX], key_buf[AIS_RESOURCE_PATH_MAX];
    size_t len = ais_resource_path(res, AIS_STR(ACCOUNT), path);
    struct ais_str key = ais_resource_key(res, key_buf);

    assert_string_equal(path, expected);
    assert_int_equal(len, strlen(path));
    assert_true(len < AIS_RESOURCE_PATH_MAX);
    assert_true(key.len >= 9);
    assert_true(ends_with(str(path), key));
    assert_true(ais_str_eq(key, str(key_in(expected))));
}

/* Each resource, in any spelling, has one API path and one key. */
static void test_api_path(void **state)
{
    static const struct {
        const char *path;
        const char *query;
        const char *api_path;
    } cases[] = {
        {"instances/docs/jobs", "", "/accounts/" ACCOUNT "/ai-search/instances/docs/jobs?per_page=20"},
        {"ai-search/instances/docs/jobs", "", "/accounts/" ACCOUNT "/ai-search/instances/docs/jobs?per_page=20"},
        {"accounts/" ACCOUNT "/instances/docs/jobs", "",
         "/accounts/" ACCOUNT "/ai-search/instances/docs/jobs?per_page=20"},
        {"accounts/" ACCOUNT "/ai-search/instances/docs/jobs", "",
         "/accounts/" ACCOUNT "/ai-search/instances/docs/jobs?per_page=20"},
        {"accounts/abc/instances/docs/jobs", "", "/accounts/abc/ai-search/instances/docs/jobs?per_page=20"},
        {"instances/docs/jobs/" UUID, "", "/accounts/" ACCOUNT "/ai-search/instances/docs/jobs/" UUID},
        {"instances/docs/jobs/" UUID "/logs", "",
         "/accounts/" ACCOUNT "/ai-search/instances/docs/jobs/" UUID "/logs?per_page=20"},
        {"instances/docs/jobs/logs", "", "/accounts/" ACCOUNT "/ai-search/instances/docs/jobs/logs"},
        {"instances/docs/jobs/jobs/logs", "",
         "/accounts/" ACCOUNT "/ai-search/instances/docs/jobs/jobs/logs?per_page=20"},
        {"instances/jobs/jobs/-_Az09", "", "/accounts/" ACCOUNT "/ai-search/instances/jobs/jobs/-_Az09"},
        {"instances/_-0-z_z-9/jobs", "", "/accounts/" ACCOUNT "/ai-search/instances/_-0-z_z-9/jobs?per_page=20"},

        {"namespaces/default/instances/docs/jobs", "",
         "/accounts/" ACCOUNT "/ai-search/namespaces/default/instances/docs/jobs?per_page=20"},
        {"ai-search/namespaces/a-b/instances/docs/jobs/1", "",
         "/accounts/" ACCOUNT "/ai-search/namespaces/a-b/instances/docs/jobs/1"},
        {"accounts/0/ai-search/namespaces/n/instances/i/jobs/j/logs", "",
         "/accounts/0/ai-search/namespaces/n/instances/i/jobs/j/logs?per_page=20"},

        {"rags/docs/jobs", "", "/accounts/" ACCOUNT "/autorag/rags/docs/jobs?per_page=20"},
        {"autorag/rags/docs/jobs/1", "", "/accounts/" ACCOUNT "/autorag/rags/docs/jobs/1"},
        {"accounts/0/autorag/rags/docs/jobs/1/logs", "", "/accounts/0/autorag/rags/docs/jobs/1/logs?per_page=20"},

        {"instances", "", "/accounts/" ACCOUNT "/ai-search/instances?per_page=20"},
        {"ai-search/instances", "per_page=100&page=3", "/accounts/" ACCOUNT "/ai-search/instances?page=3&per_page=100"},
        {"namespaces/a-b/instances", "", "/accounts/" ACCOUNT "/ai-search/namespaces/a-b/instances?per_page=20"},
        {"accounts/0/ai-search/namespaces/n/instances", "page=1",
         "/accounts/0/ai-search/namespaces/n/instances?per_page=20"},

        {"instances/docs", "", "/accounts/" ACCOUNT "/ai-search/instances/docs"},
        {"ai-search/instances/docs/stats", "", "/accounts/" ACCOUNT "/ai-search/instances/docs/stats"},
        {"instances/stats/stats", "", "/accounts/" ACCOUNT "/ai-search/instances/stats/stats"},
        {"instances/stats/jobs/stats", "", "/accounts/" ACCOUNT "/ai-search/instances/stats/jobs/stats"},
        {"instances/docs", "page=1&search=x", "/accounts/" ACCOUNT "/ai-search/instances/docs"},
        {"instances/docs/stats", "page=0&per_page=x", "/accounts/" ACCOUNT "/ai-search/instances/docs/stats"},
        {"accounts/0/namespaces/n/instances/i", "", "/accounts/0/ai-search/namespaces/n/instances/i"},
        {"namespaces/n/instances/i/stats", "", "/accounts/" ACCOUNT "/ai-search/namespaces/n/instances/i/stats"},
        {"namespaces/default/instances/i", "", "/accounts/" ACCOUNT "/ai-search/namespaces/default/instances/i"},
        {"namespaces/default/instances/i/stats", "",
         "/accounts/" ACCOUNT "/ai-search/namespaces/default/instances/i/stats"},
        {"namespaces/default/instances/i/jobs/j/logs", "per_page=500",
         "/accounts/" ACCOUNT "/ai-search/namespaces/default/instances/i/jobs/j/logs?per_page=500"},
        {"namespaces/default/instances", "",
         "/accounts/" ACCOUNT "/ai-search/namespaces/default/instances?per_page=20"},
        {"namespaces/defaults/instances/i", "", "/accounts/" ACCOUNT "/ai-search/namespaces/defaults/instances/i"},
        {"namespaces", "", "/accounts/" ACCOUNT "/ai-search/namespaces?per_page=20"},
        {"ai-search/namespaces", "per_page=100&search=a&page=2&hostname=x&order_by=x",
         "/accounts/" ACCOUNT "/ai-search/namespaces?page=2&per_page=100&search=a"},
        {"accounts/0/namespaces/default", "", "/accounts/0/ai-search/namespaces/default"},
        {"namespaces/team--blue", "page=1&search=a", "/accounts/" ACCOUNT "/ai-search/namespaces/team--blue"},

        /* filters of instances, in one order and one encoding */
        {"instances", "order_by_direction=desc&order_by=created_at&namespace=n&hostname=h&search=s&per_page=1&page=1",
         "/accounts/" ACCOUNT "/ai-search/instances?per_page=1&search=s&hostname=h&namespace=n"
         "&order_by=created_at&order_by_direction=desc"},
        {"instances", "order_by=created_at",
         "/accounts/" ACCOUNT "/ai-search/instances?per_page=20&order_by=created_at"},
        {"instances", "order_by_direction=asc",
         "/accounts/" ACCOUNT "/ai-search/instances?per_page=20&order_by_direction=asc"},
        {"instances", "namespace=default", "/accounts/" ACCOUNT "/ai-search/instances?per_page=20&namespace=default"},
        {"namespaces/n/instances", "namespace=other&search=s",
         "/accounts/" ACCOUNT "/ai-search/namespaces/n/instances?per_page=20&search=s"},
        {"instances", "search=%61-b_c.d~E", "/accounts/" ACCOUNT "/ai-search/instances?per_page=20&search=a-b_c.d~E"},
        {"instances", "search=a+b%20c", "/accounts/" ACCOUNT "/ai-search/instances?per_page=20&search=a%20b%20c"},
        {"instances", "search=%2b%2B", "/accounts/" ACCOUNT "/ai-search/instances?per_page=20&search=%2B%2B"},
        {"instances", "search=a/b?c=d;%26%23%2f",
         "/accounts/" ACCOUNT "/ai-search/instances?per_page=20&search=a%2Fb%3Fc%3Dd%3B%26%23%2F"},
        {"instances", "search=\xC3\xB6%c3%b6\"<>",
         "/accounts/" ACCOUNT "/ai-search/instances?per_page=20&search=%C3%B6%C3%B6%22%3C%3E"},
        {"instances", "hostname=example.org:443",
         "/accounts/" ACCOUNT "/ai-search/instances?per_page=20&hostname=example.org%3A443"},

        {"rags/docs/jobs", "page=2&search=x", "/accounts/" ACCOUNT "/autorag/rags/docs/jobs?page=2&per_page=20"},
        {"rags/docs/jobs", "per_page=0", "/accounts/" ACCOUNT "/autorag/rags/docs/jobs?per_page=0"},
        {"rags/docs/jobs", "per_page=050&page=000000010",
         "/accounts/" ACCOUNT "/autorag/rags/docs/jobs?page=10&per_page=50"},
        {"rags/docs/jobs/1/logs", "page=1&per_page=7",
         "/accounts/" ACCOUNT "/autorag/rags/docs/jobs/1/logs?per_page=7"},
        {"rags/docs/jobs/1", "page=1&per_page=7", "/accounts/" ACCOUNT "/autorag/rags/docs/jobs/1"},
    };
    struct ais_resource res;

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char buf[AIS_RESOURCE_PATH_MAX];
        char *query;

        if (parse(&res, cases[i].path, cases[i].query) != AIS_RESOURCE_OK)
            fail_msg("\"%s?%s\"", cases[i].path, cases[i].query);
        assert_path(&res, cases[i].api_path);

        /* the result is a spelling of the same resource */
        strcpy(buf, cases[i].api_path);
        query = strchr(buf, '?');
        if (query != NULL)
            *query++ = '\0';
        assert_int_equal(parse(&res, buf + 1, query != NULL ? query : ""), AIS_RESOURCE_OK);
        assert_path(&res, cases[i].api_path);
    }
}

static void assert_part(struct ais_str part, const char *expected)
{
    assert_true(ais_str_eq(part, str(expected)));
}

static void test_parts(void **state)
{
    struct ais_resource res;

    (void) state;
    assert_int_equal(parse(&res, "accounts/12ab/namespaces/n/instances/i-1/jobs/J/logs", "per_page=3"), 0);
    assert_int_equal(res.generation, AIS_NAMESPACED);
    assert_int_equal(res.kind, AIS_LOGS);
    assert_part(res.account, "12ab");
    assert_part(res.namespace, "n");
    assert_part(res.instance, "i-1");
    assert_part(res.job, "J");
    assert_int_equal(res.page, AIS_PAGE_NONE);
    assert_int_equal(res.per_page, 3);

    assert_int_equal(parse(&res, "rags/r/jobs", "page=9"), 0);
    assert_int_equal(res.generation, AIS_AUTORAG);
    assert_int_equal(res.kind, AIS_LIST);
    assert_part(res.account, "");
    assert_part(res.namespace, "");
    assert_part(res.instance, "r");
    assert_part(res.job, "");
    assert_int_equal(res.page, 9);
    assert_int_equal(res.per_page, AIS_PAGE_NONE);

    assert_int_equal(parse(&res, "instances/i/jobs/J", ""), 0);
    assert_int_equal(res.generation, AIS_PLAIN);
    assert_int_equal(res.kind, AIS_JOB);

    assert_int_equal(parse(&res, "accounts/1/namespaces/n/instances", "per_page=100"), 0);
    assert_int_equal(res.generation, AIS_NAMESPACED);
    assert_int_equal(res.kind, AIS_INSTANCES);
    assert_part(res.namespace, "n");
    assert_part(res.instance, "");
    assert_part(res.job, "");
    assert_part(res.tail, "namespaces/n/instances");
    assert_int_equal(res.per_page, 100);

    assert_int_equal(parse(&res, "instances", "search=a+b&hostname=h&namespace=n&order_by=created_at"), 0);
    assert_int_equal(res.generation, AIS_PLAIN);
    assert_int_equal(res.kind, AIS_INSTANCES);
    assert_part(res.search, "a+b");
    assert_part(res.hostname, "h");
    assert_part(res.in_namespace, "n");
    assert_true(res.by_created_at);
    assert_int_equal(res.order, AIS_ORDER_NONE);

    assert_int_equal(parse(&res, "instances", "order_by_direction=desc"), 0);
    assert_part(res.search, "");
    assert_false(res.by_created_at);
    assert_int_equal(res.order, AIS_ORDER_DESC);

    assert_int_equal(parse(&res, "instances/i", "search=s"), 0);
    assert_int_equal(res.generation, AIS_PLAIN);
    assert_int_equal(res.kind, AIS_INSTANCE);
    assert_part(res.instance, "i");
    assert_part(res.search, "");
    assert_part(res.tail, "instances/i");

    assert_int_equal(parse(&res, "namespaces/default/instances/i/stats", ""), 0);
    assert_int_equal(res.generation, AIS_NAMESPACED);
    assert_int_equal(res.kind, AIS_STATS);
    assert_part(res.namespace, "default");
    assert_part(res.instance, "i");
    assert_part(res.tail, "instances/i/stats");

    assert_int_equal(parse(&res, "accounts/1/namespaces", "search=s"), 0);
    assert_int_equal(res.generation, AIS_NAMESPACED);
    assert_int_equal(res.kind, AIS_NAMESPACES);
    assert_part(res.namespace, "");
    assert_part(res.search, "s");
    assert_part(res.tail, "namespaces");

    assert_int_equal(parse(&res, "namespaces/default", ""), 0);
    assert_int_equal(res.generation, AIS_NAMESPACED);
    assert_int_equal(res.kind, AIS_NAMESPACE);
    assert_part(res.namespace, "default");
    assert_part(res.instance, "");
    assert_part(res.tail, "namespaces/default");
}

static void test_rejected_paths(void **state)
{
    static const struct {
        const char *path;
        enum ais_resource_error error;
    } cases[] = {
        {"", AIS_RESOURCE_BAD_PATH},
        {"/", AIS_RESOURCE_BAD_PATH},
        {"jobs", AIS_RESOURCE_BAD_PATH},
        {"/instances/docs/jobs", AIS_RESOURCE_BAD_PATH},
        {"//instances/docs/jobs", AIS_RESOURCE_BAD_PATH},
        {"instancesx", AIS_RESOURCE_BAD_PATH},
        {"instances?page=1", AIS_RESOURCE_BAD_PATH},
        {"autorag/instances", AIS_RESOURCE_BAD_PATH},
        {"rags", AIS_RESOURCE_BAD_PATH},
        {"autorag/rags", AIS_RESOURCE_BAD_PATH},
        {"ragsx/r/jobs", AIS_RESOURCE_BAD_PATH},
        {"instance/docs/jobs", AIS_RESOURCE_BAD_PATH},
        {"Instances/docs/jobs", AIS_RESOURCE_BAD_PATH},
        {"./instances/docs/jobs", AIS_RESOURCE_BAD_PATH},
        {"../instances/docs/jobs", AIS_RESOURCE_BAD_PATH},
        {"ai-search/docs/jobs", AIS_RESOURCE_BAD_PATH},
        {"ai-search//instances/docs/jobs", AIS_RESOURCE_BAD_PATH},
        {"ai-search/rags/docs/jobs", AIS_RESOURCE_BAD_PATH},
        {"ai-search/autorag/rags/docs/jobs", AIS_RESOURCE_BAD_PATH},
        {"ai-search/ai-search/instances/docs/jobs", AIS_RESOURCE_BAD_PATH},
        {"ai_search/instances/docs/jobs", AIS_RESOURCE_BAD_PATH},
        {"autorag/instances/docs/jobs", AIS_RESOURCE_BAD_PATH},
        {"autorag/namespaces/n/instances/docs/jobs", AIS_RESOURCE_BAD_PATH},
        {"client/v4/accounts/1/instances/docs/jobs", AIS_RESOURCE_BAD_PATH},
        {"https://api.cloudflare.com/client/v4", AIS_RESOURCE_BAD_PATH},
        {"instances%2fdocs/jobs", AIS_RESOURCE_BAD_PATH},

        {"accounts/", AIS_RESOURCE_BAD_ACCOUNT},
        {"accounts//instances/docs/jobs", AIS_RESOURCE_BAD_ACCOUNT},
        {"accounts/G/instances/docs/jobs", AIS_RESOURCE_BAD_ACCOUNT},
        {"accounts/AB/instances/docs/jobs", AIS_RESOURCE_BAD_ACCOUNT},
        {"accounts/../instances/docs/jobs", AIS_RESOURCE_BAD_ACCOUNT},
        {"accounts/a b/instances/docs/jobs", AIS_RESOURCE_BAD_ACCOUNT},
        {"accounts/" ACCOUNT "0/instances/docs/jobs", AIS_RESOURCE_BAD_ACCOUNT},
        {"accounts/1", AIS_RESOURCE_BAD_PATH},
        {"accounts/1/", AIS_RESOURCE_BAD_PATH},
        {"accounts/1//instances/docs/jobs", AIS_RESOURCE_BAD_PATH},
        {"accounts/1/accounts/1/instances/docs/jobs", AIS_RESOURCE_BAD_PATH},

        {"namespaces/", AIS_RESOURCE_BAD_NAMESPACE},
        {"namespaces//instances/docs/jobs", AIS_RESOURCE_BAD_NAMESPACE},
        {"namespaces/-n/instances/docs/jobs", AIS_RESOURCE_BAD_NAMESPACE},
        {"namespaces/n-/instances/docs/jobs", AIS_RESOURCE_BAD_NAMESPACE},
        {"namespaces/-", AIS_RESOURCE_BAD_NAMESPACE},
        {"namespaces/n_n/instances/docs/jobs", AIS_RESOURCE_BAD_NAMESPACE},
        {"namespaces/N/instances/docs/jobs", AIS_RESOURCE_BAD_NAMESPACE},
        {"namespaces/n.n/instances/docs/jobs", AIS_RESOURCE_BAD_NAMESPACE},
        {"namespaces/" X28 "x/instances/docs/jobs", AIS_RESOURCE_BAD_NAMESPACE},
        {"namespaces/" X28 "x", AIS_RESOURCE_BAD_NAMESPACE},
        {"namespacesx", AIS_RESOURCE_BAD_PATH},
        {"namespaces?page=1", AIS_RESOURCE_BAD_PATH},
        {"autorag/namespaces", AIS_RESOURCE_BAD_PATH},
        {"namespaces/n/", AIS_RESOURCE_BAD_PATH},
        {"namespaces/n/stats", AIS_RESOURCE_BAD_PATH},
        {"namespaces/n/jobs", AIS_RESOURCE_BAD_PATH},
        {"namespaces/n/docs/jobs", AIS_RESOURCE_BAD_PATH},
        {"namespaces/n/rags/docs/jobs", AIS_RESOURCE_BAD_PATH},
        {"namespaces/n/instances/", AIS_RESOURCE_BAD_INSTANCE},
        {"namespaces/n/instancesx", AIS_RESOURCE_BAD_PATH},
        {"namespaces/n/rags", AIS_RESOURCE_BAD_PATH},

        {"instances/", AIS_RESOURCE_BAD_INSTANCE},
        {"instances//jobs", AIS_RESOURCE_BAD_INSTANCE},
        {"instances/-/jobs", AIS_RESOURCE_BAD_INSTANCE},
        {"instances/-docs/jobs", AIS_RESOURCE_BAD_INSTANCE},
        {"instances/docs-/jobs", AIS_RESOURCE_BAD_INSTANCE},
        {"instances/docs-", AIS_RESOURCE_BAD_INSTANCE},
        {"instances/my--docs/jobs", AIS_RESOURCE_BAD_INSTANCE},
        {"instances/Docs/jobs", AIS_RESOURCE_BAD_INSTANCE},
        {"instances/do.cs/jobs", AIS_RESOURCE_BAD_INSTANCE},
        {"instances/../jobs", AIS_RESOURCE_BAD_INSTANCE},
        {"instances/./jobs", AIS_RESOURCE_BAD_INSTANCE},
        {"instances/%64ocs/jobs", AIS_RESOURCE_BAD_INSTANCE},
        {"instances/docs%00/jobs", AIS_RESOURCE_BAD_INSTANCE},
        {"instances/docs /jobs", AIS_RESOURCE_BAD_INSTANCE},
        {"instances/docs\\jobs", AIS_RESOURCE_BAD_INSTANCE},
        {"instances/docs\r\n/jobs", AIS_RESOURCE_BAD_INSTANCE},
        {"instances/d\xC3\xB6"
         "cs/jobs",
         AIS_RESOURCE_BAD_INSTANCE},
        {"instances/\xEF\xBD\x84ocs/jobs", AIS_RESOURCE_BAD_INSTANCE},
        {"instances/docs?x=/jobs", AIS_RESOURCE_BAD_INSTANCE},
        {"instances/docs;x/jobs", AIS_RESOURCE_BAD_INSTANCE},
        {"instances/docs@evil.example/jobs", AIS_RESOURCE_BAD_INSTANCE},
        {"instances/" X64 "x/jobs", AIS_RESOURCE_BAD_INSTANCE},
        {"rags/" X32 "x/jobs", AIS_RESOURCE_BAD_INSTANCE},
        {"rags//jobs", AIS_RESOURCE_BAD_INSTANCE},

        {"instances/docs/", AIS_RESOURCE_BAD_PATH},
        {"instances/docs/stats/", AIS_RESOURCE_BAD_PATH},
        {"instances/docs/statsx", AIS_RESOURCE_BAD_PATH},
        {"instances/docs/stats/1", AIS_RESOURCE_BAD_PATH},
        {"instances/docs/Stats", AIS_RESOURCE_BAD_PATH},
        {"instances/docs/stat", AIS_RESOURCE_BAD_PATH},
        {"rags/docs", AIS_RESOURCE_BAD_PATH},
        {"rags/docs/stats", AIS_RESOURCE_BAD_PATH},
        {"instances/docs/job", AIS_RESOURCE_BAD_PATH},
        {"instances/docs/jobsx", AIS_RESOURCE_BAD_PATH},
        {"instances/docs//jobs", AIS_RESOURCE_BAD_PATH},
        {"instances/docs/Jobs/1", AIS_RESOURCE_BAD_PATH},
        {"instances/docs/jobs.json", AIS_RESOURCE_BAD_PATH},
        {"instances/docs/jobs?page=2", AIS_RESOURCE_BAD_PATH},
        {"instances/docs/jobs%3Fpage=2", AIS_RESOURCE_BAD_PATH},
        {"instances/docs/items", AIS_RESOURCE_BAD_PATH},

        {"instances/docs/jobs/", AIS_RESOURCE_BAD_JOB},
        {"instances/docs/jobs//", AIS_RESOURCE_BAD_JOB},
        {"instances/docs/jobs//logs", AIS_RESOURCE_BAD_JOB},
        {"instances/docs/jobs/..", AIS_RESOURCE_BAD_JOB},
        {"instances/docs/jobs/../../other/jobs", AIS_RESOURCE_BAD_JOB},
        {"instances/docs/jobs/.", AIS_RESOURCE_BAD_JOB},
        {"instances/docs/jobs/a.b", AIS_RESOURCE_BAD_JOB},
        {"instances/docs/jobs/a%2f..", AIS_RESOURCE_BAD_JOB},
        {"instances/docs/jobs/a?x", AIS_RESOURCE_BAD_JOB},
        {"instances/docs/jobs/a#x", AIS_RESOURCE_BAD_JOB},
        {"instances/docs/jobs/a\n", AIS_RESOURCE_BAD_JOB},
        {"instances/docs/jobs/" X64 "x", AIS_RESOURCE_BAD_JOB},

        {"instances/docs/jobs/1/", AIS_RESOURCE_BAD_PATH},
        {"instances/docs/jobs/1//logs", AIS_RESOURCE_BAD_PATH},
        {"instances/docs/jobs/1/log", AIS_RESOURCE_BAD_PATH},
        {"instances/docs/jobs/1/logs/", AIS_RESOURCE_BAD_PATH},
        {"instances/docs/jobs/1/logsx", AIS_RESOURCE_BAD_PATH},
        {"instances/docs/jobs/1/logs/2", AIS_RESOURCE_BAD_PATH},
        {"instances/docs/jobs/1/jobs/2", AIS_RESOURCE_BAD_PATH},
    };
    struct ais_resource res;

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        if (parse(&res, cases[i].path, "") != cases[i].error)
            fail_msg("\"%s\": %d", cases[i].path, parse(&res, cases[i].path, ""));
    }
}

static void test_lengths(void **state)
{
    struct ais_resource res;

    (void) state;
    assert_int_equal(parse(&res, "accounts/" ACCOUNT "/namespaces/" X28 "/instances/" X64 "/jobs/" X64 "/logs", ""), 0);
    assert_int_equal(parse(&res, "rags/" X32 "/jobs/" X64, ""), 0);
}

/* The longest of everything fits into the caller's buffer, path and key. */
static void test_longest(void **state)
{
    static const char *const bytes[] = {"x", "+", "%3c", "\xC3\xB6"};
    struct ais_resource res;

    (void) state;
    assert_int_equal(parse(&res, "accounts/" ACCOUNT "/namespaces/" X28 "/instances/" X64 "/jobs/" X64 "/logs",
                           "page=999999999&per_page=500"),
                     0);
    assert_path(&res, "/accounts/" ACCOUNT "/ai-search/namespaces/" X28 "/instances/" X64 "/jobs/" X64
                      "/logs?page=999999999&per_page=500");

    for (size_t i = 0; i < COUNT(bytes); i++) {
        char filter[3 * AIS_FILTER_MAX + 1] = "";
        char query[1024], path[AIS_RESOURCE_PATH_MAX], key[AIS_RESOURCE_PATH_MAX];
        size_t units = AIS_FILTER_MAX / (bytes[i][0] == '\xC3' ? 2 : 1);

        while (units-- > 0)
            strcat(filter, bytes[i]);
        snprintf(query, sizeof(query),
                 "page=999999999&per_page=100&search=%s&hostname=%s&namespace=" X28
                 "&order_by=created_at&order_by_direction=desc",
                 filter, filter);

        assert_int_equal(parse(&res, "accounts/" ACCOUNT "/instances", query), 0);
        assert_true(ais_resource_path(&res, AIS_STR(""), path) < AIS_RESOURCE_PATH_MAX);
        assert_true(ends_with(str(path), ais_resource_key(&res, key)));
        assert_non_null(strstr(path, "&order_by_direction=desc"));

        assert_int_equal(parse(&res, "accounts/" ACCOUNT "/namespaces/" X28 "/instances", query), 0);
        assert_true(ais_resource_path(&res, AIS_STR(""), path) < AIS_RESOURCE_PATH_MAX);
        assert_true(ends_with(str(path), ais_resource_key(&res, key)));

        /* and one more byte is too much */
        snprintf(query, sizeof(query), "search=x%s", filter);
        assert_int_equal(parse(&res, "instances", query), AIS_RESOURCE_BAD_FILTER);
    }
}

/* Only bytes of the grammar are accepted in any place; this includes NUL and the upper half. */
static void test_every_byte(void **state)
{
    static const char path[] = "accounts/0/namespaces/n/instances/i/jobs/j/logs";
    static const struct {
        const char *part; /* before the byte */
        const char *allowed;
    } parts[] = {
        {"accounts/", "0123456789abcdef"}, {"namespaces/", NAME_BYTES},  {"instances/", NAME_BYTES "_"},
        {"jobs/", JOB_ID_BYTES},           {"jobs/j", "/" JOB_ID_BYTES}, /* then it is a longer job id */
    };
    struct ais_resource res;

    (void) state;
    for (size_t i = 0; i < sizeof(path) - 1; i++) {
        const char *allowed = (char[]){path[i], '\0'};

        for (size_t p = 0; p < COUNT(parts); p++) {
            if (i == (size_t) (strstr(path, parts[p].part) - path) + strlen(parts[p].part))
                allowed = parts[p].allowed;
        }

        for (int c = 0; c < 256; c++) {
            char text[sizeof(path)];
            bool ok;

            memcpy(text, path, sizeof(path));
            text[i] = (char) c;
            ok = ais_resource_parse(&res, (struct ais_str){text, sizeof(path) - 1}, AIS_STR("")) == AIS_RESOURCE_OK;
            if (ok != (c != 0 && strchr(allowed, c) != NULL))
                fail_msg("byte %d at %zu", c, i);
        }
    }
}

static void assert_every_byte(const char *path)
{
    size_t len = strlen(path);
    struct ais_resource res;

    for (size_t i = 0; i < len; i++) {
        const char *allowed = (char[]){path[i], '\0'};

        if (i == strlen("accounts/"))
            allowed = "0123456789abcdef";
        else if (i == strlen("accounts/0/namespaces/"))
            allowed = NAME_BYTES;
        else if (i == strlen("accounts/0/namespaces/n"))
            allowed = "/-" NAME_BYTES; /* then it is a longer name */

        for (int c = 0; c < 256; c++) {
            char text[64];
            bool ok;

            memcpy(text, path, len);
            text[i] = (char) c;
            ok = ais_resource_parse(&res, (struct ais_str){text, len}, AIS_STR("")) == AIS_RESOURCE_OK;
            if (ok != (c != 0 && strchr(allowed, c) != NULL))
                fail_msg("byte %d at %zu of %s", c, i, path);
        }
    }
}

/* The same for lists of instances and for namespaces. */
static void test_every_byte_of_lists(void **state)
{
    (void) state;
    assert_every_byte("accounts/0/namespaces/n/instances");
    assert_every_byte("accounts/0/namespaces/n");
}

/* The grammar contains no dots, however long the part with one is. */
static void test_every_position(void **state)
{
    static const char path[] = "accounts/" ACCOUNT "/namespaces/" X28 "/instances/" X64 "/jobs/" X64 "/logs";
    struct ais_resource res;

    (void) state;
    for (size_t i = 0; i < sizeof(path) - 1; i++) {
        char text[sizeof(path)];

        memcpy(text, path, sizeof(path));
        text[i] = '.';
        assert_int_not_equal(parse(&res, text, ""), AIS_RESOURCE_OK);
    }
}

/* A truncated path is either rejected or another resource; nothing after its end is read. */
static void test_every_prefix(void **state)
{
    static const char path[] = "accounts/0ab/ai-search/namespaces/n-n/instances/i-i/jobs/j-j/logs";
    static const char *const resources[] = {
        "accounts/0ab/ai-search/namespaces",
        "accounts/0ab/ai-search/namespaces/n",
        "accounts/0ab/ai-search/namespaces/n-n",
        "accounts/0ab/ai-search/namespaces/n-n/instances",
        "accounts/0ab/ai-search/namespaces/n-n/instances/i",
        "accounts/0ab/ai-search/namespaces/n-n/instances/i-i",
        "accounts/0ab/ai-search/namespaces/n-n/instances/i-i/jobs",
        "accounts/0ab/ai-search/namespaces/n-n/instances/i-i/jobs/j",
        "accounts/0ab/ai-search/namespaces/n-n/instances/i-i/jobs/j-",
        "accounts/0ab/ai-search/namespaces/n-n/instances/i-i/jobs/j-j",
        "accounts/0ab/ai-search/namespaces/n-n/instances/i-i/jobs/j-j/logs",
    };
    struct ais_resource res;

    (void) state;
    for (size_t len = 0; len < sizeof(path); len++) {
        struct ais_str text = exact_copy((struct ais_str){path, len});
        bool expected = false;

        for (size_t i = 0; i < COUNT(resources); i++)
            expected = expected || ais_str_eq(text, str(resources[i]));

        assert_int_equal(ais_resource_parse(&res, text, AIS_STR("")) == AIS_RESOURCE_OK, expected);
        exact_free(text);
    }
}

static void test_query(void **state)
{
    static const struct {
        const char *query;
        enum ais_resource_error error;
        int page;
        int per_page;
    } cases[] = {
        {"", AIS_RESOURCE_OK, AIS_PAGE_NONE, AIS_PAGE_NONE},
        {"&", AIS_RESOURCE_OK, AIS_PAGE_NONE, AIS_PAGE_NONE},
        {"&&page=3&&", AIS_RESOURCE_OK, 3, AIS_PAGE_NONE},
        {"page=1", AIS_RESOURCE_OK, 1, AIS_PAGE_NONE},
        {"page=999999999", AIS_RESOURCE_OK, 999999999, AIS_PAGE_NONE},
        {"page=000000001", AIS_RESOURCE_OK, 1, AIS_PAGE_NONE},
        {"per_page=0", AIS_RESOURCE_OK, AIS_PAGE_NONE, 0},
        {"per_page=50&page=2", AIS_RESOURCE_OK, 2, 50},
        {"token=x&page=2&_=1732365900", AIS_RESOURCE_OK, 2, AIS_PAGE_NONE},
        {"page2=1&xpage=3&pag=4&Page=5&per_pages=6&PER_PAGE=7&per-page=8", AIS_RESOURCE_OK, AIS_PAGE_NONE,
         AIS_PAGE_NONE},
        {"p%61ge=3&page%20=4", AIS_RESOURCE_OK, AIS_PAGE_NONE, AIS_PAGE_NONE},
        {"x=page=3;page=4", AIS_RESOURCE_OK, AIS_PAGE_NONE, AIS_PAGE_NONE},
        {"x?page=2", AIS_RESOURCE_OK, AIS_PAGE_NONE, AIS_PAGE_NONE},

        {"page", AIS_RESOURCE_BAD_PAGE, 0, 0},
        {"page&per_page=1", AIS_RESOURCE_BAD_PAGE, 0, 0},
        {"page=", AIS_RESOURCE_BAD_PAGE, 0, 0},
        {"page=&x=1", AIS_RESOURCE_BAD_PAGE, 0, 0},
        {"page=0", AIS_RESOURCE_BAD_PAGE, 0, 0},
        {"page=000000000", AIS_RESOURCE_BAD_PAGE, 0, 0},
        {"page=0000000001", AIS_RESOURCE_BAD_PAGE, 0, 0},
        {"page=1000000000", AIS_RESOURCE_BAD_PAGE, 0, 0},
        {"page=99999999999999999999999999", AIS_RESOURCE_BAD_PAGE, 0, 0},
        {"page=-1", AIS_RESOURCE_BAD_PAGE, 0, 0},
        {"page=+1", AIS_RESOURCE_BAD_PAGE, 0, 0},
        {"page=1.0", AIS_RESOURCE_BAD_PAGE, 0, 0},
        {"page=1 ", AIS_RESOURCE_BAD_PAGE, 0, 0},
        {"page= 1", AIS_RESOURCE_BAD_PAGE, 0, 0},
        {"page=0x1", AIS_RESOURCE_BAD_PAGE, 0, 0},
        {"page=1;per_page=2", AIS_RESOURCE_BAD_PAGE, 0, 0},
        {"page=%31", AIS_RESOURCE_BAD_PAGE, 0, 0},
        {"page=1%26per_page=2", AIS_RESOURCE_BAD_PAGE, 0, 0},
        {"page=1=1", AIS_RESOURCE_BAD_PAGE, 0, 0},
        {"page=1&page=1", AIS_RESOURCE_BAD_PAGE, 0, 0},
        {"page=1&x&page=2", AIS_RESOURCE_BAD_PAGE, 0, 0},
        {"page=\xD9\xA1", AIS_RESOURCE_BAD_PAGE, 0, 0},

        {"per_page", AIS_RESOURCE_BAD_PER_PAGE, 0, 0},
        {"per_page=", AIS_RESOURCE_BAD_PER_PAGE, 0, 0},
        {"per_page=501", AIS_RESOURCE_BAD_PER_PAGE, 0, 0},
        {"per_page=-0", AIS_RESOURCE_BAD_PER_PAGE, 0, 0},
        {"per_page=999999999", AIS_RESOURCE_BAD_PER_PAGE, 0, 0},
        {"per_page=1&per_page=2", AIS_RESOURCE_BAD_PER_PAGE, 0, 0},
        {"page=1&per_page=a", AIS_RESOURCE_BAD_PER_PAGE, 0, 0},
    };
    static const char *const paths[] = {"instances/docs/jobs", "instances/docs/jobs/1/logs"};
    struct ais_resource res;

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ais_str query = exact_copy(str(cases[i].query));

        for (size_t p = 0; p < COUNT(paths); p++) {
            if (ais_resource_parse(&res, str(paths[p]), query) != cases[i].error)
                fail_msg("\"%s\" of %s", cases[i].query, paths[p]);

            if (cases[i].error == AIS_RESOURCE_OK) {
                assert_int_equal(res.page, cases[i].page);
                assert_int_equal(res.per_page, cases[i].per_page);
            }
        }

        /* a job has no pages, so the arguments are ignored */
        assert_int_equal(ais_resource_parse(&res, AIS_STR("instances/docs/jobs/1"), query), AIS_RESOURCE_OK);
        assert_int_equal(res.page, AIS_PAGE_NONE);
        assert_int_equal(res.per_page, AIS_PAGE_NONE);
        exact_free(query);
    }
}

/* The maximum page size depends on the kind of list. */
static void test_per_page(void **state)
{
    static const struct {
        const char *path;
        int min;
        int max;
    } cases[] = {
        {"instances/docs/jobs", 0, 50},         {"rags/docs/jobs", 0, 50},
        {"instances/docs/jobs/1/logs", 0, 500}, {"namespaces/default/instances/docs/jobs/1/logs", 0, 500},
        {"rags/docs/jobs/1/logs", 0, 500},      {"instances", 1, 100},
        {"namespaces/n/instances", 1, 100},     {"namespaces", 1, 100},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (int n = 0; n <= 600; n++) {
            bool ok = n >= cases[i].min && n <= cases[i].max;
            struct ais_resource res;
            char query[64];

            snprintf(query, sizeof(query), "x=1&per_page=%d&page=2", n);
            assert_int_equal(parse(&res, cases[i].path, query), ok ? AIS_RESOURCE_OK : AIS_RESOURCE_BAD_PER_PAGE);
            if (ok) {
                assert_int_equal(res.page, 2);
                assert_int_equal(res.per_page, n);
            }
        }
        assert_int_equal(parse(&(struct ais_resource){0}, cases[i].path, "page=0"), AIS_RESOURCE_BAD_PAGE);
    }
}

/* For the account's list of instances; the cases that differ elsewhere are below. */
static void test_filters(void **state)
{
    static const struct {
        const char *query;
        enum ais_resource_error error;
    } cases[] = {
        {"search=a", AIS_RESOURCE_OK},
        {"search=%F0%9F%98%80", AIS_RESOURCE_OK},
        {"search=\xF0\x9F\x98\x80", AIS_RESOURCE_OK},
        {"search=%c2%a0", AIS_RESOURCE_OK}, /* a no-break space is not a control character */
        {"searchx&search-&searc=&_search=&SEARCH=", AIS_RESOURCE_OK},
        {"order_by=created_at&order_by_direction=desc", AIS_RESOURCE_OK},
        {"order_byx=1&order_by_=2&order_by_directions=3", AIS_RESOURCE_OK},

        {"search", AIS_RESOURCE_BAD_FILTER},
        {"search=", AIS_RESOURCE_BAD_FILTER},
        {"search&page=1", AIS_RESOURCE_BAD_FILTER},
        {"search=&page=1", AIS_RESOURCE_BAD_FILTER},
        {"search=a&search=a", AIS_RESOURCE_BAD_FILTER},
        {"search=a&x&search=b", AIS_RESOURCE_BAD_FILTER},
        {"search=%", AIS_RESOURCE_BAD_FILTER},
        {"search=%4", AIS_RESOURCE_BAD_FILTER},
        {"search=a%&page=1", AIS_RESOURCE_BAD_FILTER},
        {"search=%4&page=1", AIS_RESOURCE_BAD_FILTER},
        {"search=%4g", AIS_RESOURCE_BAD_FILTER},
        {"search=%g4", AIS_RESOURCE_BAD_FILTER},
        {"search=%@4", AIS_RESOURCE_BAD_FILTER},
        {"search=%%41", AIS_RESOURCE_BAD_FILTER},
        {"search=%u0041", AIS_RESOURCE_BAD_FILTER},
        {"search=a%00b", AIS_RESOURCE_BAD_FILTER},
        {"search=a%0a", AIS_RESOURCE_BAD_FILTER},
        {"search=a\r\nx", AIS_RESOURCE_BAD_FILTER},
        {"search=%1F", AIS_RESOURCE_BAD_FILTER},
        {"search=%7f", AIS_RESOURCE_BAD_FILTER},
        {"search=%C2%80", AIS_RESOURCE_BAD_FILTER},
        {"search=%c2%9f", AIS_RESOURCE_BAD_FILTER},
        {"search=%C2", AIS_RESOURCE_BAD_FILTER},
        {"search=%FF", AIS_RESOURCE_BAD_FILTER},
        {"search=\xC0\xAF", AIS_RESOURCE_BAD_FILTER},
        {"search=%ED%A0%80", AIS_RESOURCE_BAD_FILTER},
        {"search=%F4%90%80%80", AIS_RESOURCE_BAD_FILTER},
        {"hostname", AIS_RESOURCE_BAD_FILTER},
        {"hostname=%zz", AIS_RESOURCE_BAD_FILTER},
        {"hostname=a&hostname=b", AIS_RESOURCE_BAD_FILTER},

        {"namespace", AIS_RESOURCE_BAD_NAMESPACE},
        {"namespace=", AIS_RESOURCE_BAD_NAMESPACE},
        {"namespace=team_blue", AIS_RESOURCE_BAD_NAMESPACE},
        {"namespace=%61", AIS_RESOURCE_BAD_NAMESPACE},
        {"namespace=" X28 "x", AIS_RESOURCE_BAD_NAMESPACE},
        {"namespace=a&namespace=a", AIS_RESOURCE_BAD_NAMESPACE},

        {"order_by", AIS_RESOURCE_BAD_ORDER},
        {"order_by=", AIS_RESOURCE_BAD_ORDER},
        {"order_by=id", AIS_RESOURCE_BAD_ORDER},
        {"order_by=Created_at", AIS_RESOURCE_BAD_ORDER},
        {"order_by=created_at&order_by=created_at", AIS_RESOURCE_BAD_ORDER},
        {"order_by_direction", AIS_RESOURCE_BAD_ORDER},
        {"order_by_direction=", AIS_RESOURCE_BAD_ORDER},
        {"order_by_direction=up", AIS_RESOURCE_BAD_ORDER},
        {"order_by_direction=ASC", AIS_RESOURCE_BAD_ORDER},
        {"order_by_direction=asc&order_by_direction=desc", AIS_RESOURCE_BAD_ORDER},
        {"order_by_direction=asc&order_by_direction=asc", AIS_RESOURCE_BAD_ORDER},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ais_str query = exact_copy(str(cases[i].query));
        struct ais_resource res;

        if (ais_resource_parse(&res, AIS_STR("instances"), query) != cases[i].error)
            fail_msg("\"%s\"", cases[i].query);

        /* jobs, logs and single resources have no filters, so the arguments are ignored */
        assert_int_equal(ais_resource_parse(&res, AIS_STR("instances/docs"), query), AIS_RESOURCE_OK);
        assert_path(&res, "/accounts/" ACCOUNT "/ai-search/instances/docs");
        assert_int_equal(ais_resource_parse(&res, AIS_STR("namespaces/n"), query), AIS_RESOURCE_OK);
        assert_path(&res, "/accounts/" ACCOUNT "/ai-search/namespaces/n");
        exact_free(query);
    }
}

/* The valid arguments depend on the kind of list. */
static void test_filters_elsewhere(void **state)
{
    static const struct {
        const char *path;
        bool search, others, namespace;
    } cases[] = {
        {"instances", true, true, true},
        {"namespaces/n/instances", true, true, false},
        {"namespaces/default/instances", true, true, false},
        {"namespaces", true, false, false},
        {"instances/docs/jobs", false, false, false},
        {"instances/docs/jobs/1/logs", false, false, false},
    };
    struct ais_resource res;

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(parse(&res, cases[i].path, "search="), cases[i].search ? AIS_RESOURCE_BAD_FILTER : 0);
        assert_int_equal(parse(&res, cases[i].path, "hostname="), cases[i].others ? AIS_RESOURCE_BAD_FILTER : 0);
        assert_int_equal(parse(&res, cases[i].path, "order_by="), cases[i].others ? AIS_RESOURCE_BAD_ORDER : 0);
        assert_int_equal(parse(&res, cases[i].path, "order_by_direction="),
                         cases[i].others ? AIS_RESOURCE_BAD_ORDER : 0);
        assert_int_equal(parse(&res, cases[i].path, "namespace="), cases[i].namespace ? AIS_RESOURCE_BAD_NAMESPACE : 0);
    }
}

/* However a filter is encoded, its resource has one path and one key; another meaning has another one. */
static void test_filter_encodings(void **state)
{
    static const char *const spellings[] = {"a b", "a+b", "a%20b", "%61+%62", "%61%20b"};
    static const char *const others[] = {"a%2Bb", "a%2520b", "A+b", "a++b", "a+b+"};
    char key_buf[AIS_RESOURCE_PATH_MAX];
    struct ais_resource res;
    char query[64];

    (void) state;
    for (size_t i = 0; i < COUNT(spellings); i++) {
        snprintf(query, sizeof(query), "search=%s&page=1", spellings[i]);
        assert_int_equal(parse(&res, "instances", query), 0);
        assert_path(&res, "/accounts/" ACCOUNT "/ai-search/instances?per_page=20&search=a%20b");
    }
    for (size_t i = 0; i < COUNT(others); i++) {
        snprintf(query, sizeof(query), "search=%s&page=1", others[i]);
        assert_int_equal(parse(&res, "instances", query), 0);
        assert_false(ais_str_eq(ais_resource_key(&res, key_buf), AIS_STR("instances?per_page=20&search=a%20b")));
    }
}

/* Each byte of a filter is written unchanged or percent-encoded in upper case. */
static void test_filter_bytes(void **state)
{
    static const char plain[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-._~";
    struct ais_resource res;

    (void) state;
    for (int c = 0x20; c < 0x7f; c++) {
        char query[32], path[128];

        snprintf(query, sizeof(query), "search=%%%02x", c);
        snprintf(path, sizeof(path), strchr(plain, c) != NULL ? "%s%c" : "%s%%%02X",
                 "/accounts/" ACCOUNT "/ai-search/instances?per_page=20&search=", c);
        assert_int_equal(parse(&res, "instances", query), 0);
        assert_path(&res, path);
    }
}

/* Each page has one key and one path, however it was requested; another page or page size has others. */
static void test_same_page(void **state)
{
    static const char *const paths[] = {
        "instances/docs/jobs",    "rags/docs/jobs",        "namespaces/n/instances/docs/jobs", "instances",
        "namespaces/n/instances", "rags/docs/jobs/1/logs", "instances/docs/jobs/1/logs",       "namespaces",
    };
    static const char *const first[] = {
        "", "x=1", "page=1", "page=001", "per_page=20", "page=1&per_page=20", "per_page=020&page=1"};
    static const char *const others[] = {"page=2", "per_page=19", "per_page=50", "page=2&per_page=20"};
    char buf[AIS_RESOURCE_PATH_MAX], other_buf[AIS_RESOURCE_PATH_MAX], path[AIS_RESOURCE_PATH_MAX];
    struct ais_resource res;

    (void) state;
    for (size_t p = 0; p < COUNT(paths); p++) {
        struct ais_str key;

        assert_int_equal(parse(&res, paths[p], ""), 0);
        key = ais_resource_key(&res, buf);
        assert_true(ends_with(key, AIS_STR("?per_page=20")));

        for (size_t i = 0; i < COUNT(first); i++) {
            assert_int_equal(parse(&res, paths[p], first[i]), 0);
            assert_true(ais_str_eq(ais_resource_key(&res, other_buf), key));
            ais_resource_path(&res, AIS_STR(ACCOUNT), path);
            assert_true(ends_with(str(path), key));
        }
        for (size_t i = 0; i < COUNT(others); i++) {
            assert_int_equal(parse(&res, paths[p], others[i]), 0);
            assert_false(ais_str_eq(ais_resource_key(&res, other_buf), key));
        }
    }
}

/* An instance of the namespace "default" is the plain one; lists and other namespaces are separate resources. */
static void test_same_key(void **state)
{
    static const struct {
        const char *namespaced;
        const char *plain;
        const char *query;
        bool same;
    } cases[] = {
        {"namespaces/default/instances/x", "instances/x", "", true},
        {"namespaces/default/instances/x/stats", "ai-search/instances/x/stats", "", true},
        {"ai-search/namespaces/default/instances/x/jobs", "instances/x/jobs", "", true},
        {"accounts/0/namespaces/default/instances/x/jobs", "instances/x/jobs", "page=2&per_page=3", true},
        {"namespaces/default/instances/x/jobs/j", "instances/x/jobs/j", "page=1", true},
        {"namespaces/default/instances/x/jobs/j/logs", "instances/x/jobs/j/logs", "per_page=500", true},
        {"namespaces/default/instances", "instances", "", false},
        {"namespaces/default/instances", "instances", "page=1", false},
        {"namespaces/default", "instances/default", "", false},
        {"namespaces/defaults/instances/x", "instances/x", "", false},
        {"namespaces/defaul/instances/x", "instances/x", "", false},
        {"namespaces/n/instances/default", "instances/default", "", false},
        {"rags/x/jobs", "instances/x/jobs", "", false},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char a_buf[AIS_RESOURCE_PATH_MAX], b_buf[AIS_RESOURCE_PATH_MAX];
        struct ais_resource a, b;

        assert_int_equal(parse(&a, cases[i].namespaced, cases[i].query), 0);
        assert_int_equal(parse(&b, cases[i].plain, cases[i].query), 0);
        if (ais_str_eq(ais_resource_key(&a, a_buf), ais_resource_key(&b, b_buf)) != cases[i].same)
            fail_msg("%s", cases[i].namespaced);
    }
}

static void test_to_namespaced(void **state)
{
    static const struct {
        const char *path;
        const char *query;
        const char *api_path; /* after the account; NULL: unchanged */
    } cases[] = {
        {"instances/x", "", "/ai-search/namespaces/default/instances/x"},
        {"instances/x/stats", "", "/ai-search/namespaces/default/instances/x/stats"},
        {"ai-search/instances/x/jobs", "page=2", "/ai-search/namespaces/default/instances/x/jobs?page=2&per_page=20"},
        {"instances/x/jobs/j", "", "/ai-search/namespaces/default/instances/x/jobs/j"},
        {"instances/x/jobs/j/logs", "per_page=500",
         "/ai-search/namespaces/default/instances/x/jobs/j/logs?per_page=500"},
        {"instances", "search=s", NULL},
        {"namespaces/default/instances/x", "", NULL},
        {"namespaces/n/instances/x/jobs", "", NULL},
        {"namespaces/n/instances", "", NULL},
        {"namespaces/n", "", NULL},
        {"namespaces", "", NULL},
        {"rags/x/jobs", "", NULL},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char before[AIS_RESOURCE_PATH_MAX], expected[AIS_RESOURCE_PATH_MAX];
        char key_buf[AIS_RESOURCE_PATH_MAX];
        struct ais_resource res;
        struct ais_str key;

        assert_int_equal(parse(&res, cases[i].path, cases[i].query), 0);
        ais_resource_path(&res, AIS_STR(ACCOUNT), before);
        key = exact_copy(ais_resource_key(&res, key_buf));
        snprintf(expected, sizeof(expected), "/accounts/" ACCOUNT "%s", cases[i].api_path);

        assert_int_equal(ais_resource_to_namespaced(&res), cases[i].api_path != NULL);
        assert_path(&res, cases[i].api_path != NULL ? expected : before);
        assert_true(ais_str_eq(ais_resource_key(&res, key_buf), key));
        assert_false(ais_resource_to_namespaced(&res));
        exact_free(key);
    }
}

static void test_query_with_nul(void **state)
{
    struct ais_resource res;

    (void) state;
    assert_int_equal(ais_resource_parse(&res, AIS_STR("rags/r/jobs"), AIS_STR("page=1\0")), AIS_RESOURCE_BAD_PAGE);
    assert_int_equal(ais_resource_parse(&res, AIS_STR("rags/r/jobs"), AIS_STR("\0page=1")), AIS_RESOURCE_OK);
    assert_int_equal(res.page, AIS_PAGE_NONE);
}

static void test_no_query(void **state)
{
    struct ais_resource res;

    (void) state;
    assert_int_equal(ais_resource_parse(&res, AIS_STR("rags/r/jobs"), (struct ais_str){NULL, 0}), AIS_RESOURCE_OK);
    assert_int_equal(ais_resource_parse(&res, (struct ais_str){NULL, 0}, (struct ais_str){NULL, 0}),
                     AIS_RESOURCE_BAD_PATH);
}

static bool matches(const regex_t *pattern, const char *text)
{
    return regexec(pattern, text, 0, NULL, 0) == 0;
}

/* Compared with the patterns of the API reference: all strings of up to six of these characters. */
static void test_parts_against_patterns(void **state)
{
    static const char alphabet[] = "a0_-Zg/";
    regex_t name, instance, account, job;

    (void) state;
    assert_int_equal(regcomp(&name, "^[a-z0-9]([a-z0-9-]{0,26}[a-z0-9])?$", REG_EXTENDED | REG_NOSUB), 0);
    assert_int_equal(regcomp(&instance, "^[a-z0-9_]+(-[a-z0-9_]+)*$", REG_EXTENDED | REG_NOSUB), 0);
    assert_int_equal(regcomp(&account, "^[0-9a-f]+$", REG_EXTENDED | REG_NOSUB), 0);
    assert_int_equal(regcomp(&job, "^[A-Za-z0-9_-]+$", REG_EXTENDED | REG_NOSUB), 0);

    for (size_t len = 0, count = 1; len <= 6; len++, count *= strlen(alphabet)) {
        for (size_t n = 0; n < count; n++) {
            char text[7] = "";

            for (size_t i = 0, rest = n; i < len; i++, rest /= strlen(alphabet))
                text[i] = alphabet[rest % strlen(alphabet)];

            assert_int_equal(ais_namespace_valid(str(text)), matches(&name, text));
            assert_int_equal(ais_instance_valid(str(text), AIS_PLAIN), matches(&instance, text));
            assert_int_equal(ais_account_id_valid(str(text)), matches(&account, text));
            assert_int_equal(ais_job_id_valid(str(text)), matches(&job, text));
        }
    }

    regfree(&name);
    regfree(&instance);
    regfree(&account);
    regfree(&job);
}

static void test_part_lengths(void **state)
{
    (void) state;
    assert_true(ais_account_id_valid(AIS_STR(ACCOUNT)));
    assert_false(ais_account_id_valid(AIS_STR(ACCOUNT "0")));
    assert_true(ais_namespace_valid(AIS_STR(X28)));
    assert_false(ais_namespace_valid(AIS_STR(X28 "x")));
    assert_true(ais_namespace_valid(AIS_STR("x")));
    assert_true(ais_namespace_valid(AIS_STR("team--blue")));
    assert_false(ais_namespace_valid(AIS_STR("team_blue")));
    assert_true(ais_instance_valid(AIS_STR(X64), AIS_PLAIN));
    assert_true(ais_instance_valid(AIS_STR(X64), AIS_NAMESPACED));
    assert_false(ais_instance_valid(AIS_STR(X64 "x"), AIS_PLAIN));
    assert_false(ais_instance_valid(AIS_STR(X64 "x"), AIS_NAMESPACED));
    assert_true(ais_instance_valid(AIS_STR(X32), AIS_AUTORAG));
    assert_false(ais_instance_valid(AIS_STR(X32 "x"), AIS_AUTORAG));
    assert_true(ais_job_id_valid(AIS_STR(X64)));
    assert_false(ais_job_id_valid(AIS_STR(X64 "x")));
}

static void test_part_with_nul(void **state)
{
    (void) state;
    assert_false(ais_account_id_valid(AIS_STR("a\0")));
    assert_false(ais_namespace_valid(AIS_STR("a\0b")));
    assert_false(ais_instance_valid(AIS_STR("\0a"), AIS_PLAIN));
    assert_false(ais_job_id_valid(AIS_STR("a\0/")));
}

/* Each refusal has its own reason. */
static void test_status_text(void **state)
{
    (void) state;
    for (int a = AIS_RESOURCE_OK; a <= AIS_RESOURCE_BAD_ORDER; a++) {
        assert_true(strlen(ais_resource_error_text(a)) > 0);
        for (int b = AIS_RESOURCE_OK; b < a; b++)
            assert_string_not_equal(ais_resource_error_text(a), ais_resource_error_text(b));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_api_path),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_rejected_paths),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_longest),
        cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_every_position),
        cmocka_unit_test(test_every_prefix),
        cmocka_unit_test(test_query),
        cmocka_unit_test(test_query_with_nul),
        cmocka_unit_test(test_no_query),
        cmocka_unit_test(test_parts_against_patterns),
        cmocka_unit_test(test_part_lengths),
        cmocka_unit_test(test_part_with_nul),
        cmocka_unit_test(test_status_text),
        cmocka_unit_test(test_every_byte_of_lists),
        cmocka_unit_test(test_per_page),
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_filters_elsewhere),
        cmocka_unit_test(test_filter_encodings),
        cmocka_unit_test(test_filter_bytes),
        cmocka_unit_test(test_same_page),
        cmocka_unit_test(test_same_key),
        cmocka_unit_test(test_to_namespaced),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
