/*
 * Which credential is asked with, step by step: each step is a letter, and for some a digit.
 *
 *     b N  begins, with N credentials (1 or 2)   r N  call number N of those under way is refused
 *     c    chooses, for a call                   a N  it is accepted
 *     + N  N times 10 seconds pass               w N  another content is in slot N
 *     u N  what is in slot N cannot be used
 */

#include "fuzz.h"

#include "ais_rotation.h"

#define CALLS_MAX 10
#define STEPS_MAX 1000

struct play {
    struct ais_rotation rotation;
    struct ais_choice calls[CALLS_MAX];
    unsigned ncalls;
    uint64_t version;
    int64_t now;
    int64_t tried; /* when a choice was made last while all were refused; -1: never */
};

static void check(const struct play *p)
{
    const struct ais_rotation *r = &p->rotation;
    unsigned refused = 0;

    MUST(r->nslots <= AIS_SLOTS && (r->nslots == 0 || r->in_use < r->nslots));
    for (unsigned i = 0; i < r->nslots; i++)
        refused += r->slots[i].refused;
    MUST(ais_rotation_exhausted(r) == (refused == r->nslots));
}

static void begin(struct play *p, unsigned n)
{
    uint64_t versions[AIS_SLOTS] = {++p->version, ++p->version};

    n = n >= AIS_SLOTS ? AIS_SLOTS : 1;
    ais_rotation_begin(&p->rotation, versions, n, 1, p->now);
    MUST(!ais_rotation_exhausted(&p->rotation));
    p->ncalls = 0; /* of another configuration */
    p->tried = -1;
}

/* Never one that is refused while there is another; and one call a minute where there is none. */
static void choose(struct play *p)
{
    bool exhausted = ais_rotation_exhausted(&p->rotation);
    struct ais_choice choice = ais_rotation_choose(&p->rotation, p->now);

    if (choice.none) {
        MUST(exhausted && choice.wait > 0 && choice.wait <= AIS_ROTATION_PAUSE);
        return;
    }
    MUST(choice.slot < p->rotation.nslots);
    MUST(p->rotation.slots[choice.slot].refused == exhausted);
    if (exhausted) {
        MUST(p->tried == -1 || p->now - p->tried >= AIS_ROTATION_PAUSE);
        p->tried = p->now;
    }
    if (p->ncalls < CALLS_MAX)
        p->calls[p->ncalls++] = choice;
}

static struct ais_choice take_call(struct play *p, unsigned n)
{
    struct ais_choice choice = p->calls[n % p->ncalls];

    p->calls[n % p->ncalls] = p->calls[p->ncalls - 1];
    p->ncalls--;
    return choice;
}

static void refuse(struct play *p, unsigned n)
{
    struct ais_choice choice = take_call(p, n);
    bool before = ais_rotation_exhausted(&p->rotation);
    enum ais_rotation_news news = ais_rotation_refused(&p->rotation, &choice, p->now, p->now);

    MUST(news == AIS_ROTATION_NO_NEWS || news == AIS_ROTATION_REFUSED || news == AIS_ROTATION_EXHAUSTED);
    MUST((news == AIS_ROTATION_EXHAUSTED) == (!before && ais_rotation_exhausted(&p->rotation)));
    if (news == AIS_ROTATION_EXHAUSTED)
        p->tried = p->now;
}

static void accept(struct play *p, unsigned n)
{
    struct ais_choice choice = take_call(p, n);
    unsigned in_use = p->rotation.in_use;
    enum ais_rotation_news news = ais_rotation_accepted(&p->rotation, &choice, p->now);

    if (news == AIS_ROTATION_SWITCHED)
        MUST(p->rotation.in_use != in_use && p->rotation.in_use == choice.slot);
    if (news != AIS_ROTATION_NO_NEWS)
        MUST(!ais_rotation_exhausted(&p->rotation));
}

static void step(struct play *p, char letter, unsigned n)
{
    unsigned slot = p->rotation.nslots > 0 ? n % p->rotation.nslots : 0;

    if (letter == 'b')
        begin(p, n);
    else if (p->rotation.nslots == 0)
        return;
    else if (letter == 'c')
        choose(p);
    else if (letter == '+')
        p->now += n * 10000;
    else if (letter == 'r' && p->ncalls > 0)
        refuse(p, n);
    else if (letter == 'a' && p->ncalls > 0)
        accept(p, n);
    else if (letter == 'w')
        MUST(ais_rotation_renewed(&p->rotation, slot, ++p->version, p->now));
    else if (letter == 'u')
        (void) ais_rotation_unusable(&p->rotation, slot, n);
    check(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct play p = {.now = 1000000, .tried = -1};

    for (size_t i = 0; i + 1 < size && i < STEPS_MAX; i++) {
        bool digit = data[i + 1] >= '0' && data[i + 1] <= '9';

        step(&p, (char) data[i], digit ? (unsigned) (data[i + 1] - '0') : 0);
        i += digit;
    }
    return 0;
}
