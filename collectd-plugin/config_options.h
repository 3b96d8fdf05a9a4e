#ifndef CONFIG_OPTIONS_H
#define CONFIG_OPTIONS_H

#include "aisearch.h"

/* What the parts of config.c share. Everything returns non-zero, after a
 * message that says what is wrong and how to put it right. */

#pragma GCC visibility push(hidden)

/* Every option of a block has to be one of these (the last is NULL), and to
 * stand there once, but for Account, Instance and Job. */
int config_check_options(const oconfig_item_t *block,
                         const char *const *options);

/* Says what is wrong with an account. Always returns -1. */
__attribute__((format(printf, 2, 3))) int
config_refuse(const account_t *account, const char *format, ...);

/* config_instance.c: reads an <Instance> block and adds its look-ups. */
int config_instance(account_t *account, const oconfig_item_t *ci);
void config_free_lookups(lookup_t *lookups);

#pragma GCC visibility pop

static inline struct ais_str config_view(const char *s) {
  return (struct ais_str){s, s != NULL ? strlen(s) : 0};
}

#endif
