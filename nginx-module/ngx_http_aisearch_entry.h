/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The contents of the zone of the cache, for the files of the cache only.  The
 * caller of each function holds the mutex of the zone.
 */


#ifndef _NGX_HTTP_AISEARCH_ENTRY_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_ENTRY_H_INCLUDED_


#include "ngx_http_aisearch_cache.h"


typedef struct ngx_http_aisearch_chunk_s  ngx_http_aisearch_chunk_t;


/*
 * Memory is allocated in blocks of two sizes, and each entry uses both.  The
 * slab allocator does not reuse a page for another size until it is empty, so
 * in a full zone the blocks of an evicted entry must fit any other entry.
 */

/* the smallest block of an entry */
#define NGX_HTTP_AISEARCH_BLOCK      256

#define NGX_HTTP_AISEARCH_CHUNK  (128 - sizeof(ngx_http_aisearch_chunk_t *))


struct ngx_http_aisearch_chunk_s {
    ngx_http_aisearch_chunk_t    *next;
    u_char                        data[NGX_HTTP_AISEARCH_CHUNK];
};


/* the rank of an entry in eviction, and the index of its queue */

typedef enum {
    NGX_HTTP_AISEARCH_WATCHED = 0, /* kept for its watchers */
    NGX_HTTP_AISEARCH_AGAIN,       /* requested again later */
    NGX_HTTP_AISEARCH_LISTS_AGAIN,
    NGX_HTTP_AISEARCH_ONCE,
    NGX_HTTP_AISEARCH_LISTS_ONCE,
    NGX_HTTP_AISEARCH_MISSING,     /* the API's 404 */
    NGX_HTTP_AISEARCH_FAILURES,    /* no answer, maybe a failure */
    NGX_HTTP_AISEARCH_PENDING,     /* fetched for the first time */
    NGX_HTTP_AISEARCH_RANKS
} ngx_http_aisearch_rank_e;


/*
 * An entry has the last answer, and the failure to fetch a later one, if any.
 *
 * An entry and its key are in one block, the remainder of which has the start
 * of the body.  The rest of the body is in chunks.
 */

typedef struct {
    ngx_rbtree_node_t             node;
    ngx_queue_t                   queue;

    ngx_http_aisearch_chunk_t    *chunks;
    ngx_http_aisearch_time_t      fetched;
    ngx_http_aisearch_time_t      failed;      /* time; 0: no failure */
    ngx_http_aisearch_time_t      lease;       /* expiry; 0: none */
    uint64_t                      waiters;     /* workers to wake */
    uint64_t                      account;     /* cache_id */
    ngx_pid_t                     leader;

    uint32_t                      body_len;
    uint32_t                      age;         /* of the job, in seconds */
    uint32_t                      fetch_time;
    uint32_t                      upstream_age; /* ms */
    uint32_t                      retry_after; /* ms */
    unsigned                      revision:24; /* of the credentials */
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

    uint32_t                      watched;     /* expiry, seconds */

    u_char                        data[1];     /* the key, then the body */
} ngx_http_aisearch_entry_t;


typedef struct {
    ngx_rbtree_t                 *trees;       /* by hash, to keep them flat */
    ngx_uint_t                    mask;
    ngx_rbtree_node_t             sentinel;
    ngx_queue_t                   queues[NGX_HTTP_AISEARCH_RANKS];
    size_t                        used[NGX_HTTP_AISEARCH_RANKS]; /* bytes */
    ngx_uint_t                    entries;
    ngx_uint_t                    evictions;

    /* ring buffer: hashes of the entries whose leases ended last */
    uint32_t                      changes[NGX_HTTP_AISEARCH_CHANGES];
    ngx_uint_t                    nchanges;
} ngx_http_aisearch_shctx_t;


typedef struct {
    ngx_http_aisearch_shctx_t    *sh;
    ngx_slab_pool_t              *shpool;
    ngx_msec_t                    warned;
} ngx_http_aisearch_cache_t;


#pragma GCC visibility push(hidden)


/* entries */

void ngx_http_aisearch_entry_insert(ngx_rbtree_node_t *temp,
    ngx_rbtree_node_t *node, ngx_rbtree_node_t *sentinel);

/* NULL: not found */
ngx_http_aisearch_entry_t *ngx_http_aisearch_entry_find(
    ngx_http_aisearch_cache_t *c, ngx_http_aisearch_key_t *key);

/*
 * Copies an answer or a failure from an entry.  The body is allocated from
 * "pool"; NULL: no body is copied.  NGX_ERROR: no memory.
 */
ngx_int_t ngx_http_aisearch_entry_read(ngx_http_aisearch_entry_t *e,
    enum ais_serve serve, ngx_pool_t *pool,
    ngx_http_aisearch_answer_t *answer);

/* moves an entry to the head of the queue of a rank */
void ngx_http_aisearch_entry_move(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e, ngx_uint_t rank);

/* frees an entry and its body */
void ngx_http_aisearch_entry_delete(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e);

/* frees the chunks and leaves the body empty */
void ngx_http_aisearch_entry_free_body(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e);

/* bytes of memory of an entry without chunks, of its chunks, of both */
size_t ngx_http_aisearch_entry_size(size_t key_len);
size_t ngx_http_aisearch_entry_chunks_size(size_t key_len, size_t body_len);
size_t ngx_http_aisearch_entry_memory(ngx_http_aisearch_entry_t *e);

/* bytes of the body that fit into the block of an entry */
size_t ngx_http_aisearch_entry_inline_size(size_t key_len);


/* eviction */

/* returns the rank of an entry that has a good answer of this class or a 404 */
ngx_uint_t ngx_http_aisearch_eviction_rank(ngx_http_aisearch_entry_t *e,
    enum ais_class class);

/* as entry_move(), but evicts entries if the share of the rank is exceeded */
void ngx_http_aisearch_eviction_move(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e, ngx_uint_t rank);

/* marks an entry as watched for 10 seconds, keeps it if the share allows */
void ngx_http_aisearch_eviction_watch(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e);

/* called on a lookup: may promote an entry; "lifetime" is in ms */
void ngx_http_aisearch_eviction_touch(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e, ngx_msec_t lifetime);

/*
 * Evicts entries until "size" bytes fit into the share of a rank; "keep" is not
 * evicted, it may be NULL.  NGX_DECLINED: no room for a new entry.
 */
ngx_int_t ngx_http_aisearch_eviction_make_way(ngx_http_aisearch_cache_t *c,
    ngx_uint_t rank, size_t size, ngx_http_aisearch_entry_t *keep);

/*
 * Allocates memory of the zone, evicting entries other than "keep", which may
 * be NULL.  NULL: no memory.
 */
void *ngx_http_aisearch_eviction_alloc(ngx_http_aisearch_cache_t *c,
    size_t size, ngx_http_aisearch_entry_t *keep);


/* storage */

/* creates an entry without an answer; NULL: no memory, or its share is full */
ngx_http_aisearch_entry_t *ngx_http_aisearch_storage_create(
    ngx_http_aisearch_cache_t *c, ngx_http_aisearch_key_t *key,
    ngx_uint_t rank);

/* replaces the answer; NGX_ERROR: too large or no memory, the old is lost */
ngx_int_t ngx_http_aisearch_storage_write(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e, ngx_http_aisearch_answer_t *answer);


#pragma GCC visibility pop


/* whether the entry has a lease that has not expired */

static ngx_inline ngx_uint_t
ngx_http_aisearch_lease_held(ngx_http_aisearch_entry_t *e)
{
    return e->lease
           && (ngx_http_aisearch_time_diff_t)
              (e->lease - ngx_http_aisearch_now()) > 0;
}


/* returns the age of the answer in ms, including the age on arrival */

static ngx_inline ngx_http_aisearch_time_t
ngx_http_aisearch_entry_age(ngx_http_aisearch_entry_t *e)
{
    return ngx_http_aisearch_time_since(e->fetched) + e->upstream_age;
}


#endif /* _NGX_HTTP_AISEARCH_ENTRY_H_INCLUDED_ */
