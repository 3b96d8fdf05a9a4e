/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Leases, which decide which worker fetches an entry.
 */


#ifndef _NGX_HTTP_AISEARCH_LEASE_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_LEASE_H_INCLUDED_


#include "ngx_http_aisearch_conf.h"
#include "ngx_http_aisearch_entry.h"


/* interval between renewals of a lease by its leader, ms */
#define NGX_HTTP_AISEARCH_RENEWAL  500


#pragma GCC visibility push(hidden)


/* these two lock the mutex of the zone, the caller must not hold it */

/* called by a leader every NGX_HTTP_AISEARCH_RENEWAL ms during a fetch */
void ngx_http_aisearch_lease_renew(ngx_http_aisearch_account_t *account,
    ngx_http_aisearch_key_t *key);

/* called by a leader that gives up: wakes workers, another may take over */
void ngx_http_aisearch_lease_release(ngx_http_aisearch_account_t *account,
    ngx_http_aisearch_key_t *key);


/* for the files of the cache: the caller holds the mutex of the zone */

/* takes or renews a lease for this worker */
void ngx_http_aisearch_lease_take(ngx_http_aisearch_entry_t *e);

/*
 * Ends the lease and records the change.  Returns a mask of the workers to wake
 * up after the mutex is unlocked.
 */
uint64_t ngx_http_aisearch_lease_end(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e);

/*
 * Whether the answer must be dropped, as another worker has taken over, or a
 * newer answer is stored.
 */
ngx_uint_t ngx_http_aisearch_lease_lost(ngx_http_aisearch_entry_t *e,
    ngx_http_aisearch_answer_t *answer);


#pragma GCC visibility pop


#endif /* _NGX_HTTP_AISEARCH_LEASE_H_INCLUDED_ */
