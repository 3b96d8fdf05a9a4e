#include "facts.h"

#include <string.h>

void aisearch_facts_init(facts_t *facts) {
  *facts = (facts_t){.created_at = AIS_TIME_NONE};
}

/* It ends up in messages, where a line is a line. */
static void copy_status(char to[sizeof(((facts_t *)0)->status)],
                        const char *from) {
  size_t len = 0;

  for (; len < sizeof(((facts_t *)0)->status) - 1 && from[len] != '\0'; len++)
    to[len] = from[len] >= ' ' && from[len] <= '~' ? from[len] : '?';
  to[len] = '\0';
}

void aisearch_facts_take(facts_t *facts, const struct ais_instance *instance) {
  *facts = (facts_t){
      .created_at = instance->created_at,
      .sync_interval = instance->sync_interval,
      .indexed = instance->indexed,
      .disabled = instance->disabled,
      .paused = instance->paused,
      .in_error = instance->in_error,
  };
  if (instance->status != NULL)
    copy_status(facts->status, instance->status);
}

bool aisearch_facts_equal(const facts_t *a, const facts_t *b) {
  return a->created_at == b->created_at &&
         a->sync_interval == b->sync_interval && a->indexed == b->indexed &&
         a->disabled == b->disabled && a->paused == b->paused &&
         a->in_error == b->in_error && strcmp(a->status, b->status) == 0;
}

const char *aisearch_facts_excuse(const facts_t *facts) {
  if (facts->indexed == AIS_INDEXED_AS_STORED)
    return "The instance has built-in storage, and no sync jobs";
  if (facts->disabled)
    return "Syncing is off";
  if (facts->paused && !facts->in_error)
    return "The instance is paused";
  return NULL;
}

int64_t aisearch_facts_interval(const facts_t *facts) {
  return facts->sync_interval > 0 ? facts->sync_interval : FACTS_SYNC_INTERVAL;
}
