/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * When what is watched is refreshed.
 */


#ifndef _NGX_HTTP_AISEARCH_PACE_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_PACE_H_INCLUDED_


#include "ngx_http_aisearch_conf.h"


typedef struct ngx_http_aisearch_paced_s  ngx_http_aisearch_paced_t;


/*
 * It is due, and is not scheduled any more.  Returns 0, or in how many ms its
 * turn comes: then it is scheduled again as it was.
 */
typedef ngx_msec_t (*ngx_http_aisearch_paced_pt)(
    ngx_http_aisearch_paced_t *paced);


/* part of what is scheduled; zeroed at first */

struct ngx_http_aisearch_paced_s {
    ngx_rbtree_node_t                 node;
    ngx_msec_t                        due;
    ngx_http_aisearch_paced_pt        handler;
    unsigned                          scheduled:1;
};


#pragma GCC visibility push(hidden)


/* at "due", of ngx_current_msec, and at no other time */
void ngx_http_aisearch_pace_schedule(ngx_http_aisearch_budget_t *budget,
    ngx_http_aisearch_paced_t *paced, ngx_msec_t due);
void ngx_http_aisearch_pace_cancel(ngx_http_aisearch_budget_t *budget,
    ngx_http_aisearch_paced_t *paced);

/*
 * Asks for a refresh of what is due: 0 if it may begin now, or how many ms to
 * wait.  If it did not begin, it is given back.
 */
ngx_msec_t ngx_http_aisearch_pace_enter(ngx_http_aisearch_budget_t *budget,
    ngx_http_aisearch_paced_t *paced);
void ngx_http_aisearch_pace_give_back(ngx_http_aisearch_budget_t *budget);


#pragma GCC visibility pop


#endif /* _NGX_HTTP_AISEARCH_PACE_H_INCLUDED_ */
