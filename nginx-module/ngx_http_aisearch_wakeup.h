/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Wakes up workers that wait for an answer stored by another worker.
 */


#ifndef _NGX_HTTP_AISEARCH_WAKEUP_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_WAKEUP_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>


typedef void (*ngx_http_aisearch_wakeup_pt)(void);


#pragma GCC visibility push(hidden)


/* called in the master, for the workers of this cycle; errors are logged */
void ngx_http_aisearch_wakeup_create(ngx_cycle_t *cycle);

/* called in a worker: "handler" is called on each wakeup */
void ngx_http_aisearch_wakeup_listen(ngx_cycle_t *cycle,
    ngx_http_aisearch_wakeup_pt handler);

/* called in a worker: stops listening */
void ngx_http_aisearch_wakeup_done(void);

/* returns the bit of this worker; the 65th worker shares that of the first */
uint64_t ngx_http_aisearch_wakeup_bit(void);

/* wakes up workers, a mask of bits, except this one; errors are logged */
void ngx_http_aisearch_wakeup_send(uint64_t workers);


#pragma GCC visibility pop


#endif /* _NGX_HTTP_AISEARCH_WAKEUP_H_INCLUDED_ */
