/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The budget of a credential: the "budget" directive, the accounts that share
 * a budget, whose limits are merged, and the gate that each call passes before
 * it is sent.
 */


#include "ngx_http_aisearch_budget.h"
#include "ngx_http_aisearch_clock.h"


/* percent of each limit, reserved for resources answered before */
#define NGX_HTTP_AISEARCH_RESERVE     50

/* ms; shorter limits recover before a postponed refresh is due */
#define NGX_HTTP_AISEARCH_SMOOTH      (10 * 1000)

/* ms for fetches that have begun to send their requests, or to fail */
#define NGX_HTTP_AISEARCH_TURN        1000


static ngx_int_t ngx_http_aisearch_budget_group(ngx_conf_t *cf,
    ngx_http_aisearch_main_conf_t *amcf, ngx_uint_t n);
static ngx_int_t ngx_http_aisearch_budget_limits(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account);
static ngx_int_t ngx_http_aisearch_budget_limit(
    ngx_http_aisearch_budget_t *budget, struct ais_budget_limit *limit,
    uint32_t reserve);
static void ngx_http_aisearch_budget_targets(
    ngx_http_aisearch_account_t *account);

static uint32_t ngx_http_aisearch_budget_part(ngx_http_aisearch_budget_t *b);
static bool ngx_http_aisearch_budget_enter(void *data, uint64_t *ticket);
static bool ngx_http_aisearch_budget_enter_part(void *data, uint64_t *ticket);
static bool ngx_http_aisearch_budget_take(ngx_http_aisearch_budget_t *b,
    ngx_uint_t newcomer, uint64_t *ticket);
static void ngx_http_aisearch_budget_leave(void *data, uint64_t ticket,
    bool given_up);


static struct ais_budget_limit  ngx_http_aisearch_budget_default[] = {
    { 900, 5 * 60 * 1000 },
    { 100, 1000 }
};

#define NGX_HTTP_AISEARCH_BUDGET_DEFAULTS                                     \
    (sizeof(ngx_http_aisearch_budget_default)                                 \
     / sizeof(ngx_http_aisearch_budget_default[0]))


/* configuration */


/* budget CALLS TIME [reserve=PERCENT] */

char *
ngx_http_aisearch_budget_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_aisearch_account_t  *account = conf;

    ngx_int_t                 calls, interval, reserve;
    ngx_str_t                *value;
    ngx_uint_t                i;
    struct ais_budget_limit  *limit;

    value = cf->args->elts;

    calls = ngx_atoi(value[1].data, value[1].len);

    if (calls == NGX_ERROR || calls == 0 || calls > 1000000) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid number of calls \"%V\" in \"budget\" "
                           "directive, it must be between 1 and 1000000",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    interval = ngx_parse_time(&value[2], 0);

    if (interval == NGX_ERROR || interval < 1000
        || interval > 24 * 60 * 60 * 1000)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid time \"%V\" in \"budget\" directive, "
                           "it must be between \"1s\" and \"1d\"", &value[2]);
        return NGX_CONF_ERROR;
    }

    reserve = NGX_HTTP_AISEARCH_RESERVE;

    if (cf->args->nelts == 4) {

        if (ngx_strncmp(value[3].data, "reserve=", 8) != 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\" in \"budget\" "
                               "directive, it must be \"reserve=PERCENT\"",
                               &value[3]);
            return NGX_CONF_ERROR;
        }

        reserve = ngx_atoi(value[3].data + 8, value[3].len - 8);

        if (reserve == NGX_ERROR || reserve > 99) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid \"%V\" in \"budget\" directive, the "
                               "reserve must be a percentage between 0 and "
                               "99", &value[3]);
            return NGX_CONF_ERROR;
        }
    }

    for (i = 0; i < account->nlimits; i++) {
        if (account->limits[i].interval == interval) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "duplicate \"budget\" for the time \"%V\"",
                               &value[2]);
            return NGX_CONF_ERROR;
        }
    }

    if (account->nlimits == AIS_BUDGET_LIMITS) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "too many \"budget\" directives, an account can "
                           "have at most %d", AIS_BUDGET_LIMITS);
        return NGX_CONF_ERROR;
    }

    account->reserves[account->nlimits] = (uint32_t) reserve;

    limit = &account->limits[account->nlimits++];
    limit->calls = (uint32_t) calls;
    limit->interval = interval;

    return NGX_CONF_OK;
}


ngx_int_t
ngx_http_aisearch_budget_configure(ngx_conf_t *cf,
    ngx_http_aisearch_main_conf_t *amcf)
{
    ngx_uint_t                     i;
    ngx_http_aisearch_account_t  **accounts;

    accounts = amcf->accounts.elts;

    for (i = 0; i < amcf->accounts.nelts; i++) {
        if (ngx_http_aisearch_budget_group(cf, amcf, i) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    for (i = 0; i < amcf->accounts.nelts; i++) {
        if (ngx_http_aisearch_budget_limits(cf, accounts[i]) != NGX_OK) {
            return NGX_ERROR;
        }

        ngx_http_aisearch_budget_targets(accounts[i]);
    }

    return NGX_OK;
}


/*
 * Accounts with a common credential share one budget, that of its user.  A new
 * account may join two groups if it shares credentials with both.
 */

static ngx_int_t
ngx_http_aisearch_budget_group(ngx_conf_t *cf,
    ngx_http_aisearch_main_conf_t *amcf, ngx_uint_t n)
{
    ngx_uint_t                     i, k;
    ngx_http_aisearch_budget_t    *budget, *other;
    ngx_http_aisearch_account_t  **accounts;

    accounts = amcf->accounts.elts;

    budget = ngx_pcalloc(cf->pool, sizeof(ngx_http_aisearch_budget_t));
    if (budget == NULL) {
        return NGX_ERROR;
    }

    budget->stretch = 1;

    accounts[n]->budget = budget;

    for (i = 0; i < n; i++) {

        if (accounts[i]->budget == budget
            || !ngx_http_aisearch_credential_shared(accounts[i], accounts[n]))
        {
            continue;
        }

        other = accounts[i]->budget;

        for (k = 0; k < n; k++) {
            if (accounts[k]->budget == other) {
                accounts[k]->budget = budget;
            }
        }
    }

    return NGX_OK;
}


/* the shared budget has the limits of all accounts, and the greater reserves */

static ngx_int_t
ngx_http_aisearch_budget_limits(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account)
{
    ngx_uint_t                   i;
    ngx_http_aisearch_budget_t  *budget;

    budget = account->budget;

    if (account->nlimits == 0) {

        for (i = 0; i < NGX_HTTP_AISEARCH_BUDGET_DEFAULTS; i++) {
            account->limits[i] = ngx_http_aisearch_budget_default[i];
            account->reserves[i] = NGX_HTTP_AISEARCH_RESERVE;
        }

        account->nlimits = NGX_HTTP_AISEARCH_BUDGET_DEFAULTS;
    }

    for (i = 0; i < account->nlimits; i++) {

        if (ngx_http_aisearch_budget_limit(budget, &account->limits[i],
                                           account->reserves[i])
            != NGX_OK)
        {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "aisearch_account \"%V\" shares its credential "
                          "with others, and together they have \"budget\" "
                          "directives for more than %d different times in "
                          "%s:%ui",
                          &account->name, AIS_BUDGET_LIMITS, account->file,
                          account->line);
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_aisearch_budget_limit(ngx_http_aisearch_budget_t *budget,
    struct ais_budget_limit *limit, uint32_t reserve)
{
    size_t  i;

    i = ais_budget_merge(budget->limits, budget->nlimits, *limit);

    if (i == AIS_BUDGET_LIMITS) {
        return NGX_ERROR;
    }

    budget->nlimits = ngx_max(budget->nlimits, i + 1);
    budget->reserves[i] = ngx_max(budget->reserves[i], reserve);

    return NGX_OK;
}


/* all calls to the API pass the gate of the budget */

static void
ngx_http_aisearch_budget_targets(ngx_http_aisearch_account_t *account)
{
    ngx_uint_t          newcomer, quick;
    struct ais_gate    *gate;
    struct ais_target  *target;

    /* a call ends with its fetch, or in the next event loop iteration */

    account->budget->hold = ngx_max(account->budget->hold,
                                    account->timeout + 1000);

    for (newcomer = 0; newcomer < 2; newcomer++) {

        gate = &account->gates[newcomer];

        gate->data = account->budget;
        gate->enter = newcomer ? ngx_http_aisearch_budget_enter_part
                               : ngx_http_aisearch_budget_enter;
        gate->leave = ngx_http_aisearch_budget_leave;

        for (quick = 0; quick < 2; quick++) {

            target = &account->targets[newcomer][quick];

            *target = account->target;
            target->gate = gate;

            if (quick) {
                target->timeout = ngx_min(account->timeout, AIS_BREAKER_QUICK);
                target->retries = 0;
            }
        }
    }
}


/* run time */


/*
 * Newcomers, resources that the API has not answered before, may use only a
 * part of the budget, so that the rest remains for refreshes.
 */

void
ngx_http_aisearch_budget_begin(ngx_http_aisearch_budget_t *b)
{
    int64_t                  now;
    ngx_uint_t               i;
    struct ais_budget_limit  parts[AIS_BUDGET_LIMITS];

    for (i = 0; i < b->nlimits; i++) {
        parts[i] = ais_budget_part_of(b->limits[i], 100 - b->reserves[i]);
    }

    ngx_shmtx_lock(&b->shpool->mutex);

    now = ais_clock();

    ais_budget_configure(b->budget, b->limits, b->nlimits, b->hold, now);
    ais_budget_configure(b->part, parts, b->nlimits, b->hold, now);

    ngx_shmtx_unlock(&b->shpool->mutex);
}


/* the newcomers' part of the API's own limits, in percent */

static uint32_t
ngx_http_aisearch_budget_part(ngx_http_aisearch_budget_t *b)
{
    uint32_t    reserve;
    ngx_uint_t  i;

    reserve = 0;

    for (i = 0; i < b->nlimits; i++) {
        reserve = ngx_max(reserve, b->reserves[i]);
    }

    return 100 - reserve;
}


static bool
ngx_http_aisearch_budget_enter(void *data, uint64_t *ticket)
{
    return ngx_http_aisearch_budget_take(data, 0, ticket);
}


static bool
ngx_http_aisearch_budget_enter_part(void *data, uint64_t *ticket)
{
    return ngx_http_aisearch_budget_take(data, 1, ticket);
}


static bool
ngx_http_aisearch_budget_take(ngx_http_aisearch_budget_t *b,
    ngx_uint_t newcomer, uint64_t *ticket)
{
    int64_t  now;

    ngx_shmtx_lock(&b->shpool->mutex);

    now = ais_clock();

    *ticket = newcomer ? ais_budget_part_take(b->part, b->budget, now)
                       : ais_budget_take(b->budget, now);

    ngx_shmtx_unlock(&b->shpool->mutex);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "aisearch budget: call newcomer:%ui ticket:%uL",
                   newcomer, *ticket);

    if (*ticket == AIS_TICKET_NONE) {
        return false;
    }

    b->unsent[newcomer]--;

    return true;
}


static void
ngx_http_aisearch_budget_leave(void *data, uint64_t ticket, bool given_up)
{
    ngx_http_aisearch_budget_t  *b = data;

    /* the API may still count the call, so it is held until it expires */

    if (given_up) {
        return;
    }

    ngx_shmtx_lock(&b->shpool->mutex);

    ais_budget_end(b->budget, ticket, ais_clock());

    ngx_shmtx_unlock(&b->shpool->mutex);
}


ngx_msec_t
ngx_http_aisearch_budget_wait(ngx_http_aisearch_budget_t *b,
    ngx_uint_t newcomer)
{
    int64_t  now, wait, left;

    now = ais_clock();

    ngx_shmtx_lock(&b->shpool->mutex);

    wait = newcomer ? ais_budget_part_wait(b->part, b->budget, now)
                    : ais_budget_wait(b->budget, now);

    left = (int64_t) ais_budget_left(b->budget, now)
           - b->unsent[0] - b->unsent[1];

    if (newcomer) {
        left = ngx_min(left, (int64_t) ais_budget_left(b->part, now)
                             - b->unsent[1]);
    }

    ngx_shmtx_unlock(&b->shpool->mutex);

    if (wait == 0 && left <= 0) {
        return NGX_HTTP_AISEARCH_TURN;
    }

    return (ngx_msec_t) wait;
}


/* exceeding the limit blocks the user, with all tokens, for five minutes */

ngx_msec_t
ngx_http_aisearch_budget_check(ngx_http_aisearch_account_t *account,
    ngx_uint_t newcomer)
{
    ngx_msec_t                   wait;
    ngx_http_aisearch_budget_t  *budget;

    budget = account->budget;
    wait = ngx_http_aisearch_budget_wait(budget, newcomer);

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "aisearch budget: %V newcomer:%ui wait:%M",
                   &account->name, newcomer, wait);

    if (wait && ngx_http_aisearch_may_warn(&budget->warned[newcomer])) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "aisearch account \"%V\": no calls to the API for the "
                      "next %Mms%s: the budget is used up, or the API "
                      "requested a pause; lookups get stale responses or 503",
                      &account->name, wait,
                      newcomer ? " except for known resources" : "");
    }

    return wait;
}


void
ngx_http_aisearch_budget_observe(ngx_http_aisearch_budget_t *b,
    const struct ais_response *response)
{
    int64_t  now;

    now = ais_clock();

    ngx_shmtx_lock(&b->shpool->mutex);

    (void) ais_limits_heed(b->budget, &response->limits, response->status,
                           response->retry_after, now);

    ais_limits_heed_part(b->part, b->budget, ngx_http_aisearch_budget_part(b),
                         &response->limits, now);

    ngx_shmtx_unlock(&b->shpool->mutex);
}


double
ngx_http_aisearch_budget_new_stretch(ngx_http_aisearch_budget_t *b)
{
    double  share;

    ngx_shmtx_lock(&b->shpool->mutex);

    share = ais_budget_share(b->budget, b->part, NGX_HTTP_AISEARCH_SMOOTH,
                             ais_clock());

    ngx_shmtx_unlock(&b->shpool->mutex);

    b->stretch = ais_policy_stretch(share);
    b->stretched = ngx_current_msec;

    return b->stretch;
}


void
ngx_http_aisearch_budget_snapshot(ngx_http_aisearch_budget_t *b,
    ngx_http_aisearch_budget_snapshot_t *snapshot)
{
    int64_t  now;

    now = ais_clock();

    ngx_shmtx_lock(&b->shpool->mutex);

    snapshot->left = ais_budget_left(b->budget, now);
    snapshot->newcomers = ais_budget_part_left(b->part, b->budget, now);
    snapshot->share = ais_budget_share(b->budget, NULL, 0, now);
    snapshot->wait = ais_budget_wait(b->budget, now);
    snapshot->closed = b->budget->closed_until > now
                    ? (ngx_msec_t) (b->budget->closed_until - now) : 0;

    snapshot->now = now;
    snapshot->nlimits = b->budget->nobserved;
    ngx_memcpy(snapshot->limits, b->budget->observed, sizeof(snapshot->limits));

    ngx_shmtx_unlock(&b->shpool->mutex);
}
