/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The credentials of an account: the current one and the next one.  The master
 * reads their files, which may be readable only by root, together with the
 * configuration.
 */


#include "ngx_http_aisearch_conf.h"


static ngx_int_t ngx_http_aisearch_credential_path(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account, ngx_str_t *file);
static ngx_int_t ngx_http_aisearch_credential_keep_env(ngx_conf_t *cf);
static char *ngx_http_aisearch_credential_load(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account);
static ngx_int_t ngx_http_aisearch_credential_read(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account, ngx_uint_t n);


static const char  ngx_http_aisearch_two_credentials[] =
    "two kinds of credentials are set; use either \"token_file\", or "
    "\"email\" and \"key_file\"";


/*
 * token_file FILE, or key_file FILE for the keys of one email; given twice: the
 * current credential and the next one
 */

char *
ngx_http_aisearch_credential_file(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_aisearch_account_t  *account = conf;

    ngx_str_t   *value, *file;
    ngx_uint_t   i, keys;

    value = cf->args->elts;
    keys = (ngx_strcmp(value[0].data, "key_file") == 0);

    if (account->nfiles ? account->keys != keys : account->email.data && !keys)
    {
        return ngx_http_aisearch_conf_error(cf, account,
                                            ngx_http_aisearch_two_credentials);
    }

    if (account->nfiles == AIS_SLOTS) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "too many \"%V\" directives, use one for the "
                           "current credential and one for the next",
                           &value[0]);
        return NGX_CONF_ERROR;
    }

    file = &account->files[account->nfiles];
    *file = value[1];

    if (ngx_http_aisearch_credential_path(cf, account, file) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    for (i = 0; i < account->nfiles; i++) {
        if (ngx_http_aisearch_equal(&account->files[i], file)) {
            return "is duplicate, the next credential needs its own file";
        }
    }

    account->nfiles++;
    account->keys = keys;

    if (keys && account->email.data == NULL) {
        /* the other half may follow */
        return NGX_CONF_OK;
    }

    return ngx_http_aisearch_credential_load(cf, account);
}


/* email ADDRESS */

char *
ngx_http_aisearch_credential_email(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_aisearch_account_t  *account = conf;

    char  *rv;

    rv = ngx_conf_set_str_slot(cf, cmd, conf);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (account->nfiles && !account->keys) {
        return ngx_http_aisearch_conf_error(cf, account,
                                            ngx_http_aisearch_two_credentials);
    }

    return ngx_http_aisearch_credential_load(cf, account);
}


/* credential:NAME is a systemd credential, anything else is a file name */

static ngx_int_t
ngx_http_aisearch_credential_path(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account, ngx_str_t *file)
{
    char              path[AIS_CREDENTIAL_PATH_MAX];
    struct ais_error  err;

    if (!ais_credential_is_named((char *) file->data)) {
        return ngx_conf_full_name(cf->cycle, file, 1);
    }

    if (ais_credential_path(path, (char *) file->data,
                            "nginx.service nginx -t", &err)
        != 0)
    {
        (void) ngx_http_aisearch_conf_error(cf, account, err.text);
        return NGX_ERROR;
    }

    file->len = ngx_strlen(path);
    file->data = ngx_pnalloc(cf->pool, file->len + 1);
    if (file->data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(file->data, path, file->len + 1);

    return ngx_http_aisearch_credential_keep_env(cf);
}


/*
 * The same as "env CREDENTIALS_DIRECTORY;", so that a new binary finds the
 * credentials on an upgrade, too.
 */

static ngx_int_t
ngx_http_aisearch_credential_keep_env(ngx_conf_t *cf)
{
    ngx_str_t         *var;
    ngx_uint_t         i;
    ngx_core_conf_t   *ccf;
    static ngx_str_t   name = ngx_string("CREDENTIALS_DIRECTORY");

    ccf = (ngx_core_conf_t *) ngx_get_conf(cf->cycle->conf_ctx,
                                           ngx_core_module);

    var = ccf->env.elts;

    for (i = 0; i < ccf->env.nelts; i++) {

        if (ngx_strncmp(var[i].data, name.data, name.len) == 0
            && (var[i].len == name.len || var[i].data[name.len] == '='))
        {
            return NGX_OK;
        }
    }

    var = ngx_array_push(&ccf->env);
    if (var == NULL) {
        return NGX_ERROR;
    }

    *var = name;

    return NGX_OK;
}


/*
 * Reads the credentials that have not been read yet.  The file of the next
 * credential may not exist yet; it is ignored until then.
 */

static char *
ngx_http_aisearch_credential_load(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account)
{
    char             *file;
    ngx_uint_t        i;
    ngx_file_info_t   fi;

    for (i = 0; i < account->nfiles; i++) {

        if (account->credentials[i]) {
            continue;
        }

        file = (char *) account->files[i].data;

        if (i > 0 && ngx_file_info(file, &fi) == NGX_FILE_ERROR
            && ngx_errno == NGX_ENOENT)
        {
            ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                               "aisearch_account \"%V\": the file of the "
                               "next credential, \"%s\", does not exist and "
                               "is ignored; reload nginx after creating it",
                               &account->name, file);
            account->nfiles = i;
            break;
        }

        if (ngx_http_aisearch_credential_read(cf, account, i) != NGX_OK) {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_aisearch_credential_read(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account, ngx_uint_t n)
{
    char                   *file;
    const char             *cure, *oddity;
    struct ais_error        err;
    struct ais_credential  *credential;

    file = (char *) account->files[n].data;

    credential = account->keys
                 ? ais_credential_email_key((char *) account->email.data, file,
                                            &err)
                 : ais_credential_token(file, &err);

    if (credential == NULL) {
        (void) ngx_http_aisearch_conf_error(cf, account, err.text);
        return NGX_ERROR;
    }

    account->credentials[n] = credential;

    cure = ais_credential_exposed(credential);

    if (cure) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "aisearch_account \"%V\": any user of this host "
                           "can read or write \"%s\"; %s",
                           &account->name, file, cure);
    }

    oddity = ais_credential_oddity(credential);

    if (oddity) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "aisearch_account \"%V\": \"%s\": %s",
                           &account->name, file, oddity);
    }

    return NGX_OK;
}


const char *
ngx_http_aisearch_credential_missing(ngx_http_aisearch_account_t *account)
{
    if (account->email.data && account->nfiles == 0) {
        return "\"email\" is set without \"key_file\"; a credential needs "
               "both";
    }

    if (account->keys && account->email.data == NULL) {
        return "\"key_file\" is set without \"email\"; a credential needs "
               "both";
    }

    if (account->nfiles == 0) {
        return "no credential is set; use \"token_file\", or \"email\" and "
               "\"key_file\"";
    }

    return NULL;
}


ngx_uint_t
ngx_http_aisearch_credential_shared(ngx_http_aisearch_account_t *a,
    ngx_http_aisearch_account_t *b)
{
    ngx_uint_t  i, n;

    for (i = 0; i < a->nfiles; i++) {
        for (n = 0; n < b->nfiles; n++) {

            if (ais_credential_equal(a->credentials[i], b->credentials[n])) {
                return 1;
            }
        }
    }

    return 0;
}


void
ngx_http_aisearch_credential_free(void *data)
{
    ngx_http_aisearch_account_t  *account = data;

    ngx_uint_t  i;

    for (i = 0; i < AIS_SLOTS; i++) {
        ais_credential_free(account->credentials[i]);
    }
}
