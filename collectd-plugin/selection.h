#ifndef AISEARCH_SELECTION_H
#define AISEARCH_SELECTION_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Selects names like collectd's ignorelist, which plugins that are built
 * outside of collectd cannot use. An entry is a name, or a regular expression
 * (POSIX extended) between slashes, which may match any part of a name:
 *
 *     entries   ignore    what is selected
 *     none      either    everything
 *     some      false     names that match an entry
 *     some      true      names that match no entry
 *
 * Pure: independent of collectd.
 */

typedef struct selection_entry_s selection_entry_t;

typedef struct {
  bool ignore;
  selection_entry_t *entries;
} selection_t;

/* Adds an entry, which selection_free() frees. Returns -1, with the reason in
 * error, if it is neither a valid instance name nor a regular expression. */
int selection_add(selection_t *selection, const char *text, char *error,
                  size_t size);

bool selection_has(const selection_t *selection, const char *name);

void selection_free(selection_t *selection);

#endif
