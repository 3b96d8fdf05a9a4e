#include "unit.h"

#include "ais_url.h"

#define X10 "xxxxxxxxxx"
#define X50 X10 X10 X10 X10 X10
#define X250 X50 X50 X50 X50 X50
#define X1000 X250 X250 X250 X250

static void test_good(void **state)
{
    static const struct {
        const char *text;
        const char *base;
        const char *unix_socket;
        bool tls;
        bool loopback;
    } cases[] = {
        {"https://api.cloudflare.com/client/v4", "https://api.cloudflare.com/client/v4", "", true, false},
        {"https://api.cloudflare.com/client/v4///", "https://api.cloudflare.com/client/v4", "", true, false},
        {"https://api.example.com", "https://api.example.com", "", true, false},
        {"https://api.example.com/", "https://api.example.com", "", true, false},
        {"HTTPS://API.example:443/V4", "https://API.example:443/V4", "", true, false},
        {"http://127.0.0.1:8080/client/v4", "http://127.0.0.1:8080/client/v4", "", false, true},
        {"http://127.255.255.255", "http://127.255.255.255", "", false, true},
        {"https://localhost:65535", "https://localhost:65535", "", true, true},
        {"http://LocalHost:1", "http://LocalHost:1", "", false, true},
        {"http://[::1]:80/x", "http://[::1]:80/x", "", false, true},
        {"http://[0:0:0:0:0:0:0:1]", "http://[0:0:0:0:0:0:0:1]", "", false, true},
        {"http://[2001:db8::1]/x", "http://[2001:db8::1]/x", "", false, false},
        {"http://[::ffff:127.0.0.1]", "http://[::ffff:127.0.0.1]", "", false, false},
        {"http://128.0.0.1", "http://128.0.0.1", "", false, false},
        {"http://127.1", "http://127.1", "", false, false},
        {"http://127.0.0.1.example", "http://127.0.0.1.example", "", false, false},
        {"http://localhost.example", "http://localhost.example", "", false, false},
        {"http://my_host-1.example./x", "http://my_host-1.example./x", "", false, false},
        {"http://h/a-b._~!$&'()*+,;=:@%41/c..d/...", "http://h/a-b._~!$&'()*+,;=:@%41/c..d/...", "", false, false},

        {"http://azAZ09:9/%af%FA%09/zZ", "http://azAZ09:9/%af%FA%09/zZ", "", false, false},

        {"http://unix:/run/nginx/api.sock:/client/v4", "http://localhost/client/v4", "/run/nginx/api.sock", false,
         true},
        {"http://unix:/run/api.sock", "http://localhost", "/run/api.sock", false, true},
        {"http://unix:/run/api.sock:", "http://localhost", "/run/api.sock", false, true},
        {"http://unix:/run/api.sock:/", "http://localhost", "/run/api.sock", false, true},
        {"http://UNIX:/a b?#@:/v4/", "http://localhost/v4", "/a b?#@", false, true},
        {"http://unix/x", "http://unix/x", "", false, false},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ais_error err = {""};
        struct ais_url url;

        memset(&url, 0xAA, sizeof(url));
        if (ais_url_parse(&url, cases[i].text, &err) != 0)
            fail_msg("\"%s\": %s", cases[i].text, err.text);
        assert_string_equal(err.text, "");
        assert_string_equal(url.base, cases[i].base);
        assert_string_equal(url.unix_socket, cases[i].unix_socket);
        if (url.tls != cases[i].tls || url.loopback != cases[i].loopback)
            fail_msg("\"%s\": tls %d, loopback %d", cases[i].text, url.tls, url.loopback);
    }
}

/* Each refusal has its own reason, and never contains the text, which may include a password. */
static void test_bad(void **state)
{
    static const struct {
        const char *text;
        const char *reason;
    } cases[] = {
        {"", "begin with"},
        {"api.cloudflare.com/client/v4", "begin with"},
        {"ftp://host", "begin with"},
        {"file:///etc/passwd", "begin with"},
        {"https:/host", "begin with"},
        {" https://host", "begin with"},
        {"https//host", "begin with"},

        {"http://", "no host"},
        {"http:///client/v4", "no host"},
        {"http://:80/x", "no host"},
        {"http://" X250 "xxxxxx", "no host"},
        {"http://[]/x", "no host"},

        {"http://user:s3cret@host/x", "user"},
        {"http://s3cret@host", "user"},
        {"http://@host", "user"},
        {"http://host@", "user"},

        {"http://h?s3cret=1", "query"},
        {"http://h/x?s3cret=1", "query"},
        {"http://h/x?", "query"},
        {"http://h/x#s3cret", "query"},
        {"http://h#", "query"},
        {"http://unix:/s:/x?s3cret", "query"},
        {"http://unix:/s:/x#s3cret", "query"},

        {"http://.", "single"},
        {"http://.h", "single"},
        {"http://a..b", "single"},
        {"http://h h/x", "letters"},
        {"http://h\\x", "letters"},
        {"http://h%41", "letters"},
        {"http://b\xC3\xBC"
         "cher.example",
         "letters"},
        {"http://h\r\nX-Header: s3cret", "letters"},
        {"http://$host", "letters"},

        {"https://api.cloudflare.com", "must end with \"/client/v4\"; use https://api.cloudflare.com/client/v4"},
        {"https://API.cloudflare.com/", "must end with \"/client/v4\""},
        {"https://api.cloudflare.com:443/v4", "must end with \"/client/v4\""},
        {"https://api.cloudflare.com/client/v4/accounts", "must end with \"/client/v4\""},
        {"http://api.cloudflare.com/client/v4", "plain http; use https://api.cloudflare.com/client/v4"},
        {"http://h:443/x", "port 443 is for https"},
        {"https://h:80/x", "port 80 is for plain http"},
        {"https://[::1]:80", "port 80 is for plain http"},
        {"https://dash.cloudflare.com/client/v4", "this is the dashboard; the API is at https://api.cloudflare.com"},

        {"http://h:", "port"},
        {"http://h:/x", "port"},
        {"http://h:0", "port"},
        {"http://h:65536", "port"},
        {"http://h:123456", "port"},
        {"http://h:8o", "port"},
        {"http://h:-1", "port"},
        {"http://h:80:80", "port"},
        {"http://h:000080", "port"},
        {"http://[::1]x", "port"},
        {"http://[::1]x80", "port"},
        {"http://[::1]]", "port"},

        {"http://[::1", "closing"},
        {"http://[::1/]", "closing"},
        {"http://[::1:80/x", "closing"},
        {"http://[::g]", "not an IPv6"},
        {"http://[127.0.0.1]", "not an IPv6"},
        {"http://[fe80::1%25eth0]", "not an IPv6"},

        {"http://h/..", "\"..\""},
        {"http://h/.", "\"..\""},
        {"http://h/a/../b", "\"..\""},
        {"http://h/a/./b", "\"..\""},
        {"http://h/../", "\"..\""},
        {"http://h/%2e%2E/b", "\"..\""},
        {"http://h/.%2e", "\"..\""},
        {"http://h/%2E/x", "\"..\""},
        {"http://unix:/s:/..", "\"..\""},

        {"http://h/a b", "percent-encoded"},
        {"http://h/a\"b", "percent-encoded"},
        {"http://h/\xC3\xA9", "percent-encoded"},
        {"http://h/a\r\n", "percent-encoded"},
        {"http://h/{x}", "percent-encoded"},
        {"http://h/%", "two hex"},
        {"http://h/%4", "two hex"},
        {"http://h/%g0", "two hex"},
        {"http://h/%G0", "two hex"},
        {"http://h/%0g", "two hex"},

        {"https://unix:/run/api.sock:/x", "without TLS"},
        {"http://unix:", "absolute"},
        {"http://unix:/", "absolute"},
        {"http://unix:run/api.sock", "absolute"},
        {"http://unix::/x", "absolute"},
        {"http://unix:/run/api.sock:client", "begin with a slash"},
        {"http://unix:/" X50 X50 "xxxxxxx", "too long"},

        {"http://h/" X1000 "xxxxxxxxxxxxxxx", "too long"},
        {"https://h/" X1000 X1000, "too long"},
        {"http://unix:/s:/" X1000 X10, "too long"},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ais_error err = {""};
        struct ais_url url;

        if (ais_url_parse(&url, cases[i].text, &err) != -1 || strstr(err.text, cases[i].reason) == NULL)
            fail_msg("\"%s\": \"%s\"", cases[i].text, err.text);
        assert_null(strstr(err.text, "s3cret"));
        assert_int_equal(ais_url_parse(&url, cases[i].text, NULL), -1);
    }
}

static void test_lengths(void **state)
{
    struct ais_url url;

    (void) state;
    assert_int_equal(ais_url_parse(&url, "http://unix:/" X50 X50 "xxxxxx:/v4", NULL), 0);
    assert_int_equal(strlen(url.unix_socket), 107);
    assert_int_equal(ais_url_parse(&url, "http://h/" X1000 "xxxxxxxxxxxxxx", NULL), 0);
    assert_int_equal(strlen(url.base), 1023);
    assert_int_equal(ais_url_parse(&url, "http://" X250 "xxxxx", NULL), 0);
}

static void test_proxy(void **state)
{
    static const char *const good[] = {"http://egress.internal:3128", "http://10.0.0.1", "HTTP://[2001:db8::1]:8080",
                                       "http://localhost:1"};
    static const struct {
        const char *text;
        const char *reason;
    } bad[] = {
        {"", "http://HOST:PORT"},
        {"egress.internal:3128", "http://HOST:PORT"},
        {"https://egress.internal:3128", "http://HOST:PORT"},
        {"socks5://egress.internal:1080", "http://HOST:PORT"},
        {"http://", "no host"},
        {"http://user:s3cret@egress.internal:3128", "user"},
        {"http://egress.internal:3128/", "nothing may follow"},
        {"http://egress.internal:3128/x?y", "nothing may follow"},
        {"http://egress.internal?x", "letters"},
        {"http://egress.internal:http", "port"},
        {"http://unix:/run/proxy.sock", "port"},
    };
    struct ais_error err = {""};

    (void) state;
    for (size_t i = 0; i < COUNT(good); i++)
        assert_int_equal(ais_url_check_proxy(good[i], &err), 0);
    assert_string_equal(err.text, "");

    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(ais_url_check_proxy(bad[i].text, NULL), -1);
        if (ais_url_check_proxy(bad[i].text, &err) != -1 || strstr(err.text, bad[i].reason) == NULL)
            fail_msg("\"%s\": \"%s\"", bad[i].text, err.text);
        assert_null(strstr(err.text, "s3cret"));
    }
}

/* Nothing after the end of the text is read, wherever it ends. */
static void test_every_prefix(void **state)
{
    static const char *const texts[] = {"https://[2001:db8::1]:8443/a%2eb/../c", "http://unix:/run/a.sock:/v4/%41/.",
                                        "http://user@host:1/?#"};

    (void) state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        for (size_t len = 0; len <= strlen(texts[i]); len++) {
            char *text = malloc(len + 1);
            struct ais_url url;

            assert_non_null(text);
            memcpy(text, texts[i], len);
            text[len] = '\0';
            if (ais_url_parse(&url, text, NULL) == 0)
                assert_true(strlen(url.base) >= strlen("http://x"));
            (void) ais_url_check_proxy(text, NULL);
            free(text);
        }
    }
}

static void test_api(void **state)
{
    struct ais_url url;

    (void) state;
    assert_int_equal(ais_url_parse(&url, "https://Api.Cloudflare.com:443/client/v4/", NULL), 0);
    assert_true(url.api);
    assert_int_equal(ais_url_parse(&url, "https://api.cloudflare.com.example/client/v4", NULL), 0);
    assert_false(url.api);
    assert_int_equal(ais_url_parse(&url, "http://unix:/api.cloudflare.com:/client", NULL), 0);
    assert_false(url.api);
}

static void test_secrecy(void **state)
{
    static const struct {
        const char *text;
        enum ais_url_secrecy direct;
        enum ais_url_secrecy by_proxy;
    } cases[] = {
        {"https://api.cloudflare.com/client/v4", AIS_URL_SECRET, AIS_URL_SECRET},
        {"https://127.0.0.1", AIS_URL_SECRET, AIS_URL_SECRET},
        {"http://api.example.com/client/v4", AIS_URL_OPEN, AIS_URL_OPEN},
        {"http://10.0.0.1", AIS_URL_OPEN, AIS_URL_OPEN},
        {"http://127.0.0.1:8080", AIS_URL_SECRET, AIS_URL_OPEN_TO_PROXY},
        {"http://localhost", AIS_URL_SECRET, AIS_URL_OPEN_TO_PROXY},
        {"http://[::1]:8080/client/v4", AIS_URL_SECRET, AIS_URL_OPEN_TO_PROXY},
        {"http://unix:/run/api.sock:/client/v4", AIS_URL_SECRET, AIS_URL_SECRET},
    };

    (void) state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ais_url url;

        assert_int_equal(ais_url_parse(&url, cases[i].text, NULL), 0);
        if (ais_url_secrecy(&url, false) != cases[i].direct || ais_url_secrecy(&url, true) != cases[i].by_proxy)
            fail_msg("\"%s\"", cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),  cmocka_unit_test(test_bad),          cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_proxy), cmocka_unit_test(test_every_prefix), cmocka_unit_test(test_secrecy),
        cmocka_unit_test(test_api),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
