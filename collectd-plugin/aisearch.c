/*
 * aisearch: reports the state of Cloudflare AI Search indexing jobs.
 *
 * A dedicated thread looks up all jobs, as often as makes sense and the budget
 * allows. The read callbacks report the latest responses and never wait for the
 * network, so an API that does not respond blocks neither a read thread nor
 * another plugin.
 */

#include "aisearch.h"

#include "ais_version.h"
#include "state.h"

static config_t config;

static int register_account(account_t *account) {
  char name[DATA_MAX_NAME_LEN];

  report_prepare(account, plugin_get_interval());
  ssnprintf(name, sizeof(name), "aisearch-%s", account->name);

  /* No free_func: the polling thread still uses the account when collectd frees
   * the callbacks' data. */
  return plugin_register_complex_read(
      "aisearch", name, account->is_test ? report_test : report,
      account->interval / account->slices, &(user_data_t){.data = account});
}

/* Always succeeds, because an error would stop collectd and with it all other
 * metrics of the host. */
static int aisearch_config(oconfig_item_t *ci) {
  config_read(ci, &config);
  return 0;
}

/* Threads and clients are created here, not while the configuration is read,
 * because collectd forks in between to run in the background. "collectd -T"
 * reads once, to check that everything works. */
static int aisearch_init(void) {
  bool is_test = global_option_get_long("ReadThreads", 0) == -1;

  if (config.accounts == NULL)
    ERROR("aisearch plugin: %s",
          config.is_refused
              ? "No account can be used. Correct the errors reported above."
              : "No account is configured. Add a <Plugin aisearch> block with "
                "an <Account> block, or remove the LoadPlugin line.");
  if (config.accounts == NULL || (is_test && config.is_refused))
    return is_test ? -1 : 0;

  INFO("aisearch plugin: aisearch-jobs/" AIS_VERSION);
  if (!is_test)
    state_open(config.state_path, poller_wake);
  if (poller_start(config.accounts, is_test) == 0)
    for (account_t *a = config.accounts; a != NULL; a = a->next)
      (void)register_account(a);
  return 0;
}

/* No notifications are sent from here: plugins loaded earlier would not get
 * them. Notices that were not sent are in the state file and are sent after the
 * next start. */
static int aisearch_shutdown(void) {
  poller_stop();
  state_close(config.accounts);
  poller_free();
  for (account_t *a = config.accounts, *next; a != NULL; a = next) {
    next = a->next;
    lists_free(a);
    config_free(a);
  }
  sfree(config.state_path);
  config = (config_t){.accounts = NULL};
  return 0;
}

__attribute__((visibility("default"))) void module_register(void) {
  plugin_register_complex_config("aisearch", aisearch_config);
  plugin_register_init("aisearch", aisearch_init);
  plugin_register_shutdown("aisearch", aisearch_shutdown);
}
