/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Runs the tries of a fetch: when each begins and by which connection, when it has to wait, when it is repeated, and
 * how the fetch ends.
 */

#include "ais_fetch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "ais_clock.h"

/*
 * libcurl before 8.4 does not go on to the next address of a name until something else wakes the transfer up, which may
 * be the end of its time. So a transfer that is not connected yet is woken up every now and then.
 */
#define NUDGE_UNTIL_VERSION 0x080400
#define NUDGE_MS 100

/* How often one that waits in line looks again. */
#define LINE_MS 20

/* How long libcurl lets a try go on after its time, should it be libcurl that keeps the client from ending it. */
#define OVERTIME_MS 500

/* And with connecting, so that it is the client that says what there was no time for. */
#define CONNECT_OVERTIME_MS 50

/* Tries by HTTP/1.1 in the place of HTTP/2 at once: each takes a connection of its own. */
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

/* Calls act for each fetch, whatever it does to this one or to others. */
static void walk(struct ais_client *client, void (*act)(struct ais_fetch *fetch, int64_t now))
{
    int64_t now = ais_clock();

    for (struct ais_fetch *fetch = client->first; fetch != NULL; fetch = client->cursor) {
        client->cursor = fetch->next;
        act(fetch, now);
    }
}

/* When it has something to do next. */
static void set_due(struct ais_fetch *fetch)
{
    int64_t at = ais_earlier(fetch->deadline, ais_earlier(fetch->retry_at, fetch->nudge_at));

    fetch->client->due_at = ais_earlier(fetch->client->due_at, at);
}

/* The beginning. */

/* Whether libcurl has it wait for a connection with this label, or make one. */
static bool is_connecting(const struct ais_fetch *fetch, struct ais_str origin, unsigned label)
{
    const struct ais_transfer *t = &fetch->transfer;

    return fetch->phase == AIS_FETCH_RUNS && !ais_transfer_is_sent(t) && t->how.label == label &&
           ais_str_eq(t->origin, origin);
}

/* Another that is, so that this one need not; or NULL. */
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

/* Whether the origin has sent floods, so that its tries are to be few. */
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

/* At the latest the last time, where it may be HTTP/2 that does not work. */
static bool goes_by_http_1(const struct ais_fetch *fetch)
{
    return fetch->http_1 || (fetch->http2_fault && fetch->tries > fetch->target->retries);
}

/* Finds how the try is to go. Returns false where it has to wait in line. */
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
    how->fresh = route.fresh || (route.detours && !fetch->transfer.tls); /* labels are a matter of TLS */
    if (!fetch->transfer.tls)
        return !has_to_wait(fetch, now);
    if (route.joins)
        return true;
    if (has_to_wait(fetch, now))
        return false;

    /* Others that failed with it may be looking for another connection, too. At other times libcurl has them wait. */
    fetch->leads = route.detours || fetch->is_repeat || fetch->tries > 1;
    pioneer = find_pioneer(fetch, how->label);
    return pioneer == NULL || !(fetch->leads || pioneer->leads);
}

/* Gives the try to libcurl, or has it wait in line. */
static int run_try(struct ais_fetch *fetch, int64_t now)
{
    bool nudges = curl_version_info(CURLVERSION_NOW)->version_num < NUDGE_UNTIL_VERSION;
    int64_t left = fetch->deadline > now ? fetch->deadline - now : 0;
    struct ais_try how = {
        .connect_timeout = ais_earlier(fetch->target->connect_timeout, left + CONNECT_OVERTIME_MS),
        .timeout = left + OVERTIME_MS,
        .calls_max = fetch->tries + 1, /* each try may send one, and libcurl one more in all */
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

/* The end. */

/* Takes it out of libcurl. */
static void take_out(struct ais_fetch *fetch)
{
    (void) curl_multi_remove_handle(fetch->client->multi, fetch->transfer.easy);
    fetch->client->http_1 -= fetch->runs_http_1;
    fetch->runs_http_1 = false;
}

/* And of the client. */
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

/* What it says about its connection. */

/* Whether libcurl has a try of it that has gone by this connection. */
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

/* Whether libcurl has it wait for a connection of this kind to be made, or to have room. */
static bool waits_for(const struct ais_fetch *fetch, const struct ais_connection *connection)
{
    struct ais_str origin = {connection->origin, connection->origin_len};

    return is_connecting(fetch, origin, connection->label) && fetch->transfer.connecting_since == AIS_NEVER;
}

/* Has it wait in line until the next look, which is now. */
static void step_back(struct ais_fetch *fetch)
{
    take_out(fetch);
    fetch->phase = AIS_FETCH_IN_LINE;
    fetch->retry_at = ais_clock();
    fetch->nudge_at = AIS_NEVER;
    set_due(fetch);
}

/* Those that use it go on. It is closed with the last of them, and none that waits for it gets it. */
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

/* A try has ended, and libcurl has let go of it. */
static void judge_connection(struct ais_fetch *fetch, enum ais_outcome outcome)
{
    struct ais_client *client = fetch->client;
    struct ais_connection *connection = ais_connection_get(&client->connections, fetch->transfer.connection);

    fetch->transfer.connection = 0;
    if (connection == NULL || outcome == AIS_OUTCOME_NONE)
        return; /* closed, or not known */

    ais_connection_judge(connection, outcome);
    if (outcome != AIS_OUTCOME_GOOD)
        ais_connection_avoid(&fetch->avoid, connection->id);
    if (connection->distrusted && !connection->left)
        leave_connection(client, connection);
    if (!ais_connection_is_usable(connection) && !is_used(client, connection))
        (void) shutdown(connection->fd, SHUT_RDWR); /* libcurl sees that it has ended, and closes it */
}

/* Ends it for a reason of our own. */
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
        where = "waiting for the upstream to be given a rest, since it has flooded a connection";
    else if (!ais_transfer_is_sent(t))
        where = "before the request could be sent";
    else if (t->stage < AIS_STAGE_BODY)
        where = "waiting for the answer";
    else
        where = "inside the body of the answer";
    ais_transfer_distrust(&fetch->transfer);
    ais_transfer_give_up(&fetch->transfer);
    take_out(fetch);
    judge_connection(fetch, AIS_OUTCOME_FAULT);
    snprintf(message, sizeof(message), "timeout of %lld ms passed %s", (long long) fetch->target->timeout, where);
    fail(fetch, AIS_FAULT_TIMEOUT, message);
}

/* xorshift64*, top bits: good enough to spread retries. */
static uint32_t draw(struct ais_client *client)
{
    client->random ^= client->random >> 12;
    client->random ^= client->random << 25;
    client->random ^= client->random >> 27;
    return (uint32_t) ((client->random * UINT64_C(2685821657736338717)) >> 32);
}

/* Whether there is to be another try, after a pause that fits into the time. */
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

/* Whether a try has ended for want of a connection, which was being made for it. */
static bool unconnected(const struct ais_transfer *t, enum ais_fault fault)
{
    return t->connecting_since != AIS_NEVER && !ais_transfer_is_sent(t) &&
           (fault == AIS_FAULT_CONNECT || fault == AIS_FAULT_TLS || fault == AIS_FAULT_TIMEOUT);
}

/* Whether a fetch has a connection, or tries to make one. That it took its place in line just now does not count. */
static bool may_connect(const struct ais_fetch *fetch)
{
    return ais_transfer_is_sent(&fetch->transfer) || fetch->transfer.connecting_since < fetch->client->called_at;
}

/*
 * No connection could be made. Where libcurl has others wait for that very connection, they share that failure: left
 * alone, they would find out for themselves one after the other, each in a connect timeout of its own.
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

/* Whether HTTP/2 may be what broke it. Before an answer nobody knows, and where it was HTTP/1.1 it will be again. */
static bool may_be_http2_fault(const struct ais_transfer *t, enum ais_fault fault)
{
    return t->tls && ais_transfer_is_sent(t) && fault == AIS_FAULT_CONNECT;
}

/* Goes on with a try whose request was not taken, if it was sent at all. */
static void repeat(struct ais_fetch *fetch)
{
    struct ais_transfer *t = &fetch->transfer;

    if (ais_transfer_is_sent(t) && t->newest > fetch->avoid.up_to)
        fetch->avoid.up_to = t->newest; /* if its connection was dead, the others may be */
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

/* What was noted. */

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

/* The time. */

/* A change of what is paused, and back: libcurl then looks at the transfer again. */
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
