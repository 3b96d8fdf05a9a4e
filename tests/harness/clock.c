/*
 * For LD_PRELOAD: sets the clocks of a process and of those that it forks ahead by the nanoseconds in the file
 * AIS_CLOCK, so that a test need not wait for minutes. The first value is for the monotonic clock, the second for the
 * wall clock, which may also be set back.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND INT64_C(1000000000)

enum { MONOTONIC, WALL, CLOCKS };

typedef int clock_reader(clockid_t id, struct timespec *ts);

static clock_reader *real_clock_gettime;
static const volatile int64_t *ahead;

/* Now, because nginx clears the environment of its workers. */
__attribute__((constructor)) static void
init(void)
{
    const char *path = getenv("AIS_CLOCK");
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;

    real_clock_gettime = (clock_reader *) dlsym(RTLD_NEXT, "clock_gettime");
    if (fd != -1) {
        void *page = mmap(NULL, CLOCKS * sizeof(*ahead), PROT_READ, MAP_SHARED, fd, 0);

        ahead = page != MAP_FAILED ? page : NULL;
        close(fd);
    }
}

static int64_t
ahead_of(clockid_t id)
{
    if (ahead == NULL) {
        return 0;
    }

    switch (id) {
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_COARSE:
        return ahead[MONOTONIC];
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
        return ahead[WALL];
    default:
        return 0;
    }
}

/* Libraries loaded earlier may call this before the constructor. */
int
clock_gettime(clockid_t id, struct timespec *ts)
{
    int64_t ns;
    int rc;

    if (real_clock_gettime == NULL) {
        real_clock_gettime = (clock_reader *) dlsym(RTLD_NEXT, "clock_gettime");
    }
    rc = real_clock_gettime(id, ts);
    if (rc == 0) {
        ns = ts->tv_sec * SECOND + ts->tv_nsec + ahead_of(id);
        ts->tv_sec = ns / SECOND;
        ts->tv_nsec = ns % SECOND;
    }
    return rc;
}

int
gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
    struct timespec ts;

    (void) zone;
    if (clock_gettime(CLOCK_REALTIME, &ts) != 0) {
        return -1;
    }
    tv->tv_sec = ts.tv_sec;
    tv->tv_usec = ts.tv_nsec / 1000;
    return 0;
}

time_t
time(time_t *t)
{
    struct timespec ts;

    (void) clock_gettime(CLOCK_REALTIME_COARSE, &ts);
    if (t != NULL) {
        *t = ts.tv_sec;
    }
    return ts.tv_sec;
}
