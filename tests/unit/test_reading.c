/* The collectd plugin's values, as a pure function of what was answered. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "../../collectd-plugin/jobs.c"
#include "../../collectd-plugin/reading.c"

/* 2026-11-23T12:00:00Z */
#define NOW INT64_C(1795435200000)

#define QUEUED "{\"id\":\"q\",\"source\":\"user\"}"
#define RUNNING                                                                                                        \
    "{\"id\":\"r\",\"source\":\"user\",\"started_at\":\"2026-11-23T11:50:00Z\","                                       \
    "\"last_seen_at\":\"2026-11-23 11:59:30\"}"
#define SUCCEEDED                                                                                                      \
    "{\"id\":\"s\",\"source\":\"user\",\"started_at\":\"2026-11-23T10:00:00Z\","                                       \
    "\"ended_at\":\"2026-11-23T10:30:00Z\",\"last_seen_at\":\"2026-11-23T10:30:00Z\"}"
#define SUCCEEDED_EARLIER                                                                                              \
    "{\"id\":\"t\",\"source\":\"user\",\"started_at\":\"2026-11-22T10:00:00Z\",\"ended_at\":\"2026-11-22T10:30:00Z\"}"
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

static void update(reading_t *reading, enum ais_kind kind, const char *body, int64_t now, int64_t age)
{
    struct ais_answer answer;

    assert_int_equal(ais_answer_parse(&answer, kind, ais_str_of(body), NULL), 0);
    aisearch_reading_update(reading, kind, &answer, now, age);
    ais_answer_free(&answer);
}

static reading_t read_once(enum ais_kind kind, const char *body)
{
    reading_t reading;

    aisearch_reading_init(&reading);
    update(&reading, kind, body, NOW, 0);
    return reading;
}

/* The values as text, to be compared at a glance: "type-instance=value ...", in the order of dispatch. */
static void check_some(bool watched, bool all, const reading_t *reading, int64_t now, const char *expected)
{
    reading_value_t values[READING_VALUES_MAX];
    size_t n = aisearch_reading_values(reading, now, watched, all, values);
    char text[512] = "";
    size_t len = 0;

    assert_true(n <= READING_VALUES_MAX);
    for (size_t i = 0; i < n; i++)
        len += (size_t) snprintf(text + len, sizeof(text) - len, "%s%s-%s=%g", i > 0 ? " " : "", values[i].type,
                                 values[i].type_instance, values[i].value);
    assert_string_equal(text, expected);
}

static void check_values(const reading_t *reading, int64_t now, const char *expected)
{
    check_some(true, true, reading, now, expected);
}

static void test_nothing_before_the_first_answer(void **state)
{
    reading_t reading;

    (void) state;
    aisearch_reading_init(&reading);
    check_values(&reading, NOW, "");

    aisearch_reading_fail(&reading);
    check_values(&reading, NOW + 60000, "");
}

static void test_list_of_all_states(void **state)
{
    reading_t reading = read_once(
        AIS_LIST, LIST(SUCCEEDED "," RUNNING "," QUEUED "," FAILED "," CANCELLED "," SUCCEEDED_EARLIER "," FAILED));

    (void) state;
    /* The queued job is the newest. The success is the one at 10:30 today, 90 minutes ago. */
    check_values(&reading, NOW,
                 "duration-since_read=0 count-queued=1 count-running=1 count-succeeded=2 count-failed=2 "
                 "count-cancelled=1 gauge-state=0 duration-job=0 duration-since_success=5400");
}

static void test_empty_list(void **state)
{
    reading_t reading = read_once(AIS_LIST, LIST(""));

    (void) state;
    check_values(&reading, NOW + 1500,
                 "duration-since_read=1.5 count-queued=0 count-running=0 count-succeeded=0 count-failed=0 "
                 "count-cancelled=0");
}

static void test_job_in_each_state(void **state)
{
    static const struct {
        const char *body;
        const char *expected;
    } cases[] = {
        {JOB(QUEUED), "duration-since_read=0 gauge-state=0 duration-job=0"},
        {JOB(RUNNING), "duration-since_read=0 gauge-state=1 duration-job=600 duration-last_seen=30"},
        {JOB(SUCCEEDED), "duration-since_read=0 gauge-state=2 duration-job=1800 duration-since_success=5400"},
        {JOB(FAILED), "duration-since_read=0 gauge-state=3 duration-job=630"},
        {JOB(CANCELLED), "duration-since_read=0 gauge-state=4"},
        /* The state is told by the presence of the times alone. */
        {JOB(UNREADABLE), "duration-since_read=0 gauge-state=2"},
        /* A clock ahead of ours. */
        {JOB(FUTURE), "duration-since_read=0 gauge-state=1 duration-job=0 duration-last_seen=0"},
    };

    (void) state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        reading_t reading = read_once(AIS_JOB, cases[i].body);

        check_values(&reading, NOW, cases[i].expected);
    }
}

static void test_age_of_the_answer(void **state)
{
    reading_t reading;

    (void) state;
    aisearch_reading_init(&reading);
    update(&reading, AIS_JOB, JOB(RUNNING), NOW, 10000);

    /* The job is told as it was 10 s before the answer arrived, however late that is reported. */
    check_values(&reading, NOW, "duration-since_read=10 gauge-state=1 duration-job=590 duration-last_seen=20");
    check_values(&reading, NOW + 5000, "duration-since_read=15 gauge-state=1 duration-job=590 duration-last_seen=20");
}

static void test_failure_makes_a_gap(void **state)
{
    reading_t reading = read_once(AIS_JOB, JOB(QUEUED));

    (void) state;
    aisearch_reading_fail(&reading);
    check_values(&reading, NOW + 3000, "duration-since_read=3");

    update(&reading, AIS_JOB, JOB(QUEUED), NOW + 4000, 0);
    check_values(&reading, NOW + 4000, "duration-since_read=0 gauge-state=0 duration-job=0");
}

/* However old it is: the next look is due when it is due. But somebody has to see to that. */
static void test_overdue_answer_makes_a_gap(void **state)
{
    reading_t reading = read_once(AIS_JOB, JOB(QUEUED));

    (void) state;
    check_values(&reading, NOW + 20000, "duration-since_read=20 gauge-state=0 duration-job=0");
    check_some(false, true, &reading, NOW + 20000, "duration-since_read=20");

    aisearch_reading_fail(&reading);
    check_values(&reading, NOW + 70000, "duration-since_read=70");
}

static void test_active(void **state)
{
    static const struct {
        const char *body;
        bool active;
    } cases[] = {
        {LIST(SUCCEEDED "," FAILED), false},
        {LIST(RUNNING "," SUCCEEDED), true},
        {LIST(SUCCEEDED "," QUEUED), true},
        {LIST(CANCELLED), false},
        {LIST(""), false},
    };
    reading_t reading;

    (void) state;
    aisearch_reading_init(&reading);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        update(&reading, AIS_LIST, cases[i].body, NOW, 0);
        assert_int_equal(aisearch_reading_active(&reading), cases[i].active);
    }
}

/* What nobody has asked for is left out of a list: with four values of its history, there are ten at most. */
static void test_most_important_values(void **state)
{
    reading_t reading = read_once(AIS_LIST, LIST(RUNNING "," SUCCEEDED));

    (void) state;
    check_some(true, false, &reading, NOW,
               "duration-since_read=0 count-running=1 gauge-state=1 duration-job=600 duration-last_seen=30 "
               "duration-since_success=5400");
}

/* A pinned one that has ended is not looked at again, and does not have to be. */
static void test_ended_job_does_not_get_old(void **state)
{
    reading_t reading = read_once(AIS_JOB, JOB(FAILED));

    (void) state;
    check_values(&reading, NOW + 86400000, "duration-since_read=0 gauge-state=3 duration-job=630");
}

static void test_clock_set_back(void **state)
{
    reading_t reading = read_once(AIS_JOB, JOB(SUCCEEDED));

    (void) state;
    check_values(&reading, NOW - 86400000,
                 "duration-since_read=0 gauge-state=2 duration-job=1800 duration-since_success=0");
}

static void test_success_is_remembered(void **state)
{
    reading_t reading = read_once(AIS_LIST, LIST(SUCCEEDED));

    (void) state;
    update(&reading, AIS_LIST, LIST(FAILED "," SUCCEEDED_EARLIER), NOW, 0);
    check_values(&reading, NOW,
                 "duration-since_read=0 count-queued=0 count-running=0 count-succeeded=1 count-failed=1 "
                 "count-cancelled=0 gauge-state=3 duration-job=630 duration-since_success=5400");
}

/* At noon: what is active, and what ended after eleven; not with an id that would not fit into a name. */
static void test_jobs_of_a_list(void **state)
{
    static const char body[] =
        LIST(SUCCEEDED "," RUNNING "," FAILED "," QUEUED "," UNREADABLE ",{\"id\":\"a/b\",\"source\":\"user\"}");
    struct ais_answer answer;
    jobs_t jobs = {.jobs = NULL}, copy;

    (void) state;
    assert_int_equal(ais_answer_parse(&answer, AIS_LIST, ais_str_of(body), NULL), 0);
    for (int i = 0; i < 2; i++) {
        aisearch_jobs_update(&jobs, &answer, NOW);
        assert_int_equal(jobs.njobs, 3);
        assert_string_equal(jobs.jobs[0].id, "r");
        assert_string_equal(jobs.jobs[1].id, "f");
        assert_string_equal(jobs.jobs[2].id, "q");
        assert_int_equal(jobs.jobs[1].job.state, AIS_FAILED);
    }

    assert_true(aisearch_jobs_copy(&copy, &jobs));
    aisearch_jobs_free(&jobs);
    assert_int_equal(copy.njobs, 3);
    assert_string_equal(copy.jobs[2].id, "q");
    aisearch_jobs_free(&copy);

    answer.njobs = 0;
    aisearch_jobs_update(&jobs, &answer, NOW);
    assert_int_equal(jobs.njobs, 0);
    assert_true(aisearch_jobs_copy(&copy, &jobs));
    ais_answer_free(&answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_before_the_first_answer),
        cmocka_unit_test(test_list_of_all_states),
        cmocka_unit_test(test_empty_list),
        cmocka_unit_test(test_job_in_each_state),
        cmocka_unit_test(test_age_of_the_answer),
        cmocka_unit_test(test_failure_makes_a_gap),
        cmocka_unit_test(test_overdue_answer_makes_a_gap),
        cmocka_unit_test(test_active),
        cmocka_unit_test(test_most_important_values),
        cmocka_unit_test(test_ended_job_does_not_get_old),
        cmocka_unit_test(test_clock_set_back),
        cmocka_unit_test(test_jobs_of_a_list),
        cmocka_unit_test(test_success_is_remembered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
