/* What the programs of the bench have in common. */
#ifndef AIS_BENCH_H
#define AIS_BENCH_H

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Ends the program with a system call's error. */
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
