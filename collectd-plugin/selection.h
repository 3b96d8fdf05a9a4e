#ifndef AISEARCH_SELECTION_H
#define AISEARCH_SELECTION_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Which names are meant: collectd's ignorelist, which is not there for plugins
 * that are built apart from it. An entry is a name, or a regular expression
 * (POSIX extended) between slashes, which may match any part of a name:
 *
 *     entries   ignore    what is selected
 *     none      either    everything
 *     some      false     what one of them matches
 *     some      true      what none of them matches
 *
 * Pure, without collectd in it.
 */

typedef struct selection_entry_s selection_entry_t;

typedef struct {
  bool ignore;
  selection_entry_t *entries;
} selection_t;

/* Adds an entry. Returns -1, with the reason in error, where it is no name that
 * an instance can have, and no regular expression. */
int selection_add(selection_t *selection, const char *text, char *error,
                  size_t size);

bool selection_has(const selection_t *selection, const char *name);

void selection_free(selection_t *selection);

#endif
