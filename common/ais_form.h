/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_FORM_H
#define AIS_FORM_H

#include <stdbool.h>
#include <stdint.h>

#include "ais_policy.h"

#pragma GCC visibility push(hidden)

/*
 * In which form the plain resources of an account are requested: in the plain form or, once the API no longer supports
 * that, in the form of the namespace "default" (ais_resource_to_namespaced()).
 *
 * The functions are pure. The structure is plain data, initially all zero, and may be kept in shared memory; the caller
 * holds a lock around each call. now is in ms of a monotonic clock.
 */
struct ais_form {
    bool namespaced; /* use the form of the namespace "default"; never reset */
    bool tried;
    int64_t tried_at; /* if tried is set */
};

/* The time in ms between two attempts with the other form while the API supports neither. */
#define AIS_FORM_PAUSE (60 * 1000)

/* The API has no route for a plain resource. Returns whether to request the resource in the other form now. */
bool ais_form_try(struct ais_form *form, int64_t now);

/* Records the result of that request. Returns true once, when the account switches to the other form. */
bool ais_form_settle(struct ais_form *form, const struct ais_verdict *verdict);

#pragma GCC visibility pop

#endif
