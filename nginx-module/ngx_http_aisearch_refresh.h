/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Refreshing of watched entries, and detection of their changes.
 */


#ifndef _NGX_HTTP_AISEARCH_REFRESH_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_REFRESH_H_INCLUDED_


#include "ngx_http_aisearch_watch.h"


#pragma GCC visibility push(hidden)


/* called once when a worker starts; "zone" is the zone of the cache */
void ngx_http_aisearch_refresh_init(ngx_shm_zone_t *zone);

/*
 * Adds a watcher to the watch of its key.  The watch copies ctx->answer, which
 * may be a failure, if that is news.  NGX_ERROR: no memory.
 */
ngx_int_t ngx_http_aisearch_refresh_join(ngx_http_aisearch_watcher_t *watcher);

/* called when a fetch of this worker has ended; NULL: no answer */
void ngx_http_aisearch_refresh_hear(ngx_http_aisearch_key_t *key,
    ngx_http_aisearch_shared_answer_t *sa);

/* called on a wakeup: another worker has stored an answer or ended a lease */
void ngx_http_aisearch_refresh_look(void);


#pragma GCC visibility pop


#endif /* _NGX_HTTP_AISEARCH_REFRESH_H_INCLUDED_ */
