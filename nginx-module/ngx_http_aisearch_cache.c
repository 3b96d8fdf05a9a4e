#include "ngx_http_aisearch_entry.h"


static void ngx_http_aisearch_entry_follow_job(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_key_t *logs, ngx_http_aisearch_answer_t *answer);
static void ngx_http_aisearch_entry_lease(ngx_http_aisearch_entry_t *e);
static ngx_uint_t ngx_http_aisearch_entry_lost(ngx_http_aisearch_entry_t *e,
    ngx_http_aisearch_answer_t *answer);
static uint64_t ngx_http_aisearch_entry_unlease(ngx_http_aisearch_entry_t *e);
static void ngx_http_aisearch_cache_warn(ngx_http_aisearch_cache_t *c,
    const char *what);


ngx_http_aisearch_lookup_t
ngx_http_aisearch_cache_lookup(ngx_http_aisearch_account_t *account,
    ngx_http_aisearch_key_t *key, ngx_http_aisearch_freshness_t *freshness,
    ngx_http_aisearch_time_t since, ngx_uint_t flags, ngx_pool_t *pool,
    ngx_http_aisearch_answer_t *answer)
{
    double                       stretch;
    ngx_http_aisearch_cache_t   *c;
    ngx_http_aisearch_entry_t   *e;
    ngx_http_aisearch_lookup_t   lookup;

    ngx_memzero(&lookup, sizeof(ngx_http_aisearch_lookup_t));

    c = account->zone->data;
    stretch = ngx_http_aisearch_budget_stretch(account->budget);

    ngx_shmtx_lock(&c->shpool->mutex);

    e = ngx_http_aisearch_entry_find(c, key);

    if (e) {
        ngx_queue_remove(&e->queue);
        ngx_queue_insert_head(&c->sh->queues[e->rank], &e->queue);

        ngx_http_aisearch_entry_decide(e, freshness,
                                       ngx_http_aisearch_generation(account),
                                       stretch, since, flags, &lookup);

        if (e->rank > NGX_HTTP_AISEARCH_LISTS_AGAIN) {
            ngx_http_aisearch_entry_asked(c, e, lookup.lifetime);
        }

        if (lookup.serve != NGX_HTTP_AISEARCH_NOTHING
            && ngx_http_aisearch_entry_read(e, lookup.serve, pool, answer)
               != NGX_OK)
        {
            lookup.serve = NGX_HTTP_AISEARCH_NOTHING;
            lookup.fetch = NGX_HTTP_AISEARCH_LONER;
        }

    } else if (flags & NGX_HTTP_AISEARCH_ASK) {
        lookup.fetch = NGX_HTTP_AISEARCH_LEADER;

    } else if (!(flags & NGX_HTTP_AISEARCH_PEEK)) {
        e = ngx_http_aisearch_entry_create(c, key, NGX_HTTP_AISEARCH_PENDING);

        lookup.fetch = e ? NGX_HTTP_AISEARCH_LEADER : NGX_HTTP_AISEARCH_LONER;
    }

    if (lookup.fetch == NGX_HTTP_AISEARCH_LEADER) {

        if (!(flags & NGX_HTTP_AISEARCH_ASK)) {
            ngx_http_aisearch_entry_lease(e);
        }

    } else if (lookup.fetch == NGX_HTTP_AISEARCH_OTHER) {
        e->waiters |= ngx_http_aisearch_wakeup_bit();
    }

    ngx_shmtx_unlock(&c->shpool->mutex);

    if (lookup.fetch == NGX_HTTP_AISEARCH_LONER) {
        ngx_http_aisearch_cache_warn(c, "entry");
    }

    return lookup;
}


ngx_int_t
ngx_http_aisearch_cache_store(ngx_http_aisearch_account_t *account,
    ngx_http_aisearch_key_t *key, ngx_http_aisearch_answer_t *answer)
{
    uint64_t                    waiters;
    ngx_int_t                   rc, stored;
    ngx_http_aisearch_cache_t  *c;
    ngx_http_aisearch_entry_t  *e;

    c = account->zone->data;
    rc = NGX_OK;
    stored = NGX_OK;
    waiters = 0;

    ngx_shmtx_lock(&c->shpool->mutex);

    e = ngx_http_aisearch_entry_find(c, key);

    if (e == NULL) {
        e = ngx_http_aisearch_entry_create(c, key, NGX_HTTP_AISEARCH_FAILURES);
    }

    if (e == NULL) {
        rc = NGX_ERROR;
        goto done;
    }

    if (ngx_http_aisearch_entry_lost(e, answer)) {
        stored = NGX_DECLINED;
        goto done;
    }

    waiters = ngx_http_aisearch_entry_unlease(e);

    if (answer->verdict.fault != AIS_FAULT_NONE) {

        /* what it said of another failure is over */

        if (e->fault != AIS_FAULT_NONE) {
            e->answered = 0;
        }

        e->failed = answer->fetched ? answer->fetched : 1;
        e->failure = answer->verdict.fault;
        e->retry_after = (uint32_t) answer->retry_after;
        e->generation = ngx_http_aisearch_generation(account) & 0xffffff;

        /* a good answer, even an old one, is worth more than the API's own
           words for a failure or a refusal */

        if (e->answered) {
            goto done;
        }

        ngx_http_aisearch_entry_move(c, e, NGX_HTTP_AISEARCH_FAILURES);

        if (!answer->verdict.pass) {
            goto done;
        }

    } else {
        e->failed = 0;

        if (answer->verdict.class == AIS_CLASS_LOGS) {
            ngx_http_aisearch_entry_follow_job(c, key, answer);
        }

        ngx_http_aisearch_entry_move(c, e,
                   ngx_http_aisearch_entry_rank(e, answer->verdict.class));
    }

    rc = ngx_http_aisearch_entry_write(c, e, answer);

    if (rc != NGX_OK) {
        ngx_http_aisearch_entry_move(c, e, NGX_HTTP_AISEARCH_FAILURES);
    }

done:

    ngx_shmtx_unlock(&c->shpool->mutex);

    ngx_http_aisearch_wakeup_send(c->amcf, waiters);

    if (rc != NGX_OK) {
        ngx_http_aisearch_cache_warn(c, "answer");
    }

    return stored;
}


void
ngx_http_aisearch_cache_renew(ngx_http_aisearch_account_t *account,
    ngx_http_aisearch_key_t *key)
{
    ngx_http_aisearch_cache_t  *c;
    ngx_http_aisearch_entry_t  *e;

    c = account->zone->data;

    ngx_shmtx_lock(&c->shpool->mutex);

    e = ngx_http_aisearch_entry_find(c, key);

    /* a leader that was late may find that another took over */

    if (e && e->leader == ngx_pid && e->lease) {
        ngx_http_aisearch_entry_lease(e);
    }

    ngx_shmtx_unlock(&c->shpool->mutex);
}


void
ngx_http_aisearch_cache_release(ngx_http_aisearch_account_t *account,
    ngx_http_aisearch_key_t *key)
{
    uint64_t                    waiters;
    ngx_http_aisearch_cache_t  *c;
    ngx_http_aisearch_entry_t  *e;

    c = account->zone->data;
    waiters = 0;

    ngx_shmtx_lock(&c->shpool->mutex);

    e = ngx_http_aisearch_entry_find(c, key);

    if (e && e->leader == ngx_pid) {
        waiters = ngx_http_aisearch_entry_unlease(e);

        if (!e->answered && e->failed == 0) {
            ngx_http_aisearch_entry_delete(c, e);
        }
    }

    ngx_shmtx_unlock(&c->shpool->mutex);

    ngx_http_aisearch_wakeup_send(c->amcf, waiters);
}


void
ngx_http_aisearch_cache_snapshot(ngx_shm_zone_t *zone,
    ngx_http_aisearch_cache_snapshot_t *snapshot)
{
    ngx_http_aisearch_cache_t  *c;

    c = zone->data;

    ngx_shmtx_lock(&c->shpool->mutex);

    snapshot->entries = c->sh->entries;
    snapshot->evictions = c->sh->evictions;
    snapshot->free = c->shpool->pfree * ngx_pagesize;
    snapshot->used = c->shpool->end - c->shpool->start - snapshot->free;

    ngx_shmtx_unlock(&c->shpool->mutex);
}


/*
 * Logs are as fresh as their job, where it is here.  If that was found to have
 * ended while they were on their way, they may lack the end.
 */

static void
ngx_http_aisearch_entry_follow_job(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_key_t *logs, ngx_http_aisearch_answer_t *answer)
{
    u_char                     *p;
    struct ais_verdict         *verdict;
    ngx_http_aisearch_key_t     key;
    ngx_http_aisearch_entry_t  *e;

    key = *logs;

    p = ngx_strlchr(key.path.data, key.path.data + key.path.len, '?');

    if (p) {
        key.path.len = p - key.path.data;
    }

    key.path.len -= sizeof("/logs") - 1;

    ngx_http_aisearch_cache_hash(&key);

    e = ngx_http_aisearch_entry_find(c, &key);

    if (e == NULL || !e->answered || e->class > AIS_CLASS_ENDED) {
        return;
    }

    if (e->class == AIS_CLASS_ENDED
        && (ngx_http_aisearch_time_diff_t) (answer->asked - e->fetched) < 0)
    {
        return;
    }

    verdict = &answer->verdict;

    verdict->has_state = 1;
    verdict->state = e->state;
    verdict->age = (int64_t) e->age * 1000;
}


static void
ngx_http_aisearch_entry_lease(ngx_http_aisearch_entry_t *e)
{
    e->leader = ngx_pid;
    e->lease = ngx_http_aisearch_now() + NGX_HTTP_AISEARCH_LEASE;

    if (e->lease == 0) {
        e->lease = 1;
    }
}


/*
 * Who took over from a late leader asked later than it, and knows better.  So
 * does who has asked without a lease, where that was later.
 */

static ngx_uint_t
ngx_http_aisearch_entry_lost(ngx_http_aisearch_entry_t *e,
    ngx_http_aisearch_answer_t *answer)
{
    ngx_http_aisearch_time_t  asked;

    if (e->leader != ngx_pid
        && (e->answered || e->failed || ngx_http_aisearch_entry_leased(e)))
    {
        return 1;
    }

    asked = e->fetched - e->fetch_time;

    return e->answered
           && (ngx_http_aisearch_time_diff_t) (answer->asked - asked) < 0;
}


/* returns the workers to wake, once the mutex is free */

static uint64_t
ngx_http_aisearch_entry_unlease(ngx_http_aisearch_entry_t *e)
{
    uint64_t  waiters;

    waiters = e->waiters;

    e->waiters = 0;
    e->lease = 0;

    return waiters;
}


static void
ngx_http_aisearch_cache_warn(ngx_http_aisearch_cache_t *c, const char *what)
{
    if (!ngx_http_aisearch_may_warn(&c->warned)) {
        return;
    }

    ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                  "could not allocate an %s%s, it is answered without being "
                  "cached; make the zone larger", what, c->shpool->log_ctx);
}
