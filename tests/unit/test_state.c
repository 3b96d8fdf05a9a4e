/* The collectd plugin's state file: its contents, what is kept, and what may be reported after it was written. */

#include "unit.h"

#include "../../collectd-plugin/conditions.c"
#include "../../collectd-plugin/history.c"
#include "../../collectd-plugin/instance.c"
#include "../../collectd-plugin/state.c"
#include "../../collectd-plugin/state_text.c"
#include "../plugin/collectd_stub.c"

#include <regex.h>

#define SECOND INT64_C(1000)
#define NOW INT64_C(1795435200000) /* 2026-11-23T12:00:00Z */

void module_register(void)
{
}

static char directory[] = "/tmp/ais-state-XXXXXX";
static char path[64];

/* An account with one instance. */
static account_t account;
static instance_t instance;
static poll_t poll_of_it;

static void written(void)
{
}

static void make_account(void)
{
    static const struct ais_budget_limit limit = {300, 300 * SECOND};

    account = (account_t){.name = "docs", .payer = &account, .first = &poll_of_it};
    pthread_mutex_init(&account.lock, NULL);
    ais_budget_configure(&account.budget.parts[BUDGET_ALL], &limit, 1, SECOND, ais_clock());
    instance = (instance_t){.name = "docs-handbook"};
    instance_init(&instance, epoch());
    instance.reported = (reported_t){.name = instance.name, .notices = &account.notices};
    poll_of_it = (poll_t){.instance = &instance, .leads = true};
}

static int set_up(void **test_state)
{
    (void) test_state;
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/some.state", directory);
    make_account();
    return 0;
}

static int tear_down(void **test_state)
{
    char command[128];

    (void) test_state;
    state_close(&account);
    history_free(&instance.history);
    free(account.notices.all);
    snprintf(command, sizeof(command), "rm -rf %s", directory);
    assert_int_equal(system(command), 0);
    memcpy(directory + strlen(directory) - 6, "XXXXXX", 6);
    stub_counts.logged[LOG_ERR] = stub_counts.logged[LOG_WARNING] = 0;
    return 0;
}

static void open_it(void)
{
    state_open(path, written);
    assert_string_equal(state.path, path);
}

/* Restarts the plugin. */
static void start_again(void)
{
    state_close(&account);
    history_free(&instance.history);
    free(account.notices.all);
    make_account();
    open_it();
    state_restore_account(&account);
}

static char *contents(void)
{
    static char text[1 << 16];
    FILE *file = fopen(path, "r");
    size_t len;

    assert_non_null(file);
    len = fread(text, 1, sizeof(text) - 1, file);
    text[len] = '\0';
    fclose(file);
    return text;
}

static void put_contents(const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void fail_job(const char *id)
{
    struct ais_job job = {.id = id, .source = "user", .state = AIS_FAILED, .end_reason = "no disk; 100 %!\n"};
    struct ais_answer answer = {.success = true, .jobs = &job, .njobs = 1};
    history_news_t news;

    job.started_at = epoch() - 5 * SECOND;
    job.ended_at = job.last_seen_at = epoch();
    history_page(&instance.history, &answer, 1, epoch(), 0, &news);
    conditions_judge(&instance, /* overdue_after = */ 0, &news, epoch());
    state_touch(news.nended > 0);
}

static void see_nothing(void)
{
    struct ais_answer answer = {.success = true};
    history_news_t news;

    history_page(&instance.history, &answer, 1, epoch(), 0, &news);
    state_touch(false);
}

static void save_and_wait(void)
{
    state_save(&account, true);
    if (state.is_writing)
        finish_writing(&account);
}

/* ---- what is reported, and when ---------------------------------------------------------------------------------- */

/* Neither counters nor notices are reported before they are in the file. */
static void test_nothing_is_reported_before_it_is_written(void **test_state)
{
    (void) test_state;
    open_it();
    see_nothing();
    fail_job("a");
    assert_int_equal(instance.history.ended[AIS_FAILED], 1);
    assert_int_equal(instance.written[AIS_FAILED], 0);
    assert_int_equal(account.notices.n, 1);
    assert_int_equal(account.notices.written, 0);

    state_save(&account, true);
    fail_job("b"); /* while it is being written */
    finish_writing(&account);
    assert_int_equal(instance.written[AIS_FAILED], 1);
    assert_int_equal(account.notices.written, 1);
    assert_int_equal(account.notices.n, 2);

    save_and_wait();
    assert_int_equal(instance.written[AIS_FAILED], 2);
    assert_int_equal(account.notices.written, 2);
}

/* Changes with notices are written at once, but not too often; all other changes once per interval. */
static void test_urgent_changes(void **test_state)
{
    (void) test_state;
    open_it();
    see_nothing();
    assert_int_equal(state_save(&account, false), AIS_NEVER);
    assert_false(state.is_writing);

    state.saved_at = ais_clock() - SAVE_PAUSE;
    fail_job("a");
    assert_int_equal(state_save(&account, false), AIS_NEVER);
    assert_true(state.is_writing);
    finish_writing(&account);
    fail_job("b");
    assert_uint_in_range(state_save(&account, false), 1, SAVE_PAUSE);
    assert_false(state.is_writing);
}

static void test_a_restart(void **test_state)
{
    notice_t notice;

    (void) test_state;
    open_it();
    see_nothing();
    fail_job("a");
    account.conditions.reported.has_begun[CONDITION_UNREACHABLE] = true;
    instance.is_known = true;
    instance.facts.sync_interval = 900 * SECOND;
    instance.read_at = epoch() - 60 * SECOND;
    start_again();

    assert_int_equal(instance.written[AIS_FAILED], 1);
    assert_true(instance.reported.has_begun[CONDITION_FAILED]);
    assert_true(account.conditions.reported.has_begun[CONDITION_UNREACHABLE]);
    assert_true(instance.is_known);
    assert_int_equal(instance.facts.sync_interval, 900 * SECOND);
    assert_uint_in_range(epoch() - instance.read_at, 60 * SECOND, 70 * SECOND);
    assert_true(notices_take(&account.notices, &notice));
    assert_string_equal(notice.job, "a");
    assert_string_equal(notice.end_reason, "no disk; 100 %! ");
    assert_uint_in_range(notice.duration, 5000, 5100);

    /* it was sent, and is no longer in the file */
    assert_true(account.notices.changed);
    state_touch(account.notices.changed);
    save_and_wait();
    assert_null(strstr(contents(), "notice!"));
    start_again();
    assert_int_equal(account.notices.n, 0);
}

/* By a clock that was ahead. */
static void test_times_in_the_future(void **test_state)
{
    (void) test_state;
    put_contents("aisearch-state 1\n"
                 "budget facts!docs-handbook!read=4102444800.000 2026-11-23T12:00:00Z \n"
                 "end 1\n");
    open_it();
    state_restore_account(&account);
    assert_true(instance.read_at <= epoch());
}

/* The previous release sets aside a file with an unknown kind of line, or with unknown contents of one. */
static void test_the_previous_release_can_read_it(void **test_state)
{
    static const char date[] = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z";
    char pattern[256], *line = NULL, *rest;
    size_t lines = 0;
    regex_t regex;

    (void) test_state;
    open_it();
    see_nothing();
    fail_job("a");
    instance.facts.in_error = instance.is_known = true;
    strcpy(instance.facts.status, "so so");
    save_and_wait();
    snprintf(pattern, sizeof(pattern),
             "^(instance [^ ]+ %s seen=[^!]*|told [^ ]+ %s [a-z_,]+|budget [^ ]+ %s (spent=.*)?)$", date, date, date);
    assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED), 0);

    rest = contents();
    assert_string_equal(strsep(&rest, "\n"), "aisearch-state 1");
    for (line = strsep(&rest, "\n"); rest != NULL && strncmp(line, "end ", 4) != 0; line = strsep(&rest, "\n"), lines++)
        if (regexec(&regex, line, 0, NULL, 0) != 0)
            fail_msg("%s", line);
    assert_int_equal(strtoul(line + 4, NULL, 10), lines);
    assert_int_equal(lines, 5);
    regfree(&regex);
}

/* ---- unused lines ------------------------------------------------------------------------------------------------ */

static void print_line(char *line, size_t size, const char *what, int64_t ago)
{
    char date[RFC3339_SIZE];

    rfc3339(date, sizeof(date), MS_TO_CDTIME_T(epoch() - ago));
    snprintf(line, size, what, date);
}

static void test_unused_lines_are_kept_for_a_month(void **test_state)
{
    static const char *const lines[] = {"instance other-x %s seen=1.000 listed=1 failed=1/0/0\n",
                                        "told other-x %s failed\n", "budget other %s spent=1@1.000\n",
                                        "budget facts!other-x!read=1.000 %s \n",
                                        "budget notice!other.0!condition=1;name=other-x %s \n"};
    char text[2048] = HEADER, line[256], kept[COUNT(lines)][256];

    (void) test_state;
    for (size_t i = 0; i < COUNT(lines); i++) {
        print_line(kept[i], sizeof(kept[i]), lines[i], 29 * 24 * 3600 * SECOND);
        strcat(text, kept[i]);
    }
    print_line(line, sizeof(line), "told old-x %s failed\n", 31 * 24 * 3600 * SECOND);
    strcat(text, line);
    print_line(line, sizeof(line), "told ahead-x %s failed\n", -31 * 24 * 3600 * SECOND);
    strcat(text, line);
    strcat(text, "end 7\n");
    put_contents(text);
    open_it();
    assert_int_equal(stub_counts.logged[LOG_WARNING], 0);
    see_nothing();
    save_and_wait();
    for (size_t i = 0; i < COUNT(lines); i++)
        assert_non_null(strstr(contents(), kept[i]));
    assert_null(strstr(contents(), "told old-x"));
    print_line(line, sizeof(line), "told ahead-x %.10s", 0);
    assert_non_null(strstr(contents(), line)); /* from now on */
}

static char visited[64];

static int visit(account_t *of, const char *name)
{
    assert_ptr_equal(of, &account);
    snprintf(visited + strlen(visited), sizeof(visited) - strlen(visited), "%s ", name);
    return strcmp(name, "docs-stop") == 0 ? -1 : 0;
}

static void test_names(void **test_state)
{
    (void) test_state;
    put_contents("aisearch-state 1\n"
                 "told docs 2026-11-23T12:00:00Z unreachable\n"
                 "told docs-b 2026-11-23T12:00:00Z failed\n"
                 "told docs2-c 2026-11-23T12:00:00Z failed\n"
                 "instance docs-a 2026-11-23T12:00:00Z seen=1.000\n"
                 "end 4\n");
    open_it();
    assert_int_equal(state_each(&account, visit), 0);
    assert_int_equal(strlen(visited), strlen("docs-a docs-b "));
    assert_non_null(strstr(visited, "docs-a "));
    assert_non_null(strstr(visited, "docs-b "));

    state_end(&account, "docs-b");
    assert_int_equal(account.notices.n, 1);
    assert_int_equal(account.notices.written, 0);
    assert_true(account.notices.all[0].is_over);
    visited[0] = '\0';
    assert_int_equal(state_each(&account, visit), 0);
    assert_string_equal(visited, "docs-a ");

    state_close(&account);
    put_contents("aisearch-state 1\ninstance docs-stop 2026-11-23T12:00:00Z seen=1.000\nend 1\n");
    open_it();
    assert_int_equal(state_each(&account, visit), -1);
}

static void test_an_instance_that_disappears_and_returns(void **test_state)
{
    (void) test_state;
    open_it();
    see_nothing();
    fail_job("a");
    state_keep(&instance);
    history_free(&instance.history);
    instance_init(&instance, epoch());
    state_restore(&instance);
    assert_int_equal(instance.history.ended[AIS_FAILED], 1);
}

static void test_the_number_of_unused_lines_is_limited(void **test_state)
{
    static char name[32]; /* is written once more at the end */

    (void) test_state;
    open_it();
    see_nothing();
    instance.name = name;
    for (size_t i = 0; i < KEPT_MAX + 10; i++) {
        snprintf(name, sizeof(name), "docs-%zu", i);
        state_keep(&instance);
    }
    assert_int_equal(state.nlines, KEPT_MAX);
}

/* ---- damage ------------------------------------------------------------------------------------------------------ */

static void test_another_file_is_set_aside(void **test_state)
{
    static const char *const cases[] = {"", "aisearch-state 2\nend 0\n", "aisearch-state 1", "rubbish\n"};
    char damaged[80];

    (void) test_state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        put_contents(cases[i]);
        open_it();
        assert_int_equal(state.nlines, 0);
        assert_int_equal(stub_counts.logged[LOG_WARNING], i + 1);
        snprintf(damaged, sizeof(damaged), "%s.damaged", path);
        assert_int_equal(access(damaged, F_OK), 0);
        state_close(&account);
        assert_int_equal(unlink(path), 0);
    }
}

/* Each invalid line affects only itself. */
static void test_invalid_lines(void **test_state)
{
    static const char *const bad[] = {
        "what docs-a 2026-11-23T12:00:00Z seen=1.000",
        "instance",
        "instance docs-a",
        "instance docs-a 2026-11-23T12:00:00Z",
        "instance docs-a yesterday seen=1.000",
        "instance docs-a 2026-11-23T12:00:00Z sean=1.000",
        "told docs-a 2026-11-23T12:00:00Z invented",
        "told  2026-11-23T12:00:00Z failed",
        "budget docs 2026-11-23T12:00:00Z spent",
        "budget facts!docs-a!read=x 2026-11-23T12:00:00Z ",
        "budget facts!docs-a 2026-11-23T12:00:00Z ",
        "budget what!docs-a!x=1 2026-11-23T12:00:00Z ",
        "told good 2026-11-23T12:00:00Z stalled", /* the second line with that name */
        "",
    };

    (void) test_state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        char text[512];

        snprintf(text, sizeof(text), HEADER "told good 2026-11-23T12:00:00Z failed\n%s\nbudget good %s \nend 3\n",
                 bad[i], "2026-11-23T12:00:00Z");
        put_contents(text);
        open_it();
        if (state.nlines != 2)
            fail_msg("%s", bad[i]);
        assert_int_equal(stub_counts.logged[LOG_WARNING], i + 1);
        state_close(&account);
    }
}

static void test_a_missing_end(void **test_state)
{
    (void) test_state;
    put_contents(HEADER "told good 2026-11-23T12:00:00Z failed\ntold other 2026-11-23T12:");
    open_it();
    assert_int_equal(state.nlines, 1);
    assert_int_equal(stub_counts.logged[LOG_WARNING], 1);
}

/* ---- the disk ---------------------------------------------------------------------------------------------------- */

static void test_write_errors(void **test_state)
{
    char other[80];

    (void) test_state;
    open_it();
    snprintf(other, sizeof(other), "%s.gone", directory);
    assert_int_equal(rename(directory, other), 0);
    see_nothing();
    fail_job("a");
    save_and_wait();
    fail_job("b");
    save_and_wait();
    assert_int_equal(stub_counts.logged[LOG_ERR], 1);
    assert_int_equal(instance.written[AIS_FAILED], 2); /* better reported twice than never */
    assert_int_equal(account.notices.written, 2);

    assert_int_equal(rename(other, directory), 0);
    fail_job("c");
    save_and_wait();
    assert_non_null(strstr(contents(), "failed=3/0/0"));
}

static void test_only_the_owner_can_read_it(void **test_state)
{
    struct stat st;

    (void) test_state;
    open_it();
    see_nothing();
    save_and_wait();
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

/* What was not written yet is written before the file is closed. */
static void test_close_writes_immediately(void **test_state)
{
    (void) test_state;
    open_it();
    see_nothing();
    state_save(&account, true);
    fail_job("a");
    state_close(&account);
    assert_non_null(strstr(contents(), "failed=1/0/0"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_nothing_is_reported_before_it_is_written),
        TEST(test_urgent_changes),
        TEST(test_a_restart),
        TEST(test_times_in_the_future),
        TEST(test_the_previous_release_can_read_it),
        TEST(test_unused_lines_are_kept_for_a_month),
        TEST(test_names),
        TEST(test_an_instance_that_disappears_and_returns),
        TEST(test_the_number_of_unused_lines_is_limited),
        TEST(test_another_file_is_set_aside),
        TEST(test_invalid_lines),
        TEST(test_a_missing_end),
        TEST(test_write_errors),
        TEST(test_only_the_owner_can_read_it),
        TEST(test_close_writes_immediately),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
