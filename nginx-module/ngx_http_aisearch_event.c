/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The text of events for an answer or a failure:
 *
 *     MESSAGE     id: the entity tag, data: the body
 *     END         the message above, then the same as "event: end": the job has
 *                 ended; if the resource is missing, only the latter, no id
 *     FAULT       "event: fault", data: an error envelope, no id
 *     RECOVERED   "event: recovered", data: the last known body, no id
 */


#include "ngx_http_aisearch_answer.h"
#include "ngx_http_aisearch_conf.h"

#include "ais_answer.h"
#include "ais_event_stream.h"


static size_t ngx_http_aisearch_event_write(char *out,
    ngx_http_aisearch_answer_t *answer, ngx_http_aisearch_event_e event);


ngx_str_t *
ngx_http_aisearch_event_text(ngx_http_aisearch_shared_answer_t *sa,
    ngx_http_aisearch_event_e event)
{
    u_char     *p;
    ngx_str_t  *text;

    text = &sa->events[event];

    if (text->data) {
        return text;
    }

    text->len = ngx_http_aisearch_event_write(NULL, &sa->answer, event);

    p = ngx_pnalloc(sa->pool, text->len);
    if (p == NULL) {
        return NULL;
    }

    (void) ngx_http_aisearch_event_write((char *) p, &sa->answer, event);

    text->data = p;

    return text;
}


/* returns the length; if "out" is NULL, writes nothing */

static size_t
ngx_http_aisearch_event_write(char *out, ngx_http_aisearch_answer_t *answer,
    ngx_http_aisearch_event_e event)
{
    size_t            len;
    char              envelope[AIS_ANSWER_ERROR_MAX];
    enum ais_fault    fault;
    struct ais_event  e;

    ngx_memzero(&e, sizeof(struct ais_event));

    e.data = ngx_http_aisearch_str(&answer->body);

    if (event == NGX_HTTP_AISEARCH_EVENT_FAULT) {
        fault = answer->verdict.fault;

        e.type = AIS_STR("fault");
        e.data.data = envelope;
        e.data.len = ais_answer_write_error(envelope,
                                            ais_policy_client_status(fault),
                                            ais_policy_client_text(fault));

    } else if (event == NGX_HTTP_AISEARCH_EVENT_RECOVERED) {
        e.type = AIS_STR("recovered");

    } else if (answer->status == NGX_HTTP_OK) {
        e.id.data = (char *) answer->etag;
        e.id.len = NGX_HTTP_AISEARCH_ETAG_LEN;
    }

    len = 0;

    if (event != NGX_HTTP_AISEARCH_EVENT_END || e.id.data) {
        len = ais_event_write(out, &e);
    }

    if (event == NGX_HTTP_AISEARCH_EVENT_END) {
        e.type = AIS_STR("end");
        len += ais_event_write(out ? out + len : NULL, &e);
    }

    return len;
}
