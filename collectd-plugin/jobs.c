#include "jobs.h"

#include <stdlib.h>
#include <string.h>

#include "ais_resource.h"

void aisearch_jobs_free(jobs_t *jobs) {
  free(jobs->jobs);
  *jobs = (jobs_t){.jobs = NULL};
}

static bool is_wanted(const struct ais_job *job, int64_t answered_at) {
  bool recent = job->ended_at != AIS_TIME_NONE &&
                job->ended_at >= answered_at - JOBS_RECENT;

  return (ais_state_active(job->state) || recent) &&
         ais_job_id_valid(ais_str_of(job->id));
}

void aisearch_jobs_update(jobs_t *jobs, const struct ais_answer *answer,
                          int64_t answered_at) {
  size_t wanted = 0;

  aisearch_jobs_free(jobs);
  for (size_t i = 0; i < answer->njobs; i++)
    wanted += is_wanted(&answer->jobs[i], answered_at);
  if (wanted == 0)
    return;

  jobs->jobs = calloc(wanted, sizeof(*jobs->jobs));
  for (size_t i = 0; jobs->jobs != NULL && i < answer->njobs; i++) {
    const struct ais_job *job = &answer->jobs[i];
    listed_job_t *listed = &jobs->jobs[jobs->njobs];

    if (!is_wanted(job, answered_at))
      continue;
    memcpy(listed->id, job->id, strlen(job->id) + 1);
    listed->job = aisearch_reading_job(job);
    jobs->njobs++;
  }
}

bool aisearch_jobs_copy(jobs_t *to, const jobs_t *from) {
  *to = (jobs_t){.jobs = NULL};
  if (from->njobs == 0)
    return true;

  to->jobs = malloc(from->njobs * sizeof(*to->jobs));
  if (to->jobs == NULL)
    return false;

  memcpy(to->jobs, from->jobs, from->njobs * sizeof(*to->jobs));
  to->njobs = from->njobs;
  return true;
}
