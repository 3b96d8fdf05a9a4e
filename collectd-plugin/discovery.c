/* What lists of instances tell: which have come, changed or gone. */

#include "discovery.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_NAMESPACE "default"

void discovery_init(discovery_t *d, const char *namespace,
                    const selection_t *selection, size_t room) {
  *d = (discovery_t){
      .namespace = namespace, .selection = selection, .room = room};
}

static void discovery_instance_free(discovery_instance_t *instance) {
  free(instance->id);
  free(instance->namespace);
  free(instance);
}

/* Plain instances are those of the default namespace. */
static const char *namespace_of(const discovery_instance_t *instance) {
  return instance->namespace != NULL ? instance->namespace : DEFAULT_NAMESPACE;
}

static int discovery_compare(const void *left, const void *right) {
  const discovery_instance_t *a = left, *b = right;
  int order = strcmp(namespace_of(a), namespace_of(b));

  return order != 0 ? order : strcmp(a->id, b->id);
}

/* Takes out what is to go. */
static void list_sweep(discovery_t *d,
                       bool (*is_to_go)(const discovery_instance_t *)) {
  for (discovery_instance_t **place = &d->first; *place != NULL;) {
    discovery_instance_t *instance = *place;

    if (!is_to_go(instance)) {
      place = &instance->next;
      continue;
    }
    *place = instance->next;
    tdelete(instance, &d->by_name, discovery_compare);
    discovery_instance_free(instance);
  }
}

static bool is_one(const discovery_instance_t *instance) {
  return instance != NULL;
}

static bool is_new_one(const discovery_instance_t *instance) {
  return instance->is_new;
}

void discovery_free(discovery_t *d) {
  list_sweep(d, is_one);
  d->nknown = 0;
}

/* The one of that name: a new one, or one that was there before; NULL where
 * memory runs out. */
static discovery_instance_t *list_get(discovery_t *d,
                                      enum ais_generation generation,
                                      const char *id, const char *namespace) {
  discovery_instance_t *instance = calloc(1, sizeof(*instance));
  discovery_instance_t **place = NULL;

  if (instance == NULL)
    return NULL;

  instance->facts = (facts_t){.created_at = AIS_TIME_NONE};
  instance->generation = generation;
  instance->is_new = true;
  instance->id = strdup(id);
  if (namespace != NULL)
    instance->namespace = strdup(namespace);
  if (instance->id != NULL &&
      (namespace == NULL || instance->namespace != NULL))
    place = tsearch(instance, &d->by_name, discovery_compare);

  if (place == NULL || *place != instance) {
    discovery_instance_free(instance);
    return place != NULL ? *place : NULL;
  }

  instance->next = d->first;
  d->first = instance;
  d->nnew++;
  return instance;
}

int discovery_add(discovery_t *d, enum ais_generation generation,
                  const char *id, const char *namespace, bool named,
                  void *data) {
  discovery_instance_t *instance = list_get(d, generation, id, namespace);

  if (instance == NULL)
    return -1;
  if (!instance->is_new)
    return 0;

  instance->is_new = false;
  instance->named = named;
  instance->data = data;
  d->nknown++;
  return 0;
}

static void pass_begin(discovery_t *d) {
  d->passes++;
  d->page = 1;
  d->total = -1;
  d->moved = d->old = d->repeats = d->full = false;
  d->seen = 0;
  d->left_out = 0;
}

/* What was found in a round that has come to nothing is forgotten. */
static void round_drop(discovery_t *d) {
  list_sweep(d, is_new_one);
  for (discovery_instance_t *i = d->first; i != NULL; i = i->next)
    i->pass = 0;
  d->nnew = 0;
}

void discovery_begin(discovery_t *d) {
  round_drop(d);
  d->passes = 0;
  d->good = 0;
  pass_begin(d);
}

void discovery_resource(const discovery_t *d, struct ais_resource *resource) {
  *resource = (struct ais_resource){
      .generation = d->namespace != NULL ? AIS_NAMESPACED : AIS_PLAIN,
      .kind = AIS_INSTANCES,
      .page = d->page,
      .per_page = DISCOVERY_PER_PAGE,
  };
  if (d->namespace != NULL)
    resource->namespace = ais_str_of(d->namespace);
}

/* An element of the account's list says which namespace it is in; one of a
 * namespace's list need not. */
static int page_add(discovery_t *d, const struct ais_instance *element) {
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

  instance = list_get(d, generation, element->id, namespace);
  if (instance == NULL)
    return -1;
  if (instance->pass != d->passes)
    d->repeats = false;
  instance->pass = d->passes;
  facts_take(&instance->latest, element);
  return 0;
}

static int page_take(discovery_t *d, const struct ais_listing *page) {
  d->repeats = page->ninstances + page->left_out > 0;
  for (size_t i = 0; i < page->ninstances; i++)
    if (page_add(d, &page->instances[i]) != 0)
      return -1;

  d->seen += (int64_t)(page->ninstances + page->left_out);
  d->left_out += page->left_out;
  return 0;
}

/* Something that a list told of before. */
static bool is_missing(const discovery_instance_t *instance) {
  return !instance->is_new && !instance->named && instance->pass == 0;
}

static bool has_missing(const discovery_t *d) {
  const discovery_instance_t *i = d->first;

  while (i != NULL && !is_missing(i))
    i = i->next;
  return i != NULL;
}

static size_t name_length(const discovery_instance_t *instance) {
  size_t len = strlen(instance->id);

  if (strcmp(namespace_of(instance), DEFAULT_NAMESPACE) != 0)
    len += 1 + strlen(instance->namespace);
  return len;
}

static bool is_selected(const discovery_t *d,
                        const discovery_instance_t *instance) {
  return d->selection != NULL && selection_has(d->selection, instance->id);
}

/* One that is new, and is known from now on if it is selected, and not one too
 * many. */
static void meet(discovery_t *d, discovery_instance_t *instance,
                 discovery_tell_t tell, void *data) {
  if (!is_selected(d, instance))
    return;
  if (d->nknown >= DISCOVERY_MAX) {
    d->full = true;
    return;
  }

  instance->is_new = false;
  instance->facts = instance->latest;
  instance->skipped = name_length(instance) > d->room;
  d->nknown++;
  tell(data, instance->skipped ? DISCOVERY_LONG : DISCOVERY_APPEARED, instance);
}

static void meet_again(discovery_t *d, discovery_instance_t *known,
                       discovery_tell_t tell, void *data) {
  if (known->skipped || known->pass == 0)
    return;

  if (known->generation == AIS_AUTORAG) {
    if (is_selected(d, known)) {
      known->skipped = true;
      tell(data, DISCOVERY_TAKEN, known);
    }
  } else if (!facts_equal(&known->facts, &known->latest)) {
    known->facts = known->latest;
    tell(data, DISCOVERY_CHANGED, known);
  }
}

static discovery_step_t round_end(discovery_t *d, bool is_certain,
                                  discovery_tell_t tell, void *data) {
  for (discovery_instance_t *i = d->first; is_certain && i != NULL; i = i->next)
    if (is_missing(i)) {
      d->nknown--;
      if (!i->skipped)
        tell(data, DISCOVERY_GONE, i);
    }
  if (is_certain)
    list_sweep(d, is_missing);

  for (discovery_instance_t *i = d->first; i != NULL; i = i->next)
    (i->is_new ? meet : meet_again)(d, i, tell, data);
  round_drop(d);
  return DISCOVERY_DONE;
}

static bool came_out_right(const discovery_t *d) {
  return !d->moved && (d->total == -1 || d->seen == d->total);
}

/* Nobody has to know for certain which named ones are not in a list. */
static discovery_step_t pass_end(discovery_t *d, discovery_tell_t tell,
                                 void *data) {
  if (d->repeats || d->full || d->selection == NULL)
    return round_end(d, /* is_certain = */ false, tell, data);

  if (came_out_right(d)) {
    if (d->passes == 1 || !d->old)
      d->good++;
    if (d->good == 2 || !has_missing(d))
      return round_end(d, /* is_certain = */ true, tell, data);
  }

  if (d->passes == DISCOVERY_PASSES_MAX)
    return round_end(d, /* is_certain = */ false, tell, data);

  pass_begin(d);
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
         d->nnew > 2 * DISCOVERY_MAX;
}

static bool is_last(const discovery_t *d, const struct ais_listing *page) {
  if (d->moved || d->repeats || d->full ||
      page->ninstances + page->left_out == 0)
    return true;

  return d->total != -1 && d->seen >= d->total;
}

/* The total of the first page holds for the pass; where another page has
 * another one, the list has changed meanwhile. */
discovery_step_t discovery_page(discovery_t *d, const struct ais_listing *page,
                                bool is_old, discovery_tell_t tell,
                                void *data) {
  d->old = d->old || is_old;

  if (!is_wanted(d, page) || page_take(d, page) != 0) {
    round_drop(d);
    return DISCOVERY_FAILED;
  }

  if (d->page == 1)
    d->total = page->total;
  d->moved = page->total != d->total;
  d->full = is_full(d);
  if (is_last(d, page))
    return pass_end(d, tell, data);

  d->page++;
  return DISCOVERY_MORE;
}
