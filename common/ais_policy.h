/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_POLICY_H
#define AIS_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "ais_answer.h"
#include "ais_resource.h"

/*
 * The decisions, as pure functions: what an HTTP answer is worth, how long it stays fresh, whether to ask again and
 * after how long. No clock, no random source, no I/O: the caller brings them. All times are milliseconds.
 */

#pragma GCC visibility push(hidden)

/* Why a look-up has no good answer: the classes of the metrics errors-CLASS and of $aisearch_error. */
enum ais_fault {
    AIS_FAULT_NONE,
    AIS_FAULT_CONNECT,      /* DNS, connect, or the connection was lost before an answer */
    AIS_FAULT_TLS,          /* handshake or verification */
    AIS_FAULT_TIMEOUT,      /* connect_timeout or timeout passed */
    AIS_FAULT_CREDENTIAL,   /* the API refuses the credential */
    AIS_FAULT_RATE_LIMITED, /* 429 */
    AIS_FAULT_SERVER,       /* 5xx, a redirect, or another status that is no answer */
    AIS_FAULT_BODY,         /* an answer that is cut short, too large, not JSON, or not what was asked for */
    AIS_FAULT_REFUSED,      /* any other 4xx of the API: what was asked for, or how; its own words may be passed on */
    AIS_FAULT_BUDGET,       /* no call was to be had, so none was sent */
    AIS_FAULT_INTERNAL,     /* ours: out of memory, out of connections, shutting down */
    AIS_FAULTS,             /* how many there are */
};

/* "none", "connect", "tls", "timeout", "credential", "rate_limited", "server", "body", "refused", "budget", "internal".
 */
const char *ais_fault_name(enum ais_fault fault);

/* What an answer is to a cache. */
enum ais_class {
    AIS_CLASS_ACTIVE, /* a job that is queued or running */
    AIS_CLASS_ENDED,  /* a job that has ended: it never changes again */
    AIS_CLASS_LIST,   /* of jobs, or of instances */
    AIS_CLASS_LOGS,
    AIS_CLASS_INSTANCE,  /* of one instance, of namespaces */
    AIS_CLASS_STATS,     /* what is indexed */
    AIS_CLASS_NOT_FOUND, /* the API's own 404 */
    AIS_CLASS_ERROR,     /* everything else */
    AIS_CLASSES,         /* how many there are */
};

/* Of a job: it has a state. */
static inline bool ais_class_is_job(enum ais_class class)
{
    return class == AIS_CLASS_ACTIVE || class == AIS_CLASS_ENDED;
}

/* What was asked for is there. */
static inline bool ais_class_is_found(enum ais_class class)
{
    return class != AIS_CLASS_NOT_FOUND && class != AIS_CLASS_ERROR;
}

/* How long an answer of each class stays fresh; an active job's from active to active_max. */
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

/* The lifetimes where the operator gives none: active 4s to 30s, ended 24h, list 10s, logs 10s, instance 60s, stats
 * 10s, not_found 10s, error 2s. */
extern const struct ais_valid ais_valid_default;

/* How long answers are good for: fresh, and then stale, while they are fetched again, or where that fails. */
struct ais_freshness {
    struct ais_valid valid;
    int64_t stale_updating;
    int64_t stale_error;
};

/* What is decided about one answer. */
struct ais_verdict {
    enum ais_fault fault;
    enum ais_class class;
    bool pass;      /* the body is the API's own envelope and may be passed on, with its status */
    bool doubtful;  /* of AIS_FAULT_CREDENTIAL: the API says the same where a permission is missing; has an envelope */
    bool no_route;  /* the API has no such path: it may have another form of it */
    bool has_state; /* state and age are those of the job, or of the most active job of a list */
    enum ais_state state;
    int64_t age; /* for an active job: how long it had been running when it was answered; 0 where that is unknown */
};

/*
 * Judges an answer by its HTTP status and its body.
 *
 * 200 with the right envelope is an answer, where it is about what was asked for; so is a 404 with an error envelope
 * (class NOT_FOUND), unless it says that there is no such path. Only these two have no fault: only they take the place
 * of an answer that was good, and only they show that a credential is accepted. Any other 4xx is a refusal: of the
 * credential, as ais_refusal_of() tells, and for 401 whatever the body; of the rate limit (429); else of the look-up
 * (AIS_FAULT_REFUSED), which may be passed on where it has an error envelope. But 421 is a fault of the server: it is
 * about our connection, not about the request. 5xx with an error envelope is a server
 * fault that may be passed on; anything else is a fault. (Source: the API reference, errors.) For want of memory the
 * fault is AIS_FAULT_INTERNAL, of whatever body: it says nothing about the API.
 *
 * now is the time of the answer, ms since the epoch. Where fault is not AIS_FAULT_NONE, *err says why, without a
 * credential in it and without more than a few words of the body; err may be NULL.
 *
 * answer may be NULL. Else *answer becomes what the body was parsed to, the caller's to free with ais_answer_free():
 * all zero where it was not looked at, or could not be read.
 */
struct ais_verdict ais_policy_judge(const struct ais_resource *res, int status, struct ais_str body, int64_t now,
                                    struct ais_answer *answer, struct ais_error *err);

/*
 * How long the answer stays fresh from the moment it was answered. An active job's lifetime is a hundredth of its age,
 * within active and active_max. A list is as fresh as its most active job, and at most list, which is what a list of
 * instances always gets. Logs, too, where the caller knows their job and has set has_state, state and age to the job's;
 * those of an ended job last as it does.
 */
int64_t ais_policy_lifetime(const struct ais_valid *valid, const struct ais_verdict *verdict);

/*
 * What a cache holds of one look-up: an answer, and the failure to get a later one, if any. Ages are not negative. An
 * age that no rule asks for may be left out: of an answer that is not good, of a failure that does not count.
 */
struct ais_cached {
    bool good;           /* the answer has no fault */
    bool not_found;      /* it is the API's 404 */
    bool failed;         /* a later one could not be had, and what that says still holds */
    bool came;           /* the answer came while the caller waited for one */
    bool failed_since;   /* the failure did */
    int64_t age;         /* of the answer, from when the API gave it */
    int64_t lifetime;    /* how long it is fresh; 0 for one that is not good */
    int64_t failure_age;
    int64_t retry_after; /* of the failure: when the API wants to be asked again; 0: it did not say */
};

/* What to answer with. */
enum ais_serve {
    AIS_SERVE_NOTHING,
    AIS_SERVE_FRESH,
    AIS_SERVE_UPDATING, /* stale, while it is fetched again */
    AIS_SERVE_STALE,    /* stale, since the API fails */
    AIS_SERVE_FAILED,   /* the failure: there is nothing else */
};

struct ais_decision {
    enum ais_serve serve;
    bool fetch; /* somebody is to fetch, if nobody does yet */
    bool known; /* of a fetch: it keeps fresh what was good, and is more than a 404 */
};

/*
 * What a request gets of what is cached, and whether that is fetched again, by the table at the head of
 * ngx_http_aisearch_cache.c. bypass: only what comes while the caller waits will do. peek: nobody is going to fetch.
 */
struct ais_decision ais_policy_decide(const struct ais_cached *cached, const struct ais_freshness *freshness,
                                      bool bypass, bool peek);

/*
 * Whether a cache remembers what came of a fetch. It does not remember a fault that is ours or the credential's: they
 * say nothing about what was asked for.
 */
bool ais_policy_cacheable(enum ais_fault fault);

/*
 * By how much the lifetimes of active jobs are stretched when only this share (0.0 to 1.0) of the budget for calls is
 * left: not at all down to a half, then more and more, up to 8 times, so that refreshes become rare before they stop.
 */
double ais_policy_stretch(double share);

/*
 * For how long no call at all is to be made after an answer with this status and Retry-After (negative: none): after a
 * 429 as long as that says, and without one for five minutes, which is how long the API stays closed; after a 503 as
 * long as that says, but no longer than a minute, since it may be about less than all; else 0.
 */
int64_t ais_policy_closed(int status, int64_t retry_after);

/*
 * Whether the same request may succeed when it is sent again at once, by another connection: one that failed, and 421,
 * 500, 502, 503, 504 and 520 to 530 unless the server said when to come back. Never a timeout (the time is spent), TLS,
 * a credential, a rate limit, a spent budget or a malformed body.
 *
 * fault is the transport's own verdict; status is 0 where no answer came; retry_after is negative where there was none.
 */
bool ais_policy_retry(enum ais_fault fault, int status, int64_t retry_after);

/*
 * The pause before retry number attempt (1 for the first): exponential from 100 ms to 5 s, with equal jitter: half of
 * it is fixed, half is drawn by random, uniform over its whole range.
 */
int64_t ais_policy_backoff(unsigned attempt, uint32_t random);

/*
 * Reads a Retry-After header (RFC 9110, section 10.2.3: seconds, or an HTTP-date) as the pause from now (ms since the
 * epoch). Never negative, at most a day. -1 for nonsense.
 */
int64_t ais_policy_retry_after(struct ais_str value, int64_t now);

/* The status that a client gets for a fault with no answer to pass on: 502, 503 (rate limit, budget, shutdown) or
 * 504 (timeout). */
int ais_policy_client_status(enum ais_fault fault);

/* What to tell that client, in a few words that give nothing away; a constant string. */
const char *ais_policy_client_text(enum ais_fault fault);

#pragma GCC visibility pop

#endif
