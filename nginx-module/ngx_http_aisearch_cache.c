/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The cache: looks up entries, decides what to serve and whether to fetch, and
 * stores answers.  It is one shared memory zone for all workers, with rbtrees
 * to find an entry and LRU queues to evict one.  The slab pool's mutex protects
 * it, the only lock that nginx releases if a process dies holding it.
 *
 * ais_policy_decide() uses the first case that matches:
 *
 *   the entry has                            is served  and fetched again
 *   ---------------------------------------  ---------  -------------------
 *   an answer within its lifetime            FRESH      no
 *   an answer that arrived while the
 *     caller waited                          FRESH      no
 *   a failure, and an answer less than
 *     stale_error past its lifetime          STALE      yes, but not yet (1)
 *   a remembered failure (1)                 FAILED     no
 *   an answer, not a 404, no failure since,
 *     and less than stale_updating past
 *     its lifetime, which is not 0           UPDATING   yes
 *   anything else, or nothing                nothing    yes: the caller waits
 *
 * (1) A failure is remembered for the time of "error", or for as long as the
 * API asks with Retry-After, whichever is longer.  Until then, no worker
 * fetches.
 *
 * An answer is stale when its age, including the age on arrival, reaches its
 * lifetime: ais_policy_lifetime(), stretched for active jobs while the budget
 * is low.
 *
 * With BYPASS, only an answer that arrived while the caller waited is served,
 * unless the API has asked for a pause: then stored answers are served too.
 * With PEEK, nothing is fetched, and a stale answer is served as if the API had
 * failed.  With ASK, no lease is taken.
 *
 * The worker that fetches holds a lease: see ngx_http_aisearch_lease.c.
 */


#include "ngx_http_aisearch_budget.h"
#include "ngx_http_aisearch_cache.h"
#include "ngx_http_aisearch_lease.h"
#include "ngx_http_aisearch_wakeup.h"


static void ngx_http_aisearch_cache_decide(
    ngx_http_aisearch_account_t *account, ngx_http_aisearch_entry_t *e,
    struct ais_freshness *freshness, double stretch,
    ngx_http_aisearch_time_t since, ngx_uint_t flags,
    ngx_http_aisearch_lookup_t *lookup);
static uint32_t ngx_http_aisearch_cache_revision(
    ngx_http_aisearch_account_t *account);
static ngx_msec_t ngx_http_aisearch_cache_entry_lifetime(
    ngx_http_aisearch_entry_t *e, struct ais_valid *valid, double stretch);
static ngx_int_t ngx_http_aisearch_cache_store_good(
    ngx_http_aisearch_cache_t *c, ngx_http_aisearch_entry_t *e,
    ngx_http_aisearch_key_t *key, ngx_http_aisearch_answer_t *answer);
static ngx_int_t ngx_http_aisearch_cache_store_failure(
    ngx_http_aisearch_account_t *account, ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e, ngx_http_aisearch_answer_t *answer);
static void ngx_http_aisearch_cache_follow_job(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_key_t *logs, ngx_http_aisearch_answer_t *answer);
static void ngx_http_aisearch_cache_warn(ngx_http_aisearch_cache_t *c,
    const char *what);


const char  *ngx_http_aisearch_serve_names[] = {
    [AIS_SERVE_NOTHING] = "nothing",
    [AIS_SERVE_FRESH] = "fresh",
    [AIS_SERVE_UPDATING] = "updating",
    [AIS_SERVE_STALE] = "stale",
    [AIS_SERVE_FAILED] = "failed"
};


const char  *ngx_http_aisearch_fetch_names[] = {
    "nobody", "other", "leader", "loner"
};


/*
 * Hashes eight bytes at a time, since it runs on each lookup: it takes a third
 * of the time of ngx_murmur_hash2().  A collision only costs a comparison, as
 * the tree stays balanced.
 */

void
ngx_http_aisearch_cache_hash(ngx_http_aisearch_key_t *key)
{
    u_char    *p;
    size_t     len;
    uint64_t   hash, word;

    p = key->path.data;
    len = key->path.len;
    hash = key->account;

    for ( /* void */ ; len >= 8; p += 8, len -= 8) {
        ngx_memcpy(&word, p, 8);
        hash = (hash ^ word) * 0x9e3779b97f4a7c15;
        hash ^= hash >> 32;
    }

    /* keys are not shorter than a word, so the last word may overlap */

    ngx_memcpy(&word, p + len - 8, 8);
    hash = (hash ^ word) * 0x9e3779b97f4a7c15;

    key->hash = (uint32_t) (hash >> 32);
}


ngx_http_aisearch_lookup_t
ngx_http_aisearch_cache_lookup(ngx_http_aisearch_account_t *account,
    ngx_http_aisearch_key_t *key, struct ais_freshness *freshness,
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

        ngx_http_aisearch_cache_decide(account, e, freshness, stretch, since,
                                       flags, &lookup);

        if (e->rank > NGX_HTTP_AISEARCH_LISTS_AGAIN) {
            ngx_http_aisearch_eviction_touch(c, e, lookup.lifetime);
        }

        if (lookup.serve != AIS_SERVE_NOTHING
            && ngx_http_aisearch_entry_read(e, lookup.serve, pool, answer)
               != NGX_OK)
        {
            lookup.serve = AIS_SERVE_NOTHING;
            lookup.fetch = NGX_HTTP_AISEARCH_LONER;
        }

    } else if (flags & NGX_HTTP_AISEARCH_ASK) {
        lookup.fetch = NGX_HTTP_AISEARCH_LEADER;

    } else if (!(flags & NGX_HTTP_AISEARCH_PEEK)) {
        e = ngx_http_aisearch_storage_create(c, key, NGX_HTTP_AISEARCH_PENDING);

        lookup.fetch = e ? NGX_HTTP_AISEARCH_LEADER : NGX_HTTP_AISEARCH_LONER;
    }

    if (e && (flags & NGX_HTTP_AISEARCH_WATCH)) {
        e->waiters |= ngx_http_aisearch_wakeup_bit();
        ngx_http_aisearch_eviction_watch(c, e);
    }

    if (lookup.fetch == NGX_HTTP_AISEARCH_LEADER) {

        if (!(flags & NGX_HTTP_AISEARCH_ASK)) {
            ngx_http_aisearch_lease_take(e);
        }

    } else if (lookup.fetch == NGX_HTTP_AISEARCH_OTHER) {
        e->waiters |= ngx_http_aisearch_wakeup_bit();
    }

    ngx_shmtx_unlock(&c->shpool->mutex);

    if (lookup.fetch == NGX_HTTP_AISEARCH_LONER) {
        ngx_http_aisearch_cache_warn(c, "entry");

    } else if (lookup.fetch == NGX_HTTP_AISEARCH_LEADER
               && !(flags & NGX_HTTP_AISEARCH_ASK))
    {
        ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                       "aisearch lease: key:%08xD taken", key->hash);
    }

    return lookup;
}


/* "lookup" must be zeroed */

static void
ngx_http_aisearch_cache_decide(ngx_http_aisearch_account_t *account,
    ngx_http_aisearch_entry_t *e, struct ais_freshness *freshness,
    double stretch, ngx_http_aisearch_time_t since, ngx_uint_t flags,
    ngx_http_aisearch_lookup_t *lookup)
{
    struct ais_cached    cached;
    struct ais_decision  decision;

    cached.good = e->answered && e->fault == AIS_FAULT_NONE;
    cached.not_found = e->class == AIS_CLASS_NOT_FOUND;
    cached.came = since && e->fetched >= since;
    cached.age = (int64_t) ngx_http_aisearch_entry_age(e);
    cached.lifetime = 0;

    if (cached.good) {
        cached.lifetime = (int64_t) ngx_http_aisearch_cache_entry_lifetime(e,
                                                  &freshness->valid, stretch);
    }

    cached.failed = 0;

    if (e->failed) {
        /* another credential may not be refused */
        cached.failed = e->failure != AIS_FAULT_REFUSED
                        || e->revision
                           == ngx_http_aisearch_cache_revision(account);
        cached.failed_since = since && e->failed >= since;
        cached.failure_age = (int64_t) ngx_http_aisearch_time_since(e->failed);
        cached.retry_after = e->retry_after;
    }

    decision = ais_policy_decide(&cached, freshness,
                                 flags & NGX_HTTP_AISEARCH_BYPASS,
                                 flags & NGX_HTTP_AISEARCH_PEEK);

    lookup->serve = decision.serve;
    lookup->known = decision.known;
    lookup->lifetime = (ngx_msec_t) cached.lifetime;

    if (decision.serve == AIS_SERVE_FRESH) {
        lookup->expired = 1;
        return;
    }

    lookup->expired = e->answered || e->failed;

    if (decision.fetch) {
        lookup->fetch = ngx_http_aisearch_lease_held(e)
                        ? NGX_HTTP_AISEARCH_OTHER : NGX_HTTP_AISEARCH_LEADER;
    }
}


/*
 * A refusal only counts while this number is the same: it changes with each
 * new credential and configuration.  Both counters only increase; an entry has
 * 24 bits for their sum.
 */

static uint32_t
ngx_http_aisearch_cache_revision(ngx_http_aisearch_account_t *account)
{
    return (account->rotation.generation + (uint32_t) *account->renewals)
           & 0xffffff;
}


static ngx_msec_t
ngx_http_aisearch_cache_entry_lifetime(ngx_http_aisearch_entry_t *e,
    struct ais_valid *valid, double stretch)
{
    struct ais_verdict  verdict;

    verdict.class = e->class;
    verdict.has_state = e->has_state;
    verdict.state = e->state;
    verdict.age = (int64_t) e->age * 1000;

    return ngx_http_aisearch_cache_lifetime(valid, &verdict, stretch);
}


ngx_msec_t
ngx_http_aisearch_cache_lifetime(struct ais_valid *valid,
    struct ais_verdict *verdict, double stretch)
{
    int64_t  lifetime;

    lifetime = ais_policy_lifetime(valid, verdict);

    /* ended jobs are not fetched again anyway */

    if (stretch > 1 && verdict->has_state && ais_state_active(verdict->state)) {
        lifetime = (int64_t) ((double) lifetime * stretch);
    }

    return (ngx_msec_t) lifetime;
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
        e = ngx_http_aisearch_storage_create(c, key,
                                             NGX_HTTP_AISEARCH_FAILURES);
    }

    if (e == NULL) {
        rc = NGX_ERROR;

    } else if (ngx_http_aisearch_lease_lost(e, answer)) {
        stored = NGX_DECLINED;

    } else {
        waiters = ngx_http_aisearch_lease_end(c, e);

        rc = answer->verdict.fault == AIS_FAULT_NONE
             ? ngx_http_aisearch_cache_store_good(c, e, key, answer)
             : ngx_http_aisearch_cache_store_failure(account, c, e, answer);
    }

    ngx_shmtx_unlock(&c->shpool->mutex);

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "aisearch store: key:%08xD %s fault:%s waiters:%xL",
                   key->hash, stored == NGX_OK ? "done" : "lease lost",
                   ais_fault_name(answer->verdict.fault), waiters);

    ngx_http_aisearch_wakeup_send(waiters);

    if (rc != NGX_OK) {
        ngx_http_aisearch_cache_warn(c, "answer");
    }

    return stored;
}


static ngx_int_t
ngx_http_aisearch_cache_store_good(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e, ngx_http_aisearch_key_t *key,
    ngx_http_aisearch_answer_t *answer)
{
    e->failed = 0;

    if (answer->verdict.class == AIS_CLASS_LOGS) {
        ngx_http_aisearch_cache_follow_job(c, key, answer);
    }

    ngx_http_aisearch_eviction_move(c, e,
                     ngx_http_aisearch_eviction_rank(e, answer->verdict.class));

    if (ngx_http_aisearch_storage_write(c, e, answer) == NGX_OK) {
        return NGX_OK;
    }

    ngx_http_aisearch_eviction_move(c, e, NGX_HTTP_AISEARCH_FAILURES);

    return NGX_ERROR;
}


static ngx_int_t
ngx_http_aisearch_cache_store_failure(ngx_http_aisearch_account_t *account,
    ngx_http_aisearch_cache_t *c, ngx_http_aisearch_entry_t *e,
    ngx_http_aisearch_answer_t *answer)
{
    /* discard the API's response to an earlier failure */

    if (e->fault != AIS_FAULT_NONE) {
        e->answered = 0;
    }

    e->failed = answer->fetched ? answer->fetched : 1;
    e->failure = answer->verdict.fault;
    e->retry_after = (uint32_t) answer->retry_after;
    e->revision = ngx_http_aisearch_cache_revision(account);

    /* keep a good answer, even an old one, rather than the API's error text */

    if (e->answered) {
        return NGX_OK;
    }

    ngx_http_aisearch_eviction_move(c, e, NGX_HTTP_AISEARCH_FAILURES);

    return answer->verdict.pass
           ? ngx_http_aisearch_storage_write(c, e, answer) : NGX_OK;
}


/*
 * Logs get the state of their job, and so its lifetime, if the job is cached.
 * If the job ended after the logs were requested, they may lack the last lines,
 * and do not get the state.
 */

static void
ngx_http_aisearch_cache_follow_job(ngx_http_aisearch_cache_t *c,
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

    if (e == NULL || !e->answered || !ais_class_is_job(e->class)) {
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


ngx_int_t
ngx_http_aisearch_cache_changes(ngx_shm_zone_t *zone, ngx_uint_t *seen,
    uint32_t hashes[NGX_HTTP_AISEARCH_CHANGES], ngx_uint_t *n)
{
    ngx_uint_t                  i;
    ngx_http_aisearch_cache_t  *c;
    ngx_http_aisearch_shctx_t  *sh;

    c = zone->data;
    sh = c->sh;

    ngx_shmtx_lock(&c->shpool->mutex);

    *n = sh->nchanges - *seen;

    if (*n <= NGX_HTTP_AISEARCH_CHANGES) {
        for (i = 0; i < *n; i++) {
            hashes[i] = sh->changes[(*seen + i) % NGX_HTTP_AISEARCH_CHANGES];
        }
    }

    *seen = sh->nchanges;

    ngx_shmtx_unlock(&c->shpool->mutex);

    return *n <= NGX_HTTP_AISEARCH_CHANGES ? NGX_OK : NGX_DECLINED;
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


static void
ngx_http_aisearch_cache_warn(ngx_http_aisearch_cache_t *c, const char *what)
{
    if (!ngx_http_aisearch_may_warn(&c->warned)) {
        return;
    }

    ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                  "could not allocate an %s%s, so a response is not cached; "
                  "use a larger zone", what, c->shpool->log_ctx);
}
