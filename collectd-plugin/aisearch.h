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
 * The plugin's data. Accounts are created while the configuration is read and
 * freed in the shutdown callback. In between, the polling thread and the read
 * callbacks share the members marked "lock": these are written, and read by the
 * read callbacks, with the account's lock held.
 */

/* Limits for concurrent requests: over HTTP/2, and to a host that does not
 * support it. With more connections, requests would only queue while their
 * timeouts run. */
#define MAX_STREAMS 100
#define MAX_CONNECTIONS 32

/* The very first request runs alone, because neither the API's remaining budget
 * nor whether it accepts the credential is known yet. */
#define ROOM_AT_FIRST 1

/* The number of requests that "collectd -T" sends for each account. */
#define TEST_REQUESTS 3

typedef struct account_s account_t;
typedef struct poll_s poll_t;
typedef struct request_s request_t;
typedef struct list_s list_t;

/* The result of a request. */
typedef struct {
  bool good;
  bool put_off;         /* no outcome yet: send it again */
  enum ais_fault fault; /* NONE even if the API says there is no resource */
  struct ais_verdict verdict;
  int code;       /* the API's error code; 0: none */
  unsigned spent; /* calls charged to the budget */
  int64_t closed; /* ms for which the API wants no more calls */
  struct ais_error why;
  struct ais_answer answer; /* only if good; freed after the callback */
  const struct ais_response *response;
} result_t;

/* A single GET request. Zero-initialized; the caller sets the first members. */
struct request_s {
  account_t *account;
  struct ais_resource resource; /* its strings must outlive the request */
  budget_part_t part; /* the part of the budget it may spend. A FACTS request
                         does not affect the account's state, and it is not sent
                         with a rejected credential */
  void (*done)(request_t *request, result_t *result);
  bool is_witness; /* it checks the credential for the witness */

  bool under_way;
  bool is_trial;            /* it tries the other path form */
  bool is_namespaced;       /* it uses the namespaced path form */
  struct ais_pass pass;     /* from the breaker */
  struct ais_choice choice; /* of the credential */
};

/* The last problem that was logged. */
typedef struct {
  int kind; /* a fault or an HTTP status; 0: none */
  bool is_logged;
} trouble_t;

/* Something to look up repeatedly: an instance's job list, or a pinned job.
 * There may be thousands. */
struct poll_s {
  request_t request;
  instance_t *instance;
  char *job;  /* NULL: the job list */
  bool leads; /* the first of its instance, reports the instance's values */

  schedule_entry_t turn;
  unsigned page;        /* the next page of the list to request */
  bool wants_items;     /* request the items' statistics next, not the jobs */
  schedule_next_t then; /* when the next lookup is due after that */
  trouble_t trouble;
  trouble_t items_trouble;

  latest_t latest; /* lock */
  poll_t *prev;    /* lock */
  poll_t *next;    /* lock */
};

/* An account's credential. Its file is checked before each request and read
 * again if it has changed. */
typedef struct {
  char *email; /* NULL: the file holds a token, not a key */
  char *file;  /* NULL: an nginx in between adds the credential */
  struct ais_credential *secret; /* NULL: not read successfully yet */
  struct ais_rotation rotation;  /* with a single slot */
  struct ais_witness witness;
  request_t ask; /* the witness's request */
} credential_t;

/* How requests with a given part of the budget reach the API. */
typedef struct {
  budget_t *budget;
  budget_part_t part;
  struct ais_gate gate;
  struct ais_target target;
} way_t;

/* The values of a repeatable option. */
typedef struct {
  char **text;
  size_t n;
} texts_t;

/* The discovery settings of an account. */
typedef struct {
  bool wanted;
  selection_t selection;
  texts_t namespaces; /* one list each; if there are none, the account's list is
                         used */
  int64_t interval;   /* ms between the starts of two rounds */
} discovery_settings_t;

/* The values reported for an account. */
typedef struct {
  size_t instances;
  derive_t requests; /* requests sent, including retries */
  derive_t errors[AIS_FAULTS];
  double response_time; /* seconds, the sum since the last report */
  size_t responses;     /* the number of responses in that sum */
  uint32_t budget_left;
  double budget_percent;
  double stretch;
} account_values_t;

struct account_s {
  char *name;
  char *account_id;
  char *api_url; /* NULL: the default */
  char *unix_socket;
  char *ca_cert; /* NULL: the system's CA certificates */
  char *proxy;
  struct ais_target target;
  int64_t active_interval; /* ms */
  int64_t idle_interval;   /* ms */
  discovery_settings_t discover;
  int64_t stalled_after; /* ms; 0: never */
  int64_t overdue_after; /* ms; 0: never; or OVERDUE_BY_INTERVAL */
  bool has_details;      /* ReportDetails */
  bool has_items;        /* ReportItems */
  bool is_partial;  /* one of its blocks was rejected: do not end the conditions
                       of instances that are unknown */
  account_t *payer; /* the account whose budget it spends: itself, or another
                       account with the same credential */

  /* used only by the polling thread */
  credential_t credential;
  struct ais_client *client; /* shared by all accounts */
  way_t ways[BUDGET_PARTS];
  struct ais_breaker breaker;
  int64_t probe_pause; /* ms between two requests while the breaker is open */
  int64_t probe_at;    /* when the next one may be sent */
  struct ais_form form;
  size_t trials;       /* requests under way that try the other path form */
  budget_t budget;     /* payer only */
  schedule_t schedule; /* payer only */
  list_t *lists;
  int64_t logged_at; /* start of the interval in which that many problems */
  size_t logged;     /* were logged or counted */
  size_t under_way;  /* payer only: requests in progress */
  size_t room;       /* payer only: the limit for them */
  size_t asked;      /* requests since the start */
  bool is_test;      /* "collectd -T": limit the requests */

  pthread_mutex_t lock;
  poll_t *first;           /* lock */
  poll_t *last;            /* lock */
  size_t polls;            /* lock */
  void *by_name;           /* tsearch() tree: the first poll of each instance */
  account_values_t values; /* lock */
  size_t answers;          /* lock; completed requests since the start */
  char fault[256];         /* lock; the latest error, "" if there was none */
  conditions_account_t conditions; /* lock */
  notices_t notices;               /* lock */

  /* used only by the read callback */
  cdtime_t interval; /* between two reports of the same value */
  size_t slices;     /* read callbacks per interval; each reports a part */
  size_t slice;      /* the current one */
  bool is_complete;  /* all polls were reported in this interval */
  size_t to_tell;    /* notifications to send after the values */
  poll_t *cursor;    /* lock; the next poll to report */

  account_t *next;
};

/* account.c: accounts, their instances and their polls. */

/* Logs a message about an account. */
#define account_log(account, level, format, ...)                               \
  plugin_log(level, "aisearch plugin: Account \"%s\"" format, (account)->name, \
             ##__VA_ARGS__)

/* Frees the account, but neither the values of its options nor its lists. The
 * polling thread must not be running. */
void account_free(account_t *account);

/* Identifies a poll. poll_add() copies the strings. */
typedef struct {
  const char *instance;
  const char *namespace; /* NULL: not given */
  const char *job;       /* NULL: the job list */
  enum ais_generation generation;
} poll_what_t;

/* Writes the instance's name: ACCOUNT-INSTANCE[@NAMESPACE]. */
void poll_name(char name[DATA_MAX_NAME_LEN], const account_t *account,
               const poll_what_t *what);

/* Appends a poll to the account, which owns it. Returns NULL if out of
 * memory. */
poll_t *poll_add(account_t *account, const poll_what_t *what);

/* Returns the first poll of the instance with that name, or NULL. */
poll_t *poll_find(const account_t *account, const char *name);

/* Schedules a new poll, or one whose instance has reappeared. If its request is
 * still in progress, it is scheduled when that ends. */
void poll_schedule(poll_t *poll);

/* Frees the polls of instances that are gone, once their last values were
 * reported. */
void account_sweep(account_t *account);

/* Fill in the resource of that kind for the poll's instance or job, which the
 * resource's strings refer to; and a label for log messages. */
void poll_resource(const poll_t *poll, enum ais_kind kind,
                   struct ais_resource *resource);
void poll_label(const poll_t *poll, char *label, size_t size);

/* The wall clock, in ms since the epoch. ais_clock() is the monotonic clock. */
static inline int64_t epoch(void) { return (int64_t)CDTIME_T_TO_MS(cdtime()); }

/* config.c */

typedef struct {
  account_t *accounts;
  char *state_path;
  bool is_refused; /* a block was rejected, or part of one */
} config_t;

/* Reads a <Plugin aisearch> block and adds its accounts to config. An invalid
 * block is skipped after an error message. */
void config_read(const oconfig_item_t *ci, config_t *config);

/* Frees an account and the values of its options, but not its lists. */
void config_free(account_t *account);

/* request.c: see request_t. All functions belong to the polling thread; before
 * it starts, to the thread that reads the configuration. */

/* Reads the credential if it has not been read yet or its file has changed, and
 * logs problems with it. */
void credential_read(account_t *account);

/* request_pause() returns for how many ms the account must not send requests.
 * request_wait() returns how many ms it takes until a request that spends this
 * part of the payer's budget may be sent, or AIS_NEVER if that depends on
 * another event. */
int64_t request_pause(const account_t *account);
int64_t request_wait(account_t *payer, budget_part_t part);

/* Sends a request, which must not be freed until done() was called. done() is
 * called exactly once, possibly before request_send() returns. */
void request_send(request_t *request);

/* Whether the API answered but refused the request, or said that the resource
 * does not exist. This may change later, but seldom soon. */
bool result_is_no(const result_t *result);

/* request_complain() logs a problem once, when the fault or the HTTP status of
 * a refusal changes. label names what could not be read. Only the first
 * problems in an interval (ms) are logged individually; request_complain_more()
 * logs how many were not. */
void request_complain(account_t *account, trouble_t *trouble, const char *label,
                      const result_t *result);
void request_complain_more(account_t *account, int64_t interval);

/* lists.c: reads lists of instances, and adds and removes instances
 * accordingly. lists_start() returns -1 if out of memory. All functions belong
 * to the polling thread while it runs. */
int lists_start(account_t *account);
void lists_free(account_t *account);

/* Sends the requests that are due. Returns the number of ms until the next ones
 * are, but at most limit. */
int64_t lists_poll(account_t *account, int64_t limit);

/* poller.c: the polling thread. poller_start() returns -1 after an error
 * message; the accounts must stay until poller_free(). */
int poller_start(account_t *accounts, bool is_test);
void poller_stop(void); /* joins the thread */
void poller_free(void);

/* Wake up the thread from any other thread: the state file was written, or all
 * of an account's values were reported in this interval. */
void poller_wake(void);
void poller_reported(void);

/* report.c: the read callback dispatches an account's values, one slice per
 * call. It always returns 0, because collectd doubles the interval of a read
 * callback that fails. */
void report_prepare(account_t *account, cdtime_t interval);
int report(user_data_t *ud);

/* The read callback for "collectd -T": waits for a few responses and logs
 * whether they are good. Returns -1 if one is not, or if they do not arrive
 * within Timeout. */
int report_test(user_data_t *ud);

#endif
