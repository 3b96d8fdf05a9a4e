/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The counters of an account, in shared memory.
 */


#ifndef _NGX_HTTP_AISEARCH_STATS_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_STATS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ais_client.h"
#include "ais_policy.h"


/* how the cache handled a lookup: $aisearch_cache_status */

typedef enum {
    NGX_HTTP_AISEARCH_CACHE_NONE = 0,
    NGX_HTTP_AISEARCH_CACHE_HIT,
    NGX_HTTP_AISEARCH_CACHE_MISS,
    NGX_HTTP_AISEARCH_CACHE_EXPIRED,
    NGX_HTTP_AISEARCH_CACHE_UPDATING,
    NGX_HTTP_AISEARCH_CACHE_STALE,
    NGX_HTTP_AISEARCH_CACHE_COALESCED,
    NGX_HTTP_AISEARCH_CACHE_BYPASS,
    NGX_HTTP_AISEARCH_CACHE_WAITED,    /* for a change */
    NGX_HTTP_AISEARCH_CACHE_STREAM,    /* of events */
    NGX_HTTP_AISEARCH_CACHE_STATUSES
} ngx_http_aisearch_cache_status_e;


extern ngx_str_t  ngx_http_aisearch_cache_statuses[];


/* upper bounds of the latency histogram, in ms; the last bucket is +Inf */

#define NGX_HTTP_AISEARCH_LATENCY_BOUNDS                                      \
    10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000

#define NGX_HTTP_AISEARCH_LATENCIES                                           \
    (sizeof((ngx_uint_t[]) { NGX_HTTP_AISEARCH_LATENCY_BOUNDS })              \
     / sizeof(ngx_uint_t) + 1)


extern ngx_uint_t  ngx_http_aisearch_latency_bounds[];


/* requests held open by a worker, by kind */

typedef enum {
    NGX_HTTP_AISEARCH_WAITS = 0,
    NGX_HTTP_AISEARCH_STREAMS,
    NGX_HTTP_AISEARCH_WATCHERS
} ngx_http_aisearch_watcher_e;


#define NGX_HTTP_AISEARCH_GAUGES  64


/* the gauges of one worker, written by it only */

typedef struct {
    ngx_pid_t                      pid;
    uint32_t                       watchers[NGX_HTTP_AISEARCH_WATCHERS];
} ngx_http_aisearch_gauge_t;


/* updated without a lock */

typedef struct {
    ngx_atomic_t                   lookups[NGX_HTTP_AISEARCH_CACHE_STATUSES];
    ngx_atomic_t                   refused;
    ngx_atomic_t                   fetches[AIS_FAULTS];
    ngx_atomic_t                   latencies[NGX_HTTP_AISEARCH_LATENCIES];
    ngx_atomic_t                   latency_sum;      /* ms */
    ngx_atomic_t                   calls;
    ngx_atomic_t                   woken;
    ngx_atomic_t                   held;             /* by breaker */
    ngx_atomic_t                   events;           /* sent */
    ngx_http_aisearch_gauge_t      gauges[NGX_HTTP_AISEARCH_GAUGES];
} ngx_http_aisearch_stats_t;


#pragma GCC visibility push(hidden)


/* counts a completed fetch */
void ngx_http_aisearch_stats_fetch(ngx_http_aisearch_stats_t *stats,
    enum ais_fault fault, const struct ais_response *response);

/* resets the slot of this worker, which a previous worker has used */
void ngx_http_aisearch_stats_begin(ngx_http_aisearch_stats_t *stats);

/* adds "n", 1 or -1, to the watchers of this worker */
void ngx_http_aisearch_stats_watch(ngx_http_aisearch_stats_t *stats,
    ngx_http_aisearch_watcher_e kind, int32_t n);

/* returns the number of watchers in all workers */
ngx_uint_t ngx_http_aisearch_stats_watchers(ngx_http_aisearch_stats_t *stats,
    ngx_http_aisearch_watcher_e kind);


#pragma GCC visibility pop


#define ngx_http_aisearch_count(counter)                                      \
    (void) ngx_atomic_fetch_add(&(counter), 1)


#endif /* _NGX_HTTP_AISEARCH_STATS_H_INCLUDED_ */
