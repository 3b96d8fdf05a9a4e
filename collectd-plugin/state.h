#ifndef STATE_H
#define STATE_H

#include "aisearch.h"

/*
 * The state file holds what must survive a restart: for each instance its
 * history and the API's data about it, for each account and instance the
 * conditions that have begun, the notices that were not sent yet, and the calls
 * spent of each budget.
 *
 *     aisearch-state 1
 *     KIND NAME DATE TEXT
 *     ...
 *     end LINES
 *
 * Lines read at the start are kept until an account or instance takes them.
 * Lines that are not taken are written again with their old date for a month,
 * since what they belong to may reappear. The file is written by a thread of
 * its own, so that a slow disk blocks nothing else, and is replaced
 * atomically. All functions except the callback must be called by one thread at
 * a time.
 */

/* Whether path may be a state file. A relative path is relative to BaseDir,
 * which is not known while the configuration is read. */
bool state_path_is_valid(struct ais_str path);

/* Reads the file, or the default one if path is NULL. If the file cannot be
 * used, logs an error and uses the default one. The writing thread calls
 * written() after each save. */
void state_open(const char *path, void (*written)(void));

/* Restore what is known about an account and all its instances, or about a
 * single instance. Without an open file they do nothing. */
void state_restore_account(account_t *account);
void state_restore(instance_t *instance);

/* Calls visit() with the name of each of the account's instances that has a
 * line which was not restored, until it returns a value other than 0. Returns
 * that value, or 0. */
int state_each(account_t *account,
               int (*visit)(account_t *account, const char *name));

/* Ends the conditions of an instance that is no longer watched, by its name. */
void state_end(account_t *account, const char *name);

/* Keeps the history of an instance that is gone, in case it reappears. */
void state_keep(instance_t *instance);

/* Marks the state as changed; is_urgent: a notification or a counter waits
 * until the change is written. */
void state_touch(bool is_urgent);

/* Writes the whole state if there are urgent changes, or with all set, any
 * changes, but not while the disk is busy with the previous save. What was
 * saved may be reported as soon as writing has ended, which a later call finds
 * out. Returns the number of ms until the next call is due, or AIS_NEVER: not
 * before something changes. Without an open file it does nothing. */
int64_t state_save(account_t *accounts, bool all);

/* Writes the whole state, waits for the disk, and frees all lines. */
void state_close(account_t *accounts);

#endif
