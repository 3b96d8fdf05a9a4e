#include "ais_connection.h"

#include <stdlib.h>
#include <string.h>

#define FAULTS_MAX 3

#define AVOID_MAX (sizeof(((struct ais_avoid *) NULL)->failed) / sizeof(uint64_t))

enum ais_outcome ais_connection_outcome(enum ais_fault fault, int status)
{
    switch (fault) {
    case AIS_FAULT_NONE:
        if (status == 421) {
            return AIS_OUTCOME_MISDIRECTED;
        }
        return status >= 500 ? AIS_OUTCOME_FAULT : AIS_OUTCOME_GOOD;

    case AIS_FAULT_CONNECT:
    case AIS_FAULT_TIMEOUT:
    case AIS_FAULT_SERVER:
    case AIS_FAULT_BODY:
        return AIS_OUTCOME_FAULT;

    default:
        return AIS_OUTCOME_NONE; /* ours, or before there was a connection */
    }
}

void ais_connection_add(struct ais_connections *connections, int fd, struct ais_str origin, unsigned label)
{
    struct ais_connection *c;

    ais_connection_remove(connections, fd);
    c = calloc(1, sizeof(*c) + origin.len);
    if (c == NULL) {
        return;
    }
    c->id = ++connections->last_id;
    c->fd = fd;
    c->label = label;
    c->origin_len = origin.len;
    memcpy(c->origin, origin.data, origin.len);
    c->next = connections->first;
    connections->first = c;
}

void ais_connection_remove(struct ais_connections *connections, int fd)
{
    struct ais_connection **link;

    for (link = &connections->first; *link != NULL; link = &(*link)->next) {
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
    while (connections->first != NULL) {
        ais_connection_remove(connections, connections->first->fd);
    }
}

struct ais_connection *ais_connection_get(const struct ais_connections *connections, uint64_t id)
{
    struct ais_connection *c;

    for (c = connections->first; c != NULL; c = c->next) {
        if (c->id == id) {
            return c;
        }
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
    struct ais_connection *c;

    for (c = connections->first; c != NULL; c = c->next) {
        if (c->up && ais_addresses_eq(&c->addresses, addresses)) {
            return c;
        }
    }
    return NULL;
}

void ais_connection_judge(struct ais_connection *connection, enum ais_outcome outcome)
{
    if (outcome == AIS_OUTCOME_NONE) {
        return;
    }
    if (outcome == AIS_OUTCOME_GOOD) {
        connection->proven = true;
        connection->faults = 0;
        return;
    }
    connection->faults++;
    if (outcome == AIS_OUTCOME_MISDIRECTED || connection->faults >= FAULTS_MAX) {
        connection->distrusted = true;
    }
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

bool ais_connection_is_barred(const struct ais_connections *connections, struct ais_str origin, unsigned label)
{
    const struct ais_connection *c;

    for (c = connections->first; c != NULL; c = c->next) {
        if (c->distrusted && c->label == label && is_of(c, origin)) {
            return true;
        }
    }
    return false;
}

/* What goes by one label. */
struct lane {
    bool avoided;
    bool coming;
    bool up;
    unsigned faults; /* of the best that is up */
};

void ais_connection_avoid(struct ais_avoid *avoid, uint64_t id)
{
    avoid->failed[avoid->nfailed++ % AVOID_MAX] = id;
}

static bool is_avoided(const struct ais_connection *c, const struct ais_avoid *avoid)
{
    size_t i;

    /* (no connection has the id 0) */
    for (i = 0; i < AVOID_MAX; i++) {
        if (avoid->failed[i] == c->id) {
            return true;
        }
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
    if (lane->up != than->up) {
        return lane->up;
    }
    return lane->up ? lane->faults < than->faults : lane->coming && !than->coming;
}

struct ais_route ais_connection_route(const struct ais_connections *connections, struct ais_str origin,
                                      const struct ais_avoid *avoid)
{
    struct lane lanes[AIS_LABELS] = {{.avoided = false}};
    struct ais_route route = {.fresh = true};
    const struct ais_connection *c;
    unsigned i;

    for (c = connections->first; c != NULL; c = c->next) {
        if (c->label < AIS_LABELS && is_of(c, origin)) {
            bool avoided = is_avoided(c, avoid);

            look(&lanes[c->label], c, avoided);
            route.detours = route.detours || avoided;
        }
    }
    for (i = 0; i < AIS_LABELS; i++) {
        if (!lanes[i].avoided && (route.fresh || is_better(&lanes[i], &lanes[route.label]))) {
            route.label = i;
            route.fresh = false;
        }
    }
    route.joins = !route.fresh && lanes[route.label].up;
    return route;
}
