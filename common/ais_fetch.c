/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Runs the tries of a fetch: when a try begins, which connection it uses, when it has to wait, when it is retried, and
 * how the fetch ends.
 */

#include "ais_fetch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "ais_clock.h"

/*
 * libcurl before 8.4 does not try the next address of a name until something else wakes up the transfer, which may be
 * its timeout. So a transfer that is not connected yet is woken up every NUDGE_MS.
 */
#define NUDGE_UNTIL_VERSION 0x080400
#define NUDGE_MS 100

/* How often a fetch that waits in line checks again. */
#define LINE_MS 20

/* How long after the deadline libcurl's own timeout ends a try, in case the client cannot because libcurl does not
 * return. */
#define OVERTIME_MS 500

/* The same for connecting: when there is no time left, it is the client that reports the timeout, not libcurl. */
#define CONNECT_OVERTIME_MS 50

/* How many tries may use HTTP/1.1 instead of HTTP/2 at once: each of them needs a connection of its own. */
#define HTTP_1_MAX 8

/* The client's list. */

static void link_last(struct ais_fetch *fetch)
{
    struct ais_client *client = fetch->client;

    fetch->prev = client->last;
    if (client->last != NULL)
        client->last->next = fetch;
    else
        client->first = fetch;
    client->last = fetch;
    client->inflight++;
}

static void unlink_fetch(struct ais_fetch *fetch)
{
    struct ais_client *client = fetch->client;

    if (client->cursor == fetch)
        client->cursor = fetch->next;
    if (client->pioneer == fetch)
        client->pioneer = NULL;
    if (fetch->prev != NULL)
        fetch->prev->next = fetch->next;
    else
        client->first = fetch->next;
    if (fetch->next != NULL)
        fetch->next->prev = fetch->prev;
    else
        client->last = fetch->prev;
    if (--client->inflight == 0)
        client->due_at = AIS_NEVER;
}

/* Calls act for each fetch. act may free or start any fetch. */
static void walk(struct ais_client *client, void (*act)(struct ais_fetch *fetch, int64_t now))
{
    int64_t now = ais_clock();

    for (struct ais_fetch *fetch = client->first; fetch != NULL; fetch = client->cursor) {
        client->cursor = fetch->next;
        act(fetch, now);
    }
}

/* Lowers the client's due_at to when the fetch has something to do next, if that is earlier. */
static void set_due(struct ais_fetch *fetch)
{
    int64_t at = ais_earlier(fetch->deadline, ais_earlier(fetch->retry_at, fetch->nudge_at));

    fetch->client->due_at = ais_earlier(fetch->client->due_at, at);
}

/* Beginning a try. */

/* Returns whether libcurl is opening a connection with this label for the fetch, or makes the fetch wait for one. */
static bool is_connecting(const struct ais_fetch *fetch, struct ais_str origin, unsigned label)
{
    const struct ais_transfer *t = &fetch->transfer;

    return fetch->phase == AIS_FETCH_RUNS && !ais_transfer_is_sent(t) && t->how.label == label &&
           ais_str_eq(t->origin, origin);
}

/* Returns another fetch that is connecting with this label, so that this one need not, or NULL. */
static const struct ais_fetch *find_pioneer(const struct ais_fetch *fetch, unsigned label)
{
    struct ais_client *client = fetch->client;
    struct ais_str origin = fetch->transfer.origin;
    const struct ais_fetch *other = client->pioneer;

    if (other == NULL || other == fetch || !is_connecting(other, origin, label)) {
        for (other = client->first; other != NULL; other = other->next) {
            if (other != fetch && is_connecting(other, origin, label))
                break;
        }
        client->pioneer = other;
    }
    return other;
}

/* Returns whether the fetch has to wait because its origin has flooded connections. */
static bool has_to_wait(const struct ais_fetch *fetch, int64_t now)
{
    struct ais_client *client = fetch->client;
    struct ais_str origin = fetch->transfer.origin;
    enum ais_caution caution = ais_connection_caution(&client->connections, origin, now);

    if (caution != AIS_CAUTION_ALONE)
        return caution == AIS_CAUTION_REST;

    for (const struct ais_fetch *other = client->first; other != NULL; other = other->next) {
        if (other != fetch && other->phase == AIS_FETCH_RUNS && ais_str_eq(other->transfer.origin, origin))
            return true;
    }
    return false;
}

/* Returns whether the try uses HTTP/1.1. The last one does, too, if HTTP/2 may be at fault. */
static bool goes_by_http_1(const struct ais_fetch *fetch)
{
    return fetch->http_1 || (fetch->http2_fault && fetch->tries > fetch->target->retries);
}

/* Finds a connection for the try. Returns false if it has to wait in line. */
static bool find_way(struct ais_fetch *fetch, struct ais_try *how, int64_t now)
{
    struct ais_route route;
    const struct ais_fetch *pioneer;

    fetch->leads = false;
    how->http_1 = goes_by_http_1(fetch);
    if (how->http_1) {
        how->label = AIS_LABEL_HTTP_1;
        how->fresh = fetch->is_repeat;
        return fetch->client->http_1 < HTTP_1_MAX && !has_to_wait(fetch, now);
    }
    route = ais_connection_route(&fetch->client->connections, fetch->transfer.origin, &fetch->avoid);
    how->label = route.label;
    how->fresh = route.fresh || (route.detours && !fetch->transfer.tls); /* labels work only with TLS */
    if (!fetch->transfer.tls)
        return !has_to_wait(fetch, now);
    if (route.joins)
        return true;
    if (has_to_wait(fetch, now))
        return false;

    /* Other fetches that failed on the same connection may need a new one, too. Otherwise libcurl makes them wait. */
    fetch->leads = route.detours || fetch->is_repeat || fetch->tries > 1;
    pioneer = find_pioneer(fetch, how->label);
    return pioneer == NULL || !(fetch->leads || pioneer->leads);
}

/* Passes the try to libcurl, or makes it wait in line. Returns -1 if memory runs out. */
static int run_try(struct ais_fetch *fetch, int64_t now)
{
    bool nudges = curl_version_info(CURLVERSION_NOW)->version_num < NUDGE_UNTIL_VERSION;
    int64_t left = fetch->deadline > now ? fetch->deadline - now : 0;
    struct ais_try how = {
        .connect_timeout = ais_earlier(fetch->target->connect_timeout, left + CONNECT_OVERTIME_MS),
        .timeout = left + OVERTIME_MS,
        .calls_max = fetch->tries + 1, /* one per try, and one repeat by libcurl in all */
    };

    fetch->phase = find_way(fetch, &how, now) ? AIS_FETCH_RUNS : AIS_FETCH_IN_LINE;
    fetch->retry_at = fetch->phase == AIS_FETCH_IN_LINE ? now + LINE_MS : AIS_NEVER;
    fetch->nudge_at = nudges && fetch->phase == AIS_FETCH_RUNS ? now + NUDGE_MS : AIS_NEVER;
    set_due(fetch);
    if (fetch->phase == AIS_FETCH_IN_LINE)
        return 0;

    fetch->runs_http_1 = how.http_1;
    fetch->client->http_1 += how.http_1;
    ais_transfer_begin(&fetch->transfer, &how);
    return curl_multi_add_handle(fetch->client->multi, fetch->transfer.easy) == CURLM_OK ? 0 : -1;
}

static int begin_try(struct ais_fetch *fetch, int64_t now)
{
    if (fetch->phase == AIS_FETCH_PAUSES) {
        fetch->tries++;
        fetch->is_repeat = false;
        ais_transfer_clear(&fetch->transfer);
    }
    return run_try(fetch, now);
}

struct ais_fetch *ais_fetch_create(struct ais_client *client, const struct ais_target *target,
                                   const struct ais_credential *cred, const char *path, ais_fetch_done done, void *data)
{
    const char *ca_file = target->ca_file != NULL ? target->ca_file : client->ca_file;
    struct ais_fetch *fetch = calloc(1, sizeof(*fetch));

    if (fetch == NULL)
        return NULL;
    if (ais_transfer_init(&fetch->transfer, target, &client->connections, ca_file, cred, path) != 0) {
        free(fetch);
        return NULL;
    }
    (void) curl_easy_setopt(fetch->transfer.easy, CURLOPT_PRIVATE, fetch);
    fetch->client = client;
    fetch->target = target;
    fetch->done = done;
    fetch->data = data;
    fetch->started = ais_clock();
    fetch->deadline = fetch->started + target->timeout;
    return fetch;
}

int ais_fetch_start(struct ais_fetch *fetch)
{
    link_last(fetch);
    if (begin_try(fetch, fetch->started) != 0) {
        ais_fetch_drop(fetch);
        return -1;
    }
    return 0;
}

void ais_fetch_end_by(struct ais_fetch *fetch, int64_t deadline)
{
    fetch->deadline = ais_earlier(fetch->deadline, deadline);
    set_due(fetch);
}

/* Ending a fetch. */

/* Removes the fetch from libcurl, if it is there. */
static void take_out(struct ais_fetch *fetch)
{
    (void) curl_multi_remove_handle(fetch->client->multi, fetch->transfer.easy);
    fetch->client->http_1 -= fetch->runs_http_1;
    fetch->runs_http_1 = false;
}

/* Removes the fetch from libcurl and from the client. */
static void detach(struct ais_fetch *fetch)
{
    take_out(fetch);
    unlink_fetch(fetch);
}

static void destroy(struct ais_fetch *fetch)
{
    ais_transfer_free(&fetch->transfer);
    free(fetch);
}

void ais_fetch_drop(struct ais_fetch *fetch)
{
    ais_transfer_give_up(&fetch->transfer);
    detach(fetch);
    destroy(fetch);
}

static void deliver(struct ais_fetch *fetch, struct ais_response *response)
{
    detach(fetch);
    response->elapsed = ais_clock() - fetch->started;
    fetch->done(fetch->data, response);
    destroy(fetch);
}

/* Judging the connection. */

/* Returns whether a try of the fetch is running on this connection. */
static bool is_on(const struct ais_fetch *fetch, const struct ais_connection *connection)
{
    return fetch->phase == AIS_FETCH_RUNS && fetch->transfer.connection == connection->id;
}

static bool is_used(const struct ais_client *client, const struct ais_connection *connection)
{
    for (const struct ais_fetch *fetch = client->first; fetch != NULL; fetch = fetch->next) {
        if (is_on(fetch, connection))
            return true;
    }
    return false;
}

/* Returns whether the fetch waits in libcurl for a connection like this one to be opened or to have a free stream. */
static bool waits_for(const struct ais_fetch *fetch, const struct ais_connection *connection)
{
    struct ais_str origin = {connection->origin, connection->origin_len};

    return is_connecting(fetch, origin, connection->label) && fetch->transfer.connecting_since == AIS_NEVER;
}

/* Takes the fetch back from libcurl and puts it in line; it checks again at once. */
static void step_back(struct ais_fetch *fetch)
{
    take_out(fetch);
    fetch->phase = AIS_FETCH_IN_LINE;
    fetch->retry_at = ais_clock();
    fetch->nudge_at = AIS_NEVER;
    set_due(fetch);
}

/* Fetches that use the connection continue, and libcurl closes it after the last of them. Fetches that wait for it are
 * taken back. */
static void leave_connection(struct ais_client *client, struct ais_connection *connection)
{
    connection->left = true;
    for (struct ais_fetch *fetch = client->first; fetch != NULL; fetch = fetch->next) {
        if (is_on(fetch, connection))
            ais_transfer_distrust(&fetch->transfer);
        else if (waits_for(fetch, connection))
            step_back(fetch);
    }
}

/* Records the outcome of a try that has ended and was removed from libcurl. */
static void judge_connection(struct ais_fetch *fetch, enum ais_outcome outcome)
{
    struct ais_client *client = fetch->client;
    struct ais_connection *connection = ais_connection_get(&client->connections, fetch->transfer.connection);

    fetch->transfer.connection = 0;
    if (connection == NULL || outcome == AIS_OUTCOME_NONE)
        return; /* closed or unknown, or nothing to record */

    ais_connection_judge(connection, outcome);
    if (outcome != AIS_OUTCOME_GOOD)
        ais_connection_avoid(&fetch->avoid, connection->id);
    if (connection->distrusted && !connection->left)
        leave_connection(client, connection);
    if (!ais_connection_is_usable(connection) && !is_used(client, connection))
        (void) shutdown(connection->fd, SHUT_RDWR); /* libcurl notices it and closes the connection */
}

/* Ends the fetch for a reason of our own. */
static void fail(struct ais_fetch *fetch, enum ais_fault fault, const char *message)
{
    struct ais_response response;

    ais_transfer_fail(&fetch->transfer, fault, message, &response);
    deliver(fetch, &response);
}

static void time_out(struct ais_fetch *fetch)
{
    const struct ais_transfer *t = &fetch->transfer;
    char message[160];
    const char *where;

    if (fetch->phase == AIS_FETCH_PAUSES)
        where = "before the next try";
    else if (fetch->phase == AIS_FETCH_IN_LINE && has_to_wait(fetch, ais_clock()))
        where = "during the pause that follows a flooded connection";
    else if (!ais_transfer_is_sent(t))
        where = "before the request could be sent";
    else if (t->stage < AIS_STAGE_BODY)
        where = "while waiting for the response";
    else
        where = "while receiving the body of the response";
    ais_transfer_distrust(&fetch->transfer);
    ais_transfer_give_up(&fetch->transfer);
    take_out(fetch);
    judge_connection(fetch, AIS_OUTCOME_FAULT);
    snprintf(message, sizeof(message), "timeout of %lld ms expired %s", (long long) fetch->target->timeout, where);
    fail(fetch, AIS_FAULT_TIMEOUT, message);
}

/* The upper bits of xorshift64*, which is good enough to spread retries. */
static uint32_t draw(struct ais_client *client)
{
    client->random ^= client->random >> 12;
    client->random ^= client->random << 25;
    client->random ^= client->random >> 27;
    return (uint32_t) ((client->random * UINT64_C(2685821657736338717)) >> 32);
}

/* Plans a retry if one is useful and its pause ends before the deadline. Returns whether it did. */
static bool plan_retry(struct ais_fetch *fetch, const struct ais_response *response)
{
    int64_t retry_at;

    if (fetch->tries > fetch->target->retries ||
        !ais_policy_retry(response->fault, response->status, response->retry_after))
        return false;

    retry_at = ais_clock() + ais_policy_backoff(fetch->tries, draw(fetch->client));
    if (retry_at >= fetch->deadline)
        return false;

    fetch->retry_at = retry_at;
    fetch->nudge_at = AIS_NEVER;
    set_due(fetch);
    return true;
}

/* Returns whether a try has failed while libcurl was opening a connection for it. */
static bool unconnected(const struct ais_transfer *t, enum ais_fault fault)
{
    return t->connecting_since != AIS_NEVER && !ais_transfer_is_sent(t) &&
           (fault == AIS_FAULT_CONNECT || fault == AIS_FAULT_TLS || fault == AIS_FAULT_TIMEOUT);
}

/* Returns whether a fetch has a connection, or was opening one before libcurl was called. One that began to connect
 * during that call has only inherited the turn, and does not count. */
static bool may_connect(const struct ais_fetch *fetch)
{
    return ais_transfer_is_sent(&fetch->transfer) || fetch->transfer.connecting_since < fetch->client->called_at;
}

/*
 * Called when no connection could be opened. If all other fetches to the target were only waiting for that connection,
 * they fail with it. Otherwise they would fail one after the other, each after a connect timeout of its own.
 */
static void share_failure(const struct ais_fetch *leader, CURLcode code)
{
    struct ais_client *client = leader->client;

    for (struct ais_fetch *fetch = client->first; fetch != NULL; fetch = fetch->next) {
        if (fetch != leader && fetch->target == leader->target && fetch->phase != AIS_FETCH_PAUSES &&
            may_connect(fetch))
            return;
    }
    for (struct ais_fetch *fetch = client->first; fetch != NULL; fetch = fetch->next) {
        if (fetch != leader && fetch->target == leader->target && fetch->phase != AIS_FETCH_PAUSES) {
            fetch->failure = code;
            snprintf(fetch->transfer.message, sizeof(fetch->transfer.message), "%s", leader->transfer.message);
            client->noted = true;
        }
    }
}

/* Returns whether HTTP/2 may be at fault. Before a response the protocol is unknown; if it was HTTP/1.1, the next try
 * will use that again anyway. */
static bool may_be_http2_fault(const struct ais_transfer *t, enum ais_fault fault)
{
    return t->tls && ais_transfer_is_sent(t) && fault == AIS_FAULT_CONNECT;
}

/* Restarts a try whose request was not processed, or not sent at all. */
static void repeat(struct ais_fetch *fetch)
{
    struct ais_transfer *t = &fetch->transfer;

    if (ais_transfer_is_sent(t) && t->newest > fetch->avoid.up_to)
        fetch->avoid.up_to = t->newest; /* if its connection was dead, the others may be dead, too */
    fetch->is_repeat = !t->http_1_required;
    ais_transfer_clear(t);
    step_back(fetch);
}

void ais_fetch_conclude(struct ais_fetch *fetch, CURLcode code)
{
    struct ais_response response;

    take_out(fetch);
    fetch->phase = AIS_FETCH_PAUSES;
    ais_transfer_end(&fetch->transfer, code, &response);
    judge_connection(fetch, ais_connection_outcome(response.fault, response.status));
    fetch->http_1 = fetch->http_1 || fetch->transfer.http_1_required;
    if (fetch->transfer.stop == AIS_STOP_DEFERRED && response.fault == AIS_FAULT_CONNECT) {
        repeat(fetch);
        return;
    }
    fetch->http2_fault = fetch->http2_fault || may_be_http2_fault(&fetch->transfer, response.fault);
    if (unconnected(&fetch->transfer, response.fault))
        share_failure(fetch, code);
    if (!plan_retry(fetch, &response))
        deliver(fetch, &response);
}

/* Acting on what was noted. */

void ais_fetch_doom(struct ais_fetch *fetch, const char *reason)
{
    fetch->doom = reason;
    fetch->client->noted = true;
}

void ais_fetch_doom_all(struct ais_client *client, const char *reason)
{
    for (struct ais_fetch *fetch = client->first; fetch != NULL; fetch = fetch->next)
        ais_fetch_doom(fetch, reason);
}

static void act_if_noted(struct ais_fetch *fetch, int64_t now)
{
    CURLcode failure = fetch->failure;

    (void) now;
    fetch->failure = CURLE_OK;
    if (fetch->doom != NULL)
        fail(fetch, AIS_FAULT_INTERNAL, fetch->doom);
    else if (failure != CURLE_OK)
        ais_fetch_conclude(fetch, failure);
}

void ais_fetch_settle(struct ais_client *client)
{
    if (client->noted) {
        client->noted = false;
        walk(client, act_if_noted);
    }
}

/* Acting on the time. */

/* Pauses and unpauses the transfer, which makes libcurl look at it again. */
static void nudge(struct ais_fetch *fetch, int64_t now)
{
    if (ais_transfer_is_sent(&fetch->transfer)) {
        fetch->nudge_at = AIS_NEVER;
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
    if (fetch->retry_at <= now && begin_try(fetch, now) != 0) {
        fail(fetch, AIS_FAULT_INTERNAL, "out of memory");
        return;
    }
    if (fetch->nudge_at <= now)
        nudge(fetch, now);
    set_due(fetch);
}

void ais_fetch_expire(struct ais_client *client)
{
    if (client->due_at <= ais_clock()) {
        client->due_at = AIS_NEVER;
        walk(client, act_if_due);
    }
}
