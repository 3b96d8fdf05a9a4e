#include "history.h"

#include <string.h>

#include "words.h"

/*
 * A history as text, what has its first value left out. For example:
 *
 *     seen=1795435200.000 listed=1 failed=0/2/0 floor=1795435100.000
 *     ended=0123456789abcdef@1795435180.000
 *     active=00c0ffee00c0ffee@1795435190.000
 *
 * Counters are by source: user, schedule, others. Of the jobs that have ended
 * the latest are kept, so that others of the same second are not taken for
 * them.
 */

static const enum ais_state ends[] = {AIS_SUCCEEDED, AIS_FAILED, AIS_CANCELLED};

#define ENDS (sizeof(ends) / sizeof(ends[0]))

static void print_time(words_t *w, const char *word, int64_t t) {
  if (t == AIS_TIME_NONE)
    return;
  aisearch_words_begin(w, word);
  aisearch_words_time(w, t);
}

static void print_counters(words_t *w, const history_t *h) {
  for (size_t i = 0; i < ENDS; i++) {
    const uint64_t *n = h->ended[ends[i]];

    if (aisearch_history_ended(h, ends[i]) == 0)
      continue;
    aisearch_words_begin(w, ais_state_name(ends[i]));
    aisearch_words_number(w, n[HISTORY_USER]);
    aisearch_words_char(w, '/');
    aisearch_words_number(w, n[HISTORY_SCHEDULE]);
    aisearch_words_char(w, '/');
    aisearch_words_number(w, n[HISTORY_OTHER]);
  }
}

static void print_job(words_t *w, const char *word, const history_job_t *job,
                      int n) {
  if (n == 0)
    aisearch_words_begin(w, word);
  else
    aisearch_words_char(w, ',');
  aisearch_words_hash(w, job->id);
  aisearch_words_char(w, '@');
  aisearch_words_time(w, job->at);
}

static void print_active(words_t *w, const history_t *h) {
  int n = 0;

  for (uint32_t i = 0; i < h->njobs && n < HISTORY_JOBS - HISTORY_KEPT; i++)
    if (h->jobs[i].active)
      print_job(w, "active", &h->jobs[i], n++);
}

/* The jobs that ended of which the begin is known, the latest first, and how
 * many; at most one more than are kept. */
static int find_latest(const history_t *h,
                       const history_job_t *latest[HISTORY_KEPT + 1]) {
  int n = 0;

  for (uint32_t i = 0; i < h->njobs; i++) {
    const history_job_t *job = &h->jobs[i];
    int place = n;

    if (job->active || job->at < 0)
      continue;
    while (place > 0 && latest[place - 1]->at < job->at)
      place--;
    if (place > HISTORY_KEPT)
      continue;

    n += n <= HISTORY_KEPT;
    memmove(latest + place + 1, latest + place,
            (size_t)(n - place - 1) * sizeof(latest[0]));
    latest[place] = job;
  }
  return n;
}

/* All others are known by the floor, later on. */
static void print_ended(words_t *w, const history_t *h) {
  const history_job_t *latest[HISTORY_KEPT + 1];
  int n = find_latest(h, latest);

  if (n > HISTORY_KEPT && latest[HISTORY_KEPT]->at > h->floor)
    print_time(w, "floor", latest[HISTORY_KEPT]->at);
  else
    print_time(w, "floor", h->floor);

  for (int i = 0; i < n && i < HISTORY_KEPT; i++)
    print_job(w, "ended", latest[i], i);
}

void aisearch_history_print(const history_t *h, char text[HISTORY_TEXT_SIZE]) {
  words_t w = {text, HISTORY_TEXT_SIZE, 0};

  text[0] = '\0';
  print_time(&w, "seen", h->seen_at);
  print_time(&w, "changed", h->changed_at);
  print_time(&w, "success", h->succeeded_at);
  print_time(&w, "excused", h->excused_at);
  if (h->listed) {
    aisearch_words_begin(&w, "listed");
    aisearch_words_char(&w, '1');
  }
  print_counters(&w, h);
  print_ended(&w, h);
  print_active(&w, h);
}

static bool read_counters(const char **text, uint64_t n[HISTORY_SOURCES]) {
  return aisearch_words_read_number(text, 10, &n[HISTORY_USER]) &&
         aisearch_words_read_char(text, '/') &&
         aisearch_words_read_number(text, 10, &n[HISTORY_SCHEDULE]) &&
         aisearch_words_read_char(text, '/') &&
         aisearch_words_read_number(text, 10, &n[HISTORY_OTHER]);
}

static bool read_jobs(const char **text, history_t *h, bool active) {
  do {
    uint64_t id;
    int64_t at;

    if (!aisearch_words_read_number(text, 16, &id) ||
        !aisearch_words_read_char(text, '@') ||
        !aisearch_words_read_time(text, &at) ||
        !aisearch_history_add_job(h, id, at, active))
      return false;
  } while (aisearch_words_read_char(text, ','));

  return true;
}

static bool read_word(const char **text, history_t *h) {
  for (size_t i = 0; i < ENDS; i++)
    if (aisearch_words_read_word(text, ais_state_name(ends[i])))
      return read_counters(text, h->ended[ends[i]]);

  if (aisearch_words_read_word(text, "seen"))
    return aisearch_words_read_time(text, &h->seen_at);
  if (aisearch_words_read_word(text, "changed"))
    return aisearch_words_read_time(text, &h->changed_at);
  if (aisearch_words_read_word(text, "success"))
    return aisearch_words_read_time(text, &h->succeeded_at);
  if (aisearch_words_read_word(text, "excused"))
    return aisearch_words_read_time(text, &h->excused_at);
  if (aisearch_words_read_word(text, "floor"))
    return aisearch_words_read_time(text, &h->floor);
  if (aisearch_words_read_word(text, "listed"))
    return h->listed = aisearch_words_read_char(text, '1');
  if (aisearch_words_read_word(text, "ended"))
    return read_jobs(text, h, /* active = */ false);
  return aisearch_words_read_word(text, "active") &&
         read_jobs(text, h, /* active = */ true);
}

bool aisearch_history_parse(history_t *h, const char *text) {
  bool good = true;

  aisearch_history_init(h);
  while (good && *text != '\0')
    good = read_word(&text, h) && aisearch_words_read_end(&text);

  if (!good)
    aisearch_history_free(h);
  return good;
}
