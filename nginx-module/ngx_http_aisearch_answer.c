/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Answers shared by many requests, each in its own pool.
 */


#include "ngx_http_aisearch_answer.h"


#define NGX_HTTP_AISEARCH_ANSWER_POOL     1024

/* ms, one day */
#define NGX_HTTP_AISEARCH_ANSWER_AGE_MAX  (24 * 60 * 60 * 1000)


ngx_http_aisearch_shared_answer_t *
ngx_http_aisearch_answer_create(void)
{
    ngx_pool_t                         *pool;
    ngx_http_aisearch_shared_answer_t  *sa;

    pool = ngx_create_pool(NGX_HTTP_AISEARCH_ANSWER_POOL, ngx_cycle->log);
    if (pool == NULL) {
        return NULL;
    }

    sa = ngx_pcalloc(pool, sizeof(ngx_http_aisearch_shared_answer_t));
    if (sa == NULL) {
        ngx_destroy_pool(pool);
        return NULL;
    }

    sa->pool = pool;
    sa->refs = 1;

    return sa;
}


void
ngx_http_aisearch_answer_fail(ngx_http_aisearch_answer_t *answer,
    enum ais_fault fault, ngx_msec_t retry_after)
{
    ngx_memzero(answer, sizeof(ngx_http_aisearch_answer_t));

    answer->verdict.fault = fault;
    answer->verdict.class = AIS_CLASS_ERROR;
    answer->fetched = ngx_http_aisearch_now();
    answer->retry_after = retry_after;
}


void
ngx_http_aisearch_answer_copy(ngx_http_aisearch_shared_answer_t *sa,
    const struct ais_response *response, struct ais_verdict *verdict)
{
    ngx_http_aisearch_answer_t  *answer;

    answer = &sa->answer;

    answer->body.len = response->body.len;
    answer->body.data = ngx_pnalloc(sa->pool, response->body.len + 1);

    if (answer->body.data == NULL) {
        ngx_http_aisearch_answer_fail(answer, AIS_FAULT_INTERNAL, 0);
        return;
    }

    ngx_memcpy(answer->body.data, response->body.data, response->body.len);

    answer->verdict = *verdict;
    answer->status = response->status;
    answer->fetched = ngx_http_aisearch_now();
    answer->fetch_time = (ngx_msec_t) response->elapsed;
    answer->upstream_age = ngx_http_aisearch_answer_upstream_age(response);

    ngx_sprintf(answer->etag, "%08xD%08xD",
                ngx_murmur_hash2(answer->body.data, answer->body.len),
                ngx_crc32_long(answer->body.data, answer->body.len));
}


ngx_int_t
ngx_http_aisearch_answer_share(ngx_http_aisearch_shared_answer_t *sa,
    ngx_pool_t *pool)
{
    ngx_pool_cleanup_t  *cln;

    cln = ngx_pool_cleanup_add(pool, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    cln->handler = ngx_http_aisearch_answer_release;
    cln->data = sa;

    sa->refs++;

    return NGX_OK;
}


void
ngx_http_aisearch_answer_release(void *data)
{
    ngx_http_aisearch_shared_answer_t  *sa = data;

    if (sa && --sa->refs == 0) {
        ngx_destroy_pool(sa->pool);
    }
}


/* the headers may have any value, so the age is limited */

ngx_msec_t
ngx_http_aisearch_answer_upstream_age(const struct ais_response *response)
{
    if (response->age <= 0) {
        return 0;
    }

    return (ngx_msec_t) ngx_min(response->age,
                                NGX_HTTP_AISEARCH_ANSWER_AGE_MAX);
}
