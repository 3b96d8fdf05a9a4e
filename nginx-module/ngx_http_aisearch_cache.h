/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The public interface of the cache, a shared memory zone used by all workers.
 * These functions lock the mutex of the zone, the caller must not hold it.
 */


#ifndef _NGX_HTTP_AISEARCH_CACHE_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_CACHE_H_INCLUDED_


#include "ngx_http_aisearch_answer.h"
#include "ngx_http_aisearch_conf.h"


typedef struct ngx_http_aisearch_lookup_s  ngx_http_aisearch_lookup_t;


/* who fetches the entry */

typedef enum {
    NGX_HTTP_AISEARCH_NOBODY = 0,
    NGX_HTTP_AISEARCH_OTHER,     /* the holder of the lease: wait for it */
    NGX_HTTP_AISEARCH_LEADER,    /* the caller, which now holds the lease */
    NGX_HTTP_AISEARCH_LONER      /* the caller, without a lease: no memory */
} ngx_http_aisearch_fetch_e;


struct ngx_http_aisearch_lookup_s {
    enum ais_serve             serve;
    ngx_http_aisearch_fetch_e  fetch;
    ngx_uint_t                 expired;   /* has an answer or a failure */
    ngx_uint_t                 known;     /* has a good answer, not a 404 */
    ngx_msec_t                 lifetime;  /* of the good answer */
};


typedef struct {
    ngx_uint_t                 entries;
    ngx_uint_t                 evictions;
    size_t                     used;         /* bytes */
    size_t                     free;
} ngx_http_aisearch_cache_snapshot_t;


#define NGX_HTTP_AISEARCH_BYPASS  0x01  /* do not serve a stored answer */
#define NGX_HTTP_AISEARCH_PEEK    0x02  /* no lease: the caller cannot fetch */
#define NGX_HTTP_AISEARCH_ASK     0x04  /* return who would fetch, no lease */
#define NGX_HTTP_AISEARCH_WATCH   0x08  /* keep entry, wake us on a change */


#define NGX_HTTP_AISEARCH_CHANGES    256


/* for the debug log */
extern const char  *ngx_http_aisearch_serve_names[];
extern const char  *ngx_http_aisearch_fetch_names[];


/* whether the caller has to fetch the entry */

static ngx_inline ngx_uint_t
ngx_http_aisearch_fetches(ngx_http_aisearch_lookup_t *lookup)
{
    return lookup->fetch == NGX_HTTP_AISEARCH_LEADER
           || lookup->fetch == NGX_HTTP_AISEARCH_LONER;
}


#pragma GCC visibility push(hidden)


/* sets key->hash from the other members */
void ngx_http_aisearch_cache_hash(ngx_http_aisearch_key_t *key);

/*
 * Looks an entry up and decides what to do.  If "since" is not 0, an answer
 * that arrived at or after it, that is, while the caller waited, is served in
 * any case.  The body is allocated from "pool"; NULL: no body is copied.
 */
ngx_http_aisearch_lookup_t ngx_http_aisearch_cache_lookup(
    ngx_http_aisearch_account_t *account, ngx_http_aisearch_key_t *key,
    struct ais_freshness *freshness, ngx_http_aisearch_time_t since,
    ngx_uint_t flags, ngx_pool_t *pool, ngx_http_aisearch_answer_t *answer);

/*
 * Stores an answer and ends the lease.  NGX_DECLINED: not stored, as another
 * worker has taken over the lease or stored an answer to a later request.
 */
ngx_int_t ngx_http_aisearch_cache_store(ngx_http_aisearch_account_t *account,
    ngx_http_aisearch_key_t *key, ngx_http_aisearch_answer_t *answer);

/*
 * Returns the hashes of the *n entries whose leases have ended since "seen",
 * and updates "seen".  NGX_DECLINED: too many, any entry may have changed.
 */
ngx_int_t ngx_http_aisearch_cache_changes(ngx_shm_zone_t *zone,
    ngx_uint_t *seen, uint32_t hashes[NGX_HTTP_AISEARCH_CHANGES],
    ngx_uint_t *n);

/* returns the lifetime of an answer in ms, stretched for active jobs */
ngx_msec_t ngx_http_aisearch_cache_lifetime(struct ais_valid *valid,
    struct ais_verdict *verdict, double stretch);

void ngx_http_aisearch_cache_snapshot(ngx_shm_zone_t *zone,
    ngx_http_aisearch_cache_snapshot_t *snapshot);

#pragma GCC visibility pop


#endif /* _NGX_HTTP_AISEARCH_CACHE_H_INCLUDED_ */
