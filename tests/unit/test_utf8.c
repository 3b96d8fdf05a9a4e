#include "unit.h"

#include "ais_utf8.h"

/* Compared with the definition: an encoded code point is one sequence, and nothing else is. */
static void test_sequence(void **state)
{
    (void) state;
    for (unsigned long cp = 0; cp < 0x110000; cp++) {
        char s[4];
        size_t len;

        if (cp < 0x80) {
            len = 1;
            s[0] = (char) cp;
        } else {
            len = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
            for (size_t i = len - 1; i > 0; i--)
                s[i] = (char) (0x80 | ((cp >> (6 * (len - 1 - i))) & 0x3F));
            s[0] = (char) ((0xF00 >> len) | (cp >> (6 * (len - 1))));
        }

        assert_int_equal(ais_utf8_sequence((struct ais_str){s, len}), cp >= 0xD800 && cp <= 0xDFFF ? 0 : len);
        assert_int_equal(ais_utf8_sequence((struct ais_str){s, len - 1}), 0);
    }
}

/* Bytes that start no sequence, or a sequence that continues incorrectly. */
static void test_invalid_sequences(void **state)
{
    static const char *const none[] = {"",
                                       "\x80",
                                       "\xBF",
                                       "\xC0\x80",
                                       "\xC1\xBF",
                                       "\xC2",
                                       "\xC2 ",
                                       "\xE0\x9F\xBF",
                                       "\xED\xA0\x80",
                                       "\xE2\x82 ",
                                       "\xF0\x8F\xBF\xBF",
                                       "\xF4\x90\x80\x80",
                                       "\xF5\x80\x80\x80",
                                       "\xF0\x9D\x84 ",
                                       "\xFF"};

    (void) state;
    for (size_t i = 0; i < COUNT(none); i++) {
        struct ais_str s = exact_copy(str(none[i]));

        if (ais_utf8_sequence(s) != 0)
            fail_msg("case %zu", i);
        exact_free(s);
    }
}

static void test_control(void **state)
{
    (void) state;
    for (int c = 0; c < 0x80; c++) {
        char s = (char) c;

        assert_int_equal(ais_utf8_control((struct ais_str){&s, 1}), c < 0x20 || c == 0x7F);
    }
    assert_int_equal(ais_utf8_control(AIS_STR("\xC2\x80")), 2);
    assert_int_equal(ais_utf8_control(AIS_STR("\xC2\x9F")), 2);
    assert_int_equal(ais_utf8_control(AIS_STR("\xC2\xA0")), 0);
    assert_int_equal(ais_utf8_control(AIS_STR("\xC2\n")), 0);
    assert_int_equal(ais_utf8_control(AIS_STR("\xC3\x80")), 0);
    assert_int_equal(ais_utf8_control(AIS_STR("\xC2")), 0);
    assert_int_equal(ais_utf8_control(AIS_STR("")), 0);
}

static void assert_printable(const char *text, const char *expected)
{
    struct ais_str s = exact_copy(str(text));

    ais_utf8_printable((char *) s.data, s.len);
    assert_memory_equal(s.data, expected, s.len);
    exact_free(s);
}

static void test_printable(void **state)
{
    (void) state;
    assert_printable("", "");
    assert_printable("as it is: \xC3\xA9 \xE2\x82\xAC", "as it is: \xC3\xA9 \xE2\x82\xAC");
    assert_printable("a\r\nb\x1F\x7F", "a  b  ");
    assert_printable("\xC2\x85"
                     "a\xC2\x9B\n",
                     "  a   ");
    assert_printable("\xC2\n\xC2", "\xC2 \xC2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sequence),
        cmocka_unit_test(test_invalid_sequences),
        cmocka_unit_test(test_control),
        cmocka_unit_test(test_printable),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
