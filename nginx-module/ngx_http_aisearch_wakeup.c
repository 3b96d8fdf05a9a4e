/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * A worker that has stored an answer wakes up the workers that wait for it.
 * Each worker has an eventfd, created in the master so that all workers of the
 * cycle inherit it.  Workers of another cycle cannot be woken up, they find the
 * answer by their timers.  So errors here are logged and otherwise ignored.
 */


#include "ngx_http_aisearch_wakeup.h"

#include <sys/eventfd.h>


static void ngx_http_aisearch_wakeup_close(void *data);
static void ngx_http_aisearch_wakeup_handler(ngx_event_t *ev);


static ngx_array_t                  *ngx_http_aisearch_wakeups; /* of int */
static ngx_connection_t             *ngx_http_aisearch_wakeup_connection;
static ngx_http_aisearch_wakeup_pt   ngx_http_aisearch_wakeup_notify;


void
ngx_http_aisearch_wakeup_create(ngx_cycle_t *cycle)
{
    int                 *fd;
    ngx_int_t            i;
    ngx_array_t         *wakeups;
    ngx_core_conf_t     *ccf;
    ngx_pool_cleanup_t  *cln;

    ccf = (ngx_core_conf_t *) ngx_get_conf(cycle->conf_ctx, ngx_core_module);

    /* the descriptors of the last cycle are closed with its pool */

    ngx_http_aisearch_wakeups = NULL;

    wakeups = ngx_array_create(cycle->pool, ccf->worker_processes, sizeof(int));
    if (wakeups == NULL) {
        return;
    }

    cln = ngx_pool_cleanup_add(cycle->pool, 0);
    if (cln == NULL) {
        return;
    }

    cln->handler = ngx_http_aisearch_wakeup_close;
    cln->data = wakeups;

    ngx_http_aisearch_wakeups = wakeups;

    for (i = 0; i < ccf->worker_processes; i++) {

        fd = ngx_array_push(wakeups);
        *fd = eventfd(0, EFD_NONBLOCK|EFD_CLOEXEC);

        if (*fd == -1) {
            ngx_log_error(NGX_LOG_ALERT, cycle->log, ngx_errno,
                          "aisearch: eventfd() failed");
            wakeups->nelts--;
            return;
        }
    }
}


void
ngx_http_aisearch_wakeup_listen(ngx_cycle_t *cycle,
    ngx_http_aisearch_wakeup_pt handler)
{
    int               *fds;
    ngx_connection_t  *c;

    if (ngx_http_aisearch_wakeups == NULL
        || ngx_worker >= ngx_http_aisearch_wakeups->nelts)
    {
        return;
    }

    fds = ngx_http_aisearch_wakeups->elts;

    c = ngx_get_connection(fds[ngx_worker], cycle->log);
    if (c == NULL) {
        return;
    }

    c->read->handler = ngx_http_aisearch_wakeup_handler;
    c->read->log = cycle->log;

    /* on shutdown, nginx calls the read handlers of idle connections */

    c->idle = 1;

    if (ngx_add_event(c->read, NGX_READ_EVENT, NGX_LEVEL_EVENT) != NGX_OK) {
        ngx_free_connection(c);
        c->fd = (ngx_socket_t) -1;
        return;
    }

    ngx_http_aisearch_wakeup_connection = c;
    ngx_http_aisearch_wakeup_notify = handler;
}


void
ngx_http_aisearch_wakeup_done(void)
{
    ngx_connection_t  *c;

    c = ngx_http_aisearch_wakeup_connection;

    if (c == NULL) {
        return;
    }

    ngx_http_aisearch_wakeup_connection = NULL;

    (void) ngx_del_event(c->read, NGX_READ_EVENT, 0);

    ngx_free_connection(c);
    c->fd = (ngx_socket_t) -1;
}


uint64_t
ngx_http_aisearch_wakeup_bit(void)
{
    return (uint64_t) 1 << (ngx_worker % 64);
}


void
ngx_http_aisearch_wakeup_send(uint64_t workers)
{
    int         *fds;
    ssize_t      n;
    uint64_t     one;
    ngx_uint_t   i;

    if (workers == 0 || ngx_http_aisearch_wakeups == NULL) {
        return;
    }

    fds = ngx_http_aisearch_wakeups->elts;
    one = 1;

    for (i = 0; i < ngx_http_aisearch_wakeups->nelts; i++) {

        if (i == ngx_worker || !(workers & ((uint64_t) 1 << (i % 64)))) {
            continue;
        }

        ngx_log_debug1(NGX_LOG_DEBUG_EVENT, ngx_cycle->log, 0,
                       "aisearch wakeup: sent worker:%ui", i);

        /* NGX_EAGAIN: the counter is full, so a wakeup is pending anyway */

        n = write(fds[i], &one, sizeof(uint64_t));

        if (n == -1 && ngx_errno != NGX_EAGAIN) {
            ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, ngx_errno,
                          "aisearch: write() to wake a worker failed");
        }
    }
}


static void
ngx_http_aisearch_wakeup_close(void *data)
{
    ngx_array_t  *a = data;

    int         *fds;
    ngx_uint_t   i;

    fds = a->elts;

    for (i = 0; i < a->nelts; i++) {
        (void) close(fds[i]);
    }
}


static void
ngx_http_aisearch_wakeup_handler(ngx_event_t *ev)
{
    ssize_t            n;
    uint64_t           count;
    ngx_connection_t  *c;

    c = ev->data;

    /* a spurious wakeup does no harm */

    n = read(c->fd, &count, sizeof(uint64_t));
    (void) n;

    ngx_log_debug1(NGX_LOG_DEBUG_EVENT, ev->log, 0,
                   "aisearch wakeup: heard worker:%ui", ngx_worker);

    ngx_http_aisearch_wakeup_notify();
}
