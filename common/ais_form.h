/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_FORM_H
#define AIS_FORM_H

#include <stdbool.h>
#include <stdint.h>

#include "ais_policy.h"

#pragma GCC visibility push(hidden)

/*
 * In which form the plain resources of an account are asked for: as they are, or, once the API has turned out not to
 * know that form any more, in that of the namespace "default" (ais_resource_to_namespaced()).
 *
 * Pure and plain data, all zero at first, so that it may lie in shared memory. now is ms of a clock that nobody sets.
 */
struct ais_form {
    bool namespaced; /* from now on: it stays so */
    bool tried;
    int64_t tried_at;
};

/* How often the other form is tried while the API has no route for either, ms. */
#define AIS_FORM_PAUSE (60 * 1000)

/* The API has no route for a plain resource: whether to ask for the same in the other form now. */
bool ais_form_try(struct ais_form *form, int64_t now);

/* And what came of that. Returns whether it is news that the account goes over to the other form. */
bool ais_form_settle(struct ais_form *form, const struct ais_verdict *verdict);

#pragma GCC visibility pop

#endif
