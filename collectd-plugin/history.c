/* Which jobs of an instance are known, and how many have ended. */

#include "history.h"

#include <stdlib.h>
#include <string.h>

/* Fits history_job_t. */
#define NO_TIME (-(INT64_C(1) << 47))
#define LAST_TIME ((INT64_C(1) << 47) - 1)

/* A look at a page, or at a job. */
typedef struct {
  history_t *history;
  history_news_t *news;
  int64_t answered_at;
  int64_t patience;
  bool is_first; /* nothing is known yet: what has ended does not count */
  bool overlaps; /* with what was known before */
  bool is_news;  /* something in it was not seen in this look */
} look_t;

static int64_t min_time(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t max_time(int64_t a, int64_t b) { return a > b ? a : b; }

void history_init(history_t *h) {
  *h = (history_t){
      .seen_at = AIS_TIME_NONE,
      .changed_at = AIS_TIME_NONE,
      .succeeded_at = AIS_TIME_NONE,
      .floor = AIS_TIME_NONE,
      .excused_at = AIS_TIME_NONE,
  };
}

void history_free(history_t *h) {
  free(h->jobs);
  history_init(h);
}

/* FNV-1a. */
static uint64_t hash(const char *s) {
  uint64_t h = UINT64_C(0xcbf29ce484222325);

  for (; *s != '\0'; s++)
    h = (h ^ (unsigned char)*s) * UINT64_C(0x100000001b3);
  return h;
}

/* The jobs that are remembered. */

static history_job_t *find_job(const history_t *h, uint64_t id) {
  for (uint32_t i = 0; i < h->njobs; i++)
    if (h->jobs[i].id == id)
      return &h->jobs[i];
  return NULL;
}

static void forget_job(history_t *h, history_job_t *job) {
  *job = h->jobs[--h->njobs];
}

/* Those that may be forgotten first: what has ended, the oldest of it first.
 * What has no time, and was there just now, would count again. */
static bool is_before(const history_job_t *a, const history_job_t *b) {
  int64_t rank_a = a->active ? 2 : a->at == NO_TIME && a->seen ? 1 : 0;
  int64_t rank_b = b->active ? 2 : b->at == NO_TIME && b->seen ? 1 : 0;

  return rank_a != rank_b ? rank_a < rank_b : a->at < b->at;
}

static void forget_oldest(history_t *h) {
  history_job_t *oldest = h->jobs;

  for (uint32_t i = 1; i < h->njobs; i++)
    if (is_before(&h->jobs[i], oldest))
      oldest = &h->jobs[i];

  if (!oldest->active && oldest->at != NO_TIME)
    h->floor = max_time(h->floor, oldest->at);
  forget_job(h, oldest);
}

static bool grow(history_t *h) {
  uint32_t size = h->size == 0 ? 4 : h->size * 2;
  history_job_t *jobs = realloc(h->jobs, size * sizeof(*jobs));

  if (jobs == NULL)
    return false;

  h->jobs = jobs;
  h->size = size;
  return true;
}

/* A look that is not over needs all that it has seen. */
static history_job_t *add_job(history_t *h, uint64_t id) {
  if (h->njobs == h->size && !grow(h)) {
    if (h->njobs == 0)
      return NULL;
    forget_oldest(h);
  }

  h->jobs[h->njobs] = (history_job_t){.id = id, .seen = true};
  return &h->jobs[h->njobs++];
}

/* What is known at the end of a look. */
static void settle(history_t *h) {
  history_job_t *jobs;

  while (h->njobs > HISTORY_JOBS)
    forget_oldest(h);
  for (uint32_t i = 0; i < h->njobs; i++)
    h->jobs[i].fresh = false;
  h->resumed = true;

  if (h->size > HISTORY_JOBS) {
    jobs = realloc(h->jobs, HISTORY_JOBS * sizeof(*jobs));
    if (jobs != NULL) {
      h->jobs = jobs;
      h->size = HISTORY_JOBS;
    }
  }
}

/* A list that was read to where all is known does not have them. It may be an
 * old one, from a cache or a replica: they are forgotten at the second time. */
static void miss_jobs(history_t *h) {
  for (uint32_t i = h->njobs; i-- > 0;) {
    history_job_t *job = &h->jobs[i];

    if (job->active && !job->seen && job->missed)
      forget_job(h, job);
    else
      job->missed = !job->seen;
  }
}

static bool misses_active(const history_t *h) {
  for (uint32_t i = 0; i < h->njobs; i++)
    if (h->jobs[i].active && !h->jobs[i].seen)
      return true;
  return false;
}

/* Times. */

static int64_t sane_time(const look_t *look, int64_t t) {
  if (t == AIS_TIME_NONE || t < 0 || t > LAST_TIME ||
      t > look->answered_at + CLOCKS_DIFFER)
    return NO_TIME;
  return t;
}

/* When an ended job began; one that left the queue otherwise, when it did. */
static int64_t began_at(const look_t *look, const struct ais_job *job) {
  int64_t started = sane_time(look, job->started_at);

  return started != NO_TIME ? started : sane_time(look, job->ended_at);
}

/* By the API's clock, or where that says nothing, by ours; never later. */
static int64_t happened_at(const look_t *look, int64_t t) {
  t = sane_time(look, t);
  return t != NO_TIME ? min_time(t, look->answered_at) : look->answered_at;
}

/* What is told. */

static void note_change(look_t *look, int64_t at) {
  history_t *h = look->history;

  look->news->changed = true;
  h->changed_at = max_time(h->changed_at, happened_at(look, at));
}

/* The order of two ends. Where they are of one second, the one that is worse
 * comes last, and has the last word. */
static bool ended_before(const struct ais_job *a, const struct ais_job *b) {
  if (a->ended_at != b->ended_at)
    return a->ended_at < b->ended_at;
  return a->state != AIS_FAILED && b->state == AIS_FAILED;
}

/* Of more than there is room for, the latest. */
static void tell_end(history_news_t *news, const struct ais_job *job) {
  size_t i;

  if (news->nended == HISTORY_PER_PAGE) {
    if (ended_before(job, news->ended[0]))
      return;
    memmove(news->ended, news->ended + 1,
            --news->nended * sizeof(news->ended[0]));
  }

  for (i = news->nended; i > 0 && ended_before(job, news->ended[i - 1]); i--)
    news->ended[i] = news->ended[i - 1];
  news->ended[i] = job;
  news->nended++;
}

static void count_end(look_t *look, const struct ais_job *job) {
  history_t *h = look->history;

  h->ended[job->state]++;
  if (job->state == AIS_SUCCEEDED)
    h->succeeded_at =
        max_time(h->succeeded_at, happened_at(look, job->ended_at));
  note_change(look, job->ended_at);
  tell_end(look->news, job);
}

/* What an ended job that does not count tells all the same. */
static void learn_times(look_t *look, const struct ais_job *job) {
  history_t *h = look->history;
  int64_t started = sane_time(look, job->started_at);
  int64_t ended = sane_time(look, job->ended_at);
  int64_t latest = max_time(started, ended);

  if (job->state == AIS_SUCCEEDED && ended != NO_TIME)
    h->succeeded_at = max_time(h->succeeded_at, happened_at(look, ended));
  if (look->is_first && latest != NO_TIME)
    h->changed_at = max_time(h->changed_at, happened_at(look, latest));
}

/* One job. */

/* For how long it has given no sign of life, or waited. */
static int64_t silence_of(const look_t *look, const history_job_t *entry,
                          const struct ais_job *job) {
  int64_t since = sane_time(look, job->last_seen_at);

  if (since == NO_TIME)
    since = sane_time(look, job->started_at);
  if (since == NO_TIME)
    since = entry->at;
  return look->answered_at - since;
}

static void listen_to(look_t *look, history_job_t *entry,
                      const struct ais_job *job) {
  history_news_t *news = look->news;
  int64_t silence = silence_of(look, entry, job);

  entry->silent = look->patience > 0 && silence > look->patience;
  if (entry->silent && (news->silent == NULL || silence > news->silence)) {
    news->silent = job;
    news->silence = silence;
  }
}

static void take_active(look_t *look, history_job_t *entry,
                        const struct ais_job *job) {
  bool queued = (job->state == AIS_QUEUED);

  /* An ended job never changes again: this is an old answer. */
  if (!entry->active)
    return;

  if (entry->queued && !queued)
    note_change(look, job->started_at);
  entry->queued = queued;
  listen_to(look, entry, job);
}

static void add_active(look_t *look, const struct ais_job *job, uint64_t id) {
  history_job_t *entry = add_job(look->history, id);

  if (entry == NULL)
    return;

  entry->active = true;
  entry->fresh = !look->is_first;
  entry->queued = (job->state == AIS_QUEUED);
  entry->at = min_time(look->answered_at, LAST_TIME);
  if (!look->is_first)
    note_change(look, job->started_at);
  else
    learn_times(look, job);
  listen_to(look, entry, job);
}

static void take_ended(look_t *look, history_job_t *entry,
                       const struct ais_job *job) {
  learn_times(look, job);
  if (!entry->active)
    return;

  entry->active = entry->queued = entry->silent = false;
  entry->at = began_at(look, job);
  count_end(look, job);
}

/* One without a time is told from an old one by nothing else than that it was
 * not there; so that what is there at the begin of a life counts as old. */
static bool is_known(const look_t *look, int64_t began) {
  if (look->is_first)
    return true;
  return began != NO_TIME ? began <= look->history->floor
                          : !look->history->resumed;
}

static void add_ended(look_t *look, const struct ais_job *job, uint64_t id) {
  history_t *h = look->history;
  int64_t began = began_at(look, job);
  bool known = is_known(look, began);
  history_job_t *entry;

  learn_times(look, job);
  if (known && !look->is_first)
    look->overlaps = true;
  if (known && began != NO_TIME && began <= h->floor)
    return;

  if (!known)
    count_end(look, job);
  entry = add_job(h, id);
  if (entry != NULL) {
    entry->at = began;
    entry->fresh = !known;
  }
}

static void take_job(look_t *look, const struct ais_job *job) {
  uint64_t id = hash(job->id);
  history_job_t *entry = find_job(look->history, id);
  bool active = ais_state_active(job->state);

  look->is_news |= entry == NULL || !entry->seen;
  if (entry == NULL && active) {
    add_active(look, job, id);
  } else if (entry == NULL) {
    add_ended(look, job, id);
  } else {
    entry->seen = true;
    if (!entry->fresh)
      look->overlaps = true;
    (active ? take_active : take_ended)(look, entry, job);
  }
}

/* A whole answer. */

static void begin_look(history_t *h) {
  h->known_pages = 0;
  for (uint32_t i = 0; i < h->njobs; i++)
    h->jobs[i].seen = false;
}

static void begin_answer(look_t *look) {
  *look->news = (history_news_t){.nended = 0};
  look->is_first = !look->history->listed;
}

static void end_answer(look_t *look) {
  history_t *h = look->history;
  history_news_t *news = look->news;

  if (h->seen_at == AIS_TIME_NONE)
    h->seen_at = look->answered_at;

  news->all_well = true;
  for (uint32_t i = 0; i < h->njobs; i++) {
    news->active |= h->jobs[i].active;
    news->all_well &= !h->jobs[i].silent;
  }
}

/* There are more jobs than were seen at first sight: all that began before
 * these. */
static void set_floor(look_t *look, const struct ais_answer *answer) {
  int64_t oldest = LAST_TIME;

  for (size_t i = 0; i < answer->njobs; i++) {
    int64_t began = began_at(look, &answer->jobs[i]);

    if (began != NO_TIME)
      oldest = min_time(oldest, began);
  }
  if (oldest != LAST_TIME)
    look->history->floor = oldest;
}

/* Whether the next page may have something that is not known. A list that has
 * but one page, whatever it is asked for, has the same once more. */
static bool wants_more(const look_t *look, const struct ais_answer *answer,
                       unsigned page) {
  const history_t *h = look->history;

  if (look->is_first || answer->njobs < HISTORY_PER_PAGE ||
      page >= HISTORY_PAGES || !look->is_news)
    return false;
  return h->known_pages == 0 ||
         (h->known_pages < HISTORY_SEARCH && misses_active(h));
}

void history_page(history_t *h, const struct ais_answer *answer, unsigned page,
                  int64_t answered_at, int64_t patience, history_news_t *news) {
  look_t look = {h, news, answered_at, patience, false, false, false};

  begin_answer(&look);
  if (page <= 1)
    begin_look(h);

  for (size_t i = 0; i < answer->njobs; i++)
    take_job(&look, &answer->jobs[i]);
  h->known_pages += look.overlaps;
  if (look.is_first && answer->njobs >= HISTORY_PER_PAGE)
    set_floor(&look, answer);

  h->listed = true;
  news->more = wants_more(&look, answer, page);
  if (!news->more) {
    miss_jobs(h);
    settle(h);
  }
  end_answer(&look);
}

/* One that has ended, and was not seen before, is left to the list, if there is
 * one. */
void history_job(history_t *h, const struct ais_answer *answer,
                 int64_t answered_at, int64_t patience, history_news_t *news) {
  look_t look = {h, news, answered_at, patience, false, false, false};
  const struct ais_job *job = answer->jobs;

  begin_answer(&look);
  if (answer->njobs > 0) {
    if (ais_state_active(job->state) || find_job(h, hash(job->id)) != NULL)
      take_job(&look, job);
    else
      learn_times(&look, job);
  }
  if (h->njobs > 2 * HISTORY_JOBS)
    settle(h);
  end_answer(&look);
}

void history_bound(history_t *h, int64_t now) {
  h->seen_at = min_time(h->seen_at, now);
  h->changed_at = min_time(h->changed_at, now);
  h->succeeded_at = min_time(h->succeeded_at, now);
  h->excused_at = min_time(h->excused_at, now);

  /* these are by the API's clock */
  h->floor = min_time(h->floor, now + CLOCKS_DIFFER);
  for (uint32_t i = 0; i < h->njobs; i++) {
    history_job_t *job = &h->jobs[i];

    job->at = min_time(job->at, job->active ? now : now + CLOCKS_DIFFER);
  }
}

bool history_add_job(history_t *h, uint64_t id, int64_t at, bool active) {
  history_job_t *job;

  if (h->njobs >= HISTORY_JOBS || at > LAST_TIME)
    return false;

  job = add_job(h, id);
  if (job == NULL)
    return false;

  job->active = active;
  job->queued = active; /* or not: then its begin is noticed once more */
  job->seen = false;
  job->at = at;
  return true;
}
