/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * A watch follows one entry on behalf of all watchers in this worker.  Watches
 * are local to the worker, so there is no locking.
 */


#ifndef _NGX_HTTP_AISEARCH_WATCH_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_WATCH_H_INCLUDED_


#include "ngx_http_aisearch_flight.h"
#include "ngx_http_aisearch_pace.h"


typedef struct ngx_http_aisearch_watch_s    ngx_http_aisearch_watch_t;


/* a request that waits for a change, or a stream of events */

struct ngx_http_aisearch_watcher_s {
    ngx_http_aisearch_ctx_t            *ctx;
    ngx_http_aisearch_key_t             key;     /* path is in r->pool */

    ngx_http_aisearch_watch_t          *watch;   /* NULL: has not joined */
    ngx_queue_t                         queue;   /* in watch->watchers */
    ngx_uint_t                          version; /* last notified */

    ngx_event_t                         timer;

    ngx_http_aisearch_shared_answer_t  *sent;    /* last one sent */
    u_char                              etag[NGX_HTTP_AISEARCH_ETAG_LEN];
    ngx_str_t                           last_event_id;
    ngx_msec_t                          end;     /* of the wait or stream */
    time_t                              wait;    /* seconds; -1: none */

    unsigned                            stream:1;
    unsigned                            over:1;  /* done: no wait or stream */
    unsigned                            has_etag:1;
    unsigned                            quiet:1; /* no output since timer */
    unsigned                            fault:4; /* last one sent */
};


struct ngx_http_aisearch_watch_s {
    ngx_http_aisearch_paced_t           paced;      /* next refresh */

    ngx_queue_t                         queue;      /* in the hash bucket */
    ngx_queue_t                         marks;      /* oldest mark first */
    ngx_msec_t                          marked;

    ngx_http_aisearch_account_t        *account;
    ngx_http_aisearch_loc_conf_t       *conf;
    ngx_http_aisearch_query_t           query;      /* points into text */
    char                                text[AIS_RESOURCE_PATH_MAX];

    ngx_http_aisearch_shared_answer_t  *answer;
    ngx_http_aisearch_shared_answer_t  *fault;
    ngx_msec_t                          retry;      /* no fetch before it */
    ngx_uint_t                          failed;     /* the last fetch failed */

    ngx_uint_t                          version;
    ngx_queue_t                         watchers;   /* last notified at tail */
    ngx_event_t                         notify;       /* posted: notify more */
    ngx_uint_t                          notifying;
};


#pragma GCC visibility push(hidden)


/* called once when a worker starts */
void ngx_http_aisearch_watch_init(void);

/*
 * Finds or creates the watch of watcher->key and adds the watcher to it.
 * NGX_ERROR: no memory.
 */
ngx_int_t ngx_http_aisearch_watch_join(ngx_http_aisearch_watcher_t *watcher);

/* stops the timer; the last watcher to leave frees the watch */
void ngx_http_aisearch_watch_leave(ngx_http_aisearch_watcher_t *watcher);

/* returns the watches of this hash and of others in the same bucket */
ngx_queue_t *ngx_http_aisearch_watch_bucket(uint32_t hash);

/* whether the watch has this answer, ignoring its age; w->answer is set */
ngx_uint_t ngx_http_aisearch_watch_knows(ngx_http_aisearch_watch_t *w,
    ngx_http_aisearch_answer_t *answer);

/* takes a reference to a newer answer and notifies watchers of a change */
void ngx_http_aisearch_watch_take(ngx_http_aisearch_watch_t *w,
    ngx_http_aisearch_shared_answer_t *sa);

/* updates the times of the known answer from a later copy of it */
void ngx_http_aisearch_watch_age(ngx_http_aisearch_watch_t *w,
    ngx_http_aisearch_answer_t *answer);

/* sets the fault, if it is a new one; "retry_after" is in ms, 0: none */
void ngx_http_aisearch_watch_fail(ngx_http_aisearch_watch_t *w,
    enum ais_fault fault, ngx_msec_t retry_after);

/* clears the fault */
void ngx_http_aisearch_watch_recover(ngx_http_aisearch_watch_t *w);

/* returns how long the answer is fresh, in ms; w->answer is set */
ngx_msec_t ngx_http_aisearch_watch_lifetime(ngx_http_aisearch_watch_t *w);

/* notifies this watcher: its request got an older answer than the watch has */
void ngx_http_aisearch_watch_notify_again(ngx_http_aisearch_watcher_t *watcher);

/* called when the worker shuts down: notifies all watchers, which then end */
void ngx_http_aisearch_watch_end(void);


/* notifies a watcher, which may leave and free its request */
void ngx_http_aisearch_watcher_notify(ngx_http_aisearch_watcher_t *watcher);


#pragma GCC visibility pop


#endif /* _NGX_HTTP_AISEARCH_WATCH_H_INCLUDED_ */
