#include "reading.h"

#include <string.h>

void aisearch_reading_init(reading_t *reading) {
  *reading = (reading_t){
      .arrived_at = AIS_TIME_NONE,
      .succeeded_at = AIS_TIME_NONE,
  };
}

static void remember_success(reading_t *reading, const struct ais_job *job) {
  /* AIS_TIME_NONE is less than any time. */
  if (job->state == AIS_SUCCEEDED && job->ended_at > reading->succeeded_at)
    reading->succeeded_at = job->ended_at;
}

void aisearch_reading_update(reading_t *reading, enum ais_kind kind,
                             const struct ais_answer *answer, int64_t now,
                             int64_t age) {
  const struct ais_job *newest = ais_jobs_newest(answer->jobs, answer->njobs);

  reading->good = true;
  reading->arrived_at = now;
  reading->age = age;

  reading->is_list = (kind == AIS_LIST);
  memset(reading->jobs, 0, sizeof(reading->jobs));
  for (size_t i = 0; i < answer->njobs; i++) {
    reading->jobs[answer->jobs[i].state]++;
    remember_success(reading, &answer->jobs[i]);
  }

  reading->has_job = (newest != NULL);
  if (newest != NULL)
    reading->job = aisearch_reading_job(newest);
}

bool aisearch_reading_active(const reading_t *reading) {
  return reading->jobs[AIS_QUEUED] + reading->jobs[AIS_RUNNING] > 0;
}

void aisearch_reading_fail(reading_t *reading) { reading->good = false; }

/* Clocks differ, between us and the API too: no duration is less than 0. */
static double seconds(int64_t from, int64_t to) {
  return to > from ? (double)(to - from) / 1000.0 : 0.0;
}

reading_job_t aisearch_reading_job(const struct ais_job *job) {
  return (reading_job_t){job->state, job->started_at, job->ended_at,
                         job->last_seen_at};
}

/* What is known of a job is known as of the time of the answer: a job seen a
 * minute ago is not taken to have run for that minute too. */
size_t
aisearch_reading_job_values(const reading_job_t *job, int64_t answered_at,
                            reading_value_t values[READING_JOB_VALUES_MAX]) {
  int64_t until = ais_state_active(job->state) ? answered_at : job->ended_at;
  size_t n = 0;

  values[n++] = (reading_value_t){"gauge", "state", (double)job->state};

  if (job->state == AIS_QUEUED)
    values[n++] = (reading_value_t){"duration", "job", 0.0};
  else if (job->started_at != AIS_TIME_NONE && until != AIS_TIME_NONE)
    values[n++] =
        (reading_value_t){"duration", "job", seconds(job->started_at, until)};

  if (job->state == AIS_RUNNING && job->last_seen_at != AIS_TIME_NONE)
    values[n++] = (reading_value_t){"duration", "last_seen",
                                    seconds(job->last_seen_at, answered_at)};

  return n;
}

/* An ended job never changes again: what is known of it does not get old. */
static double age_of(const reading_t *r, int64_t now) {
  if (!r->is_list && r->good && r->has_job && !ais_state_active(r->job.state))
    return 0.0;
  return seconds(r->arrived_at - r->age, now);
}

size_t aisearch_reading_values(const reading_t *r, int64_t now, bool watched,
                               bool all,
                               reading_value_t values[READING_VALUES_MAX]) {
  size_t n = 0;

  if (r->arrived_at == AIS_TIME_NONE)
    return 0;

  values[n++] = (reading_value_t){"duration", "since_read", age_of(r, now)};

  if (!r->good || !watched)
    return n;

  for (int state = 0; r->is_list && state < AIS_STATES; state++)
    if (all || state == AIS_RUNNING)
      values[n++] = (reading_value_t){"count", ais_state_name(state),
                                      (double)r->jobs[state]};

  if (r->has_job)
    n += aisearch_reading_job_values(&r->job, r->arrived_at - r->age,
                                     values + n);

  if (r->succeeded_at != AIS_TIME_NONE)
    values[n++] = (reading_value_t){"duration", "since_success",
                                    seconds(r->succeeded_at, now)};

  return n;
}
