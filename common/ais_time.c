/* SPDX-License-Identifier: BSD-2-Clause */

/* Parses the times of the API and of HTTP. */

#include "ais_time.h"

#include "ais_cursor.h"

#define YEAR_MIN 1970
#define YEAR_MAX 9999

#define MS_PER_SECOND 1000
#define SECONDS_PER_MINUTE 60
#define SECONDS_PER_HOUR 3600
#define SECONDS_PER_DAY 86400

struct calendar {
    int year;
    int month;
    int day;
    int hour;
    int minute;
    int second;
};

/* Scans a number of exactly count digits. */
static bool scan_digits(struct ais_cursor *cur, int count, int *number)
{
    int n = 0;

    while (count-- > 0) {
        if (!ais_is_digit(ais_cursor_peek(cur)))
            return false;
        n = n * 10 + (cur->text.data[cur->pos++] - '0');
    }

    *number = n;
    return true;
}

/* Scans one of the names, and returns its index. */
static bool scan_name(struct ais_cursor *cur, const char *const names[], int count, int *index)
{
    for (int i = 0; i < count; i++) {
        if (ais_cursor_skip_str(cur, ais_str_of(names[i]))) {
            *index = i;
            return true;
        }
    }

    return false;
}

static bool is_leap(int year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static bool calendar_valid(const struct calendar *c)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    if (c->year < YEAR_MIN || c->year > YEAR_MAX || c->month < 1 || c->month > 12)
        return false;

    if (c->day < 1 || c->day > days[c->month - 1] + (c->month == 2 && is_leap(c->year)))
        return false;

    /* second 60 is a leap second, which is the same time as the following second */
    return c->hour <= 23 && c->minute <= 59 && c->second <= 60;
}

/* Returns the seconds since the epoch of a valid date in the proleptic Gregorian calendar. */
static int64_t calendar_seconds(const struct calendar *c)
{
    static const int days_before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    int past = c->year - 1; /* complete years since the beginning of year 1 */
    int64_t days = 365 * (int64_t) (c->year - YEAR_MIN);

    days += (past / 4 - past / 100 + past / 400) - (1969 / 4 - 1969 / 100 + 1969 / 400);
    days += days_before[c->month - 1] + (c->month > 2 && is_leap(c->year)) + c->day - 1;

    return days * SECONDS_PER_DAY + c->hour * SECONDS_PER_HOUR + c->minute * SECONDS_PER_MINUTE + c->second;
}

/* hour ":" minute ":" second */
static bool scan_clock(struct ais_cursor *cur, struct calendar *c)
{
    return scan_digits(cur, 2, &c->hour) && ais_cursor_skip(cur, ':') && scan_digits(cur, 2, &c->minute) &&
           ais_cursor_skip(cur, ':') && scan_digits(cur, 2, &c->second);
}

/* ["." 1*DIGIT]; digits after the milliseconds are dropped. */
static bool scan_fraction(struct ais_cursor *cur, int *ms)
{
    int unit = 100;

    *ms = 0;
    if (!ais_cursor_skip(cur, '.'))
        return true;

    if (!ais_is_digit(ais_cursor_peek(cur)))
        return false;

    for (; ais_is_digit(ais_cursor_peek(cur)); cur->pos++, unit /= 10)
        *ms += (cur->text.data[cur->pos] - '0') * unit;

    return true;
}

/* "Z", or "+" or "-" hour ":" minute. The offset is in seconds east of UTC. */
static bool scan_offset(struct ais_cursor *cur, int *offset)
{
    char sign = ais_cursor_peek(cur);
    int hour, minute;

    *offset = 0;
    if (ais_cursor_skip(cur, 'Z') || ais_cursor_skip(cur, 'z'))
        return true;

    if (!ais_cursor_skip(cur, '+') && !ais_cursor_skip(cur, '-'))
        return false;

    if (!scan_digits(cur, 2, &hour) || !ais_cursor_skip(cur, ':') || !scan_digits(cur, 2, &minute) || hour > 23 ||
        minute > 59)
        return false;

    *offset = hour * SECONDS_PER_HOUR + minute * SECONDS_PER_MINUTE;
    if (sign == '-')
        *offset = -*offset;
    return true;
}

bool ais_time_parse(struct ais_str s, int64_t *ms)
{
    struct ais_cursor cur = {s, 0};
    struct calendar c;
    int fraction;
    int offset = 0;

    if (!scan_digits(&cur, 4, &c.year) || !ais_cursor_skip(&cur, '-') || !scan_digits(&cur, 2, &c.month) ||
        !ais_cursor_skip(&cur, '-') || !scan_digits(&cur, 2, &c.day))
        return false;

    if (!ais_cursor_skip(&cur, 'T') && !ais_cursor_skip(&cur, 't') && !ais_cursor_skip(&cur, ' '))
        return false;

    if (!scan_clock(&cur, &c) || !scan_fraction(&cur, &fraction) || !calendar_valid(&c))
        return false;

    /* RFC 3339 requires an offset (and allows a space instead of T); the API's other forms have none, and are UTC */
    if (!ais_cursor_at_end(&cur) && !scan_offset(&cur, &offset))
        return false;

    if (!ais_cursor_at_end(&cur))
        return false;

    *ms = (calendar_seconds(&c) - offset) * MS_PER_SECOND + fraction;
    return true;
}

static bool scan_month(struct ais_cursor *cur, int *month)
{
    static const char *const names[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

    if (!scan_name(cur, names, 12, month))
        return false;

    *month += 1;
    return true;
}

/* The name of the day is not compared with the date: RFC 9110 does not require it, and nothing depends on it. */
static bool scan_short_day(struct ais_cursor *cur)
{
    static const char *const names[] = {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"};
    int day;

    return scan_name(cur, names, 7, &day);
}

static bool scan_long_day(struct ais_cursor *cur)
{
    static const char *const names[] = {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"};
    int day;

    return scan_name(cur, names, 7, &day);
}

/* Sun, 06 Nov 1994 08:49:37 GMT */
static bool scan_imf_fixdate(struct ais_cursor cur, struct calendar *c)
{
    return scan_short_day(&cur) && ais_cursor_skip_str(&cur, AIS_STR(", ")) && scan_digits(&cur, 2, &c->day) &&
           ais_cursor_skip(&cur, ' ') && scan_month(&cur, &c->month) && ais_cursor_skip(&cur, ' ') &&
           scan_digits(&cur, 4, &c->year) && ais_cursor_skip(&cur, ' ') && scan_clock(&cur, c) &&
           ais_cursor_skip_str(&cur, AIS_STR(" GMT")) && ais_cursor_at_end(&cur);
}

/* Sunday, 06-Nov-94 08:49:37 GMT; the years are 1970 to 2069, roughly as in POSIX. */
static bool scan_rfc850_date(struct ais_cursor cur, struct calendar *c)
{
    if (!scan_long_day(&cur) || !ais_cursor_skip_str(&cur, AIS_STR(", ")) || !scan_digits(&cur, 2, &c->day) ||
        !ais_cursor_skip(&cur, '-') || !scan_month(&cur, &c->month) || !ais_cursor_skip(&cur, '-') ||
        !scan_digits(&cur, 2, &c->year) || !ais_cursor_skip(&cur, ' ') || !scan_clock(&cur, c) ||
        !ais_cursor_skip_str(&cur, AIS_STR(" GMT")) || !ais_cursor_at_end(&cur))
        return false;

    c->year += c->year < 70 ? 2000 : 1900;
    return true;
}

/* Sun Nov  6 08:49:37 1994 */
static bool scan_asctime_date(struct ais_cursor cur, struct calendar *c)
{
    if (!scan_short_day(&cur) || !ais_cursor_skip(&cur, ' ') || !scan_month(&cur, &c->month) ||
        !ais_cursor_skip(&cur, ' '))
        return false;

    if (!scan_digits(&cur, ais_cursor_skip(&cur, ' ') ? 1 : 2, &c->day))
        return false;

    return ais_cursor_skip(&cur, ' ') && scan_clock(&cur, c) && ais_cursor_skip(&cur, ' ') &&
           scan_digits(&cur, 4, &c->year) && ais_cursor_at_end(&cur);
}

bool ais_time_parse_http(struct ais_str s, int64_t *ms)
{
    struct ais_cursor cur = {s, 0};
    struct calendar c;

    if (!scan_imf_fixdate(cur, &c) && !scan_rfc850_date(cur, &c) && !scan_asctime_date(cur, &c))
        return false;

    if (!calendar_valid(&c))
        return false;

    *ms = calendar_seconds(&c) * MS_PER_SECOND;
    return true;
}
