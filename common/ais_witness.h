/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_WITNESS_H
#define AIS_WITNESS_H

#include <stdbool.h>
#include <stdint.h>

#include "ais_client.h"
#include "ais_rotation.h"

/*
 * Whether a refusal is about the credential, or about what was asked for with it. The API uses the same words where a
 * token is none any more, and where it lacks the permission for one resource (struct ais_verdict, doubtful). So what
 * was answered last with a credential is a witness for it: asked again, it tells.
 *
 * Pure and plain data, all zero at first, so that it may lie in shared memory, under the caller's lock. Times are ms of
 * a clock that nobody sets.
 */

#pragma GCC visibility push(hidden)

#define AIS_WITNESS_PATH_MAX 256

/* For how long a witness is believed that was asked, ms. */
#define AIS_WITNESS_PAUSE (10 * 1000)

struct ais_witness {
    uint64_t version;                /* of the credential that it was answered with */
    int64_t asked;                   /* when it was asked, the last time that it was answered */
    int64_t confirmed;               /* until then it needs not be asked; 0: it does */
    int64_t asking_until;            /* somebody does, until then at the latest; 0: nobody */
    char path[AIS_WITNESS_PATH_MAX]; /* empty: there is none */
};

/* What a doubtful refusal is taken for. */
enum ais_doubt {
    AIS_DOUBT_NONE,  /* the credential's affair */
    AIS_DOUBT_OWN,   /* the affair of what was asked for */
    AIS_DOUBT_OTHER, /* there is another credential, the choice that the caller finds: to be tried for the same */
    AIS_DOUBT_ASK,   /* its own until the caller has asked the witness, with the choice that it finds; once at a time */
};

/* The API has answered this path well, which was asked for at that time. One that is too long is no witness. */
void ais_witness_note(struct ais_witness *w, uint64_t version, const char *path, int64_t asked);

/*
 * A look-up for the path, asked for at that time with *choice, was refused in a way that leaves doubt; others_too: also
 * with the other credential before, if there is one. For OTHER and ASK, *choice is then what to ask with next. That
 * takes timeout ms at most for ASK, which ends with ais_witness_told().
 */
enum ais_doubt ais_witness_doubt(struct ais_witness *w, const struct ais_rotation *r, struct ais_choice *choice,
                                 bool others_too, const char *path, int64_t asked, int64_t timeout, int64_t now);

/* Whether a witness was answered well: its credential is accepted. Also a 404 says so. */
bool ais_witness_is_good(const struct ais_response *response);

/* The witness was asked, with that result; or it could not be asked, which is not good. */
void ais_witness_told(struct ais_witness *w, bool good, int64_t now);

#pragma GCC visibility pop

#endif
