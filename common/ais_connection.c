/* SPDX-License-Identifier: BSD-2-Clause */

/* Keeps records of open connections: which have failed, which have received too much, and which one a try may use. */

#include "ais_connection.h"

#include <stdlib.h>
#include <string.h>

#define FAULTS_MAX 3

#define AVOID_MAX (sizeof(((struct ais_avoid *) NULL)->failed) / sizeof(uint64_t))

/*
 * These limit the total cost of floods. In the worst known case, a flood of 256 KiB costs 7 ms of CPU time, and one of
 * 1 MiB, on a connection that has carried large responses before, 25 ms.
 */
#define REST_MS 250
#define SUSPECT_MS 10000
#define SUSPECT_ALLOWANCE ((int64_t) 32 * 1024)

#define FLOODS_MAX (sizeof(((struct ais_connections *) NULL)->floods) / sizeof(struct ais_flood))

enum ais_outcome ais_connection_outcome(enum ais_fault fault, int status)
{
    switch (fault) {
    case AIS_FAULT_NONE:
        if (status == 421)
            return AIS_OUTCOME_MISDIRECTED;
        return status >= 500 ? AIS_OUTCOME_FAULT : AIS_OUTCOME_GOOD;

    case AIS_FAULT_CONNECT:
    case AIS_FAULT_TIMEOUT:
    case AIS_FAULT_SERVER:
    case AIS_FAULT_BODY:
        return AIS_OUTCOME_FAULT;

    default:
        return AIS_OUTCOME_NONE; /* our own fault, or there was no connection yet */
    }
}

struct ais_connection *ais_connection_add(struct ais_connections *connections, int fd, struct ais_str origin,
                                          unsigned label)
{
    struct ais_connection *c;

    ais_connection_remove(connections, fd);
    c = calloc(1, sizeof(*c) + origin.len);
    if (c == NULL)
        return NULL;

    c->id = ++connections->last_id;
    c->fd = fd;
    c->label = label;
    c->origin_len = origin.len;
    memcpy(c->origin, origin.data, origin.len);
    ais_allowance_begin(&c->allowance);
    c->next = connections->first;
    connections->first = c;
    return c;
}

void ais_connection_remove(struct ais_connections *connections, int fd)
{
    for (struct ais_connection **link = &connections->first; *link != NULL; link = &(*link)->next) {
        struct ais_connection *c = *link;

        if (c->fd == fd) {
            *link = c->next;
            free(c);
            return;
        }
    }
}

void ais_connection_remove_all(struct ais_connections *connections)
{
    while (connections->first != NULL)
        ais_connection_remove(connections, connections->first->fd);
}

struct ais_connection *ais_connection_get(const struct ais_connections *connections, uint64_t id)
{
    for (struct ais_connection *c = connections->first; c != NULL; c = c->next) {
        if (c->id == id)
            return c;
    }
    return NULL;
}

struct ais_connection *ais_connection_opened_by(const struct ais_connections *connections, const void *opener)
{
    for (struct ais_connection *c = connections->first; c != NULL; c = c->next) {
        if (c->opener == opener)
            return c->up ? NULL : c;
    }
    return NULL;
}

static bool is_of(const struct ais_connection *c, struct ais_str origin)
{
    return ais_str_eq(origin, (struct ais_str){c->origin, c->origin_len});
}

bool ais_addresses_eq(const struct ais_addresses *a, const struct ais_addresses *b)
{
    return a->local_port == b->local_port && a->remote_port == b->remote_port &&
           strcmp(a->local_ip, b->local_ip) == 0 && strcmp(a->remote_ip, b->remote_ip) == 0;
}

struct ais_connection *ais_connection_between(const struct ais_connections *connections,
                                              const struct ais_addresses *addresses)
{
    for (struct ais_connection *c = connections->first; c != NULL; c = c->next) {
        if (c->up && ais_addresses_eq(&c->addresses, addresses))
            return c;
    }
    return NULL;
}

void ais_connection_judge(struct ais_connection *connection, enum ais_outcome outcome)
{
    if (outcome == AIS_OUTCOME_NONE)
        return;
    if (outcome == AIS_OUTCOME_GOOD) {
        connection->proven = true;
        connection->faults = 0;
        return;
    }
    connection->faults++;
    if (outcome == AIS_OUTCOME_MISDIRECTED || connection->faults >= FAULTS_MAX)
        connection->distrusted = true;
}

bool ais_connection_is_usable(const struct ais_connection *connection)
{
    return !connection->distrusted && (connection->proven || connection->faults == 0);
}

bool ais_connection_survives(const struct ais_connection *connection, enum ais_outcome outcome)
{
    struct ais_connection after = *connection;

    ais_connection_judge(&after, outcome);
    return ais_connection_is_usable(&after);
}

/* FNV-1a. A collision only makes a try wait for a moment. */
static uint64_t hash(struct ais_str s)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < s.len; i++)
        h = (h ^ (unsigned char) s.data[i]) * UINT64_C(0x100000001b3);
    return h;
}

/* Notes a flood. id is that of the connection if it has to be cut, or 0 if it is being closed anyway. */
static void note(struct ais_connections *connections, const struct ais_connection *connection, uint64_t id, int64_t now)
{
    struct ais_str origin = {connection->origin, connection->origin_len};
    int64_t beside = connection->allowance.beside;

    connections->floods[connections->nfloods++ % FLOODS_MAX] = (struct ais_flood){
        .connection = id,
        .bytes = beside > 0 ? (uint64_t) beside : 1,
        .origin = hash(origin),
        .at = now,
    };
    for (struct ais_connection *c = connections->first; c != NULL; c = c->next) {
        if (!c->proven && is_of(c, origin)) {
            ais_allowance_limit(&c->allowance, SUSPECT_ALLOWANCE);
            c->suspected = true;
        }
    }
}

void ais_connection_note_flood(struct ais_connections *connections, struct ais_connection *connection, int64_t now)
{
    connection->flooded = true;
    connection->distrusted = true;
    note(connections, connection, connection->id, now);
}

void ais_connection_close(struct ais_connections *connections, int fd, int64_t now)
{
    struct ais_connection *c = connections->first;

    while (c != NULL && c->fd != fd)
        c = c->next;
    if (c != NULL && !c->flooded && !c->suspected && ais_allowance_is_strained(&c->allowance))
        note(connections, c, 0, now);
    ais_connection_remove(connections, fd);
}

bool ais_connection_take(struct ais_connections *connections, struct ais_connection *connection, size_t bytes,
                         size_t more, int64_t now)
{
    if (connection->flooded || ais_allowance_take(&connection->allowance, bytes, more, now))
        return true;

    ais_connection_note_flood(connections, connection, now);
    return false;
}

enum ais_caution ais_connection_caution(const struct ais_connections *connections, struct ais_str origin, int64_t now)
{
    enum ais_caution caution = AIS_CAUTION_NONE;
    size_t n = connections->nfloods < FLOODS_MAX ? connections->nfloods : FLOODS_MAX;

    for (size_t i = 0; i < n; i++) {
        const struct ais_flood *flood = &connections->floods[i];

        if (now - flood->at < SUSPECT_MS && flood->origin == hash(origin)) {
            if (now - flood->at < REST_MS)
                return AIS_CAUTION_REST;

            caution = AIS_CAUTION_ALONE;
        }
    }
    return caution;
}

uint64_t ais_connection_flood(const struct ais_connections *connections, uint64_t id)
{
    for (size_t i = 0; i < FLOODS_MAX; i++) {
        if (connections->floods[i].connection == id)
            return connections->floods[i].bytes;
    }
    return 0;
}

bool ais_connection_is_barred(const struct ais_connections *connections, struct ais_str origin, unsigned label)
{
    for (const struct ais_connection *c = connections->first; c != NULL; c = c->next) {
        if (c->distrusted && c->label == label && is_of(c, origin))
            return true;
    }
    return false;
}

/* The connections with one label. */
struct lane {
    bool avoided; /* one of them has to be avoided */
    bool coming;  /* one is being opened */
    bool up;
    unsigned faults; /* of the one with the fewest that is up */
};

void ais_connection_avoid(struct ais_avoid *avoid, uint64_t id)
{
    avoid->failed[avoid->nfailed++ % AVOID_MAX] = id;
}

static bool is_avoided(const struct ais_connection *c, const struct ais_avoid *avoid)
{
    /* unused elements are 0, which is not the id of any connection */
    for (size_t i = 0; i < AVOID_MAX; i++) {
        if (avoid->failed[i] == c->id)
            return true;
    }
    return c->id <= avoid->up_to || !ais_connection_is_usable(c);
}

static void look(struct lane *lane, const struct ais_connection *c, bool avoided)
{
    if (avoided) {
        lane->avoided = true;
    } else if (!c->up) {
        lane->coming = true;
    } else if (!lane->up || c->faults < lane->faults) {
        lane->up = true;
        lane->faults = c->faults;
    }
}

static bool is_better(const struct lane *lane, const struct lane *than)
{
    if (lane->up != than->up)
        return lane->up;
    return lane->up ? lane->faults < than->faults : lane->coming && !than->coming;
}

struct ais_route ais_connection_route(const struct ais_connections *connections, struct ais_str origin,
                                      const struct ais_avoid *avoid)
{
    struct lane lanes[AIS_LABELS] = {{.avoided = false}};
    struct ais_route route = {.fresh = true};

    for (const struct ais_connection *c = connections->first; c != NULL; c = c->next) {
        if (c->label < AIS_LABELS && is_of(c, origin)) {
            bool avoided = is_avoided(c, avoid);

            look(&lanes[c->label], c, avoided);
            route.detours = route.detours || avoided;
        }
    }
    for (unsigned i = 0; i < AIS_LABELS; i++) {
        if (!lanes[i].avoided && (route.fresh || is_better(&lanes[i], &lanes[route.label]))) {
            route.label = i;
            route.fresh = false;
        }
    }
    route.joins = !route.fresh && lanes[route.label].up;
    return route;
}
