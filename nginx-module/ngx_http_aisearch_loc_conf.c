/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The directives of locations, their inheritance, and warnings about those
 * that have no effect.
 */


#include "ngx_http_aisearch_ctx.h"

#include "ais_exposition.h"


static void ngx_http_aisearch_loc_conf_check(ngx_conf_t *cf,
    ngx_http_core_loc_conf_t *clcf, ngx_http_aisearch_loc_conf_t *own,
    ngx_http_aisearch_loc_conf_t *conf);
static ngx_uint_t ngx_http_aisearch_loc_conf_is_set(
    ngx_http_aisearch_loc_conf_t *own);
static const char *ngx_http_aisearch_loc_conf_idle(
    ngx_http_aisearch_loc_conf_t *own, ngx_http_aisearch_loc_conf_t *conf);


/* members of struct ais_valid by the first parameter of "aisearch_valid" */

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


void *
ngx_http_aisearch_loc_conf_create(ngx_conf_t *cf)
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


char *
ngx_http_aisearch_loc_conf_merge(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_aisearch_loc_conf_t *prev = parent;
    ngx_http_aisearch_loc_conf_t *conf = child;

    ngx_http_core_loc_conf_t      *clcf;
    ngx_http_aisearch_loc_conf_t   own;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    own = *conf;

    /* "if" and "limit_except" inherit the handler of the location */

    if (clcf->noname && conf->pass == NULL) {
        conf->pass = prev->pass;
    }

    if (clcf->lmt_excpt && clcf->handler == NULL && conf->pass) {
        clcf->handler = ngx_http_aisearch_handler;
    }

    /* lifetimes are inherited only if none is set on this level */

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

    /* not inherited: nested locations may turn metrics off */

    conf->watched = (conf->wait || conf->events) && !conf->metrics;

    /* skip servers, which have no name */

    if (clcf->name.data && !clcf->noname) {
        ngx_http_aisearch_loc_conf_check(cf, clcf, &own, conf);
    }

    return NGX_CONF_OK;
}


/* warns about directives without effect; "own": before the merge */

static void
ngx_http_aisearch_loc_conf_check(ngx_conf_t *cf, ngx_http_core_loc_conf_t *clcf,
    ngx_http_aisearch_loc_conf_t *own, ngx_http_aisearch_loc_conf_t *conf)
{
    const char                *text;
    ngx_http_aisearch_pass_t  *pass;

    pass = conf->pass;

    if (pass == NULL) {

        if (clcf->locations == NULL
            && ngx_http_aisearch_loc_conf_is_set(own))
        {
            ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                          "the \"aisearch_...\" directives in location "
                          "\"%V\" have no effect without \"aisearch_pass\", "
                          "add it there or remove them", &clcf->name);
        }

        return;
    }

    text = clcf->handler == ngx_http_aisearch_handler
           ? ngx_http_aisearch_loc_conf_idle(own, conf)
           : "\"aisearch_pass\" has no effect because another directive "
             "handles requests in the same location; remove one of them";

    if (text) {
        ngx_log_error(NGX_LOG_WARN, cf->log, 0, "%s in %s:%ui", text,
                      pass->file, pass->line);
    }
}


static ngx_uint_t
ngx_http_aisearch_loc_conf_is_set(ngx_http_aisearch_loc_conf_t *own)
{
    return own->valid_set
           || own->stale_set
           || own->bypass != NGX_CONF_UNSET_PTR
           || own->intercept_errors == 1
           || (own->limit != NGX_CONF_UNSET_PTR && own->limit != NULL)
           || own->limit_status != NGX_CONF_UNSET_UINT
           || own->wait > 0
           || own->events == 1
           || own->heartbeat != NGX_CONF_UNSET_MSEC
           || own->metrics == 1;
}


/* returns the warning for a location with "aisearch_pass", or NULL */

static const char *
ngx_http_aisearch_loc_conf_idle(ngx_http_aisearch_loc_conf_t *own,
    ngx_http_aisearch_loc_conf_t *conf)
{
    struct ais_resource        res;
    ngx_http_complex_value_t  *resource;

    if (own->metrics == 1 && (own->wait > 0 || own->events == 1)) {
        return "\"aisearch_wait\" and \"aisearch_events\" have no effect "
               "with \"aisearch_metrics on\"; move them to another location";
    }

    if (own->heartbeat != NGX_CONF_UNSET_MSEC && !conf->events) {
        return "\"aisearch_heartbeat\" has no effect without "
               "\"aisearch_events on\"; add the latter or remove the former";
    }

    if (own->limit_status != NGX_CONF_UNSET_UINT && conf->limit == NULL) {
        return "\"aisearch_limit_fetches_status\" has no effect without "
               "\"aisearch_limit_fetches\"; add the latter or remove the "
               "former";
    }

    resource = conf->pass->resource;

    if (conf->metrics && resource && resource->lengths == NULL
        && ais_resource_parse(&res, ngx_http_aisearch_str(&resource->value),
                              AIS_STR(""))
           == AIS_RESOURCE_OK
        && !ais_exposition_possible(res.kind))
    {
        return "\"aisearch_metrics\" does not support this resource; use "
               "\"instances/NAME/jobs\", \"instances/NAME\" or "
               "\"instances/NAME/stats\"";
    }

    return NULL;
}


char *
ngx_http_aisearch_loc_conf_set_handler(ngx_conf_t *cf, ngx_str_t *directive,
    ngx_http_handler_pt handler)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    /* a replaced "aisearch_pass" is reported when merging */

    if (clcf->handler && clcf->handler != ngx_http_aisearch_handler) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "\"%V\" replaces another directive that handles "
                           "requests in the same location, remove one of "
                           "them", directive);
    }

    clcf->handler = handler;

    return NGX_CONF_OK;
}


/* aisearch_valid WHAT TIME [MAX] */

char *
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
                           "duplicate \"aisearch_valid %V\", remove one of "
                           "the two", &value[1]);
        return NGX_CONF_ERROR;
    }

    alcf->valid_set |= (ngx_uint_t) 1 << i;

    time = ngx_parse_time(&value[2], 0);

    if (time == NGX_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid time value \"%V\", use one such as "
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

char *
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

    /* parameters that are not given are off */

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
                               "\"updating=TIME\", \"error=TIME\" or only "
                               "\"off\"", &value[i]);
            return NGX_CONF_ERROR;
        }

        s.len = value[i].data + value[i].len - s.data;

        if (*slot) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "duplicate parameter \"%V\", remove one of "
                               "the two", &value[i]);
            return NGX_CONF_ERROR;
        }

        time = ngx_parse_time(&s, 0);

        if (time == NGX_ERROR) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid time value \"%V\", use one such as "
                               "\"30s\"", &s);
            return NGX_CONF_ERROR;
        }

        *slot = time;
    }

    return NGX_CONF_OK;
}


/* aisearch_cache_bypass STRING ... */

char *
ngx_http_aisearch_cache_bypass(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t   *value;
    ngx_uint_t   i;

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        if (value[i].len
            && ngx_strcmp(value[i].data, "0") != 0
            && ngx_strchr(value[i].data, '$') == NULL)
        {
            ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                               "\"aisearch_cache_bypass %V\" always "
                               "bypasses the cache, use a variable that is "
                               "empty or \"0\" when the cache is to be "
                               "used, such as \"$http_pragma\"", &value[i]);
        }
    }

    return ngx_http_set_predicate_slot(cf, cmd, conf);
}


/* aisearch_wait TIME | off */

char *
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


/* aisearch_heartbeat TIME */

char *
ngx_http_aisearch_heartbeat(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_aisearch_loc_conf_t  *alcf = conf;

    ngx_int_t   time;
    ngx_str_t  *value;

    if (alcf->heartbeat != NGX_CONF_UNSET_MSEC) {
        return "is duplicate";
    }

    value = cf->args->elts;

    time = ngx_parse_time(&value[1], 0);

    if (time == NGX_ERROR || time < 1000) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid time value \"%V\", it must be at least "
                           "\"1s\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    alcf->heartbeat = time;

    return NGX_CONF_OK;
}


/* aisearch_limit_fetches_status CODE */

char *
ngx_http_aisearch_limit_fetches_status(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_aisearch_loc_conf_t  *alcf = conf;

    ngx_int_t   status;
    ngx_str_t  *value;

    if (alcf->limit_status != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;

    status = ngx_atoi(value[1].data, value[1].len);

    if (status < 400 || status > 599) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid status \"%V\", it must be between 400 and "
                           "599", &value[1]);
        return NGX_CONF_ERROR;
    }

    alcf->limit_status = status;

    return NGX_CONF_OK;
}
