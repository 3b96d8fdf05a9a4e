#include "outcome.h"

#include "state.h"

#include <time.h>

/* One look: a request for what is looked up, and what is made of the answer. */

int64_t aisearch_epoch(void) { return (int64_t)CDTIME_T_TO_MS(cdtime()); }

int64_t aisearch_clock(void) {
  struct timespec ts;

  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* A fault may be over soon; that the API says no seldom is. */
static schedule_next_t after_failure(const outcome_t *outcome) {
  return outcome->fault == AIS_FAULT_NONE ? SCHEDULE_LATER : SCHEDULE_SOON;
}

static schedule_next_t after_success(const lookup_t *lookup,
                                     const history_news_t *news) {
  bool active = aisearch_reading_active(&lookup->reading);

  if (news->more)
    return SCHEDULE_NOW;
  if (lookup->job != NULL && !active)
    return SCHEDULE_NEVER;
  return active || news->active || news->changed ? SCHEDULE_SOON
                                                 : SCHEDULE_LATER;
}

/* Of a list, the first page has the newest jobs; what is on others is for the
 * history alone. */
static schedule_next_t
take_answer(lookup_t *lookup, const struct ais_answer *answer, int64_t age) {
  bool is_job = lookup->job != NULL;
  int64_t now = aisearch_epoch();
  history_news_t news;

  if (lookup->page == 1)
    aisearch_reading_update(&lookup->reading, is_job ? AIS_JOB : AIS_LIST,
                            answer, now, age);
  if (lookup->page == 1 && !is_job && lookup->account->report_jobs)
    aisearch_jobs_update(&lookup->jobs, answer, now - age);

  aisearch_watch_look(lookup->watch, answer, is_job ? 0 : lookup->page,
                      now - age, &news);
  lookup->page = news.more ? lookup->page + 1 : 1;
  return after_success(lookup, &news);
}

/* Takes over what was answered. Returns when to look again. */
static schedule_next_t take_over(lookup_t *lookup, const outcome_t *outcome,
                                 const struct ais_response *response) {
  account_t *account = lookup->account;
  schedule_next_t next;

  pthread_mutex_lock(&account->lock);
  aisearch_outcome_count(account, outcome, response);
  if (outcome->good) {
    next = take_answer(lookup, &outcome->answer,
                       response->age > 0 ? response->age : 0);
  } else {
    aisearch_reading_fail(&lookup->reading);
    lookup->page = 1;
    next = after_failure(outcome);
  }
  pthread_mutex_unlock(&account->lock);

  return next;
}

static void complain(lookup_t *lookup, const outcome_t *outcome) {
  char label[288];

  if (outcome->good && lookup->trouble.kind == 0)
    return;

  aisearch_lookup_label(lookup, label, sizeof(label));
  aisearch_outcome_complain(lookup->account, &lookup->trouble, label, outcome);
}

static outcome_t judge(const lookup_t *lookup,
                       const struct ais_response *response) {
  struct ais_resource resource;
  char path[AIS_RESOURCE_PATH_MAX];

  aisearch_lookup_path(lookup, &resource, path);
  return aisearch_outcome(&resource, response);
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
  bool is_more = lookup->page > 1;
  account_t *account = lookup->account;
  account_t *payer = account->payer;
  budget_outcome_t calls = aisearch_budget_settle(
      &payer->budget, response, aisearch_clock());

  lookup->under_way = false;
  payer->under_way--;
  if (response->status != 0)
    payer->is_single = !response->multiplexed;
  aisearch_state_touch();
  if (lookup->gone) {
    aisearch_lookup_over(lookup);
    return;
  }

  if (response->calls > 0)
    aisearch_schedule_spent(&payer->schedule, calls.spent, is_more);
  aisearch_schedule_done(
      &payer->schedule, &lookup->turn, conclude(lookup, response, calls.closed),
      account->pacing.active_interval, account->pacing.idle_interval);
}

/* The end of one that no request was sent for. */
static void fail(lookup_t *lookup, enum ais_fault fault, const char *message) {
  struct ais_response response = aisearch_outcome_unsent(fault, message);

  done(lookup, &response);
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
