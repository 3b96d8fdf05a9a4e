/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The context of a request, and the flight that it waits for.
 */


#ifndef _NGX_HTTP_AISEARCH_FLIGHT_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_FLIGHT_H_INCLUDED_


#include "ngx_http_aisearch_cache.h"


typedef struct ngx_http_aisearch_flight_s   ngx_http_aisearch_flight_t;
typedef struct ngx_http_aisearch_watcher_s  ngx_http_aisearch_watcher_t;


/* the values of Cache-Control, Age and ETag */
#define NGX_HTTP_AISEARCH_HEADERS_LEN                                         \
    (sizeof("private, max-age=") + 2 * NGX_INT_T_LEN                          \
     + NGX_HTTP_AISEARCH_ETAG_LEN + 2)


typedef struct {
    ngx_http_request_t                *request;
    ngx_http_aisearch_loc_conf_t      *conf;
    ngx_http_aisearch_account_t       *account;

    ngx_http_aisearch_cache_status_e   cache_status;
    ngx_http_aisearch_answer_t         answer;
    ngx_msec_t                         lifetime;
    ngx_str_t                          job_id;

    ngx_http_aisearch_watcher_t       *watcher; /* if it wants to be told */
    struct ais_resource               *scrape; /* that has its metrics read */
    ngx_http_aisearch_flight_t        *flight; /* that we wait for, if any */
    ngx_queue_t                        queue;  /* in flight->waiters */
    ngx_event_t                       *timeout; /* of that, if any */

    unsigned                           bypass:1;
    unsigned                           answered:1;
    unsigned                           refused:1;
    unsigned                           kept:1;

    /* one allocation instead of four */

    ngx_buf_t                          buf;
    ngx_table_elt_t                   *cache_control;
    u_char                             headers[
                                           NGX_HTTP_AISEARCH_HEADERS_LEN];
} ngx_http_aisearch_ctx_t;


#pragma GCC visibility push(hidden)


/* what comes of a flight; "sa" is NULL where there was no memory */
typedef void (*ngx_http_aisearch_flight_pt)(ngx_http_aisearch_key_t *key,
    ngx_http_aisearch_shared_answer_t *sa);


/* in a worker: "landed" is called before those who wait get the answer */
void ngx_http_aisearch_flight_init(ngx_http_aisearch_flight_pt landed);

/*
 * The worker is leaving: ends the flights that only refresh what is watched,
 * or all of them, so that other workers take over what they fetch.
 */
void ngx_http_aisearch_flight_end(ngx_uint_t all);

ngx_int_t ngx_http_aisearch_flight_join(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_query_t *query, ngx_http_aisearch_lookup_t *lookup);

/*
 * Fetches for the cache alone, or, "watched", for those who watch, who end with
 * the process.  NGX_DECLINED: no fetch could be begun.
 */
ngx_int_t ngx_http_aisearch_flight_start(ngx_http_aisearch_account_t *account,
    ngx_http_aisearch_query_t *query, ngx_http_aisearch_lookup_t *lookup,
    ngx_uint_t watched);

void ngx_http_aisearch_flight_leave(ngx_http_aisearch_ctx_t *ctx);

/* leaves, and answers with what is known: the request can wait no longer */
void ngx_http_aisearch_flight_give_up(ngx_http_aisearch_ctx_t *ctx);

void ngx_http_aisearch_flight_look(void);

/* response: the answer that the request waited for stands in the context */
void ngx_http_aisearch_resume(ngx_http_aisearch_ctx_t *ctx);


#pragma GCC visibility pop


#endif /* _NGX_HTTP_AISEARCH_FLIGHT_H_INCLUDED_ */
