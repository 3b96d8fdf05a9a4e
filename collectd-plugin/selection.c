/* Selects names. */

#include "selection.h"

#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ais_resource.h"

struct selection_entry_s {
  regex_t regex;
  selection_entry_t *next;
};

/* A name is turned into an expression that matches only the name: valid names
 * have no special characters. An expression that requires a character that no
 * name has, such as a capital letter, and has no alternatives, is rejected. */
int selection_add(selection_t *selection, const char *text, char *error,
                  size_t size) {
  size_t len = strlen(text);
  bool is_regex = len > 2 && text[0] == '/' && text[len - 1] == '/';
  selection_entry_t *entry;
  char pattern[1024], *odd;
  int status = REG_ESPACE;

  if (!is_regex && !ais_instance_valid(ais_str_of(text), AIS_PLAIN)) {
    snprintf(error, size, "no instance can have this name");
    return -1;
  }

  snprintf(pattern, sizeof(pattern), is_regex ? "%.*s" : "^%.*s$",
           (int)len - 2 * is_regex, text + is_regex);
  odd = pattern + strspn(pattern, "abcdefghijklmnopqrstuvwxyz0123456789_-"
                                  ".*+?{}),^$");
  if (is_regex && *odd != '\0' && strpbrk(pattern, "|([\\") == NULL &&
      strspn(odd + 1, "*?{") == 0) {
    snprintf(error, size, "the name of an instance never contains a \"%c\"",
             *odd);
    return -1;
  }

  entry = calloc(1, sizeof(*entry));
  if (entry != NULL && len < sizeof(pattern))
    status = regcomp(&entry->regex, pattern, REG_EXTENDED | REG_NOSUB);
  if (status != 0) {
    regerror(status, NULL, error, size);
    free(entry);
    return -1;
  }

  entry->next = selection->entries;
  selection->entries = entry;
  return 0;
}

bool selection_has(const selection_t *selection, const char *name) {
  const selection_entry_t *entry = selection->entries;

  while (entry != NULL && regexec(&entry->regex, name, 0, NULL, 0) != 0)
    entry = entry->next;
  return selection->entries == NULL || (entry != NULL) != selection->ignore;
}

void selection_free(selection_t *selection) {
  for (selection_entry_t *entry; (entry = selection->entries) != NULL;) {
    selection->entries = entry->next;
    regfree(&entry->regex);
    free(entry);
  }
}
