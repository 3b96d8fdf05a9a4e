/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Allocates memory of the zone for entries and answers, and evicts other
 * entries if needed.
 */


#include "ngx_http_aisearch_entry.h"


static ngx_int_t ngx_http_aisearch_storage_write_body(
    ngx_http_aisearch_cache_t *c, ngx_http_aisearch_entry_t *e,
    ngx_str_t *body);


ngx_http_aisearch_entry_t *
ngx_http_aisearch_storage_create(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_key_t *key, ngx_uint_t rank)
{
    size_t                      size;
    ngx_http_aisearch_entry_t  *e;

    size = ngx_http_aisearch_entry_size(key->path.len);

    if (ngx_http_aisearch_eviction_make_way(c, rank, size, NULL) != NGX_OK) {
        return NULL;
    }

    e = ngx_http_aisearch_eviction_alloc(c, size, NULL);
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

    /* a worker killed between the inserts leaves an entry never evicted */

    ngx_queue_init(&e->queue);

    ngx_rbtree_insert(&c->sh->trees[key->hash & c->sh->mask], &e->node);
    ngx_queue_insert_head(&c->sh->queues[rank], &e->queue);

    return e;
}


ngx_int_t
ngx_http_aisearch_storage_write(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e, ngx_http_aisearch_answer_t *answer)
{
    /* the old answer is invalid once its body is freed */

    e->answered = 0;

    if (ngx_http_aisearch_storage_write_body(c, e, &answer->body) != NGX_OK) {
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


static ngx_int_t
ngx_http_aisearch_storage_write_body(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e, ngx_str_t *body)
{
    size_t                       n, rest, size;
    u_char                      *p;
    ngx_http_aisearch_chunk_t   *chunk, **last;

    ngx_http_aisearch_entry_free_body(c, e);

    if (body->len == 0) {
        return NGX_OK;
    }

    /* a single answer must not evict most of the others */

    if (body->len > (size_t) (c->shpool->end - c->shpool->start) / 4) {
        return NGX_ERROR;
    }

    size = ngx_http_aisearch_entry_chunks_size(e->key_len, body->len);

    (void) ngx_http_aisearch_eviction_make_way(c, e->rank, size, e);

    p = body->data;
    rest = body->len;

    n = ngx_min(rest, ngx_http_aisearch_entry_inline_size(e->key_len));
    ngx_memcpy(e->data + e->key_len, p, n);

    last = &e->chunks;

    for ( ;; ) {
        p += n;
        rest -= n;

        if (rest == 0) {
            break;
        }

        chunk = ngx_http_aisearch_eviction_alloc(c,
                                          sizeof(ngx_http_aisearch_chunk_t), e);
        if (chunk == NULL) {
            ngx_http_aisearch_entry_free_body(c, e);
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
