/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_CREDENTIAL_H
#define AIS_CREDENTIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ais_error.h"

#pragma GCC visibility push(hidden)

/*
 * The secret of an account: an API token, or an API email and key. It lives in pages of its own that are left out of
 * core dumps (where the system can), becomes headers at the last moment, and is wiped when freed or replaced.
 *
 * Threads may share a credential as long as none frees or renews it. After a fork each process has its own.
 */
struct ais_credential;

/* The longest name of a file that can hold a secret, and its end. */
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

/* The same for the previous scheme: the key from a file, and the email address it belongs to. */
struct ais_credential *ais_credential_email_key(const char *email, const char *key_file, struct ais_error *err);

/* What became of a file since it was last looked at. */
enum ais_renewal {
    AIS_RENEWAL_NONE,     /* nothing */
    AIS_RENEWAL_DONE,     /* it has changed, and is read */
    AIS_RENEWAL_CLOSED,   /* it has changed, and we may not read it */
    AIS_RENEWAL_UNUSABLE, /* it has changed, and does not do, or is gone; *err says why */
};

/*
 * Looks whether the file has changed, and if so, reads it. Where it cannot be used, *cred stays as it is, and the file
 * is not looked at again until it changes once more. The old secret is wiped: *cred may be another one afterwards.
 * Costs one stat() of the file where nothing has changed.
 */
enum ais_renewal ais_credential_renew(struct ais_credential **cred, struct ais_error *err);

/* The file that it was read from. */
const char *ais_credential_file(const struct ais_credential *cred);

/*
 * A number that differs whenever the file has been written to or replaced, and says nothing of what is in it: processes
 * that read the same file tell each other by it which state of the file they know. Never 0.
 */
uint64_t ais_credential_version(const struct ais_credential *cred);

/* The same of the file as it was looked at last, also where it could not be used then. */
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

/* Wipes and frees; NULL is fine. */
void ais_credential_free(struct ais_credential *cred);

/*
 * Calls add(data, header) for each header line ("Authorization: Bearer ...", or "X-Auth-Email: ..." and "X-Auth-Key:
 * ..."). The line is on the stack and wiped once add has returned. Stops at the first non-zero return of add and
 * returns it; 0 otherwise.
 */
int ais_credential_headers(const struct ais_credential *cred, int (*add)(void *data, const char *header), void *data);

/* Overwrites memory in a way that no compiler takes away. */
void ais_wipe(void *p, size_t len);

#pragma GCC visibility pop

#endif
