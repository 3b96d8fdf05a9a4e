/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_REFUSAL_H
#define AIS_REFUSAL_H

#include <stddef.h>

/*
 * Decides what the API refuses with a 4xx. It can refuse a credential by the status, by the code of an error, by a code
 * in the error's error_chain or, if the code alone is ambiguous, by the error's message. (Source: the API's errors, and
 * reports of its users.)
 *
 * Pure; may be called from any thread or process.
 */

#pragma GCC visibility push(hidden)

enum ais_refusal {
    AIS_REFUSAL_OTHER,      /* the request, which the client has to correct */
    AIS_REFUSAL_CREDENTIAL, /* the credential, which the operator has to correct */
    AIS_REFUSAL_NO_ROUTE,   /* the path: a wrong account id, or a form of path that the API does not know */
};

#define AIS_CHAIN_MAX 4

/* An error of an envelope. */
struct ais_api_error {
    int code;                 /* 0: none */
    const char *message;      /* NULL: none; owned by the answer that contains the error */
    int chain[AIS_CHAIN_MAX]; /* the first codes of its error_chain; the rest is ignored */
    size_t nchain;
};

/* Returns what a 4xx with these errors refuses. If the errors differ, the credential takes precedence. */
enum ais_refusal ais_refusal_of(int status, const struct ais_api_error *errors, size_t nerrors);

#pragma GCC visibility pop

#endif
