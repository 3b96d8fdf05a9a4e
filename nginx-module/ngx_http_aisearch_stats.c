/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The names of what the counters of an account count.
 */


#include "ngx_http_aisearch_module.h"


ngx_str_t  ngx_http_aisearch_cache_statuses[] = {
    ngx_null_string,
    ngx_string("HIT"),
    ngx_string("MISS"),
    ngx_string("EXPIRED"),
    ngx_string("UPDATING"),
    ngx_string("STALE"),
    ngx_string("COALESCED"),
    ngx_string("BYPASS")
};

_Static_assert(sizeof(ngx_http_aisearch_cache_statuses)
               == NGX_HTTP_AISEARCH_CACHE_STATUSES * sizeof(ngx_str_t),
               "a name for each of ngx_http_aisearch_cache_status_e");


ngx_uint_t  ngx_http_aisearch_latency_bounds[] = {
    NGX_HTTP_AISEARCH_LATENCY_BOUNDS
};
