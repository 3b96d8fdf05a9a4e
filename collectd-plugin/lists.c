/*
 * Lists of instances: asks for them, and watches what they tell of.
 *
 * Instances that are named have lists, too, for what is known of them: those of
 * their namespaces, of which nothing else is taken. Where such a list is
 * refused, as by an nginx with a list of its own, they are asked for one by
 * one.
 */

#include "aisearch.h"

#include "state.h"

/* How many are named in the log, of those that come or go at once. */
#define NAMED_IN_LOG 10

/* Where others were faster. */
#define RETRY_BUDGET 100 /* ms */

struct list_s {
  request_t request;
  discovery_t discovery;
  char *namespace; /* NULL: the account's */
  bool discovers;  /* or is for named instances alone */
  int page;        /* of namespaces, where the account has no list; 0: it has */
  bool in_round;
  bool awaited; /* those that it tells of wait for the first round */
  int64_t awaited_until;
  int64_t due;        /* when to ask for the next page, of ais_clock() */
  int64_t next_round; /* when to begin the next one */
  int64_t read_at;    /* when the present one had read the list once */
  size_t found, gone; /* in the present one */

  poll_t *one; /* of the named ones, the next to be asked for by itself */
  bool failed; /* one of them was not answered in this round */

  trouble_t trouble;
  bool said_left_out; /* that some were */
  bool said_repeats;  /* that it ignores pages */
  bool said_full;     /* that it has too many */
  bool said_refused;  /* that named ones are asked for one by one */
  bool said_unknown;  /* that one of them is refused, too */
  size_t said_scarce; /* how long a round takes, for so many instances */

  list_t *next;
};

/* What comes behind the account's name. */
static void list_label(const list_t *list, char *label, size_t size) {
  const char *namespace = list->namespace;

  ssnprintf(label, size, ", list of instances%s%s%s",
            namespace != NULL ? " in \"" : "",
            namespace != NULL ? namespace : "", namespace != NULL ? "\"" : "");
}

static void list_log(const list_t *list, int level, const char *text) {
  char label[128];

  list_label(list, label, sizeof(label));
  account_log(list->request.account, level, "%s: %s", label, text);
}

/* ---- what a list tells --------------------------------------------------- */

/* Whether the list tells of this one, where it is there. */
static bool tells_of(const list_t *list, const instance_t *instance) {
  const char *namespace = list->namespace;

  if (namespace == NULL)
    return instance->generation != AIS_AUTORAG;
  if (instance->namespace == NULL)
    return instance->generation == AIS_PLAIN &&
           strcmp(namespace, "default") == 0;
  return strcmp(namespace, instance->namespace) == 0;
}

/* Named instances are looked at before the first round has ended, and some may
 * be paused: nothing is said about what is overdue until then, or until it has
 * failed for as long as the discovery interval; unless that is known from
 * before a restart. */
static void list_await(list_t *list, bool awaited) {
  account_t *account = list->request.account;

  list->awaited = awaited;
  pthread_mutex_lock(&account->lock);
  for (poll_t *poll = account->first; poll != NULL; poll = poll->next)
    if (tells_of(list, poll->instance))
      poll->instance->awaited = awaited && !poll->instance->is_known;
  pthread_mutex_unlock(&account->lock);
}

/* One that has gone may be there still, until that was reported. */
static poll_t *appear(account_t *account, const poll_what_t *what) {
  char name[DATA_MAX_NAME_LEN];
  poll_t *poll;

  poll_name(name, account, what);
  poll = poll_find(account, name);
  if (poll == NULL)
    poll = poll_add(account, what);
  pthread_mutex_lock(&account->lock);
  if (poll != NULL)
    poll->instance->is_gone = false;
  pthread_mutex_unlock(&account->lock);
  if (poll != NULL && !poll->request.under_way && !poll->turn.is_member)
    poll_schedule(poll);
  if (poll == NULL)
    account_log(account, LOG_ERR,
                ", Instance \"%s\": Out of memory: it is not watched.",
                what->instance);
  return poll;
}

/* The first ones of many by name. */
static void tell_name(const list_t *list, const discovery_instance_t *instance,
                      const char *what, size_t count) {
  const char *namespace = instance->namespace;

  if (count <= NAMED_IN_LOG)
    account_log(list->request.account, LOG_INFO, ": Instance \"%s\"%s%s%s %s.",
                instance->id, namespace != NULL ? " in Namespace \"" : "",
                namespace != NULL ? namespace : "",
                namespace != NULL ? "\"" : "", what);
}

static void tell_more(const list_t *list, const char *what, size_t count) {
  if (count > NAMED_IN_LOG)
    account_log(list->request.account, LOG_INFO, ": %zu more instances %s.",
                count - NAMED_IN_LOG, what);
}

static void take_event(void *data, discovery_event_t event,
                       discovery_instance_t *instance) {
  list_t *list = data;
  poll_what_t what = {.instance = instance->id,
                      .namespace = instance->namespace,
                      .generation = instance->generation};

  if (event == DISCOVERY_LONG || event == DISCOVERY_TAKEN) {
    account_log(list->request.account, LOG_WARNING,
                ": Instance \"%s\" cannot be watched: %s.", instance->id,
                event == DISCOVERY_LONG
                    ? "its name, with the account's and the namespace, is too "
                      "long for collectd. Use a shorter name for the account"
                    : "an AutoRAG of this account has the same name. Put the "
                      "AutoRAG into another Account block");
    return;
  }

  if (event == DISCOVERY_APPEARED) {
    tell_name(list, instance, "was found", ++list->found);
    instance->data = appear(list->request.account, &what);
  } else if (event == DISCOVERY_GONE) {
    tell_name(list, instance, "is gone", ++list->gone);
  }
  if (instance->data != NULL && event == DISCOVERY_GONE)
    poll_end(instance->data);
  else if (instance->data != NULL)
    poll_know(instance->data, &instance->facts);
}

/* Where the budget does not do for all of them within IdleInterval. Once, and
 * again when there are many more. */
static void tell_scarce(list_t *list) {
  account_t *account = list->request.account;
  account_t *payer = account->payer;
  size_t members = payer->schedule.members;
  double round = schedule_round(&payer->schedule);
  double per_minute = (double)members / ((double)account->idle_interval / 6e4);
  char takes[SPAN_SIZE], wanted[SPAN_SIZE];

  if (round <= (double)account->idle_interval ||
      members < list->said_scarce + list->said_scarce / 2 + 1)
    return;

  list->said_scarce = members;
  account_log(account, LOG_WARNING,
              ": With this Budget it takes %s to look at all of %zu instances "
              "once, and not an IdleInterval of %s. A Budget of %.0f calls in "
              "300 seconds would do, or a longer IdleInterval.",
              conditions_span(takes, (int64_t)round), members,
              conditions_span(wanted, account->idle_interval),
              per_minute * 5.0 * 1.06 + 1.0);
}

static void say_once(const list_t *list, bool *said, bool is_so,
                     const char *text) {
  if (is_so && !*said)
    list_log(list, LOG_WARNING, text);
  *said = is_so;
}

static void tell_round(list_t *list) {
  const discovery_t *d = &list->discovery;
  char text[256];

  tell_more(list, "are gone", list->gone);
  tell_more(list, "were found", list->found);
  list->gone = list->found = 0;
  tell_scarce(list);
  if (!list->discovers)
    return;

  ssnprintf(text, sizeof(text),
            "%zu of them cannot be watched: their names are none that the "
            "API's documentation allows.",
            d->left_out);
  say_once(list, &list->said_left_out, d->left_out > 0, text);
  say_once(list, &list->said_repeats, d->repeats && d->page > 1,
           "another page of it has nothing but what was there before. What "
           "the API does not list by then is not found, and what has gone is "
           "not noticed.");
  ssnprintf(text, sizeof(text),
            "has more than the %d instances that are watched at most; the "
            "others are not, and what has gone is not noticed. Say which ones "
            "are meant, by DiscoverNamespace, DiscoverInstance or Instance.",
            DISCOVERY_MAX);
  say_once(list, &list->said_full, d->full, text);
}

/* ---- what came of asking for it ------------------------------------------ */

/* An nginx in between may not be meant to tell what there is. A page alone is
 * no list yet. Where nothing is to be discovered, the polls complain. */
static void list_complain(list_t *list, result_t *result,
                          discovery_step_t step) {
  account_t *account = list->request.account;
  struct ais_error why = result->why;
  char label[128];

  if (!list->discovers ||
      (result->good && (step == DISCOVERY_MORE || list->trouble.kind == 0)))
    return;

  if (result->status == 403 && account->credential.file == NULL)
    ais_error_set(&result->why,
                  "%s. Where nginx has an allow-list (\"instance\"), it lists "
                  "no instances: name them here, too",
                  why.text);

  list_label(list, label, sizeof(label));
  request_complain(account, &list->trouble, label, result);
}

/* Whether the answer was made before the list was read once. Its age is told in
 * whole seconds. */
static bool is_old(const list_t *list, const struct ais_response *response) {
  int64_t age = (response->age > 0 ? response->age : 0) + 1000;
  bool is_cached = strcmp(response->cache, "HIT") == 0 ||
                   strcmp(response->cache, "UPDATING") == 0;

  return is_cached && ais_clock() - age < list->read_at;
}

static discovery_step_t take_page(list_t *list, result_t *result) {
  unsigned passes = list->discovery.passes;
  int64_t now = ais_clock();
  discovery_step_t step =
      discovery_page(&list->discovery, &result->answer.listing,
                     is_old(list, result->response), take_event, list);

  /* What is cached is to be another answer by the second time. */
  if (step == DISCOVERY_MORE && list->discovery.passes > passes) {
    if (list->discovery.passes == 2)
      list->read_at = now;
    if (result->response->cache[0] != '\0')
      list->due = now + list->request.account->active_interval;
  }

  if (step == DISCOVERY_FAILED) {
    result->good = false;
    result->fault = AIS_FAULT_BODY;
    ais_error_set(&result->why, "its pages do not fit together");
  }
  return step;
}

/* Of the named ones that this list is about, the next one. */
static poll_t *find_named(const list_t *list, poll_t *from) {
  poll_t *poll = from;

  while (poll != NULL && !(poll->instance->is_named && poll->leads &&
                           tells_of(list, poll->instance)))
    poll = poll->next;
  return poll;
}

static void stop_waiting(list_t *list, bool failed) {
  const poll_t *named = find_named(list, list->request.account->first);

  if (failed && !list->discovers && named != NULL && named->latest.good)
    list_log(list, LOG_WARNING,
             "cannot be read. Until it can, named instances are overdue as if "
             "they synced by the API's default interval.");
  list_await(list, false);
}

/* A fault may be over soon; that the API says no seldom is. */
static void end_round(list_t *list, bool failed) {
  const account_t *account = list->request.account;
  int64_t now = ais_clock();
  int64_t soon = now + (list->discovers ? account->active_interval
                                        : account->idle_interval);

  if (list->awaited && (!failed || now >= list->awaited_until))
    stop_waiting(list, failed);

  list->in_round = false;
  list->failed = false;
  list->due = failed ? ais_earlier(soon, list->next_round) : list->next_round;
}

/* ---- one by one ---------------------------------------------------------- */

/* Where its jobs cannot be read either, somebody else complains. */
static void tell_unknown(list_t *list, const result_t *result) {
  char label[300];

  if (list->said_unknown || result->fault == AIS_FAULT_NONE ||
      !list->one->latest.good)
    return;

  list->said_unknown = true;
  poll_label(list->one, label, sizeof(label));
  account_log(list->request.account, LOG_WARNING,
              "%s: the API answers %d: %s. It is overdue, and so are others "
              "that are refused, as if they synced by the API's default "
              "interval.",
              label, result->status, result->why.text);
}

static void take_one(list_t *list, const result_t *result) {
  account_t *account = list->request.account;
  facts_t facts;

  if (result->good) {
    facts_take(&facts, &result->answer.instance);
    poll_know(list->one, &facts);
    if (!list->said_refused && !list->discovers)
      list_log(list, LOG_INFO,
               "is refused. The instances that are named are asked for one by "
               "one.");
    list->said_refused = true;
  } else if (result_is_no(result)) {
    tell_unknown(list, result);
  } else {
    list->failed = true;
    list->due = ais_clock() + account->active_interval;
    return;
  }

  pthread_mutex_lock(&account->lock);
  list->one->instance->awaited = false;
  pthread_mutex_unlock(&account->lock);
}

/* ---- namespaces ---------------------------------------------------------- */

static int add_list(account_t *account, const char *namespace, bool discovers);

static bool has_list_of(const account_t *account, const char *namespace) {
  const list_t *list = account->lists;

  while (list != NULL && (!list->discovers || list->namespace == NULL ||
                          strcmp(list->namespace, namespace) != 0))
    list = list->next;
  return list != NULL;
}

/* Where the API has no list of the account any more, each namespace has one. */
static discovery_step_t take_namespaces(list_t *list, result_t *result) {
  account_t *account = list->request.account;
  const struct ais_listing *listing = &result->answer.listing;

  list_complain(list, result, DISCOVERY_DONE);
  for (size_t i = 0; result->good && i < listing->ninstances; i++) {
    const char *name = listing->instances[i].id;

    if (!has_list_of(account, name) &&
        add_list(account, name, /* discovers = */ true) != 0)
      account_log(account, LOG_ERR, ": Out of memory.");
  }

  if (!result->good || listing->ninstances < DISCOVERY_PER_PAGE ||
      list->page >= DISCOVERY_PAGES_MAX) {
    list->page = 1;
    return DISCOVERY_DONE;
  }
  list->page++;
  return DISCOVERY_MORE;
}

static discovery_step_t take_list(list_t *list, result_t *result) {
  discovery_step_t step = DISCOVERY_FAILED;

  if (list->page > 0)
    return take_namespaces(list, result);
  if (result->verdict.no_route && list->discovers && list->namespace == NULL) {
    list_log(list, LOG_NOTICE,
             "the API has none any more: asks for those of its namespaces from "
             "now on.");
    list->page = 1;
    return DISCOVERY_MORE;
  }

  if (result->good)
    step = take_page(list, result);
  list_complain(list, result, step);
  if (step == DISCOVERY_DONE)
    tell_round(list);
  return step;
}

static void list_done(request_t *request, result_t *result) {
  list_t *list = (list_t *)request;

  state_touch(/* is_urgent = */ false);
  if (result->put_off) {
    list->due = request->is_trial ? ais_clock() : ais_clock() + RETRY_BUDGET;
  } else if (list->one != NULL) {
    take_one(list, result);
    list->one = find_named(list, list->one->next);
    if (list->one == NULL)
      end_round(list, list->failed);
  } else if (take_list(list, result) != DISCOVERY_MORE) {
    if (result->fault == AIS_FAULT_REFUSED)
      list->one = find_named(list, request->account->first);
    if (list->one == NULL)
      end_round(list, result->fault != AIS_FAULT_NONE &&
                          result->fault != AIS_FAULT_REFUSED);
  }
}

/* ---- asking for it ------------------------------------------------------- */

/* Nobody has asked for what is known of named instances: where it cannot be
 * had, their own polls tell how the API does. */
static void list_ask(list_t *list, budget_part_t part) {
  request_t *request = &list->request;

  request->part = part;
  if (list->one != NULL)
    poll_resource(list->one, AIS_INSTANCE, &request->resource);
  else
    discovery_resource(&list->discovery, &request->resource);
  if (list->one == NULL && list->page > 0) {
    request->resource.kind = AIS_NAMESPACES;
    request->resource.page = list->page;
  }
  request->resource.job = view(NULL);
  request_send(request);
}

/* Begins what is due. Returns how long to wait, -1 for ever. */
static int64_t list_poll(list_t *list) {
  account_t *account = list->request.account;
  budget_part_t part =
      list->discovers && list->one == NULL ? BUDGET_DISCOVERY : BUDGET_FACTS;
  int64_t now = ais_clock();

  if (!list->request.under_way && list->due <= now) {
    int64_t wait = request_pause(account);

    if (wait == 0)
      wait = request_wait(account->payer, part);
    if (wait != 0)
      return wait;
    if (!list->in_round) {
      discovery_begin(&list->discovery);
      list->in_round = true;
      list->next_round = now + account->discover.interval;
    }
    list_ask(list, part);
  }

  if (list->request.under_way)
    return -1;
  return list->due > now ? list->due - now : 0;
}

int64_t lists_poll(account_t *account) {
  int64_t shortest = -1;

  for (list_t *list = account->lists; list != NULL; list = list->next) {
    int64_t wait = list_poll(list);

    if (wait != -1 && (shortest == -1 || wait < shortest))
      shortest = wait;
  }
  return shortest;
}

/* ---- life ---------------------------------------------------------------- */

static int add_known(list_t *list) {
  for (poll_t *p = list->request.account->first; p != NULL; p = p->next)
    if ((p->instance->is_named || tells_of(list, p->instance)) &&
        discovery_add(&list->discovery, p->instance->generation,
                      p->instance->id, p->instance->namespace,
                      p->instance->is_named, p) != 0)
      return -1;
  return 0;
}

/* What is known of named instances is in no haste, and waits for the first
 * looks at their jobs. */
static int add_list(account_t *account, const char *namespace, bool discovers) {
  list_t *list = calloc(1, sizeof(*list));
  size_t room = DATA_MAX_NAME_LEN - 1 - strlen(account->name) - strlen("-");

  if (list != NULL && namespace != NULL)
    list->namespace = strdup(namespace);
  if (list == NULL || (namespace != NULL && list->namespace == NULL)) {
    sfree(list);
    return -1;
  }

  list->request.account = account;
  list->request.done = list_done;
  list->discovers = discovers;
  list->due = ais_clock();
  list->awaited_until = list->due + account->discover.interval;
  if (!discovers)
    list->due += account->active_interval;
  discovery_init(&list->discovery, list->namespace,
                 discovers ? &account->discover.selection : NULL, room);
  list->next = account->lists;
  account->lists = list;
  list_await(list, true);
  return add_known(list);
}

static bool is_discovered(const account_t *account, const char *id,
                          const char *namespace) {
  const discovery_settings_t *discover = &account->discover;
  bool in_namespace = discover->nnamespaces == 0;

  for (size_t i = 0; i < discover->nnamespaces; i++)
    in_namespace |= strcmp(discover->namespaces[i], namespace) == 0;
  return discover->wanted && in_namespace &&
         ais_instance_valid(view(id), AIS_PLAIN) &&
         ais_namespace_valid(view(namespace)) &&
         selection_has(&discover->selection, id);
}

/* What was watched before a restart is watched from the start, until a list
 * says that it is gone. What is not named any more, nor to be discovered, is
 * over; but not where somebody has a refused block to mend. */
static int add_remembered(account_t *account, const char *name) {
  char copy[DATA_MAX_NAME_LEN];
  char *id = copy + strlen(account->name) + 1, *namespace;
  poll_what_t what = {.instance = id, .generation = AIS_PLAIN};

  if (poll_find(account, name) != NULL)
    return 0;

  sstrncpy(copy, name, sizeof(copy));
  namespace = strchr(id, '@');
  if (namespace != NULL)
    *namespace ++ = '\0';
  if (namespace != NULL || account->discover.nnamespaces > 0) {
    what.generation = AIS_NAMESPACED;
    what.namespace = namespace != NULL ? namespace : "default";
  }

  if (is_discovered(account, id, namespace != NULL ? namespace : "default"))
    return poll_add(account, &what) != NULL ? 0 : -1;
  if (!account->is_partial)
    state_end(account, name);
  return 0;
}

static bool has_list(const account_t *account, const instance_t *instance) {
  for (const list_t *list = account->lists; list != NULL; list = list->next)
    if (tells_of(list, instance))
      return true;
  return false;
}

/* Of AutoRAGs nothing is to be known. */
int lists_start(account_t *account) {
  const discovery_settings_t *discover = &account->discover;
  int status;

  for (poll_t *poll = account->first; poll != NULL; poll = poll->next)
    poll->instance->is_named = true;
  status = state_each(account, add_remembered);

  if (status == 0 && discover->wanted && discover->nnamespaces == 0)
    status = add_list(account, /* namespace = */ NULL, /* discovers = */ true);
  for (size_t i = 0; status == 0 && i < discover->nnamespaces; i++)
    if (discover->wanted)
      status = add_list(account, discover->namespaces[i],
                        /* discovers = */ true);

  for (poll_t *p = account->first; status == 0 && p != NULL; p = p->next)
    if (p->instance->generation != AIS_AUTORAG &&
        !has_list(account, p->instance))
      status = add_list(account,
                        p->instance->namespace != NULL ? p->instance->namespace
                                                       : "default",
                        /* discovers = */ false);
  return status;
}

void lists_free(account_t *account) {
  while (account->lists != NULL) {
    list_t *next = account->lists->next;

    discovery_free(&account->lists->discovery);
    sfree(account->lists->namespace);
    sfree(account->lists);
    account->lists = next;
  }
}
