#include "aisearch.h"

#include "state.h"

watch_t *aisearch_watch_join(account_t *account, char *plugin_instance) {
  lookup_t *other = aisearch_lookup_find(account, plugin_instance);
  watch_t *watch;

  if (other != NULL) {
    other->watch->users++;
    return other->watch;
  }

  watch = calloc(1, sizeof(*watch));
  if (watch == NULL)
    return NULL;

  watch->account = account;
  watch->plugin_instance = strdup(plugin_instance);
  watch->users = 1;
  aisearch_facts_init(&watch->instance.facts);
  aisearch_history_init(&watch->history);
  if (watch->plugin_instance == NULL) {
    aisearch_watch_leave(watch);
    return NULL;
  }

  watch->instance.plugin_instance = watch->plugin_instance;
  aisearch_state_restore_watch(watch);
  return watch;
}

void aisearch_watch_leave(watch_t *watch) {
  if (watch == NULL || --watch->users > 0)
    return;

  aisearch_history_free(&watch->history);
  sfree(watch->plugin_instance);
  sfree(watch);
}

void aisearch_watch_look(watch_t *watch, const struct ais_answer *answer,
                         unsigned page, int64_t answered_at,
                         history_news_t *news) {
  account_t *account = watch->account;

  if (page == 0)
    aisearch_history_job(&watch->history, answer, answered_at,
                         account->alarms.stalled_after, news);
  else
    aisearch_history_page(&watch->history, answer, page, answered_at,
                          account->alarms.stalled_after, news);

  aisearch_conditions_look(&watch->told, &account->alarms, &watch->instance,
                           &watch->history, news, answered_at,
                           &account->outbox);
}

void aisearch_watch_know(watch_t *watch, const facts_t *facts) {
  aisearch_conditions_know(&watch->told, &watch->instance, &watch->history,
                           facts, aisearch_epoch(), &watch->account->outbox);
}

int64_t aisearch_watch_sync_interval(const watch_t *watch) {
  const facts_t *facts = &watch->instance.facts;

  if (watch->instance.awaited || !watch->history.listed ||
      aisearch_facts_excuse(facts) != NULL)
    return 0;
  return aisearch_facts_interval(facts);
}

/* Should it come back, it goes on where it was. */
void aisearch_watch_end(watch_t *watch) {
  aisearch_conditions_gone(&watch->told, watch->plugin_instance,
                           &watch->account->outbox);
  aisearch_state_keep_watch(watch);
}
