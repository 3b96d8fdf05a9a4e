#include "ais_job.h"

#include <stdlib.h>
#include <string.h>

#include "ais_json.h"
#include "ais_object.h"

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

static int parse_job(struct ais_job *job, const cJSON *object, struct ais_error *err)
{
    enum { ID, SOURCE, DESCRIPTION, END_REASON, STARTED_AT, ENDED_AT, LAST_SEEN_AT, MEMBERS };
    static const struct ais_member members[MEMBERS] = {
        [ID] = {"id", cJSON_String, true},
        [SOURCE] = {"source", cJSON_String, true},
        [DESCRIPTION] = {"description", cJSON_String | cJSON_NULL, false},
        [END_REASON] = {"end_reason", cJSON_String | cJSON_NULL, false},
        [STARTED_AT] = {"started_at", cJSON_String | cJSON_NULL, false},
        [ENDED_AT] = {"ended_at", cJSON_String | cJSON_NULL, false},
        [LAST_SEEN_AT] = {"last_seen_at", cJSON_String | cJSON_NULL, false},
    };
    const cJSON *found[MEMBERS];

    if (ais_object_members(object, "the job", members, MEMBERS, found, err) != 0)
        return -1;

    if (found[ID]->valuestring[0] == '\0') {
        ais_error_set(err, "\"id\" of the job is empty");
        return -1;
    }

    job->id = found[ID]->valuestring;
    job->source = found[SOURCE]->valuestring;
    job->description = ais_object_text(found[DESCRIPTION]);
    job->end_reason = ais_object_text(found[END_REASON]);
    job->state = ais_job_state(ais_object_text(found[STARTED_AT]), ais_object_text(found[ENDED_AT]), job->end_reason);
    job->started_at = ais_object_time(found[STARTED_AT]);
    job->ended_at = ais_object_time(found[ENDED_AT]);
    job->last_seen_at = ais_object_time(found[LAST_SEEN_AT]);
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
        return AIS_NO_MEMORY;
    }

    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): as many as count says hang together */
    for (; answer->njobs < count; answer->njobs++, first = first->next) {
        if (parse_job(&answer->jobs[answer->njobs], first, err) != 0)
            return -1;
    }

    return 0;
}

static int check_log(const cJSON *object, struct ais_error *err)
{
    enum { ID, CREATED_AT, MESSAGE, MESSAGE_TYPE, MEMBERS };
    static const struct ais_member members[MEMBERS] = {
        [ID] = {"id", cJSON_Number, true},
        [CREATED_AT] = {"created_at", cJSON_Number, true},
        [MESSAGE] = {"message", cJSON_String, true},
        [MESSAGE_TYPE] = {"message_type", cJSON_Number, true},
    };
    const cJSON *found[MEMBERS];

    if (ais_object_members(object, "the log entry", members, MEMBERS, found, err) != 0)
        return -1;

    if (!ais_object_is_integer(found[ID]) || !ais_object_is_integer(found[MESSAGE_TYPE])) {
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
    static const struct ais_member members[MEMBERS] = {
        [CODE] = {"code", cJSON_Number, true},
        [MESSAGE] = {"message", cJSON_String, true},
    };
    const cJSON *found[MEMBERS];

    for (const cJSON *item = array->child; item != NULL; item = item->next) {
        if (ais_object_members(item, "the error", members, MEMBERS, found, err) != 0)
            return -1;

        if (item == array->child) {
            answer->error_code = found[CODE]->valueint;
            answer->error_message = found[MESSAGE]->valuestring;
        }
    }

    return 0;
}

static int parse_result(struct ais_answer *answer, enum ais_kind kind, const cJSON *result, const cJSON *result_info,
                        struct ais_error *err)
{
    if (kind == AIS_JOB)
        return parse_jobs(answer, result, 1, err);

    if (kind == AIS_INSTANCES)
        return ais_listing_parse(&answer->listing, result, result_info, err);

    if (!cJSON_IsArray(result)) {
        ais_error_set(err, "\"result\" is not an array");
        return -1;
    }

    if (kind == AIS_LIST) /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): NULL is no array */
        return parse_jobs(answer, result->child, ais_object_count(result), err);

    return parse_logs(answer, result, err);
}

static int parse_envelope(struct ais_answer *answer, enum ais_kind kind, struct ais_error *err)
{
    enum { SUCCESS, RESULT, RESULT_INFO, ERRORS, MEMBERS };
    static const struct ais_member members[MEMBERS] = {
        [SUCCESS] = {"success", cJSON_True | cJSON_False, true},
        [RESULT] = {"result", ~0, false},
        [RESULT_INFO] = {"result_info", ~0, false},
        [ERRORS] = {"errors", cJSON_Array | cJSON_NULL, false},
    };
    const cJSON *found[MEMBERS];

    if (ais_object_members(answer->document, "the answer", members, MEMBERS, found, err) != 0)
        return -1;

    answer->success = cJSON_IsTrue(found[SUCCESS]);

    if (answer->success)
        return parse_result(answer, kind, found[RESULT], found[RESULT_INFO], err);

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
    int rc;

    memset(answer, 0, sizeof(*answer));

    wrong = ais_json_check(body, AIS_JSON_DEPTH_MAX, &where);
    if (wrong != NULL) {
        ais_error_set(err, "the answer is not JSON: %s at byte %zu", wrong, where);
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
    ais_listing_free(&answer->listing);
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
