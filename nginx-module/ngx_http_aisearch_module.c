/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The module as nginx knows it: its directives, how locations inherit them, and
 * what is done when a configuration is read, and when processes come and go.
 */


#include "ngx_http_aisearch_budget.h"
#include "ngx_http_aisearch_ctx.h"
#include "ngx_http_aisearch_rotation.h"
#include "ngx_http_aisearch_refresh.h"
#include "ngx_http_aisearch_wakeup.h"


static ngx_int_t ngx_http_aisearch_postconfiguration(ngx_conf_t *cf);
static void *ngx_http_aisearch_create_main_conf(ngx_conf_t *cf);
static void *ngx_http_aisearch_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_aisearch_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);

static char *ngx_http_aisearch_valid(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_aisearch_use_stale(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_aisearch_wait_directive(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static char *ngx_http_aisearch_check_heartbeat(ngx_conf_t *cf, void *post,
    void *data);

static ngx_int_t ngx_http_aisearch_init_module(ngx_cycle_t *cycle);
static ngx_int_t ngx_http_aisearch_init_process(ngx_cycle_t *cycle);
static void ngx_http_aisearch_woken(void);
static void ngx_http_aisearch_exit_process(ngx_cycle_t *cycle);


static ngx_conf_num_bounds_t  ngx_http_aisearch_limit_status_bounds = {
    ngx_conf_check_num_bounds, 400, 599
};


static ngx_conf_post_t  ngx_http_aisearch_heartbeat_bounds = {
    ngx_http_aisearch_check_heartbeat
};


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
      ngx_http_set_predicate_slot,
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
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_aisearch_loc_conf_t, heartbeat),
      &ngx_http_aisearch_heartbeat_bounds },

    { ngx_string("aisearch_metrics"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_aisearch_loc_conf_t, metrics),
      NULL },

    { ngx_string("aisearch_limit_fetches_status"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_aisearch_loc_conf_t, limit_status),
      &ngx_http_aisearch_limit_status_bounds },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_aisearch_module_ctx = {
    ngx_http_aisearch_variables_add,       /* preconfiguration */
    ngx_http_aisearch_postconfiguration,   /* postconfiguration */

    ngx_http_aisearch_create_main_conf,    /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_aisearch_create_loc_conf,     /* create location configuration */
    ngx_http_aisearch_merge_loc_conf       /* merge location configuration */
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


/* where "aisearch_valid" puts a time, by its first parameter */

static ngx_conf_enum_t  ngx_http_aisearch_valid_names[] = {
    { ngx_string("active"), offsetof(struct ais_valid, active) },
    { ngx_string("ended"), offsetof(struct ais_valid, ended) },
    { ngx_string("list"), offsetof(struct ais_valid, list) },
    { ngx_string("logs"), offsetof(struct ais_valid, logs) },
    { ngx_string("instance"), offsetof(struct ais_valid, instance) },
    { ngx_string("stats"), offsetof(struct ais_valid, stats) },
    { ngx_string("not_found"), offsetof(struct ais_valid, not_found) },
    { ngx_string("error"), offsetof(struct ais_valid, error) },
    { ngx_null_string, 0 }
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

    return amcf;
}


static void *
ngx_http_aisearch_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_aisearch_loc_conf_t  *alcf;

    alcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_aisearch_loc_conf_t));
    if (alcf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     alcf->pass = NULL;
     *     alcf->valid_set = 0;
     *     alcf->stale_set = 0;
     */

    alcf->freshness.valid = ais_valid_default;
    alcf->freshness.stale_updating = 30 * 1000;
    alcf->freshness.stale_error = 60 * 60 * 1000;
    alcf->bypass = NGX_CONF_UNSET_PTR;
    alcf->intercept_errors = NGX_CONF_UNSET;
    alcf->limit = NGX_CONF_UNSET_PTR;
    alcf->limit_status = NGX_CONF_UNSET_UINT;
    alcf->wait = NGX_CONF_UNSET;
    alcf->events = NGX_CONF_UNSET;
    alcf->heartbeat = NGX_CONF_UNSET_MSEC;
    alcf->metrics = NGX_CONF_UNSET;

    return alcf;
}


static char *
ngx_http_aisearch_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_aisearch_loc_conf_t *prev = parent;
    ngx_http_aisearch_loc_conf_t *conf = child;

    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    /* "if" and "limit_except" go on with what the location does */

    if (clcf->noname && conf->pass == NULL) {
        conf->pass = prev->pass;
    }

    if (clcf->lmt_excpt && clcf->handler == NULL && conf->pass) {
        clcf->handler = ngx_http_aisearch_handler;
    }

    /* a level that sets any lifetime sets them all */

    if (conf->valid_set == 0) {
        conf->freshness.valid = prev->freshness.valid;
        conf->valid_set = prev->valid_set;
    }

    if (conf->stale_set == 0) {
        conf->freshness.stale_updating = prev->freshness.stale_updating;
        conf->freshness.stale_error = prev->freshness.stale_error;
        conf->stale_set = prev->stale_set;
    }

    ngx_conf_merge_ptr_value(conf->bypass, prev->bypass, NULL);

    ngx_conf_merge_value(conf->intercept_errors, prev->intercept_errors, 0);

    ngx_conf_merge_ptr_value(conf->limit, prev->limit, NULL);

    ngx_conf_merge_uint_value(conf->limit_status, prev->limit_status,
                              NGX_HTTP_TOO_MANY_REQUESTS);

    ngx_conf_merge_value(conf->wait, prev->wait, 0);

    ngx_conf_merge_value(conf->events, prev->events, 0);

    ngx_conf_merge_msec_value(conf->heartbeat, prev->heartbeat, 15000);

    ngx_conf_merge_value(conf->metrics, prev->metrics, 0);

    /* locations inside this one, without metrics, inherit the rest */

    conf->watched = (conf->wait || conf->events) && !conf->metrics;

    return NGX_CONF_OK;
}


/* aisearch_valid WHAT TIME [MAX] */

static char *
ngx_http_aisearch_valid(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_aisearch_loc_conf_t  *alcf = conf;

    ngx_int_t         time, max;
    ngx_str_t        *value;
    ngx_uint_t        i;
    ngx_conf_enum_t  *names;

    value = cf->args->elts;
    names = ngx_http_aisearch_valid_names;

    for (i = 0; names[i].name.len; i++) {
        if (ngx_http_aisearch_equal(&names[i].name, &value[1])) {
            break;
        }
    }

    if (names[i].name.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\", it must be \"active\", "
                           "\"ended\", \"list\", \"logs\", \"instance\", "
                           "\"stats\", \"not_found\" or \"error\"",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    if (alcf->valid_set & ((ngx_uint_t) 1 << i)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"aisearch_valid %V\" is duplicate", &value[1]);
        return NGX_CONF_ERROR;
    }

    alcf->valid_set |= (ngx_uint_t) 1 << i;

    time = ngx_parse_time(&value[2], 0);

    if (time == NGX_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid time value \"%V\", write one such as "
                           "\"30s\"", &value[2]);
        return NGX_CONF_ERROR;
    }

    *(int64_t *) ((char *) &alcf->freshness.valid + names[i].value) = time;

    if (names[i].value != offsetof(struct ais_valid, active)) {

        if (cf->args->nelts == 4) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"aisearch_valid %V\" takes one time, only "
                               "\"active\" takes two", &value[1]);
            return NGX_CONF_ERROR;
        }

        return NGX_CONF_OK;
    }

    max = time;

    if (cf->args->nelts == 4) {
        max = ngx_parse_time(&value[3], 0);
    }

    if (max == NGX_ERROR || max < time) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid time value \"%V\", it must be at least "
                           "\"%V\"", &value[3], &value[2]);
        return NGX_CONF_ERROR;
    }

    alcf->freshness.valid.active_max = max;

    return NGX_CONF_OK;
}


/* aisearch_use_stale [updating=TIME] [error=TIME] | off */

static char *
ngx_http_aisearch_use_stale(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_aisearch_loc_conf_t  *alcf = conf;

    int64_t     *slot;
    ngx_int_t    time;
    ngx_str_t   *value, s;
    ngx_uint_t   i;

    if (alcf->stale_set) {
        return "is duplicate";
    }

    alcf->stale_set = 1;

    /* what is not named is off */

    alcf->freshness.stale_updating = 0;
    alcf->freshness.stale_error = 0;

    value = cf->args->elts;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) {
        return NGX_CONF_OK;
    }

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "updating=", 9) == 0) {
            slot = &alcf->freshness.stale_updating;
            s.data = value[i].data + 9;

        } else if (ngx_strncmp(value[i].data, "error=", 6) == 0) {
            slot = &alcf->freshness.stale_error;
            s.data = value[i].data + 6;

        } else {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\", it must be "
                               "\"updating=TIME\", \"error=TIME\" or, "
                               "alone, \"off\"", &value[i]);
            return NGX_CONF_ERROR;
        }

        s.len = value[i].data + value[i].len - s.data;

        time = ngx_parse_time(&s, 0);

        if (time == NGX_ERROR) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid time value \"%V\", write one such "
                               "as \"30s\"", &s);
            return NGX_CONF_ERROR;
        }

        *slot = time;
    }

    return NGX_CONF_OK;
}


/* aisearch_wait TIME | off */

static char *
ngx_http_aisearch_wait_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_aisearch_loc_conf_t  *alcf = conf;

    ngx_str_t  *value;

    if (alcf->wait != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {
        alcf->wait = 0;
        return NGX_CONF_OK;
    }

    alcf->wait = ngx_parse_time(&value[1], 1);

    if (alcf->wait == (time_t) NGX_ERROR || alcf->wait == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid time value \"%V\", it must be a number of "
                           "seconds, such as \"60s\", or \"off\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_aisearch_check_heartbeat(ngx_conf_t *cf, void *post, void *data)
{
    ngx_msec_t  *heartbeat = data;

    if (*heartbeat < 1000) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"aisearch_heartbeat\" must be at least \"1s\"");
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/*
 * Nothing can fail any more: until then, the workers of the old configuration
 * go by its budgets.
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


/* by another worker, or by nginx, since this one is about to leave */

static void
ngx_http_aisearch_woken(void)
{
    ngx_http_aisearch_flight_look();
    ngx_http_aisearch_refresh_look();

    if (ngx_exiting) {
        ngx_http_aisearch_watch_end();
        ngx_http_aisearch_flight_quit();
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

    ngx_http_aisearch_flight_done();
    ngx_http_aisearch_net_done(amcf);
    ngx_http_aisearch_wakeup_done();
}
