#include "ngx_http_aisearch_entry.h"


static ngx_msec_t ngx_http_aisearch_entry_lifetime(ngx_http_aisearch_entry_t *e,
    struct ais_valid *valid, double stretch);


/* what to answer with, and who fetches; changes nothing but "lookup" */

void
ngx_http_aisearch_entry_decide(ngx_http_aisearch_entry_t *e,
    ngx_http_aisearch_freshness_t *freshness, uint32_t generation,
    double stretch, ngx_http_aisearch_time_t since, ngx_uint_t flags,
    ngx_http_aisearch_lookup_t *lookup)
{
    ngx_uint_t                   good, failed, fresh, answered, refused,
                                 may_fetch;
    ngx_msec_t                   lifetime;
    ngx_http_aisearch_time_t     age;

    age = ngx_http_aisearch_entry_age(e);

    good = e->answered && e->fault == AIS_FAULT_NONE;

    lifetime = good ? ngx_http_aisearch_entry_lifetime(e, &freshness->valid,
                                                       stretch)
                    : 0;

    lookup->expired = e->answered || e->failed;
    lookup->lifetime = lifetime;

    if (age < lifetime && !(flags & NGX_HTTP_AISEARCH_BYPASS)) {
        lookup->serve = NGX_HTTP_AISEARCH_FRESH;
        return;
    }

    /* a bypass is not needed to keep fresh what is known */

    lookup->known = good
                   && ais_class_is_found(e->class)
                   && !(flags & NGX_HTTP_AISEARCH_BYPASS);

    failed = e->failed
             && (e->failure != AIS_FAULT_REFUSED
                 || ngx_http_aisearch_same_generation(e, generation));

    answered = since && e->fetched >= since;
    refused = since && e->failed >= since;

    fresh = good && answered;

    if (flags & NGX_HTTP_AISEARCH_BYPASS) {

        if (failed && ngx_http_aisearch_cache_age(e->failed) < e->retry_after) {
            /* the API wants to be left alone, also by those in a hurry */
            fresh = 0;

        } else {
            good = good && answered;
            failed = failed && refused;
        }
    }

    if (fresh) {
        lookup->serve = NGX_HTTP_AISEARCH_FRESH;
        return;
    }

    /* while the API is known to fail, it is asked in the background */

    may_fetch = 1;

    if (failed) {
        if (refused
            || ngx_http_aisearch_cache_age(e->failed)
               < ngx_max((ngx_msec_t) freshness->valid.error, e->retry_after))
        {
            lookup->serve = NGX_HTTP_AISEARCH_FAILED;
            may_fetch = 0;
        }
    }

    if (good && (failed || (flags & NGX_HTTP_AISEARCH_PEEK))) {

        if (age < lifetime + freshness->stale_error) {
            lookup->serve = NGX_HTTP_AISEARCH_STALE;
        }

    } else if (good
               && lifetime > 0
               && ais_class_is_found(e->class)
               && age < lifetime + freshness->stale_updating)
    {
        lookup->serve = NGX_HTTP_AISEARCH_UPDATING;
    }

    if (!may_fetch || (flags & NGX_HTTP_AISEARCH_PEEK)) {
        return;
    }

    if (ngx_http_aisearch_entry_leased(e)) {
        lookup->fetch = NGX_HTTP_AISEARCH_OTHER;

    } else {
        lookup->fetch = NGX_HTTP_AISEARCH_LEADER;
    }
}


static ngx_msec_t
ngx_http_aisearch_entry_lifetime(ngx_http_aisearch_entry_t *e,
    struct ais_valid *valid, double stretch)
{
    struct ais_verdict  verdict;

    verdict.class = e->class;
    verdict.has_state = e->has_state;
    verdict.state = e->state;
    verdict.age = (int64_t) e->age * 1000;

    return ngx_http_aisearch_cache_lifetime(valid, &verdict, stretch);
}


ngx_msec_t
ngx_http_aisearch_cache_lifetime(struct ais_valid *valid,
    struct ais_verdict *verdict, double stretch)
{
    int64_t  lifetime;

    lifetime = ais_policy_lifetime(valid, verdict);

    /* what has ended is not asked for again anyway */

    if (stretch > 1 && verdict->has_state && ais_state_active(verdict->state)) {
        lifetime = (int64_t) ((double) lifetime * stretch);
    }

    return (ngx_msec_t) lifetime;
}
