/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The monotonic clock of a worker: the cached time of the current event loop
 * iteration.  Where the cached time would be too early, for example at the end
 * of a call, ais_clock() returns the exact time.
 */


#ifndef _NGX_HTTP_AISEARCH_CLOCK_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_CLOCK_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ais_clock.h"
#include "ngx_http_aisearch_time.h"


static ngx_inline ngx_http_aisearch_time_t
ngx_http_aisearch_now(void)
{
#if (NGX_PTR_SIZE == 8)
    return ngx_current_msec;
#else
    return ngx_http_aisearch_time_near((ngx_http_aisearch_time_t) ais_clock(),
                                       (uint32_t) ngx_current_msec);
#endif
}


/*
 * Returns the ms elapsed since "then".  The cached time of a busy worker lags
 * behind, so an event in another worker may appear to be in the future.
 */

static ngx_inline ngx_http_aisearch_time_t
ngx_http_aisearch_time_since(ngx_http_aisearch_time_t then)
{
    ngx_http_aisearch_time_diff_t  ms;

    ms = (ngx_http_aisearch_time_diff_t) (ngx_http_aisearch_now() - then);

    return ms > 0 ? (ngx_http_aisearch_time_t) ms : 0;
}


/* returns 1 at most once a minute */

static ngx_inline ngx_uint_t
ngx_http_aisearch_may_warn(ngx_msec_t *warned)
{
    if (*warned && ngx_current_msec - *warned < 60 * 1000) {
        return 0;
    }

    *warned = ngx_current_msec ? ngx_current_msec : 1;

    return 1;
}


#endif /* _NGX_HTTP_AISEARCH_CLOCK_H_INCLUDED_ */
