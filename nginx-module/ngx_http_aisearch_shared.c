/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The zone of the state that outlives the cache: records of accounts, slots of
 * budgets, and the configuration that each process uses.  After a reload,
 * records are found by name; a new name may reuse a record that no running
 * process refers to.
 */


#include "ngx_http_aisearch_budget.h"
#include "ngx_http_aisearch_rotation.h"


/*
 * nginx keeps a zone on reload only if its size is the same, and a reload can
 * no longer fail once it initializes the modules.  So the size is fixed and
 * ample, and the room is checked before that.  Unused pages take no memory.
 */
#define NGX_HTTP_AISEARCH_SHARED_SIZE  (32 * 1024 * 1024)

#define NGX_HTTP_AISEARCH_RECORDS      3072

/* accounts that stop sharing a credential need further budgets */
#define NGX_HTTP_AISEARCH_SLOTS        (2 * NGX_HTTP_AISEARCH_RECORDS)


typedef struct {
    uint32_t                         named;   /* see the slot */
    uint32_t                         taken;   /* slot->taken then */
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


/* the configuration of an nginx process, indexed by ngx_process_slot */

typedef struct {
    ngx_pid_t                        pid;
    uint32_t                         generation;
} ngx_http_aisearch_process_t;


typedef struct {
    uint32_t                         generation;    /* of the configuration */
    ngx_uint_t                       nrecords;      /* ever used */
    ngx_uint_t                       nslots;
    ngx_http_aisearch_record_t      *records;
    ngx_http_aisearch_slot_t        *slots;
    ngx_http_aisearch_process_t      processes[NGX_MAX_PROCESSES];
} ngx_http_aisearch_shared_t;


static ngx_int_t ngx_http_aisearch_shared_init(ngx_shm_zone_t *zone,
    void *data);
static ngx_int_t ngx_http_aisearch_shared_create(ngx_slab_pool_t *shpool);
static ngx_int_t ngx_http_aisearch_shared_check(ngx_shm_zone_t *zone,
    ngx_http_aisearch_shared_t *sh);
static uint32_t ngx_http_aisearch_shared_oldest(ngx_http_aisearch_shared_t *sh);
static void ngx_http_aisearch_shared_account(
    ngx_http_aisearch_account_t *account, ngx_http_aisearch_record_t *record,
    ngx_slab_pool_t *shpool);
static void ngx_http_aisearch_shared_breaker(
    ngx_http_aisearch_account_t *account, ngx_http_aisearch_record_t *record);
static void ngx_http_aisearch_shared_claim(ngx_http_aisearch_budget_t *b,
    ngx_http_aisearch_record_t *record, ngx_http_aisearch_shared_t *sh);
static ngx_http_aisearch_slot_t *ngx_http_aisearch_shared_slot(
    ngx_http_aisearch_shared_t *sh);
static ngx_http_aisearch_record_t *ngx_http_aisearch_shared_find(
    ngx_http_aisearch_shared_t *sh, ngx_str_t *name);
static ngx_http_aisearch_record_t *ngx_http_aisearch_shared_record(
    ngx_http_aisearch_shared_t *sh, ngx_str_t *name);
static void *ngx_http_aisearch_shared_take(void *elts, size_t size,
    ngx_uint_t *nelts, ngx_uint_t max);


/* the address is the tag of the zone, the cache has another one */

static ngx_str_t  ngx_http_aisearch_shared_name = ngx_string("aisearch_state");


ngx_int_t
ngx_http_aisearch_shared_configure(ngx_conf_t *cf,
    ngx_http_aisearch_main_conf_t *amcf)
{
    amcf->shared_zone = ngx_http_aisearch_conf_add_zone(cf, amcf,
                                               &ngx_http_aisearch_shared_name,
                                               NGX_HTTP_AISEARCH_SHARED_SIZE,
                                               &ngx_http_aisearch_shared_name,
                                               ngx_http_aisearch_shared_init);

    return amcf->shared_zone ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_http_aisearch_shared_init(ngx_shm_zone_t *zone, void *data)
{
    ngx_int_t         rc;
    ngx_slab_pool_t  *shpool;

    shpool = (ngx_slab_pool_t *) zone->shm.addr;

    if (data == NULL
        && !zone->shm.exists
        && ngx_http_aisearch_shared_create(shpool) != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_shmtx_lock(&shpool->mutex);

    rc = ngx_http_aisearch_shared_check(zone, shpool->data);

    ngx_shmtx_unlock(&shpool->mutex);

    return rc;
}


/* the memory is zeroed already, zeroing it again would touch every page */

static ngx_int_t
ngx_http_aisearch_shared_create(ngx_slab_pool_t *shpool)
{
    ngx_http_aisearch_shared_t  *sh;

    sh = ngx_slab_calloc(shpool, sizeof(ngx_http_aisearch_shared_t));
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


/* checks that there is room for all accounts before the zone is used */

static ngx_int_t
ngx_http_aisearch_shared_check(ngx_shm_zone_t *zone,
    ngx_http_aisearch_shared_t *sh)
{
    uint32_t                         oldest;
    ngx_uint_t                       i, wanted, records, slots;
    ngx_http_aisearch_account_t    **accounts;
    ngx_http_aisearch_main_conf_t   *amcf;

    amcf = zone->data;
    accounts = amcf->accounts.elts;
    oldest = ngx_http_aisearch_shared_oldest(sh);

    wanted = 0;
    records = NGX_HTTP_AISEARCH_RECORDS - sh->nrecords;
    slots = NGX_HTTP_AISEARCH_SLOTS - sh->nslots;

    for (i = 0; i < amcf->accounts.nelts; i++) {
        wanted += ngx_http_aisearch_shared_find(sh, &accounts[i]->name) == NULL;
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
                  "too many aisearch_account blocks for the zone \"%V\": "
                  "%ui of them are new, but there is room for %ui; remove "
                  "some, or, if workers of earlier configurations are still "
                  "running, let them finish (\"worker_shutdown_timeout\") "
                  "and try again",
                  &zone->shm.name, wanted, ngx_min(records, slots));

    return NGX_ERROR;
}


/*
 * Returns the oldest configuration that a process may still use: records and
 * slots last named by earlier ones may be reused.  Returns 0, so that none is
 * reused, in single process mode or if a process has not yet registered its
 * configuration.
 */

static uint32_t
ngx_http_aisearch_shared_oldest(ngx_http_aisearch_shared_t *sh)
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
 * On reload, an account and its budget are found by the name of the account: a
 * new token in the file most likely belongs to the same user.
 */

void
ngx_http_aisearch_shared_attach(ngx_http_aisearch_main_conf_t *amcf)
{
    ngx_uint_t                      i;
    ngx_slab_pool_t                *shpool;
    ngx_http_aisearch_shared_t     *sh;
    ngx_http_aisearch_record_t     *record;
    ngx_http_aisearch_account_t   **accounts;

    shpool = (ngx_slab_pool_t *) amcf->shared_zone->shm.addr;
    sh = shpool->data;
    accounts = amcf->accounts.elts;

    ngx_shmtx_lock(&shpool->mutex);

    amcf->generation = ++sh->generation;

    for (i = 0; i < amcf->accounts.nelts; i++) {

        record = ngx_http_aisearch_shared_find(sh, &accounts[i]->name);

        if (record) {
            ngx_http_aisearch_shared_claim(accounts[i]->budget, record, sh);
            record->named = sh->generation;
        }
    }

    for (i = 0; i < amcf->accounts.nelts; i++) {
        record = ngx_http_aisearch_shared_record(sh, &accounts[i]->name);
        ngx_http_aisearch_shared_account(accounts[i], record, shpool);
    }

    ngx_shmtx_unlock(&shpool->mutex);
}


static void
ngx_http_aisearch_shared_account(ngx_http_aisearch_account_t *account,
    ngx_http_aisearch_record_t *record, ngx_slab_pool_t *shpool)
{
    ngx_http_aisearch_budget_t  *b;

    b = account->budget;

    if (b->slot == NULL) {
        b->slot = ngx_http_aisearch_shared_slot(shpool->data);
    }

    b->shpool = shpool;
    b->budget = &b->slot->budget;
    b->part = &b->slot->part;

    record->slot = b->slot;
    record->taken = b->slot->taken;
    ngx_memzero(&record->form, sizeof(struct ais_form));

    account->shpool = shpool;
    account->stats = &record->stats;
    account->form = &record->form;
    account->renewals = &record->renewals;
    account->rotation.shared = &record->rotation;
    account->rotation.witness = &record->witness;

    ngx_http_aisearch_shared_breaker(account, record);
}


void
ngx_http_aisearch_shared_enter(ngx_http_aisearch_main_conf_t *amcf)
{
    ngx_slab_pool_t              *shpool;
    ngx_http_aisearch_process_t  *process;
    ngx_http_aisearch_shared_t   *sh;

    if (ngx_process == NGX_PROCESS_SINGLE) {
        return;
    }

    shpool = (ngx_slab_pool_t *) amcf->shared_zone->shm.addr;
    sh = shpool->data;

    ngx_shmtx_lock(&shpool->mutex);

    process = &sh->processes[ngx_process_slot];

    process->generation = amcf->generation;
    process->pid = ngx_pid;

    ngx_shmtx_unlock(&shpool->mutex);
}


/* the breaker is reset if the account uses another API or another way to it */

static void
ngx_http_aisearch_shared_breaker(ngx_http_aisearch_account_t *account,
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


/* accounts that stop sharing a credential each keep the spent budget */

static void
ngx_http_aisearch_shared_claim(ngx_http_aisearch_budget_t *b,
    ngx_http_aisearch_record_t *record, ngx_http_aisearch_shared_t *sh)
{
    ngx_http_aisearch_slot_t  *slot, *spent;

    slot = record->slot;

    if (b->slot || slot->taken != record->taken) {
        return;
    }

    if (slot->named == sh->generation) {
        spent = slot;

        slot = ngx_http_aisearch_shared_slot(sh);
        slot->budget = spent->budget;
        slot->part = spent->part;
    }

    slot->named = sh->generation;
    b->slot = slot;
}


static ngx_http_aisearch_slot_t *
ngx_http_aisearch_shared_slot(ngx_http_aisearch_shared_t *sh)
{
    ngx_http_aisearch_slot_t  *slot;

    slot = ngx_http_aisearch_shared_take(sh->slots,
                                         sizeof(ngx_http_aisearch_slot_t),
                                         &sh->nslots, NGX_HTTP_AISEARCH_SLOTS);

    ngx_memzero(&slot->budget, sizeof(struct ais_budget));
    ngx_memzero(&slot->part, sizeof(struct ais_budget));

    slot->named = sh->generation;
    slot->taken++;

    return slot;
}


static ngx_http_aisearch_record_t *
ngx_http_aisearch_shared_find(ngx_http_aisearch_shared_t *sh,
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


static ngx_http_aisearch_record_t *
ngx_http_aisearch_shared_record(ngx_http_aisearch_shared_t *sh,
    ngx_str_t *name)
{
    ngx_http_aisearch_record_t  *record;

    record = ngx_http_aisearch_shared_find(sh, name);
    if (record) {
        return record;
    }

    record = ngx_http_aisearch_shared_take(sh->records,
                                         sizeof(ngx_http_aisearch_record_t),
                                         &sh->nrecords,
                                         NGX_HTTP_AISEARCH_RECORDS);

    ngx_memzero(record, sizeof(ngx_http_aisearch_record_t));

    record->named = sh->generation;
    record->len = name->len;
    ngx_memcpy(record->name, name->data, name->len);

    return record;
}


/*
 * Returns a slot or a record that was never used or that was named longest ago,
 * and so is no longer in use: shared_check() has ensured that there is one.
 * Both structures start with the generation that named them.
 */

static void *
ngx_http_aisearch_shared_take(void *elts, size_t size, ngx_uint_t *nelts,
    ngx_uint_t max)
{
    u_char      *p, *oldest;
    ngx_uint_t   i;

    oldest = elts;

    if (*nelts < max) {
        return oldest + (*nelts)++ * size;
    }

    for (i = 1, p = oldest + size; i < max; i++, p += size) {
        if (*(uint32_t *) p < *(uint32_t *) oldest) {
            oldest = p;
        }
    }

    return oldest;
}
