#ifndef _NGX_HTTP_AISEARCH_MODULE_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_MODULE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ais_client.h"
#include "ais_credential.h"
#include "ais_policy.h"
#include "ais_resource.h"

#include "ngx_http_aisearch_cache.h"


typedef struct ngx_http_aisearch_net_s     ngx_http_aisearch_net_t;
typedef struct ngx_http_aisearch_wakeup_s  ngx_http_aisearch_wakeup_t;


/* one credential, one account of the API: an "aisearch_account" block */

typedef struct {
    ngx_str_t                      name;

    ngx_str_t                      account_id;
    ngx_str_t                      token_file;
    ngx_str_t                      email;
    ngx_str_t                      key_file;
    ngx_array_t                   *instances;      /* of ngx_str_t */
    ngx_str_t                      api_url;
    ngx_msec_t                     connect_timeout;
    ngx_msec_t                     timeout;
    ngx_uint_t                     retries;
    ngx_str_t                      trusted_certificate;
    ngx_flag_t                     verify;
    ngx_flag_t                     allow_plain_http;
    ngx_str_t                      proxy;

    struct ais_target              target;
    struct ais_credential         *credential;

    /* differs wherever answers may differ: stands for the account in keys */
    ngx_str_t                      identity;
    ngx_uint_t                     cache_id;

    ngx_shm_zone_t                *zone;
    ngx_http_aisearch_net_t       *net;

    u_char                        *file;
    ngx_uint_t                     line;
    u_char                        *trusted_file;  /* of the directive, */
    ngx_uint_t                     trusted_line;  /* or else as above */
} ngx_http_aisearch_account_t;


typedef struct {
    ngx_array_t                    accounts;  /* of ngx_http_aisearch_account_t * */
    ngx_array_t                    passes;    /* of ngx_http_aisearch_pass_t * */
    ngx_array_t                    nets;      /* of ngx_http_aisearch_net_t * */
    ngx_array_t                    wakeups;   /* of ngx_http_aisearch_wakeup_t */
    ngx_shm_zone_t                *shm_zone;
} ngx_http_aisearch_main_conf_t;


/* an "aisearch_pass" directive; its account may be defined after it */

typedef struct {
    ngx_str_t                      name;
    ngx_http_aisearch_account_t   *account;
    ngx_http_complex_value_t      *resource;  /* NULL: the rest of the URI */
    ngx_str_t                      location;  /* what the rest begins after */

    u_char                        *file;
    ngx_uint_t                     line;
} ngx_http_aisearch_pass_t;


typedef struct {
    ngx_http_aisearch_pass_t      *pass;
    struct ais_valid               valid;
    ngx_uint_t                     valid_set; /* a bit for each class */
    ngx_flag_t                     intercept_errors;
} ngx_http_aisearch_loc_conf_t;


/* values of $aisearch_cache_status */

typedef enum {
    NGX_HTTP_AISEARCH_NONE = 0,
    NGX_HTTP_AISEARCH_HIT,
    NGX_HTTP_AISEARCH_MISS,
    NGX_HTTP_AISEARCH_EXPIRED,
    NGX_HTTP_AISEARCH_COALESCED
} ngx_http_aisearch_cache_status_e;


/* what a request asks for; the views are into the path */

typedef struct {
    struct ais_resource                resource;
    ngx_http_aisearch_key_t            key;
    char                               path[AIS_RESOURCE_PATH_MAX];
} ngx_http_aisearch_query_t;


typedef struct ngx_http_aisearch_flight_s  ngx_http_aisearch_flight_t;


typedef struct {
    ngx_http_request_t                *request;
    ngx_http_aisearch_loc_conf_t      *conf;
    ngx_http_aisearch_account_t       *account;

    ngx_http_aisearch_cache_status_e   cache_status;
    ngx_http_aisearch_answer_t         answer;
    ngx_str_t                          job_id;

    ngx_http_aisearch_flight_t        *flight; /* that we wait for, if any */
    ngx_queue_t                        queue;  /* in flight->waiters */

    unsigned                           answered:1;
    unsigned                           refused:1;
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


/* account */

char *ngx_http_aisearch_account_block(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_http_aisearch_account_t *ngx_http_aisearch_account_find(
    ngx_http_aisearch_main_conf_t *amcf, ngx_str_t *name);
ngx_int_t ngx_http_aisearch_account_allows(ngx_http_aisearch_account_t *account,
    struct ais_resource *res);

/* net */

ngx_int_t ngx_http_aisearch_net_configure(ngx_conf_t *cf,
    ngx_http_aisearch_main_conf_t *amcf);
void ngx_http_aisearch_net_init(ngx_cycle_t *cycle,
    ngx_http_aisearch_main_conf_t *amcf);
void ngx_http_aisearch_net_done(ngx_http_aisearch_main_conf_t *amcf);
struct ais_client *ngx_http_aisearch_net_client(ngx_http_aisearch_net_t *net);

/* wakeup */

void ngx_http_aisearch_wakeup_create(ngx_cycle_t *cycle,
    ngx_http_aisearch_main_conf_t *amcf);
void ngx_http_aisearch_wakeup_listen(ngx_cycle_t *cycle,
    ngx_http_aisearch_main_conf_t *amcf);
void ngx_http_aisearch_wakeup_done(void);
uint64_t ngx_http_aisearch_wakeup_bit(void);
void ngx_http_aisearch_wakeup_send(ngx_http_aisearch_main_conf_t *amcf,
    uint64_t workers);

/* flight */

void ngx_http_aisearch_flight_init(void);
void ngx_http_aisearch_flight_done(void);
ngx_int_t ngx_http_aisearch_flight_join(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_query_t *query, ngx_http_aisearch_lookup_e lookup);
void ngx_http_aisearch_flight_leave(ngx_http_aisearch_ctx_t *ctx);
void ngx_http_aisearch_flight_look(void);

/* request */

ngx_int_t ngx_http_aisearch_handler(ngx_http_request_t *r);
void ngx_http_aisearch_resume(ngx_http_aisearch_ctx_t *ctx);
ngx_http_aisearch_ctx_t *ngx_http_aisearch_get_ctx(ngx_http_request_t *r);
void ngx_http_aisearch_query_copy(ngx_http_aisearch_query_t *dst,
    ngx_http_aisearch_query_t *src);

/* response */

ngx_int_t ngx_http_aisearch_refuse(ngx_http_aisearch_ctx_t *ctx,
    ngx_uint_t status, const char *text);
ngx_int_t ngx_http_aisearch_respond(ngx_http_aisearch_ctx_t *ctx);

/* variables */

ngx_int_t ngx_http_aisearch_add_variables(ngx_conf_t *cf);
ngx_str_t *ngx_http_aisearch_cache_status_name(
    ngx_http_aisearch_cache_status_e status);


extern ngx_module_t  ngx_http_aisearch_module;


#endif /* _NGX_HTTP_AISEARCH_MODULE_H_INCLUDED_ */
