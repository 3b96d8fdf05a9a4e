#include "budget_text.h"

#include <stdio.h>

#include "words.h"

/* The longest that a pause, and what is left, hold where an answer says so:
 * what is later was written down by a clock that was wrong. */
#define CLOSED_MAX (INT64_C(24) * 3600 * 1000)
#define LEFT_MAX (INT64_C(3600) * 1000)

static int64_t min_time(int64_t a, int64_t b) { return a < b ? a : b; }

static void print_spent(words_t *w, struct ais_budget *b, int64_t now,
                        int64_t epoch) {
  struct ais_budget_spent spent[AIS_BUDGET_SPENT_MAX];
  size_t n = ais_budget_spent(b, spent, now);

  if (n > 0)
    aisearch_words_begin(w, "spent");
  for (size_t i = 0; i < n; i++) {
    if (i > 0)
      aisearch_words_char(w, ',');
    aisearch_words_number(w, spent[i].calls);
    aisearch_words_char(w, '@');
    aisearch_words_time(w, epoch - spent[i].ago);
  }
}

/* The API's own limits; by which names is not worth remembering. */
static void print_left(words_t *w, const struct ais_budget *b, int64_t now,
                       int64_t epoch) {
  size_t n = 0;

  for (uint32_t i = 0; i < b->nobserved; i++) {
    const struct ais_limit *limit = &b->observed[i];

    if (!ais_limit_is_known(limit, now))
      continue;
    if (n++ == 0)
      aisearch_words_begin(w, "left");
    else
      aisearch_words_char(w, ',');
    aisearch_words_number(w, (uint64_t)limit->left);
    aisearch_words_char(w, '@');
    aisearch_words_time(w, epoch + limit->reset_at - now);
  }
}

void aisearch_budget_print(struct ais_budget *b, int64_t now, int64_t epoch,
                           char text[BUDGET_TEXT_SIZE]) {
  words_t w = {text, BUDGET_TEXT_SIZE, 0};

  text[0] = '\0';
  print_spent(&w, b, now, epoch);

  if (b->closed_until > now) {
    aisearch_words_begin(&w, "closed");
    aisearch_words_time(&w, epoch + b->closed_until - now);
  }
  print_left(&w, b, now, epoch);
}

/* Where the text is read, and what for. */
typedef struct {
  const char *text;
  struct ais_budget *budget; /* NULL: only to see whether it can be */
  int64_t now;
  int64_t epoch;
} reader_t;

/* "N@TIME" */
static bool read_calls(reader_t *r, uint64_t *calls, int64_t *at) {
  return aisearch_words_read_number(&r->text, 10, calls) &&
         *calls <= UINT32_MAX && aisearch_words_read_char(&r->text, '@') &&
         aisearch_words_read_time(&r->text, at);
}

static bool read_spent(reader_t *r) {
  do {
    uint64_t calls;
    int64_t at;

    if (!read_calls(r, &calls, &at))
      return false;
    if (r->budget != NULL)
      ais_budget_add_spent(
          r->budget, (struct ais_budget_spent){r->epoch - at, (uint32_t)calls},
          r->now);
  } while (aisearch_words_read_char(&r->text, ','));

  return true;
}

static bool read_closed(reader_t *r) {
  int64_t until;

  if (!aisearch_words_read_time(&r->text, &until))
    return false;
  if (r->budget != NULL && until > r->epoch)
    ais_budget_close(r->budget, r->now + min_time(until - r->epoch, CLOSED_MAX),
                     r->now);
  return true;
}

static bool read_left(reader_t *r) {
  struct ais_limit limit = {.quota = -1, .window = -1};
  unsigned n = 0;

  do {
    uint64_t calls;
    int64_t until;

    if (!read_calls(r, &calls, &until))
      return false;
    snprintf(limit.name, sizeof(limit.name), "remembered:%u", n++);
    limit.left = (int64_t)calls;
    limit.reset_at = r->now + min_time(until - r->epoch, LEFT_MAX);
    if (r->budget != NULL)
      ais_budget_observe(r->budget, &limit, /* uncertain = */ 0, r->now);
  } while (aisearch_words_read_char(&r->text, ','));

  return true;
}

static bool read_word(reader_t *r) {
  if (aisearch_words_read_word(&r->text, "spent"))
    return read_spent(r);
  if (aisearch_words_read_word(&r->text, "closed"))
    return read_closed(r);
  return aisearch_words_read_word(&r->text, "left") && read_left(r);
}

bool aisearch_budget_parse(struct ais_budget *b, int64_t now, int64_t epoch,
                           const char *text) {
  reader_t r = {text, b, now, epoch};

  while (*r.text != '\0')
    if (!read_word(&r) || !aisearch_words_read_end(&r.text))
      return false;
  return true;
}
