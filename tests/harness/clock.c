/*
 * For LD_PRELOAD: the monotonic clock of a process, and of those it forks, runs ahead by as many nanoseconds as stand in
 * the file AIS_CLOCK, so that a test need not wait for minutes to pass.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define SECOND INT64_C(1000000000)

typedef int clock_reader(clockid_t id, struct timespec *ts);

static clock_reader *real_clock_gettime;
static const volatile int64_t *ahead;

/* Now, because nginx takes the environment away from its workers. */
__attribute__((constructor)) static void
init(void)
{
    const char *path = getenv("AIS_CLOCK");
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;

    real_clock_gettime = (clock_reader *) dlsym(RTLD_NEXT, "clock_gettime");
    if (fd != -1) {
        void *page = mmap(NULL, sizeof(*ahead), PROT_READ, MAP_SHARED, fd, 0);

        ahead = page != MAP_FAILED ? page : NULL;
        close(fd);
    }
}

/* Calls may come before the constructor, of what was loaded earlier. */
int
clock_gettime(clockid_t id, struct timespec *ts)
{
    int rc;

    if (real_clock_gettime == NULL) {
        real_clock_gettime = (clock_reader *) dlsym(RTLD_NEXT, "clock_gettime");
    }
    rc = real_clock_gettime(id, ts);
    if (rc == 0 && ahead != NULL && (id == CLOCK_MONOTONIC || id == CLOCK_MONOTONIC_COARSE)) {
        int64_t ns = ts->tv_nsec + *ahead;

        ts->tv_sec += ns / SECOND;
        ts->tv_nsec = ns % SECOND;
    }
    return rc;
}
