#ifndef INSTANCE_H
#define INSTANCE_H

#include "ais_answer.h"

#include "history.h"

/*
 * What is known of an instance, and the values that are made of it.
 *
 * Pure, without collectd in it. All times are milliseconds since the epoch.
 */

typedef enum {
  CONDITION_FAILED, /* of an instance */
  CONDITION_STALLED,
  CONDITION_OVERDUE,
  CONDITION_INSTANCE_ERROR,
  CONDITION_CREDENTIAL, /* of an account */
  CONDITION_UNREACHABLE,
  CONDITION_RATE_LIMITED,
  CONDITION_REFUSED,
  CONDITIONS
} condition_t;

#define CONDITIONS_OF_INSTANCE CONDITION_CREDENTIAL /* the first ones */

/* What was told of an instance or an account. */
typedef struct {
  const char *name;           /* the plugin instance */
  struct notices_s *notices;  /* where it is told */
  bool has_begun[CONDITIONS]; /* and not ended */
  int64_t failed_at;          /* the latest end of a failed job; 0: not known */
} told_t;

/* "failed", "stalled", ...: the type instance. */
const char *condition_name(condition_t condition);

/* What the API tells of the instance itself. */
typedef struct {
  int64_t created_at;       /* or AIS_TIME_NONE */
  int64_t sync_interval;    /* ms between two scheduled jobs; 0: not known */
  enum ais_indexed indexed; /* whether there are any */
  bool disabled;            /* its owner wants none */
  bool paused;              /* the same, or the service has stopped them */
  bool in_error;
  char status[32]; /* the API's word, made printable; empty: none */
} facts_t;

/* Where the API does not tell it: its default. */
#define FACTS_SYNC_INTERVAL (INT64_C(21600) * 1000) /* ms */

/* How many of its items are in which state. That is asked for right after looks
 * at its jobs: after each job that has ended, and else once in four idle
 * intervals. Times are of a clock that nobody sets. */
typedef struct {
  bool known;
  struct ais_stats stats;
  int64_t due_at; /* 0: its jobs were not looked at yet */
} items_t;

typedef struct {
  char *name; /* ACCOUNT-INSTANCE[@NAMESPACE]: the plugin instance */
  char *id;
  char *namespace; /* NULL: not given */
  enum ais_generation generation;
  bool is_named;     /* by the configuration: it stays */
  size_t polls;      /* its list, or its pinned jobs */
  size_t polls_over; /* those of jobs that have ended */
  int64_t listed_at; /* when a list told of it last, of ais_clock(); 0: never */

  /* under the account's lock */
  history_t history;
  facts_t facts;
  bool is_known; /* the facts are, now or from before a restart */
  bool awaited;  /* it is not known yet whether they can be known */
  told_t told;
  items_t items;
  int64_t read_at; /* when its latest good answer was made; before there was
                      one, when it was first heard of */
  bool is_gone;    /* its conditions are still to be reported as 0 */
  bool is_over;    /* and that was done */

  /* How many have ended, in the state file as it is being written, and as it
   * is: no more than that is reported, so that no restart takes it back. */
  uint64_t writing[AIS_STATES];
  uint64_t written[AIS_STATES];
} instance_t;

/* What the latest good answer for a list, or a pinned job, has told. */
typedef struct {
  bool good;           /* the latest of all was one */
  int64_t answered_at; /* when it was made; 0: never yet */
  size_t running;      /* how many jobs of it are */

  /* The newest job of a list, or the pinned one. */
  bool has_job;
  enum ais_state state;
  int64_t started_at, ended_at, last_seen_at;
} latest_t;

/* Where values of one plugin instance go, and what they depend on. */
typedef struct metrics_s metrics_t;
struct metrics_s {
  int64_t now;
  int64_t lifetime; /* of an answer, ms */
  bool details;     /* all that there is */

  const char *plugin_instance;
  const char *job; /* its id stands behind the names that follow; NULL: none */

  /* Takes a value of a type of types.db; name is the type instance. */
  void (*dispatch)(const metrics_t *metrics, const char *type, const char *name,
                   double value);
  const void *data; /* dispatch's own */
};

/* Dispatches one. What is not known is below 0 or no number, and left out. */
void metrics_add(const metrics_t *metrics, const char *type, const char *name,
                 double value);

/* Copies text of the API's (NULL: none), made printable. What has no room is
 * cut between two characters, and ends with "...". */
void text_copy(char *to, size_t size, const char *from);

/* How long it is from one time to another, ms; -1 where one of them is
 * AIS_TIME_NONE. Clocks differ, between us and the API too: nothing takes less
 * than 0. */
int64_t time_between(int64_t from, int64_t to);

/* Nothing is known. */
void instance_init(instance_t *instance, int64_t now);

void facts_take(facts_t *facts, const struct ais_instance *instance);

/* Why no scheduled job is to come, as a sentence; NULL: they are to come. What
 * is paused while it is in error has not been paused by its owner. */
const char *facts_excuse(const facts_t *facts);

/* What there is between two scheduled jobs, by all that is known. */
int64_t facts_interval(const facts_t *facts);

/* Takes over a good answer, which was made at that time. */
void latest_take(latest_t *latest, const struct ais_answer *answer,
                 int64_t answered_at);

/* A look at the jobs is over. Whether to ask for the items now. */
bool items_due(items_t *items, bool has_ended, int64_t now);

/* They were asked for. stats is NULL where there was no good answer; is_soon:
 * there may be one soon. idle is the idle interval, as stretched as it is. */
void items_take(items_t *items, const struct ais_stats *stats, bool is_soon,
                int64_t idle, int64_t now);

/*
 * Dispatches the values of an instance, and those of one of its polls: of that
 * job, or of the list (NULL). What was told of jobs is reported until the
 * answer is too old, all else always.
 */
void instance_metrics(const instance_t *instance, metrics_t *metrics);
void latest_metrics(const latest_t *latest, const instance_t *instance,
                    const char *job, metrics_t *metrics);

/* Whether nothing good was heard of it for longer than that. */
bool instance_is_unread(const instance_t *instance, int64_t now,
                        int64_t lifetime);

#endif
