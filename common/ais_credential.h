#ifndef AIS_CREDENTIAL_H
#define AIS_CREDENTIAL_H

#include <stdbool.h>
#include <stddef.h>

#include "ais_error.h"

/*
 * The secret of an account: an API token, or an API email and key. It lives in pages of its own that are left out of
 * core dumps (where the system can), becomes headers at the last moment, and is wiped when freed.
 *
 * A credential is immutable: threads may share it as long as none frees it. After a fork each process has its own.
 */
struct ais_credential;

/*
 * Reads a token from a file. The file holds the token alone: visible ASCII, one line, at most 4096 bytes; one line
 * break at its end is taken off. It must be a regular file (after symbolic links).
 *
 * Returns NULL, and says in *err which file, what is wrong and the cure, where it cannot be read, is empty, has a line
 * break, a space or any other byte inside that cannot stand in a header. The caller owns the result.
 */
struct ais_credential *ais_credential_token(const char *file, struct ais_error *err);

/* The same for the previous scheme: the key from a file, and the email address it belongs to. */
struct ais_credential *ais_credential_email_key(const char *email, const char *key_file, struct ais_error *err);

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

#endif
