/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * aisearch_status: counters and state of the module, as JSON or in the text
 * format of Prometheus.  Counters are read without a lock: each one is exact,
 * but a sum of them may be slightly out of date.
 *
 * The metrics themselves are in ngx_http_aisearch_metrics.c.
 */


#include "ngx_http_aisearch_metrics.h"
#include "ngx_http_aisearch_rotation.h"

#include "ais_version.h"


/* initial buffer size for an account or the zone */
#define NGX_HTTP_AISEARCH_STATUS_SIZE  8192


/* the separator before the next member of a JSON object */

#define ngx_http_aisearch_status_comma(b)                                     \
    ((b)->last[-1] == '{' ? "" : ",")


typedef struct {
    int64_t                                loaded;
    ngx_uint_t                             naccounts;
    ngx_http_aisearch_snapshot_t  *accounts;
    ngx_http_aisearch_snapshot_t      zone;
} ngx_http_aisearch_status_t;


static ngx_int_t ngx_http_aisearch_status_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_aisearch_status_format(ngx_http_request_t *r);
static ngx_int_t ngx_http_aisearch_status_read(ngx_http_request_t *r,
    ngx_http_aisearch_status_t *status);
static void ngx_http_aisearch_status_account(
    ngx_http_aisearch_account_t *account,
    ngx_http_aisearch_snapshot_t *snapshot);
static ngx_buf_t *ngx_http_aisearch_status_text(ngx_http_request_t *r,
    ngx_http_aisearch_status_t *status, ngx_uint_t prometheus);

static void ngx_http_aisearch_status_json(ngx_buf_t *b,
    ngx_http_aisearch_status_t *status);
static void ngx_http_aisearch_status_members(ngx_buf_t *b,
    ngx_http_aisearch_metric_t *m, ngx_http_aisearch_snapshot_t *snapshot);
static void ngx_http_aisearch_status_value(ngx_buf_t *b,
    ngx_http_aisearch_metric_t *m, ngx_http_aisearch_snapshot_t *snapshot);
static void ngx_http_aisearch_status_prometheus(ngx_buf_t *b,
    ngx_http_aisearch_status_t *status);
static void ngx_http_aisearch_status_families(ngx_buf_t *b,
    ngx_http_aisearch_metric_t *m, const char *of,
    ngx_http_aisearch_snapshot_t *snapshots, ngx_uint_t n);
static void ngx_http_aisearch_status_samples(ngx_buf_t *b,
    ngx_http_aisearch_metric_t *m, const char *of,
    ngx_http_aisearch_snapshot_t *snapshot);


char *
ngx_http_aisearch_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    return ngx_http_aisearch_loc_conf_set_handler(cf, &cmd->name,
                                              ngx_http_aisearch_status_handler);
}


static ngx_int_t
ngx_http_aisearch_status_handler(ngx_http_request_t *r)
{
    ngx_int_t                    rc, prometheus;
    ngx_buf_t                   *b;
    ngx_chain_t                  out;
    ngx_table_elt_t             *h;
    ngx_http_aisearch_status_t   status;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    prometheus = ngx_http_aisearch_status_format(r);
    if (prometheus == NGX_ERROR) {
        return NGX_HTTP_BAD_REQUEST;
    }

    if (ngx_http_aisearch_status_read(r, &status) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b = ngx_http_aisearch_status_text(r, &status, prometheus);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (prometheus) {
        ngx_str_set(&r->headers_out.content_type, "text/plain; version=0.0.4");

    } else {
        ngx_str_set(&r->headers_out.content_type, "application/json");
    }

    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;
    r->headers_out.content_length_n = b->last - b->pos;
    r->headers_out.status = NGX_HTTP_OK;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    h->hash = 1;
    ngx_str_set(&h->key, "Cache-Control");
    ngx_str_set(&h->value, "no-store");
#if (nginx_version >= 1023000)
    h->next = NULL;
#endif

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    b->last_buf = (r == r->main) ? 1 : 0;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


/* 1: Prometheus, 0: JSON, NGX_ERROR: neither is acceptable */

static ngx_int_t
ngx_http_aisearch_status_format(ngx_http_request_t *r)
{
    ngx_str_t         value;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    if (ngx_http_arg(r, (u_char *) "format", 6, &value) == NGX_OK) {

        if (value.len == 10
            && ngx_strncmp(value.data, "prometheus", 10) == 0)
        {
            return 1;
        }

        if (value.len == 4 && ngx_strncmp(value.data, "json", 4) == 0) {
            return 0;
        }

        return NGX_ERROR;
    }

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (h[i].key.len == 6
                && ngx_strncasecmp(h[i].key.data, (u_char *) "accept", 6) == 0
                && ngx_strcasestrn(h[i].value.data, "text/plain", 10 - 1)
                && ngx_strcasestrn(h[i].value.data, "application/json", 16 - 1)
                   == NULL)
            {
                return 1;
            }
        }
    }

    return 0;
}


static ngx_int_t
ngx_http_aisearch_status_read(ngx_http_request_t *r,
    ngx_http_aisearch_status_t *status)
{
    ngx_uint_t                       i;
    ngx_http_aisearch_account_t    **accounts;
    ngx_http_aisearch_main_conf_t   *amcf;

    ngx_memzero(status, sizeof(ngx_http_aisearch_status_t));

    amcf = ngx_http_get_module_main_conf(r, ngx_http_aisearch_module);

    status->loaded = amcf->loaded;

    if (amcf->shm_zone == NULL) {
        return NGX_OK;
    }

    status->naccounts = amcf->accounts.nelts;
    status->accounts = ngx_palloc(r->pool,
                           (status->naccounts + 1)
                           * sizeof(ngx_http_aisearch_snapshot_t));
    if (status->accounts == NULL) {
        return NGX_ERROR;
    }

    accounts = amcf->accounts.elts;

    for (i = 0; i < status->naccounts; i++) {
        status->accounts[i].origin = (ngx_http_aisearch_origin_t) {
            .account = accounts[i],
            .passes = &amcf->passes,
            .server = ngx_http_get_module_srv_conf(r, ngx_http_core_module)
        };

        ngx_http_aisearch_status_account(accounts[i], &status->accounts[i]);
    }

    status->zone.name = amcf->shm_zone->shm.name;

    ngx_http_aisearch_cache_snapshot(amcf->shm_zone, &status->zone.cache);

    return NGX_OK;
}


static void
ngx_http_aisearch_status_account(ngx_http_aisearch_account_t *account,
    ngx_http_aisearch_snapshot_t *snapshot)
{
    ngx_uint_t  i;

    snapshot->name = account->name;
    snapshot->stats = *account->stats;
    snapshot->waits = ngx_http_aisearch_stats_watchers(account->stats,
                                                      NGX_HTTP_AISEARCH_WAITS);
    snapshot->watchers = snapshot->waits
                         + ngx_http_aisearch_stats_watchers(account->stats,
                                                    NGX_HTTP_AISEARCH_STREAMS);

    /* histogram buckets are cumulative */

    for (i = 1; i < NGX_HTTP_AISEARCH_LATENCIES; i++) {
        snapshot->stats.latencies[i] += snapshot->stats.latencies[i - 1];
    }

    ngx_http_aisearch_budget_snapshot(account->budget, &snapshot->budget);
    ngx_http_aisearch_breaker_snapshot(account, &snapshot->breaker);
    ngx_http_aisearch_rotation_snapshot(account, &snapshot->rotation);
}


/* a full buffer may be truncated, so the text is redone in a larger one */

static ngx_buf_t *
ngx_http_aisearch_status_text(ngx_http_request_t *r,
    ngx_http_aisearch_status_t *status, ngx_uint_t prometheus)
{
    size_t      size;
    ngx_buf_t  *b;

    size = (status->naccounts + 1) * NGX_HTTP_AISEARCH_STATUS_SIZE;

    for ( ;; ) {
        b = ngx_create_temp_buf(r->pool, size);
        if (b == NULL) {
            return NULL;
        }

        if (prometheus) {
            ngx_http_aisearch_status_prometheus(b, status);

        } else {
            ngx_http_aisearch_status_json(b, status);
        }

        if (b->last < b->end) {
            return b;
        }

        (void) ngx_pfree(r->pool, b->start);

        size *= 2;
    }
}


static void
ngx_http_aisearch_status_json(ngx_buf_t *b, ngx_http_aisearch_status_t *status)
{
    ngx_uint_t  i;

    ngx_http_aisearch_print(b, "{\"version\":\"%s\",\"loaded\":%L,"
                            "\"accounts\":{", AIS_VERSION, status->loaded);

    for (i = 0; i < status->naccounts; i++) {
        ngx_http_aisearch_print(b, "%s\"%V\":{",
                                ngx_http_aisearch_status_comma(b),
                                &status->accounts[i].name);

        ngx_http_aisearch_status_members(b, ngx_http_aisearch_account_metrics,
                                         &status->accounts[i]);

        ngx_http_aisearch_print(b, "}");
    }

    ngx_http_aisearch_print(b, "},\"zone\":{");

    ngx_http_aisearch_status_members(b, ngx_http_aisearch_zone_metrics,
                                     &status->zone);

    ngx_http_aisearch_print(b, "}}\n");
}


/* the members of an object; a group is a nested object */

static void
ngx_http_aisearch_status_members(ngx_buf_t *b, ngx_http_aisearch_metric_t *m,
    ngx_http_aisearch_snapshot_t *snapshot)
{
    const char  *group;

    for (group = ""; m->group; m++) {

        if (ngx_strcmp(m->group, group) != 0) {

            ngx_http_aisearch_print(b, "%s", *group ? "}" : "");

            group = m->group;

            if (*group) {
                ngx_http_aisearch_print(b, "%s\"%s\":{",
                                        ngx_http_aisearch_status_comma(b),
                                        group);
            }
        }

        ngx_http_aisearch_status_value(b, m, snapshot);
    }

    ngx_http_aisearch_print(b, "%s", *group ? "}" : "");
}


static void
ngx_http_aisearch_status_value(ngx_buf_t *b, ngx_http_aisearch_metric_t *m,
    ngx_http_aisearch_snapshot_t *snapshot)
{
    u_char      *data;
    ngx_uint_t   i;

    data = (u_char *) snapshot + m->offset;

    if (m->key) {
        ngx_http_aisearch_print(b, "%s\"%s\":%s",
                                ngx_http_aisearch_status_comma(b), m->key,
                                m->label ? "{" : "");
    }

    if (m->label == NULL) {
        m->value(b, data, 1);
        return;
    }

    for (i = 0; i < m->label->n; i++) {
        ngx_http_aisearch_print(b, "%s\"", ngx_http_aisearch_status_comma(b));
        m->label->value(b, i, 1);
        ngx_http_aisearch_print(b, "\":");
        m->value(b, data + i * m->size, 1);
    }

    if (m->key) {
        ngx_http_aisearch_print(b, "}");
    }
}


static void
ngx_http_aisearch_status_prometheus(ngx_buf_t *b,
    ngx_http_aisearch_status_t *status)
{
    ngx_http_aisearch_print(b, "# HELP aisearch_info "
                            "Version of the running module.\n"
                            "# TYPE aisearch_info gauge\n"
                            "aisearch_info{version=\"%s\"} 1\n", AIS_VERSION);

    ngx_http_aisearch_status_families(b, ngx_http_aisearch_account_metrics,
                                      "account", status->accounts,
                                      status->naccounts);

    if (status->zone.name.len) {
        ngx_http_aisearch_status_families(b, ngx_http_aisearch_zone_metrics,
                                          "zone", &status->zone, 1);
    }
}


/* Prometheus requires the samples of a family to be contiguous */

static void
ngx_http_aisearch_status_families(ngx_buf_t *b, ngx_http_aisearch_metric_t *m,
    const char *of, ngx_http_aisearch_snapshot_t *snapshots, ngx_uint_t n)
{
    ngx_uint_t                   i;
    ngx_http_aisearch_metric_t  *sample, *next;

    for ( /* void */ ; m->group; m = next) {

        for (next = m + 1; next->name && next->head == NULL; next++) {
            /* void */
        }

        if (m->name == NULL) {
            continue;
        }

        ngx_http_aisearch_print(b, "%s", m->head);

        for (i = 0; i < n; i++) {
            for (sample = m; sample < next; sample++) {
                ngx_http_aisearch_status_samples(b, sample, of, &snapshots[i]);
            }
        }
    }
}


static void
ngx_http_aisearch_status_samples(ngx_buf_t *b, ngx_http_aisearch_metric_t *m,
    const char *of, ngx_http_aisearch_snapshot_t *snapshot)
{
    u_char      *data;
    ngx_uint_t   i, n;

    data = (u_char *) snapshot + m->offset;
    n = m->label ? m->label->n : 1;

    for (i = 0; i < n; i++) {
        ngx_http_aisearch_print(b, "%s{%s=\"%V\"", m->name, of,
                                &snapshot->name);

        if (m->label) {
            ngx_http_aisearch_print(b, ",%s=\"", m->label->name);
            m->label->value(b, i, 0);
            ngx_http_aisearch_print(b, "\"");
        }

        ngx_http_aisearch_print(b, "} ");
        m->value(b, data + i * m->size, 0);
        ngx_http_aisearch_print(b, "\n");
    }
}
