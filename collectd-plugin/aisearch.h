#ifndef AISEARCH_H
#define AISEARCH_H

#include "collectd.h"

#include "plugin.h"
#include "utils/common/common.h"

#include "ais_breaker.h"
#include "ais_client.h"
#include "ais_clock.h"
#include "ais_form.h"
#include "ais_witness.h"

#include "budget.h"
#include "conditions.h"
#include "discovery.h"
#include "schedule.h"
#include "selection.h"

/*
 * The data of the plugin. Accounts are made while the configuration is read and
 * freed in the shutdown callback. In between, the thread that polls writes what
 * is marked "lock", and the read callbacks read it.
 */

/* Requests under way: so many over HTTP/2, and so many to a host that does not
 * speak it, where more would only wait in line, with the time running. */
#define MAX_STREAMS 100
#define MAX_CONNECTIONS 32

/* The first one of all is alone until it is over: what the API leaves to be
 * spent, and whether it accepts the credential, is not known before. */
#define ROOM_AT_FIRST 1

/* "collectd -T" asks for so much of each account. */
#define TEST_REQUESTS 3

typedef struct account_s account_t;
typedef struct poll_s poll_t;
typedef struct request_s request_t;
typedef struct list_s list_t;

/* What came of a request. */
typedef struct {
  bool good;
  bool put_off;         /* nothing has: it is to be sent again */
  enum ais_fault fault; /* NONE also where the API says that there is none */
  struct ais_verdict verdict;
  int code;       /* that the API says no with; 0: none */
  unsigned spent; /* calls that it has cost */
  int64_t closed; /* for how long no more calls are wanted, ms */
  struct ais_error why;
  struct ais_answer answer; /* only where good; freed after the callback */
  const struct ais_response *response;
} result_t;

/* One GET; zeroed at first. The caller sets the first ones. */
struct request_s {
  account_t *account;
  struct ais_resource resource; /* its views last until it is over */
  budget_part_t part; /* of the budget, that it may spend. Of FACTS: what comes
                         of it says nothing of the account, and it does not go
                         with a credential that is refused */
  void (*done)(request_t *request, result_t *result);
  bool is_witness; /* what the credential's witness was asked for */

  bool under_way;
  bool is_trial;            /* whether the API knows the other form of paths */
  bool is_namespaced;       /* it is asked for in that one */
  struct ais_pass pass;     /* of the breaker */
  struct ais_choice choice; /* the credential */
};

/* What was complained about. */
typedef struct {
  int kind; /* a fault or a status; 0: nothing */
  bool is_logged;
} trouble_t;

/* What is asked for again and again: the list of an instance's jobs, or a
 * pinned job. There may be thousands. */
struct poll_s {
  request_t request;
  instance_t *instance;
  char *job;  /* NULL: the list */
  bool leads; /* it is the instance's first one, and reports for it */

  schedule_entry_t turn;
  unsigned page;        /* of the list, to be asked for next */
  bool wants_items;     /* the items are, and not the jobs */
  schedule_next_t then; /* when to look again after that */
  trouble_t trouble;
  trouble_t items_trouble;

  latest_t latest; /* lock */
  poll_t *prev;    /* lock */
  poll_t *next;    /* lock */
};

/* The credential of an account: its file is looked at before each request, and
 * read again when it has changed. */
typedef struct {
  char *email;                   /* NULL: the file has a token, and no key */
  char *file;                    /* NULL: an nginx in between has it */
  struct ais_credential *secret; /* NULL: it could not be read yet */
  struct ais_rotation rotation;  /* of a single slot */
  struct ais_witness witness;
  request_t ask; /* of the witness */
} credential_t;

/* The way to the API with a part of the budget. */
typedef struct {
  budget_t *budget;
  budget_part_t part;
  struct ais_gate gate;
  struct ais_target target;
} way_t;

/* What a repeatable option says. */
typedef struct {
  char **text;
  size_t n;
} texts_t;

/* What of it the configuration says about discovery. */
typedef struct {
  bool wanted;
  selection_t selection;
  texts_t namespaces; /* each has a list of its own; none: the account's list */
  int64_t interval;   /* ms, between two rounds */
} discovery_settings_t;

/* What is reported of an account. */
typedef struct {
  size_t instances;
  derive_t requests; /* that were sent, repeats included */
  derive_t errors[AIS_FAULTS];
  double response_time; /* seconds, sum since the last report */
  size_t responses;     /* how many are in that sum */
  uint32_t budget_left;
  double budget_percent;
  double stretch;
} account_values_t;

struct account_s {
  char *name;
  char *account_id;
  char *api_url; /* NULL: the API's */
  char *unix_socket;
  char *ca_cert; /* NULL: the system's */
  char *proxy;
  struct ais_target target;
  int64_t active_interval; /* ms */
  int64_t idle_interval;   /* ms */
  discovery_settings_t discover;
  int64_t stalled_after; /* ms; 0: never */
  int64_t overdue_after; /* ms; 0: never; or OVERDUE_BY_INTERVAL */
  bool has_details;      /* all values are reported */
  bool has_items;        /* and what is indexed */
  bool is_partial;       /* a block of it was refused: who knows whose */
  account_t *payer;      /* whose budget it spends: its own, or that of another
                            account with the same credential */

  /* of the thread */
  credential_t credential;
  struct ais_client *client; /* shared by all */
  way_t ways[BUDGET_PARTS];
  struct ais_breaker breaker;
  int64_t probe_pause; /* while it is open: between two requests */
  int64_t probe_at;    /* and when the next one may be sent */
  struct ais_form form;
  size_t trials;       /* requests that try the other one */
  budget_t budget;     /* of a payer */
  schedule_t schedule; /* of a payer */
  list_t *lists;
  int64_t logged_at; /* begin of an interval, in which so many were */
  size_t logged;     /* complained about, */
  size_t under_way;  /* of a payer: how many requests */
  size_t room;       /* of a payer: and how many there may be */
  size_t asked;      /* requests, since ever */
  bool is_test;      /* and there are not to be many */

  pthread_mutex_t lock;
  poll_t *first;           /* lock */
  poll_t *last;            /* lock */
  size_t polls;            /* lock */
  void *by_name;           /* a tree: the first poll of each instance */
  account_values_t values; /* lock */
  size_t answers;          /* lock; requests that are over, since ever */
  char fault[256];         /* lock; the latest one of them */
  conditions_account_t conditions; /* lock */
  notices_t notices;               /* lock */

  /* of the read callback */
  cdtime_t interval; /* of each value */
  size_t slices;     /* the calls in one interval; each reports a part */
  size_t slice;      /* which of them it is */
  bool is_complete;  /* all polls are reported */
  size_t to_tell;    /* notices, after the values */
  poll_t *cursor;    /* lock; the next one to report */

  account_t *next;
};

/* account.c: accounts, their instances, and what is polled of them. */

/* Logs a message about an account. */
#define account_log(account, level, format, ...)                               \
  plugin_log(level, "aisearch plugin: Account \"%s\"" format, (account)->name, \
             ##__VA_ARGS__)

/* Frees one, but not what its options have set, nor its lists. */
void account_free(account_t *account);

/* What makes a poll; the strings are copied. */
typedef struct {
  const char *instance;
  const char *namespace; /* NULL: not given */
  const char *job;       /* NULL: the list */
  enum ais_generation generation;
} poll_what_t;

/* ACCOUNT-INSTANCE[@NAMESPACE] */
void poll_name(char name[DATA_MAX_NAME_LEN], const account_t *account,
               const poll_what_t *what);

/* Adds one to the account, behind all others. Returns NULL where memory runs
 * out. */
poll_t *poll_add(account_t *account, const poll_what_t *what);

/* The first one of that instance, or NULL. */
poll_t *poll_find(const account_t *account, const char *name);

/* Puts a new poll, or an instance that has come back, into the schedule; one
 * that is under way, at its end. */
void poll_schedule(poll_t *poll);

/* Frees what is gone, once that was reported. */
void account_sweep(account_t *account);

/* What the API has of its instance; and a text for messages. */
void poll_resource(const poll_t *poll, enum ais_kind kind,
                   struct ais_resource *resource);
void poll_label(const poll_t *poll, char *label, size_t size);

/* The time of the world, ms since the epoch; see ais_clock() for the other. */
static inline int64_t epoch(void) { return (int64_t)CDTIME_T_TO_MS(cdtime()); }

/* config.c */

typedef struct {
  account_t *accounts;
  char *state_path;
  bool is_refused; /* a block of it is, or a part of one */
} config_t;

/* Reads a <Plugin aisearch> block: adds its accounts to the others. What is
 * wrong costs its own block, after a message. */
void config_read(const oconfig_item_t *ci, config_t *config);

/* Frees an account, and what its options have set in it. */
void config_free(account_t *account);

/* request.c: see request_t. */

/* Reads the credential where its file was not read yet, or has changed, and
 * logs what is wrong with it. */
void credential_read(account_t *account);

/* How long, in ms, the account is not to ask; and how long until one of those
 * that spend the payer's budget may, with that part of it, or AIS_NEVER where
 * something else has to happen. */
int64_t request_pause(const account_t *account);
int64_t request_wait(account_t *payer, budget_part_t part);

/* Begins one. done() is called once, perhaps from inside. */
void request_send(request_t *request);

/* The API answers, but with a no. That may be over later, but hardly soon. */
bool result_is_no(const result_t *result);

/* Logs once per change of the fault, or of the status that says no. label says
 * what cannot be read. Of many in one interval, the first ones are named. */
void request_complain(account_t *account, trouble_t *trouble, const char *label,
                      const result_t *result);
void request_complain_more(account_t *account, int64_t interval);

/* lists.c: asks for lists of instances, and adds and removes as they tell. */
int lists_start(account_t *account);
void lists_free(account_t *account);

/* Begins what is due. Returns how long until there is more, ms, but no more
 * than limit. */
int64_t lists_poll(account_t *account, int64_t limit);

/* poller.c: the thread. */
int poller_start(account_t *accounts, bool is_test);
void poller_stop(void); /* the thread */
void poller_free(void);

/* Wakes it up: the state file was written, or all of an interval is reported.
 */
void poller_wake(void);
void poller_reported(void);

/* report.c: the read callback dispatches the values of an account, slice by
 * slice. Always 0: after anything else collectd would ask less and less often.
 */
void report_prepare(account_t *account, cdtime_t interval);
int report(user_data_t *ud);

/* The same for "collectd -T": waits for a few answers, and says what they are.
 * Returns -1 where there is a fault. */
int report_test(user_data_t *ud);

#endif
