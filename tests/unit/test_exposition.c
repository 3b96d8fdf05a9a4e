/* Formatting of metrics: Prometheus' text format 0.0.4. */

#include "unit.h"

#include "ais_exposition.h"

#define UP_HEAD                                                                                                        \
    "# HELP aisearch_up 1 if the API responds, 0 if the values are the last known ones.\n"                             \
    "# TYPE aisearch_up gauge\n"
#define LABELS "account=\"docs\",namespace=\"default\",index=\"handbook\""
#define AT INT64_C(1795435200007) /* 2026-11-23T12:00:00.007Z */

static const struct ais_resource list = {.kind = AIS_LIST, .instance = {"handbook", 8}};
static const struct ais_resource instance = {.kind = AIS_INSTANCE, .instance = {"handbook", 8}};
static const struct ais_resource stats = {.kind = AIS_STATS, .instance = {"handbook", 8}};

/* The memory has exactly the length that was announced. The caller frees the text. */
static char *write_text(const struct ais_exposition *exposition)
{
    size_t len = ais_exposition_write(NULL, exposition);
    char *out = malloc(len);
    char *text = calloc(1, len + 1);

    assert_non_null(out);
    assert_non_null(text);
    assert_int_equal(ais_exposition_write(out, exposition), len);
    memcpy(text, out, len);
    free(out);
    return text;
}

static void assert_text(const struct ais_exposition *exposition, const char *expected)
{
    char *text = write_text(exposition);

    assert_string_equal(text, expected);
    free(text);
}

/* The text contains this line, and the family of its sample has a header. */
static void assert_lines(const struct ais_resource *resource, const struct ais_answer *answer, const char *const *lines,
                         size_t nlines)
{
    struct ais_exposition exposition = {AIS_STR("docs"), resource, true, answer, AT};
    char *text = write_text(&exposition);
    size_t nsamples = 0;

    for (size_t i = 0; i < nlines; i++) {
        char line[256];

        snprintf(line, sizeof(line), "\n%s\n", lines[i]);
        if (strstr(text, line) == NULL)
            fail_msg("no %s in\n%s", lines[i], text);
        snprintf(line, sizeof(line), "# TYPE %.*s gauge\n", (int) strcspn(lines[i], "{"), lines[i]);
        if (strstr(text, line) == NULL)
            fail_msg("no %s in\n%s", line, text);
    }

    /* and no others except aisearch_up and aisearch_answer_timestamp_seconds */
    for (const char *p = text; *p != '\0'; p = strchr(p, '\n') + 1)
        nsamples += *p != '#';
    if (nsamples != nlines + 2)
        fail_msg("%zu samples in\n%s", nsamples, text);
    free(text);
}

static void test_without_a_response(void **state)
{
    struct ais_exposition exposition = {AIS_STR("docs"), &list, false, NULL, AT};

    (void) state;
    assert_text(&exposition, UP_HEAD "aisearch_up{" LABELS "} 0\n");
}

static void test_text(void **state)
{
    static const struct ais_answer answer = {.instance = {.paused = true}};
    struct ais_exposition exposition = {AIS_STR("docs"), &instance, true, &answer, AT};

    (void) state;
    assert_text(&exposition, UP_HEAD
                "aisearch_up{" LABELS "} 1\n"
                "# HELP aisearch_answer_timestamp_seconds Time of the API response these metrics are based on.\n"
                "# TYPE aisearch_answer_timestamp_seconds gauge\n"
                "aisearch_answer_timestamp_seconds{" LABELS "} 1795435200.007\n"
                "# HELP aisearch_instance_paused 1 while the instance is paused, by its owner or by the API.\n"
                "# TYPE aisearch_instance_paused gauge\n"
                "aisearch_instance_paused{" LABELS "} 1\n"
                "# HELP aisearch_instance_error 1 while the API reports an error of the instance.\n"
                "# TYPE aisearch_instance_error gauge\n"
                "aisearch_instance_error{" LABELS "} 0\n");
}

static void test_labels(void **state)
{
    static const struct ais_resource named = {
        .kind = AIS_LIST, .namespace = {"team-a", 6}, .instance = {"a\\b\"c\nd", 7}};
    struct ais_exposition exposition = {AIS_STR("\"\\\n"), &named, true, NULL, AT};

    (void) state;
    assert_text(&exposition, UP_HEAD "aisearch_up{account=\"\\\"\\\\\\n\",namespace=\"team-a\","
                                     "index=\"a\\\\b\\\"c\\nd\"} 1\n");
}

static void test_no_jobs(void **state)
{
    static const struct ais_answer answer;
    static const char *const lines[] = {
        "aisearch_listed_jobs{" LABELS ",state=\"queued\"} 0",
        "aisearch_listed_jobs{" LABELS ",state=\"running\"} 0",
        "aisearch_listed_jobs{" LABELS ",state=\"succeeded\"} 0",
        "aisearch_listed_jobs{" LABELS ",state=\"failed\"} 0",
        "aisearch_listed_jobs{" LABELS ",state=\"cancelled\"} 0",
    };

    (void) state;
    assert_lines(&list, &answer, lines, COUNT(lines));
}

static void test_jobs(void **state)
{
    static struct ais_job jobs[] = {
        {.state = AIS_SUCCEEDED, .started_at = 1000, .ended_at = 2000},
        {.state = AIS_FAILED, .started_at = 5000, .ended_at = 6500},
        {.state = AIS_SUCCEEDED, .started_at = 3000, .ended_at = 4001},
    };
    static const struct ais_answer answer = {.jobs = jobs, .njobs = COUNT(jobs)};
    static const char *const lines[] = {
        "aisearch_listed_jobs{" LABELS ",state=\"queued\"} 0",
        "aisearch_listed_jobs{" LABELS ",state=\"running\"} 0",
        "aisearch_listed_jobs{" LABELS ",state=\"succeeded\"} 2",
        "aisearch_listed_jobs{" LABELS ",state=\"failed\"} 1",
        "aisearch_listed_jobs{" LABELS ",state=\"cancelled\"} 0",
        "aisearch_job_state{" LABELS ",state=\"queued\"} 0",
        "aisearch_job_state{" LABELS ",state=\"running\"} 0",
        "aisearch_job_state{" LABELS ",state=\"succeeded\"} 0",
        "aisearch_job_state{" LABELS ",state=\"failed\"} 1",
        "aisearch_job_state{" LABELS ",state=\"cancelled\"} 0",
        "aisearch_job_started_timestamp_seconds{" LABELS "} 5.000",
        "aisearch_job_ended_timestamp_seconds{" LABELS "} 6.500",
        "aisearch_last_success_timestamp_seconds{" LABELS "} 4.001",
    };

    (void) state;
    assert_lines(&list, &answer, lines, COUNT(lines));
}

static void test_items(void **state)
{
    static const struct ais_answer all = {.stats = {.items = {0, 1, 2, 3, 4, INT64_MAX}}};
    static const struct ais_answer some = {.stats = {.items = {-1, -1, 2, 3, -1, -1}}};
    static const struct ais_answer degraded = {.stats = {.items = {0, 1, 2, 3, 4, 5}, .degraded = true}};
    static const char *const lines[] = {
        "aisearch_items{" LABELS ",state=\"completed\"} 2",
        "aisearch_items{" LABELS ",state=\"error\"} 3",
        "aisearch_items{" LABELS ",state=\"queued\"} 0",
        "aisearch_items{" LABELS ",state=\"running\"} 1",
        "aisearch_items{" LABELS ",state=\"skipped\"} 4",
        "aisearch_items{" LABELS ",state=\"outdated\"} 9223372036854775807",
    };

    (void) state;
    assert_lines(&stats, &all, lines, COUNT(lines));
    assert_lines(&stats, &some, lines, 2);
    assert_lines(&stats, &degraded, NULL, 0);
}

static void test_possible(void **state)
{
    (void) state;
    assert_true(ais_exposition_possible(AIS_LIST));
    assert_true(ais_exposition_possible(AIS_INSTANCE));
    assert_true(ais_exposition_possible(AIS_STATS));
    assert_false(ais_exposition_possible(AIS_JOB));
    assert_false(ais_exposition_possible(AIS_LOGS));
    assert_false(ais_exposition_possible(AIS_INSTANCES));
    assert_false(ais_exposition_possible(AIS_NAMESPACES));
    assert_false(ais_exposition_possible(AIS_NAMESPACE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_a_response),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_no_jobs),
        cmocka_unit_test(test_jobs),
        cmocka_unit_test(test_items),
        cmocka_unit_test(test_possible),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
