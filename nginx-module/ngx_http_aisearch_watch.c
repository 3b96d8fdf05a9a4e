/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The watches of this worker.  A watch has the newest answer, shared by all of
 * its watchers, and the fault that prevents a later one, if any.  If either
 * changes, the version is increased, and watchers are notified in slices, so
 * that other requests are handled in between.
 *
 * Freshness is set per location, so each location has its own watches.
 */


#include "ngx_http_aisearch_budget.h"
#include "ngx_http_aisearch_watch.h"


#define NGX_HTTP_AISEARCH_WATCHES      256    /* buckets */

/* watchers notified in one iteration of the event loop */
#define NGX_HTTP_AISEARCH_WATCH_SLICE  64

/* minimum time between two refreshes of an entry, ms */
#define NGX_HTTP_AISEARCH_WATCH_MIN    1000


static ngx_http_aisearch_watch_t *ngx_http_aisearch_watch_get(
    ngx_http_aisearch_watcher_t *watcher);
static ngx_http_aisearch_watch_t *ngx_http_aisearch_watch_create(
    ngx_http_aisearch_watcher_t *watcher);
static void ngx_http_aisearch_watch_copy(ngx_http_aisearch_watch_t *w,
    ngx_http_aisearch_key_t *key);
static void ngx_http_aisearch_watch_destroy(ngx_http_aisearch_watch_t *w);
static void ngx_http_aisearch_watch_change(ngx_http_aisearch_watch_t *w);
static void ngx_http_aisearch_watch_notify(ngx_event_t *ev);
static void ngx_http_aisearch_watch_drain(ngx_event_t *ev);


static ngx_queue_t  ngx_http_aisearch_watches[NGX_HTTP_AISEARCH_WATCHES];
static ngx_uint_t   ngx_http_aisearch_nwatches;
static ngx_event_t  ngx_http_aisearch_watch_last;    /* keeps the worker */


void
ngx_http_aisearch_watch_init(void)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_HTTP_AISEARCH_WATCHES; i++) {
        ngx_queue_init(&ngx_http_aisearch_watches[i]);
    }

    ngx_http_aisearch_watch_last.handler = ngx_http_aisearch_watch_drain;
    ngx_http_aisearch_watch_last.data = &ngx_http_aisearch_watches;
    ngx_http_aisearch_watch_last.log = ngx_cycle->log;
}


ngx_queue_t *
ngx_http_aisearch_watch_bucket(uint32_t hash)
{
    return &ngx_http_aisearch_watches[hash % NGX_HTTP_AISEARCH_WATCHES];
}


/* joining and leaving */


ngx_int_t
ngx_http_aisearch_watch_join(ngx_http_aisearch_watcher_t *watcher)
{
    ngx_http_aisearch_watch_t  *w;

    w = ngx_http_aisearch_watch_get(watcher);
    if (w == NULL) {
        return NGX_ERROR;
    }

    watcher->watch = w;
    watcher->version = w->version;

    ngx_queue_insert_tail(&w->watchers, &watcher->queue);

    ngx_http_aisearch_stats_watch(w->account->stats, watcher->stream, 1);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, watcher->ctx->request->connection->log,
                   0, "aisearch watch: key:%08xD version:%ui",
                   w->query.key.hash, w->version);

    return NGX_OK;
}


void
ngx_http_aisearch_watch_leave(ngx_http_aisearch_watcher_t *watcher)
{
    ngx_http_aisearch_watch_t  *w;

    w = watcher->watch;

    if (w == NULL) {
        return;
    }

    watcher->watch = NULL;
    ngx_queue_remove(&watcher->queue);

    if (watcher->timer.timer_set) {
        ngx_del_timer(&watcher->timer);
    }

    ngx_http_aisearch_stats_watch(w->account->stats, watcher->stream, -1);

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, watcher->ctx->request->connection->log,
                   0, "aisearch unwatch: key:%08xD", w->query.key.hash);

    if (ngx_queue_empty(&w->watchers) && !w->notifying) {
        ngx_http_aisearch_watch_destroy(w);
    }
}


static ngx_http_aisearch_watch_t *
ngx_http_aisearch_watch_get(ngx_http_aisearch_watcher_t *watcher)
{
    ngx_queue_t                *bucket, *q;
    ngx_http_aisearch_key_t    *key;
    ngx_http_aisearch_watch_t  *w;

    key = &watcher->key;
    bucket = ngx_http_aisearch_watch_bucket(key->hash);

    for (q = ngx_queue_head(bucket);
         q != ngx_queue_sentinel(bucket);
         q = ngx_queue_next(q))
    {
        w = ngx_queue_data(q, ngx_http_aisearch_watch_t, queue);

        if (w->conf == watcher->ctx->conf
            && ngx_http_aisearch_key_equal(&w->query.key, key))
        {
            return w;
        }
    }

    return ngx_http_aisearch_watch_create(watcher);
}


static ngx_http_aisearch_watch_t *
ngx_http_aisearch_watch_create(ngx_http_aisearch_watcher_t *watcher)
{
    ngx_http_aisearch_watch_t  *w;

    w = ngx_calloc(sizeof(ngx_http_aisearch_watch_t), ngx_cycle->log);
    if (w == NULL) {
        return NULL;
    }

    w->account = watcher->ctx->account;
    w->conf = watcher->ctx->conf;
    w->version = 1;

    w->notify.handler = ngx_http_aisearch_watch_notify;
    w->notify.data = w;
    w->notify.log = ngx_cycle->log;

    ngx_http_aisearch_watch_copy(w, &watcher->key);

    ngx_queue_init(&w->watchers);
    ngx_queue_init(&w->marks);
    ngx_queue_insert_head(ngx_http_aisearch_watch_bucket(w->query.key.hash),
                          &w->queue);

    ngx_http_aisearch_nwatches++;

    return w;
}


/* the path of the key is enough to parse the resource again */

static void
ngx_http_aisearch_watch_copy(ngx_http_aisearch_watch_t *w,
    ngx_http_aisearch_key_t *key)
{
    size_t           len;
    u_char          *p, *text, *args;
    struct ais_str   path, rest;

    text = (u_char *) w->text;
    len = key->path.len;

    p = ngx_cpymem(text, key->path.data, len);

    args = ngx_strlchr(text, p, '?');

    path.data = w->text;
    path.len = (args ? args : p) - text;

    rest.data = (char *) (args ? args + 1 : p);
    rest.len = p - (u_char *) rest.data;

    (void) ais_resource_parse(&w->query.resource, path, rest);

    w->query.key = *key;
    w->query.key.path.data = text;
}


static void
ngx_http_aisearch_watch_destroy(ngx_http_aisearch_watch_t *w)
{
    ngx_http_aisearch_pace_cancel(w->account->budget, &w->paced);

    if (w->notify.posted) {
        ngx_delete_posted_event(&w->notify);
    }

    ngx_queue_remove(&w->queue);
    ngx_queue_remove(&w->marks);

    ngx_http_aisearch_nwatches--;

    ngx_http_aisearch_answer_release(w->answer);
    ngx_http_aisearch_answer_release(w->fault);

    ngx_free(w);
}


/* changes */


void
ngx_http_aisearch_watch_take(ngx_http_aisearch_watch_t *w,
    ngx_http_aisearch_shared_answer_t *sa)
{
    if (w->answer) {

        if ((ngx_http_aisearch_time_diff_t)
            (sa->answer.fetched - w->answer->answer.fetched) <= 0)
        {
            return;
        }

        if (ngx_http_aisearch_watch_knows(w, &sa->answer)) {
            ngx_http_aisearch_watch_age(w, &sa->answer);
            ngx_http_aisearch_watch_recover(w);
            return;
        }

        ngx_http_aisearch_answer_release(w->answer);
    }

    sa->refs++;
    w->answer = sa;

    ngx_http_aisearch_watch_recover(w);
    ngx_http_aisearch_watch_change(w);
}


ngx_uint_t
ngx_http_aisearch_watch_knows(ngx_http_aisearch_watch_t *w,
    ngx_http_aisearch_answer_t *answer)
{
    ngx_http_aisearch_answer_t  *known;

    known = &w->answer->answer;

    return known->status == answer->status
           && ngx_memcmp(known->etag, answer->etag, NGX_HTTP_AISEARCH_ETAG_LEN)
              == 0;
}


void
ngx_http_aisearch_watch_age(ngx_http_aisearch_watch_t *w,
    ngx_http_aisearch_answer_t *answer)
{
    ngx_http_aisearch_answer_t  *known;

    known = &w->answer->answer;

    if ((ngx_http_aisearch_time_diff_t) (answer->fetched - known->fetched) > 0)
    {
        known->verdict = answer->verdict;
        known->asked = answer->asked;
        known->fetched = answer->fetched;
        known->fetch_time = answer->fetch_time;
        known->upstream_age = answer->upstream_age;
    }
}


/*
 * A spent budget, or a pause requested by the API, is not a fault as long as a
 * stale answer may be served.
 */

void
ngx_http_aisearch_watch_fail(ngx_http_aisearch_watch_t *w,
    enum ais_fault fault, ngx_msec_t retry_after)
{
    ngx_http_aisearch_shared_answer_t  *sa;

    /* the same failure may be reported many times */

    if (!w->failed || (ngx_msec_int_t) (w->retry - ngx_current_msec) <= 0) {
        w->failed = 1;
        w->retry = ngx_current_msec
                   + ngx_max(retry_after,
                             (ngx_msec_t) w->conf->freshness.valid.error);
    }

    if ((fault == AIS_FAULT_BUDGET || fault == AIS_FAULT_RATE_LIMITED)
        && w->answer
        && ngx_http_aisearch_answer_age(&w->answer->answer)
           < ngx_http_aisearch_watch_lifetime(w)
             + (ngx_msec_t) w->conf->freshness.stale_error)
    {
        return;
    }

    if (w->fault && w->fault->answer.verdict.fault == fault) {
        return;
    }

    sa = ngx_http_aisearch_answer_create();
    if (sa == NULL) {
        return;
    }

    ngx_http_aisearch_answer_fail(&sa->answer, fault, retry_after);

    ngx_http_aisearch_answer_release(w->fault);
    w->fault = sa;

    ngx_http_aisearch_watch_change(w);
}


void
ngx_http_aisearch_watch_recover(ngx_http_aisearch_watch_t *w)
{
    w->failed = 0;

    if (w->fault) {
        ngx_http_aisearch_answer_release(w->fault);
        w->fault = NULL;

        ngx_http_aisearch_watch_change(w);
    }
}


static void
ngx_http_aisearch_watch_change(ngx_http_aisearch_watch_t *w)
{
    w->version++;

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "aisearch change: key:%08xD version:%ui fault:%s",
                   w->query.key.hash, w->version,
                   ais_fault_name(w->fault ? w->fault->answer.verdict.fault
                                           : AIS_FAULT_NONE));

    ngx_post_event(&w->notify, &ngx_posted_next_events);
}


ngx_msec_t
ngx_http_aisearch_watch_lifetime(ngx_http_aisearch_watch_t *w)
{
    ngx_msec_t  lifetime;

    lifetime = ngx_http_aisearch_cache_lifetime(&w->conf->freshness.valid,
                        &w->answer->answer.verdict,
                        ngx_http_aisearch_budget_stretch(w->account->budget));

    return ngx_max(lifetime, NGX_HTTP_AISEARCH_WATCH_MIN);
}


/* notifications */


void
ngx_http_aisearch_watch_notify_again(ngx_http_aisearch_watcher_t *watcher)
{
    ngx_http_aisearch_watch_t  *w;

    w = watcher->watch;

    watcher->version = w->version - 1;

    ngx_queue_remove(&watcher->queue);
    ngx_queue_insert_head(&w->watchers, &watcher->queue);

    ngx_post_event(&w->notify, &ngx_posted_next_events);
}


static void
ngx_http_aisearch_watch_notify(ngx_event_t *ev)
{
    ngx_uint_t                    n;
    ngx_queue_t                  *q;
    ngx_http_aisearch_watch_t    *w;
    ngx_http_aisearch_watcher_t  *watcher;

    w = ev->data;

    w->notifying = 1;

    for (n = 0; !ngx_queue_empty(&w->watchers); n++) {
        q = ngx_queue_head(&w->watchers);
        watcher = ngx_queue_data(q, ngx_http_aisearch_watcher_t, queue);

        if (watcher->version == w->version) {
            break;
        }

        if (n == NGX_HTTP_AISEARCH_WATCH_SLICE) {
            ngx_post_event(&w->notify, &ngx_posted_next_events);
            break;
        }

        watcher->version = w->version;

        ngx_queue_remove(q);
        ngx_queue_insert_tail(&w->watchers, q);

        ngx_http_aisearch_watcher_notify(watcher);
    }

    w->notifying = 0;

    if (ngx_queue_empty(&w->watchers)) {
        ngx_http_aisearch_watch_destroy(w);
    }
}


void
ngx_http_aisearch_watch_end(void)
{
    ngx_uint_t                  i;
    ngx_queue_t                *q, *bucket;
    ngx_http_aisearch_watch_t  *w;

    for (i = 0; i < NGX_HTTP_AISEARCH_WATCHES; i++) {
        bucket = &ngx_http_aisearch_watches[i];

        for (q = ngx_queue_head(bucket);
             q != ngx_queue_sentinel(bucket);
             q = ngx_queue_next(q))
        {
            w = ngx_queue_data(q, ngx_http_aisearch_watch_t, queue);

            ngx_http_aisearch_watch_change(w);
        }
    }

    if (!ngx_http_aisearch_watch_last.timer_set) {
        ngx_http_aisearch_watch_drain(&ngx_http_aisearch_watch_last);
    }
}


/* a timer keeps the worker from exiting until all watches have ended */

static void
ngx_http_aisearch_watch_drain(ngx_event_t *ev)
{
    if (ngx_http_aisearch_nwatches) {
        ngx_add_timer(ev, 1);
    }
}
