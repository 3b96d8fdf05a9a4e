/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * A flight holds the requests of this worker that wait for one entry, and the
 * fetch, if this worker leads.  It does not belong to a request: if clients
 * leave, the fetch continues for the other requests and for the cache.
 *
 *               +--> follow --+        another worker fetches: wait for its
 *    join  -----+      |      |        wakeup, and check every 100 ms
 *    start -----+      v      |
 *               +--> lead ----+        this worker fetches, and renews the
 *                      |      |        lease if it holds one
 *                      v      v
 *                    fail -> land      no fetch was started: reported by the
 *                                      timer, from the event loop
 *
 * A follower becomes the leader when the lease expires.  A leader whose answer
 * is outdated becomes a follower.  A flight that lands delivers the answer to
 * its requests and is destroyed.
 */


#include "ngx_http_aisearch_flight.h"
#include "ngx_http_aisearch_lease.h"
#include "ngx_http_aisearch_upstream.h"


#define NGX_HTTP_AISEARCH_FLIGHTS  256  /* buckets */

/* ms between a follower's checks of the cache */
#define NGX_HTTP_AISEARCH_POLL     100


typedef enum {
    NGX_HTTP_AISEARCH_FOLLOW = 0,
    NGX_HTTP_AISEARCH_LEAD,
    NGX_HTTP_AISEARCH_FAIL,
    NGX_HTTP_AISEARCH_LAND
} ngx_http_aisearch_phase_e;


struct ngx_http_aisearch_flight_s {
    ngx_queue_t                    queue;     /* in the bucket of the key */
    ngx_queue_t                    follower;  /* in the queue of followers */
    ngx_queue_t                    waiters;
    ngx_event_t                    timer;
    ngx_http_aisearch_time_t       start;
    ngx_uint_t                     flags;     /* of the lookup */
    ngx_http_aisearch_phase_e      phase;
    ngx_uint_t                     leased;    /* we hold the lease */
    ngx_uint_t                     watched;   /* started for watchers */
    ngx_http_aisearch_upstream_t   upstream;  /* account, key: always set */
};


static ngx_http_aisearch_flight_t *ngx_http_aisearch_flight_get(
    ngx_http_aisearch_account_t *account, ngx_http_aisearch_query_t *query,
    ngx_http_aisearch_lookup_t *lookup);
static ngx_http_aisearch_flight_t *ngx_http_aisearch_flight_find(
    ngx_http_aisearch_key_t *key);
static ngx_http_aisearch_flight_t *ngx_http_aisearch_flight_create(
    ngx_http_aisearch_account_t *account, ngx_http_aisearch_query_t *query);
static void ngx_http_aisearch_flight_destroy(ngx_http_aisearch_flight_t *f);

static void ngx_http_aisearch_flight_timer(ngx_event_t *ev);
static void ngx_http_aisearch_flight_follow(ngx_http_aisearch_flight_t *f);
static void ngx_http_aisearch_flight_unfollow(ngx_http_aisearch_flight_t *f);
static void ngx_http_aisearch_flight_lead(ngx_http_aisearch_flight_t *f,
    ngx_http_aisearch_lookup_t *lookup);
static void ngx_http_aisearch_flight_fail(ngx_http_aisearch_flight_t *f);
static void ngx_http_aisearch_flight_answered(void *data,
    ngx_http_aisearch_shared_answer_t *sa, ngx_uint_t cacheable);
static void ngx_http_aisearch_flight_yield(ngx_http_aisearch_flight_t *f);
static void ngx_http_aisearch_flight_land(ngx_http_aisearch_flight_t *f,
    ngx_http_aisearch_shared_answer_t *sa);
static void ngx_http_aisearch_flight_remove(ngx_http_aisearch_ctx_t *ctx);
static void ngx_http_aisearch_flight_deliver(ngx_http_aisearch_flight_t *f,
    ngx_http_aisearch_ctx_t *ctx, ngx_http_aisearch_shared_answer_t *sa);

static ngx_http_aisearch_ctx_t *ngx_http_aisearch_flight_first(
    ngx_http_aisearch_flight_t *f);
static ngx_log_t *ngx_http_aisearch_flight_log(void *data);


static ngx_queue_t  ngx_http_aisearch_flights[NGX_HTTP_AISEARCH_FLIGHTS];
static ngx_queue_t  ngx_http_aisearch_followers;

static ngx_http_aisearch_flight_pt  ngx_http_aisearch_flight_landed;


void
ngx_http_aisearch_flight_init(ngx_http_aisearch_flight_pt landed)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_HTTP_AISEARCH_FLIGHTS; i++) {
        ngx_queue_init(&ngx_http_aisearch_flights[i]);
    }

    ngx_queue_init(&ngx_http_aisearch_followers);

    ngx_http_aisearch_flight_landed = landed;
}


void
ngx_http_aisearch_flight_end(ngx_uint_t all)
{
    ngx_uint_t                   i;
    ngx_queue_t                 *bucket, *q, *next;
    ngx_http_aisearch_flight_t  *f;

    if (ngx_http_aisearch_flight_landed == NULL) {
        return;
    }

    for (i = 0; i < NGX_HTTP_AISEARCH_FLIGHTS; i++) {
        bucket = &ngx_http_aisearch_flights[i];

        for (q = ngx_queue_head(bucket);
             q != ngx_queue_sentinel(bucket);
             q = next)
        {
            next = ngx_queue_next(q);

            f = ngx_queue_data(q, ngx_http_aisearch_flight_t, queue);

            if (all || (f->watched && ngx_queue_empty(&f->waiters))) {
                ngx_http_aisearch_flight_destroy(f);
            }
        }
    }
}


ngx_int_t
ngx_http_aisearch_flight_join(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_query_t *query, ngx_http_aisearch_lookup_t *lookup)
{
    ngx_http_aisearch_flight_t  *f;

    f = ngx_http_aisearch_flight_get(ctx->account, query, lookup);
    if (f == NULL) {
        return NGX_ERROR;
    }

    ctx->flight = f;
    ngx_queue_insert_tail(&f->waiters, &ctx->queue);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, ctx->request->connection->log, 0,
                   "aisearch wait: key:%08xD fetched by %s worker",
                   query->key.hash, f->phase == NGX_HTTP_AISEARCH_FOLLOW
                                    ? "another" : "this");

    if (ctx->bypass) {
        f->flags |= NGX_HTTP_AISEARCH_BYPASS;
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_aisearch_flight_start(ngx_http_aisearch_account_t *account,
    ngx_http_aisearch_query_t *query, ngx_http_aisearch_lookup_t *lookup,
    ngx_uint_t watched)
{
    ngx_http_aisearch_flight_t  *f;

    f = ngx_http_aisearch_flight_get(account, query, lookup);

    if (f) {
        f->watched = watched;
    }

    return f && f->phase != NGX_HTTP_AISEARCH_FAIL ? NGX_OK : NGX_DECLINED;
}


/* the flight continues for the cache and for other requests */

void
ngx_http_aisearch_flight_give_up(ngx_http_aisearch_ctx_t *ctx)
{
    ngx_http_aisearch_shared_answer_t  *sa;

    sa = ngx_http_aisearch_answer_create();

    if (sa) {
        ngx_http_aisearch_answer_fail(&sa->answer, AIS_FAULT_TIMEOUT, 0);
    }

    ngx_http_aisearch_flight_deliver(ctx->flight, ctx, sa);
    ngx_http_aisearch_flight_leave(ctx);

    ngx_http_aisearch_answer_release(sa);

    ngx_http_aisearch_resume(ctx);
}


static void
ngx_http_aisearch_flight_remove(ngx_http_aisearch_ctx_t *ctx)
{
    ngx_queue_remove(&ctx->queue);

    ctx->flight = NULL;

    if (ctx->timeout && ctx->timeout->timer_set) {
        ngx_del_timer(ctx->timeout);
    }
}


void
ngx_http_aisearch_flight_leave(ngx_http_aisearch_ctx_t *ctx)
{
    ngx_http_aisearch_flight_t  *f;

    f = ctx->flight;

    ngx_http_aisearch_flight_remove(ctx);

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ctx->request->connection->log, 0,
                   "aisearch leave: key:%08xD", f->upstream.query.key.hash);

    if (!ngx_queue_empty(&f->waiters)) {
        return;
    }

    /* a fetch continues without requests, following does not */

    if (f->phase == NGX_HTTP_AISEARCH_FOLLOW
        || f->phase == NGX_HTTP_AISEARCH_FAIL)
    {
        ngx_http_aisearch_flight_destroy(f);
    }
}


/* another worker has stored an answer, the entry is not known here */

void
ngx_http_aisearch_flight_look(void)
{
    ngx_queue_t                  followers, *q;
    ngx_http_aisearch_flight_t  *f;

    if (ngx_queue_empty(&ngx_http_aisearch_followers)) {
        return;
    }

    ngx_queue_init(&followers);
    ngx_queue_add(&followers, &ngx_http_aisearch_followers);
    ngx_queue_init(&ngx_http_aisearch_followers);

    /* a flight that lands may end others, so only the head is safe to use */

    while (!ngx_queue_empty(&followers)) {
        q = ngx_queue_head(&followers);
        ngx_queue_remove(q);
        ngx_queue_insert_tail(&ngx_http_aisearch_followers, q);

        f = ngx_queue_data(q, ngx_http_aisearch_flight_t, follower);
        ngx_http_aisearch_flight_follow(f);
    }
}


static ngx_http_aisearch_flight_t *
ngx_http_aisearch_flight_get(ngx_http_aisearch_account_t *account,
    ngx_http_aisearch_query_t *query, ngx_http_aisearch_lookup_t *lookup)
{
    ngx_uint_t                   created;
    ngx_http_aisearch_flight_t  *f;

    f = ngx_http_aisearch_flight_find(&query->key);
    created = (f == NULL);

    if (created) {
        f = ngx_http_aisearch_flight_create(account, query);
    }

    if (f == NULL) {
        if (lookup->fetch == NGX_HTTP_AISEARCH_LEADER) {
            ngx_http_aisearch_lease_release(account, &query->key);
        }

        return NULL;
    }

    if (lookup->fetch == NGX_HTTP_AISEARCH_OTHER) {

        if (created) {
            ngx_queue_insert_tail(&ngx_http_aisearch_followers, &f->follower);
            ngx_add_timer(&f->timer, NGX_HTTP_AISEARCH_POLL);
        }

    } else if (f->phase == NGX_HTTP_AISEARCH_FOLLOW) {
        ngx_http_aisearch_flight_lead(f, lookup);

    } else if (lookup->fetch == NGX_HTTP_AISEARCH_LEADER) {
        /* the flight had no lease, or had lost it */
        f->leased = 1;
    }

    return f;
}


static ngx_http_aisearch_flight_t *
ngx_http_aisearch_flight_find(ngx_http_aisearch_key_t *key)
{
    ngx_queue_t                 *bucket, *q;
    ngx_http_aisearch_flight_t  *f;

    bucket = &ngx_http_aisearch_flights[key->hash % NGX_HTTP_AISEARCH_FLIGHTS];

    for (q = ngx_queue_head(bucket);
         q != ngx_queue_sentinel(bucket);
         q = ngx_queue_next(q))
    {
        f = ngx_queue_data(q, ngx_http_aisearch_flight_t, queue);

        if (ngx_http_aisearch_key_equal(&f->upstream.query.key, key)) {
            return f;
        }
    }

    return NULL;
}


static ngx_http_aisearch_flight_t *
ngx_http_aisearch_flight_create(ngx_http_aisearch_account_t *account,
    ngx_http_aisearch_query_t *query)
{
    ngx_queue_t                 *bucket;
    ngx_http_aisearch_flight_t  *f;

    f = ngx_calloc(sizeof(ngx_http_aisearch_flight_t), ngx_cycle->log);
    if (f == NULL) {
        return NULL;
    }

    f->upstream.data = f;
    f->upstream.handler = ngx_http_aisearch_flight_answered;
    f->upstream.log = ngx_http_aisearch_flight_log;

    ngx_http_aisearch_upstream_init(&f->upstream, account, query);

    ngx_queue_init(&f->waiters);
    ngx_queue_init(&f->follower);

    f->timer.handler = ngx_http_aisearch_flight_timer;
    f->timer.data = f;
    f->timer.log = ngx_cycle->log;
    f->start = ngx_http_aisearch_now();

    bucket = &ngx_http_aisearch_flights[query->key.hash
                                        % NGX_HTTP_AISEARCH_FLIGHTS];
    ngx_queue_insert_head(bucket, &f->queue);

    return f;
}


static void
ngx_http_aisearch_flight_destroy(ngx_http_aisearch_flight_t *f)
{
    if (f->timer.timer_set) {
        ngx_del_timer(&f->timer);
    }

    ngx_http_aisearch_upstream_cancel(&f->upstream);

    if (f->leased) {
        ngx_http_aisearch_lease_release(f->upstream.account,
                                        &f->upstream.query.key);
    }

    ngx_queue_remove(&f->queue);
    ngx_queue_remove(&f->follower);

    ngx_free(f);
}


static void
ngx_http_aisearch_flight_timer(ngx_event_t *ev)
{
    ngx_http_aisearch_flight_t  *f;

    f = ev->data;

    switch (f->phase) {

    case NGX_HTTP_AISEARCH_FOLLOW:
        ngx_http_aisearch_flight_follow(f);
        return;

    case NGX_HTTP_AISEARCH_FAIL:
        ngx_http_aisearch_flight_fail(f);
        return;

    default:
        break;
    }

    if (f->leased) {
        ngx_http_aisearch_lease_renew(f->upstream.account,
                                      &f->upstream.query.key);
    }

    ngx_add_timer(&f->timer, NGX_HTTP_AISEARCH_RENEWAL);
}


/* checks whether the answer was stored, or the leader's lease expired */

static void
ngx_http_aisearch_flight_follow(ngx_http_aisearch_flight_t *f)
{
    ngx_http_aisearch_lookup_t          lookup;
    ngx_http_aisearch_answer_t         *answer;
    ngx_http_aisearch_shared_answer_t  *sa;

    sa = ngx_http_aisearch_answer_create();
    if (sa == NULL) {
        ngx_http_aisearch_flight_land(f, NULL);
        return;
    }

    answer = &sa->answer;

    /*
     * Locations may have different lifetimes, but an answer that arrives
     * during the wait is fresh for all requests of the flight.
     */

    lookup = ngx_http_aisearch_cache_lookup(f->upstream.account,
                       &f->upstream.query.key,
                       &ngx_http_aisearch_flight_first(f)->conf->freshness,
                       f->start, f->flags, sa->pool, answer);

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, ngx_http_aisearch_flight_log(f), 0,
                   "aisearch follow: key:%08xD serve:%s fetch:%s",
                   f->upstream.query.key.hash,
                   ngx_http_aisearch_serve_names[lookup.serve],
                   ngx_http_aisearch_fetch_names[lookup.fetch]);

    if (lookup.serve != AIS_SERVE_NOTHING) {
        f->leased = (lookup.fetch == NGX_HTTP_AISEARCH_LEADER);

        /* each request decides by its own location whether stale is allowed */

        if (lookup.serve == AIS_SERVE_STALE) {
            answer->verdict.fault = answer->failure;
            answer->verdict.pass = 0;
        }

        ngx_http_aisearch_flight_land(f, sa);

    } else if (lookup.fetch != NGX_HTTP_AISEARCH_OTHER) {
        ngx_http_aisearch_flight_lead(f, &lookup);

    } else if (!f->timer.timer_set) {
        ngx_add_timer(&f->timer, NGX_HTTP_AISEARCH_POLL);
    }

    ngx_http_aisearch_answer_release(sa);
}


static void
ngx_http_aisearch_flight_unfollow(ngx_http_aisearch_flight_t *f)
{
    ngx_queue_remove(&f->follower);
    ngx_queue_init(&f->follower);
}


static void
ngx_http_aisearch_flight_lead(ngx_http_aisearch_flight_t *f,
    ngx_http_aisearch_lookup_t *lookup)
{
    f->leased = (lookup->fetch == NGX_HTTP_AISEARCH_LEADER);
    f->upstream.newcomer = !lookup->known;

    ngx_http_aisearch_flight_unfollow(f);

    /* a failure lands later, since the caller may be about to wait */

    f->phase = ngx_http_aisearch_upstream_start(&f->upstream) == NGX_OK
               ? NGX_HTTP_AISEARCH_LEAD : NGX_HTTP_AISEARCH_FAIL;

    if (f->timer.timer_set) {
        ngx_del_timer(&f->timer);
    }

    ngx_add_timer(&f->timer, f->phase == NGX_HTTP_AISEARCH_LEAD
                             ? NGX_HTTP_AISEARCH_RENEWAL : 1);
}


/* no fetch was started */

static void
ngx_http_aisearch_flight_fail(ngx_http_aisearch_flight_t *f)
{
    enum ais_fault                      fault;
    ngx_http_aisearch_account_t        *account;
    ngx_http_aisearch_shared_answer_t  *sa;

    account = f->upstream.account;
    fault = f->upstream.fault;

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, ngx_http_aisearch_flight_log(f), 0,
                   "aisearch no fetch: key:%08xD fault:%s wait:%M",
                   f->upstream.query.key.hash, ais_fault_name(fault),
                   f->upstream.wait);

    if (fault == AIS_FAULT_INTERNAL) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "aisearch account \"%V\": could not start a fetch",
                      &account->name);
    }

    /* fetches held back by the breaker have their own counter */

    if (!f->upstream.held) {
        ngx_http_aisearch_count(account->stats->fetches[fault]);
    }

    sa = ngx_http_aisearch_answer_create();

    if (sa) {
        ngx_http_aisearch_answer_fail(&sa->answer, fault, f->upstream.wait);
    }

    ngx_http_aisearch_flight_land(f, sa);

    ngx_http_aisearch_answer_release(sa);
}


static void
ngx_http_aisearch_flight_answered(void *data,
    ngx_http_aisearch_shared_answer_t *sa, ngx_uint_t cacheable)
{
    ngx_http_aisearch_flight_t  *f = data;

    if (cacheable) {
        f->leased = 0;

        if (ngx_http_aisearch_cache_store(f->upstream.account,
                                          &f->upstream.query.key, &sa->answer)
            != NGX_OK)
        {
            ngx_http_aisearch_answer_release(sa);
            ngx_http_aisearch_flight_yield(f);
            return;
        }
    }

    ngx_http_aisearch_flight_land(f, sa);

    ngx_http_aisearch_answer_release(sa);
}


/*
 * The answer was not stored: another worker has a newer one, or the lease.
 * The waiting requests follow that worker.
 */

static void
ngx_http_aisearch_flight_yield(ngx_http_aisearch_flight_t *f)
{
    if (ngx_queue_empty(&f->waiters)) {
        ngx_http_aisearch_flight_destroy(f);
        return;
    }

    f->phase = NGX_HTTP_AISEARCH_FOLLOW;
    ngx_queue_insert_tail(&ngx_http_aisearch_followers, &f->follower);

    ngx_http_aisearch_flight_follow(f);
}


/* delivers the answer to all waiting requests, and destroys the flight */

static void
ngx_http_aisearch_flight_land(ngx_http_aisearch_flight_t *f,
    ngx_http_aisearch_shared_answer_t *sa)
{
    ngx_http_aisearch_ctx_t  *ctx;

    /* new requests must start another flight */

    ngx_queue_remove(&f->queue);
    ngx_queue_init(&f->queue);

    ngx_http_aisearch_flight_unfollow(f);

    f->phase = NGX_HTTP_AISEARCH_LAND;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "aisearch land: key:%08xD", f->upstream.query.key.hash);

    ngx_http_aisearch_flight_landed(&f->upstream.query.key, sa);

    while (!ngx_queue_empty(&f->waiters)) {

        ctx = ngx_http_aisearch_flight_first(f);

        ngx_http_aisearch_flight_remove(ctx);
        ngx_http_aisearch_flight_deliver(f, ctx, sa);

        if (ctx->cache_status == NGX_HTTP_AISEARCH_CACHE_COALESCED) {
            ngx_http_aisearch_count(f->upstream.account->stats->woken);
        }

        ngx_http_aisearch_resume(ctx);
    }

    ngx_http_aisearch_flight_destroy(f);
}


/* on a failure, serves a stale answer if the request's location allows it */

static void
ngx_http_aisearch_flight_deliver(ngx_http_aisearch_flight_t *f,
    ngx_http_aisearch_ctx_t *ctx, ngx_http_aisearch_shared_answer_t *sa)
{
    enum ais_fault               fault;
    ngx_http_request_t          *r;
    ngx_http_aisearch_lookup_t   lookup;

    r = ctx->request;

    fault = sa ? sa->answer.verdict.fault : AIS_FAULT_INTERNAL;

    if (fault != AIS_FAULT_NONE) {

        lookup = ngx_http_aisearch_cache_lookup(f->upstream.account,
                                                &f->upstream.query.key,
                                                &ctx->conf->freshness, 0,
                                                NGX_HTTP_AISEARCH_PEEK,
                                                r->pool, &ctx->answer);

        if (lookup.serve == AIS_SERVE_STALE || lookup.serve == AIS_SERVE_FRESH)
        {
            ctx->cache_status = NGX_HTTP_AISEARCH_CACHE_STALE;
            ctx->answer.failure = fault;
            return;
        }
    }

    if (sa && ngx_http_aisearch_answer_share(sa, r->pool) == NGX_OK) {
        ctx->answer = sa->answer;
        return;
    }

    ngx_http_aisearch_answer_fail(&ctx->answer, AIS_FAULT_INTERNAL, 0);
}


/* returns the oldest waiting request; the queue must not be empty */

static ngx_http_aisearch_ctx_t *
ngx_http_aisearch_flight_first(ngx_http_aisearch_flight_t *f)
{
    return ngx_queue_data(ngx_queue_head(&f->waiters), ngx_http_aisearch_ctx_t,
                          queue);
}


static ngx_log_t *
ngx_http_aisearch_flight_log(void *data)
{
    ngx_http_aisearch_flight_t  *f = data;

    ngx_http_request_t  *r;

    if (ngx_queue_empty(&f->waiters)) {
        return ngx_cycle->log;
    }

    r = ngx_http_aisearch_flight_first(f)->request;

    ngx_http_set_log_request(r->connection->log, r);

    return r->connection->log;
}
