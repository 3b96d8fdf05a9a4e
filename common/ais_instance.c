#include "ais_instance.h"

#include <stdlib.h>
#include <string.h>

#include "ais_object.h"
#include "ais_resource.h"

static struct ais_str view(const char *s)
{
    return (struct ais_str){s, strlen(s)};
}

/* Whether it can be asked about; a namespace allows no more than its absence does. */
static bool has_resource(const struct ais_instance *instance)
{
    return ais_instance_valid(view(instance->id), AIS_INSTANCE) &&
           (instance->namespace == NULL || ais_namespace_valid(view(instance->namespace)));
}

static int parse_instance(struct ais_instance *instance, const cJSON *object, struct ais_error *err)
{
    enum { ID, NAMESPACE, STATUS, PAUSED, CREATED_AT, MODIFIED_AT, MEMBERS };
    static const struct ais_member members[MEMBERS] = {
        [ID] = {"id", cJSON_String, true},
        [NAMESPACE] = {"namespace", cJSON_String | cJSON_NULL, false},
        [STATUS] = {"status", cJSON_String | cJSON_NULL, false},
        [PAUSED] = {"paused", cJSON_True | cJSON_False | cJSON_NULL, false},
        [CREATED_AT] = {"created_at", cJSON_String | cJSON_NULL, false},
        [MODIFIED_AT] = {"modified_at", cJSON_String | cJSON_NULL, false},
    };
    const cJSON *found[MEMBERS];

    if (ais_object_members(object, "the instance", members, MEMBERS, found, err) != 0)
        return -1;

    *instance = (struct ais_instance){
        .id = found[ID]->valuestring,
        .namespace = ais_object_text(found[NAMESPACE]),
        .status = ais_object_text(found[STATUS]),
        .paused = cJSON_IsTrue(found[PAUSED]),
        .created_at = ais_object_time(found[CREATED_AT]),
        .modified_at = ais_object_time(found[MODIFIED_AT]),
    };
    return 0;
}

static int parse_instances(struct ais_listing *listing, const cJSON *array, struct ais_error *err)
{
    size_t count = ais_object_count(array);

    if (count == 0)
        return 0;

    listing->instances = calloc(count, sizeof(*listing->instances));
    if (listing->instances == NULL) {
        ais_error_set(err, "out of memory");
        return AIS_NO_MEMORY;
    }

    for (const cJSON *item = array->child; item != NULL; item = item->next) {
        struct ais_instance *instance = &listing->instances[listing->ninstances];

        if (parse_instance(instance, item, err) != 0)
            return -1;

        if (has_resource(instance))
            listing->ninstances++;
        else
            listing->left_out++;
    }

    return 0;
}

static int parse_info(struct ais_listing *listing, const cJSON *info, struct ais_error *err)
{
    enum { TOTAL_COUNT, PAGE, PER_PAGE, PAGE_COUNT, MEMBERS };
    static const struct ais_member members[MEMBERS] = {
        [TOTAL_COUNT] = {"total_count", cJSON_Number, true},
        [PAGE] = {"page", cJSON_Number, true},
        [PER_PAGE] = {"per_page", cJSON_Number, false},
        [PAGE_COUNT] = {"count", cJSON_Number, false},
    };
    const cJSON *found[MEMBERS];

    if (ais_object_members(info, "\"result_info\"", members, MEMBERS, found, err) != 0)
        return -1;

    for (size_t i = 0; i < MEMBERS; i++) {
        if (found[i] != NULL && (!ais_object_is_integer(found[i]) || found[i]->valuedouble < 0)) {
            ais_error_set(err, "\"%s\" of \"result_info\" is not a count", members[i].name);
            return -1;
        }
    }

    listing->total = (int64_t) found[TOTAL_COUNT]->valuedouble;
    listing->page = (int64_t) found[PAGE]->valuedouble;
    return 0;
}

int ais_listing_parse(struct ais_listing *listing, const cJSON *result, const cJSON *result_info, struct ais_error *err)
{
    *listing = (struct ais_listing){.total = -1, .page = -1};

    if (!cJSON_IsArray(result)) {
        ais_error_set(err, "\"result\" is not an array");
        return -1;
    }

    if (result_info != NULL && !cJSON_IsNull(result_info) && parse_info(listing, result_info, err) != 0)
        return -1;

    return parse_instances(listing, result, err);
}

void ais_listing_free(struct ais_listing *listing)
{
    free(listing->instances);
    memset(listing, 0, sizeof(*listing));
}
