#include "budget.h"

#include <string.h>

static double min_double(double a, double b) { return a < b ? a : b; }

int aisearch_budget_limit(budget_t *b, struct ais_budget_limit limit) {
  for (size_t i = 0; i < b->nlimits; i++) {
    struct ais_budget_limit *other = &b->limits[i];

    if (other->interval == limit.interval) {
      if (limit.calls < other->calls)
        other->calls = limit.calls;
      return 0;
    }
  }

  if (b->nlimits == AIS_BUDGET_LIMITS)
    return -1;

  b->limits[b->nlimits++] = limit;
  return 0;
}

/* In each interval, for ever. What is beyond that is counted in groups, whose
 * calls go on to count for as long as the newest of them. */
static double calls_to_be_had(const struct ais_budget_limit *limit) {
  double calls = (double)limit->calls;

  return limit->calls < AIS_BUDGET_GROUPS
             ? calls
             : calls - calls / (AIS_BUDGET_GROUPS - 1);
}

void aisearch_budget_start(budget_t *b, int64_t interval, int64_t now) {
  ais_budget_configure(&b->calls, b->limits, b->nlimits, b->hold, now);

  for (size_t i = 0; i < b->nlimits; i++) {
    double pace = calls_to_be_had(&b->limits[i]) * (double)interval /
                  (double)b->limits[i].interval;

    b->pace = (i == 0) ? pace : min_double(pace, b->pace);
  }
}

static int64_t longest_interval(const budget_t *b) {
  int64_t longest = 0;

  for (size_t i = 0; i < b->nlimits; i++)
    if (b->limits[i].interval > longest)
      longest = b->limits[i].interval;

  return longest;
}

static bool is_closed(const budget_t *b, int64_t now) {
  return now < b->calls.closed_until;
}

/* Where the pace is sufficient, and only just, a look-up misses its turn once
 * in a while: a call counts for a bit longer than the interval. */
static budget_news_t judge_round(budget_t *b, int64_t now) {
  bool was_scarce = b->scarce;
  bool was_short = b->is_short;

  b->is_short = b->due > 0;
  if (b->is_short && (was_short || b->pace < (double)b->lookups)) {
    b->scarce = true;
    b->scarce_at = now;
    return was_scarce ? BUDGET_NO_NEWS : BUDGET_SCARCE;
  }

  b->scarce = was_scarce && now - b->scarce_at <= longest_interval(b);
  return was_scarce && !b->scarce ? BUDGET_AMPLE : BUDGET_NO_NEWS;
}

/* What was not spent of the pace does not add up: there would be nothing left
 * for long after it was spent. */
budget_news_t aisearch_budget_round(budget_t *b, int64_t now) {
  budget_news_t news;

  b->credit = min_double(b->credit, 0.0) + b->pace;
  if (is_closed(b, now)) {
    b->scarce_at = now;
    return BUDGET_NO_NEWS;
  }

  news = judge_round(b, now);
  b->due = b->lookups;
  return news;
}

bool aisearch_budget_ready(budget_t *b, int64_t now) {
  return b->due > 0 && b->credit > 0.0 &&
         ais_budget_left(&b->calls, now) > b->unsent;
}

void aisearch_budget_begin(budget_t *b) {
  b->due--;
  b->credit -= 1.0;
  b->unsent++;
}

void aisearch_budget_skip(budget_t *b) { b->due--; }

int64_t aisearch_budget_wait(budget_t *b, int64_t now) {
  if (b->due == 0 || b->credit <= 0.0)
    return -1;

  /* Where some is left, it is for those that are about to send a request. */
  return ais_budget_left(&b->calls, now) == 0 ? ais_budget_wait(&b->calls, now)
                                              : -1;
}

/* It may be the repeat of another look-up than was counted there: then one more
 * may begin, and is refused here. */
static void count_sent(budget_t *b) {
  if (b->unsent > 0)
    b->unsent--;
}

bool aisearch_budget_enter(budget_t *b, uint64_t *ticket, int64_t now) {
  *ticket = ais_budget_take(&b->calls, now);
  if (*ticket == AIS_TICKET_NONE)
    return false;

  count_sent(b);
  return true;
}

/* Whether an answer has cost anything is known a moment later, when it is
 * settled. A call that was given up ends when it has to: the API may count it
 * at any time until then. */
void aisearch_budget_leave(budget_t *b, uint64_t ticket, bool given_up,
                           int64_t now) {
  ais_budget_end(&b->calls, b->over, now);
  b->over = given_up ? AIS_TICKET_NONE : ticket;
}

static void end_call(budget_t *b, bool hit, int64_t now) {
  if (hit) {
    ais_budget_cancel(&b->calls, b->over, now);
    b->credit += 1.0;
  } else {
    ais_budget_end(&b->calls, b->over, now);
  }
  b->over = AIS_TICKET_NONE;
}

static int64_t asks_for_no_calls(const struct ais_response *response) {
  if (response->status == 429)
    return ais_policy_closed(response->retry_after);
  if (response->status == 503 && response->retry_after > 0)
    return response->retry_after;
  return 0;
}

int64_t aisearch_budget_settle(budget_t *b, const struct ais_response *response,
                               int64_t now, int64_t epoch) {
  int64_t closed = asks_for_no_calls(response);

  if (response->calls == 0)
    count_sent(b);

  end_call(b, strcmp(response->cache, "HIT") == 0, now);

  if (response->ratelimit_remaining >= 0 && response->ratelimit_reset >= 0)
    ais_budget_observe(&b->calls, response->ratelimit_remaining,
                       response->ratelimit_reset - epoch + now, now);
  if (closed > 0) {
    ais_budget_close(&b->calls, now + closed, now);
    b->due = 0; /* until the first round after that */
  }
  return closed;
}

double aisearch_budget_allows(budget_t *b, int64_t now) {
  double left = (double)ais_budget_left(&b->calls, now);

  return min_double(b->pace, left);
}
