/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_ERROR_H
#define AIS_ERROR_H

#pragma GCC visibility push(hidden)

/*
 * A message for the operator: what is wrong, where, and the cure. The caller provides the memory; functions that take
 * a struct ais_error fill it only when they fail. No message ever holds a part of a credential.
 */
struct ais_error {
    char text[320];
};

/* Returned in the place of -1 by functions that say so: nothing is wrong with what they were given. */
#define AIS_NO_MEMORY (-2)

/* Formats a message, cut where it does not fit; always ends with a NUL. err may be NULL. */
void ais_error_set(struct ais_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#pragma GCC visibility pop

#endif
