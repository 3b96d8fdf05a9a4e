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

typedef enum {
  HISTORY_USER,
  HISTORY_SCHEDULE,
  HISTORY_OTHER, /* sources that are still to be invented */
} history_source_t;

#define HISTORY_SOURCES 3

typedef struct {
  uint64_t id;     /* a hash of it */
  int64_t at : 48; /* when it began, or ended in the queue, by the API's clock;
                      of an active one, when it was first seen, by ours */
  bool active : 1;
  bool queued : 1;
  bool silent : 1; /* for longer than the patience */
  bool seen : 1;   /* in the present look */
  bool missed : 1; /* in the look before */
  bool fresh : 1;  /* not known before the present look */
} history_job_t;

typedef struct {
  uint64_t ended[AIS_STATES][HISTORY_SOURCES]; /* of the states that are ends */

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
  const struct ais_job *ended[HISTORY_PER_PAGE]; /* by the time of their end */
  size_t nended;

  bool active;  /* a job is queued or running */
  bool changed; /* a job appeared, began or ended; not at first sight */
  bool more;    /* the next page has to be read too, before this look is over */

  const struct ais_job *silent; /* of this answer, the one that has been silent
                                   for longest, and beyond the patience */
  int64_t silence;              /* for how long it has been, ms */
  bool all_well;                /* no job at all is known to be that silent */
} history_news_t;

#pragma GCC visibility push(hidden)

void aisearch_history_init(history_t *history);
void aisearch_history_free(history_t *history);

/*
 * Takes over a page of the list, counted from 1, which was answered at that
 * time. A look begins with the first page; as long as news->more is set, it
 * goes on with the next one. (Where that cannot be had, the next look begins
 * with the first page again, and nothing is counted twice or lost.)
 *
 * A job that gives no sign of life for longer than patience is silent; so is
 * one that has been queued for as long.
 */
void aisearch_history_page(history_t *history, const struct ais_answer *answer,
                           unsigned page, int64_t answered_at, int64_t patience,
                           history_news_t *news);

/* The same for a single job. It counts where it was seen to be active. */
void aisearch_history_job(history_t *history, const struct ais_answer *answer,
                          int64_t answered_at, int64_t patience,
                          history_news_t *news);

/* How many have ended in this way, of all sources together. */
uint64_t aisearch_history_ended(const history_t *history, enum ais_state end);

/* "user", "schedule", "other". */
const char *aisearch_history_source_name(history_source_t source);

/* For the state file: one line of text, without its end. Parsing returns false
 * for what is no such text; *history is then empty. */
#define HISTORY_TEXT_SIZE 4096

void aisearch_history_print(const history_t *history,
                            char text[HISTORY_TEXT_SIZE]);
bool aisearch_history_parse(history_t *history, const char *text);

/* What was remembered when the clock was wrong: no time is later than it could
 * be if it was taken down now. */
void aisearch_history_bound(history_t *history, int64_t now);

/* A job that is known from before, by its hash; see history_job_t. */
bool aisearch_history_add_job(history_t *history, uint64_t id, int64_t at,
                              bool active);

#pragma GCC visibility pop

#endif
