#include "config_options.h"

#define MAX_CALLS 1000000.0
#define MAX_SECONDS 86400.0

/* The thread may be late to see that a call is over. */
#define SLACK 1000 /* ms */

/* With nginx's 900, one user's 1200 calls in five minutes. */
static const config_budget_t default_budget = {
    .limits = {{300, 300 * 1000}, {100, 1000}},
    .nlimits = 2,
};

static bool is_number(const oconfig_item_t *ci, int i) {
  return ci->values[i].type == OCONFIG_TYPE_NUMBER;
}

static bool is_within(double value, double max) {
  return value >= 1.0 && value <= max;
}

/* Budget CALLS SECONDS */
int config_budget(const account_t *account, config_budget_t *budget,
                  const oconfig_item_t *ci) {
  double calls, seconds;
  int64_t interval;

  if (ci->values_num != 2 || !is_number(ci, 0) || !is_number(ci, 1))
    return config_refuse(account, "Budget takes two numbers, calls and "
                                  "seconds, such as: Budget 300 300.");

  calls = ci->values[0].value.number;
  seconds = ci->values[1].value.number;
  if (!is_within(calls, MAX_CALLS) || calls != (double)(uint32_t)calls ||
      !is_within(seconds, MAX_SECONDS))
    return config_refuse(
        account,
        "Budget %.15g %.15g is out of range. Use a whole number of calls from "
        "1 to %.0f, and 1 to %.0f seconds.",
        calls, seconds, MAX_CALLS, MAX_SECONDS);

  interval = (int64_t)(seconds * 1000.0);
  for (size_t i = 0; i < budget->nlimits; i++)
    if (budget->limits[i].interval == interval)
      return config_refuse(
          account,
          "Two Budget options are for %.15g seconds. Keep one of them.",
          seconds);

  if (budget->nlimits == AIS_BUDGET_LIMITS)
    return config_refuse(account,
                         "There are more than %d Budget options. Keep those "
                         "that matter most.",
                         AIS_BUDGET_LIMITS);

  budget->limits[budget->nlimits++] =
      (struct ais_budget_limit){(uint32_t)calls, interval};
  return 0;
}

/* Behind an nginx in between every account has its own: nginx looks after the
 * credential. */
static account_t *find_payer(account_t *account, account_t *accounts) {
  if (account->credential.secret == NULL)
    return account;

  for (account_t *a = accounts; a != NULL; a = a->next)
    if (a->credential.secret != NULL &&
        ais_credential_equal(a->credential.secret, account->credential.secret))
      return a->payer;

  return account;
}

int config_budget_join(account_t *account, const config_budget_t *settings,
                       account_t *accounts) {
  account_t *payer = find_payer(account, accounts);
  budget_t *budget = &payer->budget;
  int64_t hold = account->target.timeout + SLACK;

  account->payer = payer;
  if (settings->nlimits == 0)
    settings = &default_budget;

  for (size_t i = 0; i < settings->nlimits; i++)
    if (aisearch_budget_limit(budget, settings->limits[i]) != 0)
      return config_refuse(
          account,
          "Its credential is that of Account \"%s\" too, and together they "
          "have Budget options for more than %d different numbers of seconds. "
          "Give both the same ones.",
          payer->name, AIS_BUDGET_LIMITS);

  if (hold > budget->hold)
    budget->hold = hold;
  return 0;
}
