#ifndef _NGX_HTTP_AISEARCH_STATE_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_STATE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ais_breaker.h"
#include "ais_budget.h"
#include "ais_policy.h"
#include "ais_rotation.h"
#include "ais_witness.h"


/*
 * What outlives the cache: the budget of each credential, and of each account
 * its counters, its breaker, and which of its credentials is in use.  They live
 * in a small zone of their own, so that neither a reload nor another size of
 * the cache resets them.
 */


#define NGX_HTTP_AISEARCH_STATUSES   8   /* of $aisearch_cache_status */

/* upper bounds of the latency histogram, in ms; the last one is +Inf */
#define NGX_HTTP_AISEARCH_LATENCIES  11


/* in shared memory, written without a lock */

typedef struct {
    ngx_atomic_t                   lookups[NGX_HTTP_AISEARCH_STATUSES];
    ngx_atomic_t                   refused;
    ngx_atomic_t                   fetches[AIS_FAULTS];
    ngx_atomic_t                   latencies[NGX_HTTP_AISEARCH_LATENCIES];
    ngx_atomic_t                   latency_sum;      /* ms */
    ngx_atomic_t                   calls;
    ngx_atomic_t                   woken;
    ngx_atomic_t                   held;    /* back by the breaker */
} ngx_http_aisearch_stats_t;


extern ngx_uint_t  ngx_http_aisearch_latency_bounds[];


/* of an account */
#define NGX_HTTP_AISEARCH_NAME_MAX   128


typedef struct ngx_http_aisearch_slot_s  ngx_http_aisearch_slot_t;


/* the budget of one credential, as this process sees it */

typedef struct {
    ngx_slab_pool_t               *shpool;
    ngx_http_aisearch_slot_t      *slot;
    struct ais_budget             *budget;
    struct ais_budget             *part;       /* that newcomers have of it */

    struct ais_budget_limit        limits[AIS_BUDGET_LIMITS];
    uint32_t                       reserves[AIS_BUDGET_LIMITS]; /* percent */
    ngx_uint_t                     nlimits;
    ngx_msec_t                     hold;

    /* fetches of this process that have not sent a request; [1]: newcomers */
    int64_t                        unsent[2];

    double                         stretch;
    ngx_msec_t                     stretched;        /* when that was right */
    ngx_msec_t                     warned[2];
} ngx_http_aisearch_budget_t;


/* and as it is now */

typedef struct {
    uint32_t                       left;
    uint32_t                       newcomers; /* of these, for newcomers */
    double                         share;
    ngx_msec_t                     wait;
    ngx_msec_t                     closed;
    int64_t                        now;
    ngx_uint_t                     nlimits;          /* of the API */
    struct ais_limit               limits[AIS_LIMITS_MAX];
} ngx_http_aisearch_budget_state_t;


/* the breaker of one account, as it is now */

typedef struct {
    enum ais_breaker_state         state;
    enum ais_fault                 fault;
    ngx_msec_t                     wait;             /* until a call */
} ngx_http_aisearch_breaker_state_t;


/* the credentials of one account, as this process sees them */

typedef struct {
    ngx_slab_pool_t               *shpool;
    struct ais_rotation           *shared;
    struct ais_witness            *witness;
    uint32_t                       generation;  /* of this configuration */
    struct ais_rotation            own;   /* for when another is in force */
    ngx_msec_t                     looked;      /* at the files */
    ngx_msec_t                     warned;      /* of missing permissions */
} ngx_http_aisearch_rotation_t;


#endif /* _NGX_HTTP_AISEARCH_STATE_H_INCLUDED_ */
