/* The collectd plugin's state file, on a real file system. */

#include "unit.h"

#include <dirent.h>

#include "../../collectd-plugin/statefile.c"

#define NOW INT64_C(1795435200000) /* 2026-11-23T12:00:00Z */
#define DAY (INT64_C(24) * 3600 * 1000)

typedef struct {
    char directory[64];
    char path[128];
    statefile_t *file;
} fixture_t;

static int setup(void **state)
{
    fixture_t *f = calloc(1, sizeof(*f));

    if (f == NULL)
        return -1;
    strcpy(f->directory, "/tmp/test_statefile-XXXXXX");
    if (mkdtemp(f->directory) == NULL)
        return -1;
    snprintf(f->path, sizeof(f->path), "%s/aisearch.state", f->directory);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;
    DIR *directory;
    struct dirent *entry;
    char path[512];

    aisearch_statefile_close(f->file);
    directory = opendir(f->directory);
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        snprintf(path, sizeof(path), "%s/%s", f->directory, entry->d_name);
        if (remove(path) != 0)
            continue; /* . and .. */
    }
    closedir(directory);
    rmdir(f->directory);
    free(f);
    return 0;
}

/* "bad" is the only text that no line may have. */
static bool is_valid(const char *kind, const char *text)
{
    return (strcmp(kind, "instance") == 0 || strcmp(kind, "account") == 0) && strcmp(text, "bad") != 0;
}

static struct ais_error reopen(fixture_t *f)
{
    struct ais_error err;

    aisearch_statefile_close(f->file);
    f->file = aisearch_statefile_open(f->path, is_valid, &err);
    assert_non_null(f->file);
    return err;
}

static void check_reopen(fixture_t *f)
{
    assert_string_equal(reopen(f).text, "");
}

static void write_lines(fixture_t *f, const char *const (*lines)[3], size_t n, int64_t now)
{
    struct ais_error err;

    assert_true(aisearch_statefile_begin(f->file, now));
    for (size_t i = 0; i < n; i++)
        aisearch_statefile_add(f->file, lines[i][0], lines[i][1], lines[i][2]);
    aisearch_statefile_commit(f->file);
    assert_int_equal(aisearch_statefile_wait(f->file, &err), 0);
}

static void check_take(fixture_t *f, const char *kind, const char *name, const char *expected)
{
    char *text = aisearch_statefile_take(f->file, kind, name);

    if (expected == NULL) {
        assert_null(text);
        return;
    }
    assert_non_null(text);
    assert_string_equal(text, expected);
    free(text);
}

static void put(const char *path, const char *data, size_t len)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static void check_contents(const char *path, const char *expected)
{
    char text[4096];
    FILE *file = fopen(path, "r");
    size_t len;

    assert_non_null(file);
    len = fread(text, 1, sizeof(text) - 1, file);
    text[len] = '\0';
    fclose(file);
    assert_string_equal(text, expected);
}

static bool exists(const fixture_t *f, const char *suffix)
{
    char path[256];

    snprintf(path, sizeof(path), "%s%s", f->path, suffix);
    return access(path, F_OK) == 0;
}

static const char *const two_lines[][3] = {{"instance", "docs-b", "seen=1.000 listed=1"}, {"account", "docs", ""}};

#define TWO_LINES                                                                                                      \
    "aisearch-state 1\n"                                                                                               \
    "instance docs-b 2026-11-23T12:00:00Z seen=1.000 listed=1\n"                                                       \
    "account docs 2026-11-23T12:00:00Z \n"                                                                             \
    "end 2\n"

static void test_written_and_read(void **state)
{
    fixture_t *f = *state;
    struct stat st;

    check_reopen(f);
    check_take(f, "account", "docs", NULL);
    assert_false(exists(f, ""));

    write_lines(f, two_lines, 2, NOW);
    check_contents(f->path, TWO_LINES);
    assert_false(exists(f, ".new"));
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);

    check_reopen(f);
    check_take(f, "instance", "docs-a", NULL);
    check_take(f, "account", "docs-b", NULL);
    check_take(f, "instance", "docs-b", "seen=1.000 listed=1");
    check_take(f, "instance", "docs-b", NULL);
    check_take(f, "account", "docs", "");

    write_lines(f, NULL, 0, NOW);
    check_contents(f->path, "aisearch-state 1\nend 0\n");
    check_reopen(f);
}

/* What nobody took is still there the next time, but not for ever. */
static void test_what_is_not_taken_is_kept(void **state)
{
    fixture_t *f = *state;
    static const char *const other[][3] = {{"instance", "docs-c", "listed=1"}};

    put(f->path, TWO_LINES, strlen(TWO_LINES));
    check_reopen(f);
    check_take(f, "account", "docs", "");
    write_lines(f, other, 1, NOW + 29 * DAY);
    check_contents(f->path, "aisearch-state 1\n"
                            "instance docs-c 2026-12-22T12:00:00Z listed=1\n"
                            "instance docs-b 2026-11-23T12:00:00Z seen=1.000 listed=1\n"
                            "end 2\n");

    check_reopen(f);
    write_lines(f, NULL, 0, NOW + 31 * DAY);
    check_contents(f->path, "aisearch-state 1\n"
                            "instance docs-c 2026-12-22T12:00:00Z listed=1\n"
                            "end 1\n");
}

/* Written down by a clock that was wrong: kept for a month from when that is seen. */
static void test_a_date_to_come(void **state)
{
    static const char *const lines[][3] = {{"instance", "docs-wiki", "first"}};
    fixture_t *f = *state;

    check_reopen(f);
    write_lines(f, lines, 1, NOW + 30000 * DAY);
    check_reopen(f);
    write_lines(f, NULL, 0, NOW);
    check_reopen(f);
    write_lines(f, NULL, 0, NOW + 29 * DAY);
    check_reopen(f);
    write_lines(f, NULL, 0, NOW + 31 * DAY);
    check_reopen(f);
    check_take(f, "instance", "docs-wiki", NULL);
}

static void test_an_instance_that_goes_and_comes_back(void **state)
{
    fixture_t *f = *state;

    check_reopen(f);
    aisearch_statefile_keep(f->file, "instance", "docs-b", "listed=1", NOW);
    aisearch_statefile_keep(f->file, "instance", "docs-a", "", NOW);
    aisearch_statefile_keep(f->file, "instance", "docs-b", "seen=2.000", NOW);
    write_lines(f, NULL, 0, NOW + DAY);
    check_contents(f->path, "aisearch-state 1\n"
                            "instance docs-a 2026-11-23T12:00:00Z \n"
                            "instance docs-b 2026-11-23T12:00:00Z seen=2.000\n"
                            "end 2\n");
    check_take(f, "instance", "docs-b", "seen=2.000");
    check_take(f, "instance", "docs-b", NULL);
}

static void test_no_more_than_so_many_are_kept(void **state)
{
    fixture_t *f = *state;
    char name[16];

    check_reopen(f);
    for (int i = 0; i <= STATEFILE_KEPT; i++) {
        snprintf(name, sizeof(name), "n%06d", i);
        aisearch_statefile_keep(f->file, "instance", name, "listed=1", NOW);
    }
    aisearch_statefile_keep(f->file, "instance", "n000007", "", NOW);
    check_take(f, "instance", "n000007", "");
    check_take(f, "instance", "n099999", "listed=1");
    check_take(f, "instance", "n100000", NULL);
    aisearch_statefile_keep(f->file, "instance", "n100000", "", NOW);
    check_take(f, "instance", "n100000", "");
}

static void check_first(fixture_t *f, const char *kind, const char *prefix, const char *expected)
{
    char *name = aisearch_statefile_first(f->file, kind, prefix);

    if (expected == NULL)
        assert_null(name);
    else
        assert_string_equal(name, expected);
    free(name);
}

static void test_names_with_a_prefix(void **state)
{
    fixture_t *f = *state;

    check_reopen(f);
    check_first(f, "instance", "docs-", NULL);
    aisearch_statefile_keep(f->file, "instance", "docs-b", "", NOW);
    aisearch_statefile_keep(f->file, "instance", "docs-a", "", NOW);
    aisearch_statefile_keep(f->file, "instance", "wiki-a", "", NOW);
    check_first(f, "instance", "docs-", "docs-a");
    check_first(f, "instance", "docs-b", "docs-b");
    check_first(f, "instance", "wiki-", "wiki-a");
    check_first(f, "instance", "doc-", NULL);
    check_first(f, "instance", "x", NULL);
    check_first(f, "account", "docs-", NULL);
    check_take(f, "instance", "docs-a", "");
    check_first(f, "instance", "docs-", "docs-b");
}

static void check_damaged(fixture_t *f, const char *data, size_t len)
{
    struct ais_error err;
    char aside[256];

    put(f->path, data, len);
    err = reopen(f);
    if (strstr(err.text, "damaged") == NULL)
        fail_msg("accepted: %s", data);
    assert_false(exists(f, ""));
    snprintf(aside, sizeof(aside), "%s.damaged", f->path);
    check_contents(aside, data);
    check_take(f, "instance", "docs-b", NULL);

    write_lines(f, two_lines, 2, NOW);
    check_contents(f->path, TWO_LINES);
}

static void test_damaged_files_are_set_aside(void **state)
{
    static const char *const damaged[] = {
        "",
        "\n",
        "aisearch-state 2\nend 0\n",
        "aisearch-state 1",
        "aisearch-state 1\n",
        "aisearch-state 1\nend 0",
        "aisearch-state 1\nend 1\n",
        "aisearch-state 1\nend 0\n\n",
        "aisearch-state 1\nend 0\nend 0\n",
        "aisearch-state 1\nend\n",
        "aisearch-state 1\nend 0x\n",
        "aisearch-state 1\nend -0\n",
        "aisearch-state 1\n\nend 1\n",
        "aisearch-state 1\ninstance docs-b 2026-11-23T12:00:00Z bad\nend 1\n",
        "aisearch-state 1\ninstance docs-b 2026-11-23T12:00:00Z\nend 1\n",
        "aisearch-state 1\ninstance docs-b yesterday x\nend 1\n",
        "aisearch-state 1\ninstance  2026-11-23T12:00:00Z x\nend 1\n",
        "aisearch-state 1\ninstance\nend 1\n",
        "aisearch-state 1\nwhat docs-b 2026-11-23T12:00:00Z x\nend 1\n",
        "aisearch-state 1\ninstance docs-b 2026-11-23T12:00:00Z x\ninstance docs-b 2026-11-23T12:00:00Z y\nend 2\n",
        "aisearch-state 1\ninstance docs-b 2026-11-23T12:00:00.000000000Z x\nend 1\n",
    };
    fixture_t *f = *state;

    for (size_t i = 0; i < COUNT(damaged); i++)
        check_damaged(f, damaged[i], strlen(damaged[i]));
    check_damaged(f, "aisearch-state 1\0\nend 0\n", sizeof("aisearch-state 1\0\nend 0\n") - 1);
    for (size_t len = 0; len < strlen(TWO_LINES); len++) {
        char part[sizeof(TWO_LINES)];

        memcpy(part, TWO_LINES, len);
        part[len] = '\0';
        check_damaged(f, part, len);
    }
}

static void test_what_cannot_be_written(void **state)
{
    fixture_t *f = *state;
    struct ais_error err = {.text = ""};

    strcat(f->directory, "/");
    snprintf(f->path, sizeof(f->path), "%snowhere/aisearch.state", f->directory);
    check_reopen(f);
    assert_int_equal(aisearch_statefile_check(f->file, &err), 0);
    assert_true(aisearch_statefile_begin(f->file, NOW));
    aisearch_statefile_commit(f->file);
    assert_int_equal(aisearch_statefile_wait(f->file, &err), -1);
    assert_non_null(strstr(err.text, "No such file"));
    assert_int_equal(aisearch_statefile_check(f->file, &err), -1);
}

static void test_what_is_no_file(void **state)
{
    fixture_t *f = *state;
    struct ais_error err;

    assert_int_equal(mkdir(f->path, 0700), 0);
    err = reopen(f);
    assert_non_null(strstr(err.text, "is no file"));
    assert_true(exists(f, ""));
    assert_true(aisearch_statefile_begin(f->file, NOW));
    aisearch_statefile_commit(f->file);
    assert_int_equal(aisearch_statefile_wait(f->file, &err), -1);
    assert_false(exists(f, ".new"));
}

/* What the disk has not taken yet is written before the file is closed. */
static void test_closed_at_once(void **state)
{
    fixture_t *f = *state;

    for (int i = 0; i < 20; i++) {
        check_reopen(f);
        assert_true(aisearch_statefile_begin(f->file, NOW));
        aisearch_statefile_add(f->file, "account", "docs", i % 2 == 0 ? "even" : "odd");
        aisearch_statefile_commit(f->file);
        check_reopen(f);
        check_take(f, "account", "docs", i % 2 == 0 ? "even" : "odd");
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_written_and_read),
        TEST(test_what_is_not_taken_is_kept),
        TEST(test_a_date_to_come),
        TEST(test_an_instance_that_goes_and_comes_back),
        TEST(test_no_more_than_so_many_are_kept),
        TEST(test_names_with_a_prefix),
        TEST(test_damaged_files_are_set_aside),
        TEST(test_what_cannot_be_written),
        TEST(test_what_is_no_file),
        TEST(test_closed_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
