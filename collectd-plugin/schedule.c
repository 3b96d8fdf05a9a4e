/* When each poll is due. */

#include "schedule.h"

#include <stdlib.h>
#include <string.h>

/* Over how many looks their cost is averaged. */
#define COST_LOOKS 16

/* Through a cache most may cost nothing, but that may change. */
#define COST_MIN 0.01

/* The heap: an entry is due no later than those at 2n and 2n + 1. */

static bool is_due_before(const schedule_entry_t *a,
                          const schedule_entry_t *b) {
  return a->due < b->due;
}

static void put(schedule_t *s, size_t place, schedule_entry_t *entry) {
  s->heap[place] = entry;
  entry->place = place;
}

static void move_up(schedule_t *s, size_t place, schedule_entry_t *entry) {
  while (place > 1 && is_due_before(entry, s->heap[place / 2])) {
    put(s, place, s->heap[place / 2]);
    place /= 2;
  }
  put(s, place, entry);
}

static void move_down(schedule_t *s, size_t place, schedule_entry_t *entry) {
  for (;;) {
    size_t child = 2 * place;

    if (child < s->len && is_due_before(s->heap[child + 1], s->heap[child]))
      child++;
    if (child > s->len || !is_due_before(s->heap[child], entry))
      break;
    put(s, place, s->heap[child]);
    place = child;
  }
  put(s, place, entry);
}

/* For all members: there is always room for one that has been taken. */
static int make_room(schedule_t *s) {
  size_t size = s->size > 0 ? s->size : 16;
  schedule_entry_t **heap;

  while (size <= s->members + 1)
    size *= 2;
  if (size == s->size)
    return 0;

  heap = realloc(s->heap, size * sizeof(*heap));
  if (heap == NULL)
    return -1;
  s->heap = heap;
  s->size = size;
  return 0;
}

static void insert(schedule_t *s, schedule_entry_t *entry) {
  move_up(s, ++s->len, entry);
}

static void take_out(schedule_t *s, schedule_entry_t *entry) {
  size_t place = entry->place;
  schedule_entry_t *last = s->heap[s->len--];

  entry->place = 0;
  if (last == entry)
    return;

  if (place > 1 && is_due_before(last, s->heap[place / 2]))
    move_up(s, place, last);
  else
    move_down(s, place, last);
}

/* What is wanted, and what is to be had. */

static double max_double(double a, double b) { return a > b ? a : b; }

static void set_interval(schedule_t *s, schedule_entry_t *entry,
                         double interval) {
  if (entry->interval > 0.0)
    s->wanted -= 1.0 / entry->interval;
  else
    s->unseen--;
  if (interval > 0.0)
    s->wanted += 1.0 / interval;
  entry->interval = interval;
}

/* Of those that queue: as much as all others, or all that there is. */
static double wanted_by_queue(const schedule_t *s) {
  return max_double(s->wanted, s->pace);
}

static void set_stretch(schedule_t *s, double rate) {
  double wanted = s->wanted;

  s->pace = rate / max_double(s->cost, COST_MIN);
  if (s->first != NULL)
    wanted += wanted_by_queue(s);
  s->stretch = max_double(wanted / s->pace, 1.0);
}

/* The queue of those that are new. */

static void call_first(schedule_t *s) {
  s->first->due = s->now + 1.0 / wanted_by_queue(s);
  insert(s, s->first);
}

static void queue_up(schedule_t *s, schedule_entry_t *entry) {
  entry->next = NULL;
  if (s->first == NULL) {
    s->first = s->last = entry;
    call_first(s);
  } else {
    s->last->next = entry;
    s->last = entry;
  }
}

static void leave_queue(schedule_t *s, schedule_entry_t *entry) {
  schedule_entry_t *before = NULL;
  schedule_entry_t *e = s->first;

  for (; e != NULL && e != entry; e = e->next)
    before = e;
  if (e == NULL)
    return;

  if (s->last == entry)
    s->last = before;
  if (before != NULL) {
    before->next = entry->next;
    return;
  }

  s->first = entry->next;
  if (s->first != NULL)
    call_first(s);
}

/* The interface. */

void schedule_init(schedule_t *s, int64_t now, double rate) {
  *s = (schedule_t){.real_at = now, .cost = 1.0};
  set_stretch(s, rate);
}

void schedule_free(schedule_t *s) {
  free(s->heap);
  *s = (schedule_t){.heap = NULL};
}

/* FNV-1a, and a last round of mixing for names that differ in the last letter.
 */
static double share_of(const char *identity) {
  uint32_t hash = 2166136261u;

  for (; *identity != '\0'; identity++)
    hash = (hash ^ (unsigned char)*identity) * 16777619u;
  hash = (hash ^ (hash >> 16)) * 0x85ebca6bu;
  return (double)(hash ^ (hash >> 13)) / 4294967296.0;
}

int schedule_add(schedule_t *s, schedule_entry_t *entry, const char *identity,
                 uint32_t left) {
  if (make_room(s) != 0)
    return -1;

  s->members++;
  s->unseen++;
  entry->is_member = true;
  entry->share = share_of(identity);

  if (s->prompt < left / 2) {
    entry->is_prompt = true;
    s->prompt++;
    entry->due = s->now;
    insert(s, entry);
  } else {
    queue_up(s, entry);
  }
  return 0;
}

/* What is new has its turn, or is gone. */
static void is_new_no_more(schedule_t *s, schedule_entry_t *entry) {
  if (entry->is_prompt) {
    entry->is_prompt = false;
    s->prompt--;
  } else if (entry->interval == 0.0) {
    leave_queue(s, entry);
  }
}

void schedule_drop(schedule_t *s, schedule_entry_t *entry) {
  if (!entry->is_member)
    return;

  if (entry->place != 0)
    take_out(s, entry);
  is_new_no_more(s, entry);
  set_interval(s, entry, 0.0);
  entry->is_member = false;
  s->members--;
}

void schedule_advance(schedule_t *s, int64_t now, double rate) {
  int64_t elapsed = now > s->real_at ? now - s->real_at : 0;
  bool stands = s->len > 0 && s->heap[1]->due <= s->now;

  s->real_at = now;
  if (!stands)
    s->now += (double)elapsed / s->stretch;
  set_stretch(s, rate);
}

schedule_entry_t *schedule_take(schedule_t *s) {
  schedule_entry_t *first = s->len > 0 ? s->heap[1] : NULL;

  if (first == NULL || first->due > s->now)
    return NULL;

  take_out(s, first);
  is_new_no_more(s, first);
  return first;
}

int64_t schedule_wait(const schedule_t *s) {
  double wait;

  if (s->len == 0)
    return -1;

  wait = (s->heap[1]->due - s->now) * s->stretch;
  return wait > 0.0 ? (int64_t)wait + 1 : 0;
}

static double next_interval(const schedule_entry_t *entry, schedule_next_t next,
                            double active, double idle) {
  double interval = next == SCHEDULE_SOON    ? active
                    : entry->interval == 0.0 ? idle
                                             : 2.0 * entry->interval;

  return interval < idle ? max_double(interval, active) : idle;
}

/* Those that have begun together, or were held, are spread. */
static double gap(const schedule_entry_t *entry, double interval) {
  return interval == entry->interval && !entry->is_held
             ? interval
             : interval * (1.0 + entry->share) / 2.0;
}

void schedule_done(schedule_t *s, schedule_entry_t *entry, schedule_next_t next,
                   int64_t active, int64_t idle) {
  if (next == SCHEDULE_NEVER) {
    schedule_drop(s, entry);
    return;
  }

  if (next != SCHEDULE_NOW) {
    double interval = next_interval(entry, next, (double)active, (double)idle);

    entry->due = max_double(entry->due + gap(entry, interval), s->now);
    entry->is_held = false;
    set_interval(s, entry, interval);
  }
  insert(s, entry);
}

void schedule_hold(schedule_t *s, schedule_entry_t *entry, int64_t ms) {
  entry->due = s->now + (double)ms / s->stretch;
  entry->is_held = true;
  insert(s, entry);
}

double schedule_round(const schedule_t *s) {
  return (double)s->members / s->pace;
}

void schedule_spent(schedule_t *s, unsigned calls, bool is_more) {
  if (!is_more)
    s->cost -= s->cost / COST_LOOKS;
  s->cost += (double)calls / COST_LOOKS;
}

schedule_news_t schedule_news(schedule_t *s, int64_t now, int64_t patience) {
  if (s->wanted > s->pace) {
    s->scarce_at = now;
    if (s->scarce || s->unseen > 0)
      return SCHEDULE_NO_NEWS;
    s->scarce = true;
    return SCHEDULE_SCARCE;
  }

  if (!s->scarce || now - s->scarce_at <= patience)
    return SCHEDULE_NO_NEWS;
  s->scarce = false;
  return SCHEDULE_AMPLE;
}
