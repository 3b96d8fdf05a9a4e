#include "items.h"

bool aisearch_items_due(items_t *items, bool has_ended, int64_t now) {
  bool due = has_ended || (items->begun && now >= items->due_at);

  if (!items->begun)
    items->due_at = now;
  items->begun = true;
  return due;
}

void aisearch_items_take(items_t *items, const struct ais_stats *stats,
                         bool is_soon, int64_t idle, int64_t now) {
  items->known = stats != NULL && !stats->degraded;
  if (items->known)
    items->stats = *stats;
  items->due_at = now + (is_soon ? 1 : ITEMS_LOOKS) * idle;
}
