#include "aisearch.h"

#include <time.h>

/* One look: a request for what is looked up, and what is made of the answer. */

int64_t aisearch_epoch(void) { return (int64_t)CDTIME_T_TO_MS(cdtime()); }

int64_t aisearch_clock(void) {
  struct timespec ts;

  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* What came of one. */
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

static void judge_body(outcome_t *outcome, enum ais_kind kind,
                       const struct ais_response *response) {
  struct ais_answer *answer = &outcome->answer;

  if (ais_answer_parse(answer, kind, response->body, &outcome->why) != 0) {
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

/* What an nginx in between has kept for too long, for want of a new answer,
 * would make an outage look healthy. */
static bool is_stale(const struct ais_response *response) {
  return strcmp(response->cache, "STALE") == 0;
}

static outcome_t judge(const lookup_t *lookup,
                       const struct ais_response *response) {
  outcome_t outcome = {.fault = response->fault, .status = response->status};
  struct ais_resource resource;
  char path[AIS_RESOURCE_PATH_MAX];

  aisearch_lookup_path(lookup, &resource, path);
  if (outcome.fault != AIS_FAULT_NONE) {
    ais_error_set(&outcome.why, "%s", response->message);
  } else if (is_stale(response)) {
    outcome.fault = AIS_FAULT_SERVER;
    ais_error_set(&outcome.why, "nginx has but a stale answer");
  } else {
    outcome.fault =
        ais_policy_judge(&resource, response->status, response->body,
                         aisearch_epoch(), &outcome.why)
            .fault;
  }

  if (outcome.fault == AIS_FAULT_NONE)
    judge_body(&outcome, resource.kind, response);

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
  char label[288];
  char what[32];
  char closed[64] = "";
  int trouble;

  if (outcome->good && lookup->trouble == 0)
    return;

  aisearch_lookup_label(lookup, label, sizeof(label));
  if (outcome->good) {
    lookup->trouble = 0;
    c_release(LOG_INFO, &lookup->complaint,
              "aisearch plugin: %s: can be read again.", label);
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
                  "aisearch plugin: %s: cannot be read: %s: %s%s", label, what,
                  outcome->why.text, closed);
}

/* A fault may be over soon; that the API says no seldom is. */
static schedule_next_t after_failure(const outcome_t *outcome) {
  return outcome->fault == AIS_FAULT_NONE ? SCHEDULE_LATER : SCHEDULE_SOON;
}

static schedule_next_t after_success(const lookup_t *lookup, bool changed) {
  bool active = aisearch_reading_active(&lookup->reading);

  if (lookup->job != NULL && !active)
    return SCHEDULE_NEVER;
  return active || changed ? SCHEDULE_SOON : SCHEDULE_LATER;
}

/* Takes over what was answered. Returns when to look again. */
static schedule_next_t take_over(lookup_t *lookup, const outcome_t *outcome,
                                 const struct ais_response *response) {
  account_t *account = lookup->account;
  schedule_next_t next;

  pthread_mutex_lock(&account->lock);
  account_for(account, outcome, response);
  if (outcome->good) {
    bool changed = aisearch_reading_update(
        &lookup->reading, lookup->job != NULL ? AIS_JOB : AIS_LIST,
        &outcome->answer, aisearch_epoch(),
        response->age > 0 ? response->age : 0);

    next = after_success(lookup, changed);
  } else {
    aisearch_reading_fail(&lookup->reading);
    next = after_failure(outcome);
  }
  pthread_mutex_unlock(&account->lock);

  return next;
}

/* The look is over; returns when to look again. */
static schedule_next_t conclude(lookup_t *lookup,
                                const struct ais_response *response,
                                int64_t closed) {
  outcome_t outcome;
  schedule_next_t next;

  /* Others were faster, by a repeat: it keeps its turn. Where a repeat of its
   * own is refused, a call before that has failed. */
  if (response->fault == AIS_FAULT_BUDGET && response->calls == 0)
    return SCHEDULE_NOW;

  outcome = judge(lookup, response);
  outcome.closed = closed;
  next = take_over(lookup, &outcome, response);
  if (!aisearch_credential_settle(&lookup->account->credential, &lookup->choice,
                                  outcome.fault, outcome.why.text))
    complain(lookup, &outcome);
  ais_answer_free(&outcome.answer);
  return next;
}

static void done(void *data, const struct ais_response *response) {
  lookup_t *lookup = data;
  account_t *account = lookup->account;
  account_t *payer = account->payer;
  budget_outcome_t calls = aisearch_budget_settle(
      &payer->budget, response, aisearch_clock(), aisearch_epoch());

  lookup->under_way = false;
  payer->under_way--;
  if (lookup->gone) {
    aisearch_lookup_free(lookup);
    return;
  }

  if (response->calls > 0)
    aisearch_schedule_spent(&payer->schedule, calls.spent,
                            /* is_more = */ false);
  aisearch_schedule_done(
      &payer->schedule, &lookup->turn, conclude(lookup, response, calls.closed),
      account->pacing.active_interval, account->pacing.idle_interval);
}

/* The end of one that no request was sent for. */
static void fail(lookup_t *lookup, enum ais_fault fault, const char *message) {
  done(lookup, &(struct ais_response){.fault = fault,
                                      .retry_after = -1,
                                      .ratelimit_remaining = -1,
                                      .ratelimit_reset = -1,
                                      .age = -1,
                                      .message = message});
}

void aisearch_look(lookup_t *lookup) {
  account_t *account = lookup->account;
  struct ais_resource resource;
  char path[AIS_RESOURCE_PATH_MAX];

  lookup->under_way = true;
  account->payer->under_way++;
  aisearch_budget_begin(&account->payer->budget);

  if (!aisearch_credential_choose(&account->credential, &lookup->choice)) {
    fail(lookup, AIS_FAULT_CREDENTIAL, "the API refuses the credential");
    return;
  }

  aisearch_lookup_path(lookup, &resource, path);
  if (ais_client_fetch(account->client, &account->target,
                       account->credential.secret, path, done, lookup) == NULL)
    fail(lookup, AIS_FAULT_INTERNAL, "out of memory");
}
