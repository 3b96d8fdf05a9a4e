/* LDFLAGS: -Wl,--wrap=calloc */
#include "unit.h"

#include "ais_job.h"

#define X8 "xxxxxxxx"
#define X32 X8 X8 X8 X8
#define X64 X32 X32

#define PAGE(elements) "{\"success\":true,\"result\":[" elements "]}"
#define INFO(members) "{\"success\":true,\"result\":[],\"result_info\":{" members "}}"

/* Memory runs out at the next allocation. */
static bool exhausted;

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

void *__wrap_calloc(size_t count, size_t size)
{
    return exhausted ? NULL : __real_calloc(count, size);
}

static struct ais_answer parse(const char *text)
{
    struct ais_str body = exact_copy(str(text));
    struct ais_error err = {""};
    struct ais_answer answer;

    if (ais_answer_parse(&answer, AIS_INSTANCES, body, &err) != 0)
        fail_msg("%s: %s", text, err.text);
    exact_free(body); /* the answer has its own strings */
    return answer;
}

/* Refused in that way, for that reason, with nothing left in the answer. */
static void assert_refused(const char *text, int rc, const char *reason)
{
    static const struct ais_answer nothing;
    struct ais_error err = {""};
    struct ais_answer answer;

    if (ais_answer_parse(&answer, AIS_INSTANCES, str(text), &err) != rc || strstr(err.text, reason) == NULL)
        fail_msg("%s: \"%s\"", text, err.text);
    assert_memory_equal(&answer, &nothing, sizeof(answer));
}

static void assert_bad(const char *text, const char *reason)
{
    assert_refused(text, -1, reason);
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

/* What could never be asked about is left out; the others stand. */
static void test_names_that_are_none(void **state)
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
        "{\"id\":\"docs\",\"namespace\":\"" X32 "x\"}",
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
    struct ais_answer answer = parse(PAGE("{\"id\":\"" X64 "\",\"namespace\":\"" X32 "\"}"));

    (void) state;
    assert_int_equal(answer.listing.ninstances, 1);
    ais_answer_free(&answer);
}

static void test_bad_pages(void **state)
{
    static const struct {
        const char *body;
        const char *reason;
    } cases[] = {
        {"{\"success\":true}", "\"result\" is not an array"},
        {"{\"success\":true,\"result\":null}", "\"result\" is not an array"},
        {"{\"success\":true,\"result\":{\"id\":\"docs\"}}", "\"result\" is not an array"},
        {PAGE("1"), "the instance is not an object"},
        {PAGE("{\"id\":\"docs\"},null"), "the instance is not an object"},
        {PAGE("{}"), "the instance has no \"id\""},
        {PAGE("{\"id\":\"docs\"},{\"name\":\"docs\"}"), "the instance has no \"id\""},
        {PAGE("{\"id\":null}"), "\"id\" of the instance is of the wrong type"},
        {PAGE("{\"id\":7}"), "wrong type"},
        {PAGE("{\"id\":\"docs\",\"id\":\"docs\"}"), "\"id\" twice"},
        {PAGE("{\"id\":\"docs\",\"paused\":false,\"paused\":true}"), "\"paused\" twice"},
        {PAGE("{\"id\":\"docs\",\"paused\":\"true\"}"), "\"paused\" of the instance is of the wrong type"},
        {PAGE("{\"id\":\"docs\",\"paused\":1}"), "wrong type"},
        {PAGE("{\"id\":\"docs\",\"namespace\":{}}"), "wrong type"},
        {PAGE("{\"id\":\"docs\",\"status\":3}"), "wrong type"},
        {PAGE("{\"id\":\"docs\",\"created_at\":1763902700}"), "wrong type"},
        {PAGE("{\"id\":\"docs\",\"modified_at\":[]}"), "wrong type"},

        {"{\"success\":true,\"result\":[],\"result_info\":[]}", "\"result_info\" is not an object"},
        {INFO(""), "has no \"total_count\""},
        {INFO("\"total_count\":1"), "has no \"page\""},
        {INFO("\"total_count\":\"1\",\"page\":1"), "wrong type"},
        {INFO("\"total_count\":null,\"page\":1"), "wrong type"},
        {INFO("\"total_count\":-1,\"page\":1"), "\"total_count\" of \"result_info\" is not a count"},
        {INFO("\"total_count\":1.5,\"page\":1"), "not a count"},
        {INFO("\"total_count\":1e999,\"page\":1"), "not a count"},
        {INFO("\"total_count\":1,\"page\":0.1"), "\"page\" of \"result_info\" is not a count"},
        {INFO("\"total_count\":1,\"page\":1,\"per_page\":-1"), "not a count"},
        {INFO("\"total_count\":1,\"page\":1,\"count\":1e-1"), "not a count"},
        {INFO("\"total_count\":1,\"page\":1,\"page\":1"), "twice"},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_bad(cases[i].body, cases[i].reason);
}

static void test_out_of_memory(void **state)
{
    (void) state;
    exhausted = true;
    assert_refused(PAGE("{\"id\":\"docs\"}"), AIS_NO_MEMORY, "out of memory");
    exhausted = false;
}

static void test_free_of_nothing(void **state)
{
    struct ais_listing listing = {0};

    (void) state;
    ais_listing_free(&listing);
    assert_null(listing.instances);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page),
        cmocka_unit_test(test_empty_page),
        cmocka_unit_test(test_names_that_are_none),
        cmocka_unit_test(test_longest_names),
        cmocka_unit_test(test_bad_pages),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_free_of_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
