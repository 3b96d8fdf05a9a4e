#include "ngx_http_aisearch_module.h"


/*
 * A variable in a resource stands for one part of it, which it did not always:
 * what was written for several parts is to be found when the configuration is
 * read, not by those who get 400 from then on.
 */


static u_char *ngx_http_aisearch_parts_skip(u_char *p, u_char *last);
static ngx_uint_t ngx_http_aisearch_parts_may_be_many(ngx_conf_t *cf,
    ngx_str_t *variable);


/*
 * Warns of "instances/$rest" and the like, where the variable is all that
 * follows.  "instances/$inst" is an instance, too; but not where a location's
 * regular expression captures any number of parts.
 */

void
ngx_http_aisearch_parts_check(ngx_conf_t *cf, ngx_str_t *account,
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
        p = ngx_http_aisearch_parts_skip(p, last);

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

    if (ais_resource_parse(&res, (struct ais_str) { (char *) example.data,
                                                    example.len },
                           AIS_STR(""))
        != AIS_RESOURCE_OK
        || (res.kind != AIS_INSTANCE && res.kind != AIS_NAMESPACE)
        || !ngx_http_aisearch_parts_may_be_many(cf, &variable))
    {
        return;
    }

    ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                       "\"%V\" in \"aisearch_pass\" is one %s, since a variable "
                       "stands for one part of a resource; if \"%V\" is more "
                       "than that, such as \"NAME/jobs/ID\", write "
                       "\"set $resource %V; aisearch_pass %V $resource;\"",
                       resource, res.kind == AIS_INSTANCE ? "instance"
                                                          : "namespace",
                       &variable, resource, account);
}


/* $name or ${name} */

static u_char *
ngx_http_aisearch_parts_skip(u_char *p, u_char *last)
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
ngx_http_aisearch_parts_may_be_many(ngx_conf_t *cf, ngx_str_t *variable)
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
