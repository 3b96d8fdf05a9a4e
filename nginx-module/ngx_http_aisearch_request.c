/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The handler of a request: finds and checks the resource, looks it up in the
 * cache, and, if the request waits, keeps it until the answer arrives or the
 * client leaves.  Sets $aisearch_cache_status from the result of the lookup.
 */


#include "ngx_http_aisearch_ctx.h"
#include "ngx_http_aisearch_lease.h"


static ngx_int_t ngx_http_aisearch_query(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_query_t *query, char *buf);
static ngx_int_t ngx_http_aisearch_resource(ngx_http_aisearch_ctx_t *ctx,
    ngx_str_t *path);
static ngx_http_aisearch_cache_status_e ngx_http_aisearch_cache_status(
    ngx_http_aisearch_ctx_t *ctx, ngx_http_aisearch_lookup_t *lookup);
static ngx_int_t ngx_http_aisearch_serve(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_query_t *query, ngx_http_aisearch_lookup_t *lookup);
static ngx_int_t ngx_http_aisearch_wait(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_query_t *query, ngx_http_aisearch_lookup_t *lookup);
static void ngx_http_aisearch_read_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_aisearch_peek(ngx_http_request_t *r);


ngx_int_t
ngx_http_aisearch_handler(ngx_http_request_t *r)
{
    char                         buf[AIS_RESOURCE_PATH_MAX];
    ngx_int_t                    rc;
    ngx_uint_t                   flags;
    ngx_http_aisearch_ctx_t     *ctx;
    ngx_http_aisearch_query_t    query;
    ngx_http_aisearch_lookup_t   lookup;

    ctx = ngx_http_aisearch_ctx_create(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    /* a mirrored write is not executed, it only hints that a job may change */

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))
        && !ngx_http_aisearch_unattended(r))
    {
        return ngx_http_aisearch_refuse(ctx, NGX_HTTP_NOT_ALLOWED,
                                  "only GET and HEAD are allowed");
    }

    if (ctx->conf->watched && ngx_http_aisearch_watcher_create(ctx) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_aisearch_query(ctx, &query, buf);
    if (rc != NGX_DECLINED) {
        return rc;
    }

    if (ctx->watcher
        && ngx_http_aisearch_watcher_set_key(ctx, &query.key) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ctx->conf->metrics) {
        rc = ngx_http_aisearch_scrape_create(ctx, &query.resource);
        if (rc != NGX_DECLINED) {
            return rc;
        }
    }

    flags = ctx->bypass ? NGX_HTTP_AISEARCH_BYPASS : 0;

    if (ctx->conf->limit) {
        flags |= NGX_HTTP_AISEARCH_ASK;
    }

    lookup = ngx_http_aisearch_cache_lookup(ctx->account, &query.key,
                                            &ctx->conf->freshness, 0, flags,
                                            r->pool, &ctx->answer);

    if ((flags & NGX_HTTP_AISEARCH_ASK) && ngx_http_aisearch_fetches(&lookup)) {

        rc = ngx_http_aisearch_limit(ctx, &query, &lookup);
        if (rc != NGX_DECLINED) {
            return rc;
        }
    }

    ctx->cache_status = ngx_http_aisearch_cache_status(ctx, &lookup);
    ctx->lifetime = lookup.lifetime;

    ngx_log_debug5(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "aisearch lookup: %V \"%V\" key:%08xD decision:%V fetch:%s",
                   &ctx->account->name, &query.key.path, query.key.hash,
                   &ngx_http_aisearch_cache_statuses[ctx->cache_status],
                   ngx_http_aisearch_fetch_names[lookup.fetch]);

    if (lookup.serve != AIS_SERVE_NOTHING
        || ngx_http_aisearch_unattended(r))
    {
        return ngx_http_aisearch_serve(ctx, &query, &lookup);
    }

    return ngx_http_aisearch_wait(ctx, &query, &lookup);
}


/* sets the query; NGX_DECLINED: continue, otherwise the request is done */

static ngx_int_t
ngx_http_aisearch_query(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_query_t *query, char *buf)
{
    ngx_str_t                      path;
    ngx_uint_t                     named;
    struct ais_str                 key;
    ngx_http_request_t            *r;
    struct ais_resource           *res;
    enum ais_resource_error        err;
    ngx_http_aisearch_account_t   *acc;

    r = ctx->request;
    acc = ctx->account;
    res = &query->resource;

    switch (ngx_http_aisearch_resource(ctx, &path)) {

    case NGX_OK:
        break;

    case NGX_DECLINED:
        return ngx_http_aisearch_refuse(ctx, NGX_HTTP_BAD_REQUEST,
                                  "a part of the resource contains a slash");

    default:
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* the account's own prefix is common, comparing is faster than parsing */

    named = path.len > acc->prefix.len
            && ngx_memcmp(path.data, acc->prefix.data, acc->prefix.len) == 0;

    if (named) {
        path.data += acc->prefix.len;
        path.len -= acc->prefix.len;
    }

    err = ais_resource_parse(res,
                 (struct ais_str) { (char *) path.data, path.len },
                 (struct ais_str) { (char *) r->args.data, r->args.len });

    if (named && err == AIS_RESOURCE_OK && res->account.len) {
        err = AIS_RESOURCE_BAD_PATH;
    }

    if (err != AIS_RESOURCE_OK) {
        return ngx_http_aisearch_refuse(ctx, NGX_HTTP_BAD_REQUEST,
                                        ais_resource_error_text(err));
    }

    ctx->job_id.data = (u_char *) res->job.data;
    ctx->job_id.len = res->job.len;

    if (res->account.len) {
        return ngx_http_aisearch_refuse(ctx, NGX_HTTP_FORBIDDEN,
                                        "this account is not available here");
    }

    if (!ngx_http_aisearch_account_allows(acc, res)) {
        return ngx_http_aisearch_refuse(ctx, NGX_HTTP_FORBIDDEN,
                                        res->instance.len
                                        ? "this instance is not available "
                                          "here"
                                        : "lists of instances and "
                                          "namespaces are not available here");
    }

    key = ais_resource_key(res, buf);

    query->key.account = acc->cache_id;
    query->key.path.data = (u_char *) key.data;
    query->key.path.len = key.len;

    ngx_http_aisearch_cache_hash(&query->key);

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_aisearch_resource(ngx_http_aisearch_ctx_t *ctx, ngx_str_t *path)
{
    ngx_http_request_t        *r;
    ngx_http_aisearch_pass_t  *pass;

    r = ctx->request;
    pass = ctx->conf->pass;

    if (pass->resource) {

        if (ngx_http_complex_value(r, pass->resource, path) != NGX_OK) {
            return NGX_ERROR;
        }

        /* a variable in a resource must be a single part of it */

        return pass->slashes && ngx_http_aisearch_slashes(path) > pass->slashes
               ? NGX_DECLINED : NGX_OK;
    }

    *path = r->uri;

    if (r->valid_location && path->len >= pass->location.len) {
        path->data += pass->location.len;
        path->len -= pass->location.len;

        if (pass->location.len
            && pass->location.data[pass->location.len - 1] == '/')
        {
            return NGX_OK;
        }
    }

    /* the location has no trailing slash, or the URI was rewritten */

    if (path->len && path->data[0] == '/') {
        path->data++;
        path->len--;
    }

    return NGX_OK;
}


static ngx_http_aisearch_cache_status_e
ngx_http_aisearch_cache_status(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_lookup_t *lookup)
{
    switch (lookup->serve) {

    case AIS_SERVE_FRESH:
    case AIS_SERVE_FAILED:
        /* failures are cached too */
        return NGX_HTTP_AISEARCH_CACHE_HIT;

    case AIS_SERVE_UPDATING:
        return NGX_HTTP_AISEARCH_CACHE_UPDATING;

    case AIS_SERVE_STALE:
        return NGX_HTTP_AISEARCH_CACHE_STALE;

    case AIS_SERVE_NOTHING:
        break;
    }

    if (ctx->bypass) {
        return NGX_HTTP_AISEARCH_CACHE_BYPASS;
    }

    if (lookup->fetch == NGX_HTTP_AISEARCH_OTHER) {
        return NGX_HTTP_AISEARCH_CACHE_COALESCED;
    }

    return lookup->expired ? NGX_HTTP_AISEARCH_CACHE_EXPIRED
                           : NGX_HTTP_AISEARCH_CACHE_MISS;
}


/* responds without waiting, fetches in the background if necessary */

static ngx_int_t
ngx_http_aisearch_serve(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_query_t *query, ngx_http_aisearch_lookup_t *lookup)
{
    if (ngx_http_aisearch_fetches(lookup)) {
        (void) ngx_http_aisearch_flight_start(ctx->account, query, lookup, 0);
    }

    if (lookup->serve == AIS_SERVE_NOTHING) {
        ctx->request->headers_out.status = NGX_HTTP_OK;
        return NGX_OK;
    }

    return ngx_http_aisearch_respond(ctx);
}


static ngx_int_t
ngx_http_aisearch_wait(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_query_t *query, ngx_http_aisearch_lookup_t *lookup)
{
    ngx_http_request_t  *r;

    r = ctx->request;

    if (ngx_http_aisearch_ctx_keep(ctx) != NGX_OK) {

        if (lookup->fetch == NGX_HTTP_AISEARCH_LEADER) {
            ngx_http_aisearch_lease_release(ctx->account, &query->key);
        }

        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ngx_http_aisearch_flight_join(ctx, query, lookup) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ngx_http_aisearch_watch_client(r) != NGX_OK
        || (ctx->scrape && ngx_http_aisearch_scrape_wait(ctx) != NGX_OK))
    {
        ngx_http_aisearch_flight_leave(ctx);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->write_event_handler = ngx_http_request_empty_handler;

    r->main->count++;

    return NGX_DONE;
}


/* subrequests too: the active one gets the events of the connection */

ngx_int_t
ngx_http_aisearch_watch_client(ngx_http_request_t *r)
{
    ngx_event_t  *rev;

    /* the rest of the body is being read, or the client has already left */

    if (r->main->discard_body || r->post_action) {
        return NGX_OK;
    }

    r->read_event_handler = ngx_http_aisearch_read_handler;

    /* data that arrived with the request causes no further event */

    rev = r->connection->read;

    if (rev->ready) {
        ngx_post_event(rev, &ngx_posted_events);
        return NGX_OK;
    }

    return ngx_handle_read_event(rev, 0);
}


/*
 * The request leaves its flight before it is finalized, since "post_action"
 * and "error_page" continue with the same request.
 */

static void
ngx_http_aisearch_read_handler(ngx_http_request_t *r)
{
    ngx_event_t              *rev;
    ngx_http_aisearch_ctx_t  *ctx;

    rev = r->connection->read;

    switch (ngx_http_aisearch_peek(r)) {

    case NGX_AGAIN:
        return;

    case NGX_OK:
        /* a pipelined request is read later */

        if (!(ngx_event_flags & NGX_USE_LEVEL_EVENT)
            || !rev->active
            || ngx_del_event(rev, NGX_READ_EVENT, 0) == NGX_OK)
        {
            return;
        }

        break;

    default:
        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "client closed connection while waiting");
    }

    ctx = ngx_http_get_module_ctx(r, ngx_http_aisearch_module);

    if (ctx && ctx->flight) {
        ngx_http_aisearch_flight_leave(ctx);
    }

    if (ctx) {
        ngx_http_aisearch_watcher_leave(ctx);
    }

    ngx_http_finalize_request(r, NGX_HTTP_CLIENT_CLOSED_REQUEST);
}


/*
 * Based on ngx_http_test_reading().  NGX_OK: there is data to read,
 * NGX_AGAIN: no data, NGX_ERROR: the client has left.
 */

static ngx_int_t
ngx_http_aisearch_peek(ngx_http_request_t *r)
{
    int                n;
    char               buf[1];
    ngx_event_t       *rev;
    ngx_connection_t  *c;

    c = r->connection;
    rev = c->read;

#if (NGX_HTTP_V2)
    if (r->stream) {
        return c->error ? NGX_ERROR : NGX_AGAIN;
    }
#endif

#if (NGX_HTTP_V3)
    if (c->quic) {
        return rev->error ? NGX_ERROR : NGX_AGAIN;
    }
#endif

    n = recv(c->fd, buf, 1, MSG_PEEK);

    if (n == -1 && ngx_socket_errno == NGX_EAGAIN) {
        return NGX_AGAIN;
    }

#if (NGX_HAVE_EPOLLRDHUP)
    if (n > 0
        && (ngx_event_flags & NGX_USE_EPOLL_EVENT)
        && ngx_use_epoll_rdhup
        && rev->pending_eof)
    {
        /* the client has closed the connection after a pipelined request */
        n = 0;
    }
#endif

    if (n > 0) {
        return NGX_OK;
    }

    rev->eof = 1;
    c->error = 1;

#if (NGX_HTTP_SSL)
    if (c->ssl) {
        c->ssl->no_send_shutdown = 1;
    }
#endif

    return NGX_ERROR;
}
