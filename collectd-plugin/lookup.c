#include "aisearch.h"

#include <search.h>

/* Of a list, one page: the most that the API gives. */
#define JOBS_PER_PAGE HISTORY_PER_PAGE

static struct ais_str view(const char *s) {
  return (struct ais_str){s, s != NULL ? strlen(s) : 0};
}

/* What plain instances are in is called "default", and needs no mention. */
void aisearch_lookup_name(char name[DATA_MAX_NAME_LEN],
                          const account_t *account, const lookup_what_t *what) {
  bool other =
      what->namespace != NULL && strcmp(what->namespace, "default") != 0;

  ssnprintf(name, DATA_MAX_NAME_LEN, "%s-%s%s%s", account->name, what->instance,
            other ? "@" : "", other ? what->namespace : "");
}

void aisearch_lookup_free(lookup_t *lookup) {
  aisearch_form_drop(lookup->account, &lookup->form);
  aisearch_watch_leave(lookup->watch);
  aisearch_jobs_free(&lookup->jobs);
  sfree(lookup->plugin_instance);
  sfree(lookup->instance);
  sfree(lookup->namespace);
  sfree(lookup->job);
  sfree(lookup);
}

static int copy(char **to, const char *from) {
  *to = from != NULL ? strdup(from) : NULL;
  return from != NULL && *to == NULL ? -1 : 0;
}

static lookup_t *create(account_t *account, const lookup_what_t *what) {
  lookup_t *l = calloc(1, sizeof(*l));
  char name[DATA_MAX_NAME_LEN];

  if (l == NULL)
    return NULL;

  l->account = account;
  aisearch_lookup_name(name, account, what);
  if (copy(&l->plugin_instance, name) != 0 ||
      copy(&l->instance, what->instance) != 0 ||
      copy(&l->namespace, what->namespace) != 0 ||
      copy(&l->job, what->job) != 0) {
    aisearch_lookup_free(l);
    return NULL;
  }

  l->watch = aisearch_watch_join(account, l->plugin_instance);
  if (l->watch == NULL) {
    aisearch_lookup_free(l);
    return NULL;
  }

  l->generation = what->generation;
  l->leads = l->watch->users == 1;
  l->page = 1;
  aisearch_reading_init(&l->reading);
  return l;
}

static void append(account_t *account, lookup_t *lookup) {
  pthread_mutex_lock(&account->lock);
  lookup->prev = account->last;
  if (account->last != NULL)
    account->last->next = lookup;
  else
    account->first = lookup;
  account->last = lookup;
  account->lookups++;
  pthread_mutex_unlock(&account->lock);
}

static int compare(const void *a, const void *b) {
  return strcmp(((const lookup_t *)a)->plugin_instance,
                ((const lookup_t *)b)->plugin_instance);
}

lookup_t *aisearch_lookup_find(const account_t *account,
                               char *plugin_instance) {
  lookup_t key = {.plugin_instance = plugin_instance};
  lookup_t **found = tfind(&key, &account->by_name, compare);

  return found != NULL ? *found : NULL;
}

lookup_t *aisearch_lookup_add(account_t *account, const lookup_what_t *what) {
  lookup_t *lookup = create(account, what);

  if (lookup == NULL)
    return NULL;

  /* Of several jobs of an instance, the first one stands there. */
  if (tsearch(lookup, &account->by_name, compare) == NULL) {
    aisearch_lookup_free(lookup);
    return NULL;
  }

  append(account, lookup);
  return lookup;
}

static void forget_name(lookup_t *lookup) {
  account_t *account = lookup->account;

  if (aisearch_lookup_find(account, lookup->plugin_instance) == lookup)
    tdelete(lookup, &account->by_name, compare);
}

static void take_out(account_t *account, lookup_t *lookup) {
  pthread_mutex_lock(&account->lock);
  if (account->cursor == lookup)
    account->cursor = lookup->next;
  if (lookup->prev != NULL)
    lookup->prev->next = lookup->next;
  else
    account->first = lookup->next;
  if (lookup->next != NULL)
    lookup->next->prev = lookup->prev;
  else
    account->last = lookup->prev;
  account->lookups--;
  pthread_mutex_unlock(&account->lock);
}

static void end_watch(const lookup_t *lookup) {
  account_t *account = lookup->account;

  if (lookup->watch->users > 1)
    return;
  pthread_mutex_lock(&account->lock);
  aisearch_watch_end(lookup->watch);
  pthread_mutex_unlock(&account->lock);
}

static void lay_aside(lookup_t *lookup) {
  account_t *account = lookup->account;

  lookup->gone = true;
  lookup->prev = NULL;
  lookup->next = account->aside;
  if (lookup->next != NULL)
    lookup->next->prev = lookup;
  account->aside = lookup;
}

void aisearch_lookup_remove(lookup_t *lookup) {
  account_t *account = lookup->account;

  end_watch(lookup);
  forget_name(lookup);
  take_out(account, lookup);
  aisearch_schedule_drop(&account->payer->schedule, &lookup->turn);

  if (lookup->under_way)
    lay_aside(lookup);
  else
    aisearch_lookup_free(lookup);
}

void aisearch_lookup_over(lookup_t *lookup) {
  if (lookup->prev != NULL)
    lookup->prev->next = lookup->next;
  else
    lookup->account->aside = lookup->next;
  if (lookup->next != NULL)
    lookup->next->prev = lookup->prev;
  aisearch_lookup_free(lookup);
}

static void free_all(lookup_t *lookup) {
  while (lookup != NULL) {
    lookup_t *next = lookup->next;

    forget_name(lookup);
    aisearch_lookup_free(lookup);
    lookup = next;
  }
}

void aisearch_lookups_free(account_t *account) {
  free_all(account->first);
  free_all(account->aside);
}

void aisearch_lookup_about(const lookup_t *lookup, enum ais_kind kind,
                           struct ais_resource *resource) {
  *resource = (struct ais_resource){
      .generation = lookup->generation,
      .kind = kind,
      .namespace = view(lookup->namespace),
      .instance = view(lookup->instance),
      .page = AIS_PAGE_NONE,
      .per_page = AIS_PAGE_NONE,
  };
}

void aisearch_lookup_path(const lookup_t *lookup, struct ais_resource *resource,
                          char path[AIS_RESOURCE_PATH_MAX]) {
  aisearch_lookup_about(lookup,
                        lookup->job != NULL   ? AIS_JOB
                        : lookup->wants_items ? AIS_STATS
                                              : AIS_LIST,
                        resource);
  resource->job = view(lookup->job);
  if (resource->kind == AIS_LIST) {
    resource->page = lookup->page > 1 ? (int)lookup->page : AIS_PAGE_NONE;
    resource->per_page = JOBS_PER_PAGE;
  }
  aisearch_form_apply(&lookup->form, resource);
  ais_resource_path(resource, view(lookup->account->account_id), path);
}

void aisearch_lookup_label(const lookup_t *lookup, char *label, size_t size) {
  char namespace[64] = "";
  char job[96] = "";

  if (lookup->namespace != NULL)
    ssnprintf(namespace, sizeof(namespace), " in Namespace \"%s\"",
              lookup->namespace);
  if (lookup->job != NULL)
    ssnprintf(job, sizeof(job), ", Job \"%s\"", lookup->job);

  ssnprintf(label, size, "Account \"%s\", Instance \"%s\"%s%s%s",
            lookup->account->name, lookup->instance, namespace, job,
            lookup->wants_items ? ", its items" : "");
}
