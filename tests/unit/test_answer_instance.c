/* LDFLAGS: -Wl,--wrap=calloc */
#include "unit.h"

#include "ais_answer.h"

#define X4 "xxxx"
#define X8 X4 X4
#define X28 X8 X8 X8 X4
#define X32 X8 X8 X8 X8
#define X64 X32 X32

#define PAGE(elements) "{\"success\":true,\"result\":[" elements "]}"
#define ONE(members) "{\"success\":true,\"result\":{" members "}}"
#define INFO(members) "{\"success\":true,\"result\":[],\"result_info\":{" members "}}"

/* The next allocation fails. */
static bool exhausted;

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

void *__wrap_calloc(size_t count, size_t size)
{
    return exhausted ? NULL : __real_calloc(count, size);
}

static struct ais_answer parse_as(enum ais_kind kind, const char *text)
{
    struct ais_str body = exact_copy(str(text));
    struct ais_error err = {""};
    struct ais_answer answer;

    if (ais_answer_parse(&answer, kind, body, &err) != 0)
        fail_msg("%s: %s", text, err.text);
    exact_free(body); /* the answer has its own strings */
    return answer;
}

static struct ais_answer parse(const char *text)
{
    return parse_as(AIS_INSTANCES, text);
}

/* The response is rejected in that way and for that reason, and nothing is left in the answer. */
static void assert_refused(enum ais_kind kind, const char *text, int rc, const char *reason)
{
    static const struct ais_answer nothing;
    struct ais_error err = {""};
    struct ais_answer answer;

    if (ais_answer_parse(&answer, kind, str(text), &err) != rc || strstr(err.text, reason) == NULL)
        fail_msg("%s: \"%s\"", text, err.text);
    assert_memory_equal(&answer, &nothing, sizeof(answer));
}

static void assert_bad(const char *text, const char *reason)
{
    assert_refused(AIS_INSTANCES, text, -1, reason);
}

static void test_page(void **state)
{
    struct ais_answer answer =
        parse("{\"success\":true,\"errors\":[],\"messages\":[],\"result\":["
              "{\"id\":\"docs\",\"created_at\":\"2026-11-23T12:44:10Z\",\"modified_at\":\"2026-11-23 12:44:11\","
              "\"status\":\"ready\",\"paused\":true,\"namespace\":\"team-a\",\"type\":\"r2\",\"source\":null},"
              "{\"id\":\"handbook\",\"created_at\":null,\"modified_at\":\"soon\",\"status\":null,\"paused\":null,"
              "\"namespace\":null},"
              "{\"id\":\"a\",\"paused\":false}],"
              "\"result_info\":{\"count\":3,\"page\":2,\"per_page\":100,\"total_count\":103,\"total_pages\":2}}");
    const struct ais_instance *instances = answer.listing.instances;

    (void) state;
    assert_int_equal(answer.listing.ninstances, 3);
    assert_int_equal(answer.listing.left_out, 0);
    assert_int_equal(answer.listing.total, 103);
    assert_int_equal(answer.listing.page, 2);

    assert_string_equal(instances[0].id, "docs");
    assert_string_equal(instances[0].namespace, "team-a");
    assert_string_equal(instances[0].status, "ready");
    assert_true(instances[0].paused);
    assert_int_equal(instances[0].modified_at - instances[0].created_at, 1000);

    assert_string_equal(instances[1].id, "handbook");
    assert_null(instances[1].namespace);
    assert_null(instances[1].status);
    assert_false(instances[1].paused);
    assert_int_equal(instances[1].created_at, AIS_TIME_NONE);
    assert_int_equal(instances[1].modified_at, AIS_TIME_NONE);

    assert_string_equal(instances[2].id, "a");
    assert_null(instances[2].namespace);
    assert_false(instances[2].paused);
    assert_int_equal(instances[2].created_at, AIS_TIME_NONE);
    ais_answer_free(&answer);
}

static void test_empty_page(void **state)
{
    static const char *const bodies[] = {PAGE(""), "{\"success\":true,\"result\":[],\"result_info\":null}"};

    (void) state;
    for (size_t i = 0; i < COUNT(bodies); i++) {
        struct ais_answer answer = parse(bodies[i]);

        assert_int_equal(answer.listing.ninstances, 0);
        assert_null(answer.listing.instances);
        assert_int_equal(answer.listing.total, -1);
        assert_int_equal(answer.listing.page, -1);
        ais_answer_free(&answer);
    }
}

/* Elements that cannot be requested are skipped; the others are kept. */
static void test_invalid_names(void **state)
{
    static const char *const elements[] = {
        "{\"id\":\"\"}",
        "{\"id\":\"Docs\"}",
        "{\"id\":\"-docs\"}",
        "{\"id\":\"a--b\"}",
        "{\"id\":\"a/../b\"}",
        "{\"id\":\"a/jobs/1?x=\"}",
        "{\"id\":\"d\\u00f6cs\"}",
        "{\"id\":\"a b\\n\"}",
        "{\"id\":\"" X64 "x\"}",
        "{\"id\":\"docs\",\"namespace\":\"\"}",
        "{\"id\":\"docs\",\"namespace\":\"N\"}",
        "{\"id\":\"docs\",\"namespace\":\"n/instances/b\"}",
        "{\"id\":\"docs\",\"namespace\":\"" X28 "x\"}",
        "{\"id\":\"docs\",\"namespace\":\"team_blue\"}",

        "1",
        "null",
        "[]",
        "{}",
        "{\"name\":\"docs\"}",
        "{\"id\":null}",
        "{\"id\":7}",
        "{\"id\":\"docs\",\"id\":\"docs\"}",
    };

    (void) state;
    for (size_t i = 0; i < COUNT(elements); i++) {
        char body[512];
        struct ais_answer answer;

        snprintf(body, sizeof(body), PAGE("{\"id\":\"first\"},%s,{\"id\":\"last\",\"namespace\":\"n\"}"), elements[i]);
        answer = parse(body);
        assert_int_equal(answer.listing.ninstances, 2);
        assert_int_equal(answer.listing.left_out, 1);
        assert_string_equal(answer.listing.instances[0].id, "first");
        assert_string_equal(answer.listing.instances[1].id, "last");
        assert_string_equal(answer.listing.instances[1].namespace, "n");
        ais_answer_free(&answer);
    }
}

static void test_longest_names(void **state)
{
    struct ais_answer answer = parse(PAGE("{\"id\":\"" X64 "\",\"namespace\":\"" X28 "\"}"));

    (void) state;
    assert_int_equal(answer.listing.ninstances, 1);
    ais_answer_free(&answer);
}

static void test_bad_pages(void **state)
{
    (void) state;
    assert_bad("{\"success\":true}", "\"result\" is not an array");
    assert_bad("{\"success\":true,\"result\":null}", "\"result\" is not an array");
    assert_bad("{\"success\":true,\"result\":{\"id\":\"docs\"}}", "\"result\" is not an array");
    assert_bad(PAGE("{\"id\":null},{},7,{\"id\":5}"), "contains no instance with an \"id\"");
    assert_bad("{\"success\":true,\"result\":[],\"result_info\":{},\"result_info\":{}}", "\"result_info\" twice");
}

/* The parts of result_info that are present. */
static void test_partial_info(void **state)
{
    static const struct {
        const char *body;
        int64_t total;
        int64_t page;
    } cases[] = {
        {INFO("\"total_count\":103,\"page\":2"), 103, 2},
        {INFO("\"total_count\":0,\"page\":1,\"count\":-1,\"per_page\":\"x\""), 0, 1},
        {INFO("\"total_count\":9007199254740992,\"page\":1e2"), INT64_C(9007199254740992), 100},
        {INFO(""), -1, -1},
        {INFO("\"count\":7,\"per_page\":50"), -1, -1},
        {INFO("\"total_count\":1"), 1, -1},
        {INFO("\"page\":3"), -1, 3},
        {INFO("\"total_count\":\"1\",\"page\":1"), -1, 1},
        {INFO("\"total_count\":null,\"page\":true"), -1, -1},
        {INFO("\"total_count\":-1,\"page\":0.1"), -1, -1},
        {INFO("\"total_count\":1.5,\"page\":1e999"), -1, -1},
        {INFO("\"total_count\":9007199254740994,\"page\":1"), -1, 1},
        {INFO("\"total_count\":1,\"page\":1,\"page\":1"), 1, -1},
        {"{\"success\":true,\"result\":[],\"result_info\":[]}", -1, -1},
        {"{\"success\":true,\"result\":[],\"result_info\":1}", -1, -1},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ais_answer answer = parse(cases[i].body);

        if (answer.listing.total != cases[i].total || answer.listing.page != cases[i].page)
            fail_msg("%s", cases[i].body);
        ais_answer_free(&answer);
    }
}

/* Everything that a watcher must know about an instance, in all forms that have been seen. */
static void test_fields_of_instances(void **state)
{
    static const struct {
        const char *members; /* after the id */
        struct ais_instance instance;
    } cases[] = {
        {",\"type\":null,\"source\":null,\"sync_interval\":21600,\"enable\":true,\"paused\":false,"
         "\"status\":\"waiting\",\"last_activity\":null",
         {.indexed = AIS_INDEXED_AS_STORED, .sync_interval = 21600000, .status = "waiting"}},
        {",\"type\":\"r2\",\"source\":\"bucket\",\"sync_interval\":86400,\"enable\":true,\"paused\":false,"
         "\"status\":\"waiting\"",
         {.indexed = AIS_INDEXED_BY_JOBS, .sync_interval = 86400000, .status = "waiting"}},
        {",\"type\":\"web-crawler\",\"source\":\"example.org\",\"sync_interval\":900,\"enable\":true,\"paused\":false,"
         "\"status\":\"indexing\"",
         {.indexed = AIS_INDEXED_BY_JOBS, .sync_interval = 900000, .status = "indexing"}},
        {",\"type\":\"r2\",\"enable\":true,\"paused\":true,\"status\":\"error\"",
         {.indexed = AIS_INDEXED_BY_JOBS, .paused = true, .status = "error", .in_error = true}},
        {",\"type\":\"r2\",\"enable\":true,\"paused\":true,\"status\":\"waiting\"",
         {.indexed = AIS_INDEXED_BY_JOBS, .paused = true, .status = "waiting"}},
        {",\"type\":\"r2\",\"enable\":false,\"paused\":false,\"status\":\"waiting\"",
         {.indexed = AIS_INDEXED_BY_JOBS, .disabled = true, .status = "waiting"}},

        /* missing or odd values are unknown */
        {"", {.indexed = AIS_INDEXED_UNKNOWN}},
        {",\"type\":\"\"", {.indexed = AIS_INDEXED_BY_JOBS}},
        {",\"type\":7", {.indexed = AIS_INDEXED_UNKNOWN}},
        {",\"Type\":null", {.indexed = AIS_INDEXED_UNKNOWN}},
        {",\"type\":null,\"type\":\"r2\"", {.indexed = AIS_INDEXED_UNKNOWN}},
        {",\"enable\":null,\"paused\":null", {.indexed = AIS_INDEXED_UNKNOWN}},
        {",\"enable\":0,\"paused\":1", {.indexed = AIS_INDEXED_UNKNOWN}},
        {",\"enable\":\"false\",\"paused\":\"true\"", {.indexed = AIS_INDEXED_UNKNOWN}},
        {",\"paused\":true,\"paused\":true", {.indexed = AIS_INDEXED_UNKNOWN}},
        {",\"namespace\":{}", {.indexed = AIS_INDEXED_UNKNOWN}},
        {",\"status\":3", {.indexed = AIS_INDEXED_UNKNOWN}},
        {",\"status\":\"Error\"", {.status = "Error", .in_error = true}},
        {",\"status\":\"errors\"", {.status = "errors"}},
        {",\"created_at\":1763902700,\"modified_at\":[]", {.indexed = AIS_INDEXED_UNKNOWN}},
        {",\"sync_interval\":0", {.sync_interval = 0}},
        {",\"sync_interval\":1", {.sync_interval = 1000}},
        {",\"sync_interval\":31536000", {.sync_interval = INT64_C(31536000000)}},
        {",\"sync_interval\":31536001", {.sync_interval = 0}},
        {",\"sync_interval\":1e18", {.sync_interval = 0}},
        {",\"sync_interval\":-900", {.sync_interval = 0}},
        {",\"sync_interval\":900.5", {.sync_interval = 0}},
        {",\"sync_interval\":\"900\"", {.sync_interval = 0}},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char element[512], page[600], one[600];
        struct ais_answer list, single;
        const struct ais_instance *expected = &cases[i].instance;

        snprintf(element, sizeof(element), "\"id\":\"docs\"%s", cases[i].members);
        snprintf(page, sizeof(page), PAGE("{%s}"), element);
        snprintf(one, sizeof(one), ONE("%s"), element);
        list = parse(page);
        single = parse_as(AIS_INSTANCE, one);
        assert_int_equal(list.listing.ninstances, 1);

        for (int k = 0; k < 2; k++) {
            const struct ais_instance *instance = k == 0 ? list.listing.instances : &single.instance;

            assert_string_equal(instance->id, "docs");
            assert_null(instance->namespace);
            if (expected->status != NULL)
                assert_string_equal(instance->status, expected->status);
            else
                assert_null(instance->status);
            if (instance->indexed != expected->indexed || instance->sync_interval != expected->sync_interval ||
                instance->disabled != expected->disabled || instance->paused != expected->paused ||
                instance->in_error != expected->in_error)
                fail_msg("%s", cases[i].members);
            assert_int_equal(instance->created_at, AIS_TIME_NONE);
            assert_int_equal(instance->modified_at, AIS_TIME_NONE);
        }
        ais_answer_free(&list);
        ais_answer_free(&single);
    }
}

/* An instance that was requested by name may have any name in the response, which is not used for requests. */
static void test_single(void **state)
{
    static const char *const bad[] = {
        "{\"success\":true}", "{\"success\":true,\"result\":null}", PAGE("{\"id\":\"x\"}"), ONE(""),
        ONE("\"id\":1"),      ONE("\"id\":\"a\",\"id\":\"a\""),
    };
    struct ais_answer answer =
        parse_as(AIS_INSTANCE, ONE("\"id\":\"A/b\",\"namespace\":\"N\",\"created_at\":\"1970-01-01 00:00:01\","
                                   "\"modified_at\":\"1970-01-01T00:00:02Z\""));

    (void) state;
    assert_string_equal(answer.instance.id, "A/b");
    assert_string_equal(answer.instance.namespace, "N");
    assert_int_equal(answer.instance.created_at, 1000);
    assert_int_equal(answer.instance.modified_at, 2000);
    ais_answer_free(&answer);
    assert_null(answer.instance.id);

    for (size_t i = 0; i < COUNT(bad); i++)
        assert_refused(AIS_INSTANCE, bad[i], -1, "not the requested resource");
}

static void test_stats(void **state)
{
    static const struct {
        const char *members;
        struct ais_stats stats;
    } cases[] = {
        {"\"queued\":0,\"running\":0,\"completed\":104,\"error\":2,\"skipped\":1,\"outdated\":23,\"last_activity\":"
         "\"2026-10-02 09:00:00\",\"file_embed_errors\":{\"workers_ai_out_of_capacity_error\":23},"
         "\"index_source_errors\":{}",
         {{0, 0, 104, 2, 1, 23}, false}},
        {"\"degraded\":true", {{-1, -1, -1, -1, -1, -1}, true}},
        {"", {{-1, -1, -1, -1, -1, -1}, false}},
        {"\"queued\":null,\"running\":-1,\"completed\":1.5,\"error\":\"2\",\"skipped\":1,\"skipped\":1,\"outdated\":[],"
         "\"degraded\":\"true\"",
         {{-1, -1, -1, -1, -1, -1}, false}},
        {"\"outdated\":7,\"degraded\":false,\"Queued\":1", {{-1, -1, -1, -1, -1, 7}, false}},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char body[512];
        struct ais_answer answer;

        snprintf(body, sizeof(body), ONE("%s"), cases[i].members);
        answer = parse_as(AIS_STATS, body);
        for (size_t n = 0; n < AIS_STATS_ITEMS; n++)
            assert_int_equal(answer.stats.items[n], cases[i].stats.items[n]);
        assert_int_equal(answer.stats.degraded, cases[i].stats.degraded);
        ais_answer_free(&answer);
    }

    assert_refused(AIS_STATS, "{\"success\":true}", -1, "not the requested resource");
    assert_refused(AIS_STATS, "{\"success\":true,\"result\":[]}", -1, "not the requested resource");
}

static void test_stats_names(void **state)
{
    static const char *const names[AIS_STATS_ITEMS] = {"queued", "running", "completed",
                                                       "error",  "skipped", "outdated"};

    (void) state;
    for (size_t i = 0; i < AIS_STATS_ITEMS; i++)
        assert_string_equal(ais_stats_name(i), names[i]);
}

static void test_namespace(void **state)
{
    static const char *const bad[] = {
        "{\"success\":true}",    ONE(""), ONE("\"name\":1"), ONE("\"name\":null"), ONE("\"name\":\"a\",\"name\":\"a\""),
        PAGE("{\"name\":\"a\"}")};
    struct ais_answer answer = parse_as(
        AIS_NAMESPACE, ONE("\"name\":\"team--blue\",\"created_at\":\"2026-05-01 08:00:00\",\"description\":null"));

    (void) state;
    assert_string_equal(answer.namespace, "team--blue");
    ais_answer_free(&answer);
    assert_null(answer.namespace);

    for (size_t i = 0; i < COUNT(bad); i++)
        assert_refused(AIS_NAMESPACE, bad[i], -1, "not the requested resource");
}

/* Only names; those that cannot be requested are skipped. */
static void test_namespaces(void **state)
{
    static const char body[] = "{\"success\":true,\"result\":[{\"name\":\"team\"},{\"name\":\"a--b\"},{\"id\":\"x\"},"
                               "{\"name\":\"No\"},7],\"result_info\":{\"page\":2,\"total_count\":105}}";
    static const char none[] = "{\"success\":true,\"result\":[{\"id\":\"x\"}]}";
    struct ais_answer answer;

    (void) state;
    assert_int_equal(ais_answer_parse(&answer, AIS_NAMESPACES, AIS_STR(body), NULL), 0);
    assert_int_equal(answer.listing.ninstances, 2);
    assert_string_equal(answer.listing.instances[0].id, "team");
    assert_string_equal(answer.listing.instances[1].namespace, "a--b");
    assert_int_equal(answer.listing.instances[1].created_at, AIS_TIME_NONE);
    assert_int_equal(answer.listing.left_out, 3);
    assert_int_equal(answer.listing.page, 2);
    assert_int_equal(answer.listing.total, 105);
    ais_answer_free(&answer);

    assert_int_equal(ais_answer_parse(&answer, AIS_NAMESPACES, AIS_STR(none), NULL), 0);
    assert_int_equal(answer.listing.ninstances, 0);
    ais_answer_free(&answer);
}

static void test_out_of_memory(void **state)
{
    (void) state;
    exhausted = true;
    assert_refused(AIS_INSTANCES, PAGE("{\"id\":\"docs\"}"), AIS_NO_MEMORY, "out of memory");
    exhausted = false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page),
        cmocka_unit_test(test_empty_page),
        cmocka_unit_test(test_invalid_names),
        cmocka_unit_test(test_longest_names),
        cmocka_unit_test(test_bad_pages),
        cmocka_unit_test(test_partial_info),
        cmocka_unit_test(test_fields_of_instances),
        cmocka_unit_test(test_single),
        cmocka_unit_test(test_stats),
        cmocka_unit_test(test_stats_names),
        cmocka_unit_test(test_namespace),
        cmocka_unit_test(test_namespaces),
        cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
