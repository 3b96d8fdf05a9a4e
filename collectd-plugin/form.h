#ifndef AISEARCH_FORM_H
#define AISEARCH_FORM_H

#include <stdbool.h>

#include "ais_policy.h"

/*
 * Plain resources are asked for as they are, until the API turns out not to
 * know that form of paths any more; then as those of the namespace "default".
 * Of the thread that fetches.
 */

typedef struct account_s account_t;

/* In which form something is asked for; zeroed at first. */
typedef struct {
  bool namespaced;
  bool is_trial; /* to see whether the API knows that one */
} form_t;

#pragma GCC visibility push(hidden)

/* Chooses the form to ask in now; and puts a resource into it. */
void aisearch_form_choose(const account_t *account, form_t *form);
void aisearch_form_apply(const form_t *form, struct ais_resource *resource);

/* The resource was asked for in that form, and this came of it. Returns whether
 * to ask once more at once, in the other one. */
bool aisearch_form_again(account_t *account, form_t *form,
                         const struct ais_resource *resource,
                         const struct ais_verdict *verdict);

/* Nobody asks once more. */
void aisearch_form_drop(account_t *account, form_t *form);

#pragma GCC visibility pop

#endif
