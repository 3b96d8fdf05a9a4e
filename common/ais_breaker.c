/* SPDX-License-Identifier: BSD-2-Clause */

/* Decides whether calls to the API are allowed: after several faults in a row only probes are, until one succeeds. */

#include "ais_breaker.h"

#include <stdbool.h>
#include <string.h>

/* A call under way is considered lost this many ms after its timeout. */
#define GRACE 1000

enum sign {
    SIGN_NONE, /* the call was not made, or the fault is our own */
    SIGN_GOOD, /* the API responded */
    SIGN_BAD,
};

/*
 * A status of 0 means that there was no response. A 5xx with the API's own envelope may concern only the requested
 * resource, but a 503 concerns all.
 */
static bool is_outage(const struct ais_verdict *verdict, int status)
{
    return status == 0 || status == 503 || (status >= 500 && !verdict->pass);
}

static enum sign read_sign(const struct ais_verdict *verdict, const struct ais_response *response)
{
    switch (verdict->fault) {
    case AIS_FAULT_BUDGET:
        return response->calls > 0 ? SIGN_BAD : SIGN_NONE; /* the first call failed, and none was left for a retry */
    case AIS_FAULT_INTERNAL:
        return SIGN_NONE;
    case AIS_FAULT_CONNECT:
    case AIS_FAULT_TLS:
    case AIS_FAULT_TIMEOUT:
        return SIGN_BAD;
    case AIS_FAULT_SERVER:
        return is_outage(verdict, response->status) ? SIGN_BAD : SIGN_GOOD;
    default:
        return SIGN_GOOD;
    }
}

static void change(struct ais_breaker *b, enum ais_breaker_state state)
{
    b->state = state;
    b->era++;
    b->count = 0;
    memset(b->calls, 0, sizeof(b->calls));
}

/* Returns the first free index in calls[] below places, or places if there is none. */
static uint32_t free_place(const struct ais_breaker *b, uint32_t places, int64_t now)
{
    uint32_t place = 0;

    while (place < places && b->calls[place] > now)
        place++;
    return place;
}

static uint32_t places(const struct ais_breaker *b)
{
    return b->state == AIS_BREAKER_OPEN ? 1 : AIS_BREAKER_CALLS;
}

int64_t ais_breaker_wait(const struct ais_breaker *b, int64_t now)
{
    if (b->state == AIS_BREAKER_CLOSED)
        return 0;
    if (b->state == AIS_BREAKER_OPEN && b->due > now)
        return b->due - now;
    return free_place(b, places(b), now) < places(b) ? 0 : AIS_BREAKER_PAUSE;
}

/* Returns the timeout of the probe. */
static int64_t begin_probe(struct ais_breaker *b, struct ais_pass *pass, int64_t timeout, int64_t now)
{
    pass->probe = true;
    pass->quick = now - b->long_at < AIS_BREAKER_LONG;
    if (!pass->quick)
        b->long_at = now;
    return pass->quick && timeout > AIS_BREAKER_QUICK ? AIS_BREAKER_QUICK : timeout;
}

int64_t ais_breaker_enter(struct ais_breaker *b, struct ais_pass *pass, int64_t timeout, int64_t now)
{
    int64_t wait = ais_breaker_wait(b, now);

    *pass = (struct ais_pass){.era = b->era};
    if (wait > 0 || b->state == AIS_BREAKER_CLOSED)
        return wait;

    if (b->state == AIS_BREAKER_OPEN)
        timeout = begin_probe(b, pass, timeout, now);
    pass->place = free_place(b, places(b), now);
    pass->until = now + timeout + GRACE;
    b->calls[pass->place] = pass->until;
    return 0;
}

/* Returns whether the breaker's state is still that of when the call began, and the pass has not expired. */
static bool give_back(struct ais_breaker *b, struct ais_pass *pass)
{
    bool present = pass->era == b->era && (pass->until == 0 || b->calls[pass->place] == pass->until);

    if (present && pass->until != 0)
        b->calls[pass->place] = 0;
    pass->era = b->era - 1;
    return present;
}

void ais_breaker_cancel(struct ais_breaker *b, struct ais_pass *pass)
{
    (void) give_back(b, pass);
}

static int64_t next_pause(int64_t retry_after, uint32_t random)
{
    int64_t pause = AIS_BREAKER_PAUSE - (int64_t) (((uint64_t) random * (AIS_BREAKER_PAUSE / 4)) >> 32);

    if (retry_after > AIS_BREAKER_PAUSE_MAX)
        return AIS_BREAKER_PAUSE_MAX;
    return retry_after > pause ? retry_after : pause;
}

static enum ais_breaker_news succeed(struct ais_breaker *b, bool present)
{
    if (b->state == AIS_BREAKER_OPEN) {
        change(b, AIS_BREAKER_RECOVERING);
    } else if (b->state == AIS_BREAKER_CLOSED) {
        b->count = 0;
    } else if (present && ++b->count == AIS_BREAKER_SUCCESSES) {
        change(b, AIS_BREAKER_CLOSED);
        return AIS_BREAKER_RECOVERED;
    }
    return AIS_BREAKER_NO_NEWS;
}

static enum ais_breaker_news fail(struct ais_breaker *b, enum ais_fault fault, int64_t pause, int64_t now)
{
    bool was_closed = b->state == AIS_BREAKER_CLOSED;

    if (was_closed && ++b->count < AIS_BREAKER_FAULTS)
        return AIS_BREAKER_NO_NEWS;

    if (was_closed)
        b->since = b->long_at = now;
    if (b->state != AIS_BREAKER_OPEN)
        change(b, AIS_BREAKER_OPEN);
    b->fault = fault != AIS_FAULT_BUDGET ? fault : AIS_FAULT_SERVER;
    b->due = now + pause;
    return was_closed ? AIS_BREAKER_OPENED : AIS_BREAKER_NO_NEWS;
}

enum ais_breaker_news ais_breaker_settle(struct ais_breaker *b, struct ais_pass *pass,
                                         const struct ais_verdict *verdict, const struct ais_response *response,
                                         uint32_t random, int64_t now)
{
    enum sign sign = read_sign(verdict, response);
    int64_t retry_after = response->status == 503 ? response->retry_after : -1;
    bool present = give_back(b, pass);

    if (sign == SIGN_GOOD)
        return succeed(b, present);
    if (sign == SIGN_BAD && present)
        return fail(b, verdict->fault, next_pause(retry_after, random), now);
    return AIS_BREAKER_NO_NEWS;
}

void ais_breaker_reset(struct ais_breaker *b)
{
    change(b, AIS_BREAKER_CLOSED);
}

const char *ais_breaker_state_name(enum ais_breaker_state state)
{
    static const char *const names[] = {
        [AIS_BREAKER_CLOSED] = "closed",
        [AIS_BREAKER_OPEN] = "open",
        [AIS_BREAKER_RECOVERING] = "recovering",
    };

    return names[state];
}
