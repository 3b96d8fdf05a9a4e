/*
 * The budget, compared with a model that remembers each call: there are never more calls in an interval than allowed,
 * whatever the order of operations. The input is a list of steps, each a letter and up to two numbers:
 *
 *     l CALLS,MS  adds a limit for the next s      t    takes a call
 *     h MS        hold for the next s              e N  ends call number N in progress
 *     s           sets limits and hold             c N  cancels it
 *     + MS        time passes                      x MS closes it for that long
 *     - MS        the clock is set back            o LEFT,MS  the API's remaining calls of a limit, until MS from now;
 *     r           another process takes over                  p, q, u, v, w: of other limits
 *     n           takes a call of the part         m PERCENT  the part's share, for the next s
 */

#include "fuzz.h"

#include "ais_budget.h"

#define CALLS_MAX 4096
#define STEPS_MAX 10000
#define NUMBER_MAX 100000000

struct call {
    ais_ticket ticket;
    int64_t latest_end;
    int64_t ended; /* -1: in progress */
    int64_t sent;
    bool parted; /* the call belongs to the part, and was taken after that began */
};

struct play {
    struct ais_budget budget;
    struct ais_budget part;
    uint32_t percent;
    uint32_t next_percent;
    struct ais_budget_limit limits[AIS_BUDGET_LIMITS]; /* the current ones */
    size_t nlimits;
    struct ais_budget_limit next[AIS_BUDGET_LIMITS];
    size_t nnext;
    int64_t next_hold;
    int64_t hold;
    int64_t longest_hold;
    int64_t clock; /* the time it shows */
    int64_t now;   /* the latest time it has shown */
    struct call calls[CALLS_MAX];
    size_t ncalls;
};

/* A call that was not ended has ended when its hold passed. */
static int64_t end_of(const struct play *p, const struct call *call)
{
    if (call->ended != -1)
        return call->ended;
    return call->latest_end < p->now ? call->latest_end : INT64_MAX;
}

static uint64_t count(const struct play *p, int64_t interval)
{
    uint64_t n = 0;

    for (size_t i = 0; i < p->ncalls; i++) {
        int64_t end = end_of(p, &p->calls[i]);

        n += end == INT64_MAX || p->now - end <= interval;
    }
    return n;
}

static uint64_t count_parted(const struct play *p, int64_t interval)
{
    uint64_t n = 0;

    for (size_t i = 0; i < p->ncalls; i++)
        n += p->calls[i].parted && p->now - p->calls[i].sent <= interval;
    return n;
}

static void check_taken(struct play *p, ais_ticket ticket, bool parted)
{
    MUST(p->nlimits > 0 && p->ncalls < CALLS_MAX);
    p->calls[p->ncalls++] = (struct call){ticket, p->now + p->hold, -1, p->now, parted};
    for (size_t i = 0; i < p->nlimits; i++) {
        struct ais_budget_limit part = ais_budget_part_of(p->limits[i], p->percent);

        MUST(count(p, p->limits[i].interval) <= p->limits[i].calls);
        MUST(!parted || count_parted(p, part.interval) <= part.calls);
    }
}

static void take(struct play *p)
{
    struct ais_budget before = p->budget;
    bool may = ais_budget_left(&before, p->clock) > 0;
    ais_ticket ticket = ais_budget_take(&p->budget, p->clock);

    MUST((ticket != AIS_TICKET_NONE) == may);
    MUST((ais_budget_wait(&before, p->clock) == 0) == may || p->nlimits == 0);
    if (ticket != AIS_TICKET_NONE)
        check_taken(p, ticket, false);
}

/* It takes exactly one call, of the part and of the whole. */
static void take_part(struct play *p)
{
    uint32_t left = ais_budget_left(&p->budget, p->clock);
    uint32_t of_part = ais_budget_part_left(&p->part, &p->budget, p->clock);
    int64_t wait = ais_budget_part_wait(&p->part, &p->budget, p->clock);
    ais_ticket ticket = ais_budget_part_take(&p->part, &p->budget, p->clock);

    MUST(of_part <= left);
    MUST((ticket != AIS_TICKET_NONE) == (of_part > 0));
    MUST((wait == 0) == (of_part > 0) || p->nlimits == 0);
    if (ticket == AIS_TICKET_NONE)
        return;

    MUST(ais_budget_left(&p->budget, p->clock) == left - 1);
    MUST(ais_budget_part_left(&p->part, &p->budget, p->clock) == of_part - 1);
    check_taken(p, ticket, true);
}

/* Call number n of those in progress. */
static struct call *find(struct play *p, int64_t n)
{
    size_t flying = 0;

    for (size_t i = 0; i < p->ncalls; i++)
        flying += p->calls[i].ended == -1;
    if (flying == 0)
        return NULL;

    n %= (int64_t) flying;
    for (size_t i = 0;; i++) {
        if (p->calls[i].ended == -1 && n-- == 0)
            return &p->calls[i];
    }
}

static void end(struct play *p, int64_t n)
{
    struct call *call = find(p, n);

    ais_budget_end(&p->budget, call != NULL ? call->ticket : AIS_TICKET_NONE, p->clock);
    if (call != NULL)
        call->ended = call->latest_end < p->now ? call->latest_end : p->now;
}

/* It no longer counts, unless its hold has passed. */
static void cancel(struct play *p, int64_t n)
{
    struct call *call = find(p, n);

    ais_budget_cancel(&p->budget, call != NULL ? call->ticket : AIS_TICKET_NONE, p->clock);
    if (call == NULL)
        return;
    if (call->latest_end < p->now)
        call->ended = call->latest_end;
    else
        *call = p->calls[--p->ncalls];
}

/* The part is set up together with the whole. */
static void set_part(struct play *p)
{
    struct ais_budget_limit limits[AIS_BUDGET_LIMITS];

    for (size_t i = 0; i < p->nlimits; i++)
        limits[i] = ais_budget_part_of(p->limits[i], p->percent);
    ais_budget_configure(&p->part, limits, p->nlimits, p->hold, p->clock);
}

static void set(struct play *p)
{
    if (p->nnext == 0)
        return;
    p->percent = p->next_percent;
    p->hold = p->next_hold;
    p->longest_hold = p->hold > p->longest_hold ? p->hold : p->longest_hold;
    p->nlimits = p->nnext;
    memcpy(p->limits, p->next, sizeof(p->limits));
    ais_budget_configure(&p->budget, p->limits, p->nlimits, p->hold, p->clock);
    set_part(p);
    p->nnext = 0;
}

/* The new process knows the calls of the longest interval, and considers those in progress as ended now. */
static void restart(struct play *p)
{
    struct ais_budget_spent spent[AIS_BUDGET_SPENT_MAX];
    size_t n = ais_budget_spent(&p->budget, spent, p->clock);
    int64_t longest = 0;
    size_t known = 0;

    MUST(n <= AIS_BUDGET_SPENT_MAX);
    memset(&p->budget, 0, sizeof(p->budget));
    memset(&p->part, 0, sizeof(p->part));
    p->clock = p->now;
    if (p->nlimits > 0) {
        ais_budget_configure(&p->budget, p->limits, p->nlimits, p->hold, p->clock);
        set_part(p);
    }
    for (size_t i = 0; i < n; i++)
        ais_budget_add_spent(&p->budget, spent[i], p->clock);

    for (size_t i = 0; i < p->nlimits; i++)
        longest = p->limits[i].interval > longest ? p->limits[i].interval : longest;
    for (size_t i = 0; i < p->ncalls; i++) {
        struct call call = p->calls[i];

        call.parted = false;
        if (call.ended == -1)
            call.ended = call.latest_end < p->now ? call.latest_end : p->now;
        if (p->now - call.ended <= longest)
            p->calls[known++] = call;
    }
    p->ncalls = known;
}

static void add_limit(struct play *p, int64_t calls, int64_t interval)
{
    if (p->nnext == AIS_BUDGET_LIMITS || calls < 1 || interval < 1)
        return;
    p->next[p->nnext++] = (struct ais_budget_limit){(uint32_t) calls, interval};
}

/* A call whose hold has passed can no longer be ended: it expires by itself, a fraction of the longest hold later. */
static bool is_overdue(const struct play *p, const struct call *call)
{
    bool passed = call->latest_end < p->now && (call->ended == -1 || call->ended == call->latest_end);

    return passed && p->now - call->latest_end <= 2 * p->longest_hold / (AIS_BUDGET_SLOTS - 1) + 2;
}

/* When all calls have ended and the wait is over, a call is available. */
static void check_wait(const struct play *p)
{
    struct ais_budget later = p->budget;
    int64_t wait;

    for (size_t i = 0; i < p->ncalls; i++) {
        if (is_overdue(p, &p->calls[i]))
            return;
        if (p->calls[i].ended == -1)
            ais_budget_end(&later, p->calls[i].ticket, p->clock);
    }
    wait = ais_budget_wait(&later, p->clock);
    MUST(wait >= 0);
    if (p->nlimits > 0)
        MUST(ais_budget_left(&later, p->now + wait) > 0);
}

static void observe(struct play *p, char letter, int64_t left, int64_t reset_in)
{
    struct ais_limit limit = {.name = {letter},
                              .left = left,
                              .reset_at = p->clock + reset_in,
                              .quota = -1,
                              .window = letter == 'w' ? 1000 : -1};

    ais_budget_observe(&p->budget, &limit, /* uncertain = */ letter == 'v' ? 500 : 0, p->clock);
    ais_budget_part_observe(&p->part, &p->budget, p->percent, &limit, letter == 'v' ? 500 : 0, p->clock);
}

/* There are only a few, with distinct names. */
static void check_observed(const struct ais_budget *b)
{
    MUST(b->nobserved <= AIS_LIMITS_MAX);
    for (uint32_t i = 0; i < b->nobserved; i++) {
        MUST(b->observed[i].left >= -1);
        for (uint32_t j = 0; j < i; j++)
            MUST(strcmp(b->observed[i].name, b->observed[j].name) != 0);
    }
}

static void check(struct play *p)
{
    double share = ais_budget_share(&p->budget, NULL, 0, p->clock);
    double of_others = ais_budget_share(&p->budget, &p->part, 0, p->clock);
    uint32_t left = ais_budget_left(&p->budget, p->clock);

    MUST(share >= 0.0 && share <= of_others && of_others <= 1.0);
    check_observed(&p->budget);
    for (uint32_t i = 0; i < p->budget.nobserved; i++) {
        if (ais_limit_is_known(&p->budget.observed[i], p->budget.now))
            MUST(left <= p->budget.observed[i].left);
    }
    if (ais_budget_left(&p->budget, p->clock) > 0)
        MUST(p->nlimits > 0);
    check_wait(p);
}

static void step(struct play *p, char letter, int64_t a, int64_t b)
{
    switch (letter) {
    case 'l':
        add_limit(p, a, b);
        break;
    case 'h':
        p->next_hold = a > 0 ? a : 1;
        break;
    case 's':
        set(p);
        break;
    case 'r':
        restart(p);
        break;
    case 't':
        if (p->ncalls < CALLS_MAX)
            take(p);
        break;
    case 'n':
        if (p->ncalls < CALLS_MAX)
            take_part(p);
        break;
    case 'm':
        p->next_percent = 1 + (uint32_t) (a % 100);
        break;
    case 'e':
        end(p, a);
        break;
    case 'c':
        cancel(p, a);
        break;
    case '+':
        p->clock += a;
        break;
    case '-':
        p->clock = p->clock > a ? p->clock - a : 0;
        break;
    case 'x':
        ais_budget_close(&p->budget, p->clock + a, p->clock);
        break;
    case 'o':
    case 'p':
    case 'q':
    case 'u':
    case 'v':
    case 'w':
        observe(p, letter, a, b);
        break;
    default:
        return;
    }
    p->now = p->clock > p->now ? p->clock : p->now;
    check(p);
}

static int64_t take_number(struct ais_str *rest)
{
    int64_t n = 0;

    for (; rest->len > 0 && rest->data[0] >= '0' && rest->data[0] <= '9'; rest->data++, rest->len--) {
        n = n * 10 + (rest->data[0] - '0');
        if (n > NUMBER_MAX)
            n = NUMBER_MAX;
    }
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ais_str rest = whole_input(data, size);
    struct play *p = calloc(1, sizeof(*p));

    MUST(p != NULL);
    p->next_hold = 1;
    p->percent = p->next_percent = 50;
    for (int steps = 0; rest.len > 0 && steps < STEPS_MAX; steps++) {
        char letter = *rest.data++;
        int64_t a, b = 0;

        rest.len--;
        a = take_number(&rest);
        if (rest.len > 0 && rest.data[0] == ',') {
            rest.data++;
            rest.len--;
            b = take_number(&rest);
        }
        step(p, letter, a, b);
    }
    free(p);
    return 0;
}
