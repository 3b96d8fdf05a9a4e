/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_BREAKER_H
#define AIS_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

#include "ais_client.h"
#include "ais_policy.h"

/*
 * Whether an account's API is asked at all. While it cannot be reached, calls cost time, memory and what the cache has,
 * and bring nothing: after a few faults in a row the breaker opens, and one call at a time, a probe, finds out whether
 * that is over. The first success closes it; until there are a few more, only some calls are under way at once.
 *
 * What counts as a fault is that nobody is there: no connection, no TLS, no answer, or none in time, 503, or a 5xx that
 * is not the API's own; also where the budget had no call left to find out whether a repeat does better. Anything else
 * that is an answer is a success, whatever it says.
 *
 * While look-ups come in there is a probe about once a second, so that those who ask learn soon that the API is back; a
 * 503 may ask for a longer pause. Most probes are quick ones, of which the caller makes no more than one try of up to
 * AIS_BREAKER_QUICK ms: else one that nobody answers would keep the next from finding out. Now and then one has all the
 * time and tries that a call has, for an API that takes long.
 *
 * Pure and plain data, all zero at first, so that it may lie in shared memory, under the caller's lock. now is ms of a
 * clock that nobody sets.
 */

#pragma GCC visibility push(hidden)

#define AIS_BREAKER_FAULTS 5    /* in a row, that open it */
#define AIS_BREAKER_CALLS 16    /* at once, until there were so many successes: */
#define AIS_BREAKER_SUCCESSES 3 /* since it was closed */

#define AIS_BREAKER_PAUSE (1 * 1000) /* ms between two probes, less up to a quarter */
#define AIS_BREAKER_PAUSE_MAX (15 * 1000)
#define AIS_BREAKER_QUICK (1 * 1000) /* ms */
#define AIS_BREAKER_LONG (15 * 1000) /* ms between two probes that have all the time */

enum ais_breaker_state {
    AIS_BREAKER_CLOSED, /* all is well */
    AIS_BREAKER_OPEN,
    AIS_BREAKER_RECOVERING, /* it has answered once */
};

struct ais_breaker {
    enum ais_breaker_state state;
    enum ais_fault fault;             /* while it is not closed: the last one */
    uint32_t era;                     /* counts the changes of state */
    uint32_t count;                   /* of faults in a row while it is closed, of successes while it recovers */
    int64_t since;                    /* when it opened */
    int64_t due;                      /* when the next probe is */
    int64_t long_at;                  /* when the last one was that had all the time */
    int64_t calls[AIS_BREAKER_CALLS]; /* those under way are over by then; open, the first is the probe */
};

/* One call that may be made. */
struct ais_pass {
    uint32_t era;
    uint32_t place; /* among the breaker's calls */
    int64_t until;  /* in that place; 0: it has none */
    bool probe;
    bool quick;
};

/* What has come to light, once each way. */
enum ais_breaker_news {
    AIS_BREAKER_NO_NEWS,
    AIS_BREAKER_OPENED,
    AIS_BREAKER_RECOVERED,
};

/*
 * Asks for a call that takes timeout ms at most. Returns 0, with a pass that is to be given back by
 * ais_breaker_settle() or ais_breaker_cancel() once; or how long to wait, in ms. One that is not given back, since its
 * process was killed, is taken to be lost a second after it should have ended.
 */
int64_t ais_breaker_enter(struct ais_breaker *b, struct ais_pass *pass, int64_t timeout, int64_t now);

/* The call was not made, or was dropped. */
void ais_breaker_cancel(struct ais_breaker *b, struct ais_pass *pass);

/*
 * What came of the call. random, uniform over its whole range, spreads the probes. A fault of a call that began before
 * the breaker has changed says nothing new.
 */
enum ais_breaker_news ais_breaker_settle(struct ais_breaker *b, struct ais_pass *pass,
                                         const struct ais_verdict *verdict, const struct ais_response *response,
                                         uint32_t random, int64_t now);

/* How long until a call may be made, if all that are under way go on; 0 for now. */
int64_t ais_breaker_wait(const struct ais_breaker *b, int64_t now);

/* Closes it, as for another API. */
void ais_breaker_reset(struct ais_breaker *b);

/* "closed", "open", "recovering"; a constant string. */
const char *ais_breaker_state_name(enum ais_breaker_state state);

#pragma GCC visibility pop

#endif
