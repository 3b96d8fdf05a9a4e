/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The context of a request, and what is done with it.
 */


#ifndef _NGX_HTTP_AISEARCH_CTX_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_CTX_H_INCLUDED_


#include "ngx_http_aisearch_flight.h"


#pragma GCC visibility push(hidden)


/* NULL: no memory, or a predicate failed */
ngx_http_aisearch_ctx_t *ngx_http_aisearch_ctx_create(ngx_http_request_t *r);

/*
 * Makes the context available until the request is freed; it then leaves its
 * flight.
 */
ngx_int_t ngx_http_aisearch_ctx_keep(ngx_http_aisearch_ctx_t *ctx);

ngx_http_aisearch_ctx_t *ngx_http_aisearch_ctx_get(ngx_http_request_t *r);

/* request */

ngx_int_t ngx_http_aisearch_handler(ngx_http_request_t *r);

/* limit */

ngx_int_t ngx_http_aisearch_limit(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_query_t *query, ngx_http_aisearch_lookup_t *lookup);

/* response */

/* sends Retry-After if ctx->answer.retry_after is set */
ngx_int_t ngx_http_aisearch_refuse(ngx_http_aisearch_ctx_t *ctx,
    ngx_uint_t status, const char *text);
ngx_int_t ngx_http_aisearch_respond(ngx_http_aisearch_ctx_t *ctx);

/* variables */

ngx_str_t *ngx_http_aisearch_variables_job_state(enum ais_state state);


#pragma GCC visibility pop


/*
 * Nobody waits for the answer of a mirror, or of a detached subrequest of njs.
 * Its other subrequests are background ones, too, but have a handler.
 */

static ngx_inline ngx_uint_t
ngx_http_aisearch_unattended(ngx_http_request_t *r)
{
    return r->background && r->post_subrequest == NULL;
}


#endif /* _NGX_HTTP_AISEARCH_CTX_H_INCLUDED_ */
