/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * aisearch_status: what the module did and has, as JSON or in the text format
 * of Prometheus.  Counters are read without a lock: each is right, and their
 * sum at most a moment out of date.
 */


#include "ngx_http_aisearch_module.h"

#include "ais_version.h"


#define NGX_HTTP_AISEARCH_STATUS_HEAD     5120
#define NGX_HTTP_AISEARCH_STATUS_ACCOUNT  8192
#define NGX_HTTP_AISEARCH_STATUS_LINES    96

#define ngx_http_aisearch_print(b, ...)                                       \
    (b)->last = ngx_slprintf((b)->last, (b)->end, __VA_ARGS__)


typedef struct {
    ngx_http_aisearch_account_t       *account;
    ngx_http_aisearch_stats_t          stats;
    ngx_http_aisearch_budget_snapshot_t   budget;
    ngx_http_aisearch_breaker_snapshot_t  breaker;
    struct ais_rotation                rotation;
} ngx_http_aisearch_account_status_t;


typedef struct {
    ngx_uint_t                           naccounts;
    ngx_http_aisearch_account_status_t  *accounts;
    ngx_str_t                            zone;
    ngx_http_aisearch_cache_snapshot_t      cache;
} ngx_http_aisearch_status_t;


/* a metric with one number for each account */

typedef struct {
    const char                          *name;
    const char                          *type;
    const char                          *help;
    size_t                               offset; /* in the account's status */
    size_t                               size;
    ngx_uint_t                           ms;     /* told in seconds */
} ngx_http_aisearch_number_t;


static ngx_int_t ngx_http_aisearch_status_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_aisearch_status_format(ngx_http_request_t *r);
static ngx_int_t ngx_http_aisearch_status_read(ngx_http_request_t *r,
    ngx_http_aisearch_status_t *status);
static ngx_buf_t *ngx_http_aisearch_status_buf(ngx_http_request_t *r,
    ngx_http_aisearch_status_t *status);

static void ngx_http_aisearch_status_json(ngx_buf_t *b,
    ngx_http_aisearch_status_t *status);
static void ngx_http_aisearch_status_json_account(ngx_buf_t *b,
    ngx_http_aisearch_account_status_t *as);
static void ngx_http_aisearch_status_json_limits(ngx_buf_t *b,
    ngx_http_aisearch_budget_snapshot_t *budget);
static void ngx_http_aisearch_status_json_number(ngx_buf_t *b,
    const char *name, int64_t number);
static void ngx_http_aisearch_status_json_breaker(ngx_buf_t *b,
    ngx_http_aisearch_account_status_t *as);
static void ngx_http_aisearch_status_json_credential(ngx_buf_t *b,
    struct ais_rotation *rotation);
static void ngx_http_aisearch_status_prometheus(ngx_buf_t *b,
    ngx_http_aisearch_status_t *status);
static void ngx_http_aisearch_status_prometheus_numbers(ngx_buf_t *b,
    ngx_http_aisearch_status_t *status);
static void ngx_http_aisearch_status_prometheus_credential(ngx_buf_t *b,
    ngx_http_aisearch_status_t *status);
static void ngx_http_aisearch_status_prometheus_latency(ngx_buf_t *b,
    ngx_http_aisearch_account_status_t *as);


/* in the order of ngx_http_aisearch_cache_status_e */

static const char  *ngx_http_aisearch_status_names[] = {
    "none", "hit", "miss", "expired", "updating", "stale", "coalesced",
    "bypass"
};


#define ngx_http_aisearch_number(field)                                       \
    offsetof(ngx_http_aisearch_account_status_t, field),                      \
    sizeof(((ngx_http_aisearch_account_status_t *) 0)->field)


static ngx_http_aisearch_number_t  ngx_http_aisearch_numbers[] = {

    { "aisearch_calls_total", "counter",
      "Requests sent to the API.",
      ngx_http_aisearch_number(stats.calls), 0 },

    { "aisearch_waiters_woken_total", "counter",
      "Requests that waited for the fetch of another.",
      ngx_http_aisearch_number(stats.woken), 0 },

    { "aisearch_budget_left", "gauge",
      "Calls that may be sent to the API now.",
      ngx_http_aisearch_number(budget.left), 0 },

    { "aisearch_budget_newcomers", "gauge",
      "Of these, for what was not answered before.",
      ngx_http_aisearch_number(budget.newcomers), 0 },

    { "aisearch_budget_closed_seconds", "gauge",
      "How long the API wants no calls, 0 if it does.",
      ngx_http_aisearch_number(budget.closed), 1 },

    { "aisearch_breaker_state", "gauge",
      "0 while all is well, 1 while the API is not asked but by probes, 2 "
      "while it recovers.",
      ngx_http_aisearch_number(breaker.state), 0 },

    { "aisearch_breaker_wait_seconds", "gauge",
      "How long until the next probe, 0 for now.",
      ngx_http_aisearch_number(breaker.wait), 1 },

    { "aisearch_breaker_held_total", "counter",
      "Fetches that were not begun, nobody was there.",
      ngx_http_aisearch_number(stats.held), 0 },

    { NULL, NULL, NULL, 0, 0, 0 }
};


char *
ngx_http_aisearch_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_aisearch_status_handler;

    return NGX_CONF_OK;
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

    b = ngx_http_aisearch_status_buf(r, &status);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (prometheus) {
        ngx_http_aisearch_status_prometheus(b, &status);
        ngx_str_set(&r->headers_out.content_type, "text/plain; version=0.0.4");

    } else {
        ngx_http_aisearch_status_json(b, &status);
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


/* 1: Prometheus, 0: JSON, NGX_ERROR: neither is wanted */

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
    ngx_uint_t                            i;
    ngx_http_aisearch_account_t         **accounts;
    ngx_http_aisearch_main_conf_t        *amcf;
    ngx_http_aisearch_account_status_t   *as;

    ngx_memzero(status, sizeof(ngx_http_aisearch_status_t));

    amcf = ngx_http_get_module_main_conf(r, ngx_http_aisearch_module);

    if (amcf->shm_zone == NULL) {
        return NGX_OK;
    }

    status->naccounts = amcf->accounts.nelts;
    status->accounts = ngx_palloc(r->pool,
                           (status->naccounts + 1)
                           * sizeof(ngx_http_aisearch_account_status_t));
    if (status->accounts == NULL) {
        return NGX_ERROR;
    }

    accounts = amcf->accounts.elts;

    for (i = 0; i < status->naccounts; i++) {
        as = &status->accounts[i];

        as->account = accounts[i];
        as->stats = *accounts[i]->stats;

        ngx_http_aisearch_budget_snapshot(accounts[i]->budget, &as->budget);
        ngx_http_aisearch_breaker_snapshot(accounts[i], &as->breaker);
        ngx_http_aisearch_rotation_snapshot(accounts[i], &as->rotation);
    }

    status->zone = amcf->shm_zone->shm.name;

    ngx_http_aisearch_cache_snapshot(amcf->shm_zone, &status->cache);

    return NGX_OK;
}


static ngx_buf_t *
ngx_http_aisearch_status_buf(ngx_http_request_t *r,
    ngx_http_aisearch_status_t *status)
{
    size_t      len;
    ngx_uint_t  i;

    len = NGX_HTTP_AISEARCH_STATUS_HEAD + 8 * status->zone.len;

    for (i = 0; i < status->naccounts; i++) {
        len += NGX_HTTP_AISEARCH_STATUS_ACCOUNT
               + NGX_HTTP_AISEARCH_STATUS_LINES
                 * status->accounts[i].account->name.len;
    }

    return ngx_create_temp_buf(r->pool, len);
}


static void
ngx_http_aisearch_status_json(ngx_buf_t *b, ngx_http_aisearch_status_t *status)
{
    ngx_uint_t                        i;
    ngx_http_aisearch_cache_snapshot_t  *c;

    c = &status->cache;

    ngx_http_aisearch_print(b, "{\"version\":\"%s\",\"accounts\":{",
                            AIS_VERSION);

    for (i = 0; i < status->naccounts; i++) {

        if (i) {
            ngx_http_aisearch_print(b, ",");
        }

        ngx_http_aisearch_status_json_account(b, &status->accounts[i]);
    }

    ngx_http_aisearch_print(b, "},\"zone\":{\"name\":\"%V\",\"entries\":%ui,"
                            "\"bytes_used\":%uz,\"bytes_free\":%uz,"
                            "\"evictions\":%ui}}\n",
                            &status->zone, c->entries, c->used, c->free,
                            c->evictions);
}


static void
ngx_http_aisearch_status_json_account(ngx_buf_t *b,
    ngx_http_aisearch_account_status_t *as)
{
    ngx_uint_t                  i, count;
    ngx_http_aisearch_stats_t  *s;

    s = &as->stats;

    ngx_http_aisearch_print(b, "\"%V\":{\"lookups\":{", &as->account->name);

    for (i = 1; i < NGX_HTTP_AISEARCH_CACHE_STATUSES; i++) {
        ngx_http_aisearch_print(b, "\"%s\":%uA,",
                                ngx_http_aisearch_status_names[i],
                                s->lookups[i]);
    }

    ngx_http_aisearch_print(b, "\"refused\":%uA},\"fetches\":{\"ok\":%uA",
                            s->refused, s->fetches[AIS_FAULT_NONE]);

    for (i = 1; i < AIS_FAULTS; i++) {
        ngx_http_aisearch_print(b, ",\"%s\":%uA", ais_fault_name(i),
                                s->fetches[i]);
    }

    ngx_http_aisearch_print(b, "},\"fetch_milliseconds\":{\"buckets\":{");

    for (i = 0, count = 0; i < NGX_HTTP_AISEARCH_LATENCIES; i++) {
        count += s->latencies[i];

        if (i < NGX_HTTP_AISEARCH_LATENCIES - 1) {
            ngx_http_aisearch_print(b, "\"%ui\":%ui,",
                                    ngx_http_aisearch_latency_bounds[i], count);
        }
    }

    ngx_http_aisearch_print(b, "\"+Inf\":%ui},\"sum\":%uA,\"count\":%ui},",
                            count, s->latency_sum, count);

    ngx_http_aisearch_print(b, "\"calls\":%uA,\"waiters_woken\":%uA,"
                            "\"budget\":{\"left\":%uD,\"newcomers\":%uD,"
                            "\"share\":%.3f,"
                            "\"closed_milliseconds\":%M,"
                            "\"wait_milliseconds\":%M,\"limits\":[",
                            s->calls, s->woken, as->budget.left,
                            as->budget.newcomers, as->budget.share,
                            as->budget.closed, as->budget.wait);

    ngx_http_aisearch_status_json_limits(b, &as->budget);

    ngx_http_aisearch_print(b, "]},");

    ngx_http_aisearch_status_json_breaker(b, as);
    ngx_http_aisearch_status_json_credential(b, &as->rotation);

    ngx_http_aisearch_print(b, "}");
}


/* what the API said of its own limits; null where it did not, or it is over */

static void
ngx_http_aisearch_status_json_limits(ngx_buf_t *b,
    ngx_http_aisearch_budget_snapshot_t *budget)
{
    int64_t            left, reset;
    ngx_uint_t         i;
    struct ais_limit  *limit;

    for (i = 0; i < budget->nlimits; i++) {
        limit = &budget->limits[i];

        left = (limit->reset_at > budget->now) ? limit->left : -1;
        reset = (left >= 0) ? limit->reset_at - budget->now : -1;

        ngx_http_aisearch_print(b, "%s{\"name\":\"%s\"", i ? "," : "",
                                limit->name);

        ngx_http_aisearch_status_json_number(b, "quota", limit->quota);
        ngx_http_aisearch_status_json_number(b, "window_milliseconds",
                                             limit->window);
        ngx_http_aisearch_status_json_number(b, "left", left);
        ngx_http_aisearch_status_json_number(b, "reset_milliseconds", reset);

        ngx_http_aisearch_print(b, "}");
    }
}


static void
ngx_http_aisearch_status_json_number(ngx_buf_t *b, const char *name,
    int64_t number)
{
    if (number < 0) {
        ngx_http_aisearch_print(b, ",\"%s\":null", name);

    } else {
        ngx_http_aisearch_print(b, ",\"%s\":%L", name, number);
    }
}


static void
ngx_http_aisearch_status_json_breaker(ngx_buf_t *b,
    ngx_http_aisearch_account_status_t *as)
{
    ngx_http_aisearch_print(b, "\"breaker\":{\"state\":\"%s\","
                            "\"fault\":\"%s\",\"wait_milliseconds\":%M,"
                            "\"held\":%uA},",
                            ais_breaker_state_name(as->breaker.state),
                            ais_fault_name(as->breaker.fault),
                            as->breaker.wait, as->stats.held);
}


/* slots in the order of their directives, from 1 on; times since the epoch */

static void
ngx_http_aisearch_status_json_credential(ngx_buf_t *b,
    struct ais_rotation *rotation)
{
    ngx_uint_t        i;
    struct ais_slot  *slot;

    ngx_http_aisearch_print(b, "\"credential\":{\"in_use\":%ui,"
                            "\"since\":%L,\"refused\":%s,\"slots\":[",
                            (ngx_uint_t) rotation->in_use + 1, rotation->since,
                            ais_rotation_exhausted(rotation) ? "true"
                                                             : "false");

    for (i = 0; i < rotation->nslots; i++) {
        slot = &rotation->slots[i];

        ngx_http_aisearch_print(b, "%s{\"refused\":%s,\"last_refused\":",
                                i ? "," : "", slot->refused ? "true" : "false");

        if (slot->refused_on) {
            ngx_http_aisearch_print(b, "%L}", slot->refused_on);

        } else {
            ngx_http_aisearch_print(b, "null}");
        }
    }

    ngx_http_aisearch_print(b, "]}");
}


#define ngx_http_aisearch_metric(b, name, type, help)                         \
    ngx_http_aisearch_print(b, "# HELP " name " " help "\n"                   \
                               "# TYPE " name " " type "\n")


static void
ngx_http_aisearch_status_prometheus(ngx_buf_t *b,
    ngx_http_aisearch_status_t *status)
{
    ngx_str_t                           *name;
    ngx_uint_t                           i, n;
    ngx_http_aisearch_cache_snapshot_t     *c;
    ngx_http_aisearch_account_status_t  *as;

    ngx_http_aisearch_metric(b, "aisearch_lookups_total", "counter",
                             "Look-ups, by what the cache did for them.");

    for (n = 0; n < status->naccounts; n++) {
        as = &status->accounts[n];
        name = &as->account->name;

        for (i = 1; i < NGX_HTTP_AISEARCH_CACHE_STATUSES; i++) {
            ngx_http_aisearch_print(b, "aisearch_lookups_total{account=\"%V\","
                                    "status=\"%s\"} %uA\n", name,
                                    ngx_http_aisearch_status_names[i],
                                    as->stats.lookups[i]);
        }

        ngx_http_aisearch_print(b, "aisearch_lookups_total{account=\"%V\","
                                "status=\"refused\"} %uA\n", name,
                                as->stats.refused);
    }

    ngx_http_aisearch_metric(b, "aisearch_fetches_total", "counter",
                             "Fetches from the API, by outcome.");

    for (n = 0; n < status->naccounts; n++) {
        as = &status->accounts[n];

        for (i = 0; i < AIS_FAULTS; i++) {
            ngx_http_aisearch_print(b, "aisearch_fetches_total{account=\"%V\","
                                    "outcome=\"%s\"} %uA\n",
                                    &as->account->name,
                                    i ? ais_fault_name(i) : "ok",
                                    as->stats.fetches[i]);
        }
    }

    ngx_http_aisearch_metric(b, "aisearch_fetch_duration_seconds", "histogram",
                             "How long fetches took, retries included.");

    for (n = 0; n < status->naccounts; n++) {
        ngx_http_aisearch_status_prometheus_latency(b, &status->accounts[n]);
    }

    ngx_http_aisearch_status_prometheus_numbers(b, status);
    ngx_http_aisearch_status_prometheus_credential(b, status);

    if (status->zone.len == 0) {
        return;
    }

    c = &status->cache;

    ngx_http_aisearch_metric(b, "aisearch_zone_entries", "gauge",
                             "Entries in the cache.");
    ngx_http_aisearch_print(b, "aisearch_zone_entries{zone=\"%V\"} %ui\n",
                            &status->zone, c->entries);

    ngx_http_aisearch_metric(b, "aisearch_zone_used_bytes", "gauge",
                             "Memory of the cache that is in use.");
    ngx_http_aisearch_print(b, "aisearch_zone_used_bytes{zone=\"%V\"} %uz\n",
                            &status->zone, c->used);

    ngx_http_aisearch_metric(b, "aisearch_zone_free_bytes", "gauge",
                             "Memory of the cache in pages that are free.");
    ngx_http_aisearch_print(b, "aisearch_zone_free_bytes{zone=\"%V\"} %uz\n",
                            &status->zone, c->free);

    ngx_http_aisearch_metric(b, "aisearch_zone_evictions_total", "counter",
                             "Entries that made room for others.");
    ngx_http_aisearch_print(b, "aisearch_zone_evictions_total{zone=\"%V\"} "
                            "%ui\n", &status->zone, c->evictions);
}


static void
ngx_http_aisearch_status_prometheus_numbers(ngx_buf_t *b,
    ngx_http_aisearch_status_t *status)
{
    u_char                       *p;
    uint64_t                      value;
    ngx_uint_t                    n;
    ngx_http_aisearch_number_t   *number;

    for (number = ngx_http_aisearch_numbers; number->name; number++) {

        ngx_http_aisearch_print(b, "# HELP %s %s\n# TYPE %s %s\n",
                                number->name, number->help, number->name,
                                number->type);

        for (n = 0; n < status->naccounts; n++) {
            p = (u_char *) &status->accounts[n] + number->offset;

            value = number->size == sizeof(uint32_t) ? *(uint32_t *) p
                                                     : *(uint64_t *) p;

            ngx_http_aisearch_print(b, "%s{account=\"%V\"} ", number->name,
                                    &status->accounts[n].account->name);

            if (number->ms) {
                ngx_http_aisearch_print(b, "%uL.%03uL\n", value / 1000,
                                        value % 1000);

            } else {
                ngx_http_aisearch_print(b, "%uL\n", value);
            }
        }
    }
}


static void
ngx_http_aisearch_status_prometheus_credential(ngx_buf_t *b,
    ngx_http_aisearch_status_t *status)
{
    ngx_uint_t                           n;
    struct ais_rotation                 *rotation;
    ngx_http_aisearch_account_status_t  *as;

    ngx_http_aisearch_metric(b, "aisearch_credential_slot", "gauge",
                             "The credential in use: 1, or 2 for the next.");

    for (n = 0; n < status->naccounts; n++) {
        as = &status->accounts[n];
        rotation = &as->rotation;
        ngx_http_aisearch_print(b, "aisearch_credential_slot{account=\"%V\"} "
                                "%ui\n", &as->account->name,
                                (ngx_uint_t) rotation->in_use + 1);
    }

    ngx_http_aisearch_metric(b, "aisearch_credential_since_timestamp_seconds",
                             "gauge", "When it came into use.");

    for (n = 0; n < status->naccounts; n++) {
        as = &status->accounts[n];
        rotation = &as->rotation;
        ngx_http_aisearch_print(b, "aisearch_credential_since_timestamp_seconds"
                                "{account=\"%V\"} %L\n", &as->account->name,
                                rotation->since);
    }

    ngx_http_aisearch_metric(b, "aisearch_credential_refused", "gauge",
                             "1 while the API refuses all there are.");

    for (n = 0; n < status->naccounts; n++) {
        as = &status->accounts[n];
        rotation = &as->rotation;
        ngx_http_aisearch_print(b, "aisearch_credential_refused"
                                "{account=\"%V\"} %ui\n", &as->account->name,
                                (ngx_uint_t) ais_rotation_exhausted(rotation));
    }
}


static void
ngx_http_aisearch_status_prometheus_latency(ngx_buf_t *b,
    ngx_http_aisearch_account_status_t *as)
{
    ngx_str_t                  *name;
    ngx_uint_t                  i, count, bound;
    ngx_http_aisearch_stats_t  *s;

    s = &as->stats;
    name = &as->account->name;

    for (i = 0, count = 0; i < NGX_HTTP_AISEARCH_LATENCIES - 1; i++) {
        count += s->latencies[i];
        bound = ngx_http_aisearch_latency_bounds[i];

        ngx_http_aisearch_print(b, "aisearch_fetch_duration_seconds_bucket"
                                "{account=\"%V\",le=\"%ui.%03ui\"} %ui\n",
                                name, bound / 1000, bound % 1000, count);
    }

    count += s->latencies[i];

    ngx_http_aisearch_print(b, "aisearch_fetch_duration_seconds_bucket"
                            "{account=\"%V\",le=\"+Inf\"} %ui\n",
                            name, count);
    ngx_http_aisearch_print(b, "aisearch_fetch_duration_seconds_sum"
                            "{account=\"%V\"} %ui.%03ui\n", name,
                            (ngx_uint_t) s->latency_sum / 1000,
                            (ngx_uint_t) s->latency_sum % 1000);
    ngx_http_aisearch_print(b, "aisearch_fetch_duration_seconds_count"
                            "{account=\"%V\"} %ui\n", name, count);
}
