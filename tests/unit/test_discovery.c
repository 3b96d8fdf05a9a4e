/* LDFLAGS: -Wl,--wrap=calloc,--wrap=realloc,--wrap=strdup,--wrap=clock_gettime */
/* Discovery: which instances are watched, and what is known about them. */
#include "discovery_fixture.h"

/* ---- new and missing instances ----------------------------------------------------------------------------------- */

static void test_new_and_deleted_instances(void **state)
{
    (void) state;
    create("docs");
    create("handbook");
    create_in("team", "docs");
    round_of(1);
    assert_string_equal(changes(), "+docs +handbook +docs@team");
    assert_int_equal(count_logged("Account \"docs\": Instance \"docs\" in Namespace \"team\" was found."), 1);

    round_of(1);
    assert_string_equal(changes(), "");

    create("tickets");
    delete ("handbook");
    round_of(2);
    assert_string_equal(changes(), "-handbook +tickets");
    assert_int_equal(count_logged("Account \"docs\": Instance \"handbook\" is gone."), 1);

    create("handbook");
    round_of(1);
    assert_string_equal(changes(), "+handbook");

    world.ninstances = 0;
    round_of(2);
    assert_string_equal(changes(), "-docs -handbook -tickets -docs@team");
    round_of(1);
    assert_string_equal(changes(), "");
}

static void test_data_of_an_instance(void **state)
{
    const instance_t *i;

    (void) state;
    create("docs");
    create_in(NULL, "handbook");
    create_in("team", "docs");
    find("handbook")->paused = true;
    find("handbook")->created_at = 7000;
    round_of(1);

    i = find_watched("docs-docs")->instance;
    assert_int_equal(i->generation, AIS_PLAIN);
    assert_null(i->namespace);
    assert_false(i->facts.paused);
    assert_int_equal(i->facts.created_at, AIS_TIME_NONE);
    assert_true(i->is_known);
    assert_false(i->is_named);

    i = find_watched("docs-handbook")->instance;
    assert_string_equal(i->id, "handbook");
    assert_int_equal(i->generation, AIS_PLAIN);
    assert_null(i->namespace);
    assert_true(i->facts.paused);
    assert_int_equal(i->facts.created_at, 7000);

    i = find_watched("docs-docs@team")->instance;
    assert_int_equal(i->generation, AIS_NAMESPACED);
    assert_string_equal(i->namespace, "team");
    assert_string_equal(changes(), "+docs +handbook +docs@team");
}

/* The same entry is used as long as the instance exists, and no longer. */
static void test_the_same_entry(void **state)
{
    poll_t *docs;

    (void) state;
    create("docs");
    round_of(1);
    (void) changes();
    docs = find_watched("docs-docs");
    docs->latest.good = true;

    create("a");
    create("z");
    find("docs")->paused = true;
    round_of(1);
    assert_string_equal(changes(), "+a *docs +z");
    assert_ptr_equal(find_watched("docs-docs"), docs);

    delete ("docs");
    round_of(2);
    assert_true(docs->instance->is_gone);
    assert_string_equal(changes(), "-docs");
    assert_null(poll_find(&account, "docs-docs"));

    create("docs");
    round_of(1);
    assert_string_equal(changes(), "+docs");
    assert_false(find_watched("docs-docs")->latest.good);
}

/* The instance returns before it was reported as gone, or while it is being requested. */
static void test_an_instance_that_returns_soon(void **state)
{
    poll_t *docs;

    for (int under_way = 0; under_way <= 1; under_way++) {
        tear_down(state);
        set_up(state);
        create("docs");
        round_of(1);
        (void) changes();
        docs = find_watched("docs-docs");
        docs->request.under_way = under_way;
        delete ("docs");
        round_of(2);
        assert_true(docs->instance->is_gone);
        assert_false(docs->turn.is_member);

        create("docs");
        forget_log();
        round_of(1);
        assert_ptr_equal(find_watched("docs-docs"), docs);
        assert_false(docs->instance->is_gone);
        assert_int_equal(docs->turn.is_member, !under_way);
        assert_int_equal(count_logged("\"docs\" was found"), 1);
        docs->request.under_way = false;
    }
}

/* If there are more than ten at once, the others are counted. */
static void test_many_in_the_log(void **state)
{
    (void) state;
    create_many(30);
    round_of(1);
    assert_int_equal(count_logged("was found."), 10);
    assert_int_equal(count_logged("Account \"docs\": 20 more instances were found."), 1);
    world.ninstances = 0;
    round_of(2);
    assert_int_equal(count_logged("is gone."), 10);
    assert_int_equal(count_logged("Account \"docs\": 20 more instances are gone."), 1);
}

static void test_pause(void **state)
{
    (void) state;
    create("docs");
    round_of(1);
    assert_string_equal(changes(), "+docs");
    find("docs")->paused = true;
    round_of(1);
    assert_string_equal(changes(), "*docs");
    round_of(1);
    assert_string_equal(changes(), "");
    find("docs")->paused = false;
    round_of(1);
    assert_string_equal(changes(), "*docs");

    /* recreated under the same name between two rounds */
    find("docs")->created_at = 5;
    round_of(1);
    assert_string_equal(changes(), "*docs");
}

/* Any change of an instance's data is stored. */
static void test_changed_data(void **state)
{
    struct ais_instance *docs;

    (void) state;
    create("docs");
    docs = find("docs");
    docs->indexed = AIS_INDEXED_BY_JOBS;
    docs->sync_interval = 900000;
    docs->status = "waiting";
    round_of(1);
    assert_string_equal(changes(), "+docs");
    round_of(1);
    assert_string_equal(changes(), "");

    docs->sync_interval = 86400000;
    round_of(1);
    assert_string_equal(changes(), "*docs");
    docs->indexed = AIS_INDEXED_AS_STORED;
    round_of(1);
    assert_string_equal(changes(), "*docs");
    docs->disabled = true;
    round_of(1);
    assert_string_equal(changes(), "*docs");
    docs->status = "error";
    docs->in_error = true;
    round_of(1);
    assert_string_equal(changes(), "*docs");
    docs->status = NULL;
    round_of(1);
    assert_string_equal(changes(), "*docs");
}

/* The status is used in messages. */
static void test_odd_status(void **state)
{
    (void) state;
    create("docs");
    find("docs")->status = "in\nd\xc3\xa4xing and much more than there is room for";
    round_of(1);
    assert_string_equal(find_watched("docs-docs")->instance->facts.status, "in d\xc3\xa4xing and much more tha...");
}

static void test_pages(void **state)
{
    static const size_t counts[] = {0, 1, 99, 100, 101, 200, 350};

    for (size_t i = 0; i < COUNT(counts); i++) {
        tear_down(state);
        set_up(state);
        create_many(counts[i]);
        round_of(counts[i] == 0 ? 1 : (counts[i] + 99) / 100);
        assert_int_equal(account.polls, counts[i]);
        assert_int_equal(account.values.instances, counts[i]);
        if (counts[i] > 0)
            assert_int_equal(strlen(changes()), counts[i] * 6 - 1);
    }
}

/* If the API returns no totals, pages are requested until one is empty. */
static void test_no_totals(void **state)
{
    (void) state;
    world.silent = true;
    create_many(200);
    round_of(3);
    assert_int_equal(strlen(changes()), 200 * 6 - 1);
    delete ("i007");
    round_of(6);
    assert_string_equal(changes(), "-i007");
}

/* Elements that cannot be requested count as read. */
static void test_skipped_elements(void **state)
{
    (void) state;
    create("docs");
    world.left_out = 3;
    round_of(1);
    assert_string_equal(changes(), "+docs");
    assert_int_equal(count_logged("list of instances: 3 of them cannot be watched"), 1);

    create_in("team", "docs");
    /* if there are no other elements, the list itself may be odd */
    world.ninstances = 0;
    round_of(1);
    assert_string_equal(changes(), "");
    assert_int_equal(account.lists->discovery.left_out, 3);
    assert_int_equal(count_logged("cannot be watched"), 1);

    /* logged again when it happens again */
    create("docs");
    world.left_out = 0;
    round_of(1);
    world.left_out = 1;
    round_of(1);
    assert_int_equal(count_logged("list of instances: 1 of them cannot be watched"), 1);
}

/* ---- which instances --------------------------------------------------------------------------------------------- */

static void test_selection(void **state)
{
    (void) state;
    assert_int_equal(select_names("/^docs/"), 0);
    create("docs-1");
    create("handbook");
    create_in("docs", "tickets");
    round_of(1);
    assert_string_equal(changes(), "+docs-1");

    delete ("handbook");
    round_of(1);
    assert_string_equal(changes(), "");
}

/* If nothing is to be discovered, the list only provides data about named instances, and reading it once is enough. */
static void test_only_named_instances(void **state)
{
    (void) state;
    account.discover.wanted = false;
    assert_non_null(name(AIS_PLAIN, "i120", NULL));
    assert_non_null(name(AIS_PLAIN, "absent", NULL));
    assert_non_null(name(AIS_AUTORAG, "i001", NULL));
    start();
    assert_string_equal(changes(), "+absent +i120");
    create_many(150);
    find("i120")->sync_interval = 900000;
    round_of(2);
    assert_int_equal(asked->part, BUDGET_FACTS);
    assert_string_equal(changes(), "*i120");
    assert_int_equal(find_watched("docs-i120")->instance->facts.sync_interval, 900000);

    delete ("i120");
    world.left_out++; /* the list changes meanwhile */
    round_of(2);
    assert_string_equal(changes(), "");
    assert_string_equal(logged, "");
}

static void test_named_instances_stay(void **state)
{
    poll_t *docs = name(AIS_PLAIN, "docs", NULL);

    (void) state;
    assert_non_null(docs);
    assert_non_null(name(AIS_NAMESPACED, "docs", "team"));
    start();
    (void) changes();
    create("a");
    create("docs");
    round_of(1);
    assert_string_equal(changes(), "+a");

    /* the data in the list is stored */
    find("docs")->created_at = 5;
    round_of(1);
    assert_string_equal(changes(), "*docs");
    assert_true(docs->instance->is_named);

    /* they are never removed, and no reason to read the list twice */
    delete ("docs");
    round_of(1);
    assert_string_equal(changes(), "");
    create("docs");
    create_in("team", "docs");
    round_of(1);
    assert_string_equal(changes(), "*docs");
    assert_ptr_equal(find_watched("docs-docs"), docs);
    assert_int_equal(count_logged("\"docs\" was found"), 0);
}

/* It is the same instance, whichever form names it. */
static void test_named_by_its_namespace(void **state)
{
    poll_t *docs = name(AIS_NAMESPACED, "docs", "default");

    (void) state;
    create("docs");
    round_of(1);
    assert_int_equal(account.polls, 1);
    assert_true(docs->instance->is_known);
}

static void test_names_of_autorags_in_use(void **state)
{
    (void) state;
    assert_non_null(name(AIS_AUTORAG, "docs", NULL));
    create("docs");
    create_in("team", "docs");
    round_of(1);
    assert_string_equal(changes(), "+docs@team");
    assert_int_equal(
        count_logged("Account \"docs\": Instance \"docs\" cannot be watched: an AutoRAG of this account has"), 1);

    /* logged once, whatever happens to the instance */
    find("docs")->paused = true;
    round_of(1);
    assert_string_equal(changes(), "");
    delete ("docs");
    round_of(1);
    create("docs");
    round_of(1);
    assert_string_equal(changes(), "");
    assert_int_equal(count_logged("cannot be watched"), 1);
    assert_false(find_watched("docs-docs")->instance->is_known);
}

/* This does not matter unless the instance is selected. */
static void test_a_name_in_use_but_not_selected(void **state)
{
    (void) state;
    account.discover.selection.ignore = true;
    assert_int_equal(select_names("docs"), 0);
    assert_non_null(name(AIS_AUTORAG, "docs", NULL));
    create("docs");
    round_of(1);
    assert_string_equal(changes(), "");
    assert_string_equal(logged, "");
}

/* The longest possible names fit. */
static void test_long_names(void **state)
{
    (void) state;
    account.name = NAME_28;
    create(X64);
    create_in(NAME_28, X64);
    create_in("n", X64);
    round_of(1);
    assert_string_equal(changes(), "+" X64 " +" X64 "@" NAME_28 " +" X64 "@n");
    assert_non_null(poll_find(&account, NAME_28 "-" X64 "@" NAME_28));
}

static void test_list_of_a_namespace(void **state)
{
    static char *namespaces[] = {"team", "default"};
    char path[AIS_RESOURCE_PATH_MAX];

    account.discover.namespaces = (texts_t){namespaces, 1};
    create_in("team", "docs");
    create_in(NULL, "handbook");
    create_in("other", "tickets");
    round_of(1);
    ais_resource_path(&asked->resource, AIS_STR("0"), path);
    assert_string_equal(path, "/accounts/0/ai-search/namespaces/team/instances?per_page=100");
    assert_string_equal(changes(), "+docs@team +handbook@team");
    assert_int_equal(account.lists->discovery.left_out, 1);
    assert_int_equal(count_logged("list of instances in \"team\": 1 of them cannot be watched"), 1);

    tear_down(state);
    set_up(state);
    account.discover.namespaces = (texts_t){namespaces + 1, 1};
    create("docs");
    round_of(1);
    assert_string_equal(changes(), "+docs@default");
    assert_non_null(poll_find(&account, "docs-docs"));
}

static void test_list_of_the_account(void **state)
{
    char path[AIS_RESOURCE_PATH_MAX];

    (void) state;
    create_many(101);
    assert_true(page());
    ask();
    ais_resource_path(&asked->resource, AIS_STR("0"), path);
    assert_string_equal(path, "/accounts/0/ai-search/instances?page=2&per_page=100");
    assert_int_equal(asked->part, BUDGET_DISCOVERY);
}

/* Each named instance is covered by a list, and no two lists cover the same. */
static void test_the_lists_to_read(void **state)
{
    static char *namespaces[] = {"team", "team"};

    account.discover.namespaces = (texts_t){namespaces, 2};
    assert_non_null(name(AIS_NAMESPACED, "docs", "team"));
    assert_non_null(name(AIS_NAMESPACED, "docs", "other"));
    assert_non_null(name(AIS_PLAIN, "a", NULL));
    assert_non_null(name(AIS_NAMESPACED, "b", "default"));
    assert_int_equal(lists_start(&account), 0);
    assert_string_equal(account.lists->namespace, "default");
    assert_false(account.lists->discovers);
    assert_string_equal(account.lists->next->namespace, "other");
    assert_false(account.lists->next->discovers);
    assert_string_equal(account.lists->next->next->namespace, "team");
    assert_true(account.lists->next->next->discovers);
    assert_null(account.lists->next->next->next);

    tear_down(state);
    set_up(state);
    assert_non_null(name(AIS_NAMESPACED, "docs", "other"));
    assert_int_equal(lists_start(&account), 0);
    assert_string_equal(account.lists->namespace, "");
    assert_null(account.lists->next);

    tear_down(state);
    set_up(state);
    account.discover.wanted = false;
    assert_non_null(name(AIS_AUTORAG, "docs", NULL));
    assert_int_equal(lists_start(&account), 0);
    assert_null(account.lists);
}

/* From before a restart: instances that are still to be discovered stay until the list was read; others end at once. */
static void test_instances_from_the_state_file(void **state)
{
    (void) state;
    assert_int_equal(select_names("/^docs/"), 0);
    remembered[0] = "docs-docs-1";
    remembered[1] = "docs-docs-2@team";
    remembered[2] = "docs-handbook";
    remembered[3] = "docs-docs/../x";
    start();
    assert_string_equal(changes(), "+docs-1 +docs-2@team");
    assert_int_equal(nended, 2);
    assert_false(find_watched("docs-docs-2@team")->instance->is_named);

    create("docs-1");
    round_of(2);
    assert_string_equal(changes(), "-docs-2@team");
}

/* The rejected block may have named it. */
static void test_instances_from_the_state_file_with_a_rejected_block(void **state)
{
    (void) state;
    account.discover.wanted = false;
    account.is_partial = true;
    remembered[0] = "docs-docs";
    assert_int_equal(lists_start(&account), 0);
    assert_null(account.first);
    assert_int_equal(nended, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_new_and_deleted_instances),
        TEST(test_data_of_an_instance),
        TEST(test_the_same_entry),
        TEST(test_an_instance_that_returns_soon),
        TEST(test_many_in_the_log),
        TEST(test_pause),
        TEST(test_changed_data),
        TEST(test_odd_status),
        TEST(test_pages),
        TEST(test_no_totals),
        TEST(test_skipped_elements),
        TEST(test_selection),
        TEST(test_only_named_instances),
        TEST(test_named_instances_stay),
        TEST(test_named_by_its_namespace),
        TEST(test_names_of_autorags_in_use),
        TEST(test_a_name_in_use_but_not_selected),
        TEST(test_long_names),
        TEST(test_list_of_a_namespace),
        TEST(test_list_of_the_account),
        TEST(test_the_lists_to_read),
        TEST(test_instances_from_the_state_file),
        TEST(test_instances_from_the_state_file_with_a_rejected_block),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
