#ifndef AISEARCH_OUTCOME_H
#define AISEARCH_OUTCOME_H

#include "aisearch.h"

/* What came of a request. */
typedef struct {
  bool good;
  enum ais_fault fault; /* NONE also where the API answered, but with a no */
  int status;
  int64_t closed; /* for how long no more calls are wanted, ms */
  struct ais_error why;
  struct ais_answer answer; /* only where good */
} outcome_t;

#pragma GCC visibility push(hidden)

/* Judges what was answered for the resource. */
outcome_t aisearch_outcome(const struct ais_resource *resource,
                           const struct ais_response *response);

/* Counts it among the account's requests and errors. With its lock. */
void aisearch_outcome_count(account_t *account, const outcome_t *outcome,
                            const struct ais_response *response);

/* Logs once per change: of the fault, or of the status that says no. label says
 * what cannot be read. */
void aisearch_outcome_complain(trouble_t *trouble, const char *label,
                               const outcome_t *outcome);

/* A response where none came, and no request was sent. */
struct ais_response aisearch_outcome_unsent(enum ais_fault fault,
                                            const char *message);

#pragma GCC visibility pop

#endif
