/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * What aisearch_status tells: tables of metrics, in the order in which they
 * are told, as JSON and to Prometheus.
 */


#ifndef _NGX_HTTP_AISEARCH_METRICS_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_METRICS_H_INCLUDED_


#include "ngx_http_aisearch_breaker.h"
#include "ngx_http_aisearch_budget.h"
#include "ngx_http_aisearch_cache.h"


/* what the configuration says of an account, to one of its servers */

typedef struct {
    ngx_http_aisearch_account_t           *account;
    ngx_array_t                           *passes;  /* of all accounts */
    ngx_http_core_srv_conf_t              *server;
} ngx_http_aisearch_origin_t;


/* what is told of an account, or of a zone */

typedef struct {
    ngx_str_t                              name;
    ngx_http_aisearch_origin_t             origin;

    ngx_http_aisearch_stats_t              stats; /* latencies added up */
    ngx_http_aisearch_budget_snapshot_t    budget;
    ngx_http_aisearch_breaker_snapshot_t   breaker;
    struct ais_rotation                    rotation;
    ngx_uint_t                             watchers;
    ngx_uint_t                             waits; /* of these */

    ngx_http_aisearch_cache_snapshot_t     cache;
} ngx_http_aisearch_snapshot_t;


/* what tells the values of a metric from each other */

typedef struct {
    const char  *name;
    ngx_uint_t   n;
    void       (*value)(ngx_buf_t *b, ngx_uint_t i, ngx_uint_t json);
} ngx_http_aisearch_label_t;


/*
 * JSON has a metric by its key, in a group or where that is ""; one with a
 * label is an object, or where it has no key, its values are in the group.
 * Prometheus has it by its name, if any, and where there is a head begins a
 * family with it.
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
