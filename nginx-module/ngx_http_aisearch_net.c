/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Runs the library's client in nginx's event loop.  A worker has one client
 * for each set of trusted certificates, shared by all accounts that trust it.
 */


#include "ngx_http_aisearch_conf.h"

#include "ais_error.h"


/*
 * With an API without HTTP/2, a burst must not use up the worker's connections.
 * This is slightly more than the default budget allows in a second.
 */
#define NGX_HTTP_AISEARCH_NET_CONNECTIONS  128


struct ngx_http_aisearch_net_s {
    ngx_str_t                      trusted_certificate;  /* empty: system's */
    ngx_uint_t                     tls;
    struct ais_client             *client;
    ngx_event_t                    timer;
    ngx_connection_t              *sentinel;
    ngx_uint_t                     closed;
};


static ngx_http_aisearch_net_t *ngx_http_aisearch_net_find(
    ngx_http_aisearch_main_conf_t *amcf, ngx_str_t *trusted_certificate);
static struct ais_client *ngx_http_aisearch_net_open(
    ngx_http_aisearch_net_t *net, struct ais_error *err);
static void ngx_http_aisearch_net_global_cleanup(void *data);
static ngx_connection_t *ngx_http_aisearch_net_sentinel(
    ngx_http_aisearch_net_t *net, ngx_log_t *log);

static int ngx_http_aisearch_net_watch(void *data, int fd, unsigned events,
    void **slot);
static ngx_int_t ngx_http_aisearch_net_want(ngx_event_t *ev, ngx_int_t event,
    ngx_uint_t wanted, ngx_uint_t flags);
static void ngx_http_aisearch_net_unwatch(ngx_connection_t *c,
    ngx_uint_t flags);
static void ngx_http_aisearch_net_socket_handler(ngx_event_t *ev);

static void ngx_http_aisearch_net_set_timer(void *data, int64_t ms);
static void ngx_http_aisearch_net_timer_handler(ngx_event_t *ev);


/*
 * Called in the master, so that unusable certificates are a configuration error
 * instead of an error in each worker.
 */

ngx_int_t
ngx_http_aisearch_net_configure(ngx_conf_t *cf,
    ngx_http_aisearch_main_conf_t *amcf)
{
    ngx_uint_t                     i;
    struct ais_error               err;
    struct ais_client             *client;
    ngx_pool_cleanup_t            *cln;
    ngx_http_aisearch_net_t       *net, **p;
    ngx_http_aisearch_account_t  **accounts;

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    if (ais_client_global_init() != 0) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "aisearch: could not initialize libcurl");
        return NGX_ERROR;
    }

    cln->handler = ngx_http_aisearch_net_global_cleanup;

    accounts = amcf->accounts.elts;

    for (i = 0; i < amcf->accounts.nelts; i++) {

        net = ngx_http_aisearch_net_find(amcf,
                                         &accounts[i]->trusted_certificate);
        if (net == NULL) {
            net = ngx_pcalloc(cf->pool, sizeof(ngx_http_aisearch_net_t));
            if (net == NULL) {
                return NGX_ERROR;
            }

            net->trusted_certificate = accounts[i]->trusted_certificate;

            p = ngx_array_push(&amcf->nets);
            if (p == NULL) {
                return NGX_ERROR;
            }

            *p = net;
        }

        accounts[i]->net = net;

        if (net->tls
            || !accounts[i]->target.url.tls
            || !accounts[i]->target.verify_peer)
        {
            continue;
        }

        net->tls = 1;

        client = ngx_http_aisearch_net_open(net, &err);

        if (client == NULL) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "aisearch_account \"%V\": %s in %s:%ui",
                          &accounts[i]->name, err.text,
                          accounts[i]->trusted_file,
                          accounts[i]->trusted_line);
            return NGX_ERROR;
        }

        ais_client_destroy(client);
    }

    return NGX_OK;
}


void
ngx_http_aisearch_net_init(ngx_cycle_t *cycle,
    ngx_http_aisearch_main_conf_t *amcf)
{
    ngx_uint_t                  i;
    struct ais_error            err;
    ngx_http_aisearch_net_t   **nets;

    nets = amcf->nets.elts;

    for (i = 0; i < amcf->nets.nelts; i++) {

        nets[i]->timer.handler = ngx_http_aisearch_net_timer_handler;
        nets[i]->timer.data = nets[i];
        nets[i]->timer.log = cycle->log;

        nets[i]->client = ngx_http_aisearch_net_open(nets[i], &err);

        if (nets[i]->client == NULL) {
            /* the rest of the server must keep working */
            ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                          "aisearch: could not create a client: %s", err.text);
            continue;
        }

        nets[i]->sentinel = ngx_http_aisearch_net_sentinel(nets[i],
                                                           cycle->log);
    }
}


void
ngx_http_aisearch_net_done(ngx_http_aisearch_main_conf_t *amcf)
{
    ngx_uint_t                  i;
    ngx_http_aisearch_net_t   **nets;

    nets = amcf->nets.elts;

    for (i = 0; i < amcf->nets.nelts; i++) {

        ais_client_destroy(nets[i]->client);
        nets[i]->client = NULL;

        if (nets[i]->timer.timer_set) {
            ngx_del_timer(&nets[i]->timer);
        }

        if (nets[i]->sentinel) {
            ngx_close_connection(nets[i]->sentinel);
            nets[i]->sentinel = NULL;
        }
    }
}


struct ais_client *
ngx_http_aisearch_net_client(ngx_http_aisearch_net_t *net)
{
    return net->closed ? NULL : net->client;
}


static ngx_http_aisearch_net_t *
ngx_http_aisearch_net_find(ngx_http_aisearch_main_conf_t *amcf,
    ngx_str_t *trusted_certificate)
{
    ngx_uint_t                  i;
    ngx_http_aisearch_net_t   **nets;

    nets = amcf->nets.elts;

    for (i = 0; i < amcf->nets.nelts; i++) {
        if (ngx_http_aisearch_equal(&nets[i]->trusted_certificate,
                                    trusted_certificate))
        {
            return nets[i];
        }
    }

    return NULL;
}


/* reads the certificates now, since doing it later would block a worker */

static struct ais_client *
ngx_http_aisearch_net_open(ngx_http_aisearch_net_t *net, struct ais_error *err)
{
    struct ais_client          *client;
    struct ais_driver           driver;
    struct ais_client_options   options;

    driver.data = net;
    driver.watch = ngx_http_aisearch_net_watch;
    driver.timer = ngx_http_aisearch_net_set_timer;

    ngx_memzero(&options, sizeof(struct ais_client_options));

    options.max_host_connections = NGX_HTTP_AISEARCH_NET_CONNECTIONS;

    if (net->trusted_certificate.len) {
        options.ca_file = (char *) net->trusted_certificate.data;
    }

    client = ais_client_create(&driver, &options, err);

    if (client && net->tls && ais_client_load_ca(client, NULL, err) != 0) {
        ais_client_destroy(client);
        return NULL;
    }

    return client;
}


static void
ngx_http_aisearch_net_global_cleanup(void *data)
{
    ais_client_global_cleanup();
}


/*
 * worker_shutdown_timeout closes open connections, but a fetch that pauses
 * before a retry has none.  This dummy connection is always open, so that the
 * shutdown is noticed anyway.
 */

static ngx_connection_t *
ngx_http_aisearch_net_sentinel(ngx_http_aisearch_net_t *net, ngx_log_t *log)
{
    ngx_fd_t           fd;
    ngx_connection_t  *c;

    fd = ngx_open_file("/dev/null", NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        ngx_log_error(NGX_LOG_ALERT, log, ngx_errno,
                      ngx_open_file_n " \"/dev/null\" failed");
        return NULL;
    }

    c = ngx_get_connection(fd, log);

    if (c == NULL) {
        (void) ngx_close_file(fd);
        return NULL;
    }

    c->data = net;
    c->read->log = log;
    c->write->log = log;
    c->read->handler = ngx_http_aisearch_net_socket_handler;

    return c;
}


/* the driver: sockets */


static int
ngx_http_aisearch_net_watch(void *data, int fd, unsigned events, void **slot)
{
    ngx_http_aisearch_net_t  *net = data;

    ngx_connection_t  *c;

    c = *slot;

    if (events == 0) {
        if (c) {
            ngx_http_aisearch_net_unwatch(c, fd == -1 ? NGX_CLOSE_EVENT : 0);
            *slot = NULL;
        }

        return 0;
    }

    if (c == NULL) {
        c = ngx_get_connection(fd, ngx_cycle->log);
        if (c == NULL) {
            return -1;
        }

        c->data = net;
        c->number = ngx_atomic_fetch_add(ngx_connection_counter, 1);
        c->read->log = c->log;
        c->write->log = c->log;
        c->read->handler = ngx_http_aisearch_net_socket_handler;
        c->write->handler = ngx_http_aisearch_net_socket_handler;

        *slot = c;
    }

    if (ngx_http_aisearch_net_want(c->read, NGX_READ_EVENT, events & AIS_IN, 0)
        != NGX_OK
        || ngx_http_aisearch_net_want(c->write, NGX_WRITE_EVENT,
                                      events & AIS_OUT, 0)
           != NGX_OK)
    {
        ngx_http_aisearch_net_unwatch(c, 0);
        *slot = NULL;
        return -1;
    }

    return 0;
}


static ngx_int_t
ngx_http_aisearch_net_want(ngx_event_t *ev, ngx_int_t event, ngx_uint_t wanted,
    ngx_uint_t flags)
{
    if (wanted && !ev->active) {
        return ngx_add_event(ev, event, NGX_LEVEL_EVENT);
    }

    if (!wanted && ev->active) {
        return ngx_del_event(ev, event, flags);
    }

    return NGX_OK;
}


/*
 * The descriptor belongs to libcurl: it stays open and may be reused, unless
 * the flags indicate that it is already closed.
 */

static void
ngx_http_aisearch_net_unwatch(ngx_connection_t *c, ngx_uint_t flags)
{
    (void) ngx_http_aisearch_net_want(c->read, NGX_READ_EVENT, 0, flags);
    (void) ngx_http_aisearch_net_want(c->write, NGX_WRITE_EVENT, 0, flags);

    if (c->read->posted) {
        ngx_delete_posted_event(c->read);
    }

    if (c->write->posted) {
        ngx_delete_posted_event(c->write);
    }

    ngx_free_connection(c);

    c->fd = (ngx_socket_t) -1;
}


static void
ngx_http_aisearch_net_socket_handler(ngx_event_t *ev)
{
    ngx_connection_t         *c;
    ngx_http_aisearch_net_t  *net;

    c = ev->data;
    net = c->data;

    if (c->close) {
        /* worker_shutdown_timeout has passed */
        net->closed = 1;
        ais_client_abort(net->client);
        return;
    }

    ais_client_socket(net->client, c->fd, ev->write ? AIS_OUT : AIS_IN);
}


/* the driver: time */


static void
ngx_http_aisearch_net_set_timer(void *data, int64_t ms)
{
    ngx_http_aisearch_net_t  *net = data;

    /* ngx_add_timer() alone would keep an old timer close to the new one */

    if (net->timer.timer_set) {
        ngx_del_timer(&net->timer);
    }

    if (ms < 0) {
        return;
    }

    /* an exiting worker waits for fetches, but not for idle connections */

    net->timer.cancelable = (net->client == NULL
                             || ais_client_inflight(net->client) == 0);

    ngx_add_timer(&net->timer, (ngx_msec_t) ms);
}


static void
ngx_http_aisearch_net_timer_handler(ngx_event_t *ev)
{
    ngx_http_aisearch_net_t  *net = ev->data;

    ais_client_timeout(net->client);
}
