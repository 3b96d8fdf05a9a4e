#ifndef AISEARCH_BREAKER_H
#define AISEARCH_BREAKER_H

#include "outcome.h"

/*
 * The breaker of an account: while nobody is there to answer, requests are not
 * sent, but for one at a time. See ais_breaker.h. For the thread that fetches.
 */

#pragma GCC visibility push(hidden)

/* Whether a request may be begun. If not, *fault is why, and there is nothing
 * to be given back by one of the others. */
bool aisearch_breaker_enter(account_t *account, pass_t *pass,
                            enum ais_fault *fault);

/* It has: it gets no more time than it was let in for. */
void aisearch_breaker_limit(const pass_t *pass, struct ais_fetch *fetch);

/* What came of it. Logs where that opens or closes the breaker. */
void aisearch_breaker_settle(account_t *account, pass_t *pass,
                             const outcome_t *outcome,
                             const struct ais_response *response);

/* It was not sent, or nobody wants to know any more. */
void aisearch_breaker_cancel(account_t *account, pass_t *pass);

#pragma GCC visibility pop

#endif
