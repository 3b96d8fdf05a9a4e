#ifndef UNIT_H
#define UNIT_H

/* What all unit tests need: cmocka with the headers that it requires, and views of text. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ais_str.h"

/* cmocka 2 has a name for each kind of number, and warns where it sees the one of before. */
#ifndef assert_uint_in_range
#define assert_uint_in_range assert_in_range
#endif

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static inline struct ais_str str(const char *s)
{
    return ais_str_of(s);
}

/* Returns a copy that ends with its memory block, so that a sanitizer or valgrind detects reads beyond it; the caller
 * frees it. */
static inline struct ais_str exact_copy(struct ais_str s)
{
    char *data = malloc(s.len > 0 ? s.len : 1);

    assert_non_null(data);
    memcpy(data, s.data, s.len);
    return (struct ais_str){data, s.len};
}

static inline void exact_free(struct ais_str s)
{
    free((char *) s.data);
}

#endif
