/* Credentials: what a file may contain, the messages about invalid ones, and where the secret is kept. */

#include "unit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ais_credential.h"

#define CANARY "canary0Token-1.2_3~4+5/6="

static char dir[] = "/tmp/ais-credential-XXXXXX";

static int make_dir(void **state)
{
    (void) state;
    return mkdtemp(dir) != NULL ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void) state;
    return rmdir(dir);
}

static const char *path_of(const char *name)
{
    static char path[sizeof(dir) + 64];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static const char *write_file(const void *content, size_t len)
{
    const char *path = path_of("secret");
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(content, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
    return path;
}

struct lines {
    char text[3][4200];
    const char *address; /* in the line that was last passed to add() */
    int n;
    int stop_after;
};

static int add(void *data, const char *header)
{
    struct lines *lines = data;

    assert_true(lines->n < 3);
    snprintf(lines->text[lines->n], sizeof(lines->text[0]), "%s", header);
    lines->address = header;
    lines->n++;
    return lines->n == lines->stop_after ? 7 : 0;
}

static void expect_token(const void *content, size_t len, const char *header)
{
    struct ais_error err = {""};
    struct lines *lines = calloc(1, sizeof(*lines));
    struct ais_credential *cred = ais_credential_token(write_file(content, len), &err);

    unlink(path_of("secret"));
    if (cred == NULL) {
        fail_msg("%s", err.text);
    }
    assert_string_equal(err.text, "");
    assert_int_equal(ais_credential_headers(cred, add, lines), 0);
    assert_int_equal(lines->n, 1);
    assert_string_equal(lines->text[0], header);
    ais_credential_free(cred);
    free(lines);
}

static void test_token(void **state)
{
    (void) state;
    expect_token(CANARY, strlen(CANARY), "Authorization: Bearer " CANARY);
    expect_token(CANARY "\n", strlen(CANARY) + 1, "Authorization: Bearer " CANARY);
    expect_token(CANARY "\r\n", strlen(CANARY) + 2, "Authorization: Bearer " CANARY);
    expect_token("A==", 3, "Authorization: Bearer A==");
    expect_token("~\n", 2, "Authorization: Bearer ~");
}

static void test_longest_token(void **state)
{
    char content[4096 + 2];
    char header[4200] = "Authorization: Bearer ";

    (void) state;
    memset(content, 'x', 4096);
    memset(header + strlen(header), 'x', 4096);
    memcpy(content + 4096, "\r\n", 2);
    expect_token(content, 4096, header);
    expect_token(content, 4098, header);
}

/* The message contains the file, the fault and the remedy, but nothing of the content. */
static void expect_refusal(const void *content, size_t len, const char *fault, const char *cure)
{
    struct ais_error err = {""};
    const char *path = write_file(content, len);

    assert_null(ais_credential_token(path, &err));
    unlink(path);
    assert_non_null(strstr(err.text, "token file \""));
    assert_non_null(strstr(err.text, path));
    assert_non_null(strstr(err.text, fault));
    assert_non_null(strstr(err.text, cure));
    assert_null(strstr(err.text, "canary"));
    assert_null(strchr(err.text, '\n'));
}

#define ALONE "write only the API token into it, on one line"

static void test_bad_content(void **state)
{
    char too_long[5000];

    (void) state;
    expect_refusal("", 0, "empty", "write the API token into it");
    expect_refusal("\n", 1, "empty", "write the API token into it");
    expect_refusal("\r\n", 2, "empty", "write the API token into it");
    expect_refusal("canary\n\n", 8, "a line break at offset 6", ALONE);
    expect_refusal("canary\ncanary\n", 14, "a line break at offset 6", ALONE);
    expect_refusal("canary\r", 7, "a line break at offset 6", ALONE);
    expect_refusal("canary\r\r\n", 9, "a line break at offset 6", ALONE);
    expect_refusal(" canary", 7, "white space at offset 0", ALONE);
    expect_refusal("canary \n", 8, "white space at offset 6", ALONE);
    expect_refusal("can\tary", 7, "white space at offset 3", ALONE);
    expect_refusal("can\0ary", 7, "a byte that is not visible ASCII at offset 3", ALONE);
    expect_refusal("canary\0", 7, "a byte that is not visible ASCII at offset 6", ALONE);
    expect_refusal("\xef\xbb\xbf"
                   "canary",
                   9, "a byte order mark at offset 0", ALONE);
    expect_refusal("\xff\xfe"
                   "c\0a\0",
                   6, "a byte order mark at offset 0", ALONE);
    expect_refusal("can\xef\xbb\xbf", 6, "a byte that is not visible ASCII at offset 3", ALONE);
    expect_refusal("canary\x7f", 7, "a byte that is not visible ASCII at offset 6", ALONE);

    expect_refusal("\"canary\"\n", 9, "a quotation mark at offset 0", ALONE);
    expect_refusal("canary'", 7, "a quotation mark at offset 6", ALONE);
    expect_refusal("TOKEN=canary", 12, "a \"=\", as in NAME=VALUE, at offset 5", ALONE);
    expect_refusal("canary=x=", 9, "a \"=\", as in NAME=VALUE, at offset 6", ALONE);
    expect_refusal("=", 1, "a \"=\", as in NAME=VALUE, at offset 0", ALONE);
    expect_refusal("token:canary", 12, "a \":\", as in a header, at offset 5", ALONE);
    expect_refusal("${canary}", 9, "a character that no token or key contains at offset 0", ALONE);
    expect_refusal("<canary>", 8, "a character that no token or key contains at offset 0", ALONE);
    expect_refusal("Bearer canary", 13, "begins with the name of a header or with \"Bearer\"", ALONE);
    expect_refusal("Authorization: Bearer canary", 28, "begins with the name of a header or with \"Bearer\"", ALONE);
    expect_refusal("X-Auth-Key: canary", 18, "begins with the name of a header or with \"Bearer\"", ALONE);

    memset(too_long, 'c', sizeof(too_long));
    expect_refusal(too_long, 4097, "longer than 4096 bytes", "write only the API token into it");
    expect_refusal(too_long, sizeof(too_long), "longer than 4096 bytes", "write only the API token into it");
    too_long[4097] = '\n';
    expect_refusal(too_long, 4098, "longer than 4096 bytes", "write only the API token into it");
}

static void expect_unreadable(const char *path, const char *fault)
{
    struct ais_error err = {""};

    assert_null(ais_credential_token(path, &err));
    assert_non_null(strstr(err.text, path));
    assert_non_null(strstr(err.text, fault));
}

static void test_bad_file(void **state)
{
    (void) state;
    expect_unreadable(path_of("missing"), "No such file or directory; check the path");
    expect_unreadable(dir, "not a regular file");
    expect_unreadable("/dev/null", "not a regular file");

    /* There is no writer: opening it must not block. */
    assert_int_equal(mkfifo(path_of("fifo"), 0600), 0);
    expect_unreadable(path_of("fifo"), "not a regular file");
    unlink(path_of("fifo"));

    assert_null(ais_credential_token(path_of("missing"), NULL));
}

/* A token that was written in place of a file name is not shown. */
static void test_secret_instead_of_a_file(void **state)
{
    struct ais_error err = {""};

    (void) state;
    assert_null(ais_credential_token(path_of("canary7890123456789012345678901234567"), &err));
    assert_null(strstr(err.text, "canary"));
    assert_non_null(strstr(err.text, "its name looks like the API token itself; write that into a file"));
    expect_unreadable(path_of("cloudflare-token-of-the-team-that-writes-docs-2.txt"), "No such file");
    expect_unreadable(path_of("cloudflare-token-of-the-team-that-writes-docs"), "No such file");
}

static struct ais_credential *load(const char *email, const char *secret)
{
    struct ais_error err = {""};
    const char *file = write_file(secret, strlen(secret));
    struct ais_credential *cred =
        email ? ais_credential_email_key(email, file, &err) : ais_credential_token(file, &err);

    assert_non_null(cred);
    unlink(path_of("secret"));
    return cred;
}

static void expect_oddity(const char *email, const char *secret, const char *text)
{
    struct ais_credential *cred = load(email, secret);
    const char *oddity = ais_credential_oddity(cred);

    if (text == NULL)
        assert_null(oddity);
    else
        assert_non_null(strstr(oddity, text));
    ais_credential_free(cred);
}

#define HEX32 "0123456789abcdef0123456789abcdef"
#define WORD40 "abcdefghijklmnopqrstuvwxyz-_ABCDEFGHIJKL"

static void test_oddity(void **state)
{
    (void) state;
    expect_oddity(NULL, HEX32, "looks like the ID of an account or a zone");
    expect_oddity("a@example.com", HEX32, "looks like the ID of an account or a zone");
    expect_oddity(NULL, HEX32 "01234", "looks like an API key, not like a token");
    expect_oddity(NULL, "cfk_" WORD40, "looks like an API key, not like a token");
    expect_oddity("a@example.com", WORD40, "looks like an API token, not like a key");
    expect_oddity("a@example.com", "cfut_" WORD40, "looks like an API token, not like a key");
    expect_oddity(NULL, WORD40, NULL);
    expect_oddity(NULL, "cfut_" WORD40, NULL);
    expect_oddity(NULL, "token", NULL);
    expect_oddity("a@example.com", HEX32 "01234", NULL);
    expect_oddity("a@example.com", "cfk_" WORD40, NULL);
}

static void test_no_permission(void **state)
{
    struct ais_error err = {""};
    const char *path = write_file(CANARY, strlen(CANARY));
    struct ais_credential *cred;
    bool root = geteuid() == 0; /* a user who can read everything */

    (void) state;
    assert_int_equal(chmod(path, 0), 0);
    assert_int_equal(chmod(dir, 0711), 0);
    if (root && seteuid(65534) == -1) {
        skip();
    }
    cred = ais_credential_token(path, &err);
    if (root) {
        assert_int_equal(seteuid(0), 0);
    }
    unlink(path);
    assert_null(cred);
    assert_non_null(strstr(err.text, "Permission denied; make it readable by the user that starts the daemon"));
}

static void test_symbolic_link(void **state)
{
    struct ais_error err = {""};
    struct ais_credential *cred;

    (void) state;
    write_file(CANARY, strlen(CANARY));
    assert_int_equal(symlink("secret", path_of("link")), 0);
    cred = ais_credential_token(path_of("link"), &err);
    assert_non_null(cred);
    ais_credential_free(cred);
    unlink(path_of("link"));
    unlink(path_of("secret"));
}

static void test_email_and_key(void **state)
{
    struct ais_error err = {""};
    struct lines *lines = calloc(1, sizeof(*lines));
    struct ais_credential *cred;

    (void) state;
    cred = ais_credential_email_key("user@example.com", write_file("canaryKey\n", 10), &err);
    assert_non_null(cred);
    assert_int_equal(ais_credential_headers(cred, add, lines), 0);
    assert_int_equal(lines->n, 2);
    assert_string_equal(lines->text[0], "X-Auth-Email: user@example.com");
    assert_string_equal(lines->text[1], "X-Auth-Key: canaryKey");
    ais_credential_free(cred);

    assert_null(ais_credential_email_key("user@example.com", write_file("", 0), &err));
    assert_non_null(strstr(err.text, "key file \""));
    assert_non_null(strstr(err.text, "empty; write the API key into it"));
    unlink(path_of("secret"));
    free(lines);
}

static void test_equal(void **state)
{
    static const struct {
        const char *email;
        const char *secret;
    } other[] = {
        {NULL, "tokeN"}, {NULL, "Token"}, {NULL, "toke"}, {NULL, "token2"}, {"a@example.com", "token"},
    };
    struct ais_credential *token = load(NULL, "token");
    struct ais_credential *same = load(NULL, "token\n");
    struct ais_credential *key = load("b@example.com", "token");

    (void) state;
    assert_true(ais_credential_equal(token, token));
    assert_true(ais_credential_equal(token, same));
    assert_true(ais_credential_equal(key, key));

    for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++) {
        struct ais_credential *cred = load(other[i].email, other[i].secret);

        assert_false(ais_credential_equal(token, cred));
        assert_false(ais_credential_equal(cred, token));
        assert_false(ais_credential_equal(cred, key));
        ais_credential_free(cred);
    }

    ais_credential_free(token);
    ais_credential_free(same);
    ais_credential_free(key);
}

static void test_bad_email(void **state)
{
    static const char *const bad[] = {
        "",
        "user",
        "@example.com",
        "user@",
        "us er@example.com",
        "user@example.com\r\nX-Evil: 1",
        "us\xc3\xa9r@example.com",
    };
    struct ais_error err;
    char too_long[300];
    size_t i;

    (void) state;
    for (i = 0; i < COUNT(bad); i++) {
        err.text[0] = '\0';
        assert_null(ais_credential_email_key(bad[i], "/nonexistent", &err));
        assert_non_null(strstr(err.text, "not an email address; use"));
    }
    memset(too_long, 'a', sizeof(too_long) - 1);
    too_long[sizeof(too_long) - 1] = '\0';
    too_long[1] = '@';
    assert_null(ais_credential_email_key(too_long, "/nonexistent", &err));
    assert_non_null(strstr(err.text, "not an email address; use"));

    too_long[254] = '\0'; /* exactly right: now the error is that the file is missing */
    assert_null(ais_credential_email_key(too_long, "/nonexistent", &err));
    assert_non_null(strstr(err.text, "No such file"));
}

static void test_add_stops(void **state)
{
    struct lines *lines = calloc(1, sizeof(*lines));
    struct ais_credential *cred = ais_credential_email_key("u@h", write_file("k", 1), NULL);

    (void) state;
    unlink(path_of("secret"));
    assert_non_null(cred);
    lines->stop_after = 1;
    assert_int_equal(ais_credential_headers(cred, add, lines), 7);
    assert_int_equal(lines->n, 1);
    ais_credential_free(cred);
    free(lines);
}

static void test_wipe(void **state)
{
    char buf[16];
    size_t i;

    (void) state;
    memset(buf, 'x', sizeof(buf));
    ais_wipe(buf + 1, sizeof(buf) - 2);
    assert_int_equal(buf[0], 'x');
    assert_int_equal(buf[sizeof(buf) - 1], 'x');
    for (i = 1; i < sizeof(buf) - 1; i++) {
        assert_int_equal(buf[i], 0);
    }
    ais_wipe(NULL, 0);
    ais_credential_free(NULL);
}

/* The flags of the mapping that contains p, from /proc/self/smaps. */
static void flags_of(const void *p, char *flags, size_t size)
{
    FILE *f = fopen("/proc/self/smaps", "r");
    char line[512];
    bool inside = false;

    assert_non_null(f);
    flags[0] = '\0';
    while (fgets(line, sizeof(line), f) != NULL) {
        unsigned long from;
        unsigned long to;

        if (sscanf(line, "%lx-%lx ", &from, &to) == 2) {
            inside = (unsigned long) p >= from && (unsigned long) p < to;
        } else if (inside && strncmp(line, "VmFlags:", 8) == 0) {
            snprintf(flags, size, "%s", line);
        }
    }
    fclose(f);
}

static void test_not_in_core_dumps(void **state)
{
    struct ais_credential *cred = ais_credential_token(write_file(CANARY, strlen(CANARY)), NULL);
    char flags[512];

    (void) state;
    unlink(path_of("secret"));
    assert_non_null(cred);
    flags_of(cred, flags, sizeof(flags));
    if (flags[0] == '\0') {
        ais_credential_free(cred);
        skip(); /* a kernel without smaps */
    }
    assert_non_null(strstr(flags, " dd"));
    ais_credential_free(cred);
}

/* Files that change. */

static void rewrite(const char *content)
{
    write_file(content, strlen(content));
}

/* Like an editor, or mv. */
static void replace(const char *content)
{
    char to[sizeof(dir) + 64];

    snprintf(to, sizeof(to), "%s", path_of("secret"));
    rewrite("something else");
    assert_int_equal(rename(to, path_of("other")), 0);
    rewrite(content);
    unlink(path_of("other"));
}

static struct ais_credential *load_to_renew(const char *email, const char *secret)
{
    const char *file = write_file(secret, strlen(secret));
    struct ais_credential *cred =
        email ? ais_credential_email_key(email, file, NULL) : ais_credential_token(file, NULL);

    assert_non_null(cred);
    assert_string_equal(ais_credential_file(cred), file);
    return cred;
}

static void expect_header(const struct ais_credential *cred, const char *header)
{
    struct lines *lines = calloc(1, sizeof(*lines));

    assert_int_equal(ais_credential_headers(cred, add, lines), 0);
    assert_string_equal(lines->text[lines->n - 1], header);
    free(lines);
}

static void test_renew(void **state)
{
    struct ais_error err = {""};
    struct ais_credential *cred = load_to_renew(NULL, "first");
    uint64_t version = ais_credential_version(cred);

    (void) state;
    assert_true(version != 0);
    assert_int_equal(ais_credential_renew(&cred, &err), AIS_RENEWAL_NONE);
    assert_true(ais_credential_version(cred) == version);
    expect_header(cred, "Authorization: Bearer first");

    rewrite("in place");
    assert_int_equal(ais_credential_renew(&cred, &err), AIS_RENEWAL_UNUSABLE); /* it contains a space */
    rewrite("in-place\n");
    assert_int_equal(ais_credential_renew(&cred, &err), AIS_RENEWAL_DONE);
    expect_header(cred, "Authorization: Bearer in-place");
    assert_true(ais_credential_version(cred) != version);
    version = ais_credential_version(cred);

    replace("replaced");
    assert_int_equal(ais_credential_renew(&cred, &err), AIS_RENEWAL_DONE);
    expect_header(cred, "Authorization: Bearer replaced");
    assert_true(ais_credential_version(cred) != version);
    assert_int_equal(ais_credential_renew(&cred, &err), AIS_RENEWAL_NONE);

    unlink(path_of("secret"));
    ais_credential_free(cred);
}

static void test_renew_key(void **state)
{
    struct ais_credential *cred = load_to_renew("user@example.com", "first");

    (void) state;
    rewrite("the-second");
    assert_int_equal(ais_credential_renew(&cred, NULL), AIS_RENEWAL_DONE);
    expect_header(cred, "X-Auth-Key: the-second");
    unlink(path_of("secret"));
    ais_credential_free(cred);
}

/* It is reported once, and the previous content stays in use. */
static void expect_kept(struct ais_credential **cred, enum ais_renewal renewal, const char *fault)
{
    struct ais_error err = {""};

    assert_int_equal(ais_credential_renew(cred, &err), renewal);
    assert_non_null(strstr(err.text, path_of("secret")));
    assert_non_null(strstr(err.text, fault));
    assert_null(strstr(err.text, "canary"));
    assert_int_equal(ais_credential_renew(cred, &err), AIS_RENEWAL_NONE);
    expect_header(*cred, "Authorization: Bearer first");
}

static void test_renew_keeps_the_old_content(void **state)
{
    struct ais_credential *cred = load_to_renew(NULL, "first");

    (void) state;
    rewrite("");
    expect_kept(&cred, AIS_RENEWAL_UNUSABLE, "empty; write the API token into it");
    rewrite("canary canary");
    expect_kept(&cred, AIS_RENEWAL_UNUSABLE, "white space at offset 6");
    unlink(path_of("secret"));
    expect_kept(&cred, AIS_RENEWAL_UNUSABLE, "No such file or directory; check the path");
    assert_int_equal(mkdir(path_of("secret"), 0700), 0);
    expect_kept(&cred, AIS_RENEWAL_UNUSABLE, "not a regular file");
    assert_int_equal(rmdir(path_of("secret")), 0);

    rewrite("second");
    assert_int_equal(ais_credential_renew(&cred, NULL), AIS_RENEWAL_DONE);
    expect_header(cred, "Authorization: Bearer second");
    unlink(path_of("secret"));
    ais_credential_free(cred);
}

static void test_renew_without_permission(void **state)
{
    struct ais_credential *cred = load_to_renew(NULL, "first");
    bool root = geteuid() == 0;

    (void) state;
    rewrite("canary");
    assert_int_equal(chmod(path_of("secret"), 0), 0);
    assert_int_equal(chmod(dir, 0711), 0);
    if (root && seteuid(65534) == -1) {
        skip();
    }
    expect_kept(&cred, AIS_RENEWAL_CLOSED, "Permission denied");
    if (root) {
        assert_int_equal(seteuid(0), 0);
    }
    unlink(path_of("secret"));
    ais_credential_free(cred);
}

static bool exposed(mode_t mode)
{
    struct ais_credential *cred;
    bool is_exposed;

    rewrite("token");
    assert_int_equal(chmod(path_of("secret"), mode), 0);
    cred = ais_credential_token(path_of("secret"), NULL);
    assert_non_null(cred);
    is_exposed = ais_credential_exposed(cred) != NULL;
    ais_credential_free(cred);
    unlink(path_of("secret"));
    return is_exposed;
}

static void test_modes(void **state)
{
    (void) state;
    assert_false(exposed(0400));
    assert_false(exposed(0600));
    assert_false(exposed(0640));
    assert_false(exposed(0660));
    assert_true(exposed(0644));
    assert_true(exposed(0604));
    assert_true(exposed(0602));
}

/* systemd credentials. */

static void expect_no_path(const char *value, const char *fault)
{
    struct ais_error err = {""};
    char path[AIS_CREDENTIAL_PATH_MAX];

    assert_int_equal(ais_credential_path(path, value, "nginx.service nginx -t", &err), -1);
    assert_non_null(strstr(err.text, fault));
    assert_null(strstr(err.text, "canary"));
}

static void test_named(void **state)
{
    char path[AIS_CREDENTIAL_PATH_MAX];
    char too_long[AIS_CREDENTIAL_PATH_MAX + 64];

    (void) state;
    assert_true(ais_credential_is_named("credential:docs"));
    assert_true(ais_credential_is_named("credential:"));
    assert_false(ais_credential_is_named("credential"));
    assert_false(ais_credential_is_named("/credential:docs"));

    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", "/run/credentials/nginx.service", 1), 0);
    assert_int_equal(ais_credential_path(path, "credential:docs.token", "", NULL), 0);
    assert_string_equal(path, "/run/credentials/nginx.service/docs.token");

    expect_no_path("credential:", "not the name of a credential; use \"credential:NAME\"");
    expect_no_path("credential:canary/docs", "not the name of a credential");
    expect_no_path("credential:/canary", "not the name of a credential");
    expect_no_path("credential:.", "not the name of a credential");
    expect_no_path("credential:..", "not the name of a credential");

    memset(too_long, 'a', sizeof(too_long) - 1);
    too_long[sizeof(too_long) - 1] = '\0';
    memcpy(too_long, "credential:", strlen("credential:"));
    expect_no_path(too_long, "too long");

    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", "relative", 1), 0);
    expect_no_path("credential:canary", "sudo CREDENTIALS_DIRECTORY=/run/credentials/nginx.service nginx -t");
    assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
    expect_no_path("credential:canary", "sudo CREDENTIALS_DIRECTORY=/run/credentials/nginx.service nginx -t");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_token),
        cmocka_unit_test(test_longest_token),
        cmocka_unit_test(test_bad_content),
        cmocka_unit_test(test_bad_file),
        cmocka_unit_test(test_secret_instead_of_a_file),
        cmocka_unit_test(test_oddity),
        cmocka_unit_test(test_no_permission),
        cmocka_unit_test(test_symbolic_link),
        cmocka_unit_test(test_email_and_key),
        cmocka_unit_test(test_equal),
        cmocka_unit_test(test_bad_email),
        cmocka_unit_test(test_add_stops),
        cmocka_unit_test(test_wipe),
        cmocka_unit_test(test_not_in_core_dumps),
        cmocka_unit_test(test_renew),
        cmocka_unit_test(test_renew_key),
        cmocka_unit_test(test_renew_keeps_the_old_content),
        cmocka_unit_test(test_renew_without_permission),
        cmocka_unit_test(test_modes),
        cmocka_unit_test(test_named),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
