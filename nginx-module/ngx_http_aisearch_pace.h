/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Schedules refreshes of watched entries.
 */


#ifndef _NGX_HTTP_AISEARCH_PACE_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_PACE_H_INCLUDED_


#include "ngx_http_aisearch_conf.h"


typedef struct ngx_http_aisearch_paced_s  ngx_http_aisearch_paced_t;


/*
 * Called when a refresh is due and no longer scheduled.  Returns 0, or the time
 * in ms to wait for its turn: the refresh is then scheduled again with the same
 * due time.
 */
typedef ngx_msec_t (*ngx_http_aisearch_paced_pt)(
    ngx_http_aisearch_paced_t *paced);


/* embedded in a scheduled object, whose owner zeroes it and sets "handler" */

struct ngx_http_aisearch_paced_s {
    ngx_rbtree_node_t                 node;
    ngx_msec_t                        due;
    ngx_http_aisearch_paced_pt        handler;
    unsigned                          scheduled:1;
};


#pragma GCC visibility push(hidden)


/* "due" is on the clock of ngx_current_msec and replaces an earlier due time */
void ngx_http_aisearch_pace_schedule(ngx_http_aisearch_budget_t *budget,
    ngx_http_aisearch_paced_t *paced, ngx_msec_t due);
void ngx_http_aisearch_pace_cancel(ngx_http_aisearch_budget_t *budget,
    ngx_http_aisearch_paced_t *paced);

/*
 * Asks for a turn to refresh.  Returns 0 if the refresh may start now, or the
 * time to wait in ms.  A turn must be given back if no refresh was started.
 * Both lock the mutex of the shared zone.
 */
ngx_msec_t ngx_http_aisearch_pace_enter(ngx_http_aisearch_budget_t *budget,
    ngx_http_aisearch_paced_t *paced);
void ngx_http_aisearch_pace_give_back(ngx_http_aisearch_budget_t *budget);


#pragma GCC visibility pop


#endif /* _NGX_HTTP_AISEARCH_PACE_H_INCLUDED_ */
