#ifndef STATE_TEXT_H
#define STATE_TEXT_H

#include <stdio.h>

#include "ais_budget.h"

#include "conditions.h"

/*
 * The texts in the state file: "WORD=VALUE WORD=VALUE ...". Times are written
 * as seconds since the epoch with three decimals; in memory they are
 * milliseconds. For example, a history:
 *
 *     seen=1795435200.000 listed=1 failed=2/0/0 floor=1795435100.000
 *     ended=0123456789abcdef@1795435180.000
 *     active=00c0ffee00c0ffee@1795435190.000
 *
 * Fields with their initial value are omitted. (Counters used to have three
 * parts, by the source of the jobs, which are added up.) Conditions are words
 * without a value; a "+" after one, which marked a summary, is ignored.
 *
 * Pure: independent of collectd.
 */

/* The kinds of lines, and the type that each describes. */
typedef enum {
  STATE_BUDGET,   /* state_budget_t: calls spent in the longest interval */
  STATE_FACTS,    /* instance_t: the API's data about it */
  STATE_INSTANCE, /* instance_t: its history */
  STATE_NOTICE,   /* notice_t */
  STATE_REPORTED, /* reported_t */
} state_kind_t;

#define STATE_KINDS 5

typedef struct {
  struct ais_budget *budget;
  int64_t clock; /* its current time */
  int64_t epoch; /* the wall clock at the same moment */
} state_budget_t;

/* "budget", "facts", ... */
const char *state_kind_name(state_kind_t kind);

/* Writes the text for an object of that kind. Sorts the jobs of a history. */
void state_print(FILE *to, state_kind_t kind, void *of);

/* Parses a text into an object with its initial values. Times later than is
 * plausible at now are reduced to the latest plausible one. Returns false if
 * the text is invalid; the object may be partly filled then. */
bool state_parse(state_kind_t kind, void *of, const char *text, int64_t now);

#endif
