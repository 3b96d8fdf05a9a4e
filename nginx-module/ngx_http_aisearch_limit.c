/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * aisearch_limit_fetches: limits the rate of fetches caused by a client.  It
 * uses the leaky bucket of limit_req, but a request is charged only if it
 * starts a fetch: not if the cache has a fresh answer, nor if another request
 * is fetching.  Calls to the API are limited by ngx_http_aisearch_budget.c.
 *
 * The buckets are kept in a separate zone, an array of sets of nodes.  The
 * digest of a client selects the set, and a new client replaces the least
 * recently used node of its set.  Thus a killed worker leaves no broken links,
 * and memory cannot be exhausted.
 */


#include "ngx_http_aisearch_clock.h"
#include "ngx_http_aisearch_ctx.h"

#include <ngx_md5.h>


#define NGX_HTTP_AISEARCH_LIMIT_SHARE  16      /* 1/16 of the cache */
#define NGX_HTTP_AISEARCH_LIMIT_PAGES  4       /* minimum */
#define NGX_HTTP_AISEARCH_LIMIT_WAYS   8       /* nodes per set */
#define NGX_HTTP_AISEARCH_LIMIT_MAX    1000000 /* r/s, r/m, or burst */

#define NGX_HTTP_AISEARCH_LIMIT_DIGEST 16


struct ngx_http_aisearch_limit_s {
    ngx_http_complex_value_t   key;
    ngx_str_t                  text;
    int64_t                    rate;   /* 0.001 fetches per minute */
    int64_t                    burst;  /* 0.001 fetches */
};


typedef struct {
    int64_t                    used;   /* last use, ms of ais_clock() */
    int64_t                    last;   /* time of excess, same clock */
    int64_t                    excess; /* 0.001 fetches; -1000: new */
    u_char                     digest[NGX_HTTP_AISEARCH_LIMIT_DIGEST];
} ngx_http_aisearch_limit_node_t;


typedef struct {
    ngx_uint_t                      nsets;
    ngx_http_aisearch_limit_node_t  sets[1][NGX_HTTP_AISEARCH_LIMIT_WAYS];
} ngx_http_aisearch_limit_table_t;


static ngx_int_t ngx_http_aisearch_limit_parameter(ngx_conf_t *cf,
    ngx_http_aisearch_limit_t *limit, ngx_str_t *value);
static int64_t ngx_http_aisearch_limit_rate(ngx_str_t *value);
static ngx_int_t ngx_http_aisearch_limit_zone_init(ngx_shm_zone_t *zone,
    void *data);
static ngx_http_aisearch_lookup_t ngx_http_aisearch_limit_lookup(
    ngx_http_aisearch_ctx_t *ctx, ngx_http_aisearch_query_t *query,
    ngx_uint_t flags);
static void ngx_http_aisearch_limit_digest(ngx_http_aisearch_limit_t *limit,
    ngx_str_t *key, u_char *digest);
static ngx_http_aisearch_limit_node_t *ngx_http_aisearch_limit_find(
    ngx_http_aisearch_limit_table_t *table, u_char *digest, int64_t now);
static int64_t ngx_http_aisearch_limit_excess(
    ngx_http_aisearch_limit_node_t *node, int64_t rate, int64_t now);
static ngx_int_t ngx_http_aisearch_limit_over(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_query_t *query, ngx_http_aisearch_lookup_t *lookup,
    int64_t excess);
static void ngx_http_aisearch_limit_warn(ngx_http_aisearch_ctx_t *ctx,
    int64_t excess);


/* its address serves as the tag of the zone */

static ngx_str_t   ngx_http_aisearch_limit_name = ngx_string("aisearch_limit");

static ngx_msec_t  ngx_http_aisearch_limit_warned;


/* configuration */


/* aisearch_limit_fetches KEY rate=RATE [burst=NUMBER] | off */

char *
ngx_http_aisearch_limit_fetches(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_aisearch_loc_conf_t  *alcf = conf;

    ngx_str_t                         *value;
    ngx_uint_t                         i;
    ngx_http_aisearch_limit_t         *limit;
    ngx_http_aisearch_main_conf_t     *amcf;
    ngx_http_compile_complex_value_t   ccv;

    if (alcf->limit != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) {
        alcf->limit = NULL;
        return NGX_CONF_OK;
    }

    if (ngx_strncmp(value[1].data, "rate=", 5) == 0
        || ngx_strncmp(value[1].data, "burst=", 6) == 0
        || ngx_strncmp(value[1].data, "zone=", 5) == 0)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "no key in \"aisearch_limit_fetches\" before "
                           "\"%V\", use \"aisearch_limit_fetches "
                           "$binary_remote_addr rate=30r/m\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    limit = ngx_pcalloc(cf->pool, sizeof(ngx_http_aisearch_limit_t));
    if (limit == NULL) {
        return NGX_CONF_ERROR;
    }

    limit->text = value[1];

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &value[1];
    ccv.complex_value = &limit->key;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    for (i = 2; i < cf->args->nelts; i++) {

        if (i == 3 && value[2].data[0] == value[3].data[0]) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "duplicate parameter \"%V\", remove one of "
                               "the two", &value[3]);
            return NGX_CONF_ERROR;
        }

        if (ngx_http_aisearch_limit_parameter(cf, limit, &value[i]) != NGX_OK) {
            return NGX_CONF_ERROR;
        }
    }

    if (limit->rate == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "no rate in \"aisearch_limit_fetches\", use "
                           "\"aisearch_limit_fetches %V rate=30r/m\", or "
                           "only \"off\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    amcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_aisearch_module);
    amcf->limits = 1;

    alcf->limit = limit;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_aisearch_limit_parameter(ngx_conf_t *cf,
    ngx_http_aisearch_limit_t *limit, ngx_str_t *value)
{
    ngx_int_t  n;

    if (ngx_strncmp(value->data, "rate=", 5) == 0) {

        limit->rate = ngx_http_aisearch_limit_rate(value);

        if (limit->rate == NGX_ERROR) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid rate \"%V\", use one such as "
                               "\"rate=30r/m\" or \"rate=1r/s\", with a "
                               "number of at most %d",
                               value, NGX_HTTP_AISEARCH_LIMIT_MAX);
            return NGX_ERROR;
        }

    } else if (ngx_strncmp(value->data, "burst=", 6) == 0) {

        n = ngx_atoi(value->data + 6, value->len - 6);

        if (n == NGX_ERROR || n > NGX_HTTP_AISEARCH_LIMIT_MAX) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid burst \"%V\", it must be between 0 and "
                               "%d", value, NGX_HTTP_AISEARCH_LIMIT_MAX);
            return NGX_ERROR;
        }

        limit->burst = (int64_t) n * 1000;

    } else {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\", it must be "
                           "\"rate=RATE\" or \"burst=NUMBER\"", value);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static int64_t
ngx_http_aisearch_limit_rate(ngx_str_t *value)
{
    size_t      len;
    u_char     *p;
    int64_t     scale;
    ngx_int_t   rate;

    len = value->len;
    p = value->data + len - 3;

    if (ngx_strncmp(p, "r/s", 3) == 0) {
        scale = 60 * 1000;

    } else if (ngx_strncmp(p, "r/m", 3) == 0) {
        scale = 1000;

    } else {
        return NGX_ERROR;
    }

    rate = len > 8 ? ngx_atoi(value->data + 5, len - 8) : NGX_ERROR;

    if (rate <= 0 || rate > NGX_HTTP_AISEARCH_LIMIT_MAX) {
        return NGX_ERROR;
    }

    return rate * scale;
}


/* called after the zone of the cache has been configured */

ngx_int_t
ngx_http_aisearch_limit_configure(ngx_conf_t *cf,
    ngx_http_aisearch_main_conf_t *amcf)
{
    size_t  size;

    if (!amcf->limits) {
        return NGX_OK;
    }

    size = ngx_max(amcf->shm_zone->shm.size / NGX_HTTP_AISEARCH_LIMIT_SHARE,
                   NGX_HTTP_AISEARCH_LIMIT_PAGES * ngx_pagesize);

    amcf->limit_zone = ngx_http_aisearch_conf_add_zone(cf, amcf,
                                            &ngx_http_aisearch_limit_name, size,
                                            &ngx_http_aisearch_limit_name,
                                            ngx_http_aisearch_limit_zone_init);

    return amcf->limit_zone ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_http_aisearch_limit_zone_init(ngx_shm_zone_t *zone, void *data)
{
    size_t                            size;
    ngx_slab_pool_t                  *shpool;
    ngx_http_aisearch_limit_table_t  *table;

    shpool = (ngx_slab_pool_t *) zone->shm.addr;

    if (data || zone->shm.exists) {
        return NGX_OK;
    }

    /* all free pages of the zone */

    size = shpool->pfree * ngx_pagesize;

    table = ngx_slab_calloc(shpool, size);
    if (table == NULL) {
        return NGX_ERROR;
    }

    table->nsets = (size - offsetof(ngx_http_aisearch_limit_table_t, sets))
                   / sizeof(table->sets[0]);

    shpool->data = table;

    return NGX_OK;
}


/* requests */


/*
 * Called if the lookup has found that its request should fetch, before it takes
 * the lease.  A request is charged and takes the lease under one mutex: of
 * several requests for the same resource in any workers, one is charged and
 * the others wait for it.  NGX_DECLINED: the lookup continues; any other value:
 * the request is finished with it.
 */

ngx_int_t
ngx_http_aisearch_limit(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_query_t *query, ngx_http_aisearch_lookup_t *lookup)
{
    u_char                           digest[NGX_HTTP_AISEARCH_LIMIT_DIGEST];
    int64_t                          now, excess;
    ngx_str_t                        key;
    ngx_uint_t                       may, flags;
    ngx_slab_pool_t                 *shpool;
    ngx_http_aisearch_limit_t       *limit;
    ngx_http_aisearch_main_conf_t   *amcf;
    ngx_http_aisearch_limit_node_t  *node;

    limit = ctx->conf->limit;
    flags = ctx->bypass ? NGX_HTTP_AISEARCH_BYPASS : 0;

    if (ngx_http_complex_value(ctx->request, &limit->key, &key) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (key.len == 0) {
        *lookup = ngx_http_aisearch_limit_lookup(ctx, query, flags);
        return NGX_DECLINED;
    }

    ngx_http_aisearch_limit_digest(limit, &key, digest);

    amcf = ngx_http_get_module_main_conf(ctx->request,
                                         ngx_http_aisearch_module);
    shpool = (ngx_slab_pool_t *) amcf->limit_zone->shm.addr;

    ngx_shmtx_lock(&shpool->mutex);

    now = ais_clock();
    node = ngx_http_aisearch_limit_find(shpool->data, digest, now);

    excess = ngx_http_aisearch_limit_excess(node, limit->rate, now);
    may = excess <= limit->burst;

    *lookup = ngx_http_aisearch_limit_lookup(ctx, query,
                               may ? flags : flags | NGX_HTTP_AISEARCH_ASK);

    if (may && ngx_http_aisearch_fetches(lookup)) {
        node->excess = excess;
        node->last = now;
    }

    ngx_shmtx_unlock(&shpool->mutex);

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, ctx->request->connection->log, 0,
                   "aisearch limit: key:%08xD excess:%L may:%ui fetch:%s",
                   query->key.hash, excess, may,
                   ngx_http_aisearch_fetch_names[lookup->fetch]);

    if (may || !ngx_http_aisearch_fetches(lookup)) {
        return NGX_DECLINED;
    }

    return ngx_http_aisearch_limit_over(ctx, query, lookup, excess);
}


static ngx_http_aisearch_lookup_t
ngx_http_aisearch_limit_lookup(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_query_t *query, ngx_uint_t flags)
{
    return ngx_http_aisearch_cache_lookup(ctx->account, &query->key,
                                          &ctx->conf->freshness, 0, flags,
                                          ctx->request->pool, &ctx->answer);
}


/* includes the limit, so that a bucket survives a reload with the same one */

static void
ngx_http_aisearch_limit_digest(ngx_http_aisearch_limit_t *limit, ngx_str_t *key,
    u_char *digest)
{
    ngx_md5_t  md5;

    ngx_md5_init(&md5);
    ngx_md5_update(&md5, &limit->rate, sizeof(limit->rate));
    ngx_md5_update(&md5, &limit->burst, sizeof(limit->burst));
    ngx_md5_update(&md5, limit->text.data, limit->text.len + 1);
    ngx_md5_update(&md5, key->data, key->len);
    ngx_md5_final(digest, &md5);
}


/* returns the node of the digest, or the reset least recently used one */

static ngx_http_aisearch_limit_node_t *
ngx_http_aisearch_limit_find(ngx_http_aisearch_limit_table_t *table,
    u_char *digest, int64_t now)
{
    uint32_t                         hash;
    ngx_uint_t                       i;
    ngx_http_aisearch_limit_node_t  *node, *oldest;

    ngx_memcpy(&hash, digest, sizeof(hash));

    node = table->sets[hash % table->nsets];
    oldest = node;

    for (i = 0; i < NGX_HTTP_AISEARCH_LIMIT_WAYS; i++, node++) {

        if (ngx_memcmp(node->digest, digest, NGX_HTTP_AISEARCH_LIMIT_DIGEST)
            == 0)
        {
            node->used = now;
            return node;
        }

        if (node->used < oldest->used) {
            oldest = node;
        }
    }

    oldest->used = now;
    oldest->last = now;
    oldest->excess = -1000;
    ngx_memcpy(oldest->digest, digest, NGX_HTTP_AISEARCH_LIMIT_DIGEST);

    return oldest;
}


/* returns the excess with one more fetch, in 0.001 fetches */

static int64_t
ngx_http_aisearch_limit_excess(ngx_http_aisearch_limit_node_t *node,
    int64_t rate, int64_t now)
{
    int64_t  ms, empty;

    /* time to empty the bucket; capping ms avoids overflow of the product */

    empty = (node->excess + 1000) * 60 * 1000 / rate + 1;

    ms = ngx_max(now - node->last, 0);
    ms = ngx_min(ms, empty);

    return ngx_max(node->excess + 1000 - rate * ms / (60 * 1000), 0);
}


/* serves what the cache has, or else refuses with Retry-After */

static ngx_int_t
ngx_http_aisearch_limit_over(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_query_t *query, ngx_http_aisearch_lookup_t *lookup,
    int64_t excess)
{
    int64_t                     wait;
    ngx_http_aisearch_limit_t  *limit;

    limit = ctx->conf->limit;

    ngx_http_aisearch_limit_warn(ctx, excess);

    if (lookup->serve == AIS_SERVE_NOTHING) {
        *lookup = ngx_http_aisearch_limit_lookup(ctx, query,
                                                 NGX_HTTP_AISEARCH_PEEK);
    }

    lookup->fetch = NGX_HTTP_AISEARCH_NOBODY;

    switch (lookup->serve) {

    case AIS_SERVE_UPDATING:
        lookup->serve = AIS_SERVE_STALE;
        /* fall through */

    case AIS_SERVE_STALE:
        ctx->answer.failure = AIS_FAULT_REFUSED;
        return NGX_DECLINED;

    case AIS_SERVE_NOTHING:
        break;

    default:
        return NGX_DECLINED;
    }

    if (ctx->conf->limit_status == NGX_HTTP_CLOSE) {
        return NGX_HTTP_CLOSE;
    }

    wait = ((excess - limit->burst) * 60 * 1000 + limit->rate - 1)
           / limit->rate;

    ctx->answer.retry_after = (ngx_msec_t) wait;

    return ngx_http_aisearch_refuse(ctx, ctx->conf->limit_status,
                        "too many lookups of resources that are not in the "
                        "cache");
}


/* at most once a minute; each refusal is logged at the "info" level */

static void
ngx_http_aisearch_limit_warn(ngx_http_aisearch_ctx_t *ctx, int64_t excess)
{
    if (!ngx_http_aisearch_may_warn(&ngx_http_aisearch_limit_warned)) {
        return;
    }

    ngx_log_error(NGX_LOG_WARN, ctx->request->connection->log, 0,
                  "limiting fetches, excess: %L.%03L by aisearch_limit_fetches "
                  "\"%V\", further warnings are suppressed for a minute",
                  excess / 1000, excess % 1000, &ctx->conf->limit->text);
}
