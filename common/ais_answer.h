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
 * What the API answers, in one JSON envelope: jobs, logs, instances, what is indexed in one, namespaces, or errors; and
 * the same envelope around a refusal of our own. Pure functions without globals, for any thread or process.
 */

#pragma GCC visibility push(hidden)

/* What an instance is indexed from. */
enum ais_indexed {
    AIS_INDEXED_UNKNOWN,   /* the API did not tell */
    AIS_INDEXED_BY_JOBS,   /* a bucket or a site: jobs sync it */
    AIS_INDEXED_AS_STORED, /* built-in storage, which is indexed as files come, and has no sync jobs */
};

/* The strings belong to the answer that the instance is part of; NULL where the API said null, nothing, or no string.
 */
struct ais_instance {
    const char *id;        /* passes ais_instance_valid() in a list; never NULL */
    const char *namespace; /* passes ais_namespace_valid() in a list, where it is not NULL */
    const char *status;    /* the API's word, as it is: "waiting", "indexing", "error" and others */
    enum ais_indexed indexed;
    int64_t sync_interval; /* ms between two scheduled jobs; 0: not known */
    bool disabled;         /* "enable" is false: it starts no scheduled jobs */
    bool paused;           /* the same, but the API may have done it: on errors, or when nobody searches */
    bool in_error;         /* its status is "error" */
    int64_t created_at;    /* ms since the epoch, or AIS_TIME_NONE */
    int64_t modified_at;
};

struct ais_listing {
    struct ais_instance *instances;
    size_t ninstances;
    size_t left_out; /* elements whose id or namespace is missing, or refused by the grammar of resources */
    int64_t total;   /* "total_count" of result_info, or -1 */
    int64_t page;    /* "page" of it, or -1 */
};

/* Whether an item is indexed. */
enum ais_stats_item {
    AIS_STATS_QUEUED,
    AIS_STATS_RUNNING,
    AIS_STATS_COMPLETED,
    AIS_STATS_ERROR,
    AIS_STATS_SKIPPED,
    AIS_STATS_OUTDATED,
    AIS_STATS_ITEMS, /* how many there are */
};

/* Counts of items; -1 where the API did not tell. */
struct ais_stats {
    int64_t items[AIS_STATS_ITEMS];
    bool degraded; /* the API could not count */
};

/* "queued", "running", "completed", "error", "skipped", "outdated". */
const char *ais_stats_name(enum ais_stats_item item);

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
 * Of a list of instances, an element whose id or namespace is missing, no string, or refused by the grammar of
 * resources, is left out and counted: nothing could ever be asked about it, and no single name, whoever gave it, may
 * hide the instances beside it.
 *
 * Returns 0 and a filled *answer, to be freed with ais_answer_free(); or -1, or AIS_NO_MEMORY, with the reason in *err
 * (which may be NULL) and *answer zeroed. Uses memory in proportion to the body.
 */
int ais_answer_parse(struct ais_answer *answer, enum ais_kind kind, struct ais_str body, struct ais_error *err);

/* Frees what the answer owns and zeroes it; a zeroed answer is fine. */
void ais_answer_free(struct ais_answer *answer);

/* The longest text that ais_answer_write_error() writes, its NUL included. */
#define AIS_ANSWER_ERROR_MAX 512

/*
 * Writes a refusal of our own in the API's envelope:
 *
 *     {"success":false,"errors":[{"code":CODE,"message":"MESSAGE"}],"messages":[],"result":null}
 *
 * message is escaped as JSON wants it (RFC 8259, section 7) and cut where it does not fit. buf has AIS_ANSWER_ERROR_MAX
 * bytes. Returns the length without the NUL. Pure; for any thread.
 */
size_t ais_answer_write_error(char *buf, int code, const char *message);

#pragma GCC visibility pop

#endif
