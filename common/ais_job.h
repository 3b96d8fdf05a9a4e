/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_JOB_H
#define AIS_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ais_time.h"

/*
 * Sync jobs: the state of one job, the newest of several, and a summary of a list. All functions are pure and may be
 * called from any thread or process.
 */

#pragma GCC visibility push(hidden)

/*
 * The API has no state field. The state is derived from started_at, ended_at and end_reason by ais_job_state(), and
 * nowhere else.
 */
enum ais_state {
    AIS_QUEUED,    /* neither started nor ended */
    AIS_RUNNING,   /* started, not ended */
    AIS_SUCCEEDED, /* ended, and end_reason is absent, empty, or a word for success */
    AIS_FAILED,    /* ended, with any other end_reason */
    AIS_CANCELLED, /* ended, and end_reason contains "cancel" or "superseded", or is "new_job_has_started" */
    AIS_STATES,    /* the number of states */
};

/* Returns the name as a constant string: "queued", "running", "succeeded", "failed" or "cancelled". */
const char *ais_state_name(enum ais_state state);

/* Returns whether the job is queued or running. Any other job has ended and never changes again. */
bool ais_state_active(enum ais_state state);

/* The strings are owned by the answer that contains the job. NULL means that the API omitted the member, or sent null
 * or a value that is not a string. */
struct ais_job {
    const char *id;     /* never NULL or empty */
    const char *source; /* "unknown" instead of NULL */
    const char *description;
    const char *end_reason;
    enum ais_state state;
    int64_t started_at; /* ms since the epoch, or AIS_TIME_NONE */
    int64_t ended_at;
    int64_t last_seen_at;
};

/*
 * Derives the state from the API's strings; NULL means null or absent. A time counts as present even if it cannot be
 * parsed.
 */
enum ais_state ais_job_state(const char *started_at, const char *ended_at, const char *end_reason);

/*
 * Returns a pointer to the newest of the jobs, the one with the latest started_at, or NULL if njobs is 0. A job without
 * started_at is still queued and therefore newer than any job with one. If several are equally new, the first one wins.
 */
const struct ais_job *ais_jobs_newest(const struct ais_job *jobs, size_t njobs);

/* A summary of a list of jobs. */
struct ais_jobs {
    const struct ais_job *newest; /* ais_jobs_newest() */
    size_t counts[AIS_STATES];    /* the number of jobs in each state */
    int64_t succeeded_at;         /* the latest ended_at of the succeeded jobs, or AIS_TIME_NONE */
};

/* Summarizes a list. jobs may be NULL if njobs is 0. The result points into jobs. */
struct ais_jobs ais_jobs_sum_up(const struct ais_job *jobs, size_t njobs);

#pragma GCC visibility pop

#endif
