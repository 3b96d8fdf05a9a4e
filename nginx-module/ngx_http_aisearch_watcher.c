/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Requests that wait for a change, "Prefer: wait=N" (RFC 7240), and parsing of
 * the request headers for waits and event streams.
 *
 * A request is held while its response would be no news to the client: the
 * entity tag is listed in If-None-Match or, without that header, the job is
 * still active.
 */


#include "ngx_http_aisearch_ctx.h"
#include "ngx_http_aisearch_refresh.h"

#include "ais_negotiation.h"


/* 1/N of the worker's connections is reserved for its fetches */
#define NGX_HTTP_AISEARCH_WATCHER_PART  8


static ngx_uint_t ngx_http_aisearch_watcher_read(ngx_http_request_t *r,
    ngx_http_aisearch_loc_conf_t *conf, ngx_http_aisearch_watcher_t *watcher);

static ngx_uint_t ngx_http_aisearch_wait_holds(ngx_http_request_t *r,
    ngx_http_aisearch_answer_t *answer);
static void ngx_http_aisearch_wait_timer(ngx_event_t *ev);
static void ngx_http_aisearch_wait_notify(ngx_http_aisearch_ctx_t *ctx);
static void ngx_http_aisearch_wait_finish(ngx_http_aisearch_ctx_t *ctx);
static void ngx_http_aisearch_wait_look_up(ngx_http_aisearch_ctx_t *ctx);
static ngx_uint_t ngx_http_aisearch_wait_take(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_shared_answer_t *sa);


static ngx_str_t  ngx_http_aisearch_accept = ngx_string("Accept");
static ngx_str_t  ngx_http_aisearch_prefer = ngx_string("Prefer");
static ngx_str_t  ngx_http_aisearch_last_event_id =
    ngx_string("Last-Event-ID");
static ngx_str_t  ngx_http_aisearch_vary = ngx_string("Vary");
static ngx_str_t  ngx_http_aisearch_preference_applied =
    ngx_string("Preference-Applied");


/*
 * Subrequests see the headers of the main request, but must not wait or become
 * streams: an auth_request subrequest, for example.
 */

ngx_int_t
ngx_http_aisearch_watcher_create(ngx_http_aisearch_ctx_t *ctx)
{
    ngx_http_request_t           *r;
    ngx_http_aisearch_watcher_t   watcher;

    r = ctx->request;

    if (r != r->main || r->method != NGX_HTTP_GET || r->post_action) {
        return NGX_OK;
    }

    ngx_memzero(&watcher, sizeof(ngx_http_aisearch_watcher_t));

    if (!ngx_http_aisearch_watcher_read(r, ctx->conf, &watcher)) {
        return NGX_OK;
    }

    ctx->watcher = ngx_palloc(r->pool, sizeof(ngx_http_aisearch_watcher_t));
    if (ctx->watcher == NULL) {
        return NGX_ERROR;
    }

    *ctx->watcher = watcher;
    ctx->watcher->ctx = ctx;

    /* the wait includes the time of the first lookup */

    ctx->watcher->end = ngx_current_msec + (ngx_msec_t) watcher.wait * 1000;

    return NGX_OK;
}


ngx_int_t
ngx_http_aisearch_watcher_set_key(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_key_t *key)
{
    u_char  *p;

    p = ngx_pnalloc(ctx->request->pool, key->path.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(p, key->path.data, key->path.len);

    ctx->watcher->key = *key;
    ctx->watcher->key.path.data = p;

    return NGX_OK;
}


/* whether the client requests a wait or a stream */

static ngx_uint_t
ngx_http_aisearch_watcher_read(ngx_http_request_t *r,
    ngx_http_aisearch_loc_conf_t *conf, ngx_http_aisearch_watcher_t *watcher)
{
    ngx_uint_t          i;
    ngx_list_part_t    *part;
    ngx_table_elt_t    *h;
    struct ais_accept   accept;

    watcher->wait = -1;
    accept = AIS_ACCEPT_NOTHING;

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (ngx_http_aisearch_is_header(&h[i], &ngx_http_aisearch_accept)) {
                ais_accept_add(&accept, ngx_http_aisearch_str(&h[i].value));

            } else if (ngx_http_aisearch_is_header(&h[i],
                                                   &ngx_http_aisearch_prefer))
            {
                if (watcher->wait < 0) {
                    watcher->wait = (time_t) ais_prefer_wait(
                                            ngx_http_aisearch_str(&h[i].value));
                }

            } else if (ngx_http_aisearch_is_header(&h[i],
                                             &ngx_http_aisearch_last_event_id))
            {
                watcher->last_event_id = h[i].value;
            }
        }
    }

    watcher->stream = conf->events && ais_accept_prefers_events(&accept);

    if (conf->wait == 0 || watcher->stream) {
        watcher->wait = -1;
    }

    watcher->wait = ngx_min(watcher->wait, conf->wait);

    return watcher->stream || watcher->wait >= 0;
}


ngx_int_t
ngx_http_aisearch_watcher_set_headers(ngx_http_aisearch_ctx_t *ctx)
{
    u_char                        *p, *last;
    ngx_str_t                      vary;
    ngx_http_aisearch_watcher_t   *watcher;

    ngx_str_set(&vary, "Accept, Prefer");

    if (ctx->conf->wait == 0) {
        ngx_str_set(&vary, "Accept");

    } else if (!ctx->conf->events) {
        ngx_str_set(&vary, "Prefer");
    }

    if (ngx_http_aisearch_add_header(ctx->request, &ngx_http_aisearch_vary,
                                     vary.data, vary.len)
        == NULL)
    {
        return NGX_ERROR;
    }

    watcher = ctx->watcher;

    if (watcher == NULL || watcher->wait < 0) {
        return NGX_OK;
    }

    p = ngx_pnalloc(ctx->request->pool, sizeof("wait=") + NGX_TIME_T_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    last = ngx_sprintf(p, "wait=%T", watcher->wait);

    return ngx_http_aisearch_add_header(ctx->request,
                                        &ngx_http_aisearch_preference_applied,
                                        p, last - p)
           ? NGX_OK : NGX_ERROR;
}


ngx_int_t
ngx_http_aisearch_watcher_begin(ngx_http_aisearch_ctx_t *ctx)
{
    ngx_msec_int_t                left;
    ngx_http_request_t           *r;
    ngx_http_aisearch_watcher_t  *watcher;

    r = ctx->request;
    watcher = ctx->watcher;

    if (watcher->over) {
        return NGX_DECLINED;
    }

    if (watcher->stream) {
        return ngx_http_aisearch_stream_open(ctx);
    }

    watcher->over = 1;

    left = (ngx_msec_int_t) (watcher->end - ngx_current_msec);

    if (left <= 0
        || !ngx_http_aisearch_wait_holds(r, &ctx->answer)
        || ngx_exiting
        || ngx_http_aisearch_watcher_no_room()
        || ngx_http_aisearch_ctx_keep(ctx) != NGX_OK
        || ngx_http_aisearch_watch_client(r) != NGX_OK
        || ngx_http_aisearch_refresh_join(watcher) != NGX_OK)
    {
        return NGX_DECLINED;
    }

    watcher->timer.handler = ngx_http_aisearch_wait_timer;
    watcher->timer.data = ctx;
    watcher->timer.log = r->connection->log;
    watcher->timer.cancelable = 1;

    ngx_add_timer(&watcher->timer, (ngx_msec_t) left);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "aisearch hold: key:%08xD time:%M", watcher->key.hash,
                   (ngx_msec_t) left);

    r->write_event_handler = ngx_http_request_empty_handler;
    r->main->count++;

    return NGX_DONE;
}


ngx_uint_t
ngx_http_aisearch_watcher_no_room(void)
{
    return ngx_cycle->free_connection_n
           < ngx_cycle->connection_n / NGX_HTTP_AISEARCH_WATCHER_PART;
}


void
ngx_http_aisearch_watcher_leave(ngx_http_aisearch_ctx_t *ctx)
{
    if (ctx->watcher) {
        ngx_http_aisearch_watch_leave(ctx->watcher);
    }
}


/*
 * If the rest of a request body does not arrive, "post_action" moves the
 * request to another location.
 */

ngx_uint_t
ngx_http_aisearch_watcher_has_left(ngx_http_aisearch_ctx_t *ctx)
{
    if (ngx_http_get_module_ctx(ctx->request, ngx_http_aisearch_module) == ctx)
    {
        return 0;
    }

    ngx_http_aisearch_watch_leave(ctx->watcher);

    return 1;
}


void
ngx_http_aisearch_watcher_notify(ngx_http_aisearch_watcher_t *watcher)
{
    ngx_http_request_t       *r;
    ngx_http_aisearch_ctx_t  *ctx;

    ctx = watcher->ctx;
    r = ctx->request;

    if (ngx_http_aisearch_watcher_has_left(ctx)) {
        return;
    }

    ngx_http_set_log_request(r->connection->log, r);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "aisearch notify: key:%08xD version:%ui",
                   watcher->key.hash, watcher->version);

    if (watcher->stream) {
        ngx_http_aisearch_stream_notify(ctx);

    } else {
        ngx_http_aisearch_wait_notify(ctx);
    }
}


/* waits */


/* "If-None-Match: *" names no state that could change, so it never holds */

static ngx_uint_t
ngx_http_aisearch_wait_holds(ngx_http_request_t *r,
    ngx_http_aisearch_answer_t *answer)
{
    struct ais_str  etag;

    if (answer->verdict.fault != AIS_FAULT_NONE
        || answer->status != NGX_HTTP_OK)
    {
        return 0;
    }

    if (r->headers_in.if_none_match == NULL) {
        return answer->verdict.class == AIS_CLASS_ACTIVE;
    }

    etag.data = (char *) answer->etag;
    etag.len = NGX_HTTP_AISEARCH_ETAG_LEN;

    return ais_etag_listed(ngx_http_aisearch_str(
                               &r->headers_in.if_none_match->value), etag);
}


static void
ngx_http_aisearch_wait_timer(ngx_event_t *ev)
{
    ngx_http_aisearch_wait_finish(ev->data);
}


static void
ngx_http_aisearch_wait_notify(ngx_http_aisearch_ctx_t *ctx)
{
    ngx_http_aisearch_shared_answer_t  *sa;

    sa = ctx->watcher->watch->answer;

    if (ngx_exiting
        || (sa && !ngx_http_aisearch_wait_holds(ctx->request, &sa->answer)))
    {
        ngx_http_aisearch_wait_finish(ctx);
    }
}


/* the response is the one that a request without a wait would get now */

static void
ngx_http_aisearch_wait_finish(ngx_http_aisearch_ctx_t *ctx)
{
    ngx_http_aisearch_wait_look_up(ctx);

    ngx_http_aisearch_watch_leave(ctx->watcher);

    ngx_http_aisearch_resume(ctx);
}


/*
 * The watch may know more than the cache: answers that did not fit into it or
 * were evicted, and faults that are not stored.
 */

static void
ngx_http_aisearch_wait_look_up(ngx_http_aisearch_ctx_t *ctx)
{
    ngx_http_aisearch_watch_t          *w;
    ngx_http_aisearch_answer_t          answer;
    ngx_http_aisearch_lookup_t          lookup;
    ngx_http_aisearch_shared_answer_t  *sa, *fault;

    w = ctx->watcher->watch;
    sa = w->answer;
    fault = w->fault;

    ctx->cache_status = NGX_HTTP_AISEARCH_CACHE_WAITED;

    if (sa
        && !ngx_http_aisearch_wait_holds(ctx->request, &sa->answer)
        && ngx_http_aisearch_wait_take(ctx, sa))
    {
        return;
    }

    ngx_memzero(&answer, sizeof(ngx_http_aisearch_answer_t));

    lookup = ngx_http_aisearch_cache_lookup(ctx->account, &ctx->watcher->key,
                                            &ctx->conf->freshness, 0,
                                            NGX_HTTP_AISEARCH_ASK,
                                            ctx->request->pool, &answer);

    if (lookup.serve == AIS_SERVE_NOTHING) {
        lookup = ngx_http_aisearch_cache_lookup(ctx->account,
                                                &ctx->watcher->key,
                                                &ctx->conf->freshness, 0,
                                                NGX_HTTP_AISEARCH_PEEK,
                                                ctx->request->pool, &answer);
    }

    switch (lookup.serve) {

    case AIS_SERVE_NOTHING:

        if (!(fault && ngx_http_aisearch_wait_take(ctx, fault)) && sa) {
            (void) ngx_http_aisearch_wait_take(ctx, sa);
        }

        return;

    case AIS_SERVE_UPDATING:
        ctx->cache_status = NGX_HTTP_AISEARCH_CACHE_UPDATING;
        break;

    case AIS_SERVE_STALE:
        ctx->cache_status = NGX_HTTP_AISEARCH_CACHE_STALE;
        break;

    default:
        break;
    }

    ctx->answer = answer;
}


static ngx_uint_t
ngx_http_aisearch_wait_take(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_shared_answer_t *sa)
{
    if (ngx_http_aisearch_answer_share(sa, ctx->request->pool) != NGX_OK) {
        return 0;
    }

    ctx->answer = sa->answer;

    return 1;
}
