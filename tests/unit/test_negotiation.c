/* The format and the wait that a client requests, and the version it has: RFC 7240, and RFC 9110, sections 12.5.1
 * and 13.1.2. */

#include "unit.h"

#include "ais_negotiation.h"

static void assert_wait(const char *line, int64_t expected)
{
    struct ais_str copy = exact_copy(str(line));
    int64_t wait = ais_prefer_wait(copy);

    if (wait != expected)
        fail_msg("%s: %lld", line, (long long) wait);
    exact_free(copy);
}

static void test_wait(void **state)
{
    (void) state;
    assert_wait("wait=10", 10);
    assert_wait("WAIT=10", 10);
    assert_wait("wait=0", 0);
    assert_wait("wait=007", 7);
    assert_wait("wait=\"10\"", 10);
    assert_wait("wait = 10", 10);
    assert_wait("wait\t=\t\"10\"", 10);
    assert_wait(" wait=10 ", 10);
    assert_wait("wait=31536000", AIS_WAIT_MAX);
    assert_wait("wait=31536001", AIS_WAIT_MAX);
    assert_wait("wait=99999999999999999999999", AIS_WAIT_MAX);
}

static void test_wait_in_a_list(void **state)
{
    (void) state;
    assert_wait("respond-async, wait=10", 10);
    assert_wait("respond-async;wait=3, wait=10", 10);
    assert_wait("respond-async,wait=10,return=minimal", 10);
    assert_wait("wait=10;x", 10);
    assert_wait("wait=10 ; x=\"1, wait=2\" ;; y", 10);
    assert_wait("foo=\"wait=3, wait=4\", wait=10", 10);
    assert_wait("foo=\"\\\", wait=3, \\\\\", wait=10", 10);
    assert_wait(", ,, wait=10,", 10);
    assert_wait("wait=10, wait=20", 10); /* the first one counts */
}

static void test_invalid_wait(void **state)
{
    (void) state;
    assert_wait("", -1);
    assert_wait(",", -1);
    assert_wait("=", -1);
    assert_wait("=10", -1);
    assert_wait("wait", -1);
    assert_wait("wait=", -1);
    assert_wait("wait=\"\"", -1);
    assert_wait("wait=\"", -1);
    assert_wait("wait=\"10", -1);
    assert_wait("wait=10\"", -1);
    assert_wait("wait=\"1\\0\"", -1);
    assert_wait("wait=-1", -1);
    assert_wait("wait=+1", -1);
    assert_wait("wait=1.5", -1);
    assert_wait("wait=10s", -1);
    assert_wait("wait=10 20", -1);
    assert_wait("wait=wait=10", -1);
    assert_wait("wait 10", -1);
    assert_wait("await=10", -1);
    assert_wait("waits=10", -1);
    assert_wait("\"wait\"=10", -1);
    assert_wait("foo;wait=10", -1);
    assert_wait("foo=\"wait=10", -1);
    assert_wait("foo=\", wait=10", -1); /* the closing quote is missing */
    assert_wait("foo=\"\\", -1);
    assert_wait("wait=x, wait=10", 10); /* a malformed preference is ignored */
}

static void assert_accept(const char *line, int event_stream, int json, int application, int all)
{
    struct ais_str copy = exact_copy(str(line));
    struct ais_accept accept = AIS_ACCEPT_NOTHING;

    ais_accept_add(&accept, copy);
    if (accept.event_stream != event_stream || accept.json != json || accept.application != application ||
        accept.all != all)
        fail_msg("%s: %d %d %d %d", line, accept.event_stream, accept.json, accept.application, accept.all);
    exact_free(copy);
}

static void test_accept(void **state)
{
    const int none = AIS_QUALITY_NONE;

    (void) state;
    assert_accept("", none, none, none, none);
    assert_accept(" ,, ", none, none, none, none);
    assert_accept("text/event-stream", 1000, none, none, none);
    assert_accept("Text/Event-Stream", 1000, none, none, none);
    assert_accept("application/json", none, 1000, none, none);
    assert_accept("application/*", none, none, 1000, none);
    assert_accept("*/*", none, none, none, 1000);
    assert_accept("text/*, text/plain, image/*, *", none, none, none, none);
    assert_accept("text/event-stream,application/json;q=0.9,application/*;q=0.25,*/*;q=0.001", 1000, 900, 250, 1);
    assert_accept("text/event-stream ; q=0.5 , */* ;Q=0.1", 500, none, none, 100);
    assert_accept("text/event-stream;charset=utf-8;q=0.5", 500, none, none, none);
    assert_accept("text/event-stream;x=\",;q=0.1\";q=0.5", 500, none, none, none);
    assert_accept("text/event-stream;q=0.5;x=1;;", 500, none, none, none);
    assert_accept("text/event-stream;q=0.2, text/event-stream;q=0.7, text/event-stream;q=0.5", 700, none, none, none);
    assert_accept("x=\"text/event-stream, \\\", */*\"", none, none, none, none);
    assert_accept("text/event-streams, xtext/event-stream, text/event-stream=1", none, none, none, none);
}

static void test_quality(void **state)
{
    static const struct {
        const char *text;
        int quality;
    } values[] = {
        {"q=0", 0},       {"q=0.", 0},       {"q=0.0", 0},     {"q=0.000", 0}, {"q=0.001", 1},
        {"q=0.09", 90},   {"q=0.5", 500},    {"q=0.999", 999}, {"q=1", 1000},  {"q=1.", 1000},
        {"q=1.0", 1000},  {"q=1.000", 1000}, {"q", -1},        {"q=", -1},     {"q=.5", -1},
        {"q=0.0001", -1}, {"q=1.001", -1},   {"q=1.1", -1},    {"q=2", -1},    {"q=-1", -1},
        {"q=00", -1},     {"q=0:5", -1},     {"q=0.x", -1},    {"q=0.-", -1},  {"q=\"0.5\"", -1},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(values); i++) {
        char line[64];

        snprintf(line, sizeof(line), "text/event-stream;%s", values[i].text);
        assert_accept(line, values[i].quality, AIS_QUALITY_NONE, AIS_QUALITY_NONE, AIS_QUALITY_NONE);
    }
}

static bool prefers_events(const char *line, const char *another)
{
    struct ais_accept accept = AIS_ACCEPT_NOTHING;

    ais_accept_add(&accept, str(line));
    ais_accept_add(&accept, str(another));
    return ais_accept_prefers_events(&accept);
}

static void test_events_are_preferred(void **state)
{
    (void) state;
    assert_true(prefers_events("text/event-stream", ""));
    assert_true(prefers_events("text/event-stream;q=0.001", ""));
    assert_true(prefers_events("text/event-stream, application/json", ""));
    assert_true(prefers_events("*/*", "text/event-stream"));
    assert_true(prefers_events("application/json;q=0.5", "text/event-stream;q=0.5"));
    assert_true(prefers_events("application/json;q=0, */*", "text/event-stream;q=0.1"));
    assert_true(prefers_events("application/*;q=0.1, */*", "text/event-stream;q=0.1"));

    assert_false(prefers_events("", ""));
    assert_false(prefers_events("*/*", "text/*"));
    assert_false(prefers_events("text/event-stream;q=0", ""));
    assert_false(prefers_events("text/event-stream;q=2", ""));
    assert_false(prefers_events("text/event-stream;q=0.4", "application/json;q=0.5"));
    assert_false(prefers_events("text/event-stream;q=0.4", "application/*;q=0.5"));
    assert_false(prefers_events("text/event-stream;q=0.4", "*/*;q=0.5"));
    assert_false(prefers_events("text/event-stream;q=0.4, */*;q=0.1", "application/*;q=0.5"));
}

static void assert_listed(const char *line, bool expected)
{
    struct ais_str copy = exact_copy(str(line));

    if (ais_etag_listed(copy, AIS_STR("abc")) != expected)
        fail_msg("%s", line);
    exact_free(copy);
}

static void test_listed(void **state)
{
    (void) state;
    assert_listed("\"abc\"", true);
    assert_listed("W/\"abc\"", true);
    assert_listed(" \"x\" ,W/\"abc\" ", true);
    assert_listed(",,\"abc\",", true);
    assert_listed("\"x,y\", \"abc\"", true);
    assert_listed("\"x;y=\", \"abc\"", true);
    assert_listed("\"\", \"abc\"", true);
    assert_listed("\"x\\\", \"abc\"", true); /* a backslash is an ordinary character in a tag */

    assert_listed("", false);
    assert_listed("*", false);
    assert_listed("abc", false);
    assert_listed("W/abc", false);
    assert_listed("\"ABC\"", false);
    assert_listed("w/\"abc\"", false);
    assert_listed("W/ \"abc\"", false);
    assert_listed("\"abc", false);
    assert_listed("abc\"", false);
    assert_listed("\"", false);
    assert_listed("\"abcd\", \"ab\", \" abc\"", false);
    assert_listed("\"x, \"abc\"", false);
    assert_listed("\"x,abc\"", false);
    assert_listed("\"abc\" x", false);
}

static void assert_opaque(const char *etag, const char *expected)
{
    struct ais_str copy = exact_copy(str(etag));

    if (!ais_str_eq(ais_etag_opaque(copy), str(expected)))
        fail_msg("%s", etag);
    exact_free(copy);
}

static void test_opaque(void **state)
{
    (void) state;
    assert_opaque("\"abc\"", "abc");
    assert_opaque("W/\"abc\"", "abc");
    assert_opaque(" W/\"abc\"\t", "abc");
    assert_opaque("abc", "abc");
    assert_opaque("W/abc", "abc");
    assert_opaque("w/abc", "w/abc");
    assert_opaque("W/", "");
    assert_opaque("W", "W");
    assert_opaque("", "");
    assert_opaque("\"", "\"");
    assert_opaque("\"\"", "");
    assert_opaque("\"abc", "\"abc");
    assert_opaque("abc\"", "abc\"");
}

static void assert_scrape(const char *line, int64_t expected)
{
    struct ais_str copy = exact_copy(str(line));
    int64_t wait = ais_scrape_wait(copy);

    if (wait != expected)
        fail_msg("%s: %lld", line, (long long) wait);
    exact_free(copy);
}

static void test_scrape(void **state)
{
    (void) state;
    assert_scrape("3", 2500);
    assert_scrape("3.", 2500);
    assert_scrape("3.2", 2700);
    assert_scrape("3.25", 2750);
    assert_scrape("3.257", 2757);
    assert_scrape("3.2579", 2757);
    assert_scrape(" 3.25 ", 2750);
    assert_scrape("5.499", 4999);
    assert_scrape("5.5", AIS_SCRAPE_WAIT_MAX);
    assert_scrape("5.501", AIS_SCRAPE_WAIT_MAX);
    assert_scrape("10", AIS_SCRAPE_WAIT_MAX);
    assert_scrape("99999999999999999999999.5", AIS_SCRAPE_WAIT_MAX);
    assert_scrape("0.501", 1);
    assert_scrape("0.5", 0);
    assert_scrape("0.25", 0);
    assert_scrape("0", 0);
}

static void test_invalid_scrape(void **state)
{
    static const char *const lines[] = {"",      ".",   ".5",  "-1",  "+1",  "1e0", "1.x",
                                        "1.0.0", "NaN", "Inf", "1,5", "1 2", "3s"};

    (void) state;
    for (size_t i = 0; i < COUNT(lines); i++)
        assert_scrape(lines[i], AIS_SCRAPE_WAIT_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wait),         cmocka_unit_test(test_wait_in_a_list),
        cmocka_unit_test(test_invalid_wait), cmocka_unit_test(test_accept),
        cmocka_unit_test(test_quality),      cmocka_unit_test(test_events_are_preferred),
        cmocka_unit_test(test_listed),       cmocka_unit_test(test_opaque),
        cmocka_unit_test(test_scrape),       cmocka_unit_test(test_invalid_scrape),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
