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
  watch->created_at = AIS_TIME_NONE;
  aisearch_history_init(&watch->history);
  if (watch->plugin_instance == NULL) {
    aisearch_watch_leave(watch);
    return NULL;
  }

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
  conditions_instance_t instance = {
      .plugin_instance = watch->plugin_instance,
      .created_at = watch->created_at,
      .paused = watch->paused,
      .awaited = watch->awaited,
  };

  if (page == 0)
    aisearch_history_job(&watch->history, answer, answered_at,
                         account->alarms.stalled_after, news);
  else
    aisearch_history_page(&watch->history, answer, page, answered_at,
                          account->alarms.stalled_after, news);

  aisearch_conditions_look(&watch->told, &account->alarms, &instance,
                           &watch->history, news, answered_at,
                           &account->outbox);
}

/* Should it come back, it goes on where it was. */
void aisearch_watch_end(watch_t *watch) {
  aisearch_conditions_gone(&watch->told, watch->plugin_instance,
                           &watch->account->outbox);
  aisearch_state_keep_watch(watch);
}
