/* The lines of the state file, as text and back. */

#include "state_text.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LATEST (INT64_C(1) << 46) /* in the year 4199 */

/* The longest that a pause holds where an answer says so: what is later was
 * written down by a clock that was wrong. */
#define CLOSED_MAX (INT64_C(24) * 3600 * 1000)

/* ---- writing ------------------------------------------------------------- */

static bool text_grow(text_t *text, size_t len) {
  size_t size = 2 * (text->len + len) + 64;
  char *grown = realloc(text->data, size);

  if (grown == NULL) {
    text->failed = true;
    return false;
  }
  text->data = grown;
  text->size = size;
  return true;
}

void text_print(text_t *text, const char *format, ...) {
  size_t room = text->size - text->len, len;
  va_list ap, again;

  va_start(ap, format);
  va_copy(again, ap);
  len = (size_t)vsnprintf(room > 0 ? text->data + text->len : NULL, room,
                          format, ap);
  if (len >= room && text_grow(text, len))
    vsnprintf(text->data + text->len, len + 1, format, again);
  va_end(again);
  va_end(ap);
  text->len += text->failed ? 0 : len;
}

void text_begin(text_t *text) {
  text->len = 0;
  text->failed = false;
  text_print(text, "%s", "");
}

static const char *text_end(const text_t *text) {
  return text->failed ? NULL : text->data;
}

static void text_time(text_t *text, int64_t t) {
  int64_t ms = t > 0 ? t : 0;

  text_print(text, "%" PRId64 ".%03d", ms / 1000, (int)(ms % 1000));
}

/* "WORD=", with what separates it from the word before, if there is one. */
static void text_word(text_t *text, char separator, const char *word) {
  text_print(text, "%.*s%s=", text->len > 0, &separator, word);
}

/* Without what separates words and lines. */
static void text_string(text_t *text, const char *s) {
  for (; *s != '\0'; s++)
    if ((unsigned char)*s > ' ' && strchr("%;!\x7f", *s) == NULL)
      text_print(text, "%c", *s);
    else
      text_print(text, "%%%02x", (unsigned char)*s);
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
      char digits[3] = {0};

      strncpy(digits, *text + 1, 2);
      c = (unsigned)strtoul(digits, NULL, 16);
      if (strlen(digits) < 2 || c == 0)
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

static bool is_word(const char *a, const char *b) { return strcmp(a, b) == 0; }

/* ---- members of a structure -----------------------------------------------
 */

typedef struct {
  const char *word; /* NULL: the last one */
  enum { TIME, FLAG, NUMBER, STRING } type;
  size_t offset;
  size_t size; /* of a string */
} field_t;

/* Those that are not set are left out. */
static const char *print_fields(text_t *text, char separator,
                                const field_t *field, const void *data) {
  text_begin(text);
  for (; field->word != NULL; field++) {
    const void *at = (const char *)data + field->offset;
    bool is_set = field->type == TIME     ? *(const int64_t *)at >= 0
                  : field->type == FLAG   ? *(const bool *)at
                  : field->type == NUMBER ? *(const unsigned *)at != 0
                                          : *(const char *)at != '\0';

    if (!is_set)
      continue;
    text_word(text, separator, field->word);
    if (field->type == TIME)
      text_time(text, *(const int64_t *)at);
    else if (field->type == FLAG)
      text_print(text, "1");
    else if (field->type == NUMBER)
      text_print(text, "%u", *(const unsigned *)at);
    else
      text_string(text, at);
  }
  return text_end(text);
}

static bool read_field(const field_t *field, void *data, const char *word,
                       const char **text) {
  uint64_t number;
  void *at;

  while (field->word != NULL && !is_word(field->word, word))
    field++;
  if (field->word == NULL)
    return false;

  at = (char *)data + field->offset;
  switch (field->type) {
  case TIME:
    return read_time(text, at);
  case FLAG:
    return *(bool *)at = read_char(text, '1');
  case NUMBER:
    if (!read_number(text, 10, &number) || number > 99)
      return false;
    *(unsigned *)at = (unsigned)number;
    return true;
  case STRING:
    return read_string(text, at, field->size);
  }
  return false;
}

/* Reads what is not a field. */
typedef bool (*read_value_t)(void *data, const char *word, const char **text);

static bool read_words(const char *text, const field_t *fields, void *data,
                       read_value_t read_value) {
  while (*text != '\0') {
    char word[32];
    size_t len = strcspn(text, "= ;");

    if (text[len] != '=' || len >= sizeof(word))
      return false;
    memcpy(word, text, len);
    word[len] = '\0';
    text += len + 1;
    if (!read_field(fields, data, word, &text) &&
        (read_value == NULL || !read_value(data, word, &text)))
      return false;
    if (*text != '\0' && !read_char(&text, ' ') && !read_char(&text, ';'))
      return false;
  }
  return true;
}

#define FIELD(word, type, structure, member)                                   \
  { word, type, offsetof(structure, member), sizeof(((structure *)0)->member) }

/* ---- histories ----------------------------------------------------------- */

static const enum ais_state ends[] = {AIS_SUCCEEDED, AIS_FAILED, AIS_CANCELLED};

#define ENDS (sizeof(ends) / sizeof(ends[0]))

static void print_job(text_t *text, const char *word, const history_job_t *job,
                      int n) {
  if (n == 0)
    text_word(text, ' ', word);
  text_print(text, "%s%016" PRIx64 "@", n > 0 ? "," : "", job->id);
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
  if (floor != AIS_TIME_NONE) {
    text_word(text, ' ', "floor");
    text_time(text, floor);
  }
  for (int i = 0; i < n && i < HISTORY_KEPT; i++)
    print_job(text, "ended", latest[i], i);

  n = 0;
  for (uint32_t i = 0; i < h->njobs && n < HISTORY_JOBS - HISTORY_KEPT; i++)
    if (h->jobs[i].active)
      print_job(text, "active", &h->jobs[i], n++);
}

static const field_t history_fields[] = {
    FIELD("seen", TIME, history_t, seen_at),
    FIELD("changed", TIME, history_t, changed_at),
    FIELD("success", TIME, history_t, succeeded_at),
    FIELD("excused", TIME, history_t, excused_at),
    FIELD("listed", FLAG, history_t, listed),
    {.word = NULL}};

static const field_t floor_field[] = {FIELD("floor", TIME, history_t, floor),
                                      {.word = NULL}};

const char *history_print(text_t *text, const history_t *h) {
  print_fields(text, ' ', history_fields, h);
  for (size_t i = 0; i < ENDS; i++)
    if (h->ended[ends[i]] > 0) {
      text_word(text, ' ', ais_state_name(ends[i]));
      text_print(text, "%" PRIu64 "/0/0", h->ended[ends[i]]);
    }
  print_jobs(text, h);
  return text_end(text);
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
  if (is_word(word, "ended") || is_word(word, "active"))
    return read_jobs(text, h, is_word(word, "active"));
  return read_field(floor_field, h, word, text);
}

bool history_parse(history_t *h, const char *text) {
  history_init(h);
  if (read_words(text, history_fields, h, history_read))
    return true;
  history_free(h);
  return false;
}

/* ---- conditions ---------------------------------------------------------- */

const char *told_print(text_t *text, const told_t *told) {
  text_begin(text);
  for (int c = 0; c < CONDITIONS; c++)
    if (told->has_begun[c])
      text_print(text, "%s%s", text->len > 0 ? "," : "", condition_name(c));
  return text_end(text);
}

static int condition_find(const char *name, size_t len) {
  int c = 0;

  while (c < CONDITIONS && (strlen(condition_name(c)) != len ||
                            memcmp(condition_name(c), name, len) != 0))
    c++;
  return c;
}

bool told_parse(told_t *told, const char *text) {
  memset(told->has_begun, 0, sizeof(told->has_begun));
  while (*text != '\0') {
    size_t len = strcspn(text, ",");
    int c = condition_find(text, len - (len > 0 && text[len - 1] == '+'));

    if (c == CONDITIONS)
      return false;
    told->has_begun[c] = true;
    text += len;
    if (read_char(&text, ',') && *text == '\0')
      return false;
  }
  return true;
}

/* ---- what is known of an instance ---------------------------------------- */

static const field_t facts_fields[] = {
    FIELD("read", TIME, instance_t, read_at),
    FIELD("known", FLAG, instance_t, is_known),
    FIELD("created", TIME, instance_t, facts.created_at),
    FIELD("sync", TIME, instance_t, facts.sync_interval),
    FIELD("indexed", NUMBER, instance_t, facts.indexed),
    FIELD("off", FLAG, instance_t, facts.disabled),
    FIELD("paused", FLAG, instance_t, facts.paused),
    FIELD("error", FLAG, instance_t, facts.in_error),
    FIELD("status", STRING, instance_t, facts.status),
    {.word = NULL}};

const char *facts_print(text_t *text, const instance_t *instance) {
  return print_fields(text, ';', facts_fields, instance);
}

bool facts_parse(instance_t *instance, const char *text) {
  return read_words(text, facts_fields, instance, /* read_value = */ NULL);
}

/* ---- notices ------------------------------------------------------------- */

static const field_t notice_fields[] = {
    FIELD("condition", NUMBER, notice_t, condition),
    FIELD("over", FLAG, notice_t, is_over),
    FIELD("name", STRING, notice_t, name),
    FIELD("message", STRING, notice_t, message),
    FIELD("job", STRING, notice_t, job),
    FIELD("source", STRING, notice_t, source),
    FIELD("end_reason", STRING, notice_t, end_reason),
    FIELD("duration", TIME, notice_t, duration),
    {.word = NULL}};

const char *notice_print(text_t *text, const notice_t *notice) {
  return print_fields(text, ';', notice_fields, notice);
}

bool notice_parse(notice_t *n, const char *text) {
  *n = (notice_t){.duration = -1};
  return read_words(text, notice_fields, n, /* read_value = */ NULL) &&
         n->name[0] != '\0' && n->condition < CONDITIONS;
}

/* ---- budgets ------------------------------------------------------------- */

const char *budget_print(text_t *text, struct ais_budget *b, int64_t now,
                         int64_t epoch) {
  struct ais_budget_spent spent[AIS_BUDGET_SPENT_MAX];
  size_t n = ais_budget_spent(b, spent, now);

  text_begin(text);
  for (size_t i = 0; i < n; i++) {
    text_print(text, "%s%" PRIu32 "@", i > 0 ? "," : "spent=", spent[i].calls);
    text_time(text, epoch - spent[i].ago);
  }
  if (b->closed_until > now) {
    text_word(text, ' ', "closed");
    text_time(text, epoch + b->closed_until - now);
  }
  return text_end(text);
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
  static const field_t no_fields[] = {{.word = NULL}};

  return read_words(text, no_fields, &(budget_reader_t){b, now, epoch},
                    budget_read);
}
