#include "config_options.h"

#define DEFAULT_STALLED_AFTER 900.0

#define MAX_AFTER 31536000.0 /* a year */

const config_alarms_t config_alarms_default = {
    .stalled_after = DEFAULT_STALLED_AFTER,
    .overdue_after = NAN,
};

bool config_is_alarm(const char *option) {
  return strcasecmp(option, "StalledAfter") == 0 ||
         strcasecmp(option, "OverdueAfter") == 0;
}

int config_alarm(config_alarms_t *alarms, const oconfig_item_t *ci) {
  return cf_util_get_double(ci, strcasecmp("StalledAfter", ci->key) == 0
                                    ? &alarms->stalled_after
                                    : &alarms->overdue_after);
}

static int set(const account_t *account, const char *option, double seconds,
               int64_t *ms) {
  if (!(seconds == 0.0 || (seconds >= 1.0 && seconds <= MAX_AFTER)))
    return config_refuse(account,
                         "%s %.15g is out of range. Use 1 to %.0f seconds, or "
                         "0 for never.",
                         option, seconds, MAX_AFTER);

  *ms = (int64_t)(seconds * 1000.0);
  return 0;
}

int config_alarms_set(account_t *account, const config_alarms_t *alarms) {
  if (set(account, "StalledAfter", alarms->stalled_after,
          &account->alarms.stalled_after) != 0)
    return -1;

  account->alarms.overdue_after = OVERDUE_BY_INTERVAL;
  if (isnan(alarms->overdue_after))
    return 0;
  return set(account, "OverdueAfter", alarms->overdue_after,
             &account->alarms.overdue_after);
}
