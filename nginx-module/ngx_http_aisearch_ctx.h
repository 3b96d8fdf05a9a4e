/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The functions that process a request by its context.
 */


#ifndef _NGX_HTTP_AISEARCH_CTX_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_CTX_H_INCLUDED_


#include "ngx_http_aisearch_flight.h"


#pragma GCC visibility push(hidden)


/* NULL: no memory, or evaluation of "aisearch_cache_bypass" failed */
ngx_http_aisearch_ctx_t *ngx_http_aisearch_ctx_create(ngx_http_request_t *r);

/*
 * Keeps the context available until the request is freed, when it also leaves
 * its flight.  NGX_ERROR: no memory.
 */
ngx_int_t ngx_http_aisearch_ctx_keep(ngx_http_aisearch_ctx_t *ctx);

ngx_http_aisearch_ctx_t *ngx_http_aisearch_ctx_get(ngx_http_request_t *r);

/* request */

ngx_int_t ngx_http_aisearch_handler(ngx_http_request_t *r);

ngx_int_t ngx_http_aisearch_watch_client(ngx_http_request_t *r);

/* limit */

ngx_int_t ngx_http_aisearch_limit(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_query_t *query, ngx_http_aisearch_lookup_t *lookup);

/* response */

/*
 * These send a response and return the result for ngx_http_finalize_request().
 * ..._refuse() also sends Retry-After if ctx->answer.retry_after is set.
 */
ngx_int_t ngx_http_aisearch_refuse(ngx_http_aisearch_ctx_t *ctx,
    ngx_uint_t status, const char *text);
ngx_int_t ngx_http_aisearch_respond(ngx_http_aisearch_ctx_t *ctx);

/*
 * Clears headers that describe another body, set by a handler that redirected
 * the request here.
 */
void ngx_http_aisearch_clear_foreign_headers(ngx_http_request_t *r);

ngx_int_t ngx_http_aisearch_set_cache_status(ngx_http_aisearch_ctx_t *ctx);
ngx_table_elt_t *ngx_http_aisearch_add_header(ngx_http_request_t *r,
    ngx_str_t *name, u_char *data, size_t len);
ngx_int_t ngx_http_aisearch_set_cache_control(ngx_http_aisearch_ctx_t *ctx,
    u_char *data, size_t len);

/* watcher */

/* sets ctx->watcher if a wait or events are requested; NGX_ERROR: no memory */
ngx_int_t ngx_http_aisearch_watcher_create(ngx_http_aisearch_ctx_t *ctx);

/* copies the key, needed before ..._begin(); NGX_ERROR: no memory */
ngx_int_t ngx_http_aisearch_watcher_set_key(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_key_t *key);

/*
 * Holds the request or opens a stream, instead of responding.  NGX_DECLINED:
 * neither, the request is answered as usual.
 */
ngx_int_t ngx_http_aisearch_watcher_begin(ngx_http_aisearch_ctx_t *ctx);

/* adds Vary, and Preference-Applied if a wait was requested */
ngx_int_t ngx_http_aisearch_watcher_set_headers(ngx_http_aisearch_ctx_t *ctx);

/* the client closed the connection, or the response ends */
void ngx_http_aisearch_watcher_leave(ngx_http_aisearch_ctx_t *ctx);

/* returns 1 and leaves the watch if the request was redirected meanwhile */
ngx_uint_t ngx_http_aisearch_watcher_has_left(ngx_http_aisearch_ctx_t *ctx);

/* returns 1 if the last free connections must be kept for fetches */
ngx_uint_t ngx_http_aisearch_watcher_no_room(void);

/* scrape */

/*
 * Handles a request in a location with metrics.  NGX_DECLINED: continue with
 * the lookup.
 */
ngx_int_t ngx_http_aisearch_scrape_create(ngx_http_aisearch_ctx_t *ctx,
    struct ais_resource *resource);

/* limits the wait of the request for its flight; NGX_ERROR: no memory */
ngx_int_t ngx_http_aisearch_scrape_wait(ngx_http_aisearch_ctx_t *ctx);

/* allocates the metrics of ctx->answer in r->pool; NGX_ERROR: no memory */
ngx_int_t ngx_http_aisearch_scrape_text(ngx_http_aisearch_ctx_t *ctx,
    ngx_str_t *text);

/* stream */

/* NGX_DECLINED: no stream, the answer is a refusal or a 404 */
ngx_int_t ngx_http_aisearch_stream_open(ngx_http_aisearch_ctx_t *ctx);
void ngx_http_aisearch_stream_tell(ngx_http_aisearch_ctx_t *ctx);

/* variables */

ngx_str_t *ngx_http_aisearch_variables_job_state(enum ais_state state);


#pragma GCC visibility pop


/*
 * Nobody waits for the response to a mirror subrequest, or to a detached
 * subrequest of njs.  Other njs subrequests run in background as well, but have
 * a handler.
 */

static ngx_inline ngx_uint_t
ngx_http_aisearch_unattended(ngx_http_request_t *r)
{
    return r->background && r->post_subrequest == NULL;
}


/*
 * Headers of a request that was not redirected are kept: they belong to this
 * response, for example those set in the access phase.
 */

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
