/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_ANSWER_H
#define AIS_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ais_error.h"
#include "ais_job.h"
#include "ais_refusal.h"
#include "ais_resource.h"

/*
 * The API's answers: a JSON envelope that contains jobs, logs, instances, indexing statistics, namespaces or errors. An
 * error of our own is written in the same envelope. No function uses globals or I/O; all may be called from any thread
 * or process.
 */

#pragma GCC visibility push(hidden)

/* How the source of an instance is indexed. */
enum ais_indexed {
    AIS_INDEXED_UNKNOWN,   /* the API did not say */
    AIS_INDEXED_BY_JOBS,   /* a bucket or a website, synced by jobs */
    AIS_INDEXED_AS_STORED, /* built-in storage, where files are indexed as they arrive, without sync jobs */
};

/* The strings are owned by the answer that contains the instance. NULL means that the API omitted the member, or sent
 * null or a value that is not a string. */
struct ais_instance {
    const char *id;        /* never NULL; in a list of instances, ais_instance_valid() accepts it */
    const char *namespace; /* in a list, ais_namespace_valid() accepts it, unless it is NULL */
    const char *status;    /* the API's own word: "waiting", "indexing", "error" or another */
    enum ais_indexed indexed;
    int64_t sync_interval; /* ms between two scheduled jobs; 0: unknown */
    bool disabled;         /* "enable" is false: no scheduled jobs are started */
    bool paused;           /* no scheduled jobs either; the API may pause it itself, on errors or without searches */
    bool in_error;         /* status is "error" */
    int64_t created_at;    /* ms since the epoch, or AIS_TIME_NONE */
    int64_t modified_at;
};

/* A page of a list of instances or namespaces. */
struct ais_listing {
    struct ais_instance *instances; /* for namespaces: id and namespace are both the name, nothing else is set */
    size_t ninstances;
    size_t left_out; /* elements that were dropped because their id or namespace is missing or invalid */
    int64_t total;   /* "total_count" of result_info, or -1 */
    int64_t page;    /* "page" of result_info, or -1 */
};

/* The indexing states of an item. */
enum ais_stats_item {
    AIS_STATS_QUEUED,
    AIS_STATS_RUNNING,
    AIS_STATS_COMPLETED,
    AIS_STATS_ERROR,
    AIS_STATS_SKIPPED,
    AIS_STATS_OUTDATED,
    AIS_STATS_ITEMS, /* the number of states */
};

/* How many items of an instance are in each state; -1 if the API did not say. */
struct ais_stats {
    int64_t items[AIS_STATS_ITEMS];
    bool degraded; /* the API could not count the items */
};

/* Returns the name as a constant string: "queued", "running", "completed", "error", "skipped" or "outdated". */
const char *ais_stats_name(enum ais_stats_item item);

#define AIS_ERRORS_MAX 4

/* A parsed body. It owns all the memory that it points to. */
struct ais_answer {
    bool success;
    struct ais_job *jobs; /* AIS_JOB: one; AIS_LIST: any number; other kinds and errors: none */
    size_t njobs;
    size_t nlogs;                                /* AIS_LOGS: the number of log entries */
    struct ais_listing listing;                  /* AIS_INSTANCES, AIS_NAMESPACES */
    struct ais_instance instance;                /* AIS_INSTANCE */
    struct ais_stats stats;                      /* AIS_STATS */
    const char *namespace;                       /* AIS_NAMESPACE: the name */
    struct ais_api_error errors[AIS_ERRORS_MAX]; /* errors only: the first nerrors of them; the rest is zero */
    size_t nerrors;
    void *document; /* the parsed JSON, which owns the strings */
};

/* The maximum nesting depth of arrays and objects in an answer. */
#define AIS_JSON_DEPTH_MAX 32

/*
 * Parses the body of a response to a request for kind.
 *
 * The envelope is parsed strictly. The body is invalid if it is not JSON, as ais_json_check() defines it (which rejects
 * trailing bytes, a byte order mark, and a NUL, even as \u0000), if it is nested deeper than AIS_JSON_DEPTH_MAX, if
 * "success", "result", "result_info" or "errors" appears twice, if "success" or "errors" has the wrong type, or if
 * "result" does not fit kind. {"success":false} with "errors" is valid for any kind.
 *
 * The contents are parsed leniently, so that one odd member does not invalidate a whole page. A member that has an
 * unexpected type or appears twice counts as present, but its value is unknown. Unknown members are ignored, because
 * the API may add more. Jobs without an id are left out, unless no job has one, which is an error.
 *
 * In a list of instances or namespaces, an element whose name is missing, not a string or not valid by the grammar of
 * ais_resource.h is left out and counted: it could never be requested, and a single name must not hide all the others.
 * It is an error if no instance has an id.
 *
 * Returns 0 and fills *answer, which the caller frees with ais_answer_free(). Otherwise returns AIS_NO_MEMORY if memory
 * runs out or -1 if the body is invalid, zeroes *answer, and sets *err (which may be NULL) to the reason. The memory
 * used is proportional to the length of the body; body itself need not outlive the call.
 */
int ais_answer_parse(struct ais_answer *answer, enum ais_kind kind, struct ais_str body, struct ais_error *err);

/* Frees the memory that the answer owns and zeroes it. A zeroed answer is accepted. */
void ais_answer_free(struct ais_answer *answer);

/* The size of the longest text that ais_answer_write_error() writes, including the NUL. */
#define AIS_ANSWER_ERROR_MAX 512

/*
 * Writes an error of our own in the API's envelope:
 *
 *     {"success":false,"errors":[{"code":CODE,"message":"MESSAGE"}],"messages":[],"result":null}
 *
 * message is escaped for JSON (RFC 8259, section 7) and truncated if it does not fit. buf must have
 * AIS_ANSWER_ERROR_MAX bytes. Returns the length without the NUL.
 */
size_t ais_answer_write_error(char *buf, int code, const char *message);

#pragma GCC visibility pop

#endif
