/*
 * The polling thread: sends the requests that are due and processes their
 * responses. A stalled API blocks no read thread, and shutdown is prompt.
 */

#include "aisearch.h"

#include <stdatomic.h>

#include "ais_poll.h"

#include "state.h"

static struct ais_client *poller_client; /* NULL unless the thread may run */
static account_t *poller_accounts;
static pthread_t poller_thread;
static atomic_bool poller_stops;
static atomic_bool poller_has_report;

/* ---- responses ----------------------------------------------------------- */

static schedule_next_t after_success(const poll_t *poll,
                                     const history_news_t *news) {
  if (news->more)
    return SCHEDULE_NOW;
  if (poll->job != NULL && !ais_state_active(poll->latest.state))
    return SCHEDULE_NEVER;
  return news->active || news->changed ? SCHEDULE_SOON : SCHEDULE_LATER;
}

/* The instance's items are requested last, after all pages of its jobs. */
static schedule_next_t ask_for_items(poll_t *poll, schedule_next_t next,
                                     bool has_ended) {
  instance_t *instance = poll->instance;

  if (!poll->request.account->has_items || poll->job != NULL ||
      instance->generation == AIS_AUTORAG || next == SCHEDULE_NOW ||
      !items_due(&instance->items, has_ended, ais_clock()))
    return next;

  poll->wants_items = true;
  poll->then = next;
  return SCHEDULE_NOW;
}

/* The first page of a list holds the newest jobs; later pages are only for the
 * history. */
static schedule_next_t take_jobs(poll_t *poll, const struct ais_answer *answer,
                                 int64_t age) {
  account_t *account = poll->request.account;
  instance_t *instance = poll->instance;
  int64_t now = epoch();
  history_news_t news;

  if (poll->page == 1) {
    latest_take(&poll->latest, answer, now - age);
    instance->read_at = now - age;
  }

  history_page(&instance->history, answer, poll->job == NULL ? poll->page : 0,
               now - age, account->stalled_after, &news);
  conditions_judge(instance, account->overdue_after, &news, now - age);
  state_touch(/* is_urgent = */ news.nended > 0);

  poll->page = news.more ? poll->page + 1 : 1;
  return ask_for_items(poll, after_success(poll, &news), news.nended > 0);
}

static schedule_next_t take_items(poll_t *poll, const result_t *result) {
  const account_t *account = poll->request.account;
  double idle =
      (double)account->idle_interval * account->payer->schedule.stretch;

  items_take(
      &poll->instance->items, result->good ? &result->answer.stats : NULL,
      !result->good && !result_is_no(result), (int64_t)idle, ais_clock());
  poll->wants_items = false;
  return poll->then;
}

/* Returns when the next lookup is due: soon after a fault, but not after a
 * refusal, which seldom changes. */
static schedule_next_t poll_take(poll_t *poll, const result_t *result) {
  account_t *account = poll->request.account;
  int64_t age = result->response->age;
  schedule_next_t next;

  pthread_mutex_lock(&account->lock);
  if (poll->wants_items) {
    next = take_items(poll, result);
  } else if (result->good) {
    next = take_jobs(poll, &result->answer, age > 0 ? age : 0);
  } else {
    poll->latest.good = false;
    poll->page = 1;
    next = result_is_no(result) ? SCHEDULE_LATER : SCHEDULE_SOON;
  }
  poll->instance->polls_over += next == SCHEDULE_NEVER;
  state_touch(account->notices.changed);
  pthread_mutex_unlock(&account->lock);
  return next;
}

static void poll_done(request_t *request, result_t *result) {
  poll_t *poll = (poll_t *)request;
  account_t *account = request->account;
  schedule_t *schedule = &account->payer->schedule;
  bool is_more = poll->page > 1 || poll->wants_items || request->is_trial;
  schedule_next_t next = SCHEDULE_NOW;
  char label[300];

  /* The instance disappeared while the request was in progress, and may have
   * reappeared. */
  if (!poll->turn.is_member) {
    if (!poll->instance->is_gone)
      poll_schedule(poll);
    return;
  }

  if (result->response->calls > 0)
    schedule_spent(schedule, result->spent, is_more);

  if (!result->put_off) {
    poll_label(poll, label, sizeof(label));
    request_complain(account,
                     poll->wants_items ? &poll->items_trouble : &poll->trouble,
                     label, result);
    next = poll_take(poll, result);
  }
  schedule_done(schedule, &poll->turn, next, account->active_interval,
                account->idle_interval);
}

/* ---- requests ------------------------------------------------------------ */

static void poll_begin(poll_t *poll) {
  struct ais_resource *resource = &poll->request.resource;

  poll->request.done = poll_done;
  poll_resource(poll,
                poll->job != NULL   ? AIS_JOB
                : poll->wants_items ? AIS_STATS
                                    : AIS_LIST,
                resource);
  if (resource->kind == AIS_LIST) {
    resource->page = poll->page > 1 ? (int)poll->page : AIS_PAGE_NONE;
    resource->per_page = HISTORY_PER_PAGE;
  }
  request_send(&poll->request);
}

/* Sends the requests that are due. A poll whose account must not send requests
 * during an outage keeps its interval. Returns the number of ms until more may
 * be due, if nothing else happens; AIS_NEVER: something else must happen
 * first. */
static int64_t poll_due(account_t *payer) {
  schedule_t *schedule = &payer->schedule;
  int64_t now = ais_clock();

  schedule_advance(schedule, now, budget_rate(&payer->budget, now));

  for (;;) {
    int64_t wait = schedule_wait(schedule), pause;
    schedule_entry_t *turn;
    poll_t *poll;

    if (wait == 0)
      wait = request_wait(payer, BUDGET_ALL);
    if (wait != 0)
      return wait;

    turn = schedule_take(schedule);
    poll = (poll_t *)((char *)turn - offsetof(poll_t, turn));
    pause = request_pause(poll->request.account);
    if (pause > 0)
      schedule_hold(schedule, turn, pause);
    else
      poll_begin(poll);
  }
}

static void log_news(account_t *payer) {
  schedule_t *schedule = &payer->schedule;

  if (!schedule_news(schedule, ais_clock(), payer->budget.period))
    return;
  if (schedule->scarce)
    account_log(payer, LOG_WARNING,
                ": %.3g lookups per minute are due, but the budget allows only "
                "%.3g, so all intervals are stretched and values get older. "
                "Use a longer ActiveInterval or IdleInterval, fewer instances, "
                "or a larger Budget.",
                schedule->wanted * 60000.0, schedule->pace * 60000.0);
  else
    account_log(
        payer, LOG_INFO,
        ": The budget is sufficient again for all lookups that are due.");
}

/* Updates the values for the read callbacks, which may also have added or sent
 * notices. */
static void publish(account_t *account) {
  budget_t *budget = &account->payer->budget;
  int64_t now = ais_clock();

  pthread_mutex_lock(&account->lock);
  if (account->notices.changed)
    state_touch(/* is_urgent = */ true);
  account->values.budget_left = budget_left(budget, BUDGET_ALL, now);
  account->values.budget_percent = budget_percent(budget, now);
  account->values.stretch = account->payer->schedule.stretch;
  pthread_mutex_unlock(&account->lock);
}

/* Sends all requests that are due. Returns the number of ms, at most interval,
 * until more may be. */
static int64_t poll_all(int64_t interval) {
  int64_t limit = interval;

  for (account_t *a = poller_accounts; a != NULL; a = a->next) {
    request_complain_more(a, interval);
    limit = lists_poll(a, limit);
  }

  for (account_t *a = poller_accounts; a != NULL; a = a->next) {
    if (a->payer == a) {
      limit = ais_earlier(limit, poll_due(a));
      log_news(a);
    }
  }

  for (account_t *a = poller_accounts; a != NULL; a = a->next)
    publish(a);
  return limit;
}

/* ---- the thread ---------------------------------------------------------- */

/* Saves all changes when all values of an interval were reported, and urgent
 * changes at once. */
static int64_t save(int64_t limit) {
  bool all = atomic_exchange(&poller_has_report, false);

  for (account_t *a = poller_accounts; all && a != NULL; a = a->next)
    account_sweep(a);
  return ais_earlier(limit, state_save(poller_accounts, all));
}

/* Loading CA certificates takes tens of milliseconds per file, so do it before
 * the first round. A file that cannot be read now may be readable later. */
static void *poller_main(void __attribute__((unused)) * arg) {
  int64_t interval = (int64_t)CDTIME_T_TO_MS(plugin_get_interval());
  struct ais_error err;

  for (account_t *a = poller_accounts; a != NULL; a = a->next)
    if (a->target.url.tls &&
        ais_client_load_ca(poller_client, a->ca_cert, &err) != 0)
      account_log(a, LOG_ERR, ": CACert: %s", err.text);

  while (!atomic_load(&poller_stops))
    ais_poll_wait(poller_client, save(poll_all(interval)));
  return NULL;
}

static bool way_enter(void *data, uint64_t *ticket) {
  way_t *way = data;

  return budget_enter(way->budget, way->part, ticket, ais_clock());
}

static void way_leave(void *data, uint64_t ticket, bool given_up) {
  budget_leave(((way_t *)data)->budget, ticket, given_up, ais_clock());
}

/* One for each part of the budget. */
static void open_ways(account_t *a) {
  for (int i = 0; i < BUDGET_PARTS; i++) {
    way_t *way = &a->ways[i];

    *way = (way_t){.budget = &a->payer->budget, .part = i, .target = a->target};
    way->gate = (struct ais_gate){way, way_enter, way_leave};
    way->target.gate = &way->gate;
  }
}

static int start_schedules(bool is_test) {
  int64_t now = ais_clock();

  for (account_t *a = poller_accounts; a != NULL; a = a->next) {
    a->client = poller_client;
    a->target.ca_file = a->ca_cert;
    open_ways(a);
    a->room = ROOM_AT_FIRST;
    a->is_test = is_test;
    a->values.stretch = 1.0;
    if (a->payer == a) {
      budget_start(&a->budget, now);
      schedule_init(&a->schedule, now, budget_rate(&a->budget, now));
    }
  }

  for (account_t *a = poller_accounts; a != NULL; a = a->next)
    state_restore_account(a);

  for (account_t *a = poller_accounts; a != NULL; a = a->next) {
    if (lists_start(a) != 0)
      return -1;
    for (poll_t *poll = a->first; poll != NULL; poll = poll->next)
      poll_schedule(poll);
    publish(a);
  }
  return 0;
}

static int give_up(const char *why) {
  ERROR("aisearch plugin: %s", why);
  poller_free();
  return -1;
}

int poller_start(account_t *accounts, bool is_test) {
  const struct ais_client_options options = {
      .max_host_connections = MAX_CONNECTIONS, .max_streams = MAX_STREAMS};
  struct ais_error err;
  int status;

  poller_accounts = accounts;
  if (ais_client_global_init() != 0)
    return give_up("Initializing libcurl failed.");
  poller_client = ais_client_create(/* driver = */ NULL, &options, &err);
  if (poller_client == NULL) {
    ais_client_global_cleanup();
    return give_up(err.text);
  }
  if (start_schedules(is_test) != 0)
    return give_up("Out of memory.");

  atomic_store(&poller_stops, false);
  status = plugin_thread_create(&poller_thread, poller_main, /* arg = */ NULL,
                                "aisearch");
  if (status == 0)
    return 0;
  ais_error_set(&err, "Starting a thread failed: %s", STRERROR(status));
  return give_up(err.text);
}

void poller_wake(void) {
  if (poller_client != NULL)
    ais_poll_wake(poller_client);
}

void poller_reported(void) {
  atomic_store(&poller_has_report, true);
  poller_wake();
}

void poller_stop(void) {
  if (poller_client == NULL)
    return;

  atomic_store(&poller_stops, true);
  poller_wake();
  pthread_join(poller_thread, /* return = */ NULL);
}

/* Must be called when no other thread may call poller_wake() any more. */
void poller_free(void) {
  if (poller_client == NULL)
    return;

  ais_client_destroy(poller_client);
  poller_client = NULL;
  ais_client_global_cleanup();
}
