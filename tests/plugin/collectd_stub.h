#ifndef COLLECTD_STUB_H
#define COLLECTD_STUB_H

#include "collectd.h"

#include "configfile.h"
#include "plugin.h"

#include <stdatomic.h>

/*
 * The part of collectd that a plugin sees, without the daemon: stores what it registers, checks and counts what it
 * dispatches, and counts and optionally prints what it logs. So a program that calls the plugin's callbacks itself can
 * be linked with the plugin's objects, and sanitizers cover all of it.
 */

/* Everything that the plugin has produced. Any thread may read it. */
struct stub_counts {
    atomic_size_t values;
    atomic_size_t notifications;
    atomic_size_t logged[LOG_DEBUG + 1]; /* by severity */
    atomic_size_t malformed;             /* values and notifications that the daemon would reject */
};

extern struct stub_counts stub_counts;

/* The daemon's options; set them before any other call. */
extern cdtime_t stub_interval; /* 10 s */
extern bool stub_reads_once;   /* "collectd -T" */
extern int stub_verbosity;     /* the least severe messages to print to stderr; -1: none */

/* Called for each value list and each notification, by the thread that dispatches it; may be NULL. */
extern void (*stub_on_values)(const value_list_t *vl);
extern void (*stub_on_notification)(const notification_t *n);

/*
 * The life cycle of a plugin in the daemon's order: load (calls module_register), config for each <Plugin> block, init,
 * reads, shutdown. They return the result of the plugin's callback, or 0 if it has registered none.
 */
void stub_load(void);
int stub_config(oconfig_item_t *block);
int stub_init(void);
int stub_shutdown(void); /* first frees the data of the read callbacks, and finally forgets all callbacks */

/* Read callbacks, in the order of registration. No callback is run by two threads at once. */
size_t stub_readers(void);
int stub_read(size_t n);

/*
 * Parses text in collectd.conf's format, inside or outside of <Plugin NAME>, into a tree: what its grammar calls
 * "statement" and "block", comments, strings with or without quotes, numbers and booleans; but neither Include nor
 * lines continued by a backslash. Returns NULL if the text is invalid. The children of the root are the blocks and
 * options.
 */
oconfig_item_t *stub_parse(const char *text);
void stub_parse_free(oconfig_item_t *root);

#endif
