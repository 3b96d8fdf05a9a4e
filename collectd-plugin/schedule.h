#ifndef AISEARCH_SCHEDULE_H
#define AISEARCH_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>

#include "ais_clock.h"

/*
 * When each look-up of a payer is due. Each has an interval of its own, and
 * becomes due once per interval on the schedule's clock. That clock follows the
 * real one as long as there are calls enough for all. Where there are not, it
 * goes slower by the factor of what is wanted over what is to be had, the
 * stretch; and it stands still while something is due that may not begin. So
 * all are stretched evenly, at once, and none starves.
 *
 * Pure, without collectd in it. Real times are milliseconds of one clock that
 * nobody sets, and so are those of the schedule's clock, but with fractions.
 */

typedef struct schedule_entry_s schedule_entry_t;

/* Part of what is looked up. Belongs to the schedule while it is in there. */
struct schedule_entry_s {
  double due;      /* of the schedule's clock; of a fresh one: its number */
  double interval; /* ms, as it is now; 0: not looked at yet */
  double share;    /* 0 to 1, by identity: spreads those that begin together */
  bool is_member;
  bool is_held;            /* with others, since it was looked at */
  schedule_entry_t **heap; /* that it waits in; NULL: it is under way */
  schedule_entry_t *parent, *left, *right;
};

typedef struct {
  schedule_entry_t *waiting; /* the first one to be due */
  size_t members;            /* those that are under way included */
  size_t unseen;             /* members without an interval */

  /* Those that have not been taken yet go in the order in which they came. */
  schedule_entry_t *fresh;
  size_t added;    /* so far: their numbers */
  double fresh_at; /* when the next of them is due, of the clock */
  size_t prompt;   /* so many of them are due at once */

  int64_t real_at; /* when the clock was advanced last */
  double now;      /* the clock */
  double wanted;   /* looks per ms, by the intervals of all */
  double cost;     /* calls per look, on average */
  double pace;     /* looks per ms that are to be had */
  double stretch;  /* at least 1 */

  bool scarce;       /* the intervals are stretched, and that was said */
  int64_t scarce_at; /* when it was stretched last */
} schedule_t;

/* What came of a look: when to look again. */
typedef enum {
  SCHEDULE_SOON,  /* after the active interval: something goes on, or went
                     wrong */
  SCHEDULE_LATER, /* more and more rarely, up to the idle interval */
  SCHEDULE_NOW,   /* at once: there is more to see, or it could not begin */
  SCHEDULE_NEVER,
} schedule_next_t;

/* rate is how many calls per ms are to be had. */
void schedule_init(schedule_t *s, int64_t now, double rate);

/*
 * Adds an entry that was zeroed. It is due at once, as long as all that are new
 * take no more than half of the calls that are left. The others queue; of what
 * is to be had, they get what those do not want that are known, and at least
 * half. identity is what it is known by, on every start the same.
 */
void schedule_add(schedule_t *s, schedule_entry_t *entry, const char *identity,
                  uint32_t left);

/* Whether it waits, is under way, or is none of it any more. */
void schedule_drop(schedule_t *s, schedule_entry_t *entry);

/* Moves the clock on, and stretches it to the rate from now on. */
void schedule_advance(schedule_t *s, int64_t now, double rate);

/* The next one that is due, which leaves the heap until done() is called; NULL
 * where there is none. */
schedule_entry_t *schedule_take(schedule_t *s);

/* How many real milliseconds until one is due, or AIS_NEVER. */
int64_t schedule_wait(const schedule_t *s);

/* A look has ended: when is the next one? */
void schedule_done(schedule_t *s, schedule_entry_t *entry, schedule_next_t next,
                   int64_t active, int64_t idle);

/* The one that was taken may not begin before ms have passed: it keeps its
 * interval. */
void schedule_hold(schedule_t *s, schedule_entry_t *entry, int64_t ms);

/* What a look has cost, in calls that count. is_more: it went on with one that
 * was told of before. */
void schedule_spent(schedule_t *s, unsigned calls, bool is_more);

/* Whether there is something to be said about the stretch: scarce has changed,
 * and all that is wanted is known. patience is how long there has to be enough
 * before that is said. */
bool schedule_news(schedule_t *s, int64_t now, int64_t patience);

#endif
