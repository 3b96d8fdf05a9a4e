/* Which names are meant. */

#include "selection.h"

#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct selection_entry_s {
  regex_t regex;
  selection_entry_t *next;
};

/* With something between the slashes; "//" is a name, if a strange one. */
bool selection_is_regex(const char *text) {
  size_t len = strlen(text);

  return len > 2 && text[0] == '/' && text[len - 1] == '/';
}

/* A name is an expression that matches nothing else: it has no characters that
 * mean something there. */
int selection_add(selection_t *selection, const char *text, char *error,
                  size_t size) {
  bool is_regex = selection_is_regex(text);
  selection_entry_t *entry = calloc(1, sizeof(*entry));
  char pattern[1024];
  int status = REG_ESPACE;

  snprintf(pattern, sizeof(pattern), is_regex ? "%.*s" : "^%.*s$",
           (int)strlen(text) - 2 * is_regex, text + is_regex);
  if (entry != NULL)
    status = text[0] == '\0'
                 ? REG_BADPAT
                 : regcomp(&entry->regex, pattern, REG_EXTENDED | REG_NOSUB);
  if (status != 0) {
    regerror(status, NULL, error, size);
    if (text[0] == '\0')
      snprintf(error, size, "it is empty");
    free(entry);
    return -1;
  }

  entry->next = selection->entries;
  selection->entries = entry;
  return 0;
}

bool selection_has(const selection_t *selection, const char *name) {
  const selection_entry_t *entry = selection->entries;

  if (entry == NULL)
    return true;
  while (entry != NULL && regexec(&entry->regex, name, 0, NULL, 0) != 0)
    entry = entry->next;
  return (entry != NULL) != selection->ignore;
}

void selection_free(selection_t *selection) {
  while (selection->entries != NULL) {
    selection_entry_t *next = selection->entries->next;

    regfree(&selection->entries->regex);
    free(selection->entries);
    selection->entries = next;
  }
}
