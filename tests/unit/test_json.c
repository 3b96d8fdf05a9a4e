#include "unit.h"

#include <stdbool.h>

#include <cjson/cJSON.h>

#include "ais_json.h"

#define DEPTH 8

#define NUMBER63 "1234567890.1234567890123456789012345678901234567890123456789012"

static const char *check(struct ais_str text)
{
    struct ais_str s = exact_copy(text);
    size_t where = SIZE_MAX;
    const char *wrong = ais_json_check(s, DEPTH, &where);

    exact_free(s);
    assert_true(where <= text.len);
    return wrong;
}

/* Text that we accept is accepted by cJSON too, up to the same end. */
static void assert_good(struct ais_str text)
{
    cJSON *document = cJSON_ParseWithLength(text.data, text.len);

    if (check(text) != NULL)
        fail_msg("\"%.*s\": %s", (int) text.len, text.data, check(text));
    assert_non_null(document);
    cJSON_Delete(document);
}

static void assert_bad(struct ais_str text, const char *wrong)
{
    const char *found = check(text);

    if (found == NULL || strcmp(found, wrong) != 0)
        fail_msg("\"%.*s\": %s, but %s expected", (int) text.len, text.data, found != NULL ? found : "good", wrong);
}

static void test_good(void **state)
{
    static const char *const cases[] = {
        "{}",
        "[]",
        " \t\r\n{ } \t\r\n",
        "[ ]",
        "null",
        "true",
        "false",
        "\"\"",
        "0",
        "-0",
        "10",
        "-1.50",
        "1e9",
        "1E+9",
        "0.1e-9",
        "1e999",
        NUMBER63,
        "[1,2 , 3]",
        "{\"a\":1,\"b\" : [ {} , [ ] , null , true , false , \"x\" , -1e1 ] }",
        "{\"\":\"\"}",
        "{ \"a\":1,\n\"b\":2}",
        "{\"a\":1,\"a\":2}",
        "\"\\\" \\\\ \\/ \\b \\f \\n \\r \\t\"",
        "\"\\u0001 \\u00e9 \\uFFFF \\uabCD \\u0A0f\"",
        "\"\\ud834\\udd1e \\uD800\\uDC00 \\uDBFF\\uDFFF\"",
        "\"\x7f\"",
        "\"\xC2\x80 \xDF\xBF\"",
        "\"\xE0\xA0\x80 \xEC\xBF\xBF \xED\x9F\xBF \xEE\x80\x80 \xEF\xBF\xBF\"",
        "\"\xF0\x90\x80\x80 \xF3\xBF\xBF\xBF \xF4\x8F\xBF\xBF\"",
        "[[[[[[[[]]]]]]]]",
        "[[[[[[[{}]]]]]]]",
        "[[],[],[],[],[],[],[],[],[],{},{}]",
        "[[[[[[[[]]]]]]],[[[[[[[]]]]]]]]",
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_good(str(cases[i]));
}

static void test_bad(void **state)
{
    static const struct {
        const char *text;
        const char *wrong;
    } cases[] = {
        {"", "an invalid value"},
        {" ", "an invalid value"},
        {"x", "an invalid value"},
        {"\xEF\xBB\xBF{}", "an invalid value"},
        {"True", "an invalid value"},
        {"tru", "an invalid value"},
        {"fals", "an invalid value"},
        {"nul", "an invalid value"},
        {"NaN", "an invalid value"},
        {"Infinity", "an invalid value"},
        {"'a'", "an invalid value"},
        {"[,]", "an invalid value"},
        {"[1,]", "an invalid value"},
        {"[1,,2]", "an invalid value"},
        {"{\"a\":}", "an invalid value"},
        {"]", "an invalid value"},
        {"/**/{}", "an invalid value"},
        {"\v{}", "an invalid value"},
        {"\f{}", "an invalid value"},
        {"\x01{}", "an invalid value"},
        {"+1", "an invalid value"},
        {"-", "an invalid value"},
        {".5", "an invalid value"},
        {"-.5", "an invalid value"},
        {"-a", "an invalid value"},

        {"{}{}", "data after the end of the document"},
        {"{},", "data after the end of the document"},
        {"{}x", "data after the end of the document"},
        {"[]]", "data after the end of the document"},
        {"truee", "data after the end of the document"},
        {"01", "data after the end of the document"},
        {"-01", "data after the end of the document"},
        {"0x1", "data after the end of the document"},
        {"1 2", "data after the end of the document"},

        {"1.", "an invalid number"},
        {"1.e1", "an invalid number"},
        {"1e", "an invalid number"},
        {"1e+", "an invalid number"},
        {"1e-", "an invalid number"},
        {"1e+-1", "an invalid number"},
        {"1ee1", "an invalid number"},
        {NUMBER63 "3", "a number that is too long"},

        {"[", "an invalid value"},
        {"[1", "an unterminated array"},
        {"[1}", "an unterminated array"},
        {"[1 2]", "an unterminated array"},
        {"{\"a\":1", "an unterminated object"},
        {"{\"a\":1]", "an unterminated object"},
        {"{\"a\":1 \"b\":2}", "an unterminated object"},
        {"{", "no string where one is required"},
        {"{\"a\":1,}", "no string where one is required"},
        {"{,}", "no string where one is required"},
        {"{a:1}", "no string where one is required"},
        {"{1:1}", "no string where one is required"},
        {"{\"a\"}", "no colon after a name"},
        {"{\"a\" 1}", "no colon after a name"},
        {"{\"a", "an unterminated string"},

        {"\"", "an unterminated string"},
        {"\"a", "an unterminated string"},
        {"\"\\\"", "an unterminated string"},
        {"\"\n\"", "a control character in a string"},
        {"\"\x1f\"", "a control character in a string"},
        {"\"\\", "an invalid escape"},
        {"\"\\x\"", "an invalid escape"},
        {"\"\\\x01\"", "an invalid escape"},
        {"\"\\'\"", "an invalid escape"},
        {"\"\\U0041\"", "an invalid escape"},
        {"\"\\u\"", "an invalid escape"},
        {"\"\\u123\"", "an invalid escape"},
        {"\"\\u123g\"", "an invalid escape"},
        {"\"\\u12", "an invalid escape"},
        {"\"\\uZZZZ\"", "an invalid escape"},
        {"\"\\u0000\"", "a NUL"},
        {"{\"a\\u0000\":1}", "a NUL"},
        {"\"\\ud800\"", "an unpaired surrogate"},
        {"\"\\ud800x\"", "an unpaired surrogate"},
        {"\"\\ud800\\n\"", "an unpaired surrogate"},
        {"\"\\ud800\\u0041\"", "an unpaired surrogate"},
        {"\"\\ud800\\ud800\"", "an unpaired surrogate"},
        {"\"\\ud800\\ue000\"", "an unpaired surrogate"},
        {"\"\\ud800\\uxyzz\"", "an unpaired surrogate"},
        {"\"\\udc00\"", "an unpaired surrogate"},
        {"\"\\udfff\"", "an unpaired surrogate"},
        {"\"\\udfff\\ud800\"", "an unpaired surrogate"},

        {"\"\x80\"", "invalid UTF-8"},
        {"\"\xBF\"", "invalid UTF-8"},
        {"\"\xC0\x80\"", "invalid UTF-8"},
        {"\"\xC1\xBF\"", "invalid UTF-8"},
        {"\"\xC2\"", "invalid UTF-8"},
        {"\"\xC2", "invalid UTF-8"},
        {"\"\xC2\xC0\"", "invalid UTF-8"},
        {"\"\xE0\x9F\xBF\"", "invalid UTF-8"},
        {"\"\xE1\x80\"", "invalid UTF-8"},
        {"\"\xE1\x80\xC0\"", "invalid UTF-8"},
        {"\"\xED\xA0\x80\"", "invalid UTF-8"},
        {"\"\xF0\x8F\xBF\xBF\"", "invalid UTF-8"},
        {"\"\xF1\x80\x80", "invalid UTF-8"},
        {"\"\xF1\x80\x80\x7F\"", "invalid UTF-8"},
        {"\"\xF4\x90\x80\x80\"", "invalid UTF-8"},
        {"\"\xF5\x80\x80\x80\"", "invalid UTF-8"},
        {"\"\xFF\"", "invalid UTF-8"},

        {"[[[[[[[[[]]]]]]]]]", "too deep nesting"},
        {"[[[[[[[[{}]]]]]]]]", "too deep nesting"},
        {"{\"a\":[[[[[[[[", "too deep nesting"},
        {"[[],[[]],[[[[[[[[[", "too deep nesting"},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_bad(str(cases[i].text), cases[i].wrong);
}

static void test_nul(void **state)
{
    (void) state;
    assert_bad(AIS_STR("{}\0"), "data after the end of the document");
    assert_bad(AIS_STR("\0{}"), "an invalid value");
    assert_bad(AIS_STR("[1\0]"), "an unterminated array");
    assert_bad(AIS_STR("\"a\0b\""), "a NUL");
    assert_bad(AIS_STR("\"\\\0\""), "an invalid escape");
    assert_bad((struct ais_str){"", 0}, "an invalid value");
}

/* The position is that of the invalid byte. */
static void test_where(void **state)
{
    size_t where;

    (void) state;
    assert_non_null(ais_json_check(AIS_STR("{\"a\":[1,2,x]}"), DEPTH, &where));
    assert_int_equal(where, 10);
    assert_non_null(ais_json_check(AIS_STR("{} x"), DEPTH, &where));
    assert_int_equal(where, 3);
}

/* Nesting far beyond the limit uses no stack. */
static void test_very_deep(void **state)
{
    enum { LEN = 1024 * 1024 };
    char *text = malloc(LEN);
    size_t where;

    (void) state;
    assert_non_null(text);
    memset(text, '[', LEN);
    assert_string_equal(ais_json_check((struct ais_str){text, LEN}, DEPTH, &where), "too deep nesting");
    assert_int_equal(where, DEPTH);
    free(text);
}

/* A truncated valid object is never valid, and nothing after its end is read. */
static void test_every_prefix(void **state)
{
    static const char text[] =
        "{\"a\\ud834\\udd1e\\n\xF0\x9D\x84\x9E\":[null,true,false,-1.5e+3,{},[]],\"b\":{\"c\":\"\"}}";

    (void) state;
    assert_null(check(AIS_STR(text)));
    for (size_t len = 0; len < sizeof(text) - 1; len++)
        assert_non_null(check((struct ais_str){text, len}));
}

/* If we accept the text after a change of any single byte, cJSON accepts it too. */
static void test_every_change(void **state)
{
    static const char text[] = "{\"a\\u00e9\\n\xC3\xA9\":[null,true,-1.5e3,{}],\"b\":\"\\ud834\\udd1e\"}";
    unsigned good = 0;

    (void) state;
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        for (int c = 0; c < 256; c++) {
            char changed[sizeof(text)];
            struct ais_str s = {changed, sizeof(text) - 1};

            memcpy(changed, text, sizeof(text));
            changed[i] = (char) c;
            if (check(s) == NULL) {
                assert_good(s);
                good++;
            }
        }
    }

    assert_true(good > 500); /* only those within strings */
}

/* A megabyte of small numbers takes several times that much memory and tens of milliseconds. */
static void test_values(void **state)
{
    enum { LEN = 2 * AIS_JSON_VALUES_MAX };
    char *text = malloc(LEN + 1);
    size_t where;

    (void) state;
    for (size_t i = 0; i < LEN; i += 2)
        memcpy(text + i, "1,", 2);

    /* the array is a value too */
    text[0] = '[';
    text[1] = ' ';
    text[LEN - 1] = ']';
    assert_null(ais_json_check((struct ais_str){text, LEN}, DEPTH, &where));

    text[LEN - 1] = ',';
    text[LEN] = '1';
    assert_string_equal(ais_json_check((struct ais_str){text, LEN + 1}, DEPTH, &where), "too many values");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),         cmocka_unit_test(test_bad),          cmocka_unit_test(test_nul),
        cmocka_unit_test(test_where),        cmocka_unit_test(test_very_deep),    cmocka_unit_test(test_values),
        cmocka_unit_test(test_every_prefix), cmocka_unit_test(test_every_change),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
