/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The configuration structures and the functions that set them up.
 */


#ifndef _NGX_HTTP_AISEARCH_CONF_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_CONF_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ais_breaker.h"
#include "ais_budget.h"
#include "ais_client.h"
#include "ais_credential.h"
#include "ais_form.h"
#include "ais_policy.h"
#include "ais_resource.h"
#include "ais_rotation.h"
#include "ais_witness.h"

#include "ngx_http_aisearch_stats.h"


/* of the name of an account */
#define NGX_HTTP_AISEARCH_NAME_MAX  128


typedef struct ngx_http_aisearch_main_conf_s  ngx_http_aisearch_main_conf_t;
typedef struct ngx_http_aisearch_account_s    ngx_http_aisearch_account_t;
typedef struct ngx_http_aisearch_net_s        ngx_http_aisearch_net_t;
typedef struct ngx_http_aisearch_budget_s     ngx_http_aisearch_budget_t;
typedef struct ngx_http_aisearch_limit_s      ngx_http_aisearch_limit_t;


struct ngx_http_aisearch_main_conf_s {
    ngx_array_t                    accounts; /* ngx_http_aisearch_account_t * */
    ngx_array_t                    passes;    /* ngx_http_aisearch_pass_t * */
    ngx_array_t                    nets;      /* ngx_http_aisearch_net_t * */
    ngx_shm_zone_t                *shm_zone;  /* of the cache */
    ngx_shm_zone_t                *shared_zone;
    ngx_shm_zone_t                *limit_zone; /* NULL: no limits */
    ngx_uint_t                     limits;     /* aisearch_limit_fetches used */
    uint32_t                       generation; /* of this configuration */
    int64_t                        loaded;     /* s since the epoch */
};


/* the credential of an account in use, as seen by this process */

typedef struct {
    struct ais_rotation           *shared;
    struct ais_witness            *witness;
    uint32_t                       generation;  /* of this configuration */
    struct ais_rotation            own;         /* if superseded by a reload */
    ngx_msec_t                     looked;      /* last check of the files */
    ngx_msec_t                     warned;      /* about permissions */
} ngx_http_aisearch_rotation_t;


/* an instance allowed by an "instance" directive */

typedef struct {
    struct ais_str                 namespace;      /* "": default */
    struct ais_str                 instance;
} ngx_http_aisearch_allowed_t;


/*
 * An "aisearch_account" block: an account of the API, with one credential, or
 * two to rotate between.
 */

struct ngx_http_aisearch_account_s {
    ngx_str_t                      name;

    ngx_str_t                      account_id;
    ngx_str_t                      email;
    ngx_str_t                      files[AIS_SLOTS]; /* with tokens or keys */
    ngx_uint_t                     nfiles;
    ngx_uint_t                     keys;
    ngx_array_t                   *instances; /* allowed; NULL: all */
    ngx_str_t                      api_url;
    ngx_msec_t                     connect_timeout;
    ngx_msec_t                     timeout;
    ngx_uint_t                     retries;
    ngx_str_t                      trusted_certificate;
    ngx_flag_t                     verify;
    ngx_flag_t                     allow_plain_http;
    ngx_str_t                      proxy;
    struct ais_budget_limit        limits[AIS_BUDGET_LIMITS];
    uint32_t                       reserves[AIS_BUDGET_LIMITS]; /* percent */
    ngx_uint_t                     nlimits;

    struct ais_target              target;         /* without a gate */

    /* [1]: for newcomers; [][1]: for quick probes */
    struct ais_gate                gates[2];
    struct ais_target              targets[2][2];

    struct ais_credential         *credentials[AIS_SLOTS];
    ngx_http_aisearch_rotation_t   rotation;

    ngx_str_t                      prefix;         /* "accounts/ID/" */
    uint64_t                       cache_id;
    ngx_msec_t                     warned;         /* about missing routes */

    ngx_shm_zone_t                *zone;           /* of the cache */
    ngx_http_aisearch_net_t       *net;
    ngx_http_aisearch_budget_t    *budget;         /* of the credential */

    /* in shared memory */
    ngx_slab_pool_t               *shpool;
    ngx_http_aisearch_stats_t     *stats;
    struct ais_form               *form;           /* protected by mutex */
    struct ais_breaker            *breaker;        /* protected by mutex */
    ngx_atomic_t                  *renewals;       /* of credentials */

    u_char                        *file;
    ngx_uint_t                     line;
    u_char                        *trusted_file;  /* of the directive, */
    ngx_uint_t                     trusted_line;  /* or the same as above */
};


/* an "aisearch_pass" directive; the account may be defined after it */

typedef struct {
    ngx_str_t                      name;
    ngx_http_aisearch_account_t   *account;
    ngx_http_complex_value_t      *resource;  /* NULL: the rest of the URI */
    ngx_uint_t                     slashes;   /* in the resource; 0: any */
    ngx_str_t                      location;  /* prefix to strip from URI */
    ngx_http_core_srv_conf_t      *server;    /* server of the location */
    ngx_http_core_loc_conf_t      *clcf;      /* the location */

    u_char                        *file;
    ngx_uint_t                     line;
} ngx_http_aisearch_pass_t;


typedef struct {
    ngx_http_aisearch_pass_t      *pass;
    struct ais_freshness           freshness;
    ngx_uint_t                     valid_set; /* bit per class */
    ngx_uint_t                     stale_set;
    ngx_array_t                   *bypass;    /* ngx_http_complex_value_t */
    ngx_flag_t                     intercept_errors;
    ngx_http_aisearch_limit_t     *limit;     /* of fetches; NULL: none */
    ngx_uint_t                     limit_status;
    time_t                         wait;      /* maximum, in s; 0: off */
    ngx_flag_t                     events;
    ngx_msec_t                     heartbeat;
    ngx_flag_t                     metrics;
    ngx_uint_t                     watched;   /* waits or events are enabled */
} ngx_http_aisearch_loc_conf_t;


#pragma GCC visibility push(hidden)


/* account */

ngx_http_aisearch_account_t *ngx_http_aisearch_account_find(
    ngx_http_aisearch_main_conf_t *amcf, ngx_str_t *name);

/* whether the account allows the instance of this resource */
ngx_int_t ngx_http_aisearch_account_allows(ngx_http_aisearch_account_t *account,
    struct ais_resource *res);

/* checks the whole block for missing and conflicting directives */
ngx_int_t ngx_http_aisearch_account_init(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account);

/* account_conf */

char *ngx_http_aisearch_account_conf_block(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* credential */

/* "token_file" and "key_file" */
char *ngx_http_aisearch_credential_file(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_aisearch_credential_email(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* returns a text that says what the block lacks, or NULL */
const char *ngx_http_aisearch_credential_missing(
    ngx_http_aisearch_account_t *account);

/* whether two accounts share a credential, and so a user of the API */
ngx_uint_t ngx_http_aisearch_credential_shared(ngx_http_aisearch_account_t *a,
    ngx_http_aisearch_account_t *b);

/* frees the credentials of an account; a pool cleanup handler */
void ngx_http_aisearch_credential_free(void *data);

/* conf */

/* whether a name needs no escaping in JSON and in Prometheus labels */
ngx_uint_t ngx_http_aisearch_conf_name_valid(ngx_str_t *name);

/* logs "text" with the position of the block, and returns NGX_CONF_ERROR */
char *ngx_http_aisearch_conf_error(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account, const char *text);

/* loc_conf */

/* sets the content handler of a location; warns if it replaces another one */
char *ngx_http_aisearch_loc_conf_set_handler(ngx_conf_t *cf,
    ngx_str_t *directive, ngx_http_handler_pt handler);

void *ngx_http_aisearch_loc_conf_create(ngx_conf_t *cf);
char *ngx_http_aisearch_loc_conf_merge(ngx_conf_t *cf, void *parent,
    void *child);
char *ngx_http_aisearch_valid(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_aisearch_use_stale(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_aisearch_cache_bypass(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_aisearch_wait_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_aisearch_heartbeat(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_aisearch_limit_fetches_status(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);

/* budget */

char *ngx_http_aisearch_budget_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* once all accounts are known */
ngx_int_t ngx_http_aisearch_budget_configure(ngx_conf_t *cf,
    ngx_http_aisearch_main_conf_t *amcf);

/* limit */

char *ngx_http_aisearch_limit_fetches(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_int_t ngx_http_aisearch_limit_configure(ngx_conf_t *cf,
    ngx_http_aisearch_main_conf_t *amcf);

/* pass */

char *ngx_http_aisearch_pass(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* once all accounts are known, as one may be used before its block */
ngx_int_t ngx_http_aisearch_pass_configure(ngx_conf_t *cf,
    ngx_http_aisearch_main_conf_t *amcf);

/* zone */

char *ngx_http_aisearch_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* once all accounts are known */
ngx_int_t ngx_http_aisearch_zone_configure(ngx_conf_t *cf,
    ngx_http_aisearch_main_conf_t *amcf);

ngx_shm_zone_t *ngx_http_aisearch_conf_add_zone(ngx_conf_t *cf,
    ngx_http_aisearch_main_conf_t *amcf, ngx_str_t *name, size_t size,
    void *tag, ngx_shm_zone_init_pt init);

/* status */

char *ngx_http_aisearch_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* net */

ngx_int_t ngx_http_aisearch_net_configure(ngx_conf_t *cf,
    ngx_http_aisearch_main_conf_t *amcf);
void ngx_http_aisearch_net_init(ngx_cycle_t *cycle,
    ngx_http_aisearch_main_conf_t *amcf);
void ngx_http_aisearch_net_done(ngx_http_aisearch_main_conf_t *amcf);
struct ais_client *ngx_http_aisearch_net_client(ngx_http_aisearch_net_t *net);

/* loaded: logs the versions, called in the master */

void ngx_http_aisearch_loaded(ngx_log_t *log);

/* shared: a small zone for the state that outlives the cache */

ngx_int_t ngx_http_aisearch_shared_configure(ngx_conf_t *cf,
    ngx_http_aisearch_main_conf_t *amcf);

/* called in the master, when the new configuration can no longer fail */
void ngx_http_aisearch_shared_attach(ngx_http_aisearch_main_conf_t *amcf);

/* called in each process, so that the master knows which records are in use */
void ngx_http_aisearch_shared_enter(ngx_http_aisearch_main_conf_t *amcf);

/* variables */

ngx_int_t ngx_http_aisearch_variables_add(ngx_conf_t *cf);


#pragma GCC visibility pop


static ngx_inline ngx_uint_t
ngx_http_aisearch_equal(ngx_str_t *a, ngx_str_t *b)
{
    return a->len == b->len
           && (a->len == 0 || ngx_memcmp(a->data, b->data, a->len) == 0);
}


/* counts the slashes in the resource of a pass, before or after evaluation */

static ngx_inline ngx_uint_t
ngx_http_aisearch_slashes(ngx_str_t *s)
{
    size_t      i;
    ngx_uint_t  n;

    for (i = 0, n = 0; i < s->len; i++) {
        n += (s->data[i] == '/');
    }

    return n;
}


/* converts to the string type of the library, without copying */

static ngx_inline struct ais_str
ngx_http_aisearch_str(ngx_str_t *s)
{
    return (struct ais_str) { (char *) s->data, s->len };
}


extern ngx_module_t  ngx_http_aisearch_module;


#endif /* _NGX_HTTP_AISEARCH_CONF_H_INCLUDED_ */
