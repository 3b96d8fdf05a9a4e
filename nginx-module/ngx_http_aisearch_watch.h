/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * A watch is this worker's standing interest in one entry: it hears of each
 * change, has the entry refreshed when it is no longer fresh, and tells those
 * who watch it.
 */


#ifndef _NGX_HTTP_AISEARCH_WATCH_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_WATCH_H_INCLUDED_


#include "ngx_http_aisearch_flight.h"


typedef struct ngx_http_aisearch_watch_s    ngx_http_aisearch_watch_t;


/* who watches: a request that waits, or a stream */

struct ngx_http_aisearch_watcher_s {
    ngx_http_aisearch_ctx_t            *ctx;
    ngx_http_aisearch_key_t             key;     /* in the request's memory */

    ngx_http_aisearch_watch_t          *watch;   /* NULL: not yet, or no more */
    ngx_queue_t                         queue;   /* in its watchers */
    ngx_uint_t                          version; /* that it has been told */

    ngx_event_t                         timer;

    ngx_http_aisearch_shared_answer_t  *sent;    /* what was sent last */
    u_char                              etag[NGX_HTTP_AISEARCH_ETAG_LEN];
    ngx_str_t                           last_event_id;
    ngx_msec_t                          end;     /* of a stream */
    time_t                              wait;    /* in seconds; -1: none */

    unsigned                            stream:1;
    unsigned                            over:1;  /* is answered as any other */
    unsigned                            has_etag:1;
    unsigned                            quiet:1; /* nothing was sent lately */
    unsigned                            fault:4; /* that it has been told */
};


#pragma GCC visibility push(hidden)


/*
 * Joins with what it knows, ctx->answer, which may be a failure.  NGX_ERROR: no
 * memory.
 */
ngx_int_t ngx_http_aisearch_watch_join(ngx_http_aisearch_watcher_t *watcher);
void ngx_http_aisearch_watch_leave(ngx_http_aisearch_watcher_t *watcher);

/* the newest answer, NULL: none is known; and why there is no later one */
ngx_http_aisearch_shared_answer_t *ngx_http_aisearch_watch_answer(
    ngx_http_aisearch_watch_t *w);
ngx_http_aisearch_shared_answer_t *ngx_http_aisearch_watch_fault(
    ngx_http_aisearch_watch_t *w);

/* a flight has landed in this worker */
void ngx_http_aisearch_watch_hear(ngx_http_aisearch_key_t *key,
    ngx_http_aisearch_shared_answer_t *sa);

/* another worker has stored an answer */
void ngx_http_aisearch_watch_look(void);

/* the worker is shutting down: all watchers are told, and end */
void ngx_http_aisearch_watch_end(void);

/* in a worker that starts */
void ngx_http_aisearch_watch_init(ngx_shm_zone_t *zone);


/* watcher: tells it what is new; it may leave, and be gone after that */
void ngx_http_aisearch_watcher_tell(ngx_http_aisearch_watcher_t *watcher);


#pragma GCC visibility pop


#endif /* _NGX_HTTP_AISEARCH_WATCH_H_INCLUDED_ */
