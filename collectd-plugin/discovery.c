/* How a list of instances is read, and what follows from it. */

#include "discovery.h"

#include <stdio.h>
#include <string.h>

void discovery_begin(discovery_t *d) {
  *d = (discovery_t){.passes = 1, .page = 1};
}

/* Remembers the first element of the page. The server repeats a page if the
 * first element is the same as on the previous one. */
static bool is_repeated(discovery_t *d, const struct ais_listing *page) {
  const struct ais_instance *i = page->instances;
  char first[sizeof(d->first)] = "";
  bool is_same;

  if (page->ninstances > 0)
    snprintf(first, sizeof(first), "%s@%s", i->id,
             i->namespace != NULL ? i->namespace : "");
  is_same = strcmp(first, d->first) == 0;
  memcpy(d->first, first, sizeof(first));
  return is_same;
}

/* The first page's total_count applies to the whole pass. If another page has a
 * different one, the list has changed meanwhile. */
discovery_step_t discovery_page(discovery_t *d, const struct ais_listing *page,
                                bool is_old) {
  size_t entries = page->ninstances + page->left_out;

  if (d->page == 1)
    d->total = page->total;
  d->moved = page->total != d->total;
  d->old |= is_old;
  d->seen += (int64_t)entries;
  d->left_out += page->left_out;
  d->repeats = is_repeated(d, page) && entries > 0;
  if (entries == 0 || d->moved || d->repeats ||
      (d->total != -1 && d->seen >= d->total))
    return DISCOVERY_DONE;

  d->full |= d->page == DISCOVERY_PAGES_MAX;
  d->page += !d->full;
  return d->full ? DISCOVERY_DONE : DISCOVERY_MORE;
}

discovery_step_t discovery_pass(discovery_t *d, bool is_missing) {
  bool is_right = !d->moved && (d->total == -1 || d->seen == d->total);

  if (d->repeats || d->full)
    return DISCOVERY_DONE;

  d->good += is_right && (d->passes == 1 || !d->old);
  if (is_right && is_missing && d->good == 2)
    return DISCOVERY_CERTAIN;
  if ((is_right && !is_missing) || d->passes == DISCOVERY_PASSES_MAX)
    return DISCOVERY_DONE;

  *d = (discovery_t){.passes = d->passes + 1, .good = d->good, .page = 1};
  return DISCOVERY_MORE;
}
