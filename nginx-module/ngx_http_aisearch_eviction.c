/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Eviction.  Entries requested once, as by a scan, are evicted before entries
 * requested again later, and among these the least recently used ones first.
 * Watched entries are kept, as long as they use at most a third of the zone.
 * Entries without a good answer have small shares of their own.  Lists have a
 * share too, since a client can create any number of them.
 *
 * Shares are counted in bytes of blocks.  If a worker is killed between two
 * updates, a count is wrong by one entry until its queue is nearly empty.  If
 * the count is too high, evictions empty the queue, which corrects it.
 */


#include "ngx_http_aisearch_entry.h"


/* shares: 1/N of the zone */
#define NGX_HTTP_AISEARCH_WATCHED_PART   3
#define NGX_HTTP_AISEARCH_LISTS_PART     3
#define NGX_HTTP_AISEARCH_PENDING_PART   8
#define NGX_HTTP_AISEARCH_SMALL_PART     32   /* failures; 404s */


/* entries requested again leave a fifth of a share for new ones */
#define ngx_http_aisearch_protected(size)  ((size) / 5 * 4)


/* entries checked at the end of a queue */
#define NGX_HTTP_AISEARCH_STEPS          8


/* time until the mark of a watched entry expires, seconds */
#define NGX_HTTP_AISEARCH_WATCHED_TIME   10


/* maximum per call, so that the mutex is not held for long */
#define NGX_HTTP_AISEARCH_EVICTIONS      32


static ngx_uint_t ngx_http_aisearch_eviction_is_list(
    ngx_http_aisearch_entry_t *e);
static ngx_uint_t ngx_http_aisearch_eviction_has_ended(
    ngx_http_aisearch_entry_t *e);
static void ngx_http_aisearch_eviction_release(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e);
static void ngx_http_aisearch_eviction_unwatch(ngx_http_aisearch_cache_t *c);
static void ngx_http_aisearch_eviction_demote(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *keep);
static ngx_uint_t ngx_http_aisearch_eviction_demote_last(
    ngx_http_aisearch_cache_t *c, ngx_uint_t from, ngx_uint_t to,
    ngx_http_aisearch_entry_t *keep);
static void ngx_http_aisearch_eviction_drop(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e);
static ngx_http_aisearch_entry_t *ngx_http_aisearch_eviction_victim(
    ngx_http_aisearch_cache_t *c, ngx_http_aisearch_entry_t *keep);
static ngx_http_aisearch_entry_t *ngx_http_aisearch_eviction_victim_of(
    ngx_http_aisearch_cache_t *c, ngx_uint_t rank,
    ngx_http_aisearch_entry_t *keep);
static ngx_http_aisearch_entry_t *ngx_http_aisearch_eviction_last(
    ngx_http_aisearch_cache_t *c, ngx_uint_t rank,
    ngx_http_aisearch_entry_t *keep);
static ngx_uint_t ngx_http_aisearch_eviction_over(ngx_http_aisearch_cache_t *c,
    ngx_uint_t rank, size_t size);
static size_t ngx_http_aisearch_eviction_zone_size(
    ngx_http_aisearch_cache_t *c);


ngx_uint_t
ngx_http_aisearch_eviction_rank(ngx_http_aisearch_entry_t *e,
    enum ais_class class)
{
    if (class == AIS_CLASS_NOT_FOUND) {
        return NGX_HTTP_AISEARCH_MISSING;
    }

    if (e->rank <= NGX_HTTP_AISEARCH_LISTS_AGAIN) {
        return e->rank;
    }

    return ngx_http_aisearch_eviction_is_list(e) ? NGX_HTTP_AISEARCH_LISTS_ONCE
                                              : NGX_HTTP_AISEARCH_ONCE;
}


/*
 * 404s and failures are not kept for watchers.  A watched entry is released if
 * the share is exceeded, as bodies may have grown since they were marked.
 */

void
ngx_http_aisearch_eviction_watch(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e)
{
    size_t  used, most;

    e->watched = (uint32_t) (ngx_http_aisearch_now() / 1000)
                 + NGX_HTTP_AISEARCH_WATCHED_TIME;

    if (e->rank >= NGX_HTTP_AISEARCH_MISSING) {
        return;
    }

    used = c->sh->used[NGX_HTTP_AISEARCH_WATCHED];
    most = ngx_http_aisearch_eviction_zone_size(c)
           / NGX_HTTP_AISEARCH_WATCHED_PART;

    if (e->rank == NGX_HTTP_AISEARCH_WATCHED) {

        if (used > most) {
            ngx_http_aisearch_eviction_release(c, e);
        }

        return;
    }

    ngx_http_aisearch_eviction_unwatch(c);

    used = c->sh->used[NGX_HTTP_AISEARCH_WATCHED];

    if (used + ngx_http_aisearch_entry_memory(e) <= most) {
        ngx_http_aisearch_entry_move(c, e, NGX_HTTP_AISEARCH_WATCHED);
    }
}


/* the entry is no longer kept for watchers */

static void
ngx_http_aisearch_eviction_release(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e)
{
    ngx_http_aisearch_entry_move(c, e, ngx_http_aisearch_eviction_is_list(e)
                                       ? NGX_HTTP_AISEARCH_LISTS_AGAIN
                                       : NGX_HTTP_AISEARCH_AGAIN);
}


/* releases a few expired entries from the tail; a mark moves one to the head */

static void
ngx_http_aisearch_eviction_unwatch(ngx_http_aisearch_cache_t *c)
{
    uint32_t                    now;
    ngx_uint_t                  n;
    ngx_queue_t                *queue;
    ngx_http_aisearch_entry_t  *e;

    now = (uint32_t) (ngx_http_aisearch_now() / 1000);
    queue = &c->sh->queues[NGX_HTTP_AISEARCH_WATCHED];

    for (n = NGX_HTTP_AISEARCH_STEPS; n > 0; n--) {

        if (ngx_queue_empty(queue)) {
            return;
        }

        e = ngx_queue_data(ngx_queue_last(queue), ngx_http_aisearch_entry_t,
                           queue);

        if ((int32_t) (e->watched - now) >= 0) {
            return;
        }

        ngx_http_aisearch_eviction_release(c, e);
    }
}


/*
 * Promotes an entry that is requested again after its lifetime.  For a job that
 * has ended any request will do, as its answer is valid for a day.  A scan does
 * neither.
 */

void
ngx_http_aisearch_eviction_touch(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e, ngx_msec_t lifetime)
{
    if (e->rank != NGX_HTTP_AISEARCH_ONCE
        && e->rank != NGX_HTTP_AISEARCH_LISTS_ONCE)
    {
        return;
    }

    if (ngx_http_aisearch_entry_age(e) < lifetime
        && !ngx_http_aisearch_eviction_has_ended(e))
    {
        return;
    }

    ngx_http_aisearch_eviction_move(c, e, e->rank == NGX_HTTP_AISEARCH_ONCE
                                       ? NGX_HTTP_AISEARCH_AGAIN
                                       : NGX_HTTP_AISEARCH_LISTS_AGAIN);

    ngx_http_aisearch_eviction_demote(c, e);
}


void
ngx_http_aisearch_eviction_move(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e, ngx_uint_t rank)
{
    if (rank == e->rank) {
        return;
    }

    ngx_http_aisearch_entry_move(c, e, rank);

    (void) ngx_http_aisearch_eviction_make_way(c, rank, 0, e);
}


/* only keys of lists have arguments, which select a page */

static ngx_uint_t
ngx_http_aisearch_eviction_is_list(ngx_http_aisearch_entry_t *e)
{
    return ngx_strlchr(e->data, e->data + e->key_len, '?') != NULL;
}


static ngx_uint_t
ngx_http_aisearch_eviction_has_ended(ngx_http_aisearch_entry_t *e)
{
    return e->class == AIS_CLASS_ENDED
           || (e->class == AIS_CLASS_LOGS
               && e->has_state
               && !ais_state_active(e->state));
}


/* limits promoted entries, or no new entry would stay in the cache */

static void
ngx_http_aisearch_eviction_demote(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *keep)
{
    size_t      size, *used;
    ngx_uint_t  n;

    size = ngx_http_aisearch_eviction_zone_size(c);
    used = c->sh->used;

    n = NGX_HTTP_AISEARCH_EVICTIONS;

    while (used[NGX_HTTP_AISEARCH_LISTS_AGAIN]
           > ngx_http_aisearch_protected(size / NGX_HTTP_AISEARCH_LISTS_PART)
           && n-- > 0
           && ngx_http_aisearch_eviction_demote_last(c,
                                             NGX_HTTP_AISEARCH_LISTS_AGAIN,
                                             NGX_HTTP_AISEARCH_LISTS_ONCE,
                                             keep))
    {
        /* void */
    }

    n = NGX_HTTP_AISEARCH_EVICTIONS;

    while (used[NGX_HTTP_AISEARCH_AGAIN] + used[NGX_HTTP_AISEARCH_LISTS_AGAIN]
           > ngx_http_aisearch_protected(size)
           && n-- > 0
           && ngx_http_aisearch_eviction_demote_last(c, NGX_HTTP_AISEARCH_AGAIN,
                                             NGX_HTTP_AISEARCH_ONCE, keep))
    {
        /* void */
    }
}


static ngx_uint_t
ngx_http_aisearch_eviction_demote_last(ngx_http_aisearch_cache_t *c,
    ngx_uint_t from, ngx_uint_t to, ngx_http_aisearch_entry_t *keep)
{
    ngx_queue_t                *q;
    ngx_http_aisearch_entry_t  *e;

    q = ngx_queue_last(&c->sh->queues[from]);

    if (q == ngx_queue_sentinel(&c->sh->queues[from])) {
        return 0;
    }

    e = ngx_queue_data(q, ngx_http_aisearch_entry_t, queue);

    if (e == keep) {
        return 0;
    }

    ngx_http_aisearch_eviction_move(c, e, to);

    return 1;
}


/*
 * Evicts entries until "size" bytes fit into the share of a rank; "keep" is not
 * evicted.  If the entries of the share are all being fetched, it may be
 * exceeded, but not by an entry fetched for the first time: NGX_DECLINED.
 */

ngx_int_t
ngx_http_aisearch_eviction_make_way(ngx_http_aisearch_cache_t *c,
    ngx_uint_t rank, size_t size, ngx_http_aisearch_entry_t *keep)
{
    ngx_uint_t                  n;
    ngx_http_aisearch_entry_t  *e;

    n = NGX_HTTP_AISEARCH_EVICTIONS + size / NGX_HTTP_AISEARCH_BLOCK;

    while (ngx_http_aisearch_eviction_over(c, rank, size) && n-- > 0) {

        e = ngx_http_aisearch_eviction_victim_of(c, rank, keep);

        if (e == NULL) {
            return rank == NGX_HTTP_AISEARCH_PENDING
                   && !ngx_queue_empty(&c->sh->queues[rank])
                   ? NGX_DECLINED : NGX_OK;
        }

        ngx_http_aisearch_eviction_drop(c, e);
    }

    return NGX_OK;
}


static void
ngx_http_aisearch_eviction_drop(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e)
{
    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "aisearch evict: key:%08xD rank:%ui size:%uz",
                   (uint32_t) e->node.key, (ngx_uint_t) e->rank,
                   ngx_http_aisearch_entry_memory(e));

    ngx_http_aisearch_entry_delete(c, e);

    c->sh->evictions++;
}


static ngx_http_aisearch_entry_t *
ngx_http_aisearch_eviction_victim(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *keep)
{
    ngx_uint_t                  rank;
    ngx_http_aisearch_entry_t  *e, *oldest;

    e = ngx_http_aisearch_eviction_last(c, NGX_HTTP_AISEARCH_FAILURES, keep);
    if (e) {
        return e;
    }

    e = ngx_http_aisearch_eviction_last(c, NGX_HTTP_AISEARCH_PENDING, keep);
    if (e) {
        return e;
    }

    /* an entry requested once was last used when it was fetched */

    oldest = NULL;

    for (rank = NGX_HTTP_AISEARCH_ONCE;
         rank <= NGX_HTTP_AISEARCH_MISSING;
         rank++)
    {
        e = ngx_http_aisearch_eviction_last(c, rank, keep);

        if (e && (oldest == NULL || e->fetched < oldest->fetched)) {
            oldest = e;
        }
    }

    if (oldest) {
        return oldest;
    }

    e = ngx_http_aisearch_eviction_last(c, NGX_HTTP_AISEARCH_AGAIN, keep);
    if (e) {
        return e;
    }

    return ngx_http_aisearch_eviction_last(c, NGX_HTTP_AISEARCH_LISTS_AGAIN,
                                           keep);
}


/* within the share of a rank; both ranks of lists have one share */

static ngx_http_aisearch_entry_t *
ngx_http_aisearch_eviction_victim_of(ngx_http_aisearch_cache_t *c,
    ngx_uint_t rank, ngx_http_aisearch_entry_t *keep)
{
    ngx_http_aisearch_entry_t  *e;

    if (rank != NGX_HTTP_AISEARCH_LISTS_AGAIN
        && rank != NGX_HTTP_AISEARCH_LISTS_ONCE)
    {
        return ngx_http_aisearch_eviction_last(c, rank, keep);
    }

    e = ngx_http_aisearch_eviction_last(c, NGX_HTTP_AISEARCH_LISTS_ONCE, keep);
    if (e) {
        return e;
    }

    return ngx_http_aisearch_eviction_last(c, NGX_HTTP_AISEARCH_LISTS_AGAIN,
                                           keep);
}


/* the least recently used entry that is not being fetched */

static ngx_http_aisearch_entry_t *
ngx_http_aisearch_eviction_last(ngx_http_aisearch_cache_t *c, ngx_uint_t rank,
    ngx_http_aisearch_entry_t *keep)
{
    ngx_uint_t                  n;
    ngx_queue_t                *q, *queue;
    ngx_http_aisearch_entry_t  *e;

    queue = &c->sh->queues[rank];

    for (q = ngx_queue_last(queue), n = NGX_HTTP_AISEARCH_STEPS;
         q != ngx_queue_sentinel(queue) && n > 0;
         q = ngx_queue_prev(q), n--)
    {
        e = ngx_queue_data(q, ngx_http_aisearch_entry_t, queue);

        if (e != keep && !ngx_http_aisearch_lease_held(e)) {
            return e;
        }
    }

    return NULL;
}


/* whether "size" more bytes would exceed the share of the rank */

static ngx_uint_t
ngx_http_aisearch_eviction_over(ngx_http_aisearch_cache_t *c, ngx_uint_t rank,
    size_t size)
{
    size_t  *used, whole;

    used = c->sh->used;
    whole = ngx_http_aisearch_eviction_zone_size(c);

    switch (rank) {

    case NGX_HTTP_AISEARCH_LISTS_AGAIN:
    case NGX_HTTP_AISEARCH_LISTS_ONCE:
        return used[NGX_HTTP_AISEARCH_LISTS_AGAIN]
               + used[NGX_HTTP_AISEARCH_LISTS_ONCE] + size
               > whole / NGX_HTTP_AISEARCH_LISTS_PART;

    case NGX_HTTP_AISEARCH_MISSING:
    case NGX_HTTP_AISEARCH_FAILURES:
        return used[rank] + size > whole / NGX_HTTP_AISEARCH_SMALL_PART;

    case NGX_HTTP_AISEARCH_PENDING:
        return used[rank] + size > whole / NGX_HTTP_AISEARCH_PENDING_PART;

    default:
        return 0;
    }
}


static size_t
ngx_http_aisearch_eviction_zone_size(ngx_http_aisearch_cache_t *c)
{
    return c->shpool->end - c->shpool->start;
}


/* evicts the least valuable entries until the allocation succeeds */

void *
ngx_http_aisearch_eviction_alloc(ngx_http_aisearch_cache_t *c, size_t size,
    ngx_http_aisearch_entry_t *keep)
{
    void                       *p;
    ngx_uint_t                  evictions;
    ngx_http_aisearch_entry_t  *e;

    evictions = NGX_HTTP_AISEARCH_EVICTIONS;

    for ( ;; ) {
        p = ngx_slab_alloc_locked(c->shpool, size);

        if (p || evictions-- == 0) {
            return p;
        }

        ngx_http_aisearch_eviction_unwatch(c);

        e = ngx_http_aisearch_eviction_victim(c, keep);
        if (e == NULL) {
            return NULL;
        }

        ngx_http_aisearch_eviction_drop(c, e);
    }
}
