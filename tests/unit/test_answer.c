/* LDFLAGS: -Wl,--wrap=calloc */
#include "unit.h"

#include <cjson/cJSON.h>

#include "ais_answer.h"
#include "ais_time.h"

/* Out of memory: the fuse'th allocation from now fails; none if it is negative. */
static int fuse = -1;

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

static bool burns_out(void)
{
    return fuse >= 0 && fuse-- == 0;
}

void *__wrap_calloc(size_t count, size_t size)
{
    return burns_out() ? NULL : __real_calloc(count, size);
}

static void *fusible_malloc(size_t size)
{
    return burns_out() ? NULL : malloc(size);
}

static int parse(struct ais_answer *answer, enum ais_kind kind, const char *text, struct ais_error *err)
{
    struct ais_str body = exact_copy(str(text));
    int rc;

    memset(answer, 0xAA, sizeof(*answer));
    rc = ais_answer_parse(answer, kind, body, err);
    exact_free(body); /* the answer has its own strings */
    return rc;
}

static void assert_good(struct ais_answer *answer, enum ais_kind kind, const char *text)
{
    struct ais_error err = {""};

    if (parse(answer, kind, text, &err) != 0)
        fail_msg("%s: %s", text, err.text);
    assert_string_equal(err.text, "");
}

/* The response is rejected for that reason, and nothing is left in the answer. */
static void assert_bad(enum ais_kind kind, const char *text, const char *reason)
{
    static const struct ais_answer nothing;
    struct ais_answer answer;
    struct ais_error err = {""};

    if (parse(&answer, kind, text, &err) != -1 || strstr(err.text, reason) == NULL)
        fail_msg("%s: \"%s\"", text, err.text);
    assert_memory_equal(&answer, &nothing, sizeof(answer));

    assert_int_equal(parse(&answer, kind, text, NULL), -1);
    assert_memory_equal(&answer, &nothing, sizeof(answer));
}

static int64_t ms(const char *text)
{
    int64_t t;

    assert_true(ais_time_parse(str(text), &t));
    return t;
}

static void test_job(void **state)
{
    struct ais_answer answer;

    (void) state;
    assert_good(&answer, AIS_JOB,
                "{\"result\":{\"id\":\"3f1e-1\",\"source\":\"user\",\"description\":\"d\\u00e9j\\u00e0\","
                "\"end_reason\":\"boom\",\"ended_at\":\"2026-11-23 12:50:00\","
                "\"last_seen_at\":\"2026-11-23T12:49:59.5Z\",\"started_at\":\"2026-11-23T12:44:10Z\"},"
                "\"success\":true,\"errors\":[],\"messages\":[]}");
    assert_true(answer.success);
    assert_int_equal(answer.njobs, 1);
    assert_int_equal(answer.nlogs, 0);
    assert_int_equal(answer.nerrors, 0);
    assert_string_equal(answer.jobs->id, "3f1e-1");
    assert_string_equal(answer.jobs->source, "user");
    assert_string_equal(answer.jobs->description, "d\xC3\xA9j\xC3\xA0");
    assert_string_equal(answer.jobs->end_reason, "boom");
    assert_int_equal(answer.jobs->state, AIS_FAILED);
    assert_int_equal(answer.jobs->started_at, ms("2026-11-23T12:44:10Z"));
    assert_int_equal(answer.jobs->ended_at, ms("2026-11-23T12:50:00Z"));
    assert_int_equal(answer.jobs->last_seen_at, ms("2026-11-23T12:49:59.5Z"));
    ais_answer_free(&answer);
    assert_null(answer.jobs);
    assert_null(answer.document);
}

/* The minimum that the API must send; null and absent are equivalent. */
static void test_bare_job(void **state)
{
    static const char *const bodies[] = {
        "{\"success\":true,\"result\":{\"id\":\"1\",\"source\":\"schedule\"}}",
        " {\"result\" : "
        "{\"source\":\"schedule\",\"id\":\"1\",\"description\":null,\"end_reason\":null,\"ended_at\":null,"
        "\"last_seen_at\":null,\"started_at\":null},\"errors\":null,\"success\":true} \n",
    };

    (void) state;
    for (size_t i = 0; i < COUNT(bodies); i++) {
        struct ais_answer answer;

        assert_good(&answer, AIS_JOB, bodies[i]);
        assert_string_equal(answer.jobs->source, "schedule");
        assert_null(answer.jobs->description);
        assert_null(answer.jobs->end_reason);
        assert_int_equal(answer.jobs->state, AIS_QUEUED);
        assert_true(answer.jobs->started_at == AIS_TIME_NONE);
        assert_true(answer.jobs->ended_at == AIS_TIME_NONE);
        assert_true(answer.jobs->last_seen_at == AIS_TIME_NONE);
        ais_answer_free(&answer);
    }
}

/* A time that cannot be parsed still counts as present. */
static void test_unreadable_times(void **state)
{
    struct ais_answer answer;

    (void) state;
    assert_good(&answer, AIS_JOB,
                "{\"success\":true,\"result\":{\"id\":\"1\",\"source\":\"user\",\"started_at\":\"yesterday\","
                "\"last_seen_at\":\"\",\"ended_at\":\"2026-02-30T00:00:00Z\"}}");
    assert_int_equal(answer.jobs->state, AIS_SUCCEEDED);
    assert_true(answer.jobs->started_at == AIS_TIME_NONE);
    assert_true(answer.jobs->ended_at == AIS_TIME_NONE);
    assert_true(answer.jobs->last_seen_at == AIS_TIME_NONE);
    ais_answer_free(&answer);
}

/* The API may add members anywhere; names are case-sensitive. */
static void test_unknown_members(void **state)
{
    struct ais_answer answer;

    (void) state;
    assert_good(&answer, AIS_JOB,
                "{\"SUCCESS\":0,\"success\":true,\"Result\":1,\"errors\":[],\"messages\":{\"x\":[1e999]},\"new\":null,"
                "\"new\":1,\"result\":{\"ID\":7,\"id\":\"1\",\"source\":\"\",\"Started_At\":5,\"new\":{\"id\":1},"
                "\"new\":[]}}");
    assert_string_equal(answer.jobs->id, "1");
    assert_int_equal(answer.jobs->state, AIS_QUEUED);
    ais_answer_free(&answer);
}

#define JOB(members) "{\"success\":true,\"result\":{" members "}}"

/* Odd members of a job are ignored, without affecting the others. */
static void test_odd_members(void **state)
{
    static const struct {
        const char *members; /* after the id */
        enum ais_state state;
    } cases[] = {
        {"", AIS_QUEUED},
        {",\"source\":null", AIS_QUEUED},
        {",\"source\":{}", AIS_QUEUED},
        {",\"source\":\"a\",\"source\":\"b\"", AIS_QUEUED},
        {",\"description\":1", AIS_QUEUED},
        {",\"end_reason\":false", AIS_QUEUED},
        {",\"last_seen_at\":true", AIS_QUEUED},

        /* present, but unknown */
        {",\"started_at\":1763901850", AIS_RUNNING},
        {",\"started_at\":false", AIS_RUNNING},
        {",\"started_at\":[]", AIS_RUNNING},
        {",\"started_at\":null,\"started_at\":null", AIS_RUNNING},
        {",\"started_at\":\"2026-11-23T12:44:10Z\",\"started_at\":\"2026-11-23T12:44:10Z\"", AIS_RUNNING},
        {",\"ended_at\":{}", AIS_SUCCEEDED},
        {",\"ended_at\":0", AIS_SUCCEEDED},
        {",\"ended_at\":null,\"ended_at\":\"t\"", AIS_SUCCEEDED},
        {",\"ended_at\":null,\"\\u0065nded_at\":\"t\"", AIS_SUCCEEDED},
        {",\"ended_at\":\"t\",\"end_reason\":0", AIS_FAILED},
        {",\"ended_at\":\"t\",\"end_reason\":[]", AIS_FAILED},
        {",\"ended_at\":\"t\",\"end_reason\":\"done\",\"end_reason\":\"done\"", AIS_FAILED},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char body[512];
        struct ais_answer answer;

        snprintf(body, sizeof(body), JOB("\"id\":\"1\"%s"), cases[i].members);
        assert_good(&answer, AIS_JOB, body);
        assert_string_equal(answer.jobs->id, "1");
        assert_string_equal(answer.jobs->source, "unknown");
        assert_null(answer.jobs->description);
        assert_null(answer.jobs->end_reason);
        if (answer.jobs->state != cases[i].state)
            fail_msg("%s", cases[i].members);
        assert_int_equal(answer.jobs->started_at, AIS_TIME_NONE);
        assert_int_equal(answer.jobs->ended_at, AIS_TIME_NONE);
        assert_int_equal(answer.jobs->last_seen_at, AIS_TIME_NONE);
        ais_answer_free(&answer);
    }
}

/* The job has no id by which it could be requested. */
static void test_bad_job(void **state)
{
    static const char *const bodies[] = {
        JOB(""),
        JOB("\"source\":\"user\""),
        JOB("\"id\":\"\",\"source\":\"user\""),
        JOB("\"id\":null,\"source\":\"user\""),
        JOB("\"id\":1,\"source\":\"user\""),
        JOB("\"id\":[\"1\"],\"source\":\"user\""),
        JOB("\"id\":\"1\",\"source\":\"u\",\"id\":\"1\""),
        "{\"success\":true}",
        "{\"success\":true,\"errors\":[]}",
        "{\"success\":true,\"result\":null}",
        "{\"success\":true,\"result\":[]}",
        "{\"success\":true,\"result\":[{\"id\":\"1\",\"source\":\"u\"}]}",
        "{\"success\":true,\"result\":\"1\"}",
    };

    (void) state;
    for (size_t i = 0; i < COUNT(bodies); i++)
        assert_bad(AIS_JOB, bodies[i], "no job with an \"id\"");
}

static void test_bad_envelope(void **state)
{
    static const struct {
        const char *body;
        const char *reason;
    } cases[] = {
        {"", "not JSON"},
        {"null", "the response is not an object"},
        {"[]", "the response is not an object"},
        {"\"success\"", "the response is not an object"},
        {"1", "the response is not an object"},
        {"<html>502 Bad Gateway</html>", "not JSON"},
        {"{}", "no \"success\""},
        {"{\"result\":{\"id\":\"1\",\"source\":\"u\"}}", "no \"success\""},
        {"{\"success\":1,\"result\":{\"id\":\"1\",\"source\":\"u\"}}", "wrong type"},
        {"{\"success\":\"true\",\"result\":{\"id\":\"1\",\"source\":\"u\"}}", "wrong type"},
        {"{\"success\":null,\"errors\":[]}", "wrong type"},
        {"{\"success\":true,\"success\":true,\"result\":{\"id\":\"1\",\"source\":\"u\"}}", "\"success\" twice"},
        {"{\"success\":true,\"result\":{},\"result\":{\"id\":\"1\",\"source\":\"u\"}}", "\"result\" twice"},
        {"{\"success\":false,\"errors\":[],\"errors\":[]}", "\"errors\" twice"},
        {"{\"success\":true,\"errors\":{},\"result\":{\"id\":\"1\",\"source\":\"u\"}}", "wrong type"},

        {"{\"success\":false}", "no success, but has no"},
        {"{\"success\":false,\"errors\":null}", "no success, but has no"},
        {"{\"success\":false,\"errors\":{\"code\":1,\"message\":\"m\"}}", "wrong type"},
        /* text that a lenient parser accepts */
        {"\xEF\xBB\xBF" JOB("\"id\":\"1\",\"source\":\"u\""), "not JSON"},
        {JOB("\"id\":\"1\",\"source\":\"u\"") "}", "data after the end of the document"},
        {JOB("\"id\":\"1\",\"source\":\"u\"") JOB("\"id\":\"2\",\"source\":\"u\""),
         "data after the end of the document"},
        {JOB("\"id\":\"1\\u0000\",\"source\":\"u\""), "a NUL"},
        {JOB("\"id\":\"1\",\"source\":\"u\",\"x\\u0000\":1"), "a NUL"},
        {JOB("\"id\":\"\\uZZZZ\",\"source\":\"u\""), "an invalid escape"},
        {JOB("\"id\":\"1\xFF\",\"source\":\"u\""), "invalid UTF-8"},
        {JOB("\"id\":\"1\n\",\"source\":\"u\""), "a control character"},
        {JOB("\"id\":\"1\",\"source\":\"u\",\"n\":01"), "not JSON"},
        {JOB("\"id\":\"1\",\"source\":\"u\",}"), "not JSON"},
    };
    static const enum ais_kind kinds[] = {AIS_JOB,      AIS_LIST,  AIS_LOGS,       AIS_INSTANCES,
                                          AIS_INSTANCE, AIS_STATS, AIS_NAMESPACES, AIS_NAMESPACE};

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (size_t k = 0; k < COUNT(kinds); k++)
            assert_bad(kinds[k], cases[i].body, cases[i].reason);
    }
}

static void test_nul_byte(void **state)
{
    struct ais_answer answer;
    struct ais_error err;

    (void) state;
    assert_int_equal(ais_answer_parse(&answer, AIS_JOB, AIS_STR(JOB("\"id\":\"1\",\"source\":\"u\"") "\0"), &err), -1);
    assert_int_equal(ais_answer_parse(&answer, AIS_JOB, AIS_STR(JOB("\"id\":\"1\0\",\"source\":\"u\"")), &err), -1);
    assert_non_null(strstr(err.text, "a NUL at byte 33"));
}

/* The message names the position, but contains nothing of the body. */
static void test_message(void **state)
{
    struct ais_answer answer;
    struct ais_error err;

    (void) state;
    assert_int_equal(parse(&answer, AIS_JOB, "<html>s3cret</html>", &err), -1);
    assert_string_equal(err.text, "the response is not JSON: an invalid value at byte 0");
}

/* Nesting up to the limit, and one level deeper; a job is on the second level. */
static void test_depth(void **state)
{
    enum { BODY_MAX = 512 };

    (void) state;
    for (int depth = 1; depth <= 40; depth++) {
        char body[BODY_MAX] = "{\"success\":true,\"result\":{\"id\":\"1\",\"source\":\"u\",\"x\":";
        struct ais_answer answer;

        for (int i = 0; i < depth; i++)
            strcat(body, "[");
        for (int i = 0; i < depth; i++)
            strcat(body, "]");
        strcat(body, "}}");

        if (depth + 2 <= AIS_JSON_DEPTH_MAX) {
            assert_good(&answer, AIS_JOB, body);
            ais_answer_free(&answer);
        } else {
            assert_bad(AIS_JOB, body, "too deep nesting");
        }
    }
}

static void test_list(void **state)
{
    struct ais_answer answer;

    (void) state;
    assert_good(&answer, AIS_LIST,
                "{\"result\":[{\"id\":\"a\",\"source\":\"user\",\"started_at\":\"2026-11-23 12:00:00\"},"
                "{\"id\":\"b\",\"source\":\"schedule\",\"ended_at\":\"x\",\"end_reason\":\"cancelled by user\"}],"
                "\"result_info\":{\"count\":2,\"page\":1,\"per_page\":20,\"total_count\":2},\"success\":true}");
    assert_true(answer.success);
    assert_int_equal(answer.njobs, 2);
    assert_string_equal(answer.jobs[0].id, "a");
    assert_int_equal(answer.jobs[0].state, AIS_RUNNING);
    assert_string_equal(answer.jobs[1].id, "b");
    assert_int_equal(answer.jobs[1].state, AIS_CANCELLED);
    ais_answer_free(&answer);

    assert_good(&answer, AIS_LIST, "{\"success\":true,\"result\":[]}");
    assert_int_equal(answer.njobs, 0);
    assert_null(answer.jobs);
    ais_answer_free(&answer);

    assert_bad(AIS_LIST, "{\"success\":true}", "\"result\" is not an array");
    assert_bad(AIS_LIST, "{\"success\":true,\"result\":null}", "\"result\" is not an array");
    assert_bad(AIS_LIST, JOB("\"id\":\"1\",\"source\":\"u\""), "\"result\" is not an array");
}

/* Elements that are not jobs are skipped; but a list without any job among its elements is not a list of jobs. */
static void test_odd_elements(void **state)
{
    static const char *const odd[] = {
        "null",
        "1",
        "\"2\"",
        "[]",
        "{}",
        "{\"source\":\"u\"}",
        "{\"id\":2}",
        "{\"id\":\"\"}",
        "{\"id\":\"2\",\"id\":\"2\"}",
    };

    (void) state;
    for (size_t i = 0; i < COUNT(odd); i++) {
        char body[256];
        struct ais_answer answer;

        snprintf(body, sizeof(body), "{\"success\":true,\"result\":[%s,{\"id\":\"1\"},%s,%s,{\"id\":\"3\"}]}", odd[i],
                 odd[i], odd[i]);
        assert_good(&answer, AIS_LIST, body);
        assert_int_equal(answer.njobs, 2);
        assert_string_equal(answer.jobs[0].id, "1");
        assert_string_equal(answer.jobs[1].id, "3");
        ais_answer_free(&answer);

        snprintf(body, sizeof(body), "{\"success\":true,\"result\":[%s,%s]}", odd[i], odd[i]);
        assert_bad(AIS_LIST, body, "no job with an \"id\"");
    }
}

/* Based on reports by users of the API, including odd members. */
static void test_reported_jobs(void **state)
{
    static const struct {
        const char *job;
        enum ais_state state;
        const char *started_at; /* NULL: unknown */
    } cases[] = {
        {"\"source\":\"schedule\",\"description\":null,\"started_at\":\"2026-07-16 "
         "10:00:00\",\"ended_at\":\"2026-07-16 "
         "10:04:10\",\"last_seen_at\":\"2026-07-16 10:04:10\",\"end_reason\":\"new_job_has_started\"",
         AIS_CANCELLED, "2026-07-16T10:00:00Z"},
        {"\"source\":\"schedule\",\"description\":null,\"started_at\":\"2026-07-16T10:04:10Z\",\"ended_at\":null,"
         "\"last_seen_at\":\"2026-07-16T10:04:10Z\",\"end_reason\":null",
         AIS_RUNNING, "2026-07-16T10:04:10Z"},
        {"\"source\":\"schedule\",\"description\":null,\"started_at\":\"2026-07-16T04:00:00.123Z\",\"ended_at\":"
         "\"2026-07-16T04:05:00+00:00\",\"last_seen_at\":\"2026-07-16T04:05:00+00:00\",\"end_reason\":\"completed\"",
         AIS_SUCCEEDED, "2026-07-16T04:00:00.123Z"},
        {"\"source\":\"schedule\",\"description\":null,\"started_at\":\"2026-07-15T22:00:00\",\"ended_at\":"
         "\"2026-07-15T22:05:00\",\"last_seen_at\":\"2026-07-15T22:05:00\",\"end_reason\":\"\"",
         AIS_SUCCEEDED, "2026-07-15T22:00:00Z"},
        {"\"source\":\"user\",\"started_at\":\"2026-07-26 17:10:45\"", AIS_RUNNING, "2026-07-26T17:10:45Z"},
        {"\"source\":\"schedule\",\"description\":null,\"started_at\":1784139045,\"ended_at\":\"2026-07-15 20:00:00\","
         "\"last_seen_at\":\"2026-07-15 20:00:00\",\"end_reason\":null",
         AIS_SUCCEEDED, NULL},
        {"\"source\":\"api\",\"description\":\"queued\"", AIS_QUEUED, NULL},
    };
    char body[4096] = "{\"result\":[";
    struct ais_answer answer;

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char job[512];

        snprintf(job, sizeof(job), "%s{\"id\":\"0b5e7c1a-1111-4222-8333-00000000000%zu\",%s}", i > 0 ? "," : "", i + 1,
                 cases[i].job);
        strcat(body, job);
    }
    strcat(body, "],\"success\":true,\"errors\":[],\"messages\":[{\"code\":10000,\"message\":\"a note\","
                 "\"type\":null}],\"result_info\":{\"count\":7,\"per_page\":50}}");

    assert_good(&answer, AIS_LIST, body);
    assert_int_equal(answer.njobs, COUNT(cases));
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct ais_job *job = &answer.jobs[i];

        if (job->state != cases[i].state)
            fail_msg("%s: %s", job->id, ais_state_name(job->state));
        assert_int_equal(job->started_at, cases[i].started_at != NULL ? ms(cases[i].started_at) : AIS_TIME_NONE);
    }
    assert_string_equal(answer.jobs[0].end_reason, "new_job_has_started");
    assert_string_equal(answer.jobs[6].source, "api");
    ais_answer_free(&answer);
}

/* The number of jobs is only limited by the size of the body. */
static void test_long_list(void **state)
{
    enum { JOBS = 6000 }; /* including their members, nearly the maximum number of values */
    char *body = malloc(64 + JOBS * 64);
    struct ais_answer answer;
    char *p = body;

    (void) state;
    assert_non_null(body);
    p += sprintf(p, "{\"success\":true,\"result\":[");
    for (int i = 0; i < JOBS; i++)
        p += sprintf(p, "%s{\"id\":\"job-%d\",\"source\":\"user\"}", i > 0 ? "," : "", i);
    sprintf(p, "]}");

    assert_good(&answer, AIS_LIST, body);
    assert_int_equal(answer.njobs, JOBS);
    assert_string_equal(answer.jobs[JOBS - 1].id, "job-5999");
    ais_answer_free(&answer);
    free(body);
}

#define LOG(id, created_at, message, message_type)                                                                     \
    "{\"id\":" id ",\"created_at\":" created_at ",\"message\":" message ",\"message_type\":" message_type "}"
#define LOGS(entries) "{\"success\":true,\"result\":[" entries "]}"

static void test_logs(void **state)
{
    struct ais_answer answer;

    (void) state;
    assert_good(&answer, AIS_LOGS, LOGS(LOG("1", "1763902700", "\"m\"", "0") "," LOG("-2", "1.5", "\"\"", "1e1")));
    assert_int_equal(answer.nlogs, 2);
    assert_int_equal(answer.njobs, 0);
    assert_null(answer.jobs);
    ais_answer_free(&answer);

    assert_good(&answer, AIS_LOGS, LOGS(LOG("9007199254740992", "0", "\"m\"", "-9007199254740992")));
    ais_answer_free(&answer);

    assert_good(&answer, AIS_LOGS, LOGS(""));
    assert_int_equal(answer.nlogs, 0);
    ais_answer_free(&answer);
}

/* Entries are meant for people, so anything is accepted. */
static void test_odd_logs(void **state)
{
    struct ais_answer answer;

    (void) state;
    assert_good(&answer, AIS_LOGS, LOGS("1,{},null," LOG("\"1\"", "null", "7", "0.5") ",{\"id\":1,\"id\":1}"));
    assert_int_equal(answer.nlogs, 5);
    ais_answer_free(&answer);

    assert_bad(AIS_LOGS, "{\"success\":true}", "\"result\" is not an array");
    assert_bad(AIS_LOGS, "{\"success\":true,\"result\":null}", "\"result\" is not an array");
    assert_bad(AIS_LOGS, "{\"success\":true,\"result\":{}}", "\"result\" is not an array");
}

#define ERRORS(errors) "{\"success\":false,\"errors\":[" errors "],\"messages\":[],\"result\":null}"

static void test_errors(void **state)
{
    static const struct {
        const char *body;
        size_t nerrors;
        int code; /* of the last error */
        const char *message;
    } cases[] = {
        {"{\"success\":false,\"errors\":[{\"code\":7021,\"message\":\"job_not_found\"}],\"result\":{}}", 1, 7021,
         "job_not_found"},
        {ERRORS("{\"code\":7002,\"message\":\"a\"},{\"code\":1,\"message\":\"b\"}"), 2, 1, "b"},
        {ERRORS("{\"code\":10000,\"message\":\"\",\"error_chain\":[]}"), 1, 10000, ""},
        {"{\"success\":false,\"errors\":[],\"result\":[1,2]}", 0, 0, NULL},
        {"{\"success\":false,\"errors\":[],\"result\":false}", 0, 0, NULL},
        {ERRORS("{\"code\":1e999,\"message\":\"m\"}"), 1, INT32_MAX, "m"},
        {ERRORS("{\"code\":-1e999,\"message\":\"m\"}"), 1, INT32_MIN, "m"},

        /* without a code or with odd members: the older form of 400, and others */
        {ERRORS("{\"message\":\"Invalid input\",\"path\":[\"query\",\"per_page\"]}"), 1, 0, "Invalid input"},
        {ERRORS("{\"message\":\"Bad Request\"}"), 1, 0, "Bad Request"},
        {ERRORS("{\"code\":1}"), 1, 1, NULL},
        {ERRORS("{\"code\":1,\"message\":null}"), 1, 1, NULL},
        {ERRORS("{\"code\":\"1\",\"message\":{}}"), 1, 0, NULL},
        {ERRORS("{\"code\":null,\"message\":\"m\"}"), 1, 0, "m"},
        {ERRORS("{\"code\":1,\"code\":2,\"message\":\"m\",\"message\":\"n\"}"), 1, 0, NULL},
        {ERRORS("{}"), 1, 0, NULL},
        {ERRORS("null,1,\"2\",[]"), 4, 0, NULL},

        /* only the first ones are stored */
        {ERRORS("{\"code\":1},{\"code\":2},{\"code\":3},{\"code\":4,\"message\":\"d\"},{\"code\":5},6"), 4, 4, "d"},
    };
    static const enum ais_kind kinds[] = {AIS_JOB,      AIS_LIST,  AIS_LOGS,       AIS_INSTANCES,
                                          AIS_INSTANCE, AIS_STATS, AIS_NAMESPACES, AIS_NAMESPACE};

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (size_t k = 0; k < COUNT(kinds); k++) {
            const struct ais_api_error *last;
            struct ais_answer answer;

            assert_good(&answer, kinds[k], cases[i].body);
            assert_false(answer.success);
            assert_int_equal(answer.nerrors, cases[i].nerrors);
            last = &answer.errors[answer.nerrors > 0 ? answer.nerrors - 1 : 0];
            assert_int_equal(last->code, cases[i].code);
            if (cases[i].message == NULL)
                assert_null(last->message);
            else
                assert_string_equal(last->message, cases[i].message);
            assert_int_equal(last->nchain, 0);
            assert_null(answer.jobs);
            assert_int_equal(answer.njobs, 0);
            assert_null(answer.listing.instances);
            assert_null(answer.instance.id);
            assert_null(answer.namespace);
            ais_answer_free(&answer);
        }
    }
}

static void test_error_chain(void **state)
{
    static const struct {
        const char *chain;
        size_t nchain;
        int codes[AIS_CHAIN_MAX];
    } cases[] = {
        {"[{\"code\":6111,\"message\":\"m\"}]", 1, {6111}},
        {"[{\"code\":6102},{\"code\":6103,\"error_chain\":[{\"code\":1}]}]", 2, {6102, 6103}},
        {"[null,7,{},{\"code\":\"1\"},{\"code\":1,\"code\":1},[{\"code\":2}],{\"code\":3}]", 1, {3}},
        {"[{\"code\":1},{\"code\":2},{\"code\":3},{\"code\":4},{\"code\":5}]", 4, {1, 2, 3, 4}},
        {"{\"code\":1}", 0, {0}},
        {"null", 0, {0}},
        {"[{\"code\":1}],\"error_chain\":[{\"code\":1}]", 0, {0}},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char body[512];
        struct ais_answer answer;

        snprintf(body, sizeof(body), ERRORS("{\"code\":6003,\"error_chain\":%s}"), cases[i].chain);
        assert_good(&answer, AIS_JOB, body);
        assert_int_equal(answer.errors[0].code, 6003);
        assert_int_equal(answer.errors[0].nchain, cases[i].nchain);
        assert_memory_equal(answer.errors[0].chain, cases[i].codes, sizeof(cases[i].codes));
        ais_answer_free(&answer);
    }
}

/* For namespaces, it is sufficient that there is a list. */
static void test_namespaces(void **state)
{
    struct ais_answer answer;

    (void) state;
    assert_good(&answer, AIS_NAMESPACES, "{\"success\":true,\"result\":[{\"name\":\"default\"},1]}");
    ais_answer_free(&answer);
    assert_good(&answer, AIS_NAMESPACES, "{\"success\":true,\"result\":[]}");
    ais_answer_free(&answer);
    assert_bad(AIS_NAMESPACES, "{\"success\":true}", "\"result\" is not an array");
    assert_bad(AIS_NAMESPACES, "{\"success\":true,\"result\":{\"name\":\"default\"}}", "\"result\" is not an array");
}

/* A response of any kind is parsed as what was requested; see also test_answer_instance.c. */
static void test_instances(void **state)
{
    struct ais_answer answer;

    (void) state;
    assert_good(&answer, AIS_INSTANCES,
                "{\"success\":true,\"result\":[{\"id\":\"docs\"}],\"result_info\":{\"page\":1,\"total_count\":1}}");
    assert_true(answer.success);
    assert_int_equal(answer.listing.ninstances, 1);
    assert_string_equal(answer.listing.instances->id, "docs");
    assert_int_equal(answer.listing.total, 1);
    assert_int_equal(answer.njobs, 0);
    ais_answer_free(&answer);
    assert_null(answer.listing.instances);

    assert_good(&answer, AIS_INSTANCES,
                "{\"success\":true,\"result\":[],\"result_info\":{\"page\":-1,\"total_count\":1e16}}");
    assert_int_equal(answer.listing.page, -1);
    assert_int_equal(answer.listing.total, -1);
    ais_answer_free(&answer);

    assert_good(&answer, AIS_INSTANCES, "{\"success\":true,\"result\":[],\"result_info\":{\"page\":0.5}}");
    assert_int_equal(answer.listing.page, -1);
    ais_answer_free(&answer);

    assert_bad(AIS_INSTANCES, "{\"success\":true,\"result\":[],\"result_info\":1,\"result_info\":1}", "twice");
}

static void test_single(void **state)
{
    struct ais_answer answer;

    (void) state;
    assert_good(&answer, AIS_INSTANCE, JOB("\"id\":\"docs\",\"paused\":true"));
    assert_string_equal(answer.instance.id, "docs");
    assert_true(answer.instance.paused);
    ais_answer_free(&answer);
    assert_null(answer.instance.id);

    assert_good(&answer, AIS_STATS, JOB("\"outdated\":23"));
    assert_int_equal(answer.stats.items[5], 23);
    ais_answer_free(&answer);

    assert_good(&answer, AIS_NAMESPACE, JOB("\"name\":\"team--blue\""));
    assert_string_equal(answer.namespace, "team--blue");
    ais_answer_free(&answer);
    assert_null(answer.namespace);

    assert_bad(AIS_INSTANCE, JOB("\"name\":\"docs\""), "\"result\" is not the requested resource");
    assert_bad(AIS_STATS, "{\"success\":true,\"result\":[]}", "\"result\" is not the requested resource");
    assert_bad(AIS_NAMESPACE, JOB("\"id\":\"docs\""), "\"result\" is not the requested resource");
}

/* A truncated response is never valid, and never yields a partial job. */
static void test_every_prefix(void **state)
{
    static const char body[] = "{\"success\":true,\"result\":[{\"id\":\"1\",\"source\":\"u\",\"ended_at\":null}]}";
    struct ais_answer answer;

    (void) state;
    for (size_t len = 0; len < sizeof(body) - 1; len++) {
        struct ais_str cut = exact_copy((struct ais_str){body, len});

        assert_int_equal(ais_answer_parse(&answer, AIS_LIST, cut, NULL), -1);
        assert_null(answer.jobs);
        exact_free(cut);
    }
}

/* Each allocation of a parse fails in turn: the result is an error, and nothing is left behind. */
static void test_out_of_memory(void **state)
{
    static const char body[] = "{\"success\":true,\"result\":[{\"id\":\"1\",\"source\":\"u\"}],\"x\":[1,\"y\"]}";
    cJSON_Hooks hooks = {fusible_malloc, free};
    struct ais_answer answer;
    struct ais_error err;
    int failures = 0;
    int rc;

    (void) state;
    cJSON_InitHooks(&hooks);
    do {
        fuse = failures;
        err.text[0] = '\0';
        rc = ais_answer_parse(&answer, AIS_LIST, AIS_STR(body), &err);
        if (rc != 0) {
            assert_int_equal(rc, AIS_NO_MEMORY);
            assert_string_equal(err.text, "out of memory");
            assert_null(answer.document);
            assert_null(answer.jobs);
            failures++;
        }
    } while (rc != 0);
    fuse = -1;
    assert_int_equal(answer.njobs, 1);
    assert_string_equal(answer.jobs->id, "1");
    ais_answer_free(&answer);
    cJSON_InitHooks(NULL);

    assert_true(failures > 10);
}

static void test_free_an_empty_answer(void **state)
{
    struct ais_answer answer = {0};

    (void) state;
    ais_answer_free(&answer);
    ais_answer_free(&answer);
    assert_null(answer.jobs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_job),
        cmocka_unit_test(test_bare_job),
        cmocka_unit_test(test_unreadable_times),
        cmocka_unit_test(test_unknown_members),
        cmocka_unit_test(test_odd_members),
        cmocka_unit_test(test_bad_job),
        cmocka_unit_test(test_bad_envelope),
        cmocka_unit_test(test_nul_byte),
        cmocka_unit_test(test_message),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_odd_elements),
        cmocka_unit_test(test_reported_jobs),
        cmocka_unit_test(test_long_list),
        cmocka_unit_test(test_logs),
        cmocka_unit_test(test_odd_logs),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_error_chain),
        cmocka_unit_test(test_namespaces),
        cmocka_unit_test(test_instances),
        cmocka_unit_test(test_single),
        cmocka_unit_test(test_every_prefix),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_free_an_empty_answer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
