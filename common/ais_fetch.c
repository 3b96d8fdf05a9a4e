#include "ais_fetch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ais_clock.h"

/*
 * libcurl before 8.4 does not go on to the next address of a name until something else wakes the transfer up, which may
 * be the end of its time. So a transfer that is not connected yet is woken up every now and then.
 */
#define NUDGE_UNTIL_VERSION 0x080400
#define NUDGE_MS 100

/* The client's list. */

static void link_last(struct ais_fetch *fetch)
{
    struct ais_client *client = fetch->client;

    fetch->prev = client->last;
    if (client->last != NULL) {
        client->last->next = fetch;
    } else {
        client->first = fetch;
    }
    client->last = fetch;
    client->inflight++;
}

static void unlink_fetch(struct ais_fetch *fetch)
{
    struct ais_client *client = fetch->client;

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
        client->due_at = AIS_NEVER;
    }
}

/* Calls act for each fetch, whatever it does to this one or to others. */
static void walk(struct ais_client *client, void (*act)(struct ais_fetch *fetch, int64_t now))
{
    struct ais_fetch *fetch;
    int64_t now = ais_clock();

    for (fetch = client->first; fetch != NULL; fetch = client->cursor) {
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

static int begin_try(struct ais_fetch *fetch, int64_t now)
{
    bool nudges = curl_version_info(CURLVERSION_NOW)->version_num < NUDGE_UNTIL_VERSION;
    int64_t connect_timeout = ais_earlier(fetch->target->connect_timeout, fetch->deadline - now);

    fetch->tries++;
    fetch->retry_at = AIS_NEVER;
    fetch->nudge_at = nudges ? now + NUDGE_MS : AIS_NEVER;
    set_due(fetch);
    ais_transfer_begin(&fetch->transfer, connect_timeout > 0 ? connect_timeout : 1);
    return curl_multi_add_handle(fetch->client->multi, fetch->transfer.easy) == CURLM_OK ? 0 : -1;
}

struct ais_fetch *ais_fetch_create(struct ais_client *client, const struct ais_target *target,
                                   const struct ais_credential *cred, const char *path, ais_fetch_done done, void *data)
{
    struct ais_fetch *fetch = calloc(1, sizeof(*fetch));

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
    fetch->started = ais_clock();
    fetch->deadline = fetch->started + target->timeout;
    return fetch;
}

int ais_fetch_start(struct ais_fetch *fetch)
{
    link_last(fetch);
    if (begin_try(fetch, fetch->started) == -1) {
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

/* Takes it out of libcurl and of the client. */
static void detach(struct ais_fetch *fetch)
{
    (void) curl_multi_remove_handle(fetch->client->multi, fetch->transfer.easy);
    unlink_fetch(fetch);
}

static void destroy(struct ais_fetch *fetch)
{
    ais_transfer_free(&fetch->transfer);
    free(fetch);
}

void ais_fetch_drop(struct ais_fetch *fetch)
{
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
    char message[128];
    const char *phase;

    if (fetch->retry_at != AIS_NEVER) {
        phase = "before the next try";
    } else if (!t->sent) {
        phase = "before the request could be sent";
    } else if (!t->header_done) {
        phase = "waiting for the answer";
    } else {
        phase = "inside the body of the answer";
    }
    ais_transfer_distrust(&fetch->transfer);
    snprintf(message, sizeof(message), "timeout of %lld ms passed %s", (long long) fetch->target->timeout, phase);
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
        !ais_policy_retry(response->fault, response->status, response->retry_after)) {
        return false;
    }
    retry_at = ais_clock() + ais_policy_backoff(fetch->tries, draw(fetch->client));
    if (retry_at >= fetch->deadline) {
        return false;
    }
    fetch->retry_at = retry_at;
    fetch->nudge_at = AIS_NEVER;
    set_due(fetch);
    return true;
}

/* Whether a try has ended for want of a connection, which was being made for it. */
static bool unconnected(const struct ais_transfer *t, enum ais_fault fault)
{
    return t->connecting_since != AIS_NEVER && !t->sent &&
           (fault == AIS_FAULT_CONNECT || fault == AIS_FAULT_TLS || fault == AIS_FAULT_TIMEOUT);
}

/* Whether a fetch has a connection, or tries to make one. That it took its place in line just now does not count. */
static bool may_connect(const struct ais_fetch *fetch)
{
    return fetch->transfer.sent || fetch->transfer.connecting_since < fetch->client->called_at;
}

/*
 * No connection could be made. Where libcurl has others wait for that very connection, they share the verdict: left
 * alone, they would find out for themselves one after the other, each in a connect timeout of its own.
 */
static void share_verdict(const struct ais_fetch *leader, CURLcode code)
{
    struct ais_client *client = leader->client;
    struct ais_fetch *fetch;

    for (fetch = client->first; fetch != NULL; fetch = fetch->next) {
        if (fetch != leader && fetch->target == leader->target && fetch->retry_at == AIS_NEVER && may_connect(fetch)) {
            return;
        }
    }
    for (fetch = client->first; fetch != NULL; fetch = fetch->next) {
        if (fetch != leader && fetch->target == leader->target && fetch->retry_at == AIS_NEVER) {
            fetch->verdict = code;
            snprintf(fetch->transfer.message, sizeof(fetch->transfer.message), "%s", leader->transfer.message);
            client->noted = true;
        }
    }
}

void ais_fetch_conclude(struct ais_fetch *fetch, CURLcode code)
{
    struct ais_response response;

    (void) curl_multi_remove_handle(fetch->client->multi, fetch->transfer.easy);
    ais_transfer_end(&fetch->transfer, code, &response);
    if (unconnected(&fetch->transfer, response.fault)) {
        share_verdict(fetch, code);
    }
    if (!plan_retry(fetch, &response)) {
        deliver(fetch, &response);
    }
}

/* What was noted. */

void ais_fetch_doom(struct ais_fetch *fetch, const char *reason)
{
    fetch->doom = reason;
    fetch->client->noted = true;
}

void ais_fetch_doom_all(struct ais_client *client, const char *reason)
{
    struct ais_fetch *fetch;

    for (fetch = client->first; fetch != NULL; fetch = fetch->next) {
        ais_fetch_doom(fetch, reason);
    }
}

static void act_if_noted(struct ais_fetch *fetch, int64_t now)
{
    CURLcode verdict = fetch->verdict;

    (void) now;
    fetch->verdict = CURLE_OK;
    if (fetch->doom != NULL) {
        fail(fetch, AIS_FAULT_INTERNAL, fetch->doom);
    } else if (verdict != CURLE_OK) {
        ais_fetch_conclude(fetch, verdict);
    }
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
    if (fetch->transfer.sent) {
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
    if (fetch->retry_at <= now && begin_try(fetch, now) == -1) {
        fail(fetch, AIS_FAULT_INTERNAL, "out of memory");
        return;
    }
    if (fetch->nudge_at <= now) {
        nudge(fetch, now);
    }
    set_due(fetch);
}

void ais_fetch_expire(struct ais_client *client)
{
    if (client->due_at <= ais_clock()) {
        client->due_at = AIS_NEVER;
        walk(client, act_if_due);
    }
}
