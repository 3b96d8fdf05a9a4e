/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The context of a request, and the flight whose answer it waits for.
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

    ngx_http_aisearch_watcher_t       *watcher; /* NULL: no wait or events */
    struct ais_resource               *scrape; /* resource; NULL: no metrics */
    ngx_http_aisearch_flight_t        *flight; /* waited for, or NULL */
    ngx_queue_t                        queue;  /* in flight->waiters */
    ngx_event_t                       *timeout; /* of the wait, or NULL */

    unsigned                           bypass:1;
    unsigned                           answered:1;
    unsigned                           refused:1;
    unsigned                           kept:1;

    /* response buffers, kept here to save allocations */

    ngx_buf_t                          buf;
    ngx_table_elt_t                   *cache_control;
    u_char                             headers[
                                           NGX_HTTP_AISEARCH_HEADERS_LEN];
} ngx_http_aisearch_ctx_t;


#pragma GCC visibility push(hidden)


/* handles the answer of a flight; "sa" is borrowed, NULL: no memory */
typedef void (*ngx_http_aisearch_flight_pt)(ngx_http_aisearch_key_t *key,
    ngx_http_aisearch_shared_answer_t *sa);


/* called in each worker; "landed" runs before waiting requests are resumed */
void ngx_http_aisearch_flight_init(ngx_http_aisearch_flight_pt landed);

/*
 * Called when the worker shuts down.  Ends the flights that only refresh
 * watched entries, or all flights, so that other workers take over the fetches.
 */
void ngx_http_aisearch_flight_end(ngx_uint_t all);

/*
 * Adds the request to the flight of its entry, and fetches or follows as
 * "lookup" says.  NGX_ERROR: no memory, the lease is released.
 */
ngx_int_t ngx_http_aisearch_flight_join(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_query_t *query, ngx_http_aisearch_lookup_t *lookup);

/*
 * Fetches an entry while no request waits for it.  A "watched" flight serves
 * only watchers, and ends with them when the worker shuts down.  NGX_DECLINED:
 * the fetch could not be started.
 */
ngx_int_t ngx_http_aisearch_flight_start(ngx_http_aisearch_account_t *account,
    ngx_http_aisearch_query_t *query, ngx_http_aisearch_lookup_t *lookup,
    ngx_uint_t watched);

/* removes the request from its flight; a running fetch continues */
void ngx_http_aisearch_flight_leave(ngx_http_aisearch_ctx_t *ctx);

/* ends the wait: leaves, and sends a stale answer or a timeout fault */
void ngx_http_aisearch_flight_give_up(ngx_http_aisearch_ctx_t *ctx);

/* checks the cache for the entries that other workers fetch */
void ngx_http_aisearch_flight_look(void);

/* response: sends ctx->answer, and finalizes the request that waited for it */
void ngx_http_aisearch_resume(ngx_http_aisearch_ctx_t *ctx);


#pragma GCC visibility pop


#endif /* _NGX_HTTP_AISEARCH_FLIGHT_H_INCLUDED_ */
