#include "config_options.h"

int config_refuse(const account_t *account, const char *format, ...) {
  char text[640];
  va_list ap;

  va_start(ap, format);
  vsnprintf(text, sizeof(text), format, ap);
  va_end(ap);

  ERROR("aisearch plugin: Account \"%s\": %s", account->name, text);
  return -1;
}

static size_t find_option(const char *key, const char *const *options) {
  size_t i = 0;

  while (options[i] != NULL && strcasecmp(key, options[i]) != 0)
    i++;
  return i;
}

static bool is_repeatable(const char *key) {
  static const char *const keys[] = {
      "Account", "Budget", "DiscoverInstance", "DiscoverNamespace", "Instance",
      "Job",     NULL};

  return keys[find_option(key, keys)] != NULL;
}

static bool is_repeated(const oconfig_item_t *block, int index) {
  for (int i = 0; i < index; i++)
    if (strcasecmp(block->children[i].key, block->children[index].key) == 0)
      return true;
  return false;
}

static void list_options(char *buffer, size_t size,
                         const char *const *options) {
  size_t n = find_option("", options);

  strjoin(buffer, size, (char **)options, n, ", ");
}

int config_check_options(const oconfig_item_t *block,
                         const char *const *options) {
  for (int i = 0; i < block->children_num; i++) {
    const char *key = block->children[i].key;

    if (options[find_option(key, options)] == NULL) {
      char known[512];

      list_options(known, sizeof(known), options);
      ERROR("aisearch plugin: The option `%s' is not known in a `%s' block. "
            "Known ones: %s.",
            key, block->key, known);
      return -1;
    }

    if (!is_repeatable(key) && is_repeated(block, i)) {
      ERROR("aisearch plugin: The option `%s' is given twice in one `%s' "
            "block. Keep one of them.",
            key, block->key);
      return -1;
    }
  }

  return 0;
}
