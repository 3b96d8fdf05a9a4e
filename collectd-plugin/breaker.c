#include "breaker.h"

#include "ais_clock.h"

bool aisearch_breaker_enter(account_t *account, pass_t *pass,
                            enum ais_fault *fault) {
  *fault = account->breaker.fault;
  pass->is_held = ais_breaker_enter(&account->breaker, &pass->pass,
                                    account->target.timeout, ais_clock()) == 0;
  return pass->is_held;
}

void aisearch_breaker_limit(const pass_t *pass, struct ais_fetch *fetch) {
  if (pass->pass.quick)
    ais_fetch_limit(fetch, AIS_BREAKER_QUICK);
}

static void tell_opened(const account_t *account, const outcome_t *outcome) {
  ERROR("aisearch plugin: Account \"%s\": %d faults in a row, the last one: "
        "%s: %s. Until it answers again the API is asked by one request at a "
        "time, and the other look-ups fail at once.",
        account->name, AIS_BREAKER_FAULTS,
        ais_fault_name(account->breaker.fault),
        outcome->why.text);
}

static void tell_recovered(const account_t *account) {
  NOTICE("aisearch plugin: Account \"%s\": The API answers again, after %.0f "
         "seconds.",
         account->name,
         (double)(ais_clock() - account->breaker.since) / 1000.0);
}

/* Enough to spread the probes of many. */
static uint32_t draw(void) {
  struct timespec ts;

  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (uint32_t)ts.tv_nsec * 2654435761U;
}

void aisearch_breaker_settle(account_t *account, pass_t *pass,
                             const outcome_t *outcome,
                             const struct ais_response *response) {
  if (!pass->is_held)
    return;

  pass->is_held = false;
  switch (ais_breaker_settle(&account->breaker, &pass->pass, &outcome->verdict,
                             response, draw(), ais_clock())) {
  case AIS_BREAKER_OPENED:
    tell_opened(account, outcome);
    break;
  case AIS_BREAKER_RECOVERED:
    tell_recovered(account);
    break;
  case AIS_BREAKER_NO_NEWS:
    break;
  }
}

void aisearch_breaker_cancel(account_t *account, pass_t *pass) {
  if (pass->is_held)
    ais_breaker_cancel(&account->breaker, &pass->pass);
  pass->is_held = false;
}
