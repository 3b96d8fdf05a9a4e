/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Entries of the cache: lookup, contents, and memory use.  Entries are found in
 * trees by key; a queue for each rank orders them for eviction.
 */


#include "ngx_http_aisearch_entry.h"


_Static_assert(AIS_FAULTS <= 1 << 4
               && AIS_CLASSES <= 1 << 3
               && AIS_STATES <= 1 << 3,
               "too small bit fields in ngx_http_aisearch_entry_t");


static ngx_int_t ngx_http_aisearch_entry_cmp(ngx_http_aisearch_entry_t *e,
    uint64_t account, u_char *path, size_t len);
static void ngx_http_aisearch_entry_read_body(ngx_http_aisearch_entry_t *e,
    u_char *dst);
static void ngx_http_aisearch_entry_uncount(ngx_http_aisearch_cache_t *c,
    ngx_uint_t rank, size_t size);


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
ngx_http_aisearch_entry_insert(ngx_rbtree_node_t *temp,
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


ngx_int_t
ngx_http_aisearch_entry_read(ngx_http_aisearch_entry_t *e,
    enum ais_serve serve, ngx_pool_t *pool,
    ngx_http_aisearch_answer_t *answer)
{
    if (serve == AIS_SERVE_FAILED
        && !(e->answered && e->fault == e->failure))
    {
        ngx_memzero(answer, sizeof(ngx_http_aisearch_answer_t));

        answer->verdict.fault = e->failure;
        answer->verdict.class = AIS_CLASS_ERROR;
        answer->fetched = e->failed;
        answer->retry_after = e->retry_after;
        return NGX_OK;
    }

    if (pool) {
        answer->body.len = e->body_len;
        answer->body.data = ngx_pnalloc(pool, e->body_len + 1);

        if (answer->body.data == NULL) {
            return NGX_ERROR;
        }

        ngx_http_aisearch_entry_read_body(e, answer->body.data);
    }

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


void
ngx_http_aisearch_entry_move(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e, ngx_uint_t rank)
{
    size_t      size;
    ngx_uint_t  old;

    old = e->rank;
    size = ngx_http_aisearch_entry_memory(e);

    c->sh->used[rank] += size;

    ngx_queue_remove(&e->queue);
    ngx_queue_init(&e->queue);
    e->rank = rank & 0xff;
    ngx_queue_insert_head(&c->sh->queues[rank], &e->queue);

    ngx_http_aisearch_entry_uncount(c, old, size);
}


void
ngx_http_aisearch_entry_delete(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e)
{
    c->sh->entries--;

    ngx_queue_remove(&e->queue);
    ngx_rbtree_delete(&c->sh->trees[e->node.key & c->sh->mask], &e->node);

    ngx_http_aisearch_entry_free_body(c, e);
    ngx_http_aisearch_entry_uncount(c, e->rank,
                             ngx_http_aisearch_entry_size(e->key_len));
    ngx_slab_free_locked(c->shpool, e);
}


void
ngx_http_aisearch_entry_free_body(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e)
{
    size_t                      size;
    ngx_http_aisearch_chunk_t  *chunk;

    size = ngx_http_aisearch_entry_chunks_size(e->key_len, e->body_len);

    e->body_len = 0;

    ngx_http_aisearch_entry_uncount(c, e->rank, size);

    /* a worker killed here leaks one chunk, but none is freed twice */

    while (e->chunks) {
        chunk = e->chunks;
        e->chunks = chunk->next;

        ngx_slab_free_locked(c->shpool, chunk);
    }
}


/* subtracts "size", or sets the exact value if at most one entry is left */

static void
ngx_http_aisearch_entry_uncount(ngx_http_aisearch_cache_t *c, ngx_uint_t rank,
    size_t size)
{
    size_t                     *used;
    ngx_queue_t                *queue, *q;
    ngx_http_aisearch_entry_t  *e;

    used = &c->sh->used[rank];
    queue = &c->sh->queues[rank];
    q = ngx_queue_head(queue);

    if (q == ngx_queue_sentinel(queue)) {
        *used = 0;

    } else if (q == ngx_queue_last(queue)) {
        e = ngx_queue_data(q, ngx_http_aisearch_entry_t, queue);
        *used = ngx_http_aisearch_entry_memory(e);

    } else {
        *used -= ngx_min(*used, size);
    }
}


static void
ngx_http_aisearch_entry_read_body(ngx_http_aisearch_entry_t *e, u_char *dst)
{
    size_t                      n, rest;
    ngx_http_aisearch_chunk_t  *chunk;

    rest = e->body_len;

    n = ngx_min(rest, ngx_http_aisearch_entry_inline_size(e->key_len));
    dst = ngx_cpymem(dst, e->data + e->key_len, n);
    rest -= n;

    /* a hot path: the fixed size lets the compiler copy a chunk inline */

    for (chunk = e->chunks;
         rest >= NGX_HTTP_AISEARCH_CHUNK;
         chunk = chunk->next)
    {
        dst = ngx_cpymem(dst, chunk->data, NGX_HTTP_AISEARCH_CHUNK);
        rest -= NGX_HTTP_AISEARCH_CHUNK;
    }

    if (rest) {
        ngx_memcpy(dst, chunk->data, rest);
    }
}


size_t
ngx_http_aisearch_entry_size(size_t key_len)
{
    size_t  used, size;

    used = offsetof(ngx_http_aisearch_entry_t, data) + key_len;

    for (size = NGX_HTTP_AISEARCH_BLOCK; size < used; size <<= 1) {
        /* void */
    }

    return size;
}


size_t
ngx_http_aisearch_entry_inline_size(size_t key_len)
{
    return ngx_http_aisearch_entry_size(key_len)
           - offsetof(ngx_http_aisearch_entry_t, data) - key_len;
}


/* the chunks take the part of the body that does not fit into the block */

size_t
ngx_http_aisearch_entry_chunks_size(size_t key_len, size_t body_len)
{
    size_t  rest;

    rest = body_len - ngx_min(body_len,
                              ngx_http_aisearch_entry_inline_size(key_len));

    return (rest + NGX_HTTP_AISEARCH_CHUNK - 1) / NGX_HTTP_AISEARCH_CHUNK
           * sizeof(ngx_http_aisearch_chunk_t);
}


size_t
ngx_http_aisearch_entry_memory(ngx_http_aisearch_entry_t *e)
{
    return ngx_http_aisearch_entry_size(e->key_len)
           + ngx_http_aisearch_entry_chunks_size(e->key_len, e->body_len);
}
