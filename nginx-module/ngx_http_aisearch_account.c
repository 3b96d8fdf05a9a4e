/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Completes an account after its block has been read: the target of its calls,
 * the resources allowed, and the number that identifies it in the cache.
 */


#include "ngx_http_aisearch_conf.h"

#include <ngx_md5.h>


#define NGX_HTTP_AISEARCH_API_URL  "https://api.cloudflare.com/client/v4"


static ngx_int_t ngx_http_aisearch_account_target(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account);
static void ngx_http_aisearch_account_warn(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account);
static ngx_int_t ngx_http_aisearch_account_identity(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account);


ngx_http_aisearch_account_t *
ngx_http_aisearch_account_find(ngx_http_aisearch_main_conf_t *amcf,
    ngx_str_t *name)
{
    ngx_uint_t                     i;
    ngx_http_aisearch_account_t  **accounts;

    accounts = amcf->accounts.elts;

    for (i = 0; i < amcf->accounts.nelts; i++) {
        if (ngx_http_aisearch_equal(&accounts[i]->name, name)) {
            return accounts[i];
        }
    }

    return NULL;
}


/*
 * A plain name in the allow-list matches the instance without a namespace,
 * which is the one in the namespace "default", or the AutoRAG of that name;
 * instances in other namespaces are written as NAMESPACE/NAME.  Lists of
 * instances and of namespaces would expose other instances, so an allow-list
 * forbids them.
 */

ngx_int_t
ngx_http_aisearch_account_allows(ngx_http_aisearch_account_t *account,
    struct ais_resource *res)
{
    ngx_uint_t                    i;
    struct ais_str                ns;
    ngx_http_aisearch_allowed_t  *allowed;

    if (account->instances == NULL) {
        return 1;
    }

    ns = res->generation == AIS_NAMESPACED
         && !ais_str_eq(res->namespace, AIS_DEFAULT_NAMESPACE)
         ? res->namespace : AIS_STR("");

    allowed = account->instances->elts;

    for (i = 0; i < account->instances->nelts; i++) {
        if (ais_str_eq(allowed[i].namespace, ns)
            && ais_str_eq(allowed[i].instance, res->instance))
        {
            return 1;
        }
    }

    return 0;
}


ngx_int_t
ngx_http_aisearch_account_init(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account)
{
    const char  *text;

    ngx_conf_init_msec_value(account->timeout, 15000);

    if (account->connect_timeout != NGX_CONF_UNSET_MSEC
        && account->connect_timeout > account->timeout)
    {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "aisearch_account \"%V\": \"connect_timeout\" "
                           "has no effect because it is longer than "
                           "\"timeout\"; use a shorter one",
                           &account->name);
    }

    ngx_conf_init_msec_value(account->connect_timeout, 5000);
    ngx_conf_init_uint_value(account->retries, 2);
    ngx_conf_init_value(account->verify, 1);
    ngx_conf_init_value(account->allow_plain_http, 0);

    text = account->account_id.data
           ? ngx_http_aisearch_credential_missing(account)
           : "no \"account_id\" is set; use the ID of the account, 32 "
             "hexadecimal digits";

    if (text) {
        (void) ngx_http_aisearch_conf_error(cf, account, text);
        return NGX_ERROR;
    }

    if (ngx_http_aisearch_account_target(cf, account) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_http_aisearch_account_warn(cf, account);

    return ngx_http_aisearch_account_identity(cf, account);
}


/* warns of valid settings that are probably mistakes */

static void
ngx_http_aisearch_account_warn(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account)
{
    struct ais_error  err;

    if (account->target.url.tls && !account->verify) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "aisearch_account \"%V\": with \"verify off\", "
                           "anyone who can intercept the connection can "
                           "obtain the credential; remove it, and specify a "
                           "private CA with \"trusted_certificate\"",
                           &account->name);
    }

    if (account->proxy.data && account->target.url.unix_socket[0]) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "aisearch_account \"%V\": \"proxy\" has no "
                           "effect because \"api_url\" is a Unix socket; "
                           "remove it",
                           &account->name);
    }

    if (ais_budget_check(account->limits, account->nlimits, &err) != 0) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "aisearch_account \"%V\": \"budget\" allows %s",
                           &account->name, err.text);
    }
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
        (void) ngx_http_aisearch_conf_error(cf, account,
                         secrecy == AIS_URL_OPEN
                         ? "\"api_url\" would send the credential to "
                           "another host over plain http; use https, or set "
                           "\"allow_plain_http on\""
                         : "the proxy would see the credential because "
                           "\"api_url\" is plain http; remove \"proxy\", "
                           "use https, or set \"allow_plain_http on\"");
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
 * Cache entries identify their account by a number that differs whenever
 * answers may differ, and that does not change on reload.
 */

static ngx_int_t
ngx_http_aisearch_account_identity(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account)
{
    u_char     *p, hash[16];
    ngx_md5_t   md5;

    /* a URL or an id contains no spaces */

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
