/*
 * Credential files: a line with the email address (empty: it is a token), followed by the content of the file; after a
 * line "%then", the content that it has later. A first line "credential:NAME" names one of systemd's credentials.
 */

#define _GNU_SOURCE
#include "fuzz.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ais_credential.h"

#define THEN "\n%then\n"
#define DIRECTORY "/run/credentials/nginx.service"

/* A file without a name that others could see; each reader opens it anew and so starts at its beginning. */
static char path[64];
static int fd;

static void set_up(void)
{
    fd = memfd_create("credential", MFD_CLOEXEC);
    MUST(fd != -1);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    MUST(setenv("CREDENTIALS_DIRECTORY", DIRECTORY, 1) == 0);
}

/* With a different time at each call, independent of the clock. */
static void write_file(struct ais_str content)
{
    static struct timespec times[2];

    times[1].tv_sec++;
    MUST(fchmod(fd, content.len % 2 == 0 ? 0600 : 0640 | S_IROTH) == 0);
    MUST(ftruncate(fd, 0) == 0);
    MUST(pwrite(fd, content.data, content.len, 0) == (ssize_t) content.len);
    MUST(futimens(fd, times) == 0);
}

struct seen {
    struct ais_str secret;
    unsigned lines;
    bool has_secret;
};

static int on_header(void *data, const char *line)
{
    struct seen *seen = data;
    size_t len = strlen(line);

    MUST(strstr(line, ": ") != NULL);
    for (size_t i = 0; i < len; i++)
        MUST(line[i] >= 0x20 && line[i] < 0x7f);
    seen->lines++;
    if (len >= seen->secret.len && memcmp(line + len - seen->secret.len, seen->secret.data, seen->secret.len) == 0)
        seen->has_secret = true;
    return 0;
}

static int refuse(void *data, const char *line)
{
    (void) data;
    (void) line;
    return 7;
}

/* The headers contain the secret as in the file, without the line ending. */
static void check_headers(const struct ais_credential *cred, struct ais_str content, bool token)
{
    struct seen seen = {.secret = content};

    if (seen.secret.len > 0 && seen.secret.data[seen.secret.len - 1] == '\n')
        seen.secret.len--;
    if (seen.secret.len > 0 && seen.secret.data[seen.secret.len - 1] == '\r')
        seen.secret.len--;
    MUST(seen.secret.len >= 1 && seen.secret.len <= 4096);
    MUST(ais_credential_headers(cred, on_header, &seen) == 0);
    MUST(seen.lines == (token ? 1 : 2) && seen.has_secret);
    MUST(ais_credential_headers(cred, refuse, NULL) == 7);
}

/* Even an error message reveals nothing of the file. (The message's own words are shorter, or contain one of these
 * characters.) */
static void check_refusal(const struct ais_error *err, struct ais_str content)
{
    enum { SHOWN = 12 };

    MUST(err->text[0] != '\0');
    if (content.len < SHOWN)
        return;
    for (size_t i = 0; i < SHOWN; i++) {
        if (strchr(" /@", content.data[i]) != NULL) /* or NUL */
            return;
    }
    MUST(memmem(err->text, strlen(err->text), content.data, SHOWN) == NULL);
}

static struct ais_credential *load(const char *email, struct ais_error *err)
{
    return email[0] == '\0' ? ais_credential_token(path, err) : ais_credential_email_key(email, path, err);
}

static void check_credential(const struct ais_credential *cred, const char *email, struct ais_str content)
{
    struct ais_credential *twin = load(email, NULL);
    const char *oddity = ais_credential_oddity(cred);

    MUST(oddity == NULL || oddity[0] != '\0');
    MUST(twin != NULL && ais_credential_equal(cred, twin));
    MUST(ais_credential_version(cred) != 0 && ais_credential_version(cred) == ais_credential_version(twin));
    MUST(ais_credential_seen(cred) == ais_credential_version(cred));
    MUST(strcmp(ais_credential_file(cred), path) == 0);
    MUST((ais_credential_exposed(cred) != NULL) == (content.len % 2 != 0));
    check_headers(cred, content, email[0] == '\0');
    ais_credential_free(twin);
}

/* Content that is invalid leaves the previous credential unchanged and is read only once. */
static void renew(struct ais_credential **cred, const char *email, struct ais_str content)
{
    uint64_t version = ais_credential_version(*cred);
    struct ais_error err = {""};
    enum ais_renewal renewal;

    MUST(ais_credential_renew(cred, &err) == AIS_RENEWAL_NONE);
    write_file(content);
    renewal = ais_credential_renew(cred, &err);
    MUST(renewal == AIS_RENEWAL_DONE || renewal == AIS_RENEWAL_UNUSABLE);
    if (renewal == AIS_RENEWAL_DONE) {
        MUST(ais_credential_version(*cred) != version);
        check_credential(*cred, email, content);
    } else {
        MUST(ais_credential_version(*cred) == version && ais_credential_seen(*cred) != version);
        check_refusal(&err, content);
    }
    MUST(ais_credential_renew(cred, &err) == AIS_RENEWAL_NONE);
}

static void check_name(const char *value)
{
    char file[AIS_CREDENTIAL_PATH_MAX];
    struct ais_error err = {""};

    if (!ais_credential_is_named(value))
        return;
    if (ais_credential_path(file, value, "", &err) == -1) {
        MUST(err.text[0] != '\0');
        return;
    }
    MUST(strncmp(file, DIRECTORY "/", strlen(DIRECTORY "/")) == 0);
    MUST(strchr(file + strlen(DIRECTORY "/"), '/') == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ais_str rest = whole_input(data, size);
    char *email = text_dup(take_line(&rest));
    const char *mark = rest.len > 0 ? memmem(rest.data, rest.len, THEN, strlen(THEN)) : NULL;
    struct ais_str content = {rest.data, mark != NULL ? (size_t) (mark - rest.data) : rest.len};
    struct ais_error err = {""};
    struct ais_credential *cred;

    if (path[0] == '\0')
        set_up();
    check_name(email);

    write_file(content);
    cred = load(email, &err);
    if (cred == NULL) {
        check_refusal(&err, content);
    } else {
        check_credential(cred, email, content);
        if (mark != NULL)
            renew(&cred, email, (struct ais_str){mark + strlen(THEN), rest.len - content.len - strlen(THEN)});
        ais_credential_free(cred);
    }

    MUST(ais_credential_token("/dev/null", &err) == NULL);
    MUST(ais_credential_token(content.len > 0 ? "/nonexistent/token" : "", &err) == NULL);
    free(email);
    return 0;
}
