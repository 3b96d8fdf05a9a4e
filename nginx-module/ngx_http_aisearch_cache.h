/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The cache, as those see it who look up and store: one shared memory zone for
 * all workers.  The caller does not hold its mutex.
 */


#ifndef _NGX_HTTP_AISEARCH_CACHE_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_CACHE_H_INCLUDED_


#include "ngx_http_aisearch_answer.h"
#include "ngx_http_aisearch_conf.h"


typedef struct ngx_http_aisearch_lookup_s  ngx_http_aisearch_lookup_t;


/* who fetches */

typedef enum {
    NGX_HTTP_AISEARCH_NOBODY = 0,
    NGX_HTTP_AISEARCH_OTHER,     /* somebody else: wait for it */
    NGX_HTTP_AISEARCH_LEADER,    /* the caller, who holds the lease now */
    NGX_HTTP_AISEARCH_LONER      /* the caller, without a lease: no memory */
} ngx_http_aisearch_fetch_e;


struct ngx_http_aisearch_lookup_s {
    enum ais_serve             serve;
    ngx_http_aisearch_fetch_e  fetch;
    ngx_uint_t                 expired;   /* there was an answer or failure */
    ngx_uint_t                 known;        /* a good one, not a 404 */
    ngx_msec_t                 lifetime;     /* of that */
};


typedef struct {
    ngx_uint_t                 entries;
    ngx_uint_t                 evictions;
    size_t                     used;         /* bytes */
    size_t                     free;
} ngx_http_aisearch_cache_snapshot_t;


#define NGX_HTTP_AISEARCH_BYPASS  0x01  /* take nothing that is there */
#define NGX_HTTP_AISEARCH_PEEK    0x02  /* take no lease: nobody can fetch */
#define NGX_HTTP_AISEARCH_ASK     0x04  /* take no lease yet: who would? */
#define NGX_HTTP_AISEARCH_WATCH   0x08  /* keep it, wake us when it changes */


#define NGX_HTTP_AISEARCH_CHANGES    256


/* for the debug log */
extern const char  *ngx_http_aisearch_serve_names[];
extern const char  *ngx_http_aisearch_fetch_names[];


/* whether it is the caller who fetches */

static ngx_inline ngx_uint_t
ngx_http_aisearch_fetches(ngx_http_aisearch_lookup_t *lookup)
{
    return lookup->fetch == NGX_HTTP_AISEARCH_LEADER
           || lookup->fetch == NGX_HTTP_AISEARCH_LONER;
}


#pragma GCC visibility push(hidden)


/* sets key->hash by the rest of the key */
void ngx_http_aisearch_cache_hash(ngx_http_aisearch_key_t *key);

/*
 * Looks an entry up and says what to do.  What came at or after "since" (where
 * that is not 0), that is, while the caller waited for it, is taken in any
 * case.  A body is copied into "pool"; if that is NULL, there is none.
 */
ngx_http_aisearch_lookup_t ngx_http_aisearch_cache_lookup(
    ngx_http_aisearch_account_t *account, ngx_http_aisearch_key_t *key,
    struct ais_freshness *freshness, ngx_http_aisearch_time_t since,
    ngx_uint_t flags, ngx_pool_t *pool, ngx_http_aisearch_answer_t *answer);

/*
 * Stores what was fetched, and ends the lease.  NGX_DECLINED: another has taken
 * that over meanwhile, or has asked later, and knows better.
 */
ngx_int_t ngx_http_aisearch_cache_store(ngx_http_aisearch_account_t *account,
    ngx_http_aisearch_key_t *key, ngx_http_aisearch_answer_t *answer);

/*
 * The hashes of entries that were stored, or whose fetch ended otherwise, since
 * "seen", which is moved on.  NGX_DECLINED: too many, it could be any.
 */
ngx_int_t ngx_http_aisearch_cache_changes(ngx_shm_zone_t *zone,
    ngx_uint_t *seen, uint32_t hashes[NGX_HTTP_AISEARCH_CHANGES],
    ngx_uint_t *n);

/* how long an answer stays fresh, with a budget that stretches it */
ngx_msec_t ngx_http_aisearch_cache_lifetime(struct ais_valid *valid,
    struct ais_verdict *verdict, double stretch);

void ngx_http_aisearch_cache_snapshot(ngx_shm_zone_t *zone,
    ngx_http_aisearch_cache_snapshot_t *snapshot);

#pragma GCC visibility pop


#endif /* _NGX_HTTP_AISEARCH_CACHE_H_INCLUDED_ */
