/* What a response says about the API's own limits, and how a budget applies it. */

#include "unit.h"

#include "ais_budget.h"
#include "ais_limits.h"

#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define DAY (24 * 60 * MINUTE)

#define NOW INT64_C(5000000)
#define HOLD (15 * SECOND)

#define NONE INT64_C(-1)

static struct ais_limits parse(const char *ratelimit, const char *policy)
{
    struct ais_str a = exact_copy(str(ratelimit)), b = exact_copy(str(policy));
    struct ais_limits limits;

    memset(&limits, 0xAA, sizeof(limits));
    ais_limits_parse(&limits, a, b, NOW);
    exact_free(a);
    exact_free(b);
    return limits;
}

/* The limit with the least left, of those with a number. */
static const struct ais_limit *tightest(const struct ais_limits *limits)
{
    const struct ais_limit *tightest = NULL;

    for (size_t i = 0; i < limits->n; i++) {
        const struct ais_limit *item = &limits->items[i];

        if (item->left >= 0 && (tightest == NULL || item->left < tightest->left))
            tightest = item;
    }
    return tightest;
}

/* What is left of the tightest limit, and when it is reset, in seconds from now. */
static void test_ratelimit(void **state)
{
    static const struct {
        const char *field;
        int64_t left; /* NONE: unknown */
        int64_t seconds;
    } cases[] = {
        /* as documented and as seen */
        {"\"default\";r=50;t=30", 50, 30},
        {"\"default\";r=1100;t=200, \"burst\";r=3;t=1", 3, 1},
        {"\"burst\";r=3;t=1, \"default\";r=1100;t=200", 3, 1},
        {"default;r=7;t=30", 7, 30},
        {"\"default\";r=9;t=12;pk=:cHNsZQ==:", 9, 12},
        {"\"default\";t=30", NONE, 0},
        {"\"default\";r=-1;t=30", NONE, 0},
        {"\"default\";r=5;t=30, ;;", NONE, 0},

        {"", NONE, 0},
        {" ", NONE, 0},
        {"\"default\";r=0;t=0", 0, 0},
        {"\"default\" ; r=1;t=1", NONE, 0},
        {"  \"default\";  r=1;  t=1  ", 1, 1},
        {"\"default\";t=30;r=50", 50, 30},
        {"\"\";r=1;t=2", 1, 2},
        {"\"default\";r=50;t=30;x;y=1.5;z=?0", 50, 30},
        {"\"default\";R=1;r=50;t=30", NONE, 0}, /* keys are never in upper case */
        {"\"default\";r=999999999999999;t=30", INT64_C(999999999999999), 30},
        {"\"default\";r=1;t=999999999999999", 1, INT64_C(1) << 31},
        {"\"default\";r=1;t=2147483648", 1, INT64_C(1) << 31},

        /* an item without a count or a time is ignored, as is one without a name */
        {"\"default\"", NONE, 0},
        {"\"default\";r=5", NONE, 0},
        {"\"default\";r;t=30", NONE, 0},
        {"\"default\";r=5;t", NONE, 0},
        {"\"default\";r=\"5\";t=30", NONE, 0},
        {"\"default\";r=5.0;t=30", NONE, 0},
        {"\"default\";r=@5;t=30", NONE, 0},
        {"\"default\";r=?1;t=30", NONE, 0},
        {"\"default\";r=5;t=-30", NONE, 0},
        {"\"default\";r=5;t=1.5", NONE, 0},
        {"\"default\";r=5;t=soon", NONE, 0},
        {"5;r=5;t=30", NONE, 0},
        {"?1;r=5;t=30", NONE, 0},
        {"(\"default\");r=5;t=30", NONE, 0},
        {":YQ==:;r=5;t=30", NONE, 0},
        {"\"default\";q=1200;w=300", NONE, 0},

        /* but another item is not */
        {"\"a\";r=-1;t=1, \"b\";r=8;t=9", 8, 9},
        {"(\"a\");r=1;t=1, \"b\";r=8;t=9", 8, 9},
        {"7;r=1;t=1, \"b\";r=8;t=9, @5;r=0;t=0", 8, 9},

        /* the same name twice: the one with less left; a key twice: the last one */
        {"\"a\";r=8;t=9, \"a\";r=7;t=5", 7, 5},
        {"\"a\";r=7;t=5, \"a\";r=8;t=9", 7, 5},
        {"\"a\";r=1;r=8;t=1;t=9", 8, 9},
        {"\"a\";r=1;t=9;r=-8", NONE, 0},

        /* a malformed field is ignored as a whole */
        {"\"default\";r=5;t=30,", NONE, 0},
        {"\"default\";r=5;t=30;", NONE, 0},
        {"\"default;r=5;t=30", NONE, 0},
        {"default\";r=5;t=30", NONE, 0},
        {"\"default\";r=5;t=30 \"b\"", NONE, 0},
        {"\"a\";r=5;t=30, \"b\";r=1000000000000000;t=1", NONE, 0},
        {"limit=100, remaining=50, reset=5", NONE, 0},
        {"50", NONE, 0},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ais_limits limits = parse(cases[i].field, "");
        const struct ais_limit *found = tightest(&limits);

        if ((found != NULL ? found->left : NONE) != cases[i].left)
            fail_msg("%s", cases[i].field);
        if (found == NULL) {
            assert_int_equal(limits.n, 0);
            continue;
        }
        if (found->reset_at != NOW + cases[i].seconds * SECOND)
            fail_msg("%s: %lld", cases[i].field, (long long) (found->reset_at - NOW));
        assert_int_equal(found->quota, NONE);
        assert_int_equal(found->window, NONE);
    }
}

static void assert_limit(const struct ais_limit *limit, const char *name, int64_t left, int64_t reset_at, int64_t quota,
                         int64_t window)
{
    assert_string_equal(limit->name, name);
    assert_int_equal(limit->left, left);
    if (left >= 0)
        assert_int_equal(limit->reset_at, reset_at);
    assert_int_equal(limit->quota, quota);
    assert_int_equal(limit->window, window);
}

static void test_policy(void **state)
{
    struct ais_limits limits;

    (void) state;
    limits = parse("", "\"default\";q=1200;w=300");
    assert_int_equal(limits.n, 1);
    assert_limit(&limits.items[0], "default", NONE, 0, 1200, 300 * SECOND);

    /* each item has the policy with its name */
    limits = parse("\"burst\";r=3;t=1, \"default\";r=50;t=30, \"other\";r=7;t=8",
                   "\"default\";q=1200;w=300, \"burst\";q=10;w=2;pk=:YQ==:");
    assert_int_equal(limits.n, 3);
    assert_limit(&limits.items[0], "default", 50, NOW + 30 * SECOND, 1200, 300 * SECOND);
    assert_limit(&limits.items[1], "burst", 3, NOW + SECOND, 10, 2 * SECOND);
    assert_limit(&limits.items[2], "other", 7, NOW + 8 * SECOND, NONE, NONE);

    /* without its own time, the window of its policy applies */
    limits = parse("\"default\";r=50", "\"default\";q=1200;w=300");
    assert_int_equal(limits.n, 1);
    assert_limit(&limits.items[0], "default", 50, NOW + 300 * SECOND, 1200, 300 * SECOND);
    limits = parse("\"default\";r=50", "\"default\";q=1200");
    assert_int_equal(limits.n, 1);
    assert_limit(&limits.items[0], "default", NONE, 0, 1200, NONE);
    limits = parse("\"default\";r=50", "\"other\";q=1200;w=300");
    assert_int_equal(limits.n, 1);
    assert_limit(&limits.items[0], "other", NONE, 0, 1200, 300 * SECOND);

    /* a policy without a quota is ignored; one field may be malformed and the other one not */
    limits = parse("\"default\";r=50;t=30", "\"default\";w=300, \"b\";q=-1, \"c\";q=1.5, 7;q=1;w=1, \"d\";r=1;t=1");
    assert_int_equal(limits.n, 1);
    assert_limit(&limits.items[0], "default", 50, NOW + 30 * SECOND, NONE, NONE);
    limits = parse("\"default\";r=50;t=30", "\"default\";q=1200;w=300;");
    assert_int_equal(limits.n, 1);
    assert_limit(&limits.items[0], "default", 50, NOW + 30 * SECOND, NONE, NONE);
    limits = parse("\"default\";r=50;t=30,", "\"default\";q=1200;w=300");
    assert_int_equal(limits.n, 1);
    assert_limit(&limits.items[0], "default", NONE, 0, 1200, 300 * SECOND);

    /* a window may be as long as the latest possible time */
    limits = parse("", "\"default\";q=1;w=999999999999999");
    assert_limit(&limits.items[0], "default", NONE, 0, 1, (INT64_C(1) << 31) * SECOND);
}

/* Lines are joined by commas, with or without a space. */
static void test_lines(void **state)
{
    struct ais_limits limits;

    (void) state;
    limits = parse("\"default\";r=50;t=30,\"burst\";r=3;t=1", "\"default\";q=1200;w=300,\"burst\";q=10;w=1");
    assert_int_equal(limits.n, 2);
    assert_limit(&limits.items[0], "default", 50, NOW + 30 * SECOND, 1200, 300 * SECOND);
    assert_limit(&limits.items[1], "burst", 3, NOW + SECOND, 10, SECOND);
}

/* They are used in messages and pages unchanged. */
static void test_names(void **state)
{
    static const struct {
        const char *written;
        const char *name;
    } cases[] = {
        {"\"default\"", "default"},
        {"default", "default"},
        {"\"AZaz09_.:-\"", "AZaz09_.:-"},
        {"\"a b\"", "a_b"},
        {"\"{a}~[b]\"", "_a___b_"},
        {"\"<b>&\"", "_b__"},
        {"\"a\\\"b\\\\c\"", "a__b__c"},
        {"a/b*c", "a_b_c"},
        {"\"\"", ""},
        {"\"0123456789012345678901234567890\"", "0123456789012345678901234567890"},
        {"\"01234567890123456789012345678901\"", "0123456789012345678901234567890"},
        {"\"012345678901234567890123456789012345678901234567890123456789\"", "0123456789012345678901234567890"},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char field[128];
        struct ais_limits limits;

        snprintf(field, sizeof(field), "%s;r=1;t=2", cases[i].written);
        limits = parse(field, "");
        assert_int_equal(limits.n, 1);
        assert_string_equal(limits.items[0].name, cases[i].name);
    }
}

/* If there are too many, those with the least left are kept. */
static void test_many(void **state)
{
    static const int orders[][6] = {{0, 1, 2, 3, 4, 5}, {5, 4, 3, 2, 1, 0}, {2, 5, 0, 4, 1, 3}, {3, 0, 5, 1, 4, 2}};

    (void) state;
    for (size_t o = 0; o < COUNT(orders); o++) {
        char field[256] = "";
        int64_t sum = 0;
        struct ais_limits limits;

        for (size_t i = 0; i < COUNT(orders[o]); i++)
            sprintf(field + strlen(field), "%s\"p%d\";r=%d;t=9", i > 0 ? ", " : "", orders[o][i], orders[o][i]);
        limits = parse(field, "");
        assert_int_equal(limits.n, AIS_LIMITS_MAX);
        for (size_t i = 0; i < limits.n; i++) {
            assert_uint_in_range(limits.items[i].left, 0, AIS_LIMITS_MAX - 1);
            sum += limits.items[i].left;
        }
        assert_int_equal(sum, 0 + 1 + 2 + 3);
    }
}

/* A limit with what is left is preferred to one with only a quota. */
static void test_many_policies(void **state)
{
    static const char policies[] = "\"a\";q=1;w=1, \"b\";q=2;w=2, \"c\";q=3;w=3, \"d\";q=4;w=4, \"e\";q=5;w=5";
    struct ais_limits limits;

    (void) state;
    limits = parse("", policies);
    assert_int_equal(limits.n, AIS_LIMITS_MAX);
    assert_limit(&limits.items[0], "a", NONE, 0, 1, SECOND);
    assert_limit(&limits.items[3], "d", NONE, 0, 4, 4 * SECOND);

    limits = parse("\"d\";r=1;t=9, \"x\";r=2;t=9, \"y\";r=3;t=9", policies);
    assert_int_equal(limits.n, AIS_LIMITS_MAX);
    assert_limit(&limits.items[3], "d", 1, NOW + 9 * SECOND, 4, 4 * SECOND);
    assert_limit(&limits.items[0], "x", 2, NOW + 9 * SECOND, NONE, NONE);
    assert_limit(&limits.items[1], "y", 3, NOW + 9 * SECOND, NONE, NONE);
    assert_limit(&limits.items[2], "c", NONE, 0, 3, 3 * SECOND);
}

/* The names of the first announcement are used if the documented fields do not say what is left. */
static void test_old_names(void **state)
{
    struct ais_limits limits;

    (void) state;
    limits = parse("", "");
    ais_limits_add_old(&limits, 10, NOW + MINUTE);
    assert_int_equal(limits.n, 1);
    assert_limit(&limits.items[0], "", 10, NOW + MINUTE, NONE, NONE);

    limits = parse("", "");
    ais_limits_add_old(&limits, NONE, NOW + MINUTE);
    assert_int_equal(limits.n, 0);

    limits = parse("\"default\";r=50;t=30", "");
    ais_limits_add_old(&limits, 10, NOW + MINUTE);
    assert_int_equal(limits.n, 1);
    assert_limit(&limits.items[0], "default", 50, NOW + 30 * SECOND, NONE, NONE);

    limits = parse("\"default\";r=50", "\"default\";q=1200");
    ais_limits_add_old(&limits, 10, NOW + MINUTE);
    assert_int_equal(limits.n, 2);
    assert_limit(&limits.items[1], "", 10, NOW + MINUTE, NONE, NONE);

    limits = parse("", "\"a\";q=1, \"b\";q=2, \"c\";q=3, \"d\";q=4");
    ais_limits_add_old(&limits, 10, NOW + MINUTE);
    assert_int_equal(limits.n, AIS_LIMITS_MAX);
    assert_limit(&limits.items[0], "", 10, NOW + MINUTE, NONE, NONE);
}

static struct ais_budget fresh(void)
{
    static const struct ais_budget_limit limit = {100, SECOND};
    struct ais_budget b = {.now = 0};

    ais_budget_configure(&b, &limit, 1, HOLD, NOW);
    return b;
}

/* A budget obeys all limits, and is closed for as long as a 429 or 503 requests. */
static void test_heed(void **state)
{
    static const struct {
        int status;
        int64_t retry_after;
        int64_t closed;
    } cases[] = {
        {200, -1, 0},
        {200, 30 * SECOND, 0},
        {404, 30 * SECOND, 0},
        {500, 30 * SECOND, 0},
        {429, 47 * SECOND, 47 * SECOND},
        {429, 0, 0},
        {429, -1, 5 * MINUTE},
        {429, DAY, DAY},
        {503, 40 * SECOND, 40 * SECOND},
        {503, DAY, MINUTE},
        {503, 0, 0},
        {503, -1, 0},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ais_limits limits = parse("\"default\";r=20;t=600, \"burst\";r=3;t=1", "");
        struct ais_budget b = fresh();
        int64_t until = NOW + cases[i].closed;

        limits.uncertain = 0;
        assert_int_equal(ais_limits_heed(&b, &limits, cases[i].status, cases[i].retry_after, NOW), cases[i].closed);
        assert_int_equal(ais_budget_wait(&b, NOW), cases[i].closed);
        assert_int_equal(b.nobserved, 2);
        if (cases[i].closed > 0)
            assert_int_equal(ais_budget_left(&b, until - 1), 0);
        else
            assert_int_equal(ais_budget_left(&b, NOW), 3);
        if (until < NOW + 10 * MINUTE)
            assert_int_equal(ais_budget_left(&b, until + 2 * SECOND), 20);
    }
}

/* A 429 response that was seen: no calls left, and the time at which they return. */
static void test_heed_spent(void **state)
{
    struct ais_limits limits = parse("\"default\";r=0;t=47", "\"default\";q=1200;w=300");
    struct ais_budget b = fresh();

    (void) state;
    limits.uncertain = 100;
    assert_int_equal(ais_limits_heed(&b, &limits, 429, 47 * SECOND, NOW), 47 * SECOND);
    assert_int_equal(ais_budget_wait(&b, NOW), 48 * SECOND);
    assert_int_equal(ais_budget_left(&b, NOW + 48 * SECOND - 1), 0);
    assert_int_equal(ais_budget_left(&b, NOW + 48 * SECOND), 100);
    assert_int_equal(b.observed[0].quota, 1200);
}

/* A response that says nothing changes nothing. */
static void test_heed_without_limits(void **state)
{
    struct ais_limits limits = parse("", "");
    struct ais_budget b = fresh();
    struct ais_budget before = b;

    (void) state;
    limits.uncertain = 0;
    assert_int_equal(ais_limits_heed(&b, &limits, 200, -1, NOW), 0);
    assert_memory_equal(&b, &before, sizeof(b));
}

/* The duration of the response is taken into account: a reset that only seems later is that of the same window. */
static void test_heed_uncertain(void **state)
{
    struct ais_limits first = parse("\"default\";r=10;t=30", ""), second = parse("\"default\";r=12;t=33", "");
    struct ais_budget b = fresh();

    (void) state;
    first.uncertain = 0;
    second.uncertain = 2 * SECOND;
    ais_limits_heed(&b, &first, 200, -1, NOW);
    ais_limits_heed(&b, &second, 200, -1, NOW);
    assert_int_equal(ais_budget_left(&b, NOW), 10);
    second.uncertain = 2 * SECOND - 1;
    ais_limits_heed(&b, &second, 200, -1, NOW);
    assert_int_equal(ais_budget_left(&b, NOW), 12);
}

/* The same for a part of the budget: a quarter of each limit. */
static void test_heed_part(void **state)
{
    struct ais_limits limits = parse("\"burst\";r=8;t=10, \"default\";r=30;t=60", "");
    struct ais_budget b = fresh(), part = fresh();

    (void) state;
    limits.uncertain = 0;
    ais_limits_heed(&b, &limits, 200, -1, NOW);
    ais_limits_heed_part(&part, &b, 25, &limits, NOW);
    assert_int_equal(ais_budget_left(&part, NOW), 2);
    assert_int_equal(ais_budget_left(&part, NOW + 11 * SECOND), 8);
    assert_int_equal(ais_budget_left(&part, NOW + 61 * SECOND), 100);
}

static void test_slots(void **state)
{
    struct ais_limit items[AIS_LIMITS_MAX] = {
        {.name = "a", .left = 5, .reset_at = NOW + 2},
        {.name = "b", .left = 7, .reset_at = NOW + 2},
        {.name = "c", .left = 7, .reset_at = NOW + 1},
        {.name = "d", .left = 6, .reset_at = NOW + 2},
    };
    struct ais_limit more = {.name = "e", .left = 6, .reset_at = NOW + 2};

    (void) state;
    assert_ptr_equal(ais_limits_find(items, COUNT(items), "c"), &items[2]);
    assert_null(ais_limits_find(items, 2, "c"));
    assert_null(ais_limits_find(items, 0, "a"));

    assert_ptr_equal(ais_limits_place(items, 0, &more, NOW), &items[0]);
    assert_ptr_equal(ais_limits_place(items, 3, &more, NOW), &items[3]);
    assert_ptr_equal(ais_limits_place(items, COUNT(items), &more, NOW), &items[1]);
    assert_ptr_equal(ais_limits_place(items, COUNT(items), &more, NOW + 1), &items[2]); /* it is no longer known */
    more.left = 7;
    assert_null(ais_limits_place(items, COUNT(items), &more, NOW));
    assert_null(ais_limits_place(items, COUNT(items), &more, INT64_MIN));
    more.left = -1;
    assert_null(ais_limits_place(items, COUNT(items), &more, NOW));
    assert_ptr_equal(ais_limits_place(items, COUNT(items), &more, NOW + 1), &items[2]);
    items[0].left = -1;
    assert_ptr_equal(ais_limits_place(items, COUNT(items), &more, INT64_MIN), &items[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slots),          cmocka_unit_test(test_ratelimit),
        cmocka_unit_test(test_policy),         cmocka_unit_test(test_lines),
        cmocka_unit_test(test_names),          cmocka_unit_test(test_many),
        cmocka_unit_test(test_many_policies),  cmocka_unit_test(test_heed_part),
        cmocka_unit_test(test_old_names),      cmocka_unit_test(test_heed),
        cmocka_unit_test(test_heed_spent),     cmocka_unit_test(test_heed_without_limits),
        cmocka_unit_test(test_heed_uncertain),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
