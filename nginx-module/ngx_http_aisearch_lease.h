/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Leases: who fetches an entry.
 */


#ifndef _NGX_HTTP_AISEARCH_LEASE_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_LEASE_H_INCLUDED_


#include "ngx_http_aisearch_conf.h"
#include "ngx_http_aisearch_entry.h"


/* how often a leader renews its lease, in ms */
#define NGX_HTTP_AISEARCH_RENEWAL  500


#pragma GCC visibility push(hidden)


/* of a leader that still fetches, every NGX_HTTP_AISEARCH_RENEWAL */
void ngx_http_aisearch_lease_renew(ngx_http_aisearch_account_t *account,
    ngx_http_aisearch_key_t *key);

/* of a leader that gives up: another may take over */
void ngx_http_aisearch_lease_release(ngx_http_aisearch_account_t *account,
    ngx_http_aisearch_key_t *key);


/* for the files of the cache, which hold its mutex */

void ngx_http_aisearch_lease_take(ngx_http_aisearch_entry_t *e);

/* returns the workers to wake, once the mutex is free */
uint64_t ngx_http_aisearch_lease_end(ngx_http_aisearch_cache_t *c,
    ngx_http_aisearch_entry_t *e);

/*
 * Whether the answer must be dropped: another worker has taken over, or a newer
 * answer is stored.
 */
ngx_uint_t ngx_http_aisearch_lease_lost(ngx_http_aisearch_entry_t *e,
    ngx_http_aisearch_answer_t *answer);


#pragma GCC visibility pop


#endif /* _NGX_HTTP_AISEARCH_LEASE_H_INCLUDED_ */
