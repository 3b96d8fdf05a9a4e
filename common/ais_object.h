#ifndef AIS_OBJECT_H
#define AIS_OBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#include "ais_error.h"

/*
 * Takes the objects of an answer apart: what the parsers of jobs and instances have in common. The JSON has passed
 * ais_json_check(). The envelope is taken strictly, what stands in it leniently: a member that has another type than is
 * documented, or that is there twice, is present, and its value is not known.
 */

/* A member of an envelope that we know: its name and the cJSON types it may have. */
struct ais_member {
    const char *name;
    int types;
    bool required;
};

/*
 * Takes the known members of an envelope apart, in one walk: found[i] is members[i], or NULL where it is absent.
 * Returns 0, or -1 where one is missing, of the wrong type, or there twice; what is the object's name in the message.
 */
int ais_object_members(const cJSON *object, const char *what, const struct ais_member *members, size_t count,
                       const cJSON **found, struct ais_error *err);

/*
 * The same for what stands in an envelope: found[i] is the member names[i], NULL where it is absent or null, and
 * one without a type where it is there twice. Returns false where it is no object; nothing is found then.
 */
bool ais_object_find(const cJSON *object, const char *const *names, size_t count, const cJSON **found);

/* Of a string; of anything else, also nothing (NULL): NULL. */
const char *ais_object_text(const cJSON *item);

/* The time that a string tells, ms since the epoch; AIS_TIME_NONE where there is none, or none that can be read. */
int64_t ais_object_time(const cJSON *item);

/* Of a number that is an integer, not below 0, and small enough to be exact; of anything else -1. */
int64_t ais_object_count(const cJSON *item);

/* How many elements an array has. */
size_t ais_object_elements(const cJSON *array);

#endif
