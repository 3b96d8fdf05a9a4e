/* LDFLAGS: -Wl,--wrap=calloc,--wrap=realloc,--wrap=strdup,--wrap=clock_gettime */
/* Discovery with lists that fail, change between pages or are refused, and without memory. */
#include "discovery_fixture.h"

/* ---- failing and inconsistent lists ------------------------------------------------------------------------------ */

/* 150 instances, which are watched: they take two pages. */
static void know_two_pages(void)
{
    create_many(150);
    round_of(2);
    (void) changes();
}

/* An incomplete round removes nothing, however far it got; the instances that it has read are added. */
static void test_a_failed_round(void **state)
{
    (void) state;
    know_two_pages();

    create("new");
    world.instances[0] = world.instances[--world.ninstances]; /* i000 is gone, and the new one has its place */
    wait_for_round();
    assert_true(page());
    assert_false(give_fault(AIS_FAULT_SERVER, 500));
    assert_string_equal(changes(), "+new");
    assert_string_equal(complaint, ", list of instances");
    assert_int_equal(account.lists->due, now_ms + account.active_interval);

    /* the next round finds what is missing */
    round_of(4);
    assert_string_equal(changes(), "-i000");
    assert_null(complaint);
}

/* The first pass was completed, but not the one to confirm it. */
static void test_a_failed_confirmation(void **state)
{
    (void) state;
    create("docs");
    create("handbook");
    round_of(1);
    (void) changes();

    delete ("docs");
    wait_for_round();
    assert_true(page());
    assert_false(give_fault(AIS_FAULT_TIMEOUT, 0));
    assert_string_equal(changes(), "");
    round_of(2);
    assert_string_equal(changes(), "-docs");
}

/* A cached response confirms nothing. */
static void test_a_cached_confirmation(void **state)
{
    struct ais_response old = {.cache = "HIT", .age = 15000};
    int64_t asked_at;

    (void) state;
    create("docs");
    create("handbook");
    round_of(1);
    (void) changes();

    /* the second pass is later, but its response is from before the first one */
    delete ("docs");
    wait_for_round();
    ask();
    asked_at = now_ms;
    assert_true(give_page(answer_to(&asked->resource), "HIT"));
    assert_int_equal(account.lists->due, now_ms + account.active_interval);
    now_ms = account.lists->due;
    assert_false(is_old(account.lists, &old));
    old.age = now_ms - asked_at;
    assert_true(is_old(account.lists, &old));
    snprintf(old.cache, sizeof(old.cache), "MISS");
    assert_false(is_old(account.lists, &old));
    assert_false(page());
    assert_string_equal(changes(), "-docs");

    /* all responses were generated before the end of the first pass */
    delete ("handbook");
    wait_for_round();
    for (int pass = 1; pass <= DISCOVERY_PASSES_MAX; pass++) {
        assert_int_equal(page_of_cache(), pass < DISCOVERY_PASSES_MAX);
        now_ms = account.lists->read_at + 500;
        account.lists->due = now_ms;
    }
    assert_string_equal(changes(), "");

    /* an old first pass is as good as any; and the third pass may be the one that confirms it */
    wait_for_round();
    assert_true(page_of_cache());
    account.lists->due = now_ms = account.lists->read_at + 500;
    assert_true(page_of_cache());
    assert_false(page_of_cache());
    assert_string_equal(changes(), "-handbook");
}

/* If the API loses instances for a moment, they are kept. */
static void test_a_list_that_is_short_for_a_moment(void **state)
{
    size_t n;

    (void) state;
    create("docs");
    create("handbook");
    round_of(1);
    (void) changes();

    n = world.ninstances;
    world.ninstances = 0;
    wait_for_round();
    assert_true(page());
    world.ninstances = n;
    assert_false(page());
    assert_string_equal(changes(), "");
}

/* An instance is deleted while the list is read: others move to pages that were already read. */
static void test_deleted_between_two_pages(void **state)
{
    (void) state;
    know_two_pages();

    wait_for_round();
    assert_true(page());
    delete ("i050");     /* i100 moves to the first page */
    assert_true(page()); /* 149 in all */

    assert_true(page());
    assert_false(page()); /* i050 was seen in this round: the next one will notice */
    assert_string_equal(changes(), "");
    round_of(4);
    assert_string_equal(changes(), "-i050");
}

/* One is deleted and one created: the totals match, although i100 was never seen. */
static void test_replaced_between_two_pages(void **state)
{
    (void) state;
    know_two_pages();

    wait_for_round();
    assert_true(page());
    delete ("i050");
    create("new");
    assert_true(page());
    assert_true(page());
    assert_false(page());
    assert_string_equal(changes(), "+new");
    round_of(4);
    assert_string_equal(changes(), "-i050");
}

static void test_created_between_two_pages(void **state)
{
    (void) state;
    create_many(150);
    wait_for_round();
    assert_true(page());
    create("new");
    assert_true(page()); /* 151 in all: read again */
    assert_true(page());
    assert_false(page());
    assert_int_equal(strlen(changes()), 150 * 6 - 1 + 5);
}

/* A list that keeps changing adds instances, but removes none. */
static void test_a_changing_list(void **state)
{
    (void) state;
    know_two_pages();

    delete ("i001");
    create("new-1");
    create("new-2");
    wait_for_round();
    for (int pass = 1; pass <= DISCOVERY_PASSES_MAX; pass++) {
        assert_true(page());
        world.left_out++; /* another total each time */
        assert_int_equal(page(), pass < DISCOVERY_PASSES_MAX);
        world.left_out--;
    }
    assert_string_equal(changes(), "+new-1 +new-2");
}

/* The list ends before its total was reached. */
static void test_a_list_that_ends_early(void **state)
{
    (void) state;
    create("docs");
    round_of(1);
    (void) changes();

    create("new");
    wait_for_round();
    for (int pass = 1; pass <= DISCOVERY_PASSES_MAX; pass++) {
        ask();
        assert_true(give_page(
            (struct ais_listing){.instances = &world.instances[1], .ninstances = 1, .total = 2, .page = 1}, ""));
        ask();
        assert_int_equal(give_page((struct ais_listing){.total = 2, .page = 2}, ""), pass < DISCOVERY_PASSES_MAX);
    }
    assert_string_equal(changes(), "+new");
}

/* The next page of an endless list, whose names begin with a letter. */
static bool endless_page(char letter, int64_t total, int count)
{
    static char names[DISCOVERY_PER_PAGE][16];
    static struct ais_instance instances[DISCOVERY_PER_PAGE];
    int number;

    ask();
    number = asked->resource.page;
    for (int i = 0; i < count; i++) {
        snprintf(names[i], sizeof(names[i]), "%c%d", letter, number * DISCOVERY_PER_PAGE + i);
        instances[i] = (struct ais_instance){.id = names[i], .created_at = AIS_TIME_NONE};
    }
    return give_page(
        (struct ais_listing){.instances = instances, .ninstances = (size_t) count, .total = total, .page = -1}, "");
}

/* A limited number of pages is read, however short they are; and no instance is considered gone. */
static void test_an_endless_list(void **state)
{
    static const struct {
        int64_t total;
        int per_page;
    } cases[] = {{DISCOVERY_MAX + 1, DISCOVERY_PER_PAGE}, {-1, DISCOVERY_PER_PAGE}, {-1, 1}};

    (void) state;
    assert_int_equal(select_names("docs"), 0);
    create("docs");
    round_of(1);
    assert_string_equal(changes(), "+docs");
    for (size_t i = 0; i < COUNT(cases); i++) {
        int pages = 1;

        wait_for_round();
        while (endless_page('n', cases[i].total, cases[i].per_page))
            pages++;
        assert_int_equal(pages, DISCOVERY_PAGES_MAX);
        assert_true(account.lists->discovery.full);
        assert_string_equal(changes(), "");
        assert_int_equal(count_logged("list of instances: has more than 100000 instances"), 1);
    }

    /* a list that ends exactly there is not endless */
    round_of(1);
    wait_for_round();
    forget_log();
    while (endless_page('n', DISCOVERY_MAX, DISCOVERY_PER_PAGE))
        ;
    assert_string_equal(changes(), "-docs");
    assert_int_equal(count_logged("has more than"), 0);
}

/* The number of watched instances is limited, whether they are from one list or from one that changes each time. */
static void test_too_many_instances(void **state)
{
    (void) state;
    account.values.instances = DISCOVERY_MAX - 250;
    wait_for_round();
    for (int i = 1; i < 4; i++)
        assert_true(endless_page('n', -1, DISCOVERY_PER_PAGE));
    assert_false(endless_page('n', -1, DISCOVERY_PER_PAGE));
    assert_int_equal(account.polls, 250);
    assert_true(account.lists->discovery.full);
    assert_int_equal(count_logged("has more than 100000 instances, the maximum"), 1);

    wait_for_round();
    while (endless_page('o', -1, DISCOVERY_PER_PAGE))
        ;
    assert_int_equal(account.polls, 250);
    assert_int_equal(count_logged("has more than"), 1);
}

/* A list that changes while it is read is read again, which does not evade the limit. */
static void test_an_endless_list_that_changes(void **state)
{
    bool goes_on = true;

    (void) state;
    account.values.instances = DISCOVERY_MAX - 150;
    start();
    while (goes_on) {
        const discovery_t *d = &account.lists->discovery;

        goes_on = endless_page((char) ('a' + d->passes), d->page == 2 ? 0 : 1000000, 50);
    }
    assert_int_equal(account.lists->discovery.passes, 2);
    assert_true(account.lists->discovery.full);
    assert_int_equal(account.polls, 150);
}

/* A server that ignores the page number: the instances that it returns exist, but none is considered gone. */
static void test_a_list_that_ignores_pages(void **state)
{
    struct ais_listing listing;

    (void) state;
    create_many(150);
    create("old");
    round_of(2);
    (void) changes();
    delete ("old");
    world.silent = true;

    for (int round = 0; round < 2; round++) {
        if (round == 1)
            world.instances[0].id = "new";
        wait_for_round();
        ask();
        listing = answer_to(&asked->resource);
        assert_true(give_page(listing, ""));
        ask();
        assert_false(give_page(listing, ""));
        assert_true(account.lists->discovery.repeats);
        assert_string_equal(changes(), round == 0 ? "" : "+new");
        assert_int_equal(count_logged("a page repeats the previous one"), 1);
    }

    /* a list whose elements move between pages is not one */
    world.instances[0].id = "i000";
    wait_for_round();
    assert_true(page());
    create("another");
    memmove(world.instances + 1, world.instances, (world.ninstances - 1) * sizeof(world.instances[0]));
    world.instances[0].id = "first";
    assert_true(page());
    assert_false(account.lists->discovery.repeats);

    /* nor is one with the same name in another namespace */
    tear_down(&(void *){NULL});
    set_up(&(void *){NULL});
    create("docs");
    create_in("team", "docs");
    wait_for_round();
    for (size_t i = 0; i < 2; i++) {
        listing = (struct ais_listing){.instances = &world.instances[i], .ninstances = 1, .total = 2, .page = -1};
        ask();
        assert_int_equal(give_page(listing, ""), i == 0);
    }
    assert_false(account.lists->discovery.repeats);
    assert_string_equal(changes(), "+docs +docs@team");
}

/* Totals that are not always there are not relied upon. */
static void test_inconsistent_totals(void **state)
{
    (void) state;
    know_two_pages();

    delete ("i000");
    wait_for_round();
    for (int pass = 1; pass <= DISCOVERY_PASSES_MAX; pass++) {
        world.silent = true;
        assert_true(page());
        world.silent = false;
        assert_int_equal(page(), pass < DISCOVERY_PASSES_MAX);
    }
    assert_string_equal(changes(), "");
}

/* ---- lists that are refused -------------------------------------------------------------------------------------- */

/* Delivers the response for the data of one instance. */
static bool give_one(const char *id, int64_t sync_interval)
{
    struct ais_instance told = {.id = id, .created_at = AIS_TIME_NONE, .sync_interval = sync_interval};

    ask();
    assert_int_equal(asked->resource.kind, AIS_INSTANCE);
    assert_int_equal(asked->part, BUDGET_FACTS);
    assert_true(ais_str_eq(asked->resource.instance, str(id)));
    assert_int_equal(asked->resource.job.len, 0);
    return give((result_t){.good = true, .answer = {.success = true, .instance = told}}, 200, "");
}

static void test_one_by_one(void **state)
{
    poll_t *a = name(AIS_PLAIN, "a", NULL), *b = name(AIS_PLAIN, "b", NULL);

    (void) state;
    account.discover.wanted = false;
    assert_non_null(name(AIS_AUTORAG, "old", NULL));
    a->latest.good = b->latest.good = true;
    start();
    for (int round = 0; round < 2; round++) {
        wait_for_round();
        assert_true(give_fault(AIS_FAULT_REFUSED, 403));
        if (round == 0)
            assert_true(a->instance->awaited && b->instance->awaited);
        assert_true(give_one("a", 1000 + round));
        assert_false(a->instance->awaited);
        assert_false(give_fault(AIS_FAULT_REFUSED, 403));
        assert_false(b->instance->awaited);
        assert_int_equal(a->instance->facts.sync_interval, 1000 + round);
        assert_false(b->instance->is_known);
    }
    assert_int_equal(count_logged("requested one by one"), 1);
    assert_int_equal(count_logged("the API's default sync interval determines"), 1);
    assert_null(complaint);
}

/* If it fails, no instance is overdue for the discovery interval. */
static void test_waiting_for_the_discovery(void **state)
{
    poll_t *docs = name(AIS_PLAIN, "docs", NULL), *known = name(AIS_PLAIN, "known", NULL);

    (void) state;
    account.discover.wanted = false;
    docs->latest.good = true;
    known->instance->is_known = true;
    start();
    now_ms = account.lists->due;
    assert_true(docs->instance->awaited);
    assert_false(known->instance->awaited);
    assert_false(give_fault(AIS_FAULT_CONNECT, 0));
    assert_true(docs->instance->awaited);
    assert_string_equal(logged, "");
    assert_int_equal(account.lists->due, now_ms + account.idle_interval);

    wait_for_round();
    assert_false(give_fault(AIS_FAULT_CONNECT, 0));
    assert_false(docs->instance->awaited);
    assert_int_equal(count_logged("the API's default sync interval determines"), 1);
    wait_for_round();
    assert_false(give_fault(AIS_FAULT_CONNECT, 0));
    assert_int_equal(count_logged("the API's default sync interval determines"), 1);
}

/* If an nginx refuses the list, the message says what to do, and named instances are requested. */
static void test_a_refused_list(void **state)
{
    (void) state;
    assert_non_null(name(AIS_PLAIN, "docs", NULL));
    wait_for_round();
    assert_true(give_fault(AIS_FAULT_REFUSED, 403));
    assert_string_equal(complaint, ", list of instances");
    assert_false(give_one("docs", 5));
    assert_string_equal(logged, "");
    assert_string_equal(complaint, ", list of instances");
}

/* The API no longer has a list for the whole account: each namespace has one. */
static void test_lists_of_all_namespaces(void **state)
{
    struct ais_instance names[] = {{.id = "default", .namespace = "default"}, {.id = "team", .namespace = "team"}};
    struct ais_listing listing = {.instances = names, .ninstances = 2, .total = 2, .page = 1};
    poll_t *docs = name(AIS_PLAIN, "docs", NULL), *unlisted = name(AIS_NAMESPACED, "docs", "unlisted");
    list_t *of_account;

    (void) state;
    assert_non_null(docs);
    assert_non_null(unlisted);
    wait_for_round();
    ask();
    of_account = (list_t *) asked;
    assert_true(give((result_t){.verdict = {.no_route = true}}, 404, ""));
    assert_int_equal(count_logged("the API no longer has one"), 1);
    for (int round = 0; round < 2; round++) {
        asked = NULL;
        (void) list_poll(of_account);
        assert_int_equal(asked->resource.kind, AIS_NAMESPACES);
        assert_false(give_page(listing, ""));
        assert_string_equal(account.lists->namespace, "team");
        assert_string_equal(account.lists->next->namespace, "default");
        assert_ptr_equal(account.lists->next->next, of_account);
        assert_true(docs->instance->awaited);
        assert_false(unlisted->instance->awaited);
        wait_for_round();
    }

    create_in("team", "new");
    asked = NULL;
    (void) list_poll(account.lists);
    assert_false(give_page(answer_to(&asked->resource), ""));
    assert_non_null(poll_find(&account, "docs-new@team"));

    /* the other list does not cover it */
    world.ninstances = 0;
    asked = NULL;
    (void) list_poll(account.lists->next);
    assert_false(give_page(answer_to(&asked->resource), ""));
    assert_false(find_watched("docs-new@team")->instance->is_gone);
    assert_false(docs->instance->awaited);
}

/* ---- out of memory ----------------------------------------------------------------------------------------------- */

/* Each allocation of a round fails in turn: nothing is removed because of it, and the next round makes up for it. */
static void test_out_of_memory(void **state)
{
    int failures = 0;

    for (bool failed = true; failed; failures++) {
        tear_down(state);
        set_up(state);
        create("docs");
        create("handbook");
        round_of(1);
        (void) changes();

        delete ("docs");
        create_in("team", "docs");
        find("handbook")->paused = true;
        wait_for_round();
        forget_log();
        fuse = failures;
        while (page())
            ;
        failed = fuse < 0;
        fuse = -1;
        if (failed)
            assert_int_equal(count_logged("Instance \"docs\": Out of memory. It is not watched."), 1);

        wait_for_round();
        while (page())
            ;
        assert_string_equal(changes(), "-docs *handbook +docs@team");
    }
    assert_true(failures > 4);
}

static void test_out_of_memory_at_the_start(void **state)
{
    int failures = 0;

    for (bool failed = true; failed; failures++) {
        tear_down(state);
        set_up(state);
        account.discover.wanted = true;
        assert_non_null(name(AIS_PLAIN, "docs", NULL));
        remembered[0] = "docs-handbook@team";
        fuse = failures;
        failed = lists_start(&account) != 0;
        fuse = -1;
    }
    assert_int_equal(failures, 7);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_failed_round),
        TEST(test_a_failed_confirmation),
        TEST(test_a_cached_confirmation),
        TEST(test_a_list_that_is_short_for_a_moment),
        TEST(test_deleted_between_two_pages),
        TEST(test_replaced_between_two_pages),
        TEST(test_created_between_two_pages),
        TEST(test_a_changing_list),
        TEST(test_a_list_that_ends_early),
        TEST(test_an_endless_list),
        TEST(test_too_many_instances),
        TEST(test_an_endless_list_that_changes),
        TEST(test_a_list_that_ignores_pages),
        TEST(test_inconsistent_totals),
        TEST(test_one_by_one),
        TEST(test_waiting_for_the_discovery),
        TEST(test_a_refused_list),
        TEST(test_lists_of_all_namespaces),
        TEST(test_out_of_memory),
        TEST(test_out_of_memory_at_the_start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
