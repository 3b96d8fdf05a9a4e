#ifndef STATE_H
#define STATE_H

#include "aisearch.h"

/*
 * The state file: what has to outlive collectd. Of each instance its history
 * and what is known of it, of each account and instance which conditions have
 * begun, the notices that nobody was told yet, and what was spent of budgets.
 *
 *     aisearch-state 1
 *     KIND NAME DATE TEXT
 *     ...
 *     end LINES
 *
 * What was read at start waits until somebody takes it. What nobody has taken
 * is written again, with its old date, for a month: what it belongs to may come
 * back. The file is written by a thread of its own, so that a slow disk holds
 * up nobody, and is replaced as a whole. All functions but the callback belong
 * to one thread at a time.
 */

/* Whether it may be such a file. A relative path is relative to BaseDir, which
 * is not known while the configuration is read. */
bool state_path_is_valid(struct ais_str path);

/* Reads the file. Where it cannot be used, the default one is, after a message;
 * NULL: that one. written is called by the writing thread. */
void state_open(const char *path, void (*written)(void));

/* Restores what there is of an account, and of an instance. Without an open
 * file: nothing. */
void state_restore_account(account_t *account);
void state_restore(instance_t *instance);

/* Calls it with the names of the account's instances that have lines, and were
 * not restored, until it does not return 0. Returns that. */
int state_each(account_t *account,
               int (*visit)(account_t *account, const char *name));

/* What was told of it is over, as it is not there any more. */
void state_end(account_t *account, const char *name);

/* The instance is gone: its history is kept, should it come back. */
void state_keep(instance_t *instance);

/* Something has changed; is_urgent: that is to be told, once it is written. */
void state_touch(bool is_urgent);

/* Writes all of it, if something has changed that is urgent, or anything and
 * all; not while the disk is busy with the last time. Then, or later, hands
 * over what was written to be told. Returns in how many ms to call it again,
 * or AIS_NEVER: not before something changes. Without an open file: never. */
int64_t state_save(account_t *accounts, bool all);

/* Writes all of it, and waits for the disk. */
void state_close(account_t *accounts);

#endif
