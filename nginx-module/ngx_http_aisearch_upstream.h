/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * An API request, from the first fetch to the final answer.
 */


#ifndef _NGX_HTTP_AISEARCH_UPSTREAM_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_UPSTREAM_H_INCLUDED_


#include "ngx_http_aisearch_answer.h"
#include "ngx_http_aisearch_conf.h"


typedef struct ngx_http_aisearch_upstream_s  ngx_http_aisearch_upstream_t;


/*
 * Called at the end.  "sa" is owned by the handler, NULL: no memory.  It is
 * cacheable if it is about the resource, as opposed to our credential, our
 * budget, or the reachability of the API.
 */
typedef void (*ngx_http_aisearch_upstream_pt)(void *data,
    ngx_http_aisearch_shared_answer_t *sa, ngx_uint_t cacheable);

/* returns the log for the result */
typedef ngx_log_t *(*ngx_http_aisearch_upstream_log_pt)(void *data);


struct ngx_http_aisearch_upstream_s {
    ngx_http_aisearch_account_t        *account;
    ngx_http_aisearch_query_t           query;   /* points into path */
    char                                path[AIS_RESOURCE_PATH_MAX];
    ngx_uint_t                          newcomer; /* for the budget */

    struct ais_fetch                   *fetch;   /* in progress, or NULL */
    struct ais_choice                   choice;  /* credential of the fetch */
    struct ais_choice                   first;   /* doubtful, used before it */
    struct ais_pass                     pass;    /* the breaker's permission */
    ngx_http_aisearch_time_t            asked;   /* start of the fetch */

    ngx_uint_t                          repeats; /* with another credential */
    ngx_http_aisearch_shared_answer_t  *refusal; /* while asking the witness */
    char                               *witness; /* path */
    int64_t                             elapsed; /* ms, by earlier fetches */
    unsigned                            calls;   /* sent by earlier fetches */

    enum ais_fault                      fault;   /* why no fetch started */
    ngx_msec_t                          wait;    /* ms until another may */

    void                               *data;
    ngx_http_aisearch_upstream_pt       handler;
    ngx_http_aisearch_upstream_log_pt   log;

    unsigned                            other_form:1; /* of the path tried */
    unsigned                            held:1;   /* by the breaker */
    unsigned                            chosen:1; /* next credential */
    unsigned                            second:1; /* trying other credential */
    unsigned                            reachable:1; /* the API */
};


#pragma GCC visibility push(hidden)


/* initializes zeroed memory, except for the handlers; copies the query */
void ngx_http_aisearch_upstream_init(ngx_http_aisearch_upstream_t *u,
    ngx_http_aisearch_account_t *account, ngx_http_aisearch_query_t *query);

/*
 * Starts a fetch.  NGX_DECLINED: not possible because of u->fault, for u->wait
 * ms if not 0; the handler is not called.
 */
ngx_int_t ngx_http_aisearch_upstream_start(ngx_http_aisearch_upstream_t *u);

/* cancels the fetch, if any, without calling the handler */
void ngx_http_aisearch_upstream_cancel(ngx_http_aisearch_upstream_t *u);


#pragma GCC visibility pop


#endif /* _NGX_HTTP_AISEARCH_UPSTREAM_H_INCLUDED_ */
