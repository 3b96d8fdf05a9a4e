#ifndef AIS_INSTANCE_H
#define AIS_INSTANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ais_error.h"
#include "ais_time.h"

/*
 * One page of a list of instances, as the API answers it. Pure functions without globals, for any thread or process.
 */

/* The strings belong to the answer that the instance is part of; NULL where the API said null, or nothing. */
struct ais_instance {
    const char *id;        /* passes ais_instance_valid() */
    const char *namespace; /* passes ais_namespace_valid(), where it is not NULL */
    const char *status;    /* the API's word, as it is */
    bool paused;
    int64_t created_at; /* ms since the epoch, or AIS_TIME_NONE */
    int64_t modified_at;
};

struct ais_listing {
    struct ais_instance *instances;
    size_t ninstances;
    size_t left_out; /* elements whose id or namespace the grammar of resources refuses */
    int64_t total;   /* "total_count" of result_info, or -1 */
    int64_t page;    /* "page" of it, or -1 */
};

struct cJSON;

/*
 * Takes over "result" and "result_info" of an answer to AIS_INSTANCES; see ais_answer_parse(), which calls this.
 *
 * As strict as for jobs: result is an array of objects, each with a string for an id; all other members that we know
 * may be absent or null, but not of another type, and none may be there twice; what we do not know is passed over.
 * result_info may be absent.
 *
 * An element whose id or namespace is well-formed JSON, but is none that the grammar of resources lets through, is left
 * out and counted, and the others stand: nothing could ever be asked about it, and no single name, whoever gave it, may
 * hide the instances beside it.
 *
 * Returns 0; or -1, or AIS_NO_MEMORY, with the reason in *err. *listing is to be freed with ais_listing_free() either
 * way.
 */
int ais_listing_parse(struct ais_listing *listing, const struct cJSON *result, const struct cJSON *result_info,
                      struct ais_error *err);

/* Frees what the listing owns and zeroes it; a zeroed one is fine. */
void ais_listing_free(struct ais_listing *listing);

#endif
