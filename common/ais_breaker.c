/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Decides whether the API is asked at all: after faults in a row it is not, but for a probe now and then, until one
 * succeeds.
 */

#include "ais_breaker.h"

#include <stdbool.h>
#include <string.h>

/* After its timeout a call is over, give or take. */
#define GRACE 1000 /* ms */

enum sign {
    SIGN_NONE, /* it was not made, or it is our own fault */
    SIGN_GOOD, /* somebody is there */
    SIGN_BAD,
};

/* Without a status there was no answer. The API's own words for an internal error may be about what was asked for
   alone; a 503 is about all. */
static bool is_outage(const struct ais_verdict *verdict, int status)
{
    return status == 0 || status == 503 || (status >= 500 && !verdict->pass);
}

static enum sign read_sign(const struct ais_verdict *verdict, const struct ais_response *response)
{
    switch (verdict->fault) {
    case AIS_FAULT_BUDGET:
        return response->calls > 0 ? SIGN_BAD : SIGN_NONE; /* that failed, and there was none for a repeat */
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

/* A place among the calls of which one is free: the first of so many; or none, which is so many. */
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

/* Returns how long it may take. */
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

/* Returns whether the call was made as things are now, and in its time. */
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
