#include "outcome.h"

#include "ais_utf8.h"

/* Look-ups that are complained about one by one, in one interval. */
#define COMPLAINTS_MAX 20

static void judge_body(outcome_t *outcome, const struct ais_resource *resource,
                       const struct ais_response *response) {
  struct ais_answer *answer = &outcome->answer;
  size_t entries;

  /* What has more than was asked for is the answer to something else. */
  entries =
      answer->njobs + answer->listing.ninstances + answer->listing.left_out;
  if (resource->per_page > 0 && entries > (size_t)resource->per_page) {
    outcome->fault = AIS_FAULT_BODY;
    ais_error_set(&outcome->why,
                  "the answer has %zu entries, and %d were asked for", entries,
                  resource->per_page);
    return;
  }

  if (answer->success) {
    outcome->good = true;
    return;
  }

  outcome->refusal =
      (refusal_t){.status = response->status, .code = answer->errors[0].code};
  ais_error_set(&outcome->why, "%.200s (code %d)",
                answer->errors[0].message != NULL ? answer->errors[0].message
                                                  : "no reason given",
                answer->errors[0].code);
}

/* What an nginx in between has kept for too long, for want of a new answer,
 * would make an outage look healthy. */
static bool is_stale(const struct ais_response *response) {
  return strcmp(response->cache, "STALE") == 0;
}

outcome_t aisearch_outcome(const struct ais_resource *resource,
                           const struct ais_response *response) {
  outcome_t outcome = {.fault = response->fault, .status = response->status};

  if (outcome.fault != AIS_FAULT_NONE) {
    ais_error_set(&outcome.why, "%s", response->message);
  } else if (is_stale(response)) {
    outcome.fault = AIS_FAULT_SERVER;
    ais_error_set(&outcome.why, "nginx has but a stale answer");
  } else {
    outcome.verdict =
        ais_policy_judge(resource, response->status, response->body,
                         aisearch_epoch(), &outcome.answer, &outcome.why);
    outcome.fault = outcome.verdict.fault;
  }

  if (outcome.fault == AIS_FAULT_NONE || outcome.fault == AIS_FAULT_REFUSED)
    judge_body(&outcome, resource, response);
  if (!outcome.good)
    ais_answer_free(&outcome.answer);
  outcome.verdict.fault = outcome.fault;

  /* The API's own words end up in a log, where a line is a line. */
  ais_utf8_printable(outcome.why.text, strlen(outcome.why.text));
  return outcome;
}

bool aisearch_outcome_is_no(const outcome_t *outcome) {
  return !outcome->good && (outcome->fault == AIS_FAULT_NONE ||
                            outcome->fault == AIS_FAULT_REFUSED);
}

void aisearch_outcome_count(account_t *account, const outcome_t *outcome,
                            const struct ais_response *response) {
  bool is_no = aisearch_outcome_is_no(outcome);

  account->requests += response->calls;
  account->errors[is_no ? AIS_FAULT_REFUSED : outcome->fault]++;
  aisearch_conditions_outcome(&account->conditions, outcome->fault,
                              is_no ? &outcome->refusal : NULL);

  if (response->status != 0) {
    account->response_time += (double)response->elapsed / 1000.0;
    account->responses++;
  }
}

static bool may_name(complaints_t *complaints) {
  if (complaints->named == COMPLAINTS_MAX) {
    complaints->more++;
    return false;
  }
  complaints->named++;
  return true;
}

void aisearch_outcome_tell_more(account_t *account, int64_t interval) {
  complaints_t *complaints = &account->complaints;
  int64_t now = aisearch_clock();

  if (now - complaints->since < interval)
    return;

  if (complaints->more > 0)
    ERROR("aisearch plugin: Account \"%s\": %zu more cannot be read.",
          account->name, complaints->more);
  *complaints = (complaints_t){.since = now};
}

void aisearch_outcome_complain(account_t *account, trouble_t *trouble,
                               const char *label, const outcome_t *outcome) {
  char what[32];
  char closed[64] = "";
  int kind;

  if (outcome->good) {
    trouble->kind = 0;
    c_release(LOG_INFO, &trouble->complaint,
              "aisearch plugin: %s: can be read again.", label);
    return;
  }

  /* A repeat that the budget refused says nothing new. */
  if (outcome->fault == AIS_FAULT_BUDGET && trouble->kind != 0)
    return;

  if (aisearch_outcome_is_no(outcome)) {
    kind = outcome->status; /* 400 and above, no fault is */
    ssnprintf(what, sizeof(what), "the API answers %d", outcome->status);
  } else {
    kind = (int)outcome->fault;
    sstrncpy(what, ais_fault_name(outcome->fault), sizeof(what));
  }

  if (kind == trouble->kind)
    return;
  trouble->kind = kind;
  C_COMPLAIN_INIT(&trouble->complaint);
  if (!may_name(&account->complaints))
    return;

  if (outcome->closed > 0)
    ssnprintf(closed, sizeof(closed), "; no calls for the next %.0f seconds",
              (double)outcome->closed / 1000.0);

  c_complain_once(LOG_ERR, &trouble->complaint,
                  "aisearch plugin: %s: cannot be read: %s: %s%s", label, what,
                  outcome->why.text, closed);
}
