/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The zone of the cache: the directive and the initialization of a new zone.
 */


#include "ngx_http_aisearch_conf.h"
#include "ngx_http_aisearch_entry.h"


/* if there is no directive */
#define NGX_HTTP_AISEARCH_ZONE_SIZE  (8 * 1024 * 1024)


static ngx_int_t ngx_http_aisearch_zone_init(ngx_shm_zone_t *zone,
    void *data);


char *
ngx_http_aisearch_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_aisearch_main_conf_t  *amcf = conf;

    u_char     *p;
    ssize_t     size;
    ngx_str_t  *value, name, s;

    value = cf->args->elts;

    if (amcf->shm_zone) {
        return "is duplicate";
    }

    if (ngx_strncmp(value[1].data, "zone=", 5) != 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\", use \"zone=NAME:SIZE\"",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    name.data = value[1].data + 5;

    p = (u_char *) ngx_strchr(name.data, ':');
    if (p == NULL || p == name.data) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid zone \"%V\", use \"zone=NAME:SIZE\"",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    name.len = p - name.data;

    if (!ngx_http_aisearch_conf_name_valid(&name)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid zone \"%V\", a name consists of "
                           "letters, digits, \"_\", \"-\" and \".\"", &name);
        return NGX_CONF_ERROR;
    }

    s.data = p + 1;
    s.len = value[1].data + value[1].len - s.data;

    size = ngx_parse_size(&s);

    if (size == NGX_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid zone size \"%V\", use a size such as "
                           "\"8m\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    if (size < (ssize_t) (8 * ngx_pagesize)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "zone \"%V\" is too small, "
                           "it needs at least %uzk", &name,
                           8 * ngx_pagesize / 1024);
        return NGX_CONF_ERROR;
    }

    amcf->shm_zone = ngx_shared_memory_add(cf, &name, size,
                                           &ngx_http_aisearch_module);

    return amcf->shm_zone ? NGX_CONF_OK : NGX_CONF_ERROR;
}


/* called when all accounts are known */

ngx_int_t
ngx_http_aisearch_zone_configure(ngx_conf_t *cf,
    ngx_http_aisearch_main_conf_t *amcf)
{
    ngx_uint_t                     i;
    ngx_str_t                      name = ngx_string("aisearch");
    ngx_http_aisearch_account_t  **accounts;

    if (amcf->shm_zone == NULL) {
        amcf->shm_zone = ngx_http_aisearch_conf_add_zone(cf, amcf, &name,
                                                  NGX_HTTP_AISEARCH_ZONE_SIZE,
                                                  &ngx_http_aisearch_module,
                                                  ngx_http_aisearch_zone_init);
        if (amcf->shm_zone == NULL) {
            return NGX_ERROR;
        }
    }

    /* also for a zone set by the directive */

    amcf->shm_zone->init = ngx_http_aisearch_zone_init;
    amcf->shm_zone->data = amcf;

    accounts = amcf->accounts.elts;

    for (i = 0; i < amcf->accounts.nelts; i++) {
        accounts[i]->zone = amcf->shm_zone;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_aisearch_zone_init(ngx_shm_zone_t *zone, void *data)
{
    ngx_http_aisearch_cache_t  *old = data;

    size_t                          len;
    ngx_uint_t                      i, n;
    ngx_http_aisearch_cache_t      *c;
    ngx_http_aisearch_main_conf_t  *amcf;

    amcf = zone->data;

    c = ngx_pcalloc(amcf->accounts.pool, sizeof(ngx_http_aisearch_cache_t));
    if (c == NULL) {
        return NGX_ERROR;
    }

    zone->data = c;

    c->shpool = (ngx_slab_pool_t *) zone->shm.addr;

    if (old) {
        c->sh = old->sh;

    } else if (zone->shm.exists) {
        c->sh = c->shpool->data;

    } else {
        c->sh = ngx_slab_calloc(c->shpool, sizeof(ngx_http_aisearch_shctx_t));
        if (c->sh == NULL) {
            return NGX_ERROR;
        }

        c->shpool->data = c->sh;

        /*
         * A single tree of 100000 entries has 17 levels, and each is likely a
         * miss in the CPU caches; a tree per 2 to 4 KiB of the zone has three.
         */

        for (n = 1; n <= zone->shm.size / 4096; n <<= 1) { /* void */ }

        c->sh->mask = n - 1;
        c->sh->trees = ngx_slab_alloc(c->shpool, n * sizeof(ngx_rbtree_t));
        if (c->sh->trees == NULL) {
            return NGX_ERROR;
        }

        for (i = 0; i < n; i++) {
            ngx_rbtree_init(&c->sh->trees[i], &c->sh->sentinel,
                            ngx_http_aisearch_entry_insert);
        }

        for (i = 0; i < NGX_HTTP_AISEARCH_RANKS; i++) {
            ngx_queue_init(&c->sh->queues[i]);
        }

        len = sizeof(" in aisearch zone \"\"") + zone->shm.name.len;

        c->shpool->log_ctx = ngx_slab_alloc(c->shpool, len);
        if (c->shpool->log_ctx == NULL) {
            return NGX_ERROR;
        }

        ngx_sprintf(c->shpool->log_ctx, " in aisearch zone \"%V\"%Z",
                    &zone->shm.name);

        /* a full cache is normal; we log a warning where it matters */
        c->shpool->log_nomem = 0;
    }

    return NGX_OK;
}
