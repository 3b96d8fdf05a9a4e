/* For tests of discovery: the plugin around the lists, a fake API with its lists of instances, and a fake clock. */
#ifndef AIS_TEST_DISCOVERY_FIXTURE_H
#define AIS_TEST_DISCOVERY_FIXTURE_H

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

static inline bool burns_out(void)
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

static inline void forget_log(void)
{
    logged[0] = '\0';
}

static inline size_t count_logged(const char *text)
{
    size_t n = 0;

    for (const char *p = logged; (p = strstr(p, text)) != NULL; p++)
        n++;
    return n;
}

static inline int select_names(const char *text)
{
    char error[64];

    return selection_add(&account.discover.selection, text, error, sizeof(error));
}

/* An Account block that discovers everything; there are no lists yet. */
static inline int set_up(void **state)
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

static inline int tear_down(void **state)
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
static inline poll_t *name(enum ais_generation generation, const char *id, const char *namespace)
{
    poll_what_t what = {.instance = id, .namespace = namespace, .generation = generation};

    return poll_add(&account, &what);
}

static inline poll_t *find_watched(const char *name)
{
    poll_t *poll = poll_find(&account, name);

    assert_non_null(poll);
    return poll;
}

static inline struct ais_instance *find(const char *id)
{
    for (size_t i = 0; i < world.ninstances; i++) {
        if (strcmp(world.instances[i].id, id) == 0)
            return &world.instances[i];
    }

    fail_msg("no %s", id);
    return NULL;
}

static inline void create_in(const char *namespace, const char *id)
{
    assert_true(world.ninstances < COUNT(world.instances));
    world.instances[world.ninstances++] =
        (struct ais_instance){.id = id, .namespace = namespace, .created_at = AIS_TIME_NONE};
}

static inline void create(const char *id)
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
static inline void create_many(size_t count)
{
    static char names[400][8];

    for (size_t i = 0; i < count; i++) {
        snprintf(names[i], sizeof(names[i]), "i%03u", (unsigned) i % 1000);
        create(names[i]);
    }
}

/* The API's response for a resource. */
static inline struct ais_listing answer_to(const struct ais_resource *resource)
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
static inline void start(void)
{
    assert_int_equal(lists_start(&account), 0);
    for (poll_t *poll = account.first; poll != NULL; poll = poll->next)
        poll_schedule(poll);
}

static inline void ask(void)
{
    if (account.lists == NULL)
        start();
    asked = NULL;
    (void) lists_poll(&account, INTERVAL);
    assert_non_null(asked);
}

/* Delivers a result. Returns whether the round continues. */
static inline bool give(result_t result, int status, const char *cache)
{
    struct ais_response response = {.status = status};

    now_ms += 10;
    snprintf(response.cache, sizeof(response.cache), "%s", cache);
    result.response = &response;
    asked->under_way = false;
    asked->done(asked, &result);
    return ((list_t *) asked)->began_at != 0;
}

static inline bool give_page(struct ais_listing listing, const char *cache)
{
    return give((result_t){.good = true, .answer = {.success = true, .listing = listing}}, 200, cache);
}

static inline bool page(void)
{
    ask();
    return give_page(answer_to(&asked->resource), "");
}

/* The next page of the round comes from a cache. */
static inline bool page_of_cache(void)
{
    bool goes_on;

    ask();
    goes_on = give_page(answer_to(&asked->resource), "HIT");
    now_ms = goes_on ? account.lists->due : now_ms;
    return goes_on;
}

static inline bool give_fault(enum ais_fault fault, int status)
{
    ask();
    return give((result_t){.fault = fault}, status, "");
}

static inline void wait_for_round(void)
{
    now_ms += INTERVAL;
}

/* A whole round of that many pages. */
static inline void round_of(size_t pages)
{
    wait_for_round();
    for (size_t i = 1; i < pages; i++)
        assert_true(page());
    assert_false(page());
}

static inline int compare_watched(const void *a, const void *b)
{
    const struct watched *left = a, *right = b;
    int order = strcmp(left->namespace, right->namespace);

    return order != 0 ? order : strcmp(left->id, right->id);
}

/* All existing instances, except AutoRAGs; those that are gone were reported. */
static inline struct watched *list_watched(size_t *count)
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

static inline char *put_change(char *p, char sign, const struct watched *one)
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

#endif
