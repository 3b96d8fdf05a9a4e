#include "unit.h"

#include <time.h>

#include "ais_time.h"

#define UNTOUCHED INT64_C(-77)

/* The C library's calendar for comparison. */
static int64_t utc(int year, int month, int day, int hour, int minute, int second)
{
    struct tm tm = {.tm_year = year - 1900,
                    .tm_mon = month - 1,
                    .tm_mday = day,
                    .tm_hour = hour,
                    .tm_min = minute,
                    .tm_sec = second};

    return (int64_t) timegm(&tm) * 1000;
}

/* Parses an exact copy; returns UNTOUCHED if it is rejected. */
static int64_t parse_with(bool (*parse)(struct ais_str, int64_t *), const char *text)
{
    struct ais_str s = exact_copy(str(text));
    int64_t ms = UNTOUCHED;
    bool ok = parse(s, &ms);

    exact_free(s);
    if (ok == (ms == UNTOUCHED))
        fail_msg("\"%s\": the result and the time contradict each other", text);
    return ms;
}

static void test_known_times(void **state)
{
    int64_t t = utc(2026, 11, 23, 12, 44, 10);
    const struct {
        const char *text;
        int64_t ms;
    } cases[] = {
        {"2026-11-23T12:44:10Z", t},
        {"2026-11-23t12:44:10z", t},
        {"2026-11-23 12:44:10", t},
        {"2026-11-23T12:44:10", t},
        {"2026-11-23t12:44:10", t},
        {"2026-11-23T12:44:10.5", t + 500},
        {"2026-11-23 12:44:10Z", t},
        {"2026-11-23 12:44:10+00:00", t},
        {"2026-11-23T12:44:10+00:00", t},
        {"2026-11-23T12:44:10-00:00", t},
        {"2026-11-23T13:44:10+01:00", t},
        {"2026-11-23T07:14:10-05:30", t},
        {"2026-11-24T12:43:10+23:59", t},
        {"2026-11-22T12:45:10-23:59", t},
        {"2026-11-23T12:44:10.5Z", t + 500},
        {"2026-11-23T12:44:10.05Z", t + 50},
        {"2026-11-23T12:44:10.123Z", t + 123},
        {"2026-11-23T12:44:10.123999Z", t + 123},
        {"2026-11-23T12:44:10.9999999999999999999999999999999999Z", t + 999},
        {"2026-11-23 12:44:10.25", t + 250},
        {"2026-11-23T12:44:10.25+01:00", t + 250 - 3600000},
        {"1970-01-01T00:00:00Z", 0},
        {"1970-01-01T00:00:00+01:00", -3600000},
        {"1969-12-31T23:59:59Z", UNTOUCHED},
        {"9999-12-31T23:59:59.999Z", INT64_C(253402300799999)},
        {"2016-12-31T23:59:60Z", utc(2017, 1, 1, 0, 0, 0)},
        {"2016-12-31T23:59:60.5Z", utc(2017, 1, 1, 0, 0, 0) + 500},
        {"2000-02-29T00:00:00Z", utc(2000, 2, 29, 0, 0, 0)},
        {"2024-02-29T00:00:00Z", utc(2024, 2, 29, 0, 0, 0)},
        {"2400-02-29 23:59:59", utc(2400, 2, 29, 23, 59, 59)},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        if (parse_with(ais_time_parse, cases[i].text) != cases[i].ms)
            fail_msg("\"%s\"", cases[i].text);
    }
}

static void test_rejected_times(void **state)
{
    static const char *const cases[] = {
        "",
        "now",
        "0",
        "1763901850",
        "2026",
        "2026-11-23",
        "2026-11-23T",
        "2026-11-23T12:44",
        "2026-11-23T12:44Z",
        "2026-11-23T12:44:10.",
        "2026-11-23T12:44:10x",
        "2026-11-23T12:44:10 ",
        "2026-11-23T12:44:10-",
        "2026-11-23T12:44:1Z",
        "2026-11-23T12:44:10.Z",
        "2026-11-23T12:44:10,5Z",
        "2026-11-23 12:44:10.",
        "2026-11-23T12:44:10ZZ",
        "2026-11-23T12:44:10Z ",
        " 2026-11-23T12:44:10Z",
        "2026-11-23  12:44:10",
        "2026-11-23_12:44:10",
        "2026-11-23 12:44:10 Z",
        "2026-11-23 12:44:10 UTC",
        "2026-11-23T12:44:10+0100",
        "2026-11-23T12:44:10+01",
        "2026-11-23T12:44:10+01:0",
        "2026-11-23T12:44:10+24:00",
        "2026-11-23T12:44:10+01:60",
        "2026-11-23T12:44:10+-1:00",
        "2026-11-23T12:44:10/01:00",
        "2026-11-23T24:00:00Z",
        "2026-11-23T23:60:00Z",
        "2026-11-23T23:59:61Z",
        "2026-00-01T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2026-01-32T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "2024-02-30T00:00:00Z",
        "2100-02-29T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "-026-01-01T00:00:00Z",
        "+2026-01-01T00:00:00Z",
        "2026-1-01T00:00:00Z",
        "2026-01-1T00:00:00Z",
        "20261123T124410Z",
        "2026/11/23 12:44:10",
        "2026-11-23T12-44-10Z",
        "2026-11-23T1a:44:10Z",
        "Mon, 23 Nov 2026 12:44:10 GMT",
        "\xD9\xA2\xD9\xA0\xD9\xA2\xD9\xA6-11-23T12:44:10Z",
    };
    int64_t ms = UNTOUCHED;

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        if (parse_with(ais_time_parse, cases[i]) != UNTOUCHED)
            fail_msg("\"%s\"", cases[i]);
    }

    assert_false(ais_time_parse(AIS_STR("2026-11-23T12:44:10Z\0"), &ms));
    assert_false(ais_time_parse(AIS_STR("2026-11-23 12:44:10\0"), &ms));
    assert_false(ais_time_parse((struct ais_str){NULL, 0}, &ms));
    assert_int_equal(ms, UNTOUCHED);
}

/* A truncated time is only valid if it ends within the fraction, and nothing after the end is read. */
static void test_every_prefix(void **state)
{
    static const char text[] = "2026-11-23 12:44:10.125+01:30";

    (void) state;
    for (size_t len = 0; len < sizeof(text); len++) {
        struct ais_str s = exact_copy((struct ais_str){text, len});
        bool expected = len == 19 || (len >= 21 && len <= 23) || len == 29;
        int64_t ms;

        assert_int_equal(ais_time_parse(s, &ms), expected);
        exact_free(s);
    }
}

/* Days of all years and months, compared with the C library, including the days around the end of February. */
static void test_calendar(void **state)
{
    char text[64];

    (void) state;
    for (int year = 1970; year <= 9999; year++) {
        for (int month = 1; month <= 12; month++) {
            int day = 1 + (year * 7 + month) % 28;

            snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02dZ", year, month, day, day % 24, day, day * 2);
            assert_int_equal(parse_with(ais_time_parse, text), utc(year, month, day, day % 24, day, day * 2));
        }

        /* the last day of each month is valid, and no day after it */
        for (int month = 1; month <= 12; month++) {
            int last = utc(year, month, 31, 0, 0, 0) < utc(year, month + 1, 1, 0, 0, 0) ? 31 : 30;

            snprintf(text, sizeof(text), "%04d-%02d-%02d 00:00:00", year, month, last);
            if (month != 2)
                assert_int_equal(parse_with(ais_time_parse, text), utc(year, month, last, 0, 0, 0));
            snprintf(text, sizeof(text), "%04d-%02d-%02d 00:00:00", year, month, last + 1);
            assert_int_equal(parse_with(ais_time_parse, text), UNTOUCHED);
        }

        /* the C library turns 29 February of a common year into 1 March: then it is no valid date */
        snprintf(text, sizeof(text), "%04d-02-29T00:00:00Z", year);
        if (utc(year, 2, 29, 0, 0, 0) == utc(year, 3, 1, 0, 0, 0))
            assert_int_equal(parse_with(ais_time_parse, text), UNTOUCHED);
        else
            assert_int_equal(parse_with(ais_time_parse, text), utc(year, 2, 29, 0, 0, 0));
    }
}

static void test_http_dates(void **state)
{
    int64_t t = utc(1994, 11, 6, 8, 49, 37);
    const struct {
        const char *text;
        int64_t ms;
    } cases[] = {
        {"Sun, 06 Nov 1994 08:49:37 GMT", t},
        {"Sunday, 06-Nov-94 08:49:37 GMT", t},
        {"Sun Nov  6 08:49:37 1994", t},
        {"Mon, 23 Nov 2026 12:44:10 GMT", utc(2026, 11, 23, 12, 44, 10)},
        {"Monday, 23-Nov-26 12:44:10 GMT", utc(2026, 11, 23, 12, 44, 10)},
        {"Mon Nov 23 12:44:10 2026", utc(2026, 11, 23, 12, 44, 10)},
        {"Thursday, 01-Jan-70 00:00:00 GMT", 0},
        {"Tuesday, 31-Dec-69 00:00:00 GMT", utc(2069, 12, 31, 0, 0, 0)},
        {"Thu, 29 Feb 2024 23:59:60 GMT", utc(2024, 3, 1, 0, 0, 0)},
        {"Fri, 31 Dec 9999 23:59:59 GMT", utc(9999, 12, 31, 23, 59, 59)},

        {"", UNTOUCHED},
        {"Sun", UNTOUCHED},
        {"Sun, 06 Nov 1994 08:49:37", UNTOUCHED},
        {"Sun, 06 Nov 1994 08:49:37 gmt", UNTOUCHED},
        {"Sun, 06 Nov 1994 08:49:37 UTC", UNTOUCHED},
        {"Sun, 06 Nov 1994 08:49:37 +0000", UNTOUCHED},
        {"Sun, 06 Nov 1994 08:49:37 GMT ", UNTOUCHED},
        {"Sun, 6 Nov 1994 08:49:37 GMT", UNTOUCHED},
        {"Sun,06 Nov 1994 08:49:37 GMT", UNTOUCHED},
        {"sun, 06 Nov 1994 08:49:37 GMT", UNTOUCHED},
        {"Day, 06 Nov 1994 08:49:37 GMT", UNTOUCHED},
        {"Sun, 06 nov 1994 08:49:37 GMT", UNTOUCHED},
        {"Sun, 06 November 1994 08:49:37 GMT", UNTOUCHED},
        {"Sun, 06 Nov 94 08:49:37 GMT", UNTOUCHED},
        {"Sun, 06 Nov 1994 8:49:37 GMT", UNTOUCHED},
        {"Sun, 06 Nov 1994 24:00:00 GMT", UNTOUCHED},
        {"Sun, 00 Nov 1994 08:49:37 GMT", UNTOUCHED},
        {"Sun, 31 Nov 1994 08:49:37 GMT", UNTOUCHED},
        {"Sun, 30 Feb 1994 08:49:37 GMT", UNTOUCHED},
        {"Sun, 06 Nov 1969 08:49:37 GMT", UNTOUCHED},
        {"Sun, 06-Nov-1994 08:49:37 GMT", UNTOUCHED},
        {"Sun, 06-Nov-94 08:49:37 GMT", UNTOUCHED},
        {"Sunday, 06 Nov 1994 08:49:37 GMT", UNTOUCHED},
        {"Sunday, 06-Nov-94 08:49:37", UNTOUCHED},
        {"Sunday, 6-Nov-94 08:49:37 GMT", UNTOUCHED},
        {"Sunday, 06-Nov-94T08:49:37 GMT", UNTOUCHED},
        {"Sun Nov 6 08:49:37 1994", UNTOUCHED},
        {"Sun Nov 06 08:49:37 94", UNTOUCHED},
        {"Sun Nov  6 08:49:37 1994 GMT", UNTOUCHED},
        {"Sun Nov   6 08:49:37 1994", UNTOUCHED},
        {"06 Nov 1994 08:49:37 GMT", UNTOUCHED},
        {"1994-11-06T08:49:37Z", UNTOUCHED},
        {"120", UNTOUCHED},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        if (parse_with(ais_time_parse_http, cases[i].text) != cases[i].ms)
            fail_msg("\"%s\"", cases[i].text);
    }
}

/* All names of days and months, in all three formats, as written by the C library. */
static void test_http_names(void **state)
{
    static const char *const forms[] = {"%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT",
                                        "%a %b %e %H:%M:%S %Y"};

    (void) state;
    for (int day = 0; day < 365; day++) {
        time_t t = (time_t) (utc(2026, 1, 1, 1, 2, 3) / 1000) + day * 86400;
        struct tm tm;
        char text[64];

        assert_non_null(gmtime_r(&t, &tm));
        for (size_t i = 0; i < COUNT(forms); i++) {
            assert_true(strftime(text, sizeof(text), forms[i], &tm) > 0);
            assert_int_equal(parse_with(ais_time_parse_http, text), (int64_t) t * 1000);
        }
    }
}

static void test_http_prefixes(void **state)
{
    static const char *const forms[] = {"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
                                        "Sun Nov  6 08:49:37 1994"};

    (void) state;
    for (size_t i = 0; i < COUNT(forms); i++) {
        for (size_t len = 0; len < strlen(forms[i]); len++) {
            struct ais_str s = exact_copy((struct ais_str){forms[i], len});
            int64_t ms = UNTOUCHED;

            assert_false(ais_time_parse_http(s, &ms));
            assert_int_equal(ms, UNTOUCHED);
            exact_free(s);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_times),   cmocka_unit_test(test_rejected_times),
        cmocka_unit_test(test_every_prefix),  cmocka_unit_test(test_calendar),
        cmocka_unit_test(test_http_dates),    cmocka_unit_test(test_http_names),
        cmocka_unit_test(test_http_prefixes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
