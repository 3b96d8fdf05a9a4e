#ifndef _NGX_HTTP_AISEARCH_CACHE_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_CACHE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ais_policy.h"


/*
 * The cache: one shared memory zone for all workers, an rbtree to find an
 * entry and an LRU queue to evict one, under the slab pool's mutex, the only
 * lock that nginx frees for a process that died holding it.
 *
 * An entry that is being fetched carries a lease: who holds it fetches, all
 * others wait for the answer, or for the lease to run out.
 */


#define NGX_HTTP_AISEARCH_LEASE     2000  /* ms, for one that is not renewed */
#define NGX_HTTP_AISEARCH_RENEWAL    500  /* ms */


/* what is asked for, within an account */

typedef struct {
    uint32_t                   hash;
    ngx_uint_t                 account;   /* cache_id */
    ngx_str_t                  path;      /* the API path after the account */
} ngx_http_aisearch_key_t;


/*
 * What the API answered, or why it did not.  Where the verdict has a fault and
 * may not be passed on, there is neither status nor body.
 */

typedef struct {
    struct ais_verdict         verdict;
    ngx_uint_t                 status;
    ngx_str_t                  body;
    uint64_t                   etag;
    ngx_msec_t                 fetched;      /* on ngx_current_msec's clock */
    ngx_msec_t                 fetch_time;
    ngx_msec_t                 retry_after;  /* from fetched on, 0 for none */
} ngx_http_aisearch_answer_t;


typedef enum {
    NGX_HTTP_AISEARCH_FRESH,   /* the answer may be used */
    NGX_HTTP_AISEARCH_WAIT,    /* somebody else fetches it */
    NGX_HTTP_AISEARCH_FETCH,   /* the caller holds the lease now */
    NGX_HTTP_AISEARCH_REFETCH, /* the same; an expired answer was there */
    NGX_HTTP_AISEARCH_NOMEM    /* no entry: fetch, without a lease */
} ngx_http_aisearch_lookup_e;


char *ngx_http_aisearch_cache_zone(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_int_t ngx_http_aisearch_cache_default_zone(ngx_conf_t *cf,
    ngx_shm_zone_t **zone);

/*
 * Looks an entry up and says what to do.  An answer is taken when it is fresh
 * by "valid", or when it came at or after "since" (where that is not 0), that
 * is, while the caller waited for it.  The body is copied into "pool".
 */
ngx_http_aisearch_lookup_e ngx_http_aisearch_cache_lookup(ngx_shm_zone_t *zone,
    ngx_http_aisearch_key_t *key, struct ais_valid *valid, ngx_msec_t since,
    ngx_pool_t *pool, ngx_http_aisearch_answer_t *answer);

/* stores what the holder of the lease fetched, and ends the lease */
void ngx_http_aisearch_cache_store(ngx_shm_zone_t *zone,
    ngx_http_aisearch_key_t *key, ngx_http_aisearch_answer_t *answer);

void ngx_http_aisearch_cache_renew(ngx_shm_zone_t *zone,
    ngx_http_aisearch_key_t *key);
void ngx_http_aisearch_cache_release(ngx_shm_zone_t *zone,
    ngx_http_aisearch_key_t *key);

/*
 * How long ago an answer came, in ms.  The clock of a worker stands still while
 * it is busy, so that an answer of another may come from its future.
 */
static ngx_inline ngx_msec_t
ngx_http_aisearch_cache_age(ngx_msec_t fetched)
{
    ngx_msec_int_t  age;

    age = (ngx_msec_int_t) (ngx_current_msec - fetched);

    return age > 0 ? (ngx_msec_t) age : 0;
}

/* how long the answer stays fresh, from answer->fetched on, in ms */
ngx_msec_t ngx_http_aisearch_cache_lifetime(struct ais_valid *valid,
    ngx_http_aisearch_answer_t *answer);


#endif /* _NGX_HTTP_AISEARCH_CACHE_H_INCLUDED_ */
