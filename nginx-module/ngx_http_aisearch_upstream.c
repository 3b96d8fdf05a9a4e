/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Queries the API, and handles refusals (401, 403 and others).  A query may
 * take several fetches: with the other credential if the API refuses the one
 * in use, with the other form of the path if the API has no such route, and
 * for a path that was answered before if it is unclear whether a refusal is
 * about the credential (see ais_witness.h).  All fetches share one timeout.
 *
 * Each response updates the breaker, the budget and the credentials of the
 * account.
 */


#include "ngx_http_aisearch_breaker.h"
#include "ngx_http_aisearch_budget.h"
#include "ngx_http_aisearch_clock.h"
#include "ngx_http_aisearch_rotation.h"
#include "ngx_http_aisearch_upstream.h"


static void ngx_http_aisearch_upstream_resource(
    ngx_http_aisearch_upstream_t *u, struct ais_resource *res);
static struct ais_fetch *ngx_http_aisearch_upstream_fetch(
    ngx_http_aisearch_upstream_t *u, struct ais_client *client,
    struct ais_target *target);

static void ngx_http_aisearch_upstream_fetched(void *data,
    const struct ais_response *response);
static struct ais_verdict ngx_http_aisearch_upstream_judge(
    ngx_http_aisearch_upstream_t *u, const struct ais_response *response,
    struct ais_error *err);
static ngx_uint_t ngx_http_aisearch_upstream_try_form(
    ngx_http_aisearch_upstream_t *u, const struct ais_response *response,
    struct ais_verdict *verdict);
static ngx_uint_t ngx_http_aisearch_upstream_doubt(
    ngx_http_aisearch_upstream_t *u, const struct ais_response *response,
    struct ais_verdict *verdict);
static ngx_uint_t ngx_http_aisearch_upstream_ask_witness(
    ngx_http_aisearch_upstream_t *u, const struct ais_response *response,
    struct ais_verdict *verdict, struct ais_choice *choice, char *path);
static void ngx_http_aisearch_upstream_witnessed(
    ngx_http_aisearch_upstream_t *u, const struct ais_response *response,
    struct ais_verdict *verdict, const char *reason);
static void ngx_http_aisearch_upstream_refused(ngx_http_aisearch_upstream_t *u,
    struct ais_choice *choice, const char *reason);
static ngx_uint_t ngx_http_aisearch_upstream_repeat(
    ngx_http_aisearch_upstream_t *u, const struct ais_response *response,
    const char *reason);
static ngx_uint_t ngx_http_aisearch_upstream_again(
    ngx_http_aisearch_upstream_t *u, const struct ais_response *response);

static void ngx_http_aisearch_upstream_conclude(
    ngx_http_aisearch_upstream_t *u, const struct ais_response *response,
    struct ais_verdict *verdict);
static struct ais_response ngx_http_aisearch_upstream_total(
    ngx_http_aisearch_upstream_t *u, const struct ais_response *response);
static void ngx_http_aisearch_upstream_answer(ngx_http_aisearch_upstream_t *u,
    const struct ais_response *response, struct ais_verdict *verdict,
    ngx_http_aisearch_shared_answer_t *sa);
static void ngx_http_aisearch_upstream_finish(ngx_http_aisearch_upstream_t *u,
    struct ais_response *total, ngx_http_aisearch_shared_answer_t *sa);
static void ngx_http_aisearch_upstream_report(ngx_http_aisearch_upstream_t *u,
    const struct ais_response *response, struct ais_verdict *verdict,
    const char *reason);


/* copies the query, which may outlive the memory of the request */

void
ngx_http_aisearch_upstream_init(ngx_http_aisearch_upstream_t *u,
    ngx_http_aisearch_account_t *account, ngx_http_aisearch_query_t *query)
{
    struct ais_resource  res;

    u->account = account;
    u->query.key = query->key;

    res = query->resource;

    if (account->form->namespaced) {
        (void) ais_resource_to_namespaced(&res);
    }

    ngx_http_aisearch_upstream_resource(u, &res);
}


/* "res" may point into u->path */

static void
ngx_http_aisearch_upstream_resource(ngx_http_aisearch_upstream_t *u,
    struct ais_resource *res)
{
    char             path[AIS_RESOURCE_PATH_MAX], *args;
    size_t           len;
    struct ais_str   account, resource, query;

    account.data = (char *) u->account->account_id.data;
    account.len = u->account->account_id.len;

    len = ais_resource_path(res, account, path);

    ngx_memcpy(u->path, path, len + 1);

    /* the key is the end of the path */

    u->query.key.path.data = (u_char *) u->path + len - u->query.key.path.len;

    args = strchr(u->path, '?');

    resource.data = u->path + 1;
    resource.len = (args ? (size_t) (args - u->path) : len) - 1;

    query.data = args ? args + 1 : u->path + len;
    query.len = u->path + len - query.data;

    (void) ais_resource_parse(&u->query.resource, resource, query);
}


ngx_int_t
ngx_http_aisearch_upstream_start(ngx_http_aisearch_upstream_t *u)
{
    struct ais_client            *client;
    struct ais_target            *target;
    ngx_http_aisearch_account_t  *account;

    account = u->account;

    u->fault = AIS_FAULT_INTERNAL;
    u->wait = 0;
    u->held = 0;

    client = ngx_http_aisearch_net_client(account->net);
    if (client == NULL) {
        return NGX_DECLINED;
    }

    u->wait = ngx_http_aisearch_budget_check(account, u->newcomer);

    if (u->wait) {
        u->fault = AIS_FAULT_BUDGET;
        return NGX_DECLINED;
    }

    if (ngx_http_aisearch_breaker_enter(account, &u->pass, &u->wait, &u->fault)
        != NGX_OK)
    {
        u->held = 1;
        return NGX_DECLINED;
    }

    target = &account->targets[u->newcomer][u->pass.quick];

    u->fetch = ngx_http_aisearch_upstream_fetch(u, client, target);

    if (u->fetch == NULL) {
        ngx_http_aisearch_breaker_cancel(account, &u->pass);
        return NGX_DECLINED;
    }

    account->budget->unsent[u->newcomer]++;

    return NGX_OK;
}


static struct ais_fetch *
ngx_http_aisearch_upstream_fetch(ngx_http_aisearch_upstream_t *u,
    struct ais_client *client, struct ais_target *target)
{
    struct ais_credential  *credential;

    credential = u->chosen
                 ? ngx_http_aisearch_rotation_chosen(u->account, &u->choice)
                 : ngx_http_aisearch_rotation_choose(u->account, &u->choice);

    u->chosen = 0;

    if (credential == NULL) {
        u->fault = AIS_FAULT_CREDENTIAL;
        u->wait = (ngx_msec_t) u->choice.wait;
        return NULL;
    }

    u->fault = AIS_FAULT_INTERNAL;
    u->asked = ngx_http_aisearch_now();

    ngx_log_debug5(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "aisearch fetch: key:%08xD \"GET %s\" credential:%ui "
                   "newcomer:%ui quick:%ui", u->query.key.hash,
                   u->refusal ? u->witness : u->path,
                   (ngx_uint_t) u->choice.slot + 1, u->newcomer,
                   (ngx_uint_t) u->pass.quick);

    return ais_client_fetch(client, target, credential,
                            u->refusal ? u->witness : u->path,
                            ngx_http_aisearch_upstream_fetched, u);
}


void
ngx_http_aisearch_upstream_cancel(ngx_http_aisearch_upstream_t *u)
{
    if (u->fetch) {
        ais_fetch_cancel(u->fetch);
        u->fetch = NULL;

        ngx_http_aisearch_breaker_cancel(u->account, &u->pass);
    }

    ngx_http_aisearch_answer_release(u->refusal);
    u->refusal = NULL;
}


static void
ngx_http_aisearch_upstream_fetched(void *data,
    const struct ais_response *response)
{
    ngx_http_aisearch_upstream_t  *u = data;

    struct ais_error     err;
    struct ais_verdict   verdict;

    u->fetch = NULL;

    /* the gate has subtracted each request when it was sent */

    u->account->budget->unsent[u->newcomer] += (int64_t) response->calls - 1;

    ngx_http_aisearch_budget_observe(u->account->budget, response);

    verdict = ngx_http_aisearch_upstream_judge(u, response, &err);

    ngx_log_debug5(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "aisearch fetched: key:%08xD status:%d fault:%s calls:%ud "
                   "time:%L", u->query.key.hash, response->status,
                   ais_fault_name(verdict.fault), response->calls,
                   response->elapsed);

    u->reachable = ngx_http_aisearch_breaker_settle(u->account, &u->pass,
                                                    response, &verdict,
                                                    err.text);

    if (u->refusal) {
        ngx_http_aisearch_upstream_witnessed(u, response, &verdict, err.text);
        return;
    }

    if (verdict.fault == AIS_FAULT_NONE) {

        if (u->second) {
            ngx_http_aisearch_upstream_refused(u, &u->first,
                                             "the API rejects the credential");
        }

        ngx_http_aisearch_rotation_accepted(u->account, &u->choice, u->path,
                                            u->asked);
    }

    if (ngx_http_aisearch_upstream_try_form(u, response, &verdict)) {
        return;
    }

    if (verdict.doubtful
        && ngx_http_aisearch_upstream_doubt(u, response, &verdict))
    {
        return;
    }

    if (verdict.fault == AIS_FAULT_CREDENTIAL) {

        if (ngx_http_aisearch_upstream_repeat(u, response, err.text)) {
            return;
        }

    } else if (verdict.fault != AIS_FAULT_NONE) {
        ngx_http_aisearch_upstream_report(u, response, &verdict, err.text);
    }

    ngx_http_aisearch_upstream_conclude(u, response, &verdict);
}


static struct ais_verdict
ngx_http_aisearch_upstream_judge(ngx_http_aisearch_upstream_t *u,
    const struct ais_response *response, struct ais_error *err)
{
    ngx_time_t          *tp;
    struct ais_verdict   verdict;

    if (response->fault != AIS_FAULT_NONE) {
        ngx_memzero(&verdict, sizeof(struct ais_verdict));

        verdict.fault = response->fault;
        verdict.class = AIS_CLASS_ERROR;

        ais_error_set(err, "%s", response->message);

        return verdict;
    }

    tp = ngx_timeofday();

    return ais_policy_judge(&u->query.resource, response->status,
                            response->body,
                            (int64_t) tp->sec * 1000 + tp->msec
                            - ngx_http_aisearch_answer_upstream_age(response),
                            NULL, err);
}


/*
 * The API may drop the route "instances/..." and keep
 * "namespaces/default/instances/...", which names the same instances.
 */

static ngx_uint_t
ngx_http_aisearch_upstream_try_form(ngx_http_aisearch_upstream_t *u,
    const struct ais_response *response, struct ais_verdict *verdict)
{
    bool                  news, may;
    ngx_slab_pool_t      *shpool;
    struct ais_resource   res;

    shpool = u->account->shpool;

    if (u->other_form) {
        ngx_shmtx_lock(&shpool->mutex);

        news = ais_form_settle(u->account->form, verdict);

        ngx_shmtx_unlock(&shpool->mutex);

        if (news) {
            ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                          "aisearch account \"%V\": the API no longer has a "
                          "route for \"instances/...\"; until the next "
                          "reload, \"namespaces/default/instances/...\" is "
                          "requested instead",
                          &u->account->name);
        }

        return 0;
    }

    res = u->query.resource;

    if (!verdict->no_route || !ais_resource_to_namespaced(&res)) {
        return 0;
    }

    ngx_shmtx_lock(&shpool->mutex);

    may = ais_form_try(u->account->form, ais_clock());

    ngx_shmtx_unlock(&shpool->mutex);

    if (!may) {
        return 0;
    }

    u->other_form = 1;
    ngx_http_aisearch_upstream_resource(u, &res);

    return ngx_http_aisearch_upstream_again(u, response);
}


/*
 * The fetch was refused, possibly for this resource only.  Returns 1 if
 * another fetch was started, with the other credential or for a path that was
 * answered before; otherwise sets the verdict.
 */

static ngx_uint_t
ngx_http_aisearch_upstream_doubt(ngx_http_aisearch_upstream_t *u,
    const struct ais_response *response, struct ais_verdict *verdict)
{
    char                path[AIS_WITNESS_PATH_MAX];
    enum ais_doubt      doubt;
    struct ais_choice   choice;

    choice = u->choice;

    doubt = ngx_http_aisearch_rotation_doubt(u->account, &choice, u->second,
                                             u->path, u->asked, path);
    if (doubt == AIS_DOUBT_NONE) {
        return 0;
    }

    verdict->fault = AIS_FAULT_REFUSED;
    verdict->pass = 1;

    switch (doubt) {

    case AIS_DOUBT_OWN:
        return 0;

    case AIS_DOUBT_OTHER:
        u->chosen = 1;
        u->first = u->choice;
        u->choice = choice;
        u->second = 1;

        return ngx_http_aisearch_upstream_again(u, response);

    default:
        if (ngx_http_aisearch_upstream_ask_witness(u, response, verdict,
                                                   &choice, path))
        {
            return 1;
        }

        ngx_http_aisearch_rotation_settle(u->account, 0);

        return 0;
    }
}


/* keeps the refusal, which is the answer unless the witness is refused too */

static ngx_uint_t
ngx_http_aisearch_upstream_ask_witness(ngx_http_aisearch_upstream_t *u,
    const struct ais_response *response, struct ais_verdict *verdict,
    struct ais_choice *choice, char *path)
{
    ngx_http_aisearch_shared_answer_t  *sa;

    u->chosen = 1;

    sa = ngx_http_aisearch_answer_create();
    if (sa == NULL) {
        return 0;
    }

    ngx_http_aisearch_upstream_answer(u, response, verdict, sa);

    u->refusal = sa;
    u->first = u->choice;
    u->choice = *choice;
    u->witness = ngx_pnalloc(sa->pool, AIS_WITNESS_PATH_MAX);

    if (u->witness) {
        ngx_memcpy(u->witness, path, AIS_WITNESS_PATH_MAX);

        if (ngx_http_aisearch_upstream_again(u, response)) {
            return 1;
        }
    }

    u->refusal = NULL;
    ngx_http_aisearch_answer_release(sa);

    return 0;
}


/*
 * If the witness is refused too, the credential is at fault.  Otherwise, or if
 * this stays unknown, the refusal that was kept is the answer.
 */

static void
ngx_http_aisearch_upstream_witnessed(ngx_http_aisearch_upstream_t *u,
    const struct ais_response *response, struct ais_verdict *verdict,
    const char *reason)
{
    ngx_uint_t                          good;
    struct ais_response                 total;
    ngx_http_aisearch_shared_answer_t  *sa;

    good = ais_witness_is_good(response);

    ngx_http_aisearch_rotation_settle(u->account, good);

    if (good) {
        ngx_http_aisearch_rotation_accepted(u->account, &u->choice,
                                            u->witness, u->asked);
    }

    sa = u->refusal;
    u->refusal = NULL;

    if (verdict->fault == AIS_FAULT_CREDENTIAL) {
        ngx_http_aisearch_answer_release(sa);

        if (u->second) {
            ngx_http_aisearch_upstream_refused(u, &u->first, reason);
        }

        if (!ngx_http_aisearch_upstream_repeat(u, response, reason)) {
            ngx_http_aisearch_upstream_conclude(u, response, verdict);
        }

        return;
    }

    total = ngx_http_aisearch_upstream_total(u, response);

    ngx_http_aisearch_upstream_finish(u, &total, sa);
}


static void
ngx_http_aisearch_upstream_refused(ngx_http_aisearch_upstream_t *u,
    struct ais_choice *choice, const char *reason)
{
    ngx_http_aisearch_rotation_refused(u->account, choice, reason,
                                       u->log(u->data));
}


/* the credential is refused: repeats the query with another one */

static ngx_uint_t
ngx_http_aisearch_upstream_repeat(ngx_http_aisearch_upstream_t *u,
    const struct ais_response *response, const char *reason)
{
    ngx_http_aisearch_upstream_refused(u, &u->choice, reason);

    if (u->repeats == AIS_SLOTS) {
        return 0;
    }

    u->repeats++;

    return ngx_http_aisearch_upstream_again(u, response);
}


/* starts another fetch with the remaining time */

static ngx_uint_t
ngx_http_aisearch_upstream_again(ngx_http_aisearch_upstream_t *u,
    const struct ais_response *response)
{
    int64_t  left;

    left = u->account->target.timeout - u->elapsed - response->elapsed;

    if (left <= 0 || ngx_http_aisearch_upstream_start(u) != NGX_OK) {
        return 0;
    }

    ais_fetch_limit(u->fetch, left);

    u->elapsed += response->elapsed;
    u->calls += response->calls;

    return 1;
}


static void
ngx_http_aisearch_upstream_conclude(ngx_http_aisearch_upstream_t *u,
    const struct ais_response *response, struct ais_verdict *verdict)
{
    struct ais_response                 total;
    ngx_http_aisearch_shared_answer_t  *sa;

    total = ngx_http_aisearch_upstream_total(u, response);

    sa = ngx_http_aisearch_answer_create();

    if (sa) {
        ngx_http_aisearch_upstream_answer(u, &total, verdict, sa);
    }

    ngx_http_aisearch_upstream_finish(u, &total, sa);
}


/* returns the response with the time and requests of all fetches */

static struct ais_response
ngx_http_aisearch_upstream_total(ngx_http_aisearch_upstream_t *u,
    const struct ais_response *response)
{
    struct ais_response  total;

    total = *response;
    total.elapsed += u->elapsed;
    total.calls += u->calls;

    return total;
}


static void
ngx_http_aisearch_upstream_answer(ngx_http_aisearch_upstream_t *u,
    const struct ais_response *response, struct ais_verdict *verdict,
    ngx_http_aisearch_shared_answer_t *sa)
{
    ngx_msec_t  wait;

    switch (verdict->fault) {

    case AIS_FAULT_NONE:
        wait = 0;
        break;

    case AIS_FAULT_CREDENTIAL:
        wait = u->wait;
        break;

    case AIS_FAULT_BUDGET:
        wait = ngx_http_aisearch_budget_wait(u->account->budget, u->newcomer);
        break;

    case AIS_FAULT_RATE_LIMITED:
        wait = (ngx_msec_t) ais_policy_closed(429, response->retry_after);
        break;

    default:
        wait = (ngx_msec_t) ngx_max(response->retry_after, 0);
    }

    if (verdict->fault != AIS_FAULT_NONE) {
        ngx_http_aisearch_answer_fail(&sa->answer, verdict->fault, wait);
    }

    sa->answer.asked = u->asked;

    if (verdict->pass) {
        ngx_http_aisearch_answer_copy(sa, response, verdict);
    }
}


/*
 * An unreachable API and a refused credential are not cached per entry: the
 * breaker and the rotation keep them for all lookups.
 */

static void
ngx_http_aisearch_upstream_finish(ngx_http_aisearch_upstream_t *u,
    struct ais_response *total, ngx_http_aisearch_shared_answer_t *sa)
{
    enum ais_fault  fault;

    if (sa == NULL) {
        u->handler(u->data, NULL, 0);
        return;
    }

    fault = sa->answer.verdict.fault;

    ngx_http_aisearch_stats_fetch(u->account->stats, fault, total);

    u->handler(u->data, sa, u->reachable && ais_policy_cacheable(fault));
}


static void
ngx_http_aisearch_upstream_report(ngx_http_aisearch_upstream_t *u,
    const struct ais_response *response, struct ais_verdict *verdict,
    const char *reason)
{
    ngx_uint_t      level;
    enum ais_fault  fault;

    fault = verdict->fault;

    /*
     * The client gets the API's refusal, and the breaker has logged that the
     * API is unreachable, so "info" will do.  A missing route is an error: only
     * known paths are requested, so "api_url" is probably wrong.
     */

    level = (fault == AIS_FAULT_BUDGET || fault == AIS_FAULT_REFUSED
             || !u->reachable)
            ? NGX_LOG_INFO : NGX_LOG_ERR;

    if (verdict->no_route && ngx_http_aisearch_may_warn(&u->account->warned)) {
        level = NGX_LOG_ERR;
    }

    ngx_log_error(level, u->log(u->data), 0,
                  "aisearch account \"%V\": %s fault: %s, "
                  "API request: \"GET %s\", api_url: \"%V\", status: %d, "
                  "calls: %ui",
                  &u->account->name, ais_fault_name(fault), reason,
                  u->path, &u->account->api_url, response->status,
                  (ngx_uint_t) response->calls);
}
