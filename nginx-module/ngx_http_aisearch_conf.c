/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Functions shared by directives: checks of names, errors that name the
 * account, and zones without a directive.
 */


#include "ngx_http_aisearch_conf.h"


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


/*
 * Adds a zone without a directive, after the configuration is read.  If its
 * name is in use, nginx cannot log a line of the configuration.
 */

ngx_shm_zone_t *
ngx_http_aisearch_conf_add_zone(ngx_conf_t *cf,
    ngx_http_aisearch_main_conf_t *amcf, ngx_str_t *name, size_t size,
    void *tag, ngx_shm_zone_init_pt init)
{
    ngx_uint_t                     i;
    ngx_list_part_t               *part;
    ngx_shm_zone_t                *zones, *zone;
    ngx_http_aisearch_account_t  **accounts;

    accounts = amcf->accounts.elts;

    for (part = &cf->cycle->shared_memory.part; part; part = part->next) {
        zones = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (zones[i].tag == tag
                || !ngx_http_aisearch_equal(&zones[i].shm.name, name))
            {
                continue;
            }

            if (amcf->accounts.nelts == 0) {
                break;
            }

            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "shared memory zone \"%V\" is used by "
                          "another directive, rename it there: it is "
                          "needed by aisearch_account in %s:%ui", name,
                          accounts[0]->file, accounts[0]->line);
            return NULL;
        }
    }

    zone = ngx_shared_memory_add(cf, name, size, tag);

    if (zone) {
        zone->init = init;
        zone->data = amcf;
    }

    return zone;
}
