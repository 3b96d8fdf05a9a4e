#include "ais_instance.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ais_object.h"
#include "ais_resource.h"

/* A year, in seconds: what is longer is none that we could wait for. */
#define SYNC_INTERVAL_MAX (365 * 24 * 3600)

static struct ais_str view(const char *s)
{
    return (struct ais_str){s, strlen(s)};
}

/* Whether it can be asked about; a namespace allows no more than its absence does. */
static bool has_resource(const struct ais_instance *instance)
{
    return ais_instance_valid(view(instance->id), AIS_PLAIN) &&
           (instance->namespace == NULL || ais_namespace_valid(view(instance->namespace)));
}

/* A type of null is built-in storage; of any other there are jobs. */
static enum ais_indexed indexed(const cJSON *object, const cJSON *type)
{
    if (cJSON_IsString(type))
        return AIS_INDEXED_BY_JOBS;

    /* null, and not only absent */
    if (type == NULL && cJSON_GetObjectItemCaseSensitive(object, "type") != NULL)
        return AIS_INDEXED_AS_STORED;

    return AIS_INDEXED_UNKNOWN;
}

bool ais_instance_parse(struct ais_instance *instance, const cJSON *result)
{
    enum { ID, NAMESPACE, TYPE, STATUS, SYNC_INTERVAL, ENABLE, PAUSED, CREATED_AT, MODIFIED_AT, MEMBERS };
    static const char *const names[MEMBERS] = {
        [ID] = "id",         [NAMESPACE] = "namespace",         [TYPE] = "type",
        [STATUS] = "status", [SYNC_INTERVAL] = "sync_interval", [ENABLE] = "enable",
        [PAUSED] = "paused", [CREATED_AT] = "created_at",       [MODIFIED_AT] = "modified_at",
    };
    const cJSON *found[MEMBERS];
    int64_t seconds;

    if (!ais_object_find(result, names, MEMBERS, found) || ais_object_text(found[ID]) == NULL)
        return false;

    seconds = ais_object_count(found[SYNC_INTERVAL]);

    *instance = (struct ais_instance){
        .id = ais_object_text(found[ID]),
        .namespace = ais_object_text(found[NAMESPACE]),
        .status = ais_object_text(found[STATUS]),
        .indexed = indexed(result, found[TYPE]),
        .sync_interval = seconds > 0 && seconds <= SYNC_INTERVAL_MAX ? seconds * 1000 : 0,
        .disabled = cJSON_IsFalse(found[ENABLE]),
        .paused = cJSON_IsTrue(found[PAUSED]),
        .created_at = ais_object_time(found[CREATED_AT]),
        .modified_at = ais_object_time(found[MODIFIED_AT]),
    };
    instance->in_error = instance->status != NULL && strcasecmp(instance->status, "error") == 0;
    return true;
}

static const char *const stats_names[AIS_STATS_ITEMS] = {"queued", "running", "completed",
                                                         "error",  "skipped", "outdated"};

const char *ais_stats_name(size_t item)
{
    return stats_names[item];
}

bool ais_stats_parse(struct ais_stats *stats, const cJSON *result)
{
    const cJSON *found[AIS_STATS_ITEMS];

    if (!ais_object_find(result, stats_names, AIS_STATS_ITEMS, found))
        return false;

    for (size_t i = 0; i < AIS_STATS_ITEMS; i++)
        stats->items[i] = ais_object_count(found[i]);

    stats->degraded = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(result, "degraded"));
    return true;
}

bool ais_namespace_parse(const char **name, const cJSON *result)
{
    static const char *const names[] = {"name"};
    const cJSON *found;

    *name = ais_object_find(result, names, 1, &found) ? ais_object_text(found) : NULL;
    return *name != NULL;
}

static int parse_instances(struct ais_listing *listing, const cJSON *array, struct ais_error *err)
{
    size_t count = ais_object_elements(array);
    bool has_ids = false;

    if (count == 0)
        return 0;

    listing->instances = calloc(count, sizeof(*listing->instances));
    if (listing->instances == NULL) {
        ais_error_set(err, "out of memory");
        return AIS_NO_MEMORY;
    }

    for (const cJSON *item = array->child; item != NULL; item = item->next) {
        struct ais_instance *instance = &listing->instances[listing->ninstances];
        bool has_id = ais_instance_parse(instance, item);

        has_ids = has_ids || has_id;
        if (has_id && has_resource(instance))
            listing->ninstances++;
        else
            listing->left_out++;
    }

    if (!has_ids) {
        ais_error_set(err, "\"result\" has no instance with an \"id\" in it");
        return -1;
    }

    return 0;
}

int ais_listing_parse(struct ais_listing *listing, const cJSON *result, const cJSON *result_info, struct ais_error *err)
{
    static const char *const names[] = {"total_count", "page"};
    const cJSON *found[2];

    ais_object_find(result_info, names, 2, found);
    *listing = (struct ais_listing){.total = ais_object_count(found[0]), .page = ais_object_count(found[1])};

    return parse_instances(listing, result, err);
}

void ais_listing_free(struct ais_listing *listing)
{
    free(listing->instances);
    memset(listing, 0, sizeof(*listing));
}
