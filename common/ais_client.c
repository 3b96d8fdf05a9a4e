#include "ais_client.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "ais_ca.h"
#include "ais_transfer.h"

/*
 * libcurl must not be entered from its own callbacks, and a done callback may do as it likes with other fetches. So all
 * that libcurl reports is only noted while it runs; settle() and expire() act on it afterwards, one fetch at a time.
 */

#define NEVER INT64_MAX

#define MAX_STREAMS 100

/* Idle connections that are kept where there is no limit per host. libcurl's own limit would follow the number of
   fetches, and close after each burst what the next one needs. */
#define MAX_CONNECTIONS 32

/*
 * libcurl before 8.4 does not go on to the next address of a name until something else wakes the transfer up, which may
 * be the end of its time. So a transfer that is not connected yet is woken up every now and then.
 */
#define NUDGE_UNTIL_VERSION 0x080400
#define NUDGE_MS 100

struct ais_fetch {
    struct ais_fetch *prev;
    struct ais_fetch *next;
    struct ais_client *client;
    const struct ais_target *target;
    ais_fetch_done done;
    void *data;
    int64_t started;
    int64_t deadline;
    int64_t retry_at; /* NEVER while a try is under way */
    int64_t nudge_at;
    unsigned tries; /* begun so far */
    bool unwatched; /* the driver could not watch its socket */
    bool doomed;    /* by ais_client_abort() */
    struct ais_transfer transfer;
};

struct ais_client {
    CURLM *multi; /* NULL where there was no memory for a new one */
    struct ais_driver driver;
    struct ais_client_options options;
    char *ca_file;
    uint64_t random;
    bool nudges;

    struct ais_fetch *first; /* under way, in the order they were started */
    struct ais_fetch *last;
    struct ais_fetch *cursor; /* the next one of a walk over them; unlink() keeps it valid */
    size_t inflight;
    bool unwatched;   /* one of them is */
    bool broken;      /* libcurl has run out of memory */
    const char *doom; /* why they fail */

    /* All in ms of CLOCK_MONOTONIC. */
    int64_t curl_at;  /* when libcurl wants to be called */
    int64_t due_at;   /* no fetch has anything to do before; may be too early, never too late */
    int64_t armed_at; /* what the driver was told last */
    unsigned depth;   /* of calls into the client; only the outermost sets the timer */
};

/* Time. */

static int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static void enter(struct ais_client *client)
{
    client->depth++;
}

static void leave(struct ais_client *client)
{
    int64_t at = min64(client->curl_at, client->due_at);

    if (--client->depth > 0 || at == client->armed_at) {
        return;
    }
    client->armed_at = at;
    client->driver.timer(client->driver.data, at == NEVER ? -1 : max64(0, at - now_ms()));
}

/* xorshift64*, top bits: good enough to spread retries. */
static uint32_t draw(struct ais_client *client)
{
    client->random ^= client->random >> 12;
    client->random ^= client->random << 25;
    client->random ^= client->random >> 27;
    return (uint32_t) ((client->random * UINT64_C(2685821657736338717)) >> 32);
}

static uint64_t seed(void)
{
    uint64_t n;

    if (getrandom(&n, sizeof(n), GRND_NONBLOCK) != (ssize_t) sizeof(n)) {
        n = (uint64_t) now_ms() ^ (uint64_t) (uintptr_t) &n;
    }
    return n | 1; /* zero would stay zero */
}

/* libcurl's callbacks. */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *data, void *slot)
{
    struct ais_client *client = data;
    struct ais_fetch *fetch = NULL;
    unsigned events = 0;
    void *kept = slot;

    if (what == CURL_POLL_IN || what == CURL_POLL_INOUT) {
        events |= AIS_IN;
    }
    if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT) {
        events |= AIS_OUT;
    }
    if (events == 0 && fcntl(fd, F_GETFD) == -1) {
        fd = -1;
    }
    if (client->driver.watch(client->driver.data, fd, events, &kept) == -1 && events != 0) {
        /* Told to libcurl, this would end all transfers. */
        (void) curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **) &fetch);
        if (fetch != NULL) {
            fetch->unwatched = true;
            client->unwatched = true;
        }
    }
    if (events != 0 && kept != slot) {
        (void) curl_multi_assign(client->multi, fd, kept);
    }
    return 0;
}

static int on_timer(CURLM *multi, long ms, void *data)
{
    struct ais_client *client = data;

    (void) multi;
    client->curl_at = ms < 0 ? NEVER : now_ms() + ms;
    return 0;
}

/* The list of fetches. */

static void link_last(struct ais_client *client, struct ais_fetch *fetch)
{
    fetch->prev = client->last;
    fetch->next = NULL;
    if (client->last != NULL) {
        client->last->next = fetch;
    } else {
        client->first = fetch;
    }
    client->last = fetch;
    client->inflight++;
}

static void unlink_fetch(struct ais_client *client, struct ais_fetch *fetch)
{
    if (client->cursor == fetch) {
        client->cursor = fetch->next;
    }
    if (fetch->prev != NULL) {
        fetch->prev->next = fetch->next;
    } else {
        client->first = fetch->next;
    }
    if (fetch->next != NULL) {
        fetch->next->prev = fetch->prev;
    } else {
        client->last = fetch->prev;
    }
    if (--client->inflight == 0) {
        client->due_at = NEVER;
    }
}

/* Calls act for each fetch, whatever it does to this one or to others. */
static void walk(struct ais_client *client, void (*act)(struct ais_fetch *fetch, int64_t now))
{
    struct ais_fetch *fetch;
    int64_t now = now_ms();

    for (fetch = client->first; fetch != NULL; fetch = client->cursor) {
        client->cursor = fetch->next;
        act(fetch, now);
    }
}

/* The life of a fetch. */

static int64_t due(const struct ais_fetch *fetch)
{
    return min64(fetch->deadline, min64(fetch->retry_at, fetch->nudge_at));
}

static int begin_try(struct ais_fetch *fetch, int64_t now)
{
    struct ais_client *client = fetch->client;
    int64_t connect_timeout = min64(fetch->target->connect_timeout, fetch->deadline - now);

    fetch->tries++;
    fetch->retry_at = NEVER;
    fetch->nudge_at = client->nudges ? now + NUDGE_MS : NEVER;
    client->due_at = min64(client->due_at, due(fetch));
    ais_transfer_begin(&fetch->transfer, max64(1, connect_timeout));
    return curl_multi_add_handle(client->multi, fetch->transfer.easy) == CURLM_OK ? 0 : -1;
}

/* Takes a fetch out of libcurl and of the client. */
static void detach(struct ais_fetch *fetch)
{
    (void) curl_multi_remove_handle(fetch->client->multi, fetch->transfer.easy);
    unlink_fetch(fetch->client, fetch);
}

static void free_fetch(struct ais_fetch *fetch)
{
    ais_transfer_free(&fetch->transfer);
    free(fetch);
}

static void deliver(struct ais_fetch *fetch, struct ais_response *response)
{
    detach(fetch);
    response->elapsed = now_ms() - fetch->started;
    fetch->done(fetch->data, response);
    free_fetch(fetch);
}

/* Ends a fetch for a reason of our own. */
static void fail(struct ais_fetch *fetch, enum ais_fault fault, const char *message)
{
    struct ais_response response;

    ais_transfer_fail(&fetch->transfer, fault, message, &response);
    deliver(fetch, &response);
}

static void time_out(struct ais_fetch *fetch)
{
    const struct ais_transfer *t = &fetch->transfer;
    char message[128];
    const char *phase;

    if (fetch->retry_at != NEVER) {
        phase = "before the next try";
    } else if (!t->sent) {
        phase = "before the request could be sent";
    } else if (!t->header_done) {
        phase = "waiting for the answer";
    } else {
        phase = "inside the body of the answer";
    }
    snprintf(message, sizeof(message), "timeout of %lld ms passed %s", (long long) fetch->target->timeout, phase);
    fail(fetch, AIS_FAULT_TIMEOUT, message);
}

/* A try has ended: tries again after a pause, or ends the fetch. */
static void conclude(struct ais_fetch *fetch, CURLcode code)
{
    struct ais_client *client = fetch->client;
    struct ais_response response;
    int64_t retry_at;

    (void) curl_multi_remove_handle(client->multi, fetch->transfer.easy);
    ais_transfer_end(&fetch->transfer, code, &response);

    if (fetch->tries <= fetch->target->retries &&
        ais_policy_retry(response.fault, response.status, response.retry_after)) {
        retry_at = now_ms() + ais_policy_backoff(fetch->tries, draw(client));
        if (retry_at < fetch->deadline) {
            fetch->retry_at = retry_at;
            fetch->nudge_at = NEVER;
            client->due_at = min64(client->due_at, retry_at);
            return;
        }
    }
    deliver(fetch, &response);
}

static void fail_unwatched(struct ais_fetch *fetch, int64_t now)
{
    (void) now;
    if (fetch->unwatched) {
        fail(fetch, AIS_FAULT_INTERNAL, "out of connections: the event loop cannot watch another socket");
    }
}

static void fail_doomed(struct ais_fetch *fetch, int64_t now)
{
    (void) now;
    if (fetch->doomed) {
        fail(fetch, AIS_FAULT_INTERNAL, fetch->client->doom);
    }
}

/* Fails all that are under way, but not those that their callbacks start. */
static void fail_all(struct ais_client *client, const char *message)
{
    struct ais_fetch *fetch;

    for (fetch = client->first; fetch != NULL; fetch = fetch->next) {
        fetch->doomed = true;
    }
    client->doom = message;
    walk(client, fail_doomed);
}

/* A change of what is paused, and back: libcurl then looks at the transfer again. */
static void nudge(struct ais_fetch *fetch, int64_t now)
{
    if (fetch->transfer.sent) {
        fetch->nudge_at = NEVER;
        return;
    }
    (void) curl_easy_pause(fetch->transfer.easy, CURLPAUSE_SEND);
    (void) curl_easy_pause(fetch->transfer.easy, CURLPAUSE_CONT);
    fetch->nudge_at = now + NUDGE_MS;
}

static void act_if_due(struct ais_fetch *fetch, int64_t now)
{
    if (fetch->deadline <= now) {
        time_out(fetch);
        return;
    }
    if (fetch->retry_at <= now && begin_try(fetch, now) == -1) {
        fail(fetch, AIS_FAULT_INTERNAL, "out of memory");
        return;
    }
    if (fetch->nudge_at <= now) {
        nudge(fetch, now);
    }
    fetch->client->due_at = min64(fetch->client->due_at, due(fetch));
}

/* The multi handle. */

static void set_callbacks(struct ais_client *client)
{
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
}

static int open_multi(struct ais_client *client)
{
    const struct ais_client_options *options = &client->options;
    long host = (long) options->max_host_connections;

    client->multi = curl_multi_init();
    if (client->multi == NULL) {
        return -1;
    }
    set_callbacks(client);
    curl_multi_setopt(client->multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
    curl_multi_setopt(client->multi, CURLMOPT_MAX_CONCURRENT_STREAMS,
                      options->max_streams > 0 ? (long) options->max_streams : MAX_STREAMS);
    curl_multi_setopt(client->multi, CURLMOPT_MAX_HOST_CONNECTIONS, host);
    curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, host > 0 ? host : MAX_CONNECTIONS);
    return 0;
}

/* Out of memory, libcurl 7.88 may leave a damaged table of sockets behind, and crash on it later. */
static void start_over(struct ais_client *client)
{
    struct ais_fetch *fetch;

    client->broken = false;
    for (fetch = client->first; fetch != NULL; fetch = fetch->next) {
        (void) curl_multi_remove_handle(client->multi, fetch->transfer.easy);
    }
    (void) curl_multi_cleanup(client->multi);
    client->curl_at = NEVER;
    (void) open_multi(client);
    fail_all(client, "out of memory");
}

/* Acts on what libcurl has noted. A callback may cancel any fetch, which takes its message out of the queue. */
static void settle(struct ais_client *client)
{
    CURLMsg *msg;
    int left;

    while ((msg = curl_multi_info_read(client->multi, &left)) != NULL) {
        struct ais_fetch *fetch = NULL;

        (void) curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **) &fetch);
        conclude(fetch, msg->data.result);
    }
    if (client->unwatched) {
        client->unwatched = false;
        walk(client, fail_unwatched);
    }
    if (client->broken) {
        start_over(client);
    }
}

static void run_libcurl(struct ais_client *client, curl_socket_t fd, int events)
{
    int running;

    client->broken = curl_multi_socket_action(client->multi, fd, events, &running) != CURLM_OK;
    settle(client);
}

static void expire(struct ais_client *client)
{
    if (client->due_at <= now_ms()) {
        client->due_at = NEVER;
        walk(client, act_if_due);
    }
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

struct ais_client *ais_client_create(const struct ais_driver *driver, const struct ais_client_options *options,
                                     struct ais_error *err)
{
    struct ais_client *client;

    if (check_libcurl(err) == -1) {
        return NULL;
    }
    client = calloc(1, sizeof(*client));
    if (client == NULL) {
        ais_error_set(err, "out of memory");
        return NULL;
    }
    client->driver = *driver;
    client->random = seed();
    client->nudges = curl_version_info(CURLVERSION_NOW)->version_num < NUDGE_UNTIL_VERSION;
    client->curl_at = client->due_at = client->armed_at = NEVER;
    client->options = *options;
    client->ca_file = options->ca_file != NULL ? strdup(options->ca_file) : NULL;
    if ((options->ca_file != NULL && client->ca_file == NULL) || open_multi(client) == -1) {
        ais_error_set(err, "out of memory");
        ais_client_destroy(client);
        return NULL;
    }
    return client;
}

int ais_client_load_ca(struct ais_client *client, struct ais_error *err)
{
    int rc;

    /* The driver shall not see this. */
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, NULL);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, NULL);
    rc = ais_ca_load(client->multi, client->ca_file, err);
    set_callbacks(client);
    return rc;
}

void ais_client_destroy(struct ais_client *client)
{
    if (client == NULL) {
        return;
    }
    enter(client);
    while (client->first != NULL) {
        struct ais_fetch *fetch = client->first;

        detach(fetch);
        free_fetch(fetch);
    }
    curl_multi_cleanup(client->multi);
    client->curl_at = NEVER;
    leave(client);
    free(client->ca_file);
    free(client);
}

struct ais_fetch *ais_client_fetch(struct ais_client *client, const struct ais_target *target,
                                   const struct ais_credential *cred, const char *path, ais_fetch_done done, void *data)
{
    struct ais_fetch *fetch;
    int64_t now = now_ms();
    int rc;

    if (client->multi == NULL && open_multi(client) == -1) {
        return NULL;
    }
    fetch = calloc(1, sizeof(*fetch));
    if (fetch == NULL) {
        return NULL;
    }
    if (ais_transfer_init(&fetch->transfer, target, client->ca_file, cred, path) == -1) {
        free(fetch);
        return NULL;
    }
    (void) curl_easy_setopt(fetch->transfer.easy, CURLOPT_PRIVATE, fetch);
    fetch->client = client;
    fetch->target = target;
    fetch->done = done;
    fetch->data = data;
    fetch->started = now;
    fetch->deadline = now + target->timeout;

    enter(client);
    link_last(client, fetch);
    rc = begin_try(fetch, now);
    if (rc == -1) {
        detach(fetch);
        free_fetch(fetch);
    }
    leave(client);
    return rc == 0 ? fetch : NULL;
}

void ais_fetch_cancel(struct ais_fetch *fetch)
{
    struct ais_client *client = fetch->client;

    enter(client);
    detach(fetch);
    free_fetch(fetch);
    leave(client);
}

void ais_client_abort(struct ais_client *client)
{
    enter(client);
    fail_all(client, "given up: the process is leaving");
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
    client->armed_at = NEVER; /* the driver's timer has run out */
    if (client->curl_at <= now_ms()) {
        client->curl_at = NEVER;
        run_libcurl(client, CURL_SOCKET_TIMEOUT, 0);
    }
    expire(client);
    leave(client);
}
