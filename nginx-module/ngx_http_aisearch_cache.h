#ifndef _NGX_HTTP_AISEARCH_CACHE_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_CACHE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ais_policy.h"
#include "ngx_http_aisearch_clock.h"


/*
 * The cache: one shared memory zone for all workers, rbtrees to find an entry
 * and LRU queues to evict one, under the slab pool's mutex, the only
 * lock that nginx frees for a process that died holding it.
 *
 * An entry that is being fetched carries a lease: who holds it fetches, all
 * others wait for the answer, or for the lease to run out.
 */


#define NGX_HTTP_AISEARCH_LEASE     2000  /* ms, for one that is not renewed */
#define NGX_HTTP_AISEARCH_RENEWAL    500  /* ms */


/* of the entity tag without its quotes: 64 bits in hexadecimal */
#define NGX_HTTP_AISEARCH_ETAG_LEN  16


/* what is asked for, within an account */

typedef struct {
    uint32_t                   hash;
    uint64_t                   account;   /* cache_id */
    ngx_str_t                  path;      /* of ais_resource_key() */
} ngx_http_aisearch_key_t;


/*
 * What the API answered, or why it did not.  Where the verdict has a fault and
 * may not be passed on, there is neither status nor body.  "failure" is the
 * fault for which a stale answer is served.
 */

typedef struct {
    struct ais_verdict         verdict;
    enum ais_fault             failure;
    ngx_uint_t                 status;
    ngx_str_t                  body;
    u_char                     etag[NGX_HTTP_AISEARCH_ETAG_LEN];
    ngx_http_aisearch_time_t   asked;
    ngx_http_aisearch_time_t   fetched;
    ngx_msec_t                 fetch_time;
    ngx_msec_t                 upstream_age; /* how old it was when it came */
    ngx_msec_t                 retry_after;  /* from fetched on, 0 for none */
} ngx_http_aisearch_answer_t;


/* how long an answer is good for: what a location says */

typedef struct {
    struct ais_valid           valid;
    ngx_msec_t                 stale_updating;
    ngx_msec_t                 stale_error;
} ngx_http_aisearch_freshness_t;


/* what to answer with */

typedef enum {
    NGX_HTTP_AISEARCH_NOTHING = 0,
    NGX_HTTP_AISEARCH_FRESH,
    NGX_HTTP_AISEARCH_UPDATING,  /* stale, while it is fetched again */
    NGX_HTTP_AISEARCH_STALE,     /* stale, since the API fails */
    NGX_HTTP_AISEARCH_FAILED     /* the failure: there is nothing else */
} ngx_http_aisearch_serve_e;


/* and who fetches */

typedef enum {
    NGX_HTTP_AISEARCH_NOBODY = 0,
    NGX_HTTP_AISEARCH_OTHER,     /* somebody else: wait for it */
    NGX_HTTP_AISEARCH_LEADER,    /* the caller, who holds the lease now */
    NGX_HTTP_AISEARCH_LONER      /* the caller, for there is no entry */
} ngx_http_aisearch_fetch_e;


typedef struct {
    ngx_http_aisearch_serve_e  serve;
    ngx_http_aisearch_fetch_e  fetch;
    ngx_uint_t                 expired;      /* an answer was there */
    ngx_uint_t                 known;        /* a good one, not a 404 */
    ngx_msec_t                 lifetime;     /* of that */
} ngx_http_aisearch_lookup_t;


typedef struct {
    ngx_uint_t                 entries;
    ngx_uint_t                 evictions;
    size_t                     used;         /* bytes */
    size_t                     free;
} ngx_http_aisearch_cache_snapshot_t;


#define NGX_HTTP_AISEARCH_BYPASS  0x01  /* take nothing that is there */
#define NGX_HTTP_AISEARCH_PEEK    0x02  /* take no lease: nobody can fetch */
#define NGX_HTTP_AISEARCH_ASK     0x04  /* take no lease yet: who would? */


/* whether it is the caller who fetches */

static ngx_inline ngx_uint_t
ngx_http_aisearch_fetches(ngx_http_aisearch_lookup_t *lookup)
{
    return lookup->fetch == NGX_HTTP_AISEARCH_LEADER
           || lookup->fetch == NGX_HTTP_AISEARCH_LONER;
}


/*
 * How long ago an answer came, in ms.  The clock of a worker stands still while
 * it is busy, so that an answer of another may come from its future.
 */
static ngx_inline ngx_http_aisearch_time_t
ngx_http_aisearch_cache_age(ngx_http_aisearch_time_t fetched)
{
    ngx_http_aisearch_time_diff_t  age;

    age = (ngx_http_aisearch_time_diff_t) (ngx_http_aisearch_now() - fetched);

    return age > 0 ? (ngx_http_aisearch_time_t) age : 0;
}


/* how old it is, what it was when it came included */

static ngx_inline ngx_http_aisearch_time_t
ngx_http_aisearch_answer_age(ngx_http_aisearch_answer_t *answer)
{
    return ngx_http_aisearch_cache_age(answer->fetched) + answer->upstream_age;
}


#endif /* _NGX_HTTP_AISEARCH_CACHE_H_INCLUDED_ */
