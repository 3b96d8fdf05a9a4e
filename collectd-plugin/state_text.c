/* Formats and parses the lines of the state file. */

#include "state_text.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "ais_clock.h"
#include "ais_str.h"

#define LATEST (INT64_C(1) << 46) /* in the year 4199 */

/* How far a time of the API's clock may be ahead of ours; no response asks for
 * a longer pause either. A later time was written by a wrong clock. */
#define AHEAD CLOCKS_DIFFER

#define TIME_FORMAT "%" PRId64 ".%03" PRId64
#define TIME_PARTS(t) (t) / 1000, (t) % 1000

/* ---- the fields of each kind of line ------------------------------------- */

typedef enum {
  TIME,      /* at most limit ahead of our clock */
  FLAG,      /* "1" */
  NUMBER,    /* at most limit */
  STRING,    /* at most size - 1 bytes */
  COUNTER,   /* number of ended jobs: "2/0/0" */
  CONDITION, /* one that has begun; a word without a value */
  ENDED,     /* jobs of a history: "ID@TIME,ID@TIME" */
  ACTIVE,
  SPENT, /* of a budget: "CALLS@TIME,CALLS@TIME" */
  CLOSED,
  LEFT, /* ignored: the previous release wrote it */
} type_t;

typedef struct {
  const char *word; /* NULL: end of the table */
  type_t type;
  size_t offset;
  size_t size;
  int64_t limit;
} field_t;

#define FIELD(word, type, structure, member, limit)                            \
  {                                                                            \
    word, type, offsetof(structure, member), sizeof(((structure *)0)->member), \
        limit                                                                  \
  }

static const field_t budget_fields[] = {{"spent", SPENT, 0, 0, 0},
                                        {"closed", CLOSED, 0, 0, AHEAD},
                                        {"left", LEFT, 0, 0, 0},
                                        {.word = NULL}};

static const field_t facts_fields[] = {
    FIELD("read", TIME, instance_t, read_at, 0),
    FIELD("known", FLAG, instance_t, is_known, 0),
    FIELD("created", TIME, instance_t, facts.created_at, AHEAD),
    FIELD("sync", TIME, instance_t, facts.sync_interval, LATEST),
    FIELD("indexed", NUMBER, instance_t, facts.indexed, AIS_INDEXED_AS_STORED),
    FIELD("off", FLAG, instance_t, facts.disabled, 0),
    FIELD("paused", FLAG, instance_t, facts.paused, 0),
    FIELD("error", FLAG, instance_t, facts.in_error, 0),
    FIELD("status", STRING, instance_t, facts.status, 0),
    {.word = NULL}};

static const field_t history_fields[] = {
    FIELD("seen", TIME, instance_t, history.seen_at, 0),
    FIELD("changed", TIME, instance_t, history.changed_at, 0),
    FIELD("success", TIME, instance_t, history.succeeded_at, 0),
    FIELD("excused", TIME, instance_t, history.excused_at, 0),
    FIELD("listed", FLAG, instance_t, history.listed, 0),
    FIELD("succeeded", COUNTER, instance_t, history.ended[AIS_SUCCEEDED], 0),
    FIELD("failed", COUNTER, instance_t, history.ended[AIS_FAILED], 0),
    FIELD("cancelled", COUNTER, instance_t, history.ended[AIS_CANCELLED], 0),
    FIELD("floor", TIME, instance_t, history.floor, AHEAD),
    FIELD("ended", ENDED, instance_t, history, AHEAD),
    FIELD("active", ACTIVE, instance_t, history, 0),
    {.word = NULL}};

static const field_t notice_fields[] = {
    FIELD("condition", NUMBER, notice_t, condition, CONDITIONS - 1),
    FIELD("over", FLAG, notice_t, is_over, 0),
    FIELD("name", STRING, notice_t, name, 0),
    FIELD("message", STRING, notice_t, message, 0),
    FIELD("job", STRING, notice_t, job, 0),
    FIELD("source", STRING, notice_t, source, 0),
    FIELD("end_reason", STRING, notice_t, end_reason, 0),
    FIELD("duration", TIME, notice_t, duration, LATEST),
    {.word = NULL}};

#define BEGUN(word, condition)                                                 \
  FIELD(word, CONDITION, reported_t, has_begun[condition], 0)

static const field_t reported_fields[] = {
    BEGUN("failed", CONDITION_FAILED),
    BEGUN("stalled", CONDITION_STALLED),
    BEGUN("overdue", CONDITION_OVERDUE),
    BEGUN("instance_error", CONDITION_INSTANCE_ERROR),
    BEGUN("credential", CONDITION_CREDENTIAL),
    BEGUN("unreachable", CONDITION_UNREACHABLE),
    BEGUN("rate_limited", CONDITION_RATE_LIMITED),
    BEGUN("refused", CONDITION_REFUSED),
    {.word = NULL}};

static const struct {
  const char *name;
  const char *separator; /* between its words */
  const field_t *fields;
} kinds[STATE_KINDS] = {
    [STATE_BUDGET] = {"budget", " ", budget_fields},
    [STATE_FACTS] = {"facts", ";", facts_fields},
    [STATE_INSTANCE] = {"instance", " ", history_fields},
    [STATE_NOTICE] = {"notice", ";", notice_fields},
    [STATE_REPORTED] = {"told", ",", reported_fields},
};

const char *state_kind_name(state_kind_t kind) { return kinds[kind].name; }

/* ---- writing ------------------------------------------------------------- */

typedef struct {
  FILE *to;
  const char *before; /* written before the next word */
  const char *separator;
} printer_t;

/* The format is for what follows the word. */
__attribute__((format(printf, 3, 4))) static void
print_word(printer_t *p, const char *word, const char *format, ...) {
  va_list ap;

  fprintf(p->to, "%s%s", p->before, word);
  p->before = p->separator;
  va_start(ap, format);
  vfprintf(p->to, format, ap);
  va_end(ap);
}

static void print_time(printer_t *p, const char *word, int64_t t) {
  if (t >= 0)
    print_word(p, word, "=" TIME_FORMAT, TIME_PARTS(t));
}

/* Escapes the characters that separate words and lines. */
static void print_string(printer_t *p, const char *word, const char *s) {
  if (*s != '\0')
    print_word(p, word, "=");
  for (; *s != '\0'; s++)
    if ((unsigned char)*s <= ' ' || strchr("%;!\x7f", *s) != NULL)
      fprintf(p->to, "%%%02x", (unsigned char)*s);
    else
      fputc(*s, p->to);
}

/* The latest ended jobs are kept, to tell them from other jobs of the same
 * second. All others are known by a later floor. It follows the current floor
 * in the line, so it is read last. */
static void print_jobs(printer_t *p, history_t *h) {
  unsigned active = 0, ended = 0;

  history_sort(h);
  for (uint32_t i = 0; i < h->njobs; i++) {
    const history_job_t *job = &h->jobs[i];

    if (job->active ? active++ < HISTORY_JOBS - HISTORY_KEPT
                    : job->at >= 0 && ended++ < HISTORY_KEPT)
      print_word(p, job->active ? "active" : "ended",
                 "=%016" PRIx64 "@" TIME_FORMAT, job->id, TIME_PARTS(job->at));
    else if (ended == HISTORY_KEPT + 1 && job->at > h->floor)
      print_time(p, "floor", job->at);
  }
}

static void print_spent(printer_t *p, const state_budget_t *of) {
  struct ais_budget_spent spent[AIS_BUDGET_SPENT_MAX];
  size_t n = ais_budget_spent(of->budget, spent, of->clock);

  for (size_t i = 0; i < n; i++) {
    int64_t at = of->epoch > spent[i].ago ? of->epoch - spent[i].ago : 0;

    print_word(p, "spent", "=%" PRIu32 "@" TIME_FORMAT, spent[i].calls,
               TIME_PARTS(at));
  }
}

/* Fields that are not set are omitted. */
static void print_field(printer_t *p, const field_t *field, void *at) {
  const state_budget_t *budget = at;

  switch (field->type) {
  case TIME:
    print_time(p, field->word, *(int64_t *)at);
    break;
  case FLAG:
    if (*(bool *)at)
      print_word(p, field->word, "=1");
    break;
  case NUMBER:
    if (*(unsigned *)at > 0)
      print_word(p, field->word, "=%u", *(unsigned *)at);
    break;
  case STRING:
    print_string(p, field->word, at);
    break;
  case COUNTER:
    if (*(uint64_t *)at > 0)
      print_word(p, field->word, "=%" PRIu64 "/0/0", *(uint64_t *)at);
    break;
  case CONDITION:
    if (*(bool *)at)
      print_word(p, field->word, "%s", "");
    break;
  case ENDED: /* and active jobs */
    print_jobs(p, at);
    break;
  case SPENT:
    print_spent(p, budget);
    break;
  case CLOSED:
    if (budget->budget->closed_until > budget->clock)
      print_time(p, field->word,
                 budget->epoch + budget->budget->closed_until - budget->clock);
    break;
  default:
    break;
  }
}

void state_print(FILE *to, state_kind_t kind, void *of) {
  printer_t p = {to, "", kinds[kind].separator};

  for (const field_t *field = kinds[kind].fields; field->word != NULL; field++)
    print_field(&p, field, (char *)of + field->offset);
}

/* ---- reading: each function returns false for an invalid value ----------- */

static bool read_number(const char *s, int base, uint64_t max, uint64_t *n) {
  char *end;

  errno = 0;
  *n = strtoull(s, &end, base);
  return isxdigit((unsigned char)*s) && *end == '\0' && errno == 0 && *n <= max;
}

static bool read_time(char *s, int64_t latest, int64_t *t) {
  const char *before = strsep(&s, ".");
  uint64_t seconds, ms;

  if (s == NULL || strlen(s) != 3 || !read_number(s, 10, 999, &ms) ||
      !read_number(before, 10, LATEST / 1000, &seconds))
    return false;
  *t = ais_earlier((int64_t)(seconds * 1000 + ms), latest);
  return true;
}

static bool read_string(const char *s, char *to, size_t size) {
  for (; *s != '\0'; s++, to++, size--) {
    int c = (unsigned char)*s;

    if (c == '%') {
      int high = ais_hex_digit(s[1]);
      int low = high < 0 ? -1 : ais_hex_digit(s[2]);

      c = low < 0 ? 0 : 16 * high + low;
      s += 2;
    }
    if (c == 0 || size == 1)
      return false;
    *to = (char)c;
  }
  *to = '\0';
  return true;
}

static bool read_counter(char *s, uint64_t *sum) {
  *sum = 0;
  for (int i = 0; i < 3; i++) {
    const char *part = strsep(&s, "/");
    uint64_t n;

    if (part == NULL || !read_number(part, 10, UINT64_MAX, &n))
      return false;
    *sum += n;
  }
  return s == NULL;
}

/* "NUMBER@TIME,NUMBER@TIME,...", for jobs or calls. */
static bool read_list(char *s, const field_t *field, void *at, int64_t now) {
  bool is_jobs = field->type == ENDED || field->type == ACTIVE;
  const state_budget_t *budget = at;
  uint64_t n;
  int64_t t;

  for (char *item; (item = strsep(&s, ",")) != NULL;) {
    const char *number = strsep(&item, "@");

    if (item == NULL ||
        !read_number(number, is_jobs ? 16 : 10,
                     is_jobs ? UINT64_MAX : UINT32_MAX, &n) ||
        !read_time(item, now + field->limit, &t) ||
        (is_jobs && !history_add_job(at, n, t, field->type == ACTIVE)))
      return false;
    if (field->type == SPENT)
      ais_budget_add_spent(budget->budget,
                           (struct ais_budget_spent){now - t, (uint32_t)n},
                           budget->clock);
  }
  return true;
}

/* Parses what follows the word; NULL: nothing does. */
static bool read_value(const field_t *field, char *s, void *at, int64_t now) {
  const state_budget_t *budget = at;
  uint64_t n;
  int64_t t;

  if (s == NULL && field->type != CONDITION)
    return false;

  switch (field->type) {
  case TIME:
    return read_time(s, now + field->limit, at);
  case FLAG:
    return *(bool *)at = strcmp(s, "1") == 0;
  case NUMBER:
    if (!read_number(s, 10, (uint64_t)field->limit, &n))
      return false;
    *(unsigned *)at = (unsigned)n;
    return true;
  case STRING:
    return read_string(s, at, field->size);
  case COUNTER:
    return read_counter(s, at);
  case CONDITION:
    *(bool *)at = true;
    return s == NULL || *s == '\0';
  case CLOSED:
    if (!read_time(s, now + field->limit, &t))
      return false;
    ais_budget_close(budget->budget, budget->clock + t - now, budget->clock);
    return true;
  default:
    return read_list(s, field, at, now);
  }
}

bool state_parse(state_kind_t kind, void *of, const char *text, int64_t now) {
  char *copy = strdup(text), *rest = copy;
  bool good = copy != NULL;

  while (good && *text != '\0' && rest != NULL) {
    char *value = strsep(&rest, kinds[kind].separator);
    const char *word = strsep(&value, kind == STATE_REPORTED ? "+" : "=");
    const field_t *field = kinds[kind].fields;

    while (field->word != NULL && strcmp(field->word, word) != 0)
      field++;
    good = field->word != NULL &&
           read_value(field, value, (char *)of + field->offset, now);
  }
  free(copy);
  return good && (kind != STATE_NOTICE || ((notice_t *)of)->name[0] != '\0');
}
