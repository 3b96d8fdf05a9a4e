#ifndef CONFIG_OPTIONS_H
#define CONFIG_OPTIONS_H

#include "aisearch.h"

/* What the parts of config.c share. Everything returns non-zero, after a
 * message that says what is wrong and how to put it right. */

#pragma GCC visibility push(hidden)

/* Every option of a block has to be one of these (the last is NULL), and to
 * stand there once, but for those of which there may be several. */
int config_check_options(const oconfig_item_t *block,
                         const char *const *options);

/* Says what is wrong with an account. Always returns -1. */
__attribute__((format(printf, 2, 3))) int
config_refuse(const account_t *account, const char *format, ...);

/* Of what the API's documentation allows. */
#define CONFIG_NAMESPACE_RULE                                                  \
  "Use 1 to 28 of a-z, 0-9 and -, the first and the last of them no -."

/* config_instance.c: reads an <Instance> block and adds its look-ups. */
int config_instance(account_t *account, const oconfig_item_t *ci);

/* config_pacing.c: how often an account is looked at, and how much at once. */
typedef struct {
  double active_interval; /* seconds; 0: not given */
  double idle_interval;   /* seconds; 0: not given */
  double max_streams;
} config_pacing_t;

extern const config_pacing_t config_pacing_default;

bool config_is_pacing(const char *option);
int config_pacing(config_pacing_t *pacing, const oconfig_item_t *ci);
int config_pacing_set(account_t *account, const config_pacing_t *pacing);

/* config_discovery.c: what an account is to discover by itself. */
typedef struct {
  bool is_said; /* DiscoverInstances is given */
  bool wanted;
  double interval; /* seconds */
} config_discovery_t;

extern const config_discovery_t config_discovery_default;

bool config_is_discovery(const char *option);
int config_discovery(account_t *account, config_discovery_t *discovery,
                     const oconfig_item_t *ci);
int config_discovery_set(account_t *account,
                         const config_discovery_t *discovery);
void config_discovery_free(discovery_settings_t *discover);

/* config_alarms.c: when a notification is due; in seconds. */
typedef struct {
  double stalled_after;
  double overdue_after; /* NAN: not given */
} config_alarms_t;

extern const config_alarms_t config_alarms_default;

bool config_is_alarm(const char *option);
int config_alarm(config_alarms_t *alarms, const oconfig_item_t *ci);
int config_alarms_set(account_t *account, const config_alarms_t *alarms);

/* The Budget options of an account. */
typedef struct {
  struct ais_budget_limit limits[AIS_BUDGET_LIMITS];
  size_t nlimits;
} config_budget_t;

/* config_budget.c: reads one of them; and makes the account spend them, or the
 * budget of one of these accounts where that has the same credential. */
int config_budget(const account_t *account, config_budget_t *budget,
                  const oconfig_item_t *ci);
int config_budget_join(account_t *account, const config_budget_t *settings,
                       account_t *accounts);

#pragma GCC visibility pop

static inline struct ais_str config_view(const char *s) {
  return (struct ais_str){s, s != NULL ? strlen(s) : 0};
}

#endif
