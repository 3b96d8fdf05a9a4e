/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Times of which the difference does not turn negative after 25 days where
 * ngx_msec_t has 32 bits: an entry of the cache may be older.
 */


#ifndef _NGX_HTTP_AISEARCH_TIME_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_TIME_H_INCLUDED_


#include <stdint.h>


/* ms, on the clock of ngx_current_msec; with 64 bits, they are the same */

typedef uint64_t  ngx_http_aisearch_time_t;
typedef int64_t   ngx_http_aisearch_time_diff_t;


/* the time with these lowest 32 bits that is nearest to another one */

static inline ngx_http_aisearch_time_t
ngx_http_aisearch_time_near(ngx_http_aisearch_time_t other, uint32_t low)
{
    return other
           + (ngx_http_aisearch_time_t) (ngx_http_aisearch_time_diff_t)
             (int32_t) (low - (uint32_t) other);
}


#endif /* _NGX_HTTP_AISEARCH_TIME_H_INCLUDED_ */
