#include "witness.h"

#include "ais_clock.h"

#include "breaker.h"

/* Of whatever kind it was: all that counts is whether it is refused. */
static outcome_t judge(const struct ais_response *response) {
  struct ais_resource resource = {.kind = AIS_LIST};

  return aisearch_outcome(&resource, response);
}

static void done(void *data, const struct ais_response *response) {
  account_t *account = data;
  credential_t *credential = &account->credential;
  outcome_t outcome = judge(response);
  bool good = ais_witness_is_good(response);

  (void)aisearch_budget_settle(&account->payer->budget, response, ais_clock());
  aisearch_look_ends(account->payer, response);
  aisearch_breaker_settle(account, &account->witness_pass, &outcome, response);

  pthread_mutex_lock(&account->lock);
  account->requests += response->calls;
  pthread_mutex_unlock(&account->lock);

  ais_witness_told(&credential->witness, good, ais_clock());
  (void)aisearch_credential_settle(credential, &account->witness_choice,
                                   good ? AIS_FAULT_NONE : outcome.fault,
                                   outcome.why.text);
  ais_answer_free(&outcome.answer);
}

static void ask(account_t *account) {
  credential_t *credential = &account->credential;
  pass_t *pass = &account->witness_pass;
  struct ais_fetch *fetch;
  enum ais_fault fault;

  if (!aisearch_breaker_enter(account, pass, &fault)) {
    ais_witness_told(&credential->witness, false, ais_clock());
    return;
  }

  aisearch_look_begins(account->payer);
  fetch =
      ais_client_fetch(account->client, &account->target, credential->secret,
                       credential->witness.path, done, account);
  if (fetch == NULL) {
    struct ais_response response =
        ais_response_none(AIS_FAULT_INTERNAL, "out of memory");

    done(account, &response);
  } else {
    aisearch_breaker_limit(pass, fetch);
  }
}

static void make_no(outcome_t *outcome) {
  outcome->fault = AIS_FAULT_REFUSED;
  outcome->verdict.fault = AIS_FAULT_REFUSED;
  outcome->refusal = (refusal_t){.status = outcome->status, .code = 10000};
  ais_error_set(&outcome->why,
                "it is refused, and others are answered: does the credential "
                "have the permission for this?");
}

void aisearch_witness_hear(account_t *account, const struct ais_choice *choice,
                           const char *path,
                           const struct ais_response *response,
                           outcome_t *outcome) {
  credential_t *credential = &account->credential;
  struct ais_witness *witness = &credential->witness;
  struct ais_choice next = *choice;
  int64_t now = ais_clock();
  int64_t asked = now - response->elapsed;
  enum ais_doubt doubt;

  if (credential->secret == NULL)
    return;

  if (outcome->fault == AIS_FAULT_NONE)
    ais_witness_note(witness, choice->version, path, asked);
  if (!outcome->verdict.doubtful)
    return;

  doubt = ais_witness_doubt(witness, &credential->rotation, &next,
                            /* others_too = */ true, path, asked,
                            account->target.timeout + 1000, now);
  if (doubt == AIS_DOUBT_NONE)
    return;

  make_no(outcome);
  if (doubt == AIS_DOUBT_ASK) {
    account->witness_choice = next;
    ask(account);
  }
}
