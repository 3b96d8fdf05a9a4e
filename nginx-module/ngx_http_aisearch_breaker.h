/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The breaker of an account, which all workers share: while nobody is there to
 * answer, look-ups are not sent, but for one at a time.
 */


#ifndef _NGX_HTTP_AISEARCH_BREAKER_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_BREAKER_H_INCLUDED_


#include "ngx_http_aisearch_conf.h"


typedef struct {
    enum ais_breaker_state         state;
    enum ais_fault                 fault;
    ngx_msec_t                     wait;             /* until a call */
} ngx_http_aisearch_breaker_snapshot_t;


#pragma GCC visibility push(hidden)


/* NGX_DECLINED: no call is to be made for wait ms, for this fault */
ngx_int_t ngx_http_aisearch_breaker_enter(ngx_http_aisearch_account_t *account,
    struct ais_pass *pass, ngx_msec_t *wait, enum ais_fault *fault);

void ngx_http_aisearch_breaker_cancel(ngx_http_aisearch_account_t *account,
    struct ais_pass *pass);

/* returns whether the API is there, as far as it is known */
ngx_uint_t ngx_http_aisearch_breaker_settle(
    ngx_http_aisearch_account_t *account, struct ais_pass *pass,
    const struct ais_response *response, struct ais_verdict *verdict,
    const char *reason);

void ngx_http_aisearch_breaker_snapshot(ngx_http_aisearch_account_t *account,
    ngx_http_aisearch_breaker_snapshot_t *snapshot);


#pragma GCC visibility pop


#endif /* _NGX_HTTP_AISEARCH_BREAKER_H_INCLUDED_ */
