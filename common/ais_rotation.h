/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_ROTATION_H
#define AIS_ROTATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Which of an account's credentials to ask with. There are up to two of them, the current one and the next, so that the
 * one in use can be revoked at any time: a call that the API refuses is repeated with the other, and once that is
 * accepted it is the one in use. Where all of them are refused, one call a minute finds out whether that is still so.
 *
 * Calls overlap, and what comes of one may be known long after it was begun. So each call carries the choice that it
 * was made with, and says nothing of a credential of which something newer is known.
 *
 * Pure: no clock, no lock and nothing of the credentials in it, so that it may lie in shared memory. The caller brings
 * the times: now in ms of a clock that nobody sets, date in seconds since the epoch.
 */

#pragma GCC visibility push(hidden)

#define AIS_SLOTS 2

/* How often credentials are tried that are refused, ms. */
#define AIS_ROTATION_PAUSE (60 * 1000)

struct ais_slot {
    uint64_t version;   /* ais_credential_version() */
    uint64_t unusable;  /* ais_credential_seen(), where that was told */
    uint32_t known;     /* as of which change this is known */
    bool refused;       /* since there was one that was not */
    int64_t refused_on; /* the date of the last refusal, whenever that was; 0: never */
};

struct ais_rotation {
    uint32_t configuration; /* the caller's number of it */
    uint32_t changes;       /* of all that is known */
    unsigned nslots;
    unsigned in_use;
    int64_t since; /* date: the slot, and what is in it, is in use since then */
    int64_t tried; /* where all are refused: when that was seen last */
    struct ais_slot slots[AIS_SLOTS];
};

/* With what to call. */
struct ais_choice {
    bool none; /* not at all, for so many ms: */
    int64_t wait;
    unsigned slot;
    uint64_t version; /* of what is in the slot; the caller corrects it where it knows another */
    uint32_t known;
};

/* What has come to light. */
enum ais_rotation_news {
    AIS_ROTATION_NO_NEWS,
    AIS_ROTATION_REFUSED,   /* this one is refused, there is another */
    AIS_ROTATION_EXHAUSTED, /* this one is refused, and there is no other */
    AIS_ROTATION_SWITCHED,  /* this one is accepted, and from now on in use */
    AIS_ROTATION_RECOVERED, /* all were refused, and this one is accepted */
};

/* Begins with these versions, in the order of the slots; what was refused before is forgotten. A slot that is in use
   stays so. All zero is the state before the first one. */
void ais_rotation_begin(struct ais_rotation *r, const uint64_t *versions, unsigned nslots, uint32_t configuration,
                        int64_t date);

/* Chooses what to call with. Where all are refused, this takes the turn of a minute. */
struct ais_choice ais_rotation_choose(struct ais_rotation *r, int64_t now);

/* The API has refused the credential of that choice. */
enum ais_rotation_news ais_rotation_refused(struct ais_rotation *r, const struct ais_choice *choice, int64_t now,
                                            int64_t date);

/* The API has answered to it with anything else. */
enum ais_rotation_news ais_rotation_accepted(struct ais_rotation *r, const struct ais_choice *choice, int64_t date);

/* Another content is in the slot, or one that cannot be used. Returns whether that is news. */
bool ais_rotation_renewed(struct ais_rotation *r, unsigned slot, uint64_t version, int64_t date);

bool ais_rotation_unusable(struct ais_rotation *r, unsigned slot, uint64_t seen);

/* Whether all are refused. */
bool ais_rotation_exhausted(const struct ais_rotation *r);

#pragma GCC visibility pop

#endif
