#include "ngx_http_aisearch_entry.h"


/*
 * Memory is taken in blocks of two sizes, and every entry has some of both: the
 * slab never gives a page that has blocks of one size to another, so that in a
 * full zone what one entry leaves has to serve any other.
 */
#define NGX_HTTP_AISEARCH_CHUNK  (128 - sizeof(ngx_http_aisearch_chunk_t *))


struct ngx_http_aisearch_chunk_s {
    ngx_http_aisearch_chunk_t    *next;
    u_char                        data[NGX_HTTP_AISEARCH_CHUNK];
};


static ngx_int_t ngx_http_aisearch_entry_cmp(ngx_http_aisearch_entry_t *e,
    uint64_t account, u_char *path, size_t len);
static size_t ngx_http_aisearch_entry_size(size_t key_len);
static size_t ngx_http_aisearch_inline_size(size_t key_len);
static size_t ngx_http_aisearch_chunks_size(size_t key_len, size_t body_len);
static ngx_int_t ngx_http_aisearch_body_write(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e, ngx_str_t *body);
static u_char *ngx_http_aisearch_body_read(ngx_http_aisearch_entry_t *e,
    u_char *dst);
static void ngx_http_aisearch_body_free(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e);
static void *ngx_http_aisearch_alloc(ngx_http_aisearch_cache_t *c, size_t size,
    ngx_http_aisearch_entry_t *keep);


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


static ngx_int_t
ngx_http_aisearch_entry_cmp(ngx_http_aisearch_entry_t *e, uint64_t account,
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


void
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


ngx_http_aisearch_entry_t *
ngx_http_aisearch_entry_find(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_key_t *key)
{
    ngx_int_t                   rc;
    ngx_rbtree_node_t          *node, *sentinel;
    ngx_http_aisearch_entry_t  *e;

    node = c->sh->trees[key->hash & c->sh->mask].root;
    sentinel = &c->sh->sentinel;

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


ngx_http_aisearch_entry_t *
ngx_http_aisearch_entry_create(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_key_t *key, ngx_uint_t rank)
{
    size_t                      size;
    ngx_http_aisearch_entry_t  *e;

    size = ngx_http_aisearch_entry_size(key->path.len);

    if (ngx_http_aisearch_make_way(c, rank, size, NULL) != NGX_OK) {
        return NULL;
    }

    e = ngx_http_aisearch_alloc(c, size, NULL);
    if (e == NULL) {
        return NULL;
    }

    ngx_memzero(e, offsetof(ngx_http_aisearch_entry_t, data));

    e->node.key = key->hash;
    e->account = key->account;
    e->key_len = (uint16_t) key->path.len;
    e->rank = rank & 0xff;
    ngx_memcpy(e->data, key->path.data, key->path.len);

    c->sh->entries++;
    c->sh->used[rank] += size;

    /* who is killed between the two leaves an entry that is not evicted */

    ngx_queue_init(&e->queue);

    ngx_rbtree_insert(&c->sh->trees[key->hash & c->sh->mask], &e->node);
    ngx_queue_insert_head(&c->sh->queues[rank], &e->queue);

    return e;
}


void
ngx_http_aisearch_entry_delete(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e)
{
    c->sh->entries--;

    ngx_queue_remove(&e->queue);
    ngx_rbtree_delete(&c->sh->trees[e->node.key & c->sh->mask], &e->node);

    ngx_http_aisearch_body_free(c, e);
    ngx_http_aisearch_unused(c, e->rank,
                             ngx_http_aisearch_entry_size(e->key_len));
    ngx_slab_free_locked(c->shpool, e);
}


ngx_int_t
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
    answer->upstream_age = e->upstream_age;
    answer->retry_after = e->failed ? e->retry_after : 0;

    return NGX_OK;
}


ngx_int_t
ngx_http_aisearch_entry_write(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e, ngx_http_aisearch_answer_t *answer)
{
    /* the old answer goes with its body */

    e->answered = 0;

    if (ngx_http_aisearch_body_write(c, e, &answer->body) != NGX_OK) {
        return NGX_ERROR;
    }

    e->answered = 1;
    e->fault = answer->verdict.fault;
    e->class = answer->verdict.class;
    e->has_state = answer->verdict.has_state;
    e->state = answer->verdict.state;
    e->age = (uint32_t) (answer->verdict.age / 1000);
    e->status = (uint16_t) answer->status;
    ngx_memcpy(e->etag, answer->etag, NGX_HTTP_AISEARCH_ETAG_LEN);
    e->fetched = answer->fetched;
    e->fetch_time = (uint32_t) answer->fetch_time;
    e->upstream_age = (uint32_t) answer->upstream_age;

    return NGX_OK;
}


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


/* the chunks of a body, as much as does not fit there */

static size_t
ngx_http_aisearch_chunks_size(size_t key_len, size_t body_len)
{
    size_t  rest;

    rest = body_len - ngx_min(body_len, ngx_http_aisearch_inline_size(key_len));

    return (rest + NGX_HTTP_AISEARCH_CHUNK - 1) / NGX_HTTP_AISEARCH_CHUNK
           * sizeof(ngx_http_aisearch_chunk_t);
}


/* bytes of all its blocks */

size_t
ngx_http_aisearch_entry_memory(ngx_http_aisearch_entry_t *e)
{
    return ngx_http_aisearch_entry_size(e->key_len)
           + ngx_http_aisearch_chunks_size(e->key_len, e->body_len);
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

    size = ngx_http_aisearch_chunks_size(e->key_len, body->len);

    (void) ngx_http_aisearch_make_way(c, e->rank, size, e);

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
                                        e);
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

    c->sh->used[e->rank] += size;
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
    size_t                      size;
    ngx_http_aisearch_chunk_t  *chunk;

    size = ngx_http_aisearch_chunks_size(e->key_len, e->body_len);

    e->body_len = 0;

    ngx_http_aisearch_unused(c, e->rank, size);

    /* who is killed here loses one chunk, but leaves none to be freed twice */

    while (e->chunks) {
        chunk = e->chunks;
        e->chunks = chunk->next;

        ngx_slab_free_locked(c->shpool, chunk);
    }
}


/* makes room by what is worth least, but for "keep" */

static void *
ngx_http_aisearch_alloc(ngx_http_aisearch_cache_t *c, size_t size,
    ngx_http_aisearch_entry_t *keep)
{
    void        *p;
    ngx_uint_t   evictions;

    evictions = NGX_HTTP_AISEARCH_EVICTIONS;

    for ( ;; ) {
        p = ngx_slab_alloc_locked(c->shpool, size);

        if (p
            || evictions-- == 0
            || ngx_http_aisearch_evict(c, keep) != NGX_OK)
        {
            return p;
        }
    }
}
