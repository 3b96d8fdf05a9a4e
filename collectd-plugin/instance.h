#ifndef INSTANCE_H
#define INSTANCE_H

#include "ais_answer.h"

#include "history.h"

/*
 * What is known about an instance, and the values derived from it.
 *
 * Pure: independent of collectd. Unless stated otherwise, times are
 * milliseconds since the epoch.
 */

typedef enum {
  CONDITION_FAILED, /* for an instance */
  CONDITION_STALLED,
  CONDITION_OVERDUE,
  CONDITION_INSTANCE_ERROR,
  CONDITION_CREDENTIAL, /* for an account */
  CONDITION_UNREACHABLE,
  CONDITION_RATE_LIMITED,
  CONDITION_REFUSED,
  CONDITIONS
} condition_t;

#define CONDITIONS_OF_INSTANCE CONDITION_CREDENTIAL /* the first ones */

/* What has been reported for an instance or an account. */
typedef struct {
  const char *name;           /* plugin_instance */
  struct notices_s *notices;  /* where new notices go */
  bool has_begun[CONDITIONS]; /* and has not ended */
  int64_t failed_at;          /* the latest end of a failed job; 0: unknown */
} reported_t;

/* Returns "failed", "stalled", ..., the type_instance; a static string. */
const char *condition_name(condition_t condition);

/* What the API says about the instance itself. */
typedef struct {
  int64_t created_at;       /* or AIS_TIME_NONE */
  int64_t sync_interval;    /* ms between two scheduled jobs; 0: unknown */
  enum ais_indexed indexed; /* whether it has sync jobs at all */
  bool disabled;            /* the owner has turned syncing off */
  bool paused;              /* by its owner or by the service */
  bool in_error;
  char status[32]; /* the API's status, made printable; empty: none */
} facts_t;

/* The API's default, used if the interval is unknown. */
#define FACTS_SYNC_INTERVAL (INT64_C(21600) * 1000) /* ms */

/* The number of the instance's items in each state. It is requested right after
 * a lookup of its jobs: whenever a job has ended, and otherwise once in four
 * idle intervals. Times are of the monotonic clock. */
typedef struct {
  bool known;
  struct ais_stats stats;
  int64_t due_at; /* 0: no lookup of its jobs has ended yet */
} items_t;

typedef struct {
  char *name; /* ACCOUNT-INSTANCE[@NAMESPACE], the plugin_instance */
  char *id;
  char *namespace; /* NULL: not given */
  enum ais_generation generation;
  bool is_named;     /* in the configuration: never removed */
  size_t polls;      /* one for its job list, or one per pinned job */
  size_t polls_over; /* polls of pinned jobs that have ended */
  int64_t listed_at; /* when it was last found in a list, by ais_clock(); 0:
                        never */

  /* protected by the account's lock */
  history_t history;
  facts_t facts;
  bool is_known; /* facts are valid, possibly from before a restart */
  bool awaited;  /* it is still open whether facts can be read */
  reported_t reported;
  items_t items;
  int64_t read_at; /* when the latest good response was generated; before the
                      first one, when the instance was first heard of */
  bool is_gone;    /* its conditions must still be reported as 0 */
  bool is_over;    /* and they were */

  /* How many jobs have ended, according to the state file being written and to
   * the last one that was written. Only the latter is reported, so that a
   * restart never decreases a counter. */
  uint64_t writing[AIS_STATES];
  uint64_t written[AIS_STATES];
} instance_t;

/* The latest good response for a job list or a pinned job. */
typedef struct {
  bool good;           /* the latest response was good */
  int64_t answered_at; /* when it was generated; 0: none yet */
  size_t running;      /* number of running jobs */

  /* The newest job of the list, or the pinned job. */
  bool has_job;
  enum ais_state state;
  int64_t started_at, ended_at, last_seen_at;
} latest_t;

/* Where an instance's values go, and what they depend on. */
typedef struct metrics_s metrics_t;
struct metrics_s {
  int64_t now;
  int64_t lifetime; /* for how long a response is reported, ms */
  bool details;     /* ReportDetails */

  const char *plugin_instance;
  const char *job; /* an id to append to type instances; NULL: none */

  /* Receives a value of a type from types.db; name is the type instance. */
  void (*dispatch)(const metrics_t *metrics, const char *type, const char *name,
                   double value);
  const void *data; /* for dispatch() */
};

/* Dispatches a value, unless it is negative or NaN, which means unknown. */
void metrics_add(const metrics_t *metrics, const char *type, const char *name,
                 double value);

/* Copies text from the API (NULL: empty) and makes it printable. Text that does
 * not fit in size bytes is cut between two UTF-8 characters and ends with
 * "...". */
void text_copy(char *to, size_t size, const char *from);

/* Returns the time between two points in time in ms, or -1 if one of them is
 * AIS_TIME_NONE. A negative difference, which clock skew can cause, counts as
 * 0. */
int64_t time_between(int64_t from, int64_t to);

/* Initializes an instance about which nothing is known. history_free() frees
 * what it allocates later. */
void instance_init(instance_t *instance, int64_t now);

void facts_take(facts_t *facts, const struct ais_instance *instance);

/* Returns why no scheduled job is expected, as a static sentence, or NULL if
 * jobs are expected. Paused is no excuse for an instance in error, because then
 * its owner has not paused it. */
const char *facts_excuse(const facts_t *facts);

/* Returns the number of ms between two scheduled jobs, or the default if it is
 * unknown. */
int64_t facts_interval(const facts_t *facts);

/* Stores a good response, which was generated at answered_at. */
void latest_take(latest_t *latest, const struct ais_answer *answer,
                 int64_t answered_at);

/* To be called after each lookup of the jobs. Returns whether to request the
 * items now, which is a time of the monotonic clock. */
bool items_due(items_t *items, bool has_ended, int64_t now);

/* Stores the response. stats is NULL if there was no good one; is_soon: a good
 * one may follow soon. idle is the current idle interval in ms, including any
 * stretch. */
void items_take(items_t *items, const struct ais_stats *stats, bool is_soon,
                int64_t idle, int64_t now);

/*
 * Dispatch the values of an instance, or those of one of its polls: of the
 * given job, or of the list (job is NULL). Values of jobs are reported until
 * the response is too old, all other values always.
 */
void instance_metrics(const instance_t *instance, metrics_t *metrics);
void latest_metrics(const latest_t *latest, const instance_t *instance,
                    const char *job, metrics_t *metrics);

/* Whether there has been no good response for more than lifetime ms. */
bool instance_is_unread(const instance_t *instance, int64_t now,
                        int64_t lifetime);

#endif
