#include "aisearch.h"

static void dispatch(const char *plugin_instance, const char *type,
                     const char *type_instance, value_t value, cdtime_t now) {
  value_list_t vl = VALUE_LIST_INIT;

  vl.values = &value;
  vl.values_len = 1;
  vl.time = now;
  sstrncpy(vl.plugin, "aisearch", sizeof(vl.plugin));
  sstrncpy(vl.plugin_instance, plugin_instance, sizeof(vl.plugin_instance));
  sstrncpy(vl.type, type, sizeof(vl.type));
  sstrncpy(vl.type_instance, type_instance, sizeof(vl.type_instance));

  plugin_dispatch_values(&vl);
}

static void report_account(account_t *account, cdtime_t now) {
  derive_t requests;
  derive_t errors[AIS_FAULTS];
  gauge_t response_time = NAN;

  pthread_mutex_lock(&account->lock);
  requests = account->requests;
  memcpy(errors, account->errors, sizeof(errors));
  if (account->responses > 0)
    response_time = account->response_time / (double)account->responses;
  account->response_time = 0.0;
  account->responses = 0;
  pthread_mutex_unlock(&account->lock);

  dispatch(account->name, "http_requests", "", (value_t){.derive = requests},
           now);

  for (int fault = AIS_FAULT_CONNECT; fault <= AIS_FAULT_BODY; fault++)
    dispatch(account->name, "errors", ais_fault_name(fault),
             (value_t){.derive = errors[fault]}, now);

  if (!isnan(response_time))
    dispatch(account->name, "response_time", "api",
             (value_t){.gauge = response_time}, now);
}

static void report_lookup(lookup_t *lookup, cdtime_t now) {
  reading_t reading;
  reading_value_t values[READING_VALUES_MAX];
  /* Every interval there is a new answer, a failure, or word that it has to
   * wait, unless the thread was kept from running. */
  int64_t patience = CDTIME_T_TO_MS(2 * plugin_get_interval());

  pthread_mutex_lock(&lookup->account->lock);
  reading = lookup->reading;
  pthread_mutex_unlock(&lookup->account->lock);

  size_t n =
      aisearch_reading_values(&reading, CDTIME_T_TO_MS(now), patience, values);

  for (size_t i = 0; i < n; i++) {
    char name[DATA_MAX_NAME_LEN];

    if (lookup->job == NULL)
      sstrncpy(name, values[i].type_instance, sizeof(name));
    else
      ssnprintf(name, sizeof(name), "%s-%s", values[i].type_instance,
                lookup->job);

    dispatch(lookup->plugin_instance, values[i].type, name,
             (value_t){.gauge = values[i].value}, now);
  }
}

void aisearch_report(account_t *account) {
  cdtime_t now = cdtime();

  report_account(account, now);
  for (lookup_t *l = account->lookups; l != NULL; l = l->next)
    report_lookup(l, now);
}
