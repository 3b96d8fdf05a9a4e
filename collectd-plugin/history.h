#ifndef AISEARCH_HISTORY_H
#define AISEARCH_HISTORY_H

#include "ais_answer.h"

/*
 * What has become of an instance's jobs: counts each that has ended once, also
 * where it began and ended between two looks. What had ended at first sight
 * does not count; it is where the counting begins.
 *
 * The jobs seen last are remembered, the others are known by the time at which
 * they began: all that began at or before the floor are known to have ended.
 * For that only the API's clock is used, whatever ours says.
 *
 * Pure, without collectd in it. All times are milliseconds since the epoch.
 */

#define HISTORY_PER_PAGE 50 /* what to ask for; the API gives no more */
#define HISTORY_PAGES 20    /* so many are read, at most, for jobs that ended */
#define HISTORY_SEARCH 3    /* and so many known ones, for a job that went on */

/* How many jobs are remembered between looks. */
#define HISTORY_JOBS 64

/* And how many of those that have ended, over a restart. */
#define HISTORY_KEPT 4

/* Clocks differ, but not by more. What the API dates later is no time. */
#define CLOCKS_DIFFER (INT64_C(24) * 3600 * 1000)

typedef struct {
  uint64_t id; /* a hash of it */
  int64_t at;  /* when it began, or ended in the queue, by the API's clock, or
                  AIS_TIME_NONE; of an active one, when it was first seen, by
                  ours */
  bool active : 1;
  bool queued : 1;
  bool silent : 1; /* for longer than the patience */
  bool seen : 1;   /* in the present look */
  bool missed : 1; /* in the look before */
  bool fresh : 1;  /* not known before the present look */
} history_job_t;

typedef struct {
  uint64_t ended[AIS_STATES]; /* of the states that are ends */

  int64_t seen_at;      /* first sight; AIS_TIME_NONE: not yet */
  int64_t changed_at;   /* a job appeared, began or ended; or AIS_TIME_NONE */
  int64_t succeeded_at; /* the latest success ever seen; or AIS_TIME_NONE */
  int64_t floor;        /* or AIS_TIME_NONE: all jobs are remembered */
  int64_t excused_at; /* when a success was not to come, the last time that was
                         known; or AIS_TIME_NONE. Not of the history's making */

  history_job_t *jobs;
  uint32_t njobs;
  uint32_t size;
  uint32_t known_pages; /* of the present look, that had something known */
  bool listed;          /* a list was seen */
  bool resumed;         /* a look is over since the start of the process */
} history_t;

/* What an answer tells that was not known before. It points to the answer's
 * jobs and strings. */
typedef struct {
  /* By the time of their end: the latest ones; one is for more. */
  const struct ais_job *ended[HISTORY_PER_PAGE + 1];
  size_t nended;

  bool active;  /* a job is queued or running */
  bool changed; /* a job appeared, began or ended; not at first sight */
  bool more;    /* the next page has to be read too, before this look is over */

  const struct ais_job *silent; /* of this answer, the one that has been silent
                                   for longest, and beyond the patience */
  int64_t silence;              /* for how long it has been, ms */
  bool all_well;                /* no job at all is known to be that silent */
} history_news_t;

void history_init(history_t *history);
void history_free(history_t *history);

/*
 * Takes over a page of the list, counted from 1, which was answered at that
 * time. A look begins with the first page; as long as news->more is set, it
 * goes on with the next one. (Where that cannot be had, the next look begins
 * with the first page again, and nothing is counted twice or lost.)
 *
 * Of page 0 is the answer for a single job. It counts where it was seen to be
 * active.
 *
 * A job that gives no sign of life for longer than patience is silent; so is
 * one that has been queued for as long.
 */
void history_page(history_t *history, const struct ais_answer *answer,
                  unsigned page, int64_t answered_at, int64_t patience,
                  history_news_t *news);

/* Sorts the jobs: active ones first, then those that have ended, the latest
 * first. */
void history_sort(history_t *history);

/* A job that is known from before, by its hash; see history_job_t. Returns
 * false where there are too many, or memory runs out. */
bool history_add_job(history_t *history, uint64_t id, int64_t at, bool active);

#endif
