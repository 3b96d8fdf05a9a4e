/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * A watch follows the changes of one entry, on behalf of all watchers of this
 * worker.
 */


#ifndef _NGX_HTTP_AISEARCH_WATCH_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_WATCH_H_INCLUDED_


#include "ngx_http_aisearch_flight.h"
#include "ngx_http_aisearch_pace.h"


typedef struct ngx_http_aisearch_watch_s    ngx_http_aisearch_watch_t;


/* a watcher: a request that waits for a change, or a stream */

struct ngx_http_aisearch_watcher_s {
    ngx_http_aisearch_ctx_t            *ctx;
    ngx_http_aisearch_key_t             key;     /* in the request pool */

    ngx_http_aisearch_watch_t          *watch;   /* NULL: not joined, or left */
    ngx_queue_t                         queue;   /* in watch->watchers */
    ngx_uint_t                          version; /* last notified */

    ngx_event_t                         timer;

    ngx_http_aisearch_shared_answer_t  *sent;    /* last sent by the stream */
    u_char                              etag[NGX_HTTP_AISEARCH_ETAG_LEN];
    ngx_str_t                           last_event_id;
    ngx_msec_t                          end;     /* deadline of the wait */
    time_t                              wait;    /* in seconds; -1: none */

    unsigned                            stream:1;
    unsigned                            over:1;  /* is answered as usual now */
    unsigned                            has_etag:1;
    unsigned                            quiet:1; /* nothing sent recently */
    unsigned                            fault:4; /* last notified */
};


struct ngx_http_aisearch_watch_s {
    ngx_http_aisearch_paced_t           paced;      /* the refresh */

    ngx_queue_t                         queue;      /* in its bucket */
    ngx_queue_t                         marks;      /* ordered by "marked" */
    ngx_msec_t                          marked;

    ngx_http_aisearch_account_t        *account;
    ngx_http_aisearch_loc_conf_t       *conf;
    ngx_http_aisearch_query_t           query;      /* points into text */
    char                                text[AIS_RESOURCE_PATH_MAX];

    ngx_http_aisearch_shared_answer_t  *answer;
    ngx_http_aisearch_shared_answer_t  *fault;
    ngx_msec_t                          retry;      /* no sooner if failed */
    ngx_uint_t                          failed;     /* the last fetch failed */

    ngx_uint_t                          version;
    ngx_queue_t                         watchers;   /* notified last at tail */
    ngx_event_t                         told;       /* posted: notify rest */
    ngx_uint_t                          telling;    /* do not destroy */
};


#pragma GCC visibility push(hidden)


/* called when a worker starts */
void ngx_http_aisearch_watch_init(void);

/* NGX_ERROR: no memory */
ngx_int_t ngx_http_aisearch_watch_join(ngx_http_aisearch_watcher_t *watcher);
void ngx_http_aisearch_watch_leave(ngx_http_aisearch_watcher_t *watcher);

/* returns the watches with this hash, among others */
ngx_queue_t *ngx_http_aisearch_watch_bucket(uint32_t hash);

/* whether the answer equals that of the watch, which exists, except for age */
ngx_uint_t ngx_http_aisearch_watch_knows(ngx_http_aisearch_watch_t *w,
    ngx_http_aisearch_answer_t *answer);

/*
 * ..._take() takes a new answer, with a reference of its own; ..._age() updates
 * the age of the known answer; ..._fail() records a failure, which is retried
 * no sooner than "retry_after" ms later; ..._recover() ends a failure.
 */
void ngx_http_aisearch_watch_take(ngx_http_aisearch_watch_t *w,
    ngx_http_aisearch_shared_answer_t *sa);
void ngx_http_aisearch_watch_age(ngx_http_aisearch_watch_t *w,
    ngx_http_aisearch_answer_t *answer);
void ngx_http_aisearch_watch_fail(ngx_http_aisearch_watch_t *w,
    enum ais_fault fault, ngx_msec_t retry_after);
void ngx_http_aisearch_watch_recover(ngx_http_aisearch_watch_t *w);

/* returns the lifetime of its answer in ms */
ngx_msec_t ngx_http_aisearch_watch_lifetime(ngx_http_aisearch_watch_t *w);

/* notifies a watcher whose answer is older than that of the watch */
void ngx_http_aisearch_watch_tell_again(ngx_http_aisearch_watcher_t *watcher);

/* the worker is shutting down: notifies all watchers, so that they end */
void ngx_http_aisearch_watch_end(void);


/* watcher: notifies it of a change; it may be freed afterwards */
void ngx_http_aisearch_watcher_tell(ngx_http_aisearch_watcher_t *watcher);


#pragma GCC visibility pop


#endif /* _NGX_HTTP_AISEARCH_WATCH_H_INCLUDED_ */
