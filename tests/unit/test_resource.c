#include "unit.h"

#include <regex.h>

#include "ais_resource.h"

#define ACCOUNT "c3dc5f0b34a14ff8e1b3ec04895e1b22"
#define UUID "3f1e2d4c-5b6a-4978-8899-aabbccddeeff"
#define JOB_ID_BYTES "0123456789abcdefghijklmnopqrstuvwxyz_-ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define X8 "xxxxxxxx"
#define X32 X8 X8 X8 X8
#define X64 X32 X32

static enum ais_resource_status parse(struct ais_resource *res, const char *path, const char *query)
{
    return ais_resource_parse(res, str(path), str(query));
}

/* The key is how the API path goes on behind the account, without the word that the generation says anyway. */
static const char *key_in(const char *api_path)
{
    const char *p = strstr(api_path, "/ai-search/");

    return p != NULL ? p + strlen("/ai-search/") : strstr(api_path, "rags/");
}

/* Each resource, in each of its spellings, has one API path, and one key. */
static void test_api_path(void **state)
{
    static const struct {
        const char *path;
        const char *query;
        const char *api_path;
    } cases[] = {
        {"instances/docs/jobs", "", "/accounts/" ACCOUNT "/ai-search/instances/docs/jobs"},
        {"ai-search/instances/docs/jobs", "", "/accounts/" ACCOUNT "/ai-search/instances/docs/jobs"},
        {"accounts/" ACCOUNT "/instances/docs/jobs", "", "/accounts/" ACCOUNT "/ai-search/instances/docs/jobs"},
        {"accounts/" ACCOUNT "/ai-search/instances/docs/jobs", "",
         "/accounts/" ACCOUNT "/ai-search/instances/docs/jobs"},
        {"accounts/abc/instances/docs/jobs", "", "/accounts/abc/ai-search/instances/docs/jobs"},
        {"instances/docs/jobs/" UUID, "", "/accounts/" ACCOUNT "/ai-search/instances/docs/jobs/" UUID},
        {"instances/docs/jobs/" UUID "/logs", "", "/accounts/" ACCOUNT "/ai-search/instances/docs/jobs/" UUID "/logs"},
        {"instances/docs/jobs/logs", "", "/accounts/" ACCOUNT "/ai-search/instances/docs/jobs/logs"},
        {"instances/docs/jobs/jobs/logs", "", "/accounts/" ACCOUNT "/ai-search/instances/docs/jobs/jobs/logs"},
        {"instances/jobs/jobs/-_Az09", "", "/accounts/" ACCOUNT "/ai-search/instances/jobs/jobs/-_Az09"},
        {"instances/_-0-z_z-9/jobs", "", "/accounts/" ACCOUNT "/ai-search/instances/_-0-z_z-9/jobs"},

        {"namespaces/default/instances/docs/jobs", "",
         "/accounts/" ACCOUNT "/ai-search/namespaces/default/instances/docs/jobs"},
        {"ai-search/namespaces/a-b/instances/docs/jobs/1", "",
         "/accounts/" ACCOUNT "/ai-search/namespaces/a-b/instances/docs/jobs/1"},
        {"accounts/0/ai-search/namespaces/n/instances/i/jobs/j/logs", "",
         "/accounts/0/ai-search/namespaces/n/instances/i/jobs/j/logs"},

        {"rags/docs/jobs", "", "/accounts/" ACCOUNT "/autorag/rags/docs/jobs"},
        {"autorag/rags/docs/jobs/1", "", "/accounts/" ACCOUNT "/autorag/rags/docs/jobs/1"},
        {"accounts/0/autorag/rags/docs/jobs/1/logs", "", "/accounts/0/autorag/rags/docs/jobs/1/logs"},

        {"instances", "", "/accounts/" ACCOUNT "/ai-search/instances"},
        {"ai-search/instances", "per_page=100&page=3", "/accounts/" ACCOUNT "/ai-search/instances?page=3&per_page=100"},
        {"namespaces/a-b/instances", "", "/accounts/" ACCOUNT "/ai-search/namespaces/a-b/instances"},
        {"accounts/0/ai-search/namespaces/n/instances", "page=1",
         "/accounts/0/ai-search/namespaces/n/instances?page=1"},

        {"rags/docs/jobs", "page=2", "/accounts/" ACCOUNT "/autorag/rags/docs/jobs?page=2"},
        {"rags/docs/jobs", "per_page=0", "/accounts/" ACCOUNT "/autorag/rags/docs/jobs?per_page=0"},
        {"rags/docs/jobs", "per_page=050&page=000000010",
         "/accounts/" ACCOUNT "/autorag/rags/docs/jobs?page=10&per_page=50"},
        {"rags/docs/jobs/1/logs", "page=1&per_page=7",
         "/accounts/" ACCOUNT "/autorag/rags/docs/jobs/1/logs?page=1&per_page=7"},
        {"rags/docs/jobs/1", "page=1&per_page=7", "/accounts/" ACCOUNT "/autorag/rags/docs/jobs/1"},
    };
    char buf[AIS_RESOURCE_PATH_MAX];
    struct ais_resource res;

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(parse(&res, cases[i].path, cases[i].query), AIS_RESOURCE_OK);
        assert_int_equal(ais_resource_path(&res, AIS_STR(ACCOUNT), buf), strlen(cases[i].api_path));
        assert_string_equal(buf, cases[i].api_path);
        assert_true(ais_str_eq(ais_resource_key(&res, buf), str(key_in(cases[i].api_path))));
        strcpy(buf, cases[i].api_path);

        /* what was written is a spelling of the same resource */
        buf[strcspn(buf, "?")] = '\0';
        assert_int_equal(parse(&res, buf + 1, cases[i].query), AIS_RESOURCE_OK);
        ais_resource_path(&res, AIS_STR(""), buf);
        assert_string_equal(buf, cases[i].api_path);
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

    assert_int_equal(parse(&res, "instances", ""), 0);
    assert_int_equal(res.generation, AIS_PLAIN);
    assert_int_equal(res.kind, AIS_INSTANCES);
}

static void test_refused_paths(void **state)
{
    static const struct {
        const char *path;
        enum ais_resource_status status;
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
        {"namespaces/n--n/instances/docs/jobs", AIS_RESOURCE_BAD_NAMESPACE},
        {"namespaces/N/instances/docs/jobs", AIS_RESOURCE_BAD_NAMESPACE},
        {"namespaces/n.n/instances/docs/jobs", AIS_RESOURCE_BAD_NAMESPACE},
        {"namespaces/" X32 "x/instances/docs/jobs", AIS_RESOURCE_BAD_NAMESPACE},
        {"namespaces/n", AIS_RESOURCE_BAD_PATH},
        {"namespaces/n/", AIS_RESOURCE_BAD_PATH},
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

        {"instances/docs", AIS_RESOURCE_BAD_PATH},
        {"instances/docs/", AIS_RESOURCE_BAD_PATH},
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
        if (parse(&res, cases[i].path, "") != cases[i].status)
            fail_msg("\"%s\": %d", cases[i].path, parse(&res, cases[i].path, ""));
    }
}

static void test_lengths(void **state)
{
    struct ais_resource res;

    (void) state;
    assert_int_equal(parse(&res, "accounts/" ACCOUNT "/namespaces/" X32 "/instances/" X64 "/jobs/" X64 "/logs", ""), 0);
    assert_int_equal(parse(&res, "rags/" X32 "/jobs/" X64, ""), 0);
}

/* The longest of everything fits into the caller's buffer. */
static void test_longest(void **state)
{
    char buf[AIS_RESOURCE_PATH_MAX];
    struct ais_resource res;
    size_t len;

    (void) state;
    assert_int_equal(parse(&res, "accounts/" ACCOUNT "/namespaces/" X32 "/instances/" X64 "/jobs/" X64 "/logs",
                           "page=999999999&per_page=50"),
                     0);
    len = ais_resource_path(&res, AIS_STR(""), buf);
    assert_int_equal(len, strlen(buf));
    assert_true(len < AIS_RESOURCE_PATH_MAX);
    assert_non_null(strstr(buf, "/logs?page=999999999&per_page=50"));
}

/* No byte but those of the grammar, wherever it stands: NUL and the upper half included. */
static void test_every_byte(void **state)
{
    static const char path[] = "accounts/0/namespaces/n/instances/i/jobs/j/logs";
    static const struct {
        const char *part; /* what stands in front of the byte */
        const char *allowed;
    } parts[] = {
        {"accounts/", "0123456789abcdef"},
        {"namespaces/", "0123456789abcdefghijklmnopqrstuvwxyz_"},
        {"instances/", "0123456789abcdefghijklmnopqrstuvwxyz_"},
        {"jobs/", JOB_ID_BYTES},
        {"jobs/j", "/" JOB_ID_BYTES}, /* a longer job id, then */
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

/* The same for the list of instances. */
static void test_every_byte_of_instances(void **state)
{
    static const char path[] = "accounts/0/namespaces/n/instances";
    struct ais_resource res;

    (void) state;
    for (size_t i = 0; i < sizeof(path) - 1; i++) {
        const char *allowed = (char[]){path[i], '\0'};

        if (i == strlen("accounts/"))
            allowed = "0123456789abcdef";
        else if (i == strlen("accounts/0/namespaces/"))
            allowed = "0123456789abcdefghijklmnopqrstuvwxyz_";

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

/* A dot is nowhere in the grammar, however long the part that it stands in. */
static void test_every_position(void **state)
{
    static const char path[] = "accounts/" ACCOUNT "/namespaces/" X32 "/instances/" X64 "/jobs/" X64 "/logs";
    struct ais_resource res;

    (void) state;
    for (size_t i = 0; i < sizeof(path) - 1; i++) {
        char text[sizeof(path)];

        memcpy(text, path, sizeof(path));
        text[i] = '.';
        assert_int_not_equal(parse(&res, text, ""), AIS_RESOURCE_OK);
    }
}

/* Cut anywhere, a path is either refused or a resource of its own; nothing behind its end is read. */
static void test_every_prefix(void **state)
{
    static const char path[] = "accounts/0ab/ai-search/namespaces/n-n/instances/i-i/jobs/j-j/logs";
    static const char *const resources[] = {
        "accounts/0ab/ai-search/namespaces/n-n/instances",
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
        enum ais_resource_status status;
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
        {"per_page=51", AIS_RESOURCE_BAD_PER_PAGE, 0, 0},
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
            if (ais_resource_parse(&res, str(paths[p]), query) != cases[i].status)
                fail_msg("\"%s\" of %s", cases[i].query, paths[p]);

            if (cases[i].status == AIS_RESOURCE_OK) {
                assert_int_equal(res.page, cases[i].page);
                assert_int_equal(res.per_page, cases[i].per_page);
            }
        }

        /* a job has no pages: whatever they say is dropped */
        assert_int_equal(ais_resource_parse(&res, AIS_STR("instances/docs/jobs/1"), query), AIS_RESOURCE_OK);
        assert_int_equal(res.page, AIS_PAGE_NONE);
        assert_int_equal(res.per_page, AIS_PAGE_NONE);
        exact_free(query);
    }
}

/* Pages of instances are larger. */
static void test_query_of_instances(void **state)
{
    static const char *const paths[] = {"instances", "namespaces/n/instances"};
    struct ais_resource res;

    (void) state;
    for (size_t i = 0; i < COUNT(paths); i++) {
        assert_int_equal(parse(&res, paths[i], "page=2&per_page=100&x=1"), AIS_RESOURCE_OK);
        assert_int_equal(res.page, 2);
        assert_int_equal(res.per_page, 100);
        assert_int_equal(parse(&res, paths[i], "per_page=101"), AIS_RESOURCE_BAD_PER_PAGE);
        assert_int_equal(parse(&res, paths[i], "page=0"), AIS_RESOURCE_BAD_PAGE);
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

/* Against the patterns of the API reference: every string of up to six of these characters. */
static void test_parts_against_patterns(void **state)
{
    static const char alphabet[] = "a0_-Zg/";
    regex_t name, account, job;

    (void) state;
    assert_int_equal(regcomp(&name, "^[a-z0-9_]+(-[a-z0-9_]+)*$", REG_EXTENDED | REG_NOSUB), 0);
    assert_int_equal(regcomp(&account, "^[0-9a-f]+$", REG_EXTENDED | REG_NOSUB), 0);
    assert_int_equal(regcomp(&job, "^[A-Za-z0-9_-]+$", REG_EXTENDED | REG_NOSUB), 0);

    for (size_t len = 0, count = 1; len <= 6; len++, count *= strlen(alphabet)) {
        for (size_t n = 0; n < count; n++) {
            char text[7] = "";

            for (size_t i = 0, rest = n; i < len; i++, rest /= strlen(alphabet))
                text[i] = alphabet[rest % strlen(alphabet)];

            assert_int_equal(ais_namespace_valid(str(text)), matches(&name, text));
            assert_int_equal(ais_instance_valid(str(text), AIS_PLAIN), matches(&name, text));
            assert_int_equal(ais_account_id_valid(str(text)), matches(&account, text));
            assert_int_equal(ais_job_id_valid(str(text)), matches(&job, text));
        }
    }

    regfree(&name);
    regfree(&account);
    regfree(&job);
}

static void test_part_lengths(void **state)
{
    (void) state;
    assert_true(ais_account_id_valid(AIS_STR(ACCOUNT)));
    assert_false(ais_account_id_valid(AIS_STR(ACCOUNT "0")));
    assert_true(ais_namespace_valid(AIS_STR(X32)));
    assert_false(ais_namespace_valid(AIS_STR(X32 "x")));
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

/* Each refusal tells its reason, and no two the same. */
static void test_status_text(void **state)
{
    (void) state;
    for (int a = AIS_RESOURCE_OK; a <= AIS_RESOURCE_BAD_PER_PAGE; a++) {
        assert_true(strlen(ais_resource_status_text(a)) > 0);
        for (int b = AIS_RESOURCE_OK; b < a; b++)
            assert_string_not_equal(ais_resource_status_text(a), ais_resource_status_text(b));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_api_path),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_refused_paths),
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
        cmocka_unit_test(test_every_byte_of_instances),
        cmocka_unit_test(test_query_of_instances),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
