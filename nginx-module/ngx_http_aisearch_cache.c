#include "ngx_http_aisearch_module.h"


#define NGX_HTTP_AISEARCH_ZONE_NAME  "aisearch"
#define NGX_HTTP_AISEARCH_ZONE_SIZE  (8 * 1024 * 1024)

/*
 * All memory is taken in blocks of one size: the slab never gives a page that
 * has blocks of one size to another, so that in a full zone any block that is
 * freed serves any entry.
 */
#define NGX_HTTP_AISEARCH_BLOCK      256

/* an entry with a long key needs more, and may not cost more than so many */
#define NGX_HTTP_AISEARCH_EVICTIONS  32


typedef struct ngx_http_aisearch_chunk_s  ngx_http_aisearch_chunk_t;

#define NGX_HTTP_AISEARCH_CHUNK                                               \
    (NGX_HTTP_AISEARCH_BLOCK - sizeof(ngx_http_aisearch_chunk_t *))

struct ngx_http_aisearch_chunk_s {
    ngx_http_aisearch_chunk_t    *next;
    u_char                        data[NGX_HTTP_AISEARCH_CHUNK];
};


/*
 * An entry has the last answer, and the failure to get a later one, if any.
 *
 * An entry and its key are one block; what is left of it takes the beginning
 * of the body.  The rest is in chunks, a block each.
 */

typedef struct {
    ngx_rbtree_node_t             node;
    ngx_queue_t                   queue;

    ngx_http_aisearch_chunk_t    *chunks;
    ngx_msec_t                    fetched;
    ngx_msec_t                    failed;      /* 0: did not fail since */
    ngx_msec_t                    lease;       /* runs out then; 0: none */
    uint64_t                      waiters;     /* workers to wake */
    ngx_pid_t                     leader;

    uint32_t                      body_len;
    uint32_t                      age;         /* of the job, in seconds */
    uint32_t                      fetch_time;
    uint32_t                      retry_after; /* ms */
    uint32_t                      generation;

    u_char                        etag[NGX_HTTP_AISEARCH_ETAG_LEN];

    uint16_t                      status;
    uint16_t                      account;
    uint16_t                      key_len;
    unsigned                      answered:1;
    unsigned                      has_state:1;
    unsigned                      fault:4;     /* of the answer */
    unsigned                      failure:4;
    unsigned                      class:3;
    unsigned                      state:3;

    u_char                        data[1];     /* the key, then the body */
} ngx_http_aisearch_entry_t;


typedef struct ngx_http_aisearch_identity_s  ngx_http_aisearch_identity_t;

struct ngx_http_aisearch_identity_s {
    ngx_http_aisearch_identity_t *next;
    ngx_uint_t                    id;
    size_t                        len;
    u_char                        data[1];
};


typedef struct {
    ngx_rbtree_t                  rbtree;
    ngx_rbtree_node_t             sentinel;
    ngx_queue_t                   lru;
    ngx_http_aisearch_identity_t *identities;
    ngx_uint_t                    entries;
    ngx_uint_t                    evictions;
    uint32_t                      generation;
} ngx_http_aisearch_shctx_t;


typedef struct {
    ngx_http_aisearch_shctx_t      *sh;
    ngx_slab_pool_t                *shpool;
    ngx_http_aisearch_main_conf_t  *amcf;
    uint32_t                        generation;  /* of this configuration */
    time_t                          warned;
} ngx_http_aisearch_cache_t;


static ngx_int_t ngx_http_aisearch_cache_init(ngx_shm_zone_t *zone,
    void *data);
static ngx_int_t ngx_http_aisearch_cache_identify(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_account_t *account);

static void ngx_http_aisearch_rbtree_insert(ngx_rbtree_node_t *temp,
    ngx_rbtree_node_t *node, ngx_rbtree_node_t *sentinel);
static ngx_int_t ngx_http_aisearch_entry_cmp(ngx_http_aisearch_entry_t *e,
    ngx_uint_t account, u_char *path, size_t len);
static ngx_http_aisearch_entry_t *ngx_http_aisearch_entry_find(
    ngx_http_aisearch_cache_t *c, ngx_http_aisearch_key_t *key);
static ngx_http_aisearch_entry_t *ngx_http_aisearch_entry_create(
    ngx_http_aisearch_cache_t *c, ngx_http_aisearch_key_t *key);
static void ngx_http_aisearch_entry_delete(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e);
static ngx_http_aisearch_lookup_t ngx_http_aisearch_entry_decide(
    ngx_http_aisearch_cache_t *c, ngx_http_aisearch_entry_t *e,
    ngx_http_aisearch_freshness_t *freshness, double stretch,
    ngx_msec_t since, ngx_uint_t flags);
static ngx_uint_t ngx_http_aisearch_entry_outdated(
    ngx_http_aisearch_cache_t *c, ngx_http_aisearch_entry_t *e);
static ngx_msec_t ngx_http_aisearch_entry_lifetime(ngx_http_aisearch_entry_t *e,
    struct ais_valid *valid, double stretch);
static ngx_int_t ngx_http_aisearch_entry_read(ngx_http_aisearch_entry_t *e,
    ngx_http_aisearch_serve_e serve, ngx_pool_t *pool,
    ngx_http_aisearch_answer_t *answer);
static ngx_int_t ngx_http_aisearch_entry_write(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e, ngx_http_aisearch_answer_t *answer);
static void ngx_http_aisearch_entry_follow_job(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_key_t *logs, ngx_http_aisearch_answer_t *answer);
static void ngx_http_aisearch_entry_lease(ngx_http_aisearch_entry_t *e);
static ngx_uint_t ngx_http_aisearch_entry_leased(ngx_http_aisearch_entry_t *e);
static ngx_uint_t ngx_http_aisearch_entry_lost(ngx_http_aisearch_entry_t *e);
static uint64_t ngx_http_aisearch_entry_unlease(ngx_http_aisearch_entry_t *e);

static size_t ngx_http_aisearch_entry_size(size_t key_len);
static size_t ngx_http_aisearch_inline_size(size_t key_len);
static ngx_int_t ngx_http_aisearch_body_write(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e, ngx_str_t *body);
static u_char *ngx_http_aisearch_body_read(ngx_http_aisearch_entry_t *e,
    u_char *dst);
static void ngx_http_aisearch_body_free(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e);
static void *ngx_http_aisearch_alloc(ngx_http_aisearch_cache_t *c, size_t size,
    ngx_http_aisearch_entry_t *keep, ngx_uint_t evictions);
static void ngx_http_aisearch_cache_warn(ngx_http_aisearch_cache_t *c,
    const char *what);


/* configuration */


char *
ngx_http_aisearch_cache_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
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

    amcf->shm_zone->init = ngx_http_aisearch_cache_init;

    return NGX_CONF_OK;
}


ngx_int_t
ngx_http_aisearch_cache_default_zone(ngx_conf_t *cf, ngx_shm_zone_t **zone)
{
    ngx_str_t  name = ngx_string(NGX_HTTP_AISEARCH_ZONE_NAME);

    *zone = ngx_shared_memory_add(cf, &name, NGX_HTTP_AISEARCH_ZONE_SIZE,
                                  &ngx_http_aisearch_module);
    if (*zone == NULL) {
        return NGX_ERROR;
    }

    (*zone)->init = ngx_http_aisearch_cache_init;

    return NGX_OK;
}


static ngx_int_t
ngx_http_aisearch_cache_init(ngx_shm_zone_t *zone, void *data)
{
    ngx_http_aisearch_cache_t  *old = data;

    size_t                           len;
    ngx_uint_t                       i;
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

        ngx_rbtree_init(&c->sh->rbtree, &c->sh->sentinel,
                        ngx_http_aisearch_rbtree_insert);
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
        if (ngx_http_aisearch_cache_identify(c, accounts[i]) != NGX_OK) {
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
ngx_http_aisearch_cache_identify(ngx_http_aisearch_cache_t *c,
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


/* what requests and fetches do */


ngx_http_aisearch_lookup_t
ngx_http_aisearch_cache_lookup(ngx_http_aisearch_account_t *account,
    ngx_http_aisearch_key_t *key, ngx_http_aisearch_freshness_t *freshness,
    ngx_msec_t since, ngx_uint_t flags, ngx_pool_t *pool,
    ngx_http_aisearch_answer_t *answer)
{
    double                       stretch;
    ngx_http_aisearch_cache_t   *c;
    ngx_http_aisearch_entry_t   *e;
    ngx_http_aisearch_lookup_t   lookup;

    ngx_memzero(&lookup, sizeof(ngx_http_aisearch_lookup_t));

    c = account->zone->data;
    stretch = ngx_http_aisearch_budget_stretch(account->budget);

    ngx_shmtx_lock(&c->shpool->mutex);

    e = ngx_http_aisearch_entry_find(c, key);

    if (e) {
        ngx_queue_remove(&e->queue);
        ngx_queue_insert_head(&c->sh->lru, &e->queue);

        lookup = ngx_http_aisearch_entry_decide(c, e, freshness, stretch,
                                                since, flags);

        if (lookup.serve != NGX_HTTP_AISEARCH_NOTHING
            && ngx_http_aisearch_entry_read(e, lookup.serve, pool, answer)
               != NGX_OK)
        {
            lookup.serve = NGX_HTTP_AISEARCH_NOTHING;
            lookup.fetch = NGX_HTTP_AISEARCH_LONER;
        }

    } else if (!(flags & NGX_HTTP_AISEARCH_PEEK)) {
        e = ngx_http_aisearch_entry_create(c, key);

        lookup.fetch = e ? NGX_HTTP_AISEARCH_LEADER : NGX_HTTP_AISEARCH_LONER;
    }

    if (lookup.fetch == NGX_HTTP_AISEARCH_LEADER) {
        ngx_http_aisearch_entry_lease(e);

    } else if (lookup.fetch == NGX_HTTP_AISEARCH_OTHER) {
        e->waiters |= ngx_http_aisearch_wakeup_bit();
    }

    ngx_shmtx_unlock(&c->shpool->mutex);

    if (lookup.fetch == NGX_HTTP_AISEARCH_LONER) {
        ngx_http_aisearch_cache_warn(c, "entry");
    }

    return lookup;
}


void
ngx_http_aisearch_cache_store(ngx_http_aisearch_account_t *account,
    ngx_http_aisearch_key_t *key, ngx_http_aisearch_answer_t *answer)
{
    uint64_t                    waiters;
    ngx_int_t                   rc;
    ngx_http_aisearch_cache_t  *c;
    ngx_http_aisearch_entry_t  *e;

    c = account->zone->data;
    rc = NGX_OK;
    waiters = 0;

    ngx_shmtx_lock(&c->shpool->mutex);

    e = ngx_http_aisearch_entry_find(c, key);

    if (e == NULL) {
        e = ngx_http_aisearch_entry_create(c, key);
    }

    if (e == NULL) {
        rc = NGX_ERROR;
        goto done;
    }

    if (ngx_http_aisearch_entry_lost(e)) {
        goto done;
    }

    waiters = ngx_http_aisearch_entry_unlease(e);

    if (answer->verdict.fault != AIS_FAULT_NONE) {

        /* what it said to another credential, or of another failure, is over */

        if (e->fault != AIS_FAULT_NONE
            || ngx_http_aisearch_entry_outdated(c, e))
        {
            e->answered = 0;
        }

        e->failed = answer->fetched ? answer->fetched : 1;
        e->failure = answer->verdict.fault;
        e->retry_after = (uint32_t) answer->retry_after;
        e->generation = c->generation;

        /* a good answer, even an old one, is worth more than the API's own
           words for its failure */

        if (!answer->verdict.pass
            || (e->answered && e->fault == AIS_FAULT_NONE))
        {
            goto done;
        }

    } else {
        e->failed = 0;

        if (answer->verdict.class == AIS_CLASS_LOGS) {
            ngx_http_aisearch_entry_follow_job(c, key, answer);
        }
    }

    rc = ngx_http_aisearch_entry_write(c, e, answer);

done:

    ngx_shmtx_unlock(&c->shpool->mutex);

    ngx_http_aisearch_wakeup_send(c->amcf, waiters);

    if (rc != NGX_OK) {
        ngx_http_aisearch_cache_warn(c, "answer");
    }
}


void
ngx_http_aisearch_cache_renew(ngx_http_aisearch_account_t *account,
    ngx_http_aisearch_key_t *key)
{
    ngx_http_aisearch_cache_t  *c;
    ngx_http_aisearch_entry_t  *e;

    c = account->zone->data;

    ngx_shmtx_lock(&c->shpool->mutex);

    e = ngx_http_aisearch_entry_find(c, key);

    /* a leader that was late may find that another took over */

    if (e && (e->leader == ngx_pid || e->lease == 0)) {
        ngx_http_aisearch_entry_lease(e);
    }

    ngx_shmtx_unlock(&c->shpool->mutex);
}


void
ngx_http_aisearch_cache_release(ngx_http_aisearch_account_t *account,
    ngx_http_aisearch_key_t *key)
{
    uint64_t                    waiters;
    ngx_http_aisearch_cache_t  *c;
    ngx_http_aisearch_entry_t  *e;

    c = account->zone->data;
    waiters = 0;

    ngx_shmtx_lock(&c->shpool->mutex);

    e = ngx_http_aisearch_entry_find(c, key);

    if (e && e->leader == ngx_pid) {
        waiters = ngx_http_aisearch_entry_unlease(e);

        if (!e->answered && e->failed == 0) {
            ngx_http_aisearch_entry_delete(c, e);
        }
    }

    ngx_shmtx_unlock(&c->shpool->mutex);

    ngx_http_aisearch_wakeup_send(c->amcf, waiters);
}


void
ngx_http_aisearch_cache_snapshot(ngx_shm_zone_t *zone,
    ngx_http_aisearch_cache_state_t *state)
{
    ngx_http_aisearch_cache_t  *c;

    c = zone->data;

    ngx_shmtx_lock(&c->shpool->mutex);

    state->entries = c->sh->entries;
    state->evictions = c->sh->evictions;
    state->free = c->shpool->pfree * ngx_pagesize;
    state->used = c->shpool->end - c->shpool->start - state->free;

    ngx_shmtx_unlock(&c->shpool->mutex);
}


ngx_msec_t
ngx_http_aisearch_cache_lifetime(struct ais_valid *valid,
    struct ais_verdict *verdict, double stretch)
{
    int64_t  lifetime;

    lifetime = ais_policy_lifetime(valid, verdict);

    /* what has ended is not asked for again anyway */

    if (stretch > 1 && verdict->has_state && ais_state_active(verdict->state)) {
        lifetime = (int64_t) ((double) lifetime * stretch);
    }

    return (ngx_msec_t) lifetime;
}


/*
 * Eight bytes at a time, on each look-up, which costs a third of
 * ngx_murmur_hash2().  Keys that collide cost a comparison, no more: the tree
 * stays balanced.
 */

void
ngx_http_aisearch_cache_hash(ngx_http_aisearch_key_t *key)
{
    u_char    *p;
    size_t     len;
    uint64_t   hash, word;

    p = key->path.data;
    len = key->path.len;
    hash = key->account;

    for ( /* void */ ; len >= 8; p += 8, len -= 8) {
        ngx_memcpy(&word, p, 8);
        hash = (hash ^ word) * 0x9e3779b97f4a7c15;
        hash ^= hash >> 32;
    }

    /* no key is shorter than a word, so the last one may overlap */

    ngx_memcpy(&word, p + len - 8, 8);
    hash = (hash ^ word) * 0x9e3779b97f4a7c15;

    key->hash = (uint32_t) (hash >> 32);
}


/* entries; the mutex is held */


/* what to answer with, and who fetches; changes nothing */

static ngx_http_aisearch_lookup_t
ngx_http_aisearch_entry_decide(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e, ngx_http_aisearch_freshness_t *freshness,
    double stretch, ngx_msec_t since, ngx_uint_t flags)
{
    ngx_uint_t                   good, failed, fresh, answered, refused,
                                 may_fetch;
    ngx_msec_t                   age, lifetime;
    ngx_http_aisearch_lookup_t   lookup;

    age = ngx_http_aisearch_cache_age(e->fetched);

    lookup.serve = NGX_HTTP_AISEARCH_NOTHING;
    lookup.fetch = NGX_HTTP_AISEARCH_NOBODY;
    lookup.expired = e->answered || e->failed;

    good = e->answered && e->fault == AIS_FAULT_NONE;
    failed = e->failed != 0;

    if (ngx_http_aisearch_entry_outdated(c, e)) {
        good = 0;
    }

    if (failed
        && e->failure == AIS_FAULT_CREDENTIAL
        && e->generation != c->generation)
    {
        failed = 0;
    }

    lifetime = good ? ngx_http_aisearch_entry_lifetime(e, &freshness->valid,
                                                       stretch)
                    : 0;

    lookup.lifetime = lifetime;

    answered = since && (ngx_msec_int_t) (e->fetched - since) >= 0;
    refused = since && (ngx_msec_int_t) (e->failed - since) >= 0;

    fresh = good && (age < lifetime || answered);

    if (flags & NGX_HTTP_AISEARCH_BYPASS) {

        if (failed && ngx_http_aisearch_cache_age(e->failed) < e->retry_after) {
            /* the API wants to be left alone, also by those in a hurry */
            fresh = 0;

        } else {
            good = good && answered;
            failed = failed && refused;
            fresh = good;
        }
    }

    if (fresh) {
        lookup.serve = NGX_HTTP_AISEARCH_FRESH;
        return lookup;
    }

    /* while the API is known to fail, it is asked in the background */

    may_fetch = 1;

    if (failed) {
        if (refused
            || ngx_http_aisearch_cache_age(e->failed)
               < ngx_max((ngx_msec_t) freshness->valid.error, e->retry_after))
        {
            lookup.serve = NGX_HTTP_AISEARCH_FAILED;
            may_fetch = 0;
        }
    }

    if (good && (failed || (flags & NGX_HTTP_AISEARCH_PEEK))) {

        if (age < lifetime + freshness->stale_error) {
            lookup.serve = NGX_HTTP_AISEARCH_STALE;
        }

    } else if (good
               && lifetime > 0
               && e->class < AIS_CLASS_NOT_FOUND
               && age < lifetime + freshness->stale_updating)
    {
        lookup.serve = NGX_HTTP_AISEARCH_UPDATING;
    }

    if (!may_fetch || (flags & NGX_HTTP_AISEARCH_PEEK)) {
        return lookup;
    }

    if (ngx_http_aisearch_entry_leased(e)) {
        lookup.fetch = NGX_HTTP_AISEARCH_OTHER;

    } else {
        lookup.fetch = NGX_HTTP_AISEARCH_LEADER;
    }

    return lookup;
}


/* a new configuration may have brought a credential that is not refused */

static ngx_uint_t
ngx_http_aisearch_entry_outdated(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e)
{
    return e->status == NGX_HTTP_FORBIDDEN && e->generation != c->generation;
}


static ngx_msec_t
ngx_http_aisearch_entry_lifetime(ngx_http_aisearch_entry_t *e,
    struct ais_valid *valid, double stretch)
{
    struct ais_verdict  verdict;

    verdict.class = e->class;
    verdict.has_state = e->has_state;
    verdict.state = e->state;
    verdict.age = (int64_t) e->age * 1000;

    return ngx_http_aisearch_cache_lifetime(valid, &verdict, stretch);
}


static ngx_int_t
ngx_http_aisearch_entry_read(ngx_http_aisearch_entry_t *e,
    ngx_http_aisearch_serve_e serve, ngx_pool_t *pool,
    ngx_http_aisearch_answer_t *answer)
{
    if (serve == NGX_HTTP_AISEARCH_FAILED
        && !(e->answered && e->fault == e->failure))
    {
        ngx_memzero(answer, sizeof(ngx_http_aisearch_answer_t));

        answer->verdict.fault = e->failure;
        answer->verdict.class = AIS_CLASS_ERROR;
        answer->fetched = e->failed;
        answer->retry_after = e->retry_after;
        return NGX_OK;
    }

    answer->body.len = e->body_len;
    answer->body.data = ngx_pnalloc(pool, e->body_len + 1);

    if (answer->body.data == NULL) {
        return NGX_ERROR;
    }

    ngx_http_aisearch_body_read(e, answer->body.data);

    answer->verdict.fault = e->fault;
    answer->verdict.class = e->class;
    answer->verdict.pass = 1;
    answer->verdict.has_state = e->has_state;
    answer->verdict.state = e->state;
    answer->verdict.age = (int64_t) e->age * 1000;
    answer->failure = e->failed ? e->failure : AIS_FAULT_NONE;
    answer->status = e->status;
    ngx_memcpy(answer->etag, e->etag, NGX_HTTP_AISEARCH_ETAG_LEN);
    answer->fetched = e->fetched;
    answer->fetch_time = e->fetch_time;
    answer->retry_after = e->failed ? e->retry_after : 0;

    return NGX_OK;
}


static ngx_int_t
ngx_http_aisearch_entry_write(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e, ngx_http_aisearch_answer_t *answer)
{
    /* the old answer goes with its body */

    e->answered = 0;

    if (ngx_http_aisearch_body_write(c, e, &answer->body) != NGX_OK) {
        return NGX_ERROR;
    }

    e->answered = 1;
    e->generation = c->generation;
    e->fault = answer->verdict.fault;
    e->class = answer->verdict.class;
    e->has_state = answer->verdict.has_state;
    e->state = answer->verdict.state;
    e->age = (uint32_t) (answer->verdict.age / 1000);
    e->status = (uint16_t) answer->status;
    ngx_memcpy(e->etag, answer->etag, NGX_HTTP_AISEARCH_ETAG_LEN);
    e->fetched = answer->fetched;
    e->fetch_time = (uint32_t) answer->fetch_time;

    return NGX_OK;
}


/*
 * Logs are as fresh as their job, where it is here.  If that was found to have
 * ended while they were on their way, they may lack the end.
 */

static void
ngx_http_aisearch_entry_follow_job(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_key_t *logs, ngx_http_aisearch_answer_t *answer)
{
    u_char                     *p;
    struct ais_verdict         *verdict;
    ngx_http_aisearch_key_t     key;
    ngx_http_aisearch_entry_t  *e;

    key = *logs;

    p = ngx_strlchr(key.path.data, key.path.data + key.path.len, '?');

    if (p) {
        key.path.len = p - key.path.data;
    }

    key.path.len -= sizeof("/logs") - 1;

    ngx_http_aisearch_cache_hash(&key);

    e = ngx_http_aisearch_entry_find(c, &key);

    if (e == NULL || !e->answered || e->class > AIS_CLASS_ENDED) {
        return;
    }

    if (e->class == AIS_CLASS_ENDED
        && (ngx_msec_int_t) (answer->asked - e->fetched) < 0)
    {
        return;
    }

    verdict = &answer->verdict;

    verdict->has_state = 1;
    verdict->state = e->state;
    verdict->age = (int64_t) e->age * 1000;
}


static void
ngx_http_aisearch_entry_lease(ngx_http_aisearch_entry_t *e)
{
    e->leader = ngx_pid;
    e->lease = ngx_current_msec + NGX_HTTP_AISEARCH_LEASE;

    if (e->lease == 0) {
        e->lease = 1;
    }
}


static ngx_uint_t
ngx_http_aisearch_entry_leased(ngx_http_aisearch_entry_t *e)
{
    return e->lease && (ngx_msec_int_t) (e->lease - ngx_current_msec) > 0;
}


/* who took over from a late leader asked later than it, and knows better */

static ngx_uint_t
ngx_http_aisearch_entry_lost(ngx_http_aisearch_entry_t *e)
{
    return e->leader != ngx_pid
           && (e->answered || e->failed || ngx_http_aisearch_entry_leased(e));
}


/* returns the workers to wake, once the mutex is free */

static uint64_t
ngx_http_aisearch_entry_unlease(ngx_http_aisearch_entry_t *e)
{
    uint64_t  waiters;

    waiters = e->waiters;

    e->waiters = 0;
    e->lease = 0;

    return waiters;
}


static ngx_int_t
ngx_http_aisearch_entry_cmp(ngx_http_aisearch_entry_t *e, ngx_uint_t account,
    u_char *path, size_t len)
{
    if (e->account != account) {
        return account < e->account ? -1 : 1;
    }

    if (e->key_len != len) {
        return len < e->key_len ? -1 : 1;
    }

    return ngx_memcmp(path, e->data, len);
}


static void
ngx_http_aisearch_rbtree_insert(ngx_rbtree_node_t *temp,
    ngx_rbtree_node_t *node, ngx_rbtree_node_t *sentinel)
{
    ngx_rbtree_node_t          **p;
    ngx_http_aisearch_entry_t   *e, *et;

    e = (ngx_http_aisearch_entry_t *) node;

    for ( ;; ) {

        et = (ngx_http_aisearch_entry_t *) temp;

        if (node->key != temp->key) {
            p = (node->key < temp->key) ? &temp->left : &temp->right;

        } else {
            p = (ngx_http_aisearch_entry_cmp(et, e->account, e->data,
                                             e->key_len)
                 < 0)
                ? &temp->left : &temp->right;
        }

        if (*p == sentinel) {
            break;
        }

        temp = *p;
    }

    *p = node;
    node->parent = temp;
    node->left = sentinel;
    node->right = sentinel;
    ngx_rbt_red(node);
}


static ngx_http_aisearch_entry_t *
ngx_http_aisearch_entry_find(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_key_t *key)
{
    ngx_int_t                   rc;
    ngx_rbtree_node_t          *node, *sentinel;
    ngx_http_aisearch_entry_t  *e;

    node = c->sh->rbtree.root;
    sentinel = c->sh->rbtree.sentinel;

    while (node != sentinel) {

        if (key->hash != node->key) {
            node = (key->hash < node->key) ? node->left : node->right;
            continue;
        }

        e = (ngx_http_aisearch_entry_t *) node;

        rc = ngx_http_aisearch_entry_cmp(e, key->account, key->path.data,
                                         key->path.len);
        if (rc == 0) {
            return e;
        }

        node = (rc < 0) ? node->left : node->right;
    }

    return NULL;
}


static ngx_http_aisearch_entry_t *
ngx_http_aisearch_entry_create(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_key_t *key)
{
    size_t                      size;
    ngx_http_aisearch_entry_t  *e;

    size = ngx_http_aisearch_entry_size(key->path.len);

    e = ngx_http_aisearch_alloc(c, size, NULL, NGX_HTTP_AISEARCH_EVICTIONS);
    if (e == NULL) {
        return NULL;
    }

    ngx_memzero(e, offsetof(ngx_http_aisearch_entry_t, data));

    e->node.key = key->hash;
    e->account = (uint16_t) key->account;
    e->key_len = (uint16_t) key->path.len;
    ngx_memcpy(e->data, key->path.data, key->path.len);

    c->sh->entries++;

    /* who is killed between the two leaves an entry that is not evicted */

    ngx_queue_init(&e->queue);

    ngx_rbtree_insert(&c->sh->rbtree, &e->node);
    ngx_queue_insert_head(&c->sh->lru, &e->queue);

    return e;
}


static void
ngx_http_aisearch_entry_delete(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e)
{
    c->sh->entries--;

    ngx_queue_remove(&e->queue);
    ngx_rbtree_delete(&c->sh->rbtree, &e->node);

    ngx_http_aisearch_body_free(c, e);
    ngx_slab_free_locked(c->shpool, e);
}


/* bodies; the mutex is held */


static size_t
ngx_http_aisearch_entry_size(size_t key_len)
{
    size_t  used, size;

    used = offsetof(ngx_http_aisearch_entry_t, data) + key_len;

    for (size = NGX_HTTP_AISEARCH_BLOCK; size < used; size <<= 1) {
        /* void */
    }

    return size;
}


/* what the block of an entry has left for the body */

static size_t
ngx_http_aisearch_inline_size(size_t key_len)
{
    return ngx_http_aisearch_entry_size(key_len)
           - offsetof(ngx_http_aisearch_entry_t, data) - key_len;
}


static ngx_int_t
ngx_http_aisearch_body_write(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e, ngx_str_t *body)
{
    size_t                       n, rest;
    u_char                      *p;
    ngx_http_aisearch_chunk_t   *chunk, **last;

    ngx_http_aisearch_body_free(c, e);

    if (body->len == 0) {
        return NGX_OK;
    }

    /* one answer is not worth all the others */

    if (body->len > (size_t) (c->shpool->end - c->shpool->start) / 4) {
        return NGX_ERROR;
    }

    p = body->data;
    rest = body->len;

    n = ngx_min(rest, ngx_http_aisearch_inline_size(e->key_len));
    ngx_memcpy(e->data + e->key_len, p, n);

    last = &e->chunks;

    for ( ;; ) {
        p += n;
        rest -= n;

        if (rest == 0) {
            break;
        }

        chunk = ngx_http_aisearch_alloc(c, sizeof(ngx_http_aisearch_chunk_t),
                                        e, NGX_HTTP_AISEARCH_EVICTIONS);
        if (chunk == NULL) {
            ngx_http_aisearch_body_free(c, e);
            return NGX_ERROR;
        }

        chunk->next = NULL;
        *last = chunk;
        last = &chunk->next;

        n = ngx_min(rest, NGX_HTTP_AISEARCH_CHUNK);
        ngx_memcpy(chunk->data, p, n);
    }

    e->body_len = (uint32_t) body->len;

    return NGX_OK;
}


static u_char *
ngx_http_aisearch_body_read(ngx_http_aisearch_entry_t *e, u_char *dst)
{
    size_t                      n, rest;
    ngx_http_aisearch_chunk_t  *chunk;

    rest = e->body_len;

    n = ngx_min(rest, ngx_http_aisearch_inline_size(e->key_len));
    dst = ngx_cpymem(dst, e->data + e->key_len, n);
    rest -= n;

    for (chunk = e->chunks; rest; chunk = chunk->next) {
        n = ngx_min(rest, NGX_HTTP_AISEARCH_CHUNK);
        dst = ngx_cpymem(dst, chunk->data, n);
        rest -= n;
    }

    return dst;
}


static void
ngx_http_aisearch_body_free(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e)
{
    ngx_http_aisearch_chunk_t  *chunk;

    e->body_len = 0;

    /* who is killed here loses one chunk, but leaves none to be freed twice */

    while (e->chunks) {
        chunk = e->chunks;
        e->chunks = chunk->next;

        ngx_slab_free_locked(c->shpool, chunk);
    }
}


/* makes room by what was not used for the longest time, but for "keep" */

static void *
ngx_http_aisearch_alloc(ngx_http_aisearch_cache_t *c, size_t size,
    ngx_http_aisearch_entry_t *keep, ngx_uint_t evictions)
{
    void                       *p;
    ngx_queue_t                *q, *prev;
    ngx_http_aisearch_entry_t  *e;

    p = ngx_slab_alloc_locked(c->shpool, size);

    for (q = ngx_queue_last(&c->sh->lru);
         p == NULL && evictions && q != ngx_queue_sentinel(&c->sh->lru);
         q = prev)
    {
        prev = ngx_queue_prev(q);
        e = ngx_queue_data(q, ngx_http_aisearch_entry_t, queue);

        if (e == keep || ngx_http_aisearch_entry_leased(e)) {
            continue;
        }

        ngx_http_aisearch_entry_delete(c, e);

        c->sh->evictions++;
        evictions--;

        p = ngx_slab_alloc_locked(c->shpool, size);
    }

    return p;
}


static void
ngx_http_aisearch_cache_warn(ngx_http_aisearch_cache_t *c, const char *what)
{
    if (ngx_time() - c->warned < 60) {
        return;
    }

    c->warned = ngx_time();

    ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                  "could not allocate an %s%s, it is answered without being "
                  "cached; make the zone larger", what, c->shpool->log_ctx);
}
