/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Which of the credentials of an account is in use.  All workers share what the
 * API says of them; what is in the files, each reads by itself.
 */


#ifndef _NGX_HTTP_AISEARCH_ROTATION_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_ROTATION_H_INCLUDED_


#include "ngx_http_aisearch_conf.h"
#include "ngx_http_aisearch_time.h"


#pragma GCC visibility push(hidden)


/* in the master, for a configuration that is in force from now on */
void ngx_http_aisearch_rotation_begin(ngx_http_aisearch_account_t *account,
    uint32_t generation);

/*
 * Returns what to ask with, or NULL where the API refuses all that there is:
 * then choice->wait says for how long it is not asked.
 */
struct ais_credential *ngx_http_aisearch_rotation_choose(
    ngx_http_aisearch_account_t *account, struct ais_choice *choice);

/* what was chosen before, or NULL where there is another meanwhile */
struct ais_credential *ngx_http_aisearch_rotation_chosen(
    ngx_http_aisearch_account_t *account, struct ais_choice *choice);

/* a refusal is told once, not for each look-up that meets it */
void ngx_http_aisearch_rotation_refused(ngx_http_aisearch_account_t *account,
    struct ais_choice *choice, const char *reason, ngx_log_t *log);

/* a good answer, or the API's 404, shows that the credential is accepted */
void ngx_http_aisearch_rotation_accepted(ngx_http_aisearch_account_t *account,
    struct ais_choice *choice, const char *path,
    ngx_http_aisearch_time_t asked);

/*
 * A refusal that may be about the path alone: what to take it for, and for
 * OTHER and ASK what to ask with next.  For ASK, "witness" gets the path to ask
 * for, and ..._told() has to be called once that is over.
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
