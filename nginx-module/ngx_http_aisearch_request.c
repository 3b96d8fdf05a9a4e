#include "ngx_http_aisearch_module.h"


#define NGX_HTTP_AISEARCH_PATH_PREFIX  (sizeof("/accounts/") - 1)


static ngx_http_aisearch_ctx_t *ngx_http_aisearch_create_ctx(
    ngx_http_request_t *r);
static void ngx_http_aisearch_cleanup(void *data);
static ngx_int_t ngx_http_aisearch_query(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_query_t *query);
static ngx_int_t ngx_http_aisearch_resource(ngx_http_aisearch_ctx_t *ctx,
    ngx_str_t *path);
static ngx_int_t ngx_http_aisearch_wait(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_query_t *query, ngx_http_aisearch_lookup_e lookup);


ngx_int_t
ngx_http_aisearch_handler(ngx_http_request_t *r)
{
    ngx_int_t                    rc;
    ngx_http_aisearch_ctx_t     *ctx;
    ngx_http_aisearch_query_t    query;
    ngx_http_aisearch_lookup_e   lookup;

    ctx = ngx_http_aisearch_create_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    /* a mirror of a write is a hint that a job changes, not a write */

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))
        && !ngx_http_aisearch_unattended(r))
    {
        return ngx_http_aisearch_refuse(ctx, NGX_HTTP_NOT_ALLOWED,
                                  "only GET and HEAD are possible here");
    }

    rc = ngx_http_aisearch_query(ctx, &query);
    if (rc != NGX_DECLINED) {
        return rc;
    }

    lookup = ngx_http_aisearch_cache_lookup(ctx->account->zone, &query.key,
                                            &ctx->conf->valid, 0, r->pool,
                                            &ctx->answer);
    switch (lookup) {

    case NGX_HTTP_AISEARCH_FRESH:
        ctx->cache_status = NGX_HTTP_AISEARCH_HIT;
        return ngx_http_aisearch_respond(ctx);

    case NGX_HTTP_AISEARCH_WAIT:
        ctx->cache_status = NGX_HTTP_AISEARCH_COALESCED;
        break;

    case NGX_HTTP_AISEARCH_REFETCH:
        ctx->cache_status = NGX_HTTP_AISEARCH_EXPIRED;
        break;

    default:
        ctx->cache_status = NGX_HTTP_AISEARCH_MISS;
    }

    return ngx_http_aisearch_wait(ctx, &query, lookup);
}


static ngx_http_aisearch_ctx_t *
ngx_http_aisearch_create_ctx(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t       *cln;
    ngx_http_aisearch_ctx_t  *ctx;

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_aisearch_ctx_t));
    if (cln == NULL) {
        return NULL;
    }

    ctx = cln->data;
    ngx_memzero(ctx, sizeof(ngx_http_aisearch_ctx_t));

    cln->handler = ngx_http_aisearch_cleanup;

    ctx->request = r;
    ctx->conf = ngx_http_get_module_loc_conf(r, ngx_http_aisearch_module);
    ctx->account = ctx->conf->pass->account;

    ngx_http_set_ctx(r, ctx, ngx_http_aisearch_module);

    return ctx;
}


static void
ngx_http_aisearch_cleanup(void *data)
{
    ngx_http_aisearch_ctx_t  *ctx = data;

    if (ctx->flight) {
        ngx_http_aisearch_flight_leave(ctx);
    }
}


/*
 * An internal redirect clears the contexts of a request, while its variables
 * should tell of the look-up all the same.
 */

ngx_http_aisearch_ctx_t *
ngx_http_aisearch_get_ctx(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t       *cln;
    ngx_http_aisearch_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_aisearch_module);

    if (ctx || !(r->internal || r->filter_finalize)) {
        return ctx;
    }

    /* subrequests share the pool; the latest of this request is first */

    for (cln = r->pool->cleanup; cln; cln = cln->next) {

        if (cln->handler == ngx_http_aisearch_cleanup) {
            ctx = cln->data;

            if (ctx->request == r) {
                return ctx;
            }
        }
    }

    return NULL;
}


/* what is asked for; NGX_DECLINED: go on, anything else: the request is done */

static ngx_int_t
ngx_http_aisearch_query(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_query_t *query)
{
    size_t                         len, prefix;
    ngx_str_t                      path;
    struct ais_str                 account;
    ngx_http_request_t            *r;
    struct ais_resource           *res;
    enum ais_resource_status       status;
    ngx_http_aisearch_account_t   *acc;

    r = ctx->request;
    acc = ctx->account;
    res = &query->resource;

    if (ngx_http_aisearch_resource(ctx, &path) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    status = ais_resource_parse(res,
                 (struct ais_str) { (char *) path.data, path.len },
                 (struct ais_str) { (char *) r->args.data, r->args.len });

    if (status != AIS_RESOURCE_OK) {
        return ngx_http_aisearch_refuse(ctx, NGX_HTTP_BAD_REQUEST,
                                        ais_resource_status_text(status));
    }

    ctx->job_id.data = (u_char *) res->job.data;
    ctx->job_id.len = res->job.len;

    account.data = (char *) acc->account_id.data;
    account.len = acc->account_id.len;

    if (res->account.len && !ais_str_eq(res->account, account)) {
        return ngx_http_aisearch_refuse(ctx, NGX_HTTP_FORBIDDEN,
                                        "this account is not served here");
    }

    if (!ngx_http_aisearch_account_allows(acc, res)) {
        return ngx_http_aisearch_refuse(ctx, NGX_HTTP_FORBIDDEN,
                                        "this instance is not served here");
    }

    len = ais_resource_path(res, account, query->path);

    prefix = NGX_HTTP_AISEARCH_PATH_PREFIX + account.len;

    query->key.account = acc->cache_id;
    query->key.path.data = (u_char *) query->path + prefix;
    query->key.path.len = len - prefix;
    query->key.hash = ngx_murmur_hash2(query->key.path.data,
                                       query->key.path.len)
                      ^ (uint32_t) acc->cache_id;

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
        return ngx_http_complex_value(r, pass->resource, path);
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

    /* a location without a slash at its end, or an URI that was rewritten */

    if (path->len && path->data[0] == '/') {
        path->data++;
        path->len--;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_aisearch_wait(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_query_t *query, ngx_http_aisearch_lookup_e lookup)
{
    ngx_http_request_t  *r;

    r = ctx->request;

    if (ngx_http_aisearch_flight_join(ctx, query, lookup) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ngx_http_aisearch_unattended(r)) {
        r->headers_out.status = NGX_HTTP_OK;
        return NGX_OK;
    }

    if (r == r->main && !r->discard_body) {
        r->read_event_handler = ngx_http_test_reading;
    }

    r->write_event_handler = ngx_http_request_empty_handler;

    r->main->count++;

    return NGX_DONE;
}


/* the answer that the request waited for stands in the context */

void
ngx_http_aisearch_resume(ngx_http_aisearch_ctx_t *ctx)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = ctx->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    ngx_http_finalize_request(r, ngx_http_aisearch_respond(ctx));

    ngx_http_run_posted_requests(c);
}


void
ngx_http_aisearch_query_copy(ngx_http_aisearch_query_t *dst,
    ngx_http_aisearch_query_t *src)
{
    size_t         len, prefix;
    struct ais_str  job;

    prefix = (char *) src->key.path.data - src->path;
    len = prefix + src->key.path.len;
    job = src->resource.job;

    ngx_memcpy(dst->path, src->path, len + 1);

    dst->key = src->key;
    dst->key.path.data = (u_char *) dst->path + prefix;

    /* the views into the request's memory stay behind, but for the job */

    ngx_memzero(&dst->resource, sizeof(struct ais_resource));

    dst->resource.generation = src->resource.generation;
    dst->resource.kind = src->resource.kind;

    if (src->resource.kind == AIS_JOB) {
        dst->resource.job.data = dst->path + len - job.len;
        dst->resource.job.len = job.len;
    }
}
