/* LDFLAGS: -Wl,--wrap=calloc,--wrap=realloc,--wrap=strdup,--wrap=clock_gettime */
/* How the collectd plugin uses lists of instances: which instances are watched, and what is known about them. */

#include "unit.h"

#include "../../collectd-plugin/account.c"
#include "../../collectd-plugin/budget.c"
#include "../../collectd-plugin/conditions.c"
#include "../../collectd-plugin/discovery.c"
#include "../../collectd-plugin/history.c"
#include "../../collectd-plugin/instance.c"
#include "../../collectd-plugin/lists.c"
#include "../../collectd-plugin/schedule.c"
#include "../../collectd-plugin/selection.c"

#include "facts.h"

#define NAME_28 "abcdefghijklmnopqrstuvwxyz01"
#define X8 "xxxxxxxx"
#define X64 X8 X8 X8 X8 X8 X8 X8 X8

#define INTERVAL INT64_C(900000) /* ms between two rounds */

/* Out of memory: the fuse'th allocation from now fails; none if it is negative. */
static int fuse = -1;

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__real_strdup(const char *s);
char *__wrap_strdup(const char *s);
int __wrap_clock_gettime(clockid_t id, struct timespec *now);

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

/* The current time, ms. */
static int64_t now_ms;

int __wrap_clock_gettime(clockid_t id, struct timespec *now)
{
    (void) id;
    *now = (struct timespec){now_ms / 1000, now_ms % 1000 * 1000000};
    return 0;
}

/* ---- stubs of other files ---------------------------------------------------------------------------------------- */

static char logged[1 << 16];
static const char *remembered[4]; /* the names in the state file */
static size_t nended;             /* how many of those were ended */
static const char *complaint;     /* what cannot be read, according to the lists */
static request_t *asked;          /* the latest request */

void plugin_log(int level, const char *format, ...)
{
    size_t len = strlen(logged);
    va_list ap;

    (void) level;
    va_start(ap, format);
    vsnprintf(logged + len, sizeof(logged) - len, format, ap);
    va_end(ap);
}

char *sstrncpy(char *dest, const char *src, size_t n)
{
    snprintf(dest, n, "%s", src);
    return dest;
}

int ssnprintf(char *to, size_t size, const char *format, ...)
{
    va_list ap;
    int len;

    va_start(ap, format);
    len = vsnprintf(to, size, format, ap);
    va_end(ap);
    assert_true(len >= 0 && (size_t) len < size);
    return len;
}

cdtime_t cdtime(void)
{
    return TIME_T_TO_CDTIME_T(1795435200);
}

void state_touch(bool is_urgent)
{
    (void) is_urgent;
}

void state_restore(instance_t *instance)
{
    (void) instance;
}

void state_keep(instance_t *instance)
{
    (void) instance;
}

void state_end(account_t *account, const char *name)
{
    (void) account;
    (void) name;
    nended++;
}

int state_each(account_t *account, int (*visit)(account_t *account, const char *name))
{
    int status = 0;

    for (size_t i = 0; status == 0 && i < COUNT(remembered) && remembered[i] != NULL; i++)
        status = visit(account, remembered[i]);
    return status;
}

int64_t request_pause(const account_t *account)
{
    (void) account;
    return 0;
}

int64_t request_wait(account_t *payer, budget_part_t part)
{
    return budget_wait(&payer->budget, part, now_ms);
}

bool result_is_no(const result_t *result)
{
    return !result->good && (result->fault == AIS_FAULT_NONE || result->fault == AIS_FAULT_REFUSED);
}

void request_complain(account_t *account, trouble_t *trouble, const char *label, const result_t *result)
{
    (void) account;
    (void) trouble;
    complaint = result->good ? NULL : label;
}

void request_send(request_t *request)
{
    request->under_way = true;
    asked = request;
}

/* ---- the account, as watched and in the API ---------------------------------------------------------------------- */

/* The API's instances, which change between the pages. */
struct world {
    struct ais_instance instances[400];
    size_t ninstances;
    size_t left_out; /* at the end of the list */
    bool silent;     /* it has no total_count */
};

/* What was watched when changes() was last called. */
struct watched {
    char id[65], namespace[32];
    facts_t facts;
};

static struct world world;
static account_t account;
static struct watched *watched;
static size_t nwatched;

static void forget_log(void)
{
    logged[0] = '\0';
}

static size_t count_logged(const char *text)
{
    size_t n = 0;

    for (const char *p = logged; (p = strstr(p, text)) != NULL; p++)
        n++;
    return n;
}

static int select_names(const char *text)
{
    char error[64];

    return selection_add(&account.discover.selection, text, error, sizeof(error));
}

/* An Account block that discovers everything; there are no lists yet. */
static int set_up(void **state)
{
    (void) state;
    memset(&world, 0, sizeof(world));
    memset(remembered, 0, sizeof(remembered));
    forget_log();
    nended = 0;
    complaint = NULL;
    now_ms = 1000;
    account = (account_t){
        .name = "docs",
        .payer = &account,
        .active_interval = 20000,
        .idle_interval = 300000,
        .discover = {.wanted = true, .interval = INTERVAL},
        .values = {.stretch = 1.0},
        .budget = {.hold = 5000},
    };
    pthread_mutex_init(&account.lock, NULL);
    assert_int_equal(budget_limit(&account.budget, (struct ais_budget_limit){1000000, 1000}), 0);
    budget_start(&account.budget, now_ms);
    schedule_init(&account.schedule, now_ms, 1.0);
    return 0;
}

static int tear_down(void **state)
{
    (void) state;
    lists_free(&account);
    while (account.first != NULL)
        poll_remove(account.first);
    free(account.notices.all);
    selection_free(&account.discover.selection);
    pthread_mutex_destroy(&account.lock);
    free(watched);
    watched = NULL;
    nwatched = 0;
    return 0;
}

/* An instance named in the configuration. */
static poll_t *name(enum ais_generation generation, const char *id, const char *namespace)
{
    poll_what_t what = {.instance = id, .namespace = namespace, .generation = generation};

    return poll_add(&account, &what);
}

static poll_t *find_watched(const char *name)
{
    poll_t *poll = poll_find(&account, name);

    assert_non_null(poll);
    return poll;
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

/* Creates that many, with persistent names: "i000" and so on. */
static void create_many(size_t count)
{
    static char names[400][8];

    for (size_t i = 0; i < count; i++) {
        snprintf(names[i], sizeof(names[i]), "i%03u", (unsigned) i % 1000);
        create(names[i]);
    }
}

/* The API's response for a resource. */
static struct ais_listing answer_to(const struct ais_resource *resource)
{
    size_t from = (size_t) (resource->page - 1) * DISCOVERY_PER_PAGE;
    size_t to = from + DISCOVERY_PER_PAGE;

    assert_int_equal(resource->kind, AIS_INSTANCES);
    assert_int_equal(resource->per_page, DISCOVERY_PER_PAGE);
    if (from > world.ninstances)
        from = world.ninstances;
    if (to > world.ninstances)
        to = world.ninstances;

    return (struct ais_listing){
        .instances = world.instances + from,
        .ninstances = to - from,
        .left_out = resource->page == 1 ? world.left_out : 0,
        .total = world.silent ? -1 : (int64_t) (world.ninstances + world.left_out),
        .page = world.silent ? -1 : resource->page,
    };
}

/* Starts watching the named instances. */
static void start(void)
{
    assert_int_equal(lists_start(&account), 0);
    for (poll_t *poll = account.first; poll != NULL; poll = poll->next)
        poll_schedule(poll);
}

static void ask(void)
{
    if (account.lists == NULL)
        start();
    asked = NULL;
    (void) lists_poll(&account, INTERVAL);
    assert_non_null(asked);
}

/* Delivers a result. Returns whether the round continues. */
static bool give(result_t result, int status, const char *cache)
{
    struct ais_response response = {.status = status};

    now_ms += 10;
    snprintf(response.cache, sizeof(response.cache), "%s", cache);
    result.response = &response;
    asked->under_way = false;
    asked->done(asked, &result);
    return ((list_t *) asked)->began_at != 0;
}

static bool give_page(struct ais_listing listing, const char *cache)
{
    return give((result_t){.good = true, .answer = {.success = true, .listing = listing}}, 200, cache);
}

static bool page(void)
{
    ask();
    return give_page(answer_to(&asked->resource), "");
}

/* The next page of the round comes from a cache. */
static bool page_of_cache(void)
{
    bool goes_on;

    ask();
    goes_on = give_page(answer_to(&asked->resource), "HIT");
    now_ms = goes_on ? account.lists->due : now_ms;
    return goes_on;
}

static bool give_fault(enum ais_fault fault, int status)
{
    ask();
    return give((result_t){.fault = fault}, status, "");
}

static void wait_for_round(void)
{
    now_ms += INTERVAL;
}

/* A whole round of that many pages. */
static void round_of(size_t pages)
{
    wait_for_round();
    for (size_t i = 1; i < pages; i++)
        assert_true(page());
    assert_false(page());
}

static int compare_watched(const void *a, const void *b)
{
    const struct watched *left = a, *right = b;
    int order = strcmp(left->namespace, right->namespace);

    return order != 0 ? order : strcmp(left->id, right->id);
}

/* All existing instances, except AutoRAGs; those that are gone were reported. */
static struct watched *list_watched(size_t *count)
{
    struct watched *list = __real_calloc(account.polls + 1, sizeof(*list));

    *count = 0;
    for (poll_t *poll = account.first; poll != NULL; poll = poll->next) {
        const instance_t *i = poll->instance;
        struct watched *one = &list[*count];

        poll->instance->is_over = i->is_gone;
        assert_true(i->is_gone != poll->turn.is_member);
        if (i->is_gone || i->generation == AIS_AUTORAG)
            continue;
        snprintf(one->id, sizeof(one->id), "%s", i->id);
        snprintf(one->namespace, sizeof(one->namespace), "%s", i->namespace != NULL ? i->namespace : "");
        one->facts = i->facts;
        ++*count;
    }
    account_sweep(&account);
    if (*count > 0)
        qsort(list, *count, sizeof(*list), compare_watched);
    return list;
}

static const struct watched *find_in(const struct watched *list, size_t count, const struct watched *one)
{
    return count > 0 ? bsearch(one, list, count, sizeof(*list), compare_watched) : NULL;
}

static char *put_change(char *p, char sign, const struct watched *one)
{
    return p + sprintf(p, "%s%c%s%s%s", p[-1] != '\0' ? " " : "", sign, one->id, one->namespace[0] != '\0' ? "@" : "",
                       one->namespace);
}

/* The changes since the last call, as text: "-tickets +docs *handbook", removed ones first. */
static const char *changes(void)
{
    static char text[1 << 16] = "";
    size_t count;
    struct watched *list = list_watched(&count);
    char *p = text + 1;

    *p = '\0';
    for (size_t i = 0; i < nwatched; i++)
        if (find_in(list, count, &watched[i]) == NULL)
            p = put_change(p, '-', &watched[i]);
    for (size_t i = 0; i < count; i++) {
        const struct watched *before = find_in(watched, nwatched, &list[i]);

        if (before == NULL)
            p = put_change(p, '+', &list[i]);
        else if (!facts_equal(&before->facts, &list[i].facts))
            p = put_change(p, '*', &list[i]);
    }

    free(watched);
    watched = list;
    nwatched = count;
    return text + 1;
}

/* ---- new and missing instances ----------------------------------------------------------------------------------- */

static void test_they_come_and_go(void **state)
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

static void test_what_is_known_of_one(void **state)
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

/* It remains the same one as long as it exists, and no longer. */
static void test_the_same_one(void **state)
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

/* Before it was reported as gone, or while it is being requested. */
static void test_back_at_once(void **state)
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

/* It is used in messages. */
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
static void test_left_out(void **state)
{
    (void) state;
    create("docs");
    world.left_out = 3;
    round_of(1);
    assert_string_equal(changes(), "+docs");
    assert_int_equal(count_logged("list of instances: 3 of them cannot be watched"), 1);

    create_in("team", "docs");
    /* if there are no others, the list itself may be odd */
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
static void test_only_named_ones(void **state)
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

static void test_named_ones_stay(void **state)
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

static void test_names_of_autorags_are_taken(void **state)
{
    (void) state;
    assert_non_null(name(AIS_AUTORAG, "docs", NULL));
    create("docs");
    create_in("team", "docs");
    round_of(1);
    assert_string_equal(changes(), "+docs@team");
    assert_int_equal(
        count_logged("Account \"docs\": Instance \"docs\" cannot be watched: an AutoRAG of this account has"), 1);

    /* logged once, whatever happens to it */
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

/* It does not matter unless it is selected. */
static void test_taken_but_not_selected(void **state)
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
static void test_which_lists_there_are(void **state)
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
static void test_remembered_ones(void **state)
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
static void test_remembered_with_a_refused_block(void **state)
{
    (void) state;
    account.discover.wanted = false;
    account.is_partial = true;
    remembered[0] = "docs-docs";
    assert_int_equal(lists_start(&account), 0);
    assert_null(account.first);
    assert_int_equal(nended, 0);
}

/* ---- failing and inconsistent lists ------------------------------------------------------------------------------ */

/* An incomplete round removes nothing, however far it got; the instances that it has read are added. */
static void test_a_round_that_fails(void **state)
{
    (void) state;
    create_many(150);
    round_of(2);
    (void) changes();

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
static void test_a_confirmation_that_fails(void **state)
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
static void test_a_confirmation_out_of_a_cache(void **state)
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
    create_many(150);
    round_of(2);
    (void) changes();

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
    create_many(150);
    round_of(2);
    (void) changes();

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
static void test_a_list_in_motion(void **state)
{
    (void) state;
    create_many(150);
    round_of(2);
    (void) changes();

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
static void test_a_list_without_an_end(void **state)
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

/* No more than the maximum is watched, whether from one list or from one that changes each time. */
static void test_more_than_are_watched(void **state)
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
static void test_a_list_without_an_end_that_moves(void **state)
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
static void test_totals_that_come_and_go(void **state)
{
    (void) state;
    create_many(150);
    round_of(2);
    (void) changes();

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
static void test_waiting_for_what_is_known(void **state)
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
static void test_a_list_to_discover_that_is_refused(void **state)
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
        TEST(test_they_come_and_go),
        TEST(test_what_is_known_of_one),
        TEST(test_the_same_one),
        TEST(test_back_at_once),
        TEST(test_many_in_the_log),
        TEST(test_pause),
        TEST(test_facts_that_change),
        TEST(test_odd_status),
        TEST(test_pages),
        TEST(test_no_totals),
        TEST(test_left_out),
        TEST(test_selection),
        TEST(test_only_named_ones),
        TEST(test_named_ones_stay),
        TEST(test_named_by_its_namespace),
        TEST(test_names_of_autorags_are_taken),
        TEST(test_taken_but_not_selected),
        TEST(test_long_names),
        TEST(test_list_of_a_namespace),
        TEST(test_list_of_the_account),
        TEST(test_which_lists_there_are),
        TEST(test_remembered_ones),
        TEST(test_remembered_with_a_refused_block),
        TEST(test_a_round_that_fails),
        TEST(test_a_confirmation_that_fails),
        TEST(test_a_confirmation_out_of_a_cache),
        TEST(test_a_list_that_was_short_for_a_moment),
        TEST(test_deleted_between_two_pages),
        TEST(test_replaced_between_two_pages),
        TEST(test_created_between_two_pages),
        TEST(test_a_list_in_motion),
        TEST(test_a_list_that_ends_early),
        TEST(test_a_list_without_an_end),
        TEST(test_more_than_are_watched),
        TEST(test_a_list_without_an_end_that_moves),
        TEST(test_a_list_that_ignores_pages),
        TEST(test_totals_that_come_and_go),
        TEST(test_one_by_one),
        TEST(test_waiting_for_what_is_known),
        TEST(test_a_list_to_discover_that_is_refused),
        TEST(test_lists_of_all_namespaces),
        TEST(test_out_of_memory),
        TEST(test_out_of_memory_at_the_start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
