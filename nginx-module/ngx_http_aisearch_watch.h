/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * A watch is this worker's standing interest in one entry, which it shares with
 * all who watch that.
 */


#ifndef _NGX_HTTP_AISEARCH_WATCH_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_WATCH_H_INCLUDED_


#include "ngx_http_aisearch_flight.h"
#include "ngx_http_aisearch_pace.h"


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
    ngx_msec_t                          end;     /* of it, at the latest */
    time_t                              wait;    /* in seconds; -1: none */

    unsigned                            stream:1;
    unsigned                            over:1;  /* is answered as any other */
    unsigned                            has_etag:1;
    unsigned                            quiet:1; /* nothing was sent lately */
    unsigned                            fault:4; /* that it has been told */
};


struct ngx_http_aisearch_watch_s {
    ngx_http_aisearch_paced_t           paced;      /* the refresh */

    ngx_queue_t                         queue;      /* in its bucket */
    ngx_queue_t                         marks;      /* by when it was marked */
    ngx_msec_t                          marked;

    ngx_http_aisearch_account_t        *account;
    ngx_http_aisearch_loc_conf_t       *conf;
    ngx_http_aisearch_query_t           query;      /* its views are of text */
    char                                text[AIS_RESOURCE_PATH_MAX];

    ngx_http_aisearch_shared_answer_t  *answer;
    ngx_http_aisearch_shared_answer_t  *fault;
    ngx_msec_t                          retry;      /* not before that, if */
    ngx_uint_t                          failed;     /* the last fetch did */

    ngx_uint_t                          version;
    ngx_queue_t                         watchers;   /* told longest ago first */
    ngx_event_t                         told;       /* posted: tell the rest */
    ngx_uint_t                          telling;
};


#pragma GCC visibility push(hidden)


/* in a worker that starts */
void ngx_http_aisearch_watch_init(void);

/* NGX_ERROR: no memory */
ngx_int_t ngx_http_aisearch_watch_join(ngx_http_aisearch_watcher_t *watcher);
void ngx_http_aisearch_watch_leave(ngx_http_aisearch_watcher_t *watcher);

/* those of the hash, and others */
ngx_queue_t *ngx_http_aisearch_watch_bucket(uint32_t hash);

/* whether it is, but for its age, the answer that the watch has */
ngx_uint_t ngx_http_aisearch_watch_knows(ngx_http_aisearch_watch_t *w,
    ngx_http_aisearch_answer_t *answer);

/* an answer has come, one that it knows, or a fault; all is well again */
void ngx_http_aisearch_watch_take(ngx_http_aisearch_watch_t *w,
    ngx_http_aisearch_shared_answer_t *sa);
void ngx_http_aisearch_watch_age(ngx_http_aisearch_watch_t *w,
    ngx_http_aisearch_answer_t *answer);
void ngx_http_aisearch_watch_fail(ngx_http_aisearch_watch_t *w,
    enum ais_fault fault, ngx_msec_t retry_after);
void ngx_http_aisearch_watch_recover(ngx_http_aisearch_watch_t *w);

/* how long its answer is fresh, in ms */
ngx_msec_t ngx_http_aisearch_watch_lifetime(ngx_http_aisearch_watch_t *w);

/* what is known here is newer than what it was answered */
void ngx_http_aisearch_watch_tell_again(ngx_http_aisearch_watcher_t *watcher);

/* the worker is shutting down: all watchers are told, and end */
void ngx_http_aisearch_watch_end(void);


/* watcher: tells it what is new; it may leave, and be gone after that */
void ngx_http_aisearch_watcher_tell(ngx_http_aisearch_watcher_t *watcher);


#pragma GCC visibility pop


#endif /* _NGX_HTTP_AISEARCH_WATCH_H_INCLUDED_ */
