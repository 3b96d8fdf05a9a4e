/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The budget of a credential: how many calls may be sent to the API.  All
 * accounts with that credential share it, and all workers.
 */


#ifndef _NGX_HTTP_AISEARCH_BUDGET_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_BUDGET_H_INCLUDED_


#include "ngx_http_aisearch_conf.h"


/* ms for which a worker believes what it knows of the budget */
#define NGX_HTTP_AISEARCH_STRETCH     100


/*
 * Refreshes for those who watch: when the next one may begin, and which worker
 * has waited longest for it; ms of ais_clock().
 */

typedef struct {
    int64_t                        next;
    int64_t                        due;     /* what that worker waits with */
    int64_t                        claimed; /* when it said so; 0: none did */
    ngx_pid_t                      worker;
} ngx_http_aisearch_turn_t;


/* what this process watches, by when it is due */

typedef struct {
    ngx_rbtree_t                   tree;
    ngx_rbtree_node_t              sentinel;
    ngx_event_t                    timer;
    int64_t                        taken;   /* "next" of the turn had last */
} ngx_http_aisearch_pace_t;


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
    ngx_http_aisearch_turn_t       turn;
} ngx_http_aisearch_slot_t;


/* as this process sees it */

struct ngx_http_aisearch_budget_s {
    ngx_slab_pool_t               *shpool;
    ngx_http_aisearch_slot_t      *slot;
    struct ais_budget             *budget;     /* of the slot, under the */
    struct ais_budget             *part;       /* mutex of shpool */

    struct ais_budget_limit        limits[AIS_BUDGET_LIMITS];
    uint32_t                       reserves[AIS_BUDGET_LIMITS]; /* percent */
    ngx_uint_t                     nlimits;
    ngx_msec_t                     hold;

    /* fetches of this process that have not sent a request; [1]: newcomers */
    int64_t                        unsent[2];

    double                         stretch;
    ngx_msec_t                     stretched;        /* when that was right */
    ngx_msec_t                     warned[2];

    ngx_http_aisearch_pace_t       pace;
};


typedef struct {
    uint32_t                       left;
    uint32_t                       newcomers; /* of these, for newcomers */
    double                         share;
    ngx_msec_t                     wait;
    ngx_msec_t                     closed;
    int64_t                        now;
    ngx_uint_t                     nlimits;          /* of the API */
    struct ais_limit               limits[AIS_LIMITS_MAX];
} ngx_http_aisearch_budget_snapshot_t;


#pragma GCC visibility push(hidden)


/* in the master, for a configuration that is in force from now on */
void ngx_http_aisearch_budget_begin(ngx_http_aisearch_budget_t *b);

/*
 * ms until a fetch may begin, 0 for now: no more of them than can be sent, so
 * that not all of a flood wait where none gets as far as that.
 */
ngx_msec_t ngx_http_aisearch_budget_wait(ngx_http_aisearch_budget_t *b,
    ngx_uint_t newcomer);

/* as budget_wait(); logs it once a minute if a fetch has to wait */
ngx_msec_t ngx_http_aisearch_budget_check(
    ngx_http_aisearch_account_t *account, ngx_uint_t newcomer);

/* what the API says of its own limits, which others may spend as well */
void ngx_http_aisearch_budget_observe(ngx_http_aisearch_budget_t *b,
    const struct ais_response *response);

double ngx_http_aisearch_budget_new_stretch(ngx_http_aisearch_budget_t *b);

void ngx_http_aisearch_budget_snapshot(ngx_http_aisearch_budget_t *b,
    ngx_http_aisearch_budget_snapshot_t *snapshot);


#pragma GCC visibility pop


/* by how much refreshes are slowed down; on each look-up, so without a lock */

static ngx_inline double
ngx_http_aisearch_budget_stretch(ngx_http_aisearch_budget_t *b)
{
    return ngx_current_msec - b->stretched < NGX_HTTP_AISEARCH_STRETCH
           ? b->stretch : ngx_http_aisearch_budget_new_stretch(b);
}


#endif /* _NGX_HTTP_AISEARCH_BUDGET_H_INCLUDED_ */
