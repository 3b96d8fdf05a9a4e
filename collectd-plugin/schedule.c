/* Determines when each poll is due. */

#include "schedule.h"

/* The number of lookups over which their cost is averaged. */
#define COST_LOOKS 16

/* Behind a cache most lookups may cost nothing, but that can change. */
#define COST_MIN 0.01

/* Skew heaps: an entry is due no later than its two children. Two heaps are
 * merged along their right spines, which become left spines, so that right
 * spines stay short without storing any depth. */
static schedule_entry_t *meld(schedule_entry_t *a, schedule_entry_t *b) {
  schedule_entry_t *top = NULL, *parent = NULL, **place = &top;

  while (a != NULL && b != NULL) {
    schedule_entry_t *first = b->due < a->due ? b : a;

    b = first == a ? b : a;
    a = first->right;
    first->right = first->left;
    first->parent = parent;
    parent = *place = first;
    place = &first->left;
  }

  *place = a != NULL ? a : b;
  if (*place != NULL)
    (*place)->parent = parent;
  return top;
}

static void insert(schedule_entry_t **heap, schedule_entry_t *entry) {
  entry->heap = heap;
  entry->parent = entry->left = entry->right = NULL;
  *heap = meld(*heap, entry);
}

static void take_out(schedule_entry_t *entry) {
  schedule_entry_t *parent = entry->parent;
  schedule_entry_t *rest = meld(entry->left, entry->right);

  *(parent == NULL          ? entry->heap
    : parent->left == entry ? &parent->left
                            : &parent->right) = rest;
  if (rest != NULL)
    rest->parent = parent;
  entry->heap = NULL;
}

/* Demand and supply. */

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

/* The demand of new entries: as much as all others, or the entire supply. */
static double wanted_by_queue(const schedule_t *s) {
  return max_double(s->wanted, s->pace);
}

static void set_stretch(schedule_t *s, double rate) {
  double wanted = s->wanted;

  s->pace = rate / max_double(s->cost, COST_MIN);
  if (s->fresh != NULL && s->prompt == 0)
    wanted += wanted_by_queue(s);
  s->stretch = max_double(wanted / s->pace, 1.0);
}

/* The interface. */

void schedule_init(schedule_t *s, int64_t now, double rate) {
  *s = (schedule_t){.real_at = now, .cost = 1.0};
  set_stretch(s, rate);
}

/* FNV-1a with a final mixing step, for names that differ only in the last
 * letter. */
static double share_of(const char *identity) {
  uint32_t hash = 2166136261u;

  for (; *identity != '\0'; identity++)
    hash = (hash ^ (unsigned char)*identity) * 16777619u;
  hash = (hash ^ (hash >> 16)) * 0x85ebca6bu;
  return (double)(hash ^ (hash >> 13)) / 4294967296.0;
}

void schedule_add(schedule_t *s, schedule_entry_t *entry, const char *identity,
                  uint32_t left) {
  s->members++;
  s->unseen++;
  entry->is_member = true;
  entry->share = share_of(identity);

  if (s->fresh == NULL)
    s->prompt = 0;
  if (s->prompt < left / 2) {
    s->prompt++;
    s->fresh_at = s->now;
  } else if (s->fresh == NULL) {
    s->fresh_at = s->now + 1.0 / wanted_by_queue(s);
  }
  entry->due = (double)s->added++;
  insert(&s->fresh, entry);
}

void schedule_drop(schedule_t *s, schedule_entry_t *entry) {
  if (!entry->is_member)
    return;

  if (entry->heap != NULL)
    take_out(entry);
  set_interval(s, entry, 0.0);
  entry->is_member = false;
  s->members--;
}

/* Returns the next entry and sets when it is due; NULL: none. */
static schedule_entry_t *find_next(const schedule_t *s, double *due) {
  schedule_entry_t *next = s->waiting;

  if (next != NULL)
    *due = next->due;
  if (s->fresh != NULL && (next == NULL || s->fresh_at < *due)) {
    next = s->fresh;
    *due = s->fresh_at;
  }
  return next;
}

void schedule_advance(schedule_t *s, int64_t now, double rate) {
  int64_t elapsed = now > s->real_at ? now - s->real_at : 0;

  s->real_at = now;
  if (schedule_wait(s) != 0)
    s->now += (double)elapsed / s->stretch;
  set_stretch(s, rate);
}

schedule_entry_t *schedule_take(schedule_t *s) {
  double due;
  schedule_entry_t *next = find_next(s, &due);

  if (next == NULL || due > s->now)
    return NULL;

  if (next->heap == &s->fresh && s->prompt > 0)
    s->prompt--;
  if (next->heap == &s->fresh && s->prompt == 0)
    s->fresh_at = s->now + 1.0 / wanted_by_queue(s);
  take_out(next);
  next->due = due;
  return next;
}

int64_t schedule_wait(const schedule_t *s) {
  double due;

  if (find_next(s, &due) == NULL)
    return AIS_NEVER;
  return due > s->now ? (int64_t)((due - s->now) * s->stretch) + 1 : 0;
}

static double next_interval(const schedule_entry_t *entry, schedule_next_t next,
                            double active, double idle) {
  double interval = next == SCHEDULE_SOON    ? active
                    : entry->interval == 0.0 ? idle
                                             : 2.0 * entry->interval;

  return interval < idle ? max_double(interval, active) : idle;
}

/* Spreads entries that have started, or were held, at the same time. */
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
  insert(&s->waiting, entry);
}

void schedule_hold(schedule_t *s, schedule_entry_t *entry, int64_t ms) {
  entry->due = s->now + (double)ms / s->stretch;
  entry->is_held = true;
  insert(&s->waiting, entry);
}

void schedule_spent(schedule_t *s, unsigned calls, bool is_more) {
  if (!is_more)
    s->cost -= s->cost / COST_LOOKS;
  s->cost += (double)calls / COST_LOOKS;
}

bool schedule_news(schedule_t *s, int64_t now, int64_t patience) {
  bool scarce = s->wanted > s->pace;

  if (scarce)
    s->scarce_at = now;
  if (scarce == s->scarce || (scarce && s->unseen > 0) ||
      (!scarce && now - s->scarce_at <= patience))
    return false;

  s->scarce = scarce;
  return true;
}
