#ifndef AISEARCH_DISCOVERY_H
#define AISEARCH_DISCOVERY_H

#include "ais_answer.h"

/*
 * How a list of instances is read, and what follows from it. An instance in
 * the list exists; one that is missing is not necessarily gone.
 *
 * A round reads the list from its first page to its last. Because instances
 * are created and deleted between two requests, which moves others from one
 * page to another,
 *
 *   - a list whose total_count changes on the way, or differs from the number
 *     of elements, is read again from the first page, and if this happens
 *     repeatedly, no instance is considered gone;
 *   - an instance is gone only if it is also missing when the list is read a
 *     second time, right after the first, and not from a cache.
 *
 * If a page begins with the same element as the previous page, the server
 * ignores the page number, and there is nothing more to read. Nothing follows
 * from a list without any valid name. If a list has more than
 * DISCOVERY_PAGES_MAX pages, the rest is not read. In these cases, no instance
 * is considered gone.
 *
 * Usage:
 *
 *     discovery_begin(d);                 // every DiscoveryInterval
 *   again:
 *     ... request d->page until there is a successful response:
 *     step = discovery_page(d, page, is_old);
 *     ... process all instances of the page
 *     if (step == DISCOVERY_DONE)
 *       step = discovery_pass(d, is_missing);
 *     ... MORE: goto again
 *
 * Pure: independent of collectd.
 */

#define DISCOVERY_PER_PAGE 100 /* the API's maximum */
#define DISCOVERY_PAGES_MAX 1000
#define DISCOVERY_MAX (DISCOVERY_PER_PAGE * DISCOVERY_PAGES_MAX)
#define DISCOVERY_PASSES_MAX 4 /* how often a round reads the list */

typedef enum {
  DISCOVERY_MORE,    /* request another page */
  DISCOVERY_DONE,    /* the end of the list */
  DISCOVERY_CERTAIN, /* also: missing instances are gone */
} discovery_step_t;

typedef struct {
  unsigned passes; /* started in this round */
  unsigned good;   /* completed with consistent data */

  /* in the current pass */
  int page;        /* to be requested next */
  int64_t total;   /* total_count of the first page, or -1 */
  int64_t seen;    /* elements so far */
  size_t left_out; /* of those, elements with an invalid name */
  char first[128]; /* the name of the latest page's first element */
  bool moved;      /* total_count changed on the way */
  bool old;        /* a page was from a cache that is too old */
  bool repeats;    /* the latest page repeats the previous one */
  bool full;       /* there are more elements than are read or watched */
} discovery_t;

/* Starts a round and abandons the current one. */
void discovery_begin(discovery_t *d);

/* Processes the page that was requested. is_old: a cache has held it since
 * before the first pass ended, so it does not confirm anything. Returns
 * DISCOVERY_DONE at the end of the list, otherwise DISCOVERY_MORE. */
discovery_step_t discovery_page(discovery_t *d, const struct ais_listing *page,
                                bool is_old);

/* To be called at the end of the list. is_missing: an instance that existed
 * before the round was on none of its pages. Returns DISCOVERY_MORE if the list
 * must be read again. */
discovery_step_t discovery_pass(discovery_t *d, bool is_missing);

#endif
