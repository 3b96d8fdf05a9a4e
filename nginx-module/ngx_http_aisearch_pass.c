/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The "aisearch_pass" directive: the account and the resource of a location.
 */


#include "ngx_http_aisearch_ctx.h"

#include "ais_near.h"


static char *ngx_http_aisearch_pass_resource(ngx_conf_t *cf,
    ngx_http_aisearch_pass_t *pass, ngx_str_t *value);
static char *ngx_http_aisearch_pass_prefix(ngx_conf_t *cf,
    ngx_http_aisearch_pass_t *pass);
static ngx_uint_t ngx_http_aisearch_pass_is_absolute(ngx_str_t *resource);
static void ngx_http_aisearch_pass_check_variables(ngx_conf_t *cf,
    ngx_str_t *account, ngx_str_t *resource);
static ngx_uint_t ngx_http_aisearch_pass_is_wrong(ngx_str_t *resource);
static ngx_uint_t ngx_http_aisearch_pass_is_one_of(u_char *word, u_char *last,
    char **words);
static u_char *ngx_http_aisearch_pass_example(ngx_str_t *resource,
    ngx_str_t *example, u_char letter);
static u_char *ngx_http_aisearch_pass_skip_variable(u_char *p, u_char *last);
static ngx_uint_t ngx_http_aisearch_pass_may_be_many(ngx_conf_t *cf,
    ngx_str_t *variable);
static void ngx_http_aisearch_pass_unknown(ngx_conf_t *cf,
    ngx_http_aisearch_main_conf_t *amcf, ngx_http_aisearch_pass_t *pass);
static ngx_int_t ngx_http_aisearch_pass_parts(ngx_conf_t *cf,
    ngx_str_t *resource, struct ais_resource *res);
static ngx_int_t ngx_http_aisearch_pass_check_account(ngx_conf_t *cf,
    ngx_http_aisearch_pass_t *pass);


/* aisearch_pass ACCOUNT [RESOURCE] */

char *
ngx_http_aisearch_pass(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_aisearch_loc_conf_t  *alcf = conf;

    char                            *rv;
    ngx_str_t                       *value;
    ngx_http_aisearch_pass_t        *pass, **p;
    ngx_http_aisearch_main_conf_t   *amcf;

    if (alcf->pass) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (!ngx_http_aisearch_conf_name_valid(&value[1])) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid aisearch_account \"%V\" in "
                           "\"aisearch_pass\", use the name of an "
                           "\"aisearch_account\" block, without variables, "
                           "and separate the resource from it by a space",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

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

    alcf->pass = pass;

    return ngx_http_aisearch_loc_conf_set_handler(cf, &cmd->name,
                                              ngx_http_aisearch_handler);
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

    if (ngx_http_aisearch_pass_is_absolute(value)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid resource \"%V\" in \"aisearch_pass\": "
                           "it must not begin with a slash; write it as "
                           "\"instances/NAME/jobs/ID\", or omit it to use "
                           "the part of the URI that follows the location "
                           "prefix", value);
        return NGX_CONF_ERROR;
    }

    if (pass->resource->lengths) {
        pass->slashes = ngx_http_aisearch_slashes(value);
        ngx_http_aisearch_pass_check_variables(cf, &pass->name, value);
        return NGX_CONF_OK;
    }

    /* without variables, the resource can be checked now */

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


/* the resource is the rest of the URI, after the prefix of the location */

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


/* whether the resource begins with a slash or a variable with the URI */

static ngx_uint_t
ngx_http_aisearch_pass_is_absolute(ngx_str_t *resource)
{
    u_char       *name, *last;
    static char  *uris[] = { "uri", "request_uri", "document_uri", NULL };

    name = resource->data;

    if (*name != '$') {
        return *name == '/';
    }

    last = ngx_http_aisearch_pass_skip_variable(name, name + resource->len);

    if (*++name == '{') {
        name++;
        last--;
    }

    return ngx_http_aisearch_pass_is_one_of(name, last, uris);
}


/* warns if a resource with variables is invalid or probably not intended */

static void
ngx_http_aisearch_pass_check_variables(ngx_conf_t *cf, ngx_str_t *account,
    ngx_str_t *resource)
{
    u_char                   *start;
    ngx_str_t                 example, variable;
    struct ais_resource       res;
    enum ais_resource_error   err;

    example.data = ngx_pnalloc(cf->temp_pool, resource->len);
    if (example.data == NULL) {
        return;
    }

    start = ngx_http_aisearch_pass_example(resource, &example, 'a');

    err = ais_resource_parse(&res, ngx_http_aisearch_str(&example),
                             AIS_STR(""));

    if (err == AIS_RESOURCE_OK) {
        variable.data = start;
        variable.len = resource->data + resource->len - start;

        if (variable.len && start[-1] == '/'
            && (res.kind == AIS_INSTANCE || res.kind == AIS_NAMESPACE)
            && ngx_http_aisearch_pass_may_be_many(cf, &variable))
        {
            ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                               "\"%V\" in \"aisearch_pass\" matches only a "
                               "single %s, since a variable matches a single path "
                               "segment; if \"%V\" contains more, such as "
                               "\"NAME/jobs/ID\", use \"set $resource %V; "
                               "aisearch_pass %V $resource;\"",
                               resource,
                               res.kind == AIS_INSTANCE ? "instance"
                                                        : "namespace",
                               &variable, resource, account);
        }

        return;
    }

    if (ngx_http_aisearch_pass_is_wrong(resource)) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "invalid resource \"%V\" in \"aisearch_pass\" "
                           "for any values of its variables: %s; write it "
                           "as \"instances/NAME/jobs/ID\"",
                           resource, ais_resource_error_text(err));
    }
}


/*
 * Whether the resource is invalid with any values of its variables: its first
 * word is unknown, or variables only appear as names, each after one word.
 */

static ngx_uint_t
ngx_http_aisearch_pass_is_wrong(ngx_str_t *resource)
{
    u_char       *p, *word, *slash, *last;
    ngx_uint_t    name;
    static char  *first[] = {
        "ai-search", "autorag", "accounts", "namespaces", "instances", "rags",
        NULL
    };
    static char  *prefixes[] = { "ai-search", "autorag", NULL };

    last = resource->data + resource->len;
    name = 0;

    for (word = resource->data; word < last; word = slash + 1) {

        slash = ngx_strlchr(word, last, '/');
        if (slash == NULL) {
            slash = last;
        }

        p = ngx_strlchr(word, slash, '$');

        if (p && !name) {
            return 0;
        }

        if (word == resource->data
            && !ngx_http_aisearch_pass_is_one_of(word, slash, first))
        {
            return 1;
        }

        if (!ngx_http_aisearch_pass_is_one_of(word, slash, prefixes)) {
            name = !name;
        }
    }

    return 1;
}


static ngx_uint_t
ngx_http_aisearch_pass_is_one_of(u_char *word, u_char *last, char **words)
{
    for ( /* void */ ; *words; words++) {

        if (ngx_strlen(*words) == (size_t) (last - word)
            && ngx_memcmp(*words, word, last - word) == 0)
        {
            return 1;
        }
    }

    return 0;
}


/*
 * Creates an example of a resource by replacing each variable with "letter".
 * Returns the start of a variable at the end of the resource, or the end.
 */

static u_char *
ngx_http_aisearch_pass_example(ngx_str_t *resource, ngx_str_t *example,
    u_char letter)
{
    u_char  *p, *q, *last, *start;

    q = example->data;
    last = resource->data + resource->len;
    start = last;

    for (p = resource->data; p < last; /* void */ ) {
        start = last;

        if (*p != '$') {
            *q++ = *p++;
            continue;
        }

        *q++ = letter;
        start = p;
        p = ngx_http_aisearch_pass_skip_variable(p, last);
    }

    example->len = q - example->data;

    return start;
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
            ngx_http_aisearch_pass_unknown(cf, amcf, passes[i]);
            return NGX_ERROR;
        }

        if (passes[i]->resource
            && ngx_http_aisearch_pass_check_account(cf, passes[i]) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static void
ngx_http_aisearch_pass_unknown(ngx_conf_t *cf,
    ngx_http_aisearch_main_conf_t *amcf, ngx_http_aisearch_pass_t *pass)
{
    ngx_uint_t                     i;
    struct ais_near                near;
    ngx_http_aisearch_account_t  **accounts;

    ngx_memzero(&near, sizeof(struct ais_near));

    near.word = ngx_http_aisearch_str(&pass->name);

    accounts = amcf->accounts.elts;

    for (i = 0; i < amcf->accounts.nelts; i++) {
        ais_near_look(&near, ngx_http_aisearch_str(&accounts[i]->name));
    }

    if (near.best.len) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "unknown aisearch_account \"%V\", %s in %s:%ui",
                      &pass->name, ais_near_hint(&near), pass->file,
                      pass->line);
        return;
    }

    ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                  "unknown aisearch_account \"%V\", define it with an "
                  "\"aisearch_account %V { ... }\" block at the http level "
                  "in %s:%ui",
                  &pass->name, &pass->name, pass->file, pass->line);
}


/*
 * Parses a resource with variables.  NGX_DECLINED: it is invalid, or its
 * account, namespace or instance depends on a variable.
 */

static ngx_int_t
ngx_http_aisearch_pass_parts(ngx_conf_t *cf, ngx_str_t *resource,
    struct ais_resource *res)
{
    ngx_str_t             a, b;
    struct ais_resource   other;

    a.data = ngx_pnalloc(cf->temp_pool, 2 * resource->len);
    if (a.data == NULL) {
        return NGX_ERROR;
    }

    b.data = a.data + resource->len;

    (void) ngx_http_aisearch_pass_example(resource, &a, 'a');
    (void) ngx_http_aisearch_pass_example(resource, &b, 'b');

    if (ais_resource_parse(res, ngx_http_aisearch_str(&a), AIS_STR(""))
        != AIS_RESOURCE_OK
        || ais_resource_parse(&other, ngx_http_aisearch_str(&b), AIS_STR(""))
           != AIS_RESOURCE_OK
        || !ais_str_eq(res->account, other.account)
        || !ais_str_eq(res->namespace, other.namespace)
        || !ais_str_eq(res->instance, other.instance))
    {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


/* rejects a resource that the account never allows */

static ngx_int_t
ngx_http_aisearch_pass_check_account(ngx_conf_t *cf,
    ngx_http_aisearch_pass_t *pass)
{
    ngx_str_t            *value;
    const char           *text;
    struct ais_str        id;
    struct ais_resource   res;

    value = &pass->resource->value;

    id = ngx_http_aisearch_str(&pass->account->account_id);

    if (ngx_http_aisearch_pass_parts(cf, value, &res) != NGX_OK) {
        return NGX_OK;
    }

    if (res.account.len && !ais_str_eq(res.account, id)) {
        text = "belongs to another \"account_id\"";

    } else if (ngx_http_aisearch_account_allows(pass->account, &res)) {
        return NGX_OK;

    } else if (res.instance.len == 0) {
        text = "lists instances that its \"instance\" directives do not "
               "allow";

    } else {
        text = "belongs to an instance that its \"instance\" directives do "
               "not allow";
    }

    ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                  "resource \"%V\" in \"aisearch_pass\" %s, correct it or "
                  "aisearch_account \"%V\" in %s:%ui",
                  value, text, &pass->name, pass->file, pass->line);

    return NGX_ERROR;
}
