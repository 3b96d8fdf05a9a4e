#ifndef FUZZ_H
#define FUZZ_H

/* What every fuzz target needs. Inputs are text wherever that is possible, so that a corpus can be read. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ais_str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What has to hold whatever the input is. */
#define MUST(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                             \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* The next line of the input, without its end; the rest of the input is *rest. */
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

/* A copy that ends where its memory ends, so that AddressSanitizer sees who reads on. */
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

/* The same, with a NUL behind it. */
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
