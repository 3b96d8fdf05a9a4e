/*
 * The API's responses and how they are evaluated: a line such as "job 200 ID", "list 503" or "namespace 200 NAME" is
 * the resource that was requested and the status; everything after it is the body.
 */

#include "fuzz.h"

#include <cjson/cJSON.h>

#include "ais_form.h"
#include "ais_answer.h"
#include "ais_exposition.h"
#include "ais_json.h"
#include "ais_policy.h"
#include "ais_utf8.h"

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
    static const struct {
        const char *word;
        enum ais_kind kind;
    } kinds[] = {
        {"list", AIS_LIST},           {"logs", AIS_LOGS},   {"instances", AIS_INSTANCES},
        {"instance", AIS_INSTANCE},   {"stats", AIS_STATS}, {"namespaces", AIS_NAMESPACES},
        {"namespace", AIS_NAMESPACE},
    };

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (ais_str_eq(word, (struct ais_str){kinds[i].word, strlen(kinds[i].word)}))
            return kinds[i].kind;
    }
    return AIS_JOB;
}

/* All strings of a job are within the document. */
static void check_job(const struct ais_job *job)
{
    MUST(job->id[0] != '\0' && job->source != NULL);
    MUST(strlen(ais_state_name(job->state)) > 0);
    if (job->description != NULL)
        MUST(ais_utf8_sequence(ais_str_of(job->description)) > 0 || job->description[0] == '\0');
    if (job->end_reason != NULL && ais_state_active(job->state))
        MUST(job->ended_at == AIS_TIME_NONE);
    if (job->started_at != AIS_TIME_NONE)
        MUST(job->state != AIS_QUEUED);
    if (job->ended_at != AIS_TIME_NONE)
        MUST(!ais_state_active(job->state));
}

static void check_instance(const struct ais_instance *instance)
{
    MUST(instance->id != NULL);
    MUST(instance->sync_interval >= 0 && instance->sync_interval <= INT64_C(365) * 24 * 3600 * 1000);
    MUST(instance->sync_interval % 1000 == 0);
    MUST(!instance->in_error || instance->status != NULL);
}

/* Each instance can be requested. */
static void check_listing(const struct ais_listing *listing)
{
    for (size_t i = 0; i < listing->ninstances; i++) {
        const struct ais_instance *instance = &listing->instances[i];

        check_instance(instance);
        MUST(ais_instance_valid(ais_str_of(instance->id), AIS_PLAIN));
        if (instance->namespace != NULL)
            MUST(ais_namespace_valid(ais_str_of(instance->namespace)));
    }
    MUST(listing->total >= -1 && listing->page >= -1);
}

/* Only what was requested is set. */
static void check_result(const struct ais_answer *answer, enum ais_kind kind)
{
    MUST(answer->nerrors == 0);
    MUST(answer->njobs == 0 || kind == AIS_JOB || kind == AIS_LIST);
    MUST(kind != AIS_JOB || answer->njobs == 1);
    MUST(answer->nlogs == 0 || kind == AIS_LOGS);
    MUST((answer->instance.id != NULL) == (kind == AIS_INSTANCE));
    MUST((answer->namespace != NULL) == (kind == AIS_NAMESPACE));

    if (kind == AIS_INSTANCE)
        check_instance(&answer->instance);
    if (kind == AIS_INSTANCES)
        check_listing(&answer->listing);
    for (size_t i = 0; i < AIS_STATS_ITEMS; i++)
        MUST(answer->stats.items[i] >= (kind == AIS_STATS ? -1 : 0) && strlen(ais_stats_name(i)) > 0);
}

static void check_errors(const struct ais_answer *answer)
{
    static const struct ais_api_error none;

    MUST(answer->njobs == 0 && answer->nlogs == 0 && answer->listing.ninstances == 0);
    MUST(answer->instance.id == NULL && answer->namespace == NULL);
    MUST(answer->nerrors <= AIS_ERRORS_MAX);
    for (size_t i = 0; i < AIS_ERRORS_MAX; i++) {
        MUST(answer->errors[i].nchain <= AIS_CHAIN_MAX);
        MUST(i < answer->nerrors || memcmp(&answer->errors[i], &none, sizeof(none)) == 0);
    }

    /* each further error can only make a credential error more likely */
    for (size_t n = 1; n <= answer->nerrors; n++) {
        if (ais_refusal_of(403, answer->errors, n - 1) == AIS_REFUSAL_CREDENTIAL)
            MUST(ais_refusal_of(403, answer->errors, n) == AIS_REFUSAL_CREDENTIAL);
    }
    MUST(ais_refusal_of(401, answer->errors, answer->nerrors) == AIS_REFUSAL_CREDENTIAL);
    MUST(ais_refusal_of(410, answer->errors, answer->nerrors) == AIS_REFUSAL_NO_ROUTE);
}

static void check_answer(const struct ais_answer *answer, enum ais_kind kind, struct ais_str body)
{
    size_t where;
    const struct ais_job *newest = ais_jobs_newest(answer->jobs, answer->njobs);

    /* the strict parser, which runs first, accepts no more than cJSON */
    MUST(ais_json_check(body, AIS_JSON_DEPTH_MAX, &where) == NULL);
    MUST(answer->document != NULL);

    for (size_t i = 0; i < answer->njobs; i++)
        check_job(&answer->jobs[i]);
    MUST((newest == NULL) == (answer->njobs == 0));
    if (answer->success)
        check_result(answer, kind);
    else
        check_errors(answer);
}

/* The text can be scraped: each line is a comment or a sample with a value, and no line is empty. */
static void check_exposition(const struct ais_answer *answer, enum ais_kind kind, struct ais_str account)
{
    struct ais_resource res = {.kind = kind, .namespace = account, .instance = account};
    struct ais_exposition exposition = {account, &res, true, answer, NOW};
    size_t len = ais_exposition_write(NULL, &exposition);
    char *text = malloc(len);
    struct ais_str rest = {text, len};

    MUST(text != NULL && ais_exposition_write(text, &exposition) == len);
    MUST(text[len - 1] == '\n');
    while (rest.len > 0) {
        struct ais_str line = take_line(&rest);

        MUST(line.len > 9 && (memcmp(line.data, "# ", 2) == 0 || memcmp(line.data, "aisearch_", 9) == 0));
        MUST(line.data[0] == '#' || ais_is_digit(line.data[line.len - 1]));
    }
    free(text);
}

/* A failed parse sets a message and leaves nothing behind. */
static void parse(enum ais_kind kind, struct ais_str account, struct ais_str body)
{
    struct ais_answer answer;
    struct ais_error err = {""};
    static const struct ais_answer zero;

    if (ais_answer_parse(&answer, kind, body, &err) == 0) {
        check_answer(&answer, kind, body);
        if (answer.success && ais_exposition_possible(kind))
            check_exposition(&answer, kind, account);
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

    /* a cache only treats a good response as one */
    MUST((v->fault == AIS_FAULT_NONE) == (v->class != AIS_CLASS_ERROR));
    if (v->fault == AIS_FAULT_NONE)
        MUST(!v->no_route && (status == 200 || (status == 404 && v->class == AIS_CLASS_NOT_FOUND)));

    if (status == 401)
        MUST(v->fault == AIS_FAULT_CREDENTIAL);
    if (status == 429)
        MUST(v->fault == AIS_FAULT_RATE_LIMITED);
    if (status == 410)
        MUST(v->no_route);
    if (v->fault == AIS_FAULT_CREDENTIAL)
        MUST(!v->pass && !v->no_route && (status == 400 || status == 401 || status == 403));
    if (v->fault == AIS_FAULT_REFUSED)
        MUST(v->pass && status >= 400 && status <= 499);
    if (v->fault == AIS_FAULT_RATE_LIMITED || v->fault == AIS_FAULT_BODY || v->fault == AIS_FAULT_INTERNAL)
        MUST(!v->pass);
    if (v->no_route)
        MUST(status >= 400 && status <= 499);
    if (v->pass)
        MUST(status == 200 || (status >= 400 && status <= 599));
    if (v->has_state)
        MUST(status == 200 && (res->kind == AIS_JOB || res->kind == AIS_LIST));
    MUST(strlen(ais_fault_name(v->fault)) > 0 && strlen(ais_policy_client_text(v->fault)) > 0);
    MUST(ais_policy_client_status(v->fault) >= 502 && ais_policy_client_status(v->fault) <= 504);
    (void) ais_policy_retry(v->fault, status, -1);
}

/* Data that is cached forever must match what an independent parser finds in the body: present, of any type. */
static void check_ended(struct ais_str body, struct ais_str id)
{
    cJSON *document = cJSON_ParseWithLength(body.data, body.len);
    const cJSON *result = cJSON_GetObjectItemCaseSensitive(document, "result");
    const char *job = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(result, "id"));
    unsigned present = 0, twice = 0;

    MUST(job != NULL && ais_str_eq(id, ais_str_of(job)));
    for (const cJSON *member = result->child; member != NULL; member = member->next) {
        if (strcmp(member->string, "ended_at") == 0) {
            present += !cJSON_IsNull(member);
            twice++;
        }
    }
    MUST(present > 0 || twice > 1);
    cJSON_Delete(document);
}

/* Only a response that shows that a route exists switches an account to the other path form, once. */
static void check_form(const struct ais_verdict *verdict)
{
    struct ais_form form = {.namespaced = false};
    bool news;

    MUST(ais_form_try(&form, NOW) && !ais_form_try(&form, NOW + AIS_FORM_PAUSE - 1));
    MUST(ais_form_try(&form, NOW + AIS_FORM_PAUSE));
    news = ais_form_settle(&form, verdict);
    MUST(news == form.namespaced && (!news || (verdict->pass && !verdict->no_route)));
    MUST(!ais_form_settle(&form, verdict));
    MUST(ais_form_try(&form, NOW + AIS_FORM_PAUSE) == news);
}

/* How a cache uses it at any age, for any client and after any failure. */
static void check_decision(const struct ais_verdict *verdict, unsigned how)
{
    static const struct ais_freshness freshness = {
        .valid = {.error = 2000}, .stale_updating = 30000, .stale_error = 3600000};
    static const int64_t ages[] = {0, 3000, 29000, 60000, 86400000, INT64_C(100000000)};
    bool bypass = how & 1;
    bool peek = how & 2;

    for (size_t i = 0; i < sizeof(ages) / sizeof(ages[0]); i++) {
        struct ais_cached cached = {.good = verdict->fault == AIS_FAULT_NONE,
                                    .not_found = verdict->class == AIS_CLASS_NOT_FOUND,
                                    .failed = how & 4,
                                    .came = how & 8,
                                    .failed_since = how & 16,
                                    .age = ages[i],
                                    .failure_age = ages[i] / 2,
                                    .retry_after = how & 32 ? 10000 : 0};
        struct ais_decision d;

        if (cached.good)
            cached.lifetime = ais_policy_lifetime(&ais_valid_default, verdict);
        d = ais_policy_decide(&cached, &freshness, bypass, peek);

        MUST(cached.good || d.serve == AIS_SERVE_NOTHING || d.serve == AIS_SERVE_FAILED);
        MUST(cached.failed || d.serve != AIS_SERVE_FAILED);
        MUST(d.serve != AIS_SERVE_UPDATING || (d.fetch && !cached.not_found));
        MUST(d.serve == AIS_SERVE_NOTHING || bypass || peek || cached.failed || cached.good);
        MUST(d.serve != AIS_SERVE_NOTHING || d.fetch || peek);
        MUST(!(d.fetch && peek) && !(d.fetch && (d.serve == AIS_SERVE_FRESH || d.serve == AIS_SERVE_FAILED)));
        MUST(!d.known || (cached.good && !bypass));
    }
}

static void judge(enum ais_kind kind, int status, struct ais_str id, struct ais_str body)
{
    struct ais_resource res = {.kind = kind, .namespace = id, .instance = id, .job = id};
    struct ais_error err = {""};
    struct ais_answer answer;
    struct ais_verdict verdict = ais_policy_judge(&res, status, body, NOW, &answer, &err);

    check_verdict(&verdict, &res, status, &err);
    check_form(&verdict);
    for (unsigned how = 0; how < 64; how++)
        check_decision(&verdict, how);
    MUST(ais_policy_cacheable(verdict.fault) || verdict.fault != AIS_FAULT_NONE);
    if (verdict.fault == AIS_FAULT_NONE && verdict.class == AIS_CLASS_ENDED)
        check_ended(body, id);
    MUST(verdict.fault != AIS_FAULT_NONE || answer.document != NULL);
    ais_answer_free(&answer);
    (void) ais_policy_judge(&res, status, body, NOW, NULL, NULL);
}

/* Any text results in an envelope of ours that can be parsed and contains the code. */
static void refuse(int code, struct ais_str message)
{
    char *text = text_dup(message);
    char envelope[AIS_ANSWER_ERROR_MAX];
    size_t len = ais_answer_write_error(envelope, code, text);
    struct ais_answer answer;

    MUST(len == strlen(envelope) && len < sizeof(envelope));
    MUST(ais_answer_parse(&answer, AIS_JOB, (struct ais_str){envelope, len}, NULL) == 0);
    MUST(!answer.success && answer.nerrors == 1);
    MUST(answer.errors[0].code == code && answer.errors[0].message != NULL);
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

    parse(kind_of(kind), id, body);
    judge(kind_of(kind), number(status), id, body);
    refuse(number(status), body);
    exact_free(body);
    return 0;
}
