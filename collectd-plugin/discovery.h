#ifndef AISEARCH_DISCOVERY_H
#define AISEARCH_DISCOVERY_H

#include "ais_answer.h"

/*
 * How a list of instances is read, and what it is good for: that an instance
 * stands in it tells that it is there, at once; that one does not stand in it
 * seldom tells that it is gone.
 *
 * A round reads the list from its first page to its end. Since instances come
 * and go between two pages, which moves others from one page to another,
 *
 *   - a list whose total_count changes on the way, or does not come out right,
 *     is read again from the first page, and if that happens over and over, it
 *     tells nothing of what is gone;
 *   - an instance is gone only if it is missing when the list is read a second
 *     time, right after the first, and not out of a cache.
 *
 * A page that begins as the one before is from a list that ignores which page
 * is asked for, and has no more to tell; and a list without anything that can
 * be asked about tells nothing. Of a list with more than DISCOVERY_PAGES_MAX
 * pages the others are not read. None of these tells what is gone.
 *
 * How to use it:
 *
 *     discovery_begin(d);                 // every DiscoveryInterval
 *   again:
 *     ... ask for d->page, and take an answer that is a success:
 *     step = discovery_page(d, page, is_old);
 *     ... take all instances of the page
 *     if (step == DISCOVERY_DONE)
 *       step = discovery_pass(d, is_missing);
 *     ... MORE: goto again
 *
 * Pure, without collectd in it.
 */

#define DISCOVERY_PER_PAGE 100 /* the most that the API gives */
#define DISCOVERY_PAGES_MAX 1000
#define DISCOVERY_MAX (DISCOVERY_PER_PAGE * DISCOVERY_PAGES_MAX)
#define DISCOVERY_PASSES_MAX 4 /* how often one round reads the list */

typedef enum {
  DISCOVERY_MORE,    /* ask for the next one */
  DISCOVERY_DONE,    /* there is no more to read */
  DISCOVERY_CERTAIN, /* and what is missing is gone */
} discovery_step_t;

typedef struct {
  unsigned passes; /* that have begun in this round */
  unsigned good;   /* that have ended, and came out right */

  /* of the present pass */
  int page;        /* to be asked for next */
  int64_t total;   /* what its first page said, or -1 */
  int64_t seen;    /* elements so far */
  size_t left_out; /* of those: with names that cannot be asked about */
  char first[128]; /* the name that the latest page began with */
  bool moved;      /* another page said another total */
  bool old;        /* a page of it was */
  bool repeats;    /* a page of it was there before */
  bool full;       /* there are more than are read, or watched */
} discovery_t;

/* Begins a round; one that was under way is forgotten. */
void discovery_begin(discovery_t *d);

/* Takes over the page that was asked for. is_old: a cache has had it since
 * before the first pass ended, so that it is no second look. Returns DONE at
 * the end of the list. */
discovery_step_t discovery_page(discovery_t *d, const struct ais_listing *page,
                                bool is_old);

/* What to do then. is_missing: something that was there before the round was
 * in none of its pages. Returns MORE where the list is to be read again. */
discovery_step_t discovery_pass(discovery_t *d, bool is_missing);

#endif
