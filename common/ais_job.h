#ifndef AIS_JOB_H
#define AIS_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ais_error.h"
#include "ais_instance.h"
#include "ais_resource.h"
#include "ais_time.h"

/*
 * What the API answered: a job, a list of jobs, logs, a list of instances, or errors, in one JSON envelope. Pure
 * functions without globals, for any thread or process.
 */

/* The API has no state field: this is derived from started_at, ended_at and end_reason, here and nowhere else. */
enum ais_state {
    AIS_QUEUED,    /* neither started nor ended */
    AIS_RUNNING,   /* started, not ended */
    AIS_SUCCEEDED, /* ended, end_reason absent, empty, or a word for success */
    AIS_FAILED,    /* ended, any other end_reason */
    AIS_CANCELLED, /* ended, end_reason contains "cancel" */
};

#define AIS_STATES 5

/* "queued", "running", "succeeded", "failed", "cancelled". */
const char *ais_state_name(enum ais_state state);

/* Queued and running jobs are active; the others have ended and never change again. */
bool ais_state_active(enum ais_state state);

/* The strings belong to the answer that the job is part of; NULL where the API said null, or nothing. */
struct ais_job {
    const char *id;
    const char *source;
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

struct ais_answer {
    bool success;
    struct ais_job *jobs; /* one for AIS_JOB, any number for AIS_LIST, none for others or an error */
    size_t njobs;
    size_t nlogs;               /* entries, for AIS_LOGS */
    struct ais_listing listing; /* for AIS_INSTANCES */
    int error_code;             /* of the first error, 0 where there is none */
    const char *error_message;  /* of the first error, or NULL */
    void *document;             /* the parsed JSON, which owns the strings */
};

/* How deep arrays and objects may be nested in an answer. */
#define AIS_JSON_DEPTH_MAX 32

/*
 * Parses the body of an answer to a request for kind.
 *
 * Either the whole body is an envelope of the right form, or it is an error: bytes after the document, a byte order
 * mark, a NUL (also as \u0000), nesting deeper than AIS_JSON_DEPTH_MAX, a known member given twice, a required
 * member missing, or a known member of the wrong type. Unknown members are passed over, as the API may add some.
 * {"success":false} with errors is a well-formed answer for each kind.
 *
 * Returns 0 and a filled *answer, to be freed with ais_answer_free(); or -1, or AIS_NO_MEMORY, with the reason in *err
 * (which may be NULL) and *answer zeroed. Uses memory in proportion to the body.
 */
int ais_answer_parse(struct ais_answer *answer, enum ais_kind kind, struct ais_str body, struct ais_error *err);

/* Frees what the answer owns and zeroes it; a zeroed answer is fine. */
void ais_answer_free(struct ais_answer *answer);

/*
 * The newest of the jobs: the one with the greatest started_at; a job without one is newer than all that have one
 * (it waits in the queue), among equals the first. NULL where njobs is 0.
 */
const struct ais_job *ais_jobs_newest(const struct ais_job *jobs, size_t njobs);

#endif
