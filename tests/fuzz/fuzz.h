#ifndef FUZZ_H
#define FUZZ_H

/* Common code of all fuzz targets. Inputs are text if possible, so that a corpus is readable. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ais_str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A property that must hold for any input. */
#define MUST(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                             \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* Returns the next line of the input without its end, and sets *rest to the rest of the input. */
static inline struct ais_str take_line(struct ais_str *rest)
{
    const char *end = rest->len > 0 ? memchr(rest->data, '\n', rest->len) : NULL;
    struct ais_str line = {rest->data, end != NULL ? (size_t) (end - rest->data) : rest->len};
    size_t used = line.len + (end != NULL);

    rest->data += used;
    rest->len -= used;
    return line;
}

static inline struct ais_str whole_input(const uint8_t *data, size_t size)
{
    return (struct ais_str){(const char *) data, size};
}

/* Returns a copy that ends with its memory block, so that AddressSanitizer detects reads beyond it. */
static inline struct ais_str exact_copy(struct ais_str s)
{
    char *data = malloc(s.len > 0 ? s.len : 1);

    MUST(data != NULL);
    if (s.len > 0)
        memcpy(data, s.data, s.len);
    return (struct ais_str){data, s.len};
}

static inline void exact_free(struct ais_str s)
{
    free((char *) s.data);
}

/* The same with a terminating NUL. */
static inline char *text_dup(struct ais_str s)
{
    char *text = malloc(s.len + 1);

    MUST(text != NULL);
    if (s.len > 0)
        memcpy(text, s.data, s.len);
    text[s.len] = '\0';
    return text;
}

#endif
