#ifndef AISEARCH_OUTCOME_H
#define AISEARCH_OUTCOME_H

#include "aisearch.h"

/* What came of a request. */
typedef struct {
  bool good;
  enum ais_fault fault; /* NONE also where the API says that there is none */
  int status;
  struct ais_verdict verdict;
  refusal_t refusal; /* where the API says no */
  int64_t closed;    /* for how long no more calls are wanted, ms */
  struct ais_error why;
  struct ais_answer answer; /* only where good */
} outcome_t;

#pragma GCC visibility push(hidden)

/* Judges what was answered for the resource. */
outcome_t aisearch_outcome(const struct ais_resource *resource,
                           const struct ais_response *response);

/* The API answers, but with a no. That may be over later, but hardly soon. */
bool aisearch_outcome_is_no(const outcome_t *outcome);

/* Counts it among the account's requests and errors. With its lock. */
void aisearch_outcome_count(account_t *account, const outcome_t *outcome,
                            const struct ais_response *response);

/* Logs once per change: of the fault, or of the status that says no. label says
 * what cannot be read. An outage concerns thousands: of those of one interval,
 * the first ones are named, and the others counted. */
void aisearch_outcome_complain(account_t *account, trouble_t *trouble,
                               const char *label, const outcome_t *outcome);

/* Logs how many more there were than were named, and begins a new interval
 * where the present one is over (ms). */
void aisearch_outcome_tell_more(account_t *account, int64_t interval);

#pragma GCC visibility pop

#endif
