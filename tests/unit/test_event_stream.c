/* Formatting of events: WHATWG HTML, section 9.2. */

#include "unit.h"

#include "ais_event_stream.h"

static const struct ais_str none = {NULL, 0};

/* The memory has exactly the length that was announced. */
static void assert_written(struct ais_str type, struct ais_str id, const char *data, const char *expected)
{
    struct ais_event event = {.type = exact_copy(type), .data = exact_copy(str(data))};
    size_t len;
    char *out;

    if (id.data != NULL)
        event.id = exact_copy(id);
    len = ais_event_write(NULL, &event);
    out = malloc(len);
    assert_non_null(out);

    assert_int_equal(ais_event_write(out, &event), len);
    if (!ais_str_eq((struct ais_str){out, len}, str(expected)))
        fail_msg("%.*s", (int) len, out);

    free(out);
    exact_free(event.id);
    exact_free(event.data);
    exact_free(event.type);
}

static void test_fields(void **state)
{
    (void) state;
    assert_written(AIS_STR(""), none, "x", "data: x\n\n");
    assert_written(AIS_STR("end"), none, "x", "event: end\ndata: x\n\n");
    assert_written(AIS_STR(""), AIS_STR("1"), "x", "id: 1\ndata: x\n\n");
    assert_written(AIS_STR("end"), AIS_STR("1"), "x", "event: end\nid: 1\ndata: x\n\n");
    assert_written(AIS_STR(""), AIS_STR(""), "x", "id: \ndata: x\n\n"); /* clears the previous id */
}

static void assert_data(const char *data, const char *expected)
{
    assert_written(AIS_STR(""), none, data, expected);
}

static void test_lines(void **state)
{
    (void) state;
    assert_data("", "data: \n\n"); /* without the field, there would be no event */
    assert_data("a\nb", "data: a\ndata: b\n\n");
    assert_data("a\rb", "data: a\ndata: b\n\n");
    assert_data("a\r\nb", "data: a\ndata: b\n\n");
    assert_data("a\n\rb", "data: a\ndata: \ndata: b\n\n");
    assert_data("a\n\nb", "data: a\ndata: \ndata: b\n\n");
    assert_data("a\r\rb", "data: a\ndata: \ndata: b\n\n");
    assert_data("a\r\n\r\nb", "data: a\ndata: \ndata: b\n\n");
    assert_data("\n", "data: \ndata: \n\n");
    assert_data("a\n", "data: a\ndata: \n\n");
    assert_data("a\r", "data: a\ndata: \n\n");
    assert_data("a\r\n", "data: a\ndata: \n\n");
    assert_data("\na", "data: \ndata: a\n\n");
    assert_data(" a", "data:  a\n\n"); /* one space belongs to the field */
    assert_data(":a\nid: 1\nevent: x", "data: :a\ndata: id: 1\ndata: event: x\n\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
