/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Wakeups: a worker that has stored an answer notifies the workers that wait
 * for it.
 */


#ifndef _NGX_HTTP_AISEARCH_WAKEUP_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_WAKEUP_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>


typedef void (*ngx_http_aisearch_wakeup_pt)(void);


#pragma GCC visibility push(hidden)


/* called in the master, for the workers of this cycle */
void ngx_http_aisearch_wakeup_create(ngx_cycle_t *cycle);

/* called in a worker; "handler" is called when another worker wakes it up */
void ngx_http_aisearch_wakeup_listen(ngx_cycle_t *cycle,
    ngx_http_aisearch_wakeup_pt handler);
void ngx_http_aisearch_wakeup_done(void);

/* returns the bit of this worker; workers 64 apart share a bit */
uint64_t ngx_http_aisearch_wakeup_bit(void);

/* wakes up the workers whose bits are set */
void ngx_http_aisearch_wakeup_send(uint64_t workers);


#pragma GCC visibility pop


#endif /* _NGX_HTTP_AISEARCH_WAKEUP_H_INCLUDED_ */
