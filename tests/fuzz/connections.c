/*
 * The state of connections, step by step: each step is a letter and two digits, F and N.
 *
 *     o  socket F is opened with label N, for one origin if F is even, for another if it is odd
 *     x  it is closed                          j  a try on it has ended in way N
 *     u  a request uses it, to port N          a  the fetch must avoid it
 *     n  another fetch begins                  p  the fetch must avoid all that have been opened
 *     b  it receives N * 16 KiB                r  a request uses it, with a response of N * 16 KiB
 *     t  N * 100 ms pass                       c  it is closed, with the data it has received
 */

#include "fuzz.h"

#include "ais_connection.h"

#define STEPS_MAX 1000

static const struct ais_str origins[] = {{"https://a", 9}, {"https://b", 9}};

static const struct {
    enum ais_fault fault;
    int status;
    enum ais_outcome outcome;
} ways[] = {
    {AIS_FAULT_NONE, 200, AIS_OUTCOME_GOOD},        {AIS_FAULT_NONE, 404, AIS_OUTCOME_GOOD},
    {AIS_FAULT_NONE, 421, AIS_OUTCOME_MISDIRECTED}, {AIS_FAULT_NONE, 503, AIS_OUTCOME_FAULT},
    {AIS_FAULT_CONNECT, 0, AIS_OUTCOME_FAULT},      {AIS_FAULT_TIMEOUT, 0, AIS_OUTCOME_FAULT},
    {AIS_FAULT_BODY, 200, AIS_OUTCOME_FAULT},       {AIS_FAULT_TLS, 0, AIS_OUTCOME_NONE},
    {AIS_FAULT_INTERNAL, 0, AIS_OUTCOME_NONE},      {AIS_FAULT_SERVER, 200, AIS_OUTCOME_FAULT},
};

struct play {
    struct ais_connections connections;
    struct ais_avoid avoid;
    int64_t now;
};

static struct ais_str origin_of(unsigned fd)
{
    return origins[fd % 2];
}

static struct ais_connection *find(struct play *p, unsigned fd)
{
    struct ais_connection *c = p->connections.first;

    while (c != NULL && c->fd != (int) fd)
        c = c->next;
    MUST(c == NULL || ais_connection_get(&p->connections, c->id) == c);
    return c;
}

/* A label of a connection to avoid is never used, except for a new connection. */
static void check_route(struct play *p, struct ais_str origin)
{
    struct ais_route route = ais_connection_route(&p->connections, origin, &p->avoid);
    bool up = false;

    MUST(route.label < AIS_LABELS && !(route.fresh && route.joins) && (!route.fresh || route.detours));
    for (const struct ais_connection *c = p->connections.first; c != NULL; c = c->next) {
        if (route.fresh || c->label != route.label || !ais_str_eq(origin, (struct ais_str){c->origin, c->origin_len}))
            continue;
        MUST(ais_connection_is_usable(c) && c->id > p->avoid.up_to);
        up = up || c->up;
    }
    MUST(route.fresh || (up == route.joins && !ais_connection_is_barred(&p->connections, origin, route.label)));
}

static void judge(const struct play *p, struct ais_connection *c, unsigned way)
{
    enum ais_outcome outcome = ais_connection_outcome(ways[way].fault, ways[way].status);
    bool distrusted = c->distrusted;
    bool survives = ais_connection_survives(c, outcome);

    MUST(outcome == ways[way].outcome);
    ais_connection_judge(c, outcome);
    MUST(ais_connection_is_usable(c) == survives && (c->distrusted || !distrusted));
    MUST(!c->distrusted || ais_connection_is_barred(&p->connections, origin_of((unsigned) c->fd), c->label));
}

static void go_up(struct play *p, struct ais_connection *c, unsigned port)
{
    c->addresses = (struct ais_addresses){"127.0.0.1", "127.0.0.2", c->fd, (int) port};
    c->up = true;
    MUST(ais_connection_between(&p->connections, &c->addresses) == c);
    MUST(ais_connection_between(&p->connections, &(struct ais_addresses){"127.0.0.1", "", c->fd, (int) port}) == NULL);
}

/* More data than allowed is a flood, which is reported once and known from then on. */
static void bring(struct play *p, struct ais_connection *c, size_t bytes)
{
    bool flooded = c->flooded;
    bool stays = ais_connection_take(&p->connections, c, bytes, bytes / 16, p->now);

    MUST(stays == (flooded || !c->flooded));
    MUST(c->flooded ? !ais_connection_is_usable(c) : c->allowance.left >= 0 && c->allowance.left <= 1 << 20);
    MUST(stays || ais_connection_flood(&p->connections, c->id) > 0);
    MUST(stays || ais_connection_caution(&p->connections, origin_of((unsigned) c->fd), p->now) == AIS_CAUTION_REST);
    MUST(ais_connection_caution(&p->connections, origin_of((unsigned) c->fd), p->now + 10000) == AIS_CAUTION_NONE);
}

static void step(struct play *p, char letter, unsigned fd, unsigned n)
{
    struct ais_connection *c = find(p, fd);

    if (letter == 'o')
        ais_connection_add(&p->connections, (int) fd, origin_of(fd), n)->opener = &origins[n % 2];
    else if (letter == 'x')
        ais_connection_remove(&p->connections, (int) fd);
    else if (letter == 'c')
        ais_connection_close(&p->connections, (int) fd, p->now);
    else if (letter == 't')
        p->now += n * 100;
    else if (letter == 'n')
        p->avoid = (struct ais_avoid){0};
    else if (letter == 'p')
        p->avoid.up_to = p->connections.last_id;
    else if (c != NULL && letter == 'j')
        judge(p, c, n);
    else if (c != NULL && letter == 'b')
        bring(p, c, (size_t) n << 14);
    else if (c != NULL && letter == 'r') {
        ais_allowance_add_request(&c->allowance);
        ais_allowance_add_answer(&c->allowance, (size_t) n << 14);
    } else if (c != NULL && letter == 'u')
        go_up(p, c, n);
    else if (c != NULL && letter == 'a')
        ais_connection_avoid(&p->avoid, c->id);
    MUST((letter != 'x' && letter != 'c') || find(p, fd) == NULL);
    c = ais_connection_opened_by(&p->connections, &origins[n % 2]);
    MUST(c == NULL || (!c->up && c->opener == &origins[n % 2]));
    check_route(p, origins[0]);
    check_route(p, origins[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct play p = {.now = 1000000};

    for (size_t i = 0; i + 2 < size && i < STEPS_MAX * 3; i += 3)
        step(&p, (char) data[i], (data[i + 1] - '0') % 10u, (data[i + 2] - '0') % 10u);
    ais_connection_remove_all(&p.connections);
    MUST(p.connections.first == NULL);
    return 0;
}
