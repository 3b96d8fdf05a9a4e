#ifndef AIS_INSTANCE_H
#define AIS_INSTANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ais_error.h"
#include "ais_time.h"

/*
 * What the API tells of instances: one, a page of a list of them, what is indexed in one; and of namespaces. Pure
 * functions without globals, for any thread or process.
 */

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

#define AIS_STATS_ITEMS 6

/* Counts of items; -1 where the API did not tell. */
struct ais_stats {
    int64_t items[AIS_STATS_ITEMS];
    bool degraded; /* the API could not count */
};

/* "queued", "running", "completed", "error", "skipped", "outdated", in the order of items. */
const char *ais_stats_name(size_t item);

struct cJSON;

/*
 * Takes over "result" and "result_info" of an answer to AIS_INSTANCES; see ais_answer_parse(), which calls these.
 *
 * result is an array; result_info may be absent, or lack any of its members.
 *
 * An element that is no object, has no string for an id, or an id or a namespace that the grammar of resources does not
 * let through, is left out and counted, and the others stand: nothing could ever be asked about it, and no single name,
 * whoever gave it, may hide the instances beside it.
 *
 * Returns 0; -1 where there are elements, and none has a string for an id; or AIS_NO_MEMORY, with the reason in *err. *listing is to be freed with ais_listing_free() either way.
 */
int ais_listing_parse(struct ais_listing *listing, const struct cJSON *result, const struct cJSON *result_info,
                      struct ais_error *err);

/* The same for AIS_INSTANCE, AIS_STATS and AIS_NAMESPACE: return false where it is no such thing. */
bool ais_instance_parse(struct ais_instance *instance, const struct cJSON *result);
bool ais_stats_parse(struct ais_stats *stats, const struct cJSON *result);
bool ais_namespace_parse(const char **name, const struct cJSON *result);

/* Frees what the listing owns and zeroes it; a zeroed one is fine. */
void ais_listing_free(struct ais_listing *listing);

#endif
