/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_RESOURCE_H
#define AIS_RESOURCE_H

#include <stddef.h>

#include "ais_str.h"

/*
 * Which job, list of jobs, log, instance, list of instances, statistics or namespace is meant. One grammar, checked
 * part by part:
 *
 *     resource  = ["accounts/" account_id "/"] (ai_search | autorag)
 *     ai_search = ["ai-search/"] (namespaces | ["namespaces/" name "/"] instances)
 *     namespaces = "namespaces" ["/" name]
 *     instances = "instances" ["/" id ["/stats" | jobs]]
 *     autorag   = ["autorag/"] "rags/" id jobs
 *     jobs      = "/jobs" ["/" job_id ["/logs"]]
 *
 *     account_id  1 to 32 of [0-9a-f]
 *     name        1 to 28, ^[a-z0-9]([a-z0-9-]{0,26}[a-z0-9])?$
 *     id          1 to 64, ^[a-z0-9_]+(?:-[a-z0-9_]+)*$; below rags/ at most 32
 *     job_id      1 to 64 of [A-Za-z0-9_-]
 *
 * (Source: the API reference of Cloudflare AI Search.) Nothing that did not pass it is ever put into a URL: the API
 * path is built from the parts, never from the text that was parsed.
 *
 * All functions are pure; they may be called from any thread or process.
 */

#pragma GCC visibility push(hidden)

/* The forms in which the API has the same resources. */
enum ais_generation {
    AIS_PLAIN,      /* /ai-search/instances/{id}: the instance of that name in the namespace "default" */
    AIS_NAMESPACED, /* /ai-search/namespaces/{name}/instances/{id} */
    AIS_AUTORAG,    /* /autorag/rags/{id} */
};

enum ais_kind {
    AIS_JOB,
    AIS_LIST, /* of jobs */
    AIS_LOGS,
    AIS_INSTANCES,  /* all of the account, or of the namespace */
    AIS_INSTANCE,   /* what is known of one */
    AIS_STATS,      /* what is indexed in an instance */
    AIS_NAMESPACES, /* all of the account */
    AIS_NAMESPACE,
};

/* The namespace of plain instances. */
#define AIS_DEFAULT_NAMESPACE AIS_STR("default")

/* page or per_page that was not given. */
#define AIS_PAGE_NONE (-1)

/* What the API takes for a per_page that was not given, of whatever list. (Source: its reference.) */
#define AIS_PER_PAGE_DEFAULT 20

/* The most bytes of a filter's value, as it is meant, without percent-encoding. */
#define AIS_FILTER_MAX 64

enum ais_order {
    AIS_ORDER_NONE, /* not given */
    AIS_ORDER_ASC,
    AIS_ORDER_DESC,
};

/* The strings are views into the text that was parsed: it has to outlive the resource. */
struct ais_resource {
    enum ais_generation generation;
    enum ais_kind kind;
    struct ais_str account;   /* empty where the resource names none */
    struct ais_str namespace; /* empty outside AIS_NAMESPACED */
    struct ais_str instance;  /* empty for AIS_INSTANCES and namespaces */
    struct ais_str job;       /* empty unless it is a job or its log */
    struct ais_str tail;      /* what tells it from all others of the account: "instances/ID/jobs/JOB" */

    /* The query. */
    int page;     /* 1 to 999999999, or AIS_PAGE_NONE */
    int per_page; /* 0 to 50; of logs to 500; of instances and namespaces 1 to 100; or AIS_PAGE_NONE */

    /* Filters: of instances all of them, of namespaces search alone. Views are of what was given, percent-encoded. */
    struct ais_str search;
    struct ais_str hostname;
    struct ais_str in_namespace; /* of the account's list */
    bool by_created_at;          /* order_by=created_at */
    enum ais_order order;        /* order_by_direction */
};

enum ais_resource_error {
    AIS_RESOURCE_OK,
    AIS_RESOURCE_BAD_PATH, /* not of the grammar's form */
    AIS_RESOURCE_BAD_ACCOUNT,
    AIS_RESOURCE_BAD_NAMESPACE,
    AIS_RESOURCE_BAD_INSTANCE,
    AIS_RESOURCE_BAD_JOB,
    AIS_RESOURCE_BAD_PAGE,
    AIS_RESOURCE_BAD_PER_PAGE,
    AIS_RESOURCE_BAD_FILTER,
    AIS_RESOURCE_BAD_ORDER,
};

/* The longest API path that ais_resource_path() makes, its NUL included. */
#define AIS_RESOURCE_PATH_MAX 704

/*
 * Parses a decoded path (no leading slash) and an undecoded query string (without its "?"; may be empty).
 *
 * Of the query count the arguments that the API has for this kind of resource: page and per_page for all lists; for
 * instances also search, hostname, order_by, order_by_direction and, without a namespace in the path, namespace; for
 * namespaces search. Any other argument is dropped. Given twice, empty, or with a value that the API does not have, an
 * argument is refused; so is a filter that is longer than AIS_FILTER_MAX, not UTF-8, or has a control character in it.
 *
 * Fills *res and returns AIS_RESOURCE_OK, or says which part is wrong; *res is then undefined.
 */
enum ais_resource_error ais_resource_parse(struct ais_resource *res, struct ais_str path, struct ais_str query);

/* What is wrong, as a sentence for the client; a constant string. */
const char *ais_resource_error_text(enum ais_resource_error error);

/*
 * Writes the API path below the base URL, "/accounts/{account_id}/...", of a list with its query, and a NUL. The same
 * resource in the same form has the same path always, however it was spelled: per_page is always in it, and page unless
 * it is the first one. account, which has passed ais_account_id_valid(), is used where the resource names none; where
 * both are given they must be equal (the caller checks).
 *
 * buf has AIS_RESOURCE_PATH_MAX bytes. Returns the length without the NUL.
 */
size_t ais_resource_path(const struct ais_resource *res, struct ais_str account, char *buf);

/*
 * What caches know a parsed resource by, within its account: the same text for all its spellings, and for both forms of
 * an instance of the namespace "default". The path ends with it. It is the tail, where it lies, or of a list, a copy in
 * buf, which has AIS_RESOURCE_PATH_MAX bytes, with the query behind: a list's key has a '?' in it, and no other. At
 * least 9 bytes long; not NUL-terminated.
 */
struct ais_str ais_resource_key(const struct ais_resource *res, char *buf);

/*
 * Turns a resource that is about a plain instance into the same one in the namespace "default", and returns true;
 * false, and nothing changes, for all others.
 */
bool ais_resource_to_namespaced(struct ais_resource *res);

/* Of the ids that the API gives. Shorter ones pass, too: the API may tell. */
#define AIS_ACCOUNT_ID_LEN 32

/* The grammar of single parts, for configuration files. */
bool ais_account_id_valid(struct ais_str s);
bool ais_namespace_valid(struct ais_str s);
bool ais_instance_valid(struct ais_str s, enum ais_generation generation);
bool ais_job_id_valid(struct ais_str s);

#pragma GCC visibility pop

#endif
