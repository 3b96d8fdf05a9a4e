/* Which jobs of an instance are known, and how many have ended. */

#include "history.h"

#include <stdlib.h>
#include <string.h>

#include "ais_clock.h"

/* The processing of a page or of a job. */
typedef struct {
  history_t *history;
  history_news_t *news;
  unsigned page; /* 0: a single job */
  int64_t answered_at;
  int64_t patience;
  int64_t oldest; /* the earliest start of a job in it; or INT64_MAX */
  bool is_first;  /* nothing is known yet, so ended jobs are not counted */
  bool overlaps;  /* it holds jobs that were known before */
  bool is_news;   /* it holds jobs not seen in this lookup before */
} look_t;

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

/* Remembered jobs. */

static history_job_t *find_job(const history_t *h, uint64_t id) {
  for (uint32_t i = 0; i < h->njobs; i++)
    if (h->jobs[i].id == id)
      return &h->jobs[i];
  return NULL;
}

static bool resize(history_t *h, uint32_t size) {
  history_job_t *jobs = realloc(h->jobs, size * sizeof(*jobs));

  if (jobs == NULL)
    return false;
  h->jobs = jobs;
  h->size = size;
  return true;
}

/* While a lookup is in progress, all its jobs are remembered. */
static history_job_t *add_job(history_t *h, uint64_t id, int64_t at) {
  if (h->njobs == h->size && !resize(h, h->size > 0 ? 2 * h->size : 4))
    return NULL;

  h->jobs[h->njobs] = (history_job_t){.id = id, .at = at, .seen = true};
  return &h->jobs[h->njobs++];
}

/* An ended job without a time that was in the latest lookup would be counted
 * again if it were forgotten. */
static int rank(const history_job_t *job) {
  return job->active ? 2 : job->at == AIS_TIME_NONE && job->seen ? 1 : 0;
}

static int compare_jobs(const void *left, const void *right) {
  const history_job_t *a = left, *b = right;

  if (rank(a) != rank(b))
    return rank(b) - rank(a);
  return (a->at < b->at) - (a->at > b->at);
}

void history_sort(history_t *h) {
  if (h->njobs > 1)
    qsort(h->jobs, h->njobs, sizeof(h->jobs[0]), compare_jobs);
}

/* Completes a lookup. Forgets the jobs that ended first, if there are too
 * many. */
static void settle(history_t *h) {
  if (h->njobs > HISTORY_JOBS)
    history_sort(h);
  for (; h->njobs > HISTORY_JOBS; h->njobs--)
    if (!h->jobs[h->njobs - 1].active)
      h->floor = ais_later(h->floor, h->jobs[h->njobs - 1].at);
  for (uint32_t i = 0; i < h->njobs; i++)
    h->jobs[i].fresh = false;
  h->resumed = true;
  if (h->size > HISTORY_JOBS)
    resize(h, HISTORY_JOBS);
}

/* Active jobs that are missing from a list that was read far enough. The list
 * may be an old one, from a cache or a replica, so they are forgotten only when
 * they are missing twice in a row. */
static void miss_jobs(history_t *h) {
  for (uint32_t i = h->njobs; i-- > 0;) {
    history_job_t *job = &h->jobs[i];

    if (job->active && !job->seen && job->missed)
      *job = h->jobs[--h->njobs];
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

/* Times. AIS_TIME_NONE is less than all others. */

static int64_t sane_time(const look_t *look, int64_t t) {
  return t < 0 || t > look->answered_at + CLOCKS_DIFFER ? AIS_TIME_NONE : t;
}

/* When an ended job started, or when it ended if it never left the queue. */
static int64_t began_at(const look_t *look, const struct ais_job *job) {
  int64_t started = sane_time(look, job->started_at);

  return started != AIS_TIME_NONE ? started : sane_time(look, job->ended_at);
}

/* By the API's clock, or by ours if the API has no time; never later than the
 * response. */
static int64_t happened_at(const look_t *look, int64_t t) {
  t = sane_time(look, t);
  return t != AIS_TIME_NONE ? ais_earlier(t, look->answered_at)
                            : look->answered_at;
}

/* News. */

static void note_change(look_t *look, int64_t at) {
  history_t *h = look->history;

  look->news->changed = true;
  h->changed_at = ais_later(h->changed_at, happened_at(look, at));
}

/* The order in which two jobs have ended. If they ended in the same second, a
 * failed job is last, so that it decides the condition. */
static bool ended_before(const struct ais_job *a, const struct ais_job *b) {
  if (a->ended_at != b->ended_at)
    return a->ended_at < b->ended_at;
  return a->state != AIS_FAILED && b->state == AIS_FAILED;
}

/* If there are too many, keeps the latest. */
static void add_end(history_news_t *news, const struct ais_job *job) {
  size_t i = news->nended++;

  for (; i > 0 && ended_before(job, news->ended[i - 1]); i--)
    news->ended[i] = news->ended[i - 1];
  news->ended[i] = job;
  if (news->nended > HISTORY_PER_PAGE)
    memmove(news->ended, news->ended + 1,
            --news->nended * sizeof(news->ended[0]));
}

static void count_end(look_t *look, const struct ais_job *job) {
  history_t *h = look->history;

  h->ended[job->state]++;
  if (job->state == AIS_SUCCEEDED)
    h->succeeded_at =
        ais_later(h->succeeded_at, happened_at(look, job->ended_at));
  note_change(look, job->ended_at);
  add_end(look->news, job);
}

/* Also for jobs that are not counted. */
static void learn_times(look_t *look, const struct ais_job *job) {
  history_t *h = look->history;
  int64_t started = sane_time(look, job->started_at);
  int64_t ended = sane_time(look, job->ended_at);
  int64_t latest = ais_later(started, ended);

  if (job->state == AIS_SUCCEEDED)
    h->succeeded_at =
        ais_later(h->succeeded_at, ais_earlier(ended, look->answered_at));
  if (look->is_first)
    h->changed_at =
        ais_later(h->changed_at, ais_earlier(latest, look->answered_at));
}

/* A single job. */

/* Determines for how long a job has shown no sign of life, or has been
 * queued. */
static void listen_to(look_t *look, history_job_t *entry,
                      const struct ais_job *job) {
  history_news_t *news = look->news;
  int64_t since = sane_time(look, job->last_seen_at);
  int64_t silence;

  if (since == AIS_TIME_NONE)
    since = sane_time(look, job->started_at);
  if (since == AIS_TIME_NONE)
    since = entry->at;

  silence = look->answered_at - since;
  entry->silent = look->patience > 0 && silence > look->patience;
  if (entry->silent && silence > news->silence) {
    news->silent = job;
    news->silence = silence;
  }
}

static void take_active(look_t *look, history_job_t *entry,
                        const struct ais_job *job) {
  bool queued = (job->state == AIS_QUEUED);
  bool changed = entry == NULL ? !look->is_first : entry->queued && !queued;

  if (entry == NULL) {
    entry = add_job(look->history, hash(job->id), look->answered_at);
    if (entry == NULL)
      return;
    entry->active = true;
    entry->fresh = !look->is_first;
  }

  /* An ended job never becomes active again: this response is old. */
  if (!entry->active)
    return;

  learn_times(look, job);
  if (changed)
    note_change(look, job->started_at);
  entry->queued = queued;
  listen_to(look, entry, job);
}

/* An ended job without a time is recognized only by having been seen before. At
 * the first lookup of a process, it therefore counts as known. */
static bool is_known(const look_t *look, int64_t began) {
  if (look->is_first)
    return true;
  return began != AIS_TIME_NONE ? began <= look->history->floor
                                : !look->history->resumed;
}

/* If out of memory, a job that cannot be remembered is counted by a later
 * lookup. A single job that was not seen before is left to the lookup of the
 * list. */
static void take_ended(look_t *look, history_job_t *entry,
                       const struct ais_job *job) {
  history_t *h = look->history;
  int64_t began = began_at(look, job);
  bool counts = entry != NULL ? entry->active : !is_known(look, began);

  learn_times(look, job);
  if (entry == NULL) {
    look->overlaps |= !counts;
    if (look->page > 0 && (began == AIS_TIME_NONE || began > h->floor))
      entry = add_job(h, hash(job->id), began);
    if (entry == NULL)
      return;
    entry->fresh = counts;
  }
  if (!counts)
    return;

  entry->active = entry->queued = entry->silent = false;
  entry->at = began;
  count_end(look, job);
}

static void take_job(look_t *look, const struct ais_job *job) {
  history_job_t *entry = find_job(look->history, hash(job->id));
  int64_t began = began_at(look, job);

  if (began != AIS_TIME_NONE)
    look->oldest = ais_earlier(look->oldest, began);
  look->is_news |= entry == NULL || !entry->seen;
  if (entry != NULL) {
    entry->seen = true;
    look->overlaps |= !entry->fresh;
  }
  (ais_state_active(job->state) ? take_active : take_ended)(look, entry, job);
}

/* A whole response. */

static void begin_look(history_t *h) {
  h->known_pages = 0;
  for (uint32_t i = 0; i < h->njobs; i++)
    h->jobs[i].seen = false;
}

/* Whether the next page may hold unknown jobs. A server that ignores the page
 * number returns the same page again, which holds nothing new. */
static bool wants_more(const look_t *look, const struct ais_answer *answer) {
  const history_t *h = look->history;

  if (look->is_first || answer->njobs < HISTORY_PER_PAGE ||
      look->page >= HISTORY_PAGES || !look->is_news)
    return false;
  return h->known_pages == 0 ||
         (h->known_pages < HISTORY_SEARCH && misses_active(h));
}

/* If there may be more jobs than on the first page that was ever seen, all jobs
 * that started before those on the page are known to have ended. */
static void end_page(look_t *look, const struct ais_answer *answer) {
  history_t *h = look->history;

  h->known_pages += look->overlaps;
  if (look->is_first && answer->njobs >= HISTORY_PER_PAGE &&
      look->oldest != INT64_MAX)
    h->floor = look->oldest;

  h->listed = true;
  look->news->more = wants_more(look, answer);
  if (!look->news->more) {
    miss_jobs(h);
    settle(h);
  }
}

void history_page(history_t *h, const struct ais_answer *answer, unsigned page,
                  int64_t answered_at, int64_t patience, history_news_t *news) {
  look_t look = {h,         news,       page,  answered_at, patience,
                 INT64_MAX, !h->listed, false, false};

  *news = (history_news_t){.all_well = true};
  if (page == 1)
    begin_look(h);
  for (size_t i = 0; i < answer->njobs; i++)
    take_job(&look, &answer->jobs[i]);
  if (page > 0)
    end_page(&look, answer);
  else if (h->njobs > 2 * HISTORY_JOBS)
    settle(h);

  if (h->seen_at == AIS_TIME_NONE)
    h->seen_at = answered_at;
  for (uint32_t i = 0; i < h->njobs; i++) {
    news->active |= h->jobs[i].active;
    news->all_well &= !h->jobs[i].silent;
  }
}

/* Whether a queued job was seen as queued is not saved, so its start may be
 * noticed twice. */
bool history_add_job(history_t *h, uint64_t id, int64_t at, bool active) {
  history_job_t *job = h->njobs < HISTORY_JOBS ? add_job(h, id, at) : NULL;

  if (job == NULL)
    return false;
  job->active = job->queued = active;
  job->seen = false;
  return true;
}
