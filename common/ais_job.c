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

static bool is_word(const char *text, const char *word)
{
    const char *rest = skip_word(text, word);

    return rest != NULL && *rest == '\0';
}

static bool means_success(const char *end_reason)
{
    static const char *const words[] = {"", "completed", "complete", "success", "succeeded", "finished", "done", "ok"};

    for (size_t i = 0; i < COUNT(words); i++) {
        if (is_word(end_reason, words[i]))
            return true;
    }

    return false;
}

/* By somebody, or by the API, which ends a job when another one is started: nothing is wrong with it then. */
static bool means_cancelled(const char *end_reason)
{
    return contains(end_reason, "cancel") || contains(end_reason, "superseded") ||
           is_word(end_reason, "new_job_has_started");
}

enum ais_state ais_job_state(const char *started_at, const char *ended_at, const char *end_reason)
{
    if (ended_at == NULL)
        return started_at == NULL ? AIS_QUEUED : AIS_RUNNING;

    if (end_reason == NULL || means_success(end_reason))
        return AIS_SUCCEEDED;

    return means_cancelled(end_reason) ? AIS_CANCELLED : AIS_FAILED;
}

/* Of a member that is there, also where its value is not known. */
static const char *text_or_unknown(const cJSON *item)
{
    const char *text = ais_object_text(item);

    return item != NULL && text == NULL ? "unknown" : text;
}

/* Returns false where it is no job: nothing is known by which it could be asked for. */
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

    if (!ais_object_find(object, names, MEMBERS, found))
        return false;

    job->id = ais_object_text(found[ID]);
    if (job->id == NULL || job->id[0] == '\0')
        return false;

    source = ais_object_text(found[SOURCE]);
    job->source = source != NULL ? source : "unknown";
    job->description = ais_object_text(found[DESCRIPTION]);
    job->end_reason = ais_object_text(found[END_REASON]);
    job->state = ais_job_state(text_or_unknown(found[STARTED_AT]), text_or_unknown(found[ENDED_AT]),
                               text_or_unknown(found[END_REASON]));
    job->started_at = ais_object_time(found[STARTED_AT]);
    job->ended_at = ais_object_time(found[ENDED_AT]);
    job->last_seen_at = ais_object_time(found[LAST_SEEN_AT]);
    return true;
}

/* The jobs that hang together from first on. */
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
        /* (a single job may be absent) */
        if (i > 0)
            first = first->next;
        if (parse_job(&answer->jobs[answer->njobs], first))
            answer->njobs++;
    }

    if (answer->njobs == 0) {
        ais_error_set(err, "\"result\" has no job with an \"id\" in it");
        return -1;
    }

    return 0;
}

static void parse_chain(struct ais_api_error *error, const cJSON *chain)
{
    static const char *const names[] = {"code"};
    const cJSON *code;

    if (!cJSON_IsArray(chain))
        return;

    for (const cJSON *item = chain->child; item != NULL && error->nchain < AIS_CHAIN_MAX; item = item->next) {
        if (ais_object_find(item, names, COUNT(names), &code) && cJSON_IsNumber(code))
            error->chain[error->nchain++] = code->valueint;
    }
}

static void parse_error(struct ais_api_error *error, const cJSON *object)
{
    enum { CODE, MESSAGE, CHAIN, MEMBERS };
    static const char *const names[MEMBERS] = {[CODE] = "code", [MESSAGE] = "message", [CHAIN] = "error_chain"};
    const cJSON *found[MEMBERS];

    ais_object_find(object, names, MEMBERS, found);
    error->code = cJSON_IsNumber(found[CODE]) ? found[CODE]->valueint : 0;
    error->message = ais_object_text(found[MESSAGE]);
    parse_chain(error, found[CHAIN]);
}

static void parse_errors(struct ais_answer *answer, const cJSON *array)
{
    for (const cJSON *item = array->child; item != NULL && answer->nerrors < AIS_ERRORS_MAX; item = item->next)
        parse_error(&answer->errors[answer->nerrors++], item);
}

/* What is a single object: an instance, its statistics, or a namespace. */
static int parse_object(struct ais_answer *answer, enum ais_kind kind, const cJSON *result, struct ais_error *err)
{
    bool fits = kind == AIS_STATS      ? ais_stats_parse(&answer->stats, result)
                : kind == AIS_INSTANCE ? ais_instance_parse(&answer->instance, result)
                                       : ais_namespace_parse(&answer->namespace, result);

    if (!fits) {
        ais_error_set(err, "\"result\" is not what was asked for");
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

    if (kind == AIS_INSTANCES) /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): NULL is no array */
        return ais_listing_parse(&answer->listing, result, result_info, err);

    if (kind == AIS_LIST)
        return parse_jobs(answer, result->child, ais_object_elements(result), err);

    if (kind == AIS_LOGS) /* what stands in an entry is for those who read the log */
        answer->nlogs = ais_object_elements(result);

    return 0;
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
