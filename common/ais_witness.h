/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_WITNESS_H
#define AIS_WITNESS_H

#include <stdbool.h>
#include <stdint.h>

#include "ais_client.h"
#include "ais_rotation.h"

/*
 * Decides whether a refusal is about the credential or about the requested resource. The API sends the same response if
 * a token is no longer valid and if it lacks the permission for one resource (doubtful in struct ais_verdict). So the
 * last path that was answered with a credential serves as its witness: if the API still answers it, the credential is
 * valid.
 *
 * The functions are pure. The structure is plain data, initially all zero, and may be kept in shared memory; the caller
 * holds a lock around each call. Times are in ms of a monotonic clock.
 */

#pragma GCC visibility push(hidden)

#define AIS_WITNESS_PATH_MAX 256

/* How long the result of requesting a witness remains valid, in ms. */
#define AIS_WITNESS_PAUSE (10 * 1000)

struct ais_witness {
    uint64_t version;                /* of the credential that was used */
    int64_t asked;                   /* when the path was requested, the last time that it was answered */
    int64_t confirmed;               /* the credential is known to be valid until then; 0: unknown */
    int64_t asking_until;            /* a request for the witness is under way, until then at the latest; 0: none */
    char path[AIS_WITNESS_PATH_MAX]; /* empty: there is no witness */
};

/* What to do about a doubtful refusal. */
enum ais_doubt {
    AIS_DOUBT_NONE,  /* no doubt: the credential was refused */
    AIS_DOUBT_OWN,   /* the credential is valid, only this resource was refused */
    AIS_DOUBT_OTHER, /* request the same resource with the other credential, now in *choice */
    AIS_DOUBT_ASK,   /* as OWN for now, but request the witness with *choice; only one caller at a time gets this */
};

/* Records that the API answered path, requested at asked, with the credential of this version. A path that does not fit
 * is ignored. */
void ais_witness_note(struct ais_witness *w, uint64_t version, const char *path, int64_t asked);

/*
 * Decides about a doubtful refusal of path, requested at asked with *choice. others_too says that the other credential,
 * if there is one, was refused before in the same way. For AIS_DOUBT_OTHER and AIS_DOUBT_ASK, *choice is set to the
 * credential to use next. A request for the witness takes at most timeout ms, and its result is passed to
 * ais_witness_settle().
 */
enum ais_doubt ais_witness_doubt(struct ais_witness *w, const struct ais_rotation *r, struct ais_choice *choice,
                                 bool others_too, const char *path, int64_t asked, int64_t timeout, int64_t now);

/* Returns whether the response to a witness proves that the credential is accepted. A 404 proves it, too. */
bool ais_witness_is_good(const struct ais_response *response);

/* Records the result of requesting the witness. good is false also if it could not be requested. */
void ais_witness_settle(struct ais_witness *w, bool good, int64_t now);

#pragma GCC visibility pop

#endif
