#ifndef AISEARCH_STATEFILE_H
#define AISEARCH_STATEFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ais_error.h"

/*
 * What has to outlive collectd, in a text file with a line per thing:
 *
 *     aisearch-state 1
 *     KIND NAME DATE TEXT
 *     ...
 *     end LINES
 *
 * such as "instance docs-handbook 2026-11-23T12:00:00Z ...". What was read at
 * start waits in here until somebody takes it. What nobody has taken is written
 * again, with its old date, for a month: what it belongs to may come back. No
 * more than STATEFILE_KEPT lines wait like that.
 *
 * The file is written by a thread of its own, so that a slow disk holds up
 * nobody, and is replaced as a whole. All functions belong to one thread at a
 * time. Without collectd in it; times are milliseconds since the epoch.
 */

#define STATEFILE_KEPT 100000

typedef struct statefile_s statefile_t;

/* Whether this is a text of that kind. */
typedef bool (*statefile_valid_t)(const char *kind, const char *text);

#pragma GCC visibility push(hidden)

/*
 * Reads the file, if there is one. What cannot be read is set aside, as
 * PATH.damaged, and *err says why; its text is empty where all is well. Returns
 * NULL where memory or threads run out.
 */
statefile_t *aisearch_statefile_open(const char *path, statefile_valid_t valid,
                                     struct ais_error *err);

/* Takes out the text of a line that was read, to be freed; NULL where there is
 * none. */
char *aisearch_statefile_take(statefile_t *file, const char *kind,
                              const char *name);

/* The name of the first line of that kind whose name begins with the prefix, to
 * be freed; NULL where there is none. */
char *aisearch_statefile_first(const statefile_t *file, const char *kind,
                               const char *prefix);

/* Puts one in, until it is taken: what it belongs to has gone at that time.
 * Where there are STATEFILE_KEPT, it is forgotten: an API may make up names. */
void aisearch_statefile_keep(statefile_t *file, const char *kind,
                             const char *name, const char *text, int64_t now);

/*
 * Between begin() and commit() lines are added to those that nobody has taken;
 * then all are written. Nothing of it waits for the disk: while it is busy with
 * the last ones, begin() returns false.
 */
bool aisearch_statefile_begin(statefile_t *file, int64_t now);
void aisearch_statefile_add(statefile_t *file, const char *kind,
                            const char *name, const char *text);
void aisearch_statefile_commit(statefile_t *file);

/* Waits for the disk. Returns what the last commit() came to: 0, or -1 with the
 * reason in *err. */
int aisearch_statefile_wait(statefile_t *file, struct ais_error *err);

/* The same without waiting; 0 also while the disk is busy. */
int aisearch_statefile_check(statefile_t *file, struct ais_error *err);

/* Waits for the disk, and ends the thread. NULL is fine. */
void aisearch_statefile_close(statefile_t *file);

#pragma GCC visibility pop

#endif
