#include "ngx_http_aisearch_module.h"


/*
 * A flight is this worker's interest in one entry: the requests that wait for
 * it, and the fetch, where this worker holds the entry's lease.  Else it
 * follows the worker that does, which wakes this one when it has stored the
 * answer, or else a timer does.  It belongs to no request: clients may go
 * away, the fetch goes on for the others and for the cache.
 */


#define NGX_HTTP_AISEARCH_FLIGHTS  256  /* buckets */

#define NGX_HTTP_AISEARCH_BLOB_SIZE  1024

/* ms; a day */
#define NGX_HTTP_AISEARCH_AGE_MAX    (24 * 60 * 60 * 1000)

/* how often a follower looks by itself, in ms */
#define NGX_HTTP_AISEARCH_POLL       100


typedef struct ngx_http_aisearch_blob_s  ngx_http_aisearch_blob_t;


struct ngx_http_aisearch_flight_s {
    ngx_queue_t                   queue;    /* in the bucket of the key */
    ngx_queue_t                   follower; /* in the queue of followers */
    ngx_queue_t                   waiters;
    ngx_http_aisearch_account_t  *account;
    ngx_http_aisearch_query_t     query;    /* its views are into the path */
    char                          path[AIS_RESOURCE_PATH_MAX];

    struct ais_fetch             *fetch;    /* NULL: somebody else's */
    struct ais_choice             choice;   /* the credential of that */
    struct ais_choice             first;    /* the one before, in doubt */
    struct ais_pass               pass;     /* the breaker's, for that */
    ngx_uint_t                    repeats;  /* with another credential */
    ngx_http_aisearch_blob_t     *refusal;  /* while the witness is asked */
    char                         *witness;
    int64_t                       elapsed;  /* ms, and */
    unsigned                      calls;    /* requests, before those */

    ngx_event_t                   timer;
    ngx_http_aisearch_time_t      start;
    ngx_http_aisearch_time_t      asked;
    enum ais_fault                fault;    /* for which no fetch began */
    ngx_msec_t                    wait;     /* until that may be over */
    ngx_uint_t                    flags;    /* to look up with */

    unsigned                      leased:1;
    unsigned                      failed:1;
    unsigned                      landing:1;
    unsigned                      other_form:1; /* it tries that one */
    unsigned                      newcomer:1; /* for the budget */
    unsigned                      held:1;   /* back by the breaker */
    unsigned                      chosen:1; /* what to ask with next is */
    unsigned                      second:1; /* it is not the first one */
    unsigned                      there:1;  /* the API is, as it is known */
};


/* an answer in a pool of its own, for any number of requests */

struct ngx_http_aisearch_blob_s {
    ngx_pool_t                   *pool;
    ngx_uint_t                    refs;
    ngx_http_aisearch_answer_t    answer;
};


static ngx_http_aisearch_flight_t *ngx_http_aisearch_flight_get(
    ngx_http_aisearch_account_t *account, ngx_http_aisearch_query_t *query,
    ngx_http_aisearch_lookup_t *lookup);
static ngx_http_aisearch_flight_t *ngx_http_aisearch_flight_find(
    ngx_http_aisearch_key_t *key);
static ngx_http_aisearch_flight_t *ngx_http_aisearch_flight_create(
    ngx_http_aisearch_account_t *account, ngx_http_aisearch_query_t *query);
static void ngx_http_aisearch_flight_query(ngx_http_aisearch_flight_t *f,
    ngx_http_aisearch_query_t *query);
static void ngx_http_aisearch_flight_resource(ngx_http_aisearch_flight_t *f,
    struct ais_resource *res);
static void ngx_http_aisearch_flight_destroy(ngx_http_aisearch_flight_t *f);

static void ngx_http_aisearch_flight_lead(ngx_http_aisearch_flight_t *f,
    ngx_http_aisearch_lookup_t *lookup);
static void ngx_http_aisearch_flight_fetch(ngx_http_aisearch_flight_t *f);
static struct ais_fetch *ngx_http_aisearch_flight_ask(
    ngx_http_aisearch_flight_t *f, struct ais_client *client,
    struct ais_target *target);
static void ngx_http_aisearch_flight_timer(ngx_event_t *ev);
static ngx_uint_t ngx_http_aisearch_flight_spent(ngx_http_aisearch_flight_t *f);
static void ngx_http_aisearch_flight_fail(ngx_http_aisearch_flight_t *f);
static void ngx_http_aisearch_flight_follow(ngx_http_aisearch_flight_t *f);

static void ngx_http_aisearch_flight_fetched(void *data,
    const struct ais_response *response);
static struct ais_response ngx_http_aisearch_flight_total(
    ngx_http_aisearch_flight_t *f, const struct ais_response *response);
static void ngx_http_aisearch_flight_conclude(ngx_http_aisearch_flight_t *f,
    const struct ais_response *response, struct ais_verdict *verdict);
static void ngx_http_aisearch_flight_keep(ngx_http_aisearch_flight_t *f,
    ngx_http_aisearch_blob_t *blob);
static ngx_uint_t ngx_http_aisearch_flight_doubt(ngx_http_aisearch_flight_t *f,
    const struct ais_response *response, struct ais_verdict *verdict);
static void ngx_http_aisearch_flight_told(ngx_http_aisearch_flight_t *f,
    const struct ais_response *response, struct ais_verdict *verdict,
    const char *reason);
static void ngx_http_aisearch_flight_yield(ngx_http_aisearch_flight_t *f);
static ngx_msec_t ngx_http_aisearch_flight_age(
    const struct ais_response *response);
static struct ais_verdict ngx_http_aisearch_flight_judge(
    ngx_http_aisearch_flight_t *f, const struct ais_response *response,
    struct ais_error *err);
static ngx_uint_t ngx_http_aisearch_flight_try_form(
    ngx_http_aisearch_flight_t *f, const struct ais_response *response,
    struct ais_verdict *verdict);
static ngx_uint_t ngx_http_aisearch_flight_repeat(
    ngx_http_aisearch_flight_t *f, const struct ais_response *response,
    const char *reason);
static ngx_uint_t ngx_http_aisearch_flight_again(
    ngx_http_aisearch_flight_t *f, const struct ais_response *response);
static void ngx_http_aisearch_flight_answer(ngx_http_aisearch_flight_t *f,
    const struct ais_response *response, struct ais_verdict *verdict,
    ngx_http_aisearch_blob_t *blob);
static void ngx_http_aisearch_flight_count(ngx_http_aisearch_flight_t *f,
    const struct ais_response *response, ngx_http_aisearch_answer_t *answer);
static void ngx_http_aisearch_flight_land(ngx_http_aisearch_flight_t *f,
    ngx_http_aisearch_blob_t *blob);
static void ngx_http_aisearch_flight_deliver(ngx_http_aisearch_flight_t *f,
    ngx_http_aisearch_ctx_t *ctx, ngx_http_aisearch_blob_t *blob);
static void ngx_http_aisearch_flight_report(ngx_http_aisearch_flight_t *f,
    const struct ais_response *response, struct ais_verdict *verdict,
    const char *reason);
static ngx_log_t *ngx_http_aisearch_flight_log(ngx_http_aisearch_flight_t *f);

static ngx_http_aisearch_blob_t *ngx_http_aisearch_blob_create(void);
static void ngx_http_aisearch_blob_fail(ngx_http_aisearch_blob_t *blob,
    enum ais_fault fault, ngx_msec_t retry_after);
static ngx_int_t ngx_http_aisearch_blob_share(ngx_http_aisearch_blob_t *blob,
    ngx_pool_t *pool);
static void ngx_http_aisearch_blob_release(void *data);


static const char   ngx_http_aisearch_refuses[] =
    "the API refuses the credential";

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

            /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): out of its queue */
            if (f->fetch) {
                ais_fetch_cancel(f->fetch);
                ngx_http_aisearch_breaker_cancel(f->account, &f->pass);
            }

            ngx_http_aisearch_flight_destroy(f);
        }
    }
}


/* lets the request wait for the answer; the look-up says who fetches it */

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

    if (ctx->bypass) {
        f->flags |= NGX_HTTP_AISEARCH_BYPASS;
    }

    if (f->fetch == NULL && !f->timer.timer_set) {
        ngx_queue_insert_tail(&ngx_http_aisearch_followers, &f->follower);
        ngx_add_timer(&f->timer, NGX_HTTP_AISEARCH_POLL);
    }

    return NGX_OK;
}


/* fetches for the cache alone */

void
ngx_http_aisearch_flight_start(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_query_t *query, ngx_http_aisearch_lookup_t *lookup)
{
    (void) ngx_http_aisearch_flight_get(ctx->account, query, lookup);
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
ngx_http_aisearch_flight_get(ngx_http_aisearch_account_t *account,
    ngx_http_aisearch_query_t *query, ngx_http_aisearch_lookup_t *lookup)
{
    ngx_http_aisearch_flight_t  *f;

    f = ngx_http_aisearch_flight_find(&query->key);

    if (f == NULL) {
        f = ngx_http_aisearch_flight_create(account, query);

        if (f == NULL) {
            if (lookup->fetch == NGX_HTTP_AISEARCH_LEADER) {
                ngx_http_aisearch_cache_release(account, &query->key);
            }

            return NULL;
        }
    }

    if (lookup->fetch != NGX_HTTP_AISEARCH_OTHER
        && f->fetch == NULL && !f->failed)
    {
        ngx_http_aisearch_flight_lead(f, lookup);

    } else if (lookup->fetch == NGX_HTTP_AISEARCH_LEADER) {
        /* it began without a lease, or had lost it */
        f->leased = 1;
    }

    return f;
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
    ngx_http_aisearch_flight_query(f, query);

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


/* takes the query out of the request's memory, which it may outlive */

static void
ngx_http_aisearch_flight_query(ngx_http_aisearch_flight_t *f,
    ngx_http_aisearch_query_t *query)
{
    struct ais_resource  res;

    res = query->resource;

    if (f->account->form->namespaced) {
        (void) ais_resource_to_namespaced(&res);
    }

    f->query.key = query->key;

    ngx_http_aisearch_flight_resource(f, &res);
}


/* "res" may consist of views into the path itself */

static void
ngx_http_aisearch_flight_resource(ngx_http_aisearch_flight_t *f,
    struct ais_resource *res)
{
    char             path[AIS_RESOURCE_PATH_MAX], *args;
    size_t           len;
    struct ais_str   account, resource, query;

    account.data = (char *) f->account->account_id.data;
    account.len = f->account->account_id.len;

    len = ais_resource_path(res, account, path);

    ngx_memcpy(f->path, path, len + 1);

    /* the key is how the path ends */

    f->query.key.path.data = (u_char *) f->path + len - f->query.key.path.len;

    args = strchr(f->path, '?');

    resource.data = f->path + 1;
    resource.len = (args ? (size_t) (args - f->path) : len) - 1;

    query.data = args ? args + 1 : f->path + len;
    query.len = f->path + len - query.data;

    (void) ais_resource_parse(&f->query.resource, resource, query);
}


static void
ngx_http_aisearch_flight_destroy(ngx_http_aisearch_flight_t *f)
{
    if (f->timer.timer_set) {
        ngx_del_timer(&f->timer);
    }

    if (f->leased) {
        ngx_http_aisearch_cache_release(f->account, &f->query.key);
    }

    ngx_queue_remove(&f->queue);
    ngx_queue_remove(&f->follower);

    if (f->refusal) {
        ngx_http_aisearch_blob_release(f->refusal);
    }

    ngx_free(f);
}


static void
ngx_http_aisearch_flight_lead(ngx_http_aisearch_flight_t *f,
    ngx_http_aisearch_lookup_t *lookup)
{
    f->leased = (lookup->fetch == NGX_HTTP_AISEARCH_LEADER);
    f->newcomer = !lookup->known;

    ngx_queue_remove(&f->follower);
    ngx_queue_init(&f->follower);

    ngx_http_aisearch_flight_fetch(f);

    /* not from here: the caller may be the handler of a request that waits */

    f->failed = (f->fetch == NULL);

    if (f->timer.timer_set) {
        ngx_del_timer(&f->timer);
    }

    ngx_add_timer(&f->timer, f->failed ? 1 : NGX_HTTP_AISEARCH_RENEWAL);
}


/* where no fetch can be started, says why, and until when */

static void
ngx_http_aisearch_flight_fetch(ngx_http_aisearch_flight_t *f)
{
    struct ais_client            *client;
    struct ais_target            *target;
    ngx_http_aisearch_account_t  *account;

    account = f->account;

    f->fault = AIS_FAULT_INTERNAL;
    f->wait = 0;
    f->held = 0;

    client = ngx_http_aisearch_net_client(account->net);
    if (client == NULL) {
        return;
    }

    if (ngx_http_aisearch_flight_spent(f)) {
        f->fault = AIS_FAULT_BUDGET;
        return;
    }

    if (ngx_http_aisearch_breaker_enter(account, &f->pass, &f->wait, &f->fault)
        != NGX_OK)
    {
        f->held = 1;
        return;
    }

    target = &account->targets[f->newcomer][f->pass.quick];

    f->fetch = ngx_http_aisearch_flight_ask(f, client, target);

    if (f->fetch == NULL) {
        ngx_http_aisearch_breaker_cancel(account, &f->pass);
        return;
    }

    account->budget->unsent[f->newcomer]++;
}


static struct ais_fetch *
ngx_http_aisearch_flight_ask(ngx_http_aisearch_flight_t *f,
    struct ais_client *client, struct ais_target *target)
{
    struct ais_credential  *credential;

    credential = f->chosen
                 ? ngx_http_aisearch_rotation_chosen(f->account, &f->choice)
                 : ngx_http_aisearch_rotation_choose(f->account, &f->choice);

    f->chosen = 0;

    if (credential == NULL) {
        f->fault = AIS_FAULT_CREDENTIAL;
        f->wait = (ngx_msec_t) f->choice.wait;
        return NULL;
    }

    f->fault = AIS_FAULT_INTERNAL;
    f->asked = ngx_http_aisearch_now();

    return ais_client_fetch(client, target, credential,
                            f->refusal ? f->witness : f->path,
                            ngx_http_aisearch_flight_fetched, f);
}


static void
ngx_http_aisearch_flight_timer(ngx_event_t *ev)
{
    ngx_http_aisearch_flight_t  *f;

    f = ev->data;

    if (f->failed) {
        ngx_http_aisearch_flight_fail(f);
        return;
    }

    if (f->fetch == NULL) {
        ngx_http_aisearch_flight_follow(f);
        return;
    }

    if (f->leased) {
        ngx_http_aisearch_cache_renew(f->account, &f->query.key);
    }

    ngx_add_timer(&f->timer, NGX_HTTP_AISEARCH_RENEWAL);
}


/* one request that goes on the API's nerves costs five minutes for all */

static ngx_uint_t
ngx_http_aisearch_flight_spent(ngx_http_aisearch_flight_t *f)
{
    ngx_http_aisearch_budget_t  *budget;

    budget = f->account->budget;

    f->wait = ngx_http_aisearch_budget_wait(budget, f->newcomer);

    if (f->wait == 0) {
        return 0;
    }

    if (ngx_http_aisearch_may_warn(&budget->warned[f->newcomer])) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "aisearch account \"%V\": no call to the API for the "
                      "next %Mms%s: its budget is spent, or the API asked for "
                      "a pause; look-ups get stale answers, or 503",
                      &f->account->name, f->wait,
                      f->newcomer ? ", but for what it has answered before"
                                  : "");
    }

    return 1;
}


/* no fetch was started */

static void
ngx_http_aisearch_flight_fail(ngx_http_aisearch_flight_t *f)
{
    ngx_http_aisearch_blob_t  *blob;

    if (f->fault == AIS_FAULT_INTERNAL) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "aisearch account \"%V\": could not start a fetch",
                      &f->account->name);
    }

    /* those held back are counted as such, and there may be very many */

    if (!f->held) {
        ngx_http_aisearch_count(f->account->stats->fetches[f->fault]);
    }

    blob = ngx_http_aisearch_blob_create();

    if (blob) {
        ngx_http_aisearch_blob_fail(blob, f->fault, f->wait);
    }

    ngx_http_aisearch_flight_land(f, blob);

    if (blob) {
        ngx_http_aisearch_blob_release(blob);
    }
}


/* looks whether the answer has come, or the lease of its leader has run out */

static void
ngx_http_aisearch_flight_follow(ngx_http_aisearch_flight_t *f)
{
    ngx_http_aisearch_ctx_t     *ctx;
    ngx_http_aisearch_blob_t    *blob;
    ngx_http_aisearch_lookup_t   lookup;

    blob = ngx_http_aisearch_blob_create();
    if (blob == NULL) {
        ngx_http_aisearch_flight_land(f, NULL);
        return;
    }

    /* those who wait for one entry may differ in what is fresh to them, but
       not in what has come while they waited */

    ctx = ngx_queue_data(ngx_queue_head(&f->waiters), ngx_http_aisearch_ctx_t,
                         queue);

    lookup = ngx_http_aisearch_cache_lookup(f->account, &f->query.key,
                                            &ctx->conf->freshness, f->start,
                                            f->flags, blob->pool,
                                            &blob->answer);

    if (lookup.serve != NGX_HTTP_AISEARCH_NOTHING) {
        f->leased = (lookup.fetch == NGX_HTTP_AISEARCH_LEADER);

        /* whether a stale answer will do is for each to say */

        if (lookup.serve == NGX_HTTP_AISEARCH_STALE) {
            blob->answer.verdict.fault = blob->answer.failure;
            blob->answer.verdict.pass = 0;
        }

        ngx_http_aisearch_flight_land(f, blob);

    } else if (lookup.fetch != NGX_HTTP_AISEARCH_OTHER) {
        ngx_http_aisearch_flight_lead(f, &lookup);

    } else if (!f->timer.timer_set) {
        ngx_add_timer(&f->timer, NGX_HTTP_AISEARCH_POLL);
    }

    ngx_http_aisearch_blob_release(blob);
}


static void
ngx_http_aisearch_flight_fetched(void *data,
    const struct ais_response *response)
{
    ngx_http_aisearch_flight_t  *f = data;

    struct ais_error     err;
    struct ais_verdict   verdict;

    f->fetch = NULL;

    /* each request that was sent has been taken off already */

    f->account->budget->unsent[f->newcomer] += (int64_t) response->calls - 1;

    ngx_http_aisearch_budget_observe(f->account->budget, response);

    verdict = ngx_http_aisearch_flight_judge(f, response, &err);

    f->there = ngx_http_aisearch_breaker_settle(f->account, &f->pass, response,
                                                &verdict, err.text);

    if (f->refusal) {
        ngx_http_aisearch_flight_told(f, response, &verdict, err.text);
        return;
    }

    if (verdict.fault == AIS_FAULT_NONE) {

        if (f->second) {
            ngx_http_aisearch_rotation_refused(f->account, &f->first,
                                         ngx_http_aisearch_refuses,
                                         ngx_http_aisearch_flight_log(f));
        }

        ngx_http_aisearch_rotation_accepted(f->account, &f->choice, f->path,
                                            f->asked);
    }

    if (ngx_http_aisearch_flight_try_form(f, response, &verdict)) {
        return;
    }

    if (verdict.doubtful
        && ngx_http_aisearch_flight_doubt(f, response, &verdict))
    {
        return;
    }

    if (verdict.fault == AIS_FAULT_CREDENTIAL) {

        if (ngx_http_aisearch_flight_repeat(f, response, err.text)) {
            return;
        }

    } else if (verdict.fault != AIS_FAULT_NONE) {
        ngx_http_aisearch_flight_report(f, response, &verdict, err.text);
    }

    ngx_http_aisearch_flight_conclude(f, response, &verdict);
}


/* with all the time and the requests that it has taken */

static struct ais_response
ngx_http_aisearch_flight_total(ngx_http_aisearch_flight_t *f,
    const struct ais_response *response)
{
    struct ais_response  total;

    total = *response;
    total.elapsed += f->elapsed;
    total.calls += f->calls;

    return total;
}


static void
ngx_http_aisearch_flight_conclude(ngx_http_aisearch_flight_t *f,
    const struct ais_response *response, struct ais_verdict *verdict)
{
    struct ais_response        total;
    ngx_http_aisearch_blob_t  *blob;

    total = ngx_http_aisearch_flight_total(f, response);

    blob = ngx_http_aisearch_blob_create();

    if (blob) {
        ngx_http_aisearch_flight_answer(f, &total, verdict, blob);
        ngx_http_aisearch_flight_count(f, &total, &blob->answer);
    }

    ngx_http_aisearch_flight_keep(f, blob);
}


/* stores the answer, and ends the flight */

static void
ngx_http_aisearch_flight_keep(ngx_http_aisearch_flight_t *f,
    ngx_http_aisearch_blob_t *blob)
{
    /*
     * What is ours says nothing about the API, others may do better; that a
     * credential is refused, or nobody there, is remembered where all look-ups
     * see it.
     */

    if (blob
        && f->there
        && blob->answer.verdict.fault != AIS_FAULT_INTERNAL
        && blob->answer.verdict.fault != AIS_FAULT_BUDGET
        && blob->answer.verdict.fault != AIS_FAULT_CREDENTIAL)
    {
        f->leased = 0;

        if (ngx_http_aisearch_cache_store(f->account, &f->query.key,
                                          &blob->answer)
            != NGX_OK)
        {
            ngx_http_aisearch_blob_release(blob);
            ngx_http_aisearch_flight_yield(f);
            return;
        }
    }

    ngx_http_aisearch_flight_land(f, blob);

    if (blob) {
        ngx_http_aisearch_blob_release(blob);
    }
}


/*
 * It was refused, and that may be about what was asked for alone.  Returns
 * whether the flight goes on, with another credential, or by asking for what
 * was answered before; else the verdict says what it is taken for.
 */

static ngx_uint_t
ngx_http_aisearch_flight_doubt(ngx_http_aisearch_flight_t *f,
    const struct ais_response *response, struct ais_verdict *verdict)
{
    char                       path[AIS_WITNESS_PATH_MAX];
    enum ais_doubt             doubt;
    struct ais_choice          choice;
    ngx_http_aisearch_blob_t  *blob;

    choice = f->choice;

    doubt = ngx_http_aisearch_rotation_doubt(f->account, &choice, f->second,
                                             f->path, f->asked, path);
    if (doubt == AIS_DOUBT_NONE) {
        return 0;
    }

    verdict->fault = AIS_FAULT_REFUSED;
    verdict->pass = 1;

    if (doubt == AIS_DOUBT_OWN) {
        return 0;
    }

    f->chosen = 1;

    if (doubt == AIS_DOUBT_OTHER) {
        f->first = f->choice;
        f->choice = choice;
        f->second = 1;

        return ngx_http_aisearch_flight_again(f, response);
    }

    blob = ngx_http_aisearch_blob_create();

    if (blob) {
        ngx_http_aisearch_flight_answer(f, response, verdict, blob);

        f->refusal = blob;
        f->first = f->choice;
        f->choice = choice;
        f->witness = ngx_pnalloc(blob->pool, AIS_WITNESS_PATH_MAX);

        if (f->witness) {
            ngx_memcpy(f->witness, path, AIS_WITNESS_PATH_MAX);

            if (ngx_http_aisearch_flight_again(f, response)) {
                return 1;
            }
        }

        f->refusal = NULL;
        ngx_http_aisearch_blob_release(blob);
    }

    ngx_http_aisearch_rotation_told(f->account, 0);

    return 0;
}


/*
 * What was answered before is refused as well, so it is the credential; or it
 * is not, or nobody knows: then the refusal is the answer.
 */

static void
ngx_http_aisearch_flight_told(ngx_http_aisearch_flight_t *f,
    const struct ais_response *response, struct ais_verdict *verdict,
    const char *reason)
{
    ngx_uint_t                 good;
    struct ais_response        total;
    ngx_http_aisearch_blob_t  *blob;

    good = response->fault == AIS_FAULT_NONE
           && (response->status == 200 || response->status == 404);

    ngx_http_aisearch_rotation_told(f->account, good);

    if (good) {
        ngx_http_aisearch_rotation_accepted(f->account, &f->choice,
                                            f->witness, f->asked);
    }

    blob = f->refusal;
    f->refusal = NULL;

    if (verdict->fault == AIS_FAULT_CREDENTIAL) {
        ngx_http_aisearch_blob_release(blob);

        if (f->second) {
            ngx_http_aisearch_rotation_refused(f->account, &f->first, reason,
                                             ngx_http_aisearch_flight_log(f));
        }

        if (!ngx_http_aisearch_flight_repeat(f, response, reason)) {
            ngx_http_aisearch_flight_conclude(f, response, verdict);
        }

        return;
    }

    total = ngx_http_aisearch_flight_total(f, response);

    ngx_http_aisearch_flight_count(f, &total, &blob->answer);
    ngx_http_aisearch_flight_keep(f, blob);
}


/* how old it is already, of what an upstream says: that may be wrong */

static ngx_msec_t
ngx_http_aisearch_flight_age(const struct ais_response *response)
{
    if (response->age <= 0) {
        return 0;
    }

    return (ngx_msec_t) ngx_min(response->age, NGX_HTTP_AISEARCH_AGE_MAX);
}


/*
 * This worker was late, and others know something newer: those who wait here
 * get that.
 */

static void
ngx_http_aisearch_flight_yield(ngx_http_aisearch_flight_t *f)
{
    if (ngx_queue_empty(&f->waiters)) {
        ngx_http_aisearch_flight_destroy(f);
        return;
    }

    ngx_queue_insert_tail(&ngx_http_aisearch_followers, &f->follower);

    ngx_http_aisearch_flight_follow(f);
}


static struct ais_verdict
ngx_http_aisearch_flight_judge(ngx_http_aisearch_flight_t *f,
    const struct ais_response *response, struct ais_error *err)
{
    ngx_time_t          *tp;
    struct ais_verdict   verdict;

    if (response->fault != AIS_FAULT_NONE) {
        ngx_memzero(&verdict, sizeof(struct ais_verdict));

        verdict.fault = response->fault;
        verdict.class = AIS_CLASS_ERROR;

        ais_error_set(err, "%s", response->message);

        return verdict;
    }

    tp = ngx_timeofday();

    return ais_policy_judge(&f->query.resource, response->status,
                            response->body,
                            (int64_t) tp->sec * 1000 + tp->msec
                            - ngx_http_aisearch_flight_age(response), err);
}


/*
 * The API may know plain instances no more, but those of the namespace
 * "default", which are the same ones.
 */

static ngx_uint_t
ngx_http_aisearch_flight_try_form(ngx_http_aisearch_flight_t *f,
    const struct ais_response *response, struct ais_verdict *verdict)
{
    bool                  news, may;
    ngx_slab_pool_t      *shpool;
    struct ais_resource   res;

    shpool = f->account->shpool;

    if (f->other_form) {
        ngx_shmtx_lock(&shpool->mutex);

        news = ais_form_settle(f->account->form, verdict);

        ngx_shmtx_unlock(&shpool->mutex);

        if (news) {
            ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                          "aisearch account \"%V\": the API has no route for "
                          "\"instances/...\" any more, from now on, and until "
                          "the next reload, it is asked for "
                          "\"namespaces/default/instances/...\"",
                          &f->account->name);
        }

        return 0;
    }

    res = f->query.resource;

    if (!verdict->no_route || !ais_resource_to_namespaced(&res)) {
        return 0;
    }

    ngx_shmtx_lock(&shpool->mutex);

    may = ais_form_try(f->account->form, ais_clock());

    ngx_shmtx_unlock(&shpool->mutex);

    if (!may) {
        return 0;
    }

    f->other_form = 1;
    ngx_http_aisearch_flight_resource(f, &res);

    return ngx_http_aisearch_flight_again(f, response);
}


/* the credential is refused: the same look-up goes on with another */

static ngx_uint_t
ngx_http_aisearch_flight_repeat(ngx_http_aisearch_flight_t *f,
    const struct ais_response *response, const char *reason)
{
    ngx_http_aisearch_rotation_refused(f->account, &f->choice, reason,
                                       ngx_http_aisearch_flight_log(f));

    if (f->repeats == AIS_SLOTS) {
        return 0;
    }

    f->repeats++;

    return ngx_http_aisearch_flight_again(f, response);
}


/* once more, in what is left of the time */

static ngx_uint_t
ngx_http_aisearch_flight_again(ngx_http_aisearch_flight_t *f,
    const struct ais_response *response)
{
    int64_t  left;

    left = f->account->target.timeout - f->elapsed - response->elapsed;

    if (left <= 0) {
        return 0;
    }

    ngx_http_aisearch_flight_fetch(f);

    if (f->fetch == NULL) {
        return 0;
    }

    ais_fetch_limit(f->fetch, left);

    f->elapsed += response->elapsed;
    f->calls += response->calls;

    return 1;
}


static void
ngx_http_aisearch_flight_answer(ngx_http_aisearch_flight_t *f,
    const struct ais_response *response, struct ais_verdict *verdict,
    ngx_http_aisearch_blob_t *blob)
{
    ngx_msec_t                   wait;
    ngx_http_aisearch_answer_t  *answer;

    switch (verdict->fault) {

    case AIS_FAULT_NONE:
        wait = 0;
        break;

    case AIS_FAULT_CREDENTIAL:
        wait = f->wait;
        break;

    case AIS_FAULT_BUDGET:
        wait = ngx_http_aisearch_budget_wait(f->account->budget, f->newcomer);
        break;

    case AIS_FAULT_RATE_LIMITED:
        wait = (ngx_msec_t) ais_policy_closed(429, response->retry_after);
        break;

    default:
        wait = (ngx_msec_t) ngx_max(response->retry_after, 0);
    }

    if (verdict->fault != AIS_FAULT_NONE) {
        ngx_http_aisearch_blob_fail(blob, verdict->fault, wait);
    }

    blob->answer.asked = f->asked;

    if (!verdict->pass) {
        return;
    }

    answer = &blob->answer;

    answer->body.len = response->body.len;
    answer->body.data = ngx_pnalloc(blob->pool, response->body.len + 1);

    if (answer->body.data == NULL) {
        ngx_http_aisearch_blob_fail(blob, AIS_FAULT_INTERNAL, 0);
        return;
    }

    ngx_memcpy(answer->body.data, response->body.data, response->body.len);

    answer->verdict = *verdict;
    answer->status = response->status;
    answer->fetched = ngx_http_aisearch_now();
    answer->fetch_time = (ngx_msec_t) response->elapsed;
    answer->upstream_age = ngx_http_aisearch_flight_age(response);

    ngx_sprintf(answer->etag, "%08xD%08xD",
                ngx_murmur_hash2(answer->body.data, answer->body.len),
                ngx_crc32_long(answer->body.data, answer->body.len));
}


static void
ngx_http_aisearch_flight_count(ngx_http_aisearch_flight_t *f,
    const struct ais_response *response, ngx_http_aisearch_answer_t *answer)
{
    ngx_uint_t                  i;
    ngx_msec_t                  ms;
    ngx_http_aisearch_stats_t  *stats;

    stats = f->account->stats;
    ms = (ngx_msec_t) response->elapsed;

    for (i = 0; i < NGX_HTTP_AISEARCH_LATENCIES - 1; i++) {
        if (ms <= ngx_http_aisearch_latency_bounds[i]) {
            break;
        }
    }

    ngx_http_aisearch_count(stats->latencies[i]);
    ngx_http_aisearch_count(stats->fetches[answer->verdict.fault]);

    (void) ngx_atomic_fetch_add(&stats->latency_sum, ms);
    (void) ngx_atomic_fetch_add(&stats->calls, response->calls);
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

        ngx_http_aisearch_flight_deliver(f, ctx, blob);

        if (ctx->cache_status == NGX_HTTP_AISEARCH_CACHE_COALESCED) {
            ngx_http_aisearch_count(f->account->stats->woken);
        }

        ngx_http_aisearch_resume(ctx);
    }

    ngx_http_aisearch_flight_destroy(f);
}


/* a failure may mean a stale answer, to each by its own configuration */

static void
ngx_http_aisearch_flight_deliver(ngx_http_aisearch_flight_t *f,
    ngx_http_aisearch_ctx_t *ctx, ngx_http_aisearch_blob_t *blob)
{
    enum ais_fault               fault;
    ngx_http_request_t          *r;
    ngx_http_aisearch_lookup_t   lookup;

    r = ctx->request;

    fault = blob ? blob->answer.verdict.fault : AIS_FAULT_INTERNAL;

    if (fault != AIS_FAULT_NONE) {

        lookup = ngx_http_aisearch_cache_lookup(f->account, &f->query.key,
                                                &ctx->conf->freshness, 0,
                                                NGX_HTTP_AISEARCH_PEEK,
                                                r->pool, &ctx->answer);

        if (lookup.serve == NGX_HTTP_AISEARCH_STALE
            || lookup.serve == NGX_HTTP_AISEARCH_FRESH)
        {
            ctx->cache_status = NGX_HTTP_AISEARCH_CACHE_STALE;
            ctx->answer.failure = fault;
            return;
        }
    }

    if (blob && ngx_http_aisearch_blob_share(blob, r->pool) == NGX_OK) {
        ctx->answer = blob->answer;
        return;
    }

    ngx_memzero(&ctx->answer, sizeof(ngx_http_aisearch_answer_t));

    ctx->answer.verdict.fault = AIS_FAULT_INTERNAL;
    ctx->answer.verdict.class = AIS_CLASS_ERROR;
    ctx->answer.fetched = ngx_http_aisearch_now();
}


static void
ngx_http_aisearch_flight_report(ngx_http_aisearch_flight_t *f,
    const struct ais_response *response, struct ais_verdict *verdict,
    const char *reason)
{
    ngx_uint_t      level;
    enum ais_fault  fault;

    fault = verdict->fault;

    /*
     * A refusal of the look-up is told to the client, in the API's words; that
     * nobody is there was told when that came to light.  But what was let
     * through the API knows, so where it has no route it is asked elsewhere.
     */

    level = (fault == AIS_FAULT_BUDGET || fault == AIS_FAULT_REFUSED
             || !f->there)
            ? NGX_LOG_INFO : NGX_LOG_ERR;

    if (verdict->no_route && ngx_http_aisearch_may_warn(&f->account->warned)) {
        level = NGX_LOG_ERR;
    }

    ngx_log_error(level, ngx_http_aisearch_flight_log(f), 0,
                  "aisearch account \"%V\": %s fault: %s, "
                  "API request: \"GET %s\", status: %d, calls: %ui",
                  &f->account->name, ais_fault_name(fault), reason,
                  f->path, response->status,
                  (ngx_uint_t) response->calls);
}


/* of the request that waits longest, if one does */

static ngx_log_t *
ngx_http_aisearch_flight_log(ngx_http_aisearch_flight_t *f)
{
    ngx_http_request_t       *r;
    ngx_http_aisearch_ctx_t  *ctx;

    if (ngx_queue_empty(&f->waiters)) {
        return ngx_cycle->log;
    }

    ctx = ngx_queue_data(ngx_queue_head(&f->waiters), ngx_http_aisearch_ctx_t,
                         queue);
    r = ctx->request;

    ngx_http_set_log_request(r->connection->log, r);

    return r->connection->log;
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


static void
ngx_http_aisearch_blob_fail(ngx_http_aisearch_blob_t *blob,
    enum ais_fault fault, ngx_msec_t retry_after)
{
    ngx_memzero(&blob->answer, sizeof(ngx_http_aisearch_answer_t));

    blob->answer.verdict.fault = fault;
    blob->answer.verdict.class = AIS_CLASS_ERROR;
    blob->answer.fetched = ngx_http_aisearch_now();
    blob->answer.retry_after = retry_after;
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
