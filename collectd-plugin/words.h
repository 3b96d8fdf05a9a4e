#ifndef AISEARCH_WORDS_H
#define AISEARCH_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The texts in the state file, "WORD=VALUE WORD=VALUE ...". Times are written
 * as seconds since the epoch with three digits behind the point, and are
 * milliseconds in here. Pure, without collectd in it.
 */

/* Where the next word goes. What does not fit is left out. */
typedef struct {
  char *text;
  size_t size;
  size_t len;
} words_t;

#pragma GCC visibility push(hidden)

/* A space, if it is not the first, and "WORD=". */
void aisearch_words_begin(words_t *words, const char *word);

void aisearch_words_char(words_t *words, char c);
void aisearch_words_number(words_t *words, uint64_t n);
void aisearch_words_hash(words_t *words, uint64_t hash); /* 16 digits */
void aisearch_words_time(words_t *words, int64_t t);

/* Each takes what it reads off *text, or returns false. */
bool aisearch_words_read_char(const char **text, char c);
bool aisearch_words_read_word(const char **text, const char *word);
bool aisearch_words_read_number(const char **text, int base, uint64_t *n);
bool aisearch_words_read_time(const char **text, int64_t *t);

/* Between two words, and behind the last one. */
bool aisearch_words_read_end(const char **text);

#pragma GCC visibility pop

#endif
