/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The metrics of aisearch_status: tables in output order, for both JSON and
 * Prometheus.
 */


#ifndef _NGX_HTTP_AISEARCH_METRICS_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_METRICS_H_INCLUDED_


#include "ngx_http_aisearch_breaker.h"
#include "ngx_http_aisearch_budget.h"
#include "ngx_http_aisearch_cache.h"


/* the configuration of an account, as seen from one server */

typedef struct {
    ngx_http_aisearch_account_t           *account;
    ngx_array_t                           *passes;  /* of all accounts */
    ngx_http_core_srv_conf_t              *server;
} ngx_http_aisearch_origin_t;


/* the values of an account, or of the zone */

typedef struct {
    ngx_str_t                              name;
    ngx_http_aisearch_origin_t             origin;

    ngx_http_aisearch_stats_t              stats; /* cumulative latencies */
    ngx_http_aisearch_budget_snapshot_t    budget;
    ngx_http_aisearch_breaker_snapshot_t   breaker;
    struct ais_rotation                    rotation;
    ngx_uint_t                             watchers;
    ngx_uint_t                             waits; /* of the watchers */

    ngx_http_aisearch_cache_snapshot_t     cache;
} ngx_http_aisearch_snapshot_t;


/* a label that distinguishes the "n" values of a metric */

typedef struct {
    const char  *name;
    ngx_uint_t   n;
    void       (*value)(ngx_buf_t *b, ngx_uint_t i, ngx_uint_t json);
} ngx_http_aisearch_label_t;


/*
 * In JSON, a metric is a member "key" of its group, or of the outer object if
 * the group is "".  A metric with a label is an object; without a key, its
 * values are members of the group.  In Prometheus, a metric appears if it has a
 * name; a head begins a new family.
 */

typedef struct {
    const char                 *group;
    const char                 *key;
    ngx_http_aisearch_label_t  *label;

    size_t                      offset;   /* in the snapshot */
    size_t                      size;
    void                      (*value)(ngx_buf_t *b, void *data,
                                    ngx_uint_t json);

    const char                 *name;
    const char                 *head;
} ngx_http_aisearch_metric_t;


extern ngx_http_aisearch_metric_t  ngx_http_aisearch_account_metrics[];
extern ngx_http_aisearch_metric_t  ngx_http_aisearch_zone_metrics[];


#define ngx_http_aisearch_print(b, ...)                                       \
    (b)->last = ngx_slprintf((b)->last, (b)->end, __VA_ARGS__)


#endif /* _NGX_HTTP_AISEARCH_METRICS_H_INCLUDED_ */
