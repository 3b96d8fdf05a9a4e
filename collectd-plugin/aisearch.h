#ifndef AISEARCH_H
#define AISEARCH_H

#include "collectd.h"

#include "plugin.h"
#include "utils/common/common.h"
#include "utils_complain.h"

#include "ais_client.h"
#include "ais_policy.h"
#include "ais_resource.h"

#include "budget.h"
#include "credential.h"
#include "reading.h"

/*
 * The data of the plugin. Accounts are made while the configuration is read and
 * freed in the shutdown callback. In between, the thread that fetches writes
 * what is marked "lock", and the read callbacks read it.
 */

typedef struct account_s account_t;
typedef struct lookup_s lookup_t;

/* What is asked for every interval: the list of an instance, or a pinned job.
 */
struct lookup_s {
  account_t *account;
  char label[288];                         /* for messages */
  char plugin_instance[DATA_MAX_NAME_LEN]; /* ACCOUNT-INSTANCE[@NAMESPACE] */
  char *instance;
  char *namespace; /* NULL: not given */
  char *job;       /* NULL: the list */
  struct ais_resource resource;
  char path[AIS_RESOURCE_PATH_MAX];

  /* of the thread that fetches */
  struct ais_fetch *fetch;  /* NULL: none under way */
  struct ais_choice choice; /* the credential that it asks with */
  int trouble;              /* what was complained about; 0: nothing */
  c_complain_t complaint;

  reading_t reading; /* lock */

  lookup_t *next;
  lookup_t *next_turn; /* in a ring of all that spend the same budget */
};

struct account_s {
  char *name;
  char *account_id;
  char *ca_cert; /* NULL: the system's */
  char *proxy;
  struct ais_target target;
  lookup_t *lookups;
  account_t *payer; /* whose budget it spends: its own, or that of another
                       account with the same credential */

  /* of the thread that fetches */
  credential_t credential;
  struct ais_client *client; /* shared by accounts with the same CACert */
  struct ais_gate gate;
  budget_t budget;     /* of a payer */
  lookup_t *last_turn; /* of a payer: who had it last */

  pthread_mutex_t lock;
  derive_t requests;           /* lock; requests sent, repeats included */
  derive_t errors[AIS_FAULTS]; /* lock */
  double response_time;        /* lock; seconds, sum since the last report */
  size_t responses;            /* lock; how many are in that sum */

  account_t *next;
};

#pragma GCC visibility push(hidden)

/* config.c: reads a <Plugin aisearch> block and adds its accounts to the
 * list. Returns non-zero, after a message, where something is wrong; collectd
 * does not start then. */
int aisearch_config(oconfig_item_t *ci, account_t **accounts);
void aisearch_accounts_free(account_t *accounts);

/* fetch.c: starts and stops the thread. */
int aisearch_fetch_start(account_t *accounts);
void aisearch_fetch_stop(void);

/* report.c: dispatches the values of one account and its look-ups. */
void aisearch_report(account_t *account);

#pragma GCC visibility pop

#endif
