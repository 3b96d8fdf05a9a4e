#include "ngx_http_aisearch_module.h"


/*
 * A flight is this worker's interest in one entry: the requests that wait for
 * it, and the fetch, where this worker holds the entry's lease.  Else it follows
 * the worker that does, which wakes this one when it has stored the answer, or
 * else a timer does.  It belongs to no request: clients may go away, the fetch goes on for the others
 * and for the cache.
 */


#define NGX_HTTP_AISEARCH_FLIGHTS  256  /* buckets */

#define NGX_HTTP_AISEARCH_BLOB_SIZE  1024

/* how often a follower looks by itself, in ms */
#define NGX_HTTP_AISEARCH_POLL       100


struct ngx_http_aisearch_flight_s {
    ngx_queue_t                   queue;    /* in the bucket of the key */
    ngx_queue_t                   follower; /* in the queue of followers */
    ngx_queue_t                   waiters;
    ngx_http_aisearch_account_t  *account;
    ngx_http_aisearch_query_t     query;

    struct ais_fetch             *fetch;    /* NULL: somebody else's */
    ngx_event_t                   timer;
    ngx_msec_t                    start;

    unsigned                      leased:1;
    unsigned                      failed:1;
    unsigned                      landing:1;
};


/* an answer in a pool of its own, for any number of requests */

typedef struct {
    ngx_pool_t                   *pool;
    ngx_uint_t                    refs;
    ngx_http_aisearch_answer_t    answer;
} ngx_http_aisearch_blob_t;


static ngx_http_aisearch_flight_t *ngx_http_aisearch_flight_find(
    ngx_http_aisearch_key_t *key);
static ngx_http_aisearch_flight_t *ngx_http_aisearch_flight_create(
    ngx_http_aisearch_account_t *account, ngx_http_aisearch_query_t *query);
static void ngx_http_aisearch_flight_destroy(ngx_http_aisearch_flight_t *f);

static void ngx_http_aisearch_flight_lead(ngx_http_aisearch_flight_t *f,
    ngx_uint_t leased);
static void ngx_http_aisearch_flight_timer(ngx_event_t *ev);
static void ngx_http_aisearch_flight_follow(ngx_http_aisearch_flight_t *f);

static void ngx_http_aisearch_flight_fetched(void *data,
    const struct ais_response *response);
static ngx_int_t ngx_http_aisearch_flight_answer(ngx_http_aisearch_flight_t *f,
    const struct ais_response *response, ngx_http_aisearch_blob_t *blob);
static void ngx_http_aisearch_flight_land(ngx_http_aisearch_flight_t *f,
    ngx_http_aisearch_blob_t *blob);
static void ngx_http_aisearch_flight_log(ngx_http_aisearch_flight_t *f,
    const struct ais_response *response, enum ais_fault fault,
    const char *reason);

static ngx_http_aisearch_blob_t *ngx_http_aisearch_blob_create(void);
static ngx_int_t ngx_http_aisearch_blob_share(ngx_http_aisearch_blob_t *blob,
    ngx_pool_t *pool);
static void ngx_http_aisearch_blob_release(void *data);


static ngx_queue_t  ngx_http_aisearch_flights[NGX_HTTP_AISEARCH_FLIGHTS];
static ngx_queue_t  ngx_http_aisearch_followers;
static ngx_uint_t   ngx_http_aisearch_flights_ready;


void
ngx_http_aisearch_flight_init(void)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_HTTP_AISEARCH_FLIGHTS; i++) {
        ngx_queue_init(&ngx_http_aisearch_flights[i]);
    }

    ngx_queue_init(&ngx_http_aisearch_followers);

    ngx_http_aisearch_flights_ready = 1;
}


/* the process leaves: let the others take over what it fetches */

void
ngx_http_aisearch_flight_done(void)
{
    ngx_uint_t                   i;
    ngx_queue_t                 *bucket;
    ngx_http_aisearch_flight_t  *f;

    if (!ngx_http_aisearch_flights_ready) {
        return;
    }

    for (i = 0; i < NGX_HTTP_AISEARCH_FLIGHTS; i++) {
        bucket = &ngx_http_aisearch_flights[i];

        while (!ngx_queue_empty(bucket)) {
            f = ngx_queue_data(ngx_queue_head(bucket),
                               ngx_http_aisearch_flight_t, queue);

            if (f->fetch) {
                ais_fetch_cancel(f->fetch);
            }

            ngx_http_aisearch_flight_destroy(f);
        }
    }
}


/*
 * Lets the request wait for the answer; an unattended one only sees to it
 * that somebody fetches.  "lookup" is what the cache said to do.
 */

ngx_int_t
ngx_http_aisearch_flight_join(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_query_t *query, ngx_http_aisearch_lookup_e lookup)
{
    ngx_http_aisearch_flight_t  *f;

    f = ngx_http_aisearch_flight_find(&query->key);

    if (f == NULL) {

        if (lookup == NGX_HTTP_AISEARCH_WAIT
            && ngx_http_aisearch_unattended(ctx->request))
        {
            return NGX_OK;
        }

        f = ngx_http_aisearch_flight_create(ctx->account, query);
        if (f == NULL) {
            return NGX_ERROR;
        }
    }

    if (!ngx_http_aisearch_unattended(ctx->request)) {
        ctx->flight = f;
        ngx_queue_insert_tail(&f->waiters, &ctx->queue);
    }

    if (f->fetch || f->failed) {
        return NGX_OK;
    }

    if (lookup != NGX_HTTP_AISEARCH_WAIT) {
        ngx_http_aisearch_flight_lead(f, lookup != NGX_HTTP_AISEARCH_NOMEM);

    } else if (!f->timer.timer_set) {
        ngx_queue_insert_tail(&ngx_http_aisearch_followers, &f->follower);
        ngx_add_timer(&f->timer, NGX_HTTP_AISEARCH_POLL);
    }

    return NGX_OK;
}


void
ngx_http_aisearch_flight_leave(ngx_http_aisearch_ctx_t *ctx)
{
    ngx_http_aisearch_flight_t  *f;

    f = ctx->flight;
    ctx->flight = NULL;

    ngx_queue_remove(&ctx->queue);

    /* a fetch is finished all the same, looking out for one is not */

    if (f->fetch == NULL && !f->landing && ngx_queue_empty(&f->waiters)) {
        ngx_http_aisearch_flight_destroy(f);
    }
}


/* another worker has stored an answer; of which entry, it does not say */

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

    /* one that lands may end others: take nothing for granted but the head */

    while (!ngx_queue_empty(&followers)) {
        q = ngx_queue_head(&followers);
        ngx_queue_remove(q);
        ngx_queue_insert_tail(&ngx_http_aisearch_followers, q);

        f = ngx_queue_data(q, ngx_http_aisearch_flight_t, follower);
        ngx_http_aisearch_flight_follow(f);
    }
}


static ngx_http_aisearch_flight_t *
ngx_http_aisearch_flight_find(ngx_http_aisearch_key_t *key)
{
    ngx_queue_t                 *bucket, *q;
    ngx_http_aisearch_key_t     *k;
    ngx_http_aisearch_flight_t  *f;

    bucket = &ngx_http_aisearch_flights[key->hash % NGX_HTTP_AISEARCH_FLIGHTS];

    for (q = ngx_queue_head(bucket);
         q != ngx_queue_sentinel(bucket);
         q = ngx_queue_next(q))
    {
        f = ngx_queue_data(q, ngx_http_aisearch_flight_t, queue);
        k = &f->query.key;

        if (k->hash == key->hash
            && k->account == key->account
            && k->path.len == key->path.len
            && ngx_memcmp(k->path.data, key->path.data, key->path.len) == 0)
        {
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

    f->account = account;
    ngx_http_aisearch_query_copy(&f->query, query);

    ngx_queue_init(&f->waiters);
    ngx_queue_init(&f->follower);

    f->timer.handler = ngx_http_aisearch_flight_timer;
    f->timer.data = f;
    f->timer.log = ngx_cycle->log;
    f->start = ngx_current_msec;

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

    if (f->leased) {
        ngx_http_aisearch_cache_release(f->account->zone, &f->query.key);
    }

    ngx_queue_remove(&f->queue);
    ngx_queue_remove(&f->follower);
    ngx_free(f);
}


static void
ngx_http_aisearch_flight_lead(ngx_http_aisearch_flight_t *f, ngx_uint_t leased)
{
    struct ais_client            *client;
    ngx_http_aisearch_account_t  *account;

    account = f->account;
    client = ngx_http_aisearch_net_client(account->net);

    f->leased = leased;

    ngx_queue_remove(&f->follower);
    ngx_queue_init(&f->follower);

    if (client) {
        f->fetch = ais_client_fetch(client, &account->target,
                                    account->credential, f->query.path,
                                    ngx_http_aisearch_flight_fetched, f);
    }

    /* not from here: the caller may be the handler of a request that waits */

    f->failed = (f->fetch == NULL);

    if (f->timer.timer_set) {
        ngx_del_timer(&f->timer);
    }

    ngx_add_timer(&f->timer, f->failed ? 1 : NGX_HTTP_AISEARCH_RENEWAL);
}


static void
ngx_http_aisearch_flight_timer(ngx_event_t *ev)
{
    ngx_http_aisearch_flight_t  *f;

    f = ev->data;

    if (f->failed) {
        ngx_log_error(NGX_LOG_ERR, ev->log, 0,
                      "aisearch account \"%V\": could not start a fetch",
                      &f->account->name);
        ngx_http_aisearch_flight_land(f, NULL);
        return;
    }

    if (f->fetch == NULL) {
        ngx_http_aisearch_flight_follow(f);
        return;
    }

    if (f->leased) {
        ngx_http_aisearch_cache_renew(f->account->zone, &f->query.key);
    }

    ngx_add_timer(&f->timer, NGX_HTTP_AISEARCH_RENEWAL);
}


/* looks whether the answer has come, or the lease of its leader has run out */

static void
ngx_http_aisearch_flight_follow(ngx_http_aisearch_flight_t *f)
{
    ngx_http_aisearch_ctx_t     *ctx;
    ngx_http_aisearch_blob_t    *blob;
    ngx_http_aisearch_lookup_e   lookup;

    blob = ngx_http_aisearch_blob_create();
    if (blob == NULL) {
        ngx_http_aisearch_flight_land(f, NULL);
        return;
    }

    /* those who wait for one entry may differ in what is fresh to them, but
       not in what has come while they waited */

    ctx = ngx_queue_data(ngx_queue_head(&f->waiters), ngx_http_aisearch_ctx_t,
                         queue);

    lookup = ngx_http_aisearch_cache_lookup(f->account->zone, &f->query.key,
                                            &ctx->conf->valid, f->start,
                                            blob->pool, &blob->answer);
    switch (lookup) {

    case NGX_HTTP_AISEARCH_FRESH:
        ngx_http_aisearch_flight_land(f, blob);
        break;

    case NGX_HTTP_AISEARCH_WAIT:
        if (!f->timer.timer_set) {
            ngx_add_timer(&f->timer, NGX_HTTP_AISEARCH_POLL);
        }
        break;

    default:
        ngx_http_aisearch_flight_lead(f, lookup != NGX_HTTP_AISEARCH_NOMEM);
    }

    ngx_http_aisearch_blob_release(blob);
}


static void
ngx_http_aisearch_flight_fetched(void *data, const struct ais_response *response)
{
    ngx_http_aisearch_flight_t  *f = data;

    ngx_http_aisearch_blob_t  *blob;

    f->fetch = NULL;

    blob = ngx_http_aisearch_blob_create();

    if (blob
        && ngx_http_aisearch_flight_answer(f, response, blob) == NGX_OK
        && blob->answer.verdict.fault != AIS_FAULT_INTERNAL)
    {
        ngx_http_aisearch_cache_store(f->account->zone, &f->query.key,
                                      &blob->answer);
        f->leased = 0;
    }

    ngx_http_aisearch_flight_land(f, blob);

    if (blob) {
        ngx_http_aisearch_blob_release(blob);
    }
}


static ngx_int_t
ngx_http_aisearch_flight_answer(ngx_http_aisearch_flight_t *f,
    const struct ais_response *response, ngx_http_aisearch_blob_t *blob)
{
    ngx_time_t                  *tp;
    struct ais_error             err;
    ngx_http_aisearch_answer_t  *answer;

    answer = &blob->answer;

    answer->fetched = ngx_current_msec;
    answer->fetch_time = (ngx_msec_t) response->elapsed;

    if (response->fault != AIS_FAULT_NONE) {
        answer->verdict.fault = response->fault;
        answer->verdict.class = AIS_CLASS_ERROR;

        ngx_http_aisearch_flight_log(f, response, response->fault,
                                     response->message);
        return NGX_OK;
    }

    tp = ngx_timeofday();

    answer->verdict = ais_policy_judge(&f->query.resource, response->status,
                                       response->body,
                                       (int64_t) tp->sec * 1000 + tp->msec,
                                       &err);

    if (answer->verdict.fault != AIS_FAULT_NONE) {
        ngx_http_aisearch_flight_log(f, response, answer->verdict.fault,
                                     err.text);

        if (response->retry_after > 0) {
            answer->retry_after = (ngx_msec_t) response->retry_after;
        }
    }

    if (!answer->verdict.pass) {
        return NGX_OK;
    }

    answer->status = response->status;
    answer->body.len = response->body.len;
    answer->body.data = ngx_pnalloc(blob->pool, response->body.len + 1);

    if (answer->body.data == NULL) {
        ngx_memzero(answer, sizeof(ngx_http_aisearch_answer_t));
        answer->verdict.fault = AIS_FAULT_INTERNAL;
        return NGX_ERROR;
    }

    ngx_memcpy(answer->body.data, response->body.data, response->body.len);

    answer->etag = (uint64_t) ngx_murmur_hash2(answer->body.data,
                                               answer->body.len) << 32
                   | ngx_crc32_long(answer->body.data, answer->body.len);

    return NGX_OK;
}


/* hands the answer to all who wait, and ends the flight */

static void
ngx_http_aisearch_flight_land(ngx_http_aisearch_flight_t *f,
    ngx_http_aisearch_blob_t *blob)
{
    ngx_queue_t              *q;
    ngx_http_aisearch_ctx_t  *ctx;

    /* who asks from now on takes another flight */

    ngx_queue_remove(&f->queue);
    ngx_queue_init(&f->queue);

    ngx_queue_remove(&f->follower);
    ngx_queue_init(&f->follower);

    f->landing = 1;

    while (!ngx_queue_empty(&f->waiters)) {

        q = ngx_queue_head(&f->waiters);
        ngx_queue_remove(q);

        ctx = ngx_queue_data(q, ngx_http_aisearch_ctx_t, queue);
        ctx->flight = NULL;

        if (blob == NULL
            || ngx_http_aisearch_blob_share(blob, ctx->request->pool)
               != NGX_OK)
        {
            ctx->answer.verdict.fault = AIS_FAULT_INTERNAL;

        } else {
            ctx->answer = blob->answer;
        }

        ngx_http_aisearch_resume(ctx);
    }

    ngx_http_aisearch_flight_destroy(f);
}


/* in the name of the request that waits longest, if one does */

static void
ngx_http_aisearch_flight_log(ngx_http_aisearch_flight_t *f,
    const struct ais_response *response, enum ais_fault fault,
    const char *reason)
{
    ngx_log_t                *log;
    ngx_http_request_t       *r;
    ngx_http_aisearch_ctx_t  *ctx;

    log = ngx_cycle->log;

    if (!ngx_queue_empty(&f->waiters)) {
        ctx = ngx_queue_data(ngx_queue_head(&f->waiters),
                             ngx_http_aisearch_ctx_t, queue);
        r = ctx->request;
        log = r->connection->log;
        ngx_http_set_log_request(log, r);
    }

    ngx_log_error(NGX_LOG_ERR, log, 0,
                  "aisearch account \"%V\": %s fault: %s, "
                  "API request: \"GET %s\", status: %d, calls: %ui",
                  &f->account->name, ais_fault_name(fault), reason,
                  f->query.path, response->status,
                  (ngx_uint_t) response->calls);
}


static ngx_http_aisearch_blob_t *
ngx_http_aisearch_blob_create(void)
{
    ngx_pool_t                *pool;
    ngx_http_aisearch_blob_t  *blob;

    pool = ngx_create_pool(NGX_HTTP_AISEARCH_BLOB_SIZE, ngx_cycle->log);
    if (pool == NULL) {
        return NULL;
    }

    blob = ngx_pcalloc(pool, sizeof(ngx_http_aisearch_blob_t));
    if (blob == NULL) {
        ngx_destroy_pool(pool);
        return NULL;
    }

    blob->pool = pool;
    blob->refs = 1;

    return blob;
}


static ngx_int_t
ngx_http_aisearch_blob_share(ngx_http_aisearch_blob_t *blob, ngx_pool_t *pool)
{
    ngx_pool_cleanup_t  *cln;

    cln = ngx_pool_cleanup_add(pool, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    cln->handler = ngx_http_aisearch_blob_release;
    cln->data = blob;

    blob->refs++;

    return NGX_OK;
}


static void
ngx_http_aisearch_blob_release(void *data)
{
    ngx_http_aisearch_blob_t  *blob = data;

    if (--blob->refs == 0) {
        ngx_destroy_pool(blob->pool);
    }
}
