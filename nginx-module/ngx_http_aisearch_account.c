#include "ngx_http_aisearch_module.h"

#include <ngx_md5.h>


static char *ngx_http_aisearch_account_directive(ngx_conf_t *cf,
    ngx_command_t *dummy, void *conf);
static void ngx_http_aisearch_account_unknown(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account, ngx_str_t *name);
static char *ngx_http_aisearch_account_set_id(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static char *ngx_http_aisearch_account_set_instance(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static char *ngx_http_aisearch_account_set_api_url(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static char *ngx_http_aisearch_account_set_time(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static char *ngx_http_aisearch_account_set_retries(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static char *ngx_http_aisearch_account_set_trusted(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static char *ngx_http_aisearch_account_set_proxy(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);

static ngx_int_t ngx_http_aisearch_account_check(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account);
static ngx_int_t ngx_http_aisearch_account_complete(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account);
static ngx_int_t ngx_http_aisearch_account_target(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account);
static ngx_int_t ngx_http_aisearch_account_identity(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account);

static void ngx_http_aisearch_account_cleanup(void *data);
static void ngx_http_aisearch_account_error(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account, const char *text);


#define NGX_HTTP_AISEARCH_API_URL  "https://api.cloudflare.com/client/v4"

#define NGX_HTTP_AISEARCH_RETRIES  10


static ngx_command_t  ngx_http_aisearch_account_commands[] = {

    { ngx_string("account_id"),
      NGX_CONF_TAKE1,
      ngx_http_aisearch_account_set_id,
      0,
      offsetof(ngx_http_aisearch_account_t, account_id),
      NULL },

    { ngx_string("token_file"),
      NGX_CONF_TAKE1,
      ngx_http_aisearch_credential_token_file,
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
      ngx_http_aisearch_credential_key_file,
      0,
      0,
      NULL },

    { ngx_string("instance"),
      NGX_CONF_1MORE,
      ngx_http_aisearch_account_set_instance,
      0,
      0,
      NULL },

    { ngx_string("api_url"),
      NGX_CONF_TAKE1,
      ngx_http_aisearch_account_set_api_url,
      0,
      offsetof(ngx_http_aisearch_account_t, api_url),
      NULL },

    { ngx_string("connect_timeout"),
      NGX_CONF_TAKE1,
      ngx_http_aisearch_account_set_time,
      0,
      offsetof(ngx_http_aisearch_account_t, connect_timeout),
      NULL },

    { ngx_string("timeout"),
      NGX_CONF_TAKE1,
      ngx_http_aisearch_account_set_time,
      0,
      offsetof(ngx_http_aisearch_account_t, timeout),
      NULL },

    { ngx_string("retries"),
      NGX_CONF_TAKE1,
      ngx_http_aisearch_account_set_retries,
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
      ngx_http_aisearch_account_set_trusted,
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
      ngx_http_aisearch_account_set_proxy,
      0,
      offsetof(ngx_http_aisearch_account_t, proxy),
      NULL },

      ngx_null_command
};


/* aisearch_account NAME { ... } */

char *
ngx_http_aisearch_account_block(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_aisearch_main_conf_t  *amcf = conf;

    char                          *rv;
    ngx_str_t                     *value;
    ngx_conf_t                     save;
    ngx_pool_cleanup_t            *cln;
    ngx_http_aisearch_account_t   *account, *other, **p;

    value = cf->args->elts;

    if (!ngx_http_aisearch_status_name_valid(&value[1])) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid aisearch_account \"%V\", a name is of "
                           "letters, digits, \"_\", \"-\" and \".\"",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    if (value[1].len > NGX_HTTP_AISEARCH_NAME_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "too long aisearch_account \"%V\", a name has up "
                           "to %d characters", &value[1],
                           NGX_HTTP_AISEARCH_NAME_MAX);
        return NGX_CONF_ERROR;
    }

    other = ngx_http_aisearch_account_find(amcf, &value[1]);
    if (other) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "duplicate aisearch_account \"%V\", "
                           "the first is in %s:%ui; give one another name",
                           &value[1], other->file, other->line);
        return NGX_CONF_ERROR;
    }

    cln = ngx_pool_cleanup_add(cf->pool, sizeof(ngx_http_aisearch_account_t));
    if (cln == NULL) {
        return NGX_CONF_ERROR;
    }

    account = cln->data;
    ngx_memzero(account, sizeof(ngx_http_aisearch_account_t));

    cln->handler = ngx_http_aisearch_account_cleanup;

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

    cf->handler = ngx_http_aisearch_account_directive;
    cf->handler_conf = (char *) account;

    rv = ngx_conf_parse(cf, NULL);

    *cf = save;

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (ngx_http_aisearch_account_check(cf, account) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    p = ngx_array_push(&amcf->accounts);
    if (p == NULL) {
        return NGX_CONF_ERROR;
    }

    *p = account;

    return NGX_CONF_OK;
}


ngx_http_aisearch_account_t *
ngx_http_aisearch_account_find(ngx_http_aisearch_main_conf_t *amcf,
    ngx_str_t *name)
{
    ngx_uint_t                     i;
    ngx_http_aisearch_account_t  **accounts;

    accounts = amcf->accounts.elts;

    for (i = 0; i < amcf->accounts.nelts; i++) {

        if (accounts[i]->name.len == name->len
            && ngx_strncmp(accounts[i]->name.data, name->data, name->len) == 0)
        {
            return accounts[i];
        }
    }

    return NULL;
}


/*
 * A name in the allow-list means the instance outside of namespaces, which is
 * the one in the namespace "default", or the AutoRAG of that name; for another
 * namespace it has to be NAMESPACE/NAME.  A list of instances would tell of
 * others too, and so would namespaces: where there is an allow-list, nobody gets
 * one.
 */

ngx_int_t
ngx_http_aisearch_account_allows(ngx_http_aisearch_account_t *account,
    struct ais_resource *res)
{
    size_t      len;
    u_char     *p;
    ngx_str_t  *name;
    ngx_uint_t  i;

    if (account->instances == NULL) {
        return 1;
    }

    if (res->instance.len == 0) {
        return 0;
    }

    len = res->instance.len;

    if (res->generation == AIS_NAMESPACED
        && !ais_str_eq(res->namespace, AIS_DEFAULT_NAMESPACE))
    {
        len += res->namespace.len + 1;
    }

    name = account->instances->elts;

    for (i = 0; i < account->instances->nelts; i++) {

        if (name[i].len != len) {
            continue;
        }

        p = name[i].data;

        if (len != res->instance.len) {

            if (ngx_memcmp(p, res->namespace.data, res->namespace.len) != 0
                || p[res->namespace.len] != '/')
            {
                continue;
            }

            p += res->namespace.len + 1;
        }

        if (ngx_memcmp(p, res->instance.data, res->instance.len) == 0) {
            return 1;
        }
    }

    return 0;
}


static char *
ngx_http_aisearch_account_directive(ngx_conf_t *cf, ngx_command_t *dummy,
    void *conf)
{
    char           *rv;
    ngx_str_t      *value;
    ngx_uint_t      valid;
    ngx_command_t  *cmd;

    value = cf->args->elts;

    if (value[0].len == 7 && ngx_strncmp(value[0].data, "include", 7) == 0) {

        if (cf->args->nelts != 2) {
            return "invalid number of arguments in \"include\" directive";
        }

        return ngx_conf_include(cf, dummy, conf);
    }

    for (cmd = ngx_http_aisearch_account_commands; cmd->name.len; cmd++) {

        if (cmd->name.len == value[0].len
            && ngx_strncmp(cmd->name.data, value[0].data, value[0].len) == 0)
        {
            break;
        }
    }

    if (cmd->name.len == 0) {
        ngx_http_aisearch_account_unknown(cf, conf, &value[0]);
        return NGX_CONF_ERROR;
    }

    switch (cmd->type) {

    case NGX_CONF_1MORE:
        valid = cf->args->nelts > 1;
        break;

    case NGX_CONF_TAKE23:
        valid = cf->args->nelts == 3 || cf->args->nelts == 4;
        break;

    default:
        valid = cf->args->nelts == 2;
    }

    if (!valid) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid number of arguments in \"%V\" directive",
                           &value[0]);
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


/*
 * What is wrong in a directive is told where the directive stands, so each is
 * checked when it is set.
 */

static char *
ngx_http_aisearch_account_set_id(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_aisearch_account_t  *account = conf;

    char            *rv;
    struct ais_str   id;

    rv = ngx_conf_set_str_slot(cf, cmd, conf);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    id.data = (char *) account->account_id.data;
    id.len = account->account_id.len;

    if (!ais_account_id_valid(id)) {
        ngx_http_aisearch_account_error(cf, account,
                         "invalid \"account_id\", it must be 32 lower case "
                         "hexadecimal digits");
        return NGX_CONF_ERROR;
    }

    if (id.len != AIS_ACCOUNT_ID_LEN) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "\"account_id\" has %uz digits, and the API's have "
                           "%d, so that it will refuse it; copy it again from "
                           "the dashboard",
                           id.len, AIS_ACCOUNT_ID_LEN);
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_aisearch_account_set_instance(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_aisearch_account_t  *account = conf;

    ngx_str_t       *value, *name;
    ngx_uint_t       i, valid;
    struct ais_str   ns, id;
    u_char          *p;

    value = cf->args->elts;

    if (account->instances == NULL) {
        account->instances = ngx_array_create(cf->pool, 4, sizeof(ngx_str_t));
        if (account->instances == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    for (i = 1; i < cf->args->nelts; i++) {

        p = (u_char *) ngx_strchr(value[i].data, '/');

        ns.data = (char *) value[i].data;
        ns.len = p ? (size_t) (p - value[i].data) : 0;

        id.data = p ? (char *) p + 1 : (char *) value[i].data;
        id.len = (char *) value[i].data + value[i].len - id.data;

        valid = ais_instance_valid(id, AIS_PLAIN)
                && (p == NULL || ais_namespace_valid(ns));

        if (!valid) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid instance \"%V\", it must be NAME or "
                               "NAMESPACE/NAME: %s", &value[i],
                               ais_resource_error_text(
                                   ais_instance_valid(id, AIS_PLAIN)
                                   ? AIS_RESOURCE_BAD_NAMESPACE
                                   : AIS_RESOURCE_BAD_INSTANCE));
            return NGX_CONF_ERROR;
        }

        name = ngx_array_push(account->instances);
        if (name == NULL) {
            return NGX_CONF_ERROR;
        }

        *name = value[i];

        /* the namespace of plain instances is called "default" */

        if (p && ais_str_eq(ns, AIS_DEFAULT_NAMESPACE)) {
            name->data = (u_char *) id.data;
            name->len = id.len;
        }
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_aisearch_account_set_api_url(ngx_conf_t *cf, ngx_command_t *cmd,
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


static void
ngx_http_aisearch_account_unknown(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account, ngx_str_t *name)
{
    u_char          buf[NGX_MAX_CONF_ERRSTR / 2], *p, *last;
    ngx_command_t  *cmd;

    p = buf;
    last = buf + sizeof(buf);

    for (cmd = ngx_http_aisearch_account_commands; cmd->name.len; cmd++) {
        p = ngx_slprintf(p, last, "%s\"%V\"", p == buf ? "" : ", ",
                         &cmd->name);
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "unknown directive \"%V\" in aisearch_account \"%V\", "
                       "use one of %*s",
                       name, &account->name, (size_t) (p - buf), buf);
}


/* "connect_timeout" and "timeout" */

static char *
ngx_http_aisearch_account_set_time(ngx_conf_t *cf, ngx_command_t *cmd,
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
                           "invalid time \"%V\" in \"%V\" directive, it must "
                           "be one greater than 0, such as \"5s\"",
                           &value[1], &value[0]);
        return NGX_CONF_ERROR;
    }

    *field = ms;

    return NGX_CONF_OK;
}


static char *
ngx_http_aisearch_account_set_retries(ngx_conf_t *cf, ngx_command_t *cmd,
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


/* what is in the file is checked when it is known whether it is needed */

static char *
ngx_http_aisearch_account_set_trusted(ngx_conf_t *cf, ngx_command_t *cmd,
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
ngx_http_aisearch_account_set_proxy(ngx_conf_t *cf, ngx_command_t *cmd,
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


/* the whole block, once it is read: what is missing, what does not agree */

static ngx_int_t
ngx_http_aisearch_account_check(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account)
{
    ngx_conf_init_msec_value(account->timeout, 15000);

    if (account->connect_timeout != NGX_CONF_UNSET_MSEC
        && account->connect_timeout > account->timeout)
    {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "aisearch_account \"%V\": \"connect_timeout\" is "
                           "longer than \"timeout\", which a whole look-up may "
                           "take, and so is never reached; make it shorter",
                           &account->name);
    }

    ngx_conf_init_msec_value(account->connect_timeout, 5000);
    ngx_conf_init_uint_value(account->retries, 2);
    ngx_conf_init_value(account->verify, 1);
    ngx_conf_init_value(account->allow_plain_http, 0);

    if (ngx_http_aisearch_account_complete(cf, account) != NGX_OK
        || ngx_http_aisearch_account_target(cf, account) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_aisearch_account_identity(cf, account);
}


static ngx_int_t
ngx_http_aisearch_account_complete(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account)
{
    const char  *text;

    if (account->account_id.data == NULL) {
        text = "no \"account_id\", set it to the account's id, "
               "32 hexadecimal digits";

    } else {
        text = ngx_http_aisearch_credential_missing(account);
    }

    if (text == NULL) {
        return NGX_OK;
    }

    ngx_http_aisearch_account_error(cf, account, text);

    return NGX_ERROR;
}


static ngx_int_t
ngx_http_aisearch_account_target(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account)
{
    struct ais_target     *t;
    enum ais_url_secrecy   secrecy;

    t = &account->target;

    if (account->api_url.data == NULL) {
        ngx_str_set(&account->api_url, NGX_HTTP_AISEARCH_API_URL);

        if (ais_url_parse(&t->url, NGX_HTTP_AISEARCH_API_URL, NULL) != 0) {
            return NGX_ERROR;
        }
    }

    secrecy = ais_url_secrecy(&t->url, account->proxy.data != NULL);

    if (secrecy != AIS_URL_SECRET && !account->allow_plain_http) {
        ngx_http_aisearch_account_error(cf, account,
                         secrecy == AIS_URL_OPEN
                         ? "\"api_url\" would send the credential over plain "
                           "http to another host; use https, or set "
                           "\"allow_plain_http on\""
                         : "the proxy would see the credential, since "
                           "\"api_url\" is plain http; remove \"proxy\", use "
                           "https, or set \"allow_plain_http on\"");
        return NGX_ERROR;
    }

    t->proxy = (char *) account->proxy.data;
    t->verify_peer = account->verify;
    t->verify_host = account->verify;
    t->connect_timeout = account->connect_timeout;
    t->timeout = account->timeout;
    t->retries = account->retries;

    return NGX_OK;
}


/*
 * Entries of the cache know their account by a number that is different wherever
 * answers may differ, and the same over reloads.
 */

static ngx_int_t
ngx_http_aisearch_account_identity(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account)
{
    u_char     *p, hash[16];
    ngx_md5_t   md5;

    /* neither a URL nor an id has a space in it */

    ngx_md5_init(&md5);
    ngx_md5_update(&md5, account->account_id.data, account->account_id.len);
    ngx_md5_update(&md5, " ", 1);
    ngx_md5_update(&md5, account->api_url.data, account->api_url.len);
    ngx_md5_update(&md5, " ", 1);
    ngx_md5_update(&md5, account->name.data, account->name.len);
    ngx_md5_final(hash, &md5);

    ngx_memcpy(&account->cache_id, hash, sizeof(uint64_t));

    p = ngx_pnalloc(cf->pool, sizeof("accounts//") + account->account_id.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    account->prefix.data = p;

    p = ngx_sprintf(p, "accounts/%V/", &account->account_id);

    account->prefix.len = p - account->prefix.data;

    return NGX_OK;
}


static void
ngx_http_aisearch_account_cleanup(void *data)
{
    ngx_http_aisearch_account_t  *account = data;

    ngx_http_aisearch_credential_free(account);
}


static void
ngx_http_aisearch_account_error(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account, const char *text)
{
    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "aisearch_account \"%V\": %s",
                       &account->name, text);
}
