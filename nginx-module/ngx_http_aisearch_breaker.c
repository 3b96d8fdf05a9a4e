/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Asks the breaker of an account before each call, passes it the result of the
 * call, and logs when it opens and closes.
 */


#include "ngx_http_aisearch_breaker.h"
#include "ngx_http_aisearch_clock.h"


ngx_int_t
ngx_http_aisearch_breaker_enter(ngx_http_aisearch_account_t *account,
    struct ais_pass *pass, ngx_msec_t *wait, enum ais_fault *fault)
{
    ngx_shmtx_lock(&account->shpool->mutex);

    *wait = (ngx_msec_t) ais_breaker_enter(account->breaker, pass,
                                           account->target.timeout,
                                           ais_clock());
    *fault = account->breaker->fault;

    ngx_shmtx_unlock(&account->shpool->mutex);

    if (*wait) {
        ngx_log_debug3(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                       "aisearch breaker: %V holds back, fault:%s wait:%M",
                       &account->name, ais_fault_name(*fault), *wait);

        ngx_http_aisearch_count(account->stats->held);
        return NGX_DECLINED;
    }

    return NGX_OK;
}


void
ngx_http_aisearch_breaker_cancel(ngx_http_aisearch_account_t *account,
    struct ais_pass *pass)
{
    ngx_shmtx_lock(&account->shpool->mutex);

    ais_breaker_cancel(account->breaker, pass);

    ngx_shmtx_unlock(&account->shpool->mutex);
}


ngx_uint_t
ngx_http_aisearch_breaker_settle(ngx_http_aisearch_account_t *account,
    struct ais_pass *pass, const struct ais_response *response,
    struct ais_verdict *verdict, const char *reason)
{
    int64_t                now, since;
    ngx_uint_t             there;
    enum ais_fault         fault;
    enum ais_breaker_news  news;

    now = ais_clock();

    ngx_shmtx_lock(&account->shpool->mutex);

    news = ais_breaker_settle(account->breaker, pass, verdict, response,
                              (uint32_t) ngx_random() << 1, now);
    since = account->breaker->since;
    fault = account->breaker->fault;
    there = account->breaker->state != AIS_BREAKER_OPEN;

    ngx_shmtx_unlock(&account->shpool->mutex);

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "aisearch breaker: %V settled, fault:%s open:%ui",
                   &account->name, ais_fault_name(verdict->fault), !there);

    switch (news) {

    case AIS_BREAKER_OPENED:
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "aisearch account \"%V\": %d faults in a row, the "
                      "last one: %s fault: %s; until the API responds "
                      "again, it gets at most one call per second, and "
                      "lookups get stale responses, 502 or 504",
                      &account->name, AIS_BREAKER_FAULTS,
                      ais_fault_name(fault), reason);
        break;

    case AIS_BREAKER_RECOVERED:
        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "aisearch account \"%V\": the API responds again "
                      "after %Lms", &account->name, now - since);
        break;

    default:
        break;
    }

    return there;
}


void
ngx_http_aisearch_breaker_snapshot(ngx_http_aisearch_account_t *account,
    ngx_http_aisearch_breaker_snapshot_t *snapshot)
{
    int64_t  now;

    now = ais_clock();

    ngx_shmtx_lock(&account->shpool->mutex);

    snapshot->state = account->breaker->state;
    snapshot->fault = (snapshot->state == AIS_BREAKER_CLOSED)
                      ? AIS_FAULT_NONE : account->breaker->fault;
    snapshot->wait = (ngx_msec_t) ais_breaker_wait(account->breaker, now);

    ngx_shmtx_unlock(&account->shpool->mutex);
}
