/*
 * The choice of a credential, step by step: each step is a letter, some with a digit.
 *
 *     b N  begins with N credentials (1 or 2)    r N  call number N in progress is refused
 *     c    chooses one for a call                a N  it is accepted
 *     + N  N times 10 seconds pass               w N  the content of slot N is replaced
 *     u N  the content of slot N is invalid
 *     n N  call number N was for path N, and answered: a witness
 *     d N  call number N was for path N, and refused, which is doubtful
 *     o N  the witness was requested, with a good response unless N is 0
 */

#include "fuzz.h"

#include "ais_rotation.h"
#include "ais_witness.h"

#define CALLS_MAX 10
#define STEPS_MAX 1000

struct play {
    struct ais_rotation rotation;
    struct ais_choice calls[CALLS_MAX];
    unsigned ncalls;
    uint64_t version;
    int64_t now;
    struct ais_witness witness;
    int64_t asking; /* a request for the witness is in progress until then; 0: none */
    int64_t tried;  /* when a choice was last made while all were refused; -1: never */
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

/* A refused credential is never used while there is another; if there is none, one call per minute uses it. */
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

static const char *path_of(unsigned n)
{
    static char longest[AIS_WITNESS_PATH_MAX + 1];

    memset(longest, 'x', AIS_WITNESS_PATH_MAX);
    return n == 9 ? longest : &"/abcdefgh"[n];
}

static void note(struct play *p, unsigned n)
{
    ais_witness_note(&p->witness, p->calls[n % p->ncalls].version, path_of(n), p->now - n);
    MUST(strlen(p->witness.path) < AIS_WITNESS_PATH_MAX);
    if (p->witness.asking_until == 0)
        p->asking = 0;
}

/* The path to request is set; and there is only one such request at a time. */
static void doubt(struct play *p, unsigned n)
{
    const struct ais_rotation *r = &p->rotation;
    struct ais_choice choice = p->calls[n % p->ncalls];
    unsigned slot = choice.slot;
    enum ais_doubt doubt =
        ais_witness_doubt(&p->witness, r, &choice, n % 2 == 0, path_of(n), p->now - n, 15000, p->now);

    MUST(choice.slot < r->nslots);
    if (doubt == AIS_DOUBT_OTHER)
        MUST(choice.slot != slot && !r->slots[choice.slot].refused && n % 2 != 0);
    if (doubt == AIS_DOUBT_ASK) {
        MUST(p->asking <= p->now);
        MUST(choice.version == r->slots[choice.slot].version && choice.version == p->witness.version);
        MUST(strcmp(p->witness.path, path_of(n)) != 0);
        p->asking = p->now + 15000;
    }
}

static void tell(struct play *p, bool good)
{
    ais_witness_settle(&p->witness, good, p->now);
    p->asking = 0;
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
    else if (letter == 'n' && p->ncalls > 0)
        note(p, n);
    else if (letter == 'd' && p->ncalls > 0)
        doubt(p, n);
    else if (letter == 'o')
        tell(p, n != 0);
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
