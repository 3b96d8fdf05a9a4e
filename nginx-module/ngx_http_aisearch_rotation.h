/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Selects the credential of an account that is in use.  Workers share which
 * credentials the API has accepted or refused; each worker reads the files
 * itself.
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
 * Returns the credential for the next call, owned by the account, or NULL if
 * the API refuses all of them: then no call is made for choice->wait ms.
 */
struct ais_credential *ngx_http_aisearch_rotation_choose(
    ngx_http_aisearch_account_t *account, struct ais_choice *choice);

/* returns the credential chosen before, or NULL if it has been replaced */
struct ais_credential *ngx_http_aisearch_rotation_chosen(
    ngx_http_aisearch_account_t *account, struct ais_choice *choice);

/* records a refusal, and logs it once instead of for each lookup */
void ngx_http_aisearch_rotation_refused(ngx_http_aisearch_account_t *account,
    struct ais_choice *choice, const char *reason, ngx_log_t *log);

/* a valid response or the API's 404 proves that the credential is accepted */
void ngx_http_aisearch_rotation_accepted(ngx_http_aisearch_account_t *account,
    struct ais_choice *choice, const char *path,
    ngx_http_aisearch_time_t asked);

/*
 * Decides how to treat a refusal that may concern the path only, and for OTHER
 * and ASK, which request to send next.  For ASK, the path to request is copied
 * to "witness", and ..._settle() must be called when that request has ended.
 */
enum ais_doubt ngx_http_aisearch_rotation_doubt(
    ngx_http_aisearch_account_t *account, struct ais_choice *choice,
    bool others_too, const char *path, ngx_http_aisearch_time_t asked,
    char *witness);

void ngx_http_aisearch_rotation_settle(ngx_http_aisearch_account_t *account,
    ngx_uint_t good);

void ngx_http_aisearch_rotation_snapshot(ngx_http_aisearch_account_t *account,
    struct ais_rotation *rotation);


#pragma GCC visibility pop


#endif /* _NGX_HTTP_AISEARCH_ROTATION_H_INCLUDED_ */
