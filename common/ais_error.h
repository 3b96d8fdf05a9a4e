/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_ERROR_H
#define AIS_ERROR_H

#pragma GCC visibility push(hidden)

/*
 * A message for the operator: what is wrong, where, and how to fix it. The caller provides the memory; functions with a
 * struct ais_error parameter set it only if they fail. A message never contains any part of a credential.
 */
struct ais_error {
    char text[320];
};

/* Returned instead of -1 by functions that document it, if memory ran out: their input may be valid. */
#define AIS_NO_MEMORY (-2)

/* Formats a message. It is truncated if it does not fit, and always NUL-terminated. err may be NULL. */
void ais_error_set(struct ais_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#pragma GCC visibility pop

#endif
