/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Decides what a response means, how long it stays fresh, whether a cache serves it as fresh, as stale or not at all,
 * whether and when to retry, and which status and message a client gets.
 */

#include "ais_policy.h"

#include "ais_time.h"

#define STRETCH_BELOW 0.5
#define STRETCH_MAX 8.0

#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)

#define CLOSED_BY_DEFAULT (5 * MINUTE)
#define CLOSED_BY_503_MAX MINUTE

#define BACKOFF_MIN 100
#define BACKOFF_MAX (5 * SECOND)

#define RETRY_AFTER_MAX DAY

const struct ais_valid ais_valid_default = {
    .active = 4 * SECOND,
    .active_max = 30 * SECOND,
    .ended = DAY,
    .list = 10 * SECOND,
    .logs = 10 * SECOND,
    .instance = MINUTE,
    .stats = 10 * SECOND,
    .not_found = 10 * SECOND,
    .error = 2 * SECOND,
};

const char *ais_fault_name(enum ais_fault fault)
{
    static const char *const names[AIS_FAULTS] = {
        [AIS_FAULT_NONE] = "none",
        [AIS_FAULT_CONNECT] = "connect",
        [AIS_FAULT_TLS] = "tls",
        [AIS_FAULT_TIMEOUT] = "timeout",
        [AIS_FAULT_CREDENTIAL] = "credential",
        [AIS_FAULT_RATE_LIMITED] = "rate_limited",
        [AIS_FAULT_SERVER] = "server",
        [AIS_FAULT_BODY] = "body",
        [AIS_FAULT_REFUSED] = "refused",
        [AIS_FAULT_BUDGET] = "budget",
        [AIS_FAULT_INTERNAL] = "internal",
    };

    return names[fault];
}

static int64_t min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Returns how long a job had been running; 0 if that is unknown or the job has not started. */
static int64_t job_age(const struct ais_job *job, int64_t now)
{
    return job->started_at == AIS_TIME_NONE ? 0 : max(now - job->started_at, 0);
}

static void judge_job(struct ais_verdict *verdict, const struct ais_job *job, int64_t now)
{
    bool active = ais_state_active(job->state);

    verdict->class = active ? AIS_CLASS_ACTIVE : AIS_CLASS_ENDED;
    verdict->has_state = true;
    verdict->state = job->state;
    verdict->age = active ? job_age(job, now) : 0;
}

/* The most active job is the one that has been running for the shortest time: it is due for a refresh first. */
static void judge_list(struct ais_verdict *verdict, const struct ais_answer *answer, int64_t now)
{
    verdict->class = AIS_CLASS_LIST;

    for (size_t i = 0; i < answer->njobs; i++) {
        const struct ais_job *job = &answer->jobs[i];

        if (!ais_state_active(job->state))
            continue;

        if (!verdict->has_state || job_age(job, now) < verdict->age) {
            verdict->has_state = true;
            verdict->state = job->state;
            verdict->age = job_age(job, now);
        }
    }
}

static bool is_same(struct ais_str asked, const char *answered)
{
    return ais_str_eq(asked, ais_str_of(answered));
}

/* Returns whether the answer is about the requested resource. Lists, logs and statistics do not name theirs. */
static bool is_wanted(const struct ais_resource *res, const struct ais_answer *answer)
{
    switch (res->kind) {
    case AIS_JOB:
        return is_same(res->job, answer->jobs->id);
    case AIS_INSTANCE:
        return is_same(res->instance, answer->instance.id);
    case AIS_NAMESPACE:
        return is_same(res->namespace, answer->namespace);
    default:
        return true;
    }
}

/* Judges a 200 with a well-formed envelope. */
static void judge_answer(struct ais_verdict *verdict, const struct ais_resource *res, const struct ais_answer *answer,
                         int64_t now, struct ais_error *err)
{
    static const enum ais_class classes[] = {
        [AIS_LOGS] = AIS_CLASS_LOGS,   [AIS_INSTANCES] = AIS_CLASS_LIST,      [AIS_INSTANCE] = AIS_CLASS_INSTANCE,
        [AIS_STATS] = AIS_CLASS_STATS, [AIS_NAMESPACES] = AIS_CLASS_INSTANCE, [AIS_NAMESPACE] = AIS_CLASS_INSTANCE,
    };

    if (!answer->success) {
        verdict->fault = AIS_FAULT_BODY;
        ais_error_set(err, "the API returned 200 with error code %d", answer->errors[0].code);
        return;
    }

    if (!is_wanted(res, answer)) {
        verdict->fault = AIS_FAULT_BODY;
        ais_error_set(err, "the API returned a different %s than the requested one",
                      res->kind == AIS_JOB ? "job" : "instance or namespace");
        return;
    }

    verdict->fault = AIS_FAULT_NONE;
    verdict->pass = true;

    if (res->kind == AIS_JOB)
        judge_job(verdict, answer->jobs, now);
    else if (res->kind == AIS_LIST)
        judge_list(verdict, answer, now);
    else
        verdict->class = classes[res->kind];
}

static void say_refused(struct ais_error *err, int status, const struct ais_api_error *error, const char *what,
                        const char *more)
{
    if (error->nchain > 0)
        ais_error_set(err, "the API %s (%d with error codes %d, %d)%s", what, status, error->code, error->chain[0],
                      more);
    else if (error->code != 0)
        ais_error_set(err, "the API %s (%d with error code %d)%s", what, status, error->code, more);
    else
        ais_error_set(err, "the API %s (%d)%s", what, status, more);
}

/* Judges a 4xx or 5xx with an error envelope. */
static void judge_refusal(struct ais_verdict *verdict, int status, const struct ais_answer *answer,
                          struct ais_error *err)
{
    enum ais_refusal refusal;

    if (status >= 500) {
        verdict->fault = AIS_FAULT_SERVER;
        verdict->pass = true;
        ais_error_set(err, "the API returned %d with error code %d", status, answer->errors[0].code);
        return;
    }

    refusal = ais_refusal_of(status, answer->errors, answer->nerrors);

    if (refusal == AIS_REFUSAL_CREDENTIAL) {
        verdict->fault = AIS_FAULT_CREDENTIAL;
        verdict->doubtful = status == 403 && answer->errors[0].code == 10000;
        say_refused(err, status, &answer->errors[0], "rejects the credential",
                    verdict->doubtful ? "; it may belong to another account or lack the permission for AI Search" : "");
        return;
    }

    verdict->pass = true;
    verdict->no_route = refusal == AIS_REFUSAL_NO_ROUTE;

    if (status == 404 && !verdict->no_route) {
        verdict->fault = AIS_FAULT_NONE;
        verdict->class = AIS_CLASS_NOT_FOUND;
        return;
    }

    verdict->fault = AIS_FAULT_REFUSED;
    say_refused(err, status, &answer->errors[0], "refuses the lookup",
                verdict->no_route ? "; check the account ID, and the URL of the API, which ends with /client/v4" : "");
}

/* Returns whether the status decides the verdict, whatever the body. */
static bool judge_status(struct ais_verdict *verdict, int status, struct ais_error *err)
{
    if (status == 401) {
        verdict->fault = AIS_FAULT_CREDENTIAL;
        ais_error_set(err, "the API rejects the credential (401)");
        return true;
    }

    if (status == 410)
        verdict->no_route = true;

    if (status == 429) {
        verdict->fault = AIS_FAULT_RATE_LIMITED;
        ais_error_set(err, "the rate limit of the API has been reached (429)");
        return true;
    }

    if (status == 421) {
        verdict->fault = AIS_FAULT_SERVER;
        ais_error_set(err, "the API returned 421: it does not serve this name on this connection");
        return true;
    }

    if (status != 200 && (status < 400 || status > 599)) {
        verdict->fault = AIS_FAULT_SERVER;
        ais_error_set(err, "the API returned %d, which is not a valid response to a lookup", status);
        return true;
    }

    return false;
}

/* A body that was not parsed because memory ran out may still be a good answer. */
static void judge_unreadable(struct ais_verdict *verdict, int status, bool no_memory)
{
    if (no_memory)
        verdict->fault = AIS_FAULT_INTERNAL;
    else
        verdict->fault = status >= 500 ? AIS_FAULT_SERVER : AIS_FAULT_BODY;
}

static struct ais_verdict judge(const struct ais_resource *res, int status, struct ais_str body, int64_t now,
                                struct ais_answer *answer, struct ais_error *err)
{
    struct ais_verdict verdict = {.class = AIS_CLASS_ERROR};
    struct ais_error why;
    int rc;

    if (judge_status(&verdict, status, err))
        return verdict;

    rc = ais_answer_parse(answer, res->kind, body, &why);
    if (rc != 0) {
        judge_unreadable(&verdict, status, rc == AIS_NO_MEMORY);
        ais_error_set(err, "the API returned %d: %s", status, why.text);

    } else if (status == 200) {
        judge_answer(&verdict, res, answer, now, err);

    } else if (answer->success) {
        verdict.fault = status >= 500 ? AIS_FAULT_SERVER : AIS_FAULT_BODY;
        ais_error_set(err, "the API returned %d with \"success\":true", status);

    } else {
        judge_refusal(&verdict, status, answer, err);
    }

    return verdict;
}

struct ais_verdict ais_policy_judge(const struct ais_resource *res, int status, struct ais_str body, int64_t now,
                                    struct ais_answer *answer, struct ais_error *err)
{
    struct ais_answer parsed = {.success = false};
    struct ais_verdict verdict = judge(res, status, body, now, &parsed, err);

    if (answer != NULL)
        *answer = parsed;
    else
        ais_answer_free(&parsed);
    return verdict;
}

static int64_t active_lifetime(const struct ais_valid *valid, int64_t age)
{
    return max(valid->active, min(age / 100, valid->active_max));
}

/* Nothing is added to the log of an ended job. */
static int64_t logs_lifetime(const struct ais_valid *valid, const struct ais_verdict *verdict)
{
    if (!verdict->has_state)
        return valid->logs;

    return ais_state_active(verdict->state) ? min(valid->logs, active_lifetime(valid, verdict->age)) : valid->ended;
}

int64_t ais_policy_lifetime(const struct ais_valid *valid, const struct ais_verdict *verdict)
{
    switch (verdict->class) {
    case AIS_CLASS_ACTIVE:
        return active_lifetime(valid, verdict->age);
    case AIS_CLASS_ENDED:
        return valid->ended;
    case AIS_CLASS_LIST:
        return verdict->has_state ? min(valid->list, active_lifetime(valid, verdict->age)) : valid->list;
    case AIS_CLASS_LOGS:
        return logs_lifetime(valid, verdict);
    case AIS_CLASS_INSTANCE:
        return valid->instance;
    case AIS_CLASS_STATS:
        return valid->stats;
    case AIS_CLASS_NOT_FOUND:
        return valid->not_found;
    default:
        return valid->error;
    }
}

/* Decides how to serve a good answer that is past its lifetime. */
static enum ais_serve serve_stale(const struct ais_cached *cached, const struct ais_freshness *freshness, bool failed)
{
    int64_t stale = cached->age - cached->lifetime;

    if (failed)
        return stale < freshness->stale_error ? AIS_SERVE_STALE : AIS_SERVE_NOTHING;

    return cached->lifetime > 0 && !cached->not_found && stale < freshness->stale_updating ? AIS_SERVE_UPDATING
                                                                                           : AIS_SERVE_NOTHING;
}

struct ais_decision ais_policy_decide(const struct ais_cached *cached, const struct ais_freshness *freshness,
                                      bool bypass, bool peek)
{
    struct ais_decision decision = {AIS_SERVE_NOTHING, false, false};
    bool good = cached->good;
    bool failed = cached->failed;
    bool paused = failed && cached->failure_age < cached->retry_after;
    bool remembered;

    if (cached->age < cached->lifetime && !bypass) {
        decision.serve = AIS_SERVE_FRESH;
        return decision;
    }

    decision.known = good && !cached->not_found && !bypass;

    if (good && cached->came && !(bypass && paused)) {
        decision.serve = AIS_SERVE_FRESH;
        return decision;
    }

    if (bypass && !paused) {
        good = false;
        failed = failed && cached->failed_since;
    }

    remembered =
        failed && (cached->failed_since || cached->failure_age < max(freshness->valid.error, cached->retry_after));

    if (good)
        decision.serve = serve_stale(cached, freshness, failed || peek);
    if (decision.serve == AIS_SERVE_NOTHING && remembered)
        decision.serve = AIS_SERVE_FAILED;

    decision.fetch = !remembered && !peek;
    return decision;
}

bool ais_policy_cacheable(enum ais_fault fault)
{
    return fault != AIS_FAULT_INTERNAL && fault != AIS_FAULT_BUDGET && fault != AIS_FAULT_CREDENTIAL;
}

double ais_policy_stretch(double share)
{
    if (share >= STRETCH_BELOW)
        return 1.0;

    if (share < 0.0)
        share = 0.0;

    return 1.0 + (STRETCH_MAX - 1.0) * (STRETCH_BELOW - share) / STRETCH_BELOW;
}

int64_t ais_policy_closed(int status, int64_t retry_after)
{
    if (status == 429)
        return retry_after >= 0 ? retry_after : CLOSED_BY_DEFAULT;

    return status == 503 && retry_after > 0 ? min(retry_after, CLOSED_BY_503_MAX) : 0;
}

bool ais_policy_retry(enum ais_fault fault, int status, int64_t retry_after)
{
    if (fault == AIS_FAULT_CONNECT)
        return true;

    if (fault != AIS_FAULT_NONE || retry_after >= 0)
        return false;

    return status == 421 || status == 500 || (status >= 502 && status <= 504) || (status >= 520 && status <= 530);
}

int64_t ais_policy_backoff(unsigned attempt, uint32_t random)
{
    int64_t pause = BACKOFF_MIN;
    int64_t half;

    while (attempt-- > 1 && pause < BACKOFF_MAX)
        pause *= 2;

    half = min(pause, BACKOFF_MAX) / 2;
    return half + (int64_t) (((uint64_t) random * (uint64_t) (half + 1)) >> 32);
}

int64_t ais_policy_retry_after(struct ais_str value, int64_t now)
{
    int64_t seconds, then;

    value = ais_str_trim(value);
    seconds = ais_str_number(value, RETRY_AFTER_MAX / SECOND);

    if (seconds >= 0)
        return seconds * SECOND;

    if (ais_time_parse_http(value, &then))
        return min(max(then - now, 0), RETRY_AFTER_MAX);

    return -1;
}

int ais_policy_client_status(enum ais_fault fault)
{
    switch (fault) {
    case AIS_FAULT_TIMEOUT:
        return 504;
    case AIS_FAULT_RATE_LIMITED:
    case AIS_FAULT_BUDGET:
    case AIS_FAULT_INTERNAL:
        return 503;
    default:
        return 502;
    }
}

const char *ais_policy_client_text(enum ais_fault fault)
{
    static const char *const texts[AIS_FAULTS] = {
        [AIS_FAULT_NONE] = "no response",
        [AIS_FAULT_CONNECT] = "the API cannot be reached",
        [AIS_FAULT_TLS] = "the API cannot be reached securely",
        [AIS_FAULT_TIMEOUT] = "the API did not respond in time",
        [AIS_FAULT_CREDENTIAL] = "the API rejects the credential of this gateway",
        [AIS_FAULT_RATE_LIMITED] = "the rate limit of the API has been reached",
        [AIS_FAULT_SERVER] = "the API failed",
        [AIS_FAULT_BODY] = "the API returned an invalid response",
        [AIS_FAULT_REFUSED] = "the API refuses this lookup",
        [AIS_FAULT_BUDGET] = "the budget for calls to the API is used up",
        [AIS_FAULT_INTERNAL] = "this gateway cannot call the API now",
    };

    return texts[fault];
}
