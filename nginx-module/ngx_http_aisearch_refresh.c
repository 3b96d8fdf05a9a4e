/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Refreshes watched entries and detects their changes.
 *
 * When its answer is no longer fresh, an entry is fetched as for any other
 * lookup, by the worker that gets the lease, but only when pace.c allows it.
 * The end of a fetch in this worker updates the watch directly.  If another
 * worker has fetched the entry, it wakes this one up, and the zone of the cache
 * has the hashes of the entries changed last.  Changes without a wakeup, such
 * as an eviction, are found when the watch renews its mark every 3 seconds.
 * The mark keeps the entry in the cache and expires if the worker is killed.
 */


#include "ngx_http_aisearch_budget.h"
#include "ngx_http_aisearch_refresh.h"


/* time between two marks of an entry, ms */
#define NGX_HTTP_AISEARCH_REFRESH_MARKS  3000

/* entries marked in one iteration of the event loop */
#define NGX_HTTP_AISEARCH_REFRESH_SLICE  64

/* time until a worker checks if the fetching one has died, ms */
#define NGX_HTTP_AISEARCH_REFRESH_LOOK   1000


static void ngx_http_aisearch_refresh_first(ngx_http_aisearch_watch_t *w,
    ngx_http_aisearch_answer_t *answer);
static void ngx_http_aisearch_refresh_schedule(ngx_http_aisearch_watch_t *w);
static ngx_msec_t ngx_http_aisearch_refresh_due(
    ngx_http_aisearch_paced_t *paced);
static ngx_http_aisearch_lookup_t ngx_http_aisearch_refresh_look_up(
    ngx_http_aisearch_watch_t *w, ngx_uint_t flags);
static void ngx_http_aisearch_refresh_read(ngx_http_aisearch_watch_t *w);
static void ngx_http_aisearch_refresh_mark(ngx_event_t *ev);
static void ngx_http_aisearch_refresh_mark_all(void);
static void ngx_http_aisearch_refresh_mark_now(void);


static ngx_queue_t      ngx_http_aisearch_marks;    /* oldest first */
static ngx_event_t      ngx_http_aisearch_marks_timer;

/* the debug log prints the descriptor of a timer's connection */
static ngx_connection_t  ngx_http_aisearch_marks_dumb = {
    .fd = (ngx_socket_t) -1
};

static ngx_shm_zone_t  *ngx_http_aisearch_refresh_zone;
static ngx_uint_t       ngx_http_aisearch_refresh_seen;  /* changes */


void
ngx_http_aisearch_refresh_init(ngx_shm_zone_t *zone)
{
    ngx_queue_init(&ngx_http_aisearch_marks);

    ngx_http_aisearch_marks_timer.handler = ngx_http_aisearch_refresh_mark;
    ngx_http_aisearch_marks_timer.data = &ngx_http_aisearch_marks_dumb;
    ngx_http_aisearch_marks_timer.log = ngx_cycle->log;
    ngx_http_aisearch_marks_timer.cancelable = 1;

    ngx_http_aisearch_refresh_zone = zone;

    ngx_http_aisearch_watch_init();
}


ngx_int_t
ngx_http_aisearch_refresh_join(ngx_http_aisearch_watcher_t *watcher)
{
    ngx_http_aisearch_watch_t   *w;
    ngx_http_aisearch_answer_t  *answer;

    if (ngx_http_aisearch_watch_join(watcher) != NGX_OK) {
        return NGX_ERROR;
    }

    w = watcher->watch;
    answer = &watcher->ctx->answer;

    if (w->paced.handler == NULL) {
        w->paced.handler = ngx_http_aisearch_refresh_due;

        /* mark it now: an entry without our mark does not wake us */

        ngx_queue_insert_head(&ngx_http_aisearch_marks, &w->marks);
        w->marked = ngx_current_msec - NGX_HTTP_AISEARCH_REFRESH_MARKS;

        ngx_http_aisearch_refresh_mark_now();
    }

    ngx_http_aisearch_refresh_first(w, answer);

    if (w->answer || !w->paced.scheduled) {
        ngx_http_aisearch_refresh_schedule(w);
    }

    if (w->answer && !ngx_http_aisearch_watch_knows(w, answer)) {
        ngx_http_aisearch_watch_notify_again(watcher);
    }

    return NGX_OK;
}


/* the watch takes the answer that the request of a watcher got */

static void
ngx_http_aisearch_refresh_first(ngx_http_aisearch_watch_t *w,
    ngx_http_aisearch_answer_t *answer)
{
    ngx_http_aisearch_shared_answer_t  *sa;

    if (answer->verdict.fault != AIS_FAULT_NONE) {

        if (w->answer == NULL) {
            ngx_http_aisearch_watch_fail(w, answer->verdict.fault,
                                         answer->retry_after);
        }

        return;
    }

    if (w->answer && ngx_http_aisearch_watch_knows(w, answer)) {
        ngx_http_aisearch_watch_age(w, answer);
        return;
    }

    sa = ngx_http_aisearch_answer_create();
    if (sa == NULL) {
        return;
    }

    sa->answer = *answer;
    sa->answer.body.data = ngx_pnalloc(sa->pool, answer->body.len + 1);

    if (sa->answer.body.data) {
        ngx_memcpy(sa->answer.body.data, answer->body.data, answer->body.len);

        ngx_http_aisearch_watch_take(w, sa);
    }

    ngx_http_aisearch_answer_release(sa);
}


void
ngx_http_aisearch_refresh_hear(ngx_http_aisearch_key_t *key,
    ngx_http_aisearch_shared_answer_t *sa)
{
    ngx_queue_t                 *bucket, *q;
    ngx_http_aisearch_watch_t   *w;
    ngx_http_aisearch_answer_t  *answer;

    if (sa == NULL) {
        return;
    }

    answer = &sa->answer;
    bucket = ngx_http_aisearch_watch_bucket(key->hash);

    for (q = ngx_queue_head(bucket);
         q != ngx_queue_sentinel(bucket);
         q = ngx_queue_next(q))
    {
        w = ngx_queue_data(q, ngx_http_aisearch_watch_t, queue);

        if (!ngx_http_aisearch_key_equal(&w->query.key, key)) {
            continue;
        }

        if (answer->verdict.fault != AIS_FAULT_NONE) {
            ngx_http_aisearch_watch_fail(w, answer->verdict.fault,
                                         answer->retry_after);
        } else {
            ngx_http_aisearch_watch_take(w, sa);
        }

        /* the end of the lease has cleared our mark, set it again */

        (void) ngx_http_aisearch_refresh_look_up(w, NGX_HTTP_AISEARCH_ASK);

        ngx_http_aisearch_refresh_schedule(w);
    }
}


/* overdue times are kept: the longest overdue watch is refreshed first */

static void
ngx_http_aisearch_refresh_schedule(ngx_http_aisearch_watch_t *w)
{
    ngx_msec_t  due;

    due = ngx_current_msec;

    if (w->answer) {
        due += ngx_http_aisearch_watch_lifetime(w)
               - (ngx_msec_t)
                 ngx_http_aisearch_answer_age(&w->answer->answer);
    }

    if (w->failed && (ngx_msec_int_t) (w->retry - due) > 0) {
        due = w->retry;
    }

    ngx_http_aisearch_pace_schedule(w->account->budget, &w->paced, due);
}


/* starts a fetch if it is still needed, by this worker, and allowed now */

static ngx_msec_t
ngx_http_aisearch_refresh_due(ngx_http_aisearch_paced_t *paced)
{
    ngx_msec_t                   wait;
    ngx_uint_t                   had_turn, begun;
    ngx_http_aisearch_watch_t   *w;
    ngx_http_aisearch_budget_t  *budget;
    ngx_http_aisearch_lookup_t   lookup;

    /* the worker is shutting down, and the watchers end */

    if (ngx_exiting) {
        return 0;
    }

    w = (ngx_http_aisearch_watch_t *) paced;
    budget = w->account->budget;

    lookup = ngx_http_aisearch_refresh_look_up(w, NGX_HTTP_AISEARCH_ASK);

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "aisearch refresh: key:%08xD serve:%s fetch:%s",
                   w->query.key.hash,
                   ngx_http_aisearch_serve_names[lookup.serve],
                   ngx_http_aisearch_fetch_names[lookup.fetch]);

    if (lookup.fetch == NGX_HTTP_AISEARCH_NOBODY) {
        ngx_http_aisearch_refresh_schedule(w);

        if ((ngx_msec_int_t) (paced->due - ngx_current_msec) > 0) {
            return 0;
        }
    }

    had_turn = (lookup.fetch == NGX_HTTP_AISEARCH_LEADER);

    if (had_turn) {
        wait = ngx_http_aisearch_pace_enter(budget, paced);

        if (wait) {
            return wait;
        }

        lookup = ngx_http_aisearch_refresh_look_up(w, 0);
    }

    /* check again if neither the fetch nor a wakeup reschedules it */

    ngx_http_aisearch_pace_schedule(budget, paced,
                                    ngx_current_msec
                                    + NGX_HTTP_AISEARCH_REFRESH_LOOK);

    begun = ngx_http_aisearch_fetches(&lookup)
            && ngx_http_aisearch_flight_start(w->account, &w->query, &lookup, 1)
               == NGX_OK;

    if (had_turn && !begun) {
        ngx_http_aisearch_pace_give_back(budget);
    }

    return 0;
}


/* marks the entry and updates the watch from it */

static ngx_http_aisearch_lookup_t
ngx_http_aisearch_refresh_look_up(ngx_http_aisearch_watch_t *w, ngx_uint_t flags)
{
    ngx_http_aisearch_answer_t  answer;
    ngx_http_aisearch_lookup_t  lookup;

    ngx_memzero(&answer, sizeof(ngx_http_aisearch_answer_t));

    lookup = ngx_http_aisearch_cache_lookup(w->account, &w->query.key,
                                            &w->conf->freshness, 0,
                                            flags|NGX_HTTP_AISEARCH_WATCH,
                                            NULL, &answer);

    if (lookup.serve == AIS_SERVE_NOTHING) {

        /* another worker may have fetched an answer that is never fresh */

        if (lookup.expired) {
            ngx_http_aisearch_refresh_read(w);
        }

        return lookup;
    }

    if (lookup.serve == AIS_SERVE_FAILED) {
        ngx_http_aisearch_watch_fail(w, answer.verdict.fault,
                                     answer.retry_after);
        return lookup;
    }

    if (w->answer == NULL || !ngx_http_aisearch_watch_knows(w, &answer)) {
        ngx_http_aisearch_refresh_read(w);

    } else {
        if (answer.fetched != w->answer->answer.fetched
            && lookup.serve == AIS_SERVE_FRESH)
        {
            ngx_http_aisearch_watch_recover(w);
        }

        ngx_http_aisearch_watch_age(w, &answer);
    }

    if (lookup.serve == AIS_SERVE_STALE && answer.failure != AIS_FAULT_NONE) {
        ngx_http_aisearch_watch_fail(w, answer.failure, answer.retry_after);
    }

    return lookup;
}


static void
ngx_http_aisearch_refresh_read(ngx_http_aisearch_watch_t *w)
{
    ngx_http_aisearch_lookup_t          lookup;
    ngx_http_aisearch_shared_answer_t  *sa;

    sa = ngx_http_aisearch_answer_create();
    if (sa == NULL) {
        return;
    }

    lookup = ngx_http_aisearch_cache_lookup(w->account, &w->query.key,
                                            &w->conf->freshness, 0,
                                            NGX_HTTP_AISEARCH_PEEK,
                                            sa->pool, &sa->answer);

    if (lookup.serve == AIS_SERVE_FRESH || lookup.serve == AIS_SERVE_STALE) {
        ngx_http_aisearch_watch_take(w, sa);
    }

    ngx_http_aisearch_answer_release(sa);
}


/* renews the oldest marks */

static void
ngx_http_aisearch_refresh_mark(ngx_event_t *ev)
{
    ngx_uint_t                  n;
    ngx_queue_t                *q, *marks;
    ngx_msec_int_t              left;
    ngx_http_aisearch_watch_t  *w;

    marks = &ngx_http_aisearch_marks;

    for (n = 0; !ngx_queue_empty(marks); n++) {
        q = ngx_queue_head(marks);
        w = ngx_queue_data(q, ngx_http_aisearch_watch_t, marks);

        left = (ngx_msec_int_t)
               (w->marked + NGX_HTTP_AISEARCH_REFRESH_MARKS - ngx_current_msec);

        if (left > 0 || n == NGX_HTTP_AISEARCH_REFRESH_SLICE) {
            ngx_add_timer(ev, left > 0 ? (ngx_msec_t) left : 1);
            return;
        }

        w->marked = ngx_current_msec;

        ngx_queue_remove(q);
        ngx_queue_insert_tail(marks, q);

        (void) ngx_http_aisearch_refresh_look_up(w, NGX_HTTP_AISEARCH_ASK);
    }
}


void
ngx_http_aisearch_refresh_look(void)
{
    uint32_t                    hashes[NGX_HTTP_AISEARCH_CHANGES];
    ngx_uint_t                  i, n;
    ngx_queue_t                *q, *bucket;
    ngx_http_aisearch_watch_t  *w;

    if (ngx_queue_empty(&ngx_http_aisearch_marks)) {
        return;
    }

    if (ngx_http_aisearch_cache_changes(ngx_http_aisearch_refresh_zone,
                                        &ngx_http_aisearch_refresh_seen,
                                        hashes, &n)
        != NGX_OK)
    {
        ngx_http_aisearch_refresh_mark_all();
        return;
    }

    for (i = 0; i < n; i++) {
        bucket = ngx_http_aisearch_watch_bucket(hashes[i]);

        for (q = ngx_queue_head(bucket);
             q != ngx_queue_sentinel(bucket);
             q = ngx_queue_next(q))
        {
            w = ngx_queue_data(q, ngx_http_aisearch_watch_t, queue);

            if (w->query.key.hash == hashes[i]) {
                (void) ngx_http_aisearch_refresh_look_up(w,
                                                       NGX_HTTP_AISEARCH_ASK);
                ngx_http_aisearch_refresh_schedule(w);
            }
        }
    }
}


/* too many entries have changed to know which ones */

static void
ngx_http_aisearch_refresh_mark_all(void)
{
    ngx_queue_t                *q, *marks;
    ngx_http_aisearch_watch_t  *w;

    marks = &ngx_http_aisearch_marks;

    for (q = ngx_queue_head(marks);
         q != ngx_queue_sentinel(marks);
         q = ngx_queue_next(q))
    {
        w = ngx_queue_data(q, ngx_http_aisearch_watch_t, marks);
        w->marked = ngx_current_msec - NGX_HTTP_AISEARCH_REFRESH_MARKS;
    }

    ngx_http_aisearch_refresh_mark_now();
}


static void
ngx_http_aisearch_refresh_mark_now(void)
{
    if (ngx_http_aisearch_marks_timer.timer_set) {
        ngx_del_timer(&ngx_http_aisearch_marks_timer);
    }

    ngx_add_timer(&ngx_http_aisearch_marks_timer, 0);
}
