/* SPDX-License-Identifier: BSD-2-Clause */

/* Decides whether a refusal is about the credential, by requesting a path again that was answered before. */

#include "ais_witness.h"

#include <string.h>

void ais_witness_note(struct ais_witness *w, uint64_t version, const char *path, int64_t asked)
{
    size_t len = strlen(path);

    if (len >= sizeof(w->path) || (w->version == version && asked < w->asked))
        return;

    if (w->version != version)
        w->confirmed = w->asking_until = 0;
    memcpy(w->path, path, len + 1);
    w->version = version;
    w->asked = asked;
}

/* Returns the first slot other than but that is not refused, or the number of slots if there is none. */
static unsigned other_slot(const struct ais_rotation *r, unsigned but)
{
    unsigned slot = 0;

    while (slot < r->nslots && (slot == but || r->slots[slot].refused))
        slot++;
    return slot;
}

static void choose(struct ais_choice *choice, const struct ais_rotation *r, unsigned slot)
{
    choice->slot = slot;
    choice->version = r->slots[slot].version;
    choice->known = r->changes;
}

/* Returns the slot with this version of a credential, or the number of slots if there is none. */
static unsigned find_slot(const struct ais_rotation *r, uint64_t version)
{
    unsigned slot = 0;

    while (slot < r->nslots && r->slots[slot].version != version)
        slot++;
    return slot;
}

enum ais_doubt ais_witness_doubt(struct ais_witness *w, const struct ais_rotation *r, struct ais_choice *choice,
                                 bool others_too, const char *path, int64_t asked, int64_t timeout, int64_t now)
{
    unsigned slot = find_slot(r, w->version);
    unsigned other = other_slot(r, choice->slot);

    if (w->path[0] == '\0' || slot == r->nslots || r->slots[choice->slot].version != choice->version ||
        strcmp(w->path, path) == 0)
        return AIS_DOUBT_NONE;

    if (!others_too && other < r->nslots) {
        choose(choice, r, other);
        return AIS_DOUBT_OTHER;
    }

    if (w->asked > asked || w->confirmed > now || w->asking_until > now)
        return AIS_DOUBT_OWN;

    w->asking_until = now + timeout;
    choose(choice, r, slot);
    return AIS_DOUBT_ASK;
}

bool ais_witness_is_good(const struct ais_response *response)
{
    return response->fault == AIS_FAULT_NONE && (response->status == 200 || response->status == 404);
}

void ais_witness_settle(struct ais_witness *w, bool good, int64_t now)
{
    w->asking_until = 0;
    w->confirmed = good ? now + AIS_WITNESS_PAUSE : 0;
}
