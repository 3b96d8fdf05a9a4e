/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The "aisearch_account" block and its directives.  Each value is checked when
 * it is set, so that an error is reported with its file and line.
 */


#include "ngx_http_aisearch_conf.h"

#include "ais_near.h"


#define NGX_HTTP_AISEARCH_RETRIES  10


static char *ngx_http_aisearch_account_conf_directive(ngx_conf_t *cf,
    ngx_command_t *dummy, void *conf);
static void ngx_http_aisearch_account_conf_unknown(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account, ngx_str_t *name);
static char *ngx_http_aisearch_account_conf_set_id(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static char *ngx_http_aisearch_account_conf_set_instance(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static char *ngx_http_aisearch_account_conf_set_api_url(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static char *ngx_http_aisearch_account_conf_set_time(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static char *ngx_http_aisearch_account_conf_set_retries(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static char *ngx_http_aisearch_account_conf_set_trusted(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static char *ngx_http_aisearch_account_conf_set_proxy(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);


static ngx_command_t  ngx_http_aisearch_account_conf_commands[] = {

    { ngx_string("account_id"),
      NGX_CONF_TAKE1,
      ngx_http_aisearch_account_conf_set_id,
      0,
      offsetof(ngx_http_aisearch_account_t, account_id),
      NULL },

    { ngx_string("token_file"),
      NGX_CONF_TAKE1,
      ngx_http_aisearch_credential_file,
      0,
      0,
      NULL },

    { ngx_string("email"),
      NGX_CONF_TAKE1,
      ngx_http_aisearch_credential_email,
      0,
      offsetof(ngx_http_aisearch_account_t, email),
      NULL },

    { ngx_string("key_file"),
      NGX_CONF_TAKE1,
      ngx_http_aisearch_credential_file,
      0,
      0,
      NULL },

    { ngx_string("instance"),
      NGX_CONF_1MORE,
      ngx_http_aisearch_account_conf_set_instance,
      0,
      0,
      NULL },

    { ngx_string("api_url"),
      NGX_CONF_TAKE1,
      ngx_http_aisearch_account_conf_set_api_url,
      0,
      offsetof(ngx_http_aisearch_account_t, api_url),
      NULL },

    { ngx_string("connect_timeout"),
      NGX_CONF_TAKE1,
      ngx_http_aisearch_account_conf_set_time,
      0,
      offsetof(ngx_http_aisearch_account_t, connect_timeout),
      NULL },

    { ngx_string("timeout"),
      NGX_CONF_TAKE1,
      ngx_http_aisearch_account_conf_set_time,
      0,
      offsetof(ngx_http_aisearch_account_t, timeout),
      NULL },

    { ngx_string("retries"),
      NGX_CONF_TAKE1,
      ngx_http_aisearch_account_conf_set_retries,
      0,
      offsetof(ngx_http_aisearch_account_t, retries),
      NULL },

    { ngx_string("budget"),
      NGX_CONF_TAKE23,
      ngx_http_aisearch_budget_directive,
      0,
      0,
      NULL },

    { ngx_string("trusted_certificate"),
      NGX_CONF_TAKE1,
      ngx_http_aisearch_account_conf_set_trusted,
      0,
      offsetof(ngx_http_aisearch_account_t, trusted_certificate),
      NULL },

    { ngx_string("verify"),
      NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      0,
      offsetof(ngx_http_aisearch_account_t, verify),
      NULL },

    { ngx_string("allow_plain_http"),
      NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      0,
      offsetof(ngx_http_aisearch_account_t, allow_plain_http),
      NULL },

    { ngx_string("proxy"),
      NGX_CONF_TAKE1,
      ngx_http_aisearch_account_conf_set_proxy,
      0,
      offsetof(ngx_http_aisearch_account_t, proxy),
      NULL },

      ngx_null_command
};


/* aisearch_account NAME { ... } */

char *
ngx_http_aisearch_account_conf_block(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_aisearch_main_conf_t  *amcf = conf;

    char                          *rv;
    ngx_str_t                     *value;
    ngx_conf_t                     save;
    ngx_pool_cleanup_t            *cln;
    ngx_http_aisearch_account_t   *account, *other, **p;

    value = cf->args->elts;

    if (!ngx_http_aisearch_conf_name_valid(&value[1])) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid aisearch_account \"%V\", a name "
                           "consists of letters, digits, \"_\", \"-\" and "
                           "\".\"",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    if (value[1].len > NGX_HTTP_AISEARCH_NAME_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "too long aisearch_account \"%V\", a name has at "
                           "most %d characters", &value[1],
                           NGX_HTTP_AISEARCH_NAME_MAX);
        return NGX_CONF_ERROR;
    }

    other = ngx_http_aisearch_account_find(amcf, &value[1]);
    if (other) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "duplicate aisearch_account \"%V\", the first "
                           "one is in %s:%ui; rename one of them",
                           &value[1], other->file, other->line);
        return NGX_CONF_ERROR;
    }

    cln = ngx_pool_cleanup_add(cf->pool, sizeof(ngx_http_aisearch_account_t));
    if (cln == NULL) {
        return NGX_CONF_ERROR;
    }

    account = cln->data;
    ngx_memzero(account, sizeof(ngx_http_aisearch_account_t));

    cln->handler = ngx_http_aisearch_credential_free;

    account->name = value[1];
    account->connect_timeout = NGX_CONF_UNSET_MSEC;
    account->timeout = NGX_CONF_UNSET_MSEC;
    account->retries = NGX_CONF_UNSET_UINT;
    account->verify = NGX_CONF_UNSET;
    account->allow_plain_http = NGX_CONF_UNSET;
    account->file = cf->conf_file->file.name.data;
    account->line = cf->conf_file->line;
    account->trusted_file = account->file;
    account->trusted_line = account->line;

    save = *cf;

    cf->handler = ngx_http_aisearch_account_conf_directive;
    cf->handler_conf = (char *) account;

    rv = ngx_conf_parse(cf, NULL);

    *cf = save;

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (ngx_http_aisearch_account_init(cf, account) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    p = ngx_array_push(&amcf->accounts);
    if (p == NULL) {
        return NGX_CONF_ERROR;
    }

    *p = account;

    return NGX_CONF_OK;
}


static char *
ngx_http_aisearch_account_conf_directive(ngx_conf_t *cf, ngx_command_t *dummy,
    void *conf)
{
    char           *rv;
    ngx_str_t      *value;
    ngx_uint_t      valid;
    const char     *number;
    ngx_command_t  *cmd;

    value = cf->args->elts;

    if (ngx_strcmp(value[0].data, "include") == 0) {

        if (cf->args->nelts != 2) {
            return "invalid number of arguments in \"include\" directive";
        }

        return ngx_conf_include(cf, dummy, conf);
    }

    for (cmd = ngx_http_aisearch_account_conf_commands; cmd->name.len; cmd++) {

        if (ngx_http_aisearch_equal(&cmd->name, &value[0])) {
            break;
        }
    }

    if (cmd->name.len == 0) {
        ngx_http_aisearch_account_conf_unknown(cf, conf, &value[0]);
        return NGX_CONF_ERROR;
    }

    switch (cmd->type) {

    case NGX_CONF_1MORE:
        valid = cf->args->nelts > 1;
        number = "one or more";
        break;

    case NGX_CONF_TAKE23:
        valid = cf->args->nelts == 3 || cf->args->nelts == 4;
        number = "two or three";
        break;

    default:
        valid = cf->args->nelts == 2;
        number = "one";
    }

    if (!valid) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid number of arguments in \"%V\" "
                           "directive, it takes %s and ends with \";\"",
                           &value[0], number);
        return NGX_CONF_ERROR;
    }

    rv = cmd->set(cf, cmd, conf);

    if (rv != NGX_CONF_OK && rv != NGX_CONF_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "\"%V\" directive %s",
                           &value[0], rv);
        return NGX_CONF_ERROR;
    }

    return rv;
}


static void
ngx_http_aisearch_account_conf_unknown(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account, ngx_str_t *name)
{
    u_char           *p;
    ngx_command_t    *cmd;
    struct ais_near   near;

    if (ngx_strncmp(name->data, "aisearch_", 9) == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" directive is not allowed inside "
                           "aisearch_account \"%V\", move it after the "
                           "\"}\" of the block", name, &account->name);
        return;
    }

    ngx_memzero(&near, sizeof(struct ais_near));

    /* the text after "=" may be a secret */

    p = (u_char *) ngx_strchr(name->data, '=');
    if (p) {
        name->len = p + 1 - name->data;
    }

    near.word = ngx_http_aisearch_str(name);

    for (cmd = ngx_http_aisearch_account_conf_commands; cmd->name.len; cmd++) {
        ais_near_look(&near, ngx_http_aisearch_str(&cmd->name));
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "unknown directive \"%V\" in aisearch_account \"%V\", "
                       "%s", name, &account->name, ais_near_hint(&near));
}


static char *
ngx_http_aisearch_account_conf_set_id(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_aisearch_account_t  *account = conf;

    char  *rv;

    rv = ngx_conf_set_str_slot(cf, cmd, conf);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (!ais_account_id_valid(ngx_http_aisearch_str(&account->account_id))) {
        return ngx_http_aisearch_conf_error(cf, account,
                         "invalid \"account_id\", it must be the 32 digits "
                         "of 0-9 and a-f in lower case that the dashboard "
                         "shows, not the name of the account");
    }

    if (account->account_id.len != AIS_ACCOUNT_ID_LEN) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "\"account_id\" has %uz digits instead of %d, so "
                           "the API will reject it; copy it from the "
                           "dashboard again",
                           account->account_id.len, AIS_ACCOUNT_ID_LEN);
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_aisearch_account_conf_set_instance(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_aisearch_account_t  *account = conf;

    ngx_str_t                    *value;
    ngx_uint_t                    i, valid;
    struct ais_str                ns, id;
    const char                   *slash;
    ngx_http_aisearch_allowed_t  *allowed;

    value = cf->args->elts;

    if (account->instances == NULL) {
        account->instances = ngx_array_create(cf->pool, 4,
                                          sizeof(ngx_http_aisearch_allowed_t));
        if (account->instances == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    for (i = 1; i < cf->args->nelts; i++) {

        id = ngx_http_aisearch_str(&value[i]);
        ns = AIS_STR("");

        slash = ngx_strchr(id.data, '/');

        if (slash) {
            ns = (struct ais_str) { id.data, slash - id.data };
            id = (struct ais_str) { slash + 1, id.len - ns.len - 1 };
        }

        valid = ais_instance_valid(id, AIS_PLAIN);

        if (!valid || (slash && !ais_namespace_valid(ns))) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid instance \"%V\", it must be NAME or "
                               "NAMESPACE/NAME: %s", &value[i],
                               ais_resource_error_text(
                                   valid ? AIS_RESOURCE_BAD_NAMESPACE
                                         : AIS_RESOURCE_BAD_INSTANCE));
            return NGX_CONF_ERROR;
        }

        allowed = ngx_array_push(account->instances);
        if (allowed == NULL) {
            return NGX_CONF_ERROR;
        }

        /* instances without a namespace are in "default" */

        allowed->namespace = ais_str_eq(ns, AIS_DEFAULT_NAMESPACE)
                             ? AIS_STR("") : ns;
        allowed->instance = id;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_aisearch_account_conf_set_api_url(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_aisearch_account_t  *account = conf;

    char              *rv;
    struct ais_error   err;

    rv = ngx_conf_set_str_slot(cf, cmd, conf);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (ais_url_parse(&account->target.url, (char *) account->api_url.data,
                      &err)
        != 0)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "aisearch_account \"%V\": invalid \"api_url\": %s",
                           &account->name, err.text);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* "connect_timeout" and "timeout" */

static char *
ngx_http_aisearch_account_conf_set_time(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    char  *p = conf;

    ngx_int_t    ms;
    ngx_str_t   *value;
    ngx_msec_t  *field;

    field = (ngx_msec_t *) (p + cmd->offset);

    if (*field != NGX_CONF_UNSET_MSEC) {
        return "is duplicate";
    }

    value = cf->args->elts;

    ms = ngx_parse_time(&value[1], 0);

    if (ms == NGX_ERROR || ms == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid time \"%V\" in \"%V\" directive, it "
                           "must be greater than 0, such as \"5s\"",
                           &value[1], &value[0]);
        return NGX_CONF_ERROR;
    }

    if (ms > 60 * 60 * 1000) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "\"%V %V\" is more than an hour because a number "
                           "without a unit is in seconds; use \"ms\" for "
                           "milliseconds, such as \"%V 5000ms\"",
                           &value[0], &value[1], &value[0]);
    }

    *field = ms;

    return NGX_CONF_OK;
}


static char *
ngx_http_aisearch_account_conf_set_retries(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_aisearch_account_t  *account = conf;

    ngx_int_t   n;
    ngx_str_t  *value;

    if (account->retries != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;

    n = ngx_atoi(value[1].data, value[1].len);

    if (n == NGX_ERROR || n > NGX_HTTP_AISEARCH_RETRIES) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid number \"%V\" in \"retries\" directive, "
                           "it must be between 0 and %d",
                           &value[1], NGX_HTTP_AISEARCH_RETRIES);
        return NGX_CONF_ERROR;
    }

    account->retries = n;

    return NGX_CONF_OK;
}


/* the content is checked later, when it is known whether TLS is used */

static char *
ngx_http_aisearch_account_conf_set_trusted(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_aisearch_account_t  *account = conf;

    char  *rv;

    rv = ngx_conf_set_str_slot(cf, cmd, conf);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (ngx_conf_full_name(cf->cycle, &account->trusted_certificate, 1)
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    account->trusted_file = cf->conf_file->file.name.data;
    account->trusted_line = cf->conf_file->line;

    return NGX_CONF_OK;
}


static char *
ngx_http_aisearch_account_conf_set_proxy(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_aisearch_account_t  *account = conf;

    char              *rv;
    struct ais_error   err;

    rv = ngx_conf_set_str_slot(cf, cmd, conf);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (ais_url_check_proxy((char *) account->proxy.data, &err) != 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "aisearch_account \"%V\": invalid \"proxy\": %s",
                           &account->name, err.text);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}
