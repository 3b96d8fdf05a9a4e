#include "unit.h"

#include <limits.h>

#include <cjson/cJSON.h>

#include "ais_policy.h"

#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)

/* 2026-11-23T12:44:10Z */
#define NOW INT64_C(1795437850000)

static const struct ais_resource job = {.kind = AIS_JOB, .job = {"j1", 2}};
static const struct ais_resource list = {.kind = AIS_LIST};
static const struct ais_resource logs = {.kind = AIS_LOGS, .job = {"j1", 2}};
static const struct ais_resource instances = {.kind = AIS_INSTANCES};
static const struct ais_resource instance = {.kind = AIS_INSTANCE, .instance = {"docs", 4}};
static const struct ais_resource stats = {.kind = AIS_STATS, .instance = {"docs", 4}};
static const struct ais_resource namespaces = {.kind = AIS_NAMESPACES, .generation = AIS_NAMESPACED};
static const struct ais_resource namespace = {
    .kind = AIS_NAMESPACE, .generation = AIS_NAMESPACED, .namespace = {"team", 4}};

static struct ais_error why;

static struct ais_verdict judge(const struct ais_resource *res, int status, const char *body)
{
    struct ais_verdict verdict, silent;

    why.text[0] = '\0';
    verdict = ais_policy_judge(res, status, str(body), NOW, NULL, &why);
    silent = ais_policy_judge(res, status, str(body), NOW, NULL, NULL);

    assert_int_equal(verdict.fault, silent.fault);
    assert_int_equal(verdict.pass, silent.pass);
    assert_int_equal(verdict.no_route, silent.no_route);
    assert_int_equal(verdict.fault != AIS_FAULT_NONE, why.text[0] != '\0');
    return verdict;
}

static void test_classes(void **state)
{
    (void) state;
    for (int class = AIS_CLASS_ACTIVE; class <= AIS_CLASS_ERROR; class ++) {
        assert_int_equal(ais_class_is_job(class), class == AIS_CLASS_ACTIVE || class == AIS_CLASS_ENDED);
        assert_int_equal(ais_class_is_found(class), class != AIS_CLASS_NOT_FOUND && class != AIS_CLASS_ERROR);
    }
}

/* The caller owns the parsed answer, whatever kind it is; if nothing was parsed, it is empty. */
static void test_parse(void **state)
{
    static const struct ais_answer nothing;
    struct ais_answer answer;

    (void) state;
    memset(&answer, 0xAA, sizeof(answer));
    (void) ais_policy_judge(&job, 200, AIS_STR("{\"success\":true,\"result\":{\"id\":\"j1\"}}"), NOW, &answer, NULL);
    assert_string_equal(answer.jobs[0].id, "j1");
    ais_answer_free(&answer);

    (void) ais_policy_judge(&job, 200, AIS_STR("{\"success\":true,\"result\":{\"id\":\"j2\"}}"), NOW, &answer, NULL);
    assert_string_equal(answer.jobs[0].id, "j2");
    ais_answer_free(&answer);

    (void) ais_policy_judge(&job, 404, AIS_STR("{\"success\":false,\"errors\":[{\"code\":7}]}"), NOW, &answer, NULL);
    assert_int_equal(answer.errors[0].code, 7);
    ais_answer_free(&answer);

    memset(&answer, 0xAA, sizeof(answer));
    (void) ais_policy_judge(&job, 401, AIS_STR("{\"success\":false,\"errors\":[]}"), NOW, &answer, NULL);
    assert_memory_equal(&answer, &nothing, sizeof(answer));

    memset(&answer, 0xAA, sizeof(answer));
    (void) ais_policy_judge(&job, 200, AIS_STR("<html>"), NOW, &answer, NULL);
    assert_memory_equal(&answer, &nothing, sizeof(answer));
}

/* A response of that class, which may be passed on. */
static void assert_answer(struct ais_verdict verdict, enum ais_class class)
{
    if (verdict.fault != AIS_FAULT_NONE)
        fail_msg("%s", why.text);
    assert_true(verdict.pass);
    assert_int_equal(verdict.class, class);
}

/* A fault for that reason; it is never cached as a response. */
static void assert_fault(struct ais_verdict verdict, enum ais_fault fault, bool pass, const char *reason)
{
    assert_int_equal(verdict.fault, fault);
    assert_int_equal(verdict.class, AIS_CLASS_ERROR);
    assert_int_equal(verdict.pass, pass);
    assert_false(verdict.has_state);
    if (strstr(why.text, reason) == NULL)
        fail_msg("\"%s\"", why.text);
}

#define JOB(members) "{\"success\":true,\"result\":{\"id\":\"j1\",\"source\":\"user\"" members "}}"
#define ERROR(code) "{\"success\":false,\"errors\":[{\"code\":" code ",\"message\":\"s3cret\"}]}"

static void test_fault_names(void **state)
{
    static const char *const names[AIS_FAULTS] = {"none",       "connect",      "tls",     "timeout",
                                                  "credential", "rate_limited", "server",  "body",
                                                  "refused",    "budget",       "internal"};

    (void) state;
    for (int f = 0; f < AIS_FAULTS; f++)
        assert_string_equal(ais_fault_name(f), names[f]);
}

static void test_judge_job(void **state)
{
    static const struct {
        const char *body;
        enum ais_class class;
        enum ais_state state;
        int64_t age;
    } cases[] = {
        {JOB(""), AIS_CLASS_ACTIVE, AIS_QUEUED, 0},
        {JOB(",\"started_at\":\"2026-11-23T12:44:00Z\""), AIS_CLASS_ACTIVE, AIS_RUNNING, 10 * SECOND},
        {JOB(",\"started_at\":\"2026-11-23 12:44:10\""), AIS_CLASS_ACTIVE, AIS_RUNNING, 0},
        {JOB(",\"started_at\":\"2026-11-23T12:44:11Z\""), AIS_CLASS_ACTIVE, AIS_RUNNING, 0},
        {JOB(",\"started_at\":\"2036-11-23T12:44:11Z\""), AIS_CLASS_ACTIVE, AIS_RUNNING, 0},
        {JOB(",\"started_at\":\"yesterday\""), AIS_CLASS_ACTIVE, AIS_RUNNING, 0},
        {JOB(",\"started_at\":\"2026-11-23T12:44:00Z\",\"ended_at\":\"2026-11-23T12:44:05Z\""), AIS_CLASS_ENDED,
         AIS_SUCCEEDED, 0},
        {JOB(",\"ended_at\":\"x\",\"end_reason\":\"boom\""), AIS_CLASS_ENDED, AIS_FAILED, 0},
        {JOB(",\"ended_at\":\"x\",\"end_reason\":\"cancelled\""), AIS_CLASS_ENDED, AIS_CANCELLED, 0},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ais_verdict verdict = judge(&job, 200, cases[i].body);

        assert_answer(verdict, cases[i].class);
        assert_true(verdict.has_state);
        assert_int_equal(verdict.state, cases[i].state);
        assert_int_equal(verdict.age, cases[i].age);
    }
}

/* Another job than the requested one is never accepted. */
static void test_judge_other_job(void **state)
{
    static const char *const ids[] = {"j2", "j", "j11", "J1", "j1 "};

    (void) state;
    for (size_t i = 0; i < COUNT(ids); i++) {
        char body[128];

        snprintf(body, sizeof(body), "{\"success\":true,\"result\":{\"id\":\"%s\",\"source\":\"user\"}}", ids[i]);
        assert_fault(judge(&job, 200, body), AIS_FAULT_BODY, false, "a different job");
    }
}

#define RUNNING(time) "{\"id\":\"r\",\"source\":\"u\",\"started_at\":\"2026-11-23T" time "Z\"}"
#define QUEUED "{\"id\":\"q\",\"source\":\"u\"}"
#define ENDED "{\"id\":\"e\",\"source\":\"u\",\"started_at\":\"2026-11-23T12:44:09Z\",\"ended_at\":\"x\"}"
#define LIST(jobs) "{\"success\":true,\"result\":[" jobs "]}"

static void test_judge_list(void **state)
{
    static const struct {
        const char *body;
        bool has_state;
        enum ais_state state;
        int64_t age;
    } cases[] = {
        {LIST(""), false, 0, 0},
        {LIST(ENDED), false, 0, 0},
        {LIST(RUNNING("12:44:00")), true, AIS_RUNNING, 10 * SECOND},
        {LIST(RUNNING("12:00:10") "," ENDED "," RUNNING("12:43:10")), true, AIS_RUNNING, MINUTE},
        {LIST(RUNNING("12:43:10") "," RUNNING("12:00:10")), true, AIS_RUNNING, MINUTE},
        {LIST(RUNNING("12:43:10") "," QUEUED), true, AIS_QUEUED, 0},
        {LIST(QUEUED "," RUNNING("12:44:10")), true, AIS_QUEUED, 0},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ais_verdict verdict = judge(&list, 200, cases[i].body);

        assert_answer(verdict, AIS_CLASS_LIST);
        assert_int_equal(verdict.has_state, cases[i].has_state);
        assert_int_equal(verdict.state, cases[i].state);
        assert_int_equal(verdict.age, cases[i].age);
    }
}

static void test_judge_logs(void **state)
{
    struct ais_verdict verdict;

    (void) state;
    verdict = judge(&logs, 200, LIST(""));
    assert_answer(verdict, AIS_CLASS_LOGS);
    assert_false(verdict.has_state);
}

/* Like a list of jobs that are not active: nothing in it is urgent, whether instances are paused, deleted or new. */
static void test_judge_instances(void **state)
{
    struct ais_verdict verdict;

    (void) state;
    verdict = judge(&instances, 200, LIST("{\"id\":\"docs\",\"status\":\"indexing\"}"));
    assert_answer(verdict, AIS_CLASS_LIST);
    assert_false(verdict.has_state);
    assert_int_equal(ais_policy_lifetime(&ais_valid_default, &verdict), ais_valid_default.list);

    assert_answer(judge(&instances, 404, ERROR("7063")), AIS_CLASS_NOT_FOUND);
    assert_fault(judge(&instances, 403, ERROR("9109")), AIS_FAULT_CREDENTIAL, false, "credential");
    assert_fault(judge(&instances, 200, ERROR("7001")), AIS_FAULT_BODY, false, "200 with error code 7001");
}

#define ONE(members) "{\"success\":true,\"result\":{" members "}}"

/* The data of one instance or namespace, and its items. */
static void test_judge_single(void **state)
{
    static const struct {
        const struct ais_resource *res;
        const char *body;
        enum ais_class class;
        int64_t lifetime;
    } cases[] = {
        {&instance, ONE("\"id\":\"docs\",\"status\":\"error\""), AIS_CLASS_INSTANCE, MINUTE},
        {&stats, ONE("\"queued\":1"), AIS_CLASS_STATS, 10 * SECOND},
        {&stats, ONE("\"degraded\":true"), AIS_CLASS_STATS, 10 * SECOND},
        {&namespaces, LIST("{\"name\":\"team\"}"), AIS_CLASS_INSTANCE, MINUTE},
        {&namespaces, LIST(""), AIS_CLASS_INSTANCE, MINUTE},
        {&namespace, ONE("\"name\":\"team\""), AIS_CLASS_INSTANCE, MINUTE},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ais_verdict verdict = judge(cases[i].res, 200, cases[i].body);

        assert_answer(verdict, cases[i].class);
        assert_false(verdict.has_state);
        assert_false(verdict.no_route);
        assert_int_equal(ais_policy_lifetime(&ais_valid_default, &verdict), cases[i].lifetime);

        assert_answer(judge(cases[i].res, 404, ERROR("7002")), AIS_CLASS_NOT_FOUND);
        assert_fault(judge(cases[i].res, 200, ERROR("7001")), AIS_FAULT_BODY, false, "200 with error code 7001");
    }

    /* another one than the requested one is never accepted */
    assert_fault(judge(&instance, 200, ONE("\"id\":\"doc\"")), AIS_FAULT_BODY, false,
                 "a different instance or namespace");
    assert_fault(judge(&namespace, 200, ONE("\"name\":\"teams\"")), AIS_FAULT_BODY, false,
                 "a different instance or namespace");
    assert_fault(judge(&instance, 200, ONE("")), AIS_FAULT_BODY, false, "not the requested resource");
    assert_fault(judge(&namespaces, 200, ONE("\"name\":\"team\"")), AIS_FAULT_BODY, false, "not an array");
}

/* Only the API's own 404 is a response. */
static void test_judge_not_found(void **state)
{
    static const char *const bodies[] = {ERROR("7021"), ERROR("7002"), ERROR("7063"), ERROR("10000"),
                                         "{\"success\":false,\"errors\":[]}"};

    (void) state;
    for (size_t i = 0; i < COUNT(bodies); i++) {
        struct ais_verdict verdict = judge(&job, 404, bodies[i]);

        assert_answer(verdict, AIS_CLASS_NOT_FOUND);
        assert_false(verdict.no_route);
        assert_false(verdict.has_state);
    }
}

#define ERRORS(errors) "{\"success\":false,\"errors\":[" errors "],\"messages\":[],\"result\":null}"
#define SAID(code, message) "{\"code\":" code ",\"message\":\"" message "\"}"

/* All forms in which the API has been seen to reject a credential: they are neither passed on nor cached. */
static void test_judge_credential(void **state)
{
    static const struct {
        int status;
        const char *body;
        const char *reason;
    } cases[] = {
        {401, ERRORS(SAID("10000", "Authentication error")), "credential (401)"},
        {401, ERRORS(SAID("9109", "Unauthorized to access requested resource")), "credential (401)"},
        {401, "", "credential (401)"},
        {401, "<html>", "credential (401)"},
        {403, ERRORS(SAID("10000", "Authentication error")),
         "credential (403 with error code 10000); it may belong to another account or lack the permission for AI "
         "Search"},
        {400, ERRORS(SAID("10000", "Authentication error")), "credential (400 with error code 10000)"},
        {400, ERRORS(SAID("10001", "Unable to authenticate request")), "10001"},
        {403, ERRORS(SAID("10001", "Unable to authenticate request")), "10001"},
        {400,
         ERRORS("{\"code\":6003,\"message\":\"Invalid request headers\",\"error_chain\":[" SAID(
             "6111", "Invalid format for Authorization header") "]}"),
         "credential (400 with error codes 6003, 6111)"},
        {400,
         ERRORS("{\"code\":6003,\"message\":\"Invalid request headers\",\"error_chain\":[" SAID(
             "6102", "Invalid format for X-Auth-Email header") "," SAID("6103",
                                                                        "Invalid format for X-Auth-Key header") "]}"),
         "credential (400 with error codes 6003, 6102)"},
        {400, ERRORS(SAID("9106", "Missing X-Auth-Key, X-Auth-Email or Authorization headers")), "9106"},
        {403, ERRORS(SAID("9103", "Unknown X-Auth-Key or X-Auth-Email")), "9103"},
        {400, ERRORS(SAID("9103", "Unknown X-Auth-Key or X-Auth-Email")), "9103"},
        {403, ERRORS(SAID("9109", "Invalid access token")), "9109"},
        {400, ERRORS(SAID("9109", "Invalid access token")), "9109"},
        {403, ERRORS(SAID("9109", "Cannot use the access token from location: 192.0.2.7")), "9109"},
        {403, ERRORS(SAID("1", "one") "," SAID("10000", "Authentication error")), "credential (403"},
    };
    static const struct ais_resource *const resources[] = {&job,      &list,  &logs,       &instances,
                                                           &instance, &stats, &namespaces, &namespace};

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (size_t r = 0; r < COUNT(resources); r++) {
            struct ais_verdict verdict = judge(resources[r], cases[i].status, cases[i].body);

            assert_fault(verdict, AIS_FAULT_CREDENTIAL, false, cases[i].reason);
            assert_false(verdict.no_route);
            assert_int_equal(ais_policy_client_status(verdict.fault), 502);
        }
    }
}

/* The resource or the form of the request is refused: this is passed on, but does not replace a good response. */
static void test_judge_refused(void **state)
{
    static const struct {
        int status;
        const char *body;
        bool no_route;
        const char *reason;
    } cases[] = {
        {403, ERRORS(SAID("9109", "Unauthorized to access requested resource")), false,
         "lookup (403 with error code 9109)"},
        {400, ERRORS("{\"message\":\"Invalid input\",\"path\":[\"query\",\"per_page\"]}"), false, "lookup (400)"},
        {400, ERRORS("{\"message\":\"Bad Request\"}"), false, "lookup (400)"},
        {400, ERRORS(""), false, "lookup (400)"},
        {400, ERRORS("{\"code\":1,\"error_chain\":[{\"code\":2}]}"), false, "lookup (400 with error codes 1, 2)"},
        {403, ERRORS(SAID("1", "s3cret")), false, "lookup (403 with error code 1)"},
        {405, ERRORS(SAID("10000", "s3cret")), false, "lookup (405 with error code 10000)"},
        {409, ERRORS(""), false, "lookup (409)"},
        {499, ERRORS(SAID("1", "s3cret")), false, "lookup (499 with error code 1)"},

        {400, ERRORS(SAID("7000", "No route for that URI")), true, "lookup (400 with error code 7000)"},
        {400, ERRORS(SAID("7003", "Could not route to /x")), true, "lookup (400 with error code 7003)"},
        {403, ERRORS(SAID("7003", "Could not route to /x")), true, "lookup (403 with error code 7003)"},
        {404, ERRORS(SAID("7000", "No route for that URI")), true, "lookup (404 with error code 7000)"},
        {404, ERRORS(SAID("7003", "Could not route to /x")), true, "lookup (404 with error code 7003)"},
        {404, ERRORS(SAID("7021", "job_not_found") "," SAID("7003", "Could not route")), true, "lookup (404"},
        {410, ERRORS(SAID("10000", "gone")), true, "lookup (410 with error code 10000)"},
        {410, ERRORS(""), true, "lookup (410)"},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ais_verdict verdict = judge(&job, cases[i].status, cases[i].body);

        assert_fault(verdict, AIS_FAULT_REFUSED, true, cases[i].reason);
        assert_null(strstr(why.text, "s3cret"));
        if (verdict.no_route != cases[i].no_route)
            fail_msg("%d %s", cases[i].status, cases[i].body);
    }
}

/* A 410 is meaningful with any body; any other status says nothing about routes without the API's envelope. */
static void test_judge_gone(void **state)
{
    struct ais_verdict verdict = judge(&job, 410, "<html>");

    (void) state;
    assert_fault(verdict, AIS_FAULT_BODY, false, "410: the response is not JSON");
    assert_true(verdict.no_route);

    assert_false(judge(&job, 404, "<html>").no_route);
    assert_false(judge(&job, 429, ERROR("7003")).no_route);
    assert_false(judge(&job, 500, ERROR("7003")).no_route);
    assert_false(judge(&job, 200, ERROR("7003")).no_route);
}

static void test_judge_faults(void **state)
{
    static const struct {
        int status;
        const char *body;
        enum ais_fault fault;
        bool pass;
        const char *reason;
    } cases[] = {
        {401, ERROR("10000"), AIS_FAULT_CREDENTIAL, false, "credential"},
        {401, "<html>", AIS_FAULT_CREDENTIAL, false, "credential"},
        {403, ERROR("10000"), AIS_FAULT_CREDENTIAL, false, "credential"},
        {403, "<html>", AIS_FAULT_BODY, false, "403: the response is not JSON"},
        {429, ERROR("7020"), AIS_FAULT_RATE_LIMITED, false, "rate limit"},
        {429, ERROR("10429"), AIS_FAULT_RATE_LIMITED, false, "rate limit"},
        {429, ERROR("10000"), AIS_FAULT_RATE_LIMITED, false, "rate limit"},
        {429, "error code: 1015", AIS_FAULT_RATE_LIMITED, false, "rate limit"},
        {429, "", AIS_FAULT_RATE_LIMITED, false, "rate limit"},
        {421, ERROR("7001"), AIS_FAULT_SERVER, false, "421"},
        {421, "", AIS_FAULT_SERVER, false, "421"},

        {200, "", AIS_FAULT_BODY, false, "not JSON"},
        {200, "null", AIS_FAULT_BODY, false, "not an object"},
        {200, "<html>", AIS_FAULT_BODY, false, "200: the response is not JSON"},
        {200, "{\"success\":true}", AIS_FAULT_BODY, false, "no job with an \"id\""},
        {200, LIST(""), AIS_FAULT_BODY, false, "no job with an \"id\""},
        {200, LIST(QUEUED), AIS_FAULT_BODY, false, "no job with an \"id\""},
        {200, ERROR("7021"), AIS_FAULT_BODY, false, "200 with error code 7021"},
        {404, "<html>", AIS_FAULT_BODY, false, "404: the response is not JSON"},
        {404, "", AIS_FAULT_BODY, false, "not JSON"},
        {401, JOB(""), AIS_FAULT_CREDENTIAL, false, "credential"},
        {404, JOB(""), AIS_FAULT_BODY, false, "404 with \"success\":true"},
        {400, "{\"success\":false}", AIS_FAULT_BODY, false, "no success, but has no"},

        {500, ERROR("7001"), AIS_FAULT_SERVER, true, "500 with error code 7001"},
        {503, ERROR("7017"), AIS_FAULT_SERVER, true, "503 with error code 7017"},
        {500, ERROR("10000"), AIS_FAULT_SERVER, true, "500 with error code 10000"},
        {502, "{\"success\":false,\"errors\":[]}", AIS_FAULT_SERVER, true, "502 with error code 0"},
        {599, ERROR("1"), AIS_FAULT_SERVER, true, "599"},
        {500, JOB(""), AIS_FAULT_SERVER, false, "500 with \"success\":true"},
        {500, "", AIS_FAULT_SERVER, false, "500: the response is not JSON"},
        {502, "<html>502 Bad Gateway</html>", AIS_FAULT_SERVER, false, "502: the response is not JSON"},
        {520, "error code: 520", AIS_FAULT_SERVER, false, "520"},

        {0, JOB(""), AIS_FAULT_SERVER, false, "not a valid response"},
        {100, JOB(""), AIS_FAULT_SERVER, false, "not a valid response"},
        {201, JOB(""), AIS_FAULT_SERVER, false, "not a valid response"},
        {204, "", AIS_FAULT_SERVER, false, "not a valid response"},
        {206, JOB(""), AIS_FAULT_SERVER, false, "not a valid response"},
        {301, ERROR("1"), AIS_FAULT_SERVER, false, "301, which is not a valid response"},
        {304, "", AIS_FAULT_SERVER, false, "not a valid response"},
        {399, ERROR("1"), AIS_FAULT_SERVER, false, "not a valid response"},
        {600, ERROR("1"), AIS_FAULT_SERVER, false, "not a valid response"},
        {-1, JOB(""), AIS_FAULT_SERVER, false, "not a valid response"},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_fault(judge(&job, cases[i].status, cases[i].body), cases[i].fault, cases[i].pass, cases[i].reason);
        assert_null(strstr(why.text, "s3cret"));
    }

    assert_fault(judge(&list, 200, JOB("")), AIS_FAULT_BODY, false, "not an array");
    assert_fault(judge(&logs, 200, JOB("")), AIS_FAULT_BODY, false, "not an array");
    assert_fault(judge(&list, 200, LIST("{\"source\":\"u\"}")), AIS_FAULT_BODY, false, "no job with an \"id\"");
}

static const struct ais_valid valid = {.active = 2000,
                                       .active_max = 30000,
                                       .ended = 1,
                                       .list = 10000,
                                       .logs = 3,
                                       .instance = 6,
                                       .stats = 7,
                                       .not_found = 4,
                                       .error = 5};

static int64_t lifetime(enum ais_class class, bool has_state, int64_t age)
{
    struct ais_verdict verdict = {.class = class, .has_state = has_state, .age = age};

    return ais_policy_lifetime(&valid, &verdict);
}

static void *no_memory(size_t size)
{
    (void) size;
    return NULL;
}

/* Our own fault, whatever the API said: otherwise a good response would be considered a bad one and remembered. */
static void test_judge_out_of_memory(void **state)
{
    cJSON_Hooks hooks = {no_memory, free};

    (void) state;
    cJSON_InitHooks(&hooks);
    assert_fault(judge(&job, 200, JOB("")), AIS_FAULT_INTERNAL, false, "memory");
    assert_fault(judge(&job, 503, ERROR("7017")), AIS_FAULT_INTERNAL, false, "memory");
    cJSON_InitHooks(NULL);
}

static void test_lifetime(void **state)
{
    (void) state;
    assert_int_equal(lifetime(AIS_CLASS_ENDED, true, 0), 1);
    assert_int_equal(lifetime(AIS_CLASS_LOGS, false, 0), 3);
    assert_int_equal(lifetime(AIS_CLASS_NOT_FOUND, false, 0), 4);
    assert_int_equal(lifetime(AIS_CLASS_ERROR, false, 0), 5);
    assert_int_equal(lifetime(AIS_CLASS_INSTANCE, false, 0), 6);
    assert_int_equal(lifetime(AIS_CLASS_STATS, false, 0), 7);

    /* an active job: a hundredth of its age, within the bounds */
    assert_int_equal(lifetime(AIS_CLASS_ACTIVE, true, 0), 2000);
    assert_int_equal(lifetime(AIS_CLASS_ACTIVE, true, 200000), 2000);
    assert_int_equal(lifetime(AIS_CLASS_ACTIVE, true, 200100), 2001);
    assert_int_equal(lifetime(AIS_CLASS_ACTIVE, true, 1000000), 10000);
    assert_int_equal(lifetime(AIS_CLASS_ACTIVE, true, 2999999), 29999);
    assert_int_equal(lifetime(AIS_CLASS_ACTIVE, true, 3000000), 30000);
    assert_int_equal(lifetime(AIS_CLASS_ACTIVE, true, INT64_MAX), 30000);

    /* a list: as its most active job, but no longer than a list */
    assert_int_equal(lifetime(AIS_CLASS_LIST, false, 0), 10000);
    assert_int_equal(lifetime(AIS_CLASS_LIST, true, 0), 2000);
    assert_int_equal(lifetime(AIS_CLASS_LIST, true, 500000), 5000);
    assert_int_equal(lifetime(AIS_CLASS_LIST, true, 3000000), 10000);
}

static void test_lifetime_of_logs(void **state)
{
    struct ais_valid v = valid;
    struct ais_verdict verdict = {.class = AIS_CLASS_LOGS, .has_state = true, .age = 500000};

    (void) state;
    v.logs = 6000;
    verdict.state = AIS_RUNNING;
    assert_int_equal(ais_policy_lifetime(&v, &verdict), 5000);
    verdict.age = 1000000;
    assert_int_equal(ais_policy_lifetime(&v, &verdict), 6000);
    verdict.state = AIS_FAILED;
    assert_int_equal(ais_policy_lifetime(&v, &verdict), v.ended);
}

static void test_stretch(void **state)
{
    double last = 8.0;

    (void) state;
    assert_true(ais_policy_stretch(1.0) == 1.0);
    assert_true(ais_policy_stretch(0.5) == 1.0);
    assert_true(ais_policy_stretch(0.25) == 4.5);
    assert_true(ais_policy_stretch(0.0) == 8.0);
    assert_true(ais_policy_stretch(-1.0) == 8.0);

    /* continuous */
    for (double share = 0.001; share < 0.6; share += 0.001) {
        double now = ais_policy_stretch(share);

        assert_true(now <= last && last - now < 0.02);
        last = now;
    }
}

static void test_closed(void **state)
{
    static const struct {
        int status;
        int64_t retry_after;
        int64_t closed;
    } cases[] = {
        /* if the API says so, for any time */
        {429, -1, 5 * MINUTE},
        {429, 0, 0},
        {429, 7 * SECOND, 7 * SECOND},
        {429, DAY, DAY},

        /* it may only concern part of the API */
        {503, -1, 0},
        {503, 0, 0},
        {503, 1, 1},
        {503, 7 * SECOND, 7 * SECOND},
        {503, MINUTE, MINUTE},
        {503, DAY, MINUTE},

        {0, -1, 0},
        {0, 7 * SECOND, 0},
        {200, 7 * SECOND, 0},
        {301, 7 * SECOND, 0},
        {403, 7 * SECOND, 0},
        {500, 7 * SECOND, 0},
        {502, 7 * SECOND, 0},
        {504, 7 * SECOND, 0},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        if (ais_policy_closed(cases[i].status, cases[i].retry_after) != cases[i].closed)
            fail_msg("%d with %lld", cases[i].status, (long long) cases[i].retry_after);
    }
}

static void test_lifetime_defaults(void **state)
{
    (void) state;
    assert_int_equal(ais_valid_default.active, 4 * SECOND);
    assert_int_equal(ais_valid_default.active_max, 30 * SECOND);
    assert_int_equal(ais_valid_default.ended, DAY);
    assert_int_equal(ais_valid_default.list, 10 * SECOND);
    assert_int_equal(ais_valid_default.logs, 10 * SECOND);
    assert_int_equal(ais_valid_default.instance, MINUTE);
    assert_int_equal(ais_valid_default.stats, 10 * SECOND);
    assert_int_equal(ais_valid_default.not_found, 10 * SECOND);
    assert_int_equal(ais_valid_default.error, 2 * SECOND);
}

static void test_retry(void **state)
{
    (void) state;
    for (int fault = AIS_FAULT_NONE; fault < AIS_FAULTS; fault++) {
        for (int status = 0; status < 700; status++) {
            bool again = status == 421 || status == 500 || status == 502 || status == 503 || status == 504 ||
                         (status >= 520 && status <= 530);

            assert_int_equal(ais_policy_retry(fault, status, -1),
                             fault == AIS_FAULT_CONNECT || (fault == AIS_FAULT_NONE && again));
            assert_int_equal(ais_policy_retry(fault, status, 0), fault == AIS_FAULT_CONNECT);
            assert_int_equal(ais_policy_retry(fault, status, 1000), fault == AIS_FAULT_CONNECT);
        }
    }
}

static void test_backoff(void **state)
{
    static const int64_t longest[] = {100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000};

    (void) state;
    for (unsigned attempt = 1; attempt <= COUNT(longest); attempt++) {
        int64_t full = longest[attempt - 1];

        assert_int_equal(ais_policy_backoff(attempt, 0), full / 2);
        assert_uint_in_range(ais_policy_backoff(attempt, UINT32_MAX / 2), full * 3 / 4 - 1, full * 3 / 4 + 1);
        assert_int_equal(ais_policy_backoff(attempt, UINT32_MAX), full);
    }

    assert_int_equal(ais_policy_backoff(UINT_MAX, UINT32_MAX), 5000);
    assert_int_equal(ais_policy_backoff(0, UINT32_MAX), 100);
}

/* The random half is uniform over its whole range: all pauses are about equally frequent. */
static void test_backoff_uniform(void **state)
{
    enum { DRAWS = 51 * 1000 };
    unsigned seen[51] = {0};

    (void) state;
    for (uint32_t i = 0; i < DRAWS; i++) {
        int64_t pause = ais_policy_backoff(1, (uint32_t) (((uint64_t) i << 32) / DRAWS));

        assert_uint_in_range(pause, 50, 100);
        seen[pause - 50]++;
    }

    for (size_t i = 0; i < COUNT(seen); i++)
        assert_uint_in_range(seen[i], 999, 1001);
}

static void test_retry_after(void **state)
{
    static const struct {
        const char *value;
        int64_t ms;
    } cases[] = {
        {"0", 0},
        {"1", SECOND},
        {"120", 2 * MINUTE},
        {"00007", 7 * SECOND},
        {"300", 5 * MINUTE},
        {" 5\t", 5 * SECOND},
        {"\t \t5", 5 * SECOND},
        {"86400", DAY},
        {"86401", DAY},
        {"99999999999999999999999999999999999999", DAY},

        {"Mon, 23 Nov 2026 12:44:40 GMT", 30 * SECOND},
        {" Mon, 23 Nov 2026 12:44:40 GMT ", 30 * SECOND},
        {"Monday, 23-Nov-26 12:45:10 GMT", MINUTE},
        {"Mon Nov 23 12:49:10 2026", 5 * MINUTE},
        {"Mon, 23 Nov 2026 12:44:10 GMT", 0},
        {"Mon, 23 Nov 2026 12:44:09 GMT", 0},
        {"Sun, 06 Nov 1994 08:49:37 GMT", 0},
        {"Fri, 31 Dec 9999 23:59:59 GMT", DAY},

        {"", -1},
        {" ", -1},
        {"-1", -1},
        {"+1", -1},
        {"1.5", -1},
        {"1e3", -1},
        {"1s", -1},
        {"1 2", -1},
        {"12,13", -1},
        {"0x10", -1},
        {"soon", -1},
        {"\xD9\xA1", -1},
        {"2026-11-23T12:44:40Z", -1},
        {"Mon, 32 Nov 2026 12:44:40 GMT", -1},
        {"\n5", -1},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ais_str value = exact_copy(str(cases[i].value));

        if (ais_policy_retry_after(value, NOW) != cases[i].ms)
            fail_msg("\"%s\": %lld", cases[i].value, (long long) ais_policy_retry_after(value, NOW));
        exact_free(value);
    }

    assert_int_equal(ais_policy_retry_after((struct ais_str){NULL, 0}, NOW), -1);
    assert_int_equal(ais_policy_retry_after(AIS_STR("5\0"), NOW), -1);
}

static void test_client_status(void **state)
{
    (void) state;
    for (int fault = 0; fault < AIS_FAULTS; fault++) {
        int expected = fault == AIS_FAULT_TIMEOUT ? 504
                       : fault == AIS_FAULT_RATE_LIMITED || fault == AIS_FAULT_BUDGET || fault == AIS_FAULT_INTERNAL
                           ? 503
                           : 502;

        assert_int_equal(ais_policy_client_status(fault), expected);
        assert_true(strlen(ais_policy_client_text(fault)) > 0);
        for (int other = 0; other < fault; other++)
            assert_string_not_equal(ais_policy_client_text(fault), ais_policy_client_text(other));
    }
    assert_string_equal(ais_policy_client_text(AIS_FAULT_BUDGET), "the budget for calls to the API is used up");
}

/* The decision of a cache: fresh for 10 s, stale for 5 s while it is refreshed, for 60 s if that fails. */

#define GOOD .good = true, .lifetime = 10000
#define ASKED_FOR_A_PAUSE .failed = true, .failure_age = 3000, .retry_after = 3001

static struct ais_decision decide(struct ais_cached cached, bool bypass, bool peek)
{
    static const struct ais_freshness freshness = {
        .valid = {.error = 2000}, .stale_updating = 5000, .stale_error = 60000};

    return ais_policy_decide(&cached, &freshness, bypass, peek);
}

static void assert_decision(struct ais_decision decision, enum ais_serve serve, bool fetch)
{
    assert_int_equal(decision.serve, serve);
    assert_int_equal(decision.fetch, fetch);
}

#define DECIDES(serve, fetch, ...)                                                                                     \
    assert_decision(decide((struct ais_cached){__VA_ARGS__}, false, false), AIS_SERVE_##serve, fetch)
#define DECIDES_WITH(bypass, peek, serve, fetch, ...)                                                                  \
    assert_decision(decide((struct ais_cached){__VA_ARGS__}, bypass, peek), AIS_SERVE_##serve, fetch)

static void test_decide_without_failure(void **state)
{
    (void) state;
    DECIDES(NOTHING, true, .age = 0);
    DECIDES(FRESH, false, GOOD, .age = 9999);
    DECIDES(UPDATING, true, GOOD, .age = 10000);
    DECIDES(UPDATING, true, GOOD, .age = 14999);
    DECIDES(NOTHING, true, GOOD, .age = 15000);
    DECIDES(FRESH, false, GOOD, .age = 15000, .came = true);

    /* after a 404 the job may exist by now; what is never fresh is always waited for */
    DECIDES(FRESH, false, GOOD, .not_found = true, .age = 9999);
    DECIDES(NOTHING, true, GOOD, .not_found = true, .age = 10000);
    DECIDES(NOTHING, true, .good = true, .age = 1);
    DECIDES(NOTHING, true, .came = true, .age = 0);
}

static void test_decide_with_failure(void **state)
{
    (void) state;

    /* it is remembered for the time of "error", or for as long as the API says */
    DECIDES(FAILED, false, .failed = true, .failure_age = 1999);
    DECIDES(NOTHING, true, .failed = true, .failure_age = 2000);
    DECIDES(FAILED, false, ASKED_FOR_A_PAUSE);
    DECIDES(NOTHING, true, .failed = true, .failure_age = 3001, .retry_after = 3001);
    DECIDES(FAILED, false, .failed = true, .failed_since = true, .failure_age = 2000);

    DECIDES(FRESH, false, GOOD, .age = 9999, .failed = true);
    DECIDES(STALE, false, GOOD, .age = 69999, .failed = true, .failure_age = 1999);
    DECIDES(STALE, true, GOOD, .age = 69999, .failed = true, .failure_age = 2000);
    DECIDES(FAILED, false, GOOD, .age = 70000, .failed = true, .failure_age = 1999);
    DECIDES(NOTHING, true, GOOD, .age = 70000, .failed = true, .failure_age = 2000);
    DECIDES(STALE, false, GOOD, .not_found = true, .age = 10000, .failed = true);
}

static void test_decide_bypass(void **state)
{
    (void) state;
    DECIDES_WITH(true, false, NOTHING, true, .age = 0);
    DECIDES_WITH(true, false, NOTHING, true, GOOD, .age = 0);
    DECIDES_WITH(true, false, FRESH, false, GOOD, .age = 0, .came = true);
    DECIDES_WITH(true, false, NOTHING, true, .failed = true, .failure_age = 0);
    DECIDES_WITH(true, false, FAILED, false, .failed = true, .failed_since = true, .failure_age = 0);
    DECIDES_WITH(true, false, FRESH, false, GOOD, .came = true, .failed = true, .failed_since = true);

    /* not even this calls an API that has asked for a pause */
    DECIDES_WITH(true, false, FAILED, false, ASKED_FOR_A_PAUSE);
    DECIDES_WITH(true, false, STALE, false, GOOD, .age = 20000, ASKED_FOR_A_PAUSE);
    DECIDES_WITH(true, false, STALE, false, GOOD, .age = 20000, .came = true, ASKED_FOR_A_PAUSE);
}

static void test_decide_peek(void **state)
{
    (void) state;
    DECIDES_WITH(false, true, NOTHING, false, .age = 0);
    DECIDES_WITH(false, true, FRESH, false, GOOD, .age = 9999);
    DECIDES_WITH(false, true, STALE, false, GOOD, .age = 69999);
    DECIDES_WITH(false, true, NOTHING, false, GOOD, .age = 70000);
    DECIDES_WITH(false, true, FAILED, false, .failed = true, .failure_age = 1999);
    DECIDES_WITH(false, true, NOTHING, false, .failed = true, .failure_age = 2000);
}

static void test_decide_known(void **state)
{
    (void) state;
    assert_true(decide((struct ais_cached){GOOD, .age = 10000}, false, false).known);
    assert_false(decide((struct ais_cached){GOOD, .age = 10000}, true, false).known);
    assert_false(decide((struct ais_cached){GOOD, .age = 10000, .not_found = true}, false, false).known);
    assert_false(decide((struct ais_cached){.failed = true}, false, false).known);
}

static void test_cacheable(void **state)
{
    enum ais_fault fault;

    (void) state;
    for (fault = AIS_FAULT_NONE; fault < AIS_FAULTS; fault++)
        assert_int_equal(ais_policy_cacheable(fault),
                         fault != AIS_FAULT_CREDENTIAL && fault != AIS_FAULT_BUDGET && fault != AIS_FAULT_INTERNAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_fault_names),
        cmocka_unit_test(test_judge_job),
        cmocka_unit_test(test_judge_other_job),
        cmocka_unit_test(test_judge_list),
        cmocka_unit_test(test_judge_logs),
        cmocka_unit_test(test_judge_instances),
        cmocka_unit_test(test_judge_single),
        cmocka_unit_test(test_judge_not_found),
        cmocka_unit_test(test_judge_credential),
        cmocka_unit_test(test_judge_refused),
        cmocka_unit_test(test_judge_gone),
        cmocka_unit_test(test_judge_faults),
        cmocka_unit_test(test_judge_out_of_memory),
        cmocka_unit_test(test_lifetime),
        cmocka_unit_test(test_lifetime_of_logs),
        cmocka_unit_test(test_decide_without_failure),
        cmocka_unit_test(test_decide_with_failure),
        cmocka_unit_test(test_decide_bypass),
        cmocka_unit_test(test_decide_peek),
        cmocka_unit_test(test_decide_known),
        cmocka_unit_test(test_cacheable),
        cmocka_unit_test(test_stretch),
        cmocka_unit_test(test_closed),
        cmocka_unit_test(test_lifetime_defaults),
        cmocka_unit_test(test_retry),
        cmocka_unit_test(test_backoff),
        cmocka_unit_test(test_backoff_uniform),
        cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_client_status),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
