#ifndef AIS_OBJECT_H
#define AIS_OBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#include "ais_error.h"

/*
 * Takes the objects of an answer apart, strictly: what the parsers of jobs and instances have in common. The JSON has
 * passed ais_json_check().
 */

/* A member of an object that we know: its name and the cJSON types it may have. */
struct ais_member {
    const char *name;
    int types;
    bool required;
};

/*
 * Takes the known members of an object apart, in one walk: found[i] is members[i], or NULL where it is absent. Returns
 * 0, or -1 where one is missing, of the wrong type, or there twice; what is the object's name in the message.
 */
int ais_object_members(const cJSON *object, const char *what, const struct ais_member *members, size_t count,
                       const cJSON **found, struct ais_error *err);

/* Of a string; of a null or nothing (NULL): NULL. */
const char *ais_object_text(const cJSON *item);

/* The time that a string tells, ms since the epoch; AIS_TIME_NONE where there is none, or none that can be read. */
int64_t ais_object_time(const cJSON *item);

/* Whether a number is an integer, small enough to be exact. */
bool ais_object_is_integer(const cJSON *item);

/* How many elements an array has. */
size_t ais_object_count(const cJSON *array);

#endif
