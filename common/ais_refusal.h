/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_REFUSAL_H
#define AIS_REFUSAL_H

#include <stddef.h>

/*
 * What the API means when it says no. It refuses a credential in many forms: by status, by the code of an error, by a
 * code in the error's error_chain, and where the code alone does not tell, by its message. (Source: the API's errors,
 * and what its users have reported of them.)
 *
 * Pure; for any thread or process.
 */

#pragma GCC visibility push(hidden)

enum ais_refusal {
    AIS_REFUSAL_OTHER,      /* what was asked for, or how: the client's affair */
    AIS_REFUSAL_CREDENTIAL, /* what it was asked with: the operator's affair */
    AIS_REFUSAL_NO_ROUTE,   /* no such path: a wrong account id, or a form of paths that the API does not have */
};

#define AIS_CHAIN_MAX 4

/* One error of an envelope. */
struct ais_api_error {
    int code;                 /* 0: none was given */
    const char *message;      /* NULL: none was given */
    int chain[AIS_CHAIN_MAX]; /* the codes of its error_chain; what is beyond that is not looked at */
    size_t nchain;
};

/* What a 4xx with these errors means; where they mean different things, the credential counts first. */
enum ais_refusal ais_refusal_of(int status, const struct ais_api_error *errors, size_t nerrors);

#pragma GCC visibility pop

#endif
