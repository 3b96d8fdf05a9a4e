/* Which instances the collectd plugin selects: like collectd's ignorelist. */

#include "unit.h"

#include "../../collectd-plugin/selection.c"

static void add(selection_t *selection, const char *entry)
{
    char error[128] = "";

    if (selection_add(selection, entry, error, sizeof(error)) != 0)
        fail_msg("%s: %s", entry, error);
}

static void test_entries(void **state)
{
    static const struct {
        const char *entries[3];
        const char *name;
        bool matches;
    } cases[] = {
        {{"docs"}, "docs", true},
        {{"docs"}, "docs-2", false},
        {{"docs"}, "Docs", false},
        {{"docs"}, "doc", false},
        {{"handbook", "docs"}, "docs", true},
        {{"handbook", "docs"}, "handbook", true},
        {{"handbook", "docs"}, "tickets", false},

        {{"/docs/"}, "docs", true},
        {{"/docs/"}, "my-docs-2", true},
        {{"/^docs/"}, "my-docs", false},
        {{"/^docs-/"}, "docs-1", true},
        {{"/^docs-[0-9]+$/"}, "docs-12", true},
        {{"/^docs-[0-9]+$/"}, "docs-12a", false},
        {{"/^(a|b)$/"}, "b", true},
        {{"/^a{2}$/"}, "aa", true},
        {{"/^a{2,3}$/"}, "aa", true},
        {{"/^D?ocs/"}, "ocs", true},
        {{"/Docs|docs/"}, "docs", true},
        {{"/[D d]ocs/"}, "docs", true},
        {{"/doc\\.s|docs/"}, "docs", true},
        {{"/x/", "docs", "/y/"}, "docs", true},
        {{"/x/", "docs", "/y/"}, "day", true},
        {{"/x/", "docs", "/y/"}, "tickets", false},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        selection_t selection = {.ignore = false};

        for (size_t e = 0; e < COUNT(cases[i].entries) && cases[i].entries[e] != NULL; e++)
            add(&selection, cases[i].entries[e]);

        if (selection_has(&selection, cases[i].name) != cases[i].matches)
            fail_msg("%s in %s...", cases[i].name, cases[i].entries[0]);
        selection.ignore = true;
        if (selection_has(&selection, cases[i].name) == cases[i].matches)
            fail_msg("%s ignored in %s...", cases[i].name, cases[i].entries[0]);
        selection_free(&selection);
        assert_null(selection.entries);
    }
}

/* Without entries, everything is selected, whatever IgnoreSelected says. */
static void test_no_entries(void **state)
{
    selection_t selection = {.ignore = false};

    (void) state;
    assert_true(selection_has(&selection, "docs"));
    selection.ignore = true;
    assert_true(selection_has(&selection, "docs"));
    selection_free(&selection);
}

static void test_bad_entries(void **state)
{
    char endless[1100];
    /* what begins or ends with a slash is a name, and an invalid one */
    const char *const entries[] = {
        "",   "/(/",    "/[a/",  "/*{/",   "/a{2,1}/",        "//",    "/docs",      "docs/",       "/",
        "/d", "docs.*", endless, "/DOCS/", "/docs handbook/", "/a/b/", "/^Docs-.*/", "/docs@team$/"};
    selection_t selection = {.ignore = false};

    (void) state;
    memset(endless, 'x', sizeof(endless));
    endless[0] = endless[sizeof(endless) - 2] = '/';
    endless[sizeof(endless) - 1] = '\0';
    for (size_t i = 0; i < COUNT(entries); i++) {
        char error[128] = "";

        if (selection_add(&selection, entries[i], error, sizeof(error)) != -1)
            fail_msg("%s", entries[i]);
        assert_true(strlen(error) > 0);
        assert_null(selection.entries);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entries),
        cmocka_unit_test(test_no_entries),
        cmocka_unit_test(test_bad_entries),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
