/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Creates the context of a request, and finds it after internal redirects.
 */


#include "ngx_http_aisearch_ctx.h"
#include "ngx_http_aisearch_watch.h"


static void ngx_http_aisearch_ctx_cleanup(void *data);


ngx_http_aisearch_ctx_t *
ngx_http_aisearch_ctx_create(ngx_http_request_t *r)
{
    ngx_http_aisearch_ctx_t  *ctx;

    ctx = ngx_palloc(r->pool, sizeof(ngx_http_aisearch_ctx_t));
    if (ctx == NULL) {
        return NULL;
    }

    ngx_memzero(ctx, offsetof(ngx_http_aisearch_ctx_t, headers));

    ctx->request = r;
    ctx->conf = ngx_http_get_module_loc_conf(r, ngx_http_aisearch_module);
    ctx->account = ctx->conf->pass->account;

    ngx_http_set_ctx(r, ctx, ngx_http_aisearch_module);

    if (ctx->conf->bypass) {

        switch (ngx_http_test_predicates(r, ctx->conf->bypass)) {

        case NGX_ERROR:
            return NULL;

        case NGX_DECLINED:
            ctx->bypass = 1;
        }
    }

    return ctx;
}


static void
ngx_http_aisearch_ctx_cleanup(void *data)
{
    ngx_http_aisearch_ctx_t  *ctx = data;

    if (ctx->flight) {
        ngx_http_aisearch_flight_leave(ctx);
    }

    if (ctx->watcher) {
        ngx_http_aisearch_watch_leave(ctx->watcher);
        ngx_http_aisearch_answer_release(ctx->watcher->sent);
    }
}


/*
 * The cleanup handler removes the request from its flight.  An internal
 * redirect clears the contexts of the request; ours is then found by its
 * cleanup handler, so that the variables still describe the lookup.
 */

ngx_int_t
ngx_http_aisearch_ctx_keep(ngx_http_aisearch_ctx_t *ctx)
{
    ngx_pool_cleanup_t  *cln;

    if (ctx->kept) {
        return NGX_OK;
    }

    cln = ngx_pool_cleanup_add(ctx->request->pool, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    cln->handler = ngx_http_aisearch_ctx_cleanup;
    cln->data = ctx;

    ctx->kept = 1;

    return NGX_OK;
}


ngx_http_aisearch_ctx_t *
ngx_http_aisearch_ctx_get(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t       *cln;
    ngx_http_aisearch_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_aisearch_module);

    if (ctx || !(r->internal || r->filter_finalize)) {
        return ctx;
    }

    /* subrequests share the pool; the latest context comes first */

    for (cln = r->pool->cleanup; cln; cln = cln->next) {

        if (cln->handler == ngx_http_aisearch_ctx_cleanup) {
            ctx = cln->data;

            if (ctx->request == r) {
                return ctx;
            }
        }
    }

    return NULL;
}
