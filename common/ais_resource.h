/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_RESOURCE_H
#define AIS_RESOURCE_H

#include <stddef.h>

#include "ais_str.h"

/*
 * Resources: a job, list of jobs, log, instance, list of instances, statistics, namespace or list of namespaces. They
 * are parsed by this grammar, and every part is checked:
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
 * (Source: the API reference of Cloudflare AI Search.) API paths are built from the checked parts, never from the text
 * that was parsed, so unchecked text cannot get into a URL.
 *
 * All functions are pure and may be called from any thread or process.
 */

#pragma GCC visibility push(hidden)

/* The forms of the API's paths. */
enum ais_generation {
    AIS_PLAIN,      /* /ai-search/instances/{id}: the instance of that name in the namespace "default" */
    AIS_NAMESPACED, /* /ai-search/namespaces/{name}/instances/{id} */
    AIS_AUTORAG,    /* /autorag/rags/{id} */
};

enum ais_kind {
    AIS_JOB,
    AIS_LIST, /* the jobs of an instance */
    AIS_LOGS,
    AIS_INSTANCES,  /* the instances of the account or of a namespace */
    AIS_INSTANCE,   /* an instance */
    AIS_STATS,      /* the indexing statistics of an instance */
    AIS_NAMESPACES, /* the namespaces of the account */
    AIS_NAMESPACE,
};

/* The namespace of plain instances. */
#define AIS_DEFAULT_NAMESPACE AIS_STR("default")

/* The value of page or per_page if it is not given. */
#define AIS_PAGE_NONE (-1)

/* The API's default for per_page, for all lists. (Source: the API reference.) */
#define AIS_PER_PAGE_DEFAULT 20

/* The maximum length of a filter's value in bytes, after percent-decoding. */
#define AIS_FILTER_MAX 64

enum ais_order {
    AIS_ORDER_NONE, /* not given */
    AIS_ORDER_ASC,
    AIS_ORDER_DESC,
};

/* The strings point into the parsed text, which must outlive the resource. */
struct ais_resource {
    enum ais_generation generation;
    enum ais_kind kind;
    struct ais_str account;   /* empty if the path names none */
    struct ais_str namespace; /* AIS_NAMESPACED only, and empty for AIS_NAMESPACES */
    struct ais_str instance;  /* empty for AIS_INSTANCES, AIS_NAMESPACES and AIS_NAMESPACE */
    struct ais_str job;       /* AIS_JOB and AIS_LOGS only */
    struct ais_str tail;      /* the part of the path that identifies it in the account: "instances/ID/jobs/JOB" */

    /* The query. */
    int page;     /* 1 to 999999999, or AIS_PAGE_NONE */
    int per_page; /* jobs 0 to 50, logs 0 to 500, instances and namespaces 1 to 100, or AIS_PAGE_NONE */

    /* Filters, for AIS_INSTANCES; search also for AIS_NAMESPACES. The strings are percent-encoded, as given. */
    struct ais_str search;
    struct ais_str hostname;
    struct ais_str in_namespace; /* namespace=; only without a namespace in the path */
    bool by_created_at;          /* order_by=created_at */
    enum ais_order order;        /* order_by_direction */
};

enum ais_resource_error {
    AIS_RESOURCE_OK,
    AIS_RESOURCE_BAD_PATH, /* the grammar has no such path */
    AIS_RESOURCE_BAD_ACCOUNT,
    AIS_RESOURCE_BAD_NAMESPACE,
    AIS_RESOURCE_BAD_INSTANCE,
    AIS_RESOURCE_BAD_JOB,
    AIS_RESOURCE_BAD_PAGE,
    AIS_RESOURCE_BAD_PER_PAGE,
    AIS_RESOURCE_BAD_FILTER,
    AIS_RESOURCE_BAD_ORDER,
};

/* The size of the longest path that ais_resource_path() writes, including the NUL. */
#define AIS_RESOURCE_PATH_MAX 704

/*
 * Parses a decoded path without a leading slash, and an undecoded query string without the "?", which may be empty.
 *
 * The query may contain the arguments that the API supports for this kind of resource: page and per_page for all lists;
 * for instances also search, hostname, order_by, order_by_direction and, without a namespace in the path, namespace;
 * for namespaces also search. Other arguments are ignored. An argument is rejected if it is given twice, is empty or
 * has a value that the API does not support; so is a filter that is longer than AIS_FILTER_MAX, is not UTF-8 or
 * contains a control character.
 *
 * Returns AIS_RESOURCE_OK and fills *res, or returns which part is wrong; *res is then undefined.
 */
enum ais_resource_error ais_resource_parse(struct ais_resource *res, struct ais_str path, struct ais_str query);

/* Returns the error message for the client, a constant string. */
const char *ais_resource_error_text(enum ais_resource_error error);

/*
 * Writes the API path below the base URL, "/accounts/{account_id}/...", with the query of a list, and a NUL. All
 * spellings of a resource in the same form have the same path: per_page is always included, and page unless it is 1.
 * account is used if the resource does not name one; it must be valid by ais_account_id_valid(). If both are given they
 * must be equal, which the caller checks.
 *
 * buf must have AIS_RESOURCE_PATH_MAX bytes. Returns the length without the NUL.
 */
size_t ais_resource_path(const struct ais_resource *res, struct ais_str account, char *buf);

/*
 * Returns the cache key of a resource within its account. All spellings of a resource have the same key, and so have
 * both forms of an instance in the namespace "default". The API path ends with the key. For a list, the key is written
 * to buf, which must have AIS_RESOURCE_PATH_MAX bytes, and includes the query, so it contains a '?'; any other key is
 * the tail of the resource, and contains none. It is at least 9 bytes long and not NUL-terminated.
 */
struct ais_str ais_resource_key(const struct ais_resource *res, char *buf);

/*
 * Converts a resource of a plain instance to its form in the namespace "default" and returns true. For any other
 * resource, changes nothing and returns false.
 */
bool ais_resource_to_namespaced(struct ais_resource *res);

/* The length of the API's account ids. Shorter ones are accepted, too, and left to the API to reject. */
#define AIS_ACCOUNT_ID_LEN 32

/* Return whether s is valid as that part of the grammar. Used for configuration files. */
bool ais_account_id_valid(struct ais_str s);
bool ais_namespace_valid(struct ais_str s);
bool ais_instance_valid(struct ais_str s, enum ais_generation generation);
bool ais_job_id_valid(struct ais_str s);

#pragma GCC visibility pop

#endif
