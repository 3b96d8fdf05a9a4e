/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Leases.  A worker that fetches an entry holds its lease, so that no other
 * worker fetches it meanwhile.  A lookup takes the lease if the entry must be
 * fetched and no other lease is in force.  With PEEK or ASK, a lookup takes no
 * lease; a LONER fetches without a lease.
 *
 * A lease lasts 2 seconds, and its holder renews it every 500 ms.  If the
 * holder is killed or hangs, the lease expires, and the next lookup takes it:
 * waiting workers check every 100 ms.  A worker that exits normally releases
 * its leases.
 */


#include "ngx_http_aisearch_lease.h"
#include "ngx_http_aisearch_wakeup.h"


/* duration of a lease unless renewed, ms */
#define NGX_HTTP_AISEARCH_LEASE  2000


void
ngx_http_aisearch_lease_take(ngx_http_aisearch_entry_t *e)
{
    e->leader = ngx_pid;
    e->lease = ngx_http_aisearch_now() + NGX_HTTP_AISEARCH_LEASE;

    if (e->lease == 0) {
        e->lease = 1;
    }
}


uint64_t
ngx_http_aisearch_lease_end(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e)
{
    uint64_t                    waiters;
    ngx_http_aisearch_shctx_t  *sh;

    sh = c->sh;
    waiters = e->waiters;

    /* woken workers read here which entries have changed */

    sh->changes[sh->nchanges % NGX_HTTP_AISEARCH_CHANGES] = e->node.key;
    sh->nchanges++;

    e->waiters = 0;
    e->lease = 0;

    return waiters;
}


/*
 * A worker that took over from a late leader asked the API later, so its answer
 * is newer.  So is the answer to a later request without a lease.
 */

ngx_uint_t
ngx_http_aisearch_lease_lost(ngx_http_aisearch_entry_t *e,
    ngx_http_aisearch_answer_t *answer)
{
    ngx_http_aisearch_time_t  asked;

    if (e->leader != ngx_pid
        && (e->answered || e->failed || ngx_http_aisearch_lease_held(e)))
    {
        return 1;
    }

    asked = e->fetched - e->fetch_time;

    return e->answered
           && (ngx_http_aisearch_time_diff_t) (answer->asked - asked) < 0;
}


void
ngx_http_aisearch_lease_renew(ngx_http_aisearch_account_t *account,
    ngx_http_aisearch_key_t *key)
{
    ngx_uint_t                  held;
    ngx_http_aisearch_cache_t  *c;
    ngx_http_aisearch_entry_t  *e;

    c = account->zone->data;

    ngx_shmtx_lock(&c->shpool->mutex);

    e = ngx_http_aisearch_entry_find(c, key);

    /* another worker may have taken over from a late leader */

    held = e && e->leader == ngx_pid && e->lease;

    if (held) {
        ngx_http_aisearch_lease_take(e);
    }

    ngx_shmtx_unlock(&c->shpool->mutex);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "aisearch lease: key:%08xD %s", key->hash,
                   held ? "renewed" : "lost");
}


void
ngx_http_aisearch_lease_release(ngx_http_aisearch_account_t *account,
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
        waiters = ngx_http_aisearch_lease_end(c, e);

        if (!e->answered && e->failed == 0) {
            ngx_http_aisearch_entry_delete(c, e);
        }
    }

    ngx_shmtx_unlock(&c->shpool->mutex);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "aisearch lease: key:%08xD released waiters:%xL",
                   key->hash, waiters);

    ngx_http_aisearch_wakeup_send(waiters);
}
