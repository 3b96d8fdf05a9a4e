/* The calls that a credential may send, and the parts of that budget. */

#include "budget.h"

#include <string.h>

static double min_double(double a, double b) { return a < b ? a : b; }

int budget_limit(budget_t *b, struct ais_budget_limit limit) {
  size_t i = ais_budget_merge(b->limits, b->nlimits, limit);

  if (i == AIS_BUDGET_LIMITS)
    return -1;

  b->nlimits += i == b->nlimits;
  if (b->period < limit.interval)
    b->period = limit.interval;
  return 0;
}

static const uint32_t part_percents[BUDGET_PARTS] = {
    [BUDGET_ALL] = 100, [BUDGET_DISCOVERY] = 50, [BUDGET_FACTS] = 10};

void budget_start(budget_t *b, int64_t now) {
  for (int part = 0; part < BUDGET_PARTS; part++) {
    struct ais_budget_limit limits[AIS_BUDGET_LIMITS];

    for (size_t i = 0; i < b->nlimits; i++)
      limits[i] = ais_budget_part_of(b->limits[i], part_percents[part]);
    ais_budget_configure(&b->parts[part], limits, b->nlimits, b->hold, now);
  }
}

uint32_t budget_left(budget_t *b, budget_part_t part, int64_t now) {
  uint32_t left = ais_budget_left(&b->parts[part], now);
  uint32_t all = ais_budget_left(&b->parts[BUDGET_ALL], now);

  all = all > b->unsent ? all - (uint32_t)b->unsent : 0;
  return left < all ? left : all;
}

void budget_begin(budget_t *b) { b->unsent++; }

/* If all calls that are left belong to lookups that have started, the wait
 * depends on when these send their requests. */
int64_t budget_wait(budget_t *b, budget_part_t part, int64_t now) {
  int64_t wait =
      ais_budget_part_wait(&b->parts[part], &b->parts[BUDGET_ALL], now);

  if (budget_left(b, part, now) > 0)
    return 0;
  return wait > 0 ? wait : AIS_NEVER;
}

double budget_rate(budget_t *b, int64_t now) {
  double rate = (double)UINT32_MAX;

  /* A limit of that many calls counts them in groups, each of which expires
   * together with its newest call. */
  for (size_t i = 0; i < b->nlimits; i++) {
    double calls = (double)b->limits[i].calls;

    if (calls >= AIS_BUDGET_GROUPS)
      calls -= calls / (AIS_BUDGET_GROUPS - 1);
    rate = min_double(rate, calls / (double)b->limits[i].interval);
  }

  /* What the API says is left must last until its reset, which allows another
   * call at once: hence one more. */
  for (uint32_t i = 0; i < b->parts[BUDGET_ALL].nobserved; i++) {
    const struct ais_limit *limit = &b->parts[BUDGET_ALL].observed[i];

    if (ais_limit_is_known(limit, now))
      rate = min_double(rate, ((double)limit->left + 1.0) /
                                  (double)(limit->reset_at - now));
  }
  return rate;
}

double budget_percent(budget_t *b, int64_t now) {
  return 100.0 * ais_budget_share(&b->parts[BUDGET_ALL], /* part = */ NULL,
                                  /* shortest = */ 0, now);
}

/* In a part, all calls that were sent count, including HITs. Because lookups
 * can be retried, more lookups may have started than there are calls left; the
 * last ones are refused here. */
bool budget_enter(budget_t *b, budget_part_t part, uint64_t *ticket,
                  int64_t now) {
  struct ais_budget *all = &b->parts[BUDGET_ALL];

  *ticket = part == BUDGET_ALL
                ? ais_budget_take(all, now)
                : ais_budget_part_take(&b->parts[part], all, now);
  if (*ticket == AIS_TICKET_NONE)
    return false;

  b->unsent -= b->unsent > 0;
  return true;
}

/* The cost of a response is only known when it is settled, a moment later. An
 * aborted call keeps its place until its hold time is over, since the API may
 * count it at any time until then. */
void budget_leave(budget_t *b, uint64_t ticket, bool given_up, int64_t now) {
  ais_budget_end(&b->parts[BUDGET_ALL], b->over, now);
  b->over = given_up ? AIS_TICKET_NONE : ticket;
}

int64_t budget_settle(budget_t *b, const struct ais_response *response,
                      unsigned *spent, int64_t now) {
  struct ais_budget *all = &b->parts[BUDGET_ALL];
  bool hit = strcmp(response->cache, "HIT") == 0;
  int64_t closed;

  *spent = response->calls - (hit ? 1 : 0);
  b->unsent -= response->calls == 0 && b->unsent > 0;
  if (hit)
    ais_budget_cancel(all, b->over, now);
  else
    ais_budget_end(all, b->over, now);
  b->over = AIS_TICKET_NONE;

  closed = ais_limits_heed(all, &response->limits, response->status,
                           response->retry_after, now);
  for (int part = BUDGET_DISCOVERY; part < BUDGET_PARTS; part++)
    ais_limits_heed_part(&b->parts[part], all, part_percents[part],
                         &response->limits, now);
  return closed;
}
