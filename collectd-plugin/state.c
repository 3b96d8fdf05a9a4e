#include "state.h"

#include "budget_text.h"
#include "statefile.h"

/* Below collectd's BaseDir, which is its working directory by then. */
#define STATE_FILE "aisearch.state"

/* Of a line: what it is about, by plugin instance or by account. */
#define HISTORY "instance"
#define TOLD "told"
#define BUDGET "budget"

static char *state_path;
static statefile_t *state_file;
static bool state_changed;
static c_complain_t state_complaint = C_COMPLAIN_INIT_STATIC;

int aisearch_state_config(const oconfig_item_t *ci) {
  if (state_path != NULL) {
    ERROR("aisearch plugin: The option `StateFile' is given twice. Keep one "
          "of them.");
    return -1;
  }

  if (cf_util_get_string(ci, &state_path) != 0)
    return -1;

  if (state_path[0] == '\0' || state_path[strlen(state_path) - 1] == '/') {
    ERROR("aisearch plugin: StateFile \"%s\" is no name of a file. Use an "
          "absolute path, or one that is relative to BaseDir.",
          state_path);
    sfree(state_path);
    return -1;
  }
  return 0;
}

void aisearch_state_config_free(void) { sfree(state_path); }

static bool is_valid(const char *kind, const char *text) {
  if (strcmp(kind, HISTORY) == 0) {
    history_t history;
    bool valid = aisearch_history_parse(&history, text);

    if (valid)
      aisearch_history_free(&history);
    return valid;
  }

  if (strcmp(kind, TOLD) == 0)
    return aisearch_told_parse(&(outbox_told_t){0}, text);

  return strcmp(kind, BUDGET) == 0 &&
         aisearch_budget_parse(/* b = */ NULL, 0, 0, text);
}

static char *take(const char *kind, const char *name) {
  return state_file != NULL ? aisearch_statefile_take(state_file, kind, name)
                            : NULL;
}

static void restore_told(outbox_told_t *told, const char *name,
                         outbox_t *outbox) {
  char *text = take(TOLD, name);

  if (text != NULL) {
    aisearch_told_parse(told, text);
    aisearch_outbox_restore(outbox, told);
    sfree(text);
  }
}

void aisearch_state_restore_watch(watch_t *watch) {
  char *text = take(HISTORY, watch->plugin_instance);

  if (text != NULL) {
    aisearch_history_free(&watch->history);
    aisearch_history_parse(&watch->history, text);
    aisearch_history_bound(&watch->history, aisearch_epoch());
    sfree(text);
  }
  restore_told(&watch->told, watch->plugin_instance, &watch->account->outbox);
}

void aisearch_state_restore_budget(account_t *account) {
  char *text = take(BUDGET, account->name);

  if (text != NULL) {
    aisearch_budget_parse(&account->payer->budget.calls, aisearch_clock(),
                          aisearch_epoch(), text);
    sfree(text);
  }
}

/* What was told of instances that are not named any more: nobody else would end
 * it. Those that are discovered are still to come. */
static void end_unknown(account_t *account) {
  char prefix[DATA_MAX_NAME_LEN];
  char *name;

  if (state_file == NULL || account->discover.wanted)
    return;

  ssnprintf(prefix, sizeof(prefix), "%s-", account->name);
  while ((name = aisearch_statefile_first(state_file, TOLD, prefix)) != NULL) {
    outbox_told_t told = {0};

    restore_told(&told, name, &account->outbox);
    aisearch_conditions_gone(&told, name, &account->outbox);
    sfree(name);
  }
}

void aisearch_state_open(account_t *accounts) {
  struct ais_error err = {.text = ""};

  state_file = aisearch_statefile_open(
      state_path != NULL ? state_path : STATE_FILE, is_valid, &err);
  if (state_file == NULL)
    WARNING("aisearch plugin: StateFile: Out of memory. Nothing will be known "
            "after a restart.");
  else if (err.text[0] != '\0')
    WARNING("aisearch plugin: StateFile: %s. Begins with nothing known.",
            err.text);

  for (account_t *a = accounts; a != NULL; a = a->next) {
    restore_told(&a->conditions.told, a->name, &a->outbox);
    for (lookup_t *l = a->first; l != NULL; l = l->next)
      if (l->leads)
        aisearch_state_restore_watch(l->watch);
    end_unknown(a);
  }
}

void aisearch_state_keep_watch(const watch_t *watch) {
  char text[HISTORY_TEXT_SIZE];

  if (state_file == NULL || watch->history.seen_at == AIS_TIME_NONE)
    return;
  aisearch_history_print(&watch->history, text);
  aisearch_statefile_keep(state_file, HISTORY, watch->plugin_instance, text,
                          aisearch_epoch());
}

static void add_told(const char *name, const outbox_told_t *told) {
  char text[TOLD_TEXT_SIZE];

  aisearch_told_print(told, text);
  if (text[0] != '\0')
    aisearch_statefile_add(state_file, TOLD, name, text);
}

static void add_budget(account_t *account) {
  char text[BUDGET_TEXT_SIZE];

  aisearch_budget_print(&account->budget.calls, aisearch_clock(),
                        aisearch_epoch(), text);
  if (text[0] != '\0')
    aisearch_statefile_add(state_file, BUDGET, account->name, text);
}

static void add_watch(const watch_t *watch) {
  char text[HISTORY_TEXT_SIZE];

  if (watch->history.seen_at != AIS_TIME_NONE) {
    aisearch_history_print(&watch->history, text);
    aisearch_statefile_add(state_file, HISTORY, watch->plugin_instance, text);
  }
  add_told(watch->plugin_instance, &watch->told);
}

static void add_account(account_t *account) {
  outbox_told_t told;

  pthread_mutex_lock(&account->lock);
  told = account->conditions.told;
  pthread_mutex_unlock(&account->lock);
  add_told(account->name, &told);

  if (account->payer == account)
    add_budget(account);
  for (lookup_t *l = account->first; l != NULL; l = l->next)
    if (l->leads)
      add_watch(l->watch);
}

static void complain(int status, const struct ais_error *err) {
  if (status != 0)
    c_complain_once(LOG_ERR, &state_complaint,
                    "aisearch plugin: StateFile: %s. After a restart, alarms "
                    "may come again, and counters begin anew.",
                    err->text);
  else
    c_release(LOG_INFO, &state_complaint,
              "aisearch plugin: StateFile: can be written again.");
}

void aisearch_state_touch(void) { state_changed = true; }

bool aisearch_state_save(account_t *accounts) {
  struct ais_error err = {.text = ""};

  if (state_file == NULL || !state_changed)
    return true;
  if (!aisearch_statefile_begin(state_file, aisearch_epoch()))
    return false;

  complain(aisearch_statefile_check(state_file, &err), &err);
  for (account_t *a = accounts; a != NULL; a = a->next)
    add_account(a);
  aisearch_statefile_commit(state_file);
  state_changed = false;
  return true;
}

void aisearch_state_close(account_t *accounts) {
  struct ais_error err = {.text = ""};

  if (state_file != NULL) {
    aisearch_statefile_wait(state_file, &err);
    aisearch_state_touch();
    aisearch_state_save(accounts);
    complain(aisearch_statefile_wait(state_file, &err), &err);
    aisearch_statefile_close(state_file);
    state_file = NULL;
  }
}
