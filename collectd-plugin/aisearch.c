/*
 * aisearch: reports the state of Cloudflare AI Search indexing jobs.
 *
 * A thread of the plugin's own asks for all jobs, as often as it makes sense
 * and the budget allows it; the read callbacks report the last answers and
 * never wait for the network. So an API that does not answer holds up no read
 * thread, and no other plugin.
 */

#include "aisearch.h"

#include "state.h"

static account_t *accounts;

/* Always 0: after anything else collectd would ask less and less often. */
static int aisearch_read(user_data_t *ud) {
  aisearch_report(ud->data);
  return 0;
}

static int register_account(account_t *account) {
  char name[DATA_MAX_NAME_LEN];

  aisearch_report_prepare(account, plugin_get_interval());
  ssnprintf(name, sizeof(name), "aisearch-%s", account->name);

  /* No free_func: the thread still uses the account when collectd has freed
   * the callbacks' data. */
  return plugin_register_complex_read("aisearch", name, aisearch_read,
                                      account->interval / account->slices,
                                      &(user_data_t){.data = account});
}

static int aisearch_config_block(oconfig_item_t *ci) {
  return aisearch_config(ci, &accounts);
}

/* collectd may have gone to the background since the configuration was read:
 * threads and clients are made here. */
static int aisearch_init(void) {
  if (accounts == NULL) {
    ERROR("aisearch plugin: No account is configured. Add a <Plugin aisearch> "
          "block with an <Account> in it, or remove the LoadPlugin line.");
    return -1;
  }

  aisearch_state_open(accounts);
  if (aisearch_fetch_start(accounts) != 0)
    return -1;

  for (account_t *a = accounts; a != NULL; a = a->next)
    if (register_account(a) != 0)
      return -1;

  return 0;
}

static int aisearch_shutdown(void) {
  aisearch_fetch_stop();
  for (account_t *a = accounts; a != NULL; a = a->next)
    aisearch_report_last(a);
  aisearch_state_close(accounts);
  aisearch_accounts_free(accounts);
  accounts = NULL;
  return 0;
}

void module_register(void) {
  plugin_register_complex_config("aisearch", aisearch_config_block);
  plugin_register_init("aisearch", aisearch_init);
  plugin_register_shutdown("aisearch", aisearch_shutdown);
}
