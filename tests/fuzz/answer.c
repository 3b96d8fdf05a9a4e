/*
 * The API's answers, and what is made of them: a line such as "job 200 ID", "list 503" or "instances 200" says what was
 * asked for and with which status it was answered; all that follows is the body.
 */

#include "fuzz.h"

#include <cjson/cJSON.h>

#include "ais_envelope.h"
#include "ais_job.h"
#include "ais_json.h"
#include "ais_policy.h"

#define NOW INT64_C(1795435200000)

static bool take_word(struct ais_str *line, struct ais_str *word)
{
    size_t n = 0;

    while (n < line->len && line->data[n] != ' ')
        n++;
    *word = (struct ais_str){line->data, n};
    n += n < line->len;
    line->data += n;
    line->len -= n;
    return word->len > 0;
}

static int number(struct ais_str s)
{
    int n = 0;

    for (size_t i = 0; i < s.len && i < 3 && s.data[i] >= '0' && s.data[i] <= '9'; i++)
        n = n * 10 + (s.data[i] - '0');
    return n;
}

static enum ais_kind kind_of(struct ais_str word)
{
    if (ais_str_eq(word, AIS_STR("list")))
        return AIS_LIST;
    if (ais_str_eq(word, AIS_STR("instances")))
        return AIS_INSTANCES;
    return ais_str_eq(word, AIS_STR("logs")) ? AIS_LOGS : AIS_JOB;
}

/* Everything that a job points to is text of the document. */
static void check_job(const struct ais_job *job)
{
    MUST(job->id[0] != '\0' && job->source != NULL);
    MUST(strlen(ais_state_name(job->state)) > 0);
    if (job->description != NULL)
        MUST(ais_utf8_sequence((struct ais_str){job->description, strlen(job->description)}) > 0 ||
             job->description[0] == '\0');
    if (job->end_reason != NULL && ais_state_active(job->state))
        MUST(job->ended_at == AIS_TIME_NONE);
    if (job->started_at != AIS_TIME_NONE)
        MUST(job->state != AIS_QUEUED);
    if (job->ended_at != AIS_TIME_NONE)
        MUST(!ais_state_active(job->state));
}

/* Each of them can be asked about. */
static void check_listing(const struct ais_listing *listing)
{
    for (size_t i = 0; i < listing->ninstances; i++) {
        const struct ais_instance *instance = &listing->instances[i];

        MUST(ais_instance_valid((struct ais_str){instance->id, strlen(instance->id)}, AIS_PLAIN));
        if (instance->namespace != NULL)
            MUST(ais_namespace_valid((struct ais_str){instance->namespace, strlen(instance->namespace)}));
    }
    MUST(listing->total >= -1 && listing->page >= -1);
}

static void check_answer(const struct ais_answer *answer, enum ais_kind kind, struct ais_str body)
{
    size_t where;
    const struct ais_job *newest = ais_jobs_newest(answer->jobs, answer->njobs);

    /* the strict reader takes no more than cJSON does, and has looked at it first */
    MUST(ais_json_check(body, AIS_JSON_DEPTH_MAX, &where) == NULL);
    MUST(answer->document != NULL);

    for (size_t i = 0; i < answer->njobs; i++)
        check_job(&answer->jobs[i]);
    MUST((newest == NULL) == (answer->njobs == 0));
    if (kind == AIS_INSTANCES && answer->success)
        check_listing(&answer->listing);
    if (answer->success)
        MUST(answer->error_message == NULL && (kind != AIS_JOB || answer->njobs == 1));
    else
        MUST(answer->njobs == 0 && answer->nlogs == 0 && answer->listing.ninstances == 0);
}

/* A parse that fails says why, and leaves nothing behind. */
static void parse(enum ais_kind kind, struct ais_str body)
{
    struct ais_answer answer;
    struct ais_error err = {""};
    static const struct ais_answer zero;

    if (ais_answer_parse(&answer, kind, body, &err) == 0) {
        check_answer(&answer, kind, body);
        ais_answer_free(&answer);
    } else {
        MUST(err.text[0] != '\0');
    }
    MUST(memcmp(&answer, &zero, sizeof(zero)) == 0);
    MUST((ais_answer_parse(&answer, kind, body, NULL) == 0) == (err.text[0] == '\0'));
    ais_answer_free(&answer);
}

static void check_verdict(const struct ais_verdict *v, const struct ais_resource *res, int status,
                          const struct ais_error *err)
{
    int64_t lifetime = ais_policy_lifetime(&ais_valid_default, v);

    MUST((v->fault == AIS_FAULT_NONE) == (err->text[0] == '\0'));
    MUST(lifetime >= 2000 && lifetime <= ais_valid_default.ended);
    MUST(v->age >= 0);
    MUST(v->fault != AIS_FAULT_NONE || v->pass);
    if (status == 401)
        MUST(v->fault == AIS_FAULT_CREDENTIAL && !v->pass);
    if (status == 429)
        MUST(v->fault == AIS_FAULT_RATE_LIMITED && !v->pass);
    if (v->pass)
        MUST(status == 200 || (status >= 400 && status <= 599));
    if (v->has_state)
        MUST(status == 200 && (res->kind == AIS_JOB || res->kind == AIS_LIST));
    MUST(strlen(ais_fault_name(v->fault)) > 0 && strlen(ais_policy_client_text(v->fault)) > 0);
    MUST(ais_policy_client_status(v->fault) >= 502 && ais_policy_client_status(v->fault) <= 504);
    (void) ais_policy_retry(v->fault, status, -1);
}

/* What is cached for ever must be what the body says, read independently. */
static void check_ended(struct ais_str body, struct ais_str id)
{
    cJSON *document = cJSON_ParseWithLength(body.data, body.len);
    const cJSON *result = cJSON_GetObjectItemCaseSensitive(document, "result");
    const char *job = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(result, "id"));

    MUST(job != NULL && ais_str_eq(id, (struct ais_str){job, strlen(job)}));
    MUST(cJSON_IsString(cJSON_GetObjectItemCaseSensitive(result, "ended_at")));
    cJSON_Delete(document);
}

static void judge(enum ais_kind kind, int status, struct ais_str id, struct ais_str body)
{
    struct ais_resource res = {.kind = kind, .instance = AIS_STR("my-ai-search"), .job = id};
    struct ais_error err = {""};
    struct ais_verdict verdict = ais_policy_judge(&res, status, body, NOW, &err);

    check_verdict(&verdict, &res, status, &err);
    if (verdict.fault == AIS_FAULT_NONE && verdict.class == AIS_CLASS_ENDED)
        check_ended(body, id);
    (void) ais_policy_judge(&res, status, body, NOW, NULL);
}

/* Any text makes an envelope of ours that can be read, with the code in it. */
static void refuse(int code, struct ais_str message)
{
    char *text = text_copy(message);
    char envelope[AIS_ENVELOPE_MAX];
    size_t len = ais_envelope_error(envelope, code, text);
    struct ais_answer answer;

    MUST(len == strlen(envelope) && len < sizeof(envelope));
    MUST(ais_answer_parse(&answer, AIS_JOB, (struct ais_str){envelope, len}, NULL) == 0);
    MUST(!answer.success && answer.error_code == code && answer.error_message != NULL);
    ais_answer_free(&answer);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ais_str rest = whole_input(data, size);
    struct ais_str line = take_line(&rest);
    struct ais_str body = exact_copy(rest);
    struct ais_str kind, status, id;

    (void) take_word(&line, &kind);
    (void) take_word(&line, &status);
    (void) take_word(&line, &id);

    parse(kind_of(kind), body);
    judge(kind_of(kind), number(status), id, body);
    refuse(number(status), body);
    exact_free(body);
    return 0;
}
