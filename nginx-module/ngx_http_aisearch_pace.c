/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Paces the refreshes of watched entries, so that they take at most half of the
 * budget, spread evenly, and leave the rest for other lookups.
 *
 * Each worker has a tree per budget with its watches ordered by due time.  The
 * shared memory has the time when the next refresh may start, and the worker
 * with the earliest due time, which starts it.  So the earliest due entry is
 * refreshed first in any worker, and no entry is refreshed twice while another
 * one waits.
 */


#include "ngx_http_aisearch_budget.h"
#include "ngx_http_aisearch_clock.h"
#include "ngx_http_aisearch_pace.h"


/* refreshes handled in one iteration of the event loop */
#define NGX_HTTP_AISEARCH_PACE_BATCH     64

/* a worker that does not take its turn for this time loses it, ms */
#define NGX_HTTP_AISEARCH_PACE_PATIENCE  1500


static void ngx_http_aisearch_pace_init(ngx_http_aisearch_pace_t *pace);
static void ngx_http_aisearch_pace_insert(ngx_http_aisearch_pace_t *pace,
    ngx_http_aisearch_paced_t *paced);
static void ngx_http_aisearch_pace_remove(ngx_http_aisearch_pace_t *pace,
    ngx_http_aisearch_paced_t *paced);
static void ngx_http_aisearch_pace_handler(ngx_event_t *ev);
static void ngx_http_aisearch_pace_wait(ngx_http_aisearch_pace_t *pace,
    ngx_msec_t wait);
static int64_t ngx_http_aisearch_pace_interval(ngx_http_aisearch_budget_t *b);


void
ngx_http_aisearch_pace_schedule(ngx_http_aisearch_budget_t *budget,
    ngx_http_aisearch_paced_t *paced, ngx_msec_t due)
{
    ngx_msec_int_t             wait;
    ngx_http_aisearch_pace_t  *pace;

    pace = &budget->pace;

    if (pace->tree.root == NULL) {
        ngx_http_aisearch_pace_init(pace);
    }

    ngx_http_aisearch_pace_cancel(budget, paced);

    paced->due = due;

    ngx_http_aisearch_pace_insert(pace, paced);

    wait = (ngx_msec_int_t) (due - ngx_current_msec);

    ngx_http_aisearch_pace_wait(pace, wait > 0 ? (ngx_msec_t) wait : 0);
}


/* sets the key each time, as ngx_rbtree_delete() clears it */

static void
ngx_http_aisearch_pace_insert(ngx_http_aisearch_pace_t *pace,
    ngx_http_aisearch_paced_t *paced)
{
    paced->node.key = paced->due;
    paced->scheduled = 1;

    ngx_rbtree_insert(&pace->tree, &paced->node);
}


void
ngx_http_aisearch_pace_cancel(ngx_http_aisearch_budget_t *budget,
    ngx_http_aisearch_paced_t *paced)
{
    if (paced->scheduled) {
        ngx_http_aisearch_pace_remove(&budget->pace, paced);
    }
}


static void
ngx_http_aisearch_pace_remove(ngx_http_aisearch_pace_t *pace,
    ngx_http_aisearch_paced_t *paced)
{
    paced->scheduled = 0;

    ngx_rbtree_delete(&pace->tree, &paced->node);
}


static void
ngx_http_aisearch_pace_init(ngx_http_aisearch_pace_t *pace)
{
    ngx_rbtree_init(&pace->tree, &pace->sentinel,
                    ngx_rbtree_insert_timer_value);

    pace->timer.handler = ngx_http_aisearch_pace_handler;
    pace->timer.data = pace;
    pace->timer.log = ngx_cycle->log;
    pace->timer.cancelable = 1;
}


/* handles due refreshes, the earliest first, until one has to wait */

static void
ngx_http_aisearch_pace_handler(ngx_event_t *ev)
{
    ngx_msec_t                  wait;
    ngx_uint_t                  n;
    ngx_msec_int_t              left;
    ngx_http_aisearch_pace_t   *pace;
    ngx_http_aisearch_paced_t  *paced;

    pace = ev->data;

    for (n = 0; pace->tree.root != &pace->sentinel; n++) {

        paced = (ngx_http_aisearch_paced_t *)
                ngx_rbtree_min(pace->tree.root, &pace->sentinel);

        left = (ngx_msec_int_t) (paced->due - ngx_current_msec);

        if (left > 0) {
            ngx_http_aisearch_pace_wait(pace, left);
            return;
        }

        if (n == NGX_HTTP_AISEARCH_PACE_BATCH) {
            ngx_http_aisearch_pace_wait(pace, 1);
            return;
        }

        ngx_http_aisearch_pace_remove(pace, paced);

        wait = paced->handler(paced);

        if (wait) {
            ngx_http_aisearch_pace_insert(pace, paced);
            ngx_http_aisearch_pace_wait(pace, wait);
            return;
        }
    }
}


/* sets the timer, unless it expires earlier */

static void
ngx_http_aisearch_pace_wait(ngx_http_aisearch_pace_t *pace, ngx_msec_t wait)
{
    if (pace->timer.timer_set) {

        if ((ngx_msec_int_t)
            (pace->timer.timer.key - (ngx_current_msec + wait)) <= 0)
        {
            return;
        }

        ngx_del_timer(&pace->timer);
    }

    ngx_add_timer(&pace->timer, wait);
}


ngx_msec_t
ngx_http_aisearch_pace_enter(ngx_http_aisearch_budget_t *budget,
    ngx_http_aisearch_paced_t *paced)
{
    int64_t                    now, due, wait, interval;
    ngx_http_aisearch_turn_t  *turn;

    now = ais_clock();
    due = now + (ngx_msec_int_t) (paced->due - ngx_current_msec);

    interval = ngx_http_aisearch_pace_interval(budget);

    turn = &budget->slot->turn;

    ngx_shmtx_lock(&budget->shpool->mutex);

    /* a reload may have changed the limits */

    turn->next = ngx_min(turn->next, now + interval);

    wait = turn->next - now;

    if (turn->claimed
        && turn->worker != ngx_pid
        && turn->due <= due
        && now - ngx_max(turn->next, turn->claimed)
           < NGX_HTTP_AISEARCH_PACE_PATIENCE)
    {
        /* another worker has waited longer, try again after it */
        wait = ngx_max(wait, 0) + 10;

    } else if (wait > 0) {
        turn->due = due;
        turn->claimed = now;
        turn->worker = ngx_pid;

    } else {
        turn->next = now + interval;
        turn->claimed = 0;
        wait = 0;

        budget->pace.taken = turn->next;
    }

    ngx_shmtx_unlock(&budget->shpool->mutex);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "aisearch pace: interval:%L wait:%L", interval, wait);

    return (ngx_msec_t) wait;
}


void
ngx_http_aisearch_pace_give_back(ngx_http_aisearch_budget_t *budget)
{
    ngx_http_aisearch_turn_t  *turn;

    turn = &budget->slot->turn;

    ngx_shmtx_lock(&budget->shpool->mutex);

    /* unless another worker has taken the next turn */

    if (turn->next == budget->pace.taken) {
        turn->next = ais_clock();
    }

    ngx_shmtx_unlock(&budget->shpool->mutex);
}


/* returns ms between two refreshes that together use half of each limit */

static int64_t
ngx_http_aisearch_pace_interval(ngx_http_aisearch_budget_t *b)
{
    int64_t     interval, longest;
    ngx_uint_t  i;

    longest = 1;

    for (i = 0; i < b->nlimits; i++) {
        interval = b->limits[i].interval * 2 / b->limits[i].calls;
        longest = ngx_max(longest, interval);
    }

    return longest;
}
