/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Sends the answer in the context, or a refusal, with the headers for its age
 * and its remaining lifetime.
 */


#include "ngx_http_aisearch_budget.h"
#include "ngx_http_aisearch_ctx.h"

#include "ais_answer.h"
#include "ais_exposition.h"


/* ms; clients should not retry if Retry-After is longer */
#define NGX_HTTP_AISEARCH_PATIENCE  5000


typedef struct {
    ngx_str_t    text;
    size_t       len;    /* without parameters, for filters */
} ngx_http_aisearch_type_t;


static ngx_int_t ngx_http_aisearch_send_metrics(ngx_http_aisearch_ctx_t *ctx);
static ngx_int_t ngx_http_aisearch_send(ngx_http_aisearch_ctx_t *ctx,
    ngx_uint_t status, ngx_http_aisearch_type_t *type, ngx_str_t *body);
static ngx_int_t ngx_http_aisearch_send_envelope(ngx_http_aisearch_ctx_t *ctx,
    ngx_uint_t status, const char *text);
static ngx_int_t ngx_http_aisearch_send_body(ngx_http_aisearch_ctx_t *ctx,
    ngx_str_t *body);
static ngx_uint_t ngx_http_aisearch_intercepted(ngx_http_aisearch_ctx_t *ctx,
    ngx_uint_t status);

static ngx_int_t ngx_http_aisearch_set_headers(ngx_http_aisearch_ctx_t *ctx);
static ngx_msec_t ngx_http_aisearch_max_age(ngx_http_aisearch_ctx_t *ctx);
static ngx_msec_int_t ngx_http_aisearch_wait_left(
    ngx_http_aisearch_ctx_t *ctx);
static ngx_int_t ngx_http_aisearch_set_retry_after(
    ngx_http_aisearch_ctx_t *ctx, ngx_msec_int_t left);
static u_char *ngx_http_aisearch_digits(u_char *last, ngx_uint_t n);


static ngx_http_aisearch_type_t  ngx_http_aisearch_json = {
    ngx_string("application/json"), sizeof("application/json") - 1
};
static ngx_http_aisearch_type_t  ngx_http_aisearch_exposition = {
    ngx_string(AIS_EXPOSITION_TYPE), sizeof("text/plain") - 1
};

static ngx_str_t  ngx_http_aisearch_etag = ngx_string("ETag");
static ngx_str_t  ngx_http_aisearch_age = ngx_string("Age");
static ngx_str_t  ngx_http_aisearch_cache_control = ngx_string("Cache-Control");
static ngx_str_t  ngx_http_aisearch_x_state = ngx_string("X-Aisearch-State");
static ngx_str_t  ngx_http_aisearch_x_cache = ngx_string("X-Aisearch-Cache");
static ngx_str_t  ngx_http_aisearch_retry_after = ngx_string("Retry-After");
static ngx_str_t  ngx_http_aisearch_should_retry =
    ngx_string("X-Should-Retry");
static ngx_str_t  ngx_http_aisearch_no_retry = ngx_string("false");
static ngx_str_t  ngx_http_aisearch_allow = ngx_string("Allow");
static ngx_str_t  ngx_http_aisearch_allowed = ngx_string("GET, HEAD");


/* headers that describe the body of the handler that redirected here */

static ngx_str_t  ngx_http_aisearch_foreign_headers[] = {
    ngx_string("Accept-Ranges"),
    ngx_string("Age"),
    ngx_string("Cache-Control"),
    ngx_string("Content-Disposition"),
    ngx_string("Content-Encoding"),
    ngx_string("Content-Range"),
    ngx_string("ETag"),
    ngx_string("Expires"),
    ngx_string("Last-Modified"),
    ngx_string("Preference-Applied"),
    ngx_string("Retry-After"),
    ngx_string("Set-Cookie"),
    ngx_string("WWW-Authenticate"),
    ngx_string("X-Aisearch-Cache"),
    ngx_string("X-Aisearch-State"),
    ngx_string("X-Should-Retry"),
    ngx_null_string
};


/* sends an error without a request to the API */

ngx_int_t
ngx_http_aisearch_refuse(ngx_http_aisearch_ctx_t *ctx, ngx_uint_t status,
    const char *text)
{
    ngx_http_request_t  *r;

    r = ctx->request;

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "aisearch account \"%V\": request rejected with %ui: %s",
                  &ctx->account->name, status, text);

    ctx->refused = 1;

    ngx_http_aisearch_count(ctx->account->stats->refused);

    if (ngx_http_aisearch_unattended(r)) {
        r->headers_out.status = status;
        return NGX_OK;
    }

    ngx_http_aisearch_clear_headers(r);

    if (ctx->conf->watched
        && ngx_http_aisearch_watcher_set_headers(ctx) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (status == NGX_HTTP_NOT_ALLOWED
        && ngx_http_aisearch_add_header(r, &ngx_http_aisearch_allow,
                                        ngx_http_aisearch_allowed.data,
                                        ngx_http_aisearch_allowed.len)
           == NULL)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ctx->answer.retry_after
        && ngx_http_aisearch_set_retry_after(ctx, ctx->answer.retry_after)
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ngx_http_aisearch_intercepted(ctx, status)) {
        return status;
    }

    return ngx_http_aisearch_send_envelope(ctx, status, text);
}


void
ngx_http_aisearch_resume(ngx_http_aisearch_ctx_t *ctx)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = ctx->request;
    c = r->connection;

    /* the request may have moved on, if its body could not be read */

    if (ngx_http_get_module_ctx(r, ngx_http_aisearch_module) != ctx) {
        return;
    }

    ngx_http_set_log_request(c->log, r);

    ngx_http_finalize_request(r, ngx_http_aisearch_respond(ctx));

    ngx_http_run_posted_requests(c);
}


ngx_int_t
ngx_http_aisearch_respond(ngx_http_aisearch_ctx_t *ctx)
{
    ngx_int_t                    rc;
    ngx_uint_t                   status;
    ngx_http_request_t          *r;
    ngx_http_aisearch_answer_t  *answer;

    r = ctx->request;
    answer = &ctx->answer;

    if (ctx->watcher) {
        rc = ngx_http_aisearch_watcher_begin(ctx);
        if (rc != NGX_DECLINED) {
            return rc;
        }
    }

    ctx->answered = 1;

    ngx_http_aisearch_count(ctx->account->stats->lookups[ctx->cache_status]);

    status = ngx_http_aisearch_answer_status(answer);

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "aisearch answer: %ui %V fault:%s age:%M", status,
                   &ngx_http_aisearch_cache_statuses[ctx->cache_status],
                   ais_fault_name(answer->verdict.fault),
                   (ngx_msec_t) ngx_http_aisearch_answer_age(answer));

    /* a metric reports the failure of the API, the scrape itself succeeds */

    if (ctx->scrape && status >= NGX_HTTP_INTERNAL_SERVER_ERROR) {
        status = NGX_HTTP_OK;
    }

    if (ngx_http_aisearch_unattended(r)) {
        r->headers_out.status = status;
        return NGX_OK;
    }

    ngx_http_aisearch_clear_headers(r);

    if (ctx->scrape && status == NGX_HTTP_OK) {
        return ngx_http_aisearch_send_metrics(ctx);
    }

    if (ctx->conf->watched
        && ngx_http_aisearch_watcher_set_headers(ctx) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (status >= NGX_HTTP_BAD_GATEWAY
        && status <= NGX_HTTP_GATEWAY_TIME_OUT
        && ngx_http_aisearch_set_retry_after(ctx,
                                             ngx_http_aisearch_wait_left(ctx))
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ngx_http_aisearch_intercepted(ctx, status)) {
        return status;
    }

    if (ngx_http_aisearch_set_headers(ctx) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (answer->verdict.pass) {
        return ngx_http_aisearch_send(ctx, status, &ngx_http_aisearch_json,
                                      &answer->body);
    }

    return ngx_http_aisearch_send_envelope(ctx, status,
                               ais_policy_client_text(answer->verdict.fault));
}


static ngx_int_t
ngx_http_aisearch_send_envelope(ngx_http_aisearch_ctx_t *ctx,
    ngx_uint_t status, const char *text)
{
    ngx_str_t  body;

    body.data = ngx_pnalloc(ctx->request->pool, AIS_ANSWER_ERROR_MAX);
    if (body.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    body.len = ais_answer_write_error((char *) body.data, (int) status, text);

    return ngx_http_aisearch_send(ctx, status, &ngx_http_aisearch_json, &body);
}


/* metrics must not be cached or revalidated */

static ngx_int_t
ngx_http_aisearch_send_metrics(ngx_http_aisearch_ctx_t *ctx)
{
    ngx_str_t  text;

    if (ngx_http_aisearch_scrape_text(ctx, &text) != NGX_OK
        || ngx_http_aisearch_set_cache_status(ctx) != NGX_OK
        || ngx_http_aisearch_set_cache_control(ctx, (u_char *) "no-store",
                                               sizeof("no-store") - 1)
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->request->disable_not_modified = 1;

    return ngx_http_aisearch_send(ctx, NGX_HTTP_OK,
                                  &ngx_http_aisearch_exposition, &text);
}


static ngx_int_t
ngx_http_aisearch_send(ngx_http_aisearch_ctx_t *ctx, ngx_uint_t status,
    ngx_http_aisearch_type_t *type, ngx_str_t *body)
{
    ngx_int_t            rc;
    ngx_http_request_t  *r;

    r = ctx->request;

    r->headers_out.status = status;
    r->headers_out.content_length_n = body->len;
    r->headers_out.content_type = type->text;
    r->headers_out.content_type_len = type->len;
    r->headers_out.content_type_lowcase = NULL;

    /* a failed precondition redirects to an error page, 412 */

    if ((r->headers_in.if_match || r->headers_in.if_unmodified_since)
        && ngx_http_aisearch_ctx_keep(ctx) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    return ngx_http_aisearch_send_body(ctx, body);
}


static ngx_int_t
ngx_http_aisearch_send_body(ngx_http_aisearch_ctx_t *ctx, ngx_str_t *body)
{
    ngx_buf_t           *b;
    ngx_chain_t          out;
    ngx_http_request_t  *r;

    r = ctx->request;

    b = &ctx->buf;

    b->pos = body->data;
    b->last = body->data + body->len;
    b->memory = 1;
    b->last_buf = (r == r->main) ? 1 : 0;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    /*
     * Our answers have a limited size, so they need not fit into
     * subrequest_output_buffer_size, which is for unlimited responses.
     */

    if (r->subrequest_in_memory && r->out == NULL) {

        r->out = ngx_alloc_chain_link(r->pool);
        if (r->out == NULL) {
            return NGX_ERROR;
        }

        r->out->buf = ngx_create_temp_buf(r->pool, body->len);
        if (r->out->buf == NULL) {
            return NGX_ERROR;
        }

        r->out->buf->last_buf = 1;
        r->out->next = NULL;
    }

    return ngx_http_output_filter(r, &out);
}


static ngx_uint_t
ngx_http_aisearch_intercepted(ngx_http_aisearch_ctx_t *ctx, ngx_uint_t status)
{
    ngx_uint_t                 i;
    ngx_http_err_page_t       *page;
    ngx_http_core_loc_conf_t  *clcf;

    if (status < NGX_HTTP_BAD_REQUEST || !ctx->conf->intercept_errors) {
        return 0;
    }

    clcf = ngx_http_get_module_loc_conf(ctx->request, ngx_http_core_module);

    if (clcf->error_pages == NULL) {
        return 0;
    }

    page = clcf->error_pages->elts;

    for (i = 0; i < clcf->error_pages->nelts; i++) {
        if (page[i].status == (ngx_int_t) status) {
            (void) ngx_http_aisearch_ctx_keep(ctx);
            return 1;
        }
    }

    return 0;
}


/* headers */


void
ngx_http_aisearch_clear_foreign_headers(ngx_http_request_t *r)
{
    ngx_str_t        *name;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    /* these are not in the list of headers */

    ngx_str_null(&r->headers_out.charset);
    r->headers_out.override_charset = NULL;
    r->headers_out.last_modified_time = -1;
    r->allow_ranges = 0;

    part = &r->headers_out.headers.part;

    if (part->nelts == 0) {
        return;
    }

    for ( /* void */ ; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            for (name = ngx_http_aisearch_foreign_headers; name->len; name++) {

                if (ngx_http_aisearch_is_header(&h[i], name)) {
                    h[i].hash = 0;
                    break;
                }
            }
        }
    }

    ngx_memzero(&r->headers_out.cache_control,
                sizeof(r->headers_out.cache_control));

    r->headers_out.accept_ranges = NULL;
    r->headers_out.content_encoding = NULL;
    r->headers_out.content_range = NULL;
    r->headers_out.etag = NULL;
    r->headers_out.expires = NULL;
    r->headers_out.last_modified = NULL;
    r->headers_out.www_authenticate = NULL;
}


ngx_int_t
ngx_http_aisearch_set_cache_status(ngx_http_aisearch_ctx_t *ctx)
{
    ngx_str_t  *name;

    name = &ngx_http_aisearch_cache_statuses[ctx->cache_status];

    return ngx_http_aisearch_add_header(ctx->request,
                                        &ngx_http_aisearch_x_cache,
                                        name->data, name->len)
           ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_http_aisearch_set_headers(ngx_http_aisearch_ctx_t *ctx)
{
    u_char                      *p, *last;
    ngx_str_t                   *name;
    ngx_table_elt_t             *h;
    ngx_http_request_t          *r;
    ngx_http_aisearch_answer_t  *answer;

    r = ctx->request;
    answer = &ctx->answer;

    if (ngx_http_aisearch_set_cache_status(ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    /* only our cache remembers failures */

    if (answer->verdict.fault != AIS_FAULT_NONE) {
        return ngx_http_aisearch_set_cache_control(ctx, (u_char *) "no-store",
                                                   sizeof("no-store") - 1);
    }

    /* the values are written backwards, from the end of the buffer */

    last = ctx->headers + sizeof(ctx->headers);

    p = ngx_http_aisearch_digits(last, ngx_http_aisearch_max_age(ctx) / 1000);
    p -= sizeof("private, max-age=") - 1;
    ngx_memcpy(p, "private, max-age=", sizeof("private, max-age=") - 1);

    if (ngx_http_aisearch_set_cache_control(ctx, p, last - p) != NGX_OK) {
        return NGX_ERROR;
    }

    last = p;
    p = ngx_http_aisearch_digits(last, (ngx_uint_t)
                                 (ngx_http_aisearch_answer_age(answer) / 1000));

    if (ngx_http_aisearch_add_header(r, &ngx_http_aisearch_age, p, last - p)
        == NULL)
    {
        return NGX_ERROR;
    }

    if (answer->status != NGX_HTTP_OK) {
        return NGX_OK;
    }

    last = p;
    *--p = '"';
    p -= NGX_HTTP_AISEARCH_ETAG_LEN;
    ngx_memcpy(p, answer->etag, NGX_HTTP_AISEARCH_ETAG_LEN);
    *--p = '"';

    h = ngx_http_aisearch_add_header(r, &ngx_http_aisearch_etag, p, last - p);
    if (h == NULL) {
        return NGX_ERROR;
    }

    r->headers_out.etag = h;

    if (!ais_class_is_job(answer->verdict.class)) {
        return NGX_OK;
    }

    name = ngx_http_aisearch_variables_job_state(answer->verdict.state);

    h = ngx_http_aisearch_add_header(r, &ngx_http_aisearch_x_state, name->data,
                                     name->len);

    return h ? NGX_OK : NGX_ERROR;
}


/* returns the whole lifetime in ms, from which clients subtract Age */

static ngx_msec_t
ngx_http_aisearch_max_age(ngx_http_aisearch_ctx_t *ctx)
{
    switch (ctx->cache_status) {

    case NGX_HTTP_AISEARCH_CACHE_HIT:
        return ctx->lifetime;

    case NGX_HTTP_AISEARCH_CACHE_UPDATING:
    case NGX_HTTP_AISEARCH_CACHE_STALE:
        return 0;

    default:
        return ngx_http_aisearch_cache_lifetime(
                       &ctx->conf->freshness.valid, &ctx->answer.verdict,
                       ngx_http_aisearch_budget_stretch(ctx->account->budget));
    }
}


/* returns the ms until the cache forgets the failure */

static ngx_msec_int_t
ngx_http_aisearch_wait_left(ngx_http_aisearch_ctx_t *ctx)
{
    ngx_http_aisearch_answer_t  *answer;

    answer = &ctx->answer;

    return (ngx_msec_int_t)
           (answer->fetched
            + ngx_max((ngx_msec_t) ctx->conf->freshness.valid.error,
                      answer->retry_after)
            - ngx_http_aisearch_now());
}


static ngx_int_t
ngx_http_aisearch_set_retry_after(ngx_http_aisearch_ctx_t *ctx,
    ngx_msec_int_t left)
{
    u_char              *p, *last, *data;
    ngx_http_request_t  *r;

    r = ctx->request;

    data = ngx_pnalloc(r->pool, NGX_INT_T_LEN);
    if (data == NULL) {
        return NGX_ERROR;
    }

    last = data + NGX_INT_T_LEN;
    p = ngx_http_aisearch_digits(last, left > 1000 ? (left + 999) / 1000 : 1);

    if (ngx_http_aisearch_add_header(r, &ngx_http_aisearch_retry_after, p,
                                     last - p)
        == NULL)
    {
        return NGX_ERROR;
    }

    /* the API's client libraries would block their callers for this time */

    if (left > NGX_HTTP_AISEARCH_PATIENCE
        && ngx_http_aisearch_add_header(r, &ngx_http_aisearch_should_retry,
                                        ngx_http_aisearch_no_retry.data,
                                        ngx_http_aisearch_no_retry.len)
           == NULL)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


ngx_table_elt_t *
ngx_http_aisearch_add_header(ngx_http_request_t *r, ngx_str_t *name,
    u_char *data, size_t len)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NULL;
    }

    h->hash = 1;
    h->key = *name;
    h->value.data = data;
    h->value.len = len;
#if (nginx_version >= 1023000)
    h->next = NULL;
#endif

    return h;
}


/* uses the member that "expires" and "add_header" look at */

ngx_int_t
ngx_http_aisearch_set_cache_control(ngx_http_aisearch_ctx_t *ctx, u_char *data,
    size_t len)
{
    ngx_table_elt_t     *h;
    ngx_http_request_t  *r;

    r = ctx->request;

    h = ngx_http_aisearch_add_header(r, &ngx_http_aisearch_cache_control, data,
                                     len);
    if (h == NULL) {
        return NGX_ERROR;
    }

#if (nginx_version >= 1023000)

    r->headers_out.cache_control = h;

#else

    ctx->cache_control = h;

    r->headers_out.cache_control.elts = &ctx->cache_control;
    r->headers_out.cache_control.nelts = 1;
    r->headers_out.cache_control.size = sizeof(ngx_table_elt_t *);
    r->headers_out.cache_control.nalloc = 1;
    r->headers_out.cache_control.pool = r->pool;

#endif

    return NGX_OK;
}


/* returns the first digit; faster than ngx_sprintf(), runs on every hit */

static u_char *
ngx_http_aisearch_digits(u_char *last, ngx_uint_t n)
{
    do {
        *--last = (u_char) (n % 10 + '0');
        n /= 10;
    } while (n);

    return last;
}
