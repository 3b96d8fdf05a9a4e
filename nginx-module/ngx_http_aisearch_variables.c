/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The variables $aisearch_..., which describe how a request was answered.
 */


#include "ngx_http_aisearch_ctx.h"

#include "ais_utf8.h"


typedef ngx_int_t (*ngx_http_aisearch_variable_pt)(ngx_http_aisearch_ctx_t *ctx,
    ngx_str_t *value);


static ngx_int_t ngx_http_aisearch_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);

static ngx_int_t ngx_http_aisearch_variable_cache_status(
    ngx_http_aisearch_ctx_t *ctx, ngx_str_t *value);
static ngx_int_t ngx_http_aisearch_variable_job_state(
    ngx_http_aisearch_ctx_t *ctx, ngx_str_t *value);
static ngx_int_t ngx_http_aisearch_variable_job_id(
    ngx_http_aisearch_ctx_t *ctx, ngx_str_t *value);
static ngx_int_t ngx_http_aisearch_variable_end_reason(
    ngx_http_aisearch_ctx_t *ctx, ngx_str_t *value);
static ngx_int_t ngx_http_aisearch_variable_age(
    ngx_http_aisearch_ctx_t *ctx, ngx_str_t *value);
static ngx_int_t ngx_http_aisearch_variable_fetch_time(
    ngx_http_aisearch_ctx_t *ctx, ngx_str_t *value);
static ngx_int_t ngx_http_aisearch_variable_error(
    ngx_http_aisearch_ctx_t *ctx, ngx_str_t *value);


/*
 * Never cached: a cached value might come from a subrequest, or from before an
 * internal redirect.
 */

static ngx_http_variable_t  ngx_http_aisearch_vars[] = {

    { ngx_string("aisearch_cache_status"), NULL, ngx_http_aisearch_variable,
      (uintptr_t) ngx_http_aisearch_variable_cache_status,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("aisearch_job_state"), NULL, ngx_http_aisearch_variable,
      (uintptr_t) ngx_http_aisearch_variable_job_state,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("aisearch_job_id"), NULL, ngx_http_aisearch_variable,
      (uintptr_t) ngx_http_aisearch_variable_job_id,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("aisearch_end_reason"), NULL, ngx_http_aisearch_variable,
      (uintptr_t) ngx_http_aisearch_variable_end_reason,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("aisearch_age"), NULL, ngx_http_aisearch_variable,
      (uintptr_t) ngx_http_aisearch_variable_age,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("aisearch_fetch_time"), NULL, ngx_http_aisearch_variable,
      (uintptr_t) ngx_http_aisearch_variable_fetch_time,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("aisearch_error"), NULL, ngx_http_aisearch_variable,
      (uintptr_t) ngx_http_aisearch_variable_error,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


/* the names of the library, with their lengths */

static ngx_str_t  ngx_http_aisearch_job_states[AIS_STATES];


ngx_int_t
ngx_http_aisearch_variables_add(ngx_conf_t *cf)
{
    ngx_str_t            *state;
    ngx_uint_t            i;
    ngx_http_variable_t  *var, *v;

    for (i = 0; i < AIS_STATES; i++) {
        state = &ngx_http_aisearch_job_states[i];
        state->data = (u_char *) ais_state_name(i);
        state->len = ngx_strlen(state->data);
    }

    for (v = ngx_http_aisearch_vars; v->name.len; v++) {
        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


ngx_str_t *
ngx_http_aisearch_variables_job_state(enum ais_state state)
{
    return &ngx_http_aisearch_job_states[state];
}


static ngx_int_t
ngx_http_aisearch_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    ngx_int_t                       rc;
    ngx_str_t                       value;
    ngx_http_aisearch_ctx_t        *ctx;
    ngx_http_aisearch_variable_pt   get;

    ctx = ngx_http_aisearch_ctx_get(r);
    get = (ngx_http_aisearch_variable_pt) data;

    rc = ctx ? get(ctx, &value) : NGX_DECLINED;

    if (rc == NGX_OK) {
        v->valid = 1;
        v->no_cacheable = 0;
        v->not_found = 0;
        v->len = value.len;
        v->data = value.data;

    } else if (rc == NGX_DECLINED) {
        v->valid = 0;
        v->not_found = 1;
        rc = NGX_OK;
    }

    return rc;
}


static ngx_int_t
ngx_http_aisearch_variable_cache_status(ngx_http_aisearch_ctx_t *ctx,
    ngx_str_t *value)
{
    if (ctx->cache_status == NGX_HTTP_AISEARCH_CACHE_NONE) {
        return NGX_DECLINED;
    }

    *value = ngx_http_aisearch_cache_statuses[ctx->cache_status];

    return NGX_OK;
}


static ngx_int_t
ngx_http_aisearch_variable_job_state(ngx_http_aisearch_ctx_t *ctx,
    ngx_str_t *value)
{
    struct ais_verdict  *verdict;

    verdict = &ctx->answer.verdict;

    if (!ctx->answered
        || verdict->fault != AIS_FAULT_NONE
        || verdict->class > AIS_CLASS_ENDED)
    {
        return NGX_DECLINED;
    }

    *value = *ngx_http_aisearch_variables_job_state(verdict->state);

    return NGX_OK;
}


static ngx_int_t
ngx_http_aisearch_variable_job_id(ngx_http_aisearch_ctx_t *ctx,
    ngx_str_t *value)
{
    if (ctx->job_id.len == 0) {
        return NGX_DECLINED;
    }

    *value = ctx->job_id;

    return NGX_OK;
}


/* rarely used, so parsed from the body on demand */

static ngx_int_t
ngx_http_aisearch_variable_end_reason(ngx_http_aisearch_ctx_t *ctx,
    ngx_str_t *value)
{
    ngx_int_t          rc;
    const char        *reason;
    struct ais_answer  answer;

    if (!ctx->answered
        || ctx->answer.verdict.fault != AIS_FAULT_NONE
        || ctx->answer.verdict.class != AIS_CLASS_ENDED)
    {
        return NGX_DECLINED;
    }

    if (ais_answer_parse(&answer, AIS_JOB,
                         ngx_http_aisearch_str(&ctx->answer.body), NULL)
        != 0)
    {
        return NGX_DECLINED;
    }

    rc = NGX_DECLINED;
    reason = answer.njobs ? answer.jobs[0].end_reason : NULL;

    if (reason) {
        rc = NGX_ERROR;

        value->len = ngx_strlen(reason);
        value->data = ngx_pnalloc(ctx->request->pool, value->len + 1);

        if (value->data) {
            ngx_memcpy(value->data, reason, value->len);

            /* the value may be used in a request or response header */

            ais_utf8_printable((char *) value->data, value->len);
            rc = NGX_OK;
        }
    }

    ais_answer_free(&answer);

    return rc;
}


static ngx_int_t
ngx_http_aisearch_variable_age(ngx_http_aisearch_ctx_t *ctx,
    ngx_str_t *value)
{
    ngx_msec_t  age;

    if (!ctx->answered) {
        return NGX_DECLINED;
    }

    value->data = ngx_pnalloc(ctx->request->pool, NGX_INT_T_LEN);
    if (value->data == NULL) {
        return NGX_ERROR;
    }

    age = (ngx_msec_t) (ngx_http_aisearch_answer_age(&ctx->answer) / 1000);

    value->len = ngx_sprintf(value->data, "%M", age) - value->data;

    return NGX_OK;
}


/* like $upstream_response_time, for requests that waited for the API */

static ngx_int_t
ngx_http_aisearch_variable_fetch_time(ngx_http_aisearch_ctx_t *ctx,
    ngx_str_t *value)
{
    ngx_msec_t  ms;

    if (!ctx->answered) {
        return NGX_DECLINED;
    }

    switch (ctx->cache_status) {

    case NGX_HTTP_AISEARCH_CACHE_HIT:
    case NGX_HTTP_AISEARCH_CACHE_UPDATING:
    case NGX_HTTP_AISEARCH_CACHE_STALE:
        return NGX_DECLINED;

    default:
        break;
    }

    value->data = ngx_pnalloc(ctx->request->pool, NGX_TIME_T_LEN + 4);
    if (value->data == NULL) {
        return NGX_ERROR;
    }

    ms = ctx->answer.fetch_time;

    value->len = ngx_sprintf(value->data, "%T.%03M", (time_t) ms / 1000,
                             ms % 1000)
                 - value->data;

    return NGX_OK;
}


static ngx_int_t
ngx_http_aisearch_variable_error(ngx_http_aisearch_ctx_t *ctx,
    ngx_str_t *value)
{
    const char      *name;
    enum ais_fault   fault;

    if (ctx->refused) {
        name = "refused";

    } else if (ctx->answered) {
        fault = ctx->answer.verdict.fault;

        if (ctx->cache_status == NGX_HTTP_AISEARCH_CACHE_STALE) {
            fault = ctx->answer.failure;
        }

        if (fault == AIS_FAULT_NONE) {
            return NGX_DECLINED;
        }

        name = ais_fault_name(fault);

    } else {
        return NGX_DECLINED;
    }

    value->len = ngx_strlen(name);
    value->data = (u_char *) name;

    return NGX_OK;
}
