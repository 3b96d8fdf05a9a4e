/*
 * The breaker of an account's API, step by step: each step is a letter, some with a digit.
 *
 *     e    a call is attempted                    c N  call number N in progress is dropped
 *     g N  call number N has a good response      k N  its process was killed
 *     b N  it has none                            + N  N times 300 ms pass
 *     o N  it fails by our own fault              * N  N times 10 seconds pass
 *     u N  503, with a Retry-After of N times 3 seconds less 3
 *     r    the API is replaced by another one
 */

#include "fuzz.h"

#include "ais_breaker.h"

#define TIMEOUT 15000
#define CALLS_MAX 64
#define STEPS_MAX 1000

struct call {
    struct ais_pass pass;
    int64_t over; /* when it is over at the latest */
};

struct play {
    struct ais_breaker breaker;
    struct call calls[CALLS_MAX];
    unsigned ncalls;
    unsigned faults; /* consecutive ones, of calls that began in the current state */
    int64_t now;
};

static bool is_present(const struct play *p, const struct call *call)
{
    return call->pass.era == p->breaker.era && call->over > p->now;
}

static unsigned count_present(const struct play *p)
{
    unsigned n = 0;

    for (unsigned i = 0; i < p->ncalls; i++)
        n += is_present(p, &p->calls[i]);
    return n;
}

/* There are never two probes, nor more calls than allowed during recovery, and after the wait a call is allowed. */
static void check(struct play *p)
{
    const struct ais_breaker *b = &p->breaker;

    if (b->state == AIS_BREAKER_OPEN)
        MUST(count_present(p) <= 1);
    if (b->state == AIS_BREAKER_RECOVERING)
        MUST(count_present(p) <= AIS_BREAKER_CALLS);
    MUST(ais_breaker_wait(b, p->now) <= AIS_BREAKER_PAUSE_MAX);
    MUST(ais_breaker_wait(b, p->now + TIMEOUT + 1000) == 0);
    MUST(strlen(ais_breaker_state_name(b->state)) > 0);
}

static void enter(struct play *p)
{
    struct ais_pass pass;
    int64_t wait = ais_breaker_wait(&p->breaker, p->now);

    if (p->ncalls == CALLS_MAX)
        return;
    MUST(ais_breaker_enter(&p->breaker, &pass, TIMEOUT, p->now) == wait);
    if (wait > 0) {
        MUST(p->breaker.state != AIS_BREAKER_CLOSED);
        return;
    }
    MUST(pass.probe == (p->breaker.state == AIS_BREAKER_OPEN));
    p->calls[p->ncalls++] = (struct call){pass, p->now + (pass.quick ? AIS_BREAKER_QUICK : TIMEOUT) + 1000};
}

static struct call take_call(struct play *p, unsigned n)
{
    struct call call = p->calls[n % p->ncalls];

    p->calls[n % p->ncalls] = p->calls[p->ncalls - 1];
    p->ncalls--;
    return call;
}

static void succeed(struct play *p, struct call *call)
{
    static const struct ais_verdict good = {.fault = AIS_FAULT_NONE};
    enum ais_breaker_state before = p->breaker.state;
    enum ais_breaker_news news =
        ais_breaker_settle(&p->breaker, &call->pass, &good, &(struct ais_response){.status = 200}, 7, p->now);

    MUST(p->breaker.state != AIS_BREAKER_OPEN);
    MUST((news == AIS_BREAKER_RECOVERED) ==
         (before == AIS_BREAKER_RECOVERING && p->breaker.state == AIS_BREAKER_CLOSED));
    p->faults = 0;
}

/* It opens after exactly that many consecutive faults. */
static void fail(struct play *p, struct call *call, enum ais_fault fault, int status, int64_t retry_after)
{
    struct ais_verdict verdict = {.fault = fault};
    struct ais_response response = {.status = status, .calls = 1, .retry_after = retry_after};
    bool present = call->pass.era == p->breaker.era;
    enum ais_breaker_state before = p->breaker.state;
    enum ais_breaker_news news;

    news = ais_breaker_settle(&p->breaker, &call->pass, &verdict, &response, (uint32_t) p->now << 20, p->now);
    if (before == AIS_BREAKER_CLOSED && present)
        p->faults++;
    MUST((news == AIS_BREAKER_OPENED) == (before == AIS_BREAKER_CLOSED && present && p->faults == AIS_BREAKER_FAULTS));
    MUST(p->breaker.state != AIS_BREAKER_CLOSED || before == AIS_BREAKER_CLOSED);
    if (news == AIS_BREAKER_OPENED)
        p->faults = 0;
}

static void end(struct play *p, char letter, unsigned n)
{
    static const struct ais_verdict ours = {.fault = AIS_FAULT_INTERNAL};
    enum ais_breaker_state before = p->breaker.state;
    struct call call = take_call(p, n);

    if (letter == 'g') {
        succeed(p, &call);
    } else if (letter == 'b') {
        fail(p, &call, n == 9 ? AIS_FAULT_BUDGET : n % 2 ? AIS_FAULT_CONNECT : AIS_FAULT_TIMEOUT, 0, -1);
    } else if (letter == 'u') {
        fail(p, &call, AIS_FAULT_SERVER, 503, 3000 * (int64_t) n - 3000);
    } else if (letter == 'o') {
        MUST(ais_breaker_settle(&p->breaker, &call.pass, &ours, &(struct ais_response){.calls = n}, 7, p->now) ==
             AIS_BREAKER_NO_NEWS);
        MUST(p->breaker.state == before);
    } else if (letter == 'c') {
        ais_breaker_cancel(&p->breaker, &call.pass);
        MUST(p->breaker.state == before);
    }
}

/* When the API is back and calls are attempted, it closes, and soon. */
static void recover(struct play *p)
{
    int64_t began = p->now;

    p->ncalls = 0; /* all were killed */
    while (p->breaker.state != AIS_BREAKER_CLOSED) {
        p->now += ais_breaker_wait(&p->breaker, p->now);
        enter(p);
        if (p->ncalls > 0) {
            struct call call = take_call(p, 0);

            succeed(p, &call);
        }
    }
    MUST(p->now - began <= 2 * (TIMEOUT + 1000) + AIS_BREAKER_PAUSE_MAX);
}

static void step(struct play *p, char letter, unsigned n)
{
    if (letter == 'e') {
        enter(p);
    } else if (letter == '+') {
        p->now += n * 300;
    } else if (letter == '*') {
        p->now += n * 10000;
    } else if (letter == 'r') {
        ais_breaker_reset(&p->breaker);
        p->faults = 0;
    } else if (letter != '\0' && strchr("gbuock", letter) != NULL && p->ncalls > 0) {
        end(p, letter, n);
    }
    check(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct play p = {.now = 1000000};

    for (size_t i = 0; i + 1 < size && i < STEPS_MAX; i++) {
        bool digit = data[i + 1] >= '0' && data[i + 1] <= '9';

        step(&p, (char) data[i], digit ? (unsigned) (data[i + 1] - '0') : 0);
        i += digit;
    }
    recover(&p);
    return 0;
}
