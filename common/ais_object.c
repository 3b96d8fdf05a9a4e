#include "ais_object.h"

#include <string.h>

#include "ais_time.h"

static int find_member(const struct ais_member *members, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(members[i].name, name) == 0)
            return (int) i;
    }

    return -1;
}

int ais_object_members(const cJSON *object, const char *what, const struct ais_member *members, size_t count,
                       const cJSON **found, struct ais_error *err)
{
    for (size_t i = 0; i < count; i++)
        found[i] = NULL;

    if (!cJSON_IsObject(object)) {
        ais_error_set(err, "%s is not an object", what);
        return -1;
    }

    for (const cJSON *item = object->child; item != NULL; item = item->next) {
        int i = find_member(members, count, item->string);

        if (i < 0)
            continue;

        if (found[i] != NULL) {
            ais_error_set(err, "%s has \"%s\" twice", what, members[i].name);
            return -1;
        }

        if ((item->type & members[i].types) == 0) {
            ais_error_set(err, "\"%s\" of %s is of the wrong type", members[i].name, what);
            return -1;
        }

        found[i] = item;
    }

    for (size_t i = 0; i < count; i++) {
        if (members[i].required && found[i] == NULL) {
            ais_error_set(err, "%s has no \"%s\"", what, members[i].name);
            return -1;
        }
    }

    return 0;
}

/* The value of a member that is there twice. */
static const cJSON unknown = {.type = cJSON_Invalid};

static int find_name(const char *const *names, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0)
            return (int) i;
    }

    return -1;
}

bool ais_object_find(const cJSON *object, const char *const *names, size_t count, const cJSON **found)
{
    for (size_t i = 0; i < count; i++)
        found[i] = NULL;

    if (!cJSON_IsObject(object))
        return false;

    for (const cJSON *item = object->child; item != NULL; item = item->next) {
        int i = find_name(names, count, item->string);

        if (i >= 0)
            found[i] = found[i] == NULL ? item : &unknown;
    }

    for (size_t i = 0; i < count; i++) {
        if (cJSON_IsNull(found[i]))
            found[i] = NULL;
    }

    return true;
}

const char *ais_object_text(const cJSON *item)
{
    return cJSON_IsString(item) ? item->valuestring : NULL;
}

int64_t ais_object_time(const cJSON *item)
{
    const char *text = ais_object_text(item);
    int64_t ms;

    if (text == NULL || !ais_time_parse((struct ais_str){text, strlen(text)}, &ms))
        return AIS_TIME_NONE;

    return ms;
}

/* Doubles hold integers up to here exactly. */
#define INTEGER_MAX 9007199254740992.0

int64_t ais_object_count(const cJSON *item)
{
    double d;

    if (!cJSON_IsNumber(item))
        return -1;

    d = item->valuedouble;
    return d >= 0.0 && d <= INTEGER_MAX && (double) (int64_t) d == d ? (int64_t) d : -1;
}

size_t ais_object_elements(const cJSON *array)
{
    size_t count = 0;

    for (const cJSON *item = array->child; item != NULL; item = item->next)
        count++;

    return count;
}
