#include "ais_credential.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The longest token or key, and the longest address (RFC 5321, section 4.5.3.1.3, less the angle brackets). */
#define SECRET_MAX 4096
#define EMAIL_MAX 254

/* "Authorization: Bearer ", the longest of the names, with room to spare. */
#define NAME_MAX_LEN 32

/* The file is read straight into secret, so that no other memory ever holds it. */
struct ais_credential {
    char email[EMAIL_MAX + 1]; /* empty for a token */
    char secret[SECRET_MAX + 4];
};

/* What a message calls the file and what belongs into it. */
struct secret_kind {
    const char *name;
    const char *content;
};

static const struct secret_kind token_kind = {"token file", "the API token"};
static const struct secret_kind key_kind = {"key file", "the API key"};

void ais_wipe(void *p, size_t len)
{
    volatile unsigned char *bytes = p;

    while (len-- > 0) {
        *bytes++ = 0;
    }
}

static struct ais_credential *credential_alloc(struct ais_error *err)
{
    void *p = mmap(NULL, sizeof(struct ais_credential), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED) {
        ais_error_set(err, "no memory for a credential: %s", strerror(errno));
        return NULL;
    }
#ifdef MADV_DONTDUMP
    (void) madvise(p, sizeof(struct ais_credential), MADV_DONTDUMP);
#endif
    return p;
}

void ais_credential_free(struct ais_credential *cred)
{
    if (cred != NULL) {
        ais_wipe(cred, sizeof(*cred));
        (void) munmap(cred, sizeof(*cred));
    }
}

bool ais_credential_equal(const struct ais_credential *a, const struct ais_credential *b)
{
    size_t len = strlen(a->secret);
    unsigned char differ = 0;
    size_t i;

    if (strcmp(a->email, b->email) != 0 || len != strlen(b->secret))
        return false;

    for (i = 0; i < len; i++) {
        differ |= (unsigned char) (a->secret[i] ^ b->secret[i]);
    }
    return differ == 0;
}

static const char *open_cure(int error)
{
    switch (error) {
    case ENOENT:
    case ENOTDIR:
        return "check the path";
    case EACCES:
    case EPERM:
        return "let the user that starts the daemon read it";
    default:
        return "check the file";
    }
}

/* Opens a regular file; a fifo or a terminal in its place must not make the daemon wait. */
static int open_secret(const struct secret_kind *kind, const char *file, struct ais_error *err)
{
    struct stat st;
    int fd = open(file, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);

    if (fd == -1) {
        ais_error_set(err, "%s \"%s\": %s; %s", kind->name, file, strerror(errno), open_cure(errno));
        return -1;
    }
    if (fstat(fd, &st) == -1 || !S_ISREG(st.st_mode)) {
        ais_error_set(err, "%s \"%s\": not a regular file; write %s into a file of its own", kind->name, file,
                      kind->content);
        close(fd);
        return -1;
    }
    return fd;
}

/* Reads until the end or until buf is full. */
static ssize_t read_all(int fd, char *buf, size_t size)
{
    size_t len = 0;

    while (len < size) {
        ssize_t n = read(fd, buf + len, size - len);

        if (n == -1 && errno == EINTR) {
            continue;
        }
        if (n == -1) {
            return -1;
        }
        if (n == 0) {
            break;
        }
        len += (size_t) n;
    }
    return (ssize_t) len;
}

/* Takes one line break, LF or CRLF, off the end. */
static size_t chop(const char *text, size_t len)
{
    if (len > 0 && text[len - 1] == '\n') {
        len--;
        if (len > 0 && text[len - 1] == '\r') {
            len--;
        }
    }
    return len;
}

static bool visible(char c)
{
    return c > 0x20 && c < 0x7f;
}

/* Says where it is wrong, but never what stands there. */
static int check_secret(const struct secret_kind *kind, const char *file, const char *text, size_t len,
                        struct ais_error *err)
{
    const char *what;
    size_t i;

    if (len == 0) {
        ais_error_set(err, "%s \"%s\": empty; write %s into it", kind->name, file, kind->content);
        return -1;
    }
    if (len > SECRET_MAX) {
        ais_error_set(err, "%s \"%s\": longer than %d bytes; write %s alone into it", kind->name, file, SECRET_MAX,
                      kind->content);
        return -1;
    }
    for (i = 0; i < len && visible(text[i]); i++) {
    }
    if (i == len) {
        return 0;
    }
    switch (text[i]) {
    case '\n':
    case '\r':
        what = "a line break";
        break;
    case ' ':
    case '\t':
        what = "white space";
        break;
    default:
        what = "a byte that is not visible ASCII";
    }
    ais_error_set(err, "%s \"%s\": %s at offset %zu; write %s alone into it, on one line", kind->name, file, what, i,
                  kind->content);
    return -1;
}

static int read_secret(char *secret, const struct secret_kind *kind, const char *file, struct ais_error *err)
{
    ssize_t n;
    size_t len;
    int fd = open_secret(kind, file, err);

    if (fd == -1) {
        return -1;
    }
    n = read_all(fd, secret, SECRET_MAX + 3); /* one byte more than the longest secret and CRLF */
    if (n == -1) {
        ais_error_set(err, "%s \"%s\": %s; check the file", kind->name, file, strerror(errno));
        close(fd);
        return -1;
    }
    close(fd);

    len = chop(secret, (size_t) n);
    if (check_secret(kind, file, secret, len, err) == -1) {
        return -1;
    }
    ais_wipe(secret + len, SECRET_MAX + 4 - len);
    return 0;
}

struct ais_credential *ais_credential_token(const char *file, struct ais_error *err)
{
    struct ais_credential *cred = credential_alloc(err);

    if (cred != NULL && read_secret(cred->secret, &token_kind, file, err) == -1) {
        ais_credential_free(cred);
        return NULL;
    }
    return cred;
}

/* It only has to be fit for a header; whether the address exists, the API knows. */
static int check_email(const char *email, struct ais_error *err)
{
    const char *at = strchr(email, '@');
    size_t len = strlen(email);
    size_t i;

    for (i = 0; i < len && visible(email[i]); i++) {
    }
    if (i < len || len > EMAIL_MAX || at == NULL || at == email || at[1] == '\0') {
        ais_error_set(err, "not an email address; give the address that the API key belongs to, as user@example.com");
        return -1;
    }
    return 0;
}

struct ais_credential *ais_credential_email_key(const char *email, const char *key_file, struct ais_error *err)
{
    struct ais_credential *cred;

    if (check_email(email, err) == -1) {
        return NULL;
    }
    cred = credential_alloc(err);
    if (cred == NULL) {
        return NULL;
    }
    memcpy(cred->email, email, strlen(email) + 1);
    if (read_secret(cred->secret, &key_kind, key_file, err) == -1) {
        ais_credential_free(cred);
        return NULL;
    }
    return cred;
}

static int add_header(const char *name, const char *value, int (*add)(void *data, const char *header), void *data)
{
    char line[NAME_MAX_LEN + SECRET_MAX + 1];
    size_t name_len = strlen(name);
    size_t value_len = strlen(value);
    int rc;

    /* Not with printf, which may keep a buffer of its own. */
    memcpy(line, name, name_len);
    memcpy(line + name_len, value, value_len + 1);
    rc = add(data, line);
    ais_wipe(line, name_len + value_len);
    return rc;
}

int ais_credential_headers(const struct ais_credential *cred, int (*add)(void *data, const char *header), void *data)
{
    int rc;

    if (cred->email[0] == '\0') {
        return add_header("Authorization: Bearer ", cred->secret, add, data);
    }
    rc = add_header("X-Auth-Email: ", cred->email, add, data);
    if (rc == 0) {
        rc = add_header("X-Auth-Key: ", cred->secret, add, data);
    }
    return rc;
}
