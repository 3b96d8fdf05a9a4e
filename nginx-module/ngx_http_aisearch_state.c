#include "ngx_http_aisearch_module.h"


#define NGX_HTTP_AISEARCH_STATE_SIZE  (1024 * 1024)

/* ms for which a worker believes what it knows of the budget */
#define NGX_HTTP_AISEARCH_STRETCH     100


/* ms; a shorter limit is full again before a refresh that is put off is due */
#define NGX_HTTP_AISEARCH_SMOOTH      (10 * 1000)


/* one for each name that an account ever had, as long as the master lives */

typedef struct ngx_http_aisearch_record_s  ngx_http_aisearch_record_t;

struct ngx_http_aisearch_record_s {
    ngx_http_aisearch_record_t      *next;
    ngx_http_aisearch_stats_t        stats;
    struct ais_budget               *budget;
    struct ais_rotation              rotation;
    size_t                           len;
    u_char                           name[1];
};


typedef struct {
    ngx_http_aisearch_record_t      *records;
    uint32_t                         generation;    /* of the configuration */
} ngx_http_aisearch_state_shctx_t;


static ngx_int_t ngx_http_aisearch_state_init(ngx_shm_zone_t *zone,
    void *data);
static ngx_int_t ngx_http_aisearch_state_attach(
    ngx_http_aisearch_main_conf_t *amcf, ngx_slab_pool_t *shpool,
    ngx_http_aisearch_state_shctx_t *sh);
static struct ais_budget *ngx_http_aisearch_state_claim(
    ngx_http_aisearch_main_conf_t *amcf, ngx_slab_pool_t *shpool,
    struct ais_budget *budget);
static ngx_http_aisearch_record_t *ngx_http_aisearch_state_record(
    ngx_slab_pool_t *shpool, ngx_http_aisearch_state_shctx_t *sh,
    ngx_str_t *name);

static ngx_int_t ngx_http_aisearch_budget_group(ngx_conf_t *cf,
    ngx_http_aisearch_main_conf_t *amcf, ngx_uint_t n);
static ngx_int_t ngx_http_aisearch_budget_limits(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account);
static ngx_int_t ngx_http_aisearch_budget_limit(
    ngx_http_aisearch_budget_t *budget, struct ais_budget_limit *limit);
static bool ngx_http_aisearch_budget_enter(void *data, uint64_t *ticket);
static void ngx_http_aisearch_budget_leave(void *data, uint64_t ticket,
    bool given_up);


/* its address is the tag of the zone, which is not that of the cache */

static ngx_str_t  ngx_http_aisearch_state_name = ngx_string("aisearch_state");


ngx_uint_t  ngx_http_aisearch_latency_bounds[NGX_HTTP_AISEARCH_LATENCIES - 1] =
    { 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000 };


static struct ais_budget_limit  ngx_http_aisearch_budget_default[] = {
    { 900, 5 * 60 * 1000 },
    { 100, 1000 }
};


/* configuration */


/* budget CALLS TIME */

char *
ngx_http_aisearch_budget_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_aisearch_account_t  *account = conf;

    ngx_int_t                 calls, interval;
    ngx_str_t                *value;
    ngx_uint_t                i;
    struct ais_budget_limit  *limit;

    value = cf->args->elts;

    calls = ngx_atoi(value[1].data, value[1].len);

    if (calls == NGX_ERROR || calls == 0 || calls > 1000000) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid number of calls \"%V\" in \"budget\" "
                           "directive, it must be between 1 and 1000000",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    interval = ngx_parse_time(&value[2], 0);

    if (interval == NGX_ERROR || interval < 1000
        || interval > 24 * 60 * 60 * 1000)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid time \"%V\" in \"budget\" directive, "
                           "it must be between \"1s\" and \"1d\"", &value[2]);
        return NGX_CONF_ERROR;
    }

    for (i = 0; i < account->nlimits; i++) {
        if (account->limits[i].interval == interval) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "duplicate \"budget\" for the time \"%V\"",
                               &value[2]);
            return NGX_CONF_ERROR;
        }
    }

    if (account->nlimits == AIS_BUDGET_LIMITS) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "too many \"budget\" directives, "
                           "an account takes up to %d", AIS_BUDGET_LIMITS);
        return NGX_CONF_ERROR;
    }

    limit = &account->limits[account->nlimits++];
    limit->calls = (uint32_t) calls;
    limit->interval = interval;

    return NGX_CONF_OK;
}


/* once all accounts are known */

ngx_int_t
ngx_http_aisearch_state_configure(ngx_conf_t *cf,
    ngx_http_aisearch_main_conf_t *amcf)
{
    ngx_uint_t                     i;
    ngx_shm_zone_t                *zone;
    ngx_http_aisearch_account_t  **accounts;

    accounts = amcf->accounts.elts;

    for (i = 0; i < amcf->accounts.nelts; i++) {
        if (ngx_http_aisearch_budget_group(cf, amcf, i) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    for (i = 0; i < amcf->accounts.nelts; i++) {
        if (ngx_http_aisearch_budget_limits(cf, accounts[i]) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    zone = ngx_shared_memory_add(cf, &ngx_http_aisearch_state_name,
                                 NGX_HTTP_AISEARCH_STATE_SIZE,
                                 &ngx_http_aisearch_state_name);
    if (zone == NULL) {
        return NGX_ERROR;
    }

    zone->init = ngx_http_aisearch_state_init;
    zone->data = amcf;

    return NGX_OK;
}


/*
 * Accounts with a credential in common have one budget, that of its user.  A
 * new account may show that two that stood before it are of the same user.
 */

static ngx_int_t
ngx_http_aisearch_budget_group(ngx_conf_t *cf,
    ngx_http_aisearch_main_conf_t *amcf, ngx_uint_t n)
{
    ngx_uint_t                     i, k;
    ngx_http_aisearch_budget_t    *budget, *other;
    ngx_http_aisearch_account_t  **accounts;

    accounts = amcf->accounts.elts;

    budget = ngx_pcalloc(cf->pool, sizeof(ngx_http_aisearch_budget_t));
    if (budget == NULL) {
        return NGX_ERROR;
    }

    budget->stretch = 1;

    accounts[n]->budget = budget;

    for (i = 0; i < n; i++) {

        if (!ngx_http_aisearch_credential_shared(accounts[i], accounts[n])) {
            continue;
        }

        other = accounts[i]->budget;

        for (k = 0; k < n; k++) {
            if (accounts[k]->budget == other) {
                accounts[k]->budget = budget;
            }
        }
    }

    return NGX_OK;
}


/* they share all the limits that one of them names */

static ngx_int_t
ngx_http_aisearch_budget_limits(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account)
{
    ngx_uint_t                   i;
    ngx_http_aisearch_budget_t  *budget;

    budget = account->budget;

    if (account->nlimits == 0) {
        ngx_memcpy(account->limits, ngx_http_aisearch_budget_default,
                   sizeof(ngx_http_aisearch_budget_default));
        account->nlimits = 2;
    }

    for (i = 0; i < account->nlimits; i++) {

        if (ngx_http_aisearch_budget_limit(budget, &account->limits[i])
            != NGX_OK)
        {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "aisearch_account \"%V\" shares its credential with "
                          "others, together they have more than %d \"budget\" "
                          "directives of different times in %s:%ui",
                          &account->name, AIS_BUDGET_LIMITS, account->file,
                          account->line);
            return NGX_ERROR;
        }
    }

    /* a call ends with its fetch, give or take a turn of the event loop */

    budget->hold = ngx_max(budget->hold, account->timeout + 1000);

    account->gate.data = budget;
    account->gate.enter = ngx_http_aisearch_budget_enter;
    account->gate.leave = ngx_http_aisearch_budget_leave;
    account->target.gate = &account->gate;

    return NGX_OK;
}


static ngx_int_t
ngx_http_aisearch_budget_limit(ngx_http_aisearch_budget_t *budget,
    struct ais_budget_limit *limit)
{
    ngx_uint_t  i;

    for (i = 0; i < budget->nlimits; i++) {

        if (budget->limits[i].interval == limit->interval) {
            budget->limits[i].calls = ngx_min(budget->limits[i].calls,
                                              limit->calls);
            return NGX_OK;
        }
    }

    if (budget->nlimits == AIS_BUDGET_LIMITS) {
        return NGX_ERROR;
    }

    budget->limits[budget->nlimits++] = *limit;

    return NGX_OK;
}


/* the zone */


static ngx_int_t
ngx_http_aisearch_state_init(ngx_shm_zone_t *zone, void *data)
{
    ngx_int_t                         rc;
    ngx_slab_pool_t                  *shpool;
    ngx_http_aisearch_main_conf_t    *amcf;
    ngx_http_aisearch_state_shctx_t  *sh;

    amcf = zone->data;
    shpool = (ngx_slab_pool_t *) zone->shm.addr;

    if (data == NULL && !zone->shm.exists) {

        sh = ngx_slab_calloc(shpool, sizeof(ngx_http_aisearch_state_shctx_t));
        if (sh == NULL) {
            return NGX_ERROR;
        }

        shpool->data = sh;
    }

    sh = shpool->data;

    ngx_shmtx_lock(&shpool->mutex);

    rc = ngx_http_aisearch_state_attach(amcf, shpool, sh);

    ngx_shmtx_unlock(&shpool->mutex);

    if (rc != NGX_OK) {
        ngx_log_error(NGX_LOG_EMERG, zone->shm.log, 0,
                      "too many aisearch_account blocks for the zone \"%V\"",
                      &zone->shm.name);
    }

    return rc;
}


/*
 * Over a reload an account is found by its name, and its budget with it:
 * another token in the file is most likely one of the same user.
 */

static ngx_int_t
ngx_http_aisearch_state_attach(ngx_http_aisearch_main_conf_t *amcf,
    ngx_slab_pool_t *shpool, ngx_http_aisearch_state_shctx_t *sh)
{
    ngx_uint_t                     i;
    ngx_http_aisearch_budget_t    *b;
    ngx_http_aisearch_record_t    *record;
    ngx_http_aisearch_account_t  **accounts;

    accounts = amcf->accounts.elts;

    for (i = 0; i < amcf->accounts.nelts; i++) {

        record = ngx_http_aisearch_state_record(shpool, sh,
                                                &accounts[i]->name);
        if (record == NULL) {
            return NGX_ERROR;
        }

        accounts[i]->stats = &record->stats;
        accounts[i]->rotation.shpool = shpool;
        accounts[i]->rotation.shared = &record->rotation;

        b = accounts[i]->budget;

        if (b->budget == NULL && record->budget) {
            b->shpool = shpool;
            b->budget = ngx_http_aisearch_state_claim(amcf, shpool,
                                                      record->budget);
            if (b->budget == NULL) {
                return NGX_ERROR;
            }
        }
    }

    for (i = 0; i < amcf->accounts.nelts; i++) {

        b = accounts[i]->budget;

        if (b->budget == NULL) {
            b->shpool = shpool;
            b->budget = ngx_slab_calloc_locked(shpool,
                                               sizeof(struct ais_budget));
            if (b->budget == NULL) {
                return NGX_ERROR;
            }
        }
    }

    return NGX_OK;
}


/*
 * In the master, once nothing can fail any more: until then, the workers of the
 * old configuration go by its budgets.
 */

void
ngx_http_aisearch_state_apply(ngx_http_aisearch_main_conf_t *amcf)
{
    ngx_uint_t                        i;
    ngx_slab_pool_t                  *shpool;
    ngx_http_aisearch_budget_t       *b;
    ngx_http_aisearch_record_t       *record;
    ngx_http_aisearch_account_t     **accounts;
    ngx_http_aisearch_state_shctx_t  *sh;

    accounts = amcf->accounts.elts;

    for (i = 0; i < amcf->accounts.nelts; i++) {

        b = accounts[i]->budget;
        shpool = b->shpool;
        sh = shpool->data;

        ngx_shmtx_lock(&shpool->mutex);

        if (i == 0) {
            sh->generation++;
        }

        ngx_http_aisearch_credential_begin(accounts[i], sh->generation);

        record = ngx_http_aisearch_state_record(shpool, sh, &accounts[i]->name);
        record->budget = b->budget;

        ais_budget_configure(b->budget, b->limits, b->nlimits, b->hold,
                             ngx_http_aisearch_budget_now());

        ngx_shmtx_unlock(&shpool->mutex);
    }
}


/* accounts that shared a credential, and do not any more, both spent it */

static struct ais_budget *
ngx_http_aisearch_state_claim(ngx_http_aisearch_main_conf_t *amcf,
    ngx_slab_pool_t *shpool, struct ais_budget *budget)
{
    ngx_uint_t                     i;
    struct ais_budget             *copy;
    ngx_http_aisearch_account_t  **accounts;

    accounts = amcf->accounts.elts;

    for (i = 0; i < amcf->accounts.nelts; i++) {

        if (accounts[i]->budget->budget == budget) {

            copy = ngx_slab_alloc_locked(shpool, sizeof(struct ais_budget));

            if (copy) {
                *copy = *budget;
            }

            return copy;
        }
    }

    return budget;
}


static ngx_http_aisearch_record_t *
ngx_http_aisearch_state_record(ngx_slab_pool_t *shpool,
    ngx_http_aisearch_state_shctx_t *sh, ngx_str_t *name)
{
    ngx_http_aisearch_record_t  *record;

    for (record = sh->records; record; record = record->next) {

        if (record->len == name->len
            && ngx_memcmp(record->name, name->data, name->len) == 0)
        {
            return record;
        }
    }

    record = ngx_slab_calloc_locked(shpool,
                 offsetof(ngx_http_aisearch_record_t, name) + name->len);
    if (record == NULL) {
        return NULL;
    }

    record->len = name->len;
    ngx_memcpy(record->name, name->data, name->len);

    record->next = sh->records;
    sh->records = record;

    return record;
}


/* the budget at work */


/*
 * ngx_current_msec is the time of the last turn of the event loop, too early
 * for a call that ends in this one.
 */

int64_t
ngx_http_aisearch_budget_now(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}


static bool
ngx_http_aisearch_budget_enter(void *data, uint64_t *ticket)
{
    ngx_http_aisearch_budget_t  *b = data;

    ngx_shmtx_lock(&b->shpool->mutex);

    *ticket = ais_budget_take(b->budget, ngx_http_aisearch_budget_now());

    ngx_shmtx_unlock(&b->shpool->mutex);

    return *ticket != AIS_TICKET_NONE;
}


static void
ngx_http_aisearch_budget_leave(void *data, uint64_t ticket, bool given_up)
{
    ngx_http_aisearch_budget_t  *b = data;

    /* the API may count it at any time now: it ends when it has to */

    if (given_up) {
        return;
    }

    ngx_shmtx_lock(&b->shpool->mutex);

    ais_budget_end(b->budget, ticket, ngx_http_aisearch_budget_now());

    ngx_shmtx_unlock(&b->shpool->mutex);
}


/* ms until a call may be sent, 0 for now */

ngx_msec_t
ngx_http_aisearch_budget_wait(ngx_http_aisearch_budget_t *b)
{
    int64_t  wait;

    ngx_shmtx_lock(&b->shpool->mutex);

    wait = ais_budget_wait(b->budget, ngx_http_aisearch_budget_now());

    ngx_shmtx_unlock(&b->shpool->mutex);

    return (ngx_msec_t) wait;
}


/* what the API says of its own limits, which others may spend as well */

void
ngx_http_aisearch_budget_observe(ngx_http_aisearch_budget_t *b,
    const struct ais_response *response)
{
    ngx_shmtx_lock(&b->shpool->mutex);

    (void) ais_limits_heed(b->budget, &response->limits, response->status,
                           response->retry_after,
                           ngx_http_aisearch_budget_now());

    ngx_shmtx_unlock(&b->shpool->mutex);
}


/* by how much refreshes are slowed down; on each look-up, so without a lock */

double
ngx_http_aisearch_budget_stretch(ngx_http_aisearch_budget_t *b)
{
    double  share;

    if (ngx_current_msec - b->stretched < NGX_HTTP_AISEARCH_STRETCH) {
        return b->stretch;
    }

    ngx_shmtx_lock(&b->shpool->mutex);

    share = ais_budget_share(b->budget, NGX_HTTP_AISEARCH_SMOOTH,
                             ngx_http_aisearch_budget_now());

    ngx_shmtx_unlock(&b->shpool->mutex);

    b->stretch = ais_policy_stretch(share);
    b->stretched = ngx_current_msec;

    return b->stretch;
}


void
ngx_http_aisearch_budget_snapshot(ngx_http_aisearch_budget_t *b,
    ngx_http_aisearch_budget_state_t *state)
{
    int64_t  now;

    now = ngx_http_aisearch_budget_now();

    ngx_shmtx_lock(&b->shpool->mutex);

    state->left = ais_budget_left(b->budget, now);
    state->share = ais_budget_share(b->budget, 0, now);
    state->wait = ais_budget_wait(b->budget, now);
    state->closed = b->budget->closed_until > now
                    ? (ngx_msec_t) (b->budget->closed_until - now) : 0;

    ngx_shmtx_unlock(&b->shpool->mutex);
}
