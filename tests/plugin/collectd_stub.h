#ifndef COLLECTD_STUB_H
#define COLLECTD_STUB_H

#include "collectd.h"

#include "configfile.h"
#include "plugin.h"

#include <stdatomic.h>

/*
 * The part of collectd that a plugin sees, without the daemon: what it registers is kept, what it dispatches is checked
 * and counted, and what it logs is counted, and shown where that is wanted. So the plugin's objects can be linked into
 * a program that drives their callbacks itself, and that sanitizers see the whole of.
 */

/* All that came from the plugin. Any thread may read it. */
struct stub_counts {
    atomic_size_t values;
    atomic_size_t notifications;
    atomic_size_t logged[LOG_DEBUG + 1]; /* by severity */
    atomic_size_t malformed;             /* values and notifications that the daemon would refuse */
};

extern struct stub_counts stub_counts;

/* What the daemon's options say; set them before anything else is called. */
extern cdtime_t stub_interval; /* 10 s */
extern bool stub_reads_once;  /* "collectd -T" */
extern int stub_verbosity;     /* the least severe message to be shown on stderr; -1: none */

/* Called for each value list and each notification, by the thread that dispatches it; NULL: nobody cares. */
extern void (*stub_on_values)(const value_list_t *vl);
extern void (*stub_on_notification)(const notification_t *n);

/*
 * The life of a plugin, in the daemon's order: load (calls module_register), config for each <Plugin> block, init,
 * reads, shutdown. They return what the plugin's callback returned; 0 where it registered none.
 */
void stub_load(void);
int stub_config(oconfig_item_t *block);
int stub_init(void);
int stub_shutdown(void); /* frees the data of the read callbacks first, and forgets all callbacks at the end */

/* Read callbacks, in the order in which they were registered. One of them never runs twice at a time. */
size_t stub_readers(void);
int stub_read(size_t n);

/*
 * A tree of options from text as it stands in collectd.conf, inside of <Plugin NAME> or outside: what it calls
 * "statement" and "block", comments, strings with or without quotes, numbers and booleans. Not Include, nor a line
 * that goes on after a backslash. NULL where the text is none. The root has the blocks and options as its children.
 */
oconfig_item_t *stub_parse(const char *text);
void stub_parse_free(oconfig_item_t *root);

#endif
