#ifndef AIS_RESOURCE_H
#define AIS_RESOURCE_H

#include <stddef.h>

#include "ais_str.h"

/*
 * Which job, list of jobs, log, or list of instances is meant. One grammar, checked part by part:
 *
 *     resource  = ["accounts/" account_id "/"] (ai_search | autorag)
 *     ai_search = ["ai-search/"] ["namespaces/" name "/"] "instances" ["/" id jobs]
 *     autorag   = ["autorag/"] "rags/" id jobs
 *     jobs      = "/jobs" ["/" job_id ["/logs"]]
 *
 *     account_id  1 to 32 of [0-9a-f]
 *     name        1 to 32, ^[a-z0-9_]+(?:-[a-z0-9_]+)*$
 *     id          the same alphabet, 1 to 64; below rags/ at most 32
 *     job_id      1 to 64 of [A-Za-z0-9_-]
 *
 * (Source: the API reference of Cloudflare AI Search, jobs and instances.) Nothing that did not pass it is ever put
 * into a URL: the API path is built from the parts, never from the text that was parsed.
 *
 * All functions are pure; they may be called from any thread or process.
 */

enum ais_generation {
    AIS_INSTANCE,   /* /ai-search/instances/{id} */
    AIS_NAMESPACED, /* /ai-search/namespaces/{name}/instances/{id} */
    AIS_AUTORAG,    /* /autorag/rags/{id} */
};

enum ais_kind {
    AIS_JOB,
    AIS_LIST,
    AIS_LOGS,
    AIS_INSTANCES, /* all of the account, or of the namespace */
};

/* page or per_page that was not given. */
#define AIS_PAGE_NONE (-1)

/* The strings are views into the text that was parsed: it has to outlive the resource. */
struct ais_resource {
    enum ais_generation generation;
    enum ais_kind kind;
    struct ais_str account;   /* empty where the resource names none */
    struct ais_str namespace; /* empty outside AIS_NAMESPACED */
    struct ais_str instance;  /* empty for AIS_INSTANCES */
    struct ais_str job;       /* empty for AIS_LIST and AIS_INSTANCES */
    struct ais_str tail;      /* all from the generation's own word on: "instances/ID/jobs/JOB" */
    int page;                 /* 1 to 999999999, or AIS_PAGE_NONE */
    int per_page;             /* 0 to 50, of instances to 100; or AIS_PAGE_NONE */
};

enum ais_resource_status {
    AIS_RESOURCE_OK,
    AIS_RESOURCE_BAD_PATH, /* not of the grammar's form */
    AIS_RESOURCE_BAD_ACCOUNT,
    AIS_RESOURCE_BAD_NAMESPACE,
    AIS_RESOURCE_BAD_INSTANCE,
    AIS_RESOURCE_BAD_JOB,
    AIS_RESOURCE_BAD_PAGE,
    AIS_RESOURCE_BAD_PER_PAGE,
};

/* The longest API path that ais_resource_path() makes, its NUL included. */
#define AIS_RESOURCE_PATH_MAX 384

/*
 * Parses a decoded path (no leading slash) and an undecoded query string (without its "?"; may be empty).
 *
 * Of the query only page and per_page count, and not for a job; any other argument is dropped. Given twice,
 * empty, not a decimal number or out of range, they are refused.
 *
 * Fills *res and returns AIS_RESOURCE_OK, or says which part is wrong; *res is then undefined.
 */
enum ais_resource_status ais_resource_parse(struct ais_resource *res, struct ais_str path, struct ais_str query);

/* What is wrong, as a sentence for the client; a constant string. */
const char *ais_resource_status_text(enum ais_resource_status status);

/*
 * Writes the API path below the base URL, "/accounts/{account_id}/...", with the query where page or per_page
 * are given, and a NUL. The same resource has the same path always, however it was spelled, so it serves as a cache
 * key. account, which has passed ais_account_id_valid(), is used where the resource names none; where both are given
 * they must be equal (the caller checks).
 *
 * buf has AIS_RESOURCE_PATH_MAX bytes. Returns the length without the NUL.
 */
size_t ais_resource_path(const struct ais_resource *res, struct ais_str account, char *buf);

/*
 * What caches know a parsed resource by, within its account: the same text for all its spellings. It is the tail, where
 * it lies, or where page or per_page are given, a copy in buf, which has AIS_RESOURCE_PATH_MAX bytes, with these
 * behind. At least 9 bytes long; not NUL-terminated.
 */
struct ais_str ais_resource_key(const struct ais_resource *res, char *buf);

/* The grammar of single parts, for configuration files. */
bool ais_account_id_valid(struct ais_str s);
bool ais_namespace_valid(struct ais_str s);
bool ais_instance_valid(struct ais_str s, enum ais_generation generation);
bool ais_job_id_valid(struct ais_str s);

#endif
