#include "aisearch.h"

#include <stdatomic.h>

#include "ais_poll.h"

/* Connections to one host where it does not speak HTTP/2. */
#define MAX_CONNECTIONS 32

static struct ais_poll *poll_loop;
static account_t *fetch_accounts;
static pthread_t fetch_thread;
static bool fetch_thread_running;
static atomic_bool fetch_thread_stop;

static int64_t now_ms(void) { return (int64_t)CDTIME_T_TO_MS(cdtime()); }

/* That of the budget: nobody sets it. */
static int64_t clock_ms(void) {
  struct timespec ts;

  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* What came of one look-up. */
typedef struct {
  bool good;
  enum ais_fault fault; /* NONE also where the API answered, but with a no */
  int status;
  int64_t closed; /* for how long no more calls are wanted, ms */
  struct ais_error why;
  struct ais_answer answer; /* only where good */
} outcome_t;

/* The API's own words end up in a log, where a line is a line. */
static void make_printable(char *text) {
  for (; *text != '\0'; text++)
    if (iscntrl((unsigned char)*text))
      *text = ' ';
}

static void judge_body(outcome_t *outcome, const lookup_t *lookup,
                       const struct ais_response *response) {
  struct ais_answer *answer = &outcome->answer;

  if (ais_answer_parse(answer, lookup->resource.kind, response->body,
                       &outcome->why) != 0) {
    outcome->fault = AIS_FAULT_BODY;
    return;
  }

  if (answer->success) {
    outcome->good = true;
    return;
  }

  ais_error_set(&outcome->why, "%.200s (code %d)",
                answer->error_message != NULL ? answer->error_message
                                              : "no reason given",
                answer->error_code);
  ais_answer_free(answer);
}

static outcome_t judge(const lookup_t *lookup,
                       const struct ais_response *response) {
  outcome_t outcome = {.fault = response->fault, .status = response->status};

  if (outcome.fault != AIS_FAULT_NONE)
    ais_error_set(&outcome.why, "%s", response->message);
  else
    outcome.fault = ais_policy_judge(&lookup->resource, response->status,
                                     response->body, now_ms(), &outcome.why)
                        .fault;

  if (outcome.fault == AIS_FAULT_NONE)
    judge_body(&outcome, lookup, response);

  make_printable(outcome.why.text);
  return outcome;
}

static void account_for(account_t *account, const outcome_t *outcome,
                        const struct ais_response *response) {
  account->requests += response->calls;
  account->errors[outcome->fault]++;

  if (response->status != 0) {
    account->response_time += (double)response->elapsed / 1000.0;
    account->responses++;
  }
}

/* Logs once per change: of the fault, or of the status that says no. */
static void complain(lookup_t *lookup, const outcome_t *outcome) {
  char what[32];
  char closed[64] = "";
  int trouble;

  if (outcome->good) {
    lookup->trouble = 0;
    c_release(LOG_INFO, &lookup->complaint,
              "aisearch plugin: %s: can be read again.", lookup->label);
    return;
  }

  /* A repeat that the budget refused says nothing new. */
  if (outcome->fault == AIS_FAULT_BUDGET && lookup->trouble != 0)
    return;

  if (outcome->fault != AIS_FAULT_NONE) {
    trouble = (int)outcome->fault;
    sstrncpy(what, ais_fault_name(outcome->fault), sizeof(what));
  } else {
    trouble = outcome->status; /* 200 and above, no fault is */
    ssnprintf(what, sizeof(what), "the API answers %d", outcome->status);
  }

  if (trouble != lookup->trouble)
    C_COMPLAIN_INIT(&lookup->complaint);
  lookup->trouble = trouble;

  if (outcome->closed > 0)
    ssnprintf(closed, sizeof(closed), "; no calls for the next %.0f seconds",
              (double)outcome->closed / 1000.0);

  c_complain_once(LOG_ERR, &lookup->complaint,
                  "aisearch plugin: %s: cannot be read: %s: %s%s",
                  lookup->label, what, outcome->why.text, closed);
}

/* Until its turn comes. */
static void put_off(lookup_t *lookup) {
  pthread_mutex_lock(&lookup->account->lock);
  aisearch_reading_wait(&lookup->reading, now_ms());
  pthread_mutex_unlock(&lookup->account->lock);
}

static void fetch_done(void *data, const struct ais_response *response) {
  lookup_t *lookup = data;
  account_t *account = lookup->account;
  int64_t closed = aisearch_budget_settle(&account->payer->budget, response,
                                          clock_ms(), now_ms());
  outcome_t outcome;

  lookup->fetch = NULL;

  /* Others were faster, by a repeat. Where one of its own is refused, a call
   * before that has failed. */
  if (response->fault == AIS_FAULT_BUDGET && response->calls == 0) {
    put_off(lookup);
    return;
  }

  outcome = judge(lookup, response);
  outcome.closed = closed;

  pthread_mutex_lock(&account->lock);
  account_for(account, &outcome, response);
  if (outcome.good)
    aisearch_reading_update(&lookup->reading, lookup->resource.kind,
                            &outcome.answer, now_ms(),
                            response->age > 0 ? response->age : 0);
  else
    aisearch_reading_fail(&lookup->reading);
  pthread_mutex_unlock(&account->lock);

  if (!aisearch_credential_settle(&account->credential, &lookup->choice,
                                  outcome.fault, outcome.why.text))
    complain(lookup, &outcome);
  ais_answer_free(&outcome.answer);
}

/* For a look-up that no request was sent for. */
static void fail_fetch(lookup_t *lookup, enum ais_fault fault,
                       const char *message) {
  fetch_done(lookup, &(struct ais_response){.fault = fault,
                                            .retry_after = -1,
                                            .ratelimit_remaining = -1,
                                            .ratelimit_reset = -1,
                                            .age = -1,
                                            .message = message});
}

static void start_fetch(lookup_t *lookup) {
  account_t *account = lookup->account;

  if (!aisearch_credential_choose(&account->credential, &lookup->choice)) {
    fail_fetch(lookup, AIS_FAULT_CREDENTIAL, "the API refuses the credential");
    return;
  }

  lookup->fetch = ais_client_fetch(account->client, &account->target,
                                   account->credential.secret, lookup->path,
                                   fetch_done, lookup);
  if (lookup->fetch == NULL)
    fail_fetch(lookup, AIS_FAULT_INTERNAL, "out of memory");
}

static bool is_payer(const account_t *account) {
  return account->payer == account;
}

/* A fetch that is still under way is left to run. */
static void take_turns(account_t *payer) {
  budget_t *budget = &payer->budget;

  while (aisearch_budget_ready(budget, clock_ms())) {
    lookup_t *lookup = payer->last_turn->next_turn;

    payer->last_turn = lookup;
    if (lookup->fetch != NULL) {
      aisearch_budget_skip(budget);
    } else {
      aisearch_budget_begin(budget);
      start_fetch(lookup);
    }
  }
}

static void tell_news(account_t *payer, budget_news_t news) {
  budget_t *budget = &payer->budget;

  if (news == BUDGET_SCARCE)
    WARNING("aisearch plugin: Account \"%s\": Each round needs %zu calls, but "
            "the budget allows %.3g: the look-ups take turns, and the answers "
            "get older. Use a longer Interval, fewer instances, or a greater "
            "Budget.",
            payer->name, budget->lookups,
            aisearch_budget_allows(budget, clock_ms()));
  else if (news == BUDGET_AMPLE)
    INFO("aisearch plugin: Account \"%s\": The budget allows all calls of a "
         "round again.",
         payer->name);
}

static void start_round(account_t *payer) {
  lookup_t *lookup = payer->last_turn;

  tell_news(payer, aisearch_budget_round(&payer->budget, clock_ms()));

  for (size_t i = 0; i < payer->budget.lookups; i++) {
    put_off(lookup);
    lookup = lookup->next_turn;
  }
  take_turns(payer);
}

static void start_rounds(void) {
  for (account_t *a = fetch_accounts; a != NULL; a = a->next)
    if (is_payer(a))
      start_round(a);
}

/* Starts what has to wait no longer. Returns how long, in ms and at most limit,
 * until there may be more. */
static int64_t continue_rounds(int64_t limit) {
  for (account_t *a = fetch_accounts; a != NULL; a = a->next) {
    int64_t wait;

    if (!is_payer(a))
      continue;

    take_turns(a);
    wait = aisearch_budget_wait(&a->budget, clock_ms());
    if (wait != -1 && wait < limit)
      limit = wait;
  }

  return limit;
}

/* Tens of milliseconds for each client, better spent before the first round
 * than in it. A fault shows again, and in the log, with the first fetch. */
static void load_certificates(void) {
  for (account_t *a = fetch_accounts; a != NULL; a = a->next)
    if (a->target.url.tls)
      (void)ais_client_load_ca(a->client, NULL);
}

/* How long before a report its round begins: every look-up is then over, one
 * way or the other, and no answer is older than it need be. Timeouts are at
 * most nine tenths of the interval; see config.c. */
static cdtime_t head_start(cdtime_t interval) {
  int64_t longest = 0;

  for (account_t *a = fetch_accounts; a != NULL; a = a->next)
    if (a->target.timeout > longest)
      longest = a->target.timeout;

  return MS_TO_CDTIME_T(longest) + interval / 20;
}

/* The first round begins at once, as collectd's first read does; the second one
 * is that of the third read. */
static void *fetch_main(void __attribute__((unused)) * arg) {
  cdtime_t interval = plugin_get_interval();
  cdtime_t next_round = cdtime() + 2 * interval - head_start(interval);

  load_certificates();
  start_rounds();

  while (!atomic_load(&fetch_thread_stop)) {
    cdtime_t now = cdtime();

    if (now >= next_round) {
      start_rounds();
      next_round += interval;
    }

    /* Late, or somebody has set the clock. */
    if (next_round <= now || next_round > now + 2 * interval)
      next_round = now + interval;

    int64_t wait = (int64_t)CDTIME_T_TO_MS(next_round - now) + 1;
    ais_poll_wait(poll_loop, continue_rounds(wait));
  }

  return NULL;
}

static bool enter_gate(void *budget, uint64_t *ticket) {
  return aisearch_budget_enter(budget, ticket, clock_ms());
}

static void leave_gate(void *budget, uint64_t ticket, bool given_up) {
  aisearch_budget_leave(budget, ticket, given_up, clock_ms());
}

/* Into the ring, behind all others. */
static void enlist(account_t *payer, lookup_t *lookup) {
  lookup_t *last = payer->last_turn;

  lookup->next_turn = (last != NULL) ? last->next_turn : lookup;
  if (last != NULL)
    last->next_turn = lookup;

  payer->last_turn = lookup;
  payer->budget.lookups++;
}

static void start_budgets(void) {
  int64_t interval = (int64_t)CDTIME_T_TO_MS(plugin_get_interval());

  for (account_t *a = fetch_accounts; a != NULL; a = a->next) {
    a->gate = (struct ais_gate){
        .data = &a->payer->budget, .enter = enter_gate, .leave = leave_gate};
    a->target.gate = &a->gate;

    for (lookup_t *l = a->lookups; l != NULL; l = l->next)
      enlist(a->payer, l);
  }

  for (account_t *a = fetch_accounts; a != NULL; a = a->next)
    if (is_payer(a))
      aisearch_budget_start(&a->budget, interval, clock_ms());
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
                                   .max_host_connections = MAX_CONNECTIONS},
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
  start_budgets();
  if (create_clients(&err) != 0) {
    ERROR("aisearch plugin: %s", err.text);
    destroy_clients();
    return -1;
  }

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

void aisearch_fetch_stop(void) {
  if (!fetch_thread_running)
    return;

  atomic_store(&fetch_thread_stop, true);
  ais_poll_wake(poll_loop);
  pthread_join(fetch_thread, /* return = */ NULL);
  fetch_thread_running = false;

  destroy_clients();
}
