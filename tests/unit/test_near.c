/* Suggestions for misspelled names. */

#include "unit.h"

#include "ais_near.h"

static void expect_near(const char *word, const char *name)
{
    static const char *const names[] = {
        "account_id", "token_file", "email",  "key_file", "instance",         "api_url", "connect_timeout",
        "timeout",    "retries",    "budget", "verify",   "allow_plain_http", "proxy",   "trusted_certificate"};
    struct ais_near near = {.word = ais_str_of(word)};
    char best[64];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        ais_near_look(&near, ais_str_of(names[i]));
    snprintf(best, sizeof(best), "%.*s", (int) near.best.len, near.best.len > 0 ? near.best.data : "");
    assert_string_equal(best, name);
    if (name[0] == '\0')
        assert_ptr_equal(strstr(ais_near_hint(&near), "use one of account_id, token_file, email, "), near.hint);
    else
        assert_non_null(strstr(ais_near_hint(&near), name));
}

static void test_near(void **state)
{
    static const char *const words[][2] = {
        {"token", "token_file"},
        {"tokenfile", "token_file"},
        {"TokenFile", "token_file"},
        {"tokn_file", "token_file"},
        {"api_token", "token_file"},
        {"accountid", "account_id"},
        {"account-id", "account_id"},
        {"account", "account_id"},
        {"cloudflare_account_id", "account_id"},
        {"url", "api_url"},
        {"apiurl", "api_url"},
        {"key", "key_file"},
        {"mail", "email"},
        {"instances", "instance"},
        {"intsance", "instance"},
        {"read_timeout", "timeout"},
        {"proxy_connect_timeout", "connect_timeout"},
        {"ssl_verify", "verify"},
        {"ssl_trusted_certificate", "trusted_certificate"},
        {"bugdet", "budget"},
        {"account_id=0123456789abcdef0123456789abcdef", "account_id"},
        {"http_proxy", "proxy"},
    };

    (void) state;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        expect_near(words[i][0], words[i][1]);
}

static void test_not_near(void **state)
{
    static const char *const words[] = {"",     "-",           "a",
                                        "ur",   "server_name", "listen",
                                        "root", "resolver",    "abcdefghijklmnopqrstuvwxyz0123456789_token_file"};

    (void) state;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        expect_near(words[i], "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_near),
        cmocka_unit_test(test_not_near),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
