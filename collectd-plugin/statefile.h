#ifndef AISEARCH_STATEFILE_H
#define AISEARCH_STATEFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What has to outlive collectd: a text file of one line per thing,
 *
 *     KIND NAME TEXT
 *
 * such as "instance docs-handbook ...". What was read at start stays in here
 * until somebody takes it; what nobody has taken is written again, for as long
 * as a month, since its instance may be away for a while.
 *
 * The file is written by a thread of its own, so that a slow disk holds up
 * nobody, and replaced as a whole: whoever reads it finds the old one or the
 * new one.
 */

typedef struct statefile_s statefile_t;

#pragma GCC visibility push(hidden)

/* Reads the file. One that cannot be is set aside, with a warning. Returns NULL
 * where memory runs out. */
statefile_t *aisearch_statefile_open(const char *path);

/* Takes the text of such a line out of what was read, to be freed; or NULL. */
char *aisearch_statefile_take(statefile_t *file, const char *kind,
                              const char *name);

/* Puts one in again, as of an instance that is not there any more. */
void aisearch_statefile_keep(statefile_t *file, const char *kind,
                             const char *name, const char *text);

/* What is to be written: between begin() and commit() lines are added to those
 * that nobody took. Nothing of it waits for the disk; where the last one is
 * still being written, begin() returns false: try later. */
bool aisearch_statefile_begin(statefile_t *file, int64_t now);
void aisearch_statefile_add(statefile_t *file, const char *kind,
                            const char *name, const char *text);
void aisearch_statefile_commit(statefile_t *file);

/* Waits until everything is written, and ends the thread. NULL is fine. */
void aisearch_statefile_close(statefile_t *file);

#pragma GCC visibility pop

#endif
