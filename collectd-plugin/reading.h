#ifndef AISEARCH_READING_H
#define AISEARCH_READING_H

#include "ais_answer.h"

/*
 * What the answers for one resource have told, and the values made from it.
 * Pure functions without collectd in them; all times are milliseconds since the
 * epoch.
 */

/* What is known of a job. */
typedef struct {
  enum ais_state state;
  int64_t started_at;
  int64_t ended_at;
  int64_t last_seen_at;
} reading_job_t;

typedef struct {
  bool good;          /* the last look-up succeeded */
  int64_t arrived_at; /* the last good answer; AIS_TIME_NONE: never yet */
  int64_t age;        /* how old it was when it arrived, ms */

  bool is_list;
  size_t jobs[AIS_STATES]; /* of a list, by state */

  /* The newest job of a list, or the pinned one. */
  bool has_job;
  reading_job_t job;

  int64_t succeeded_at; /* the latest success ever seen */
} reading_t;

typedef struct {
  const char *type;          /* of types.db */
  const char *type_instance; /* a constant string */
  double value;
} reading_value_t;

#define READING_JOB_VALUES_MAX 3
#define READING_VALUES_MAX (AIS_STATES + 2 + READING_JOB_VALUES_MAX)

#pragma GCC visibility push(hidden)

/* Nothing is known yet. */
void aisearch_reading_init(reading_t *reading);

/* Takes over a good answer of this kind, which arrived now and was made age
 * milliseconds before that. */
void aisearch_reading_update(reading_t *reading, enum ais_kind kind,
                             const struct ais_answer *answer, int64_t now,
                             int64_t age);

/* The last look-up failed: a gap, until the next one that succeeds. */
void aisearch_reading_fail(reading_t *reading);

/* Whether a job of the last answer was queued or running. */
bool aisearch_reading_active(const reading_t *reading);

/*
 * Makes the values to report now. An answer is good until the next look is due.
 * Where nobody watches over that, it tells only how old it is. (A look that has
 * to wait for its turn is not overdue.) Of a list, all is all that it tells;
 * otherwise the jobs that are queued, which the state tells, and those that
 * have ended, which are counted elsewhere, are left out. Returns how many
 * values there are.
 */
size_t aisearch_reading_values(const reading_t *reading, int64_t now,
                               bool watched, bool all,
                               reading_value_t values[READING_VALUES_MAX]);

reading_job_t aisearch_reading_job(const struct ais_job *job);

/* The values of a job alone, as of the time of the answer. */
size_t
aisearch_reading_job_values(const reading_job_t *job, int64_t answered_at,
                            reading_value_t values[READING_JOB_VALUES_MAX]);

#pragma GCC visibility pop

#endif
