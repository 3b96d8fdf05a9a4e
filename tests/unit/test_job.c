#include "unit.h"

#include "ais_job.h"

static void test_state_names(void **state)
{
    static const char *const names[AIS_STATES] = {"queued", "running", "succeeded", "failed", "cancelled"};

    (void) state;
    for (int s = 0; s < AIS_STATES; s++) {
        assert_string_equal(ais_state_name(s), names[s]);
        assert_int_equal(ais_state_active(s), s == AIS_QUEUED || s == AIS_RUNNING);
    }
}

static void test_state(void **state)
{
    static const struct {
        const char *started_at;
        const char *ended_at;
        const char *end_reason;
        enum ais_state state;
    } cases[] = {
        {NULL, NULL, NULL, AIS_QUEUED},
        {NULL, NULL, "failed", AIS_QUEUED},
        {"t", NULL, NULL, AIS_RUNNING},
        {"t", NULL, "cancelled", AIS_RUNNING},
        {"", NULL, NULL, AIS_RUNNING},
        {"t", "t", NULL, AIS_SUCCEEDED},
        {NULL, "t", NULL, AIS_SUCCEEDED},
        {NULL, "", NULL, AIS_SUCCEEDED},
        {"t", "t", "", AIS_SUCCEEDED},
        {"t", "t", "completed", AIS_SUCCEEDED},
        {"t", "t", "complete", AIS_SUCCEEDED},
        {"t", "t", "success", AIS_SUCCEEDED},
        {"t", "t", "succeeded", AIS_SUCCEEDED},
        {"t", "t", "finished", AIS_SUCCEEDED},
        {"t", "t", "done", AIS_SUCCEEDED},
        {"t", "t", "ok", AIS_SUCCEEDED},
        {"t", "t", "OK", AIS_SUCCEEDED},
        {"t", "t", "Finished", AIS_SUCCEEDED},
        {"t", "t", "SUCCESS", AIS_SUCCEEDED},
        {"t", "t", "cancelled", AIS_CANCELLED},
        {"t", "t", "canceled", AIS_CANCELLED},
        {"t", "t", "CANCEL", AIS_CANCELLED},
        {"t", "t", "user_Cancelled_it", AIS_CANCELLED},
        {"t", "t", "done, then caNCEl", AIS_CANCELLED},
        {"t", "t", "cancancel", AIS_CANCELLED},
        {"t", "t", "new_job_has_started", AIS_CANCELLED},
        {"t", "t", "New_Job_Has_Started", AIS_CANCELLED},
        {"t", "t", "superseded", AIS_CANCELLED},
        {"t", "t", "Superseded by job 7", AIS_CANCELLED},
        {NULL, "t", "new_job_has_started", AIS_CANCELLED},
        {"t", NULL, "new_job_has_started", AIS_RUNNING},
        {"t", "t", "failed", AIS_FAILED},
        {"t", "t", "error", AIS_FAILED},
        {"t", "t", "timeout", AIS_FAILED},
        {"t", "t", "cance", AIS_FAILED},
        {"t", "t", "supersede", AIS_FAILED},
        {"t", "t", "new_job_has_started_", AIS_FAILED},
        {"t", "t", "new_job_has_starte", AIS_FAILED},
        {"t", "t", "a new_job_has_started", AIS_FAILED},
        {"t", "t", "unsuccessful", AIS_FAILED},
        {"t", "t", "successful", AIS_FAILED},
        {"t", "t", "not done", AIS_FAILED},
        {"t", "t", "okay", AIS_FAILED},
        {"t", "t", "o", AIS_FAILED},
        {"t", "t", " ", AIS_FAILED},
        {"t", "t", " ok", AIS_FAILED},
        {"t", "t", "ok ", AIS_FAILED},
        {"t", "t", "[bad] @`{", AIS_FAILED},
        {"t", "t", "\xC7\x8Ek", AIS_FAILED},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        if (ais_job_state(cases[i].started_at, cases[i].ended_at, cases[i].end_reason) != cases[i].state)
            fail_msg("case %zu", i);
    }
}

static void test_newest(void **state)
{
    struct ais_job jobs[] = {
        {.started_at = 5},  {.started_at = 9},
        {.started_at = 9},  {.started_at = 7},
        {.started_at = -1}, {.started_at = AIS_TIME_NONE},
        {.started_at = 9},  {.started_at = AIS_TIME_NONE},
    };

    (void) state;
    assert_null(ais_jobs_newest(jobs, 0));
    assert_null(ais_jobs_newest(NULL, 0));
    assert_ptr_equal(ais_jobs_newest(jobs, 1), &jobs[0]);
    assert_ptr_equal(ais_jobs_newest(jobs, 2), &jobs[1]);
    assert_ptr_equal(ais_jobs_newest(jobs, 5), &jobs[1]);
    assert_ptr_equal(ais_jobs_newest(jobs, COUNT(jobs)), &jobs[5]);
    assert_ptr_equal(ais_jobs_newest(jobs + 6, 2), &jobs[7]);
    assert_ptr_equal(ais_jobs_newest(jobs + 4, 1), &jobs[4]);
}

static void test_sum(void **state)
{
    const struct ais_job jobs[] = {
        {.state = AIS_FAILED, .started_at = 9, .ended_at = 10},
        {.state = AIS_SUCCEEDED, .started_at = 5, .ended_at = AIS_TIME_NONE}, /* at a time that cannot be parsed */
        {.state = AIS_SUCCEEDED, .started_at = 5, .ended_at = 8},
        {.state = AIS_SUCCEEDED, .started_at = 1, .ended_at = 2},
        {.state = AIS_RUNNING, .started_at = 3, .ended_at = AIS_TIME_NONE},
    };
    struct ais_jobs sum = ais_jobs_sum_up(jobs, COUNT(jobs));

    (void) state;
    assert_ptr_equal(sum.newest, ais_jobs_newest(jobs, COUNT(jobs)));
    assert_int_equal(sum.counts[AIS_QUEUED], 0);
    assert_int_equal(sum.counts[AIS_RUNNING], 1);
    assert_int_equal(sum.counts[AIS_SUCCEEDED], 3);
    assert_int_equal(sum.counts[AIS_FAILED], 1);
    assert_int_equal(sum.counts[AIS_CANCELLED], 0);
    assert_int_equal(sum.succeeded_at, 8);

    sum = ais_jobs_sum_up(jobs, 2);
    assert_true(sum.succeeded_at == AIS_TIME_NONE);

    sum = ais_jobs_sum_up(NULL, 0);
    assert_null(sum.newest);
    assert_int_equal(sum.counts[AIS_SUCCEEDED], 0);
    assert_true(sum.succeeded_at == AIS_TIME_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_state_names),
        cmocka_unit_test(test_state),
        cmocka_unit_test(test_newest),
        cmocka_unit_test(test_sum),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
