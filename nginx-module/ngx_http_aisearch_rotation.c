/*
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Selects the credential of an account that is in use.  Workers learn which one
 * the API accepts from its responses and share this in shared memory; a worker
 * that can read the files follows their changes.
 */


#include "ngx_http_aisearch_clock.h"
#include "ngx_http_aisearch_rotation.h"


/* minimum time between two checks of the files by a worker, in ms */
#define NGX_HTTP_AISEARCH_LOOK  (10 * 1000)


#define ngx_http_aisearch_rotation_file(account, slot)                        \
    ais_credential_file((account)->credentials[slot])


static void ngx_http_aisearch_rotation_look(
    ngx_http_aisearch_account_t *account, ngx_uint_t now);
static void ngx_http_aisearch_rotation_renew(
    ngx_http_aisearch_account_t *account, ngx_uint_t slot);
static struct ais_rotation *ngx_http_aisearch_rotation_current(
    ngx_http_aisearch_account_t *account);
static void ngx_http_aisearch_rotation_versions(
    ngx_http_aisearch_account_t *account, uint64_t *versions);


void
ngx_http_aisearch_rotation_begin(ngx_http_aisearch_account_t *account,
    uint32_t generation)
{
    uint64_t  versions[AIS_SLOTS];

    account->rotation.generation = generation;

    ngx_http_aisearch_rotation_versions(account, versions);

    ngx_shmtx_lock(&account->shpool->mutex);

    ais_rotation_begin(account->rotation.shared, versions, account->nfiles,
                       generation, ngx_time());

    ngx_shmtx_unlock(&account->shpool->mutex);
}


struct ais_credential *
ngx_http_aisearch_rotation_choose(ngx_http_aisearch_account_t *account,
    struct ais_choice *choice)
{
    struct ais_credential  **credential;

    ngx_http_aisearch_rotation_look(account, 0);

    ngx_shmtx_lock(&account->shpool->mutex);

    *choice = ais_rotation_choose(ngx_http_aisearch_rotation_current(account),
                                  ais_clock());

    ngx_shmtx_unlock(&account->shpool->mutex);

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "aisearch credential: %V slot:%ui refused:%ui",
                   &account->name, (ngx_uint_t) choice->slot + 1,
                   (ngx_uint_t) choice->none);

    if (choice->none) {
        return NULL;
    }

    credential = &account->credentials[choice->slot];

    if (choice->version != ais_credential_version(*credential)) {

        /* another worker has read a newer credential */

        ngx_http_aisearch_rotation_look(account, 1);

        ngx_shmtx_lock(&account->shpool->mutex);

        choice->known = ngx_http_aisearch_rotation_current(account)->changes;

        ngx_shmtx_unlock(&account->shpool->mutex);

        choice->version = ais_credential_version(*credential);
    }

    return *credential;
}


void
ngx_http_aisearch_rotation_refused(ngx_http_aisearch_account_t *account,
    struct ais_choice *choice, const char *reason, ngx_log_t *log)
{
    enum ais_rotation_news  news;

    /* the file may already contain a new credential */

    ngx_http_aisearch_rotation_look(account, 1);

    ngx_shmtx_lock(&account->shpool->mutex);

    news = ais_rotation_refused(ngx_http_aisearch_rotation_current(account),
                                choice, ais_clock(), ngx_time());

    ngx_shmtx_unlock(&account->shpool->mutex);

    switch (news) {

    case AIS_ROTATION_REFUSED:
        ngx_log_error(NGX_LOG_ERR, log, 0,
                      "aisearch account \"%V\": credential fault: %s, file: "
                      "\"%s\"; trying \"%s\"",
                      &account->name, reason,
                      ngx_http_aisearch_rotation_file(account, choice->slot),
                      ngx_http_aisearch_rotation_file(account,
                                                      1 - choice->slot));
        break;

    case AIS_ROTATION_EXHAUSTED:
        ngx_log_error(NGX_LOG_ERR, log, 0,
                      "aisearch account \"%V\": credential fault: %s, file: "
                      "\"%s\", and there is no other credential; write a "
                      "valid one to the file and reload nginx; until then, "
                      "the current one is tried once a minute, and lookups "
                      "get stale responses or 502",
                      &account->name, reason,
                      ngx_http_aisearch_rotation_file(account, choice->slot));
        break;

    default:
        break;
    }
}


enum ais_doubt
ngx_http_aisearch_rotation_doubt(ngx_http_aisearch_account_t *account,
    struct ais_choice *choice, bool others_too, const char *path,
    ngx_http_aisearch_time_t asked, char *witness)
{
    enum ais_doubt                 doubt;
    ngx_http_aisearch_rotation_t  *rotation;

    /* the file may already contain a new credential */

    ngx_http_aisearch_rotation_look(account, 1);

    rotation = &account->rotation;
    ngx_shmtx_lock(&account->shpool->mutex);

    doubt = ais_witness_doubt(rotation->witness,
                              ngx_http_aisearch_rotation_current(account),
                              choice, others_too, path, (int64_t) asked,
                              account->target.timeout + 1000,
                              (int64_t) ngx_http_aisearch_now());

    ngx_memcpy(witness, rotation->witness->path, AIS_WITNESS_PATH_MAX);

    ngx_shmtx_unlock(&account->shpool->mutex);

    if (doubt == AIS_DOUBT_OWN
        && ngx_http_aisearch_may_warn(&rotation->warned))
    {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "aisearch account \"%V\": the API rejects \"GET %s\" "
                      "but accepts other requests with the same credential; "
                      "check the permissions of the credential",
                      &account->name, path);
    }

    return doubt;
}


void
ngx_http_aisearch_rotation_settle(ngx_http_aisearch_account_t *account,
    ngx_uint_t good)
{
    ngx_shmtx_lock(&account->shpool->mutex);

    ais_witness_settle(account->rotation.witness, good,
                     (int64_t) ngx_http_aisearch_now());

    ngx_shmtx_unlock(&account->shpool->mutex);
}


struct ais_credential *
ngx_http_aisearch_rotation_chosen(ngx_http_aisearch_account_t *account,
    struct ais_choice *choice)
{
    struct ais_credential  *credential;

    credential = account->credentials[choice->slot];

    return ais_credential_version(credential) == choice->version ? credential
                                                                 : NULL;
}


void
ngx_http_aisearch_rotation_accepted(ngx_http_aisearch_account_t *account,
    struct ais_choice *choice, const char *path, ngx_http_aisearch_time_t asked)
{
    enum ais_rotation_news  news;

    ngx_shmtx_lock(&account->shpool->mutex);

    news = ais_rotation_accepted(ngx_http_aisearch_rotation_current(account),
                                 choice, ngx_time());

    ais_witness_note(account->rotation.witness, choice->version, path,
                     (int64_t) asked);

    ngx_shmtx_unlock(&account->shpool->mutex);

    if (news != AIS_ROTATION_NO_NEWS) {
        ngx_http_aisearch_count(*account->renewals);

        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "aisearch account \"%V\": the API accepts the "
                      "credential of \"%s\", which is now in use",
                      &account->name,
                      ngx_http_aisearch_rotation_file(account, choice->slot));
    }
}


void
ngx_http_aisearch_rotation_snapshot(ngx_http_aisearch_account_t *account,
    struct ais_rotation *rotation)
{
    ngx_shmtx_lock(&account->shpool->mutex);

    *rotation = *ngx_http_aisearch_rotation_current(account);

    ngx_shmtx_unlock(&account->shpool->mutex);
}


/* one stat() per file, at most every 10 seconds unless "now" is set */

static void
ngx_http_aisearch_rotation_look(ngx_http_aisearch_account_t *account,
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
        ngx_http_aisearch_rotation_renew(account, i);
    }
}


/* fetches in progress use a copy of the replaced credential */

static void
ngx_http_aisearch_rotation_renew(ngx_http_aisearch_account_t *account,
    ngx_uint_t slot)
{
    bool                  news;
    struct ais_error      err;
    enum ais_renewal      renewal;
    struct ais_rotation  *r;

    renewal = ais_credential_renew(&account->credentials[slot], &err);

    if (renewal == AIS_RENEWAL_NONE) {
        return;
    }

    if (renewal == AIS_RENEWAL_CLOSED) {
        /* the normal case: workers cannot read the file */
        ngx_log_debug2(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                       "aisearch account \"%V\": %s", &account->name, err.text);
        return;
    }

    ngx_shmtx_lock(&account->shpool->mutex);

    r = ngx_http_aisearch_rotation_current(account);

    news = (renewal == AIS_RENEWAL_DONE)
           ? ais_rotation_renewed(r, slot, ais_credential_version(
                                               account->credentials[slot]),
                                  ngx_time())
           : ais_rotation_unusable(r, slot, ais_credential_seen(
                                                account->credentials[slot]));

    ngx_shmtx_unlock(&account->shpool->mutex);

    /* only the first worker that notices the change logs it */

    if (!news) {
        return;
    }

    if (renewal == AIS_RENEWAL_DONE) {
        ngx_http_aisearch_count(*account->renewals);

        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "aisearch account \"%V\": \"%s\" has changed and was "
                      "read", &account->name,
                      ngx_http_aisearch_rotation_file(account, slot));
        return;
    }

    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                  "aisearch account \"%V\": a credential file has changed, "
                  "but cannot be used: %s; the previous credential stays in "
                  "use",
                  &account->name, err.text);
}


/*
 * The mutex must be held.  Workers of a replaced configuration finish their
 * requests with a private state, since theirs does not apply to the new one.
 */

static struct ais_rotation *
ngx_http_aisearch_rotation_current(ngx_http_aisearch_account_t *account)
{
    uint64_t                       versions[AIS_SLOTS];
    ngx_http_aisearch_rotation_t  *rotation;

    rotation = &account->rotation;

    if (rotation->shared->configuration == rotation->generation) {
        return rotation->shared;
    }

    if (rotation->own.nslots == 0) {
        ngx_http_aisearch_rotation_versions(account, versions);

        rotation->own.in_use = rotation->shared->in_use;

        ais_rotation_begin(&rotation->own, versions, account->nfiles,
                           rotation->generation, ngx_time());
    }

    return &rotation->own;
}


static void
ngx_http_aisearch_rotation_versions(ngx_http_aisearch_account_t *account,
    uint64_t *versions)
{
    ngx_uint_t  i;

    for (i = 0; i < account->nfiles; i++) {
        versions[i] = ais_credential_version(account->credentials[i]);
    }
}
