/* Common code of the benchmark programs. */
#ifndef AIS_BENCH_H
#define AIS_BENCH_H

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Reports a system call's error and exits. */
static inline void die(const char *what)
{
    perror(what);
    exit(1);
}

/* Seconds on the monotonic clock. */
static inline double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}

#endif
