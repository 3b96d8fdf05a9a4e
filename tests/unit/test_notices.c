/* The collectd plugin's notifications: when a condition begins and ends, and how this is reported. */

#include "unit.h"

#include "../../collectd-plugin/conditions.c"
#include "../../collectd-plugin/history.c"
#include "../../collectd-plugin/instance.c"

#define NOW INT64_C(1795435200000) /* 2026-11-23T12:00:00Z */
#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define NONE AIS_TIME_NONE

/* An account with one instance, over several lookups. */
typedef struct {
    int64_t stalled_after, overdue_after;
    instance_t instance;
    conditions_account_t account;
    notices_t notices;
} fixture_t;

static int setup(void **state)
{
    fixture_t *f = calloc(1, sizeof(*f));

    if (f == NULL)
        return -1;
    instance_init(&f->instance, NOW);
    f->instance.reported.name = "docs-handbook";
    f->account.reported.name = "docs";
    f->instance.reported.notices = f->account.reported.notices = &f->notices;
    f->stalled_after = 15 * MINUTE;
    f->overdue_after = 12 * HOUR;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;

    history_free(&f->instance.history);
    free(f->notices.all);
    free(f);
    return 0;
}

static struct ais_job job(const char *id, enum ais_state state, int64_t started_at, int64_t ended_at)
{
    return (struct ais_job){.id = id,
                            .source = "user",
                            .state = state,
                            .started_at = started_at,
                            .ended_at = ended_at,
                            .last_seen_at = NONE};
}

static void look(fixture_t *f, struct ais_job *jobs, size_t njobs, int64_t now)
{
    struct ais_answer answer = {.success = true, .jobs = jobs, .njobs = njobs};
    history_news_t news;

    history_page(&f->instance.history, &answer, 1, now, f->stalled_after, &news);
    conditions_judge(&f->instance, f->overdue_after, &news, now);
}

static void look_at(fixture_t *f, struct ais_job only, int64_t now)
{
    look(f, &only, 1, now);
}

static void know(fixture_t *f, const facts_t *facts, int64_t now)
{
    conditions_know(&f->instance, facts, now);
}

/* Checks what a report sends, one line each: "SEVERITY PLUGIN_INSTANCE/CONDITION MESSAGE". */
static void check_read(fixture_t *f, const char *expected)
{
    static char text[16384];
    size_t len = 0;
    notice_t n;

    text[0] = '\0';
    conditions_report(&f->account);
    assert_false(notices_take(&f->notices, &n)); /* they are not in the state file yet */
    f->notices.written = f->notices.n;
    while (notices_take(&f->notices, &n)) {
        len += (size_t) snprintf(text + len, sizeof(text) - len, "%s %s/%s %s\n",
                                 n.is_over                            ? "OKAY"
                                 : conditions_is_failure(n.condition) ? "FAILURE"
                                                                      : "WARNING",
                                 n.name, condition_name(n.condition), n.message);
    }
    assert_string_equal(text, expected);
}

/* ---- failed ------------------------------------------------------------------------------------------------------ */

static void test_failed(void **state)
{
    fixture_t *f = *state;
    struct ais_job jobs[] = {job("a", AIS_FAILED, NOW - HOUR, NOW - MINUTE), job("b", AIS_RUNNING, NOW, NONE)};

    look(f, jobs, 2, NOW);
    check_read(f, ""); /* there are no notifications about the past */

    jobs[1] = job("b", AIS_FAILED, NOW, NOW + 90 * SECOND);
    jobs[1].end_reason = "no disk";
    look(f, jobs, 2, NOW + 2 * MINUTE);
    check_read(f, "FAILURE docs-handbook/failed Job b (user) has failed after 90 s: no disk\n");
    look(f, jobs, 2, NOW + 3 * MINUTE);
    check_read(f, "");

    look_at(f, job("c", AIS_CANCELLED, NOW + 3 * MINUTE, NOW + 4 * MINUTE), NOW + 5 * MINUTE);
    check_read(f, "");
    look_at(f, job("d", AIS_FAILED, NONE, NOW + 5 * MINUTE), NOW + 6 * MINUTE);
    check_read(f, "FAILURE docs-handbook/failed Job d (user) has failed\n");
    look_at(f, job("e", AIS_SUCCEEDED, NOW + 6 * MINUTE, NOW + 7 * MINUTE), NOW + 8 * MINUTE);
    check_read(f, "OKAY docs-handbook/failed Job e (user) has succeeded after 60 s\n");
    look_at(f, job("f", AIS_SUCCEEDED, NOW + 7 * MINUTE, NOW + 8 * MINUTE), NOW + 9 * MINUTE);
    check_read(f, "");
}

static void test_several_ends_between_two_lookups(void **state)
{
    fixture_t *f = *state;
    struct ais_job jobs[] = {
        job("c", AIS_FAILED, NOW, NOW + 3 * SECOND),
        job("b", AIS_SUCCEEDED, NOW, NOW + 2 * SECOND),
        job("a", AIS_FAILED, NOW, NOW + SECOND),
    };

    look(f, NULL, 0, NOW);
    look(f, jobs, 3, NOW + MINUTE);
    check_read(f, "FAILURE docs-handbook/failed Job a (user) has failed after 1 s\n"
                  "OKAY docs-handbook/failed Job b (user) has succeeded after 2 s\n"
                  "FAILURE docs-handbook/failed Job c (user) has failed after 3 s\n");
}

static void test_a_failure_that_is_detected_late(void **state)
{
    fixture_t *f = *state;
    struct ais_job jobs[] = {job("b", AIS_SUCCEEDED, NOW, NOW + 2 * SECOND), job("a", AIS_FAILED, NOW, NOW + SECOND)};

    look(f, NULL, 0, NOW);
    look(f, jobs, 1, NOW + MINUTE);
    look(f, jobs, 2, NOW + 2 * MINUTE);
    check_read(f, "FAILURE docs-handbook/failed Job a (user) has failed after 1 s\n"
                  "OKAY docs-handbook/failed A later job has succeeded\n");

    look_at(f, job("d", AIS_FAILED, NOW + 3 * MINUTE, NOW + 3 * MINUTE), NOW + 4 * MINUTE);
    look_at(f, job("c", AIS_FAILED, NOW, NOW + SECOND), NOW + 5 * MINUTE);
    check_read(f, "FAILURE docs-handbook/failed Job d (user) has failed after 0 s\n"
                  "FAILURE docs-handbook/failed Job c (user) has failed after 1 s\n");
}

/* Of more ends than a page has, the newest are read first; their result stands. */
static void test_failures_on_several_pages(void **state)
{
    fixture_t *f = *state;
    struct ais_job newer[] = {job("f", AIS_FAILED, NOW, NOW + 9 * SECOND)};
    struct ais_job older[] = {job("b", AIS_SUCCEEDED, NOW, NOW + 2 * SECOND), job("a", AIS_FAILED, NOW, NOW + SECOND)};

    look(f, NULL, 0, NOW);
    look(f, newer, 1, NOW + MINUTE);
    look(f, older, 2, NOW + MINUTE);
    check_read(f, "FAILURE docs-handbook/failed Job f (user) has failed after 9 s\n"
                  "FAILURE docs-handbook/failed Job a (user) has failed after 1 s\n");
    look_at(f, job("g", AIS_SUCCEEDED, NOW, NOW + 9 * SECOND), NOW + 2 * MINUTE);
    check_read(f, "OKAY docs-handbook/failed Job g (user) has succeeded after 9 s\n");
}

/* ---- stalled ----------------------------------------------------------------------------------------------------- */

static void test_stalled(void **state)
{
    fixture_t *f = *state;
    struct ais_job jobs[] = {job("a", AIS_RUNNING, NOW - 20 * MINUTE, NONE), job("q", AIS_QUEUED, NONE, NONE)};

    jobs[0].last_seen_at = NOW;
    look(f, jobs, 1, NOW + 15 * MINUTE);
    check_read(f, "");
    look(f, jobs, 1, NOW + 16 * MINUTE);
    check_read(f, "WARNING docs-handbook/stalled Job a (user) has shown no activity for 16 min\n");
    look(f, jobs, 2, NOW + 17 * MINUTE);
    check_read(f, "");

    /* the queued one continues it */
    look(f, jobs + 1, 1, NOW + 33 * MINUTE);
    look(f, jobs + 1, 1, NOW + 34 * MINUTE);
    check_read(f, "");
    look(f, NULL, 0, NOW + 35 * MINUTE);
    check_read(f, "");
    look(f, NULL, 0, NOW + 36 * MINUTE);
    check_read(f, "OKAY docs-handbook/stalled No job is stalled anymore\n");
}

static void test_queued_for_too_long(void **state)
{
    fixture_t *f = *state;

    look_at(f, job("q", AIS_QUEUED, NONE, NONE), NOW);
    look_at(f, job("q", AIS_QUEUED, NONE, NONE), NOW + 15 * MINUTE + SECOND);
    check_read(f, "WARNING docs-handbook/stalled Job q (user) has been queued for 15 min\n");
    look_at(f, job("q", AIS_RUNNING, NOW + 15 * MINUTE, NONE), NOW + 16 * MINUTE);
    check_read(f, "OKAY docs-handbook/stalled No job is stalled anymore\n");
}

/* ---- overdue ----------------------------------------------------------------------------------------------------- */

static void test_overdue_since_first_sight(void **state)
{
    fixture_t *f = *state;
    struct ais_job old = job("a", AIS_SUCCEEDED, NOW - 50 * HOUR, NOW - 49 * HOUR);

    look(f, &old, 1, NOW);
    look(f, &old, 1, NOW + 12 * HOUR);
    check_read(f, "");
    look(f, &old, 1, NOW + 12 * HOUR + SECOND);
    check_read(f, "WARNING docs-handbook/overdue No job has succeeded since the instance was first seen, 12 h ago\n");
    look_at(f, job("b", AIS_FAILED, NOW + 13 * HOUR, NOW + 13 * HOUR), NOW + 13 * HOUR);
    look_at(f, job("c", AIS_SUCCEEDED, NOW + 13 * HOUR, NOW + 14 * HOUR), NOW + 14 * HOUR);
    check_read(f, "FAILURE docs-handbook/failed Job b (user) has failed after 0 s\n"
                  "OKAY docs-handbook/failed Job c (user) has succeeded after 60 min\n"
                  "OKAY docs-handbook/overdue A job has succeeded\n");

    look(f, NULL, 0, NOW + 27 * HOUR);
    check_read(f, "WARNING docs-handbook/overdue No job has succeeded for 13 h\n");
}

static void test_overdue_since_it_was_created(void **state)
{
    fixture_t *f = *state;

    f->instance.facts.created_at = NOW - 13 * HOUR;
    look(f, NULL, 0, NOW);
    check_read(f, "WARNING docs-handbook/overdue No job has succeeded since the instance was created, 13 h ago\n");

    f->instance.facts.paused = true;
    look(f, NULL, 0, NOW + HOUR);
    check_read(f, "OKAY docs-handbook/overdue The instance is paused\n");
    look(f, NULL, 0, NOW + 2 * HOUR);
    check_read(f, "");
}

/* No condition begins or ends while data that is needed is still being read. */
static void test_overdue_waits_for_data(void **state)
{
    fixture_t *f = *state;

    f->instance.awaited = true;
    look(f, NULL, 0, NOW);
    look(f, NULL, 0, NOW + 13 * HOUR);
    check_read(f, "");
    f->instance.awaited = false;
    look(f, NULL, 0, NOW + 14 * HOUR);
    check_read(f, "WARNING docs-handbook/overdue No job has succeeded since the instance was first seen, 14 h ago\n");
    f->instance.awaited = f->instance.facts.paused = true;
    look(f, NULL, 0, NOW + 15 * HOUR);
    check_read(f, "");
}

/* By default, twice the instance's own interval counts, plus a quarter of an hour. */
static void test_overdue_by_the_interval(void **state)
{
    static const int64_t intervals[] = {900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 0};

    for (size_t i = 0; i < COUNT(intervals); i++) {
        int64_t after = 2 * (intervals[i] > 0 ? intervals[i] : 21600) * SECOND + 15 * MINUTE;
        fixture_t *f;
        char text[160], span[SPAN_SIZE];

        teardown(state);
        setup(state);
        f = *state;
        f->overdue_after = OVERDUE_BY_INTERVAL;
        f->instance.facts.sync_interval = intervals[i] * SECOND;
        look(f, NULL, 0, NOW);
        look_at(f, job("a", AIS_SUCCEEDED, NOW, NOW + MINUTE), NOW + MINUTE);
        look(f, NULL, 0, NOW + MINUTE + after);
        check_read(f, "");
        look(f, NULL, 0, NOW + MINUTE + after + SECOND);
        snprintf(text, sizeof(text), "WARNING docs-handbook/overdue No job has succeeded for %s\n",
                 conditions_span(span, after + SECOND));
        check_read(f, text);
    }
}

static void test_overdue_after_overrides_the_interval(void **state)
{
    fixture_t *f = *state;

    f->instance.facts.sync_interval = 15 * MINUTE;
    look(f, NULL, 0, NOW);
    look(f, NULL, 0, NOW + 12 * HOUR);
    check_read(f, "");
    f->overdue_after = 0;
    look(f, NULL, 0, NOW + 100 * HOUR);
    check_read(f, "");
}

/* Instances without sync jobs, or that should not have any, are never overdue, nor is that time counted. */
static void test_never_overdue(void **state)
{
    static const struct {
        facts_t facts;
        const char *end;
    } cases[] = {
        {{.indexed = AIS_INDEXED_AS_STORED}, "The instance has built-in storage, and no sync jobs"},
        {{.disabled = true}, "Syncing is off"},
        {{.paused = true}, "The instance is paused"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        facts_t normal = {.created_at = NONE, .sync_interval = HOUR};
        fixture_t *f;
        char text[160];

        teardown(state);
        setup(state);
        f = *state;
        f->overdue_after = OVERDUE_BY_INTERVAL;
        f->instance.facts = cases[i].facts;
        f->instance.facts.created_at = NONE;
        f->instance.facts.sync_interval = HOUR;
        look(f, NULL, 0, NOW);
        look(f, NULL, 0, NOW + 100 * HOUR);
        check_read(f, "");

        know(f, &normal, NOW + 100 * HOUR + 10 * MINUTE);
        look(f, NULL, 0, NOW + 102 * HOUR + 10 * MINUTE);
        check_read(f, "");
        look(f, NULL, 0, NOW + 102 * HOUR + 11 * MINUTE);
        check_read(f, "WARNING docs-handbook/overdue No job has succeeded since the instance was first seen, 4 d "
                      "ago\n");

        know(f, &cases[i].facts, NOW + 103 * HOUR);
        look(f, NULL, 0, NOW + 103 * HOUR);
        snprintf(text, sizeof(text), "OKAY docs-handbook/overdue %s\n", cases[i].end);
        check_read(f, text);
    }
}

/* If an instance is to sync more often, it is not overdue because of that, but has only a quarter of an hour of
 * grace. */
static void test_an_interval_that_changes(void **state)
{
    fixture_t *f = *state;
    facts_t facts = {.created_at = NONE, .sync_interval = 24 * HOUR};

    f->overdue_after = OVERDUE_BY_INTERVAL;
    know(f, &facts, NOW);
    look(f, NULL, 0, NOW);
    look(f, NULL, 0, NOW + 20 * HOUR);
    facts.sync_interval = 15 * MINUTE;
    know(f, &facts, NOW + 20 * HOUR);
    look(f, NULL, 0, NOW + 20 * HOUR + 30 * MINUTE);
    check_read(f, "");
    look(f, NULL, 0, NOW + 20 * HOUR + 31 * MINUTE);
    check_read(f, "WARNING docs-handbook/overdue No job has succeeded since the instance was first seen, 20 h ago\n");

    /* syncing less often is no reason for another grace period */
    facts.sync_interval = 10 * HOUR;
    know(f, &facts, NOW + 21 * HOUR);
    look(f, NULL, 0, NOW + 21 * HOUR);
    check_read(f, "");
}

/* The service pauses instances in error: that neither ends a condition nor excuses anything. */
static void test_paused_on_an_error(void **state)
{
    fixture_t *f = *state;
    facts_t facts = {.created_at = NONE, .sync_interval = 15 * MINUTE, .status = "ready"};

    f->overdue_after = OVERDUE_BY_INTERVAL;
    know(f, &facts, NOW - HOUR);
    look(f, NULL, 0, NOW);
    look_at(f, job("a", AIS_FAILED, NOW, NOW + MINUTE), NOW + MINUTE);
    check_read(f, "FAILURE docs-handbook/failed Job a (user) has failed after 60 s\n");

    facts.in_error = facts.paused = true;
    strcpy(facts.status, "error");
    know(f, &facts, NOW + HOUR);
    know(f, &facts, NOW + HOUR);
    look(f, NULL, 0, NOW + HOUR);
    check_read(f, "FAILURE docs-handbook/instance_error The instance is in error, and paused: its status is error\n"
                  "WARNING docs-handbook/overdue No job has succeeded since the instance was first seen, 60 min ago\n");
    facts.disabled = true;
    know(f, &facts, NOW + 2 * HOUR);
    look(f, NULL, 0, NOW + 2 * HOUR);
    check_read(f, "");

    facts.in_error = facts.disabled = false;
    facts.status[0] = '\0';
    know(f, &facts, NOW + 3 * HOUR);
    look(f, NULL, 0, NOW + 3 * HOUR);
    check_read(f, "OKAY docs-handbook/instance_error The instance is no longer in error: its status is unknown\n"
                  "OKAY docs-handbook/overdue The instance is paused\n");
}

static void test_an_instance_in_error_that_is_gone(void **state)
{
    fixture_t *f = *state;
    facts_t facts = {.created_at = NONE, .in_error = true, .status = "error"};

    know(f, &facts, NOW);
    check_read(f, "FAILURE docs-handbook/instance_error The instance is in error: its status is error\n");
    conditions_gone(&f->instance.reported);
    check_read(f, "OKAY docs-handbook/instance_error The instance no longer exists\n");
}

/* A success can never be later than an end in the far future, which is therefore ignored. */
static void test_a_failure_in_the_future(void **state)
{
    fixture_t *f = *state;

    look(f, NULL, 0, NOW);
    look_at(f, job("a", AIS_FAILED, NOW, NOW + 10000 * HOUR), NOW + MINUTE);
    check_read(f, "FAILURE docs-handbook/failed Job a (user) has failed after 416 d\n");
    look_at(f, job("b", AIS_SUCCEEDED, NOW + MINUTE, NOW + 2 * MINUTE), NOW + 3 * MINUTE);
    check_read(f, "OKAY docs-handbook/failed Job b (user) has succeeded after 60 s\n");
}

/* A pinned job succeeds only once. */
static void test_single_jobs_are_never_overdue(void **state)
{
    fixture_t *f = *state;
    struct ais_job only = job("a", AIS_SUCCEEDED, NOW - 50 * HOUR, NOW - 49 * HOUR);
    struct ais_answer answer = {.success = true, .jobs = &only, .njobs = 1};
    history_news_t news;

    for (int64_t now = NOW; now < NOW + 100 * HOUR; now += HOUR) {
        history_page(&f->instance.history, &answer, 0, now, f->stalled_after, &news);
        conditions_judge(&f->instance, f->overdue_after, &news, now);
    }
    check_read(f, "");
}

static void test_an_instance_that_is_gone(void **state)
{
    fixture_t *f = *state;

    look(f, NULL, 0, NOW);
    look_at(f, job("a", AIS_FAILED, NOW, NOW), NOW + 13 * HOUR);
    check_read(f, "FAILURE docs-handbook/failed Job a (user) has failed after 0 s\n"
                  "WARNING docs-handbook/overdue No job has succeeded since the instance was first seen, 13 h ago\n");
    conditions_gone(&f->instance.reported);
    conditions_gone(&f->instance.reported);
    check_read(f, "OKAY docs-handbook/failed The instance no longer exists\n"
                  "OKAY docs-handbook/overdue The instance no longer exists\n");
}

/* ---- accounts ---------------------------------------------------------------------------------------------------- */

static void outcomes(fixture_t *f, size_t n, enum ais_fault fault)
{
    while (n-- > 0)
        conditions_count(&f->account, fault, 0, 0);
}

static void refusals(fixture_t *f, size_t n, int status, int code)
{
    while (n-- > 0)
        conditions_count(&f->account, status == 404 ? AIS_FAULT_NONE : AIS_FAULT_REFUSED, status, code);
}

static void test_unreachable(void **state)
{
    static const enum ais_fault faults[] = {AIS_FAULT_CONNECT, AIS_FAULT_TLS,  AIS_FAULT_TIMEOUT,
                                            AIS_FAULT_SERVER,  AIS_FAULT_BODY, AIS_FAULT_BUDGET};
    fixture_t *f = *state;

    for (size_t i = 0; i < COUNT(faults); i++) {
        outcomes(f, 3, faults[i]);
        check_read(f, "");
        check_read(f, ""); /* nothing was due */
        outcomes(f, 1, faults[i]);
        check_read(f, "");
        outcomes(f, 1, faults[i]);
        check_read(f, "WARNING docs/unreachable The API cannot be reached: all lookups fail\n");
        outcomes(f, 1, faults[i]);
        check_read(f, "");
        outcomes(f, 5, faults[i]);
        outcomes(f, 1, AIS_FAULT_NONE);
        check_read(f, "OKAY docs/unreachable The API responds again\n");

        outcomes(f, 1, faults[i]);
        check_read(f, "");
        outcomes(f, 1, faults[i]);
        check_read(f, "");
        outcomes(f, 1, AIS_FAULT_NONE);
        check_read(f, "");
    }
}

static void test_not_unreachable(void **state)
{
    fixture_t *f = *state;

    for (int i = 0; i < 10; i++) {
        outcomes(f, 10, AIS_FAULT_INTERNAL);
        check_read(f, "");
    }
}

static void test_credential(void **state)
{
    fixture_t *f = *state;

    /* replaced while the previous one was still in use */
    outcomes(f, 3, AIS_FAULT_CREDENTIAL);
    check_read(f, "");
    outcomes(f, 3, AIS_FAULT_NONE);
    check_read(f, "");

    outcomes(f, 1, AIS_FAULT_CREDENTIAL);
    check_read(f, "");
    check_read(f, "");
    outcomes(f, 1, AIS_FAULT_CREDENTIAL);
    check_read(f, "FAILURE docs/credential The API rejects the credential\n");
    for (int i = 0; i < 5; i++) {
        outcomes(f, 1, AIS_FAULT_CREDENTIAL);
        check_read(f, "");
    }
    outcomes(f, 1, AIS_FAULT_NONE);
    check_read(f, "OKAY docs/credential The API accepts the credential\n");
}

static void test_rate_limited(void **state)
{
    fixture_t *f = *state;

    outcomes(f, 2, AIS_FAULT_NONE);
    outcomes(f, 2, AIS_FAULT_RATE_LIMITED);
    outcomes(f, 2, AIS_FAULT_NONE);
    check_read(f, "WARNING docs/rate_limited The rate limit of the API has been reached (429)\n");
    check_read(f, "");
    outcomes(f, 1, AIS_FAULT_RATE_LIMITED);
    check_read(f, "");
    outcomes(f, 1, AIS_FAULT_CONNECT);
    check_read(f, "");
    outcomes(f, 1, AIS_FAULT_NONE);
    check_read(f, "OKAY docs/rate_limited The API accepts calls again\n");
}

/* Three reports with refusals only: the API can be reached, and they are not about the credential. */
static void test_refused(void **state)
{
    fixture_t *f = *state;

    refusals(f, 2, 403, 9109);
    check_read(f, "");
    check_read(f, ""); /* nothing was due */
    refusals(f, 2, 404, 7002);
    check_read(f, "");
    refusals(f, 2, 403, 9109);
    check_read(f, "WARNING docs/refused The API refuses all lookups: 403 (code 9109)\n");
    refusals(f, 5, 400, 0);
    check_read(f, "");
    outcomes(f, 1, AIS_FAULT_TIMEOUT);
    check_read(f, "");
    refusals(f, 5, 404, 7002);
    outcomes(f, 1, AIS_FAULT_NONE);
    check_read(f, "OKAY docs/refused The API accepts lookups again\n");

    for (int i = 0; i < 3; i++) {
        refusals(f, 1, 400, 0);
        check_read(f, i < 2 ? "" : "WARNING docs/refused The API refuses all lookups: 400\n");
    }
}

static void test_not_only_refusals(void **state)
{
    fixture_t *f = *state;

    for (int i = 0; i < 10; i++) {
        refusals(f, 3, 404, 7021);
        outcomes(f, 1, i % 2 ? AIS_FAULT_SERVER : AIS_FAULT_NONE);
        check_read(f, "");
    }
}

/* Another refusal says nothing about the credential, but the API is there and accepts calls. */
static void test_a_refusal_ends_other_conditions(void **state)
{
    fixture_t *f = *state;

    for (int i = 0; i < 3; i++) {
        outcomes(f, 1, AIS_FAULT_CREDENTIAL);
        outcomes(f, 1, AIS_FAULT_RATE_LIMITED);
        conditions_report(&f->account);
    }
    check_read(f, "WARNING docs/rate_limited The rate limit of the API has been reached (429)\n"
                  "FAILURE docs/credential The API rejects the credential\n");
    refusals(f, 1, 403, 9109);
    check_read(f, "OKAY docs/rate_limited The API accepts calls again\n");
    refusals(f, 1, 404, 7021);
    check_read(f, "OKAY docs/credential The API accepts the credential\n");
}

/* ---- pending notices --------------------------------------------------------------------------------------------- */

/* A condition that ends before its beginning was reported is not reported at all, but each failed job is. */
static void test_a_condition_that_ends_before_its_report(void **state)
{
    fixture_t *f = *state;
    struct ais_job silent = job("a", AIS_RUNNING, NOW - HOUR, NONE);

    look(f, NULL, 0, NOW);
    look_at(f, silent, NOW + MINUTE);
    assert_true(f->instance.reported.has_begun[CONDITION_STALLED]);
    silent.last_seen_at = NOW + 2 * MINUTE;
    look_at(f, silent, NOW + 2 * MINUTE);
    assert_false(f->instance.reported.has_begun[CONDITION_STALLED]);
    check_read(f, "");

    look_at(f, job("b", AIS_FAILED, NOW, NOW + 3 * MINUTE), NOW + 3 * MINUTE);
    look_at(f, job("c", AIS_SUCCEEDED, NOW, NOW + 4 * MINUTE), NOW + 4 * MINUTE);
    check_read(f, "FAILURE docs-handbook/failed Job b (user) has failed after 3 min\n"
                  "OKAY docs-handbook/failed Job c (user) has succeeded after 4 min\n");
}

/* A pending end is not confused with the begin of the same condition. */
static void test_a_condition_that_begins_again_before_its_end_was_reported(void **state)
{
    fixture_t *f = *state;
    facts_t facts = {.created_at = NONE, .in_error = true, .status = "error"};

    know(f, &facts, NOW);
    check_read(f, "FAILURE docs-handbook/instance_error The instance is in error: its status is error\n");
    facts.in_error = false;
    know(f, &facts, NOW);
    facts.in_error = true;
    know(f, &facts, NOW);
    facts.in_error = false;
    know(f, &facts, NOW);
    check_read(f, "OKAY docs-handbook/instance_error The instance is no longer in error: its status is error\n");
}

/* Notices that are in the state file, or being written to it, keep that status when others are added and removed. */
static void test_marks(void **state)
{
    fixture_t *f = *state;
    notice_t notice = {.name = "docs"}, taken;
    facts_t facts = {.created_at = NONE, .in_error = true};

    know(f, &facts, NOW);
    assert_true(notices_add(&f->notices, &notice));
    f->notices.written = 1;
    f->notices.writing = 2;
    notice.is_over = true;
    assert_true(notices_add(&f->notices, &notice));

    facts.in_error = false;
    know(f, &facts, NOW); /* the first one is no longer to be sent */
    assert_int_equal(f->notices.written, 0);
    assert_false(notices_take(&f->notices, &taken));
    assert_int_equal(f->notices.writing, 1);
    f->notices.written = f->notices.writing;
    f->notices.changed = false;
    assert_true(notices_take(&f->notices, &taken));
    assert_false(taken.is_over);
    assert_true(f->notices.changed);
    assert_false(notices_take(&f->notices, &taken));
    assert_int_equal(f->notices.n, 1);
}

/* ---- spans ------------------------------------------------------------------------------------------------------- */

static void test_spans(void **state)
{
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {{0, "0 s"},
                 {499, "0 s"},
                 {500, "1 s"},
                 {119 * SECOND, "119 s"},
                 {2 * MINUTE, "2 min"},
                 {HOUR, "60 min"},
                 {2 * HOUR, "2 h"},
                 {13 * HOUR, "13 h"},
                 {47 * HOUR, "47 h"},
                 {48 * HOUR, "2 d"},
                 {400 * 24 * HOUR, "400 d"}};
    char text[SPAN_SIZE];

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_string_equal(conditions_span(text, cases[i].ms), cases[i].text);
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

static notice_t message(const char *id, const char *source, const char *end_reason)
{
    struct ais_job one = job(id, AIS_FAILED, NOW - 10 * SECOND, NOW);
    notices_t notices = {.written = 1};
    reported_t reported = {.name = "docs-handbook", .notices = &notices};
    notice_t notice;

    one.source = source;
    one.end_reason = end_reason;
    judge_end(&reported, true, &one);
    assert_true(notices_take(&notices, &notice));
    free(notices.all);
    return notice;
}

static char *repeat(const char *text, size_t times)
{
    size_t len = strlen(text);
    char *all = malloc(len * times + 1);

    assert_non_null(all);
    for (size_t i = 0; i < times; i++)
        memcpy(all + i * len, text, len);
    all[len * times] = '\0';
    return all;
}

/* At any length, the text before the reason is complete, and the reason is cut between two characters. */
static void test_long_reasons_are_cut(void **state)
{
    static const char *const characters[] = {"x", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    static const char head[] = "Job 3f1e2d4c-5b6a-4789-8abc-000000000012 (schedule) has failed after 10 s: ";

    (void) state;
    for (size_t i = 0; i < COUNT(characters); i++) {
        for (size_t n = 1; n < 300; n++) {
            char *reason = repeat(characters[i], n);
            notice_t notice = message("3f1e2d4c-5b6a-4789-8abc-000000000012", "schedule", reason);
            size_t len = strlen(notice.message);
            const char *rest = notice.message + strlen(head);

            assert_true(len < NOTICE_MESSAGE_SIZE);
            assert_memory_equal(notice.message, head, strlen(head));
            if (strcmp(rest, reason) != 0) {
                assert_true(len >= NOTICE_MESSAGE_SIZE - 1 - strlen(characters[i]));
                assert_string_equal(notice.message + len - 3, "...");
                assert_int_equal((strlen(rest) - 3) % strlen(characters[i]), 0);
                assert_memory_equal(rest, reason, strlen(rest) - 3);
            }
            assert_true(strlen(notice.end_reason) < sizeof(notice.end_reason));
            free(reason);
        }
    }
}

static void test_text_is_made_printable(void **state)
{
    (void) state;
    assert_string_equal(message("a", "user", "no\ndisk\t\x7f\xc2\x85!").message,
                        "Job a (user) has failed after 10 s: no disk    !");
    assert_string_equal(message("a\n", "us\x1b[1mer", "caf\xc3\xa9").message,
                        "Job a  (us [1mer) has failed after 10 s: caf\xc3\xa9");
    assert_string_equal(message("a", "user", NULL).message, "Job a (user) has failed after 10 s");
    assert_string_equal(message("a", "user", "").message, "Job a (user) has failed after 10 s");
    assert_string_equal(message("a", "user", "100 %s %n").message, "Job a (user) has failed after 10 s: 100 %s %n");
}

static void test_long_ids_and_sources(void **state)
{
    char *text = repeat("\xe2\x82\xac", 200);
    notice_t notice = message(text, text, text);

    (void) state;
    assert_true(strlen(notice.job) < sizeof(notice.job));
    assert_true(strlen(notice.source) < sizeof(notice.source));
    assert_true(strlen(notice.message) < sizeof(notice.message));
    assert_non_null(strstr(notice.message, "...) has failed after 10 s: \xe2\x82\xac"));
    free(text);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_failed),
        TEST(test_several_ends_between_two_lookups),
        TEST(test_a_failure_that_is_detected_late),
        TEST(test_failures_on_several_pages),
        TEST(test_stalled),
        TEST(test_queued_for_too_long),
        TEST(test_overdue_since_first_sight),
        TEST(test_overdue_since_it_was_created),
        TEST(test_overdue_waits_for_data),
        TEST(test_overdue_by_the_interval),
        TEST(test_overdue_after_overrides_the_interval),
        TEST(test_never_overdue),
        TEST(test_an_interval_that_changes),
        TEST(test_paused_on_an_error),
        TEST(test_an_instance_in_error_that_is_gone),
        TEST(test_a_failure_in_the_future),
        TEST(test_single_jobs_are_never_overdue),
        TEST(test_an_instance_that_is_gone),
        TEST(test_unreachable),
        TEST(test_not_unreachable),
        TEST(test_credential),
        TEST(test_rate_limited),
        TEST(test_refused),
        TEST(test_not_only_refusals),
        TEST(test_a_refusal_ends_other_conditions),
        TEST(test_a_condition_that_ends_before_its_report),
        TEST(test_a_condition_that_begins_again_before_its_end_was_reported),
        TEST(test_marks),
        TEST(test_spans),
        TEST(test_long_reasons_are_cut),
        TEST(test_text_is_made_printable),
        TEST(test_long_ids_and_sources),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
