/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_CLOCK_H
#define AIS_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Time for deadlines and budgets, in ms of a monotonic clock. May be called from any thread; never blocks. */

#define AIS_NEVER INT64_MAX

static inline int64_t ais_clock(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static inline int64_t ais_earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t ais_later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Returns the ms from now until then; 0 if that has passed. */
static inline int64_t ais_clock_until(int64_t then)
{
    int64_t left = then - ais_clock();

    return left > 0 ? left : 0;
}

#endif
