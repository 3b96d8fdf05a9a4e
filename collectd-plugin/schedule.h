#ifndef AISEARCH_SCHEDULE_H
#define AISEARCH_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>

#include "ais_clock.h"

/*
 * Determines when each of a payer's lookups is due. Each entry has its own
 * interval and becomes due once per interval on the schedule's clock. That
 * clock follows the real one as long as the budget allows all lookups.
 * Otherwise it runs slower by the ratio of demand to supply, the stretch, and
 * it stops while an entry that is due may not start. So all intervals are
 * stretched evenly and immediately, and no entry starves.
 *
 * Pure: independent of collectd. Real times are milliseconds of one monotonic
 * clock; times of the schedule's clock are milliseconds with fractions.
 */

typedef struct schedule_entry_s schedule_entry_t;

/* A member of what is looked up, owned by the caller. It must not be changed or
 * freed while it is in the schedule. */
struct schedule_entry_s {
  double due;      /* by the schedule's clock; for a new entry: its number */
  double interval; /* ms, the current one; 0: not looked up yet */
  double share; /* 0 to 1, by identity: spreads entries that start together */
  bool is_member;
  bool is_held;            /* with others, since its last lookup */
  schedule_entry_t **heap; /* the heap that it is in; NULL: in progress */
  schedule_entry_t *parent, *left, *right;
};

typedef struct {
  schedule_entry_t *waiting; /* the first one that is due */
  size_t members;            /* including those in progress */
  size_t unseen;             /* members without an interval */

  /* New entries, which start in the order in which they were added. */
  schedule_entry_t *fresh;
  size_t added;    /* total number of entries, to number them */
  double fresh_at; /* when the next new one is due, by the clock */
  size_t prompt;   /* number of new entries that are due at once */

  int64_t real_at; /* when the clock was last advanced */
  double now;      /* the schedule's clock */
  double wanted;   /* lookups per ms, by the intervals of all entries */
  double cost;     /* calls per lookup, on average */
  double pace;     /* lookups per ms that the budget allows */
  double stretch;  /* at least 1 */

  bool scarce;       /* the intervals are stretched, and that was reported */
  int64_t scarce_at; /* when they were last stretched */
} schedule_t;

/* The result of a lookup: when the next one is due. */
typedef enum {
  SCHEDULE_SOON,  /* after the active interval: a job is active, or the lookup
                     failed */
  SCHEDULE_LATER, /* after twice the last interval, up to the idle interval */
  SCHEDULE_NOW,   /* at once: more requests are needed, or it could not start */
  SCHEDULE_NEVER,
} schedule_next_t;

/* rate is the number of calls per ms that the budget allows. */
void schedule_init(schedule_t *s, int64_t now, double rate);

/*
 * Adds a zero-initialized entry. It is due at once, as long as all new entries
 * take no more than half of the calls that are left. The others queue and get
 * the share of the supply that known entries do not need, but at least half.
 * identity is hashed and must be the same after each start.
 */
void schedule_add(schedule_t *s, schedule_entry_t *entry, const char *identity,
                  uint32_t left);

/* Removes an entry, whether it waits, is in progress, or is no member. */
void schedule_drop(schedule_t *s, schedule_entry_t *entry);

/* Advances the clock and sets the stretch for the given rate. */
void schedule_advance(schedule_t *s, int64_t now, double rate);

/* Returns the next entry that is due and removes it from its heap until
 * schedule_done() or schedule_hold() is called; NULL: none is due. */
schedule_entry_t *schedule_take(schedule_t *s);

/* Returns the number of real ms until an entry is due, or AIS_NEVER. */
int64_t schedule_wait(const schedule_t *s);

/* To be called when a lookup has ended; intervals are in ms. */
void schedule_done(schedule_t *s, schedule_entry_t *entry, schedule_next_t next,
                   int64_t active, int64_t idle);

/* Delays the entry that was taken by some real ms. It keeps its interval. */
void schedule_hold(schedule_t *s, schedule_entry_t *entry, int64_t ms);

/* Records the cost of a lookup, in calls charged to the budget. is_more: the
 * request continues a lookup that was recorded before. */
void schedule_spent(schedule_t *s, unsigned calls, bool is_more);

/* Whether to report a change of scarce, which requires that the whole demand is
 * known. patience: the supply must suffice for that many ms before this is
 * reported. */
bool schedule_news(schedule_t *s, int64_t now, int64_t patience);

#endif
