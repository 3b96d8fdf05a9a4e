/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Tells from a table what a refusal (4xx) is about: the credential, the path, or the look-up. ais_policy_judge() makes a
 * fault of it; in nginx, ngx_http_aisearch_upstream.c decides what follows.
 */

#include "ais_refusal.h"

#include <stdbool.h>
#include <string.h>

#define ANY 0

struct row {
    const int *statuses; /* NULL: any; else up to a 0 */
    int code;            /* of the error; ANY: whatever it is, also none */
    bool in_chain;       /* or of one of its error_chain */
    const char *message; /* how the message begins; NULL: however */
    enum ais_refusal means;
};

static const int unauthorized[] = {401, 0};
static const int refused[] = {400, 401, 403, 0};
static const int gone[] = {410, 0};

/* The first row that fits tells. */
static const struct row rows[] = {
    {unauthorized, ANY, false, NULL, AIS_REFUSAL_CREDENTIAL},

    /* the credential is good, and lacks the permission for this */
    {refused, 9109, false, "Unauthorized to access requested resource", AIS_REFUSAL_OTHER},

    {refused, 9109, false, NULL, AIS_REFUSAL_CREDENTIAL},
    {refused, 10000, false, NULL, AIS_REFUSAL_CREDENTIAL},
    {refused, 10001, false, NULL, AIS_REFUSAL_CREDENTIAL},
    {refused, 9103, false, NULL, AIS_REFUSAL_CREDENTIAL},
    {refused, 9106, false, NULL, AIS_REFUSAL_CREDENTIAL},

    /* invalid request headers, and none of them comes from a client; the chain tells which */
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
