/*
 * Runs the plugin like the daemon, with several reading threads: driver CONFIGURATION SECONDS INTERVAL_MS THREADS. The
 * file CONFIGURATION has the content of the <Plugin aisearch> block. Prints the results to standard output as JSON, and
 * the plugin's messages to standard error.
 */

#include "collectd_stub.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READERS_MAX 64
#define THREADS_MAX 64

/* When a read callback is due, and whether a thread runs it; like in the daemon, only one at a time. */
struct turn {
    cdtime_t due;
    bool running;
};

static struct turn turns[READERS_MAX];
static size_t nturns;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool stopping;
static size_t reads;
static size_t failed_reads;
static cdtime_t slowest;

/* Returns the turn that is due next and not taken, or NULL. */
static struct turn *next_turn(void)
{
    struct turn *next = NULL;

    for (size_t i = 0; i < nturns; i++) {
        if (!turns[i].running && (next == NULL || turns[i].due < next->due)) {
            next = &turns[i];
        }
    }
    return next;
}

/* Called with the lock held, which it releases while the callback runs. */
static void take_turn(struct turn *turn)
{
    cdtime_t began = cdtime();
    cdtime_t took;
    int status;

    turn->running = true;
    pthread_mutex_unlock(&lock);
    status = stub_read((size_t) (turn - turns));
    took = cdtime() - began;
    pthread_mutex_lock(&lock);

    reads++;
    failed_reads += status != 0;
    slowest = took > slowest ? took : slowest;
    turn->due += stub_interval;
    if (turn->due < began) {
        turn->due = began + stub_interval;
    }
    turn->running = false;
    pthread_cond_broadcast(&changed);
}

static void *read_main(void *arg)
{
    pthread_mutex_lock(&lock);
    while (!stopping) {
        struct turn *turn = next_turn();
        cdtime_t due = turn != NULL ? turn->due : cdtime() + stub_interval;
        struct timespec until = CDTIME_T_TO_TIMESPEC(due);

        if (turn != NULL && due <= cdtime()) {
            take_turn(turn);
        } else {
            pthread_cond_timedwait(&changed, &lock, &until);
        }
    }
    pthread_mutex_unlock(&lock);
    return arg;
}

static void read_for(cdtime_t time, size_t nthreads)
{
    pthread_t threads[THREADS_MAX];
    struct timespec ts = CDTIME_T_TO_TIMESPEC(time);

    nturns = stub_readers();
    for (size_t i = 0; i < nturns; i++) {
        turns[i].due = cdtime();
    }
    for (size_t i = 0; i < nthreads; i++) {
        if (pthread_create(&threads[i], NULL, read_main, NULL) != 0) {
            abort();
        }
    }

    nanosleep(&ts, NULL);
    pthread_mutex_lock(&lock);
    stopping = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    for (size_t i = 0; i < nthreads; i++) {
        pthread_join(threads[i], NULL);
    }
}

static oconfig_item_t *load(const char *path)
{
    static char text[1 << 20];
    oconfig_item_t *config;
    FILE *file = fopen(path, "r");
    size_t len;

    if (file == NULL) {
        perror(path);
        exit(2);
    }
    len = fread(text, 1, sizeof(text) - 1, file);
    text[len] = '\0';
    fclose(file);
    config = stub_parse(text);
    if (config == NULL) {
        fprintf(stderr, "%s: no configuration\n", path);
        exit(2);
    }
    return config;
}

static long number(const char *text, long max)
{
    char *end;
    long n = strtol(text, &end, 10);

    if (*end != '\0' || n < 1 || n > max) {
        fprintf(stderr, "%s: a number from 1 to %ld is wanted\n", text, max);
        exit(2);
    }
    return n;
}

int main(int argc, char **argv)
{
    oconfig_item_t *config;
    cdtime_t stopped;
    cdtime_t time;
    size_t nthreads;

    if (argc != 5) {
        fprintf(stderr, "usage: driver CONFIGURATION SECONDS INTERVAL_MS THREADS\n");
        return 2;
    }
    config = load(argv[1]);
    time = TIME_T_TO_CDTIME_T(number(argv[2], 86400));
    stub_interval = interval_g = MS_TO_CDTIME_T(number(argv[3], 3600000));
    nthreads = (size_t) number(argv[4], THREADS_MAX);
    stub_verbosity = LOG_INFO;

    stub_load();
    if (stub_config(config) != 0 || stub_init() != 0) {
        return 1;
    }
    stub_parse_free(config);
    if (stub_readers() > READERS_MAX) {
        fprintf(stderr, "more than %d read callbacks\n", READERS_MAX);
        return 2;
    }

    read_for(time, nthreads);
    stopped = cdtime();
    if (stub_shutdown() != 0) {
        return 1;
    }
    printf("{\"readers\": %zu, \"reads\": %zu, \"failed_reads\": %zu, \"slowest_read_ms\": %.1f, \"values\": %zu, "
           "\"notifications\": %zu, \"malformed\": %zu, \"errors\": %zu, \"warnings\": %zu, \"shutdown_ms\": %.1f}\n",
           nturns, reads, failed_reads, CDTIME_T_TO_DOUBLE(slowest) * 1e3, stub_counts.values,
           stub_counts.notifications, stub_counts.malformed, stub_counts.logged[LOG_ERR],
           stub_counts.logged[LOG_WARNING], CDTIME_T_TO_DOUBLE(cdtime() - stopped) * 1e3);
    return 0;
}
