/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Logs the version of the module that runs.  A reload does not load a file that
 * was replaced on disk, since dlopen() already has one with this name.
 */


#include "ngx_http_aisearch_conf.h"

#include <curl/curl.h>
#include <dlfcn.h>

#include "ais_version.h"


static ngx_uint_t ngx_http_aisearch_loaded_replaced(const char *file);


void
ngx_http_aisearch_loaded(ngx_log_t *log)
{
    Dl_info                  dl;
    curl_version_info_data  *curl;

    if (!ngx_test_config) {
        /* curl_version() would also initialize libldap, which leaves a hole in
           the heap that every request of nginx pays for */

        curl = curl_version_info(CURLVERSION_NOW);

        ngx_log_error(NGX_LOG_NOTICE, log, 0,
                      "aisearch-jobs/%s, libcurl/%s %s",
                      AIS_VERSION, curl->version, curl->ssl_version);
    }

    if (dladdr(&ngx_http_aisearch_module, &dl) != 0
        && ngx_http_aisearch_loaded_replaced(dl.dli_fname))
    {
        ngx_log_error(NGX_LOG_WARN, log, 0,
                      "the aisearch module in \"%s\" was replaced, but "
                      "nginx still uses the previous one; restart nginx or "
                      "upgrade it on the fly to load the new one, a reload "
                      "is not sufficient",
                      dl.dli_fname);
    }
}


static ngx_uint_t
ngx_http_aisearch_loaded_replaced(const char *file)
{
    ngx_file_info_t         fi;
    static ngx_file_uniq_t  loaded; /* the file's inode */

    if (ngx_file_info(file, &fi) == NGX_FILE_ERROR) {
        return 0;
    }

    if (loaded == 0) {
        loaded = ngx_file_uniq(&fi);
    }

    return ngx_file_uniq(&fi) != loaded;
}
