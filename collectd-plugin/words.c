#include "words.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LATEST (INT64_C(1) << 46) /* in the year 4199 */

void aisearch_words_print(words_t *w, const char *format, ...) {
  size_t room = w->size - w->len;
  va_list ap;
  int n;

  va_start(ap, format);
  n = vsnprintf(w->text + w->len, room, format, ap);
  va_end(ap);

  if (n > 0)
    w->len += (size_t)n < room ? (size_t)n : room - 1;
}

void aisearch_words_begin(words_t *w, const char *word) {
  aisearch_words_print(w, "%s%s=", w->len > 0 ? " " : "", word);
}

void aisearch_words_time(words_t *w, int64_t t) {
  if (t < 0)
    t = 0;
  aisearch_words_print(w, "%" PRId64 ".%03d", t / 1000, (int)(t % 1000));
}

bool aisearch_words_read_char(const char **text, char c) {
  if (**text != c)
    return false;
  (*text)++;
  return true;
}

bool aisearch_words_read_word(const char **text, const char *word) {
  size_t len = strlen(word);

  if (strncmp(*text, word, len) != 0 || (*text)[len] != '=')
    return false;
  *text += len + 1;
  return true;
}

bool aisearch_words_read_number(const char **text, int base, uint64_t *n) {
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

bool aisearch_words_read_time(const char **text, int64_t *t) {
  uint64_t seconds, ms;
  const char *begin;

  if (!aisearch_words_read_number(text, 10, &seconds) ||
      seconds > LATEST / 1000 || !aisearch_words_read_char(text, '.'))
    return false;

  begin = *text;
  if (!aisearch_words_read_number(text, 10, &ms) || *text - begin != 3)
    return false;

  *t = (int64_t)(seconds * 1000 + ms);
  return true;
}

bool aisearch_words_read_end(const char **text) {
  return **text == '\0' || aisearch_words_read_char(text, ' ');
}
