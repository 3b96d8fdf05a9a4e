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

/* What came of one look-up. */
typedef struct {
  bool good;
  enum ais_fault fault; /* NONE also where the API answered, but with a no */
  int status;
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
  int trouble;

  if (outcome->good) {
    lookup->trouble = 0;
    c_release(LOG_INFO, &lookup->complaint,
              "aisearch plugin: %s: can be read again.", lookup->label);
    return;
  }

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

  c_complain_once(LOG_ERR, &lookup->complaint,
                  "aisearch plugin: %s: cannot be read: %s: %s", lookup->label,
                  what, outcome->why.text);
}

static void fetch_done(void *data, const struct ais_response *response) {
  lookup_t *lookup = data;
  account_t *account = lookup->account;
  outcome_t outcome = judge(lookup, response);

  lookup->fetch = NULL;

  pthread_mutex_lock(&account->lock);
  account_for(account, &outcome, response);
  if (outcome.good)
    aisearch_reading_update(&lookup->reading, lookup->resource.kind,
                            &outcome.answer, now_ms(),
                            response->age > 0 ? response->age : 0);
  else
    aisearch_reading_fail(&lookup->reading);
  pthread_mutex_unlock(&account->lock);

  complain(lookup, &outcome);
  ais_answer_free(&outcome.answer);
}

/* A fetch that is still under way is left to run. */
static void start_fetch(lookup_t *lookup) {
  account_t *account = lookup->account;

  if (lookup->fetch != NULL)
    return;

  lookup->fetch =
      ais_client_fetch(account->client, &account->target, account->credential,
                       lookup->path, fetch_done, lookup);
  if (lookup->fetch == NULL)
    fetch_done(lookup, &(struct ais_response){.fault = AIS_FAULT_INTERNAL,
                                              .age = -1,
                                              .message = "out of memory"});
}

static void start_round(void) {
  for (account_t *a = fetch_accounts; a != NULL; a = a->next)
    for (lookup_t *l = a->lookups; l != NULL; l = l->next)
      start_fetch(l);
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
  start_round();

  while (!atomic_load(&fetch_thread_stop)) {
    cdtime_t now = cdtime();

    if (now >= next_round) {
      start_round();
      next_round += interval;
    }

    /* Late, or somebody has set the clock. */
    if (next_round <= now || next_round > now + 2 * interval)
      next_round = now + interval;

    ais_poll_wait(poll_loop, (int64_t)CDTIME_T_TO_MS(next_round - now) + 1);
  }

  return NULL;
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
