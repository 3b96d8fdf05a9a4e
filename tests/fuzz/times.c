/* Times in the formats of the API and of HTTP, and pauses: the whole input is one of them. */

#include "fuzz.h"

#include <time.h>

#include "ais_policy.h"
#include "ais_time.h"

#define YEAR_10000 INT64_C(253402300800000)
#define NOW INT64_C(1795435200000)
#define DAY INT64_C(86400000)

/* The C library's calendar for comparison. */
static struct tm calendar(int64_t ms)
{
    time_t seconds = (time_t) (ms / 1000);
    struct tm tm;

    MUST(gmtime_r(&seconds, &tm) != NULL);
    return tm;
}

static void check_api_form(int64_t ms)
{
    struct tm tm = calendar(ms);
    char date[64], text[128];
    int64_t again;

    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text, sizeof(text), "%s.%03dZ", date, (int) (ms % 1000));
    MUST(ais_time_parse(ais_str_of(text), &again));
    MUST(again == ms);
}

static void check_http_form(int64_t ms)
{
    struct tm tm = calendar(ms);
    char text[128];
    int64_t again;

    strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
    MUST(ais_time_parse_http(ais_str_of(text), &again));
    MUST(again == ms);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ais_str text = whole_input(data, size);
    int64_t unset = -12345;
    int64_t ms = unset;
    int64_t pause;

    if (ais_time_parse(text, &ms)) {
        /* the offset may shift it by a day beyond the range of years in the text */
        MUST(ms >= -DAY && ms < YEAR_10000 + DAY);
        if (ms >= 0 && ms < YEAR_10000)
            check_api_form(ms);
    } else {
        MUST(ms == unset);
    }

    ms = unset;
    if (ais_time_parse_http(text, &ms)) {
        MUST(ms >= 0 && ms < YEAR_10000 + 1000 && ms % 1000 == 0);
        if (ms < YEAR_10000)
            check_http_form(ms);
    } else {
        MUST(ms == unset);
    }

    pause = ais_policy_retry_after(text, NOW);
    MUST(pause >= -1 && pause <= DAY);
    if (ms != unset)
        MUST(pause >= 0);
    MUST(ais_policy_closed(429, pause) >= 0 && ais_policy_closed(200, pause) == 0);
    MUST(ais_policy_closed(503, pause) >= 0 && ais_policy_closed(503, pause) <= 5 * 60 * 1000);
    MUST(ais_policy_stretch((double) pause / DAY) >= 1.0 && ais_policy_stretch((double) pause / DAY) <= 8.0);
    return 0;
}
