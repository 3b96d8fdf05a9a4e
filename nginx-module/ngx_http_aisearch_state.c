#include "ngx_http_aisearch_module.h"

#include "ais_clock.h"


/*
 * nginx keeps a zone over a reload only at the same size, and a reload that has
 * come as far as the modules' initialization can not fail any more.  So the
 * size is fixed and ample, and whether there is room is found out before.  What
 * is never used costs no memory.
 */
#define NGX_HTTP_AISEARCH_STATE_SIZE  (32 * 1024 * 1024)

#define NGX_HTTP_AISEARCH_RECORDS     3072

/* accounts that do not share a credential any more take another budget */
#define NGX_HTTP_AISEARCH_SLOTS       (2 * NGX_HTTP_AISEARCH_RECORDS)

/* ms for which a worker believes what it knows of the budget */
#define NGX_HTTP_AISEARCH_STRETCH     100


/* ms; a shorter limit is full again before a refresh that is put off is due */
#define NGX_HTTP_AISEARCH_SMOOTH      (10 * 1000)

/* percent of each limit, for what was answered before */
#define NGX_HTTP_AISEARCH_RESERVE     50

/* ms until those that are about to send a request have sent it, or failed */
#define NGX_HTTP_AISEARCH_TURN        1000


/*
 * Records and budgets are found again over a reload, and used by all workers
 * whose configuration names them.  One that no living worker can know may be
 * taken for another name, once there are no unused ones left, the one that was
 * named longest ago first: until then the budget remembers what was spent.
 */

struct ngx_http_aisearch_slot_s {
    uint32_t                         named;   /* by that configuration last */
    uint32_t                         taken;   /* how often it was */
    struct ais_budget                budget;
    struct ais_budget                part;
};


typedef struct {
    uint32_t                         named;
    uint32_t                         taken;   /* the slot, as it was then */
    ngx_http_aisearch_slot_t        *slot;
    ngx_http_aisearch_stats_t        stats;
    struct ais_rotation              rotation;
    struct ais_witness               witness;
    struct ais_form                  form;
    struct ais_breaker               breaker;
    uint32_t                         target;       /* of the breaker */
    ngx_atomic_t                     renewals;     /* of credentials */
    size_t                           len;
    u_char                           name[NGX_HTTP_AISEARCH_NAME_MAX];
} ngx_http_aisearch_record_t;


/* a process of nginx, by its number in the master, and its configuration */

typedef struct {
    ngx_pid_t                        pid;
    uint32_t                         generation;
} ngx_http_aisearch_process_t;


typedef struct {
    uint32_t                         generation;    /* of the configuration */
    ngx_uint_t                       nrecords;      /* that were ever used */
    ngx_uint_t                       nslots;
    ngx_http_aisearch_record_t      *records;
    ngx_http_aisearch_slot_t        *slots;
    ngx_http_aisearch_process_t      processes[NGX_MAX_PROCESSES];
} ngx_http_aisearch_state_shctx_t;


static ngx_int_t ngx_http_aisearch_state_init(ngx_shm_zone_t *zone,
    void *data);
static ngx_int_t ngx_http_aisearch_state_create(ngx_slab_pool_t *shpool);
static ngx_int_t ngx_http_aisearch_state_check(ngx_shm_zone_t *zone,
    ngx_http_aisearch_state_shctx_t *sh);
static uint32_t ngx_http_aisearch_state_oldest(
    ngx_http_aisearch_state_shctx_t *sh);
static void ngx_http_aisearch_state_attach(
    ngx_http_aisearch_main_conf_t *amcf, ngx_slab_pool_t *shpool,
    ngx_http_aisearch_state_shctx_t *sh);
static void ngx_http_aisearch_state_claim(ngx_http_aisearch_budget_t *b,
    ngx_http_aisearch_record_t *record, ngx_http_aisearch_state_shctx_t *sh);
static ngx_http_aisearch_slot_t *ngx_http_aisearch_state_slot(
    ngx_http_aisearch_state_shctx_t *sh);
static ngx_http_aisearch_record_t *ngx_http_aisearch_state_find(
    ngx_http_aisearch_state_shctx_t *sh, ngx_str_t *name);
static ngx_http_aisearch_record_t *ngx_http_aisearch_state_record(
    ngx_http_aisearch_state_shctx_t *sh, ngx_str_t *name);
static void ngx_http_aisearch_state_attach_breaker(
    ngx_http_aisearch_account_t *account, ngx_http_aisearch_record_t *record);

static ngx_int_t ngx_http_aisearch_budget_group(ngx_conf_t *cf,
    ngx_http_aisearch_main_conf_t *amcf, ngx_uint_t n);
static ngx_int_t ngx_http_aisearch_budget_limits(ngx_conf_t *cf,
    ngx_http_aisearch_account_t *account);
static ngx_int_t ngx_http_aisearch_budget_limit(
    ngx_http_aisearch_budget_t *budget, struct ais_budget_limit *limit,
    uint32_t reserve);
static void ngx_http_aisearch_budget_set(ngx_http_aisearch_budget_t *b);
static uint32_t ngx_http_aisearch_budget_part(ngx_http_aisearch_budget_t *b);
static bool ngx_http_aisearch_budget_enter(void *data, uint64_t *ticket);
static bool ngx_http_aisearch_budget_enter_part(void *data, uint64_t *ticket);
static bool ngx_http_aisearch_budget_take(ngx_http_aisearch_budget_t *b,
    ngx_uint_t newcomer, uint64_t *ticket);
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


/* budget CALLS TIME [reserve=PERCENT] */

char *
ngx_http_aisearch_budget_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_aisearch_account_t  *account = conf;

    ngx_int_t                 calls, interval, reserve;
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

    reserve = NGX_HTTP_AISEARCH_RESERVE;

    if (cf->args->nelts == 4) {

        if (ngx_strncmp(value[3].data, "reserve=", 8) != 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\" in \"budget\" "
                               "directive, it must be \"reserve=PERCENT\"",
                               &value[3]);
            return NGX_CONF_ERROR;
        }

        reserve = ngx_atoi(value[3].data + 8, value[3].len - 8);

        if (reserve == NGX_ERROR || reserve > 99) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid \"%V\" in \"budget\" directive, the "
                               "reserve must be a number of percent between "
                               "0 and 99", &value[3]);
            return NGX_CONF_ERROR;
        }
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

    account->reserves[account->nlimits] = (uint32_t) reserve;

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

    zone = ngx_http_aisearch_zone_add(cf, amcf, &ngx_http_aisearch_state_name,
                                      NGX_HTTP_AISEARCH_STATE_SIZE,
                                      &ngx_http_aisearch_state_name);
    if (zone == NULL) {
        return NGX_ERROR;
    }

    zone->init = ngx_http_aisearch_state_init;
    zone->data = amcf;

    amcf->state_zone = zone;

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

        if (accounts[i]->budget == budget
            || !ngx_http_aisearch_credential_shared(accounts[i], accounts[n]))
        {
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


/* they share all the limits that one of them names, and the greater reserve */

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
        account->reserves[0] = NGX_HTTP_AISEARCH_RESERVE;
        account->reserves[1] = NGX_HTTP_AISEARCH_RESERVE;
    }

    for (i = 0; i < account->nlimits; i++) {

        if (ngx_http_aisearch_budget_limit(budget, &account->limits[i],
                                           account->reserves[i])
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

    account->newcomer_gate = account->gate;
    account->newcomer_gate.enter = ngx_http_aisearch_budget_enter_part;
    account->newcomer_target = account->target;
    account->newcomer_target.gate = &account->newcomer_gate;

    account->quick[0] = account->target;
    account->quick[1] = account->newcomer_target;

    for (i = 0; i < 2; i++) {
        account->quick[i].timeout = ngx_min(account->timeout,
                                            AIS_BREAKER_QUICK);
        account->quick[i].retries = 0;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_aisearch_budget_limit(ngx_http_aisearch_budget_t *budget,
    struct ais_budget_limit *limit, uint32_t reserve)
{
    size_t  i;

    i = ais_budget_merge(budget->limits, budget->nlimits, *limit);

    if (i == AIS_BUDGET_LIMITS) {
        return NGX_ERROR;
    }

    budget->nlimits = ngx_max(budget->nlimits, i + 1);
    budget->reserves[i] = ngx_max(budget->reserves[i], reserve);

    return NGX_OK;
}


/* the zone */


static ngx_int_t
ngx_http_aisearch_state_init(ngx_shm_zone_t *zone, void *data)
{
    ngx_int_t         rc;
    ngx_slab_pool_t  *shpool;

    shpool = (ngx_slab_pool_t *) zone->shm.addr;

    if (data == NULL
        && !zone->shm.exists
        && ngx_http_aisearch_state_create(shpool) != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_shmtx_lock(&shpool->mutex);

    rc = ngx_http_aisearch_state_check(zone, shpool->data);

    ngx_shmtx_unlock(&shpool->mutex);

    return rc;
}


/* the memory is zeroed already; to zero it again would take all of it */

static ngx_int_t
ngx_http_aisearch_state_create(ngx_slab_pool_t *shpool)
{
    ngx_http_aisearch_state_shctx_t  *sh;

    sh = ngx_slab_calloc(shpool, sizeof(ngx_http_aisearch_state_shctx_t));
    if (sh == NULL) {
        return NGX_ERROR;
    }

    sh->records = ngx_slab_alloc(shpool, NGX_HTTP_AISEARCH_RECORDS
                                         * sizeof(ngx_http_aisearch_record_t));
    sh->slots = ngx_slab_alloc(shpool, NGX_HTTP_AISEARCH_SLOTS
                                       * sizeof(ngx_http_aisearch_slot_t));

    if (sh->records == NULL || sh->slots == NULL) {
        return NGX_ERROR;
    }

    shpool->data = sh;

    return NGX_OK;
}


/* whether there is room for all accounts, before the configuration is adopted */

static ngx_int_t
ngx_http_aisearch_state_check(ngx_shm_zone_t *zone,
    ngx_http_aisearch_state_shctx_t *sh)
{
    uint32_t                         oldest;
    ngx_uint_t                       i, wanted, records, slots;
    ngx_http_aisearch_account_t    **accounts;
    ngx_http_aisearch_main_conf_t   *amcf;

    amcf = zone->data;
    accounts = amcf->accounts.elts;
    oldest = ngx_http_aisearch_state_oldest(sh);

    wanted = 0;
    records = NGX_HTTP_AISEARCH_RECORDS - sh->nrecords;
    slots = NGX_HTTP_AISEARCH_SLOTS - sh->nslots;

    for (i = 0; i < amcf->accounts.nelts; i++) {
        wanted += ngx_http_aisearch_state_find(sh, &accounts[i]->name) == NULL;
    }

    for (i = 0; i < sh->nrecords; i++) {
        records += sh->records[i].named < oldest;
    }

    for (i = 0; i < sh->nslots; i++) {
        slots += sh->slots[i].named < oldest;
    }

    if (wanted <= records && amcf->accounts.nelts <= slots) {
        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_EMERG, zone->shm.log, 0,
                  "too many aisearch_account blocks for the zone \"%V\": %ui "
                  "of them are new, there is room for %ui; have fewer, or, "
                  "where workers of earlier configurations are still running, "
                  "let these end (\"worker_shutdown_timeout\") and try again",
                  &zone->shm.name, wanted, ngx_min(records, slots));

    return NGX_ERROR;
}


/*
 * The oldest configuration that a process may still have.  What was named by
 * earlier ones only may be taken.  Where a process has not got so far as to
 * say which one it has, or all are one process, nothing is.
 */

static uint32_t
ngx_http_aisearch_state_oldest(ngx_http_aisearch_state_shctx_t *sh)
{
    ngx_int_t  i;
    uint32_t   oldest;

    if (ngx_process == NGX_PROCESS_SINGLE) {
        return 0;
    }

    oldest = sh->generation + 1;

    for (i = 0; i < ngx_last_process; i++) {

        if (ngx_processes[i].pid == -1 || ngx_processes[i].detached) {
            continue;
        }

        if (sh->processes[i].pid != ngx_processes[i].pid) {
            return 0;
        }

        oldest = ngx_min(oldest, sh->processes[i].generation);
    }

    return oldest;
}


/*
 * In the master, once nothing can fail any more: until then, the workers of the
 * old configuration go by its budgets.
 */

void
ngx_http_aisearch_state_apply(ngx_http_aisearch_main_conf_t *amcf)
{
    ngx_uint_t                         i;
    ngx_slab_pool_t                   *shpool;
    ngx_http_aisearch_account_t      **accounts;
    ngx_http_aisearch_state_shctx_t   *sh;

    shpool = (ngx_slab_pool_t *) amcf->state_zone->shm.addr;
    sh = shpool->data;
    accounts = amcf->accounts.elts;

    ngx_shmtx_lock(&shpool->mutex);

    ngx_http_aisearch_state_attach(amcf, shpool, sh);

    for (i = 0; i < amcf->accounts.nelts; i++) {

        ngx_http_aisearch_credential_begin(accounts[i], amcf->generation);
        ngx_http_aisearch_budget_set(accounts[i]->budget);
    }

    ngx_shmtx_unlock(&shpool->mutex);
}


/* in each process, so that the master knows what is still in use */

void
ngx_http_aisearch_state_enter(ngx_http_aisearch_main_conf_t *amcf)
{
    ngx_slab_pool_t                  *shpool;
    ngx_http_aisearch_process_t      *process;
    ngx_http_aisearch_state_shctx_t  *sh;

    if (ngx_process == NGX_PROCESS_SINGLE) {
        return;
    }

    shpool = (ngx_slab_pool_t *) amcf->state_zone->shm.addr;
    sh = shpool->data;

    ngx_shmtx_lock(&shpool->mutex);

    process = &sh->processes[ngx_process_slot];

    process->generation = amcf->generation;
    process->pid = ngx_pid;

    ngx_shmtx_unlock(&shpool->mutex);
}


/*
 * Over a reload an account is found by its name, and its budget with it:
 * another token in the file is most likely one of the same user.
 */

static void
ngx_http_aisearch_state_attach(ngx_http_aisearch_main_conf_t *amcf,
    ngx_slab_pool_t *shpool, ngx_http_aisearch_state_shctx_t *sh)
{
    ngx_uint_t                     i;
    ngx_http_aisearch_budget_t    *b;
    ngx_http_aisearch_record_t    *record;
    ngx_http_aisearch_account_t  **accounts;

    accounts = amcf->accounts.elts;

    amcf->generation = ++sh->generation;

    for (i = 0; i < amcf->accounts.nelts; i++) {

        record = ngx_http_aisearch_state_find(sh, &accounts[i]->name);

        if (record) {
            ngx_http_aisearch_state_claim(accounts[i]->budget, record, sh);
            record->named = sh->generation;
        }
    }

    for (i = 0; i < amcf->accounts.nelts; i++) {

        record = ngx_http_aisearch_state_record(sh, &accounts[i]->name);

        b = accounts[i]->budget;

        if (b->slot == NULL) {
            b->slot = ngx_http_aisearch_state_slot(sh);
        }

        b->shpool = shpool;
        b->budget = &b->slot->budget;
        b->part = &b->slot->part;

        record->slot = b->slot;
        record->taken = b->slot->taken;
        ngx_memzero(&record->form, sizeof(struct ais_form));

        accounts[i]->stats = &record->stats;
        accounts[i]->form = &record->form;
        ngx_http_aisearch_state_attach_breaker(accounts[i], record);
        accounts[i]->renewals = &record->renewals;
        accounts[i]->rotation.shpool = shpool;
        accounts[i]->rotation.shared = &record->rotation;
        accounts[i]->rotation.witness = &record->witness;
    }
}


/* what is known of an API says nothing about another, or another way to it */

static void
ngx_http_aisearch_state_attach_breaker(ngx_http_aisearch_account_t *account,
    ngx_http_aisearch_record_t *record)
{
    uint32_t  target;

    ngx_crc32_init(target);
    ngx_crc32_update(&target, account->api_url.data, account->api_url.len);
    ngx_crc32_update(&target, (u_char *) " ", 1);
    ngx_crc32_update(&target, account->proxy.data, account->proxy.len);
    ngx_crc32_update(&target, (u_char *) " ", 1);
    ngx_crc32_update(&target, account->trusted_certificate.data,
                     account->trusted_certificate.len);
    ngx_crc32_update(&target, (u_char *) (account->verify ? " +" : " -"), 2);
    ngx_crc32_final(target);

    if (record->target != target) {
        ais_breaker_reset(&record->breaker);
        record->target = target;
    }

    account->breaker = &record->breaker;
}


/* accounts that shared a credential, and do not any more, both spent it */

static void
ngx_http_aisearch_state_claim(ngx_http_aisearch_budget_t *b,
    ngx_http_aisearch_record_t *record, ngx_http_aisearch_state_shctx_t *sh)
{
    ngx_http_aisearch_slot_t  *slot, *spent;

    slot = record->slot;

    if (b->slot || slot->taken != record->taken) {
        return;
    }

    if (slot->named == sh->generation) {
        spent = slot;

        slot = ngx_http_aisearch_state_slot(sh);
        slot->budget = spent->budget;
        slot->part = spent->part;
    }

    slot->named = sh->generation;
    b->slot = slot;
}


/* one that was never used, or that nobody can know any more: there is one */

static ngx_http_aisearch_slot_t *
ngx_http_aisearch_state_slot(ngx_http_aisearch_state_shctx_t *sh)
{
    ngx_uint_t                 i;
    ngx_http_aisearch_slot_t  *slot;

    if (sh->nslots < NGX_HTTP_AISEARCH_SLOTS) {
        slot = &sh->slots[sh->nslots++];

    } else {
        slot = sh->slots;

        for (i = 1; i < sh->nslots; i++) {
            if (sh->slots[i].named < slot->named) {
                slot = &sh->slots[i];
            }
        }
    }

    ngx_memzero(&slot->budget, sizeof(struct ais_budget));
    ngx_memzero(&slot->part, sizeof(struct ais_budget));

    slot->named = sh->generation;
    slot->taken++;

    return slot;
}


static ngx_http_aisearch_record_t *
ngx_http_aisearch_state_find(ngx_http_aisearch_state_shctx_t *sh,
    ngx_str_t *name)
{
    ngx_uint_t                   i;
    ngx_http_aisearch_record_t  *record;

    for (i = 0; i < sh->nrecords; i++) {
        record = &sh->records[i];

        if (record->len == name->len
            && ngx_memcmp(record->name, name->data, name->len) == 0)
        {
            return record;
        }
    }

    return NULL;
}


/* the one of that name, or else as with slots */

static ngx_http_aisearch_record_t *
ngx_http_aisearch_state_record(ngx_http_aisearch_state_shctx_t *sh,
    ngx_str_t *name)
{
    ngx_uint_t                   i;
    ngx_http_aisearch_record_t  *record;

    record = ngx_http_aisearch_state_find(sh, name);
    if (record) {
        return record;
    }

    if (sh->nrecords < NGX_HTTP_AISEARCH_RECORDS) {
        record = &sh->records[sh->nrecords++];

    } else {
        record = sh->records;

        for (i = 1; i < sh->nrecords; i++) {
            if (sh->records[i].named < record->named) {
                record = &sh->records[i];
            }
        }
    }

    ngx_memzero(record, sizeof(ngx_http_aisearch_record_t));

    record->named = sh->generation;
    record->len = name->len;
    ngx_memcpy(record->name, name->data, name->len);

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
    return ais_clock();
}


/*
 * Newcomers, which the API has not answered before, have a part of it: so they
 * do not spend what the others are refreshed by.
 */

static void
ngx_http_aisearch_budget_set(ngx_http_aisearch_budget_t *b)
{
    int64_t                  now;
    ngx_uint_t               i;
    struct ais_budget_limit  parts[AIS_BUDGET_LIMITS];

    now = ngx_http_aisearch_budget_now();

    for (i = 0; i < b->nlimits; i++) {
        parts[i] = ais_budget_part_of(b->limits[i], 100 - b->reserves[i]);
    }

    ais_budget_configure(b->budget, b->limits, b->nlimits, b->hold, now);
    ais_budget_configure(b->part, parts, b->nlimits, b->hold, now);
}


/* what newcomers have of the API's own limits, in percent */

static uint32_t
ngx_http_aisearch_budget_part(ngx_http_aisearch_budget_t *b)
{
    uint32_t    reserve;
    ngx_uint_t  i;

    reserve = 0;

    for (i = 0; i < b->nlimits; i++) {
        reserve = ngx_max(reserve, b->reserves[i]);
    }

    return 100 - reserve;
}


static bool
ngx_http_aisearch_budget_enter(void *data, uint64_t *ticket)
{
    return ngx_http_aisearch_budget_take(data, 0, ticket);
}


static bool
ngx_http_aisearch_budget_enter_part(void *data, uint64_t *ticket)
{
    return ngx_http_aisearch_budget_take(data, 1, ticket);
}


static bool
ngx_http_aisearch_budget_take(ngx_http_aisearch_budget_t *b,
    ngx_uint_t newcomer, uint64_t *ticket)
{
    int64_t  now;

    ngx_shmtx_lock(&b->shpool->mutex);

    now = ngx_http_aisearch_budget_now();

    *ticket = newcomer ? ais_budget_part_take(b->part, b->budget, now)
                       : ais_budget_take(b->budget, now);

    ngx_shmtx_unlock(&b->shpool->mutex);

    if (*ticket == AIS_TICKET_NONE) {
        return false;
    }

    b->unsent[newcomer]--;

    return true;
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


/*
 * ms until a fetch may begin, 0 for now: no more of them than can be sent, so
 * that not all of a flood wait where none gets as far as that.
 */

ngx_msec_t
ngx_http_aisearch_budget_wait(ngx_http_aisearch_budget_t *b,
    ngx_uint_t newcomer)
{
    int64_t  now, wait, left;

    now = ngx_http_aisearch_budget_now();

    ngx_shmtx_lock(&b->shpool->mutex);

    wait = newcomer ? ais_budget_part_wait(b->part, b->budget, now)
                    : ais_budget_wait(b->budget, now);

    left = (int64_t) ais_budget_left(b->budget, now)
           - b->unsent[0] - b->unsent[1];

    if (newcomer) {
        left = ngx_min(left, (int64_t) ais_budget_left(b->part, now)
                             - b->unsent[1]);
    }

    ngx_shmtx_unlock(&b->shpool->mutex);

    if (wait == 0 && left <= 0) {
        return NGX_HTTP_AISEARCH_TURN;
    }

    return (ngx_msec_t) wait;
}


/* what the API says of its own limits, which others may spend as well */

void
ngx_http_aisearch_budget_observe(ngx_http_aisearch_budget_t *b,
    const struct ais_response *response)
{
    int64_t  now;

    now = ngx_http_aisearch_budget_now();

    ngx_shmtx_lock(&b->shpool->mutex);

    (void) ais_limits_heed(b->budget, &response->limits, response->status,
                           response->retry_after, now);

    ais_limits_heed_part(b->part, b->budget, ngx_http_aisearch_budget_part(b),
                         &response->limits, now);

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

    share = ais_budget_share(b->budget, b->part, NGX_HTTP_AISEARCH_SMOOTH,
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
    state->newcomers = ais_budget_part_left(b->part, b->budget, now);
    state->share = ais_budget_share(b->budget, NULL, 0, now);
    state->wait = ais_budget_wait(b->budget, now);
    state->closed = b->budget->closed_until > now
                    ? (ngx_msec_t) (b->budget->closed_until - now) : 0;

    state->now = now;
    state->nlimits = b->budget->nobserved;
    ngx_memcpy(state->limits, b->budget->observed, sizeof(state->limits));

    ngx_shmtx_unlock(&b->shpool->mutex);
}
