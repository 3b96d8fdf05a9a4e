/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Scheduling of the refreshes of watched entries.
 */


#ifndef _NGX_HTTP_AISEARCH_PACE_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_PACE_H_INCLUDED_


#include "ngx_http_aisearch_conf.h"


typedef struct ngx_http_aisearch_paced_s  ngx_http_aisearch_paced_t;


/*
 * Called when a refresh is due, which is then no longer scheduled.  Returns 0,
 * or ms until its turn: then it is scheduled again with the same due time.
 */
typedef ngx_msec_t (*ngx_http_aisearch_paced_pt)(
    ngx_http_aisearch_paced_t *paced);


/* embedded in a scheduled object; initially zeroed */

struct ngx_http_aisearch_paced_s {
    ngx_rbtree_node_t                 node;
    ngx_msec_t                        due;
    ngx_http_aisearch_paced_pt        handler;
    unsigned                          scheduled:1;
};


#pragma GCC visibility push(hidden)


/* schedules or reschedules; "due" is on the clock of ngx_current_msec */
void ngx_http_aisearch_pace_schedule(ngx_http_aisearch_budget_t *budget,
    ngx_http_aisearch_paced_t *paced, ngx_msec_t due);
void ngx_http_aisearch_pace_cancel(ngx_http_aisearch_budget_t *budget,
    ngx_http_aisearch_paced_t *paced);

/*
 * Asks for the turn to refresh.  Returns 0 if the refresh may begin now, or ms
 * to wait.  If the refresh does not begin, the turn must be given back.
 */
ngx_msec_t ngx_http_aisearch_pace_enter(ngx_http_aisearch_budget_t *budget,
    ngx_http_aisearch_paced_t *paced);
void ngx_http_aisearch_pace_give_back(ngx_http_aisearch_budget_t *budget);


#pragma GCC visibility pop


#endif /* _NGX_HTTP_AISEARCH_PACE_H_INCLUDED_ */
