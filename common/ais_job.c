#include "ais_job.h"

#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "ais_json.h"
#include "ais_time.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

const char *ais_state_name(enum ais_state state)
{
    static const char *const names[AIS_STATES] = {
        [AIS_QUEUED] = "queued", [AIS_RUNNING] = "running",     [AIS_SUCCEEDED] = "succeeded",
        [AIS_FAILED] = "failed", [AIS_CANCELLED] = "cancelled",
    };

    return names[state];
}

bool ais_state_active(enum ais_state state)
{
    return state == AIS_QUEUED || state == AIS_RUNNING;
}

/* ASCII alone: a locale has no say in what a state is. */
static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char) (c - 'A' + 'a') : c;
}

/* Whether text begins with word, which is in lower case, in any case. Returns what follows it, or NULL. */
static const char *skip_word(const char *text, const char *word)
{
    for (; *word != '\0'; text++, word++) {
        if (lower(*text) != *word)
            return NULL;
    }

    return text;
}

static bool contains(const char *text, const char *word)
{
    for (; *text != '\0'; text++) {
        if (skip_word(text, word) != NULL)
            return true;
    }

    return false;
}

static bool means_success(const char *end_reason)
{
    static const char *const words[] = {"", "completed", "complete", "success", "succeeded", "finished", "done", "ok"};

    for (size_t i = 0; i < COUNT(words); i++) {
        const char *rest = skip_word(end_reason, words[i]);

        if (rest != NULL && *rest == '\0')
            return true;
    }

    return false;
}

enum ais_state ais_job_state(const char *started_at, const char *ended_at, const char *end_reason)
{
    if (ended_at == NULL)
        return started_at == NULL ? AIS_QUEUED : AIS_RUNNING;

    if (end_reason == NULL || means_success(end_reason))
        return AIS_SUCCEEDED;

    return contains(end_reason, "cancel") ? AIS_CANCELLED : AIS_FAILED;
}

/* A member of an object that we know: its name and the cJSON types it may have. */
struct member {
    const char *name;
    int types;
    bool required;
};

static int find_member(const struct member *members, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(members[i].name, name) == 0)
            return (int) i;
    }

    return -1;
}

/*
 * Takes the known members of an object apart, in one walk: found[i] is members[i], or NULL where it is absent. Returns
 * 0, or -1 where one is missing, of the wrong type, or there twice; what is the object's name in the message.
 */
static int take_apart(const cJSON *object, const char *what, const struct member *members, size_t count,
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

/* Of a string, or of a null or nothing: NULL. */
static const char *text_of(const cJSON *item)
{
    return item == NULL ? NULL : item->valuestring;
}

static int64_t time_of(const char *text)
{
    int64_t ms;

    if (text == NULL || !ais_time_parse((struct ais_str){text, strlen(text)}, &ms))
        return AIS_TIME_NONE;

    return ms;
}

static int parse_job(struct ais_job *job, const cJSON *object, struct ais_error *err)
{
    enum { ID, SOURCE, DESCRIPTION, END_REASON, STARTED_AT, ENDED_AT, LAST_SEEN_AT, MEMBERS };
    static const struct member members[MEMBERS] = {
        [ID] = {"id", cJSON_String, true},
        [SOURCE] = {"source", cJSON_String, true},
        [DESCRIPTION] = {"description", cJSON_String | cJSON_NULL, false},
        [END_REASON] = {"end_reason", cJSON_String | cJSON_NULL, false},
        [STARTED_AT] = {"started_at", cJSON_String | cJSON_NULL, false},
        [ENDED_AT] = {"ended_at", cJSON_String | cJSON_NULL, false},
        [LAST_SEEN_AT] = {"last_seen_at", cJSON_String | cJSON_NULL, false},
    };
    const cJSON *found[MEMBERS];

    if (take_apart(object, "the job", members, MEMBERS, found, err) != 0)
        return -1;

    if (found[ID]->valuestring[0] == '\0') {
        ais_error_set(err, "\"id\" of the job is empty");
        return -1;
    }

    job->id = found[ID]->valuestring;
    job->source = found[SOURCE]->valuestring;
    job->description = text_of(found[DESCRIPTION]);
    job->end_reason = text_of(found[END_REASON]);
    job->state = ais_job_state(text_of(found[STARTED_AT]), text_of(found[ENDED_AT]), job->end_reason);
    job->started_at = time_of(text_of(found[STARTED_AT]));
    job->ended_at = time_of(text_of(found[ENDED_AT]));
    job->last_seen_at = time_of(text_of(found[LAST_SEEN_AT]));
    return 0;
}

/* The jobs that hang together from first on; all of them, or -1. */
static int parse_jobs(struct ais_answer *answer, const cJSON *first, size_t count, struct ais_error *err)
{
    if (count == 0)
        return 0;

    answer->jobs = calloc(count, sizeof(*answer->jobs));
    if (answer->jobs == NULL) {
        ais_error_set(err, "out of memory");
        return -1;
    }

    for (; answer->njobs < count; answer->njobs++, first = first->next) {
        if (parse_job(&answer->jobs[answer->njobs], first, err) != 0)
            return -1;
    }

    return 0;
}

static size_t count_items(const cJSON *array)
{
    size_t count = 0;

    for (const cJSON *item = array->child; item != NULL; item = item->next)
        count++;

    return count;
}

/* Doubles hold integers up to here exactly. */
#define INTEGER_MAX 9007199254740992.0

static bool is_integer(const cJSON *item)
{
    double d = item->valuedouble;

    return d >= -INTEGER_MAX && d <= INTEGER_MAX && (double) (int64_t) d == d;
}

static int check_log(const cJSON *object, struct ais_error *err)
{
    enum { ID, CREATED_AT, MESSAGE, MESSAGE_TYPE, MEMBERS };
    static const struct member members[MEMBERS] = {
        [ID] = {"id", cJSON_Number, true},
        [CREATED_AT] = {"created_at", cJSON_Number, true},
        [MESSAGE] = {"message", cJSON_String, true},
        [MESSAGE_TYPE] = {"message_type", cJSON_Number, true},
    };
    const cJSON *found[MEMBERS];

    if (take_apart(object, "the log entry", members, MEMBERS, found, err) != 0)
        return -1;

    if (!is_integer(found[ID]) || !is_integer(found[MESSAGE_TYPE])) {
        ais_error_set(err, "\"id\" or \"message_type\" of the log entry is not an integer");
        return -1;
    }

    return 0;
}

static int parse_logs(struct ais_answer *answer, const cJSON *array, struct ais_error *err)
{
    for (const cJSON *item = array->child; item != NULL; item = item->next, answer->nlogs++) {
        if (check_log(item, err) != 0)
            return -1;
    }

    return 0;
}

static int parse_errors(struct ais_answer *answer, const cJSON *array, struct ais_error *err)
{
    enum { CODE, MESSAGE, MEMBERS };
    static const struct member members[MEMBERS] = {
        [CODE] = {"code", cJSON_Number, true},
        [MESSAGE] = {"message", cJSON_String, true},
    };
    const cJSON *found[MEMBERS];

    for (const cJSON *item = array->child; item != NULL; item = item->next) {
        if (take_apart(item, "the error", members, MEMBERS, found, err) != 0)
            return -1;

        if (item == array->child) {
            answer->error_code = found[CODE]->valueint;
            answer->error_message = found[MESSAGE]->valuestring;
        }
    }

    return 0;
}

static int parse_result(struct ais_answer *answer, enum ais_kind kind, const cJSON *result, struct ais_error *err)
{
    if (kind == AIS_JOB)
        return parse_jobs(answer, result, 1, err);

    if (!cJSON_IsArray(result)) {
        ais_error_set(err, "\"result\" is not an array");
        return -1;
    }

    if (kind == AIS_LIST)
        return parse_jobs(answer, result->child, count_items(result), err);

    return parse_logs(answer, result, err);
}

static int parse_envelope(struct ais_answer *answer, enum ais_kind kind, struct ais_error *err)
{
    enum { SUCCESS, RESULT, ERRORS, MEMBERS };
    static const struct member members[MEMBERS] = {
        [SUCCESS] = {"success", cJSON_True | cJSON_False, true},
        [RESULT] = {"result", ~0, false},
        [ERRORS] = {"errors", cJSON_Array | cJSON_NULL, false},
    };
    const cJSON *found[MEMBERS];

    if (take_apart(answer->document, "the answer", members, MEMBERS, found, err) != 0)
        return -1;

    answer->success = cJSON_IsTrue(found[SUCCESS]);

    if (answer->success)
        return parse_result(answer, kind, found[RESULT], err);

    if (!cJSON_IsArray(found[ERRORS])) {
        ais_error_set(err, "the answer has neither success nor \"errors\"");
        return -1;
    }

    return parse_errors(answer, found[ERRORS], err);
}

int ais_answer_parse(struct ais_answer *answer, enum ais_kind kind, struct ais_str body, struct ais_error *err)
{
    const char *wrong;
    size_t where;

    memset(answer, 0, sizeof(*answer));

    wrong = ais_json_check(body, AIS_JSON_DEPTH_MAX, &where);
    if (wrong != NULL) {
        ais_error_set(err, "the answer is not JSON: %s at byte %zu", wrong, where);
        return -1;
    }

    answer->document = cJSON_ParseWithLength(body.data, body.len);
    if (answer->document == NULL) {
        ais_error_set(err, "out of memory");
        return -1;
    }

    if (parse_envelope(answer, kind, err) != 0) {
        ais_answer_free(answer);
        return -1;
    }

    return 0;
}

void ais_answer_free(struct ais_answer *answer)
{
    free(answer->jobs);
    cJSON_Delete(answer->document);
    memset(answer, 0, sizeof(*answer));
}

static bool is_newer(const struct ais_job *a, const struct ais_job *b)
{
    if (b->started_at == AIS_TIME_NONE)
        return false;

    return a->started_at == AIS_TIME_NONE || a->started_at > b->started_at;
}

const struct ais_job *ais_jobs_newest(const struct ais_job *jobs, size_t njobs)
{
    const struct ais_job *newest = jobs;

    if (njobs == 0)
        return NULL;

    for (size_t i = 1; i < njobs; i++) {
        if (is_newer(&jobs[i], newest))
            newest = &jobs[i];
    }

    return newest;
}
