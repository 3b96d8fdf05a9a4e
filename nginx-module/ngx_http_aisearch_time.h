/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * 64-bit times.  With a 32-bit ngx_msec_t, time differences turn negative after
 * 25 days, and a cache entry may be older than that.
 */


#ifndef _NGX_HTTP_AISEARCH_TIME_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_TIME_H_INCLUDED_


#include <stdint.h>


/* ms on the clock of ngx_current_msec, which is the same if it has 64 bits */

typedef uint64_t  ngx_http_aisearch_time_t;
typedef int64_t   ngx_http_aisearch_time_diff_t;


/* returns the time nearest to "other" whose lowest 32 bits are "low" */

static inline ngx_http_aisearch_time_t
ngx_http_aisearch_time_near(ngx_http_aisearch_time_t other, uint32_t low)
{
    return other
           + (ngx_http_aisearch_time_t) (ngx_http_aisearch_time_diff_t)
             (int32_t) (low - (uint32_t) other);
}


#endif /* _NGX_HTTP_AISEARCH_TIME_H_INCLUDED_ */
