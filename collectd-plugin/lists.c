/*
 * Reads lists of instances and watches the instances in them.
 *
 * New instances are watched and their data is stored as soon as a page arrives.
 * Missing instances are known only once the whole list has been read; see
 * discovery.h.
 *
 * For the data of instances named in the configuration, the lists of their
 * namespaces are read too, and other instances in them are ignored. If such a
 * list is refused, for example by an nginx with an allow-list, these instances
 * are requested one by one.
 */

#include "aisearch.h"

#include "state.h"

/* The number of instances named in the log when many appear or disappear at
 * once. */
#define NAMED_IN_LOG 10

/* For a request that the budget refused, or that must wait until lookups show
 * whether the API responds. */
#define RETRY 100 /* ms */

#define DEFAULT_NAMESPACE "default"

struct list_s {
  request_t request;
  discovery_t discovery;
  /* AIS_INSTANCES; or AIS_NAMESPACES if the API no longer has a list for the
   * whole account: each namespace gets a list */
  enum ais_kind kind;
  char namespace[64]; /* empty: the account's list */
  char label[96];     /* follows the account's name in log messages */
  bool discovers;     /* otherwise only for the data of named instances */

  /* of ais_clock() */
  int64_t due;           /* when to request the next page */
  int64_t began_at;      /* when the current round began; 0: none */
  int64_t read_at;       /* when the round had read the list once */
  int64_t awaited_until; /* until then at most, its instances await the first
                            round; 0: no more */

  size_t found, gone; /* since the last message with the total */

  poll_t *one; /* the next named instance to request individually */
  bool failed; /* a request of this round failed */

  trouble_t trouble;
  bool said_left_out, said_repeats, said_full; /* about odd lists */
  bool said_scarce;                            /* about slow rounds */
  bool said_refused, said_unknown;             /* about named instances */

  list_t *next;
};

#define list_log(list, level, format, ...)                                     \
  account_log((list)->request.account, level, "%s: " format, (list)->label,    \
              ##__VA_ARGS__)

/* Returns true when the state changes from false to true. */
static bool is_news(bool *was, bool is) {
  bool news = is && !*was;

  *was = is;
  return news;
}

/* ---- which list covers an instance --------------------------------------- */

static bool covers(const list_t *list, const char *namespace) {
  return list->kind == AIS_INSTANCES &&
         (list->namespace[0] == '\0' ||
          strcmp(list->namespace, namespace) == 0);
}

static list_t *find_list(const account_t *account, const char *namespace) {
  list_t *list = account->lists;

  while (list != NULL && !covers(list, namespace))
    list = list->next;
  return list;
}

static const char *namespace_of(const instance_t *instance) {
  return instance->namespace != NULL ? instance->namespace : DEFAULT_NAMESPACE;
}

typedef enum { NAMED, MISSING } which_t;

/* Returns the next instance of the list after the given one (NULL: the first)
 * that is named in the configuration (NAMED), or that is not named and was
 * missing from this round's pages (MISSING). */
static poll_t *find_poll(const list_t *list, const poll_t *after,
                         which_t which) {
  poll_t *poll = after != NULL ? after->next : list->request.account->first;

  for (; poll != NULL; poll = poll->next) {
    const instance_t *i = poll->instance;
    bool is_missing =
        !i->is_named && !i->is_gone && i->listed_at < list->began_at;

    if (poll->leads && (which == NAMED ? i->is_named : is_missing) &&
        i->generation != AIS_AUTORAG && covers(list, namespace_of(i)))
      return poll;
  }
  return NULL;
}

/* An element of the account's list includes its namespace; an element of a
 * namespace's list need not. Plain instances are in the default namespace. */
static poll_what_t identify(const list_t *list, const char *id,
                            const char *namespace) {
  bool is_accounts = list->namespace[0] == '\0';

  if (is_accounts &&
      (namespace == NULL || strcmp(namespace, DEFAULT_NAMESPACE) == 0))
    return (poll_what_t){.instance = id, .generation = AIS_PLAIN};
  return (poll_what_t){.instance = id,
                       .namespace = is_accounts ? namespace : list->namespace,
                       .generation = AIS_NAMESPACED};
}

static bool selects(const list_t *list, const char *id) {
  return list->discovers &&
         selection_has(&list->request.account->discover.selection, id);
}

/* ---- new and missing instances ------------------------------------------- */

/* Does nothing if there is a list for the namespace already. Data about named
 * instances is not urgent and is requested after the first lookups of their
 * jobs. */
static int add_list(account_t *account, const char *namespace, bool discovers) {
  int64_t now = ais_clock();
  list_t *list;

  if (find_list(account, namespace) != NULL)
    return 0;
  list = calloc(1, sizeof(*list));
  if (list == NULL)
    return -1;

  list->request.account = account;
  list->kind = AIS_INSTANCES;
  sstrncpy(list->namespace, namespace, sizeof(list->namespace));
  ssnprintf(list->label, sizeof(list->label), ", list of instances%s%s%s",
            namespace[0] != '\0' ? " in \"" : "", namespace,
            namespace[0] != '\0' ? "\"" : "");
  list->discovers = discovers;
  list->due = discovers ? now : now + account->active_interval;
  list->awaited_until = now + account->discover.interval;
  list->next = account->lists;
  account->lists = list;
  return 0;
}

/* Names only the first of many instances. */
static void log_name(const list_t *list, const instance_t *instance,
                     const char *what, size_t count) {
  const char *namespace = instance->namespace;

  if (count <= NAMED_IN_LOG)
    account_log(list->request.account, LOG_INFO, ": Instance \"%s\"%s%s%s %s.",
                instance->id, namespace != NULL ? " in Namespace \"" : "",
                namespace != NULL ? namespace : "",
                namespace != NULL ? "\"" : "", what);
}

static void log_more(const list_t *list, const char *what, size_t *count) {
  if (*count > NAMED_IN_LOG)
    account_log(list->request.account, LOG_INFO, ": %zu more instances %s.",
                *count - NAMED_IN_LOG, what);
  *count = 0;
}

/* Watches a new instance. One that is gone is still there until its last values
 * were reported. */
static poll_t *meet(list_t *list, poll_t *poll, const poll_what_t *what) {
  account_t *account = list->request.account;

  if (poll == NULL && account->values.instances >= DISCOVERY_MAX) {
    list->discovery.full = true;
    return NULL;
  }

  if (poll == NULL)
    poll = poll_add(account, what);
  if (poll == NULL) {
    account_log(account, LOG_ERR,
                ", Instance \"%s\": Out of memory. It is not watched.",
                what->instance);
    return NULL;
  }
  poll_schedule(poll);
  log_name(list, poll->instance, "was found", ++list->found);
  return poll;
}

/* Stores what the API says about an instance. */
static void know(poll_t *poll, const struct ais_instance *current) {
  account_t *account = poll->request.account;
  facts_t facts;

  facts_take(&facts, current);
  pthread_mutex_lock(&account->lock);
  poll->instance->awaited = false;
  conditions_know(poll->instance, &facts, epoch());
  state_touch(account->notices.changed);
  pthread_mutex_unlock(&account->lock);
}

static void take_element(list_t *list, const struct ais_instance *element) {
  account_t *account = list->request.account;
  poll_what_t what = identify(list, element->id, element->namespace);
  char name[DATA_MAX_NAME_LEN];
  poll_t *poll;

  if (list->kind == AIS_NAMESPACES) {
    list->failed |= add_list(account, element->id, /* discovers = */ true) != 0;
    return;
  }
  if (element->namespace != NULL && !covers(list, element->namespace)) {
    list->discovery.left_out++;
    return;
  }

  poll_name(name, account, &what);
  poll = poll_find(account, name);
  if (poll == NULL || poll->instance->is_gone)
    poll = selects(list, element->id) ? meet(list, poll, &what) : NULL;
  if (poll == NULL)
    return;

  if (poll->instance->generation != AIS_AUTORAG)
    know(poll, element);
  else if (poll->instance->listed_at == 0 && selects(list, element->id))
    account_log(account, LOG_WARNING,
                ": Instance \"%s\" cannot be watched: an AutoRAG of this "
                "account has the same name. Move the AutoRAG to another "
                "Account block.",
                element->id);
  poll->instance->listed_at = ais_clock();
}

/* The conditions of a missing instance are reported as over once more. If it
 * reappears, its history continues. */
static void end_missing(list_t *list) {
  account_t *account = list->request.account;
  poll_t *poll = NULL;

  while ((poll = find_poll(list, poll, MISSING)) != NULL) {
    instance_t *instance = poll->instance;

    log_name(list, instance, "is gone", ++list->gone);
    schedule_drop(&account->payer->schedule, &poll->turn);
    pthread_mutex_lock(&account->lock);
    conditions_gone(&instance->reported);
    instance->is_gone = true;
    instance->is_over = false;
    pthread_mutex_unlock(&account->lock);
    state_touch(/* is_urgent = */ true);
  }
}

/* Warns once if the budget is too small to look up all instances within
 * IdleInterval. */
static void log_scarce(list_t *list) {
  account_t *account = list->request.account;
  const schedule_t *schedule = &account->payer->schedule;
  double idle = (double)account->idle_interval;
  double round = (double)schedule->members / schedule->pace;
  char takes[SPAN_SIZE], wanted[SPAN_SIZE];

  if (list->said_scarce || round <= idle)
    return;

  list->said_scarce = true;
  account_log(
      account, LOG_WARNING,
      ": With this Budget, it takes %s to look up all %zu instances once, "
      "longer than the IdleInterval of %s. Use a Budget of at least "
      "%.0f calls in 300 seconds, or a longer IdleInterval.",
      conditions_span(takes, (int64_t)round), schedule->members,
      conditions_span(wanted, account->idle_interval),
      (double)schedule->members * 300e3 / idle * 1.06 + 1.0);
}

static void log_round(list_t *list) {
  const discovery_t *d = &list->discovery;

  log_more(list, "are gone", &list->gone);
  log_more(list, "were found", &list->found);
  log_scarce(list);
  if (!list->discovers)
    return;

  if (is_news(&list->said_left_out, d->left_out > 0))
    list_log(list, LOG_WARNING,
             "%zu of them cannot be watched, because their names are not valid "
             "according to the API's documentation.",
             d->left_out);
  if (is_news(&list->said_repeats, d->repeats && d->page > 1))
    list_log(list, LOG_WARNING,
             "a page repeats the previous one. Instances on later pages are "
             "not found, and deleted instances are not detected.");
  if (is_news(&list->said_full, d->full))
    list_log(list, LOG_WARNING,
             "has more than %d instances, the maximum. The others are not "
             "watched, and deleted instances are not detected. Select "
             "instances with DiscoverNamespace, DiscoverInstance or Instance.",
             DISCOVERY_MAX);
}

/* ---- responses ----------------------------------------------------------- */

/* An nginx with an allow-list does not list instances. */
static void list_complain(list_t *list, result_t *result) {
  account_t *account = list->request.account;
  struct ais_error why = result->why;

  if (result->response->status == 403 && account->credential.file == NULL)
    ais_error_set(&result->why,
                  "%s. An nginx with an allow-list (\"instance\") lists no "
                  "instances: configure them here, too",
                  why.text);
  request_complain(account, &list->trouble, list->label, result);
}

/* Whether the response was generated before the list was read completely once.
 * Age has a resolution of one second. */
static bool is_old(const list_t *list, const struct ais_response *response) {
  bool is_cached = strcmp(response->cache, "HIT") == 0 ||
                   strcmp(response->cache, "UPDATING") == 0;

  return is_cached && ais_clock() - response->age - 1000 < list->read_at;
}

/* Returns whether the round continues with another page. */
static bool take_page(list_t *list, const result_t *result) {
  discovery_t *d = &list->discovery;
  const struct ais_listing *page = &result->answer.listing;
  discovery_step_t step =
      discovery_page(d, page, is_old(list, result->response));

  for (size_t i = 0; i < page->ninstances; i++)
    take_element(list, &page->instances[i]);
  if (step == DISCOVERY_MORE || !list->discovers)
    return step == DISCOVERY_MORE;

  step = discovery_pass(d, find_poll(list, NULL, MISSING) != NULL);
  if (step == DISCOVERY_CERTAIN)
    end_missing(list);

  /* The second pass needs a response that is not from the same cache entry. */
  if (step == DISCOVERY_MORE && d->passes == 2)
    list->read_at = ais_clock();
  if (step == DISCOVERY_MORE && result->response->cache[0] != '\0')
    list->due = ais_clock() + list->request.account->active_interval;
  return step == DISCOVERY_MORE;
}

/* As above. If the API no longer has a list for the whole account, each
 * namespace gets one. If nothing is to be discovered, errors are left to the
 * lookups. */
static bool take_list(list_t *list, result_t *result) {
  if (result->verdict.no_route && list->discovers &&
      list->kind == AIS_INSTANCES && list->namespace[0] == '\0') {
    list_log(list, LOG_NOTICE,
             "the API no longer has one. The lists of its namespaces are read "
             "from now on.");
    list->kind = AIS_NAMESPACES;
    discovery_begin(&list->discovery);
    return true;
  }

  if (result->good && take_page(list, result))
    return true;
  if (result->good)
    log_round(list);
  if (list->discovers)
    list_complain(list, result);
  return false;
}

/* If the instance's jobs cannot be read either, its lookup logs the error. */
static void log_unknown(list_t *list, const poll_t *named,
                        const result_t *result) {
  if (named != NULL && named->latest.good && is_news(&list->said_unknown, true))
    list_log(list, LOG_WARNING,
             "the settings of Instance \"%s\" cannot be read: %s. Until they "
             "can, the API's default sync interval determines when such "
             "instances are overdue.",
             named->instance->id, result->why.text);
}

static void take_one(list_t *list, const result_t *result) {
  if (result_is_no(result))
    log_unknown(list, list->one, result);
  if (!result->good)
    return;

  know(list->one, &result->answer.instance);
  if (is_news(&list->said_refused, true) && !list->discovers)
    list_log(list, LOG_INFO,
             "is refused. The configured instances are requested one by one.");
}

/* Named instances are looked up before the first round has ended, and some may
 * be paused. So the condition "overdue" is not evaluated until the round has
 * ended, or has failed for a discovery interval, unless the data is known from
 * before a restart. If a namespace is not in the API's list, no list covers its
 * instances, and they do not wait either. */
static void stop_waiting(list_t *list, const result_t *result) {
  account_t *account = list->request.account;

  if (list->failed && !list->discovers)
    log_unknown(list, find_poll(list, NULL, NAMED), result);

  list->awaited_until = 0;
  pthread_mutex_lock(&account->lock);
  for (poll_t *poll = account->first; poll != NULL; poll = poll->next) {
    const list_t *other = find_list(account, namespace_of(poll->instance));

    poll->instance->awaited &= other != NULL && other != list;
  }
  pthread_mutex_unlock(&account->lock);
}

/* Retries soon after a fault, but not after a refusal, which seldom changes. */
static void end_round(list_t *list, const result_t *result) {
  const account_t *account = list->request.account;
  int64_t now = ais_clock();
  int64_t soon = now + (list->discovers ? account->active_interval
                                        : account->idle_interval);

  if (list->awaited_until > 0 && (!list->failed || now >= list->awaited_until))
    stop_waiting(list, result);

  list->due = list->began_at + account->discover.interval;
  if (list->failed)
    list->due = ais_earlier(soon, list->due);
  list->began_at = 0;
  DEBUG("aisearch plugin: %s%s: round has ended", account->name, list->label);
}

static void list_done(request_t *request, result_t *result) {
  list_t *list = (list_t *)request;

  state_touch(/* is_urgent = */ false);
  if (result->put_off) {
    list->due = ais_clock() + (request->is_trial ? 0 : RETRY);
    return;
  }

  list->failed |= !result->good && !result_is_no(result);
  if (list->one != NULL) {
    take_one(list, result);
    list->one = find_poll(list, list->one, NAMED);
  } else if (take_list(list, result)) {
    return;
  } else if (result->fault == AIS_FAULT_REFUSED) {
    list->one = find_poll(list, NULL, NAMED);
  }
  if (list->one == NULL)
    end_round(list, result);
}

/* ---- requests ------------------------------------------------------------ */

/* Sends the next request if it is due. Returns the number of ms to wait, or
 * AIS_NEVER. Nobody has configured a request for data about named instances, so
 * its failures are not logged as errors; the instances' own lookups show the
 * state of the API. */
static int64_t list_poll(list_t *list) {
  request_t *request = &list->request;
  account_t *account = request->account;
  int64_t now = ais_clock(), wait;

  if (request->under_way)
    return AIS_NEVER;
  if (list->due > now)
    return list->due - now;
  request->part =
      list->discovers && list->one == NULL ? BUDGET_DISCOVERY : BUDGET_FACTS;
  wait = request_pause(account);
  if (wait == 0)
    wait = request_wait(account->payer, request->part);
  /* whether the API responds again is left to lookups, which count */
  if (wait == 0 && request->part == BUDGET_FACTS &&
      account->breaker.state != AIS_BREAKER_CLOSED)
    wait = RETRY;
  if (wait != 0)
    return wait;

  if (list->began_at == 0) {
    DEBUG("aisearch plugin: %s%s: round begins", account->name, list->label);
    discovery_begin(&list->discovery);
    list->began_at = now;
    list->failed = false;
  }
  request->resource = (struct ais_resource){
      .generation = list->namespace[0] != '\0' ? AIS_NAMESPACED : AIS_PLAIN,
      .kind = list->kind,
      .namespace = ais_str_of(list->namespace),
      .page = list->discovery.page,
      .per_page = DISCOVERY_PER_PAGE,
  };
  if (list->one != NULL)
    poll_resource(list->one, AIS_INSTANCE, &request->resource);
  request->done = list_done;
  request_send(request);
  return request->under_way ? AIS_NEVER : 0;
}

int64_t lists_poll(account_t *account, int64_t limit) {
  for (list_t *list = account->lists; list != NULL; list = list->next)
    limit = ais_earlier(limit, list_poll(list));
  return limit;
}

/* ---- setup --------------------------------------------------------------- */

/* Instances that were watched before a restart are watched from the start,
 * until a list shows that they are gone. Conditions of an instance that is
 * neither named nor discovered any more are ended, unless a rejected block,
 * which may name it, is still to be corrected. */
static int add_remembered(account_t *account, const char *name) {
  char copy[DATA_MAX_NAME_LEN];
  char *id = copy + strlen(account->name) + 1, *at;
  const char *namespace = DEFAULT_NAMESPACE;
  const list_t *list;
  poll_what_t what;

  if (poll_find(account, name) != NULL)
    return 0;

  sstrncpy(copy, name, sizeof(copy));
  at = strchr(id, '@');
  if (at != NULL) {
    *at = '\0';
    namespace = at + 1;
  }

  list = find_list(account, namespace);
  if (list != NULL && ais_instance_valid(ais_str_of(id), AIS_PLAIN) &&
      ais_namespace_valid(ais_str_of(namespace)) && selects(list, id)) {
    what = identify(list, id, namespace);
    return poll_add(account, &what) != NULL ? 0 : -1;
  }
  if (!account->is_partial)
    state_end(account, name);
  return 0;
}

/* The API has no data about AutoRAG instances. */
int lists_start(account_t *account) {
  const discovery_settings_t *discover = &account->discover;
  int status = 0;

  for (poll_t *poll = account->first; poll != NULL; poll = poll->next)
    poll->instance->is_named = true;

  for (size_t i = 0; discover->wanted && i < discover->namespaces.n; i++)
    status |= add_list(account, discover->namespaces.text[i],
                       /* discovers = */ true);
  if (discover->wanted && discover->namespaces.n == 0)
    status = add_list(account, /* namespace = */ "", /* discovers = */ true);
  if (status == 0)
    status = state_each(account, add_remembered);

  for (poll_t *p = account->first; status == 0 && p != NULL; p = p->next)
    if (p->instance->generation != AIS_AUTORAG) {
      p->instance->awaited = !p->instance->is_known;
      status = add_list(account, namespace_of(p->instance),
                        /* discovers = */ false);
    }
  return status;
}

void lists_free(account_t *account) {
  for (list_t *list; (list = account->lists) != NULL;) {
    account->lists = list->next;
    sfree(list);
  }
}
