#ifndef _NGX_HTTP_AISEARCH_MODULE_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_MODULE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ais_client.h"
#include "ais_credential.h"
#include "ais_form.h"
#include "ais_policy.h"
#include "ais_resource.h"

#include "ngx_http_aisearch_answer.h"
#include "ngx_http_aisearch_cache.h"
#include "ngx_http_aisearch_state.h"


typedef struct ngx_http_aisearch_net_s     ngx_http_aisearch_net_t;
typedef struct ngx_http_aisearch_limit_s   ngx_http_aisearch_limit_t;


/* one credential, one account of the API: an "aisearch_account" block */

struct ngx_http_aisearch_account_s {
    ngx_str_t                      name;

    ngx_str_t                      account_id;
    ngx_str_t                      email;
    ngx_str_t                      files[AIS_SLOTS]; /* of tokens, or keys */
    ngx_uint_t                     nfiles;
    ngx_uint_t                     keys;
    ngx_array_t                   *instances;      /* of ngx_str_t */
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

    struct ais_target              target;
    struct ais_gate                gate;
    struct ais_target              newcomer_target; /* with a gate of its own */
    struct ais_gate                newcomer_gate;
    struct ais_target              quick[2];  /* of both, for quick probes */
    struct ais_credential         *credentials[AIS_SLOTS];
    ngx_http_aisearch_rotation_t   rotation;

    ngx_str_t                      prefix;         /* "accounts/ID/" */
    uint64_t                       cache_id;
    ngx_msec_t                     warned;         /* of an API without routes */

    ngx_shm_zone_t                *zone;
    ngx_http_aisearch_net_t       *net;
    ngx_http_aisearch_budget_t    *budget;         /* of the credential */

    /* in shared memory */
    ngx_http_aisearch_stats_t     *stats;
    struct ais_form               *form;           /* under its mutex */
    struct ais_breaker            *breaker;        /* the same */
    ngx_atomic_t                  *renewals;       /* of credentials */

    u_char                        *file;
    ngx_uint_t                     line;
    u_char                        *trusted_file;  /* of the directive, */
    ngx_uint_t                     trusted_line;  /* or else as above */
};


typedef struct {
    ngx_array_t                    accounts; /* ngx_http_aisearch_account_t * */
    ngx_array_t                    passes;    /* ngx_http_aisearch_pass_t * */
    ngx_array_t                    nets;      /* ngx_http_aisearch_net_t * */
    ngx_shm_zone_t                *shm_zone;  /* of the cache */
    ngx_shm_zone_t                *state_zone;
    ngx_shm_zone_t                *limit_zone; /* where there is a limit */
    ngx_uint_t                     limits;     /* there is */
    uint32_t                       generation; /* of this configuration */
} ngx_http_aisearch_main_conf_t;


/* an "aisearch_pass" directive; its account may be defined after it */

typedef struct {
    ngx_str_t                      name;
    ngx_http_aisearch_account_t   *account;
    ngx_http_complex_value_t      *resource;  /* NULL: the rest of the URI */
    ngx_uint_t                     slashes;   /* between its parts; 0: any */
    ngx_str_t                      location;  /* what the rest begins after */

    u_char                        *file;
    ngx_uint_t                     line;
} ngx_http_aisearch_pass_t;


typedef struct {
    ngx_http_aisearch_pass_t      *pass;
    struct ais_freshness           freshness;
    ngx_uint_t                     valid_set; /* a bit for each class */
    ngx_uint_t                     stale_set;
    ngx_array_t                   *bypass;    /* ngx_http_complex_value_t */
    ngx_flag_t                     intercept_errors;
    ngx_http_aisearch_limit_t     *limit;     /* of fetches; NULL: none */
    ngx_uint_t                     limit_status;
} ngx_http_aisearch_loc_conf_t;


/* values of $aisearch_cache_status */

typedef enum {
    NGX_HTTP_AISEARCH_CACHE_NONE = 0,
    NGX_HTTP_AISEARCH_CACHE_HIT,
    NGX_HTTP_AISEARCH_CACHE_MISS,
    NGX_HTTP_AISEARCH_CACHE_EXPIRED,
    NGX_HTTP_AISEARCH_CACHE_UPDATING,
    NGX_HTTP_AISEARCH_CACHE_STALE,
    NGX_HTTP_AISEARCH_CACHE_COALESCED,
    NGX_HTTP_AISEARCH_CACHE_BYPASS
} ngx_http_aisearch_cache_status_e;


/* what a request asks for; it consists of views into the request's memory */

typedef struct {
    struct ais_resource                resource;
    ngx_http_aisearch_key_t            key;
} ngx_http_aisearch_query_t;


typedef struct ngx_http_aisearch_flight_s  ngx_http_aisearch_flight_t;


/* the values of Cache-Control, Age and ETag */
#define NGX_HTTP_AISEARCH_HEADERS_LEN                                         \
    (sizeof("private, max-age=") + 2 * NGX_INT_T_LEN                          \
     + NGX_HTTP_AISEARCH_ETAG_LEN + 2)


typedef struct {
    ngx_http_request_t                *request;
    ngx_http_aisearch_loc_conf_t      *conf;
    ngx_http_aisearch_account_t       *account;

    ngx_http_aisearch_cache_status_e   cache_status;
    ngx_http_aisearch_answer_t         answer;
    ngx_msec_t                         lifetime;
    ngx_str_t                          job_id;

    ngx_http_aisearch_flight_t        *flight; /* that we wait for, if any */
    ngx_queue_t                        queue;  /* in flight->waiters */

    unsigned                           bypass:1;
    unsigned                           answered:1;
    unsigned                           refused:1;
    unsigned                           kept:1;

    /* one allocation instead of four */

    ngx_buf_t                          buf;
    ngx_table_elt_t                   *cache_control;
    u_char                             headers[
                                           NGX_HTTP_AISEARCH_HEADERS_LEN];
} ngx_http_aisearch_ctx_t;


/*
 * Nobody waits for the answer of a mirror, or of a detached subrequest of njs.
 * Its other subrequests are background ones, too, but have a handler.
 */

static ngx_inline ngx_uint_t
ngx_http_aisearch_unattended(ngx_http_request_t *r)
{
    return r->background && r->post_subrequest == NULL;
}


/* once a minute; by the clock that nobody sets */

static ngx_inline ngx_uint_t
ngx_http_aisearch_may_warn(ngx_msec_t *warned)
{
    if (*warned && ngx_current_msec - *warned < 60 * 1000) {
        return 0;
    }

    *warned = ngx_current_msec ? ngx_current_msec : 1;

    return 1;
}


/*
 * All of these are for the module alone.  Said to the compiler, that makes of
 * calls between its files plain ones, and lets it inline what is in one file.
 */

#pragma GCC visibility push(hidden)


/* account */

char *ngx_http_aisearch_account_block(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_http_aisearch_account_t *ngx_http_aisearch_account_find(
    ngx_http_aisearch_main_conf_t *amcf, ngx_str_t *name);
ngx_int_t ngx_http_aisearch_account_allows(ngx_http_aisearch_account_t *account,
    struct ais_resource *res);

/* credential */

char *ngx_http_aisearch_credential_token_file(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
char *ngx_http_aisearch_credential_key_file(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
char *ngx_http_aisearch_credential_email(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
const char *ngx_http_aisearch_credential_missing(
    ngx_http_aisearch_account_t *account);
ngx_uint_t ngx_http_aisearch_credential_shared(ngx_http_aisearch_account_t *a,
    ngx_http_aisearch_account_t *b);
void ngx_http_aisearch_credential_free(ngx_http_aisearch_account_t *account);
void ngx_http_aisearch_credential_begin(ngx_http_aisearch_account_t *account,
    uint32_t generation);
struct ais_credential *ngx_http_aisearch_credential_choose(
    ngx_http_aisearch_account_t *account, struct ais_choice *choice);
void ngx_http_aisearch_credential_refused(ngx_http_aisearch_account_t *account,
    struct ais_choice *choice, const char *reason, ngx_log_t *log);
void ngx_http_aisearch_credential_accepted(ngx_http_aisearch_account_t *account,
    struct ais_choice *choice, const char *path,
    ngx_http_aisearch_time_t asked);
enum ais_doubt ngx_http_aisearch_credential_doubt(
    ngx_http_aisearch_account_t *account, struct ais_choice *choice,
    bool others_too, const char *path, ngx_http_aisearch_time_t asked,
    char *witness);
void ngx_http_aisearch_credential_told(ngx_http_aisearch_account_t *account,
    ngx_uint_t good);
struct ais_credential *ngx_http_aisearch_credential_chosen(
    ngx_http_aisearch_account_t *account, struct ais_choice *choice);
void ngx_http_aisearch_credential_snapshot(ngx_http_aisearch_account_t *account,
    struct ais_rotation *rotation);

/* breaker */

ngx_int_t ngx_http_aisearch_breaker_enter(ngx_http_aisearch_account_t *account,
    struct ais_pass *pass, ngx_msec_t *wait, enum ais_fault *fault);
void ngx_http_aisearch_breaker_cancel(ngx_http_aisearch_account_t *account,
    struct ais_pass *pass);
ngx_uint_t ngx_http_aisearch_breaker_settle(
    ngx_http_aisearch_account_t *account, struct ais_pass *pass,
    const struct ais_response *response, struct ais_verdict *verdict,
    const char *reason);
void ngx_http_aisearch_breaker_snapshot(ngx_http_aisearch_account_t *account,
    ngx_http_aisearch_breaker_state_t *state);

/* cache */

char *ngx_http_aisearch_zone(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_int_t ngx_http_aisearch_zone_default(ngx_conf_t *cf,
    ngx_http_aisearch_main_conf_t *amcf);
ngx_shm_zone_t *ngx_http_aisearch_zone_add(ngx_conf_t *cf,
    ngx_http_aisearch_main_conf_t *amcf, ngx_str_t *name, size_t size,
    void *tag);

/* state */

char *ngx_http_aisearch_budget_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_int_t ngx_http_aisearch_state_configure(ngx_conf_t *cf,
    ngx_http_aisearch_main_conf_t *amcf);
void ngx_http_aisearch_state_apply(ngx_http_aisearch_main_conf_t *amcf);
void ngx_http_aisearch_state_enter(ngx_http_aisearch_main_conf_t *amcf);
int64_t ngx_http_aisearch_budget_now(void);
ngx_msec_t ngx_http_aisearch_budget_wait(ngx_http_aisearch_budget_t *b,
    ngx_uint_t newcomer);
void ngx_http_aisearch_budget_observe(ngx_http_aisearch_budget_t *b,
    const struct ais_response *response);
double ngx_http_aisearch_budget_stretch(ngx_http_aisearch_budget_t *b);
void ngx_http_aisearch_budget_snapshot(ngx_http_aisearch_budget_t *b,
    ngx_http_aisearch_budget_state_t *state);

#define ngx_http_aisearch_count(counter)                                      \
    (void) ngx_atomic_fetch_add(&(counter), 1)

/* status */

char *ngx_http_aisearch_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* whether the name of an account or a zone can be shown as it is */
ngx_uint_t ngx_http_aisearch_status_name_valid(ngx_str_t *name);

/* net */

ngx_int_t ngx_http_aisearch_net_configure(ngx_conf_t *cf,
    ngx_http_aisearch_main_conf_t *amcf);
void ngx_http_aisearch_net_init(ngx_cycle_t *cycle,
    ngx_http_aisearch_main_conf_t *amcf);
void ngx_http_aisearch_net_done(ngx_http_aisearch_main_conf_t *amcf);
struct ais_client *ngx_http_aisearch_net_client(ngx_http_aisearch_net_t *net);

/* flight */

void ngx_http_aisearch_flight_init(void);
void ngx_http_aisearch_flight_done(void);
ngx_int_t ngx_http_aisearch_flight_join(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_query_t *query, ngx_http_aisearch_lookup_t *lookup);
void ngx_http_aisearch_flight_start(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_query_t *query, ngx_http_aisearch_lookup_t *lookup);
void ngx_http_aisearch_flight_leave(ngx_http_aisearch_ctx_t *ctx);
void ngx_http_aisearch_flight_look(void);

/* of the resource of a pass, or of what it has become */
ngx_uint_t ngx_http_aisearch_slashes(ngx_str_t *s);

/* parts: of a resource with variables, a warning where they may be more */
void ngx_http_aisearch_parts_check(ngx_conf_t *cf, ngx_str_t *account,
    ngx_str_t *resource);

/* request */

ngx_int_t ngx_http_aisearch_handler(ngx_http_request_t *r);
void ngx_http_aisearch_resume(ngx_http_aisearch_ctx_t *ctx);
ngx_int_t ngx_http_aisearch_keep_ctx(ngx_http_aisearch_ctx_t *ctx);
ngx_http_aisearch_ctx_t *ngx_http_aisearch_get_ctx(ngx_http_request_t *r);

/* limit */

char *ngx_http_aisearch_limit_fetches(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_int_t ngx_http_aisearch_limit_configure(ngx_conf_t *cf,
    ngx_http_aisearch_main_conf_t *amcf);
ngx_int_t ngx_http_aisearch_limit(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_query_t *query, ngx_http_aisearch_lookup_t *lookup);

/* response */

/* with a Retry-After, where ctx->answer.retry_after is set */

ngx_int_t ngx_http_aisearch_refuse(ngx_http_aisearch_ctx_t *ctx,
    ngx_uint_t status, const char *text);
ngx_int_t ngx_http_aisearch_respond(ngx_http_aisearch_ctx_t *ctx);

/* variables */

ngx_int_t ngx_http_aisearch_add_variables(ngx_conf_t *cf);
ngx_str_t *ngx_http_aisearch_job_state_name(enum ais_state state);
ngx_str_t *ngx_http_aisearch_cache_status_name(
    ngx_http_aisearch_cache_status_e status);


#pragma GCC visibility pop


extern ngx_module_t  ngx_http_aisearch_module;


#endif /* _NGX_HTTP_AISEARCH_MODULE_H_INCLUDED_ */
