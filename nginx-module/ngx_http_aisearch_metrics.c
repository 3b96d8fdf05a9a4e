/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The metrics of aisearch_status.  To add one, add a row to a table below, and
 * its value to ngx_http_aisearch_snapshot_t; a counter goes into
 * ngx_http_aisearch_stats.h.
 */


#include "ngx_http_aisearch_metrics.h"


#define ngx_http_aisearch_value(field, kind)                                  \
    offsetof(ngx_http_aisearch_snapshot_t, field),                            \
    sizeof(((ngx_http_aisearch_snapshot_t *) 0)->field),                      \
    ngx_http_aisearch_metrics_##kind

#define ngx_http_aisearch_head(name, type, help)                              \
    "# HELP " name " " help "\n# TYPE " name " " type "\n"

#define ngx_http_aisearch_metric(group, key, field, kind, name, type, help)   \
    { group, key, NULL, ngx_http_aisearch_value(field, kind),                 \
      name, ngx_http_aisearch_head(name, type, help) }

#define ngx_http_aisearch_json_only(group, key, field, kind)                  \
    { group, key, NULL, ngx_http_aisearch_value(field, kind), NULL, NULL }


static void
ngx_http_aisearch_metrics_status(ngx_buf_t *b, ngx_uint_t i, ngx_uint_t json)
{
    u_char      lowcase[16];
    ngx_str_t  *name;

    name = &ngx_http_aisearch_cache_statuses[i + 1];

    ngx_strlow(lowcase, name->data, name->len);

    ngx_http_aisearch_print(b, "%*s", name->len, lowcase);
}


static void
ngx_http_aisearch_metrics_refused(ngx_buf_t *b, ngx_uint_t i, ngx_uint_t json)
{
    ngx_http_aisearch_print(b, "refused");
}


static void
ngx_http_aisearch_metrics_outcome(ngx_buf_t *b, ngx_uint_t i, ngx_uint_t json)
{
    ngx_http_aisearch_print(b, "%s", i ? ais_fault_name(i) : "ok");
}


/* word-sized values: counters and numbers of bytes */

static void
ngx_http_aisearch_metrics_count(ngx_buf_t *b, void *data, ngx_uint_t json)
{
    ngx_http_aisearch_print(b, "%ui", *(ngx_uint_t *) data);
}


static void
ngx_http_aisearch_metrics_calls(ngx_buf_t *b, void *data, ngx_uint_t json)
{
    ngx_http_aisearch_print(b, "%uD", *(uint32_t *) data);
}


/* ms in JSON, seconds in Prometheus */

static void
ngx_http_aisearch_metrics_msec(ngx_buf_t *b, void *data, ngx_uint_t json)
{
    ngx_msec_t  ms;

    ms = *(ngx_msec_t *) data;

    if (json) {
        ngx_http_aisearch_print(b, "%M", ms);
        return;
    }

    ngx_http_aisearch_print(b, "%M.%03M", ms / 1000, ms % 1000);
}


static void
ngx_http_aisearch_metrics_bound(ngx_buf_t *b, ngx_uint_t i, ngx_uint_t json)
{
    if (i == NGX_HTTP_AISEARCH_LATENCIES - 1) {
        ngx_http_aisearch_print(b, "+Inf");
        return;
    }

    ngx_http_aisearch_metrics_msec(b, &ngx_http_aisearch_latency_bounds[i],
                                   json);
}


static void
ngx_http_aisearch_metrics_share(ngx_buf_t *b, void *data, ngx_uint_t json)
{
    ngx_http_aisearch_print(b, "%.3f", *(double *) data);
}


/* seconds since the epoch */

static void
ngx_http_aisearch_metrics_date(ngx_buf_t *b, void *data, ngx_uint_t json)
{
    ngx_http_aisearch_print(b, "%L", *(int64_t *) data);
}


static void
ngx_http_aisearch_metrics_name(ngx_buf_t *b, void *data, ngx_uint_t json)
{
    ngx_http_aisearch_print(b, "\"%V\"", (ngx_str_t *) data);
}


static void
ngx_http_aisearch_metrics_breaker(ngx_buf_t *b, void *data, ngx_uint_t json)
{
    enum ais_breaker_state  state;

    state = *(enum ais_breaker_state *) data;

    if (json) {
        ngx_http_aisearch_print(b, "\"%s\"", ais_breaker_state_name(state));
        return;
    }

    ngx_http_aisearch_print(b, "%ui", (ngx_uint_t) state);
}


static void
ngx_http_aisearch_metrics_fault(ngx_buf_t *b, void *data, ngx_uint_t json)
{
    ngx_http_aisearch_print(b, "\"%s\"",
                            ais_fault_name(*(enum ais_fault *) data));
}


static void
ngx_http_aisearch_metrics_number(ngx_buf_t *b, const char *name,
    int64_t number)
{
    if (number < 0) {
        ngx_http_aisearch_print(b, ",\"%s\":null", name);

    } else {
        ngx_http_aisearch_print(b, ",\"%s\":%L", name, number);
    }
}


/* limits reported by the API; null: not reported or expired */

static void
ngx_http_aisearch_metrics_limits(ngx_buf_t *b, void *data, ngx_uint_t json)
{
    ngx_http_aisearch_budget_snapshot_t  *budget = data;

    int64_t            left, reset;
    ngx_uint_t         i;
    struct ais_limit  *limit;

    ngx_http_aisearch_print(b, "[");

    for (i = 0; i < budget->nlimits; i++) {
        limit = &budget->limits[i];

        left = (limit->reset_at > budget->now) ? limit->left : -1;
        reset = (left >= 0) ? limit->reset_at - budget->now : -1;

        ngx_http_aisearch_print(b, "%s{\"name\":\"%s\"", i ? "," : "",
                                limit->name);

        ngx_http_aisearch_metrics_number(b, "quota", limit->quota);
        ngx_http_aisearch_metrics_number(b, "window_milliseconds",
                                         limit->window);
        ngx_http_aisearch_metrics_number(b, "left", left);
        ngx_http_aisearch_metrics_number(b, "reset_milliseconds", reset);

        ngx_http_aisearch_print(b, "}");
    }

    ngx_http_aisearch_print(b, "]");
}


/* slots are numbered from 1, in the order of their directives */

static void
ngx_http_aisearch_metrics_slot(ngx_buf_t *b, void *data, ngx_uint_t json)
{
    ngx_http_aisearch_print(b, "%ui", (ngx_uint_t) *(unsigned *) data + 1);
}


static void
ngx_http_aisearch_metrics_exhausted(ngx_buf_t *b, void *data, ngx_uint_t json)
{
    ngx_uint_t  exhausted;

    exhausted = ais_rotation_exhausted(data);

    ngx_http_aisearch_print(b, "%s", json ? (exhausted ? "true" : "false")
                                          : (exhausted ? "1" : "0"));
}


static void
ngx_http_aisearch_metrics_slots(ngx_buf_t *b, void *data, ngx_uint_t json)
{
    struct ais_rotation  *rotation = data;

    ngx_uint_t        i;
    struct ais_slot  *slot;

    ngx_http_aisearch_print(b, "[");

    for (i = 0; i < rotation->nslots; i++) {
        slot = &rotation->slots[i];

        ngx_http_aisearch_print(b, "%s{\"refused\":%s", i ? "," : "",
                                slot->refused ? "true" : "false");

        ngx_http_aisearch_metrics_number(b, "last_refused",
                                 slot->refused_on ? slot->refused_on : -1);

        ngx_http_aisearch_print(b, "}");
    }

    ngx_http_aisearch_print(b, "]");
}


/* the names in "instance" directives; null: all instances are allowed */

static void
ngx_http_aisearch_metrics_instances(ngx_buf_t *b, void *data, ngx_uint_t json)
{
    ngx_http_aisearch_origin_t  *origin = data;

    ngx_uint_t                      i;
    struct ais_str                  namespace, instance;
    ngx_http_aisearch_allowed_t    *allowed;

    if (origin->account->instances == NULL) {
        ngx_http_aisearch_print(b, "null");
        return;
    }

    allowed = origin->account->instances->elts;

    ngx_http_aisearch_print(b, "[");

    for (i = 0; i < origin->account->instances->nelts; i++) {
        namespace = allowed[i].namespace;
        instance = allowed[i].instance;

        ngx_http_aisearch_print(b, "%s\"%*s%s%*s\"", i ? "," : "",
                                namespace.len, namespace.data,
                                namespace.len ? "/" : "",
                                instance.len, instance.data);
    }

    ngx_http_aisearch_print(b, "]");
}


/* whether clients of this server can access the account's resources there */

static ngx_uint_t
ngx_http_aisearch_metrics_is_open(ngx_http_aisearch_origin_t *origin,
    ngx_http_aisearch_pass_t *pass)
{
    return pass->account == origin->account
           && pass->server == origin->server
           && pass->location.len
           && !pass->clcf->internal;
}


/* fills the buffer if the string does not fit, as ngx_slprintf() does */

static void
ngx_http_aisearch_metrics_escape(ngx_buf_t *b, ngx_str_t *s)
{
    size_t  len;

    len = s->len + ngx_escape_json(NULL, s->data, s->len);

    if (len > (size_t) (b->end - b->last)) {
        b->last = b->end;
        return;
    }

    b->last = (u_char *) ngx_escape_json(b->last, s->data, s->len);
}


static void
ngx_http_aisearch_metrics_locations(ngx_buf_t *b, void *data, ngx_uint_t json)
{
    ngx_http_aisearch_origin_t  *origin = data;

    const char                 *comma;
    ngx_uint_t                  i;
    ngx_http_aisearch_pass_t  **passes;

    passes = origin->passes->elts;
    comma = "";

    ngx_http_aisearch_print(b, "[");

    for (i = 0; i < origin->passes->nelts; i++) {

        if (!ngx_http_aisearch_metrics_is_open(origin, passes[i])) {
            continue;
        }

        ngx_http_aisearch_print(b, "%s\"", comma);
        ngx_http_aisearch_metrics_escape(b, &passes[i]->location);
        ngx_http_aisearch_print(b, "\"");

        comma = ",";
    }

    ngx_http_aisearch_print(b, "]");
}


/* the "budget" directives or the default limits */

static void
ngx_http_aisearch_metrics_allowance(ngx_buf_t *b, void *data, ngx_uint_t json)
{
    ngx_uint_t                   i;
    ngx_http_aisearch_budget_t  *budget;

    budget = ((ngx_http_aisearch_origin_t *) data)->account->budget;

    ngx_http_aisearch_print(b, "[");

    for (i = 0; i < budget->nlimits; i++) {
        ngx_http_aisearch_print(b, "%s{\"calls\":%uD,"
                                "\"window_milliseconds\":%L,"
                                "\"reserve_percent\":%uD}", i ? "," : "",
                                budget->limits[i].calls,
                                budget->limits[i].interval,
                                budget->reserves[i]);
    }

    ngx_http_aisearch_print(b, "]");
}


static ngx_http_aisearch_label_t  ngx_http_aisearch_by_status =
    { "status", NGX_HTTP_AISEARCH_CACHE_STATUSES - 1,
      ngx_http_aisearch_metrics_status };


/* requests refused without a cache lookup */

static ngx_http_aisearch_label_t  ngx_http_aisearch_by_refused =
    { "status", 1, ngx_http_aisearch_metrics_refused };


static ngx_http_aisearch_label_t  ngx_http_aisearch_by_outcome =
    { "outcome", AIS_FAULTS, ngx_http_aisearch_metrics_outcome };


static ngx_http_aisearch_label_t  ngx_http_aisearch_by_bound =
    { "le", NGX_HTTP_AISEARCH_LATENCIES, ngx_http_aisearch_metrics_bound };


ngx_http_aisearch_metric_t  ngx_http_aisearch_account_metrics[] = {

    ngx_http_aisearch_json_only("", "instances", origin, instances),

    ngx_http_aisearch_json_only("", "locations", origin, locations),

    { "lookups", NULL, &ngx_http_aisearch_by_status,
      ngx_http_aisearch_value(stats.lookups[1], count),
      "aisearch_lookups_total",
      ngx_http_aisearch_head("aisearch_lookups_total", "counter",
                             "Lookups, by cache status.") },

    { "lookups", NULL, &ngx_http_aisearch_by_refused,
      ngx_http_aisearch_value(stats.refused, count),
      "aisearch_lookups_total", NULL },

    { "fetches", NULL, &ngx_http_aisearch_by_outcome,
      ngx_http_aisearch_value(stats.fetches[0], count),
      "aisearch_fetches_total",
      ngx_http_aisearch_head("aisearch_fetches_total", "counter",
                             "Fetches from the API, by outcome.") },

    { "fetch_milliseconds", "buckets", &ngx_http_aisearch_by_bound,
      ngx_http_aisearch_value(stats.latencies[0], count),
      "aisearch_fetch_duration_seconds_bucket",
      ngx_http_aisearch_head("aisearch_fetch_duration_seconds", "histogram",
                             "Duration of fetches, including retries.") },

    { "fetch_milliseconds", "sum", NULL,
      ngx_http_aisearch_value(stats.latency_sum, msec),
      "aisearch_fetch_duration_seconds_sum", NULL },

    { "fetch_milliseconds", "count", NULL,
      ngx_http_aisearch_value(stats.latencies[NGX_HTTP_AISEARCH_LATENCIES - 1],
                              count),
      "aisearch_fetch_duration_seconds_count", NULL },

    ngx_http_aisearch_metric("", "calls", stats.calls, count,
        "aisearch_calls_total", "counter", "Calls sent to the API."),

    ngx_http_aisearch_metric("", "waiters_woken", stats.woken, count,
        "aisearch_waiters_woken_total", "counter",
        "Requests answered by a fetch that another request started."),

    ngx_http_aisearch_metric("", "watchers", watchers, count,
        "aisearch_watchers", "gauge",
        "Requests held until something changes: waits and streams."),

    ngx_http_aisearch_metric("", "waits", waits, count,
        "aisearch_waits", "gauge",
        "Watchers that are waits, not streams."),

    ngx_http_aisearch_metric("", "events", stats.events, count,
        "aisearch_events_total", "counter", "Events sent to streams."),

    ngx_http_aisearch_metric("budget", "left", budget.left, calls,
        "aisearch_budget_left", "gauge",
        "Calls that can be sent to the API now."),

    ngx_http_aisearch_metric("budget", "newcomers", budget.newcomers, calls,
        "aisearch_budget_newcomers", "gauge",
        "Calls that lookups of new resources can send now."),

    ngx_http_aisearch_json_only("budget", "share", budget.share, share),

    ngx_http_aisearch_metric("budget", "closed_milliseconds", budget.closed,
        msec, "aisearch_budget_closed_seconds", "gauge",
        "Seconds until the API accepts calls again, or 0."),

    ngx_http_aisearch_json_only("budget", "wait_milliseconds", budget.wait,
        msec),

    ngx_http_aisearch_json_only("budget", "allowance", origin, allowance),

    ngx_http_aisearch_json_only("budget", "limits", budget, limits),

    ngx_http_aisearch_metric("breaker", "state", breaker.state, breaker,
        "aisearch_breaker_state", "gauge",
        "Circuit breaker: 0 closed, 1 open (only probes are sent), 2 "
        "recovering."),

    ngx_http_aisearch_json_only("breaker", "fault", breaker.fault, fault),

    ngx_http_aisearch_metric("breaker", "wait_milliseconds", breaker.wait,
        msec, "aisearch_breaker_wait_seconds", "gauge",
        "Seconds until the next probe can be sent, or 0."),

    ngx_http_aisearch_metric("breaker", "held", stats.held, count,
        "aisearch_breaker_held_total", "counter",
        "Fetches prevented by the circuit breaker."),

    ngx_http_aisearch_metric("credential", "in_use", rotation.in_use, slot,
        "aisearch_credential_slot", "gauge",
        "The slot of the credential in use: 1 or 2."),

    ngx_http_aisearch_metric("credential", "since", rotation.since, date,
        "aisearch_credential_since_timestamp_seconds", "gauge",
        "Time when this slot came into use."),

    ngx_http_aisearch_metric("credential", "refused", rotation, exhausted,
        "aisearch_credential_refused", "gauge",
        "1 while the API rejects all credentials of the account."),

    ngx_http_aisearch_json_only("credential", "slots", rotation, slots),

    { NULL, NULL, NULL, 0, 0, NULL, NULL, NULL }
};


ngx_http_aisearch_metric_t  ngx_http_aisearch_zone_metrics[] = {

    ngx_http_aisearch_json_only("", "name", name, name),

    ngx_http_aisearch_metric("", "entries", cache.entries, count,
        "aisearch_zone_entries", "gauge", "Entries in the cache."),

    ngx_http_aisearch_metric("", "bytes_used", cache.used, count,
        "aisearch_zone_used_bytes", "gauge",
        "Memory used by the cache, in bytes."),

    ngx_http_aisearch_metric("", "bytes_free", cache.free, count,
        "aisearch_zone_free_bytes", "gauge",
        "Memory of the cache in free pages, in bytes."),

    ngx_http_aisearch_metric("", "evictions", cache.evictions, count,
        "aisearch_zone_evictions_total", "counter",
        "Entries evicted from the cache."),

    { NULL, NULL, NULL, 0, 0, NULL, NULL, NULL }
};
