/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * One question to the API, from the first fetch to the answer.
 */


#ifndef _NGX_HTTP_AISEARCH_UPSTREAM_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_UPSTREAM_H_INCLUDED_


#include "ngx_http_aisearch_answer.h"
#include "ngx_http_aisearch_conf.h"


typedef struct ngx_http_aisearch_upstream_s  ngx_http_aisearch_upstream_t;


/*
 * The end of it: "sa" is the caller's, and NULL where there was no memory.
 * Where it is cacheable, it is about what was asked for, and not about us.
 */
typedef void (*ngx_http_aisearch_upstream_pt)(void *data,
    ngx_http_aisearch_shared_answer_t *sa, ngx_uint_t cacheable);

/* where to log what comes of it */
typedef ngx_log_t *(*ngx_http_aisearch_upstream_log_pt)(void *data);


struct ngx_http_aisearch_upstream_s {
    ngx_http_aisearch_account_t        *account;
    ngx_http_aisearch_query_t           query;   /* its views are of the path */
    char                                path[AIS_RESOURCE_PATH_MAX];
    ngx_uint_t                          newcomer; /* to the budget */

    struct ais_fetch                   *fetch;   /* that is under way, if any */
    struct ais_choice                   choice;  /* the credential of that */
    struct ais_choice                   first;   /* the one before, in doubt */
    struct ais_pass                     pass;    /* the breaker's, for that */
    ngx_http_aisearch_time_t            asked;

    ngx_uint_t                          repeats; /* with another credential */
    ngx_http_aisearch_shared_answer_t  *refusal; /* while a witness is asked */
    char                               *witness;
    int64_t                             elapsed; /* ms, and */
    unsigned                            calls;   /* requests, before those */

    enum ais_fault                      fault;   /* why no fetch began */
    ngx_msec_t                          wait;    /* until that may be over */

    void                               *data;
    ngx_http_aisearch_upstream_pt       handler;
    ngx_http_aisearch_upstream_log_pt   log;

    unsigned                            other_form:1; /* it tries that one */
    unsigned                            held:1;   /* back by the breaker */
    unsigned                            chosen:1; /* what to ask with next is */
    unsigned                            second:1; /* it is not the first one */
    unsigned                            reachable:1; /* is the API, for all */
                                                  /* that is known */
};


#pragma GCC visibility push(hidden)


/* in memory that is all zero; the query is copied */
void ngx_http_aisearch_upstream_init(ngx_http_aisearch_upstream_t *u,
    ngx_http_aisearch_account_t *account, ngx_http_aisearch_query_t *query);

/*
 * Begins a fetch.  NGX_DECLINED: none can be begun, for u->fault, and for
 * u->wait ms where that is known; the handler is not called.
 */
ngx_int_t ngx_http_aisearch_upstream_start(ngx_http_aisearch_upstream_t *u);

/* ends it without a word */
void ngx_http_aisearch_upstream_cancel(ngx_http_aisearch_upstream_t *u);


#pragma GCC visibility pop


#endif /* _NGX_HTTP_AISEARCH_UPSTREAM_H_INCLUDED_ */
