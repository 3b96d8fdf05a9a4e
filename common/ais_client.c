/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Drives libcurl's multi handle: passes events from the caller's event loop to libcurl, and libcurl's results to the
 * fetches.
 */

#include "ais_client.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "ais_ca.h"
#include "ais_clock.h"
#include "ais_fetch.h"

#define MAX_STREAMS 100

/* The number of connections that are kept if there is no limit per host. libcurl's default depends on the number of
 * fetches, and would close after each burst the connections that the next burst needs. */
#define MAX_CONNECTIONS 32

/* Each call into the client is enclosed in enter() and leave(). Callbacks may call the client again; only the outermost
 * call sets the timer. */

static void enter(struct ais_client *client)
{
    client->depth++;
}

static void leave(struct ais_client *client)
{
    int64_t at = ais_earlier(client->curl_at, client->due_at);

    if (--client->depth > 0 || at == client->armed_at || client->driver.timer == NULL)
        return;

    client->armed_at = at;
    client->driver.timer(client->driver.data, at == AIS_NEVER ? -1 : ais_clock_until(at));
}

/* libcurl's callbacks. */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *data, void *slot)
{
    struct ais_client *client = data;
    struct ais_fetch *fetch = NULL;
    unsigned events = 0;
    void *kept = slot;

    if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
        events |= AIS_IN;
    if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
        events |= AIS_OUT;
    if (events == 0 && fcntl(fd, F_GETFD) == -1)
        fd = -1;
    if (client->driver.watch(client->driver.data, fd, events, &kept) != 0 && events != 0) {
        /* If this function returned an error, libcurl would end all transfers. */
        (void) curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **) &fetch);
        if (fetch != NULL)
            ais_fetch_doom(fetch, "out of connections: the event loop cannot watch another socket");
    }
    if (events != 0 && kept != slot)
        (void) curl_multi_assign(client->multi, fd, kept);
    return 0;
}

static int on_timer(CURLM *multi, long ms, void *data)
{
    struct ais_client *client = data;

    (void) multi;
    client->curl_at = ms < 0 ? AIS_NEVER : ais_clock() + ms;
    return 0;
}

/* The multi handle. */

static void set_callbacks(struct ais_client *client)
{
    if (client->driver.watch == NULL)
        return;
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
}

static int open_multi(struct ais_client *client)
{
    long host = client->max_host_connections;

    client->multi = curl_multi_init();
    if (client->multi == NULL)
        return -1;

    set_callbacks(client);
    curl_multi_setopt(client->multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
    curl_multi_setopt(client->multi, CURLMOPT_MAX_CONCURRENT_STREAMS, client->max_streams);
    curl_multi_setopt(client->multi, CURLMOPT_MAX_HOST_CONNECTIONS, host);
    curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, host > 0 ? host : MAX_CONNECTIONS);
#if LIBCURL_VERSION_NUM >= 0x081400
    curl_multi_setopt(client->multi, CURLMOPT_QUICK_EXIT, 1L); /* CURLOPT_QUICK_EXIT is not enough since 8.20 */
#endif
    return 0;
}

/* Replaces the multi handle after it has run out of memory: libcurl 7.88 may have damaged its table of sockets, and
 * could crash later. */
static void start_over(struct ais_client *client)
{
    client->broken = false;
    for (struct ais_fetch *fetch = client->first; fetch != NULL; fetch = fetch->next)
        (void) curl_multi_remove_handle(client->multi, fetch->transfer.easy);
    (void) curl_multi_cleanup(client->multi);
    ais_connection_remove_all(&client->connections);
    client->curl_at = AIS_NEVER;
    (void) open_multi(client);
    ais_fetch_doom_all(client, "out of memory");
}

/* Handles the transfers that ended in the last call of libcurl. */
static void take_messages(struct ais_client *client)
{
    CURLMsg *msg;
    int n;

    /* Read one message at a time: a callback may cancel any fetch, which removes its message from the queue. */
    while ((msg = curl_multi_info_read(client->multi, &n)) != NULL) {
        struct ais_fetch *fetch = NULL;

        (void) curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **) &fetch);
        ais_fetch_conclude(fetch, msg->data.result);
    }
    if (client->broken)
        start_over(client);
    ais_fetch_settle(client);
}

static void run_libcurl(struct ais_client *client, curl_socket_t fd, int events)
{
    int n;

    client->called_at = ais_clock();
    client->broken = curl_multi_socket_action(client->multi, fd, events, &n) != CURLM_OK;
    take_messages(client);
}

/* The interface. */

int ais_client_global_init(void)
{
    return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? 0 : -1;
}

void ais_client_global_cleanup(void)
{
    curl_global_cleanup();
}

static int check_libcurl(struct ais_error *err)
{
    const curl_version_info_data *v = curl_version_info(CURLVERSION_NOW);

    if ((v->features & CURL_VERSION_SSL) == 0 || (v->features & CURL_VERSION_ASYNCHDNS) == 0) {
        ais_error_set(err, "libcurl %s lacks TLS or asynchronous name resolution; install one that has both",
                      v->version);
        return -1;
    }
    return 0;
}

static uint64_t seed(void)
{
    uint64_t n;

    if (getrandom(&n, sizeof(n), GRND_NONBLOCK) != (ssize_t) sizeof(n))
        n = (uint64_t) ais_clock() ^ (uint64_t) (uintptr_t) &n;
    return n | 1; /* zero would stay zero */
}

struct ais_client *ais_client_create(const struct ais_driver *driver, const struct ais_client_options *options,
                                     struct ais_error *err)
{
    struct ais_client *client;

    if (check_libcurl(err) != 0)
        return NULL;

    client = calloc(1, sizeof(*client));
    if (client == NULL) {
        ais_error_set(err, "out of memory");
        return NULL;
    }
    if (driver != NULL)
        client->driver = *driver;
    client->max_host_connections = (long) options->max_host_connections;
    client->max_streams = options->max_streams > 0 ? (long) options->max_streams : MAX_STREAMS;
    client->random = seed();
    client->curl_at = client->due_at = client->armed_at = AIS_NEVER;
    client->ca_file = options->ca_file != NULL ? strdup(options->ca_file) : NULL;
    if ((options->ca_file != NULL && client->ca_file == NULL) || open_multi(client) != 0) {
        ais_error_set(err, "out of memory");
        ais_client_destroy(client);
        return NULL;
    }
    return client;
}

int ais_client_load_ca(struct ais_client *client, const char *ca_file, struct ais_error *err)
{
    int rc;

    /* The driver must not see the sockets and timers of this. */
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, NULL);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, NULL);
    rc = ais_ca_load(client->multi, ca_file != NULL ? ca_file : client->ca_file, err);
    set_callbacks(client);
    return rc;
}

void ais_client_destroy(struct ais_client *client)
{
    if (client == NULL)
        return;

    enter(client);
    while (client->first != NULL)
        ais_fetch_drop(client->first);
    (void) curl_multi_cleanup(client->multi);
    ais_connection_remove_all(&client->connections);
    client->curl_at = AIS_NEVER;
    leave(client);
    free(client->ca_file);
    free(client);
}

struct ais_fetch *ais_client_fetch(struct ais_client *client, const struct ais_target *target,
                                   const struct ais_credential *cred, const char *path, ais_fetch_done done, void *data)
{
    struct ais_fetch *fetch;

    if (client->multi == NULL && open_multi(client) != 0)
        return NULL;

    fetch = ais_fetch_create(client, target, cred, path, done, data);
    if (fetch == NULL)
        return NULL;

    enter(client);
    if (ais_fetch_start(fetch) != 0)
        fetch = NULL;
    leave(client);
    return fetch;
}

void ais_fetch_limit(struct ais_fetch *fetch, int64_t ms)
{
    struct ais_client *client = fetch->client;

    enter(client);
    ais_fetch_end_by(fetch, ais_clock() + ms);
    leave(client);
}

void ais_fetch_cancel(struct ais_fetch *fetch)
{
    struct ais_client *client = fetch->client;

    enter(client);
    ais_fetch_drop(fetch);
    leave(client);
}

void ais_client_abort(struct ais_client *client)
{
    enter(client);
    ais_fetch_doom_all(client, "aborted: the process is shutting down");
    ais_fetch_settle(client);
    leave(client);
}

size_t ais_client_inflight(const struct ais_client *client)
{
    return client->inflight;
}

void ais_client_socket(struct ais_client *client, int fd, unsigned events)
{
    int select = ((events & AIS_IN) ? CURL_CSELECT_IN : 0) | ((events & AIS_OUT) ? CURL_CSELECT_OUT : 0);

    enter(client);
    run_libcurl(client, fd, select);
    leave(client);
}

void ais_client_timeout(struct ais_client *client)
{
    enter(client);
    client->armed_at = AIS_NEVER; /* the driver's timer has run out */
    if (client->curl_at <= ais_clock()) {
        client->curl_at = AIS_NEVER;
        run_libcurl(client, CURL_SOCKET_TIMEOUT, 0);
    }
    ais_fetch_expire(client);
    leave(client);
}

void ais_client_perform(struct ais_client *client)
{
    int n;

    enter(client);
    client->called_at = ais_clock();
    (void) curl_multi_perform(client->multi, &n); /* a failure shows in the messages, or as a timeout */
    take_messages(client);
    ais_fetch_expire(client);
    leave(client);
}
