/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * What several directives need: whether a name is valid, and errors that name
 * the account.
 */


#include "ngx_http_aisearch_module.h"


ngx_uint_t
ngx_http_aisearch_conf_name_valid(ngx_str_t *name)
{
    u_char  ch;
    size_t  i;

    for (i = 0; i < name->len; i++) {
        ch = ngx_tolower(name->data[i]);

        if ((ch < 'a' || ch > 'z') && (ch < '0' || ch > '9')
            && ch != '_' && ch != '-' && ch != '.')
        {
            return 0;
        }
    }

    return name->len != 0;
}


char *
ngx_http_aisearch_conf_error(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account, const char *text)
{
    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "aisearch_account \"%V\": %s",
                       &account->name, text);

    return NGX_CONF_ERROR;
}
