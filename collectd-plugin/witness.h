#ifndef AISEARCH_WITNESS_H
#define AISEARCH_WITNESS_H

#include "outcome.h"

/*
 * A refusal that may be about what was asked for alone, for want of a
 * permission, is not taken for one of the credential before something else has
 * told that was answered before. See ais_witness.h. For the thread that
 * fetches.
 */

#pragma GCC visibility push(hidden)

/* What was asked for by that path, with that choice, has come to this. Such a
 * refusal becomes a no in *outcome, and what was answered before is asked for
 * where nobody knows better. */
void aisearch_witness_hear(account_t *account, const struct ais_choice *choice,
                           const char *path,
                           const struct ais_response *response,
                           outcome_t *outcome);

#pragma GCC visibility pop

#endif
