/* SPDX-License-Identifier: BSD-2-Clause */

/* Chooses the credential for a call, by what the API has refused and accepted. */

#include "ais_rotation.h"

static bool usable(const struct ais_rotation *r, unsigned slot)
{
    return !r->slots[slot].refused;
}

/* Records that a slot has changed. */
static void touch(struct ais_rotation *r, unsigned slot)
{
    r->slots[slot].known = ++r->changes;
}

/* Returns whether the slot has changed since the choice. The count may wrap around, so the difference is compared. */
static bool outdated(const struct ais_rotation *r, const struct ais_choice *choice)
{
    const struct ais_slot *slot = &r->slots[choice->slot];

    return choice->version != slot->version || (int32_t) (choice->known - slot->known) < 0;
}

void ais_rotation_begin(struct ais_rotation *r, const uint64_t *versions, unsigned nslots, uint32_t configuration,
                        int64_t date)
{
    unsigned in_use = r->in_use < nslots ? r->in_use : 0;
    bool same = r->nslots > 0 && in_use == r->in_use && r->slots[in_use].version == versions[in_use];

    r->configuration = configuration;
    r->nslots = nslots;
    r->in_use = in_use;
    r->since = same ? r->since : date;
    for (unsigned i = 0; i < nslots; i++) {
        r->slots[i].refused_on = r->slots[i].version == versions[i] ? r->slots[i].refused_on : 0;
        r->slots[i].version = versions[i];
        r->slots[i].refused = false;
        touch(r, i);
    }
}

bool ais_rotation_exhausted(const struct ais_rotation *r)
{
    unsigned i = 0;

    while (i < r->nslots && r->slots[i].refused)
        i++;
    return i == r->nslots;
}

/* Returns the slot in use or, if that is refused, the first one that is not. There must be one. */
static unsigned usable_slot(const struct ais_rotation *r)
{
    unsigned i = 0;

    if (usable(r, r->in_use))
        return r->in_use;

    while (!usable(r, i))
        i++;
    return i;
}

/* Returns the slot that has not changed for the longest time, so that refused slots take turns. */
static unsigned first_refused(const struct ais_rotation *r)
{
    unsigned first = 0;

    for (unsigned i = 1; i < r->nslots; i++) {
        if ((int32_t) (r->slots[i].known - r->slots[first].known) < 0)
            first = i;
    }
    return first;
}

struct ais_choice ais_rotation_choose(struct ais_rotation *r, int64_t now)
{
    struct ais_choice choice = {.none = false};

    if (!ais_rotation_exhausted(r)) {
        choice.slot = usable_slot(r);
    } else {
        choice.slot = first_refused(r);
        choice.wait = r->tried + AIS_ROTATION_PAUSE - now;
        choice.none = choice.wait > 0;
        r->tried = choice.none ? r->tried : now;
    }
    choice.version = r->slots[choice.slot].version;
    choice.known = r->changes;
    return choice;
}

enum ais_rotation_news ais_rotation_refused(struct ais_rotation *r, const struct ais_choice *choice, int64_t now,
                                            int64_t date)
{
    struct ais_slot *slot = &r->slots[choice->slot];
    bool news = !slot->refused;

    if (outdated(r, choice))
        return AIS_ROTATION_NO_NEWS;

    slot->refused = true;
    slot->refused_on = date;
    touch(r, choice->slot);
    if (!news)
        return AIS_ROTATION_NO_NEWS;
    if (!ais_rotation_exhausted(r))
        return AIS_ROTATION_REFUSED;

    r->tried = now;
    return AIS_ROTATION_EXHAUSTED;
}

static void forget_refusals(struct ais_rotation *r)
{
    for (unsigned i = 0; i < r->nslots; i++) {
        if (r->slots[i].refused) {
            r->slots[i].refused = false;
            touch(r, i);
        }
    }
}

enum ais_rotation_news ais_rotation_accepted(struct ais_rotation *r, const struct ais_choice *choice, int64_t date)
{
    bool exhausted = ais_rotation_exhausted(r);
    bool switched = choice->slot != r->in_use;

    if (outdated(r, choice))
        return AIS_ROTATION_NO_NEWS;

    forget_refusals(r);
    if (switched) {
        r->in_use = choice->slot;
        r->since = date;
    }
    if (exhausted)
        return AIS_ROTATION_RECOVERED;
    return switched ? AIS_ROTATION_SWITCHED : AIS_ROTATION_NO_NEWS;
}

bool ais_rotation_renewed(struct ais_rotation *r, unsigned slot, uint64_t version, int64_t date)
{
    if (r->slots[slot].version == version)
        return false;

    r->slots[slot] = (struct ais_slot){.version = version};
    touch(r, slot);
    if (slot == r->in_use)
        r->since = date;
    return true;
}

bool ais_rotation_unusable(struct ais_rotation *r, unsigned slot, uint64_t seen)
{
    bool news = r->slots[slot].unusable != seen;

    r->slots[slot].unusable = seen;
    return news;
}
