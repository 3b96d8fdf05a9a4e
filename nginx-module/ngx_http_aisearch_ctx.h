/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The functions that handle a request, by the file that defines them.
 */


#ifndef _NGX_HTTP_AISEARCH_CTX_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_CTX_H_INCLUDED_


#include "ngx_http_aisearch_flight.h"


#pragma GCC visibility push(hidden)


/*
 * Allocates the context from the request's pool and evaluates
 * aisearch_cache_bypass.  NULL: no memory, or the evaluation failed.
 */
ngx_http_aisearch_ctx_t *ngx_http_aisearch_ctx_create(ngx_http_request_t *r);

/*
 * Keeps the context available after internal redirects, and makes the request
 * leave its flight when it is freed.  NGX_ERROR: no memory.
 */
ngx_int_t ngx_http_aisearch_ctx_keep(ngx_http_aisearch_ctx_t *ctx);

/* returns the context, also after an internal redirect; NULL: none */
ngx_http_aisearch_ctx_t *ngx_http_aisearch_ctx_get(ngx_http_request_t *r);

/* request */

ngx_int_t ngx_http_aisearch_handler(ngx_http_request_t *r);

/* finalizes the request with 499 if its client leaves */
ngx_int_t ngx_http_aisearch_watch_client(ngx_http_request_t *r);

/* limit */

ngx_int_t ngx_http_aisearch_limit(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_query_t *query, ngx_http_aisearch_lookup_t *lookup);

/* response */

/* sends an error; with Retry-After if ctx->answer.retry_after is set */
ngx_int_t ngx_http_aisearch_refuse(ngx_http_aisearch_ctx_t *ctx,
    ngx_uint_t status, const char *text);

/* sends ctx->answer, or lets a watcher wait */
ngx_int_t ngx_http_aisearch_respond(ngx_http_aisearch_ctx_t *ctx);

/* removes headers that describe the body of the handler that redirected here */
void ngx_http_aisearch_clear_foreign_headers(ngx_http_request_t *r);

ngx_int_t ngx_http_aisearch_set_cache_status(ngx_http_aisearch_ctx_t *ctx);
ngx_table_elt_t *ngx_http_aisearch_add_header(ngx_http_request_t *r,
    ngx_str_t *name, u_char *data, size_t len);
ngx_int_t ngx_http_aisearch_set_cache_control(ngx_http_aisearch_ctx_t *ctx,
    u_char *data, size_t len);

/* watcher */

/* creates a watcher if the request asks for one; NGX_ERROR: no memory */
ngx_int_t ngx_http_aisearch_watcher_create(ngx_http_aisearch_ctx_t *ctx);

/* copies the key, called before _begin(); NGX_ERROR: no memory */
ngx_int_t ngx_http_aisearch_watcher_set_key(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_key_t *key);

/*
 * Holds the request or opens a stream instead of sending an answer.
 * NGX_DECLINED: neither, the answer is sent as usual.
 */
ngx_int_t ngx_http_aisearch_watcher_begin(ngx_http_aisearch_ctx_t *ctx);

/* sets Vary and Preference-Applied in any response */
ngx_int_t ngx_http_aisearch_watcher_set_headers(ngx_http_aisearch_ctx_t *ctx);

/* called when the client has left or the response ends */
void ngx_http_aisearch_watcher_leave(ngx_http_aisearch_ctx_t *ctx);

/* leaves and returns 1 if the request is no longer handled by this context */
ngx_uint_t ngx_http_aisearch_watcher_has_left(ngx_http_aisearch_ctx_t *ctx);

/* whether the worker's last free connections are reserved for fetches */
ngx_uint_t ngx_http_aisearch_watcher_no_room(void);

/* scrape */

/* for locations with metrics; NGX_DECLINED: continue with the request */
ngx_int_t ngx_http_aisearch_scrape_create(ngx_http_aisearch_ctx_t *ctx,
    struct ais_resource *resource);

/* limits the time in the flight; NGX_ERROR: no memory */
ngx_int_t ngx_http_aisearch_scrape_wait(ngx_http_aisearch_ctx_t *ctx);

/* creates the metrics from ctx->answer; NGX_ERROR: no memory */
ngx_int_t ngx_http_aisearch_scrape_text(ngx_http_aisearch_ctx_t *ctx,
    ngx_str_t *text);

/* stream */

/* opens a stream; NGX_DECLINED: the resource is refused or missing */
ngx_int_t ngx_http_aisearch_stream_open(ngx_http_aisearch_ctx_t *ctx);

/* sends new events, and closes the stream if it ends */
void ngx_http_aisearch_stream_notify(ngx_http_aisearch_ctx_t *ctx);

/* variables */

ngx_str_t *ngx_http_aisearch_variables_job_state(enum ais_state state);


#pragma GCC visibility pop


/*
 * A mirror or a detached subrequest of njs discards its response.  The other
 * subrequests of njs are also in the background, but have a handler.
 */

static ngx_inline ngx_uint_t
ngx_http_aisearch_unattended(ngx_http_request_t *r)
{
    return r->background && r->post_subrequest == NULL;
}


/* other requests keep the headers that earlier phases have set */

static ngx_inline void
ngx_http_aisearch_clear_headers(ngx_http_request_t *r)
{
    if (r->internal) {
        ngx_http_aisearch_clear_foreign_headers(r);
    }
}


static ngx_inline ngx_uint_t
ngx_http_aisearch_is_header(ngx_table_elt_t *h, ngx_str_t *name)
{
    return h->key.len == name->len
           && ngx_strncasecmp(h->key.data, name->data, name->len) == 0;
}


#endif /* _NGX_HTTP_AISEARCH_CTX_H_INCLUDED_ */
