/* The collectd plugin's state file: budgets, conditions, instances and notices survive a restart. (For histories, see
 * test_history.c.) */

#include "unit.h"

#include "../../collectd-plugin/history.c"
#include "../../collectd-plugin/instance.c"
#include "../../collectd-plugin/state_text.c"

#include "facts.h"

#define NOW INT64_C(1795435200000) /* 2026-11-23T12:00:00Z */
#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define HOLD (5 * SECOND)

static const struct ais_budget_limit limits[] = {{300, 5 * MINUTE}, {100, SECOND}};

/* The latest text. */
static char text[4096];

static const char *print(state_kind_t kind, void *of)
{
    FILE *file = fmemopen(text, sizeof(text), "w");

    assert_non_null(file);
    text[0] = '\0';
    state_print(file, kind, of);
    assert_int_equal(fclose(file), 0);
    return text;
}

/* ---- budgets ----------------------------------------------------------------------------------------------------- */

static struct ais_budget fresh(int64_t now)
{
    struct ais_budget b = {.now = 0};

    ais_budget_configure(&b, limits, COUNT(limits), HOLD, now);
    return b;
}

static void spend(struct ais_budget *b, int calls, int64_t now)
{
    while (calls-- > 0) {
        ais_ticket ticket = ais_budget_take(b, now);

        assert_true(ticket != AIS_TICKET_NONE);
        ais_budget_end(b, ticket, now);
    }
}

static const char *budget_text(struct ais_budget *b, int64_t now)
{
    return print(STATE_BUDGET, &(state_budget_t){b, now, NOW});
}

static bool budget_parse(struct ais_budget *b, int64_t now, int64_t epoch, const char *from)
{
    return state_parse(STATE_BUDGET, &(state_budget_t){b, now, epoch}, from, epoch);
}

/* The monotonic clock starts anew, the wall clock continues. */
static struct ais_budget restart(struct ais_budget *b, int64_t now, int64_t later)
{
    struct ais_budget next = fresh(10 * SECOND), none = {.now = 0};
    const char *printed = budget_text(b, now);

    assert_true(budget_parse(&none, 0, NOW + later, printed));
    assert_true(budget_parse(&next, 10 * SECOND, NOW + later, printed));
    return next;
}

static void test_nothing_spent(void **state)
{
    struct ais_budget b = fresh(HOUR);

    (void) state;
    assert_string_equal(budget_text(&b, HOUR), "");
    assert_true(budget_parse(&b, HOUR, NOW, ""));
    assert_int_equal(ais_budget_left(&b, HOUR), 100);
}

static void test_text(void **state)
{
    struct ais_budget b = fresh(HOUR);

    (void) state;
    spend(&b, 10, HOUR);
    ais_budget_close(&b, HOUR + 2 * MINUTE, HOUR);
    assert_string_equal(budget_text(&b, HOUR + 1500),
                        "spent=8@1795435198.500 spent=2@1795435198.500 closed=1795435318.500");
}

static void test_spent_calls_remain_spent(void **state)
{
    struct ais_budget b = fresh(HOUR), next;

    (void) state;
    for (int i = 0; i < 4; i++)
        spend(&b, 70, HOUR + i * 2 * SECOND);

    next = restart(&b, HOUR + 6 * SECOND, 3 * SECOND);
    assert_int_equal(ais_budget_left(&next, 10 * SECOND), 20);
    assert_int_equal(ais_budget_left(&next, 10 * SECOND + 5 * MINUTE - 3 * SECOND + 1), 100);

    next = restart(&b, HOUR + 6 * SECOND, 5 * MINUTE + 1);
    assert_int_equal(ais_budget_left(&next, 10 * SECOND), 100);

    /* the clock was set back */
    next = restart(&b, HOUR + 6 * SECOND, -10 * MINUTE);
    assert_int_equal(ais_budget_left(&next, 10 * SECOND), 0);
    assert_int_equal(ais_budget_left(&next, 11 * SECOND), 0);
    assert_int_equal(ais_budget_left(&next, 10 * SECOND + 5 * MINUTE + 1), 100);
}

static void test_closed_remains_closed(void **state)
{
    struct ais_budget b = fresh(HOUR), next;

    (void) state;
    ais_budget_close(&b, HOUR + MINUTE, HOUR);
    next = restart(&b, HOUR, 10 * SECOND);
    assert_int_equal(ais_budget_left(&next, 10 * SECOND + 50 * SECOND - 1), 0);
    assert_int_equal(ais_budget_left(&next, 10 * SECOND + 50 * SECOND), 100);

    next = restart(&b, HOUR, 2 * MINUTE);
    assert_int_equal(ais_budget_left(&next, 10 * SECOND), 100);
}

/* Saved by a wrong clock; and by the previous release, which also saved what the API said was left. */
static void test_times_in_the_future(void **state)
{
    struct ais_budget b = fresh(0);

    (void) state;
    assert_true(budget_parse(&b, 0, NOW, "closed=4102444800.000"));
    assert_int_equal(ais_budget_left(&b, 24 * HOUR - 1), 0);
    assert_int_equal(ais_budget_left(&b, 24 * HOUR), 100);

    b = fresh(0);
    assert_true(budget_parse(&b, 0, NOW, "spent=290@4102444800.000 left=0@4102444800.000,5@4102444800.000"));
    assert_int_equal(ais_budget_left(&b, 2 * SECOND), 10);
    assert_int_equal(ais_budget_left(&b, 5 * MINUTE + 1), 100);
}

static void test_invalid_budgets(void **state)
{
    static const char *const bad[] = {
        "spent",
        "spent=",
        "spent=1",
        "spent=1@",
        "spent=1@x",
        "spent=1@1",
        "spent=1@1.0000",
        "spent=-1@1.000",
        "spent=1@1.000,",
        "spent=1@1.000 x",
        "closed=1",
        "closed=1@1.000",
        "left=1.000",
        "left=4294967296@1.000",
        "left=1@1.000 spent",
        "what=1@1.000",
        " ",
    };
    struct ais_budget b = fresh(0);

    (void) state;
    for (size_t i = 0; i < COUNT(bad); i++)
        if (budget_parse(&b, 0, NOW, bad[i]))
            fail_msg("accepted: %s", bad[i]);
}

/* ---- conditions -------------------------------------------------------------------------------------------------- */

static bool reported_parse(reported_t *reported, const char *from)
{
    *reported = (reported_t){0};
    return state_parse(STATE_REPORTED, reported, from, NOW);
}

static void test_reported_conditions(void **state)
{
    static const char *const good[] = {"", "failed", "failed,stalled", "credential,rate_limited",
                                       "instance_error,refused"};
    static const char *const bad[] = {"what", ",", "failed,", "+", "failed++", "fail", "failed ", "failed,,stalled"};
    reported_t reported;

    (void) state;
    for (size_t i = 0; i < COUNT(good); i++) {
        assert_true(reported_parse(&reported, good[i]));
        assert_string_equal(print(STATE_REPORTED, &reported), good[i]);
    }
    for (size_t i = 0; i < COUNT(bad); i++)
        if (reported_parse(&reported, bad[i]))
            fail_msg("accepted: %s", bad[i]);

    for (int c = 0; c < CONDITIONS; c++) {
        assert_true(reported_parse(&reported, condition_name(c)));
        assert_true(reported.has_begun[c]);
        assert_string_equal(print(STATE_REPORTED, &reported), condition_name(c));
    }

    /* the previous release had summaries: conditions in one count as reported */
    assert_true(reported_parse(&reported, "failed,failed+,overdue+"));
    assert_string_equal(print(STATE_REPORTED, &reported), "failed,overdue");
}

/* ---- instances --------------------------------------------------------------------------------------------------- */

static bool facts_parse(instance_t *instance, const char *from)
{
    return state_parse(STATE_FACTS, instance, from, NOW + HOUR);
}

static void test_instances(void **state)
{
    instance_t instance = {.name = "docs-handbook"}, other = {.name = "docs-handbook"};

    (void) state;
    instance_init(&instance, NOW);
    assert_string_equal(print(STATE_FACTS, &instance), "read=1795435200.000;sync=0.000");

    instance.read_at = NOW + SECOND;
    instance.is_known = true;
    instance.facts = (facts_t){.created_at = NOW - HOUR,
                               .sync_interval = 900 * SECOND,
                               .indexed = AIS_INDEXED_BY_JOBS,
                               .disabled = true,
                               .paused = true,
                               .in_error = true,
                               .status = "in; error 100%"};
    assert_string_equal(print(STATE_FACTS, &instance),
                        "read=1795435201.000;known=1;created=1795431600.000;sync=900.000;indexed=1;"
                        "off=1;paused=1;error=1;status=in%3b%20error%20100%25");
    instance_init(&other, 0);
    assert_true(facts_parse(&other, text));
    assert_true(facts_equal(&instance.facts, &other.facts));
    assert_int_equal(other.read_at, instance.read_at);
    assert_true(other.is_known);

    instance.facts.indexed = AIS_INDEXED_AS_STORED;
    assert_true(facts_parse(&other, print(STATE_FACTS, &instance)));
    assert_true(facts_equal(&instance.facts, &other.facts));
}

static void test_invalid_instances(void **state)
{
    static const char *const bad[] = {
        "read",       "read=1",     "first=1.000", "off=0",     "known=1;;off=1",
        "status=%zz", "status=%00", "status=%1",   "indexed=3", "status=123456789012345678901234567890ab"};
    instance_t instance = {.name = NULL};

    (void) state;
    for (size_t i = 0; i < COUNT(bad); i++)
        if (facts_parse(&instance, bad[i]))
            fail_msg("accepted: %s", bad[i]);
}

/* ---- notices ----------------------------------------------------------------------------------------------------- */

static bool notice_parse(notice_t *notice, const char *from)
{
    *notice = (notice_t){.duration = -1};
    return state_parse(STATE_NOTICE, notice, from, NOW);
}

static void check_notice(notice_t *notice)
{
    notice_t other;

    assert_null(strpbrk(print(STATE_NOTICE, notice), " \n!"));
    assert_true(notice_parse(&other, text));
    assert_int_equal(other.condition, notice->condition);
    assert_int_equal(other.is_over, notice->is_over);
    assert_string_equal(other.name, notice->name);
    assert_string_equal(other.message, notice->message);
    assert_string_equal(other.job, notice->job);
    assert_string_equal(other.source, notice->source);
    assert_string_equal(other.end_reason, notice->end_reason);
    assert_true(other.duration == notice->duration);
}

static void test_notices(void **state)
{
    notice_t notice = {.condition = CONDITION_UNREACHABLE, .name = "docs", .message = "The API!", .duration = -1};

    (void) state;
    check_notice(&notice);
    notice = (notice_t){.condition = CONDITION_FAILED,
                        .is_over = true,
                        .name = "docs-handbook@support",
                        .message = "Job a (user) has failed: 100 % \xe2\x82\xac; no!",
                        .job = "a",
                        .source = "user",
                        .end_reason = "100 % \xe2\x82\xac; no!",
                        .duration = 12500};
    check_notice(&notice);
    memset(notice.end_reason, ' ', sizeof(notice.end_reason) - 1);
    memset(notice.message, '%', sizeof(notice.message) - 1);
    check_notice(&notice);
}

static void test_invalid_notices(void **state)
{
    static const char *const bad[] = {
        "", "condition=0", "condition=8;name=a", "name=a;over=0", "name=a;duration=1", "name=a;what=1", "name="};
    notice_t notice;

    (void) state;
    for (size_t i = 0; i < COUNT(bad); i++)
        if (notice_parse(&notice, bad[i]))
            fail_msg("accepted: %s", bad[i]);
}

#define TEST(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_nothing_spent),
        TEST(test_text),
        TEST(test_spent_calls_remain_spent),
        TEST(test_closed_remains_closed),
        TEST(test_times_in_the_future),
        TEST(test_invalid_budgets),
        TEST(test_reported_conditions),
        TEST(test_instances),
        TEST(test_invalid_instances),
        TEST(test_notices),
        TEST(test_invalid_notices),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
