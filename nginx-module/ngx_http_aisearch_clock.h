/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The clock of a worker, which nobody sets: the time of the present turn of
 * its event loop.  Where that is too early, as for a call that ends in this
 * turn, ais_clock() tells the exact one.
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
 * How long ago that was, in ms.  The clock of a busy worker stands still, so
 * that what another worker did may lie in its future.
 */

static ngx_inline ngx_http_aisearch_time_t
ngx_http_aisearch_time_since(ngx_http_aisearch_time_t then)
{
    ngx_http_aisearch_time_diff_t  ms;

    ms = (ngx_http_aisearch_time_diff_t) (ngx_http_aisearch_now() - then);

    return ms > 0 ? (ngx_http_aisearch_time_t) ms : 0;
}


/* once a minute */

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
