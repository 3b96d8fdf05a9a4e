#ifndef STATE_TEXT_H
#define STATE_TEXT_H

#include <stdio.h>

#include "ais_budget.h"

#include "conditions.h"

/*
 * The texts in the state file: "WORD=VALUE WORD=VALUE ...". Times are seconds
 * since the epoch with three digits behind the point, and milliseconds in here.
 *
 *     seen=1795435200.000 listed=1 failed=2/0/0 floor=1795435100.000
 *     ended=0123456789abcdef@1795435180.000
 *     active=00c0ffee00c0ffee@1795435190.000
 *
 * is a history. What has its first value is left out. (Its counters were told
 * by the source of the jobs once, and are added up.) Conditions are words
 * without a value; "+" behind one meant that it was told in a summary.
 *
 * Pure, without collectd in it.
 */

/* The kinds of lines, and what each is about. */
typedef enum {
  STATE_BUDGET,   /* state_budget_t: what was spent in the longest interval */
  STATE_FACTS,    /* instance_t: what the API tells of it */
  STATE_INSTANCE, /* instance_t: its history */
  STATE_NOTICE,   /* notice_t */
  STATE_TOLD,     /* told_t */
} state_kind_t;

#define STATE_KINDS 5

typedef struct {
  struct ais_budget *budget;
  int64_t clock; /* its time */
  int64_t epoch; /* and that of the world */
} state_budget_t;

/* "budget", "facts", ... */
const char *state_kind_name(state_kind_t kind);

/* Prints the text about something of that kind. Sorts the jobs of a history. */
void state_print(FILE *to, state_kind_t kind, void *of);

/* Reads one into something that has its first values. No time in it is later
 * than it could be if it was taken down now. Returns false for what is no such
 * text; what is read into may be half filled then. */
bool state_parse(state_kind_t kind, void *of, const char *text, int64_t now);

#endif
