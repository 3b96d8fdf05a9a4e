/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Event streams (WHATWG HTML, 9.2).  A stream sends the known state at once,
 * then each change of the state or of the fault that prevents updates.
 *
 * A stream is not a log: a slow client gets the newest state once the previous
 * one has been written, and the states in between are skipped.
 */


#include "ngx_http_aisearch_ctx.h"
#include "ngx_http_aisearch_refresh.h"

#include "ais_negotiation.h"


/* time until clients reconnect, ms; half of it is random */
#define NGX_HTTP_AISEARCH_STREAM_RETRY  4000

/* 1/N of the duration of a stream is random */
#define NGX_HTTP_AISEARCH_STREAM_DRAWN  10

/* Retry-After if the worker is short of connections, ms */
#define NGX_HTTP_AISEARCH_STREAM_FULL   5000


static ngx_int_t ngx_http_aisearch_stream_refused(ngx_http_aisearch_ctx_t *ctx);
static void ngx_http_aisearch_stream_read_last(
    ngx_http_aisearch_watcher_t *watcher);
static ngx_uint_t ngx_http_aisearch_stream_known(
    ngx_http_aisearch_watcher_t *watcher, ngx_http_aisearch_answer_t *answer);
static ngx_int_t ngx_http_aisearch_stream_no_content(
    ngx_http_aisearch_ctx_t *ctx);
static ngx_int_t ngx_http_aisearch_stream_begin(ngx_http_aisearch_ctx_t *ctx);
static ngx_int_t ngx_http_aisearch_stream_send_headers(
    ngx_http_aisearch_ctx_t *ctx);
static ngx_int_t ngx_http_aisearch_stream_add_headers(
    ngx_http_aisearch_ctx_t *ctx);
static ngx_int_t ngx_http_aisearch_stream_send_retry(
    ngx_http_aisearch_ctx_t *ctx);
static ngx_int_t ngx_http_aisearch_stream_end(ngx_http_aisearch_ctx_t *ctx);
static void ngx_http_aisearch_stream_timer(ngx_event_t *ev);
static void ngx_http_aisearch_stream_add_timer(ngx_http_aisearch_ctx_t *ctx);

static ngx_int_t ngx_http_aisearch_stream_send_news(
    ngx_http_aisearch_ctx_t *ctx);
static ngx_http_aisearch_shared_answer_t *ngx_http_aisearch_stream_next(
    ngx_http_aisearch_watcher_t *watcher, ngx_http_aisearch_event_e *event);
static ngx_int_t ngx_http_aisearch_stream_send_event(
    ngx_http_aisearch_ctx_t *ctx, ngx_http_aisearch_shared_answer_t *sa,
    ngx_http_aisearch_event_e event);

static ngx_int_t ngx_http_aisearch_stream_send(ngx_http_aisearch_ctx_t *ctx,
    u_char *data, size_t len, ngx_uint_t last);
static ngx_uint_t ngx_http_aisearch_stream_blocked(ngx_http_request_t *r);
static ngx_int_t ngx_http_aisearch_stream_flow(ngx_http_request_t *r);
static void ngx_http_aisearch_stream_writable(ngx_http_request_t *r);
static void ngx_http_aisearch_stream_close(ngx_http_aisearch_ctx_t *ctx,
    ngx_int_t rc);


static ngx_str_t  ngx_http_aisearch_stream_type =
    ngx_string("text/event-stream");
static ngx_str_t  ngx_http_aisearch_accel_buffering =
    ngx_string("X-Accel-Buffering");


/* never sent: gzip skips a response that has an encoding already */

static ngx_table_elt_t  ngx_http_aisearch_stream_encoding = {
    .key = ngx_string("Content-Encoding"),
    .value = ngx_string("identity")
};


/*
 * Any status other than 200 makes an EventSource stop for good.  So faults that
 * may pass are sent as events; 204 is sent if the client has the final state.
 */

ngx_int_t
ngx_http_aisearch_stream_open(ngx_http_aisearch_ctx_t *ctx)
{
    ngx_http_aisearch_watcher_t  *watcher;

    watcher = ctx->watcher;

    watcher->over = 1;

    if (ngx_http_aisearch_stream_refused(ctx)) {
        return NGX_DECLINED;
    }

    ngx_http_aisearch_stream_read_last(watcher);

    if (ctx->answer.verdict.fault == AIS_FAULT_NONE
        && ctx->answer.verdict.class == AIS_CLASS_ENDED
        && ngx_http_aisearch_stream_known(watcher, &ctx->answer))
    {
        return ngx_http_aisearch_stream_no_content(ctx);
    }

    if (ngx_http_aisearch_watcher_no_room()) {
        ctx->answer.retry_after = NGX_HTTP_AISEARCH_STREAM_FULL;

        return ngx_http_aisearch_refuse(ctx, NGX_HTTP_SERVICE_UNAVAILABLE,
                                        "no connections are left for an "
                                        "event stream");
    }

    return ngx_http_aisearch_stream_begin(ctx);
}


/* 4xx: the request is refused, or there is no such resource */

static ngx_int_t
ngx_http_aisearch_stream_refused(ngx_http_aisearch_ctx_t *ctx)
{
    ngx_uint_t  status;

    status = ngx_http_aisearch_answer_status(&ctx->answer);

    return status >= NGX_HTTP_BAD_REQUEST
           && status < NGX_HTTP_INTERNAL_SERVER_ERROR;
}


/* reads the entity tag of the last state that the client has received */

static void
ngx_http_aisearch_stream_read_last(ngx_http_aisearch_watcher_t *watcher)
{
    struct ais_str  last;

    last = ais_etag_opaque(ngx_http_aisearch_str(&watcher->last_event_id));

    if (last.len == NGX_HTTP_AISEARCH_ETAG_LEN) {
        watcher->has_etag = 1;
        ngx_memcpy(watcher->etag, last.data, NGX_HTTP_AISEARCH_ETAG_LEN);
    }
}


static ngx_uint_t
ngx_http_aisearch_stream_known(ngx_http_aisearch_watcher_t *watcher,
    ngx_http_aisearch_answer_t *answer)
{
    return watcher->has_etag
           && ngx_memcmp(watcher->etag, answer->etag,
                         NGX_HTTP_AISEARCH_ETAG_LEN)
              == 0;
}


static ngx_int_t
ngx_http_aisearch_stream_no_content(ngx_http_aisearch_ctx_t *ctx)
{
    ngx_http_request_t  *r;

    r = ctx->request;

    if (ngx_http_aisearch_stream_add_headers(ctx) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->headers_out.status = NGX_HTTP_NO_CONTENT;
    r->header_only = 1;

    return ngx_http_send_header(r);
}


static ngx_int_t
ngx_http_aisearch_stream_begin(ngx_http_aisearch_ctx_t *ctx)
{
    ngx_int_t                     rc;
    ngx_http_request_t           *r;
    ngx_http_core_loc_conf_t     *clcf;
    ngx_http_aisearch_watcher_t  *watcher;

    r = ctx->request;
    watcher = ctx->watcher;

    if (ngx_http_aisearch_ctx_keep(ctx) != NGX_OK
        || ngx_http_aisearch_refresh_join(watcher) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_aisearch_stream_send_headers(ctx);

    if (rc == NGX_OK) {
        rc = ngx_http_aisearch_stream_send_retry(ctx);
    }

    if (rc == NGX_OK) {
        rc = ngx_http_aisearch_stream_send_news(ctx);
    }

    /* a request on an old connection: the client reconnects to a new worker */

    if (rc == NGX_OK && watcher->watch && ngx_exiting) {
        rc = ngx_http_aisearch_stream_end(ctx);
        ngx_http_aisearch_watch_leave(watcher);
    }

    if (rc == NGX_OK && watcher->watch) {
        rc = ngx_http_aisearch_watch_client(r);
    }

    if (rc != NGX_OK || watcher->watch == NULL) {
        ngx_http_aisearch_watch_leave(watcher);
        return rc;
    }

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    watcher->end = ngx_current_msec + clcf->keepalive_time
                   - (ngx_msec_t) ngx_random()
                     % (clcf->keepalive_time / NGX_HTTP_AISEARCH_STREAM_DRAWN
                        + 1);

    watcher->timer.handler = ngx_http_aisearch_stream_timer;
    watcher->timer.data = ctx;
    watcher->timer.log = r->connection->log;
    watcher->timer.cancelable = 1;

    ngx_http_aisearch_stream_add_timer(ctx);

    r->main->count++;

    return NGX_DONE;
}


static ngx_int_t
ngx_http_aisearch_stream_send_headers(ngx_http_aisearch_ctx_t *ctx)
{
    ngx_int_t            rc;
    ngx_http_request_t  *r;

    r = ctx->request;

    if (ngx_http_aisearch_stream_add_headers(ctx) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = -1;
    r->headers_out.content_type = ngx_http_aisearch_stream_type;
    r->headers_out.content_type_len = ngx_http_aisearch_stream_type.len;
    r->headers_out.content_type_lowcase = NULL;
    r->headers_out.content_encoding = &ngx_http_aisearch_stream_encoding;

    /* events must not be delayed, and a stream has no entity tag to compare */

    r->limit_rate = 0;
    r->limit_rate_set = 1;
    r->disable_not_modified = 1;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return NGX_ERROR;
    }

    /* NGX_AGAIN: queued behind other streams of the HTTP/2 connection */

    return NGX_OK;
}


static ngx_int_t
ngx_http_aisearch_stream_add_headers(ngx_http_aisearch_ctx_t *ctx)
{
    ngx_http_request_t  *r;

    r = ctx->request;

    ctx->answered = 1;
    ctx->cache_status = NGX_HTTP_AISEARCH_CACHE_STREAM;

    ngx_http_aisearch_count(ctx->account->stats->lookups[ctx->cache_status]);

    ngx_http_aisearch_clear_headers(r);

    if (ngx_http_aisearch_set_cache_status(ctx) != NGX_OK
        || ngx_http_aisearch_add_header(r, &ngx_http_aisearch_accel_buffering,
                                        (u_char *) "no", sizeof("no") - 1)
           == NULL
        || ngx_http_aisearch_set_cache_control(ctx, (u_char *) "no-store",
                                               sizeof("no-store") - 1)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_aisearch_watcher_set_headers(ctx);
}


/* the time is random, so that clients do not all reconnect at once */

static ngx_int_t
ngx_http_aisearch_stream_send_retry(ngx_http_aisearch_ctx_t *ctx)
{
    u_char      *p, *last;
    ngx_uint_t   ms;

    p = ngx_pnalloc(ctx->request->pool, sizeof("retry: \n\n") + NGX_INT_T_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ms = NGX_HTTP_AISEARCH_STREAM_RETRY / 2
         + (ngx_uint_t) ngx_random() % (NGX_HTTP_AISEARCH_STREAM_RETRY / 2);

    last = ngx_sprintf(p, "retry: %ui\n\n", ms);

    return ngx_http_aisearch_stream_send(ctx, p, last - p, 0);
}


/* the worker is shutting down and does not wait for slow clients */

static ngx_int_t
ngx_http_aisearch_stream_end(ngx_http_aisearch_ctx_t *ctx)
{
    return ngx_http_aisearch_stream_blocked(ctx->request)
           ? NGX_ERROR : ngx_http_send_special(ctx->request, NGX_HTTP_LAST);
}


/*
 * Sends a comment, so that proxies and clients see that the stream is alive,
 * unless an event was sent lately.  The timer expires twice per heartbeat, so
 * comments stay spread in time as the clients connected, and no silence is
 * longer than the heartbeat.
 */

static void
ngx_http_aisearch_stream_timer(ngx_event_t *ev)
{
    ngx_http_request_t       *r;
    ngx_http_aisearch_ctx_t  *ctx;

    ctx = ev->data;
    r = ctx->request;

    if (ngx_http_aisearch_watcher_has_left(ctx)) {
        return;
    }

    ngx_http_set_log_request(r->connection->log, r);

    /* access is only checked when a stream starts, so limit its duration */

    if ((ngx_msec_int_t) (ctx->watcher->end - ngx_current_msec) <= 0) {
        ngx_http_aisearch_stream_close(ctx,
                                       ngx_http_send_special(r, NGX_HTTP_LAST));
        return;
    }

    if (!ctx->watcher->quiet) {
        ctx->watcher->quiet = 1;

    } else if (!ngx_http_aisearch_stream_blocked(r)
               && ngx_http_aisearch_stream_send(ctx, (u_char *) ":\n\n", 3, 0)
                  != NGX_OK)
    {
        ngx_http_aisearch_stream_close(ctx, NGX_ERROR);
        return;
    }

    ngx_http_aisearch_stream_add_timer(ctx);
}


static void
ngx_http_aisearch_stream_add_timer(ngx_http_aisearch_ctx_t *ctx)
{
    ngx_msec_int_t  left;

    left = (ngx_msec_int_t) (ctx->watcher->end - ngx_current_msec);
    left = ngx_max(left, 1);

    ngx_add_timer(&ctx->watcher->timer,
                  ngx_min(ctx->conf->heartbeat / 2, (ngx_msec_t) left));
}


/* events */


void
ngx_http_aisearch_stream_notify(ngx_http_aisearch_ctx_t *ctx)
{
    ngx_int_t  rc;

    rc = ngx_http_aisearch_stream_send_news(ctx);

    if (rc != NGX_OK || ctx->watcher->watch == NULL) {
        ngx_http_aisearch_stream_close(ctx, rc);
        return;
    }

    if (ngx_exiting) {
        ngx_http_aisearch_stream_close(ctx, ngx_http_aisearch_stream_end(ctx));
    }
}


/* sends all news unless output is blocked; leaves after the final event */

static ngx_int_t
ngx_http_aisearch_stream_send_news(ngx_http_aisearch_ctx_t *ctx)
{
    ngx_int_t                           rc;
    ngx_http_aisearch_event_e           event;
    ngx_http_aisearch_watcher_t        *watcher;
    ngx_http_aisearch_shared_answer_t  *sa;

    watcher = ctx->watcher;

    while (!ngx_http_aisearch_stream_blocked(ctx->request)) {

        sa = ngx_http_aisearch_stream_next(watcher, &event);

        if (sa == NULL) {
            return NGX_OK;
        }

        rc = ngx_http_aisearch_stream_send_event(ctx, sa, event);

        if (event == NGX_HTTP_AISEARCH_EVENT_END) {
            ngx_http_aisearch_watch_leave(watcher);
        }

        if (rc != NGX_OK || event == NGX_HTTP_AISEARCH_EVENT_END) {
            return rc;
        }
    }

    return NGX_OK;
}


/* returns the next answer to send and its event; NULL: nothing to send */

static ngx_http_aisearch_shared_answer_t *
ngx_http_aisearch_stream_next(ngx_http_aisearch_watcher_t *watcher,
    ngx_http_aisearch_event_e *event)
{
    ngx_uint_t                          ended;
    ngx_http_aisearch_answer_t         *answer;
    ngx_http_aisearch_shared_answer_t  *sa, *fault;

    sa = watcher->watch->answer;
    fault = watcher->watch->fault;

    if (sa) {
        answer = &sa->answer;

        ended = answer->status != NGX_HTTP_OK
                || answer->verdict.class == AIS_CLASS_ENDED;

        /* the end is always sent, or the client might wait forever */

        if (ended || !ngx_http_aisearch_stream_known(watcher, answer)) {
            *event = ended ? NGX_HTTP_AISEARCH_EVENT_END
                           : NGX_HTTP_AISEARCH_EVENT_MESSAGE;

            watcher->has_etag = 1;
            ngx_memcpy(watcher->etag, answer->etag, NGX_HTTP_AISEARCH_ETAG_LEN);

            if (fault == NULL) {
                watcher->fault = AIS_FAULT_NONE;
            }

            return sa;
        }
    }

    if (fault) {

        if (watcher->fault == fault->answer.verdict.fault) {
            return NULL;
        }

        watcher->fault = fault->answer.verdict.fault;
        *event = NGX_HTTP_AISEARCH_EVENT_FAULT;

        return fault;
    }

    if (watcher->fault == AIS_FAULT_NONE) {
        return NULL;
    }

    watcher->fault = AIS_FAULT_NONE;
    *event = NGX_HTTP_AISEARCH_EVENT_RECOVERED;

    return sa;
}


static ngx_int_t
ngx_http_aisearch_stream_send_event(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_shared_answer_t *sa, ngx_http_aisearch_event_e event)
{
    ngx_str_t                    *text;
    ngx_http_aisearch_watcher_t  *watcher;

    text = ngx_http_aisearch_event_text(sa, event);
    if (text == NULL) {
        return NGX_ERROR;
    }

    /* keep the text until the next event is sent or the request is freed */

    watcher = ctx->watcher;

    sa->refs++;
    ngx_http_aisearch_answer_release(watcher->sent);
    watcher->sent = sa;

    ctx->answer = sa->answer;

    ngx_http_aisearch_count(ctx->account->stats->events);

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, ctx->request->connection->log, 0,
                   "aisearch event: key:%08xD type:%ui size:%uz",
                   watcher->key.hash, (ngx_uint_t) event, text->len);

    return ngx_http_aisearch_stream_send(ctx, text->data, text->len,
                                       event == NGX_HTTP_AISEARCH_EVENT_END);
}


/* writing */


static ngx_int_t
ngx_http_aisearch_stream_send(ngx_http_aisearch_ctx_t *ctx, u_char *data,
    size_t len, ngx_uint_t last)
{
    ngx_buf_t    *b;
    ngx_chain_t   out;

    ctx->watcher->quiet = 0;

    /* the previous event has been written, so the buffer is free */

    b = &ctx->buf;

    ngx_memzero(b, sizeof(ngx_buf_t));

    b->pos = data;
    b->last = data + len;
    b->memory = 1;
    b->flush = 1;
    b->last_buf = last;
    b->last_in_chain = last;

    out.buf = b;
    out.next = NULL;

    if (ngx_http_output_filter(ctx->request, &out) == NGX_ERROR) {
        return NGX_ERROR;
    }

    return ngx_http_aisearch_stream_flow(ctx->request);
}


static ngx_uint_t
ngx_http_aisearch_stream_blocked(ngx_http_request_t *r)
{
    return r->buffered || r->connection->buffered;
}


/* send_timeout runs from blocked output until all of it is written */

static ngx_int_t
ngx_http_aisearch_stream_flow(ngx_http_request_t *r)
{
    ngx_event_t               *wev;
    ngx_http_core_loc_conf_t  *clcf;

    wev = r->connection->write;

    if (!ngx_http_aisearch_stream_blocked(r)) {

        if (wev->timer_set) {
            ngx_del_timer(wev);
        }

        r->write_event_handler = ngx_http_request_empty_handler;

        return NGX_OK;
    }

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    r->write_event_handler = ngx_http_aisearch_stream_writable;

    if (!wev->timer_set) {
        ngx_add_timer(wev, clcf->send_timeout);
    }

    return ngx_handle_write_event(wev, clcf->send_lowat);
}


static void
ngx_http_aisearch_stream_writable(ngx_http_request_t *r)
{
    ngx_connection_t         *c;
    ngx_http_aisearch_ctx_t  *ctx;

    c = r->connection;
    ctx = ngx_http_get_module_ctx(r, ngx_http_aisearch_module);

    if (c->write->timedout) {
        ngx_log_error(NGX_LOG_INFO, c->log, NGX_ETIMEDOUT, "client timed out");
        c->timedout = 1;

        ngx_http_aisearch_stream_close(ctx, NGX_HTTP_REQUEST_TIME_OUT);
        return;
    }

    if (ngx_http_output_filter(r, NULL) == NGX_ERROR
        || ngx_http_aisearch_stream_flow(r) != NGX_OK)
    {
        ngx_http_aisearch_stream_close(ctx, NGX_ERROR);
        return;
    }

    if (!ngx_http_aisearch_stream_blocked(r)) {
        ngx_http_aisearch_stream_notify(ctx);
    }
}


static void
ngx_http_aisearch_stream_close(ngx_http_aisearch_ctx_t *ctx, ngx_int_t rc)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = ctx->request;
    c = r->connection;

    ngx_http_aisearch_watch_leave(ctx->watcher);

    ngx_http_finalize_request(r, rc);

    ngx_http_run_posted_requests(c);
}
