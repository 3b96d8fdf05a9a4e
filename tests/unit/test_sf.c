/*
 * Lists of structured fields (RFC 9651). The result is written in the test's own notation and compared; each field is
 * parsed in memory that ends with it.
 */

#include "unit.h"

#include <inttypes.h>

#include "ais_sf.h"

static char found[4096];

static void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void note(const char *format, ...)
{
    size_t len = strlen(found);
    va_list args;

    va_start(args, format);
    vsnprintf(found + len, sizeof(found) - len, format, args);
    va_end(args);
    assert_true(strlen(found) < sizeof(found) - 1);
}

static void note_item(const struct ais_sf_item *item)
{
    switch (item->type) {
    case AIS_SF_INTEGER:
        note("%" PRId64, item->integer);
        break;
    case AIS_SF_DECIMAL:
        note("decimal");
        break;
    case AIS_SF_STRING:
        note("\"%.*s\"", (int) item->text.len, item->text.data);
        break;
    case AIS_SF_TOKEN:
        note("%.*s", (int) item->text.len, item->text.data);
        break;
    case AIS_SF_BYTES:
        note("bytes");
        break;
    case AIS_SF_BOOLEAN:
        note("?%" PRId64, item->integer);
        break;
    case AIS_SF_DATE:
        note("@%" PRId64, item->integer);
        break;
    case AIS_SF_DISPLAY_STRING:
        note("display");
        break;
    case AIS_SF_INNER_LIST:
        note("()");
        break;
    }
}

static void on_member(void *data, const struct ais_sf_item *item)
{
    assert_ptr_equal(data, found);
    note("%s", found[0] != '\0' ? " | " : "");
    note_item(item);
}

static void on_parameter(void *data, struct ais_str key, const struct ais_sf_item *value)
{
    assert_ptr_equal(data, found);
    note(" %.*s=", (int) key.len, key.data);
    note_item(value);
}

static const struct ais_sf_visitor visitor = {.data = found, .member = on_member, .parameter = on_parameter};

static bool read_list(struct ais_str field)
{
    struct ais_str copy = exact_copy(field);
    bool ok;

    found[0] = '\0';
    ok = ais_sf_list(copy, &visitor);
    exact_free(copy);
    return ok;
}

static void assert_list(const char *field, const char *expected)
{
    if (!read_list(str(field)))
        fail_msg("refused: %s", field);
    if (strcmp(found, expected) != 0)
        fail_msg("%s: %s", field, found);
}

static void assert_malformed(const char *field)
{
    if (read_list(str(field)))
        fail_msg("accepted: %s as %s", field, found);
}

static void test_lists(void **state)
{
    (void) state;
    assert_list("", "");
    assert_list("   ", "");
    assert_list("42", "42");
    assert_list("1, 42", "1 | 42");
    assert_list("  42, 43", "42 | 43");
    assert_list("1,42", "1 | 42");
    assert_list("1 , 42", "1 | 42");
    assert_list("1\t,\t42", "1 | 42");
    assert_list("1 \t , \t 42", "1 | 42");
    assert_list("42   ", "42");
    assert_list("42 \t", "42");
    assert_list("a,\"b\",?1", "a | \"b\" | ?1");

    assert_malformed(",");
    assert_malformed("1,");
    assert_malformed("1, 42,");
    assert_malformed("1, ");
    assert_malformed("1,,42");
    assert_malformed("1, , 42");
    assert_malformed(", 1");
    assert_malformed("1 2");
    assert_malformed("1;2");
    assert_malformed("\t42");
    assert_malformed("\n42");
    assert_malformed("42\n");
    assert_malformed("42\r\n");
    assert_malformed("=1");
    assert_malformed("a=1");
    assert_malformed("&");
    assert_malformed("\xC3\xB6");
}

static void test_integers(void **state)
{
    (void) state;
    assert_list("0", "0");
    assert_list("-0", "0");
    assert_list("-42", "-42");
    assert_list("042", "42");
    assert_list("-042", "-42");
    assert_list("00", "0");
    assert_list("123456789012345", "123456789012345");
    assert_list("-123456789012345", "-123456789012345");
    assert_list("999999999999999, 1", "999999999999999 | 1");

    assert_malformed("-");
    assert_malformed("--0");
    assert_malformed("-a23");
    assert_malformed("4-2");
    assert_malformed("- 42");
    assert_malformed("+1");
    assert_malformed("1a");
    assert_malformed("1234567890123456");
    assert_malformed("1234567890123456, 1");
    assert_malformed("-1234567890123456");
    assert_malformed("99999999999999999999999999999999");
}

static void test_decimals(void **state)
{
    (void) state;
    assert_list("1.23", "decimal");
    assert_list("-1.23", "decimal");
    assert_list("123456789012.123, 1.1", "decimal | decimal");
    assert_list("0.0", "decimal");
    assert_list("1.200", "decimal");

    assert_malformed("1.");
    assert_malformed(".1");
    assert_malformed("-.1");
    assert_malformed("1. 23");
    assert_malformed("1 .23");
    assert_malformed("- 1.23");
    assert_malformed("1.5.4");
    assert_malformed("1..4");
    assert_malformed("1.1234");
    assert_malformed("-1.1234");
    assert_malformed("1.-1");
    assert_malformed("1.a");
    assert_malformed("1234567890123.0");
    assert_malformed("-1234567890123.0");
    assert_malformed("123456789012345.0");
}

static void test_strings(void **state)
{
    (void) state;
    assert_list("\"foo bar\"", "\"foo bar\"");
    assert_list("\"\"", "\"\"");
    assert_list("\"   \"", "\"   \"");
    assert_list("\"a,b;c=d\"", "\"a,b;c=d\"");
    assert_list("\"foo \\\"bar\\\" \\\\ baz\"", "\"foo \\\"bar\\\" \\\\ baz\""); /* unchanged */
    assert_list("\"\\\\\",\"\\\"\"", "\"\\\\\" | \"\\\"\"");
    assert_list("\" !#$%&'()*+,-./0123456789:;<=>?@AZ[]^_`az{|}~\"",
                "\" !#$%&'()*+,-./0123456789:;<=>?@AZ[]^_`az{|}~\"");

    assert_malformed("\"foo");
    assert_malformed("\"");
    assert_malformed("\"foo \\\"");
    assert_malformed("\"foo \\");
    assert_malformed("\"foo \\,\"");
    assert_malformed("\"\\n\"");
    assert_malformed("\"\t\"");
    assert_malformed("\"\\\t\"");
    assert_malformed("\" \n \"");
    assert_malformed("\"\x7f\"");
    assert_malformed("\"f\xC3\xBC\"");
    assert_malformed("'foo'");
    assert_malformed("\"foo\"bar");
    assert_false(read_list(AIS_STR("\"a\0b\"")));
}

static void test_tokens(void **state)
{
    (void) state;
    assert_list("a_b-c.d3:f%00/*", "a_b-c.d3:f%00/*");
    assert_list("fooBar, FooBar", "fooBar | FooBar");
    assert_list("*", "*");
    assert_list("*foo", "*foo");
    assert_list("a!#$%&'*+-.^_`|~:/09AZaz", "a!#$%&'*+-.^_`|~:/09AZaz");
    assert_list("text/html", "text/html");

    assert_malformed("_a");
    assert_malformed("!a");
    assert_malformed("/a");
    assert_malformed("a\"b");
    assert_malformed("a(b");
    assert_malformed("a@b");
    assert_malformed("a{b}");
    assert_malformed("a\\b");
    assert_malformed("a\x7f");
    assert_malformed("a\xC3\xB6");
    assert_false(read_list(AIS_STR("a\0b")));
}

static void test_bytes(void **state)
{
    (void) state;
    assert_list(":aGVsbG8=:", "bytes");
    assert_list("::", "bytes");
    assert_list(":/+Ah:", "bytes");
    assert_list(":YQ==:, :YWI=:, :YWJj:", "bytes | bytes | bytes");
    assert_list(":aGVsbG8:", "bytes"); /* padding may be missing, and its bits may have any value */
    assert_list(":YQ=:", "bytes");
    assert_list(":iZ==:", "bytes");
    assert_list(":AZaz09+/:", "bytes");

    assert_malformed(":");
    assert_malformed(":aGVsbG8=");
    assert_malformed(":=aGVsbG8=:");
    assert_malformed(":a=GVsbG8=:");
    assert_malformed(":aGVsbG8.:");
    assert_malformed(":aGVsb G8=:");
    assert_malformed(":    :");
    assert_malformed(":aGVsbG!8=:");
    assert_malformed(":aGVsbG8=!:");
    assert_malformed(":_-Ah:");
    assert_malformed(":a:");
    assert_malformed(":aaaaa:");
    assert_malformed(":a===:");
    assert_malformed(":YWI==:");
    assert_malformed(":YWJj=:");
    assert_malformed(":=:");
    assert_malformed(":YQ==:YQ==:");
}

static void test_booleans(void **state)
{
    (void) state;
    assert_list("?1", "?1");
    assert_list("?0", "?0");

    assert_malformed("?");
    assert_malformed("?2");
    assert_malformed("?Q");
    assert_malformed("? 1");
    assert_malformed("?-0");
    assert_malformed("?T");
    assert_malformed("?true");
    assert_malformed("?11");
}

static void test_dates(void **state)
{
    (void) state;
    assert_list("@0", "@0");
    assert_list("@-0", "@0");
    assert_list("@1659578233", "@1659578233");
    assert_list("@-1659578233", "@-1659578233");
    assert_list("@253402214400", "@253402214400");
    assert_list("@999999999999999", "@999999999999999");
    assert_list("@-999999999999999", "@-999999999999999");

    assert_malformed("@");
    assert_malformed("@-");
    assert_malformed("@ 12345678");
    assert_malformed("@abc");
    assert_malformed("@1659578233.12");
    assert_malformed("@1000000000000000");
    assert_malformed("@-1000000000000000");
    assert_malformed("@@1");
}

static void test_display_strings(void **state)
{
    (void) state;
    assert_list("%\"foo bar\"", "display");
    assert_list("%\"\"", "display");
    assert_list("%\" !%22#$%25&'()*+,-./0123456789:;<=>?@AZ[\\]^_`az{|}~\"", "display");
    assert_list("%\"f%c3%bc%c3%bc\"", "display");
    assert_list("%\"foo %22bar%22 \\ baz\"", "display");
    assert_list("%\"BOM: %ef%bb%bf\"", "display");
    assert_list("%\"%61\"", "display");
    assert_list("%\"%00\"", "display");
    assert_list("%\"%f0%9f%98%80%e2%82%ac\"", "display");
    assert_list("%\"a\", %\"b\"", "display | display");

    assert_malformed("%");
    assert_malformed("%foo");
    assert_malformed("%foo\"");
    assert_malformed("%'foo'");
    assert_malformed("%\"foo");
    assert_malformed("%\"");
    assert_malformed("%\"f%C3%BC\"");
    assert_malformed("%\"f\xC3\xBC\"");
    assert_malformed("%\"\t\"");
    assert_malformed("%\"\n\"");
    assert_malformed("%\"\x7f\"");
    assert_malformed("%\"foo %a");
    assert_malformed("%\"%a");
    assert_malformed("%\"%a\"");
    assert_malformed("%\"%");
    assert_malformed("%\"%\"");
    assert_malformed("%\"%g0%1w\"");
    assert_malformed("%\"%/0\"");

    /* invalid UTF-8 */
    assert_malformed("%\"%c3%28\"");
    assert_malformed("%\"%a0%a1\"");
    assert_malformed("%\"%e2%28%a1\"");
    assert_malformed("%\"%f0%28%8c%28\"");
    assert_malformed("%\"%c3\"");
    assert_malformed("%\"%c3abcdef\"");
    assert_malformed("%\"%ed%a0%80\"");
    assert_malformed("%\"%ff%ff%ff%ff%ff\"");
}

static void test_inner_lists(void **state)
{
    (void) state;
    assert_list("(1 2), (42 43)", "() | ()");
    assert_list("(42)", "()");
    assert_list("()", "()");
    assert_list("(  )", "()");
    assert_list("(1),(),(42)", "() | () | ()");
    assert_list("(  1  42  )", "()");
    assert_list("(1;a \"b\";c=d ?1;e);f=g;h", "() f=g h=?1");
    assert_list("(%\"a\" :YQ==: @1 2.5)", "()");

    assert_malformed("(");
    assert_malformed(")");
    assert_malformed("(1");
    assert_malformed("(1 ");
    assert_malformed("(1 42");
    assert_malformed("(1\t 42)");
    assert_malformed("(1,2)");
    assert_malformed("(1 2, (42 43)");
    assert_malformed("(abc\"def\"?0123*dXZ3*xyz)");
    assert_malformed("((1))");
    assert_malformed("(a=1)");
    assert_malformed("(1;)");
    assert_malformed("(1;a=)");
    assert_malformed("(\"a)");
    assert_malformed("(1)2");
    assert_malformed("(1);");
}

static void test_parameters(void **state)
{
    (void) state;
    assert_list("abc_123;a=1;b=2; cdef_456, ghi;q=9;r=\"+w\"", "abc_123 a=1 b=2 cdef_456=?1 | ghi q=9 r=\"+w\"");
    assert_list("text/html;q=1.0", "text/html q=decimal");
    assert_list("text/html;a;q=1.0", "text/html a=?1 q=decimal");
    assert_list("text/html;q=1.0;a", "text/html q=decimal a=?1");
    assert_list("text/html,text/plain;q=0.5", "text/html | text/plain q=decimal");
    assert_list("text/html  ,  text/plain;  q=5;  charset=utf-8", "text/html | text/plain q=5 charset=utf-8");
    assert_list("1;a=?0;b=:YQ==:;c=@5;d=%\"x\";e=*", "1 a=?0 b=bytes c=@5 d=display e=*");
    assert_list("1;*=1;*a-b_c.d*9=2", "1 *=1 *a-b_c.d*9=2");
    assert_list("a;b=1;c=2;b=3", "a b=1 c=2 b=3"); /* duplicates are reported twice */
    assert_list("a;m;z;t", "a m=?1 z=?1 t=?1");
    assert_list("\"default\";r=50;t=30", "\"default\" r=50 t=30");

    assert_malformed("a;");
    assert_malformed("a; ");
    assert_malformed("a;b=1;");
    assert_malformed("a;b=1; ");
    assert_malformed("a;;b");
    assert_malformed("a;=1");
    assert_malformed("a;b=");
    assert_malformed("a;b= 1");
    assert_malformed("a;b =1");
    assert_malformed("a ;b=1");
    assert_malformed("a;\tb=1");
    assert_malformed("a;B=1");
    assert_malformed("a;bC=1");
    assert_malformed("a;1=1");
    assert_malformed("a;-b=1");
    assert_malformed("a;_b=1");
    assert_malformed("a;b=(1)");
    assert_malformed("a;b=1 2");
    assert_malformed("a;b==1");
}

/* Fields of the API that have been seen or are possible. */
static void test_malformed_later(void **state)
{
    (void) state;
    assert_malformed("\"default\";r=5;t=30, ;;");
    assert_string_equal(found, "\"default\" r=5 t=30"); /* reported before, to be discarded */
    assert_malformed("\"default\";r=5;t=30, \"");
    assert_malformed("limit=100, remaining=50, reset=5");
}

/* A truncated field is either malformed or another one; nothing after its end is read. */
static void test_every_prefix(void **state)
{
    static const char field[] = "a;b=-1, (c \"d\");e=1.5, %\"%c3%bc\", :YWI=:";
    static const char *const lists[] = {
        "",
        "a",
        "a;b",
        "a;b=-1",
        "a;b=-1, (c \"d\")",
        "a;b=-1, (c \"d\");e",
        "a;b=-1, (c \"d\");e=1",
        "a;b=-1, (c \"d\");e=1.5",
        "a;b=-1, (c \"d\");e=1.5, %\"%c3%bc\"",
        "a;b=-1, (c \"d\");e=1.5, %\"%c3%bc\", :YWI=:",
    };

    (void) state;
    for (size_t len = 0; len < sizeof(field); len++) {
        struct ais_str text = {field, len};
        bool expected = false;

        for (size_t i = 0; i < COUNT(lists); i++)
            expected = expected || ais_str_eq(text, str(lists[i]));
        if (read_list(text) != expected)
            fail_msg("%.*s", (int) len, field);
    }
}

/* Each byte alone, and in those places of a field that hold a single byte. */
static void test_every_byte(void **state)
{
    (void) state;
    for (int c = 0; c < 256; c++) {
        char field[] = {'a', ';', 'b', '=', 'c', (char) c};
        bool token = c != 0 && (strchr("!#$%&'*+-.^_`|~:/ \t;", c) != NULL || (c >= '0' && c <= '9') ||
                                (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'));
        bool alone = c == '*' || c == ' ' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

        field[0] = (char) c;
        assert_int_equal(read_list((struct ais_str){field, 1}), alone);
        field[0] = 'a';
        assert_int_equal(read_list((struct ais_str){field, sizeof(field)}), token && c != ';');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists),        cmocka_unit_test(test_integers),   cmocka_unit_test(test_decimals),
        cmocka_unit_test(test_strings),      cmocka_unit_test(test_tokens),     cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_booleans),     cmocka_unit_test(test_dates),      cmocka_unit_test(test_display_strings),
        cmocka_unit_test(test_inner_lists),  cmocka_unit_test(test_parameters), cmocka_unit_test(test_malformed_later),
        cmocka_unit_test(test_every_prefix), cmocka_unit_test(test_every_byte),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
