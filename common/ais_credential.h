/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_CREDENTIAL_H
#define AIS_CREDENTIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ais_error.h"

#pragma GCC visibility push(hidden)

/*
 * The credential of an account: an API token, or an email address and an API key. It is kept in memory pages of its
 * own, which are excluded from core dumps (if the system supports that), is turned into headers only when needed, and
 * is wiped when it is freed or replaced.
 *
 * Threads may share a credential as long as none of them frees or renews it. After a fork each process has its own
 * copy.
 */
struct ais_credential;

/* The size of the longest file name, including the NUL. */
#define AIS_CREDENTIAL_PATH_MAX 4096

/*
 * Values of the form "credential:NAME" name a credential that systemd passes to this service: the file
 * $CREDENTIALS_DIRECTORY/NAME. ais_credential_is_named() returns whether a value has this form.
 * ais_credential_path() writes the name of the file to path, by the current environment. Returns 0, or -1 with the
 * reason in *err if the variable is not set or NAME is not valid. command is for that message: the unit, and the
 * command that checks the configuration in a shell, such as "nginx.service nginx -t".
 */
bool ais_credential_is_named(const char *value);
int ais_credential_path(char path[AIS_CREDENTIAL_PATH_MAX], const char *value, const char *command,
                        struct ais_error *err);

/*
 * Reads a token from a file, which must contain only the token, on one line: at most 4096 of the characters of RFC 6750
 * (letters, digits, "-._~+/", and "=" at the end). A trailing line break is ignored. The file must be a regular file;
 * symbolic links are followed.
 *
 * Returns the credential, which the caller frees with ais_credential_free(). If the file cannot be read, is empty or
 * contains anything else, returns NULL and sets *err to the name of the file, the reason and a fix.
 */
struct ais_credential *ais_credential_token(const char *file, struct ais_error *err);

/* Does the same for the API's older scheme: reads the API key from a file; email is the address that it belongs to. */
struct ais_credential *ais_credential_email_key(const char *email, const char *key_file, struct ais_error *err);

/* The result of checking a file. */
enum ais_renewal {
    AIS_RENEWAL_NONE,     /* it has not changed, or cannot be read just now */
    AIS_RENEWAL_DONE,     /* it has changed, and was read */
    AIS_RENEWAL_CLOSED,   /* it has changed, and permission to read it is denied; *err says why */
    AIS_RENEWAL_UNUSABLE, /* it has changed or is gone, and cannot be used; *err says why */
};

/*
 * Reads the file again if it has changed. On success, the old credential is wiped and freed, and *cred is a new one. If
 * the file cannot be used, *cred stays as it is, and the file is not read again until it changes once more. If the file
 * has not changed, this costs one stat().
 */
enum ais_renewal ais_credential_renew(struct ais_credential **cred, struct ais_error *err);

/* Returns the name of the file that the credential was read from. It belongs to the credential. */
const char *ais_credential_file(const struct ais_credential *cred);

/*
 * Returns a number that changes whenever the file is written or replaced, and reveals nothing about the secret.
 * Processes that read the same file use it to tell each other which version of the file they have. Never 0.
 */
uint64_t ais_credential_version(const struct ais_credential *cred);

/* Returns the same number for the file as it was last checked, even if it could not be used. */
uint64_t ais_credential_seen(const struct ais_credential *cred);

/*
 * If any user could read or write the file, by its mode when it was read, returns a fix as a constant string, otherwise
 * NULL. The fix differs for read-only file systems, such as those of a container's secrets, because only a mount option
 * can change the mode there.
 */
const char *ais_credential_exposed(const struct ais_credential *cred);

/*
 * If a secret looks like a different kind of secret or like an id, returns a warning with a fix, as a constant string,
 * otherwise NULL. The secret may be valid nevertheless.
 */
const char *ais_credential_oddity(const struct ais_credential *cred);

/* Returns whether two credentials are equal. The time it takes does not depend on where the secrets differ. */
bool ais_credential_equal(const struct ais_credential *a, const struct ais_credential *b);

/* Wipes and frees a credential. NULL is accepted. */
void ais_credential_free(struct ais_credential *cred);

/*
 * Calls add(data, header) for each header line ("Authorization: Bearer ...", or "X-Auth-Email: ..." and "X-Auth-Key:
 * ..."). The line is on the stack, and is wiped after add has returned. If add returns non-zero, stops and returns
 * that; otherwise returns 0.
 */
int ais_credential_headers(const struct ais_credential *cred, int (*add)(void *data, const char *header), void *data);

/* Overwrites memory with zeros. Unlike memset(), the compiler cannot optimize it away. */
void ais_wipe(void *p, size_t len);

#pragma GCC visibility pop

#endif
