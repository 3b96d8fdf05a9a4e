#ifndef AISEARCH_JOBS_H
#define AISEARCH_JOBS_H

#include "reading.h"

/*
 * The jobs of a list that are worth to be reported one by one: those that are
 * queued or running, and those that ended within the last hour.
 *
 * Pure, without collectd in it. All times are milliseconds since the epoch.
 */

#define JOBS_RECENT (INT64_C(3600) * 1000)

typedef struct {
  char id[65]; /* the longest that the API's grammar allows */
  reading_job_t job;
} listed_job_t;

typedef struct {
  listed_job_t *jobs;
  size_t njobs;
} jobs_t;

#pragma GCC visibility push(hidden)

/* Takes over those of a list that was answered at that time; none where memory
 * runs out. */
void aisearch_jobs_update(jobs_t *jobs, const struct ais_answer *answer,
                          int64_t answered_at);

bool aisearch_jobs_copy(jobs_t *to, const jobs_t *from);
void aisearch_jobs_free(jobs_t *jobs);

#pragma GCC visibility pop

#endif
