/* Accounts, their instances, and what is polled of them. */

#include "aisearch.h"

#include <search.h>

#include "state.h"

void account_log(const account_t *account, int level, const char *format, ...) {
  char text[768];
  va_list ap;

  va_start(ap, format);
  vsnprintf(text, sizeof(text), format, ap);
  va_end(ap);
  plugin_log(level, "aisearch plugin: Account \"%s\"%s", account->name, text);
}

int64_t account_lifetime(const account_t *account) {
  return (int64_t)(3.0 * (double)account->idle_interval *
                   account->values.stretch);
}

/* What plain instances are in is called "default", and needs no mention. */
void poll_name(char name[DATA_MAX_NAME_LEN], const account_t *account,
               const poll_what_t *what) {
  bool other =
      what->namespace != NULL && strcmp(what->namespace, "default") != 0;

  ssnprintf(name, DATA_MAX_NAME_LEN, "%s-%s%s%s", account->name, what->instance,
            other ? "@" : "", other ? what->namespace : "");
}

static void instance_free(instance_t *instance) {
  history_free(&instance->history);
  sfree(instance->name);
  sfree(instance->id);
  sfree(instance->namespace);
  sfree(instance);
}

static instance_t *instance_make(const char *name, const poll_what_t *what) {
  instance_t *instance = calloc(1, sizeof(*instance));

  if (instance == NULL)
    return NULL;

  instance_init(instance, epoch());
  instance->generation = what->generation;
  instance->name = strdup(name);
  instance->id = strdup(what->instance);
  if (what->namespace != NULL)
    instance->namespace = strdup(what->namespace);
  if (instance->name == NULL || instance->id == NULL ||
      (what->namespace != NULL && instance->namespace == NULL)) {
    instance_free(instance);
    return NULL;
  }

  state_restore(instance);
  return instance;
}

static int compare_names(const void *a, const void *b) {
  return strcmp(((const poll_t *)a)->instance->name,
                ((const poll_t *)b)->instance->name);
}

poll_t *poll_find(const account_t *account, const char *name) {
  instance_t instance = {.name = (char *)name};
  poll_t key = {.instance = &instance};
  poll_t **found = tfind(&key, &account->by_name, compare_names);

  return found != NULL ? *found : NULL;
}

static void poll_free(poll_t *poll) {
  if (poll->instance != NULL && --poll->instance->polls == 0)
    instance_free(poll->instance);
  sfree(poll->job);
  sfree(poll);
}

/* Of several jobs of an instance, the first one stands in the tree. */
poll_t *poll_add(account_t *account, const poll_what_t *what) {
  char name[DATA_MAX_NAME_LEN];
  poll_t *poll = calloc(1, sizeof(*poll));
  poll_t *other;

  if (poll == NULL)
    return NULL;

  poll_name(name, account, what);
  other = poll_find(account, name);
  poll->instance = other != NULL ? other->instance : instance_make(name, what);
  if (poll->instance != NULL)
    poll->instance->polls++;
  if (what->job != NULL)
    poll->job = strdup(what->job);

  if (poll->instance == NULL || (what->job != NULL && poll->job == NULL) ||
      tsearch(poll, &account->by_name, compare_names) == NULL) {
    poll_free(poll);
    return NULL;
  }

  poll->request.account = account;
  poll->leads = other == NULL;
  poll->page = 1;
  poll->latest.arrived_at = AIS_TIME_NONE;

  pthread_mutex_lock(&account->lock);
  poll->prev = account->last;
  *(poll->prev != NULL ? &poll->prev->next : &account->first) = poll;
  account->last = poll;
  account->polls++;
  account->values.instances += poll->leads;
  pthread_mutex_unlock(&account->lock);
  return poll;
}

void poll_remove(poll_t *poll) {
  account_t *account = poll->request.account;

  if (poll->leads)
    tdelete(poll, &account->by_name, compare_names);
  pthread_mutex_lock(&account->lock);
  if (account->cursor == poll)
    account->cursor = poll->next;
  *(poll->prev != NULL ? &poll->prev->next : &account->first) = poll->next;
  *(poll->next != NULL ? &poll->next->prev : &account->last) = poll->prev;
  account->polls--;
  account->values.instances -= poll->leads;
  pthread_mutex_unlock(&account->lock);
  poll_free(poll);
}

void poll_resource(const poll_t *poll, enum ais_kind kind,
                   struct ais_resource *resource) {
  const instance_t *instance = poll->instance;

  *resource = (struct ais_resource){
      .generation = instance->generation,
      .kind = kind,
      .namespace = view(instance->namespace),
      .instance = view(instance->id),
      .job = view(poll->job),
      .page = AIS_PAGE_NONE,
      .per_page = AIS_PAGE_NONE,
  };
}

/* What comes behind the account's name. */
void poll_label(const poll_t *poll, char *label, size_t size) {
  const char *namespace = poll->instance->namespace;
  const char *job = poll->job;

  ssnprintf(label, size, ", Instance \"%s\"%s%s%s%s%s%s%s", poll->instance->id,
            namespace != NULL ? " in Namespace \"" : "",
            namespace != NULL ? namespace : "", namespace != NULL ? "\"" : "",
            job != NULL ? ", Job \"" : "", job != NULL ? job : "",
            job != NULL ? "\"" : "", poll->wants_items ? ", its items" : "");
}

/* ---- what comes and goes ------------------------------------------------- */

void poll_schedule(poll_t *poll) {
  account_t *payer = poll->request.account->payer;
  uint32_t left = budget_left(&payer->budget, BUDGET_ALL, ais_clock());

  schedule_add(&payer->schedule, &poll->turn, poll->instance->name, left);
}

void poll_know(poll_t *poll, const facts_t *facts) {
  account_t *account = poll->request.account;

  pthread_mutex_lock(&account->lock);
  conditions_know(poll->instance, facts, epoch(), &account->notices);
  state_touch(account->notices.changed);
  pthread_mutex_unlock(&account->lock);
}

/* Should it come back, it goes on where it was. */
void poll_end(poll_t *poll) {
  account_t *account = poll->request.account;
  instance_t *instance = poll->instance;

  schedule_drop(&account->payer->schedule, &poll->turn);
  pthread_mutex_lock(&account->lock);
  conditions_gone(&instance->told, instance->name, &account->notices);
  instance->is_gone = true;
  instance->is_over = false;
  pthread_mutex_unlock(&account->lock);
  state_touch(/* is_urgent = */ true);
}

void account_sweep(account_t *account) {
  for (poll_t *poll = account->first, *next; poll != NULL; poll = next) {
    bool is_over;

    next = poll->next;
    pthread_mutex_lock(&account->lock);
    is_over = poll->instance->is_gone && poll->instance->is_over;
    pthread_mutex_unlock(&account->lock);
    if (is_over && !poll->request.under_way) {
      state_keep(poll->instance);
      poll_remove(poll);
    }
  }
}

void account_free(account_t *account) {
  lists_free(account);
  for (poll_t *poll = account->first, *next; poll != NULL; poll = next) {
    next = poll->next;
    poll_remove(poll);
  }
  notices_free(&account->notices);
  ais_credential_free(account->credential.secret);
  sfree(account->credential.email);
  sfree(account->credential.file);

  selection_free(&account->discover.selection);
  for (size_t i = 0; i < account->discover.nnamespaces; i++)
    sfree(account->discover.namespaces[i]);
  sfree(account->discover.namespaces);
  sfree(account->name);
  sfree(account->account_id);
  sfree(account->ca_cert);
  sfree(account->proxy);
  pthread_mutex_destroy(&account->lock);
  sfree(account);
}
