/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * What the files of the module know of each other: its configuration, its
 * requests, and the functions that have no header of their own.
 */


#ifndef _NGX_HTTP_AISEARCH_MODULE_H_INCLUDED_
#define _NGX_HTTP_AISEARCH_MODULE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


typedef struct ngx_http_aisearch_main_conf_s  ngx_http_aisearch_main_conf_t;
typedef struct ngx_http_aisearch_account_s    ngx_http_aisearch_account_t;
typedef struct ngx_http_aisearch_net_s        ngx_http_aisearch_net_t;
typedef struct ngx_http_aisearch_limit_s      ngx_http_aisearch_limit_t;
typedef struct ngx_http_aisearch_flight_s     ngx_http_aisearch_flight_t;


/*
 * All functions, and the library's, are for the module alone.  Said to the
 * compiler, that makes of calls between its files plain ones, and lets it
 * inline what is in one file.
 */

#if (__GNUC__)
#pragma GCC visibility push(hidden)
#endif


#include "ngx_http_aisearch_account.h"
#include "ngx_http_aisearch_answer.h"
#include "ngx_http_aisearch_breaker.h"
#include "ngx_http_aisearch_cache.h"


struct ngx_http_aisearch_main_conf_s {
    ngx_array_t                    accounts; /* ngx_http_aisearch_account_t * */
    ngx_array_t                    passes;    /* ngx_http_aisearch_pass_t * */
    ngx_array_t                    nets;      /* ngx_http_aisearch_net_t * */
    ngx_shm_zone_t                *shm_zone;  /* of the cache */
    ngx_shm_zone_t                *shared_zone;
    ngx_shm_zone_t                *limit_zone; /* where there is a limit */
    ngx_uint_t                     limits;     /* there is */
    uint32_t                       generation; /* of this configuration */
};


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


/* what a request asks for; it consists of views into the request's memory */

typedef struct {
    struct ais_resource                resource;
    ngx_http_aisearch_key_t            key;
} ngx_http_aisearch_query_t;


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


static ngx_inline ngx_uint_t
ngx_http_aisearch_equal(ngx_str_t *a, ngx_str_t *b)
{
    return a->len == b->len
           && (a->len == 0 || ngx_memcmp(a->data, b->data, a->len) == 0);
}


/* in the resource of a pass, or in what it has become */

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


/* a view of nginx's string for the library */

static ngx_inline struct ais_str
ngx_http_aisearch_str(ngx_str_t *s)
{
    return (struct ais_str) { (char *) s->data, s->len };
}


/* zone */

char *ngx_http_aisearch_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* once all accounts are known */
ngx_int_t ngx_http_aisearch_zone_configure(ngx_conf_t *cf,
    ngx_http_aisearch_main_conf_t *amcf);

ngx_shm_zone_t *ngx_http_aisearch_zone_add(ngx_conf_t *cf,
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

/* flight */

void ngx_http_aisearch_flight_init(void);
void ngx_http_aisearch_flight_done(void);
ngx_int_t ngx_http_aisearch_flight_join(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_query_t *query, ngx_http_aisearch_lookup_t *lookup);
void ngx_http_aisearch_flight_start(ngx_http_aisearch_ctx_t *ctx,
    ngx_http_aisearch_query_t *query, ngx_http_aisearch_lookup_t *lookup);
void ngx_http_aisearch_flight_leave(ngx_http_aisearch_ctx_t *ctx);
void ngx_http_aisearch_flight_look(void);

/* pass */

char *ngx_http_aisearch_pass(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* once all accounts are known: one may be used before its block */
ngx_int_t ngx_http_aisearch_pass_configure(ngx_conf_t *cf,
    ngx_http_aisearch_main_conf_t *amcf);

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

ngx_int_t ngx_http_aisearch_variables_add(ngx_conf_t *cf);
ngx_str_t *ngx_http_aisearch_variables_job_state(enum ais_state state);


#if (__GNUC__)
#pragma GCC visibility pop
#endif


extern ngx_module_t  ngx_http_aisearch_module;


#endif /* _NGX_HTTP_AISEARCH_MODULE_H_INCLUDED_ */
