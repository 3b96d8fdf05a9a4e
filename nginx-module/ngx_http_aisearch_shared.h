/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * What outlives the cache: the budget of each credential, and of each account
 * its counters, its breaker, and which of its credentials is in use.  They live
 * in a small zone of their own, so that neither a reload nor another size of
 * the cache resets them.
 */


#ifndef _NGX_HTTP_AISEARCH_SHARED_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_SHARED_H_INCLUDED_


#include "ais_budget.h"


/* of an account */
#define NGX_HTTP_AISEARCH_NAME_MAX   128


/*
 * The budget of a credential.  Slots, and the records of accounts, are found
 * again over a reload, and used by all workers whose configuration names them.
 * One that no living worker can know may be taken for another name, once there
 * are no unused ones left, the one that was named longest ago first: until then
 * the budget remembers what was spent.
 */

typedef struct {
    uint32_t                       named;   /* by that configuration last */
    uint32_t                       taken;   /* how often it was */
    struct ais_budget              budget;
    struct ais_budget              part;    /* that newcomers have of it */
} ngx_http_aisearch_slot_t;


ngx_int_t ngx_http_aisearch_shared_configure(ngx_conf_t *cf,
    ngx_http_aisearch_main_conf_t *amcf);

/* in the master, once nothing can fail any more */
void ngx_http_aisearch_shared_attach(ngx_http_aisearch_main_conf_t *amcf);

/* in each process, so that the master knows what is still in use */
void ngx_http_aisearch_shared_enter(ngx_http_aisearch_main_conf_t *amcf);


#endif /* _NGX_HTTP_AISEARCH_SHARED_H_INCLUDED_ */
