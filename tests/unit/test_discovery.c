/* LDFLAGS: -Wl,--wrap=calloc,--wrap=realloc,--wrap=strdup */
/* What the collectd plugin makes of lists of instances. */

#include "unit.h"

#include "../../collectd-plugin/discovery.c"
#include "../../collectd-plugin/history.c"
#include "../../collectd-plugin/instance.c"
#include "../../collectd-plugin/selection.c"

#define ROOM 97 /* 64 of an instance, '@', 32 of a namespace */

#define X8 "xxxxxxxx"
#define X64 X8 X8 X8 X8 X8 X8 X8 X8

/* Memory that runs out: the fuse'th allocation from now fails; none where it is negative. */
static int fuse = -1;

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__real_strdup(const char *s);
char *__wrap_strdup(const char *s);

static bool burns_out(void)
{
    return fuse >= 0 && fuse-- == 0;
}

void *__wrap_calloc(size_t count, size_t size)
{
    return burns_out() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return burns_out() ? NULL : __real_realloc(p, size);
}

char *__wrap_strdup(const char *s)
{
    return burns_out() ? NULL : __real_strdup(s);
}

/* An account as the API has it, which the test changes between the pages. */
struct world {
    struct ais_instance instances[400];
    size_t ninstances;
    size_t left_out; /* that stand behind all others */
    bool silent;     /* it tells no totals */
};

static selection_t everything;
static struct world world;
static discovery_t d;

/* What the rounds have told since it was taken, by name, what has gone first. Of that the test has a copy. */
typedef struct {
    discovery_event_t event;
    discovery_instance_t *instance;
} change_t;

static change_t *queue;
static size_t nqueue, next_in_queue, queue_size;

static discovery_instance_t *copy_instance(const discovery_instance_t *instance)
{
    discovery_instance_t *copy = __real_calloc(1, sizeof(*copy));

    *copy = *instance;
    copy->id = __real_strdup(instance->id);
    copy->namespace = instance->namespace != NULL ? __real_strdup(instance->namespace) : NULL;
    return copy;
}

static void tell(void *data, discovery_event_t event, discovery_instance_t *instance)
{
    (void) data;
    if (nqueue == queue_size) {
        queue_size = queue_size == 0 ? 16 : 2 * queue_size;
        queue = __real_realloc(queue, queue_size * sizeof(*queue));
    }
    queue[nqueue++] = (change_t){event, event == DISCOVERY_GONE ? copy_instance(instance) : instance};
}

static int compare_changes(const void *a, const void *b)
{
    const change_t *left = a, *right = b;

    if ((left->event == DISCOVERY_GONE) != (right->event == DISCOVERY_GONE))
        return left->event == DISCOVERY_GONE ? -1 : 1;
    return discovery_compare(left->instance, right->instance);
}

static void drop_changes(void)
{
    for (size_t i = 0; i < nqueue; i++) {
        if (queue[i].event == DISCOVERY_GONE)
            discovery_instance_free(queue[i].instance);
    }
    nqueue = next_in_queue = 0;
}

static bool take_change(change_t *change)
{
    if (next_in_queue == nqueue) {
        drop_changes();
        return false;
    }
    if (next_in_queue == 0)
        qsort(queue, nqueue, sizeof(*queue), compare_changes);
    *change = queue[next_in_queue++];
    return true;
}

static int name(enum ais_generation generation, const char *id, const char *namespace, void *data)
{
    return discovery_add(&d, generation, id, namespace, /* named = */ true, data);
}

static int set_up(void **state)
{
    (void) state;
    memset(&world, 0, sizeof(world));
    discovery_init(&d, NULL, &everything, ROOM);
    return 0;
}

static int tear_down(void **state)
{
    (void) state;
    drop_changes();
    free(queue);
    queue = NULL;
    queue_size = 0;
    discovery_free(&d);
    return 0;
}

static struct ais_instance *find(const char *id)
{
    for (size_t i = 0; i < world.ninstances; i++) {
        if (strcmp(world.instances[i].id, id) == 0)
            return &world.instances[i];
    }

    fail_msg("no %s", id);
    return NULL;
}

static void create_in(const char *namespace, const char *id)
{
    assert_true(world.ninstances < COUNT(world.instances));
    world.instances[world.ninstances++] =
        (struct ais_instance){.id = id, .namespace = namespace, .created_at = AIS_TIME_NONE};
}

static void create(const char *id)
{
    create_in("default", id);
}

static void delete (const char *id)
{
    struct ais_instance *instance = find(id);
    size_t behind = (size_t) (world.instances + --world.ninstances - instance);

    memmove(instance, instance + 1, behind * sizeof(*instance));
}

/* So many, with names that last: "i000" and so on. */
static void create_many(size_t count)
{
    static char names[400][8];

    for (size_t i = 0; i < count; i++) {
        snprintf(names[i], sizeof(names[i]), "i%03u", (unsigned) i % 1000);
        create(names[i]);
    }
}

/* What the API answers to the present resource. */
static struct ais_listing answer(void)
{
    struct ais_resource resource;
    size_t from, to;

    discovery_resource(&d, &resource);
    assert_int_equal(resource.kind, AIS_INSTANCES);
    assert_int_equal(resource.per_page, DISCOVERY_PER_PAGE);
    from = (size_t) (resource.page - 1) * DISCOVERY_PER_PAGE;
    to = from + DISCOVERY_PER_PAGE;
    if (from > world.ninstances)
        from = world.ninstances;
    if (to > world.ninstances)
        to = world.ninstances;

    return (struct ais_listing){
        .instances = world.instances + from,
        .ninstances = to - from,
        .left_out = resource.page == 1 ? world.left_out : 0,
        .total = world.silent ? -1 : (int64_t) (world.ninstances + world.left_out),
        .page = world.silent ? -1 : resource.page,
    };
}

static discovery_step_t page(void)
{
    struct ais_listing listing = answer();

    return discovery_page(&d, &listing, /* is_old = */ false, tell, NULL);
}

/* A whole round, in so many pages. */
static void round_of(size_t pages)
{
    drop_changes();
    discovery_begin(&d);
    for (size_t i = 1; i < pages; i++)
        assert_int_equal(page(), DISCOVERY_MORE);
    assert_int_equal(page(), DISCOVERY_DONE);
}

/* The changes of the round, as text: "+docs *handbook -tickets". */
static const char *changes(void)
{
    static const char signs[] = {[DISCOVERY_APPEARED] = '+',
                                 [DISCOVERY_CHANGED] = '*',
                                 [DISCOVERY_GONE] = '-',
                                 [DISCOVERY_LONG] = '>',
                                 [DISCOVERY_TAKEN] = '!'};
    static char text[4096];
    change_t change = {0};
    char *p = text;

    text[0] = '\0';
    while (take_change(&change))
        p += sprintf(p, "%s%c%s%s%s", p > text ? " " : "", signs[change.event], change.instance->id,
                     change.instance->namespace != NULL ? "@" : "",
                     change.instance->namespace != NULL ? change.instance->namespace : "");
    assert_false(take_change(&change));
    return text;
}

static void test_they_come_and_go(void **state)
{
    (void) state;
    create("docs");
    create("handbook");
    create_in("team", "docs");
    round_of(1);
    assert_string_equal(changes(), "+docs +handbook +docs@team");

    round_of(1);
    assert_string_equal(changes(), "");

    create("tickets");
    delete ("handbook");
    round_of(2);
    assert_string_equal(changes(), "-handbook +tickets");

    create("handbook");
    round_of(1);
    assert_string_equal(changes(), "+handbook");

    world.ninstances = 0;
    round_of(2);
    assert_string_equal(changes(), "-docs -handbook -tickets -docs@team");
    round_of(1);
    assert_string_equal(changes(), "");
}

static void test_what_is_known_of_one(void **state)
{
    change_t change = {0};

    (void) state;
    create("docs");
    create_in(NULL, "handbook");
    create_in("team", "docs");
    find("handbook")->paused = true;
    find("handbook")->created_at = 7000;
    round_of(1);

    assert_true(take_change(&change));
    assert_int_equal(change.instance->generation, AIS_PLAIN);
    assert_null(change.instance->namespace);
    assert_false(change.instance->facts.paused);
    assert_int_equal(change.instance->facts.created_at, AIS_TIME_NONE);

    assert_true(take_change(&change));
    assert_string_equal(change.instance->id, "handbook");
    assert_int_equal(change.instance->generation, AIS_PLAIN);
    assert_null(change.instance->namespace);
    assert_true(change.instance->facts.paused);
    assert_int_equal(change.instance->facts.created_at, 7000);

    assert_true(take_change(&change));
    assert_int_equal(change.instance->generation, AIS_NAMESPACED);
    assert_string_equal(change.instance->namespace, "team");
    assert_false(take_change(&change));
}

/* The caller's data stay with an instance for as long as it is there, and no longer. */
static void test_data(void **state)
{
    change_t change = {0};
    discovery_instance_t *docs;
    int mine;

    (void) state;
    create("docs");
    round_of(1);
    assert_true(take_change(&change));
    docs = change.instance;
    assert_null(docs->data);
    docs->data = &mine;
    assert_false(take_change(&change));

    create("a");
    create("z");
    find("docs")->paused = true;
    round_of(1);
    assert_true(take_change(&change));
    assert_true(take_change(&change));
    assert_int_equal(change.event, DISCOVERY_CHANGED);
    assert_ptr_equal(change.instance, docs);
    assert_ptr_equal(change.instance->data, &mine);

    delete ("docs");
    round_of(2);
    assert_true(take_change(&change));
    assert_int_equal(change.event, DISCOVERY_GONE);
    assert_ptr_equal(change.instance->data, &mine);

    create("docs");
    round_of(1);
    assert_true(take_change(&change));
    assert_int_equal(change.event, DISCOVERY_APPEARED);
    assert_null(change.instance->data);
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

    /* made again under the same name between two rounds */
    find("docs")->created_at = 5;
    round_of(1);
    assert_string_equal(changes(), "*docs");
}

/* Whatever is known of one is news when it changes. */
static void test_facts_that_change(void **state)
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

/* It ends up in messages. */
static void test_odd_status(void **state)
{
    change_t change = {0};

    (void) state;
    create("docs");
    find("docs")->status = "in\nd\xc3\xa4xing and much more than there is room for";
    round_of(1);
    assert_true(take_change(&change));
    assert_string_equal(change.instance->facts.status, "in d\xc3\xa4xing and much more tha...");
}

static void test_pages(void **state)
{
    static const size_t counts[] = {0, 1, 99, 100, 101, 200, 350};

    for (size_t i = 0; i < COUNT(counts); i++) {
        size_t n = 0;
        change_t change = {0};

        tear_down(state);
        set_up(state);
        create_many(counts[i]);
        round_of(counts[i] == 0 ? 1 : (counts[i] + 99) / 100);
        while (take_change(&change)) {
            assert_int_equal(change.event, DISCOVERY_APPEARED);
            n++;
        }
        assert_int_equal(n, counts[i]);
    }
}

/* Where the API tells no totals, it is asked until a page is empty. */
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

/* Those that cannot be asked about count as seen. */
static void test_left_out(void **state)
{
    (void) state;
    create("docs");
    world.left_out = 3;
    round_of(1);
    assert_string_equal(changes(), "+docs");
    assert_int_equal(d.left_out, 3);

    create_in("team", "docs");
    /* where there is nothing else, it may be the list that is odd */
    world.ninstances = 0;
    round_of(1);
    assert_string_equal(changes(), "");
    assert_int_equal(d.left_out, 3);
}

static void test_selection(void **state)
{
    char error[64];
    selection_t selection = {.ignore = false};

    (void) state;
    assert_int_equal(selection_add(&selection, "/^docs/", error, sizeof(error)), 0);
    d.selection = &selection;
    create("docs-1");
    create("handbook");
    create_in("docs", "tickets");
    round_of(1);
    assert_string_equal(changes(), "+docs-1");

    delete ("handbook");
    round_of(1);
    assert_string_equal(changes(), "");
    selection_free(&selection);
}

/* Where nothing is to be discovered, the list tells of named ones alone, and one look at it is enough. */
static void test_only_named_ones(void **state)
{
    change_t change = {0};
    static int data;

    (void) state;
    discovery_init(&d, "default", NULL, ROOM);
    assert_int_equal(name(AIS_PLAIN, "i120", NULL, &data), 0);
    assert_int_equal(name(AIS_PLAIN, "absent", NULL, NULL), 0);
    assert_int_equal(name(AIS_AUTORAG, "i001", NULL, NULL), 0);
    create_many(150);
    find("i120")->sync_interval = 900000;
    round_of(2);
    assert_true(take_change(&change));
    assert_int_equal(change.event, DISCOVERY_CHANGED);
    assert_ptr_equal(change.instance->data, &data);
    assert_int_equal(change.instance->facts.sync_interval, 900000);
    assert_false(take_change(&change));

    delete ("i120");
    world.left_out++; /* it moves meanwhile */
    round_of(2);
    assert_string_equal(changes(), "");
}

static void test_named_ones_stay(void **state)
{
    static int data;
    change_t change = {0};

    (void) state;
    assert_int_equal(name(AIS_PLAIN, "docs", NULL, &data), 0);
    assert_int_equal(name(AIS_NAMESPACED, "docs", "team", NULL), 0);
    assert_int_equal(name(AIS_NAMESPACED, "docs", "default", NULL), 0);
    create("a");
    create("docs");
    round_of(1);
    assert_string_equal(changes(), "+a");

    /* what a list tells of them is told */
    find("docs")->created_at = 5;
    round_of(1);
    assert_true(take_change(&change));
    assert_int_equal(change.event, DISCOVERY_CHANGED);
    assert_ptr_equal(change.instance->data, &data);
    assert_true(change.instance->named);
    assert_false(take_change(&change));

    /* they are nobody's to take away, and no reason to look twice */
    delete ("docs");
    round_of(1);
    assert_string_equal(changes(), "");
    create("docs");
    create_in("team", "docs");
    round_of(1);
    assert_string_equal(changes(), "*docs");
}

static void test_names_of_autorags_are_taken(void **state)
{
    (void) state;
    assert_int_equal(name(AIS_AUTORAG, "docs", NULL, NULL), 0);
    create("docs");
    create_in("team", "docs");
    round_of(1);
    assert_string_equal(changes(), "!docs +docs@team");

    /* said once, whatever happens to it */
    find("docs")->paused = true;
    round_of(1);
    assert_string_equal(changes(), "");
    delete ("docs");
    round_of(1);
    create("docs");
    round_of(1);
    assert_string_equal(changes(), "");
}

/* It is nobody's concern as long as nobody selects it. */
static void test_taken_but_not_selected(void **state)
{
    char error[64];
    selection_t selection = {.ignore = true};

    (void) state;
    assert_int_equal(selection_add(&selection, "docs", error, sizeof(error)), 0);
    d.selection = &selection;
    assert_int_equal(name(AIS_AUTORAG, "docs", NULL, NULL), 0);
    create("docs");
    round_of(1);
    assert_string_equal(changes(), "");
    selection_free(&selection);
}

static void test_names_that_do_not_fit(void **state)
{
    (void) state;
    d.room = 64;
    create(X64);
    create_in("n", X8);
    create_in("n", X64);
    round_of(1);
    assert_string_equal(changes(), "+" X64 " +" X8 "@n >" X64 "@n");

    /* said once for as long as it is there, and again if it comes back */
    find(X8)->paused = true;
    round_of(1);
    assert_string_equal(changes(), "*" X8 "@n");
    world.ninstances = 0;
    round_of(2);
    assert_string_equal(changes(), "-" X64 " -" X8 "@n");
    create_in("n", X64);
    round_of(1);
    assert_string_equal(changes(), ">" X64 "@n");
}

static void test_list_of_a_namespace(void **state)
{
    struct ais_resource resource;
    char path[AIS_RESOURCE_PATH_MAX];

    (void) state;
    discovery_init(&d, "team", &everything, ROOM);
    create_in("team", "docs");
    create_in(NULL, "handbook");
    create_in("other", "tickets");
    round_of(1);
    discovery_resource(&d, &resource);
    ais_resource_path(&resource, AIS_STR("0"), path);
    assert_string_equal(path, "/accounts/0/ai-search/namespaces/team/instances?per_page=100");
    assert_string_equal(changes(), "+docs@team +handbook@team");
    assert_int_equal(d.left_out, 1);

    discovery_free(&d);
    discovery_init(&d, "default", &everything, 10);
    world.ninstances = 1;
    create("docsdocs10");
    round_of(1);
    assert_string_equal(changes(), "+docsdocs10@default");
}

static void test_list_of_the_account(void **state)
{
    struct ais_resource resource;
    char path[AIS_RESOURCE_PATH_MAX];

    (void) state;
    create_many(101);
    discovery_begin(&d);
    assert_int_equal(page(), DISCOVERY_MORE);
    discovery_resource(&d, &resource);
    ais_resource_path(&resource, AIS_STR("0"), path);
    assert_string_equal(path, "/accounts/0/ai-search/instances?page=2&per_page=100");
}

/* A round that does not end changes nothing, however far it came. */
static void test_a_round_that_fails(void **state)
{
    change_t change = {0};

    (void) state;
    create_many(150);
    round_of(2);
    (void) changes();

    create("new");
    world.instances[0] = world.instances[--world.ninstances]; /* i000 is gone, and the new one in its place */
    discovery_begin(&d);
    assert_int_equal(page(), DISCOVERY_MORE);
    assert_false(take_change(&change));

    /* the next one finds all that it would have found */
    round_of(4);
    assert_string_equal(changes(), "-i000 +new");
}

/* The first pass ended, the one that has to confirm it did not. */
static void test_a_confirmation_that_fails(void **state)
{
    change_t change = {0};

    (void) state;
    create("docs");
    create("handbook");
    round_of(1);
    (void) changes();

    delete ("docs");
    discovery_begin(&d);
    assert_int_equal(page(), DISCOVERY_MORE);
    assert_false(take_change(&change));
    round_of(2);
    assert_string_equal(changes(), "-docs");
}

/* What a cache says a second time it has not looked at again. */
static void test_a_confirmation_out_of_a_cache(void **state)
{
    struct ais_listing listing;

    (void) state;
    create("docs");
    create("handbook");
    round_of(1);
    (void) changes();

    delete ("docs");
    discovery_begin(&d);
    for (int pass = 1; pass <= DISCOVERY_PASSES_MAX; pass++) {
        listing = answer();
        assert_int_equal(discovery_page(&d, &listing, true, tell, NULL),
                         pass < DISCOVERY_PASSES_MAX ? DISCOVERY_MORE : DISCOVERY_DONE);
    }
    assert_string_equal(changes(), "");

    /* an old first look is as good as any */
    discovery_begin(&d);
    listing = answer();
    assert_int_equal(discovery_page(&d, &listing, true, tell, NULL), DISCOVERY_MORE);
    assert_int_equal(discovery_page(&d, &listing, true, tell, NULL), DISCOVERY_MORE);
    assert_int_equal(discovery_page(&d, &listing, false, tell, NULL), DISCOVERY_DONE);
    assert_string_equal(changes(), "-docs");
}

/* An API that loses sight of instances for a moment costs nothing. */
static void test_a_list_that_was_short_for_a_moment(void **state)
{
    size_t n;

    (void) state;
    create("docs");
    create("handbook");
    round_of(1);
    (void) changes();

    n = world.ninstances;
    world.ninstances = 0;
    discovery_begin(&d);
    assert_int_equal(page(), DISCOVERY_MORE);
    world.ninstances = n;
    assert_int_equal(page(), DISCOVERY_DONE);
    assert_string_equal(changes(), "");
}

/* An instance is deleted while the list is read: others move to pages that were read already. */
static void test_deleted_between_two_pages(void **state)
{
    (void) state;
    create_many(150);
    round_of(2);
    (void) changes();

    discovery_begin(&d);
    assert_int_equal(page(), DISCOVERY_MORE);
    delete ("i050");                          /* i100 moves to the first page */
    assert_int_equal(page(), DISCOVERY_MORE); /* 149 in all */

    assert_int_equal(page(), DISCOVERY_MORE);
    assert_int_equal(page(), DISCOVERY_DONE); /* i050 was seen in this round: the next one will tell */
    assert_string_equal(changes(), "");
    round_of(4);
    assert_string_equal(changes(), "-i050");
}

/* One goes, one comes: the totals are right, and yet i100 was never seen. */
static void test_replaced_between_two_pages(void **state)
{
    (void) state;
    create_many(150);
    round_of(2);
    (void) changes();

    discovery_begin(&d);
    assert_int_equal(page(), DISCOVERY_MORE);
    delete ("i050");
    create("new");
    assert_int_equal(page(), DISCOVERY_MORE);
    assert_int_equal(page(), DISCOVERY_MORE);
    assert_int_equal(page(), DISCOVERY_DONE);
    assert_string_equal(changes(), "+new");
    round_of(4);
    assert_string_equal(changes(), "-i050");
}

static void test_created_between_two_pages(void **state)
{
    (void) state;
    create_many(150);
    discovery_begin(&d);
    assert_int_equal(page(), DISCOVERY_MORE);
    create("new");
    assert_int_equal(page(), DISCOVERY_MORE); /* 151 in all: again */
    assert_int_equal(page(), DISCOVERY_MORE);
    assert_int_equal(page(), DISCOVERY_DONE);
    assert_int_equal(strlen(changes()), 150 * 6 - 1 + 5);
}

/* A list that is never the same for long tells what is there, and not what is gone. */
static void test_a_list_in_motion(void **state)
{
    (void) state;
    create_many(150);
    round_of(2);
    (void) changes();

    delete ("i001");
    create("new-1");
    create("new-2");
    discovery_begin(&d);
    for (int pass = 1; pass <= DISCOVERY_PASSES_MAX; pass++) {
        assert_int_equal(page(), DISCOVERY_MORE);
        world.left_out++; /* another total each time */
        assert_int_equal(page(), pass < DISCOVERY_PASSES_MAX ? DISCOVERY_MORE : DISCOVERY_DONE);
        world.left_out--;
    }
    assert_string_equal(changes(), "+new-1 +new-2");
}

/* The list ends before its total was seen. */
static void test_a_list_that_ends_early(void **state)
{
    struct ais_listing listing;

    (void) state;
    create("docs");
    round_of(1);
    (void) changes();

    create("new");
    discovery_begin(&d);
    for (int pass = 1; pass <= DISCOVERY_PASSES_MAX; pass++) {
        listing = (struct ais_listing){.instances = &world.instances[1], .ninstances = 1, .total = 2, .page = 1};
        assert_int_equal(discovery_page(&d, &listing, /* is_old = */ false, tell, NULL), DISCOVERY_MORE);
        listing = (struct ais_listing){.total = 2, .page = 2};
        assert_int_equal(discovery_page(&d, &listing, /* is_old = */ false, tell, NULL),
                         pass < DISCOVERY_PASSES_MAX ? DISCOVERY_MORE : DISCOVERY_DONE);
    }
    assert_string_equal(changes(), "+new");
}

/* An answer to another request than ours, a cache that knows no queries, a list without an end. */
static void test_lists_that_make_no_sense(void **state)
{
    struct ais_listing listing;
    char name[16];
    struct ais_instance only = {.id = name, .created_at = AIS_TIME_NONE};
    int pages = 0;

    (void) state;
    create_many(150);
    discovery_begin(&d);
    listing = answer();
    assert_int_equal(discovery_page(&d, &listing, /* is_old = */ false, tell, NULL), DISCOVERY_MORE);
    assert_int_equal(discovery_page(&d, &listing, /* is_old = */ false, tell, NULL), DISCOVERY_FAILED);
    assert_string_equal(changes(), "");

    discovery_begin(&d);
    listing.total = -1;
    listing.page = -1;
    listing.ninstances = 1;
    do {
        snprintf(name, sizeof(name), "n%d", pages++);
        listing.instances = &only;
    } while (discovery_page(&d, &listing, /* is_old = */ false, tell, NULL) == DISCOVERY_MORE);
    assert_int_equal(pages, DISCOVERY_PAGES_MAX + 1);
    assert_string_equal(changes(), "");

    round_of(2);
    assert_int_equal(strlen(changes()), 150 * 6 - 1);
}

/* The next page of a list without an end, whose names begin with a letter. */
static discovery_step_t endless_page(char letter, int64_t total)
{
    static char names[DISCOVERY_PER_PAGE][16];
    static struct ais_instance instances[DISCOVERY_PER_PAGE];
    struct ais_listing listing = {
        .instances = instances, .ninstances = DISCOVERY_PER_PAGE, .total = total, .page = d.page};

    for (int i = 0; i < DISCOVERY_PER_PAGE; i++) {
        snprintf(names[i], sizeof(names[i]), "%c%d", letter, d.page * DISCOVERY_PER_PAGE + i);
        instances[i] = (struct ais_instance){.id = names[i], .created_at = AIS_TIME_NONE};
    }
    return discovery_page(&d, &listing, /* is_old = */ false, tell, NULL);
}

static size_t appeared(void)
{
    change_t change = {0};
    size_t count = 0;

    while (take_change(&change)) {
        assert_int_equal(change.event, DISCOVERY_APPEARED);
        count++;
    }
    return count;
}

/* Nobody is made to watch more than so many, neither by one list nor by one that has others each time. */
static void test_a_list_without_an_end(void **state)
{
    int pages = 1;

    (void) state;
    create("docs");
    round_of(1);
    assert_false(d.full);
    assert_string_equal(changes(), "+docs");

    discovery_begin(&d);
    while (endless_page('n', DISCOVERY_MAX + 1) == DISCOVERY_MORE)
        pages++;
    assert_int_equal(pages, DISCOVERY_PAGES_MAX);
    assert_true(d.full);
    assert_int_equal(appeared(), DISCOVERY_MAX - 1);

    discovery_begin(&d);
    while (endless_page('o', -1) == DISCOVERY_MORE)
        ;
    assert_true(d.full);
    assert_int_equal(appeared(), 0);
    assert_int_equal(d.nknown, DISCOVERY_MAX);
}

/* What changes while it is read is read again, which is no way around that. */
static void test_a_list_without_an_end_that_moves(void **state)
{
    discovery_step_t step;

    (void) state;
    discovery_begin(&d);
    do {
        step = endless_page((char) ('a' + d.passes), d.page == 900 ? 0 : 1000000);
        assert_true(d.nnew <= 2 * DISCOVERY_MAX + DISCOVERY_PER_PAGE);
    } while (step == DISCOVERY_MORE);
    assert_int_equal(step, DISCOVERY_DONE);
    assert_int_equal(d.passes, 3);
    assert_true(d.full);
    assert_int_equal(appeared(), DISCOVERY_MAX);
}

/* A server that does not care which page is asked for: what it tells is there, and nothing is gone by that. */
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
        discovery_begin(&d);
        listing = answer();
        assert_int_equal(discovery_page(&d, &listing, /* is_old = */ false, tell, NULL), DISCOVERY_MORE);
        assert_int_equal(discovery_page(&d, &listing, /* is_old = */ false, tell, NULL), DISCOVERY_DONE);
        assert_true(d.repeats);
        assert_string_equal(changes(), round == 0 ? "" : "+new");
    }

    /* one that moves from page to page is no such thing */
    world.instances[0].id = "i000";
    discovery_begin(&d);
    assert_int_equal(page(), DISCOVERY_MORE);
    create("another");
    memmove(world.instances + 1, world.instances, (world.ninstances - 1) * sizeof(world.instances[0]));
    world.instances[0].id = "first";
    assert_int_equal(page(), DISCOVERY_MORE);
    assert_false(d.repeats);
}

/* Totals that come and go are no totals to rely on. */
static void test_totals_that_come_and_go(void **state)
{
    (void) state;
    create_many(150);
    round_of(2);
    (void) changes();

    delete ("i000");
    discovery_begin(&d);
    for (int pass = 1; pass <= DISCOVERY_PASSES_MAX; pass++) {
        world.silent = true;
        assert_int_equal(page(), DISCOVERY_MORE);
        world.silent = false;
        assert_int_equal(page(), pass < DISCOVERY_PASSES_MAX ? DISCOVERY_MORE : DISCOVERY_DONE);
    }
    assert_string_equal(changes(), "");
}

/* Each allocation of a round fails in turn: a round that fails, and the next one makes up for it. */
static void test_out_of_memory(void **state)
{
    int failures = 0;

    for (discovery_step_t step = DISCOVERY_FAILED; step == DISCOVERY_FAILED; failures++) {
        tear_down(state);
        set_up(state);
        create("docs");
        create("handbook");
        round_of(1);
        (void) changes();

        delete ("docs");
        create_in("team", "docs");
        find("handbook")->paused = true;
        discovery_begin(&d);
        fuse = failures;
        do {
            step = page();
        } while (step == DISCOVERY_MORE);
        fuse = -1;

        if (step == DISCOVERY_FAILED) {
            assert_string_equal(changes(), "");
            round_of(2);
        }
        assert_string_equal(changes(), "-docs *handbook +docs@team");
    }

    assert_true(failures > 8);
}

static void test_out_of_memory_for_names(void **state)
{
    int failures;

    (void) state;
    for (failures = 0;; failures++) {
        fuse = failures;
        if (name(AIS_NAMESPACED, "docs", "team", NULL) == 0)
            break;
        assert_int_equal(d.nknown, 0);
    }
    fuse = -1;
    assert_int_equal(failures, 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_they_come_and_go),
        TEST(test_what_is_known_of_one),
        TEST(test_data),
        TEST(test_pause),
        TEST(test_facts_that_change),
        TEST(test_odd_status),
        TEST(test_pages),
        TEST(test_no_totals),
        TEST(test_left_out),
        TEST(test_selection),
        TEST(test_only_named_ones),
        TEST(test_named_ones_stay),
        TEST(test_names_of_autorags_are_taken),
        TEST(test_taken_but_not_selected),
        TEST(test_names_that_do_not_fit),
        TEST(test_list_of_a_namespace),
        TEST(test_list_of_the_account),
        TEST(test_a_round_that_fails),
        TEST(test_a_confirmation_that_fails),
        TEST(test_a_confirmation_out_of_a_cache),
        TEST(test_a_list_that_was_short_for_a_moment),
        TEST(test_deleted_between_two_pages),
        TEST(test_replaced_between_two_pages),
        TEST(test_created_between_two_pages),
        TEST(test_a_list_in_motion),
        TEST(test_a_list_that_ends_early),
        TEST(test_lists_that_make_no_sense),
        TEST(test_a_list_without_an_end),
        TEST(test_a_list_without_an_end_that_moves),
        TEST(test_a_list_that_ignores_pages),
        TEST(test_totals_that_come_and_go),
        TEST(test_out_of_memory),
        TEST(test_out_of_memory_for_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
