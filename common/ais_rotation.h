/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_ROTATION_H
#define AIS_ROTATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Chooses which of an account's credentials to use. There are up to two, the current one and the next, so that the one
 * in use can be revoked at any time: a call that the API refuses is repeated with the other credential, which becomes
 * the one in use as soon as it is accepted. If all credentials are refused, one call a minute checks whether they still
 * are.
 *
 * Calls overlap, and a result may arrive long after its call began. So each call keeps the choice that it was made
 * with, and its result is ignored if something newer is known about that credential.
 *
 * The functions are pure. The structures are plain data that contain no credential, and may be kept in shared memory;
 * the caller holds a lock around each call. now is in ms of a monotonic clock, date is in seconds since the epoch.
 */

#pragma GCC visibility push(hidden)

#define AIS_SLOTS 2

/* The time between two calls while all credentials are refused, in ms. */
#define AIS_ROTATION_PAUSE (60 * 1000)

struct ais_slot {
    uint64_t version;   /* ais_credential_version() of the credential in the slot */
    uint64_t unusable;  /* ais_credential_seen() of the file that was last reported as unusable */
    uint32_t known;     /* the value of changes at the last change of this slot */
    bool refused;       /* it was refused, and no credential has been accepted since */
    int64_t refused_on; /* the date of the last refusal; 0: never */
};

struct ais_rotation {
    uint32_t configuration; /* the caller's number of the configuration */
    uint32_t changes;       /* the number of changes of all slots; may wrap around */
    unsigned nslots;
    unsigned in_use; /* the slot in use */
    int64_t since;   /* the date since when that slot, with its current credential, has been in use */
    int64_t tried;   /* if all are refused: when the last call was allowed, or the last one became refused */
    struct ais_slot slots[AIS_SLOTS];
};

/* The credential for a call. */
struct ais_choice {
    bool none;    /* no call is allowed now */
    int64_t wait; /* if none is set: for how many ms */
    unsigned slot;
    uint64_t version; /* of the credential in the slot; the caller corrects it if it uses another one */
    uint32_t known;   /* the value of changes when the choice was made */
};

/* Changes that the caller may want to log or act on, each reported once. */
enum ais_rotation_news {
    AIS_ROTATION_NO_NEWS,
    AIS_ROTATION_REFUSED,   /* the credential is refused, and there is another one */
    AIS_ROTATION_EXHAUSTED, /* the credential is refused, and there is no other */
    AIS_ROTATION_SWITCHED,  /* the credential is accepted, and is now the one in use */
    AIS_ROTATION_RECOVERED, /* all were refused, and the credential is accepted */
};

/* Starts with the credentials of these versions, one per slot. Refusals are forgotten; the slot in use is kept if it
 * still exists. Before the first call, *r is all zero. */
void ais_rotation_begin(struct ais_rotation *r, const uint64_t *versions, unsigned nslots, uint32_t configuration,
                        int64_t date);

/* Chooses the credential for a call. If all are refused, this call takes the one that is allowed per
 * AIS_ROTATION_PAUSE. */
struct ais_choice ais_rotation_choose(struct ais_rotation *r, int64_t now);

/* Records that the API refused the credential of this choice. */
enum ais_rotation_news ais_rotation_refused(struct ais_rotation *r, const struct ais_choice *choice, int64_t now,
                                            int64_t date);

/* Records that the API accepted the credential of this choice. */
enum ais_rotation_news ais_rotation_accepted(struct ais_rotation *r, const struct ais_choice *choice, int64_t date);

/* Records that the slot has a new credential of this version. Returns false if it had that version already. */
bool ais_rotation_renewed(struct ais_rotation *r, unsigned slot, uint64_t version, int64_t date);

/* Records that the file of the slot, with this ais_credential_seen(), cannot be used. Returns false if that was
 * recorded already. */
bool ais_rotation_unusable(struct ais_rotation *r, unsigned slot, uint64_t seen);

/* Returns whether all credentials are refused. */
bool ais_rotation_exhausted(const struct ais_rotation *r);

#pragma GCC visibility pop

#endif
