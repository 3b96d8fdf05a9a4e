#include "history.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * A history as text, "WORD=VALUE WORD=VALUE ...". Times are seconds since the
 * epoch. What has its first value is left out. For example:
 *
 *     seen=1795435200.000 floor=1795435100.000 listed=1 failed=0/2/0
 *     active=00c0ffee00c0ffee@1795435190.000
 *
 * Counters are by source: user, schedule, others.
 */

static const enum ais_state ends[] = {AIS_SUCCEEDED, AIS_FAILED, AIS_CANCELLED};

#define ENDS (sizeof(ends) / sizeof(ends[0]))

/* Where the next word goes. */
typedef struct {
  char *text;
  size_t len;
} writer_t;

__attribute__((format(printf, 2, 3))) static void
write_text(writer_t *w, const char *format, ...) {
  size_t room = HISTORY_TEXT_SIZE - w->len;
  va_list ap;
  int n;

  va_start(ap, format);
  n = vsnprintf(w->text + w->len, room, format, ap);
  va_end(ap);

  if (n > 0)
    w->len += (size_t)n < room ? (size_t)n : room - 1;
}

static void write_time(writer_t *w, const char *word, int64_t t) {
  if (t != AIS_TIME_NONE)
    write_text(w, "%s%s=%" PRId64 ".%03d", w->len > 0 ? " " : "", word,
               t / 1000, (int)(t % 1000));
}

static void write_counters(writer_t *w, const history_t *h) {
  for (size_t i = 0; i < ENDS; i++) {
    const uint64_t *n = h->ended[ends[i]];

    if (aisearch_history_ended(h, ends[i]) > 0)
      write_text(w, " %s=%" PRIu64 "/%" PRIu64 "/%" PRIu64,
                 ais_state_name(ends[i]), n[HISTORY_USER], n[HISTORY_SCHEDULE],
                 n[HISTORY_OTHER]);
  }
}

static void write_active(writer_t *w, const history_t *h) {
  int n = 0;

  for (uint32_t i = 0; i < h->njobs && n < HISTORY_JOBS; i++) {
    const history_job_t *job = &h->jobs[i];

    if (!job->active)
      continue;
    write_text(w, "%s%016" PRIx64 "@%" PRId64 ".%03d",
               n++ == 0 ? " active=" : ",", job->id, (int64_t)job->at / 1000,
               (int)(job->at % 1000));
  }
}

/* All that is remembered to have ended is known by this time later on. */
static int64_t floor_of(const history_t *h) {
  int64_t floor = h->floor;

  for (uint32_t i = 0; i < h->njobs; i++)
    if (!h->jobs[i].active && h->jobs[i].at > floor && h->jobs[i].at >= 0)
      floor = h->jobs[i].at;
  return floor;
}

void aisearch_history_print(const history_t *h, char text[HISTORY_TEXT_SIZE]) {
  writer_t w = {text, 0};

  text[0] = '\0';
  write_time(&w, "seen", h->seen_at);
  write_time(&w, "changed", h->changed_at);
  write_time(&w, "success", h->succeeded_at);
  write_time(&w, "floor", floor_of(h));
  if (h->listed)
    write_text(&w, " listed=1");
  write_counters(&w, h);
  write_active(&w, h);
}

/* Reading: each function takes what it reads off *text, or returns false. */

static bool read_char(const char **text, char c) {
  if (**text != c)
    return false;
  (*text)++;
  return true;
}

static bool read_word(const char **text, const char *word) {
  size_t len = strlen(word);

  if (strncmp(*text, word, len) != 0 || (*text)[len] != '=')
    return false;
  *text += len + 1;
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

  if (!read_number(text, 10, &seconds) || seconds > INT32_MAX * UINT64_C(64) ||
      !read_char(text, '.') || !read_number(text, 10, &ms) || ms > 999)
    return false;

  *t = (int64_t)(seconds * 1000 + ms);
  return true;
}

static bool read_counters(const char **text, uint64_t n[HISTORY_SOURCES]) {
  return read_number(text, 10, &n[HISTORY_USER]) && read_char(text, '/') &&
         read_number(text, 10, &n[HISTORY_SCHEDULE]) && read_char(text, '/') &&
         read_number(text, 10, &n[HISTORY_OTHER]);
}

static bool read_active(const char **text, history_t *h) {
  do {
    uint64_t id;
    int64_t at;

    if (!read_number(text, 16, &id) || !read_char(text, '@') ||
        !read_time(text, &at) || !aisearch_history_add_active(h, id, at))
      return false;
  } while (read_char(text, ','));

  return true;
}

static bool read_entry(const char **text, history_t *h) {
  for (size_t i = 0; i < ENDS; i++)
    if (read_word(text, ais_state_name(ends[i])))
      return read_counters(text, h->ended[ends[i]]);

  if (read_word(text, "seen"))
    return read_time(text, &h->seen_at);
  if (read_word(text, "changed"))
    return read_time(text, &h->changed_at);
  if (read_word(text, "success"))
    return read_time(text, &h->succeeded_at);
  if (read_word(text, "floor"))
    return read_time(text, &h->floor);
  if (read_word(text, "listed"))
    return h->listed = read_char(text, '1');
  return read_word(text, "active") && read_active(text, h);
}

bool aisearch_history_parse(history_t *h, const char *text) {
  bool good = true;

  aisearch_history_init(h);
  while (good && *text != '\0')
    good = read_entry(&text, h) && (*text == '\0' || read_char(&text, ' '));

  if (!good)
    aisearch_history_free(h);
  return good;
}
