/* SPDX-License-Identifier: BSD-2-Clause */

/* Reads a credential from its file, detects changes of the file, and builds request headers. */

#include "ais_credential.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* The longest token or key, and the longest address (RFC 5321, section 4.5.3.1.3, less the angle brackets). */
#define SECRET_MAX 4096
#define EMAIL_MAX 254

/* The shortest token or key; a shorter text may be a file name. */
#define NAME_SECRET_MIN 37

/* "Authorization: Bearer ", the longest of the names, with room to spare. */
#define NAME_MAX_LEN 32

/* The stamp of a file that does not exist or cannot be reached. */
#define ABSENT 1

#define NAMED "credential:"
#define DIRECTORY_VARIABLE "CREDENTIALS_DIRECTORY"

/* The file is read directly into secret, so that no other memory ever contains it. */
struct ais_credential {
    uint64_t version; /* the stamp of the file when it was read */
    uint64_t seen;    /* the stamp of the file when it was last checked, or ABSENT */
    mode_t mode;
    bool is_read_only; /* the file system is mounted read-only */
    char file[AIS_CREDENTIAL_PATH_MAX];
    char email[EMAIL_MAX + 1]; /* empty for a token */
    char secret[SECRET_MAX + 4];
};

/* The words for the file and for its content in messages. */
struct secret_kind {
    const char *name;
    const char *content;
};

static const struct secret_kind token_kind = {"token file", "the API token"};
static const struct secret_kind key_kind = {"key file", "the API key"};

void ais_wipe(void *p, size_t len)
{
    volatile unsigned char *bytes = p;

    while (len-- > 0)
        *bytes++ = 0;
}

static struct ais_credential *credential_alloc(struct ais_error *err)
{
    /* cppcheck-suppress invalidFunctionArg; mmap(2) requires -1 for MAP_ANONYMOUS */
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

    if (strcmp(a->email, b->email) != 0 || len != strlen(b->secret))
        return false;

    for (size_t i = 0; i < len; i++)
        differ |= (unsigned char) (a->secret[i] ^ b->secret[i]);
    return differ == 0;
}

/* Names. */

bool ais_credential_is_named(const char *value)
{
    return strncmp(value, NAMED, strlen(NAMED)) == 0;
}

int ais_credential_path(char path[AIS_CREDENTIAL_PATH_MAX], const char *value, const char *command,
                        struct ais_error *err)
{
    const char *name = value + strlen(NAMED);
    const char *directory = getenv(DIRECTORY_VARIABLE);
    int len;

    if (name[0] == '\0' || strchr(name, '/') != NULL || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        ais_error_set(err, "not the name of a credential; use \"" NAMED "NAME\" with the NAME that LoadCredential= "
                           "or SetCredential= assigns in the unit");
        return -1;
    }
    if (directory == NULL || directory[0] != '/') {
        ais_error_set(err,
                      DIRECTORY_VARIABLE
                      " is not set: systemd sets it if the unit has LoadCredential=; in a shell, set it to the "
                      "directory of the running unit: sudo " DIRECTORY_VARIABLE "=/run/credentials/%s",
                      command);
        return -1;
    }
    len = snprintf(path, AIS_CREDENTIAL_PATH_MAX, "%s/%s", directory, name);
    if (len >= AIS_CREDENTIAL_PATH_MAX) {
        ais_error_set(err, "the name of the credential is too long");
        return -1;
    }
    return 0;
}

/* Files. */

static uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ (hash >> 32);
}

/* Returns a hash that identifies the file and its last change. It is neither 0 nor ABSENT. */
static uint64_t stamp_of(const struct stat *st)
{
    uint64_t hash = mix(0, (uint64_t) st->st_dev);

    hash = mix(hash, (uint64_t) st->st_ino);
    hash = mix(hash, (uint64_t) st->st_size);
    hash = mix(hash, (uint64_t) st->st_mtim.tv_sec);
    hash = mix(hash, (uint64_t) st->st_mtim.tv_nsec);
    hash = mix(hash, (uint64_t) st->st_ctim.tv_sec);
    hash = mix(hash, (uint64_t) st->st_ctim.tv_nsec);
    return hash > ABSENT ? hash : ABSENT + 1;
}

static const char *open_cure(int error)
{
    switch (error) {
    case ENOENT:
    case ENOTDIR:
        return "check the path";
    case EACCES:
    case EPERM:
        return "make it readable by the user that starts the daemon";
    default:
        return "check the file";
    }
}

/* A character of a token or a key of the API, or of any other bearer token (RFC 6750, section 2.1). */
static bool is_token_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || strchr("-._~+/", c) != NULL;
}

/* Returns whether the file name looks like a secret, given by mistake instead of the name of its file. */
static bool is_secret(const char *file)
{
    const char *slash = strrchr(file, '/');
    const char *name = slash != NULL ? slash + 1 : file;
    size_t len = strlen(name);

    return len >= NAME_SECRET_MIN && strpbrk(name, "0123456789") != NULL && strchr(name, '.') == NULL;
}

static enum ais_renewal refuse_open(const struct secret_kind *kind, const char *file, struct ais_error *err)
{
    int error = errno;

    if ((error == ENOENT || error == ENOTDIR || error == ENAMETOOLONG) && is_secret(file)) {
        ais_error_set(err,
                      "%s: no such file, and its name looks like %s itself; write that into a file, and specify the "
                      "name of the file",
                      kind->name, kind->content);
        return AIS_RENEWAL_UNUSABLE;
    }
    ais_error_set(err, "%s \"%s\": %s; %s", kind->name, file, strerror(error), open_cure(error));
    return error == EACCES || error == EPERM ? AIS_RENEWAL_CLOSED : AIS_RENEWAL_UNUSABLE;
}

/* Opens a regular file. If it is a FIFO or a terminal, the daemon must not block. */
static enum ais_renewal open_secret(const struct secret_kind *kind, const char *file, int *fd, struct stat *st,
                                    struct ais_error *err)
{
    *fd = open(file, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (*fd == -1)
        return refuse_open(kind, file, err);
    if (fstat(*fd, st) == -1 || !S_ISREG(st->st_mode)) {
        ais_error_set(err, "%s \"%s\": not a regular file; write %s into a regular file", kind->name, file,
                      kind->content);
        close(*fd);
        return AIS_RENEWAL_UNUSABLE;
    }
    return AIS_RENEWAL_DONE;
}

/* Reads until the end or until buf is full. */
static ssize_t read_all(int fd, char *buf, size_t size)
{
    size_t len = 0;

    while (len < size) {
        ssize_t n = read(fd, buf + len, size - len);

        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1)
            return -1;
        if (n == 0)
            break;

        len += (size_t) n;
    }
    return (ssize_t) len;
}

/* Returns the length without a trailing LF or CRLF. */
static size_t chop(const char *text, size_t len)
{
    if (len > 0 && text[len - 1] == '\n') {
        len--;
        if (len > 0 && text[len - 1] == '\r')
            len--;
    }
    return len;
}

/* Returns how many bytes of visible ASCII are at the beginning of text. */
static size_t count_visible(const char *text, size_t len)
{
    size_t n = 0;

    while (n < len && text[n] > 0x20 && text[n] < 0x7f)
        n++;
    return n;
}

/* Returns how many bytes at the beginning of text may be part of a secret. A "=" may only be padding at the end. */
static size_t count_secret(const char *text, size_t len)
{
    size_t n = 0;

    while (n < len && text[n] != '\0' && is_token_char(text[n]))
        n++;
    for (size_t end = n; n > 0 && end < len && text[end] == '='; end++) {
        if (end + 1 == len)
            return len;
    }
    return n;
}

/* Describes the invalid character at this offset. */
static const char *name_fault(const char *text, size_t at)
{
    if (at == 0 && (strncmp(text, "\xef\xbb\xbf", 3) == 0 || strncmp(text, "\xff\xfe", 2) == 0 ||
                    strncmp(text, "\xfe\xff", 2) == 0))
        return "a byte order mark";

    switch (text[at]) {
    case '\n':
    case '\r':
        return "a line break";
    case ' ':
    case '\t':
        return "white space";
    case '"':
    case '\'':
        return "a quotation mark";
    case '=':
        return "a \"=\", as in NAME=VALUE,";
    case ':':
        return "a \":\", as in a header,";
    default:
        return text[at] > 0x20 && text[at] < 0x7f ? "a character that no token or key contains"
                                                  : "a byte that is not visible ASCII";
    }
}

static bool begins_with_word(const char *text)
{
    return strncasecmp(text, "Bearer ", 7) == 0 || strncasecmp(text, "Authorization:", 14) == 0 ||
           strncasecmp(text, "X-Auth-", 7) == 0;
}

/* Checks a secret. Messages say where it is wrong, but never repeat any of it. */
static int check_secret(const struct secret_kind *kind, const char *file, const char *text, size_t len,
                        struct ais_error *err)
{
    size_t good = count_secret(text, len);

    if (len == 0) {
        ais_error_set(err, "%s \"%s\": empty; write %s into it", kind->name, file, kind->content);
        return -1;
    }
    if (len > SECRET_MAX) {
        ais_error_set(err, "%s \"%s\": longer than %d bytes; write only %s into it", kind->name, file, SECRET_MAX,
                      kind->content);
        return -1;
    }
    if (good == len)
        return 0;

    if (begins_with_word(text))
        ais_error_set(err,
                      "%s \"%s\": begins with the name of a header or with \"Bearer\"; write only %s into it, on "
                      "one line",
                      kind->name, file, kind->content);
    else
        ais_error_set(err, "%s \"%s\": %s at offset %zu; write only %s into it, on one line", kind->name, file,
                      name_fault(text, good), good, kind->content);
    return -1;
}

static bool is_read_only(int fd)
{
    struct statvfs fs;

    return fstatvfs(fd, &fs) == 0 && (fs.f_flag & ST_RDONLY) != 0;
}

/* Reads the file into cred. If the file changes meanwhile, because it is being written, the result is not used. */
static enum ais_renewal read_secret(struct ais_credential *cred, const struct secret_kind *kind, const char *file,
                                    struct ais_error *err)
{
    struct stat st, after;
    ssize_t n;
    size_t len;
    int fd;
    enum ais_renewal renewal = open_secret(kind, file, &fd, &st, err);

    if (renewal != AIS_RENEWAL_DONE)
        return renewal;

    n = read_all(fd, cred->secret, SECRET_MAX + 3); /* one more than the longest secret and CRLF */
    if (n == -1 || fstat(fd, &after) == -1) {
        ais_error_set(err, "%s \"%s\": %s; check the file", kind->name, file, strerror(errno));
        close(fd);
        return AIS_RENEWAL_UNUSABLE;
    }
    cred->is_read_only = is_read_only(fd);
    close(fd);
    if (stamp_of(&st) != stamp_of(&after)) {
        ais_error_set(err, "%s \"%s\": changed while it was being read; try again", kind->name, file);
        return AIS_RENEWAL_NONE;
    }

    len = chop(cred->secret, (size_t) n);
    if (check_secret(kind, file, cred->secret, len, err) != 0)
        return AIS_RENEWAL_UNUSABLE;

    ais_wipe(cred->secret + len, SECRET_MAX + 4 - len);
    cred->version = cred->seen = stamp_of(&st);
    cred->mode = st.st_mode;
    memcpy(cred->file, file, strlen(file) + 1); /* it fits, because open() accepted it */
    return AIS_RENEWAL_DONE;
}

/* Reads a file into a new credential that replaces *cred. On failure *cred is kept, and what was read is wiped. */
static enum ais_renewal read_credential(struct ais_credential **cred, const char *email, const char *file,
                                        struct ais_error *err)
{
    const struct secret_kind *kind = email[0] == '\0' ? &token_kind : &key_kind;
    struct ais_credential *fresh = credential_alloc(err);
    enum ais_renewal renewal = AIS_RENEWAL_NONE;

    if (fresh != NULL) {
        memcpy(fresh->email, email, strlen(email) + 1);
        renewal = read_secret(fresh, kind, file, err);
    }
    if (renewal != AIS_RENEWAL_DONE) {
        ais_credential_free(fresh);
        return renewal;
    }
    ais_credential_free(*cred);
    *cred = fresh;
    return renewal;
}

enum ais_renewal ais_credential_renew(struct ais_credential **cred, struct ais_error *err)
{
    struct ais_credential *old = *cred;
    const struct secret_kind *kind = old->email[0] == '\0' ? &token_kind : &key_kind;
    struct stat st;
    bool there = stat(old->file, &st) == 0;
    uint64_t stamp = there ? stamp_of(&st) : ABSENT;
    enum ais_renewal renewal;

    if (stamp == old->seen)
        return AIS_RENEWAL_NONE;

    renewal = there ? read_credential(cred, old->email, old->file, err) : refuse_open(kind, old->file, err);
    if (renewal == AIS_RENEWAL_CLOSED || renewal == AIS_RENEWAL_UNUSABLE)
        old->seen = stamp;
    return renewal;
}

struct ais_credential *ais_credential_token(const char *file, struct ais_error *err)
{
    struct ais_credential *cred = NULL;

    (void) read_credential(&cred, "", file, err);
    return cred;
}

/* Checks only that the address can be used in a header; whether it exists is up to the API. */
static int check_email(const char *email, struct ais_error *err)
{
    const char *at = strchr(email, '@');
    size_t len = strlen(email);

    if (count_visible(email, len) < len || len > EMAIL_MAX || at == NULL || at == email || at[1] == '\0') {
        ais_error_set(err, "not an email address; use the address that the API key belongs to, such as "
                           "user@example.com");
        return -1;
    }
    return 0;
}

struct ais_credential *ais_credential_email_key(const char *email, const char *key_file, struct ais_error *err)
{
    struct ais_credential *cred = NULL;

    if (check_email(email, err) != 0)
        return NULL;

    (void) read_credential(&cred, email, key_file, err);
    return cred;
}

const char *ais_credential_file(const struct ais_credential *cred)
{
    return cred->file;
}

uint64_t ais_credential_version(const struct ais_credential *cred)
{
    return cred->version;
}

uint64_t ais_credential_seen(const struct ais_credential *cred)
{
    return cred->seen;
}

const char *ais_credential_exposed(const struct ais_credential *cred)
{
    if ((cred->mode & (S_IROTH | S_IWOTH)) == 0)
        return NULL;
    return cred->is_read_only
               ? "mount it with another mode; in Kubernetes, set \"defaultMode: 0400\" and an \"fsGroup\""
               : "restrict its mode, for example with \"chmod 0600\"";
}

static bool has_prefix(const char *secret, const char *a, const char *b)
{
    return strncmp(secret, a, strlen(a)) == 0 || strncmp(secret, b, strlen(b)) == 0;
}

/* Tokens have 40 characters, or a prefix that names their kind; keys and ids are hexadecimal. */
const char *ais_credential_oddity(const struct ais_credential *cred)
{
    const char *secret = cred->secret;
    size_t len = strlen(secret);
    bool is_hex = strspn(secret, "0123456789abcdef") == len;

    if (is_hex && len == 32)
        return "its content looks like the ID of an account or a zone; write the API token or key into it";
    if (cred->email[0] == '\0' && ((is_hex && len == 37) || has_prefix(secret, "cfk_", "v1.0-")))
        return "its content looks like an API key, not like a token; a key also needs its email address";
    if (cred->email[0] != '\0' && ((!is_hex && len == 40) || has_prefix(secret, "cfut_", "cfat_")))
        return "its content looks like an API token, not like a key; a token is used without an email address";
    return NULL;
}

static int add_header(const char *name, const char *value, int (*add)(void *data, const char *header), void *data)
{
    char line[NAME_MAX_LEN + SECRET_MAX + 1];
    size_t name_len = strlen(name);
    size_t value_len = strlen(value);
    int rc;

    /* Not with printf(), which may leave a copy in a buffer of its own. */
    memcpy(line, name, name_len); /* NOLINT(bugprone-not-null-terminated-result): the rest follows */
    memcpy(line + name_len, value, value_len + 1);
    rc = add(data, line);
    ais_wipe(line, name_len + value_len);
    return rc;
}

int ais_credential_headers(const struct ais_credential *cred, int (*add)(void *data, const char *header), void *data)
{
    int rc;

    if (cred->email[0] == '\0')
        return add_header("Authorization: Bearer ", cred->secret, add, data);

    rc = add_header("X-Auth-Email: ", cred->email, add, data);
    if (rc == 0)
        rc = add_header("X-Auth-Key: ", cred->secret, add, data);
    return rc;
}
