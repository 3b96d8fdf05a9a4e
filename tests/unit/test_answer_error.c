#include "unit.h"

#include <cjson/cJSON.h>

#include "ais_answer.h"

#define HEAD "{\"success\":false,\"errors\":[{\"code\":400,\"message\":\""
#define TAIL "\"}],\"messages\":[],\"result\":null}"

/* Writes to memory that ends at AIS_ANSWER_ERROR_MAX; the caller frees it. */
static char *envelope(int code, const char *message)
{
    char *buf = malloc(AIS_ANSWER_ERROR_MAX);
    size_t len;

    assert_non_null(buf);
    len = ais_answer_write_error(buf, code, message);
    assert_true(len < AIS_ANSWER_ERROR_MAX);
    assert_int_equal(strlen(buf), len);
    return buf;
}

static void assert_envelope(int code, const char *message, const char *expected)
{
    char *buf = envelope(code, message);

    assert_string_equal(buf, expected);
    free(buf);
}

static void test_form(void **state)
{
    (void) state;
    assert_envelope(400, "bad", HEAD "bad" TAIL);
    assert_envelope(400, "", HEAD TAIL);
    assert_envelope(-2147483647 - 1, "x", "{\"success\":false,\"errors\":[{\"code\":-2147483648,\"message\":\"x" TAIL);
}

static void test_escapes(void **state)
{
    (void) state;
    assert_envelope(400, "say \"no\" \\ /", HEAD "say \\\"no\\\" \\\\ /" TAIL);
    assert_envelope(400, "a\nb\tc\x01\x1f\x7f", HEAD "a\\u000ab\\u0009c\\u0001\\u001f\x7f" TAIL);
    assert_envelope(400, "\xC3\xA9\xE2\x82\xAC\xF0\x9D\x84\x9E", HEAD "\xC3\xA9\xE2\x82\xAC\xF0\x9D\x84\x9E" TAIL);
    assert_envelope(400, "a\x80\xC3(\xED\xA0\x80",
                    HEAD "a\xEF\xBF\xBD\xEF\xBF\xBD(\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD" TAIL);
    assert_envelope(400, "\xF0\x9D\x84", HEAD "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD" TAIL);
}

/* The envelope is parsed like one of the API's, whatever its length and wherever the message was truncated. */
static void test_cut(void **state)
{
    static const char *const units[] = {"x", "\"", "\x01", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9D\x84\x9E", "\xFF"};

    (void) state;
    for (size_t u = 0; u < COUNT(units); u++) {
        for (size_t n = 0; n <= AIS_ANSWER_ERROR_MAX; n++) {
            char message[4 * AIS_ANSWER_ERROR_MAX + 1] = "";
            struct ais_answer answer;
            char *buf;

            for (size_t i = 0; i < n; i++)
                memcpy(message + i * strlen(units[u]), units[u], strlen(units[u]) + 1);

            buf = envelope(500, message);
            assert_int_equal(ais_answer_parse(&answer, AIS_JOB, str(buf), NULL), 0);
            assert_false(answer.success);
            assert_int_equal(answer.errors[0].code, 500);
            if (units[u][0] != '\xFF')
                assert_memory_equal(answer.errors[0].message, message, strlen(answer.errors[0].message));
            if (n < 50)
                assert_int_equal(strlen(answer.errors[0].message), n * (units[u][0] == '\xFF' ? 3 : strlen(units[u])));
            if (u == 0 && n == AIS_ANSWER_ERROR_MAX)
                assert_int_equal(strlen(buf), AIS_ANSWER_ERROR_MAX - 1);
            ais_answer_free(&answer);
            free(buf);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_form),
        cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
