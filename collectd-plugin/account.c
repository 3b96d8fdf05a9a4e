/* Accounts, their instances and their polls. */

#include "aisearch.h"

#include <search.h>

#include "state.h"

/* Plain instances are in the namespace "default", which the name omits. */
void poll_name(char name[DATA_MAX_NAME_LEN], const account_t *account,
               const poll_what_t *what) {
  bool other =
      what->namespace != NULL && strcmp(what->namespace, "default") != 0;

  ssnprintf(name, DATA_MAX_NAME_LEN, "%s-%s%s%s", account->name, what->instance,
            other ? "@" : "", other ? what->namespace : "");
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

/* Returns false if out of memory. */
static bool copy(char **to, const char *from) {
  *to = from != NULL ? strdup(from) : NULL;
  return from == NULL || *to != NULL;
}

/* Shares another poll's instance, or creates one. Returns false if out of
 * memory. */
static bool poll_set_instance(poll_t *poll, const char *name,
                              const poll_what_t *what) {
  const poll_t *other = poll_find(poll->request.account, name);
  instance_t *instance =
      other != NULL ? other->instance : calloc(1, sizeof(*instance));

  poll->instance = instance;
  poll->leads = other == NULL;
  if (instance == NULL || other != NULL)
    return instance != NULL;

  instance_init(instance, epoch());
  instance->generation = what->generation;
  return copy(&instance->name, name) && copy(&instance->id, what->instance) &&
         copy(&instance->namespace, what->namespace);
}

static void poll_free(poll_t *poll) {
  instance_t *instance = poll->instance;

  if (instance != NULL && instance->polls == 0) {
    history_free(&instance->history);
    sfree(instance->name);
    sfree(instance->id);
    sfree(instance->namespace);
    sfree(instance);
  }
  sfree(poll->job);
  sfree(poll);
}

/* If an instance has several pinned jobs, only the first one is in the tree. */
poll_t *poll_add(account_t *account, const poll_what_t *what) {
  char name[DATA_MAX_NAME_LEN];
  poll_t *poll = calloc(1, sizeof(*poll));

  if (poll == NULL)
    return NULL;

  poll->request.account = account;
  poll->page = 1;
  poll_name(name, account, what);
  if (!poll_set_instance(poll, name, what) || !copy(&poll->job, what->job) ||
      tsearch(poll, &account->by_name, compare_names) == NULL) {
    poll_free(poll);
    return NULL;
  }
  if (poll->leads) {
    poll->instance->reported.name = poll->instance->name;
    poll->instance->reported.notices = &account->notices;
    state_restore(poll->instance);
  }

  pthread_mutex_lock(&account->lock);
  poll->prev = account->last;
  *(poll->prev != NULL ? &poll->prev->next : &account->first) = poll;
  account->last = poll;
  account->polls++;
  account->values.instances += poll->leads;
  poll->instance->polls++;
  pthread_mutex_unlock(&account->lock);
  return poll;
}

/* The poll's request must not be in progress. */
static void poll_remove(poll_t *poll) {
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
  poll->instance->polls--;
  pthread_mutex_unlock(&account->lock);
  poll_free(poll);
}

void poll_resource(const poll_t *poll, enum ais_kind kind,
                   struct ais_resource *resource) {
  const instance_t *instance = poll->instance;

  *resource = (struct ais_resource){
      .generation = instance->generation,
      .kind = kind,
      .namespace = ais_str_of(instance->namespace),
      .instance = ais_str_of(instance->id),
      .job = ais_str_of(kind == AIS_JOB ? poll->job : NULL),
      .page = AIS_PAGE_NONE,
      .per_page = AIS_PAGE_NONE,
  };
}

/* The label follows the account's name in log messages. */
void poll_label(const poll_t *poll, char *label, size_t size) {
  const char *namespace = poll->instance->namespace;
  const char *job = poll->job;

  ssnprintf(label, size, ", Instance \"%s\"%s%s%s%s%s%s%s", poll->instance->id,
            namespace != NULL ? " in Namespace \"" : "",
            namespace != NULL ? namespace : "", namespace != NULL ? "\"" : "",
            job != NULL ? ", Job \"" : "", job != NULL ? job : "",
            job != NULL ? "\"" : "", poll->wants_items ? ", its items" : "");
}

/* ---- adding and removing ------------------------------------------------- */

void poll_schedule(poll_t *poll) {
  account_t *account = poll->request.account;
  account_t *payer = account->payer;
  uint32_t left = budget_left(&payer->budget, BUDGET_ALL, ais_clock());

  pthread_mutex_lock(&account->lock);
  poll->instance->is_gone = false;
  pthread_mutex_unlock(&account->lock);
  if (!poll->request.under_way && !poll->turn.is_member)
    schedule_add(&payer->schedule, &poll->turn, poll->instance->name, left);
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
  for (poll_t *poll = account->first, *next; poll != NULL; poll = next) {
    next = poll->next;
    poll_remove(poll);
  }
  sfree(account->notices.all);
  ais_credential_free(account->credential.secret);
  selection_free(&account->discover.selection);
  pthread_mutex_destroy(&account->lock);
  sfree(account);
}
