#ifndef AIS_JOB_H
#define AIS_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ais_error.h"
#include "ais_instance.h"
#include "ais_refusal.h"
#include "ais_resource.h"
#include "ais_time.h"

/*
 * What the API answered: a job, a list of jobs, logs, what is known of instances, or errors, in one JSON envelope. Pure
 * functions without globals, for any thread or process.
 */

/* The API has no state field: this is derived from started_at, ended_at and end_reason, here and nowhere else. */
enum ais_state {
    AIS_QUEUED,    /* neither started nor ended */
    AIS_RUNNING,   /* started, not ended */
    AIS_SUCCEEDED, /* ended, end_reason absent, empty, or a word for success */
    AIS_FAILED,    /* ended, any other end_reason */
    AIS_CANCELLED, /* ended, end_reason contains "cancel" or "superseded", or is "new_job_has_started" */
};

#define AIS_STATES 5

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

#define AIS_ERRORS_MAX 4

struct ais_answer {
    bool success;
    struct ais_job *jobs; /* one for AIS_JOB, any number for AIS_LIST, none for others or an error */
    size_t njobs;
    size_t nlogs;                                /* entries, for AIS_LOGS */
    struct ais_listing listing;                  /* for AIS_INSTANCES */
    struct ais_instance instance;                /* for AIS_INSTANCE */
    struct ais_stats stats;                      /* for AIS_STATS */
    const char *namespace;                       /* the name, for AIS_NAMESPACE */
    struct ais_api_error errors[AIS_ERRORS_MAX]; /* the first ones, of an error; all zero behind */
    size_t nerrors;
    void *document; /* the parsed JSON, which owns the strings */
};

/* How deep arrays and objects may be nested in an answer. */
#define AIS_JSON_DEPTH_MAX 32

/*
 * Parses the body of an answer to a request for kind.
 *
 * The envelope is taken strictly: bytes after the document, a byte order mark, a NUL (also as \u0000), nesting deeper
 * than AIS_JSON_DEPTH_MAX, "success", "result" or "errors" given twice or of the wrong type, or a "result" that is not
 * what was asked for make it an error. What stands in it is taken leniently: one odd field must not cost the page that
 * it stands on. A value of another type than is documented, or that is there twice, is present, and not known; an
 * element of a list that has no id is left out, unless that leaves none; so is what is unknown of result_info, and a
 * code or a message of an error. Unknown members are passed over, as the API may add some. {"success":false} with
 * errors is a well-formed answer for each kind.
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
