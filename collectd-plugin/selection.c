#include "selection.h"

#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct selection_entry_s {
  char *name; /* NULL: it is a regular expression */
  regex_t regex;
  selection_entry_t *next;
};

/* With something between the slashes; "//" is a name, if a strange one. */
bool selection_is_regex(const char *text) {
  size_t len = strlen(text);

  return len > 2 && text[0] == '/' && text[len - 1] == '/';
}

static int compile(regex_t *regex, const char *entry, char *error,
                   size_t size) {
  char *pattern = strndup(entry + 1, strlen(entry) - 2);
  int status;

  if (pattern == NULL) {
    snprintf(error, size, "out of memory");
    return -1;
  }

  status = regcomp(regex, pattern, REG_EXTENDED | REG_NOSUB);
  free(pattern);
  if (status == 0)
    return 0;

  regerror(status, regex, error, size);
  return -1;
}

static selection_entry_t *make_entry(const char *text, char *error,
                                     size_t size) {
  selection_entry_t *entry = calloc(1, sizeof(*entry));

  if (entry == NULL) {
    snprintf(error, size, "out of memory");
    return NULL;
  }

  if (selection_is_regex(text)) {
    if (compile(&entry->regex, text, error, size) == 0)
      return entry;
  } else {
    entry->name = strdup(text);
    if (entry->name != NULL)
      return entry;
    snprintf(error, size, "out of memory");
  }

  free(entry);
  return NULL;
}

int selection_add(selection_t *selection, const char *text, char *error,
                  size_t size) {
  selection_entry_t *entry;

  if (text[0] == '\0') {
    snprintf(error, size, "it is empty");
    return -1;
  }

  entry = make_entry(text, error, size);
  if (entry == NULL)
    return -1;

  entry->next = selection->entries;
  selection->entries = entry;
  return 0;
}

static bool matches(const selection_entry_t *entry, const char *name) {
  if (entry->name != NULL)
    return strcmp(entry->name, name) == 0;
  return regexec(&entry->regex, name, 0, NULL, 0) == 0;
}

bool selection_has(const selection_t *selection, const char *name) {
  if (selection->entries == NULL)
    return true;

  for (const selection_entry_t *e = selection->entries; e != NULL; e = e->next)
    if (matches(e, name))
      return !selection->ignore;

  return selection->ignore;
}

void selection_free(selection_t *selection) {
  while (selection->entries != NULL) {
    selection_entry_t *next = selection->entries->next;

    if (selection->entries->name == NULL)
      regfree(&selection->entries->regex);
    free(selection->entries->name);
    free(selection->entries);
    selection->entries = next;
  }
}
