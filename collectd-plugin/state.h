#ifndef AISEARCH_STATE_H
#define AISEARCH_STATE_H

#include "aisearch.h"

/*
 * What the plugin knows, in the state file: of each instance its history, of
 * each account and instance what was told, of each budget what was spent.
 */

#pragma GCC visibility push(hidden)

/* The StateFile option. */
int aisearch_state_config(const oconfig_item_t *ci);
void aisearch_state_config_free(void);

/* Reads the file, and restores what it says of these accounts, but for their
 * budgets. Faults are logged; none is fatal. */
void aisearch_state_open(account_t *accounts);

/* Restores a watch that comes later on. Without an open file: does nothing. */
void aisearch_state_restore_watch(watch_t *watch);

/* What the account has spent goes to the budget that it spends now. */
void aisearch_state_restore_budget(account_t *account);

/* Remembers a watch that ends. */
void aisearch_state_keep_watch(const watch_t *watch);

/* Something has changed since the last time. */
void aisearch_state_touch(void);

/* Begins to write all of it, if something has changed. Returns false while the
 * disk is still busy with the last time. */
bool aisearch_state_save(account_t *accounts);

/* Writes all of it, and waits for the disk. */
void aisearch_state_close(account_t *accounts);

#pragma GCC visibility pop

#endif
