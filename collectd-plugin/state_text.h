#ifndef STATE_TEXT_H
#define STATE_TEXT_H

#include "ais_budget.h"

#include "conditions.h"

/*
 * The texts in the state file: "WORD=VALUE WORD=VALUE ...", with spaces or
 * semicolons between. Times are seconds since the epoch with three digits
 * behind the point, and milliseconds in here.
 *
 *     seen=1795435200.000 listed=1 failed=2/0/0 floor=1795435100.000
 *     ended=0123456789abcdef@1795435180.000
 *     active=00c0ffee00c0ffee@1795435190.000
 *
 * is a history, what has its first value left out. (Its counters were told by
 * the source of the jobs once, and are added up.) Conditions are names with
 * commas between; "+" behind one meant that it was told in a summary.
 *
 * Pure, without collectd in it.
 */

/* Text that grows; what memory does not do for is left out. */
typedef struct {
  char *data;
  size_t len;
  size_t size;
  bool failed;
} text_t;

/* Begins an empty one, in the memory of the one before; and adds to it. */
void text_begin(text_t *text);
__attribute__((format(printf, 2, 3))) void text_print(text_t *text,
                                                      const char *format, ...);

/* Print one, and return its data, or NULL where memory has run out. */
const char *history_print(text_t *text, const history_t *history);
const char *told_print(text_t *text, const told_t *told);
const char *facts_print(text_t *text, const instance_t *instance);
const char *notice_print(text_t *text, const notice_t *notice);

/* What was spent in the longest interval, and until when there are no calls. */
const char *budget_print(text_t *text, struct ais_budget *budget, int64_t now,
                         int64_t epoch);

/* Return false for what is no such text; what is read into may be half filled
 * then. An instance takes its facts. budget may be NULL, only to see. */
bool history_parse(history_t *history, const char *text);
bool told_parse(told_t *told, const char *text);
bool facts_parse(instance_t *instance, const char *text);
bool notice_parse(notice_t *notice, const char *text);
bool budget_parse(struct ais_budget *budget, int64_t now, int64_t epoch,
                  const char *text);

#endif
