#include "discovery.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_NAMESPACE "default"

void aisearch_discovery_init(discovery_t *d, const char *namespace,
                             const selection_t *selection, size_t room) {
  *d = (discovery_t){
      .namespace = namespace,
      .selection = selection,
      .room = room,
  };
}

static void free_instance(discovery_instance_t *instance) {
  if (instance == NULL)
    return;

  free(instance->id);
  free(instance->namespace);
  free(instance);
}

/* Those that have gone are in the changes alone. */
static void drop_changes(discovery_t *d) {
  for (size_t i = 0; i < d->nchanges; i++)
    if (d->changes[i].event == DISCOVERY_GONE)
      free_instance(d->changes[i].instance);

  free(d->changes);
  d->changes = NULL;
  d->nchanges = 0;
  d->next_change = 0;
}

/* Plain instances are those of the default namespace. */
static const char *namespace_of(const discovery_instance_t *instance) {
  return instance->namespace != NULL ? instance->namespace : DEFAULT_NAMESPACE;
}

static int compare(const discovery_instance_t *a,
                   const discovery_instance_t *b) {
  int order = strcmp(namespace_of(a), namespace_of(b));

  return order != 0 ? order : strcmp(a->id, b->id);
}

static int compare_ids(const void *a, const void *b) { return compare(a, b); }

/* The instances themselves are among those found. */
static void drop_ids(discovery_t *d) {
  while (d->ids != NULL)
    tdelete(*(discovery_instance_t **)d->ids, &d->ids, compare_ids);
}

static void drop_found(discovery_t *d) {
  drop_ids(d);
  for (size_t i = 0; i < d->nfound; i++)
    free_instance(d->found[i]);

  free(d->found);
  d->found = NULL;
  d->nfound = 0;
  d->found_size = 0;
}

void aisearch_discovery_free(discovery_t *d) {
  drop_changes(d);
  drop_found(d);
  for (size_t i = 0; i < d->nknown; i++)
    free_instance(d->known[i]);
  free(d->known);
  d->known = NULL;
  d->nknown = 0;
}

static int compare_pointers(const void *a, const void *b) {
  discovery_instance_t *const *left = a, *const *right = b;

  return compare(*left, *right);
}

/* Where it is in the known ones, or would have to be. */
static size_t find_place(const discovery_t *d,
                         const discovery_instance_t *instance, bool *is_known) {
  size_t low = 0, high = d->nknown;

  while (low < high) {
    size_t middle = low + (high - low) / 2;

    if (compare(d->known[middle], instance) < 0)
      low = middle + 1;
    else
      high = middle;
  }

  *is_known = low < d->nknown && compare(d->known[low], instance) == 0;
  return low;
}

/* A copy, or NULL where memory runs out. */
static discovery_instance_t *make_instance(enum ais_generation generation,
                                           const char *id,
                                           const char *namespace) {
  discovery_instance_t *instance = calloc(1, sizeof(*instance));

  if (instance == NULL)
    return NULL;

  instance->generation = generation;
  aisearch_facts_init(&instance->facts);
  instance->id = strdup(id);
  if (namespace != NULL)
    instance->namespace = strdup(namespace);

  if (instance->id == NULL ||
      (namespace != NULL && instance->namespace == NULL)) {
    free_instance(instance);
    return NULL;
  }

  return instance;
}

int aisearch_discovery_name(discovery_t *d, enum ais_generation generation,
                            const char *id, const char *namespace, void *data) {
  discovery_instance_t *instance = make_instance(generation, id, namespace);
  discovery_instance_t **known;
  bool is_known;
  size_t place;

  if (instance == NULL)
    return -1;
  instance->named = true;
  instance->data = data;

  place = find_place(d, instance, &is_known);
  if (is_known) {
    free_instance(instance);
    return 0;
  }

  known = realloc(d->known, (d->nknown + 1) * sizeof(*known));
  if (known == NULL) {
    free_instance(instance);
    return -1;
  }

  memmove(known + place + 1, known + place,
          (d->nknown - place) * sizeof(*known));
  known[place] = instance;
  d->known = known;
  d->nknown++;
  return 0;
}

static void begin_pass(discovery_t *d) {
  d->passes++;
  d->page = 1;
  d->total = -1;
  d->moved = false;
  d->old = false;
  d->repeats = false;
  d->seen = 0;
  d->left_out = 0;
  d->full = false;
}

void aisearch_discovery_begin(discovery_t *d) {
  drop_changes(d);
  drop_found(d);
  d->passes = 0;
  d->good = 0;
  begin_pass(d);
}

void aisearch_discovery_resource(const discovery_t *d,
                                 struct ais_resource *resource) {
  *resource = (struct ais_resource){
      .generation = d->namespace != NULL ? AIS_NAMESPACED : AIS_PLAIN,
      .kind = AIS_INSTANCES,
      .page = d->page,
      .per_page = DISCOVERY_PER_PAGE,
  };
  if (d->namespace != NULL)
    resource->namespace = ais_str_of(d->namespace);
}

static int note_id(discovery_t *d, discovery_instance_t *instance) {
  discovery_instance_t **place = tsearch(instance, &d->ids, compare_ids);

  if (place == NULL)
    return -1;
  if (*place == instance)
    d->repeats = false;
  return 0;
}

/* An element of the account's list says which namespace it is in; one of a
 * namespace's list need not. */
static int add_found(discovery_t *d, const struct ais_instance *element) {
  const char *namespace = element->namespace;
  enum ais_generation generation = AIS_NAMESPACED;
  discovery_instance_t *instance;

  if (d->namespace != NULL) {
    if (namespace != NULL && strcmp(namespace, d->namespace) != 0) {
      d->left_out++;
      return 0;
    }
    namespace = d->namespace;
  } else if (namespace == NULL || strcmp(namespace, DEFAULT_NAMESPACE) == 0) {
    namespace = NULL;
    generation = AIS_PLAIN;
  }

  instance = make_instance(generation, element->id, namespace);
  if (instance == NULL)
    return -1;

  aisearch_facts_take(&instance->facts, element);
  d->found[d->nfound++] = instance;
  return note_id(d, instance);
}

static int add_page(discovery_t *d, const struct ais_listing *page) {
  if (d->nfound + page->ninstances > d->found_size) {
    size_t size = 2 * d->nfound + page->ninstances;
    discovery_instance_t **found = realloc(d->found, size * sizeof(*found));

    if (found == NULL)
      return -1;
    d->found = found;
    d->found_size = size;
  }

  d->repeats = page->ninstances + page->left_out > 0;
  for (size_t i = 0; i < page->ninstances; i++)
    if (add_found(d, &page->instances[i]) != 0)
      return -1;

  d->seen += (int64_t)(page->ninstances + page->left_out);
  d->left_out += page->left_out;
  return 0;
}

/* By id, and each once. Where one was found twice, one is as good as the
 * other: seconds lie between them. */
static void sort_found(discovery_t *d) {
  size_t n = 0;

  if (d->nfound == 0)
    return;

  qsort(d->found, d->nfound, sizeof(*d->found), compare_pointers);
  for (size_t i = 1; i < d->nfound; i++) {
    if (compare(d->found[i], d->found[n]) == 0)
      free_instance(d->found[i]);
    else
      d->found[++n] = d->found[i];
  }
  d->nfound = n + 1;
}

/* Whether something that a list told of before is not among those found. */
static bool is_missing_some(const discovery_t *d) {
  size_t n = 0;

  for (size_t i = 0; i < d->nknown; i++) {
    while (n < d->nfound && compare(d->found[n], d->known[i]) < 0)
      n++;
    if (!d->known[i]->named &&
        (n == d->nfound || compare(d->found[n], d->known[i]) != 0))
      return true;
  }

  return false;
}

static void add_change(discovery_t *d, discovery_event_t event,
                       discovery_instance_t *instance) {
  d->changes[d->nchanges++] = (discovery_change_t){event, instance};
}

static size_t name_length(const discovery_instance_t *instance) {
  size_t len = strlen(instance->id);

  if (strcmp(namespace_of(instance), DEFAULT_NAMESPACE) != 0)
    len += 1 + strlen(instance->namespace);
  return len;
}

static bool is_selected(const discovery_t *d,
                        const discovery_instance_t *instance) {
  return d->selection != NULL &&
         aisearch_selection_has(d->selection, instance->id);
}

/* Returns whether it is among the known ones from now on, which are so many
 * already. */
static bool meet(discovery_t *d, discovery_instance_t *instance,
                 size_t nknown) {
  if (!is_selected(d, instance))
    return false;
  if (nknown >= DISCOVERY_MAX) {
    d->full = true;
    return false;
  }

  instance->skipped = name_length(instance) > d->room;
  add_change(d, instance->skipped ? DISCOVERY_LONG : DISCOVERY_APPEARED,
             instance);
  return true;
}

static void meet_again(discovery_t *d, discovery_instance_t *known,
                       const discovery_instance_t *found) {
  if (known->skipped)
    return;

  if (known->generation == AIS_AUTORAG) {
    if (is_selected(d, found)) {
      known->skipped = true;
      add_change(d, DISCOVERY_TAKEN, known);
    }
    return;
  }

  if (aisearch_facts_equal(&known->facts, &found->facts))
    return;

  known->facts = found->facts;
  add_change(d, DISCOVERY_CHANGED, known);
}

/* Takes those out of the known ones that were not found. */
static void part(discovery_t *d) {
  size_t n = 0, kept = 0;

  for (size_t i = 0; i < d->nknown; i++) {
    discovery_instance_t *known = d->known[i];

    while (n < d->nfound && compare(d->found[n], known) < 0)
      n++;

    if (known->named || (n < d->nfound && compare(d->found[n], known) == 0))
      d->known[kept++] = known;
    else if (known->skipped)
      free_instance(known);
    else
      add_change(d, DISCOVERY_GONE, known);
  }

  d->nknown = kept;
}

/* Merges those found into the known ones. */
static discovery_step_t finish(discovery_t *d, bool is_certain) {
  size_t most = d->nknown + d->nfound;
  discovery_instance_t **merged;
  size_t i = 0, n = 0, nmerged = 0, nknown;

  merged = calloc(most + 1, sizeof(*merged));
  d->changes = calloc(most + 1, sizeof(*d->changes));
  if (merged == NULL || d->changes == NULL) {
    free(merged);
    return DISCOVERY_FAILED;
  }

  if (is_certain)
    part(d);
  nknown = d->nknown;

  while (i < d->nknown || n < d->nfound) {
    int order = i == d->nknown   ? 1
                : n == d->nfound ? -1
                                 : compare(d->known[i], d->found[n]);

    if (order > 0) {
      if (meet(d, d->found[n], nknown)) {
        nknown++;
        merged[nmerged++] = d->found[n];
        d->found[n] = NULL;
      }
      n++;
      continue;
    }

    if (order == 0)
      meet_again(d, d->known[i], d->found[n++]);
    merged[nmerged++] = d->known[i++];
  }

  free(d->known);
  d->known = merged;
  d->nknown = nmerged;
  drop_found(d);
  return DISCOVERY_DONE;
}

static bool came_out_right(const discovery_t *d) {
  return !d->moved && (d->total == -1 || d->seen == d->total);
}

/* Nobody has to know for certain which named ones are not in a list. */
static discovery_step_t end_pass(discovery_t *d) {
  drop_ids(d);
  sort_found(d);

  if (d->repeats || d->full || d->selection == NULL)
    return finish(d, /* is_certain = */ false);

  if (came_out_right(d)) {
    if (d->passes == 1 || !d->old)
      d->good++;
    if (d->good == 2 || !is_missing_some(d))
      return finish(d, /* is_certain = */ true);
  }

  if (d->passes == DISCOVERY_PASSES_MAX)
    return finish(d, /* is_certain = */ false);

  begin_pass(d);
  return DISCOVERY_MORE;
}

/* Whether the page makes sense as the one that was asked for. */
static bool is_wanted(const discovery_t *d, const struct ais_listing *page) {
  return (page->page == -1 || page->page == d->page) &&
         d->page <= DISCOVERY_PAGES_MAX;
}

/* What the list has told in this pass, or in all of them, is as much as is
 * taken. */
static bool is_full(const discovery_t *d) {
  return (d->seen >= DISCOVERY_MAX && d->seen != d->total) ||
         d->nfound > 2 * DISCOVERY_MAX;
}

static bool is_last(const discovery_t *d, const struct ais_listing *page) {
  if (d->moved || d->repeats || d->full ||
      page->ninstances + page->left_out == 0)
    return true;

  return d->total != -1 && d->seen >= d->total;
}

/* The total of the first page holds for the pass; where another page has
 * another one, the list has changed meanwhile. */
static void compare_totals(discovery_t *d, const struct ais_listing *page) {
  if (d->page == 1)
    d->total = page->total;

  d->moved = page->total != d->total;
}

discovery_step_t aisearch_discovery_page(discovery_t *d,
                                         const struct ais_listing *page,
                                         bool is_old) {
  discovery_step_t step = DISCOVERY_MORE;

  d->old = d->old || is_old;

  if (!is_wanted(d, page) || add_page(d, page) != 0) {
    step = DISCOVERY_FAILED;
  } else {
    compare_totals(d, page);
    d->full = is_full(d);
    if (is_last(d, page))
      step = end_pass(d);
    else
      d->page++;
  }

  if (step == DISCOVERY_FAILED)
    drop_found(d);
  return step;
}

bool aisearch_discovery_change(discovery_t *d, discovery_change_t *change) {
  if (d->next_change == d->nchanges) {
    drop_changes(d);
    return false;
  }

  *change = d->changes[d->next_change++];
  return true;
}
