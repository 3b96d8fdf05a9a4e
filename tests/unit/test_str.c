#include "unit.h"

#include "ais_str.h"

static void test_views(void **state)
{
    (void) state;
    assert_true(ais_str_eq(ais_str_of("abc"), AIS_STR("abc")));
    assert_true(ais_str_eq(ais_str_of(""), (struct ais_str){NULL, 0}));
    assert_false(ais_str_eq(ais_str_of("abc"), AIS_STR("ab")));
    assert_false(ais_str_eq(ais_str_of("abc"), AIS_STR("abd")));
}

static void assert_trimmed(const char *text, const char *expected)
{
    struct ais_str s = exact_copy(str(text));

    if (!ais_str_eq(ais_str_trim(s), str(expected)))
        fail_msg("\"%s\"", text);
    exact_free(s);
}

static void test_trim(void **state)
{
    (void) state;
    assert_trimmed("", "");
    assert_trimmed("a", "a");
    assert_trimmed(" \t\r\n", "");
    assert_trimmed("\t a \t b\r\n", "a \t b");
    assert_trimmed("\va\f", "\va\f");
    assert_trimmed("\na", "\na");
    assert_int_equal(ais_str_trim(AIS_STR("a\0")).len, 2);
}

static void test_number(void **state)
{
    (void) state;
    assert_int_equal(ais_str_number(AIS_STR("0"), 100), 0);
    assert_int_equal(ais_str_number(AIS_STR("0099"), 100), 99);
    assert_int_equal(ais_str_number(AIS_STR("100"), 100), 100);
    assert_int_equal(ais_str_number(AIS_STR("101"), 100), 100);
    assert_int_equal(ais_str_number(AIS_STR("99999999999999999999999999"), INT64_C(1) << 31), INT64_C(1) << 31);
    assert_int_equal(ais_str_number(AIS_STR("99999999999999999999999999x"), 100), -1);
    assert_int_equal(ais_str_number(AIS_STR(""), 100), -1);
    assert_int_equal(ais_str_number(AIS_STR("-1"), 100), -1);
    assert_int_equal(ais_str_number(AIS_STR("1 "), 100), -1);
    assert_int_equal(ais_str_number(AIS_STR("1:"), 100), -1);
}

static void test_digits(void **state)
{
    static const char digits[] = "0123456789abcdef";

    (void) state;
    for (int c = -128; c < 256; c++) {
        const char *lower = c > 0 ? strchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c) : NULL;

        assert_int_equal(ais_hex_digit(c), lower != NULL ? lower - digits : -1);
        assert_int_equal(ais_is_digit(c), lower != NULL && lower - digits < 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_views),
        cmocka_unit_test(test_trim),
        cmocka_unit_test(test_number),
        cmocka_unit_test(test_digits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
