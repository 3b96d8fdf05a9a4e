/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Who makes way.  What was asked for once, as by a scan, goes before what was
 * asked for again later; of either, what was not used for the longest time.
 * What is watched stays, as long as it takes no more than a third of the zone.
 * What holds no good answer has small shares of its own, and so have lists, of
 * which a client can make as many as it likes.
 *
 * The shares are counted in bytes of blocks.  If a worker is killed between two
 * updates, a count is wrong by one entry until its queue is nearly empty.  If
 * it is too high, evictions empty the queue, and so correct it.
 */


#include "ngx_http_aisearch_entry.h"


/* parts of the zone */
#define NGX_HTTP_AISEARCH_WATCHED_PART   3
#define NGX_HTTP_AISEARCH_LISTS_PART     3
#define NGX_HTTP_AISEARCH_PENDING_PART   8
#define NGX_HTTP_AISEARCH_SMALL_PART     32   /* of failures, of 404s */


/* what was asked for again leaves a fifth for new work */
#define ngx_http_aisearch_protected(size)  ((size) / 5 * 4)


/* leased ones at the end of a queue that are looked past */
#define NGX_HTTP_AISEARCH_STEPS          8


/* seconds for which an entry is watched, unless it is marked again */
#define NGX_HTTP_AISEARCH_WATCHED_TIME   10


/* for one call, so that the mutex is not held for long */
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
 * Neither a 404 nor a failure is kept for those who watch it.  Bodies may have
 * grown since the entry was marked first.
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


/* it is not kept any more */

static void
ngx_http_aisearch_eviction_release(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e)
{
    ngx_http_aisearch_entry_move(c, e, ngx_http_aisearch_eviction_is_list(e)
                                       ? NGX_HTTP_AISEARCH_LISTS_AGAIN
                                       : NGX_HTTP_AISEARCH_AGAIN);
}


/* of what nobody has marked again, some; each mark moves to the head */

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
 * Promotes what is asked for again when its time is over, or of what has ended,
 * at any time: that stays good for a day.  Whoever scans does neither.
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


/* of lists, and of nothing else, the key says which page is meant */

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


/* what was promoted has its bounds, too, or nothing new would stay */

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
 * Makes way within the share of a rank, of which "keep" may be one.  A share
 * that is taken up by what is just fetched is no reason to fail, but for what
 * is fetched for the first time: NGX_DECLINED.
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

    /* of what was asked for once, the answer is as old as the question */

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


/* within the share of a rank: that of lists is one of both */

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


/* what was not asked for the longest time, and is not being fetched */

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


/* would "size" bytes more be more than the share of the rank? */

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


/* of whatever is worth least, until there is room */

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
