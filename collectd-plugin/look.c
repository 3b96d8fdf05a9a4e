#include "breaker.h"
#include "witness.h"

#include "state.h"

#include "ais_clock.h"

/* The first request of all is alone for so long, or until it is answered: what
 * the API leaves to be spent, and whether it accepts the credential, is not
 * known before. */
#define FIRST_ALONE 1000 /* ms */

/* One look: a request for what is looked up, and what is made of the answer. */

int64_t aisearch_epoch(void) { return (int64_t)CDTIME_T_TO_MS(cdtime()); }

int64_t aisearch_clock(void) { return ais_clock(); }

/* A fault may be over soon; that the API says no seldom is. */
static schedule_next_t after_failure(const outcome_t *outcome) {
  return aisearch_outcome_is_no(outcome) ? SCHEDULE_LATER : SCHEDULE_SOON;
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

/* Of what is more than its jobs, the instance's items come last. */
static schedule_next_t ask_for_items(lookup_t *lookup, schedule_next_t next,
                                     bool has_ended) {
  const account_t *account = lookup->account;

  if (!account->report_items || lookup->job != NULL ||
      lookup->generation == AIS_AUTORAG || next == SCHEDULE_NOW ||
      !aisearch_items_due(&lookup->items, has_ended, aisearch_clock()))
    return next;

  lookup->wants_items = true;
  lookup->then = next;
  return SCHEDULE_NOW;
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
  return ask_for_items(lookup, after_success(lookup, &news), news.nended > 0);
}

static schedule_next_t take_items(lookup_t *lookup, const outcome_t *outcome) {
  const account_t *account = lookup->account;
  double idle =
      (double)account->pacing.idle_interval * account->payer->schedule.stretch;

  aisearch_items_take(&lookup->items,
                      outcome->good ? &outcome->answer.stats : NULL,
                      !outcome->good && !aisearch_outcome_is_no(outcome),
                      (int64_t)idle, aisearch_clock());
  lookup->wants_items = false;
  return lookup->then;
}

/* Takes over what was answered. Returns when to look again. */
static schedule_next_t take_over(lookup_t *lookup, const outcome_t *outcome,
                                 const struct ais_response *response) {
  account_t *account = lookup->account;
  schedule_next_t next;

  pthread_mutex_lock(&account->lock);
  aisearch_outcome_count(account, outcome, response);
  if (lookup->wants_items) {
    next = take_items(lookup, outcome);
  } else if (outcome->good) {
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
  trouble_t *trouble =
      lookup->wants_items ? &lookup->items_trouble : &lookup->trouble;
  char label[300];

  if (outcome->good && trouble->kind == 0)
    return;

  aisearch_lookup_label(lookup, label, sizeof(label));
  aisearch_outcome_complain(lookup->account, trouble, label, outcome);
}

/* To ask once more for the same is no failure yet, whatever comes of it. */
static bool goes_on(lookup_t *lookup, const struct ais_resource *resource,
                    const outcome_t *outcome,
                    const struct ais_response *response) {
  account_t *account = lookup->account;

  if (!aisearch_form_again(account, &lookup->form, resource, &outcome->verdict))
    return false;

  pthread_mutex_lock(&account->lock);
  account->requests += response->calls;
  pthread_mutex_unlock(&account->lock);
  return true;
}

/* The look is over; returns when to look again. */
static schedule_next_t conclude(lookup_t *lookup,
                                const struct ais_response *response,
                                int64_t closed) {
  struct ais_resource resource;
  char path[AIS_RESOURCE_PATH_MAX];
  outcome_t outcome;
  schedule_next_t next;

  /* Others were faster, by a repeat: it keeps its turn. Where a repeat of its
   * own is refused, a call before that has failed. */
  if (response->fault == AIS_FAULT_BUDGET && response->calls == 0) {
    aisearch_breaker_cancel(lookup->account, &lookup->pass);
    return SCHEDULE_NOW;
  }

  aisearch_lookup_path(lookup, &resource, path);
  outcome = aisearch_outcome(&resource, response);
  outcome.closed = closed;
  aisearch_breaker_settle(lookup->account, &lookup->pass, &outcome, response);
  aisearch_witness_hear(lookup->account, &lookup->choice, path, response,
                        &outcome);
  if (goes_on(lookup, &resource, &outcome, response))
    return SCHEDULE_NOW;

  if (!aisearch_credential_settle(&lookup->account->credential, &lookup->choice,
                                  outcome.fault, outcome.why.text))
    complain(lookup, &outcome);
  next = take_over(lookup, &outcome, response);
  ais_answer_free(&outcome.answer);
  return next;
}

void aisearch_look_begins(account_t *payer) {
  if (payer->began_at == 0)
    payer->began_at = aisearch_clock();
  payer->under_way++;
  aisearch_budget_begin(&payer->budget);
}

/* How long until it is taken for granted that the API will not answer. */
static int64_t first_wait(const account_t *payer) {
  int64_t until = payer->began_at + FIRST_ALONE;
  int64_t now = aisearch_clock();

  return payer->is_known || payer->began_at == 0 || now >= until ? 0
                                                                 : until - now;
}

bool aisearch_look_has_room(const account_t *payer) {
  size_t most = payer->pacing.max_streams;

  if (payer->is_single && most > MAX_CONNECTIONS)
    most = MAX_CONNECTIONS;
  if (first_wait(payer) > 0)
    most = 1;
  return payer->under_way < most;
}

int64_t aisearch_look_wait(const account_t *payer) {
  int64_t wait = first_wait(payer);

  return wait > 0 ? wait : -1;
}

void aisearch_look_ends(account_t *payer, const struct ais_response *response) {
  payer->under_way--;
  if (response->status == 0)
    return;
  payer->is_known = true;
  payer->is_single = !response->multiplexed;
}

static void done(void *data, const struct ais_response *response) {
  lookup_t *lookup = data;
  bool is_more =
      lookup->page > 1 || lookup->wants_items || lookup->form.is_trial;
  account_t *account = lookup->account;
  account_t *payer = account->payer;
  budget_outcome_t calls =
      aisearch_budget_settle(&payer->budget, response, aisearch_clock());

  lookup->under_way = false;
  aisearch_look_ends(payer, response);
  aisearch_state_touch();
  if (lookup->gone) {
    aisearch_breaker_cancel(account, &lookup->pass);
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
  struct ais_response response = ais_response_none(fault, message);

  done(lookup, &response);
}

void aisearch_look(lookup_t *lookup) {
  account_t *account = lookup->account;
  struct ais_resource resource;
  char path[AIS_RESOURCE_PATH_MAX];
  struct ais_fetch *fetch;
  enum ais_fault fault;

  lookup->under_way = true;
  aisearch_look_begins(account->payer);

  if (!aisearch_breaker_enter(account, &lookup->pass, &fault)) {
    fail(lookup, fault, "the API was not asked, since nobody is there");
    return;
  }

  if (!aisearch_credential_choose(&account->credential, &lookup->choice)) {
    aisearch_breaker_cancel(account, &lookup->pass);
    fail(lookup, AIS_FAULT_CREDENTIAL, "the API refuses the credential");
    return;
  }

  aisearch_form_choose(account, &lookup->form);
  aisearch_lookup_path(lookup, &resource, path);
  fetch = ais_client_fetch(account->client, &account->target,
                           account->credential.secret, path, done, lookup);
  if (fetch == NULL)
    fail(lookup, AIS_FAULT_INTERNAL, "out of memory");
  else
    aisearch_breaker_limit(&lookup->pass, fetch);
}
