#ifndef AISEARCH_BUDGET_TEXT_H
#define AISEARCH_BUDGET_TEXT_H

#include "ais_budget.h"

/*
 * What was spent of a budget as text, "spent=8@1795435190.000,8@1795435200.000
 * closed=1795435290.000 left=120@1795435300.000": so many calls at that time,
 * in seconds since the epoch; no more calls until then; and what the API said
 * is left until then. Pure, without collectd in it.
 */

#define BUDGET_TEXT_SIZE 2048

#pragma GCC visibility push(hidden)

/* now is by the budget's clock, epoch the same moment in milliseconds since the
 * epoch. */
void aisearch_budget_print(struct ais_budget *b, int64_t now, int64_t epoch,
                           char text[BUDGET_TEXT_SIZE]);

/* Goes on with it. NULL for the budget: only says whether it is such a text. */
bool aisearch_budget_parse(struct ais_budget *b, int64_t now, int64_t epoch,
                           const char *text);

#pragma GCC visibility pop

#endif
