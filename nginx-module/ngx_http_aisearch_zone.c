#include "ngx_http_aisearch_entry.h"


#define NGX_HTTP_AISEARCH_ZONE_NAME  "aisearch"
#define NGX_HTTP_AISEARCH_ZONE_SIZE  (8 * 1024 * 1024)


struct ngx_http_aisearch_identity_s {
    ngx_http_aisearch_identity_t *next;
    ngx_uint_t                    id;
    size_t                        len;
    u_char                        data[1];
};


static ngx_int_t ngx_http_aisearch_zone_init(ngx_shm_zone_t *zone,
    void *data);
static ngx_int_t ngx_http_aisearch_zone_identify(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_account_t *account);


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
                           "invalid parameter \"%V\", "
                           "write \"zone=NAME:SIZE\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    name.data = value[1].data + 5;

    p = (u_char *) ngx_strchr(name.data, ':');
    if (p == NULL || p == name.data) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid zone \"%V\", write \"zone=NAME:SIZE\"",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    name.len = p - name.data;

    if (!ngx_http_aisearch_status_name_valid(&name)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid zone \"%V\", a name is of letters, digits, "
                           "\"_\", \"-\" and \".\"", &name);
        return NGX_CONF_ERROR;
    }

    s.data = p + 1;
    s.len = value[1].data + value[1].len - s.data;

    size = ngx_parse_size(&s);

    if (size == NGX_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid zone size \"%V\", "
                           "write a number of bytes such as \"8m\"", &value[1]);
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
    if (amcf->shm_zone == NULL) {
        return NGX_CONF_ERROR;
    }

    amcf->shm_zone->init = ngx_http_aisearch_zone_init;

    return NGX_CONF_OK;
}


ngx_int_t
ngx_http_aisearch_zone_default(ngx_conf_t *cf, ngx_shm_zone_t **zone)
{
    ngx_str_t  name = ngx_string(NGX_HTTP_AISEARCH_ZONE_NAME);

    *zone = ngx_shared_memory_add(cf, &name, NGX_HTTP_AISEARCH_ZONE_SIZE,
                                  &ngx_http_aisearch_module);
    if (*zone == NULL) {
        return NGX_ERROR;
    }

    (*zone)->init = ngx_http_aisearch_zone_init;

    return NGX_OK;
}


static ngx_int_t
ngx_http_aisearch_zone_init(ngx_shm_zone_t *zone, void *data)
{
    ngx_http_aisearch_cache_t  *old = data;

    size_t                           len;
    ngx_uint_t                       i, n;
    ngx_http_aisearch_cache_t       *c;
    ngx_http_aisearch_account_t    **accounts;
    ngx_http_aisearch_main_conf_t   *amcf;

    amcf = zone->data;

    c = ngx_pcalloc(amcf->accounts.pool, sizeof(ngx_http_aisearch_cache_t));
    if (c == NULL) {
        return NGX_ERROR;
    }

    zone->data = c;

    c->amcf = amcf;
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
         * One tree of 100000 entries has 17 levels, each in memory that no
         * cache of the CPU holds; one for 2 to 4 KiB of the zone has three.
         */

        for (n = 1; n <= zone->shm.size / 4096; n <<= 1) { /* void */ }

        c->sh->mask = n - 1;
        c->sh->trees = ngx_slab_alloc(c->shpool, n * sizeof(ngx_rbtree_t));
        if (c->sh->trees == NULL) {
            return NGX_ERROR;
        }

        for (i = 0; i < n; i++) {
            ngx_rbtree_init(&c->sh->trees[i], &c->sh->sentinel,
                            ngx_http_aisearch_rbtree_insert);
        }

        ngx_queue_init(&c->sh->lru);

        len = sizeof(" in aisearch zone \"\"") + zone->shm.name.len;

        c->shpool->log_ctx = ngx_slab_alloc(c->shpool, len);
        if (c->shpool->log_ctx == NULL) {
            return NGX_ERROR;
        }

        ngx_sprintf(c->shpool->log_ctx, " in aisearch zone \"%V\"%Z",
                    &zone->shm.name);

        /* a full zone is a cache at work; we warn where it matters */
        c->shpool->log_nomem = 0;
    }

    ngx_shmtx_lock(&c->shpool->mutex);
    c->generation = ++c->sh->generation;
    ngx_shmtx_unlock(&c->shpool->mutex);

    accounts = amcf->accounts.elts;

    for (i = 0; i < amcf->accounts.nelts; i++) {
        if (ngx_http_aisearch_zone_identify(c, accounts[i]) != NGX_OK) {
            ngx_log_error(NGX_LOG_EMERG, zone->shm.log, 0,
                          "aisearch zone \"%V\" is too small for its accounts, "
                          "make it larger", &zone->shm.name);
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/*
 * An entry names its account by a number.  The zone remembers which identity
 * has which, so that entries hold over a reload, and only for as long as they
 * mean the same.
 */

static ngx_int_t
ngx_http_aisearch_zone_identify(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_account_t *account)
{
    ngx_str_t                     *s;
    ngx_uint_t                     id;
    ngx_http_aisearch_identity_t  *it;

    s = &account->identity;
    id = 0;

    for (it = c->sh->identities; it; it = it->next) {

        if (it->len == s->len && ngx_memcmp(it->data, s->data, s->len) == 0) {
            account->cache_id = it->id;
            return NGX_OK;
        }

        id = ngx_max(id, it->id);
    }

    if (id == 0xffff) {
        return NGX_ERROR;
    }

    /* a zone may be full of entries, which workers use meanwhile */

    ngx_shmtx_lock(&c->shpool->mutex);

    it = ngx_http_aisearch_alloc(c,
             offsetof(ngx_http_aisearch_identity_t, data) + s->len, NULL,
             NGX_MAX_UINT32_VALUE);

    ngx_shmtx_unlock(&c->shpool->mutex);

    if (it == NULL) {
        return NGX_ERROR;
    }

    it->id = id + 1;
    it->len = s->len;
    ngx_memcpy(it->data, s->data, s->len);

    it->next = c->sh->identities;
    c->sh->identities = it;

    account->cache_id = it->id;

    return NGX_OK;
}
