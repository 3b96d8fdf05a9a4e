#include "ngx_http_aisearch_module.h"


/*
 * The credentials of an account: the one in use, and the next.  The master
 * reads them, since their files may be root's alone; a worker that can read
 * them follows their changes.  Which of them is in use is known to all
 * workers, what is in them to each by itself.
 */


/* ms; a worker looks at the files no more often than that */
#define NGX_HTTP_AISEARCH_LOOK  (10 * 1000)


static char *ngx_http_aisearch_credential_add(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account, ngx_uint_t keys);
static ngx_int_t ngx_http_aisearch_credential_path(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account, ngx_str_t *file);
static ngx_int_t ngx_http_aisearch_credential_keep_env(ngx_conf_t *cf);
static ngx_int_t ngx_http_aisearch_credential_load(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account);
static void ngx_http_aisearch_credential_error(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account, const char *text);

static void ngx_http_aisearch_credential_look(
    ngx_http_aisearch_account_t *account, ngx_uint_t now);
static void ngx_http_aisearch_credential_renew(
    ngx_http_aisearch_account_t *account, ngx_uint_t slot);
static struct ais_rotation *ngx_http_aisearch_credential_rotation(
    ngx_http_aisearch_account_t *account);
static void ngx_http_aisearch_credential_versions(
    ngx_http_aisearch_account_t *account, uint64_t *versions);


#define ngx_http_aisearch_credential_file(account, slot)                      \
    ais_credential_file((account)->credentials[slot])


static const char  ngx_http_aisearch_two_credentials[] =
    "two credentials, set either \"token_file\", or \"email\" and \"key_file\"";


/* configuration */


/* token_file FILE; twice: the current one and the next */

char *
ngx_http_aisearch_credential_token_file(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    return ngx_http_aisearch_credential_add(cf, conf, 0);
}


/* key_file FILE; the same for the keys of one email */

char *
ngx_http_aisearch_credential_key_file(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    return ngx_http_aisearch_credential_add(cf, conf, 1);
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
        ngx_http_aisearch_credential_error(cf, account,
                                           ngx_http_aisearch_two_credentials);
        return NGX_CONF_ERROR;
    }

    if (ngx_http_aisearch_credential_load(cf, account) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_aisearch_credential_add(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account, ngx_uint_t keys)
{
    ngx_str_t   *value, *file;
    ngx_uint_t   i;

    value = cf->args->elts;

    if (account->nfiles ? account->keys != keys : account->email.data && !keys)
    {
        ngx_http_aisearch_credential_error(cf, account,
                                           ngx_http_aisearch_two_credentials);
        return NGX_CONF_ERROR;
    }

    if (account->nfiles == AIS_SLOTS) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "more than two \"%V\" directives, one is for the "
                           "current credential, the other for the next",
                           &value[0]);
        return NGX_CONF_ERROR;
    }

    file = &account->files[account->nfiles];
    *file = value[1];

    if (ngx_http_aisearch_credential_path(cf, account, file) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    for (i = 0; i < account->nfiles; i++) {

        if (account->files[i].len == file->len
            && ngx_memcmp(account->files[i].data, file->data, file->len) == 0)
        {
            return "is duplicate, the next credential needs a file of its own";
        }
    }

    account->nfiles++;
    account->keys = keys;

    if (keys && account->email.data == NULL) {
        /* the other half is still to come */
        return NGX_CONF_OK;
    }

    if (ngx_http_aisearch_credential_load(cf, account) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* credential:NAME is one of systemd's, anything else the name of a file */

static ngx_int_t
ngx_http_aisearch_credential_path(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account, ngx_str_t *file)
{
    char              path[AIS_CREDENTIAL_PATH_MAX];
    struct ais_error  err;

    if (!ais_credential_is_named((char *) file->data)) {
        return ngx_conf_full_name(cf->cycle, file, 1);
    }

    if (ais_credential_path(path, (char *) file->data, &err) != 0) {
        ngx_http_aisearch_credential_error(cf, account, err.text);
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
 * As "env CREDENTIALS_DIRECTORY;" would: a new binary has to find them, too.
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


/* reads those that are not read yet */

static ngx_int_t
ngx_http_aisearch_credential_load(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account)
{
    char                   *file;
    ngx_uint_t              i;
    struct ais_error        err;
    struct ais_credential  *credential;

    for (i = 0; i < account->nfiles; i++) {

        if (account->credentials[i]) {
            continue;
        }

        file = (char *) account->files[i].data;

        credential = account->keys
                     ? ais_credential_email_key((char *) account->email.data,
                                                file, &err)
                     : ais_credential_token(file, &err);

        if (credential == NULL) {
            ngx_http_aisearch_credential_error(cf, account, err.text);
            return NGX_ERROR;
        }

        account->credentials[i] = credential;

        if (ais_credential_exposed(credential)) {
            ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                               "aisearch_account \"%V\": everybody on this "
                               "machine can read or write \"%s\", take that "
                               "from its mode, say with \"chmod 0600\"",
                               &account->name, file);
        }
    }

    return NGX_OK;
}


/* what the block lacks, or NULL */

const char *
ngx_http_aisearch_credential_missing(ngx_http_aisearch_account_t *account)
{
    if (account->email.data && account->nfiles == 0) {
        return "half a credential, \"email\" needs a \"key_file\"";
    }

    if (account->keys && account->email.data == NULL) {
        return "half a credential, \"key_file\" needs an \"email\"";
    }

    if (account->nfiles == 0) {
        return "no credential, set \"token_file\", "
               "or \"email\" and \"key_file\"";
    }

    return NULL;
}


/* whether accounts have a credential in common, and so a user at the API */

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
ngx_http_aisearch_credential_free(ngx_http_aisearch_account_t *account)
{
    ngx_uint_t  i;

    for (i = 0; i < AIS_SLOTS; i++) {
        ais_credential_free(account->credentials[i]);
    }
}


static void
ngx_http_aisearch_credential_error(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account, const char *text)
{
    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "aisearch_account \"%V\": %s",
                       &account->name, text);
}


/*
 * In the master, for a configuration that is in force from now on; the mutex
 * is held.
 */

void
ngx_http_aisearch_credential_begin(ngx_http_aisearch_account_t *account,
    uint32_t generation)
{
    uint64_t  versions[AIS_SLOTS];

    account->rotation.generation = generation;

    ngx_http_aisearch_credential_versions(account, versions);

    ais_rotation_begin(account->rotation.shared, versions, account->nfiles,
                       generation, ngx_time());
}


/* at work */


/*
 * Returns what to ask with, or NULL where the API refuses all that there is:
 * then choice->wait says for how long it is not asked.
 */

struct ais_credential *
ngx_http_aisearch_credential_choose(ngx_http_aisearch_account_t *account,
    struct ais_choice *choice)
{
    ngx_slab_pool_t         *shpool;
    struct ais_credential  **credential;

    ngx_http_aisearch_credential_look(account, 0);

    shpool = account->rotation.shpool;

    ngx_shmtx_lock(&shpool->mutex);

    *choice = ais_rotation_choose(
                              ngx_http_aisearch_credential_rotation(account),
                              ngx_http_aisearch_budget_now());

    ngx_shmtx_unlock(&shpool->mutex);

    if (choice->none) {
        return NULL;
    }

    credential = &account->credentials[choice->slot];

    if (choice->version != ais_credential_version(*credential)) {

        /* another worker has read a newer one */

        ngx_http_aisearch_credential_look(account, 1);

        ngx_shmtx_lock(&shpool->mutex);

        choice->known = ngx_http_aisearch_credential_rotation(account)->changes;

        ngx_shmtx_unlock(&shpool->mutex);

        choice->version = ais_credential_version(*credential);
    }

    return *credential;
}


/* a refusal is told once, not for each look-up that meets it */

void
ngx_http_aisearch_credential_refused(ngx_http_aisearch_account_t *account,
    struct ais_choice *choice, const char *reason, ngx_log_t *log)
{
    ngx_slab_pool_t         *shpool;
    enum ais_rotation_news   news;

    /* it may be refused since there is another in the file */

    ngx_http_aisearch_credential_look(account, 1);

    shpool = account->rotation.shpool;

    ngx_shmtx_lock(&shpool->mutex);

    news = ais_rotation_refused(ngx_http_aisearch_credential_rotation(account),
                                choice, ngx_http_aisearch_budget_now(),
                                ngx_time());

    ngx_shmtx_unlock(&shpool->mutex);

    switch (news) {

    case AIS_ROTATION_REFUSED:
        ngx_log_error(NGX_LOG_ERR, log, 0,
                      "aisearch account \"%V\": credential fault: %s, that of "
                      "\"%s\"; trying the one of \"%s\"",
                      &account->name, reason,
                      ngx_http_aisearch_credential_file(account, choice->slot),
                      ngx_http_aisearch_credential_file(account,
                                                        1 - choice->slot));
        break;

    case AIS_ROTATION_EXHAUSTED:
        ngx_log_error(NGX_LOG_ERR, log, 0,
                      "aisearch account \"%V\": credential fault: %s, that of "
                      "\"%s\", and there is no other; write a new one and "
                      "reload nginx, until then one call a minute finds out "
                      "whether it is still refused, and look-ups get stale "
                      "answers, or 502",
                      &account->name, reason,
                      ngx_http_aisearch_credential_file(account,
                                                        choice->slot));
        break;

    default:
        break;
    }
}


/*
 * A refusal that may be about the path alone: what to take it for, and for
 * OTHER and ASK what to ask with next.  For ASK, "witness" gets the path to ask
 * for, and ..._told() has to be called once that is over.
 */

enum ais_doubt
ngx_http_aisearch_credential_doubt(ngx_http_aisearch_account_t *account,
    struct ais_choice *choice, bool others_too, const char *path,
    ngx_http_aisearch_time_t asked, char *witness)
{
    enum ais_doubt                 doubt;
    ngx_slab_pool_t               *shpool;
    ngx_http_aisearch_rotation_t  *rotation;

    /* it may be refused since there is another in the file */

    ngx_http_aisearch_credential_look(account, 1);

    rotation = &account->rotation;
    shpool = rotation->shpool;

    ngx_shmtx_lock(&shpool->mutex);

    doubt = ais_witness_doubt(rotation->witness,
                              ngx_http_aisearch_credential_rotation(account),
                              choice, others_too, path, (int64_t) asked,
                              account->target.timeout + 1000,
                              (int64_t) ngx_http_aisearch_now());

    ngx_memcpy(witness, rotation->witness->path, AIS_WITNESS_PATH_MAX);

    ngx_shmtx_unlock(&shpool->mutex);

    if (doubt == AIS_DOUBT_OWN
        && ngx_http_aisearch_may_warn(&rotation->warned))
    {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "aisearch account \"%V\": the API refuses \"GET %s\", "
                      "and answers others with the same credential; does it "
                      "have the permission for this?", &account->name, path);
    }

    return doubt;
}


void
ngx_http_aisearch_credential_told(ngx_http_aisearch_account_t *account,
    ngx_uint_t good)
{
    ngx_slab_pool_t  *shpool;

    shpool = account->rotation.shpool;

    ngx_shmtx_lock(&shpool->mutex);

    ais_witness_told(account->rotation.witness, good,
                     (int64_t) ngx_http_aisearch_now());

    ngx_shmtx_unlock(&shpool->mutex);
}


/* what was chosen before, or NULL where there is another meanwhile */

struct ais_credential *
ngx_http_aisearch_credential_chosen(ngx_http_aisearch_account_t *account,
    struct ais_choice *choice)
{
    struct ais_credential  *credential;

    credential = account->credentials[choice->slot];

    return ais_credential_version(credential) == choice->version ? credential
                                                                 : NULL;
}


/* anything but a refusal confirms what it was asked with */

void
ngx_http_aisearch_credential_accepted(ngx_http_aisearch_account_t *account,
    struct ais_choice *choice, const char *path, ngx_http_aisearch_time_t asked)
{
    ngx_slab_pool_t         *shpool;
    enum ais_rotation_news   news;

    shpool = account->rotation.shpool;

    ngx_shmtx_lock(&shpool->mutex);

    news = ais_rotation_accepted(ngx_http_aisearch_credential_rotation(account),
                                 choice, ngx_time());

    ais_witness_note(account->rotation.witness, choice->version, path,
                     (int64_t) asked);

    ngx_shmtx_unlock(&shpool->mutex);

    if (news != AIS_ROTATION_NO_NEWS) {
        ngx_http_aisearch_count(*account->renewals);

        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "aisearch account \"%V\": the API accepts the credential "
                      "of \"%s\", it is the one in use from now on",
                      &account->name,
                      ngx_http_aisearch_credential_file(account,
                                                        choice->slot));
    }
}


void
ngx_http_aisearch_credential_snapshot(ngx_http_aisearch_account_t *account,
    struct ais_rotation *rotation)
{
    ngx_slab_pool_t  *shpool;

    shpool = account->rotation.shpool;

    ngx_shmtx_lock(&shpool->mutex);

    *rotation = *ngx_http_aisearch_credential_rotation(account);

    ngx_shmtx_unlock(&shpool->mutex);
}


/* costs one stat() for each file, every now and then or right "now" */

static void
ngx_http_aisearch_credential_look(ngx_http_aisearch_account_t *account,
    ngx_uint_t now)
{
    ngx_uint_t  i;

    if (!now
        && ngx_current_msec - account->rotation.looked < NGX_HTTP_AISEARCH_LOOK)
    {
        return;
    }

    account->rotation.looked = ngx_current_msec;

    for (i = 0; i < account->nfiles; i++) {
        ngx_http_aisearch_credential_renew(account, i);
    }
}


/* fetches under way have a copy of what is replaced here */

static void
ngx_http_aisearch_credential_renew(ngx_http_aisearch_account_t *account,
    ngx_uint_t slot)
{
    bool                 news;
    ngx_slab_pool_t     *shpool;
    struct ais_error     err;
    enum ais_renewal     renewal;
    struct ais_rotation *r;

    renewal = ais_credential_renew(&account->credentials[slot], &err);

    if (renewal == AIS_RENEWAL_NONE) {
        return;
    }

    if (renewal == AIS_RENEWAL_CLOSED) {
        /* as it should be */
        ngx_log_debug2(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                       "aisearch account \"%V\": %s", &account->name, err.text);
        return;
    }

    shpool = account->rotation.shpool;

    ngx_shmtx_lock(&shpool->mutex);

    r = ngx_http_aisearch_credential_rotation(account);

    news = (renewal == AIS_RENEWAL_DONE)
           ? ais_rotation_renewed(r, slot, ais_credential_version(
                                               account->credentials[slot]),
                                  ngx_time())
           : ais_rotation_unusable(r, slot, ais_credential_seen(
                                                account->credentials[slot]));

    ngx_shmtx_unlock(&shpool->mutex);

    /* the first worker to find out tells */

    if (!news) {
        return;
    }

    if (renewal == AIS_RENEWAL_DONE) {
        ngx_http_aisearch_count(*account->renewals);

        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "aisearch account \"%V\": \"%s\" has changed, and was "
                      "read", &account->name,
                      ngx_http_aisearch_credential_file(account, slot));
        return;
    }

    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                  "aisearch account \"%V\": a credential has changed, but "
                  "cannot be used: %s; the one before stays in use",
                  &account->name, err.text);
}


/*
 * The mutex is held.  Workers of a configuration that was replaced finish
 * their requests by what they know: it says nothing about the new one.
 */

static struct ais_rotation *
ngx_http_aisearch_credential_rotation(ngx_http_aisearch_account_t *account)
{
    uint64_t                       versions[AIS_SLOTS];
    ngx_http_aisearch_rotation_t  *rotation;

    rotation = &account->rotation;

    if (rotation->shared->configuration == rotation->generation) {
        return rotation->shared;
    }

    if (rotation->own.nslots == 0) {
        ngx_http_aisearch_credential_versions(account, versions);

        rotation->own.in_use = rotation->shared->in_use;

        ais_rotation_begin(&rotation->own, versions, account->nfiles,
                           rotation->generation, ngx_time());
    }

    return &rotation->own;
}


static void
ngx_http_aisearch_credential_versions(ngx_http_aisearch_account_t *account,
    uint64_t *versions)
{
    ngx_uint_t  i;

    for (i = 0; i < account->nfiles; i++) {
        versions[i] = ais_credential_version(account->credentials[i]);
    }
}
