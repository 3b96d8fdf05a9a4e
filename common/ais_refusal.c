/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Decides by a table what a 4xx refuses: the credential, the path, or the request. ais_policy_judge() turns that into a
 * fault; in nginx, ngx_http_aisearch_upstream.c decides what follows.
 */

#include "ais_refusal.h"

#include <stdbool.h>
#include <string.h>

#define ANY 0

struct row {
    const int *statuses; /* terminated by 0; NULL: any */
    int code;            /* of the error; ANY: any, or none */
    bool in_chain;       /* the code may also be in the error_chain */
    const char *message; /* the beginning of the message; NULL: any */
    enum ais_refusal means;
};

static const int unauthorized[] = {401, 0};
static const int refused[] = {400, 401, 403, 0};
static const int gone[] = {410, 0};

/* The first row that matches decides. */
static const struct row rows[] = {
    {unauthorized, ANY, false, NULL, AIS_REFUSAL_CREDENTIAL},

    /* the credential is valid, but lacks the permission for this resource */
    {refused, 9109, false, "Unauthorized to access requested resource", AIS_REFUSAL_OTHER},

    {refused, 9109, false, NULL, AIS_REFUSAL_CREDENTIAL},
    {refused, 10000, false, NULL, AIS_REFUSAL_CREDENTIAL},
    {refused, 10001, false, NULL, AIS_REFUSAL_CREDENTIAL},
    {refused, 9103, false, NULL, AIS_REFUSAL_CREDENTIAL},
    {refused, 9106, false, NULL, AIS_REFUSAL_CREDENTIAL},

    /* invalid request headers, which never come from a client, so it is the credential; the chain says which header */
    {refused, 6003, false, NULL, AIS_REFUSAL_CREDENTIAL},
    {refused, 6102, true, NULL, AIS_REFUSAL_CREDENTIAL},
    {refused, 6103, true, NULL, AIS_REFUSAL_CREDENTIAL},
    {refused, 6111, true, NULL, AIS_REFUSAL_CREDENTIAL},

    {gone, ANY, false, NULL, AIS_REFUSAL_NO_ROUTE},
    {NULL, 7000, false, NULL, AIS_REFUSAL_NO_ROUTE},
    {NULL, 7003, false, NULL, AIS_REFUSAL_NO_ROUTE},
};

static bool has_status(const struct row *row, int status)
{
    if (row->statuses == NULL)
        return true;

    for (const int *s = row->statuses; *s != 0; s++) {
        if (*s == status)
            return true;
    }

    return false;
}

static bool has_code(const struct row *row, const struct ais_api_error *error)
{
    if (row->code == ANY || error->code == row->code)
        return true;

    for (size_t i = 0; row->in_chain && i < error->nchain; i++) {
        if (error->chain[i] == row->code)
            return true;
    }

    return false;
}

static bool has_message(const struct row *row, const struct ais_api_error *error)
{
    if (row->message == NULL)
        return true;

    return error->message != NULL && strncmp(error->message, row->message, strlen(row->message)) == 0;
}

static enum ais_refusal judge(int status, const struct ais_api_error *error)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct row *row = &rows[i];

        if (has_status(row, status) && has_code(row, error) && has_message(row, error))
            return row->means;
    }

    return AIS_REFUSAL_OTHER;
}

enum ais_refusal ais_refusal_of(int status, const struct ais_api_error *errors, size_t nerrors)
{
    static const struct ais_api_error none;
    enum ais_refusal refusal = judge(status, nerrors > 0 ? errors : &none);

    for (size_t i = 1; i < nerrors && refusal != AIS_REFUSAL_CREDENTIAL; i++) {
        enum ais_refusal other = judge(status, &errors[i]);

        if (refusal == AIS_REFUSAL_OTHER || other == AIS_REFUSAL_CREDENTIAL)
            refusal = other;
    }

    return refusal;
}
