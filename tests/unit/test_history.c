/* The collectd plugin's history of an instance's jobs: each end is counted once, whatever the pages look like. */

#include "unit.h"

#include "../../collectd-plugin/history.c"
#include "../../collectd-plugin/state_text.c"

#include "../../collectd-plugin/instance.c"

/* The caller frees the text. */
static char *text_of(history_t *h)
{
    instance_t instance = {.history = *h};
    char *text = NULL;
    size_t len;
    FILE *file = open_memstream(&text, &len);

    assert_non_null(file);
    state_print(file, STATE_INSTANCE, &instance);
    assert_int_equal(fclose(file), 0);
    return text;
}

static bool parse(history_t *h, const char *text, int64_t now)
{
    instance_t instance = {.name = NULL};
    bool good;

    history_init(&instance.history);
    good = state_parse(STATE_INSTANCE, &instance, text, now);
    *h = instance.history;
    return good;
}

#define NOW INT64_C(1795435200000) /* 2026-11-23T12:00:00Z */
#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define PATIENCE (15 * MINUTE)
#define NONE AIS_TIME_NONE

static int setup(void **state)
{
    history_t *h = malloc(sizeof(*h));

    if (h == NULL)
        return -1;
    history_init(h);
    *state = h;
    return 0;
}

static int teardown(void **state)
{
    history_free(*state);
    free(*state);
    return 0;
}

static struct ais_job queued(const char *id)
{
    return (struct ais_job){
        .id = id, .source = "user", .state = AIS_QUEUED, .started_at = NONE, .ended_at = NONE, .last_seen_at = NONE};
}

static struct ais_job running(const char *id, int64_t started_at)
{
    struct ais_job job = queued(id);

    job.state = AIS_RUNNING;
    job.started_at = started_at;
    return job;
}

static struct ais_job ended(const char *id, enum ais_state state, int64_t started_at, int64_t ended_at)
{
    struct ais_job job = running(id, started_at);

    job.state = state;
    job.ended_at = ended_at;
    return job;
}

static history_news_t look_page(history_t *h, struct ais_job *jobs, size_t njobs, unsigned page, int64_t now)
{
    struct ais_answer answer = {.success = true, .jobs = jobs, .njobs = njobs};
    history_news_t news;

    history_page(h, &answer, page, now, PATIENCE, &news);
    return news;
}

static history_news_t look(history_t *h, struct ais_job *jobs, size_t njobs, int64_t now)
{
    history_news_t news = look_page(h, jobs, njobs, 1, now);

    assert_false(news.more);
    return news;
}

static history_news_t look_at_job(history_t *h, struct ais_job job, int64_t now)
{
    struct ais_answer answer = {.success = true, .jobs = &job, .njobs = 1};
    history_news_t news;

    history_page(h, &answer, 0, now, PATIENCE, &news);
    return news;
}

static void check_ended(const history_t *h, unsigned succeeded, unsigned failed, unsigned cancelled)
{
    assert_int_equal(h->ended[AIS_SUCCEEDED], succeeded);
    assert_int_equal(h->ended[AIS_FAILED], failed);
    assert_int_equal(h->ended[AIS_CANCELLED], cancelled);
}

/* Across a restart. */
static void restart(history_t *h)
{
    char *text = text_of(h);

    history_free(h);
    assert_true(parse(h, text, INT64_MAX - CLOCKS_DIFFER));
    free(text);
}

/* ---- the first lookup ------------------------------------------------------------------------------------------- */

static void test_earlier_ends_do_not_count(void **state)
{
    history_t *h = *state;
    struct ais_job jobs[] = {
        ended("c", AIS_SUCCEEDED, NOW - 30 * MINUTE, NOW - 20 * MINUTE),
        ended("a", AIS_FAILED, NOW - 60 * MINUTE, NOW - 50 * MINUTE),
        ended("b", AIS_CANCELLED, NOW - 40 * MINUTE, NOW - 35 * MINUTE),
    };
    history_news_t news = look(h, jobs, COUNT(jobs), NOW);

    check_ended(h, 0, 0, 0);
    assert_int_equal(news.nended, 0);
    assert_false(news.active);
    assert_false(news.changed);
    assert_int_equal(h->seen_at, NOW);
    assert_int_equal(h->changed_at, NOW - 20 * MINUTE);
    assert_int_equal(h->succeeded_at, NOW - 20 * MINUTE);

    news = look(h, jobs, COUNT(jobs), NOW + MINUTE);
    check_ended(h, 0, 0, 0);
    assert_false(news.changed);
    assert_int_equal(h->seen_at, NOW);
}

static void test_jobs_active_at_first_count(void **state)
{
    history_t *h = *state;
    struct ais_job before[] = {queued("q"), running("r", NOW - MINUTE)};
    struct ais_job after[] = {ended("q", AIS_CANCELLED, NONE, NOW + SECOND),
                              ended("r", AIS_SUCCEEDED, NOW - MINUTE, NOW + 2 * SECOND)};

    assert_true(look(h, before, 2, NOW).active);
    assert_int_equal(h->changed_at, NOW - MINUTE);

    history_news_t news = look(h, after, 2, NOW + MINUTE);
    check_ended(h, 1, 0, 1);
    assert_false(news.active);
    assert_true(news.changed);
    assert_int_equal(h->changed_at, NOW + 2 * SECOND);
}

static void test_no_jobs_at_first(void **state)
{
    history_t *h = *state;
    struct ais_job jobs[] = {ended("a", AIS_SUCCEEDED, NOW - MINUTE, NOW - SECOND)};

    look(h, NULL, 0, NOW);
    assert_int_equal(h->changed_at, NONE);
    assert_int_equal(h->seen_at, NOW);

    /* the API's clock is slow, but the job was not there before */
    look(h, jobs, 1, NOW + 20 * SECOND);
    check_ended(h, 1, 0, 0);
}

/* If there are more jobs than fit on a page, unknown jobs are old, even if the removal of others moves them to the
 * page. */
static void test_old_jobs_that_reappear_do_not_count(void **state)
{
    history_t *h = *state;
    struct ais_job jobs[HISTORY_PER_PAGE + 5];
    char ids[COUNT(jobs)][8];

    for (size_t i = 0; i < COUNT(jobs); i++) {
        snprintf(ids[i], sizeof(ids[i]), "j%zu", i);
        jobs[i] = ended(ids[i], AIS_FAILED, NOW - (int64_t) (i + 1) * MINUTE, NOW - (int64_t) i * MINUTE);
    }

    look(h, jobs, HISTORY_PER_PAGE, NOW);
    look(h, jobs + 5, HISTORY_PER_PAGE, NOW + MINUTE);
    check_ended(h, 0, 0, 0);
}

/* ---- ends ------------------------------------------------------------------------------------------------------- */

static void test_an_end_counts_once(void **state)
{
    history_t *h = *state;
    struct ais_job jobs[] = {ended("a", AIS_FAILED, NOW + MINUTE, NOW + 2 * MINUTE)};

    look(h, NULL, 0, NOW);
    history_news_t news = look(h, jobs, 1, NOW + 3 * MINUTE);
    assert_int_equal(news.nended, 1);
    assert_string_equal(news.ended[0]->id, "a");
    assert_true(news.changed);

    /* its end changes, it disappears, it reappears, it seems to be running again: none of that is another end */
    jobs[0].ended_at += SECOND;
    look(h, jobs, 1, NOW + 4 * MINUTE);
    jobs[0].state = AIS_SUCCEEDED;
    look(h, jobs, 1, NOW + 5 * MINUTE);
    look(h, NULL, 0, NOW + 6 * MINUTE);
    look(h, NULL, 0, NOW + 7 * MINUTE);
    jobs[0] = running("a", NOW + MINUTE);
    assert_false(look(h, jobs, 1, NOW + 8 * MINUTE).active);
    jobs[0] = ended("a", AIS_FAILED, NOW + MINUTE, NOW + 2 * MINUTE);
    look(h, jobs, 1, NOW + 9 * MINUTE);
    check_ended(h, 0, 1, 0);
}

static void test_ends_are_reported_in_order(void **state)
{
    history_t *h = *state;
    struct ais_job jobs[] = {
        ended("b", AIS_FAILED, NOW, NOW + 20 * SECOND),    ended("d", AIS_SUCCEEDED, NOW, NOW + 30 * SECOND),
        ended("a", AIS_SUCCEEDED, NOW, NOW + SECOND),      ended("e", AIS_FAILED, NOW, NOW + 30 * SECOND),
        ended("c", AIS_CANCELLED, NOW, NOW + 25 * SECOND),
    };

    look(h, NULL, 0, NOW);
    history_news_t news = look(h, jobs, COUNT(jobs), NOW + MINUTE);
    assert_int_equal(news.nended, 5);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(news.ended[i]->id[0], 'a' + (int) i);
    check_ended(h, 2, 2, 1);
}

/* A page with more jobs than requested: all are counted, and the latest are reported, whatever their order. */
static void test_more_ends_than_are_reported(void **state)
{
    history_t *h = *state;
    struct ais_job jobs[HISTORY_PER_PAGE + 20];
    char ids[COUNT(jobs)][8];

    look(h, NULL, 0, NOW);
    for (size_t i = 0; i < COUNT(jobs); i++) {
        snprintf(ids[i], sizeof(ids[i]), "%zu", i);
        jobs[i] = ended(ids[i], AIS_FAILED, NOW, NOW + (int64_t) ((i * 37) % COUNT(jobs)));
    }

    history_news_t news = look_page(h, jobs, COUNT(jobs), 1, NOW + MINUTE);
    check_ended(h, 0, COUNT(jobs), 0);
    assert_int_equal(news.nended, HISTORY_PER_PAGE);
    for (size_t i = 0; i < HISTORY_PER_PAGE; i++)
        assert_int_equal(news.ended[i]->ended_at, NOW + 20 + (int64_t) i);
}

/* Two jobs in the same second, the second of which appears later. */
static void test_equal_times(void **state)
{
    history_t *h = *state;
    struct ais_job jobs[] = {ended("b", AIS_SUCCEEDED, NOW, NOW + SECOND),
                             ended("a", AIS_SUCCEEDED, NOW, NOW + SECOND)};

    look(h, NULL, 0, NOW);
    look(h, jobs + 1, 1, NOW + MINUTE);
    look(h, jobs, 2, NOW + 2 * MINUTE);
    check_ended(h, 2, 0, 0);
}

/* And a restart in between. */
static void test_equal_times_over_a_restart(void **state)
{
    history_t *h = *state;
    struct ais_job jobs[20];
    char ids[COUNT(jobs)][8];

    look(h, NULL, 0, NOW);
    for (size_t i = 0; i < COUNT(jobs); i++) {
        snprintf(ids[i], sizeof(ids[i]), "%zu", i);
        jobs[COUNT(jobs) - 1 - i] = ended(ids[i], AIS_SUCCEEDED, NOW + (int64_t) (i / 3) * SECOND, NOW + MINUTE);
    }
    for (size_t i = 1; i <= COUNT(jobs); i++) {
        look(h, jobs + COUNT(jobs) - i, i, NOW + 2 * MINUTE);
        restart(h);
        check_ended(h, (unsigned) i, 0, 0);
    }
}

static void test_invalid_times(void **state)
{
    history_t *h = *state;
    struct ais_job jobs[] = {ended("b", AIS_SUCCEEDED, NONE, NONE), ended("a", AIS_SUCCEEDED, NONE, NONE)};

    look(h, jobs + 1, 1, NOW);
    check_ended(h, 0, 0, 0);
    look(h, jobs, 2, NOW + MINUTE);
    check_ended(h, 1, 0, 0);
    assert_int_equal(h->succeeded_at, NOW + MINUTE);

    restart(h);
    look(h, jobs, 2, NOW + 2 * MINUTE);
    look(h, jobs, 2, NOW + 3 * MINUTE);
    check_ended(h, 1, 0, 0);
}

/* A single absurd date must not make all later jobs old. */
static void test_an_end_in_the_far_future(void **state)
{
    history_t *h = *state;
    struct ais_job jobs[] = {
        ended("b", AIS_SUCCEEDED, NOW + MINUTE, NOW + 2 * MINUTE),
        ended("a", AIS_SUCCEEDED, INT64_C(253402300799000), INT64_C(253402300799000)),
    };

    look(h, jobs + 1, 1, NOW);
    assert_int_equal(h->changed_at, NONE);
    restart(h);
    look(h, jobs + 1, 1, NOW + SECOND);
    look(h, jobs, 2, NOW + 3 * MINUTE);
    check_ended(h, 1, 0, 0);
    assert_int_equal(h->changed_at, NOW + 2 * MINUTE);
}

/* Our clock is an hour behind the API's, and then an hour ahead. */
static void test_different_clocks(void **state)
{
    history_t *h = *state;
    struct ais_job jobs[] = {ended("b", AIS_SUCCEEDED, NOW + 2 * MINUTE, NOW + 3 * MINUTE),
                             ended("a", AIS_SUCCEEDED, NOW + MINUTE, NOW + 2 * MINUTE)};

    look(h, NULL, 0, NOW - 60 * MINUTE);
    look(h, jobs + 1, 1, NOW - 57 * MINUTE);
    check_ended(h, 1, 0, 0);
    assert_int_equal(h->changed_at, NOW - 57 * MINUTE); /* never in the future */

    restart(h);
    look(h, jobs + 1, 1, NOW + 63 * MINUTE);
    look(h, jobs, 2, NOW + 64 * MINUTE);
    check_ended(h, 2, 0, 0);
}

/* ---- active jobs ------------------------------------------------------------------------------------------------ */

static void test_changes(void **state)
{
    history_t *h = *state;
    struct ais_job job = queued("a");

    look(h, NULL, 0, NOW);
    assert_true(look(h, &job, 1, NOW + MINUTE).changed);
    assert_int_equal(h->changed_at, NOW + MINUTE);
    assert_false(look(h, &job, 1, NOW + 2 * MINUTE).changed);

    job = running("a", NOW + 150 * SECOND);
    assert_true(look(h, &job, 1, NOW + 3 * MINUTE).changed);
    assert_int_equal(h->changed_at, NOW + 150 * SECOND);
    assert_false(look(h, &job, 1, NOW + 4 * MINUTE).changed);
}

/* It disappears for one lookup, as in an old response from elsewhere, and finally for good. */
static void test_an_active_job_that_disappears(void **state)
{
    history_t *h = *state;
    struct ais_job long_one = running("long", NOW - 60 * MINUTE);
    struct ais_job jobs[HISTORY_JOBS + 10];
    char ids[COUNT(jobs)][8];

    look(h, &long_one, 1, NOW);
    for (size_t i = 0; i < COUNT(jobs); i++) {
        snprintf(ids[i], sizeof(ids[i]), "j%zu", i);
        jobs[i] = ended(ids[i], AIS_SUCCEEDED, NOW + (int64_t) i, NOW + (int64_t) i);
        look(h, (struct ais_job[]){jobs[i], long_one}, 2, NOW + SECOND);
    }
    assert_true(look(h, NULL, 0, NOW + MINUTE).active);
    long_one = ended("long", AIS_FAILED, NOW - 60 * MINUTE, NOW + MINUTE);
    look(h, &long_one, 1, NOW + 2 * MINUTE);
    check_ended(h, COUNT(jobs), 1, 0);

    struct ais_job gone = running("gone", NOW);
    look(h, &gone, 1, NOW + 3 * MINUTE);
    look(h, NULL, 0, NOW + 4 * MINUTE);
    assert_false(look(h, NULL, 0, NOW + 5 * MINUTE).active);
    check_ended(h, COUNT(jobs), 1, 0);
}

static void test_silence(void **state)
{
    history_t *h = *state;
    struct ais_job jobs[] = {queued("q"), running("a", NOW - 20 * MINUTE), running("b", NOW - 30 * MINUTE)};
    history_news_t news;

    jobs[1].last_seen_at = NOW - SECOND;
    jobs[2].last_seen_at = NOW - PATIENCE;
    news = look(h, jobs, 3, NOW);
    assert_null(news.silent);
    assert_true(news.all_well);

    news = look(h, jobs, 3, NOW + SECOND);
    assert_ptr_equal(news.silent, &jobs[2]);
    assert_int_equal(news.silence, PATIENCE + SECOND);
    assert_false(news.all_well);

    /* without a sign of life, the start counts, and for a queued job the time since it was first seen */
    jobs[1].last_seen_at = NONE;
    jobs[2].last_seen_at = NOW + SECOND;
    assert_ptr_equal(look(h, jobs, 3, NOW + SECOND).silent, &jobs[1]);
    assert_ptr_equal(look(h, jobs, 1, NOW + PATIENCE).silent, NULL);
    assert_ptr_equal(look(h, jobs, 1, NOW + PATIENCE + 1).silent, &jobs[0]);

    jobs[0] = running("q", NOW + PATIENCE);
    news = look(h, jobs, 1, NOW + PATIENCE + SECOND);
    assert_null(news.silent);
    assert_true(news.all_well);
}

static void test_a_queued_job_after_a_restart(void **state)
{
    history_t *h = *state;
    struct ais_job job = queued("q");

    look(h, &job, 1, NOW);
    restart(h);
    assert_non_null(look(h, &job, 1, NOW + PATIENCE + SECOND).silent);
}

/* ---- single jobs ------------------------------------------------------------------------------------------------ */

static void test_pinned_jobs(void **state)
{
    history_t *h = *state;

    look_at_job(h, ended("a", AIS_FAILED, NOW - 2 * MINUTE, NOW - MINUTE), NOW);
    assert_true(look_at_job(h, running("b", NOW - MINUTE), NOW).active);
    check_ended(h, 0, 0, 0);
    assert_int_equal(h->changed_at, NOW - MINUTE);

    /* that of another job does not mean that this one is gone */
    for (int i = 0; i < 3; i++)
        assert_true(look_at_job(h, ended("a", AIS_FAILED, NOW - 2 * MINUTE, NOW - MINUTE), NOW).active);

    history_news_t news = look_at_job(h, ended("b", AIS_SUCCEEDED, NOW - MINUTE, NOW + MINUTE), NOW + MINUTE);
    assert_int_equal(news.nended, 1);
    assert_true(news.changed);
    look_at_job(h, ended("b", AIS_SUCCEEDED, NOW - MINUTE, NOW + MINUTE), NOW + 2 * MINUTE);
    check_ended(h, 1, 0, 0);
}

/* ---- many jobs --------------------------------------------------------------------------------------------------- */

/* A world of jobs, newest first. */
#define WORLD 400

typedef struct {
    struct ais_job jobs[WORLD];
    char ids[WORLD][16];
    size_t njobs;
    unsigned long number;
} world_t;

static void add_to_world(world_t *w, enum ais_state state, int64_t started_at, int64_t ended_at)
{
    size_t keep = w->njobs < WORLD ? w->njobs : WORLD - 1;

    memmove(w->jobs + 1, w->jobs, keep * sizeof(w->jobs[0]));
    memmove(w->ids + 1, w->ids, keep * sizeof(w->ids[0]));
    snprintf(w->ids[0], sizeof(w->ids[0]), "job-%lu", w->number++);
    w->jobs[0] = ended("", state, started_at, ended_at);
    w->njobs = keep + 1;
    for (size_t i = 0; i < w->njobs; i++)
        w->jobs[i].id = w->ids[i];
}

/* A job that took no time, a second later. */
static void add_ended_to_world(world_t *w, enum ais_state state, int64_t *now)
{
    *now += SECOND;
    add_to_world(w, state, *now, *now);
}

static history_news_t look_at_world(history_t *h, world_t *w, unsigned page, int64_t now)
{
    size_t first = (page - 1) * HISTORY_PER_PAGE;
    size_t n = first < w->njobs ? w->njobs - first : 0;

    return look_page(h, w->jobs + first, n < HISTORY_PER_PAGE ? n : HISTORY_PER_PAGE, page, now);
}

static void test_more_ends_than_a_page(void **state)
{
    history_t *h = *state;
    world_t *w = calloc(1, sizeof(*w));
    int64_t now = NOW;

    for (int i = 0; i < 60; i++)
        add_ended_to_world(w, AIS_FAILED, &now);
    assert_false(look_at_world(h, w, 1, now).more);

    for (int i = 0; i < 120; i++)
        add_ended_to_world(w, AIS_SUCCEEDED, &now);
    assert_true(look_at_world(h, w, 1, now).more);
    /* another job shifts the pages */
    add_ended_to_world(w, AIS_SUCCEEDED, &now);
    assert_true(look_at_world(h, w, 2, now).more);
    assert_false(look_at_world(h, w, 3, now).more);
    check_ended(h, 120, 0, 0);

    assert_false(look_at_world(h, w, 1, now).more);
    check_ended(h, 121, 0, 0);
    assert_true(h->njobs <= HISTORY_JOBS && h->size <= HISTORY_JOBS);

    /* a lookup that is interrupted starts again */
    for (int i = 0; i < 130; i++)
        add_ended_to_world(w, AIS_CANCELLED, &now);
    assert_true(look_at_world(h, w, 1, now).more);
    assert_true(look_at_world(h, w, 2, now).more);
    for (int i = 0; i < 7; i++)
        add_ended_to_world(w, AIS_CANCELLED, &now);
    for (unsigned page = 1; look_at_world(h, w, page, now).more; page++)
        assert_true(page < 4);
    check_ended(h, 121, 0, 137);
    free(w);
}

static void test_the_number_of_pages_is_limited(void **state)
{
    history_t *h = *state;
    struct ais_job jobs[HISTORY_PER_PAGE];
    char ids[HISTORY_PER_PAGE][16];
    unsigned page = 0;
    bool more = true;

    look(h, NULL, 0, NOW);
    while (more) {
        page++;
        for (size_t i = 0; i < COUNT(jobs); i++) {
            snprintf(ids[i], sizeof(ids[i]), "%u-%zu", page, i);
            jobs[i] = ended(ids[i], AIS_SUCCEEDED, NOW - page * MINUTE, NOW);
        }
        more = look_page(h, jobs, COUNT(jobs), page, NOW).more;
    }
    assert_int_equal(page, HISTORY_PAGES);
    check_ended(h, HISTORY_PAGES * HISTORY_PER_PAGE, 0, 0);
    assert_true(h->njobs <= HISTORY_JOBS);
}

/* A list that returns the same page for any page number has nothing more. */
static void test_repeated_pages(void **state)
{
    history_t *h = *state;
    struct ais_job jobs[HISTORY_PER_PAGE + 1];
    char ids[COUNT(jobs)][16];

    look(h, NULL, 0, NOW);
    for (size_t i = 0; i < COUNT(jobs); i++) {
        snprintf(ids[i], sizeof(ids[i]), "%zu", i);
        jobs[i] = ended(ids[i], AIS_SUCCEEDED, NOW, NOW + SECOND);
    }
    assert_true(look_page(h, jobs, HISTORY_PER_PAGE, 1, NOW + SECOND).more);
    assert_false(look_page(h, jobs, HISTORY_PER_PAGE, 2, NOW + SECOND).more);
    check_ended(h, HISTORY_PER_PAGE, 0, 0);

    /* one of them is different: nothing is counted twice */
    assert_true(look_page(h, jobs + 1, HISTORY_PER_PAGE, 1, NOW + MINUTE).nended == 1);
    check_ended(h, HISTORY_PER_PAGE + 1, 0, 0);
}

/* An active job that newer ones have shifted to the second page is found there. */
static void test_an_active_job_on_the_second_page(void **state)
{
    history_t *h = *state;
    world_t *w = calloc(1, sizeof(*w));
    int64_t now = NOW;

    add_to_world(w, AIS_RUNNING, now, NONE);
    look_at_world(h, w, 1, now);
    for (int i = 0; i < 70; i++) {
        add_ended_to_world(w, AIS_SUCCEEDED, &now);
        for (unsigned page = 1; look_at_world(h, w, page, now).more; page++)
            assert_true(page < HISTORY_SEARCH);
    }
    w->jobs[70].state = AIS_FAILED;
    w->jobs[70].ended_at = now;
    assert_true(look_at_world(h, w, 1, now).more);
    assert_false(look_at_world(h, w, 2, now).more);
    check_ended(h, 70, 1, 0);
    free(w);
}

static unsigned draw(unsigned n)
{
    static uint32_t seed = 20261123;

    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % n;
}

/* Jobs start and end at random, some are missed by lookups, pages arrive in any order, fail and are read again, and
 * there are occasional restarts: every end is counted once. */
static void test_at_random(void **state)
{
    history_t *h = *state;
    world_t *w = calloc(1, sizeof(*w));
    unsigned count[AIS_STATES] = {0};
    int64_t now = NOW;
    unsigned unseen = 0;

    look_at_world(h, w, 1, now);
    for (int round = 0; round < 20000; round++) {
        now += 1 + draw(30) * SECOND;
        for (unsigned n = draw(10) == 0 ? draw(130) : draw(3); n > 0; n--, unseen++)
            add_to_world(w, draw(4) == 0 ? AIS_QUEUED : AIS_RUNNING, now += draw(2) * SECOND, NONE);

        for (size_t i = 0; i < w->njobs; i++) {
            struct ais_job *job = &w->jobs[i];

            /* jobs that are about to leave the first page have ended */
            if (!ais_state_active(job->state) || (draw(3) != 0 && i < 40))
                continue;
            if (job->state == AIS_QUEUED)
                job->started_at = NONE;
            job->state = AIS_SUCCEEDED + draw(3);
            job->ended_at = now;
            count[job->state]++;
        }

        if (unseen < WORLD / 2 && draw(3) == 0)
            continue;
        unseen = 0;
        for (unsigned page = 1; look_at_world(h, w, page, now).more; page++)
            if (draw(20) == 0)
                page = 0;
        check_ended(h, count[AIS_SUCCEEDED], count[AIS_FAILED], count[AIS_CANCELLED]);
        assert_true(h->njobs <= HISTORY_JOBS);
        if (draw(10) == 0)
            restart(h);
    }
    assert_true(count[AIS_FAILED] > 10000);
    free(w);
}

/* ---- text ---------------------------------------------------------------------------------------------------------
 */

static void test_text(void **state)
{
    history_t *h = *state;
    struct ais_job before[] = {running("r", NOW - MINUTE)};
    struct ais_job after[] = {running("r", NOW - MINUTE), ended("s", AIS_FAILED, NOW + 5, NOW + 10)};
    char *text;

    text = text_of(h);
    assert_string_equal(text, "");
    assert_true(parse(h, text, NOW));
    assert_int_equal(h->seen_at, NONE);
    free(text);

    look(h, before, 1, NOW);
    look(h, after, 2, NOW + SECOND);
    text = text_of(h);
    assert_string_equal(text, "seen=1795435200.000 changed=1795435200.010 listed=1 failed=1/0/0 "
                              "active=af63ef4c86020cd5@1795435200.000 ended=af63ee4c86020b22@1795435200.005");
    free(text);
    restart(h);
    check_ended(h, 0, 1, 0);
    assert_int_equal(h->seen_at, NOW);
    assert_int_equal(h->changed_at, NOW + 10);
    look(h, after, 2, NOW + 2 * SECOND);
    check_ended(h, 0, 1, 0);
}

/* The previous release counted by source. */
static void test_counters_by_source_are_added_up(void **state)
{
    history_t *h = *state;
    char *text;

    assert_true(parse(h, "seen=1.000 listed=1 succeeded=1/2/3 failed=0/2/0", NOW));
    check_ended(h, 6, 2, 0);
    text = text_of(h);
    assert_string_equal(text, "seen=1.000 listed=1 succeeded=6/0/0 failed=2/0/0");
    free(text);
}

/* Times saved by a wrong clock are replaced by the present; the API's own clock may be a day ahead. */
static void test_times_in_the_future(void **state)
{
    history_t *h = *state;
    const int64_t now = INT64_C(1795435200000), day = 24 * 60 * MINUTE;

    assert_true(parse(h,
                      "seen=4102444800.000 changed=4102444800.000 success=4102444800.000 "
                      "excused=4102444800.000 listed=1 floor=4102444800.000 "
                      "ended=1@4102444800.000 active=2@4102444800.000",
                      now));
    assert_int_equal(h->seen_at, now);
    assert_int_equal(h->changed_at, now);
    assert_int_equal(h->succeeded_at, now);
    assert_int_equal(h->excused_at, now);
    assert_int_equal(h->floor, now + day);
    assert_int_equal(h->jobs[0].at, now + day);
    assert_int_equal(h->jobs[1].at, now);

    history_free(h);
    assert_true(parse(h, "seen=1.000 listed=1 floor=2.000", now));
    assert_int_equal(h->seen_at, 1000);
    assert_int_equal(h->floor, 2000);
    assert_int_equal(h->changed_at, NONE);
    assert_int_equal(h->excused_at, NONE);
}

static void test_text_of_many_active_jobs(void **state)
{
    history_t *h = *state;
    struct ais_job jobs[2 * HISTORY_JOBS];
    char ids[COUNT(jobs)][16];
    char *text;

    for (size_t i = 0; i < COUNT(jobs); i++) {
        snprintf(ids[i], sizeof(ids[i]), "%zu", i);
        look_at_job(h, queued(ids[i]), NOW);
    }
    text = text_of(h);
    free(text);
    restart(h);
    assert_int_equal(h->njobs, HISTORY_JOBS - HISTORY_KEPT);
}

static void test_invalid_text(void **state)
{
    static const char *const bad[] = {
        "seen",
        "seen=",
        "seen=1",
        "seen=1.",
        "seen=1.1000",
        "seen=-1.000",
        "seen= 1.000",
        "seen=99999999999999999999.000",
        "seen=1.000  listed=1",
        " seen=1.000",
        "seen=1.000x",
        "listed=0",
        "failed=1",
        "failed=1/2",
        "failed=1/2/-3",
        "failed=1/2/3/4",
        "failed=1/2/18446744073709551616",
        "queued=1/2/3",
        "active=",
        "active=12@",
        "active=12@1.000,",
        "active=g@1.000",
        "what=1",
        "\xff",
    };
    history_t *h = *state;

    for (size_t i = 0; i < COUNT(bad); i++) {
        if (parse(h, bad[i], NOW))
            fail_msg("accepted: %s", bad[i]);
        history_free(h);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_earlier_ends_do_not_count),
        TEST(test_jobs_active_at_first_count),
        TEST(test_no_jobs_at_first),
        TEST(test_old_jobs_that_reappear_do_not_count),
        TEST(test_an_end_counts_once),
        TEST(test_ends_are_reported_in_order),
        TEST(test_more_ends_than_are_reported),
        TEST(test_equal_times),
        TEST(test_equal_times_over_a_restart),
        TEST(test_invalid_times),
        TEST(test_an_end_in_the_far_future),
        TEST(test_different_clocks),
        TEST(test_changes),
        TEST(test_an_active_job_that_disappears),
        TEST(test_silence),
        TEST(test_a_queued_job_after_a_restart),
        TEST(test_pinned_jobs),
        TEST(test_more_ends_than_a_page),
        TEST(test_the_number_of_pages_is_limited),
        TEST(test_repeated_pages),
        TEST(test_an_active_job_on_the_second_page),
        TEST(test_at_random),
        TEST(test_text),
        TEST(test_counters_by_source_are_added_up),
        TEST(test_times_in_the_future),
        TEST(test_text_of_many_active_jobs),
        TEST(test_invalid_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
