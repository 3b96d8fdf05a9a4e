/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Scrapes: requests by Prometheus in a location with aisearch_metrics.  They
 * are answered with metrics made from the API's answer.
 */


#include "ngx_http_aisearch_ctx.h"

#include "ais_exposition.h"
#include "ais_negotiation.h"


static ngx_msec_t ngx_http_aisearch_scrape_timeout(ngx_http_request_t *r);
static void ngx_http_aisearch_scrape_timed_out(ngx_event_t *ev);


static ngx_str_t  ngx_http_aisearch_scrape_header =
    ngx_string("X-Prometheus-Scrape-Timeout-Seconds");


ngx_int_t
ngx_http_aisearch_scrape_create(ngx_http_aisearch_ctx_t *ctx,
    struct ais_resource *resource)
{
    if (!ais_exposition_possible(resource->kind)) {
        return ngx_http_aisearch_refuse(ctx, NGX_HTTP_BAD_REQUEST,
                            "metrics are only available for a list of jobs, "
                            "an instance, and its stats");
    }

    ctx->scrape = ngx_palloc(ctx->request->pool, sizeof(struct ais_resource));
    if (ctx->scrape == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    *ctx->scrape = *resource;

    return NGX_DECLINED;
}


ngx_int_t
ngx_http_aisearch_scrape_wait(ngx_http_aisearch_ctx_t *ctx)
{
    ngx_event_t  *ev;

    ev = ngx_pcalloc(ctx->request->pool, sizeof(ngx_event_t));
    if (ev == NULL) {
        return NGX_ERROR;
    }

    ev->handler = ngx_http_aisearch_scrape_timed_out;
    ev->data = ctx;
    ev->log = ctx->request->connection->log;

    ctx->timeout = ev;

    ngx_add_timer(ev, ngx_http_aisearch_scrape_timeout(ctx->request));

    return NGX_OK;
}


static ngx_msec_t
ngx_http_aisearch_scrape_timeout(ngx_http_request_t *r)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    part = &r->headers_in.headers.part;

    for ( /* void */ ; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (ngx_http_aisearch_is_header(&h[i],
                                            &ngx_http_aisearch_scrape_header))
            {
                return (ngx_msec_t) ais_scrape_wait(
                                            ngx_http_aisearch_str(&h[i].value));
            }
        }
    }

    return AIS_SCRAPE_WAIT_MAX;
}


static void
ngx_http_aisearch_scrape_timed_out(ngx_event_t *ev)
{
    ngx_http_aisearch_flight_give_up(ev->data);
}


/* without a fault, the answer in ctx is one for the scraped resource */

ngx_int_t
ngx_http_aisearch_scrape_text(ngx_http_aisearch_ctx_t *ctx, ngx_str_t *text)
{
    ngx_time_t                  *tp;
    struct ais_answer            parsed;
    struct ais_exposition        exposition;
    ngx_http_aisearch_answer_t  *answer;

    answer = &ctx->answer;
    tp = ngx_timeofday();

    ngx_memzero(&parsed, sizeof(struct ais_answer));
    ngx_memzero(&exposition, sizeof(struct ais_exposition));

    exposition.account = ngx_http_aisearch_str(&ctx->account->name);
    exposition.resource = ctx->scrape;

    if (answer->verdict.fault == AIS_FAULT_NONE) {

        if (ais_answer_parse(&parsed, ctx->scrape->kind,
                             ngx_http_aisearch_str(&answer->body), NULL)
            != 0)
        {
            return NGX_ERROR;
        }

        exposition.up = ctx->cache_status != NGX_HTTP_AISEARCH_CACHE_STALE;
        exposition.answer = &parsed;
        exposition.answered_at = (int64_t) tp->sec * 1000 + (int64_t) tp->msec
                         - (int64_t) ngx_http_aisearch_answer_age(answer);
    }

    text->len = ais_exposition_write(NULL, &exposition);
    text->data = ngx_pnalloc(ctx->request->pool, text->len);

    if (text->data) {
        (void) ais_exposition_write((char *) text->data, &exposition);
    }

    ais_answer_free(&parsed);

    return text->data ? NGX_OK : NGX_ERROR;
}
