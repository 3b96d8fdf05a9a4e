#include "breaker.h"
#include "witness.h"
#include "state.h"

/*
 * Lists of instances: asks for them, and watches what they tell of.
 *
 * Instances that are named have lists, too, for what is known of them: those of
 * their namespaces, of which nothing else is taken. Where such a list is
 * refused, as by an nginx with a list of its own, they are asked for one by
 * one.
 */

/* How many are named in the log, of those that come or go at once. */
#define NAMED_IN_LOG 10

/* Where others were faster. */
#define RETRY_BUDGET 100 /* ms */

struct instance_list_s {
  account_t *account;
  discovery_t discovery;
  bool discovers; /* or is for named instances alone */
  bool in_round;
  bool awaited; /* those that it tells of wait for the first round */
  int64_t awaited_until;
  int64_t due;        /* when to ask for the next page, of aisearch_clock() */
  int64_t next_round; /* when to begin the next one */
  int64_t read_at;    /* when the present one had read the list once */

  lookup_t *one; /* of the named ones, the next to be asked for by itself */
  form_t form;   /* it is asked for in */
  bool failed;   /* one of them was not answered in this round */

  bool under_way;
  struct ais_choice choice; /* the credential that it asks with */
  pass_t pass;
  trouble_t trouble;
  bool left_out; /* some were, and it was said */
  bool repeats;  /* the same, that it ignores pages */
  bool full;     /* that it has too many */
  bool refused;  /* that named ones are asked for one by one */
  bool unknown;  /* that one of them is refused, too */

  instance_list_t *next;
};

static void make_label(const instance_list_t *list, char *label, size_t size) {
  const char *namespace = list->discovery.namespace;

  if (namespace == NULL)
    ssnprintf(label, size, "Account \"%s\", list of instances",
              list->account->name);
  else
    ssnprintf(label, size, "Account \"%s\", list of instances in \"%s\"",
              list->account->name, namespace);
}

/* ---- what a list tells -------------------------------------------------- */

static void know(const lookup_t *lookup, const facts_t *facts) {
  account_t *account = lookup->account;

  pthread_mutex_lock(&account->lock);
  aisearch_watch_know(lookup->watch, facts);
  pthread_mutex_unlock(&account->lock);
}

static void note(const discovery_instance_t *instance) {
  if (instance->data != NULL)
    know(instance->data, &instance->facts);
}

/* Whether the list tells of this one, where it is there. */
static bool tells_of(const instance_list_t *list, const lookup_t *lookup) {
  const char *namespace = list->discovery.namespace;

  if (namespace == NULL)
    return lookup->generation != AIS_AUTORAG;
  if (lookup->namespace == NULL)
    return lookup->generation == AIS_PLAIN && strcmp(namespace, "default") == 0;
  return strcmp(namespace, lookup->namespace) == 0;
}

/* Named instances are looked at before the first round has ended, and some may
 * be paused: nothing is said about what is overdue until then, or until it has
 * failed for as long as the discovery interval. */
static void await(instance_list_t *list, bool awaited) {
  account_t *account = list->account;

  list->awaited = awaited;
  pthread_mutex_lock(&account->lock);
  for (lookup_t *l = account->first; l != NULL; l = l->next)
    if (tells_of(list, l))
      l->watch->instance.awaited = awaited;
  pthread_mutex_unlock(&account->lock);
}

static void appear(account_t *account, discovery_instance_t *instance) {
  account_t *payer = account->payer;
  uint32_t left = aisearch_budget_left(&payer->budget, aisearch_clock());
  lookup_what_t what = {
      .instance = instance->id,
      .namespace = instance->namespace,
      .generation = instance->generation,
  };
  lookup_t *lookup = aisearch_lookup_add(account, &what);

  if (lookup != NULL &&
      aisearch_schedule_add(&payer->schedule, &lookup->turn,
                            lookup->plugin_instance, left) != 0) {
    aisearch_lookup_remove(lookup);
    lookup = NULL;
  }

  if (lookup == NULL)
    ERROR("aisearch plugin: Account \"%s\", Instance \"%s\": Out of memory: it "
          "is not watched.",
          account->name, instance->id);
  instance->data = lookup;
  note(instance);
}

static void disappear(const discovery_instance_t *instance) {
  if (instance->data != NULL)
    aisearch_lookup_remove(instance->data);
}

/* The first ones of many by name. */
static void tell(const account_t *account, const discovery_instance_t *instance,
                 const char *what, size_t *count) {
  if (++*count > NAMED_IN_LOG)
    return;

  INFO("aisearch plugin: Account \"%s\": Instance \"%s\"%s%s%s %s.",
       account->name, instance->id,
       instance->namespace != NULL ? " in Namespace \"" : "",
       instance->namespace != NULL ? instance->namespace : "",
       instance->namespace != NULL ? "\"" : "", what);
}

static void tell_of_more(const account_t *account, const char *what,
                         size_t count) {
  if (count > NAMED_IN_LOG)
    INFO("aisearch plugin: Account \"%s\": %zu more instances %s.",
         account->name, count - NAMED_IN_LOG, what);
}

static void warn(const account_t *account, const discovery_instance_t *instance,
                 const char *why) {
  WARNING("aisearch plugin: Account \"%s\": Instance \"%s\" cannot be watched: "
          "%s.",
          account->name, instance->id, why);
}

static void take_changes(instance_list_t *list) {
  account_t *account = list->account;
  discovery_change_t change;
  size_t found = 0, gone = 0;

  while (aisearch_discovery_change(&list->discovery, &change)) {
    discovery_instance_t *instance = change.instance;

    switch (change.event) {
    case DISCOVERY_APPEARED:
      tell(account, instance, "was found", &found);
      appear(account, instance);
      break;
    case DISCOVERY_CHANGED:
      note(instance);
      break;
    case DISCOVERY_GONE:
      tell(account, instance, "is gone", &gone);
      disappear(instance);
      break;
    case DISCOVERY_LONG:
      warn(account, instance,
           "its name, with the account's and the namespace, is too long for "
           "collectd. Use a shorter name for the account");
      break;
    case DISCOVERY_TAKEN:
      warn(account, instance,
           "an AutoRAG of this account has the same name. Put the AutoRAG into "
           "another Account block");
      break;
    }
  }

  tell_of_more(account, "are gone", gone);
  tell_of_more(account, "were found", found);
}

static void tell_left_out(instance_list_t *list) {
  size_t left_out = list->discovery.left_out;
  char label[128];

  if (left_out > 0 && !list->left_out) {
    make_label(list, label, sizeof(label));
    WARNING("aisearch plugin: %s: %zu of them cannot be watched: their names "
            "are none that the API's documentation allows.",
            label, left_out);
  }
  list->left_out = left_out > 0;
}

static void tell_repeats(instance_list_t *list) {
  char label[128];

  if (list->discovery.repeats && list->discovery.page > 1 && !list->repeats) {
    make_label(list, label, sizeof(label));
    WARNING("aisearch plugin: %s: another page of it has nothing but what was "
            "there before. What the API does not list by then is not found, "
            "and what has gone is not noticed.",
            label);
  }
  list->repeats = list->discovery.repeats;
}

static void tell_full(instance_list_t *list) {
  char label[128];

  if (list->discovery.full && !list->full) {
    make_label(list, label, sizeof(label));
    WARNING("aisearch plugin: %s: has more than the %d instances that are "
            "watched at most; the others are not, and what has gone is not "
            "noticed. Say which ones are meant, by DiscoverNamespace, "
            "DiscoverInstance or Instance.",
            label, DISCOVERY_MAX);
  }
  list->full = list->discovery.full;
}

/* ---- what came of asking for it ----------------------------------------- */

/* An nginx in between may not be meant to tell what there is. */
static void explain(const instance_list_t *list, outcome_t *outcome) {
  struct ais_error why = outcome->why;

  if (outcome->verdict.no_route && list->discovery.namespace == NULL)
    ais_error_set(&outcome->why,
                  "%s. Where the API has lists of namespaces alone, name these "
                  "by DiscoverNamespace",
                  why.text);
  else if (outcome->status == 403 && list->account->credential.secret == NULL)
    ais_error_set(&outcome->why,
                  "%s. Where nginx has an allow-list (\"instance\"), it lists "
                  "no instances: name them here, too",
                  why.text);
}

/* A page alone is no list yet. Where nothing is to be discovered, the look-ups
 * of the instances complain. */
static void complain(instance_list_t *list, outcome_t *outcome,
                     discovery_step_t step) {
  char label[128];

  if (!list->discovers ||
      (outcome->good && (step == DISCOVERY_MORE || list->trouble.kind == 0)))
    return;

  if (!outcome->good)
    explain(list, outcome);
  make_label(list, label, sizeof(label));
  aisearch_outcome_complain(list->account, &list->trouble, label, outcome);
}

static bool is_cached(const struct ais_response *response) {
  return strcmp(response->cache, "HIT") == 0 ||
         strcmp(response->cache, "UPDATING") == 0;
}

/* Whether the answer was made before the list was read once. Its age is told in
 * whole seconds. */
static bool is_old(const instance_list_t *list,
                   const struct ais_response *response) {
  int64_t age = (response->age > 0 ? response->age : 0) + 1000;

  return is_cached(response) && aisearch_clock() - age < list->read_at;
}

/* What is cached is to be another answer by the second time. */
static void begin_pass(instance_list_t *list,
                       const struct ais_response *response) {
  int64_t now = aisearch_clock();

  if (list->discovery.passes == 2)
    list->read_at = now;
  if (response->cache[0] != '\0')
    list->due = now + list->account->pacing.active_interval;
}

static discovery_step_t take_page(instance_list_t *list, outcome_t *outcome,
                                  const struct ais_response *response) {
  unsigned passes = list->discovery.passes;
  discovery_step_t step = aisearch_discovery_page(
      &list->discovery, &outcome->answer.listing, is_old(list, response));

  if (step == DISCOVERY_MORE && list->discovery.passes > passes)
    begin_pass(list, response);

  if (step == DISCOVERY_FAILED) {
    outcome->good = false;
    outcome->fault = AIS_FAULT_BODY;
    ais_error_set(&outcome->why, "its pages do not fit together");
  }
  return step;
}

static bool is_discovering(const instance_list_t *list) {
  return list->discovers && list->one == NULL;
}

/* Nobody has asked for what is known of named instances: where it cannot be
 * had, their own look-ups tell how the API does. */
static void count(const instance_list_t *list, const outcome_t *outcome,
                  const struct ais_response *response) {
  account_t *account = list->account;

  pthread_mutex_lock(&account->lock);
  if (is_discovering(list))
    aisearch_outcome_count(account, outcome, response);
  else
    account->requests += response->calls;
  pthread_mutex_unlock(&account->lock);
}

/* Of the named ones that this list is about, the next one. */
static lookup_t *find_named(const instance_list_t *list, lookup_t *from) {
  lookup_t *l = from;

  while (l != NULL && !(l->is_named && l->leads && tells_of(list, l)))
    l = l->next;
  return l;
}

static bool can_be_read(const lookup_t *lookup) {
  account_t *account = lookup->account;
  bool good;

  pthread_mutex_lock(&account->lock);
  good = lookup->reading.good;
  pthread_mutex_unlock(&account->lock);
  return good;
}

static void stop_waiting(instance_list_t *list, bool failed) {
  const lookup_t *named = find_named(list, list->account->first);
  char label[128];

  if (failed && !list->discovers && named != NULL && can_be_read(named)) {
    make_label(list, label, sizeof(label));
    WARNING("aisearch plugin: %s: cannot be read. Until it can, named "
            "instances are overdue as if they synced by the API's default "
            "interval.",
            label);
  }
  await(list, false);
}

/* A fault may be over soon; that the API says no seldom is. */
static void end_round(instance_list_t *list, bool failed) {
  const pacing_t *pacing = &list->account->pacing;
  int64_t now = aisearch_clock();
  int64_t soon =
      now + (list->discovers ? pacing->active_interval : pacing->idle_interval);

  if (list->awaited && (!failed || now >= list->awaited_until))
    stop_waiting(list, failed);

  list->in_round = false;
  list->failed = false;
  list->due = list->next_round;
  if (failed && soon < list->due)
    list->due = soon;
}

/* ---- one by one --------------------------------------------------------- */

/* Once one of them has told what the list does not. */
static void tell_refused(instance_list_t *list) {
  char label[128];

  if (!list->refused && !list->discovers) {
    make_label(list, label, sizeof(label));
    INFO("aisearch plugin: %s: is refused. The instances that are named are "
         "asked for one by one.",
         label);
  }
  list->refused = true;
}

/* Where its jobs cannot be read either, somebody else complains. */
static void tell_unknown(instance_list_t *list, const outcome_t *outcome) {
  char label[300];

  if (list->unknown || outcome->fault == AIS_FAULT_NONE ||
      !can_be_read(list->one))
    return;

  list->unknown = true;
  aisearch_lookup_label(list->one, label, sizeof(label));
  WARNING("aisearch plugin: %s: the API answers %d: %s. It is overdue, and so "
          "are others that are refused, as if they synced by the API's default "
          "interval.",
          label, outcome->status, outcome->why.text);
}

static void take_one(instance_list_t *list, const outcome_t *outcome) {
  facts_t facts;

  if (outcome->good) {
    aisearch_facts_take(&facts, &outcome->answer.instance);
    know(list->one, &facts);
    tell_refused(list);
  } else if (aisearch_outcome_is_no(outcome)) {
    tell_unknown(list, outcome);
  } else {
    list->failed = true;
    list->due = aisearch_clock() + list->account->pacing.active_interval;
    return;
  }

  pthread_mutex_lock(&list->account->lock);
  list->one->watch->instance.awaited = false;
  pthread_mutex_unlock(&list->account->lock);
}

/* Returns whether to ask for it once more. */
static bool conclude_one(instance_list_t *list,
                         const struct ais_resource *resource,
                         const outcome_t *outcome,
                         const struct ais_response *response) {
  account_t *account = list->account;
  bool again =
      aisearch_form_again(account, &list->form, resource, &outcome->verdict);

  count(list, outcome, response);
  (void)aisearch_credential_settle(&account->credential, &list->choice,
                                   outcome->fault, outcome->why.text);
  if (!again)
    take_one(list, outcome);
  return again;
}

/* ---- the list ----------------------------------------------------------- */

static discovery_step_t conclude_page(instance_list_t *list, outcome_t *outcome,
                                      const struct ais_response *response) {
  account_t *account = list->account;
  discovery_step_t step = DISCOVERY_FAILED;

  if (outcome->good)
    step = take_page(list, outcome, response);

  count(list, outcome, response);
  if (!aisearch_credential_settle(&account->credential, &list->choice,
                                  outcome->fault, outcome->why.text))
    complain(list, outcome, step);

  if (step == DISCOVERY_DONE)
    take_changes(list);
  if (step == DISCOVERY_DONE && list->discovers) {
    tell_left_out(list);
    tell_repeats(list);
    tell_full(list);
  }
  return step;
}

static void make_resource(const instance_list_t *list,
                          struct ais_resource *resource) {
  if (list->one == NULL) {
    aisearch_discovery_resource(&list->discovery, resource);
    return;
  }

  aisearch_lookup_about(list->one, AIS_INSTANCE, resource);
  aisearch_form_apply(&list->form, resource);
}

static void make_path(const instance_list_t *list,
                      const struct ais_resource *resource,
                      char path[AIS_RESOURCE_PATH_MAX]) {
  const char *id = list->account->account_id;

  ais_resource_path(resource, ais_str_of(id), path);
}

static void conclude(instance_list_t *list, const struct ais_response *response,
                     int64_t closed) {
  struct ais_resource resource;
  char path[AIS_RESOURCE_PATH_MAX];
  outcome_t outcome;

  make_resource(list, &resource);
  make_path(list, &resource, path);
  outcome = aisearch_outcome(&resource, response);
  outcome.closed = closed;
  aisearch_breaker_settle(list->account, &list->pass, &outcome, response);
  aisearch_witness_hear(list->account, &list->choice, path, response, &outcome);

  if (list->one != NULL) {
    if (!conclude_one(list, &resource, &outcome, response))
      list->one = find_named(list, list->one->next);
    if (list->one == NULL)
      end_round(list, list->failed);
  } else if (conclude_page(list, &outcome, response) != DISCOVERY_MORE) {
    if (outcome.fault == AIS_FAULT_REFUSED)
      list->one = find_named(list, list->account->first);
    if (list->one == NULL)
      end_round(list, outcome.fault != AIS_FAULT_NONE &&
                          outcome.fault != AIS_FAULT_REFUSED);
  }
  ais_answer_free(&outcome.answer);
}

static void done(void *data, const struct ais_response *response) {
  instance_list_t *list = data;
  account_t *payer = list->account->payer;
  budget_outcome_t calls =
      aisearch_budget_settle(&payer->budget, response, aisearch_clock());

  list->under_way = false;
  aisearch_look_ends(payer, response);
  aisearch_state_touch();

  /* Others were faster, by a repeat. */
  if (response->fault == AIS_FAULT_BUDGET && response->calls == 0) {
    aisearch_breaker_cancel(list->account, &list->pass);
    list->due = aisearch_clock() + RETRY_BUDGET;
  } else {
    conclude(list, response, calls.closed);
  }
}

/* ---- asking for it ------------------------------------------------------ */

static void fail(instance_list_t *list, enum ais_fault fault,
                 const char *message) {
  struct ais_response response = ais_response_none(fault, message);

  done(list, &response);
}

static account_part_t *part_of(const instance_list_t *list) {
  return &list->account
              ->parts[is_discovering(list) ? BUDGET_DISCOVERY : BUDGET_FACTS];
}

/* Whether a credential that was refused is accepted again, others find out. */
static bool choose(instance_list_t *list) {
  credential_t *credential = &list->account->credential;

  if (is_discovering(list) || !aisearch_credential_is_refused(credential))
    return aisearch_credential_choose(credential, &list->choice);

  list->choice = (struct ais_choice){.none = true};
  return false;
}

static void ask(instance_list_t *list) {
  account_t *account = list->account;
  const struct ais_target *target = &part_of(list)->target;
  struct ais_resource resource;
  char path[AIS_RESOURCE_PATH_MAX];
  struct ais_fetch *fetch;
  enum ais_fault fault;

  list->under_way = true;
  aisearch_look_begins(account->payer);

  if (!aisearch_breaker_enter(account, &list->pass, &fault)) {
    fail(list, fault, "the API was not asked, since nobody is there");
    return;
  }

  if (!choose(list)) {
    aisearch_breaker_cancel(account, &list->pass);
    fail(list, AIS_FAULT_CREDENTIAL, "the API refuses the credential");
    return;
  }

  aisearch_form_choose(account, &list->form);
  make_resource(list, &resource);
  make_path(list, &resource, path);
  fetch = ais_client_fetch(account->client, target, account->credential.secret,
                           path, done, list);
  if (fetch == NULL)
    fail(list, AIS_FAULT_INTERNAL, "out of memory");
  else
    aisearch_breaker_limit(&list->pass, fetch);
}

static void begin_round(instance_list_t *list, int64_t now) {
  aisearch_discovery_begin(&list->discovery);
  list->in_round = true;
  list->next_round = now + list->account->discover.interval;
}

/* Begins what is due. Returns how long to wait, -1 for ever. */
static int64_t proceed(instance_list_t *list) {
  account_t *payer = list->account->payer;
  budget_part_t part = part_of(list)->part;
  int64_t now = aisearch_clock();

  if (!list->under_way && list->due <= now) {
    if (!aisearch_look_has_room(payer))
      return aisearch_look_wait(payer);
    if (aisearch_budget_part_left(&payer->budget, part, now) == 0)
      return aisearch_budget_part_wait(&payer->budget, part, now);
    if (!list->in_round)
      begin_round(list, now);
    ask(list);
  }

  if (list->under_way)
    return -1;
  return list->due > now ? list->due - now : 0;
}

int64_t aisearch_discover(account_t *account) {
  int64_t shortest = -1;

  for (instance_list_t *l = account->lists; l != NULL; l = l->next) {
    int64_t wait = proceed(l);

    if (wait != -1 && (shortest == -1 || wait < shortest))
      shortest = wait;
  }

  return shortest;
}

/* ---- life --------------------------------------------------------------- */

static int name_all(discovery_t *discovery, const account_t *account) {
  for (lookup_t *l = account->first; l != NULL; l = l->next)
    if (aisearch_discovery_name(discovery, l->generation, l->instance,
                                l->namespace, l) != 0)
      return -1;
  return 0;
}

/* What is known of named instances is in no haste, and waits for the first
 * looks at their jobs. */
static int add_list(account_t *account, const char *namespace, bool discovers) {
  instance_list_t *list = calloc(1, sizeof(*list));
  size_t room = DATA_MAX_NAME_LEN - 1 - strlen(account->name) - strlen("-");

  if (list == NULL)
    return -1;

  list->account = account;
  list->discovers = discovers;
  list->due = aisearch_clock();
  list->awaited_until = list->due + account->discover.interval;
  if (!discovers)
    list->due += account->pacing.active_interval;
  aisearch_discovery_init(&list->discovery, namespace,
                          discovers ? &account->discover.selection : NULL,
                          room);
  list->next = account->lists;
  account->lists = list;
  await(list, true);
  return name_all(&list->discovery, account);
}

static int add_discovering(account_t *account) {
  const discovery_settings_t *discover = &account->discover;
  int status = 0;

  if (!discover->wanted)
    return 0;

  if (discover->nnamespaces == 0)
    return add_list(account, /* namespace = */ NULL, /* discovers = */ true);

  for (size_t i = 0; status == 0 && i < discover->nnamespaces; i++)
    status = add_list(account, discover->namespaces[i], /* discovers = */ true);
  return status;
}

static bool has_list(const account_t *account, const lookup_t *lookup) {
  const instance_list_t *list = account->lists;

  while (list != NULL && !tells_of(list, lookup))
    list = list->next;
  return list != NULL;
}

/* Of AutoRAGs nothing is to be known. */
static int add_for_named(account_t *account) {
  int status = 0;

  for (lookup_t *l = account->first; status == 0 && l != NULL; l = l->next) {
    l->is_named = true;
    if (l->generation != AIS_AUTORAG && !has_list(account, l))
      status =
          add_list(account, l->namespace != NULL ? l->namespace : "default",
                   /* discovers = */ false);
  }
  return status;
}

int aisearch_discover_start(account_t *account) {
  int status = add_discovering(account);

  return status == 0 ? add_for_named(account) : status;
}

void aisearch_discover_free(account_t *account) {
  while (account->lists != NULL) {
    instance_list_t *next = account->lists->next;

    aisearch_discovery_free(&account->lists->discovery);
    sfree(account->lists);
    account->lists = next;
  }
}
