/* When the collectd plugin looks up what, on a fake clock. */

#include "unit.h"

#include "../../collectd-plugin/schedule.c"

#define SECOND INT64_C(1000)

#define ACTIVE (20 * SECOND)
#define IDLE (300 * SECOND)

#define PLENTY UINT32_MAX

#define PER_SECOND(calls) ((calls) / 1000.0)

/* Players whose lookups take no time. Active players have a job in progress. */
struct player {
    schedule_entry_t turn;
    bool active;
    size_t looks;
    int64_t first, last; /* when it was looked up */
    int64_t longest;     /* between two lookups, since the counters were reset */
};

struct play {
    schedule_t schedule;
    struct player *players;
    size_t n;
    int64_t now;
    double rate;
    size_t looks;
};

static void set_up(struct play *p, size_t n, double rate)
{
    memset(p, 0, sizeof(*p));
    p->players = calloc(n, sizeof(*p->players));
    assert_non_null(p->players);
    p->n = n;
    p->rate = rate;
    schedule_init(&p->schedule, 0, rate);
}

static void tear_down(struct play *p)
{
    for (size_t i = 0; i < p->n; i++)
        schedule_drop(&p->schedule, &p->players[i].turn);
    assert_int_equal(p->schedule.members, 0);
    assert_null(p->schedule.waiting);
    assert_null(p->schedule.fresh);
    assert_int_equal(p->schedule.unseen, 0);
    assert_true(p->schedule.wanted < 1e-9);
    free(p->players);
}

static void add(struct play *p, size_t i, uint32_t left)
{
    char name[40];

    snprintf(name, sizeof(name), "docs-instance%zu", i);
    schedule_add(&p->schedule, &p->players[i].turn, name, left);
}

static void add_all(struct play *p, uint32_t left)
{
    for (size_t i = 0; i < p->n; i++)
        add(p, i, left);
}

static struct player *take(struct play *p)
{
    return (struct player *) schedule_take(&p->schedule);
}

static void look(struct play *p, struct player *player)
{
    int64_t apart = p->now - player->last;

    if (player->looks++ == 0)
        player->first = p->now;
    else if (apart > player->longest)
        player->longest = apart;
    player->last = p->now;
    p->looks++;
    schedule_done(&p->schedule, &player->turn, player->active ? SCHEDULE_SOON : SCHEDULE_LATER, ACTIVE, IDLE);
}

/* Continues until then. */
static void play(struct play *p, int64_t until)
{
    for (;;) {
        struct player *player;
        int64_t wait;

        schedule_advance(&p->schedule, p->now, p->rate);
        while ((player = take(p)) != NULL)
            look(p, player);
        wait = schedule_wait(&p->schedule);
        assert_true(wait != 0);
        if (wait == -1 || p->now + wait > until)
            break;
        p->now += wait;
    }
    p->now = until;
}

static void forget(struct play *p)
{
    p->looks = 0;
    for (size_t i = 0; i < p->n; i++)
        p->players[i].longest = 0;
}

static void near(double value, double expected, double part)
{
    if (!(value > expected * (1.0 - part) && value < expected * (1.0 + part)))
        fail_msg("%g is not within %g of %g", value, part, expected);
}

static void test_first_lookups_are_immediate(void **state)
{
    struct play p;

    (void) state;
    set_up(&p, 300, PER_SECOND(4));
    add_all(&p, 1200);
    play(&p, 0);
    assert_int_equal(p.looks, 300);
    tear_down(&p);
}

/* Entries that start together are spread afterwards. */
static void test_lookups_are_spread(void **state)
{
    struct play p;

    (void) state;
    set_up(&p, 300, PER_SECOND(4));
    add_all(&p, 1200);
    play(&p, 0);
    for (int64_t minute = 0; minute < 60; minute++) {
        size_t looks = p.looks;

        play(&p, (minute + 1) * 60 * SECOND);
        assert_true(minute < 2 ? p.looks == looks : p.looks - looks < 180);
    }
    for (size_t i = 0; i < p.n; i++)
        near((double) p.players[i].longest, 300e3, 0.01);
    tear_down(&p);
}

static void test_the_same_spread_at_each_start(void **state)
{
    struct play a, b;

    (void) state;
    set_up(&a, 50, PER_SECOND(4));
    set_up(&b, 50, PER_SECOND(4));
    add_all(&a, PLENTY);
    for (size_t i = 0; i < 50; i++)
        add(&b, 49 - i, PLENTY);
    play(&a, 1000 * SECOND);
    play(&b, 1000 * SECOND);
    for (size_t i = 0; i < 50; i++)
        assert_int_equal(a.players[i].last, b.players[i].last);
    tear_down(&a);
    tear_down(&b);
}

static void test_idle_entries_are_looked_up_less_often(void **state)
{
    static const double intervals[] = {20, 20, 40, 80, 160, 300, 300};
    struct play p;

    (void) state;
    set_up(&p, 1, PER_SECOND(1));
    p.players[0].active = true;
    add(&p, 0, PLENTY);
    for (size_t i = 0; i < COUNT(intervals); i++) {
        size_t looks = p.players[0].looks;
        int64_t last;

        while (p.players[0].looks == looks)
            play(&p, p.now + 100);
        last = p.players[0].last;
        near(p.players[0].turn.interval, intervals[i] * 1e3, 1e-9);
        /* the first lookup with another interval is slightly early */
        assert_true(p.players[0].turn.due - (double) last <= intervals[i] * 1e3 + 1.0);
        assert_true(p.players[0].turn.due - (double) last >= intervals[i] * 500.0);
        p.players[0].active = i < 1;
    }

    p.players[0].active = true;
    forget(&p);
    play(&p, p.now + 301 * SECOND);
    forget(&p);
    play(&p, p.now + 200 * SECOND);
    assert_uint_in_range(p.looks, 9, 10);
    tear_down(&p);
}

/* The demand is three times the supply, by active and idle entries: all are looked up a third as often. */
static void test_all_intervals_are_stretched_evenly(void **state)
{
    struct play p;

    (void) state;
    set_up(&p, 330, PER_SECOND(1));
    for (size_t i = 0; i < 40; i++)
        p.players[i].active = true;
    add_all(&p, PLENTY);
    play(&p, 3600 * SECOND);
    near(p.schedule.stretch, 40.0 / 20 + 290.0 / 300, 0.001);

    forget(&p);
    play(&p, 2 * 3600 * SECOND);
    near((double) p.looks, 3600, 0.01);
    for (size_t i = 0; i < p.n; i++)
        near((double) p.players[i].longest, (i < 40 ? 20e3 : 300e3) * p.schedule.stretch, 0.02);
    tear_down(&p);
}

/* The stretch follows its cause without delay in both directions. */
static void test_the_stretch_follows_immediately(void **state)
{
    struct play p;

    (void) state;
    set_up(&p, 300, PER_SECOND(2));
    add_all(&p, PLENTY);
    play(&p, 1000 * SECOND);
    assert_true(p.schedule.stretch == 1.0);

    for (size_t i = 0; i < p.n; i++)
        p.players[i].active = true;
    play(&p, 3000 * SECOND);
    near(p.schedule.stretch, 15.0 / 2, 0.001);

    for (size_t i = 0; i < p.n; i++)
        p.players[i].active = false;
    play(&p, 5000 * SECOND);
    assert_true(p.schedule.stretch == 1.0);
    tear_down(&p);
}

/* Five thousand entries and one call per second: none waits longer than a round, whether known or new. */
static void test_nothing_starves(void **state)
{
    const int64_t round = 2 * 5000 * SECOND;
    struct play p;

    (void) state;
    set_up(&p, 5200, PER_SECOND(1));
    for (size_t i = 0; i < 5000; i++) {
        p.players[i].active = i % 100 == 0;
        add(&p, i, 300);
    }
    play(&p, 0);
    assert_int_equal(p.looks, 150);
    play(&p, round);
    for (size_t i = 0; i < 5000; i++)
        assert_true(p.players[i].looks > 0);

    /* more of them when all are known */
    play(&p, 2 * round);
    forget(&p);
    for (size_t i = 5000; i < 5200; i++)
        add(&p, i, 0);
    play(&p, p.now + 450 * SECOND);
    for (size_t i = 5000; i < 5200; i++)
        assert_int_equal(p.players[i].looks, 1);
    assert_uint_in_range(p.looks, 440, 460);

    forget(&p);
    play(&p, 5 * round);
    for (size_t i = 0; i < p.n; i++)
        assert_uint_in_range(p.players[i].longest, 1, (int64_t) (IDLE * p.schedule.stretch * 1.05));
    near((double) p.looks, (double) (5 * round - 2 * round) / 1e3 - 450, 0.01);
    tear_down(&p);
}

/* Queued entries get what the others leave, which are not affected. */
static void test_the_queue_gets_the_rest(void **state)
{
    struct play p;

    (void) state;
    set_up(&p, 200, PER_SECOND(1));
    for (size_t i = 0; i < 100; i++) {
        add(&p, i, PLENTY);
    }
    play(&p, 1000 * SECOND);
    forget(&p);
    for (size_t i = 100; i < 200; i++)
        add(&p, i, 0);
    assert_int_equal(schedule_wait(&p.schedule) > 0, 1);
    play(&p, p.now + 160 * SECOND);
    for (size_t i = 100; i < 200; i++)
        assert_uint_in_range(p.players[i].looks, 1, 2);
    for (size_t i = 0; i < 100; i++)
        assert_true(p.players[i].longest <= IDLE * 4 / 3);
    tear_down(&p);
}

/* An entry that is due but may not start keeps its turn, and the others wait as long as it does. */
static void test_the_schedule_waits(void **state)
{
    struct play p;

    (void) state;
    set_up(&p, 3, PER_SECOND(1));
    for (size_t i = 0; i < 3; i++)
        p.players[i].active = true;
    add_all(&p, PLENTY);
    play(&p, 100 * SECOND);

    p.now += schedule_wait(&p.schedule);
    schedule_advance(&p.schedule, p.now, p.rate);
    forget(&p);
    for (int64_t i = 0; i < 600; i++) {
        assert_int_equal(schedule_wait(&p.schedule), 0);
        schedule_advance(&p.schedule, p.now += SECOND, p.rate);
    }

    /* then all continue as if nothing had happened, and not all at once */
    look(&p, take(&p));
    assert_null(take(&p));
    play(&p, p.now + 60 * SECOND);
    assert_int_equal(p.looks, 10);
    for (size_t i = 0; i < 3; i++)
        assert_uint_in_range(p.players[i].longest, 600 * SECOND, 622 * SECOND);
    tear_down(&p);
}

static void test_a_delayed_lookup_keeps_its_turn(void **state)
{
    struct player *player;
    struct play p;

    (void) state;
    set_up(&p, 3, PER_SECOND(1));
    add_all(&p, PLENTY);
    player = take(&p);
    schedule_done(&p.schedule, &player->turn, SCHEDULE_NOW, ACTIVE, IDLE);
    assert_int_equal(schedule_wait(&p.schedule), 0);
    for (size_t i = 0; i < 3; i++)
        assert_non_null(take(&p));
    assert_null(take(&p));
    tear_down(&p);
}

static void test_never_again(void **state)
{
    struct player *player;
    struct play p;

    (void) state;
    set_up(&p, 2, PER_SECOND(1));
    add_all(&p, PLENTY);
    player = take(&p);
    schedule_done(&p.schedule, &player->turn, SCHEDULE_NEVER, ACTIVE, IDLE);
    play(&p, 10000 * SECOND);
    assert_int_equal(player->looks, 0);
    assert_int_equal(p.schedule.members, 1);
    tear_down(&p);
}

/* A lookup that takes longer than the interval is followed by the next one; none are made up for. */
static void test_slow_lookups(void **state)
{
    struct player *player;
    struct play p;

    (void) state;
    set_up(&p, 1, PER_SECOND(1));
    p.players[0].active = true;
    add(&p, 0, PLENTY);
    for (int i = 0; i < 10; i++) {
        player = take(&p);
        assert_ptr_equal(player, &p.players[0]);
        assert_int_equal(schedule_wait(&p.schedule), AIS_NEVER);
        schedule_advance(&p.schedule, p.now += 50 * SECOND, p.rate);
        assert_null(take(&p));
        look(&p, player);
    }
    tear_down(&p);
}

/* A cache makes lookups cheap, retries make them expensive: the stretch depends on their cost. */
static void test_cost(void **state)
{
    struct play p;

    (void) state;
    set_up(&p, 10, PER_SECOND(0.1));
    for (size_t i = 0; i < p.n; i++)
        p.players[i].active = true;
    add_all(&p, PLENTY);
    play(&p, 1000 * SECOND);
    near(p.schedule.stretch, 5, 0.001);

    for (int i = 0; i < 200; i++)
        schedule_spent(&p.schedule, 3, false);
    play(&p, p.now + SECOND);
    near(p.schedule.stretch, 15, 0.01);

    for (int i = 0; i < 200; i++) {
        schedule_spent(&p.schedule, 1, false);
        schedule_spent(&p.schedule, 1, true);
    }
    play(&p, p.now + SECOND);
    near(p.schedule.stretch, 10, 0.1);

    for (int i = 0; i < 2000; i++)
        schedule_spent(&p.schedule, 0, false);
    play(&p, p.now + SECOND);
    assert_true(p.schedule.stretch == 1.0);
    tear_down(&p);
}

static void test_news(void **state)
{
    const int64_t patience = 300 * SECOND;
    struct play p;

    (void) state;
    set_up(&p, 40, PER_SECOND(1));
    for (size_t i = 0; i < p.n; i++)
        p.players[i].active = true;
    add_all(&p, 40);
    play(&p, 15 * SECOND);
    assert_false(schedule_news(&p.schedule, p.now, patience));
    play(&p, 100 * SECOND);
    assert_true(schedule_news(&p.schedule, p.now, patience) && p.schedule.scarce);
    assert_false(schedule_news(&p.schedule, p.now, patience));

    for (size_t i = 0; i < p.n; i++)
        p.players[i].active = false;
    for (; p.schedule.wanted > p.schedule.pace; play(&p, p.now + SECOND))
        assert_false(schedule_news(&p.schedule, p.now, patience));
    p.now += patience - 10 * SECOND;
    assert_false(schedule_news(&p.schedule, p.now, patience));
    p.now += 10 * SECOND;
    assert_true(schedule_news(&p.schedule, p.now, patience) && !p.schedule.scarce);
    assert_false(schedule_news(&p.schedule, p.now, patience));
    tear_down(&p);
}

/* In any state, without affecting the others. */
static void test_drop(void **state)
{
    struct play p;
    struct player *player;

    (void) state;
    set_up(&p, 30, PER_SECOND(1));
    add_all(&p, 20); /* from the eleventh on they queue */
    player = take(&p);
    schedule_drop(&p.schedule, &player->turn);       /* in progress */
    schedule_drop(&p.schedule, &p.players[5].turn);  /* due at once */
    schedule_drop(&p.schedule, &p.players[10].turn); /* the first of the queue */
    schedule_drop(&p.schedule, &p.players[20].turn); /* in the queue */
    schedule_drop(&p.schedule, &p.players[29].turn); /* the last of it */
    schedule_drop(&p.schedule, &p.players[29].turn); /* again */
    play(&p, 60 * SECOND);
    for (size_t i = 0; i < p.n; i++) {
        bool dropped = &p.players[i] == player || i == 5 || i == 10 || i == 20 || i == 29;

        assert_int_equal(p.players[i].looks, dropped ? 0 : 1);
    }
    play(&p, 1000 * SECOND);
    schedule_drop(&p.schedule, &p.players[7].turn); /* between two lookups */
    assert_int_equal(p.schedule.members, 24);
    memset(&p.players[7].turn, 0, sizeof(p.players[7].turn));
    add(&p, 7, 0);
    play(&p, 2000 * SECOND);
    assert_int_equal(p.schedule.members, 25);
    tear_down(&p);
}

/* Counts the entries in a heap and checks that each has the right parent and none is due before its parent. */
static size_t count_in_order(struct play *p, schedule_entry_t **heap)
{
    size_t n = 0;

    for (size_t i = 0; i < p->n; i++) {
        const schedule_entry_t *entry = &p->players[i].turn, *parent = entry->parent;

        if (entry->heap != heap)
            continue;
        if (parent == NULL)
            assert_ptr_equal(*heap, entry);
        else
            assert_true(parent->due <= entry->due && (parent->left == entry || parent->right == entry));
        n++;
    }
    return n;
}

/* Whatever is added and removed, in any order: the entry that is due first comes first, and none is lost. */
static void test_order(void **state)
{
    enum { N = 500 };
    struct play p;
    uint32_t random = 1;

    (void) state;
    set_up(&p, N, PER_SECOND(50));
    add_all(&p, PLENTY);
    for (int step = 0; step < 20000; step++) {
        size_t i = (random = random * 1103515245u + 12345u) >> 8;
        struct player *player = &p.players[i % N];

        if (!player->turn.is_member) {
            memset(&player->turn, 0, sizeof(player->turn));
            add(&p, i % N, i % 3 == 0 ? PLENTY : 0);
        } else if (i % 7 == 0) {
            schedule_drop(&p.schedule, &player->turn);
        } else {
            player->active = i % 2 == 0;
            play(&p, p.now + (int64_t) (i % 200));
        }
        assert_int_equal(count_in_order(&p, &p.schedule.waiting) + count_in_order(&p, &p.schedule.fresh),
                         p.schedule.members);
    }
    tear_down(&p);
}

/* In an outage, everything that is due must wait: this does not stretch intervals. Then the lookups are spread
 * again. */
static void test_an_outage(void **state)
{
    enum { N = 100 };
    struct play p;
    int64_t earliest = INT64_MAX, latest = 0;

    (void) state;
    set_up(&p, N, PER_SECOND(100));
    add_all(&p, PLENTY);
    play(&p, 1);
    for (int64_t end = p.now + 2 * IDLE; p.now < end; p.now += 5 * SECOND) {
        struct player *player;

        schedule_advance(&p.schedule, p.now, p.rate);
        while ((player = take(&p)) != NULL)
            schedule_hold(&p.schedule, &player->turn, 15 * SECOND);
        assert_true(p.schedule.stretch == 1.0);
    }
    for (size_t i = 0; i < N; i++)
        assert_int_equal(p.players[i].looks, 1);

    play(&p, p.now + 16 * SECOND);
    for (size_t i = 0; i < N; i++)
        assert_int_equal(p.players[i].looks, 2);
    play(&p, p.now + IDLE);
    for (size_t i = 0; i < N; i++) {
        assert_true(p.players[i].looks >= 3);
        earliest = p.players[i].last < earliest ? p.players[i].last : earliest;
        latest = p.players[i].last > latest ? p.players[i].last : latest;
    }
    assert_true(latest - earliest > IDLE / 3);
    tear_down(&p);
}

static void test_round(void **state)
{
    struct play p;

    (void) state;
    set_up(&p, 300, PER_SECOND(1));
    add_all(&p, PLENTY);
    double round = (double) p.schedule.members / p.schedule.pace;

    assert_true(round > 299e3 && round < 301e3);
    tear_down(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_outage),
        cmocka_unit_test(test_round),
        cmocka_unit_test(test_first_lookups_are_immediate),
        cmocka_unit_test(test_lookups_are_spread),
        cmocka_unit_test(test_the_same_spread_at_each_start),
        cmocka_unit_test(test_idle_entries_are_looked_up_less_often),
        cmocka_unit_test(test_all_intervals_are_stretched_evenly),
        cmocka_unit_test(test_the_stretch_follows_immediately),
        cmocka_unit_test(test_nothing_starves),
        cmocka_unit_test(test_the_queue_gets_the_rest),
        cmocka_unit_test(test_the_schedule_waits),
        cmocka_unit_test(test_a_delayed_lookup_keeps_its_turn),
        cmocka_unit_test(test_never_again),
        cmocka_unit_test(test_slow_lookups),
        cmocka_unit_test(test_cost),
        cmocka_unit_test(test_news),
        cmocka_unit_test(test_drop),
        cmocka_unit_test(test_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
