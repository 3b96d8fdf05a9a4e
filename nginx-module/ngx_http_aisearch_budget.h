/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The budget of a credential limits the calls to the API.  It is shared by all
 * accounts with this credential and by all workers.
 */


#ifndef _NGX_HTTP_AISEARCH_BUDGET_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_BUDGET_H_INCLUDED_


#include "ngx_http_aisearch_conf.h"


/* how long a worker caches the stretch of the budget, in ms */
#define NGX_HTTP_AISEARCH_STRETCH     100


/*
 * The turn to refresh a watched entry: when the next refresh may begin, and the
 * worker that has waited longest for it; times are ms of ais_clock().
 */

typedef struct {
    int64_t                        next;
    int64_t                        due;     /* of that worker's entry */
    int64_t                        claimed; /* when it claimed; 0: no claim */
    ngx_pid_t                      worker;
} ngx_http_aisearch_turn_t;


/* watches of this process, ordered by the time when they are due */

typedef struct {
    ngx_rbtree_t                   tree;
    ngx_rbtree_node_t              sentinel;
    ngx_event_t                    timer;
    int64_t                        taken;   /* turn->next after our last turn */
} ngx_http_aisearch_pace_t;


/*
 * The budget of a credential, in shared memory.  Slots and the records of
 * accounts survive a reload and are used by all workers whose configuration
 * names them.  Once no unused slot is left, a slot that no living worker can
 * know is given to another name, the one named longest ago first; until then
 * the budget remembers what was spent.
 */

typedef struct {
    uint32_t                       named;   /* last generation that named it */
    uint32_t                       taken;   /* times given to a name */
    struct ais_budget              budget;
    struct ais_budget              part;    /* the newcomers' part */
    ngx_http_aisearch_turn_t       turn;
} ngx_http_aisearch_slot_t;


/* the budget as seen by this process */

struct ngx_http_aisearch_budget_s {
    ngx_slab_pool_t               *shpool;
    ngx_http_aisearch_slot_t      *slot;
    struct ais_budget             *budget;     /* in the slot, protected by */
    struct ais_budget             *part;       /* the mutex of shpool */

    struct ais_budget_limit        limits[AIS_BUDGET_LIMITS];
    uint32_t                       reserves[AIS_BUDGET_LIMITS]; /* percent */
    ngx_uint_t                     nlimits;
    ngx_msec_t                     hold;

    /* fetches of this process without a request sent yet; [1]: newcomers */
    int64_t                        unsent[2];

    double                         stretch;
    ngx_msec_t                     stretched;        /* when computed */
    ngx_msec_t                     warned[2];

    ngx_http_aisearch_pace_t       pace;
};


typedef struct {
    uint32_t                       left;
    uint32_t                       newcomers; /* of these, usable by them */
    double                         share;
    ngx_msec_t                     wait;
    ngx_msec_t                     closed;
    int64_t                        now;
    ngx_uint_t                     nlimits;          /* of the API */
    struct ais_limit               limits[AIS_LIMITS_MAX];
} ngx_http_aisearch_budget_snapshot_t;


#pragma GCC visibility push(hidden)


/* called in the master when a configuration takes effect */
void ngx_http_aisearch_budget_begin(ngx_http_aisearch_budget_t *b);

/*
 * Returns ms until a fetch may begin, 0: now.  No more fetches begin than can
 * send a request: in a flood, the rest is refused at once instead of waiting
 * for a call until the timeout.
 */
ngx_msec_t ngx_http_aisearch_budget_wait(ngx_http_aisearch_budget_t *b,
    ngx_uint_t newcomer);

/* the same as budget_wait(), but logs a wait, at most once a minute */
ngx_msec_t ngx_http_aisearch_budget_check(
    ngx_http_aisearch_account_t *account, ngx_uint_t newcomer);

/* applies the API's rate limit headers, which include calls of others */
void ngx_http_aisearch_budget_observe(ngx_http_aisearch_budget_t *b,
    const struct ais_response *response);

/* recomputes the stretch, under the mutex */
double ngx_http_aisearch_budget_new_stretch(ngx_http_aisearch_budget_t *b);

void ngx_http_aisearch_budget_snapshot(ngx_http_aisearch_budget_t *b,
    ngx_http_aisearch_budget_snapshot_t *snapshot);


#pragma GCC visibility pop


/* the factor that slows refreshes down; used by each lookup, hence lockless */

static ngx_inline double
ngx_http_aisearch_budget_stretch(ngx_http_aisearch_budget_t *b)
{
    return ngx_current_msec - b->stretched < NGX_HTTP_AISEARCH_STRETCH
           ? b->stretch : ngx_http_aisearch_budget_new_stretch(b);
}


#endif /* _NGX_HTTP_AISEARCH_BUDGET_H_INCLUDED_ */
