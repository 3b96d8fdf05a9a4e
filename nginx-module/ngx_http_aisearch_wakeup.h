/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * How a worker that has stored an answer wakes those that wait for it.
 */


#ifndef _NGX_HTTP_AISEARCH_WAKEUP_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_WAKEUP_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>


typedef void (*ngx_http_aisearch_wakeup_pt)(void);


#pragma GCC visibility push(hidden)


/* in the master, for the workers of this cycle */
void ngx_http_aisearch_wakeup_create(ngx_cycle_t *cycle);

/* in a worker: "handler" is called when another has woken it */
void ngx_http_aisearch_wakeup_listen(ngx_cycle_t *cycle,
    ngx_http_aisearch_wakeup_pt handler);
void ngx_http_aisearch_wakeup_done(void);

/* a bit for each worker, the 65th has that of the first again */
uint64_t ngx_http_aisearch_wakeup_bit(void);

void ngx_http_aisearch_wakeup_send(uint64_t workers);


#pragma GCC visibility pop


#endif /* _NGX_HTTP_AISEARCH_WAKEUP_H_INCLUDED_ */
