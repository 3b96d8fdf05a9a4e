/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_POLICY_H
#define AIS_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "ais_answer.h"
#include "ais_resource.h"

/*
 * Policy decisions: what a response means, how long it stays fresh, and whether and when to retry. All functions are
 * pure and may be called from any thread or process. They use no clock, no random source and no I/O; the caller passes
 * in the time and random numbers. All times are in milliseconds.
 */

#pragma GCC visibility push(hidden)

/* Why a lookup has no good answer. The names are the classes of the errors-CLASS metrics and of $aisearch_error. */
enum ais_fault {
    AIS_FAULT_NONE,
    AIS_FAULT_CONNECT,      /* name resolution or connect failed, or the connection was lost before a response */
    AIS_FAULT_TLS,          /* the handshake or the verification failed */
    AIS_FAULT_TIMEOUT,      /* connect_timeout or timeout expired */
    AIS_FAULT_CREDENTIAL,   /* the API rejected the credential */
    AIS_FAULT_RATE_LIMITED, /* 429 */
    AIS_FAULT_SERVER,       /* 5xx, a redirect, or another unexpected status */
    AIS_FAULT_BODY,         /* the response is truncated, too large, not JSON, or not about what was requested */
    AIS_FAULT_REFUSED,      /* any other 4xx: the API refused the request; its body may be passed on */
    AIS_FAULT_BUDGET,       /* the budget had no call left, so no request was sent */
    AIS_FAULT_INTERNAL,     /* our own fault: out of memory, out of connections, shutting down */
    AIS_FAULTS,             /* the number of faults */
};

/* Returns the name as a constant string: "none", "connect", "tls", "timeout", "credential", "rate_limited", "server",
 * "body", "refused", "budget" or "internal". */
const char *ais_fault_name(enum ais_fault fault);

/* How a cache classifies an answer. */
enum ais_class {
    AIS_CLASS_ACTIVE, /* a queued or running job */
    AIS_CLASS_ENDED,  /* a job that has ended and never changes again */
    AIS_CLASS_LIST,   /* a list of jobs or of instances */
    AIS_CLASS_LOGS,
    AIS_CLASS_INSTANCE,  /* an instance, a namespace or a list of namespaces */
    AIS_CLASS_STATS,     /* the indexing statistics of an instance */
    AIS_CLASS_NOT_FOUND, /* the API's own 404 */
    AIS_CLASS_ERROR,     /* everything else */
    AIS_CLASSES,         /* the number of classes */
};

/* Returns whether the answer is a job, which has a state. */
static inline bool ais_class_is_job(enum ais_class class)
{
    return class == AIS_CLASS_ACTIVE || class == AIS_CLASS_ENDED;
}

/* Returns whether the requested resource exists. */
static inline bool ais_class_is_found(enum ais_class class)
{
    return class != AIS_CLASS_NOT_FOUND && class != AIS_CLASS_ERROR;
}

/* How long an answer of each class stays fresh, in ms. For an active job it is between active and active_max. */
struct ais_valid {
    int64_t active;
    int64_t active_max;
    int64_t ended;
    int64_t list;
    int64_t logs;
    int64_t instance;
    int64_t stats;
    int64_t not_found;
    int64_t error;
};

/* The defaults: active 4s to 30s, ended 24h, list 10s, logs 10s, instance 60s, stats 10s, not_found 10s, error 2s. */
extern const struct ais_valid ais_valid_default;

/* How long answers may be served, in ms. */
struct ais_freshness {
    struct ais_valid valid; /* as fresh */
    int64_t stale_updating; /* as stale after that, while the answer is being refreshed */
    int64_t stale_error;    /* as stale after that, if refreshing failed */
};

/* What a response means. */
struct ais_verdict {
    enum ais_fault fault;
    enum ais_class class;
    bool pass;      /* the body is the API's own envelope and may be passed on with its status */
    bool doubtful;  /* with AIS_FAULT_CREDENTIAL: the API sends the same error envelope for a missing permission */
    bool no_route;  /* the API does not know this path; it may know another form of it */
    bool has_state; /* state and age are set, to those of the job or of the most active job in a list */
    enum ais_state state;
    int64_t age; /* how long an active job had been running at the time of the response; 0 if unknown */
};

/*
 * Judges a response by its HTTP status and body.
 *
 * Two kinds of responses have no fault: a 200 with a valid envelope about the requested resource, and a 404 with an
 * error envelope (class NOT_FOUND), unless it says that the path does not exist. Only these replace a good answer in
 * a cache, and only these prove that the credential is accepted.
 *
 * Three statuses are judged whatever the body: 401 rejects the credential, 429 is the rate limit, and 421 is a server
 * fault, because it is about our connection, not about the request. Any other 4xx with an error envelope rejects the
 * credential, as ais_refusal_of() decides, or the request (AIS_FAULT_REFUSED); the latter may be passed on. A 5xx is a
 * server fault, and may be passed on if it has an error envelope. A 200 or 4xx with any other body is AIS_FAULT_BODY,
 * and any other status is a server fault. (Source: the API reference, errors.) If memory runs out while a body is
 * parsed, the fault is AIS_FAULT_INTERNAL, which says nothing about the API.
 *
 * now is the time of the response, in ms since the epoch. If there is a fault, *err describes it, without any
 * credential and with at most a few words of the body. err may be NULL.
 *
 * If answer is not NULL, *answer is set to the parsed body, or zeroed if the body was not parsed or not valid. The
 * caller frees it with ais_answer_free().
 */
struct ais_verdict ais_policy_judge(const struct ais_resource *res, int status, struct ais_str body, int64_t now,
                                    struct ais_answer *answer, struct ais_error *err);

/*
 * Returns how long the answer stays fresh, in ms from when the API gave it. The lifetime of an active job is a
 * hundredth of its age, but between active and active_max. The lifetime of a list of jobs is that of its most active
 * job, but at most list, which is also the lifetime of a list of instances. If the caller knows the job that logs
 * belong to, it sets has_state, state and age to those of the job: the logs of an active job then get its lifetime, but
 * at most logs, and the logs of an ended job get ended.
 */
int64_t ais_policy_lifetime(const struct ais_valid *valid, const struct ais_verdict *verdict);

/*
 * What a cache holds for one lookup: an answer, and the failure of a later fetch, if any. Ages are in ms and not
 * negative. age may be 0 if good is false, and failure_age may be 0 if failed is false.
 */
struct ais_cached {
    bool good;           /* there is an answer, and it has no fault */
    bool not_found;      /* the answer is the API's 404 */
    bool failed;         /* a later fetch failed, and that failure still applies */
    bool came;           /* the answer arrived while the caller was waiting */
    bool failed_since;   /* the failure occurred while the caller was waiting */
    int64_t age;         /* of the answer, from when the API gave it */
    int64_t lifetime;    /* of the answer; 0 if good is false */
    int64_t failure_age; /* from when the fetch failed */
    int64_t retry_after; /* of the failure: the pause that the API requested, in ms; 0: none */
};

/* What to serve. */
enum ais_serve {
    AIS_SERVE_NOTHING,
    AIS_SERVE_FRESH,
    AIS_SERVE_UPDATING, /* a stale answer, while it is being refreshed */
    AIS_SERVE_STALE,    /* a stale answer, because the API fails */
    AIS_SERVE_FAILED,   /* the failure, because there is nothing else */
};

struct ais_decision {
    enum ais_serve serve;
    bool fetch; /* a fetch is needed, unless one is under way */
    bool known; /* such a fetch refreshes a good answer that is not a 404 */
};

/*
 * Decides what to serve from a cache, and whether to fetch, by the table at the top of ngx_http_aisearch_cache.c. With
 * bypass, only an answer that arrived while the caller was waiting is served, unless the API has requested a pause.
 * With peek, no fetch follows.
 */
struct ais_decision ais_policy_decide(const struct ais_cached *cached, const struct ais_freshness *freshness,
                                      bool bypass, bool peek);

/*
 * Returns whether a cache stores the result of a fetch with this fault. Faults of our own (internal, budget) and of the
 * credential are not stored, because they say nothing about the requested resource.
 */
bool ais_policy_cacheable(enum ais_fault fault);

/*
 * Returns the factor by which the lifetimes of active jobs are stretched when this share (0.0 to 1.0) of the budget is
 * left: 1 down to half of the budget, then linearly up to 8, so that refreshes become rare before they stop.
 */
double ais_policy_stretch(double share);

/*
 * Returns for how many ms no call may be sent after a response with this status and Retry-After (in ms, negative if
 * absent). For a 429 it is Retry-After, or five minutes without one, which is how long the API blocks the user. For a
 * 503 it is Retry-After, but at most a minute, since only a part of the API may be affected. For any other status it
 * is 0.
 */
int64_t ais_policy_closed(int status, int64_t retry_after);

/*
 * Returns whether the same request may succeed if it is repeated soon over another connection. This is the case after a
 * connection fault, and after a status of 421, 500, 502, 503, 504 or 520 to 530 without Retry-After. Timeouts (the time
 * is used up), TLS faults, rejected credentials, rate limits, an exhausted budget and malformed bodies are not retried.
 *
 * fault is that of the transport; status is 0 if there was no response; retry_after is negative if absent.
 */
bool ais_policy_retry(enum ais_fault fault, int status, int64_t retry_after);

/*
 * Returns the pause in ms before a retry. attempt is 1 for the first one. The pause grows exponentially from 100 ms to
 * 5 s, with equal jitter: one half is fixed, the other is drawn with random, which must be uniform over its whole
 * range.
 */
int64_t ais_policy_backoff(unsigned attempt, uint32_t random);

/*
 * Parses a Retry-After header: seconds or an HTTP-date (RFC 9110, section 10.2.3). now is in ms since the epoch.
 * Returns the pause in ms, from 0 to a day, or -1 if the value is malformed.
 */
int64_t ais_policy_retry_after(struct ais_str value, int64_t now);

/* Returns the HTTP status for a client if there is no answer to pass on: 504 for a timeout, 503 for a rate limit, an
 * exhausted budget or an internal fault, 502 for any other fault. */
int ais_policy_client_status(enum ais_fault fault);

/* Returns the error message for that client, a constant string that reveals no internal details. */
const char *ais_policy_client_text(enum ais_fault fault);

#pragma GCC visibility pop

#endif
