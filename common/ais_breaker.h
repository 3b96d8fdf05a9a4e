/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_BREAKER_H
#define AIS_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

#include "ais_client.h"
#include "ais_policy.h"

/*
 * A circuit breaker for the API of an account. While the API is unreachable, calls cost time, memory and cached
 * answers, without any result. After AIS_BREAKER_FAULTS faults in a row the breaker opens: only one call at a time, a
 * probe, is allowed, to find out whether the API is back. After the first success the breaker is recovering: at most
 * AIS_BREAKER_CALLS calls may be under way at once. After AIS_BREAKER_SUCCESSES more successes it closes; any fault
 * opens it again.
 *
 * A call is a fault if it did not reach the API: no connection, no TLS, no response, a timeout, a 503, or a 5xx without
 * the API's own envelope. A failed call is also a fault if the budget had no call left to retry it. Any other response
 * is a success, whatever it says.
 *
 * As long as there are lookups, there is about one probe a second, so that clients soon see that the API is back; a 503
 * may request a longer pause with Retry-After. Most probes are quick: the caller makes only one try of at most
 * AIS_BREAKER_QUICK ms, so that an unanswered probe does not delay the next one. Every AIS_BREAKER_LONG ms a probe has
 * the full timeout and all retries of a call, in case the API is slow.
 *
 * The functions are pure. The structures are plain data, initially all zero, and may be kept in shared memory; the
 * caller holds a lock around each call. now is in ms of a monotonic clock.
 */

#pragma GCC visibility push(hidden)

#define AIS_BREAKER_FAULTS 5    /* faults in a row that open the breaker */
#define AIS_BREAKER_CALLS 16    /* concurrent calls while recovering */
#define AIS_BREAKER_SUCCESSES 3 /* successes while recovering that close the breaker */

#define AIS_BREAKER_PAUSE (1 * 1000)      /* ms between two probes, less up to a quarter */
#define AIS_BREAKER_PAUSE_MAX (15 * 1000) /* ms, the longest pause that a 503 may request */
#define AIS_BREAKER_QUICK (1 * 1000)      /* ms, the timeout of a quick probe */
#define AIS_BREAKER_LONG (15 * 1000)      /* ms between two probes with the full timeout */

enum ais_breaker_state {
    AIS_BREAKER_CLOSED, /* all calls are allowed */
    AIS_BREAKER_OPEN,
    AIS_BREAKER_RECOVERING, /* the API has responded once */
};

struct ais_breaker {
    enum ais_breaker_state state;
    enum ais_fault fault;             /* the last one, unless closed */
    uint32_t era;                     /* the number of state changes */
    uint32_t count;                   /* closed: faults in a row; recovering: successes */
    int64_t since;                    /* when it opened */
    int64_t due;                      /* when the next probe is allowed */
    int64_t long_at;                  /* when the last probe with the full timeout began, or the breaker opened */
    int64_t calls[AIS_BREAKER_CALLS]; /* when each call under way is over at the latest; open: [0] is the probe */
};

/* The permission to make one call. */
struct ais_pass {
    uint32_t era;   /* of the breaker, when the pass was given */
    uint32_t place; /* the index in calls[] */
    int64_t until;  /* the value in calls[]; 0: the call is not listed there */
    bool probe;
    bool quick; /* only one try, of at most AIS_BREAKER_QUICK ms */
};

/* Changes that the caller may want to log, each reported once. */
enum ais_breaker_news {
    AIS_BREAKER_NO_NEWS,
    AIS_BREAKER_OPENED,
    AIS_BREAKER_RECOVERED,
};

/*
 * Requests permission for a call that takes at most timeout ms. Returns 0 and fills *pass, which the caller returns
 * exactly once, with ais_breaker_settle() or ais_breaker_cancel(); or returns how long to wait, in ms. If the process
 * is killed before it returns a pass, the pass expires one second after the end of its timeout.
 */
int64_t ais_breaker_enter(struct ais_breaker *b, struct ais_pass *pass, int64_t timeout, int64_t now);

/* Returns a pass whose call was not made or was dropped. */
void ais_breaker_cancel(struct ais_breaker *b, struct ais_pass *pass);

/*
 * Returns a pass with the result of its call. random, uniform over its whole range, spreads the probes. A fault is
 * ignored if the breaker has changed its state since the call began.
 */
enum ais_breaker_news ais_breaker_settle(struct ais_breaker *b, struct ais_pass *pass,
                                         const struct ais_verdict *verdict, const struct ais_response *response,
                                         uint32_t random, int64_t now);

/* Returns in how many ms a call may be allowed, assuming that the calls under way continue; 0 if one is allowed now. */
int64_t ais_breaker_wait(const struct ais_breaker *b, int64_t now);

/* Closes the breaker, for instance because the account has a new API URL. */
void ais_breaker_reset(struct ais_breaker *b);

/* Returns the name as a constant string: "closed", "open" or "recovering". */
const char *ais_breaker_state_name(enum ais_breaker_state state);

#pragma GCC visibility pop

#endif
