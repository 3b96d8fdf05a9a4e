#ifndef AISEARCH_H
#define AISEARCH_H

#include "collectd.h"

#include "plugin.h"
#include "utils/common/common.h"
#include "utils_complain.h"

#include "ais_breaker.h"
#include "ais_client.h"
#include "ais_form.h"
#include "ais_policy.h"
#include "ais_resource.h"

#include "budget.h"
#include "discovery.h"
#include "credential.h"
#include "form.h"
#include "items.h"
#include "jobs.h"
#include "reading.h"
#include "schedule.h"
#include "watch.h"

/*
 * The data of the plugin. Accounts are made while the configuration is read and
 * freed in the shutdown callback. In between, the thread that fetches writes
 * what is marked "lock", and the read callbacks read it.
 */

/* Connections to one host where it does not speak HTTP/2: more look-ups than
 * that would only wait in line, with the time running. */
#define MAX_CONNECTIONS 32

typedef struct lookup_s lookup_t;
typedef struct instance_list_s instance_list_t;

/* What was complained about. */
typedef struct {
  int kind; /* a fault or a status; 0: nothing */
  c_complain_t complaint;
} trouble_t;

/* Of the account's breaker, for one request. */
typedef struct {
  struct ais_pass pass;
  bool is_held;
} pass_t;

/* Of an account: how much was complained about in the present interval. */
typedef struct {
  int64_t since; /* of aisearch_clock() */
  size_t named;
  size_t more; /* beyond that, and only counted */
} complaints_t;

/* What is asked for again and again: the list of an instance, or a pinned job.
 * There may be thousands. */
struct lookup_s {
  account_t *account;
  char *plugin_instance; /* ACCOUNT-INSTANCE[@NAMESPACE] */
  char *instance;
  char *namespace; /* NULL: not given */
  char *job;       /* NULL: the list */
  enum ais_generation generation;
  watch_t *watch; /* of the instance, with all of its pinned jobs */
  bool leads;     /* it is the first of them, and reports for the instance */
  bool is_named;  /* by the configuration: it stays */

  /* of the thread that fetches */
  schedule_entry_t turn;
  unsigned page;        /* of the list, to be asked for next */
  bool wants_items;     /* the items are, and not the jobs */
  schedule_next_t then; /* when to look again after that */
  form_t form;
  bool under_way;
  bool gone;                /* removed meanwhile: laid aside until it is over */
  struct ais_choice choice; /* the credential that it asks with */
  pass_t pass;
  trouble_t trouble;

  reading_t reading; /* lock */
  jobs_t jobs;       /* lock; of a list, where they are reported */
  items_t items;     /* lock; the same */
  trouble_t items_trouble;

  lookup_t *prev; /* lock */
  lookup_t *next; /* lock */
};

/* How all of an account are looked at. */
typedef struct {
  int64_t active_interval; /* ms */
  int64_t idle_interval;   /* ms */
  size_t max_streams;      /* look-ups under way */
} pacing_t;

/* Where lists of instances are asked for, with a part of the budget. */
typedef struct {
  budget_t *budget;
  budget_part_t part;
  struct ais_gate gate;
  struct ais_target target;
} account_part_t;

struct account_s {
  char *name;
  char *account_id;
  char *ca_cert; /* NULL: the system's */
  char *proxy;
  struct ais_target target;
  pacing_t pacing;
  discovery_settings_t discover;
  conditions_settings_t alarms;
  bool report_source; /* counters by source */
  bool report_jobs;   /* more than the most important values */
  bool report_items;  /* what is indexed */
  account_t *payer;   /* whose budget it spends: its own, or that of another
                         account with the same credential */

  /* of the thread that fetches */
  credential_t credential;
  struct ais_client *client; /* shared by accounts with the same CACert */
  struct ais_gate gate;
  account_part_t parts[BUDGET_PARTS];
  struct ais_breaker breaker;
  struct ais_choice witness_choice; /* what the witness is asked with */
  pass_t witness_pass;
  struct ais_form form;
  size_t trials;       /* look-ups that try the other one */
  budget_t budget;     /* of a payer */
  schedule_t schedule; /* of a payer */
  instance_list_t *lists;
  lookup_t *aside; /* removed, but under way */
  complaints_t complaints;
  size_t under_way; /* of a payer: how many look-ups */
  bool is_single;   /* of a payer: no two of them share a connection */
  bool is_known;    /* of a payer: the API has answered, or has had the time */
  int64_t began_at; /* of a payer: its first look-up; 0: not yet */

  pthread_mutex_t lock;
  lookup_t *first;   /* lock */
  lookup_t *last;    /* lock */
  size_t lookups;    /* lock */
  void *by_name;     /* a tree: the first look-up of each plugin instance */
  derive_t requests; /* lock; requests sent, repeats included */
  derive_t errors[AIS_FAULTS]; /* lock */
  double response_time;        /* lock; seconds, sum since the last report */
  size_t responses;            /* lock; how many are in that sum */
  uint32_t budget_left;        /* lock */
  double budget_stretch;       /* lock */
  int64_t watched_at;          /* lock; when the thread was last at work */
  conditions_account_t conditions; /* lock */
  outbox_t outbox;                 /* lock */

  /* of the read callback */
  cdtime_t interval; /* of each value */
  size_t slices;     /* the calls in one interval; each reports a part */
  size_t slice;      /* which of them it is */
  bool is_complete;  /* all look-ups are reported */
  size_t reported;   /* look-ups since the first slice */
  lookup_t *cursor;  /* lock; the next one to report */
  notice_t *notices; /* to be told after the values */

  account_t *next;
};

#pragma GCC visibility push(hidden)

/* config.c: reads a <Plugin aisearch> block and adds its accounts to the
 * list. Returns non-zero, after a message, where something is wrong; collectd
 * does not start then. */
int aisearch_config(oconfig_item_t *ci, account_t **accounts);
void aisearch_accounts_free(account_t *accounts);

/* lookup.c: what an account looks at. */

/* What makes one; the strings are copied. */
typedef struct {
  const char *instance;
  const char *namespace; /* NULL: not given */
  const char *job;       /* NULL: the list */
  enum ais_generation generation;
} lookup_what_t;

/* ACCOUNT-INSTANCE[@NAMESPACE] */
void aisearch_lookup_name(char name[DATA_MAX_NAME_LEN],
                          const account_t *account, const lookup_what_t *what);

/* Adds one to the account, behind all others. Returns NULL where memory runs
 * out. */
lookup_t *aisearch_lookup_add(account_t *account, const lookup_what_t *what);

/* The first one of that plugin instance, or NULL. */
lookup_t *aisearch_lookup_find(const account_t *account, char *plugin_instance);

/* Takes it out of the account, and frees it; one that is under way is laid
 * aside until it is over. */
void aisearch_lookup_remove(lookup_t *lookup);
void aisearch_lookup_over(lookup_t *lookup);
void aisearch_lookup_free(lookup_t *lookup);
void aisearch_lookups_free(account_t *account);

/* What the API has of its instance; of that, what it asks for, with the path;
 * and a text for messages. */
void aisearch_lookup_about(const lookup_t *lookup, enum ais_kind kind,
                           struct ais_resource *resource);
void aisearch_lookup_path(const lookup_t *lookup, struct ais_resource *resource,
                          char path[AIS_RESOURCE_PATH_MAX]);
void aisearch_lookup_label(const lookup_t *lookup, char *label, size_t size);

/* look.c: looks at one, in the thread that fetches. */
void aisearch_look(lookup_t *lookup);

/* A request of the payer's begins, or is over. */
void aisearch_look_begins(account_t *payer);
void aisearch_look_ends(account_t *payer, const struct ais_response *response);

/* Whether there is room for one more; and how long until there may be, even if
 * none of them ends, in ms; -1: for ever. */
bool aisearch_look_has_room(const account_t *payer);
int64_t aisearch_look_wait(const account_t *payer);

/* discover.c: asks for lists of instances, in the thread that fetches, and adds
 * and removes look-ups as they tell. */

/* Once the named instances are there. Returns -1 where memory runs out. */
int aisearch_discover_start(account_t *account);
void aisearch_discover_free(account_t *account);

/* Begins what is due. Returns how long until there is more, in ms; -1: for
 * ever. */
int64_t aisearch_discover(account_t *account);

/* Two clocks, in ms: that of the world, and one that nobody sets. */
int64_t aisearch_epoch(void);
int64_t aisearch_clock(void);

/* fetch.c: starts and stops the thread. */
int aisearch_fetch_start(account_t *accounts);
void aisearch_fetch_stop(void);

/* All that was to be reported was: the thread may write the state down. */
void aisearch_fetch_reported(void);

/* report.c: dispatches the values of an account, slice by slice. */
void aisearch_report_prepare(account_t *account, cdtime_t interval);
void aisearch_report(account_t *account);

/* The notifications that no report will tell any more. */
void aisearch_report_last(account_t *account);

#pragma GCC visibility pop

#endif
