/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_JOB_H
#define AIS_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ais_time.h"

/* A sync job: its state; and of several: which is the newest, and what they are together. Pure functions, for any
 * thread or process. */

#pragma GCC visibility push(hidden)

/* The API has no state field: this is derived from started_at, ended_at and end_reason, here and nowhere else. */
enum ais_state {
    AIS_QUEUED,    /* neither started nor ended */
    AIS_RUNNING,   /* started, not ended */
    AIS_SUCCEEDED, /* ended, end_reason absent, empty, or a word for success */
    AIS_FAILED,    /* ended, any other end_reason */
    AIS_CANCELLED, /* ended, end_reason contains "cancel" or "superseded", or is "new_job_has_started" */
    AIS_STATES,    /* how many there are */
};

/* "queued", "running", "succeeded", "failed", "cancelled". */
const char *ais_state_name(enum ais_state state);

/* Queued and running jobs are active; the others have ended and never change again. */
bool ais_state_active(enum ais_state state);

/* The strings belong to the answer that the job is part of; NULL where the API said null, nothing, or no string. */
struct ais_job {
    const char *id;     /* never NULL or empty */
    const char *source; /* "unknown" in the place of NULL */
    const char *description;
    const char *end_reason;
    enum ais_state state;
    int64_t started_at; /* ms since the epoch, or AIS_TIME_NONE */
    int64_t ended_at;
    int64_t last_seen_at;
};

/*
 * The state rule on the raw strings (NULL for null or absent). A time that cannot be read still counts as present.
 */
enum ais_state ais_job_state(const char *started_at, const char *ended_at, const char *end_reason);

/*
 * The newest of the jobs: the one with the greatest started_at; a job without one is newer than all that have one
 * (it waits in the queue), among equals the first. NULL where njobs is 0.
 */
const struct ais_job *ais_jobs_newest(const struct ais_job *jobs, size_t njobs);

/* What a list of jobs tells of them together. */
struct ais_jobs {
    const struct ais_job *newest; /* as above */
    size_t counts[AIS_STATES];    /* how many are in which state */
    int64_t succeeded_at;         /* the latest end of those that have succeeded, or AIS_TIME_NONE */
};

/* jobs may be NULL where njobs is 0. The result has a pointer into jobs. */
struct ais_jobs ais_jobs_sum_up(const struct ais_job *jobs, size_t njobs);

#pragma GCC visibility pop

#endif
