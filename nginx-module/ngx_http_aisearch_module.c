/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The module definition: directives, and the handlers for the configuration
 * and for the start and the exit of processes.
 */


#include "ngx_http_aisearch_budget.h"
#include "ngx_http_aisearch_ctx.h"
#include "ngx_http_aisearch_rotation.h"
#include "ngx_http_aisearch_refresh.h"
#include "ngx_http_aisearch_wakeup.h"


static ngx_int_t ngx_http_aisearch_postconfiguration(ngx_conf_t *cf);
static void *ngx_http_aisearch_create_main_conf(ngx_conf_t *cf);

static ngx_int_t ngx_http_aisearch_init_module(ngx_cycle_t *cycle);
static ngx_int_t ngx_http_aisearch_init_process(ngx_cycle_t *cycle);
static void ngx_http_aisearch_woken(void);
static void ngx_http_aisearch_exit_process(ngx_cycle_t *cycle);


static ngx_command_t  ngx_http_aisearch_commands[] = {

    { ngx_string("aisearch_shared_zone"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_aisearch_zone,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("aisearch_account"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_BLOCK|NGX_CONF_TAKE1,
      ngx_http_aisearch_account_conf_block,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("aisearch_pass"),
      NGX_HTTP_LOC_CONF|NGX_HTTP_LIF_CONF|NGX_HTTP_LMT_CONF|NGX_CONF_TAKE12,
      ngx_http_aisearch_pass,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("aisearch_valid"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE23,
      ngx_http_aisearch_valid,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("aisearch_status"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_aisearch_status,
      0,
      0,
      NULL },

    { ngx_string("aisearch_use_stale"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_aisearch_use_stale,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("aisearch_cache_bypass"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_aisearch_cache_bypass,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_aisearch_loc_conf_t, bypass),
      NULL },

    { ngx_string("aisearch_intercept_errors"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_aisearch_loc_conf_t, intercept_errors),
      NULL },

    { ngx_string("aisearch_limit_fetches"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE123,
      ngx_http_aisearch_limit_fetches,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("aisearch_wait"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_aisearch_wait_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("aisearch_events"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_aisearch_loc_conf_t, events),
      NULL },

    { ngx_string("aisearch_heartbeat"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_aisearch_heartbeat,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("aisearch_metrics"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_aisearch_loc_conf_t, metrics),
      NULL },

    { ngx_string("aisearch_limit_fetches_status"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_aisearch_limit_fetches_status,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_aisearch_module_ctx = {
    ngx_http_aisearch_variables_add,       /* preconfiguration */
    ngx_http_aisearch_postconfiguration,   /* postconfiguration */

    ngx_http_aisearch_create_main_conf,    /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_aisearch_loc_conf_create,     /* create location configuration */
    ngx_http_aisearch_loc_conf_merge       /* merge location configuration */
};


ngx_module_t  ngx_http_aisearch_module = {
    NGX_MODULE_V1,
    &ngx_http_aisearch_module_ctx,         /* module context */
    ngx_http_aisearch_commands,            /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    ngx_http_aisearch_init_module,         /* init module */
    ngx_http_aisearch_init_process,        /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_aisearch_exit_process,        /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_int_t
ngx_http_aisearch_postconfiguration(ngx_conf_t *cf)
{
    ngx_http_aisearch_main_conf_t  *amcf;

    amcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_aisearch_module);

    if (ngx_http_aisearch_pass_configure(cf, amcf) != NGX_OK) {
        return NGX_ERROR;
    }

    if (amcf->accounts.nelts == 0 && amcf->shm_zone == NULL) {
        return NGX_OK;
    }

    if (ngx_http_aisearch_zone_configure(cf, amcf) != NGX_OK
        || ngx_http_aisearch_budget_configure(cf, amcf) != NGX_OK
        || ngx_http_aisearch_shared_configure(cf, amcf) != NGX_OK
        || ngx_http_aisearch_limit_configure(cf, amcf) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_aisearch_net_configure(cf, amcf);
}


static void *
ngx_http_aisearch_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_aisearch_main_conf_t  *amcf;

    amcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_aisearch_main_conf_t));
    if (amcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&amcf->accounts, cf->pool, 4,
                       sizeof(ngx_http_aisearch_account_t *))
        != NGX_OK
        || ngx_array_init(&amcf->passes, cf->pool, 4,
                          sizeof(ngx_http_aisearch_pass_t *))
           != NGX_OK
        || ngx_array_init(&amcf->nets, cf->pool, 4,
                          sizeof(ngx_http_aisearch_net_t *))
           != NGX_OK)
    {
        return NULL;
    }

    amcf->loaded = ngx_time();

    return amcf;
}



/*
 * The new configuration can no longer fail.  Until now, the workers of the old
 * one used its budgets.
 */

static ngx_int_t
ngx_http_aisearch_init_module(ngx_cycle_t *cycle)
{
    ngx_uint_t                       i;
    ngx_http_aisearch_account_t    **accounts;
    ngx_http_aisearch_main_conf_t   *amcf;

    ngx_http_aisearch_loaded(cycle->log);

    amcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_aisearch_module);

    if (amcf == NULL || amcf->shm_zone == NULL) {
        return NGX_OK;
    }

    ngx_http_aisearch_shared_attach(amcf);

    accounts = amcf->accounts.elts;

    for (i = 0; i < amcf->accounts.nelts; i++) {
        ngx_http_aisearch_rotation_begin(accounts[i], amcf->generation);
        ngx_http_aisearch_budget_begin(accounts[i]->budget);
    }

    ngx_http_aisearch_wakeup_create(cycle);

    return NGX_OK;
}


static ngx_int_t
ngx_http_aisearch_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                       i;
    ngx_http_aisearch_account_t    **accounts;
    ngx_http_aisearch_main_conf_t   *amcf;

    amcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_aisearch_module);

    if (amcf == NULL || amcf->shm_zone == NULL) {
        return NGX_OK;
    }

    ngx_http_aisearch_shared_enter(amcf);

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    accounts = amcf->accounts.elts;

    for (i = 0; i < amcf->accounts.nelts; i++) {
        ngx_http_aisearch_stats_begin(accounts[i]->stats);
    }

    ngx_http_aisearch_flight_init(ngx_http_aisearch_refresh_hear);
    ngx_http_aisearch_refresh_init(amcf->shm_zone);
    ngx_http_aisearch_net_init(cycle, amcf);

    ngx_http_aisearch_wakeup_listen(cycle, ngx_http_aisearch_woken);

    return NGX_OK;
}


/* called on a wakeup by another worker, or when this worker shuts down */

static void
ngx_http_aisearch_woken(void)
{
    ngx_http_aisearch_flight_look();
    ngx_http_aisearch_refresh_look();

    if (ngx_exiting) {
        ngx_http_aisearch_watch_end();
        ngx_http_aisearch_flight_end(/* all */ 0);
    }
}


static void
ngx_http_aisearch_exit_process(ngx_cycle_t *cycle)
{
    ngx_http_aisearch_main_conf_t  *amcf;

    amcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_aisearch_module);

    if (amcf == NULL) {
        return;
    }

    ngx_http_aisearch_flight_end(/* all */ 1);
    ngx_http_aisearch_net_done(amcf);
    ngx_http_aisearch_wakeup_done();
}
