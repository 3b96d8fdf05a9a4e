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
 * The file that value names, where value is "credential:NAME": the credential NAME that systemd has passed to this
 * service, $CREDENTIALS_DIRECTORY/NAME. Returns 0; or -1, with the reason in *err, where the variable is not set, or
 * NAME is not one. The environment is looked at now. command is what to call in a shell, for the message: the unit, and
 * how to check the configuration, such as "nginx.service nginx -t".
 */
bool ais_credential_is_named(const char *value);
int ais_credential_path(char path[AIS_CREDENTIAL_PATH_MAX], const char *value, const char *command,
                        struct ais_error *err);

/*
 * Reads a token from a file. The file holds the token alone, on one line, in the characters of RFC 6750 (letters,
 * digits, "-._~+/", and "=" at the end), at most 4096 bytes; one line break at its end is taken off. It must be a
 * regular file (after symbolic links).
 *
 * Returns NULL, and says in *err which file, what is wrong and the cure, where it cannot be read, is empty, or has
 * anything else in it. The caller owns the result.
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
 * What to do where everybody on the machine could read the file, or write to it, by its mode when it was read; else
 * NULL. The mode of a file that is mounted read-only, as a container's secrets are, is changed by whoever mounts it.
 */
const char *ais_credential_exposed(const struct ais_credential *cred);

/*
 * What a secret looks like by its form where another one was meant, as a sentence with the cure; NULL: nothing is odd.
 * It may be good all the same: for warnings.
 */
const char *ais_credential_oddity(const struct ais_credential *cred);

/* Whether two credentials are the same; how long that takes tells nothing about where they differ. */
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
