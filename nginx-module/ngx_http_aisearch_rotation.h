/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Selects the credential of an account.  All workers share the knowledge which
 * credentials the API accepts; each worker reads the files on its own.
 */


#ifndef _NGX_HTTP_AISEARCH_ROTATION_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_ROTATION_H_INCLUDED_


#include "ngx_http_aisearch_conf.h"
#include "ngx_http_aisearch_time.h"


#pragma GCC visibility push(hidden)


/* called in the master when a configuration takes effect */
void ngx_http_aisearch_rotation_begin(ngx_http_aisearch_account_t *account,
    uint32_t generation);

/*
 * Returns the credential to use, or NULL if the API has refused all of them:
 * then no call is allowed for choice->wait ms.
 */
struct ais_credential *ngx_http_aisearch_rotation_choose(
    ngx_http_aisearch_account_t *account, struct ais_choice *choice);

/* returns the credential chosen before, or NULL if its file has changed */
struct ais_credential *ngx_http_aisearch_rotation_chosen(
    ngx_http_aisearch_account_t *account, struct ais_choice *choice);

/* logs a refusal once, not for each lookup that encounters it */
void ngx_http_aisearch_rotation_refused(ngx_http_aisearch_account_t *account,
    struct ais_choice *choice, const char *reason, ngx_log_t *log);

/*
 * The API has accepted the credential: it returned a good answer or a 404 to
 * "path", requested at "asked".
 */
void ngx_http_aisearch_rotation_accepted(ngx_http_aisearch_account_t *account,
    struct ais_choice *choice, const char *path,
    ngx_http_aisearch_time_t asked);

/*
 * Classifies a refusal that may concern the path only, not the credential.  For
 * OTHER and ASK, *choice is set to the credential to try next.  For ASK, the
 * path to request is copied to "witness" (AIS_WITNESS_PATH_MAX bytes), and the
 * caller must call ..._told() with the result.
 */
enum ais_doubt ngx_http_aisearch_rotation_doubt(
    ngx_http_aisearch_account_t *account, struct ais_choice *choice,
    bool others_too, const char *path, ngx_http_aisearch_time_t asked,
    char *witness);

void ngx_http_aisearch_rotation_told(ngx_http_aisearch_account_t *account,
    ngx_uint_t good);

void ngx_http_aisearch_rotation_snapshot(ngx_http_aisearch_account_t *account,
    struct ais_rotation *rotation);


#pragma GCC visibility pop


#endif /* _NGX_HTTP_AISEARCH_ROTATION_H_INCLUDED_ */
