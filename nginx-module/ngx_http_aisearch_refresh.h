/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Keeps watched entries fresh, and passes changes on to their watches.
 */


#ifndef _NGX_HTTP_AISEARCH_REFRESH_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_REFRESH_H_INCLUDED_


#include "ngx_http_aisearch_watch.h"


#pragma GCC visibility push(hidden)


/* called when a worker starts */
void ngx_http_aisearch_refresh_init(ngx_shm_zone_t *zone);

/*
 * Joins a watch; ctx->answer, which may be a failure, is the answer that the
 * watcher knows.  NGX_ERROR: no memory.
 */
ngx_int_t ngx_http_aisearch_refresh_join(ngx_http_aisearch_watcher_t *watcher);

/* a flight has landed in this worker */
void ngx_http_aisearch_refresh_hear(ngx_http_aisearch_key_t *key,
    ngx_http_aisearch_shared_answer_t *sa);

/* another worker has stored an answer, or released a lease */
void ngx_http_aisearch_refresh_look(void);


#pragma GCC visibility pop


#endif /* _NGX_HTTP_AISEARCH_REFRESH_H_INCLUDED_ */
