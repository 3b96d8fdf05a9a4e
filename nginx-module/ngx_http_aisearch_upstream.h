/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * A query of the API, which may take several fetches to get an answer.
 */


#ifndef _NGX_HTTP_AISEARCH_UPSTREAM_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_UPSTREAM_H_INCLUDED_


#include "ngx_http_aisearch_answer.h"
#include "ngx_http_aisearch_conf.h"


typedef struct ngx_http_aisearch_upstream_s  ngx_http_aisearch_upstream_t;


/*
 * Called once, at the end.  The callee owns the reference "sa"; NULL: no
 * memory.  A cacheable answer concerns the resource, and not the account or
 * the reachability of the API.
 */
typedef void (*ngx_http_aisearch_upstream_pt)(void *data,
    ngx_http_aisearch_shared_answer_t *sa, ngx_uint_t cacheable);

/* returns the log for messages about the query */
typedef ngx_log_t *(*ngx_http_aisearch_upstream_log_pt)(void *data);


struct ngx_http_aisearch_upstream_s {
    ngx_http_aisearch_account_t        *account;
    ngx_http_aisearch_query_t           query;   /* points into "path" */
    char                                path[AIS_RESOURCE_PATH_MAX];
    ngx_uint_t                          newcomer; /* for the budget */

    struct ais_fetch                   *fetch;   /* in progress, or NULL */
    struct ais_choice                   choice;  /* credential of "fetch" */
    struct ais_choice                   first;   /* previous one, in doubt */
    struct ais_pass                     pass;    /* of the breaker */
    ngx_http_aisearch_time_t            asked;

    ngx_uint_t                          repeats; /* with another credential */
    ngx_http_aisearch_shared_answer_t  *refusal; /* kept for the witness */
    char                               *witness;
    int64_t                             elapsed; /* ms, of earlier fetches */
    unsigned                            calls;   /* of earlier fetches */

    enum ais_fault                      fault;   /* why no fetch started */
    ngx_msec_t                          wait;    /* ms; 0: unknown */

    void                               *data;
    ngx_http_aisearch_upstream_pt       handler;
    ngx_http_aisearch_upstream_log_pt   log;

    unsigned                            other_form:1; /* of the path */
    unsigned                            held:1;   /* by the breaker */
    unsigned                            chosen:1; /* "choice" is set already */
    unsigned                            second:1; /* credential is used */
    unsigned                            reachable:1; /* as far as known */
};


#pragma GCC visibility push(hidden)


/* "u" must be zeroed; the query is copied */
void ngx_http_aisearch_upstream_init(ngx_http_aisearch_upstream_t *u,
    ngx_http_aisearch_account_t *account, ngx_http_aisearch_query_t *query);

/*
 * Starts a fetch.  NGX_DECLINED: not started because of u->fault, which may
 * last for u->wait ms (0: unknown); the handler is not called.
 */
ngx_int_t ngx_http_aisearch_upstream_start(ngx_http_aisearch_upstream_t *u);

/* cancels the query; the handler is not called */
void ngx_http_aisearch_upstream_cancel(ngx_http_aisearch_upstream_t *u);


#pragma GCC visibility pop


#endif /* _NGX_HTTP_AISEARCH_UPSTREAM_H_INCLUDED_ */
