#ifndef AISEARCH_DISCOVERY_H
#define AISEARCH_DISCOVERY_H

#include "ais_answer.h"
#include "ais_resource.h"

#include "instance.h"
#include "selection.h"

/*
 * What lists of instances tell: which instances are there to be watched, which
 * have come, changed or gone. One discovery_t is about one list, that of an
 * account or of one of its namespaces.
 *
 * A round reads the list from its first page to its end. Only when that was
 * read, all of it, something changes; a round that fails half-way changes
 * nothing. Since instances come and go between two pages, which moves others
 * from one page to another,
 *
 *   - a list whose total_count changes on the way, or does not come out right,
 *     is read again from the first page, and if that happens over and over, it
 *     is good enough to tell what is there, but not what is gone;
 *   - an instance is gone only if it is missing when the list is read a second
 *     time, right after the first, and not out of a cache.
 *
 * A page of nothing but what was there before is from a list that ignores which
 * page is asked for, and has no more to tell; and one without anything that can
 * be asked about tells nothing. That is good enough, too, to tell what is
 * there. So is a list with more instances than DISCOVERY_MAX, which is not read
 * any further; nor are more than that watched, whatever the lists of several
 * rounds come up with.
 *
 * Named instances, those of the configuration, are watched whether the lists
 * tell of them or not. Of an instance that has gone nothing is remembered: when
 * it comes back, it is a new one.
 *
 * How to use it, in the thread that fetches:
 *
 *     discovery_begin(d);                 // every DiscoveryInterval
 *   again:
 *     discovery_resource(d, &resource);   // ask for that
 *     ... an answer that is a success:
 *     step = discovery_page(d, &answer.listing, is_old, tell, data);
 *       DISCOVERY_MORE     goto again
 *       DISCOVERY_FAILED   nothing has changed; until the next round
 *       DISCOVERY_DONE     it has told what has come of the round
 *     ... any other answer, or none: nothing to do, until the next begin()
 *
 * Pure, without collectd in it.
 */

#define DISCOVERY_PER_PAGE 100 /* the most that the API gives */
#define DISCOVERY_PAGES_MAX 1000
#define DISCOVERY_MAX (DISCOVERY_PER_PAGE * DISCOVERY_PAGES_MAX)
#define DISCOVERY_PASSES_MAX 4 /* how often one round reads the list */

/* An instance that is watched. The pointer to it is good until it has gone. */
typedef struct discovery_instance_s discovery_instance_t;
struct discovery_instance_s {
  char *id;
  char *namespace; /* to ask about it by; NULL: as a plain instance */
  enum ais_generation generation; /* AIS_PLAIN, or AIS_NAMESPACED */
  facts_t facts;

  bool named;
  bool skipped; /* it cannot be watched */
  void *data;   /* the caller's: NULL at first */

  /* discovery.c's own */
  bool is_new;    /* not known before this round */
  unsigned pass;  /* of this round, that found it last; 0: none did */
  facts_t latest; /* as it was found */
  discovery_instance_t *next;
};

typedef enum {
  DISCOVERY_APPEARED, /* watch it from now on */
  DISCOVERY_CHANGED,  /* what is known of it has; also of named ones */
  DISCOVERY_GONE,     /* freed after this call: take data back now */

  /* It was selected, but cannot be watched; said once. */
  DISCOVERY_LONG,  /* its name does not fit */
  DISCOVERY_TAKEN, /* an AutoRAG of the configuration reports by its name */
} discovery_event_t;

/* Told at the end of a round; first comes what has gone. */
typedef void (*discovery_tell_t)(void *data, discovery_event_t event,
                                 discovery_instance_t *instance);

typedef enum {
  DISCOVERY_MORE,   /* ask for the next resource */
  DISCOVERY_DONE,   /* take the changes */
  DISCOVERY_FAILED, /* the list makes no sense, or memory has run out */
} discovery_step_t;

typedef struct {
  const char *namespace;        /* whose list it is; NULL: the account's */
  const selection_t *selection; /* NULL: only what is named is looked for */
  size_t room;                  /* how long INSTANCE[@NAMESPACE] may be */

  discovery_instance_t *first; /* known ones, and those of the round */
  void *by_name;               /* a tree of the same */
  size_t nknown;

  /* of the present round */
  size_t nnew;
  unsigned passes; /* that have begun */
  unsigned good;   /* that have ended, and came out right */
  int page;        /* to be asked for next */
  int64_t total;   /* what the first page of the pass said, or -1 */
  bool moved;      /* and another page something else */
  bool old;        /* a page of it was */
  bool repeats;    /* and another had nothing that was not there before */
  int64_t seen;    /* elements of this pass so far */
  size_t left_out; /* of those: with names that cannot be asked about */
  bool full;       /* there are more than are watched */
} discovery_t;

/* namespace and selection have to outlive it; without a selection, what is not
 * named is passed over. */
void discovery_init(discovery_t *d, const char *namespace,
                    const selection_t *selection, size_t room);
void discovery_free(discovery_t *d);

/*
 * Before the first round: an instance that is watched, in whatever namespace
 * (NULL: none given); named, by the configuration: it stays. For AIS_AUTORAG
 * its name is taken, and no instance of that name is watched. Twice is fine;
 * the first one's data count. Returns -1 where memory runs out.
 */
int discovery_add(discovery_t *d, enum ais_generation generation,
                  const char *id, const char *namespace, bool named,
                  void *data);

/* Begins a round; one that was under way is forgotten. */
void discovery_begin(discovery_t *d);

/* What to ask for next: ais_resource_path() makes a path of it. */
void discovery_resource(const discovery_t *d, struct ais_resource *resource);

/* Takes over the page that was asked for. is_old: a cache has had it since
 * before the first pass ended, so that it is no second look. Where that ends
 * the round, tells what has come of it. */
discovery_step_t discovery_page(discovery_t *d, const struct ais_listing *page,
                                bool is_old, discovery_tell_t tell, void *data);

#endif
