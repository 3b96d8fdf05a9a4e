#ifndef AISEARCH_HISTORY_H
#define AISEARCH_HISTORY_H

#include "ais_answer.h"

/*
 * The history of an instance's jobs: counts each job that has ended once, even
 * if it started and ended between two lookups. Jobs that had ended at the first
 * lookup are not counted.
 *
 * Recent jobs are remembered by their ids. The others are known by their start:
 * all jobs that started at or before the floor are known to have ended. Only
 * the API's clock is used for that, never ours.
 *
 * Pure: independent of collectd. All times are milliseconds since the epoch.
 */

#define HISTORY_PER_PAGE 50 /* to request; the API's maximum */
#define HISTORY_PAGES 20 /* pages read at most to find jobs that have ended */
#define HISTORY_SEARCH 3 /* known pages read to find an active job */

/* Jobs remembered between lookups. */
#define HISTORY_JOBS 64

/* Ended jobs remembered across a restart. */
#define HISTORY_KEPT 4

/* The largest plausible clock skew. A later time from the API is ignored. */
#define CLOCKS_DIFFER (INT64_C(24) * 3600 * 1000)

typedef struct {
  uint64_t id; /* a hash of the job's id */
  int64_t at; /* when it started or, if it never did, ended, by the API's clock,
                 or AIS_TIME_NONE; for an active job, when we first saw it, by
                 our clock */
  bool active : 1;
  bool queued : 1;
  bool silent : 1; /* for longer than the patience */
  bool seen : 1;   /* in the current lookup */
  bool missed : 1; /* not in the previous lookup */
  bool fresh : 1;  /* unknown before the current lookup */
} history_job_t;

typedef struct {
  uint64_t ended[AIS_STATES]; /* by final state */

  int64_t seen_at;      /* the first lookup; AIS_TIME_NONE: none yet */
  int64_t changed_at;   /* a job appeared, started or ended; or AIS_TIME_NONE */
  int64_t succeeded_at; /* the latest success; or AIS_TIME_NONE */
  int64_t floor;        /* or AIS_TIME_NONE: all jobs are remembered */
  int64_t excused_at;   /* when no success was expected for the last time; or
                           AIS_TIME_NONE. Set by conditions.c */

  history_job_t *jobs;
  uint32_t njobs;
  uint32_t size;
  uint32_t known_pages; /* pages of the current lookup with a known job */
  bool listed;          /* a list was read */
  bool resumed;         /* a lookup was completed since the process started */
} history_t;

/* What a response adds. Points to the answer's jobs and strings. */
typedef struct {
  /* Jobs that have ended, the latest ones, by the time of their end; one
   * element is spare. */
  const struct ais_job *ended[HISTORY_PER_PAGE + 1];
  size_t nended;

  bool active;  /* a job is queued or running */
  bool changed; /* a job appeared, started or ended; not at the first lookup */
  bool more;    /* the next page must also be read in this lookup */

  const struct ais_job *silent; /* the job in this response that has been silent
                                   for longest, and longer than the patience */
  int64_t silence;              /* for how long, ms */
  bool all_well;                /* no known job is silent */
} history_news_t;

void history_init(history_t *history);
void history_free(history_t *history);

/*
 * Processes a page of the list, counted from 1, that was generated at
 * answered_at. A lookup starts with the first page and continues with the next
 * one while news->more is set. (If that page cannot be read, the next lookup
 * starts with the first page again; nothing is counted twice or lost.)
 *
 * page is 0 for a single job, which is counted if it was active before.
 *
 * A job is silent if it has shown no sign of life, or has been queued, for
 * longer than patience ms; 0: never.
 *
 * history owns what it allocates; see history_free(). If out of memory, jobs
 * that cannot be remembered are counted later.
 */
void history_page(history_t *history, const struct ais_answer *answer,
                  unsigned page, int64_t answered_at, int64_t patience,
                  history_news_t *news);

/* Sorts the jobs: active jobs first, then ended jobs, the latest first. */
void history_sort(history_t *history);

/* Adds a known job by its hash; see history_job_t. Returns false if there are
 * too many jobs, or if out of memory. */
bool history_add_job(history_t *history, uint64_t id, int64_t at, bool active);

#endif
