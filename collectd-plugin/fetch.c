#include "outcome.h"

#include <stdatomic.h>

#include "ais_poll.h"

#include "state.h"

static struct ais_poll *poll_loop;
static account_t *fetch_accounts;
static pthread_t fetch_thread;
static bool fetch_thread_running;
static atomic_bool fetch_thread_stop;
static atomic_bool fetch_reported;

static bool is_payer(const account_t *account) {
  return account->payer == account;
}

static lookup_t *lookup_of(schedule_entry_t *turn) {
  return (lookup_t *)((char *)turn - offsetof(lookup_t, turn));
}

static void look_at_what_is_due(account_t *payer) {
  int64_t now = aisearch_clock();
  schedule_entry_t *turn;

  aisearch_schedule_advance(&payer->schedule, now,
                            aisearch_budget_rate(&payer->budget, now));

  while (aisearch_look_has_room(payer) &&
         aisearch_budget_left(&payer->budget, now) > 0 &&
         (turn = aisearch_schedule_take(&payer->schedule)) != NULL)
    aisearch_look(lookup_of(turn));
}

/* How long until there may be something to begin, if nothing else happens; -1:
 * for ever. */
static int64_t wait_for_next(account_t *payer) {
  int64_t wait = aisearch_schedule_wait(&payer->schedule);

  if (wait != 0)
    return wait;
  return aisearch_look_has_room(payer)
             ? aisearch_budget_wait(&payer->budget, aisearch_clock())
             : aisearch_look_wait(payer);
}

static void tell_news(account_t *payer) {
  const schedule_t *schedule = &payer->schedule;
  int64_t patience = aisearch_budget_period(&payer->budget);

  switch (
      aisearch_schedule_news(&payer->schedule, aisearch_clock(), patience)) {
  case SCHEDULE_SCARCE:
    WARNING("aisearch plugin: Account \"%s\": %.3g look-ups per minute are "
            "wanted, but the budget allows %.3g: all intervals are stretched, "
            "and the answers get older. Use a longer ActiveInterval or "
            "IdleInterval, fewer instances, or a greater Budget.",
            payer->name, schedule->wanted * 60000.0, schedule->pace * 60000.0);
    break;
  case SCHEDULE_AMPLE:
    INFO("aisearch plugin: Account \"%s\": The budget allows all look-ups "
         "that are wanted again.",
         payer->name);
    break;
  case SCHEDULE_NO_NEWS:
    break;
  }
}

/* For the read callbacks. */
static void publish(account_t *account) {
  account_t *payer = account->payer;
  uint32_t left = aisearch_budget_left(&payer->budget, aisearch_clock());
  int64_t now = aisearch_epoch();

  pthread_mutex_lock(&account->lock);
  account->budget_left = left;
  account->budget_stretch = payer->schedule.stretch;
  account->watched_at = now;
  pthread_mutex_unlock(&account->lock);
}

static void publish_all(void) {
  for (account_t *a = fetch_accounts; a != NULL; a = a->next)
    publish(a);
}

static int64_t sooner(int64_t limit, int64_t wait) {
  return wait != -1 && wait < limit ? wait : limit;
}

/* Begins all that is due. Returns how long, in ms and at most an interval,
 * until there may be more. */
static int64_t look_at_all(int64_t interval) {
  int64_t limit = interval;

  for (account_t *a = fetch_accounts; a != NULL; a = a->next) {
    aisearch_outcome_tell_more(a, interval);
    limit = sooner(limit, aisearch_discover(a));
  }

  for (account_t *a = fetch_accounts; a != NULL; a = a->next) {
    if (!is_payer(a))
      continue;

    look_at_what_is_due(a);
    tell_news(a);
    limit = sooner(limit, wait_for_next(a));
  }

  publish_all();
  return limit;
}

/* Tens of milliseconds for each client, better spent before the first round
 * than in it. A fault shows again, and in the log, with the first fetch. */
static void load_certificates(void) {
  for (account_t *a = fetch_accounts; a != NULL; a = a->next)
    if (a->target.url.tls)
      (void)ais_client_load_ca(a->client, NULL);
}

/* After the reports of an interval: nothing is written down that is still to be
 * told. */
static void save_state(void) {
  if (atomic_exchange(&fetch_reported, false) &&
      !aisearch_state_save(fetch_accounts))
    atomic_store(&fetch_reported, true);
}

static void *fetch_main(void __attribute__((unused)) * arg) {
  int64_t interval = (int64_t)CDTIME_T_TO_MS(plugin_get_interval());

  load_certificates();
  while (!atomic_load(&fetch_thread_stop)) {
    ais_poll_wait(poll_loop, look_at_all(interval));
    save_state();
  }

  return NULL;
}

static bool enter_gate(void *budget, uint64_t *ticket) {
  return aisearch_budget_enter(budget, ticket, aisearch_clock());
}

static void leave_gate(void *budget, uint64_t ticket, bool given_up) {
  aisearch_budget_leave(budget, ticket, given_up, aisearch_clock());
}

static bool enter_part_gate(void *data, uint64_t *ticket) {
  account_part_t *part = data;

  return aisearch_budget_part_enter(part->budget, part->part, ticket,
                                    aisearch_clock());
}

static void leave_part_gate(void *data, uint64_t ticket, bool given_up) {
  leave_gate(((account_part_t *)data)->budget, ticket, given_up);
}

static void set_gates(account_t *a) {
  budget_t *budget = &a->payer->budget;

  a->gate = (struct ais_gate){
      .data = budget, .enter = enter_gate, .leave = leave_gate};
  a->target.gate = &a->gate;

  for (int i = 0; i < BUDGET_PARTS; i++) {
    account_part_t *part = &a->parts[i];

    *part = (account_part_t){
        .budget = budget, .part = (budget_part_t)i, .target = a->target};
    part->gate = (struct ais_gate){
        .data = part, .enter = enter_part_gate, .leave = leave_part_gate};
    part->target.gate = &part->gate;
  }
}

/* All at once, or what the budget has no room for one after the other. */
static int schedule_lookups(account_t *account) {
  account_t *payer = account->payer;
  uint32_t left = aisearch_budget_left(&payer->budget, aisearch_clock());

  for (lookup_t *l = account->first; l != NULL; l = l->next)
    if (aisearch_schedule_add(&payer->schedule, &l->turn, l->plugin_instance,
                              left) != 0)
      return -1;
  return 0;
}

static int start_schedules(void) {
  int64_t now = aisearch_clock();

  for (account_t *a = fetch_accounts; a != NULL; a = a->next) {
    set_gates(a);
    a->is_single = !a->target.url.tls;
    if (is_payer(a)) {
      aisearch_budget_start(&a->budget, now);
      aisearch_schedule_init(&a->schedule, now,
                             aisearch_budget_rate(&a->budget, now));
    }
  }

  for (account_t *a = fetch_accounts; a != NULL; a = a->next)
    aisearch_state_restore_budget(a);

  for (account_t *a = fetch_accounts; a != NULL; a = a->next)
    if (schedule_lookups(a) != 0 || aisearch_discover_start(a) != 0)
      return -1;
  return 0;
}

/* So that the look-ups of an account find room on one connection. */
static size_t most_streams(void) {
  size_t most = 0;

  for (account_t *a = fetch_accounts; a != NULL; a = a->next)
    if (a->pacing.max_streams > most)
      most = a->pacing.max_streams;
  return most;
}

static struct ais_client *client_for(account_t *account,
                                     struct ais_error *err) {
  for (account_t *a = fetch_accounts; a != account; a = a->next)
    if (a->ca_cert == account->ca_cert ||
        (a->ca_cert != NULL && account->ca_cert != NULL &&
         strcmp(a->ca_cert, account->ca_cert) == 0))
      return a->client;

  return ais_poll_client(
      poll_loop,
      &(struct ais_client_options){.ca_file = account->ca_cert,
                                   .max_host_connections = MAX_CONNECTIONS,
                                   .max_streams = (unsigned)most_streams()},
      err);
}

static int create_clients(struct ais_error *err) {
  poll_loop = ais_poll_create(err);
  if (poll_loop == NULL)
    return -1;

  for (account_t *a = fetch_accounts; a != NULL; a = a->next) {
    a->client = client_for(a, err);
    if (a->client == NULL)
      return -1;
  }

  return 0;
}

static void destroy_clients(void) {
  ais_poll_destroy(poll_loop);
  poll_loop = NULL;
  ais_client_global_cleanup();
}

int aisearch_fetch_start(account_t *accounts) {
  struct ais_error err = {.text = ""};
  int status;

  if (fetch_thread_running)
    return 0;

  if (ais_client_global_init() != 0) {
    ERROR("aisearch plugin: Initializing libcurl failed.");
    return -1;
  }

  fetch_accounts = accounts;
  if (start_schedules() != 0) {
    ERROR("aisearch plugin: Out of memory.");
    ais_client_global_cleanup();
    return -1;
  }

  if (create_clients(&err) != 0) {
    ERROR("aisearch plugin: %s", err.text);
    destroy_clients();
    return -1;
  }

  publish_all();
  atomic_store(&fetch_thread_stop, false);
  status = plugin_thread_create(&fetch_thread, fetch_main, /* arg = */ NULL,
                                "aisearch");
  if (status != 0) {
    ERROR("aisearch plugin: Starting a thread failed: %s", STRERROR(status));
    destroy_clients();
    return -1;
  }

  fetch_thread_running = true;
  return 0;
}

void aisearch_fetch_reported(void) {
  atomic_store(&fetch_reported, true);
  ais_poll_wake(poll_loop);
}

void aisearch_fetch_stop(void) {
  if (!fetch_thread_running)
    return;

  atomic_store(&fetch_thread_stop, true);
  ais_poll_wake(poll_loop);
  pthread_join(fetch_thread, /* return = */ NULL);
  fetch_thread_running = false;

  destroy_clients();
}
