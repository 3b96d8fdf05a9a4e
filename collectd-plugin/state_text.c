#include "state_text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LATEST (INT64_C(1) << 46) /* in the year 4199 */

/* The longest that a pause holds where an answer says so: what is later was
 * written down by a clock that was wrong. */
#define CLOSED_MAX (INT64_C(24) * 3600 * 1000)

/* ---- writing ------------------------------------------------------------- */

void text_add(text_t *text, const char *data, size_t len) {
  if (text->failed || len == 0)
    return;

  if (text->len + len >= text->size) {
    size_t size = 2 * (text->len + len) + 1;
    char *grown = realloc(text->data, size);

    text->failed = grown == NULL;
    if (text->failed)
      return;
    text->data = grown;
    text->size = size;
  }

  memcpy(text->data + text->len, data, len);
  text->len += len;
  text->data[text->len] = '\0';
}

void text_put(text_t *text, const char *s) { text_add(text, s, strlen(s)); }

/* There are thousands of lines of them: no printf. */
static void text_digits(text_t *text, uint64_t n, unsigned base, int least) {
  char digits[20]; /* the most that 64 bits take */
  size_t first = sizeof(digits);

  do {
    digits[--first] = "0123456789abcdef"[n % base];
    n /= base;
  } while (n > 0 || (int)(sizeof(digits) - first) < least);

  text_add(text, digits + first, sizeof(digits) - first);
}

void text_number(text_t *text, uint64_t n) { text_digits(text, n, 10, 1); }

static void text_time(text_t *text, int64_t t) {
  uint64_t ms = t > 0 ? (uint64_t)t : 0;

  text_number(text, ms / 1000);
  text_put(text, ".");
  text_digits(text, ms % 1000, 10, 3);
}

/* What separates it from the word before, if there is one, and "WORD=". */
static void text_word(text_t *text, char separator, const char *word) {
  char last = text->len > 0 ? text->data[text->len - 1] : ' ';

  if (last != ' ' && last != '!')
    text_add(text, &separator, 1);
  text_put(text, word);
  text_put(text, "=");
}

static void text_word_time(text_t *text, char separator, const char *word,
                           int64_t t) {
  if (t == AIS_TIME_NONE)
    return;
  text_word(text, separator, word);
  text_time(text, t);
}

/* Without what separates words and lines. */
static void text_word_string(text_t *text, const char *word, const char *s) {
  if (s[0] == '\0')
    return;
  text_word(text, ';', word);
  for (; *s != '\0'; s++) {
    if ((unsigned char)*s > ' ' && strchr("%;!\x7f", *s) == NULL) {
      text_add(text, s, 1);
    } else {
      text_put(text, "%");
      text_digits(text, (unsigned char)*s, 16, 2);
    }
  }
}

static void text_flag(text_t *text, const char *word, bool flag) {
  if (flag) {
    text_word(text, ';', word);
    text_put(text, "1");
  }
}

/* ---- reading: each takes what it reads off *text, or returns false --------
 */

static bool read_char(const char **text, char c) {
  if (**text != c)
    return false;
  (*text)++;
  return true;
}

static bool read_number(const char **text, int base, uint64_t *n) {
  char *end;

  if (!isxdigit((unsigned char)**text))
    return false;

  errno = 0;
  *n = strtoull(*text, &end, base);
  if (end == *text || errno != 0)
    return false;
  *text = end;
  return true;
}

static bool read_time(const char **text, int64_t *t) {
  uint64_t seconds, ms;
  const char *begin;

  if (!read_number(text, 10, &seconds) || seconds > LATEST / 1000 ||
      !read_char(text, '.'))
    return false;

  begin = *text;
  if (!read_number(text, 10, &ms) || *text - begin != 3)
    return false;
  *t = (int64_t)(seconds * 1000 + ms);
  return true;
}

static bool read_string(const char **text, char *to, size_t size) {
  size_t len = 0;

  for (; **text != '\0' && **text != ';' && **text != ' '; (*text)++) {
    unsigned c = (unsigned char)**text;

    if (c == '%') {
      if (sscanf(*text + 1, "%2x", &c) != 1 || c == 0)
        return false;
      *text += 2;
    }
    if (len + 1 == size)
      return false;
    to[len++] = (char)c;
  }
  to[len] = '\0';
  return true;
}

typedef bool (*read_value_t)(void *data, const char *word, const char **text);

static bool read_words(const char *text, read_value_t read_value, void *data) {
  while (*text != '\0') {
    char word[32];
    size_t len = strcspn(text, "= ;");

    if (text[len] != '=' || len >= sizeof(word))
      return false;
    memcpy(word, text, len);
    word[len] = '\0';
    text += len + 1;
    if (!read_value(data, word, &text) ||
        (*text != '\0' && !read_char(&text, ' ') && !read_char(&text, ';')))
      return false;
  }
  return true;
}

static bool is_word(const char *a, const char *b) { return strcmp(a, b) == 0; }

/* ---- histories ----------------------------------------------------------- */

static const enum ais_state ends[] = {AIS_SUCCEEDED, AIS_FAILED, AIS_CANCELLED};

#define ENDS (sizeof(ends) / sizeof(ends[0]))

static void print_job(text_t *text, const char *word, const history_job_t *job,
                      int n) {
  if (n == 0)
    text_word(text, ' ', word);
  else
    text_put(text, ",");
  text_digits(text, job->id, 16, 16);
  text_put(text, "@");
  text_time(text, job->at);
}

/* The jobs that ended of which the begin is known, the latest first, and how
 * many; at most one more than are kept. */
static int find_latest(const history_t *h,
                       const history_job_t *latest[HISTORY_KEPT + 1]) {
  int n = 0;

  for (uint32_t i = 0; i < h->njobs; i++) {
    const history_job_t *job = &h->jobs[i];
    int place = n;

    if (job->active || job->at < 0)
      continue;
    while (place > 0 && latest[place - 1]->at < job->at)
      place--;
    if (place > HISTORY_KEPT)
      continue;

    n += n <= HISTORY_KEPT;
    memmove(latest + place + 1, latest + place,
            (size_t)(n - place - 1) * sizeof(latest[0]));
    latest[place] = job;
  }
  return n;
}

/* Of those that have ended, the latest are kept, so that others of the same
 * second are not taken for them; all others are known by the floor, later on.
 */
static void print_jobs(text_t *text, const history_t *h) {
  const history_job_t *latest[HISTORY_KEPT + 1];
  int n = find_latest(h, latest);
  int64_t floor = h->floor;

  if (n > HISTORY_KEPT && latest[HISTORY_KEPT]->at > floor)
    floor = latest[HISTORY_KEPT]->at;
  text_word_time(text, ' ', "floor", floor);
  for (int i = 0; i < n && i < HISTORY_KEPT; i++)
    print_job(text, "ended", latest[i], i);

  n = 0;
  for (uint32_t i = 0; i < h->njobs && n < HISTORY_JOBS - HISTORY_KEPT; i++)
    if (h->jobs[i].active)
      print_job(text, "active", &h->jobs[i], n++);
}

void history_print(text_t *text, const history_t *h) {
  text_word_time(text, ' ', "seen", h->seen_at);
  text_word_time(text, ' ', "changed", h->changed_at);
  text_word_time(text, ' ', "success", h->succeeded_at);
  text_word_time(text, ' ', "excused", h->excused_at);
  if (h->listed) {
    text_word(text, ' ', "listed");
    text_put(text, "1");
  }
  for (size_t i = 0; i < ENDS; i++)
    if (h->ended[ends[i]] > 0) {
      text_word(text, ' ', ais_state_name(ends[i]));
      text_number(text, h->ended[ends[i]]);
      text_put(text, "/0/0");
    }
  print_jobs(text, h);
}

static bool read_counters(const char **text, uint64_t *sum) {
  *sum = 0;
  for (int i = 0; i < 3; i++) {
    uint64_t n;

    if ((i > 0 && !read_char(text, '/')) || !read_number(text, 10, &n))
      return false;
    *sum += n;
  }
  return true;
}

static bool read_jobs(const char **text, history_t *h, bool active) {
  do {
    uint64_t id;
    int64_t at;

    if (!read_number(text, 16, &id) || !read_char(text, '@') ||
        !read_time(text, &at) || !history_add_job(h, id, at, active))
      return false;
  } while (read_char(text, ','));
  return true;
}

static bool history_read(void *data, const char *word, const char **text) {
  history_t *h = data;

  for (size_t i = 0; i < ENDS; i++)
    if (is_word(word, ais_state_name(ends[i])))
      return read_counters(text, &h->ended[ends[i]]);
  if (is_word(word, "seen"))
    return read_time(text, &h->seen_at);
  if (is_word(word, "changed"))
    return read_time(text, &h->changed_at);
  if (is_word(word, "success"))
    return read_time(text, &h->succeeded_at);
  if (is_word(word, "excused"))
    return read_time(text, &h->excused_at);
  if (is_word(word, "floor"))
    return read_time(text, &h->floor);
  if (is_word(word, "listed"))
    return h->listed = read_char(text, '1');
  if (is_word(word, "ended") || is_word(word, "active"))
    return read_jobs(text, h, is_word(word, "active"));
  return false;
}

bool history_parse(history_t *h, const char *text) {
  history_init(h);
  if (read_words(text, history_read, h))
    return true;
  history_free(h);
  return false;
}

/* ---- conditions ---------------------------------------------------------- */

void told_print(text_t *text, const told_t *told) {
  const char *comma = "";

  for (int c = 0; c < CONDITIONS; c++)
    if (condition_has_begun(told, c)) {
      text_put(text, comma);
      text_put(text, condition_name(c));
      comma = ",";
    }
}

static int condition_find(const char *name, size_t len) {
  int c = 0;

  while (c < CONDITIONS && (strlen(condition_name(c)) != len ||
                            memcmp(condition_name(c), name, len) != 0))
    c++;
  return c;
}

bool told_parse(told_t *told, const char *text) {
  *told = (told_t){0};
  while (*text != '\0') {
    size_t len = strcspn(text, ",");
    int c = condition_find(text, len - (len > 0 && text[len - 1] == '+'));

    if (c == CONDITIONS)
      return false;
    told->bits |= UINT32_C(1) << c;
    text += len;
    if (read_char(&text, ',') && *text == '\0')
      return false;
  }
  return true;
}

/* ---- what is known of an instance ---------------------------------------- */

void facts_print(text_t *text, const instance_t *instance) {
  const facts_t *facts = &instance->facts;

  text_word_time(text, ';', "first", instance->first_at);
  text_word_time(text, ';', "read", instance->read_at);
  if (!instance->is_known)
    return;
  text_flag(text, "known", true);
  text_word_time(text, ';', "created", facts->created_at);
  text_word_time(text, ';', "sync", facts->sync_interval);
  text_flag(text, "jobs", facts->indexed == AIS_INDEXED_BY_JOBS);
  text_flag(text, "stored", facts->indexed == AIS_INDEXED_AS_STORED);
  text_flag(text, "off", facts->disabled);
  text_flag(text, "paused", facts->paused);
  text_flag(text, "error", facts->in_error);
  text_word_string(text, "status", facts->status);
}

static bool facts_read(void *data, const char *word, const char **text) {
  instance_t *instance = data;
  facts_t *facts = &instance->facts;

  if (is_word(word, "first"))
    return read_time(text, &instance->first_at);
  if (is_word(word, "read"))
    return read_time(text, &instance->read_at);
  if (is_word(word, "created"))
    return read_time(text, &facts->created_at);
  if (is_word(word, "sync"))
    return read_time(text, &facts->sync_interval);
  if (is_word(word, "status"))
    return read_string(text, facts->status, sizeof(facts->status));
  if (!read_char(text, '1'))
    return false;

  instance->is_known |= is_word(word, "known");
  facts->disabled |= is_word(word, "off");
  facts->paused |= is_word(word, "paused");
  facts->in_error |= is_word(word, "error");
  if (is_word(word, "jobs"))
    facts->indexed = AIS_INDEXED_BY_JOBS;
  if (is_word(word, "stored"))
    facts->indexed = AIS_INDEXED_AS_STORED;
  return true;
}

bool facts_parse(instance_t *instance, const char *text) {
  return read_words(text, facts_read, instance);
}

/* ---- notices ------------------------------------------------------------- */

void notice_print(text_t *text, const notice_t *n) {
  text_word_string(text, "condition", condition_name(n->condition));
  text_flag(text, "over", n->is_over);
  text_word_string(text, "name", n->name);
  text_word_string(text, "message", n->message);
  text_word_string(text, "job", n->job);
  text_word_string(text, "source", n->source);
  text_word_string(text, "end_reason", n->end_reason);
  if (n->duration >= 0.0)
    text_word_time(text, ';', "duration", (int64_t)(n->duration * 1000.0));
}

static bool notice_read(void *data, const char *word, const char **text) {
  notice_t *n = data;
  char name[32];
  int64_t duration;

  if (is_word(word, "condition")) {
    if (!read_string(text, name, sizeof(name)))
      return false;
    n->condition = (condition_t)condition_find(name, strlen(name));
    return n->condition < CONDITIONS;
  }
  if (is_word(word, "over"))
    return n->is_over = read_char(text, '1');
  if (is_word(word, "name"))
    return read_string(text, n->name, sizeof(n->name));
  if (is_word(word, "message"))
    return read_string(text, n->message, sizeof(n->message));
  if (is_word(word, "job"))
    return read_string(text, n->job, sizeof(n->job));
  if (is_word(word, "source"))
    return read_string(text, n->source, sizeof(n->source));
  if (is_word(word, "end_reason"))
    return read_string(text, n->end_reason, sizeof(n->end_reason));
  if (!is_word(word, "duration") || !read_time(text, &duration))
    return false;
  n->duration = (double)duration / 1000.0;
  return true;
}

bool notice_parse(notice_t *n, const char *text) {
  *n = (notice_t){.duration = -1.0, .stage = NOTICE_WRITTEN};
  return read_words(text, notice_read, n) && n->name[0] != '\0';
}

/* ---- budgets ------------------------------------------------------------- */

void budget_print(text_t *text, struct ais_budget *b, int64_t now,
                  int64_t epoch) {
  struct ais_budget_spent spent[AIS_BUDGET_SPENT_MAX];
  size_t n = ais_budget_spent(b, spent, now);

  if (n > 0)
    text_word(text, ' ', "spent");
  for (size_t i = 0; i < n; i++) {
    text_put(text, i > 0 ? "," : "");
    text_number(text, spent[i].calls);
    text_put(text, "@");
    text_time(text, epoch - spent[i].ago);
  }
  if (b->closed_until > now)
    text_word_time(text, ' ', "closed", epoch + b->closed_until - now);
}

typedef struct {
  struct ais_budget *budget;
  int64_t now, epoch;
} budget_reader_t;

/* "left" was written by the release before: the API will say it again. */
static bool budget_read(void *data, const char *word, const char **text) {
  const budget_reader_t *r = data;
  int64_t at;

  if (is_word(word, "closed")) {
    if (!read_time(text, &at))
      return false;
    if (r->budget != NULL && at > r->epoch)
      ais_budget_close(
          r->budget,
          r->now + (at - r->epoch < CLOSED_MAX ? at - r->epoch : CLOSED_MAX),
          r->now);
    return true;
  }

  do {
    uint64_t calls;

    if (!read_number(text, 10, &calls) || calls > UINT32_MAX ||
        !read_char(text, '@') || !read_time(text, &at))
      return false;
    if (r->budget != NULL && is_word(word, "spent"))
      ais_budget_add_spent(
          r->budget, (struct ais_budget_spent){r->epoch - at, (uint32_t)calls},
          r->now);
  } while (read_char(text, ','));
  return is_word(word, "spent") || is_word(word, "left");
}

bool budget_parse(struct ais_budget *b, int64_t now, int64_t epoch,
                  const char *text) {
  return read_words(text, budget_read, &(budget_reader_t){b, now, epoch});
}
