#include "config_options.h"

#define DEFAULT_ACTIVE_INTERVAL 20.0
#define DEFAULT_IDLE_INTERVAL 300.0
#define DEFAULT_MAX_STREAMS 100.0

#define MAX_INTERVAL 86400.0
#define MAX_MAX_STREAMS 1000.0

const config_pacing_t config_pacing_default = {
    .active_interval = NAN,
    .idle_interval = NAN,
    .max_streams = DEFAULT_MAX_STREAMS,
};

bool config_is_pacing(const char *option) {
  return strcasecmp(option, "ActiveInterval") == 0 ||
         strcasecmp(option, "IdleInterval") == 0 ||
         strcasecmp(option, "MaxStreams") == 0;
}

int config_pacing(config_pacing_t *pacing, const oconfig_item_t *ci) {
  if (strcasecmp("ActiveInterval", ci->key) == 0)
    return cf_util_get_double(ci, &pacing->active_interval);
  if (strcasecmp("IdleInterval", ci->key) == 0)
    return cf_util_get_double(ci, &pacing->idle_interval);
  return cf_util_get_double(ci, &pacing->max_streams);
}

static double max_double(double a, double b) { return a > b ? a : b; }

static int check_interval(const account_t *account, const char *option,
                          double seconds) {
  if (!isnan(seconds) && !(seconds > 0.0 && seconds <= MAX_INTERVAL))
    return config_refuse(account,
                         "%s %.15g is out of range. Use up to %.0f seconds.",
                         option, seconds, MAX_INTERVAL);
  return 0;
}

/* More often than values are reported nobody needs to look. */
static double active_interval(const account_t *account,
                              const config_pacing_t *pacing) {
  double interval = CDTIME_T_TO_DOUBLE(plugin_get_interval());
  double active = pacing->active_interval;

  if (isnan(active))
    return max_double(DEFAULT_ACTIVE_INTERVAL, interval);

  if (active < interval) {
    WARNING("aisearch plugin: Account \"%s\": ActiveInterval %g is below the "
            "Interval of the plugin. Will use that: %g.",
            account->name, active, interval);
    return interval;
  }
  return active;
}

int config_pacing_set(account_t *account, const config_pacing_t *pacing) {
  double streams = pacing->max_streams;
  double active, idle;

  if (check_interval(account, "ActiveInterval", pacing->active_interval) != 0 ||
      check_interval(account, "IdleInterval", pacing->idle_interval) != 0)
    return -1;

  if (!(streams >= 1.0 && streams <= MAX_MAX_STREAMS) ||
      streams != (double)(size_t)streams)
    return config_refuse(account,
                         "MaxStreams %.15g is out of range. Use a whole number "
                         "from 1 to %.0f.",
                         streams, MAX_MAX_STREAMS);

  active = active_interval(account, pacing);
  idle = isnan(pacing->idle_interval)
             ? max_double(DEFAULT_IDLE_INTERVAL, active)
             : pacing->idle_interval;
  if (idle < active)
    return config_refuse(account,
                         "IdleInterval %g is below ActiveInterval, %g. Use at "
                         "least that.",
                         idle, active);

  account->pacing = (pacing_t){
      .active_interval = (int64_t)(active * 1000.0),
      .idle_interval = (int64_t)(idle * 1000.0),
      .max_streams = (size_t)streams,
  };
  return 0;
}
