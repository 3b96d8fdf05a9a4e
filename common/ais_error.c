/* SPDX-License-Identifier: BSD-2-Clause */

/* Formats messages for the operator. */

#include "ais_error.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

void ais_error_set(struct ais_error *err, const char *fmt, ...)
{
    va_list args;

    if (err == NULL)
        return;

    va_start(args, fmt);
    if (vsnprintf(err->text, sizeof(err->text), fmt, args) < 0)
        err->text[0] = '\0';
    va_end(args);
}
