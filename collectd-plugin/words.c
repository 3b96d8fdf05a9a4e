#include "words.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LATEST (INT64_C(1) << 46) /* in the year 4199 */

/* There are thousands of lines of them: no printf. */
static void append(words_t *w, const char *text, size_t len) {
  size_t room = w->size - w->len - 1;

  if (len > room)
    len = room;
  memcpy(w->text + w->len, text, len);
  w->len += len;
  w->text[w->len] = '\0';
}

static void append_digits(words_t *w, uint64_t n, unsigned base, int least) {
  char digits[20]; /* the most that 64 bits take */
  size_t first = sizeof(digits);

  do {
    digits[--first] = "0123456789abcdef"[n % base];
    n /= base;
  } while (n > 0 || (int)(sizeof(digits) - first) < least);

  append(w, digits + first, sizeof(digits) - first);
}

void aisearch_words_begin(words_t *w, const char *word) {
  if (w->len > 0)
    aisearch_words_char(w, ' ');
  append(w, word, strlen(word));
  aisearch_words_char(w, '=');
}

void aisearch_words_char(words_t *w, char c) { append(w, &c, 1); }

void aisearch_words_number(words_t *w, uint64_t n) {
  append_digits(w, n, 10, 1);
}

void aisearch_words_hash(words_t *w, uint64_t hash) {
  append_digits(w, hash, 16, 16);
}

void aisearch_words_time(words_t *w, int64_t t) {
  uint64_t ms = t > 0 ? (uint64_t)t : 0;

  append_digits(w, ms / 1000, 10, 1);
  aisearch_words_char(w, '.');
  append_digits(w, ms % 1000, 10, 3);
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
