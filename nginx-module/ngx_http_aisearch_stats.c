/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The counters of an account, and the names of cache statuses.
 */


#include "ngx_http_aisearch_stats.h"


ngx_str_t  ngx_http_aisearch_cache_statuses[] = {
    ngx_null_string,
    ngx_string("HIT"),
    ngx_string("MISS"),
    ngx_string("EXPIRED"),
    ngx_string("UPDATING"),
    ngx_string("STALE"),
    ngx_string("COALESCED"),
    ngx_string("BYPASS"),
    ngx_string("WAITED"),
    ngx_string("STREAM")
};

_Static_assert(sizeof(ngx_http_aisearch_cache_statuses)
               == NGX_HTTP_AISEARCH_CACHE_STATUSES * sizeof(ngx_str_t),
               "a name for each of ngx_http_aisearch_cache_status_e");


ngx_uint_t  ngx_http_aisearch_latency_bounds[] = {
    NGX_HTTP_AISEARCH_LATENCY_BOUNDS
};


void
ngx_http_aisearch_stats_fetch(ngx_http_aisearch_stats_t *stats,
    enum ais_fault fault, const struct ais_response *response)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_HTTP_AISEARCH_LATENCIES - 1; i++) {
        if (response->elapsed
            <= (int64_t) ngx_http_aisearch_latency_bounds[i])
        {
            break;
        }
    }

    ngx_http_aisearch_count(stats->latencies[i]);
    ngx_http_aisearch_count(stats->fetches[fault]);

    (void) ngx_atomic_fetch_add(&stats->latency_sum, response->elapsed);
    (void) ngx_atomic_fetch_add(&stats->calls, response->calls);
}


void
ngx_http_aisearch_stats_begin(ngx_http_aisearch_stats_t *stats)
{
    ngx_http_aisearch_gauge_t  *gauge;

    gauge = &stats->gauges[ngx_worker % NGX_HTTP_AISEARCH_GAUGES];

    ngx_memzero(gauge, sizeof(ngx_http_aisearch_gauge_t));

    gauge->pid = ngx_pid;
}


/* after a reload, the slot belongs to the new worker, not the exiting one */

void
ngx_http_aisearch_stats_watch(ngx_http_aisearch_stats_t *stats,
    ngx_http_aisearch_watcher_e kind, int32_t n)
{
    ngx_http_aisearch_gauge_t  *gauge;

    gauge = &stats->gauges[ngx_worker % NGX_HTTP_AISEARCH_GAUGES];

    if (gauge->pid == ngx_pid) {
        gauge->watchers[kind] += (uint32_t) n;
    }
}


ngx_uint_t
ngx_http_aisearch_stats_watchers(ngx_http_aisearch_stats_t *stats,
    ngx_http_aisearch_watcher_e kind)
{
    ngx_uint_t  i, n;

    for (i = 0, n = 0; i < NGX_HTTP_AISEARCH_GAUGES; i++) {
        n += stats->gauges[i].watchers[kind];
    }

    return n;
}
