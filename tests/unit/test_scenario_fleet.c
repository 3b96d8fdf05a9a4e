/*
 * A day of the collectd plugin with 300 instances, on a fake clock: which lookups are sent and when, their cost, the
 * detected ends, and the reports of missed syncs. The plugin makes all decisions; the API is simulated here.
 */

#include "unit.h"

#include "../../collectd-plugin/budget.c"
#include "../../collectd-plugin/history.c"

#include "../../collectd-plugin/conditions.c"
#include "../../collectd-plugin/discovery.c"
#include "../../collectd-plugin/instance.c"
#include "../../collectd-plugin/schedule.c"

#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define EPOCH INT64_C(1795435200000) /* when the clock is 0 */

#define INSTANCES 300
#define JOBS 400 /* per instance in total */
#define PAGE 50  /* the newest ones */
#define ACTIVE_MAX 60
#define STREAMS 100

#define ACTIVE_INTERVAL (20 * SECOND)
#define IDLE_INTERVAL (300 * SECOND)

#define CALLS_MAX 1200
#define PERIOD (300 * SECOND)

/* the time from request to response */
#define LATENCY 150

struct job {
    char id[16];
    int64_t queued_at, started_at, ended_at;
    const char *end_reason;
    int64_t seen_active_at; /* by us; 0: never */
};

struct instance {
    schedule_entry_t turn;
    struct job jobs[JOBS];
    size_t njobs;
    size_t looks;

    /* for the day of syncs */
    char id[16];
    int64_t interval, new_interval; /* between two syncs, until and after the change */
    int64_t changes_at;
    bool is_stored;
    enum { NORMAL, PAUSED, DISABLED, IN_ERROR, SILENT, FAILING } trouble;
    int64_t trouble_from, trouble_to;

    instance_t known;
};

struct look {
    struct instance *instance;
    uint64_t ticket;
    int64_t over_at;
    bool fails;
};

struct world {
    struct instance instances[INSTANCES];
    schedule_t schedule;
    budget_t budget;
    int64_t now;
    uint32_t random;

    struct look under_way[STREAMS]; /* a ring: all take the same time */
    size_t first, n;

    size_t budget_calls;           /* per PERIOD */
    int64_t last_calls[CALLS_MAX]; /* when they were sent: a ring */
    size_t calls;

    int64_t delays[INSTANCES * JOBS]; /* for ends that were detected, of jobs known to run */
    size_t ndelays;
    double stretch; /* the greatest */

    bool is_of_syncs;
    discovery_t discovery;
    notices_t notices;
    size_t told[CONDITIONS]; /* conditions that began */
    size_t checked;          /* syncs that were missed and reported in time */
};

static uint32_t draw(struct world *w, int64_t from, int64_t to)
{
    w->random = w->random * 1664525u + 1013904223u;
    return (uint32_t) (from + (int64_t) ((w->random >> 8) % (uint32_t) (to - from + 1)));
}

/* The plan of the day. */

static void plan_job(struct world *w, struct instance *instance, int64_t at)
{
    static const char *const ends[] = {NULL, "completed", "error: no space", "cancelled"};
    struct job *job = &instance->jobs[instance->njobs];

    assert_true(instance->njobs < JOBS);
    *job = (struct job){
        .queued_at = at,
        .started_at = at + (int64_t) draw(w, 1, 10) * SECOND,
        .end_reason = ends[draw(w, 0, 3)],
    };
    job->ended_at = job->started_at + draw(w, 2 * MINUTE, 20 * MINUTE);
    snprintf(job->id, sizeof(job->id), "%zu-%zu", (size_t) (instance - w->instances), instance->njobs++);
}

static size_t count_active(const struct world *w, int64_t at)
{
    size_t n = 0;

    for (size_t i = 0; i < INSTANCES; i++)
        for (size_t j = 0; j < w->instances[i].njobs; j++)
            n += w->instances[i].jobs[j].queued_at <= at && w->instances[i].jobs[j].ended_at > at;
    return n;
}

static bool is_busy(const struct instance *instance, int64_t at)
{
    return instance->njobs > 0 && instance->jobs[instance->njobs - 1].ended_at > at;
}

/* One job of each instance every six hours, all within one hour, and others at random times; at most 60 at once. */
static void plan_day(struct world *w)
{
    size_t rounds[INSTANCES] = {0};

    for (int64_t at = 10 * MINUTE; at < 23 * HOUR; at += 10 * SECOND) {
        size_t active = count_active(w, at);

        for (size_t i = 0; i < INSTANCES && active < ACTIVE_MAX; i++) {
            int64_t turn = (int64_t) rounds[i] * 6 * HOUR + (int64_t) i * HOUR / INSTANCES;

            if (is_busy(&w->instances[i], at) || (turn > at && draw(w, 0, 9999) != 0))
                continue;
            plan_job(w, &w->instances[i], at);
            rounds[i] += turn <= at;
            active++;
        }
    }
}

/* The API's response. */

static struct ais_job job_at(const struct job *job, int64_t at)
{
    bool started = job->started_at <= at, ended = job->ended_at <= at;
    struct ais_job j = {
        .id = job->id,
        .source = "schedule",
        .end_reason = ended ? job->end_reason : NULL,
        .started_at = started ? EPOCH + job->started_at : AIS_TIME_NONE,
        .ended_at = ended ? EPOCH + job->ended_at : AIS_TIME_NONE,
        .last_seen_at = started ? EPOCH + (ended ? job->ended_at : at) : AIS_TIME_NONE,
    };

    j.state = ais_job_state(started ? "x" : NULL, ended ? "x" : NULL, j.end_reason);
    return j;
}

/* The newest jobs are first. */
static size_t list_at(const struct instance *instance, int64_t at, struct ais_job jobs[PAGE])
{
    size_t n = 0;

    for (size_t i = instance->njobs; i-- > 0 && n < PAGE;)
        if (instance->jobs[i].queued_at <= at)
            jobs[n++] = job_at(&instance->jobs[i], at);
    return n;
}

/* The plugin's observations. */

static struct job *job_of(struct instance *instance, const char *id)
{
    size_t i = 0;

    while (strcmp(instance->jobs[i].id, id) != 0)
        i++;
    return &instance->jobs[i];
}

static void note_ends(struct world *w, struct instance *instance, const history_news_t *news)
{
    for (size_t i = 0; i < news->nended; i++) {
        struct job *job = job_of(instance, news->ended[i]->id);

        if (job->seen_active_at != 0)
            w->delays[w->ndelays++] = w->now - job->ended_at;
    }
}

static schedule_next_t read_list(struct world *w, struct instance *instance)
{
    int64_t answered_at = w->now - LATENCY / 2;
    struct ais_job jobs[PAGE];
    struct ais_answer answer = {.success = true, .jobs = jobs};
    history_news_t news;

    answer.njobs = list_at(instance, answered_at, jobs);
    history_page(&instance->known.history, &answer, 1, EPOCH + answered_at, 900 * SECOND, &news);
    note_ends(w, instance, &news);
    if (w->is_of_syncs)
        conditions_judge(&instance->known, OVERDUE_BY_INTERVAL, &news, EPOCH + answered_at);
    for (size_t i = 0; i < answer.njobs; i++)
        if (ais_state_active(jobs[i].state))
            job_of(instance, jobs[i].id)->seen_active_at = w->now;
    if (news.more)
        return SCHEDULE_NOW;
    return news.active || news.changed ? SCHEDULE_SOON : SCHEDULE_LATER;
}

/* The plugin. */

static void send_call(struct world *w)
{
    struct look *look = &w->under_way[(w->first + w->n - 1) % STREAMS];
    int64_t *slot = &w->last_calls[w->calls % w->budget_calls];

    assert_true(budget_enter(&w->budget, BUDGET_ALL, &look->ticket, w->now));
    if (w->calls >= w->budget_calls && w->now - *slot <= PERIOD)
        fail_msg("%zu calls within %g s", w->budget_calls + 1, (double) (w->now - *slot) / 1e3);
    *slot = w->now;
    w->calls++;
}

/* One in a hundred lookups fails. */
static void begin(struct world *w, struct instance *instance)
{
    w->under_way[(w->first + w->n++) % STREAMS] =
        (struct look){.instance = instance, .over_at = w->now + LATENCY, .fails = draw(w, 0, 99) == 0};
    instance->looks++;
    budget_begin(&w->budget);
    send_call(w);
}

static void end(struct world *w)
{
    struct look *look = &w->under_way[w->first];
    struct ais_response response = {.calls = 1, .status = look->fails ? 500 : 200, .retry_after = -1};
    unsigned spent;

    w->first = (w->first + 1) % STREAMS;
    w->n--;
    budget_leave(&w->budget, look->ticket, false, w->now);
    budget_settle(&w->budget, &response, &spent, w->now);
    schedule_spent(&w->schedule, spent, false);
    schedule_done(&w->schedule, &look->instance->turn, look->fails ? SCHEDULE_SOON : read_list(w, look->instance),
                  ACTIVE_INTERVAL, IDLE_INTERVAL);
}

static void begin_due(struct world *w)
{
    schedule_entry_t *turn;

    schedule_advance(&w->schedule, w->now, budget_rate(&w->budget, w->now));
    while (w->n < STREAMS && budget_left(&w->budget, BUDGET_ALL, w->now) > 0 &&
           (turn = schedule_take(&w->schedule)) != NULL)
        begin(w, (struct instance *) turn);
    if (w->schedule.stretch > w->stretch)
        w->stretch = w->schedule.stretch;
}

static int64_t next_time(struct world *w)
{
    int64_t next = w->n > 0 ? w->under_way[w->first].over_at : INT64_MAX;
    int64_t wait = schedule_wait(&w->schedule);

    if (wait == 0)
        wait = w->n < STREAMS ? budget_wait(&w->budget, BUDGET_ALL, w->now) : AIS_NEVER;
    return wait < next - w->now ? w->now + wait : next;
}

static void run(struct world *w, int64_t until)
{
    while (w->now < until) {
        while (w->n > 0 && w->under_way[w->first].over_at <= w->now)
            end(w);
        begin_due(w);
        assert_true(next_time(w) > w->now);
        w->now = next_time(w);
    }
}

static struct world *set_up(uint32_t calls)
{
    struct world *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    w->random = 1;
    w->budget_calls = calls;
    w->budget.hold = 6 * SECOND;
    assert_int_equal(budget_limit(&w->budget, (struct ais_budget_limit){calls, PERIOD}), 0);
    assert_int_equal(budget_limit(&w->budget, (struct ais_budget_limit){100, SECOND}), 0);
    budget_start(&w->budget, 0);
    schedule_init(&w->schedule, 0, budget_rate(&w->budget, 0));
    for (size_t i = 0; i < INSTANCES; i++) {
        char name[32];

        snprintf(name, sizeof(name), "docs-instance%03zu", i);
        instance_init(&w->instances[i].known, EPOCH);
        schedule_add(&w->schedule, &w->instances[i].turn, name, calls);
    }
    return w;
}

static void tear_down(struct world *w)
{
    free(w->notices.all);
    for (size_t i = 0; i < INSTANCES; i++)
        history_free(&w->instances[i].known.history);
    free(w);
}

/* All ends of all jobs, with the right result. */
static size_t check_ends(const struct world *w)
{
    size_t n = 0;

    for (size_t i = 0; i < INSTANCES; i++) {
        const struct instance *instance = &w->instances[i];
        uint64_t planned[AIS_STATES] = {0};

        for (size_t j = 0; j < instance->njobs; j++, n++)
            planned[job_at(&instance->jobs[j], INT64_MAX / 2).state]++;
        for (int state = AIS_SUCCEEDED; state < AIS_STATES; state++)
            assert_int_equal(instance->known.history.ended[state], planned[state]);
    }
    return n;
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *) a, y = *(const int64_t *) b;

    return (x > y) - (x < y);
}

static int64_t percentile(struct world *w, size_t percent)
{
    qsort(w->delays, w->ndelays, sizeof(w->delays[0]), by_size);
    return w->delays[w->ndelays * percent / 100];
}

static void tell(struct world *w, size_t jobs)
{
    double p50 = (double) percentile(w, 50) / 1e3, p95 = (double) percentile(w, 95) / 1e3;

    print_message("%zu jobs, %zu calls; %zu ends of jobs known to run, seen within %.1f s (p50), %.1f s (p95); stretch "
                  "at most %.2f\n",
                  jobs, w->calls, w->ndelays, p50, p95, w->stretch);
}

static void test_day(void **state)
{
    struct world *w = set_up(1200);
    size_t most_active = 0, jobs;

    (void) state;
    plan_day(w);
    for (int64_t at = 0; at < 24 * HOUR; at += MINUTE) {
        size_t active = count_active(w, at);

        if (active > most_active)
            most_active = active;
    }
    run(w, 24 * HOUR);

    jobs = check_ends(w);
    tell(w, jobs);
    assert_true(jobs > 4 * INSTANCES && most_active == ACTIVE_MAX);
    assert_true(w->ndelays > jobs / 2);
    assert_true(percentile(w, 95) < 30 * SECOND);
    assert_true(w->calls < 432000 / 2);
    tear_down(w);
}

static void test_all_at_once(void **state)
{
    struct world *w = set_up(1200);

    (void) state;
    for (size_t i = 0; i < INSTANCES; i++)
        plan_job(w, &w->instances[i], HOUR);
    run(w, HOUR);
    assert_true(w->stretch == 1.0);
    run(w, HOUR + 15 * MINUTE);
    assert_true(w->stretch > 2.0);
    run(w, 2 * HOUR);

    tell(w, check_ends(w));
    assert_true(w->schedule.stretch == 1.0);
    tear_down(w);
}

/* A quarter of the budget that the day would need. */
static void test_day_with_a_small_budget(void **state)
{
    struct world *w = set_up(300);

    (void) state;
    plan_day(w);
    run(w, 24 * HOUR);
    tell(w, check_ends(w));
    assert_true(w->stretch > 2.0 && w->calls < 24 * 12 * 300);
    tear_down(w);
}

/* ---- syncs --------------------------------------------------------------------------------------------------------
 */

static const int64_t sync_intervals[] = {900 * SECOND,   1800 * SECOND,  3600 * SECOND,  7200 * SECOND,
                                         14400 * SECOND, 21600 * SECOND, 43200 * SECOND, 86400 * SECOND};

static int64_t interval_at(const struct instance *instance, int64_t at)
{
    return at < instance->changes_at ? instance->interval : instance->new_interval;
}

static bool is_in_trouble(const struct instance *instance, int64_t at)
{
    return instance->trouble != NORMAL && at >= instance->trouble_from && at < instance->trouble_to;
}

/* Whether only the instance itself is the reason for a sync to be due then. */
static bool is_excused(const struct instance *instance, int64_t at)
{
    return instance->is_stored ||
           ((instance->trouble == PAUSED || instance->trouble == DISABLED) && is_in_trouble(instance, at));
}

/* In whole seconds. */
static int64_t draw_time(struct world *w, int64_t from, int64_t to)
{
    return draw(w, from / SECOND, to / SECOND) * SECOND;
}

static void plan_sync(struct world *w, struct instance *instance, int64_t at)
{
    int64_t longest = interval_at(instance, at) / 4;
    struct job *job = &instance->jobs[instance->njobs];

    assert_true(instance->njobs < JOBS);
    *job = (struct job){.queued_at = at, .started_at = at + (int64_t) draw(w, 1, 10) * SECOND};
    job->ended_at = job->started_at + draw_time(w, 25 * SECOND, longest < 20 * MINUTE ? longest : 20 * MINUTE);
    if (is_in_trouble(instance, at) && instance->trouble == FAILING)
        job->end_reason = "error: no space";
    snprintf(job->id, sizeof(job->id), "%zu-%zu", (size_t) (instance - w->instances), instance->njobs++);
}

/* When the next sync is due: one interval later or, if the instance was paused or its interval has changed, one
 * interval after that. */
static int64_t next_sync(const struct instance *instance, int64_t at)
{
    int64_t next = at + interval_at(instance, at);

    if (at < instance->changes_at && next > instance->changes_at)
        next = instance->changes_at + instance->new_interval;
    if (is_excused(instance, next) && !instance->is_stored)
        next = instance->trouble_to + interval_at(instance, instance->trouble_to);
    return next;
}

/* All intervals and all kinds of trouble occur equally often; the days before are included. */
static void plan_instance(struct world *w, size_t n)
{
    struct instance *instance = &w->instances[n];
    size_t kind = n / COUNT(sync_intervals) % 8;
    int64_t longest;

    snprintf(instance->id, sizeof(instance->id), "instance%03zu", n);
    instance->interval = instance->new_interval = sync_intervals[n % COUNT(sync_intervals)];
    instance->changes_at = INT64_MAX;
    instance->is_stored = kind == 6;
    if (kind >= 1 && kind <= 5)
        instance->trouble = kind;
    if (kind == 7) {
        instance->changes_at = draw_time(w, HOUR, 20 * HOUR);
        instance->new_interval = sync_intervals[draw(w, 0, 7)];
    }

    longest = 3 * instance->interval + HOUR;
    instance->trouble_from = draw_time(w, 0, 20 * HOUR) - (instance->interval >= 12 * HOUR ? 24 * HOUR : 0);
    instance->trouble_to = instance->trouble_from + draw_time(w, 20 * MINUTE, longest);
    if (instance->trouble_to < HOUR)
        instance->trouble_to = HOUR; /* trouble that ended before the first lookup is unknown */

    if (!instance->is_stored)
        for (int64_t at = draw_time(w, 0, instance->interval) - 72 * HOUR; at < 24 * HOUR; at = next_sync(instance, at))
            if (!is_in_trouble(instance, at) || instance->trouble == FAILING)
                plan_sync(w, instance, at);
}

static struct ais_instance instance_at(const struct instance *instance, int64_t at)
{
    bool in_trouble = is_in_trouble(instance, at);
    bool in_error = in_trouble && instance->trouble == IN_ERROR;

    return (struct ais_instance){
        .id = instance->id,
        .namespace = "default",
        .status = in_error ? "error" : "waiting",
        .indexed = instance->is_stored ? AIS_INDEXED_AS_STORED : AIS_INDEXED_BY_JOBS,
        .sync_interval = interval_at(instance, at),
        .disabled = in_trouble && instance->trouble == DISABLED,
        .paused = in_trouble && (instance->trouble == PAUSED || in_error),
        .in_error = in_error,
        .created_at = EPOCH - 1000 * HOUR,
        .modified_at = AIS_TIME_NONE,
    };
}

/* Reads the namespace's list page by page, as for named instances. */
static void read_instances(struct world *w)
{
    struct ais_instance page[DISCOVERY_PER_PAGE];
    struct ais_listing listing = {.instances = page, .ninstances = COUNT(page), .total = INSTANCES};
    discovery_step_t step;

    discovery_begin(&w->discovery);
    do {
        uint64_t ticket;

        listing.page = w->discovery.page;
        for (size_t i = 0; i < COUNT(page); i++) {
            struct instance *instance = &w->instances[(size_t) (listing.page - 1) * COUNT(page) + i];
            facts_t facts;

            page[i] = instance_at(instance, w->now);
            facts_take(&facts, &page[i]);
            conditions_know(&instance->known, &facts, EPOCH + w->now);
        }
        assert_true(budget_enter(&w->budget, BUDGET_FACTS, &ticket, w->now));
        budget_leave(&w->budget, ticket, false, w->now);
        step = discovery_page(&w->discovery, &listing, /* is_old = */ false);
    } while (step == DISCOVERY_MORE);
    assert_int_equal(step, DISCOVERY_DONE);
}

/* The earliest sync that was due and has not been followed by a success; INT64_MAX: none. */
static int64_t missed_at(const struct instance *instance, int64_t now)
{
    int64_t covered = -72 * HOUR, missed = INT64_MAX;

    if (is_excused(instance, now))
        return INT64_MAX;
    for (size_t i = 0; i < instance->njobs && instance->jobs[i].ended_at <= now; i++)
        if (instance->jobs[i].end_reason == NULL)
            covered = instance->jobs[i].queued_at;
    for (int64_t at = next_sync(instance, covered); at <= now && missed == INT64_MAX; at = next_sync(instance, at))
        if (!is_excused(instance, at) && (is_in_trouble(instance, at) || at + interval_at(instance, at) / 4 < now))
            missed = at;
    return missed;
}

/* All reports are true, and missed syncs are reported within two intervals and a quarter of an hour. */
static void check_instance(struct world *w, struct instance *instance, bool was_told)
{
    int64_t missed = missed_at(instance, w->now);
    bool overdue = instance->known.reported.has_begun[CONDITION_OVERDUE];
    bool in_error = instance->known.reported.has_begun[CONDITION_INSTANCE_ERROR];
    int64_t patience, within;

    if (overdue && !was_told && missed == INT64_MAX)
        fail_msg("%s: a false alarm at %g h", instance->id, (double) w->now / HOUR);
    if (in_error && !(instance->trouble == IN_ERROR && w->now >= instance->trouble_from &&
                      w->now < instance->trouble_to + 16 * MINUTE))
        fail_msg("%s is not in error at %g h", instance->id, (double) w->now / HOUR);
    if (missed == INT64_MAX)
        return;

    patience = interval_at(instance, missed);
    if (instance->changes_at <= w->now && instance->new_interval > patience)
        patience = instance->new_interval;
    within = missed + 2 * patience + 15 * MINUTE;
    if (w->now <= within)
        return;
    if (!overdue && !in_error)
        fail_msg("%s: nothing told at %g h of what was missed at %g h (every %g h, trouble %d)", instance->id,
                 (double) w->now / HOUR, (double) missed / HOUR, (double) patience / HOUR, instance->trouble);
    w->checked++;
}

static void take_notices(struct world *w)
{
    notice_t notice;

    w->notices.written = w->notices.n;
    while (notices_take(&w->notices, &notice))
        w->told[notice.condition] += !notice.is_over;
}

static void test_day_of_syncs(void **state)
{
    struct world *w = set_up(1200);
    bool was_told[INSTANCES] = {false};

    (void) state;
    w->is_of_syncs = true;
    for (size_t i = 0; i < INSTANCES; i++) {
        struct instance *instance = &w->instances[i];

        plan_instance(w, i);
        instance->known.reported.name = instance->id;
        instance->known.reported.notices = &w->notices;
    }

    for (int64_t at = 0; at < 24 * HOUR; at += 10 * SECOND) {
        if (at % (15 * MINUTE) == 0)
            read_instances(w);
        run(w, at + 10 * SECOND);
        for (size_t i = 0; i < INSTANCES; i++) {
            if (at >= 5 * MINUTE)
                check_instance(w, &w->instances[i], was_told[i]);
            was_told[i] = w->instances[i].known.reported.has_begun[CONDITION_OVERDUE];
        }
        take_notices(w);
    }

    print_message("%zu calls; told of %zu overdue, %zu in error, %zu failed; %zu checks of what was missed\n", w->calls,
                  w->told[CONDITION_OVERDUE], w->told[CONDITION_INSTANCE_ERROR], w->told[CONDITION_FAILED], w->checked);
    assert_true(w->told[CONDITION_OVERDUE] >= 50 && w->told[CONDITION_INSTANCE_ERROR] >= 20 && w->checked > 0);
    tear_down(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_day),
        cmocka_unit_test(test_all_at_once),
        cmocka_unit_test(test_day_with_a_small_budget),
        cmocka_unit_test(test_day_of_syncs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
