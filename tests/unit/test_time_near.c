#include "unit.h"

#include "../../nginx-module/ngx_http_aisearch_time.h"

#define DAY (24 * 60 * 60 * 1000ULL)

/* The lower 32 bits of a time are sufficient to restore it if it is within 24 days of another time. */
static void test_near(void **state)
{
    static const ngx_http_aisearch_time_t times[] = {
        30 * DAY,   49 * DAY,   50 * DAY,   99 * DAY,    1000 * DAY,
        0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, 0x1ffffffff,
    };
    static const ngx_http_aisearch_time_diff_t offs[] = {0, 1, -1, 250, -250, 24 * DAY, -24 * (int64_t) DAY};

    (void) state;
    for (size_t i = 0; i < COUNT(times); i++) {
        for (size_t k = 0; k < COUNT(offs); k++) {
            ngx_http_aisearch_time_t other = times[i] + (ngx_http_aisearch_time_t) offs[k];

            assert_true(ngx_http_aisearch_time_near(other, (uint32_t) times[i]) == times[i]);
        }
    }
}

/* An entry that was not requested for 25 or 60 days has that age. */
static void test_age(void **state)
{
    ngx_http_aisearch_time_t fetched = ngx_http_aisearch_time_near(40 * DAY, (uint32_t) (40 * DAY));

    (void) state;
    for (ngx_http_aisearch_time_t age = 0; age < 400 * DAY; age += DAY / 3) {
        ngx_http_aisearch_time_t now = 40 * DAY + age;

        assert_true(ngx_http_aisearch_time_near(now + 7, (uint32_t) now) - fetched == age);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_near),
        cmocka_unit_test(test_age),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
