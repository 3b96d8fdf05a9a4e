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

ngx_int_t ngx_http_aisearch_watch_client(ngx_http_request_t *r);

/* limit */

ngx_int_t ngx_http_aisearch_limit(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_query_t *query, ngx_http_aisearch_lookup_t *lookup);

/* response */

/* sends Retry-After if ctx->answer.retry_after is set */
ngx_int_t ngx_http_aisearch_refuse(ngx_http_aisearch_ctx_t *ctx,
    ngx_uint_t status, const char *text);
ngx_int_t ngx_http_aisearch_respond(ngx_http_aisearch_ctx_t *ctx);

/* those of a body that is not sent now, but by whom it was redirected here */
void ngx_http_aisearch_clear_foreign_headers(ngx_http_request_t *r);

ngx_int_t ngx_http_aisearch_set_cache_status(ngx_http_aisearch_ctx_t *ctx);
ngx_table_elt_t *ngx_http_aisearch_add_header(ngx_http_request_t *r,
    ngx_str_t *name, u_char *data, size_t len);
ngx_int_t ngx_http_aisearch_set_cache_control(ngx_http_aisearch_ctx_t *ctx,
    u_char *data, size_t len);

/* watcher */

/* what the request says of waiting and of events; NGX_ERROR: no memory */
ngx_int_t ngx_http_aisearch_watcher_create(ngx_http_aisearch_ctx_t *ctx);

/* copies what it asks for, before it may begin; NGX_ERROR: no memory */
ngx_int_t ngx_http_aisearch_watcher_set_key(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_key_t *key);

/*
 * Instead of an answer: holds the request, or opens a stream.  NGX_DECLINED:
 * neither, it is answered as any other.
 */
ngx_int_t ngx_http_aisearch_watcher_begin(ngx_http_aisearch_ctx_t *ctx);

/* Vary and Preference-Applied, of any answer */
ngx_int_t ngx_http_aisearch_watcher_set_headers(ngx_http_aisearch_ctx_t *ctx);

/* the client has gone, or the response ends */
void ngx_http_aisearch_watcher_leave(ngx_http_aisearch_ctx_t *ctx);

/* its request has gone on without it: then it leaves, and nothing is sent */
ngx_uint_t ngx_http_aisearch_watcher_has_left(ngx_http_aisearch_ctx_t *ctx);

/* the worker's last connections are for its fetches */
ngx_uint_t ngx_http_aisearch_watcher_no_room(void);

/* scrape */

/* of a request in a location with metrics; NGX_DECLINED: go on */
ngx_int_t ngx_http_aisearch_scrape_create(ngx_http_aisearch_ctx_t *ctx,
    struct ais_resource *resource);

/* limits how long it stays in its flight; NGX_ERROR: no memory */
ngx_int_t ngx_http_aisearch_scrape_wait(ngx_http_aisearch_ctx_t *ctx);

/* the metrics that ctx->answer makes; NGX_ERROR: no memory */
ngx_int_t ngx_http_aisearch_scrape_text(ngx_http_aisearch_ctx_t *ctx,
    ngx_str_t *text);

/* stream */

/* NGX_DECLINED: what was asked for is refused, or missing */
ngx_int_t ngx_http_aisearch_stream_open(ngx_http_aisearch_ctx_t *ctx);
void ngx_http_aisearch_stream_tell(ngx_http_aisearch_ctx_t *ctx);

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


/* of an ordinary request they are for it: those of the access phase, say */

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
