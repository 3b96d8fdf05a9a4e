/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Parses the API's answers: strictly the envelope, leniently its contents. Also writes errors of our own in the same
 * envelope.
 */

#include "ais_answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cjson/cJSON.h>

#include "ais_json.h"
#include "ais_utf8.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* A double holds integers up to this one exactly. */
#define INTEGER_MAX 9007199254740992.0

/* A year, in seconds. A longer interval is treated as unknown. */
#define SYNC_INTERVAL_MAX (365 * 24 * 3600)

/* Room for the longest form of a character, \u00XX and a NUL; U+FFFD is shorter. */
#define ESCAPE_MAX 8

/* Objects. */

/* Stands for a member that appears twice. */
static const cJSON twice = {.type = cJSON_Invalid};

static int find_name(const char *const *names, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0)
            return (int) i;
    }

    return -1;
}

/* Sets found[i] to the member names[i], or to NULL if it is absent. Returns false, with all members absent, if object
 * is not an object. */
static bool find_members(const cJSON *object, const char *const *names, size_t count, const cJSON **found)
{
    for (size_t i = 0; i < count; i++)
        found[i] = NULL;

    if (!cJSON_IsObject(object))
        return false;

    for (const cJSON *item = object->child; item != NULL; item = item->next) {
        int i = find_name(names, count, item->string);

        if (i >= 0)
            found[i] = found[i] == NULL ? item : &twice;
    }

    return true;
}

/* Like find_members(), but a member that is null counts as absent. */
static bool find_values(const cJSON *object, const char *const *names, size_t count, const cJSON **found)
{
    bool is_object = find_members(object, names, count, found);

    for (size_t i = 0; i < count; i++) {
        if (cJSON_IsNull(found[i]))
            found[i] = NULL;
    }

    return is_object;
}

/* Returns the text of a string, or NULL for anything else, including an absent member. */
static const char *text_of(const cJSON *item)
{
    return item != NULL && cJSON_IsString(item) ? item->valuestring : NULL;
}

/* Returns the time in a string, in ms since the epoch, or AIS_TIME_NONE if there is none or it cannot be parsed. */
static int64_t time_of(const cJSON *item)
{
    const char *text = text_of(item);
    int64_t ms;

    return text != NULL && ais_time_parse(ais_str_of(text), &ms) ? ms : AIS_TIME_NONE;
}

/* Returns a number that is a non-negative integer and small enough to be exact, or -1 for anything else. */
static int64_t count_of(const cJSON *item)
{
    double d;

    if (item == NULL || !cJSON_IsNumber(item))
        return -1;

    d = item->valuedouble;
    return d >= 0.0 && d <= INTEGER_MAX && (double) (int64_t) d == d ? (int64_t) d : -1;
}

static size_t count_elements(const cJSON *array)
{
    size_t count = 0;

    for (const cJSON *item = array->child; item != NULL; item = item->next)
        count++;

    return count;
}

/* Jobs. */

/* Returns the text of a string, NULL for an absent member, and "unknown" for a member of any other type. */
static const char *text_or_unknown(const cJSON *item)
{
    const char *text = text_of(item);

    return item != NULL && text == NULL ? "unknown" : text;
}

/* Returns false if object is not a job, or has no id by which it could be requested. */
static bool parse_job(struct ais_job *job, const cJSON *object)
{
    enum { ID, SOURCE, DESCRIPTION, END_REASON, STARTED_AT, ENDED_AT, LAST_SEEN_AT, MEMBERS };
    static const char *const names[MEMBERS] = {
        [ID] = "id",
        [SOURCE] = "source",
        [DESCRIPTION] = "description",
        [END_REASON] = "end_reason",
        [STARTED_AT] = "started_at",
        [ENDED_AT] = "ended_at",
        [LAST_SEEN_AT] = "last_seen_at",
    };
    const cJSON *found[MEMBERS];
    const char *source;

    if (!find_values(object, names, MEMBERS, found))
        return false;

    job->id = text_of(found[ID]);
    if (job->id == NULL || job->id[0] == '\0')
        return false;

    source = text_of(found[SOURCE]);
    job->source = source != NULL ? source : "unknown";
    job->description = text_of(found[DESCRIPTION]);
    job->end_reason = text_of(found[END_REASON]);
    job->state = ais_job_state(text_or_unknown(found[STARTED_AT]), text_or_unknown(found[ENDED_AT]),
                               text_or_unknown(found[END_REASON]));
    job->started_at = time_of(found[STARTED_AT]);
    job->ended_at = time_of(found[ENDED_AT]);
    job->last_seen_at = time_of(found[LAST_SEEN_AT]);
    return true;
}

/* Parses a list of count sibling nodes, starting with first. */
static int parse_jobs(struct ais_answer *answer, const cJSON *first, size_t count, struct ais_error *err)
{
    if (count == 0)
        return 0;

    answer->jobs = calloc(count, sizeof(*answer->jobs));
    if (answer->jobs == NULL) {
        ais_error_set(err, "out of memory");
        return AIS_NO_MEMORY;
    }

    for (size_t i = 0; i < count; i++) {
        /* first is NULL if the single job of a response is absent */
        if (i > 0)
            first = first->next;
        if (parse_job(&answer->jobs[answer->njobs], first))
            answer->njobs++;
    }

    if (answer->njobs == 0) {
        ais_error_set(err, "\"result\" contains no job with an \"id\"");
        return -1;
    }

    return 0;
}

/* Instances and namespaces. */

/* Returns whether the names are valid by the grammar of ais_resource.h, so that the element can be requested. */
static bool has_resource(const struct ais_instance *instance, enum ais_kind kind)
{
    return (kind == AIS_NAMESPACES || ais_instance_valid(ais_str_of(instance->id), AIS_PLAIN)) &&
           (instance->namespace == NULL || ais_namespace_valid(ais_str_of(instance->namespace)));
}

/* A null type means built-in storage; instances of any other type have jobs. */
static enum ais_indexed indexed(const cJSON *object, const cJSON *type)
{
    if (cJSON_IsString(type))
        return AIS_INDEXED_BY_JOBS;

    /* find_values() has turned null into NULL; check that the member is not absent */
    if (type == NULL && cJSON_GetObjectItemCaseSensitive(object, "type") != NULL)
        return AIS_INDEXED_AS_STORED;

    return AIS_INDEXED_UNKNOWN;
}

static bool parse_instance(struct ais_instance *instance, const cJSON *result)
{
    enum { ID, NAMESPACE, TYPE, STATUS, SYNC_INTERVAL, ENABLE, PAUSED, CREATED_AT, MODIFIED_AT, MEMBERS };
    static const char *const names[MEMBERS] = {
        [ID] = "id",         [NAMESPACE] = "namespace",         [TYPE] = "type",
        [STATUS] = "status", [SYNC_INTERVAL] = "sync_interval", [ENABLE] = "enable",
        [PAUSED] = "paused", [CREATED_AT] = "created_at",       [MODIFIED_AT] = "modified_at",
    };
    const cJSON *found[MEMBERS];
    const char *id;
    int64_t seconds;

    find_values(result, names, MEMBERS, found);
    id = text_of(found[ID]);
    if (id == NULL)
        return false;

    seconds = count_of(found[SYNC_INTERVAL]);

    *instance = (struct ais_instance){
        .id = id,
        .namespace = text_of(found[NAMESPACE]),
        .status = text_of(found[STATUS]),
        .indexed = indexed(result, found[TYPE]),
        .sync_interval = seconds > 0 && seconds <= SYNC_INTERVAL_MAX ? seconds * 1000 : 0,
        .disabled = cJSON_IsFalse(found[ENABLE]),
        .paused = cJSON_IsTrue(found[PAUSED]),
        .created_at = time_of(found[CREATED_AT]),
        .modified_at = time_of(found[MODIFIED_AT]),
    };
    instance->in_error = instance->status != NULL && strcasecmp(instance->status, "error") == 0;
    return true;
}

static const char *const stats_names[AIS_STATS_ITEMS] = {
    [AIS_STATS_QUEUED] = "queued", [AIS_STATS_RUNNING] = "running", [AIS_STATS_COMPLETED] = "completed",
    [AIS_STATS_ERROR] = "error",   [AIS_STATS_SKIPPED] = "skipped", [AIS_STATS_OUTDATED] = "outdated",
};

const char *ais_stats_name(enum ais_stats_item item)
{
    return stats_names[item];
}

static bool parse_stats(struct ais_stats *stats, const cJSON *result)
{
    const cJSON *found[AIS_STATS_ITEMS];

    if (!find_values(result, stats_names, AIS_STATS_ITEMS, found))
        return false;

    for (size_t i = 0; i < AIS_STATS_ITEMS; i++)
        stats->items[i] = count_of(found[i]);

    stats->degraded = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(result, "degraded"));
    return true;
}

static bool parse_namespace(const char **name, const cJSON *result)
{
    static const char *const names[] = {"name"};
    const cJSON *found;

    *name = find_values(result, names, 1, &found) ? text_of(found) : NULL;
    return *name != NULL;
}

/* Parses an element of a list. A namespace is stored as an instance whose id and namespace are both its name. */
static bool parse_element(struct ais_instance *element, enum ais_kind kind, const cJSON *item)
{
    if (kind == AIS_INSTANCES)
        return parse_instance(element, item);

    *element = (struct ais_instance){.created_at = AIS_TIME_NONE, .modified_at = AIS_TIME_NONE};
    if (!parse_namespace(&element->namespace, item))
        return false;
    element->id = element->namespace;
    return true;
}

static int parse_instances(struct ais_listing *listing, enum ais_kind kind, const cJSON *array, struct ais_error *err)
{
    size_t count = count_elements(array);
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
        bool has_id = parse_element(instance, kind, item);

        has_ids = has_ids || has_id;
        if (has_id && has_resource(instance, kind))
            listing->ninstances++;
        else
            listing->left_out++;
    }

    if (kind == AIS_INSTANCES && !has_ids) {
        ais_error_set(err, "\"result\" contains no instance with an \"id\"");
        return -1;
    }

    return 0;
}

static int parse_listing(struct ais_listing *listing, enum ais_kind kind, const cJSON *result, const cJSON *result_info,
                         struct ais_error *err)
{
    static const char *const names[] = {"total_count", "page"};
    const cJSON *found[2];

    find_values(result_info, names, 2, found);
    *listing = (struct ais_listing){.total = count_of(found[0]), .page = count_of(found[1])};

    return parse_instances(listing, kind, result, err);
}

/* Errors. */

static void parse_chain(struct ais_api_error *error, const cJSON *chain)
{
    static const char *const names[] = {"code"};
    const cJSON *code;

    if (!cJSON_IsArray(chain))
        return;

    for (const cJSON *item = chain->child; item != NULL && error->nchain < AIS_CHAIN_MAX; item = item->next) {
        if (find_values(item, names, COUNT(names), &code) && cJSON_IsNumber(code))
            error->chain[error->nchain++] = code->valueint;
    }
}

static void parse_error(struct ais_api_error *error, const cJSON *object)
{
    enum { CODE, MESSAGE, CHAIN, MEMBERS };
    static const char *const names[MEMBERS] = {[CODE] = "code", [MESSAGE] = "message", [CHAIN] = "error_chain"};
    const cJSON *found[MEMBERS];

    find_values(object, names, MEMBERS, found);
    error->code = cJSON_IsNumber(found[CODE]) ? found[CODE]->valueint : 0;
    error->message = text_of(found[MESSAGE]);
    parse_chain(error, found[CHAIN]);
}

static void parse_errors(struct ais_answer *answer, const cJSON *array)
{
    for (const cJSON *item = array->child; item != NULL && answer->nerrors < AIS_ERRORS_MAX; item = item->next)
        parse_error(&answer->errors[answer->nerrors++], item);
}

/* The envelope. */

/* Parses a result that is a single object: an instance, its statistics, or a namespace. */
static int parse_object(struct ais_answer *answer, enum ais_kind kind, const cJSON *result, struct ais_error *err)
{
    bool fits = kind == AIS_STATS      ? parse_stats(&answer->stats, result)
                : kind == AIS_INSTANCE ? parse_instance(&answer->instance, result)
                                       : parse_namespace(&answer->namespace, result);

    if (!fits) {
        ais_error_set(err, "\"result\" is not the requested resource");
        return -1;
    }

    return 0;
}

static int parse_result(struct ais_answer *answer, enum ais_kind kind, const cJSON *result, const cJSON *result_info,
                        struct ais_error *err)
{
    if (kind == AIS_JOB)
        return parse_jobs(answer, result, 1, err);

    if (kind == AIS_INSTANCE || kind == AIS_STATS || kind == AIS_NAMESPACE)
        return parse_object(answer, kind, result, err);

    if (!cJSON_IsArray(result)) {
        ais_error_set(err, "\"result\" is not an array");
        return -1;
    }

    if (kind == AIS_INSTANCES || kind == AIS_NAMESPACES)
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): NULL is no array */
        return parse_listing(&answer->listing, kind, result, result_info, err);

    if (kind == AIS_LIST)
        return parse_jobs(answer, result->child, count_elements(result), err);

    /* log entries are for people to read and are not parsed */
    answer->nlogs = count_elements(result);

    return 0;
}

static int parse_envelope(struct ais_answer *answer, enum ais_kind kind, struct ais_error *err)
{
    enum { SUCCESS, RESULT, RESULT_INFO, ERRORS, MEMBERS };
    static const char *const names[MEMBERS] = {"success", "result", "result_info", "errors"};
    static const int types[MEMBERS] = {cJSON_True | cJSON_False, ~0, ~0, cJSON_Array | cJSON_NULL};
    const cJSON *found[MEMBERS];

    if (!find_members(answer->document, names, MEMBERS, found)) {
        ais_error_set(err, "the response is not an object");
        return -1;
    }

    for (size_t i = 0; i < MEMBERS; i++) {
        if (found[i] != NULL && (found[i] == &twice || (found[i]->type & types[i]) == 0)) {
            ais_error_set(err, "the response has \"%s\" %s", names[i],
                          found[i] == &twice ? "twice" : "of the wrong type");
            return -1;
        }
    }

    if (found[SUCCESS] == NULL) {
        ais_error_set(err, "the response has no \"success\"");
        return -1;
    }

    answer->success = cJSON_IsTrue(found[SUCCESS]);

    if (answer->success)
        return parse_result(answer, kind, found[RESULT], found[RESULT_INFO], err);

    if (!cJSON_IsArray(found[ERRORS])) {
        ais_error_set(err, "the response reports no success, but has no \"errors\"");
        return -1;
    }

    parse_errors(answer, found[ERRORS]);
    return 0;
}

int ais_answer_parse(struct ais_answer *answer, enum ais_kind kind, struct ais_str body, struct ais_error *err)
{
    const char *wrong;
    size_t where;
    int rc;

    memset(answer, 0, sizeof(*answer));

    wrong = ais_json_check(body, AIS_JSON_DEPTH_MAX, &where);
    if (wrong != NULL) {
        ais_error_set(err, "the response is not JSON: %s at byte %zu", wrong, where);
        return -1;
    }

    answer->document = cJSON_ParseWithLength(body.data, body.len);
    if (answer->document == NULL) {
        ais_error_set(err, "out of memory");
        return AIS_NO_MEMORY;
    }

    rc = parse_envelope(answer, kind, err);
    if (rc != 0)
        ais_answer_free(answer);
    return rc;
}

void ais_answer_free(struct ais_answer *answer)
{
    free(answer->jobs);
    free(answer->listing.instances);
    cJSON_Delete(answer->document);
    memset(answer, 0, sizeof(*answer));
}

/* Errors of our own. */

/*
 * Writes the first character of s as it appears in a JSON string; an invalid byte becomes U+FFFD. Sets *used to the
 * character's length in s, and returns the length written.
 */
static size_t escape(char out[ESCAPE_MAX], struct ais_str s, size_t *used)
{
    unsigned char c = (unsigned char) s.data[0];
    size_t len = ais_utf8_sequence(s);

    *used = len > 0 ? len : 1;

    if (len == 0)
        return (size_t) snprintf(out, ESCAPE_MAX, "\xEF\xBF\xBD");
    if (c == '"' || c == '\\')
        return (size_t) snprintf(out, ESCAPE_MAX, "\\%c", c);
    if (c < 0x20)
        return (size_t) snprintf(out, ESCAPE_MAX, "\\u%04x", c);

    memcpy(out, s.data, len);
    return len;
}

size_t ais_answer_write_error(char *buf, int code, const char *message)
{
    static const char tail[] = "\"}],\"messages\":[],\"result\":null}";
    struct ais_str rest = ais_str_of(message);
    char escaped[ESCAPE_MAX];
    size_t len, escaped_len, used;

    len = (size_t) snprintf(buf, AIS_ANSWER_ERROR_MAX, "{\"success\":false,\"errors\":[{\"code\":%d,\"message\":\"",
                            code);

    while (rest.len > 0) {
        escaped_len = escape(escaped, rest, &used);
        if (len + escaped_len + sizeof(tail) > AIS_ANSWER_ERROR_MAX)
            break;

        memcpy(buf + len, escaped, escaped_len);
        len += escaped_len;
        rest.data += used;
        rest.len -= used;
    }

    memcpy(buf + len, tail, sizeof(tail));
    return len + sizeof(tail) - 1;
}
