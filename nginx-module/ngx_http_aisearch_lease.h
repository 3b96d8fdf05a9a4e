/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Leases: which worker fetches an entry.
 */


#ifndef _NGX_HTTP_AISEARCH_LEASE_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_LEASE_H_INCLUDED_


#include "ngx_http_aisearch_conf.h"
#include "ngx_http_aisearch_entry.h"


/* how often a leader renews its lease, in ms */
#define NGX_HTTP_AISEARCH_RENEWAL  500


#pragma GCC visibility push(hidden)


/* a leader that is still fetching calls this every NGX_HTTP_AISEARCH_RENEWAL */
void ngx_http_aisearch_lease_renew(ngx_http_aisearch_account_t *account,
    ngx_http_aisearch_key_t *key);

/* a leader gives up, another worker may take over */
void ngx_http_aisearch_lease_release(ngx_http_aisearch_account_t *account,
    ngx_http_aisearch_key_t *key);


/* private to the files of the cache; the caller holds the mutex of the zone */

void ngx_http_aisearch_lease_take(ngx_http_aisearch_entry_t *e);

/* returns the workers to wake up once the mutex is unlocked */
uint64_t ngx_http_aisearch_lease_end(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e);

/*
 * Whether the answer must be discarded: another worker has taken over, or the
 * stored answer is newer.
 */
ngx_uint_t ngx_http_aisearch_lease_lost(ngx_http_aisearch_entry_t *e,
    ngx_http_aisearch_answer_t *answer);


#pragma GCC visibility pop


#endif /* _NGX_HTTP_AISEARCH_LEASE_H_INCLUDED_ */
