/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * One credential, or two that take turns, and one account of the API: an
 * "aisearch_account" block.
 */


#ifndef _NGX_HTTP_AISEARCH_ACCOUNT_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_ACCOUNT_H_INCLUDED_


#include "ais_form.h"
#include "ais_resource.h"

#include "ngx_http_aisearch_budget.h"
#include "ngx_http_aisearch_rotation.h"
#include "ngx_http_aisearch_stats.h"


/* one that an "instance" directive allows */

typedef struct {
    struct ais_str                 namespace;      /* "": the default one */
    struct ais_str                 instance;
} ngx_http_aisearch_allowed_t;


struct ngx_http_aisearch_account_s {
    ngx_str_t                      name;

    ngx_str_t                      account_id;
    ngx_str_t                      email;
    ngx_str_t                      files[AIS_SLOTS]; /* of tokens, or keys */
    ngx_uint_t                     nfiles;
    ngx_uint_t                     keys;
    ngx_array_t                   *instances; /* that it allows; NULL: all */
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

    struct ais_target              target;         /* has no gate */

    /* [1]: for newcomers; [][1]: for quick probes */
    struct ais_gate                gates[2];
    struct ais_target              targets[2][2];

    struct ais_credential         *credentials[AIS_SLOTS];
    ngx_http_aisearch_rotation_t   rotation;

    ngx_str_t                      prefix;         /* "accounts/ID/" */
    uint64_t                       cache_id;
    ngx_msec_t                     warned;       /* of an API without routes */

    ngx_shm_zone_t                *zone;           /* of the cache */
    ngx_http_aisearch_net_t       *net;
    ngx_http_aisearch_budget_t    *budget;         /* of the credential */

    /* in shared memory */
    ngx_slab_pool_t               *shpool;
    ngx_http_aisearch_stats_t     *stats;
    struct ais_form               *form;           /* under its mutex */
    struct ais_breaker            *breaker;        /* the same */
    ngx_atomic_t                  *renewals;       /* of credentials */

    u_char                        *file;
    ngx_uint_t                     line;
    u_char                        *trusted_file;  /* of the directive, */
    ngx_uint_t                     trusted_line;  /* or else as above */
};


/* account */

ngx_http_aisearch_account_t *ngx_http_aisearch_account_find(
    ngx_http_aisearch_main_conf_t *amcf, ngx_str_t *name);
ngx_int_t ngx_http_aisearch_account_allows(ngx_http_aisearch_account_t *account,
    struct ais_resource *res);

/* the whole block, once it is read: what is missing, what does not agree */
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

/* what the block lacks, or NULL */
const char *ngx_http_aisearch_credential_missing(
    ngx_http_aisearch_account_t *account);

/* whether accounts have a credential in common, and so a user at the API */
ngx_uint_t ngx_http_aisearch_credential_shared(ngx_http_aisearch_account_t *a,
    ngx_http_aisearch_account_t *b);

/* of the account that "data" is */
void ngx_http_aisearch_credential_free(void *data);

/* conf: what several directives need */

/* whether a name can be shown as it is, in JSON and to Prometheus */
ngx_uint_t ngx_http_aisearch_conf_name_valid(ngx_str_t *name);

/* returns NGX_CONF_ERROR */
char *ngx_http_aisearch_conf_error(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account, const char *text);


#endif /* _NGX_HTTP_AISEARCH_ACCOUNT_H_INCLUDED_ */
