#include "ngx_http_aisearch_module.h"


#define NGX_HTTP_AISEARCH_ZONE_NAME  "aisearch"
#define NGX_HTTP_AISEARCH_ZONE_SIZE  (8 * 1024 * 1024)

/* the smallest block that a rest of a body gets */
#define NGX_HTTP_AISEARCH_CHUNK_MIN  32


typedef struct ngx_http_aisearch_chunk_s  ngx_http_aisearch_chunk_t;

struct ngx_http_aisearch_chunk_s {
    ngx_http_aisearch_chunk_t    *next;
    u_char                        data[1];
};


/*
 * An entry and its key are one block, whose size the slab rounds up to a power
 * of two; what is left of it takes the beginning of the body.  The rest is in
 * chunks, cut so that little is lost to rounding.
 */

typedef struct {
    ngx_rbtree_node_t             node;
    ngx_queue_t                   queue;

    ngx_http_aisearch_chunk_t    *chunks;
    uint64_t                      etag;
    ngx_msec_t                    fetched;
    ngx_msec_t                    lease;       /* runs out then; 0: none */
    uint64_t                      waiters;     /* workers to wake */
    ngx_pid_t                     leader;

    uint32_t                      body_len;
    uint32_t                      age;         /* of the job, in seconds */
    uint32_t                      fetch_time;
    uint32_t                      retry_after; /* ms */
    uint32_t                      generation;

    uint16_t                      status;
    uint16_t                      account;
    uint16_t                      key_len;
    unsigned                      answered:1;
    unsigned                      pass:1;
    unsigned                      has_state:1;
    unsigned                      fault:4;
    unsigned                      class:4;
    unsigned                      state:4;

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
static ngx_uint_t ngx_http_aisearch_entry_usable(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e, struct ais_valid *valid, ngx_msec_t since);
static void ngx_http_aisearch_entry_lease(ngx_http_aisearch_entry_t *e);
static uint64_t ngx_http_aisearch_entry_unlease(ngx_http_aisearch_entry_t *e);

static size_t ngx_http_aisearch_inline_size(size_t key_len);
static ngx_int_t ngx_http_aisearch_body_write(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e, ngx_str_t *body);
static u_char *ngx_http_aisearch_body_read(ngx_http_aisearch_entry_t *e,
    u_char *dst);
static void ngx_http_aisearch_body_free(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e);
static size_t ngx_http_aisearch_chunk_size(size_t len);
static void *ngx_http_aisearch_alloc(ngx_http_aisearch_cache_t *c, size_t size,
    ngx_http_aisearch_entry_t *keep);
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

    it = ngx_slab_alloc(c->shpool,
                        offsetof(ngx_http_aisearch_identity_t, data) + s->len);
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


ngx_http_aisearch_lookup_e
ngx_http_aisearch_cache_lookup(ngx_shm_zone_t *zone,
    ngx_http_aisearch_key_t *key, struct ais_valid *valid, ngx_msec_t since,
    ngx_pool_t *pool, ngx_http_aisearch_answer_t *answer)
{
    ngx_http_aisearch_cache_t   *c;
    ngx_http_aisearch_entry_t   *e;
    ngx_http_aisearch_lookup_e   rc;

    c = zone->data;

    ngx_shmtx_lock(&c->shpool->mutex);

    e = ngx_http_aisearch_entry_find(c, key);

    if (e == NULL) {
        e = ngx_http_aisearch_entry_create(c, key);

        if (e == NULL) {
            rc = NGX_HTTP_AISEARCH_NOMEM;
            goto done;
        }

        ngx_http_aisearch_entry_lease(e);
        rc = NGX_HTTP_AISEARCH_FETCH;
        goto done;
    }

    ngx_queue_remove(&e->queue);
    ngx_queue_insert_head(&c->sh->lru, &e->queue);

    if (ngx_http_aisearch_entry_usable(c, e, valid, since)) {

        answer->body.len = e->body_len;
        answer->body.data = ngx_pnalloc(pool, e->body_len + 1);

        if (answer->body.data == NULL) {
            rc = NGX_HTTP_AISEARCH_NOMEM;
            goto done;
        }

        ngx_http_aisearch_body_read(e, answer->body.data);

        answer->verdict.fault = e->fault;
        answer->verdict.class = e->class;
        answer->verdict.pass = e->pass;
        answer->verdict.has_state = e->has_state;
        answer->verdict.state = e->state;
        answer->verdict.age = (int64_t) e->age * 1000;
        answer->status = e->status;
        answer->etag = e->etag;
        answer->fetched = e->fetched;
        answer->fetch_time = e->fetch_time;
        answer->retry_after = e->retry_after;

        rc = NGX_HTTP_AISEARCH_FRESH;
        goto done;
    }

    if (e->lease && (ngx_msec_int_t) (e->lease - ngx_current_msec) > 0) {
        e->waiters |= ngx_http_aisearch_wakeup_bit();
        rc = NGX_HTTP_AISEARCH_WAIT;
        goto done;
    }

    ngx_http_aisearch_entry_lease(e);

    rc = e->answered ? NGX_HTTP_AISEARCH_REFETCH : NGX_HTTP_AISEARCH_FETCH;

done:

    ngx_shmtx_unlock(&c->shpool->mutex);

    if (rc == NGX_HTTP_AISEARCH_NOMEM) {
        ngx_http_aisearch_cache_warn(c, "entry");
    }

    return rc;
}


void
ngx_http_aisearch_cache_store(ngx_shm_zone_t *zone,
    ngx_http_aisearch_key_t *key, ngx_http_aisearch_answer_t *answer)
{
    uint64_t                    waiters;
    ngx_int_t                   rc;
    ngx_http_aisearch_cache_t  *c;
    ngx_http_aisearch_entry_t  *e;

    c = zone->data;
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

    waiters = ngx_http_aisearch_entry_unlease(e);

    rc = ngx_http_aisearch_body_write(c, e, &answer->body);

    if (rc != NGX_OK) {
        /* the old answer went with its body */
        e->answered = 0;
        goto done;
    }

    e->answered = 1;
    e->generation = c->generation;
    e->fault = answer->verdict.fault;
    e->class = answer->verdict.class;
    e->pass = answer->verdict.pass;
    e->has_state = answer->verdict.has_state;
    e->state = answer->verdict.state;
    e->age = (uint32_t) (answer->verdict.age / 1000);
    e->status = (uint16_t) answer->status;
    e->etag = answer->etag;
    e->fetched = answer->fetched;
    e->fetch_time = (uint32_t) answer->fetch_time;
    e->retry_after = (uint32_t) answer->retry_after;

done:

    ngx_shmtx_unlock(&c->shpool->mutex);

    ngx_http_aisearch_wakeup_send(c->amcf, waiters);

    if (rc != NGX_OK) {
        ngx_http_aisearch_cache_warn(c, "answer");
    }
}


void
ngx_http_aisearch_cache_renew(ngx_shm_zone_t *zone,
    ngx_http_aisearch_key_t *key)
{
    ngx_http_aisearch_cache_t  *c;
    ngx_http_aisearch_entry_t  *e;

    c = zone->data;

    ngx_shmtx_lock(&c->shpool->mutex);

    e = ngx_http_aisearch_entry_find(c, key);

    /* a leader that was late may find that another took over */

    if (e && (e->leader == ngx_pid || e->lease == 0)) {
        ngx_http_aisearch_entry_lease(e);
    }

    ngx_shmtx_unlock(&c->shpool->mutex);
}


void
ngx_http_aisearch_cache_release(ngx_shm_zone_t *zone,
    ngx_http_aisearch_key_t *key)
{
    uint64_t                    waiters;
    ngx_http_aisearch_cache_t  *c;
    ngx_http_aisearch_entry_t  *e;

    c = zone->data;
    waiters = 0;

    ngx_shmtx_lock(&c->shpool->mutex);

    e = ngx_http_aisearch_entry_find(c, key);

    if (e && e->leader == ngx_pid) {
        waiters = ngx_http_aisearch_entry_unlease(e);
    }

    ngx_shmtx_unlock(&c->shpool->mutex);

    ngx_http_aisearch_wakeup_send(c->amcf, waiters);
}


ngx_msec_t
ngx_http_aisearch_cache_lifetime(struct ais_valid *valid,
    ngx_http_aisearch_answer_t *answer)
{
    ngx_msec_t  lifetime;

    lifetime = (ngx_msec_t) ais_policy_lifetime(valid, &answer->verdict);

    return ngx_max(lifetime, answer->retry_after);
}


/* entries; the mutex is held */


static ngx_uint_t
ngx_http_aisearch_entry_usable(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e, struct ais_valid *valid, ngx_msec_t since)
{
    ngx_msec_t                  lifetime;
    ngx_http_aisearch_answer_t  answer;

    if (!e->answered) {
        return 0;
    }

    /* a new configuration may have brought the credential that was missing */

    if (e->fault == AIS_FAULT_CREDENTIAL && e->generation != c->generation) {
        return 0;
    }

    if (since && (ngx_msec_int_t) (e->fetched - since) >= 0) {
        return 1;
    }

    answer.verdict.class = e->class;
    answer.verdict.has_state = e->has_state;
    answer.verdict.state = e->state;
    answer.verdict.age = (int64_t) e->age * 1000;
    answer.retry_after = e->retry_after;

    lifetime = ngx_http_aisearch_cache_lifetime(valid, &answer);

    return ngx_http_aisearch_cache_age(e->fetched) < lifetime;
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

    return ngx_memn2cmp(path, e->data, len, e->key_len);
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

    size = offsetof(ngx_http_aisearch_entry_t, data) + key->path.len;

    e = ngx_http_aisearch_alloc(c, size, NULL);
    if (e == NULL) {
        return NULL;
    }

    ngx_memzero(e, offsetof(ngx_http_aisearch_entry_t, data));

    e->node.key = key->hash;
    e->account = (uint16_t) key->account;
    e->key_len = (uint16_t) key->path.len;
    ngx_memcpy(e->data, key->path.data, key->path.len);

    ngx_rbtree_insert(&c->sh->rbtree, &e->node);
    ngx_queue_insert_head(&c->sh->lru, &e->queue);

    return e;
}


static void
ngx_http_aisearch_entry_delete(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e)
{
    ngx_queue_remove(&e->queue);
    ngx_rbtree_delete(&c->sh->rbtree, &e->node);

    ngx_http_aisearch_body_free(c, e);
    ngx_slab_free_locked(c->shpool, e);
}


/* bodies; the mutex is held */


/* what the block of an entry has left for the body */

static size_t
ngx_http_aisearch_inline_size(size_t key_len)
{
    size_t  used, size;

    used = offsetof(ngx_http_aisearch_entry_t, data) + key_len;

    for (size = 128; size < used; size <<= 1) { /* void */ }

    return size - used;
}


static ngx_int_t
ngx_http_aisearch_body_write(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e, ngx_str_t *body)
{
    size_t                       n, rest, size;
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

        size = ngx_http_aisearch_chunk_size(rest);

        chunk = ngx_http_aisearch_alloc(c, size, e);
        if (chunk == NULL) {
            ngx_http_aisearch_body_free(c, e);
            return NGX_ERROR;
        }

        chunk->next = NULL;
        *last = chunk;
        last = &chunk->next;

        n = ngx_min(rest, size - offsetof(ngx_http_aisearch_chunk_t, data));
        ngx_memcpy(chunk->data, p, n);
    }

    e->body_len = (uint32_t) body->len;

    return NGX_OK;
}


static u_char *
ngx_http_aisearch_body_read(ngx_http_aisearch_entry_t *e, u_char *dst)
{
    size_t                      n, rest, size;
    ngx_http_aisearch_chunk_t  *chunk;

    rest = e->body_len;

    n = ngx_min(rest, ngx_http_aisearch_inline_size(e->key_len));
    dst = ngx_cpymem(dst, e->data + e->key_len, n);
    rest -= n;

    for (chunk = e->chunks; rest; chunk = chunk->next) {
        size = ngx_http_aisearch_chunk_size(rest);

        n = ngx_min(rest, size - offsetof(ngx_http_aisearch_chunk_t, data));
        dst = ngx_cpymem(dst, chunk->data, n);
        rest -= n;
    }

    return dst;
}


static void
ngx_http_aisearch_body_free(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e)
{
    ngx_http_aisearch_chunk_t  *chunk, *next;

    for (chunk = e->chunks; chunk; chunk = next) {
        next = chunk->next;
        ngx_slab_free_locked(c->shpool, chunk);
    }

    e->chunks = NULL;
    e->body_len = 0;
}


/*
 * The block for the next part of a body of which "len" bytes are left: the
 * power of two above it where that wastes little, else the one below.
 */

static size_t
ngx_http_aisearch_chunk_size(size_t len)
{
    size_t  need, size;

    need = len + offsetof(ngx_http_aisearch_chunk_t, data);

    if (need >= ngx_pagesize) {
        return ngx_pagesize;
    }

    for (size = NGX_HTTP_AISEARCH_CHUNK_MIN; size < need; size <<= 1) {
        /* void */
    }

    if (size == NGX_HTTP_AISEARCH_CHUNK_MIN || size - need <= need / 8) {
        return size;
    }

    return size / 2;
}


/* makes room by what was not used for the longest time, but for "keep" */

static void *
ngx_http_aisearch_alloc(ngx_http_aisearch_cache_t *c, size_t size,
    ngx_http_aisearch_entry_t *keep)
{
    void                       *p;
    ngx_msec_int_t              left;
    ngx_queue_t                *q, *prev;
    ngx_http_aisearch_entry_t  *e;

    p = ngx_slab_alloc_locked(c->shpool, size);

    for (q = ngx_queue_last(&c->sh->lru);
         p == NULL && q != ngx_queue_sentinel(&c->sh->lru);
         q = prev)
    {
        prev = ngx_queue_prev(q);
        e = ngx_queue_data(q, ngx_http_aisearch_entry_t, queue);

        left = (ngx_msec_int_t) (e->lease - ngx_current_msec);

        if (e == keep || (e->lease && left > 0)) {
            continue;
        }

        ngx_http_aisearch_entry_delete(c, e);

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
