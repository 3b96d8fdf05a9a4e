/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The circuit breaker of an account, shared by all workers: while the API is
 * unreachable, only one probe at a time is sent.
 */


#ifndef _NGX_HTTP_AISEARCH_BREAKER_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_BREAKER_H_INCLUDED_


#include "ngx_http_aisearch_conf.h"


typedef struct {
    enum ais_breaker_state         state;
    enum ais_fault                 fault;
    ngx_msec_t                     wait;       /* until a call is allowed */
} ngx_http_aisearch_breaker_snapshot_t;


#pragma GCC visibility push(hidden)


/*
 * Asks for permission to make a call.  NGX_OK: "pass" must be returned once
 * with ..._settle() or ..._cancel().  NGX_DECLINED: no call is allowed for
 * *wait ms, because of *fault.
 */
ngx_int_t ngx_http_aisearch_breaker_enter(ngx_http_aisearch_account_t *account,
    struct ais_pass *pass, ngx_msec_t *wait, enum ais_fault *fault);

/* the call was not made or was canceled */
void ngx_http_aisearch_breaker_cancel(ngx_http_aisearch_account_t *account,
    struct ais_pass *pass);

/*
 * Records the result of a call, logs a change of state with "reason", and
 * returns whether the API is considered reachable.
 */
ngx_uint_t ngx_http_aisearch_breaker_settle(
    ngx_http_aisearch_account_t *account, struct ais_pass *pass,
    const struct ais_response *response, struct ais_verdict *verdict,
    const char *reason);

void ngx_http_aisearch_breaker_snapshot(ngx_http_aisearch_account_t *account,
    ngx_http_aisearch_breaker_snapshot_t *snapshot);


#pragma GCC visibility pop


#endif /* _NGX_HTTP_AISEARCH_BREAKER_H_INCLUDED_ */
