/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * aisearch_pass: which account answers in a location, and with what resource.
 */


#include "ngx_http_aisearch_ctx.h"


static char *ngx_http_aisearch_pass_resource(ngx_conf_t *cf,
    ngx_http_aisearch_pass_t *pass, ngx_str_t *value);
static char *ngx_http_aisearch_pass_prefix(ngx_conf_t *cf,
    ngx_http_aisearch_pass_t *pass);
static void ngx_http_aisearch_pass_check_variable(ngx_conf_t *cf,
    ngx_str_t *account, ngx_str_t *resource);
static u_char *ngx_http_aisearch_pass_skip_variable(u_char *p, u_char *last);
static ngx_uint_t ngx_http_aisearch_pass_may_be_many(ngx_conf_t *cf,
    ngx_str_t *variable);
static ngx_int_t ngx_http_aisearch_pass_check_literal(ngx_conf_t *cf,
    ngx_http_aisearch_pass_t *pass);


/* aisearch_pass ACCOUNT [RESOURCE] */

char *
ngx_http_aisearch_pass(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_aisearch_loc_conf_t  *alcf = conf;

    char                            *rv;
    ngx_str_t                       *value;
    ngx_http_aisearch_pass_t        *pass, **p;
    ngx_http_core_loc_conf_t        *clcf;
    ngx_http_aisearch_main_conf_t   *amcf;

    if (alcf->pass) {
        return "is duplicate";
    }

    value = cf->args->elts;

    pass = ngx_pcalloc(cf->pool, sizeof(ngx_http_aisearch_pass_t));
    if (pass == NULL) {
        return NGX_CONF_ERROR;
    }

    pass->name = value[1];
    pass->file = cf->conf_file->file.name.data;
    pass->line = cf->conf_file->line;

    rv = (cf->args->nelts == 3)
         ? ngx_http_aisearch_pass_resource(cf, pass, &value[2])
         : ngx_http_aisearch_pass_prefix(cf, pass);

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    amcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_aisearch_module);

    p = ngx_array_push(&amcf->passes);
    if (p == NULL) {
        return NGX_CONF_ERROR;
    }

    *p = pass;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_aisearch_handler;

    alcf->pass = pass;

    return NGX_CONF_OK;
}


static char *
ngx_http_aisearch_pass_resource(ngx_conf_t *cf, ngx_http_aisearch_pass_t *pass,
    ngx_str_t *value)
{
    struct ais_resource                res;
    enum ais_resource_error            err;
    ngx_http_compile_complex_value_t   ccv;

    pass->resource = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));
    if (pass->resource == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = value;
    ccv.complex_value = pass->resource;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (pass->resource->lengths) {
        pass->slashes = ngx_http_aisearch_slashes(value);
        ngx_http_aisearch_pass_check_variable(cf, &pass->name, value);
        return NGX_CONF_OK;
    }

    /* without variables it is as good now as it will ever be */

    err = ais_resource_parse(&res, ngx_http_aisearch_str(value),
                                AIS_STR(""));

    if (err != AIS_RESOURCE_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid resource \"%V\" in \"aisearch_pass\": %s; "
                           "write it as \"instances/NAME/jobs/ID\"",
                           value, ais_resource_error_text(err));
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* the rest of the URI is the resource, so there has to be a rest */

static char *
ngx_http_aisearch_pass_prefix(ngx_conf_t *cf, ngx_http_aisearch_pass_t *pass)
{
    const char                *where;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->lmt_excpt) {
        where = "inside \"limit_except\" block";

    } else if (clcf->noname) {
        where = "inside \"if\" statement";

    } else if (clcf->named) {
        where = "inside named location";

    } else if (clcf->exact_match) {
        where = "in location with \"=\" modifier";

#if (NGX_PCRE)
    } else if (clcf->regex) {
        where = "in location given by regular expression";
#endif

    } else {
        pass->location = clcf->name;
        pass->server = ngx_http_conf_get_module_srv_conf(cf,
                                                         ngx_http_core_module);
        pass->clcf = clcf;
        return NGX_CONF_OK;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "\"aisearch_pass\" needs a resource %s, such as "
                       "\"aisearch_pass %V instances/$instance/jobs/$job\"",
                       where, &pass->name);
    return NGX_CONF_ERROR;
}


/*
 * Warns of "instances/$rest" and the like, where the variable is all that
 * follows.  "instances/$inst" is an instance, too; but not where a location's
 * regular expression captures any number of parts.
 */

static void
ngx_http_aisearch_pass_check_variable(ngx_conf_t *cf, ngx_str_t *account,
    ngx_str_t *resource)
{
    u_char               *p, *q, *last, *start;
    ngx_str_t             variable, example;
    struct ais_resource   res;

    example.data = ngx_pnalloc(cf->temp_pool, resource->len);
    if (example.data == NULL) {
        return;
    }

    q = example.data;
    start = NULL;
    last = resource->data + resource->len;

    for (p = resource->data; p < last; /* void */ ) {

        if (*p != '$') {
            *q++ = *p++;
            continue;
        }

        *q++ = 'x';
        start = p;
        p = ngx_http_aisearch_pass_skip_variable(p, last);

        if (p == last) {
            break;
        }

        start = NULL;
    }

    if (start == NULL || start == resource->data || start[-1] != '/') {
        return;
    }

    example.len = q - example.data;
    variable.data = start;
    variable.len = last - start;

    if (ais_resource_parse(&res, ngx_http_aisearch_str(&example), AIS_STR(""))
        != AIS_RESOURCE_OK
        || (res.kind != AIS_INSTANCE && res.kind != AIS_NAMESPACE)
        || !ngx_http_aisearch_pass_may_be_many(cf, &variable))
    {
        return;
    }

    ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                       "\"%V\" in \"aisearch_pass\" is one %s, since a "
                       "variable stands for one part of a resource; if \"%V\" "
                       "is more than that, such as \"NAME/jobs/ID\", write "
                       "\"set $resource %V; aisearch_pass %V $resource;\"",
                       resource, res.kind == AIS_INSTANCE ? "instance"
                                                          : "namespace",
                       &variable, resource, account);
}


/* $name or ${name} */

static u_char *
ngx_http_aisearch_pass_skip_variable(u_char *p, u_char *last)
{
    u_char  c;

    if (++p < last && *p == '{') {
        p = ngx_strlchr(p, last, '}');
        return p ? p + 1 : last;
    }

    for ( /* void */ ; p < last; p++) {
        c = (u_char) (*p | 0x20);

        if (!(c >= 'a' && c <= 'z') && !(*p >= '0' && *p <= '9') && *p != '_') {
            break;
        }
    }

    return p;
}


static ngx_uint_t
ngx_http_aisearch_pass_may_be_many(ngx_conf_t *cf, ngx_str_t *variable)
{
#if (NGX_PCRE)
    ngx_str_t                 *regex;
    ngx_http_core_loc_conf_t  *clcf;
#endif

    if (ngx_strnstr(variable->data, "arg_", variable->len)) {
        return 0;
    }

#if (NGX_PCRE)

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->regex) {
        regex = &clcf->regex->name;

        return ngx_strnstr(regex->data, ".*", regex->len) != NULL
               || ngx_strnstr(regex->data, ".+", regex->len) != NULL;
    }

#endif

    return 1;
}


ngx_int_t
ngx_http_aisearch_pass_configure(ngx_conf_t *cf,
    ngx_http_aisearch_main_conf_t *amcf)
{
    ngx_uint_t                  i;
    ngx_http_aisearch_pass_t  **passes;

    passes = amcf->passes.elts;

    for (i = 0; i < amcf->passes.nelts; i++) {

        passes[i]->account = ngx_http_aisearch_account_find(amcf,
                                                            &passes[i]->name);
        if (passes[i]->account == NULL) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "unknown aisearch_account \"%V\", define it by an "
                          "\"aisearch_account %V { ... }\" block at http level "
                          "in %s:%ui", &passes[i]->name, &passes[i]->name,
                          passes[i]->file, passes[i]->line);
            return NGX_ERROR;
        }

        if (passes[i]->resource && passes[i]->resource->lengths == NULL
            && ngx_http_aisearch_pass_check_literal(cf, passes[i]) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* a resource without variables that its account would always refuse */

static ngx_int_t
ngx_http_aisearch_pass_check_literal(ngx_conf_t *cf,
    ngx_http_aisearch_pass_t *pass)
{
    ngx_str_t            *value;
    const char           *text;
    struct ais_str        id;
    struct ais_resource   res;

    value = &pass->resource->value;

    id = ngx_http_aisearch_str(&pass->account->account_id);

    /* its form was checked with the directive */
    (void) ais_resource_parse(&res, ngx_http_aisearch_str(value), AIS_STR(""));

    if (res.account.len && !ais_str_eq(res.account, id)) {
        text = "is of another \"account_id\"";

    } else if (ngx_http_aisearch_account_allows(pass->account, &res)) {
        return NGX_OK;

    } else if (res.instance.len == 0) {
        text = "tells of instances that its \"instance\" does not allow";

    } else {
        text = "is of none of the instances that its \"instance\" allows";
    }

    ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                  "resource \"%V\" in \"aisearch_pass\" %s, correct it or "
                  "aisearch_account \"%V\" in %s:%ui",
                  value, text, &pass->name, pass->file, pass->line);

    return NGX_ERROR;
}
