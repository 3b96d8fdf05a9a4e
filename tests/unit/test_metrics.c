/* The collectd plugin's values, as a pure function of what is known; and when it requests an instance's items. */

#include "unit.h"

#include "../../collectd-plugin/history.c"
#include "../../collectd-plugin/instance.c"

#define NOW INT64_C(1795435200000) /* 2026-11-23T12:00:00Z */
#define LIFETIME INT64_C(900000)
#define IDLE INT64_C(300000)

#define QUEUED "{\"id\":\"q\",\"source\":\"user\"}"
#define RUNNING                                                                                                        \
    "{\"id\":\"r\",\"source\":\"user\",\"started_at\":\"2026-11-23T11:50:00Z\","                                       \
    "\"last_seen_at\":\"2026-11-23 11:59:30\"}"
#define SUCCEEDED                                                                                                      \
    "{\"id\":\"s\",\"source\":\"user\",\"started_at\":\"2026-11-23T10:00:00Z\","                                       \
    "\"ended_at\":\"2026-11-23T10:30:00Z\",\"last_seen_at\":\"2026-11-23T10:30:00Z\"}"
#define FAILED                                                                                                         \
    "{\"id\":\"f\",\"source\":\"user\",\"started_at\":\"2026-11-23T11:00:00Z\","                                       \
    "\"ended_at\":\"2026-11-23T11:10:30Z\",\"end_reason\":\"no disk\"}"
#define CANCELLED                                                                                                      \
    "{\"id\":\"c\",\"source\":\"user\",\"ended_at\":\"2026-11-23T11:10:30Z\",\"end_reason\":\"cancelled\"}"
#define UNREADABLE                                                                                                     \
    "{\"id\":\"u\",\"source\":\"user\",\"started_at\":\"yesterday\",\"ended_at\":\"today\",\"last_seen_at\":\"now\"}"
#define FUTURE                                                                                                         \
    "{\"id\":\"z\",\"source\":\"user\",\"started_at\":\"2026-11-23T13:00:00Z\","                                       \
    "\"last_seen_at\":\"2026-11-23T13:00:01Z\"}"

#define LIST(jobs) "{\"success\":true,\"result\":[" jobs "]}"
#define JOB(job) "{\"success\":true,\"result\":" job "}"

static instance_t instance;
static latest_t latest;

static int set_up(void **state)
{
    (void) state;
    instance = (instance_t){.name = "docs-handbook", .polls = 1};
    instance_init(&instance, NOW);
    latest = (latest_t){.good = false};
    return 0;
}

static void take(enum ais_kind kind, const char *body, int64_t now, int64_t age)
{
    struct ais_answer answer;

    assert_int_equal(ais_answer_parse(&answer, kind, ais_str_of(body), NULL), 0);
    latest_take(&latest, &answer, now - age);
    ais_answer_free(&answer);
}

static char text[1024];

/* "type-instance=value ...", in the order of dispatch. */
static void add_text(const metrics_t *metrics, const char *type, const char *name, double value)
{
    size_t len = strlen(text);

    assert_string_equal(metrics->plugin_instance, instance.name);
    snprintf(text + len, sizeof(text) - len, "%s%s-%s=%g", len > 0 ? " " : "", type, name, value);
}

static metrics_t metrics_at(int64_t now, bool details)
{
    text[0] = '\0';
    return (metrics_t){
        .now = now, .lifetime = LIFETIME, .details = details, .plugin_instance = instance.name, .dispatch = add_text};
}

static void check_latest(const char *job, bool details, int64_t now, const char *expected)
{
    metrics_t metrics = metrics_at(now, details);

    latest_metrics(&latest, &instance, job, &metrics);
    assert_string_equal(text, expected);
}

static const char *instance_text(bool details, int64_t now)
{
    metrics_t metrics = metrics_at(now, details);

    instance_metrics(&instance, &metrics);
    return text;
}

static void check_instance(bool details, int64_t now, const char *expected)
{
    assert_string_equal(instance_text(details, now), expected);
}

/* ---- the latest response ----------------------------------------------------------------------------------------- */

/* The age counts from when the instance was first heard of, or from the last response before a restart. */
static void test_before_the_first_response(void **state)
{
    (void) state;
    check_latest(NULL, true, NOW + 5000, "duration-since_read=5");
    instance.read_at = NOW - 60000;
    check_latest(NULL, true, NOW + 5000, "duration-since_read=65");
}

static void test_lists(void **state)
{
    (void) state;
    take(AIS_LIST, LIST(SUCCEEDED "," RUNNING "," QUEUED "," FAILED "," CANCELLED), NOW, 0);
    check_latest(NULL, true, NOW, "duration-since_read=0 count-running=1 gauge-state=0 duration-job=0");
    take(AIS_LIST, LIST(RUNNING "," SUCCEEDED), NOW, 0);
    check_latest(NULL, false, NOW, "duration-since_read=0 gauge-state=1 duration-job=600");
    take(AIS_LIST, LIST(""), NOW, 0);
    check_latest(NULL, true, NOW + 1500, "duration-since_read=1.5 count-running=0");
}

static void test_job_in_each_state(void **state)
{
    static const struct {
        const char *body;
        const char *expected;
    } cases[] = {
        {JOB(QUEUED), "duration-since_read-x=0 gauge-state-x=0 duration-job-x=0"},
        {JOB(RUNNING), "duration-since_read-x=0 gauge-state-x=1 duration-job-x=600 duration-last_seen-x=30"},
        {JOB(SUCCEEDED), "duration-since_read-x=0 gauge-state-x=2 duration-job-x=1800 duration-since_success-x=5400"},
        {JOB(FAILED), "duration-since_read-x=0 gauge-state-x=3 duration-job-x=630"},
        {JOB(CANCELLED), "duration-since_read-x=0 gauge-state-x=4"},
        /* Only the presence of the times determines the state. */
        {JOB(UNREADABLE), "duration-since_read-x=0 gauge-state-x=2"},
        /* A clock ahead of ours. */
        {JOB(FUTURE), "duration-since_read-x=0 gauge-state-x=1 duration-job-x=0 duration-last_seen-x=0"},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        take(AIS_JOB, cases[i].body, NOW, 0);
        check_latest("x", true, NOW, cases[i].expected);
    }
}

/* The job is reported as of the time of the response, however late the report is. */
static void test_age_of_the_response(void **state)
{
    (void) state;
    take(AIS_LIST, LIST(RUNNING), NOW, 10000);
    check_latest(NULL, false, NOW, "duration-since_read=10 gauge-state=1 duration-job=590");
    check_latest(NULL, false, NOW + 5000, "duration-since_read=15 gauge-state=1 duration-job=590");
}

/* A failed lookup removes nothing; a response that is too old does, except for its age. */
static void test_data_after_a_failure(void **state)
{
    (void) state;
    take(AIS_LIST, LIST(QUEUED), NOW, 0);
    latest.good = false;
    check_latest(NULL, false, NOW + LIFETIME, "duration-since_read=900 gauge-state=0 duration-job=0");
    check_latest(NULL, false, NOW + LIFETIME + 1000, "duration-since_read=901");
}

/* A pinned job that has ended is not, and need not be, looked up again. */
static void test_an_ended_job_does_not_expire(void **state)
{
    (void) state;
    take(AIS_JOB, JOB(FAILED), NOW, 0);
    check_latest("x", false, NOW + 100 * LIFETIME, "duration-since_read-x=0 gauge-state-x=3 duration-job-x=630");
}

static void test_clock_set_back(void **state)
{
    (void) state;
    take(AIS_JOB, JOB(SUCCEEDED), NOW, 0);
    check_latest("x", false, NOW - 86400000,
                 "duration-since_read-x=0 gauge-state-x=2 duration-job-x=1800 duration-since_success-x=0");
}

/* ---- the instance ------------------------------------------------------------------------------------------------ */

/* Conditions and counters are reported from the start. Counters are those in the state file. */
static void test_instance(void **state)
{
    (void) state;
    check_instance(false, NOW,
                   "gauge-failed=0 gauge-stalled=0 gauge-overdue=0 gauge-instance_error=0 "
                   "operations-succeeded=0 operations-failed=0");

    instance.reported.has_begun[CONDITION_FAILED] = instance.reported.has_begun[CONDITION_INSTANCE_ERROR] = true;
    instance.history.listed = true;
    instance.history.succeeded_at = NOW - 60000;
    instance.history.changed_at = NOW - 30000;
    instance.history.ended[AIS_FAILED] = 3;
    instance.written[AIS_FAILED] = 2;
    instance.written[AIS_SUCCEEDED] = 7;
    check_instance(false, NOW,
                   "gauge-failed=1 gauge-stalled=0 gauge-overdue=0 gauge-instance_error=1 "
                   "operations-succeeded=7 operations-failed=2 duration-since_success=60");
    check_instance(true, NOW,
                   "gauge-failed=1 gauge-stalled=0 gauge-overdue=0 gauge-instance_error=1 "
                   "operations-succeeded=7 operations-failed=2 operations-cancelled=0 "
                   "duration-since_change=30 duration-sync_interval=21600 duration-since_success=60");
}

static void test_an_instance_that_is_gone(void **state)
{
    (void) state;
    instance.is_gone = true;
    check_instance(true, NOW, "gauge-failed=0 gauge-stalled=0 gauge-overdue=0 gauge-instance_error=0");
}

static void test_sync_interval(void **state)
{
    (void) state;
    instance.history.listed = true;
    instance.facts.sync_interval = 900000;
    assert_non_null(strstr(instance_text(true, NOW), "sync_interval=900"));
    instance.facts.paused = true;
    assert_null(strstr(instance_text(true, NOW), "sync_interval"));
}

static void test_not_looked_up(void **state)
{
    (void) state;
    assert_false(instance_is_unread(&instance, NOW + LIFETIME, LIFETIME));
    assert_true(instance_is_unread(&instance, NOW + LIFETIME + 1, LIFETIME));
    instance.read_at = NOW + 1;
    assert_false(instance_is_unread(&instance, NOW + LIFETIME + 1, LIFETIME));
    instance.polls_over = instance.polls; /* pinned jobs that have ended */
    assert_false(instance_is_unread(&instance, NOW + 10 * LIFETIME, LIFETIME));
}

/* ---- items ------------------------------------------------------------------------------------------------------- */

static const struct ais_stats good = {.items = {1, 2, 3, 4, 5, -1}};
static const struct ais_stats degraded = {.items = {-1, -1, -1, -1, -1, -1}, .degraded = true};

/* Not with the first lookup, which all instances have at once; then once in four idle intervals. */
static void test_items_are_due(void **state)
{
    items_t items = {.known = false};

    (void) state;
    assert_false(items_due(&items, false, 1000));
    assert_true(items_due(&items, false, 2000));
    items_take(&items, &good, false, IDLE, 2000);
    assert_true(items.known);
    assert_int_equal(items.stats.items[3], 4);
    assert_false(items_due(&items, false, 2000 + 4 * IDLE - 1));
    assert_true(items_due(&items, false, 2000 + 4 * IDLE));
}

static void test_items_after_a_job(void **state)
{
    items_t items = {.known = false};

    (void) state;
    assert_true(items_due(&items, true, 1000));
    items_take(&items, &good, false, IDLE, 1000);
    assert_false(items_due(&items, false, 1001));
    assert_true(items_due(&items, true, 1002));
}

/* Unknown values are omitted; if they may be known soon, they are requested sooner. */
static void test_gaps_of_items(void **state)
{
    items_t items = {.known = false};

    (void) state;
    items_due(&items, false, 0);
    items_take(&items, &good, false, IDLE, 0);
    items_take(&items, &degraded, false, IDLE, 0);
    assert_false(items.known);
    assert_false(items_due(&items, false, 4 * IDLE - 1));

    items_take(&items, &good, false, IDLE, 0);
    items_take(&items, NULL, false, IDLE, 0);
    assert_false(items.known);
    assert_false(items_due(&items, false, 4 * IDLE - 1));

    items_take(&items, NULL, true, IDLE, 0);
    assert_false(items.known);
    assert_false(items_due(&items, false, IDLE - 1));
    assert_true(items_due(&items, false, IDLE));
}

static void test_items_as_values(void **state)
{
    (void) state;
    items_take(&instance.items, &good, false, IDLE, 0);
    assert_non_null(strstr(instance_text(false, NOW),
                           " count-items_queued=1 count-items_running=2 count-items_completed=3 count-items_error=4 "
                           "count-items_skipped=5"));
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_before_the_first_response),
        TEST(test_lists),
        TEST(test_job_in_each_state),
        TEST(test_age_of_the_response),
        TEST(test_data_after_a_failure),
        TEST(test_an_ended_job_does_not_expire),
        TEST(test_clock_set_back),
        TEST(test_instance),
        TEST(test_an_instance_that_is_gone),
        TEST(test_sync_interval),
        TEST(test_not_looked_up),
        TEST(test_items_are_due),
        TEST(test_items_after_a_job),
        TEST(test_gaps_of_items),
        TEST(test_items_as_values),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
