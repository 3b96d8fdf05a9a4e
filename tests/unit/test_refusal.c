/* What the API's refusals mean: all forms that were seen or are documented, and similar ones. */

#include "unit.h"

#include "ais_refusal.h"

#define OTHER AIS_REFUSAL_OTHER
#define CREDENTIAL AIS_REFUSAL_CREDENTIAL
#define NO_ROUTE AIS_REFUSAL_NO_ROUTE

#define UNAUTHORIZED "Unauthorized to access requested resource"

static enum ais_refusal refusal_of(int status, int code, const char *message)
{
    struct ais_api_error error = {.code = code, .message = message};

    return ais_refusal_of(status, &error, 1);
}

static void test_forms(void **state)
{
    static const struct {
        int status;
        int code;
        const char *message;
        enum ais_refusal means;
    } cases[] = {
        {401, 10000, "Authentication error", CREDENTIAL},
        {401, 0, NULL, CREDENTIAL},
        {401, 1, "whatever", CREDENTIAL},
        {401, 7003, "Could not route", CREDENTIAL},
        {401, 9109, UNAUTHORIZED, CREDENTIAL},
        {400, 10000, "Authentication error", CREDENTIAL},
        {403, 10000, "Authentication error", CREDENTIAL},
        {400, 10001, "Unable to authenticate request", CREDENTIAL},
        {403, 10001, "Unable to authenticate request", CREDENTIAL},
        {400, 9103, "Unknown X-Auth-Key or X-Auth-Email", CREDENTIAL},
        {403, 9103, "Unknown X-Auth-Key or X-Auth-Email", CREDENTIAL},
        {400, 9106, "Missing X-Auth-Key, X-Auth-Email or Authorization headers", CREDENTIAL},
        {403, 9106, "Missing X-Auth-Key, X-Auth-Email or Authorization headers", CREDENTIAL},
        {400, 6003, "Invalid request headers", CREDENTIAL},
        {400, 6111, "Invalid format for Authorization header", CREDENTIAL},
        {400, 6102, "Invalid format for X-Auth-Email header", CREDENTIAL},
        {400, 6103, "Invalid format for X-Auth-Key header", CREDENTIAL},

        /* one code with two meanings */
        {400, 9109, "Invalid access token", CREDENTIAL},
        {403, 9109, "Invalid access token", CREDENTIAL},
        {403, 9109, "Cannot use the access token from location: 192.0.2.7", CREDENTIAL},
        {403, 9109, "", CREDENTIAL},
        {403, 9109, NULL, CREDENTIAL},
        {403, 9109, "Unauthorized", CREDENTIAL},
        {403, 9109, UNAUTHORIZED, OTHER},
        {400, 9109, UNAUTHORIZED, OTHER},
        {403, 9109, UNAUTHORIZED ".", OTHER},

        {400, 7000, "No route for that URI", NO_ROUTE},
        {400, 7003, "Could not route to /x, perhaps your object identifier is invalid?", NO_ROUTE},
        {403, 7003, "Could not route to /x, perhaps your object identifier is invalid?", NO_ROUTE},
        {404, 7000, NULL, NO_ROUTE},
        {404, 7003, NULL, NO_ROUTE},
        {410, 0, NULL, NO_ROUTE},
        {410, 10000, "Authentication error", NO_ROUTE},
        {410, 7021, "job_not_found", NO_ROUTE},

        {404, 7002, "ai_search_not_found", OTHER},
        {404, 7021, "job_not_found", OTHER},
        {404, 7063, "namespace_not_found", OTHER},
        {429, 7020, "sync_in_cooldown", OTHER},
        {429, 10429, "Too Many Requests", OTHER},
        {400, 0, "Bad Request", OTHER},
        {400, 0, "Authentication error", OTHER},
        {400, 7001, NULL, OTHER},
        {403, 0, NULL, OTHER},
        {403, 1, NULL, OTHER},
        {403, 100000, NULL, OTHER},
        {403, -10000, NULL, OTHER},

        /* these codes only mean the credential together with a refusal's status */
        {402, 10000, "Authentication error", OTHER},
        {404, 10000, "Authentication error", OTHER},
        {405, 9109, "Invalid access token", OTHER},
        {409, 6003, NULL, OTHER},
        {422, 6111, NULL, OTHER},
        {500, 10000, NULL, OTHER},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        if (refusal_of(cases[i].status, cases[i].code, cases[i].message) != cases[i].means)
            fail_msg("%d with %d \"%s\"", cases[i].status, cases[i].code, cases[i].message);
    }
}

/* Without any error, only the status counts. */
static void test_no_errors(void **state)
{
    (void) state;
    assert_int_equal(ais_refusal_of(401, NULL, 0), CREDENTIAL);
    assert_int_equal(ais_refusal_of(410, NULL, 0), NO_ROUTE);
    assert_int_equal(ais_refusal_of(400, NULL, 0), OTHER);
    assert_int_equal(ais_refusal_of(403, NULL, 0), OTHER);
    assert_int_equal(ais_refusal_of(404, NULL, 0), OTHER);
}

/* Codes that identify the invalid header count anywhere in the chain; others do not. */
static void test_chain(void **state)
{
    static const struct {
        int status;
        int code;
        int chain[AIS_CHAIN_MAX];
        size_t nchain;
        enum ais_refusal means;
    } cases[] = {
        {400, 6003, {6111}, 1, CREDENTIAL},  {400, 6003, {6102, 6103}, 2, CREDENTIAL},
        {400, 6003, {1}, 1, CREDENTIAL},     {400, 1, {6111}, 1, CREDENTIAL},
        {400, 1, {6102}, 1, CREDENTIAL},     {400, 1, {6103}, 1, CREDENTIAL},
        {403, 0, {6103}, 1, CREDENTIAL},     {400, 1, {2, 3, 4, 6111}, 4, CREDENTIAL},
        {400, 1, {2, 3, 4, 6111}, 3, OTHER}, {400, 1, {6003}, 1, OTHER},
        {400, 1, {10000}, 1, OTHER},         {400, 1, {7003}, 1, OTHER},
        {404, 1, {6111}, 1, OTHER},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ais_api_error error = {.code = cases[i].code, .nchain = cases[i].nchain};

        memcpy(error.chain, cases[i].chain, sizeof(error.chain));
        if (ais_refusal_of(cases[i].status, &error, 1) != cases[i].means)
            fail_msg("case %zu", i);
    }
}

/* If there are several errors, one about the credential takes precedence, then one about the path. */
static void test_several_errors(void **state)
{
    static const struct ais_api_error other = {.code = 1, .message = "x"};
    static const struct ais_api_error denied = {.code = 9109, .message = UNAUTHORIZED};
    static const struct ais_api_error route = {.code = 7003, .message = "Could not route"};
    static const struct ais_api_error credential = {.code = 10000, .message = "Authentication error"};
    static const struct {
        const struct ais_api_error *errors[4];
        size_t n;
        enum ais_refusal means;
    } cases[] = {
        {{&other, &other}, 2, OTHER},
        {{&other, &credential}, 2, CREDENTIAL},
        {{&credential, &other}, 2, CREDENTIAL},
        {{&credential, &route}, 2, CREDENTIAL},
        {{&route, &credential}, 2, CREDENTIAL},
        {{&denied, &credential}, 2, CREDENTIAL},
        {{&denied, &other}, 2, OTHER},
        {{&other, &route}, 2, NO_ROUTE},
        {{&route, &other}, 2, NO_ROUTE},
        {{&route, &other, &route}, 3, NO_ROUTE},
        {{&other, &other, &other, &credential}, 4, CREDENTIAL},
        {{&other, &other, &other, &credential}, 3, OTHER},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ais_api_error errors[4];

        for (size_t n = 0; n < cases[i].n; n++)
            errors[n] = *cases[i].errors[n];
        if (ais_refusal_of(403, errors, cases[i].n) != cases[i].means)
            fail_msg("case %zu", i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_no_errors),
        cmocka_unit_test(test_chain),
        cmocka_unit_test(test_several_errors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
