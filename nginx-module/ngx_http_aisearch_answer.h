/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * What is asked of the API, its answer or why there is none, and an answer that
 * many requests share.
 */


#ifndef _NGX_HTTP_AISEARCH_ANSWER_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_ANSWER_H_INCLUDED_

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ais_client.h"
#include "ais_policy.h"
#include "ais_resource.h"

#include "ngx_http_aisearch_clock.h"


/* of the entity tag without its quotes: 64 bits in hexadecimal */
#define NGX_HTTP_AISEARCH_ETAG_LEN  16


/* what is asked for, within an account */

typedef struct {
    uint32_t                   hash;
    uint64_t                   account;   /* cache_id */
    ngx_str_t                  path;      /* of ais_resource_key() */
} ngx_http_aisearch_key_t;


/* what a request asks for; it consists of views into the request's memory */

typedef struct {
    struct ais_resource                resource;
    ngx_http_aisearch_key_t            key;
} ngx_http_aisearch_query_t;


/*
 * Where the verdict has a fault and may not be passed on, there is neither
 * status nor body.  "failure" is the fault for which a stale answer is served.
 */

typedef struct {
    struct ais_verdict         verdict;
    enum ais_fault             failure;
    ngx_uint_t                 status;
    ngx_str_t                  body;
    u_char                     etag[NGX_HTTP_AISEARCH_ETAG_LEN];
    ngx_http_aisearch_time_t   asked;
    ngx_http_aisearch_time_t   fetched;
    ngx_msec_t                 fetch_time;
    ngx_msec_t                 upstream_age; /* how old it was when it came */
    ngx_msec_t                 retry_after;  /* from fetched on, 0 for none */
} ngx_http_aisearch_answer_t;


/* what a stream sends of an answer */

typedef enum {
    NGX_HTTP_AISEARCH_EVENT_MESSAGE = 0,
    NGX_HTTP_AISEARCH_EVENT_END,       /* the last state, and that it is */
    NGX_HTTP_AISEARCH_EVENT_FAULT,
    NGX_HTTP_AISEARCH_EVENT_RECOVERED,
    NGX_HTTP_AISEARCH_EVENTS
} ngx_http_aisearch_event_e;


/*
 * In a pool of its own, which goes with the last request that refers to it.
 * Events are written once, when the first stream needs them.
 */

typedef struct {
    ngx_pool_t                *pool;
    ngx_uint_t                 refs;
    ngx_http_aisearch_answer_t answer;
    ngx_str_t                  events[NGX_HTTP_AISEARCH_EVENTS];
} ngx_http_aisearch_shared_answer_t;


#pragma GCC visibility push(hidden)


/* an empty one, with one reference, which is the caller's; NULL: no memory */
ngx_http_aisearch_shared_answer_t *ngx_http_aisearch_answer_create(void);

/* "answer" becomes a fault; "retry_after" in ms, 0 for none */
void ngx_http_aisearch_answer_fail(ngx_http_aisearch_answer_t *answer,
    enum ais_fault fault, ngx_msec_t retry_after);

/* "sa" becomes what the API answered; without memory, an internal fault */
void ngx_http_aisearch_answer_copy(ngx_http_aisearch_shared_answer_t *sa,
    const struct ais_response *response, struct ais_verdict *verdict);

/* a reference that goes with "pool" */
ngx_int_t ngx_http_aisearch_answer_share(ngx_http_aisearch_shared_answer_t *sa,
    ngx_pool_t *pool);

/* gives up the caller's reference; NULL is none */
void ngx_http_aisearch_answer_release(void *data);

/* event: of "sa", which it stays part of; NULL: no memory */
ngx_str_t *ngx_http_aisearch_event_text(ngx_http_aisearch_shared_answer_t *sa,
    ngx_http_aisearch_event_e event);

/* how old a response was when it came, in ms, as the upstream says */
ngx_msec_t ngx_http_aisearch_answer_upstream_age(
    const struct ais_response *response);


#pragma GCC visibility pop


static ngx_inline ngx_uint_t
ngx_http_aisearch_key_equal(ngx_http_aisearch_key_t *a,
    ngx_http_aisearch_key_t *b)
{
    return a->hash == b->hash
           && a->account == b->account
           && a->path.len == b->path.len
           && ngx_memcmp(a->path.data, b->path.data, a->path.len) == 0;
}


/* of the HTTP response to a client */

static ngx_inline ngx_uint_t
ngx_http_aisearch_answer_status(ngx_http_aisearch_answer_t *answer)
{
    return answer->verdict.pass
           ? answer->status
           : (ngx_uint_t) ais_policy_client_status(answer->verdict.fault);
}


/* how old it is, what it was when it came included */

static ngx_inline ngx_http_aisearch_time_t
ngx_http_aisearch_answer_age(ngx_http_aisearch_answer_t *answer)
{
    return ngx_http_aisearch_time_since(answer->fetched) + answer->upstream_age;
}


#endif /* _NGX_HTTP_AISEARCH_ANSWER_H_INCLUDED_ */
