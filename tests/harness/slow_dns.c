/*
 * For LD_PRELOAD: names below .test resolve to 127.0.0.1, and names below .slow.test do so only after AIS_SLOW_DNS
 * seconds, so that a test can check what waits for DNS. All other names are left to the C library.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef int resolver(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **res);

static resolver *real_getaddrinfo;
static double delay;

/* Now, because nginx clears the environment of its workers. */
__attribute__((constructor)) static void
init(void)
{
    const char *seconds = getenv("AIS_SLOW_DNS");

    delay = seconds != NULL ? strtod(seconds, NULL) : 0;
    real_getaddrinfo = (resolver *) dlsym(RTLD_NEXT, "getaddrinfo");
}

static bool
ends_with(const char *s, const char *suffix)
{
    size_t len = strlen(s), n = strlen(suffix);

    return len >= n && strcmp(s + len - n, suffix) == 0;
}

static void
wait_for(double seconds)
{
    struct timespec ts = { .tv_sec = (time_t) seconds, .tv_nsec = (long) ((seconds - (double) (time_t) seconds) * 1e9) };

    while (nanosleep(&ts, &ts) != 0 && errno == EINTR) {
    }
}

int
getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **res)
{
    if (node == NULL || !ends_with(node, ".test")) {
        return real_getaddrinfo(node, service, hints, res);
    }

    if (ends_with(node, ".slow.test")) {
        wait_for(delay);
    }

    if (hints != NULL && hints->ai_family == AF_INET6) {
        return EAI_NONAME;
    }

    return real_getaddrinfo("127.0.0.1", service, hints, res);
}
