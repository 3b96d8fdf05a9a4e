#ifndef _NGX_HTTP_AISEARCH_ENTRY_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_ENTRY_H_INCLUDED_


#include "ngx_http_aisearch_module.h"


/* what lies in the zone of the cache: for the files of the cache alone */


typedef struct ngx_http_aisearch_chunk_s  ngx_http_aisearch_chunk_t;


/* the smallest one of an entry */
#define NGX_HTTP_AISEARCH_BLOCK      256

/* of one call, so that the mutex is not held for long */
#define NGX_HTTP_AISEARCH_EVICTIONS  32


/* what an entry is worth to others, and the queue that it is in */

typedef enum {
    NGX_HTTP_AISEARCH_AGAIN = 0,   /* asked for again, and not at once */
    NGX_HTTP_AISEARCH_LISTS_AGAIN,
    NGX_HTTP_AISEARCH_ONCE,
    NGX_HTTP_AISEARCH_LISTS_ONCE,
    NGX_HTTP_AISEARCH_MISSING,     /* the API's 404 */
    NGX_HTTP_AISEARCH_FAILURES,    /* no answer but, at best, why */
    NGX_HTTP_AISEARCH_PENDING,     /* fetched for the first time */
    NGX_HTTP_AISEARCH_RANKS
} ngx_http_aisearch_rank_e;


/*
 * An entry has the last answer, and the failure to get a later one, if any.
 *
 * An entry and its key are one block; what is left of it takes the beginning
 * of the body.  The rest is in chunks.
 */

typedef struct {
    ngx_rbtree_node_t             node;
    ngx_queue_t                   queue;

    ngx_http_aisearch_chunk_t    *chunks;
    ngx_http_aisearch_time_t      fetched;
    ngx_http_aisearch_time_t      failed;      /* 0: did not fail since */
    ngx_http_aisearch_time_t      lease;       /* runs out then; 0: none */
    uint64_t                      waiters;     /* workers to wake */
    uint64_t                      account;     /* cache_id */
    ngx_pid_t                     leader;

    uint32_t                      body_len;
    uint32_t                      age;         /* of the job, in seconds */
    uint32_t                      fetch_time;
    uint32_t                      upstream_age; /* ms */
    uint32_t                      retry_after; /* ms */
    unsigned                      generation:24; /* ..._generation() then */
    unsigned                      rank:8;

    u_char                        etag[NGX_HTTP_AISEARCH_ETAG_LEN];

    uint16_t                      status;
    uint16_t                      key_len;
    unsigned                      answered:1;
    unsigned                      has_state:1;
    unsigned                      fault:4;     /* of the answer */
    unsigned                      failure:4;
    unsigned                      class:3;
    unsigned                      state:3;

    u_char                        data[1];     /* the key, then the body */
} ngx_http_aisearch_entry_t;


typedef struct {
    ngx_rbtree_t                 *trees;       /* by hash: few levels each */
    ngx_uint_t                    mask;
    ngx_rbtree_node_t             sentinel;
    ngx_queue_t                   queues[NGX_HTTP_AISEARCH_RANKS];
    size_t                        used[NGX_HTTP_AISEARCH_RANKS]; /* bytes */
    ngx_uint_t                    entries;
    ngx_uint_t                    evictions;
} ngx_http_aisearch_shctx_t;


typedef struct {
    ngx_http_aisearch_shctx_t      *sh;
    ngx_slab_pool_t                *shpool;
    ngx_http_aisearch_main_conf_t  *amcf;
    ngx_msec_t                      warned;
} ngx_http_aisearch_cache_t;


#if (__GNUC__)
#pragma GCC visibility push(hidden)
#endif


/* the decision, in a lookup that is all zero before; it changes nothing else */

void ngx_http_aisearch_entry_decide(ngx_http_aisearch_entry_t *e,
    ngx_http_aisearch_freshness_t *freshness, uint32_t generation,
    double stretch, ngx_http_aisearch_time_t since, ngx_uint_t flags,
    ngx_http_aisearch_lookup_t *lookup);


/*
 * What a refusal has to be of to count: what was refused to one credential, or
 * configuration, may not be to the next.  Both counts only ever grow.
 */

static ngx_inline uint32_t
ngx_http_aisearch_generation(ngx_http_aisearch_account_t *account)
{
    return account->rotation.generation + (uint32_t) *account->renewals;
}


/* as much of it as an entry holds */

static ngx_inline ngx_uint_t
ngx_http_aisearch_same_generation(ngx_http_aisearch_entry_t *e,
    uint32_t generation)
{
    return ((e->generation ^ generation) & 0xffffff) == 0;
}


/* entries and their memory; the mutex is held */

void ngx_http_aisearch_rbtree_insert(ngx_rbtree_node_t *temp,
    ngx_rbtree_node_t *node, ngx_rbtree_node_t *sentinel);
ngx_http_aisearch_entry_t *ngx_http_aisearch_entry_find(
    ngx_http_aisearch_cache_t *c, ngx_http_aisearch_key_t *key);
ngx_http_aisearch_entry_t *ngx_http_aisearch_entry_create(
    ngx_http_aisearch_cache_t *c, ngx_http_aisearch_key_t *key,
    ngx_uint_t rank);
void ngx_http_aisearch_entry_delete(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e);
ngx_int_t ngx_http_aisearch_entry_read(ngx_http_aisearch_entry_t *e,
    ngx_http_aisearch_serve_e serve, ngx_pool_t *pool,
    ngx_http_aisearch_answer_t *answer);
ngx_int_t ngx_http_aisearch_entry_write(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e, ngx_http_aisearch_answer_t *answer);
size_t ngx_http_aisearch_entry_memory(ngx_http_aisearch_entry_t *e);


/* who makes way; the mutex is held */

ngx_uint_t ngx_http_aisearch_entry_rank(ngx_http_aisearch_entry_t *e,
    enum ais_class class);
void ngx_http_aisearch_entry_asked(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e, ngx_msec_t lifetime);
void ngx_http_aisearch_entry_move(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e, ngx_uint_t rank);
void ngx_http_aisearch_unused(ngx_http_aisearch_cache_t *c, ngx_uint_t rank,
    size_t size);
ngx_int_t ngx_http_aisearch_make_way(ngx_http_aisearch_cache_t *c,
    ngx_uint_t rank, size_t size, ngx_http_aisearch_entry_t *keep);
ngx_int_t ngx_http_aisearch_evict(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *keep);


/* of the answer: what it was when it came, and since */

static ngx_inline ngx_http_aisearch_time_t
ngx_http_aisearch_entry_age(ngx_http_aisearch_entry_t *e)
{
    return ngx_http_aisearch_cache_age(e->fetched) + e->upstream_age;
}


/* somebody fetches it, and has not been silent for too long */

static ngx_inline ngx_uint_t
ngx_http_aisearch_entry_leased(ngx_http_aisearch_entry_t *e)
{
    return e->lease
           && (ngx_http_aisearch_time_diff_t)
              (e->lease - ngx_http_aisearch_now()) > 0;
}


#if (__GNUC__)
#pragma GCC visibility pop
#endif


#endif /* _NGX_HTTP_AISEARCH_ENTRY_H_INCLUDED_ */
