/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * What this worker watches.  A watch has the newest answer, which all of its
 * watchers share, and the fault for which there is no later one, if any; each
 * change of either makes a new version, of which the watchers are told in
 * slices, so that other requests get their turn in between.
 *
 * A watch hears of an answer that this worker has fetched from its flight, and
 * of those of other workers by a wake-up: the zone of the cache has the hashes
 * of what changed last.  What no wake-up tells of, an entry that was evicted,
 * say, it sees when it renews its mark, every three seconds.  The mark keeps
 * the entry in the cache; it runs out by itself if the worker is killed.
 *
 * When the answer is no longer fresh, the entry is fetched as for any other
 * look-up, by the worker that gets the lease, but no sooner than pace.c lets
 * it.  Locations may differ in what is fresh, so each has a watch of its own.
 */


#include "ngx_http_aisearch_budget.h"
#include "ngx_http_aisearch_pace.h"
#include "ngx_http_aisearch_watch.h"


#define NGX_HTTP_AISEARCH_WATCHES        256    /* buckets */

/* told of a change in one turn of the event loop */
#define NGX_HTTP_AISEARCH_WATCH_SLICE    64

/* ms between two marks of an entry */
#define NGX_HTTP_AISEARCH_WATCH_RENEWAL  3000

/* ms: no more often is an entry refreshed, whatever its lifetime */
#define NGX_HTTP_AISEARCH_WATCH_MIN      1000


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


static ngx_http_aisearch_watch_t *ngx_http_aisearch_watch_get(
    ngx_http_aisearch_watcher_t *watcher);
static ngx_http_aisearch_watch_t *ngx_http_aisearch_watch_create(
    ngx_http_aisearch_watcher_t *watcher);
static void ngx_http_aisearch_watch_copy(ngx_http_aisearch_watch_t *w,
    ngx_http_aisearch_key_t *key);
static void ngx_http_aisearch_watch_destroy(ngx_http_aisearch_watch_t *w);
static ngx_uint_t ngx_http_aisearch_watch_is(ngx_http_aisearch_watch_t *w,
    ngx_http_aisearch_key_t *key);

static void ngx_http_aisearch_watch_take_first(ngx_http_aisearch_watch_t *w,
    ngx_http_aisearch_answer_t *answer);
static void ngx_http_aisearch_watch_take(ngx_http_aisearch_watch_t *w,
    ngx_http_aisearch_shared_answer_t *sa);
static ngx_uint_t ngx_http_aisearch_watch_knows(ngx_http_aisearch_watch_t *w,
    ngx_http_aisearch_answer_t *answer);
static void ngx_http_aisearch_watch_age(ngx_http_aisearch_watch_t *w,
    ngx_http_aisearch_answer_t *answer);
static void ngx_http_aisearch_watch_fail(ngx_http_aisearch_watch_t *w,
    enum ais_fault fault, ngx_msec_t retry_after);
static void ngx_http_aisearch_watch_recover(ngx_http_aisearch_watch_t *w);
static void ngx_http_aisearch_watch_change(ngx_http_aisearch_watch_t *w);

static void ngx_http_aisearch_watch_schedule(ngx_http_aisearch_watch_t *w);
static ngx_msec_t ngx_http_aisearch_watch_lifetime(
    ngx_http_aisearch_watch_t *w);
static ngx_msec_t ngx_http_aisearch_watch_refresh(
    ngx_http_aisearch_paced_t *paced);
static ngx_http_aisearch_lookup_t ngx_http_aisearch_watch_look_up(
    ngx_http_aisearch_watch_t *w, ngx_uint_t flags);
static void ngx_http_aisearch_watch_read(ngx_http_aisearch_watch_t *w);
static void ngx_http_aisearch_watch_mark(ngx_event_t *ev);

static void ngx_http_aisearch_watch_tell(ngx_event_t *ev);
static void ngx_http_aisearch_watch_drain(ngx_event_t *ev);


static ngx_queue_t      ngx_http_aisearch_watches[NGX_HTTP_AISEARCH_WATCHES];
static ngx_queue_t      ngx_http_aisearch_watch_marks;
static ngx_event_t      ngx_http_aisearch_watch_timer;   /* of the marks */
static ngx_event_t      ngx_http_aisearch_watch_last;    /* until all ended */
static ngx_shm_zone_t  *ngx_http_aisearch_watch_zone;
static ngx_uint_t       ngx_http_aisearch_watch_seen;    /* changes in it */


void
ngx_http_aisearch_watch_init(ngx_shm_zone_t *zone)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_HTTP_AISEARCH_WATCHES; i++) {
        ngx_queue_init(&ngx_http_aisearch_watches[i]);
    }

    ngx_queue_init(&ngx_http_aisearch_watch_marks);

    ngx_http_aisearch_watch_timer.handler = ngx_http_aisearch_watch_mark;
    ngx_http_aisearch_watch_timer.data = &ngx_http_aisearch_watch_marks;
    ngx_http_aisearch_watch_timer.log = ngx_cycle->log;
    ngx_http_aisearch_watch_timer.cancelable = 1;

    ngx_http_aisearch_watch_last.handler = ngx_http_aisearch_watch_drain;
    ngx_http_aisearch_watch_last.data = &ngx_http_aisearch_watch_marks;
    ngx_http_aisearch_watch_last.log = ngx_cycle->log;

    ngx_http_aisearch_watch_zone = zone;
}


/* who comes and who leaves */


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

    ngx_http_aisearch_watch_take_first(w, &watcher->ctx->answer);

    if (w->answer
        && !ngx_http_aisearch_watch_knows(w, &watcher->ctx->answer))
    {
        /* what is known here is newer than what it was answered */

        watcher->version--;

        ngx_queue_remove(&watcher->queue);
        ngx_queue_insert_head(&w->watchers, &watcher->queue);
        ngx_post_event(&w->told, &ngx_posted_next_events);
    }

    ngx_http_aisearch_stats_watch(w->account->stats, watcher->stream, 1);

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

    if (ngx_queue_empty(&w->watchers) && !w->telling) {
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
    bucket = &ngx_http_aisearch_watches[key->hash % NGX_HTTP_AISEARCH_WATCHES];

    for (q = ngx_queue_head(bucket);
         q != ngx_queue_sentinel(bucket);
         q = ngx_queue_next(q))
    {
        w = ngx_queue_data(q, ngx_http_aisearch_watch_t, queue);

        if (w->conf == watcher->ctx->conf && ngx_http_aisearch_watch_is(w, key))
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
    w->paced.handler = ngx_http_aisearch_watch_refresh;
    w->version = 1;
    w->marked = ngx_current_msec - NGX_HTTP_AISEARCH_WATCH_RENEWAL;

    w->told.handler = ngx_http_aisearch_watch_tell;
    w->told.data = w;
    w->told.log = ngx_cycle->log;

    ngx_http_aisearch_watch_copy(w, &watcher->key);

    if (ngx_http_aisearch_pace_schedule(w->account->budget, &w->paced,
                                        ngx_current_msec
                                        + NGX_HTTP_AISEARCH_WATCH_MIN)
        != NGX_OK)
    {
        ngx_free(w);
        return NULL;
    }

    ngx_queue_init(&w->watchers);
    ngx_queue_insert_head(&ngx_http_aisearch_watches[w->query.key.hash
                                                  % NGX_HTTP_AISEARCH_WATCHES],
                          &w->queue);
    ngx_queue_insert_head(&ngx_http_aisearch_watch_marks, &w->marks);

    /* at once: until it is marked, nobody wakes us */

    if (ngx_http_aisearch_watch_timer.timer_set) {
        ngx_del_timer(&ngx_http_aisearch_watch_timer);
    }

    ngx_add_timer(&ngx_http_aisearch_watch_timer, 0);

    return w;
}


/* the key is a path without an account: it says what is asked for */

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

    if (w->told.posted) {
        ngx_delete_posted_event(&w->told);
    }

    ngx_queue_remove(&w->queue);
    ngx_queue_remove(&w->marks);

    ngx_http_aisearch_answer_release(w->answer);
    ngx_http_aisearch_answer_release(w->fault);

    ngx_free(w);
}


static ngx_uint_t
ngx_http_aisearch_watch_is(ngx_http_aisearch_watch_t *w,
    ngx_http_aisearch_key_t *key)
{
    ngx_http_aisearch_key_t  *k;

    k = &w->query.key;

    return k->hash == key->hash
           && k->account == key->account
           && k->path.len == key->path.len
           && ngx_memcmp(k->path.data, key->path.data, key->path.len) == 0;
}


ngx_http_aisearch_shared_answer_t *
ngx_http_aisearch_watch_answer(ngx_http_aisearch_watch_t *w)
{
    return w->answer;
}


ngx_http_aisearch_shared_answer_t *
ngx_http_aisearch_watch_fault(ngx_http_aisearch_watch_t *w)
{
    return w->fault;
}


/* what is new */


void
ngx_http_aisearch_watch_hear(ngx_http_aisearch_key_t *key,
    ngx_http_aisearch_shared_answer_t *sa)
{
    ngx_queue_t                 *bucket, *q;
    ngx_http_aisearch_watch_t   *w;
    ngx_http_aisearch_answer_t  *answer;

    if (sa == NULL) {
        return;
    }

    answer = &sa->answer;
    bucket = &ngx_http_aisearch_watches[key->hash % NGX_HTTP_AISEARCH_WATCHES];

    for (q = ngx_queue_head(bucket);
         q != ngx_queue_sentinel(bucket);
         q = ngx_queue_next(q))
    {
        w = ngx_queue_data(q, ngx_http_aisearch_watch_t, queue);

        if (!ngx_http_aisearch_watch_is(w, key)) {
            continue;
        }

        if (answer->verdict.fault != AIS_FAULT_NONE) {
            ngx_http_aisearch_watch_fail(w, answer->verdict.fault,
                                         answer->retry_after);
        } else {
            ngx_http_aisearch_watch_take(w, sa);
        }

        ngx_http_aisearch_watch_schedule(w);
    }
}


/* a watcher brings along what it was answered */

static void
ngx_http_aisearch_watch_take_first(ngx_http_aisearch_watch_t *w,
    ngx_http_aisearch_answer_t *answer)
{
    ngx_http_aisearch_shared_answer_t  *sa;

    if (answer->verdict.fault != AIS_FAULT_NONE) {

        if (w->answer == NULL) {
            ngx_http_aisearch_watch_fail(w, answer->verdict.fault,
                                         answer->retry_after);
            ngx_http_aisearch_watch_schedule(w);
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
        ngx_http_aisearch_watch_schedule(w);
    }

    ngx_http_aisearch_answer_release(sa);
}


static void
ngx_http_aisearch_watch_take(ngx_http_aisearch_watch_t *w,
    ngx_http_aisearch_shared_answer_t *sa)
{
    if (w->answer) {

        if ((ngx_http_aisearch_time_diff_t)
            (sa->answer.fetched - w->answer->answer.fetched) < 0)
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


/* whether it is, but for its age, the one that the watch has */

static ngx_uint_t
ngx_http_aisearch_watch_knows(ngx_http_aisearch_watch_t *w,
    ngx_http_aisearch_answer_t *answer)
{
    ngx_http_aisearch_answer_t  *known;

    known = &w->answer->answer;

    return known->status == answer->status
           && ngx_memcmp(known->etag, answer->etag, NGX_HTTP_AISEARCH_ETAG_LEN)
              == 0;
}


static void
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
 * A budget that is spent, or a pause that the API has asked for, is no fault as
 * long as a stale answer would do.
 */

static void
ngx_http_aisearch_watch_fail(ngx_http_aisearch_watch_t *w,
    enum ais_fault fault, ngx_msec_t retry_after)
{
    ngx_http_aisearch_shared_answer_t  *sa;

    w->failed = 1;
    w->retry = ngx_current_msec
               + ngx_max(retry_after,
                         (ngx_msec_t) w->conf->freshness.valid.error);

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


static void
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

    ngx_post_event(&w->told, &ngx_posted_next_events);
}


/* refreshes */


static void
ngx_http_aisearch_watch_schedule(ngx_http_aisearch_watch_t *w)
{
    ngx_msec_t      due;
    ngx_msec_int_t  left;

    due = ngx_current_msec;

    if (w->answer) {
        left = (ngx_msec_int_t)
               (ngx_http_aisearch_watch_lifetime(w)
                - ngx_http_aisearch_answer_age(&w->answer->answer));

        due += ngx_max(left, 0);
    }

    if (w->failed && (ngx_msec_int_t) (w->retry - due) > 0) {
        due = w->retry;
    }

    (void) ngx_http_aisearch_pace_schedule(w->account->budget, &w->paced, due);
}


static ngx_msec_t
ngx_http_aisearch_watch_lifetime(ngx_http_aisearch_watch_t *w)
{
    ngx_msec_t  lifetime;

    lifetime = ngx_http_aisearch_cache_lifetime(&w->conf->freshness.valid,
                        &w->answer->answer.verdict,
                        ngx_http_aisearch_budget_stretch(w->account->budget));

    return ngx_max(lifetime, NGX_HTTP_AISEARCH_WATCH_MIN);
}


/* looks whether it is still to be fetched, by whom, and whether it may be */

static ngx_msec_t
ngx_http_aisearch_watch_refresh(ngx_http_aisearch_paced_t *paced)
{
    ngx_msec_t                   wait;
    ngx_http_aisearch_watch_t   *w;
    ngx_http_aisearch_budget_t  *budget;
    ngx_http_aisearch_lookup_t   lookup;

    w = (ngx_http_aisearch_watch_t *) paced;
    budget = w->account->budget;

    lookup = ngx_http_aisearch_watch_look_up(w, NGX_HTTP_AISEARCH_ASK);

    if (lookup.fetch == NGX_HTTP_AISEARCH_NOBODY) {
        ngx_http_aisearch_watch_schedule(w);
        return 0;
    }

    if (lookup.fetch == NGX_HTTP_AISEARCH_LEADER) {
        wait = ngx_http_aisearch_pace_enter(budget, paced);

        if (wait) {
            return wait;
        }

        lookup = ngx_http_aisearch_watch_look_up(w, 0);
    }

    /* until it lands, or another worker wakes us, or has died */

    (void) ngx_http_aisearch_pace_schedule(budget, paced,
                                           ngx_current_msec
                                           + NGX_HTTP_AISEARCH_WATCH_MIN);

    if (ngx_http_aisearch_fetches(&lookup)
        && ngx_http_aisearch_flight_start(w->account, &w->query, &lookup)
           != NGX_OK)
    {
        ngx_http_aisearch_pace_give_back(budget);
    }

    return 0;
}


/* marks the entry, and takes over what it has */

static ngx_http_aisearch_lookup_t
ngx_http_aisearch_watch_look_up(ngx_http_aisearch_watch_t *w, ngx_uint_t flags)
{
    ngx_http_aisearch_answer_t  answer;
    ngx_http_aisearch_lookup_t  lookup;

    ngx_memzero(&answer, sizeof(ngx_http_aisearch_answer_t));

    lookup = ngx_http_aisearch_cache_lookup(w->account, &w->query.key,
                                            &w->conf->freshness, 0,
                                            flags|NGX_HTTP_AISEARCH_WATCH,
                                            NULL, &answer);

    if (lookup.serve == AIS_SERVE_NOTHING) {

        /* of what is never fresh, what another worker has fetched */

        if (lookup.expired) {
            ngx_http_aisearch_watch_read(w);
        }

        return lookup;
    }

    if (lookup.serve == AIS_SERVE_FAILED) {
        ngx_http_aisearch_watch_fail(w, answer.verdict.fault,
                                     answer.retry_after);
        return lookup;
    }

    if (w->answer == NULL || !ngx_http_aisearch_watch_knows(w, &answer)) {
        ngx_http_aisearch_watch_read(w);

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
ngx_http_aisearch_watch_read(ngx_http_aisearch_watch_t *w)
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


/* those whose marks are the oldest */

static void
ngx_http_aisearch_watch_mark(ngx_event_t *ev)
{
    ngx_uint_t                  n;
    ngx_queue_t                *q, *marks;
    ngx_msec_int_t              left;
    ngx_http_aisearch_watch_t  *w;

    marks = &ngx_http_aisearch_watch_marks;

    for (n = 0; !ngx_queue_empty(marks); n++) {
        q = ngx_queue_head(marks);
        w = ngx_queue_data(q, ngx_http_aisearch_watch_t, marks);

        left = (ngx_msec_int_t)
               (w->marked + NGX_HTTP_AISEARCH_WATCH_RENEWAL - ngx_current_msec);

        if (left > 0 || n == NGX_HTTP_AISEARCH_WATCH_SLICE) {
            ngx_add_timer(ev, left > 0 ? (ngx_msec_t) left : 1);
            return;
        }

        w->marked = ngx_current_msec;

        ngx_queue_remove(q);
        ngx_queue_insert_tail(marks, q);

        (void) ngx_http_aisearch_watch_look_up(w, NGX_HTTP_AISEARCH_ASK);
    }
}


/* some entries have changed, or their leases have ended: which ones? */

void
ngx_http_aisearch_watch_look(void)
{
    uint32_t                    hashes[NGX_HTTP_AISEARCH_CHANGES];
    ngx_int_t                   rc;
    ngx_uint_t                  i, n;
    ngx_queue_t                *q, *bucket;
    ngx_http_aisearch_watch_t  *w;

    if (ngx_queue_empty(&ngx_http_aisearch_watch_marks)) {
        return;
    }

    rc = ngx_http_aisearch_cache_changes(ngx_http_aisearch_watch_zone,
                                         &ngx_http_aisearch_watch_seen,
                                         hashes, &n);

    if (rc != NGX_OK) {

        /* too many to say: all that we watch is to be marked again, now */

        for (q = ngx_queue_head(&ngx_http_aisearch_watch_marks);
             q != ngx_queue_sentinel(&ngx_http_aisearch_watch_marks);
             q = ngx_queue_next(q))
        {
            w = ngx_queue_data(q, ngx_http_aisearch_watch_t, marks);
            w->marked = ngx_current_msec - NGX_HTTP_AISEARCH_WATCH_RENEWAL;
        }

        if (ngx_http_aisearch_watch_timer.timer_set) {
            ngx_del_timer(&ngx_http_aisearch_watch_timer);
        }

        ngx_http_aisearch_watch_mark(&ngx_http_aisearch_watch_timer);
        return;
    }

    for (i = 0; i < n; i++) {
        bucket = &ngx_http_aisearch_watches[hashes[i]
                                            % NGX_HTTP_AISEARCH_WATCHES];

        for (q = ngx_queue_head(bucket);
             q != ngx_queue_sentinel(bucket);
             q = ngx_queue_next(q))
        {
            w = ngx_queue_data(q, ngx_http_aisearch_watch_t, queue);

            if (w->query.key.hash == hashes[i]) {
                (void) ngx_http_aisearch_watch_look_up(w,
                                                       NGX_HTTP_AISEARCH_ASK);
                ngx_http_aisearch_watch_schedule(w);
            }
        }
    }
}


/* telling those who watch */


static void
ngx_http_aisearch_watch_tell(ngx_event_t *ev)
{
    ngx_uint_t                    n;
    ngx_queue_t                  *q;
    ngx_http_aisearch_watch_t    *w;
    ngx_http_aisearch_watcher_t  *watcher;

    w = ev->data;

    w->telling = 1;

    for (n = 0; !ngx_queue_empty(&w->watchers); n++) {
        q = ngx_queue_head(&w->watchers);
        watcher = ngx_queue_data(q, ngx_http_aisearch_watcher_t, queue);

        if (watcher->version == w->version) {
            break;
        }

        if (n == NGX_HTTP_AISEARCH_WATCH_SLICE) {
            ngx_post_event(&w->told, &ngx_posted_next_events);
            break;
        }

        watcher->version = w->version;

        ngx_queue_remove(q);
        ngx_queue_insert_tail(&w->watchers, q);

        ngx_http_aisearch_watcher_tell(watcher);
    }

    w->telling = 0;

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


/* keeps the worker, which leaves when no timer is left, until all have ended */

static void
ngx_http_aisearch_watch_drain(ngx_event_t *ev)
{
    if (!ngx_queue_empty(&ngx_http_aisearch_watch_marks)) {
        ngx_add_timer(ev, 1);
    }
}
