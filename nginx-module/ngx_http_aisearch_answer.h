/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * What a request asks the API for, the answer or the reason why there is none,
 * and an answer shared by many requests.
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


/* an entity tag without quotes: 64 bits in hexadecimal */
#define NGX_HTTP_AISEARCH_ETAG_LEN  16


/* the key of an entry: an account and a path within it */

typedef struct {
    uint32_t                   hash;
    uint64_t                   account;   /* cache_id */
    ngx_str_t                  path;      /* of ais_resource_key() */
} ngx_http_aisearch_key_t;


/* a resource and its key; both point into the memory of the request */

typedef struct {
    struct ais_resource                resource;
    ngx_http_aisearch_key_t            key;
} ngx_http_aisearch_query_t;


/*
 * If the verdict has a fault and is not to be passed on, status and body are
 * not set.  "failure" is the fault because of which a stale answer is served.
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
    ngx_msec_t                 upstream_age; /* age on arrival */
    ngx_msec_t                 retry_after;  /* after "fetched"; 0: none */
} ngx_http_aisearch_answer_t;


/* events that a stream sends */

typedef enum {
    NGX_HTTP_AISEARCH_EVENT_MESSAGE = 0,
    NGX_HTTP_AISEARCH_EVENT_END,       /* the final state */
    NGX_HTTP_AISEARCH_EVENT_FAULT,
    NGX_HTTP_AISEARCH_EVENT_RECOVERED,
    NGX_HTTP_AISEARCH_EVENTS
} ngx_http_aisearch_event_e;


/*
 * Lives in its own pool, which is destroyed with the last reference.  The text
 * of an event is created when the first stream needs it.
 */

typedef struct {
    ngx_pool_t                *pool;
    ngx_uint_t                 refs;
    ngx_http_aisearch_answer_t answer;
    ngx_str_t                  events[NGX_HTTP_AISEARCH_EVENTS];
} ngx_http_aisearch_shared_answer_t;


#pragma GCC visibility push(hidden)


/* returns an empty answer, the caller owns its reference; NULL: no memory */
ngx_http_aisearch_shared_answer_t *ngx_http_aisearch_answer_create(void);

/* turns "answer" into a fault; "retry_after" is in ms, 0: none */
void ngx_http_aisearch_answer_fail(ngx_http_aisearch_answer_t *answer,
    enum ais_fault fault, ngx_msec_t retry_after);

/* copies the API's response to "sa"; sets an internal fault if no memory */
void ngx_http_aisearch_answer_copy(ngx_http_aisearch_shared_answer_t *sa,
    const struct ais_response *response, struct ais_verdict *verdict);

/* takes a reference that is released with "pool"; NGX_ERROR: no memory */
ngx_int_t ngx_http_aisearch_answer_share(ngx_http_aisearch_shared_answer_t *sa,
    ngx_pool_t *pool);

/* releases a reference; "data" is a shared answer, or NULL */
void ngx_http_aisearch_answer_release(void *data);

/* event: returns the text, which belongs to "sa"; NULL: no memory */
ngx_str_t *ngx_http_aisearch_event_text(ngx_http_aisearch_shared_answer_t *sa,
    ngx_http_aisearch_event_e event);

/* returns the age of a response on arrival in ms, from its headers */
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


/* returns the status code of the response to the client */

static ngx_inline ngx_uint_t
ngx_http_aisearch_answer_status(ngx_http_aisearch_answer_t *answer)
{
    return answer->verdict.pass
           ? answer->status
           : (ngx_uint_t) ais_policy_client_status(answer->verdict.fault);
}


/* returns the age in ms, including the age on arrival */

static ngx_inline ngx_http_aisearch_time_t
ngx_http_aisearch_answer_age(ngx_http_aisearch_answer_t *answer)
{
    return ngx_http_aisearch_time_since(answer->fetched) + answer->upstream_age;
}


#endif /* _NGX_HTTP_AISEARCH_ANSWER_H_INCLUDED_ */
