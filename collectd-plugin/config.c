/* The configuration: a table of options for each kind of block. A block that is
 * wrong is left out, with a message that says what to do; the others stand. */

#include "aisearch.h"

#define API_URL "https://api.cloudflare.com/client/v4"

/* With it, the longest instance and the longest namespace, an identifier fits
 * DATA_MAX_NAME_LEN. */
#define ACCOUNT_NAME_MAX 28

#define RETRIES 2
#define DAY 86400.0
#define YEAR 31536000.0
#define HOUR_MS 3600000.0
#define MAX_CALLS 1000000.0

/* The thread may be late to see that a call is over. */
#define SLACK 1000 /* ms */

#define NAMESPACE_RULE                                                         \
  "Use 1 to 28 of a-z, 0-9 and -, the first and the last of them no -."

/* What an Account or an Instance block says, and is not kept as it stands.
 * Numbers are 0 where they are not given, and depend on others; OverdueAfter is
 * below. */
typedef struct {
  account_t *account;
  char *token_file, *key_file, *api_url, *unix_socket;
  double timeout, active_interval, idle_interval, discovery_interval;
  double stalled_after, overdue_after;
  budget_t budget; /* its limits */

  char *instance, *namespace, *generation;
} settings_t;

typedef struct {
  const char *name;
  enum { STRING, BOOLEAN, NUMBER, SPAN, OTHER, GONE } type;
  bool is_repeatable;
  bool is_kept;    /* by the account, or else in settings_t: */
  size_t offset;   /* in there */
  double min, max; /* of a number */
  int (*read)(settings_t *settings, const oconfig_item_t *ci);
} option_t;

/* Says what is wrong, and what to do, and is -1. */
#define refuse(account, ...)                                                   \
  (account_log(account, LOG_ERR, ": " __VA_ARGS__), -1)

/* ---- options ------------------------------------------------------------- */

static const option_t *find_option(const option_t *options, const char *name) {
  while (options->name != NULL && strcasecmp(options->name, name) != 0)
    options++;
  return options->name != NULL ? options : NULL;
}

static bool is_repeated(const oconfig_item_t *block, int index) {
  for (int i = 0; i < index; i++)
    if (strcasecmp(block->children[i].key, block->children[index].key) == 0)
      return true;
  return false;
}

static int refuse_unknown(const option_t *options, const oconfig_item_t *block,
                          const char *key) {
  char known[640] = "";

  for (; options->name != NULL; options++)
    if (options->type != GONE)
      ssnprintf(known + strlen(known), sizeof(known) - strlen(known), "%s%s",
                known[0] != '\0' ? ", " : "", options->name);
  ERROR("aisearch plugin: The option `%s' is not known in a `%s' block. Known "
        "ones: %s.",
        key, block->key, known);
  return -1;
}

/* A span may be 0, for never. The others are more than 0. */
static int read_number_option(settings_t *settings, const option_t *option,
                              const oconfig_item_t *ci) {
  double *value = (void *)((char *)settings + option->offset);
  bool is_span = option->type == SPAN;
  double max = is_span ? YEAR : option->max;

  if (cf_util_get_double(ci, value) != 0)
    return -1;
  if ((*value > 0.0 && *value >= option->min && *value <= max) ||
      (is_span && *value == 0.0))
    return 0;
  return refuse(settings->account,
                "%s %.15g is out of range. Use %g to %.0f%s.", option->name,
                *value, option->min, max, is_span ? ", or 0 for never" : "");
}

static int read_option(settings_t *settings, const option_t *option,
                       const oconfig_item_t *ci) {
  void *value =
      (option->is_kept ? (char *)settings->account : (char *)settings) +
      option->offset;

  switch (option->type) {
  case STRING:
    return cf_util_get_string(ci, value);
  case BOOLEAN:
    return cf_util_get_boolean(ci, value);
  case NUMBER:
  case SPAN:
    return read_number_option(settings, option, ci);
  case OTHER:
    return option->read != NULL ? option->read(settings, ci) : 0;
  case GONE:
    account_log(settings->account, LOG_WARNING,
                ": %s has no effect any more. Remove it.", option->name);
    return 0;
  }
  return -1;
}

/* Every option has to be one of these, and to stand there once, but for those
 * of which there may be several. */
static int read_block(settings_t *settings, const option_t *options,
                      const oconfig_item_t *block) {
  int status = 0;

  for (int i = 0; status == 0 && i < block->children_num; i++) {
    const oconfig_item_t *child = block->children + i;
    const option_t *option = find_option(options, child->key);

    if (option == NULL)
      return refuse_unknown(options, block, child->key);
    if (!option->is_repeatable && is_repeated(block, i)) {
      ERROR("aisearch plugin: The option `%s' is given twice in one `%s' "
            "block. Keep one of them.",
            child->key, block->key);
      return -1;
    }
    status = read_option(settings, option, child);
  }
  return status;
}

/* Budget CALLS SECONDS */
static int read_budget(settings_t *s, const oconfig_item_t *ci) {
  double calls, seconds;

  if (ci->values_num != 2 || ci->values[0].type != OCONFIG_TYPE_NUMBER ||
      ci->values[1].type != OCONFIG_TYPE_NUMBER)
    return refuse(s->account, "Budget takes two numbers, calls and seconds, "
                              "such as: Budget 300 300.");

  calls = ci->values[0].value.number;
  seconds = ci->values[1].value.number;
  if (!(calls >= 1.0 && calls <= MAX_CALLS) ||
      calls != (double)(uint32_t)calls || !(seconds >= 1.0 && seconds <= DAY))
    return refuse(s->account,
                  "Budget %.15g %.15g is out of range. Use a whole number of "
                  "calls from 1 to %.0f, and 1 to %.0f seconds.",
                  calls, seconds, MAX_CALLS, DAY);

  if (budget_limit(&s->budget,
                   (struct ais_budget_limit){(uint32_t)calls,
                                             (int64_t)(seconds * 1000.0)}) == 0)
    return 0;
  return refuse(
      s->account,
      "There are more than %d Budget options. Keep those that matter.",
      AIS_BUDGET_LIMITS);
}

/* An empty one is told of as such. */
static int read_discovered(settings_t *s, const oconfig_item_t *ci) {
  char reason[256] = "no instance can have this name";
  char *name = NULL;
  int status = cf_util_get_string(ci, &name);

  if (status == 0 && ((name[0] != '\0' && !selection_is_regex(name) &&
                       !ais_instance_valid(view(name), AIS_PLAIN)) ||
                      selection_add(&s->account->discover.selection, name,
                                    reason, sizeof(reason)) != 0))
    status = refuse(s->account,
                    "DiscoverInstance \"%s\" does not do: %s. Use an "
                    "instance's name, or a regular expression between slashes, "
                    "such as \"/^docs-/\".",
                    name, reason);
  sfree(name);
  return status;
}

static int read_namespace(settings_t *s, const oconfig_item_t *ci) {
  discovery_settings_t *discover = &s->account->discover;
  char **namespaces = realloc(
      discover->namespaces, (discover->nnamespaces + 1) * sizeof(*namespaces));
  char *name = NULL;

  if (namespaces == NULL)
    return refuse(s->account, "Out of memory.");
  discover->namespaces = namespaces;
  if (cf_util_get_string(ci, &name) != 0)
    return -1;

  namespaces[discover->nnamespaces++] = name;
  if (ais_namespace_valid(view(name)))
    return 0;
  return refuse(s->account,
                "DiscoverNamespace \"%s\" is no namespace's "
                "name. " NAMESPACE_RULE,
                name);
}

#define AT(member) .offset = offsetof(settings_t, member)
#define KEPT(member) .is_kept = true, .offset = offsetof(account_t, member)

/* The instances and their jobs are read when all else is known. */
static const option_t account_options[] = {
    {"AccountID", STRING, KEPT(account_id)},
    {"TokenFile", STRING, AT(token_file)},
    {"Email", STRING, KEPT(credential.email)},
    {"KeyFile", STRING, AT(key_file)},
    {"APIURL", STRING, AT(api_url)},
    {"UnixSocket", STRING, AT(unix_socket)},
    {"CACert", STRING, KEPT(ca_cert)},
    {"VerifyPeer", BOOLEAN, KEPT(target.verify_peer)},
    {"VerifyHost", BOOLEAN, KEPT(target.verify_host)},
    {"Proxy", STRING, KEPT(proxy)},
    {"Timeout", NUMBER, AT(timeout), .min = 1.0, .max = HOUR_MS},
    {"Budget", OTHER, .is_repeatable = true, .read = read_budget},
    {"ActiveInterval", NUMBER, AT(active_interval), .max = DAY},
    {"IdleInterval", NUMBER, AT(idle_interval), .max = DAY},
    {"DiscoverInstances", BOOLEAN, KEPT(discover.wanted)},
    {"DiscoverInstance", OTHER, .is_repeatable = true, .read = read_discovered},
    {"DiscoverNamespace", OTHER, .is_repeatable = true, .read = read_namespace},
    {"IgnoreSelected", BOOLEAN, KEPT(discover.selection.ignore)},
    {"DiscoveryInterval", NUMBER, AT(discovery_interval), .max = DAY},
    {"StalledAfter", SPAN, AT(stalled_after), .min = 1.0},
    {"OverdueAfter", SPAN, AT(overdue_after), .min = 1.0},
    {"ReportDetails", BOOLEAN, KEPT(has_details)},
    {"ReportItems", BOOLEAN, KEPT(has_items)},
    {"Instance", OTHER, .is_repeatable = true},
    {"MaxStreams", GONE, .min = 0.0},
    {"ReportJobs", GONE, .min = 0.0},
    {"ReportSource", GONE, .min = 0.0},
    {.name = NULL}};

static const option_t instance_options[] = {
    {"Namespace", STRING, AT(namespace)},
    {"Generation", STRING, AT(generation)},
    {"Job", OTHER, .is_repeatable = true},
    {.name = NULL}};

static const option_t plugin_options[] = {{"Account", OTHER, .offset = 0},
                                          {"StateFile", OTHER, .offset = 0},
                                          {.name = NULL}};

static void free_strings(settings_t *settings, const option_t *options) {
  for (; options->name != NULL; options++)
    if (options->type == STRING && !options->is_kept)
      sfree(*(char **)((char *)settings + options->offset));
}

/* ---- <Instance> ---------------------------------------------------------- */

static int check_instance(const settings_t *s, poll_what_t *what,
                          char name[DATA_MAX_NAME_LEN]) {
  const account_t *a = s->account;

  *what = (poll_what_t){.instance = s->instance,
                        .namespace = s->namespace,
                        .generation =
                            s->namespace != NULL ? AIS_NAMESPACED : AIS_PLAIN};
  if (s->generation != NULL && strcasecmp(s->generation, "autorag") == 0)
    what->generation = AIS_AUTORAG;
  else if (s->generation != NULL && strcasecmp(s->generation, "instance") != 0)
    return refuse(a,
                  "Instance \"%s\": Generation \"%s\" is not known. Use "
                  "\"instance\" or \"autorag\".",
                  s->instance, s->generation);

  if (what->generation == AIS_AUTORAG && s->namespace != NULL)
    return refuse(a,
                  "Instance \"%s\": AutoRAG has no namespaces. Remove "
                  "Namespace or Generation.",
                  s->instance);
  if (!ais_instance_valid(view(s->instance), what->generation))
    return refuse(a,
                  "Instance \"%s\" is no instance's name. Use 1 to %d of a-z, "
                  "0-9 and _, with single - between them.",
                  s->instance, what->generation == AIS_AUTORAG ? 32 : 64);
  if (s->namespace != NULL && !ais_namespace_valid(view(s->namespace)))
    return refuse(a,
                  "Instance \"%s\": Namespace \"%s\" is no namespace's "
                  "name. " NAMESPACE_RULE,
                  s->instance, s->namespace);

  poll_name(name, a, what);
  if (poll_find(a, name) != NULL)
    return refuse(
        a,
        "Two Instance blocks would both report as \"%s\". Put all Job options "
        "of an instance into one block; put an AutoRAG and an instance of the "
        "same name into two Account blocks.",
        name);
  return 0;
}

static bool has_job(const account_t *account, const char *name,
                    const char *job) {
  for (const poll_t *p = account->first; p != NULL; p = p->next)
    if (strcmp(p->instance->name, name) == 0 && strcmp(p->job, job) == 0)
      return true;
  return false;
}

static int add_pinned(account_t *account, poll_what_t what, const char *name,
                      const oconfig_item_t *ci) {
  char *job = NULL;
  int status = cf_util_get_string(ci, &job);

  what.job = job;
  if (status == 0 && !ais_job_id_valid(view(job)))
    status = refuse(account,
                    "Instance \"%s\": Job \"%s\" is no job's id. Use 1 to 64 "
                    "of A-Z, a-z, 0-9, _ and -.",
                    what.instance, job);
  else if (status == 0 && has_job(account, name, job))
    status = refuse(account, "Instance \"%s\": Job \"%s\" is given twice.",
                    what.instance, job);
  else if (status == 0 && poll_add(account, &what) == NULL)
    status = refuse(account, "Out of memory.");
  sfree(job);
  return status;
}

/* All of them, or none. */
static int add_polls(account_t *account, const poll_what_t *what,
                     const char *name, const oconfig_item_t *ci) {
  int status = 0;

  for (int i = 0; status == 0 && i < ci->children_num; i++)
    if (strcasecmp("Job", ci->children[i].key) == 0)
      status = add_pinned(account, *what, name, ci->children + i);
  if (status == 0 && poll_find(account, name) == NULL &&
      poll_add(account, what) == NULL)
    status = refuse(account, "Out of memory.");
  while (status != 0 && account->last != NULL &&
         strcmp(account->last->instance->name, name) == 0)
    poll_remove(account->last);
  return status;
}

static int read_instance(account_t *account, const oconfig_item_t *ci) {
  settings_t settings = {.account = account};
  poll_what_t what;
  char name[DATA_MAX_NAME_LEN];
  int status = cf_util_get_string(ci, &settings.instance) != 0 ||
               read_block(&settings, instance_options, ci) != 0 ||
               check_instance(&settings, &what, name) != 0 ||
               add_polls(account, &what, name, ci) != 0;

  free_strings(&settings, instance_options);
  sfree(settings.instance);
  return status;
}

/* ---- <Account> ----------------------------------------------------------- */

/* A relative path would mean something else once collectd is in its BaseDir.
 * The value is not shown: it may be a token in the wrong place. It may name one
 * of systemd's credentials. */
static int check_file(const account_t *account, const char *option,
                      char **file) {
  char path[AIS_CREDENTIAL_PATH_MAX];
  struct ais_error err = {.text = ""};

  if (*file != NULL && ais_credential_is_named(*file)) {
    if (ais_credential_path(path, *file, &err) != 0)
      return refuse(account, "%s: %s", option, err.text);
    sfree(*file);
    *file = sstrdup(path);
  }
  if (*file != NULL && (*file)[0] != '/')
    return refuse(account, "%s has to be an absolute path.", option);
  return 0;
}

static int check_account_id(const account_t *account) {
  const char *id = account->account_id;

  if (id == NULL)
    return refuse(account, "AccountID is missing. Add it from the dashboard.");
  if (!ais_account_id_valid(view(id)))
    return refuse(account,
                  "AccountID \"%s\" is none. Use up to 32 of 0-9 and a-f.", id);
  if (strlen(id) != AIS_ACCOUNT_ID_LEN)
    account_log(account, LOG_WARNING,
                ": AccountID \"%s\" has %zu digits, and the API's have %d, so "
                "that it will refuse it. Copy it again from the dashboard.",
                id, strlen(id), AIS_ACCOUNT_ID_LEN);
  return 0;
}

static int set_credential(account_t *account, settings_t *s) {
  bool token = s->token_file != NULL;
  bool email = account->credential.email != NULL;
  bool key = s->key_file != NULL;
  char **file = token ? &s->token_file : &s->key_file;

  if (token && (email || key))
    return refuse(account, "TokenFile stands beside Email or KeyFile. Use "
                           "TokenFile alone, or Email and KeyFile.");
  if (email != key)
    return refuse(account, "Email and KeyFile belong together: %s is missing.",
                  email ? "KeyFile" : "Email");
  if (!token && !email && s->api_url == NULL)
    return refuse(account,
                  "The credential is missing. Add TokenFile, or Email and "
                  "KeyFile; or APIURL, for an nginx that has the credential.");
  if (check_file(account, token ? "TokenFile" : "KeyFile", file) != 0)
    return -1;

  account->credential.file = *file;
  *file = NULL;
  if (account->credential.file != NULL)
    credential_read(account);
  return 0;
}

/* Of a release before. */
static int set_unix_socket(account_t *account, const settings_t *s) {
  struct ais_url *url = &account->target.url;

  if (s->api_url == NULL || url->tls || url->unix_socket[0] != '\0' ||
      s->unix_socket[0] != '/' ||
      strlen(s->unix_socket) >= sizeof(url->unix_socket))
    return refuse(account, "UnixSocket cannot be used. Use APIURL "
                           "\"http://unix:/PATH:/client/v4\" in its place.");

  account_log(account, LOG_WARNING,
              ": UnixSocket will go. Use APIURL \"http://unix:%s:/client/v4\".",
              s->unix_socket);
  sstrncpy(url->unix_socket, s->unix_socket, sizeof(url->unix_socket));
  url->loopback = true;
  return 0;
}

static int set_url(account_t *account, settings_t *s) {
  struct ais_url *url = &account->target.url;
  struct ais_error err = {.text = ""};

  if (ais_url_parse(url, s->api_url != NULL ? s->api_url : API_URL, &err) != 0)
    return refuse(account, "APIURL: %s", err.text);
  if (account->proxy != NULL && ais_url_check_proxy(account->proxy, &err) != 0)
    return refuse(account, "Proxy: %s", err.text);
  if (s->unix_socket != NULL && set_unix_socket(account, s) != 0)
    return -1;

  if (url->unix_socket[0] != '\0' && account->proxy != NULL)
    return refuse(account,
                  "No Proxy is on the way to a Unix socket. Remove one.");
  account->target.proxy = account->proxy;
  if (account->credential.file != NULL &&
      ais_url_secrecy(url, account->proxy != NULL) != AIS_URL_SECRET)
    return refuse(account,
                  "APIURL would send the credential over plain http to another "
                  "host. Use https; or let an nginx of this host have the "
                  "credential, and remove it here.");
  return 0;
}

static int set_tls(account_t *account) {
  const struct ais_target *target = &account->target;

  if (check_file(account, "CACert", &account->ca_cert) != 0)
    return -1;

  if (target->url.tls && account->credential.file != NULL &&
      (!target->verify_peer || !target->verify_host))
    account_log(account, LOG_WARNING,
                ": Without VerifyPeer and VerifyHost the credential goes to "
                "whoever answers.");
  return 0;
}

static double or_default(double value, double fallback) {
  return value == 0.0 ? fallback : value;
}

/* More often than values are reported nobody needs to look; and a look is over
 * before the next one is due. */
static int set_times(account_t *account, const settings_t *s) {
  double interval = CDTIME_T_TO_DOUBLE(plugin_get_interval());
  double active =
      or_default(s->active_interval, interval > 20.0 ? interval : 20.0);
  double idle, longest, timeout;

  if (active < interval) {
    account_log(account, LOG_WARNING,
                ": ActiveInterval %g is below the Interval of the plugin. Will "
                "use that: %g.",
                active, interval);
    active = interval;
  }
  idle = or_default(s->idle_interval, active > 300.0 ? active : 300.0);
  if (idle < active)
    return refuse(
        account,
        "IdleInterval %g is below ActiveInterval, %g. Use at least that.", idle,
        active);

  longest = active * 900.0 > 1.0 ? active * 900.0 : 1.0;
  timeout = or_default(s->timeout, longest < 5000.0 ? longest : 5000.0);
  if (timeout > longest) {
    account_log(account, LOG_WARNING,
                ": Timeout %g is too long for an ActiveInterval of %g seconds. "
                "Will use %.0f.",
                timeout, active, longest);
    timeout = longest;
  }

  account->active_interval = (int64_t)(active * 1000.0);
  account->idle_interval = (int64_t)(idle * 1000.0);
  account->target.timeout = (int64_t)timeout;
  account->target.connect_timeout = account->target.timeout;
  account->target.retries = RETRIES;
  account->alarms.stalled_after = (int64_t)(s->stalled_after * 1000.0);
  account->alarms.overdue_after = s->overdue_after < 0.0
                                      ? OVERDUE_BY_INTERVAL
                                      : (int64_t)(s->overdue_after * 1000.0);
  account->discover.interval = (int64_t)(s->discovery_interval * 1000.0);
  return 0;
}

/* Where one of them could not be read yet, their files tell. */
static bool is_same(const credential_t *a, const credential_t *b) {
  if (a->file == NULL || b->file == NULL)
    return false;
  return a->secret != NULL && b->secret != NULL
             ? ais_credential_equal(a->secret, b->secret)
             : strcmp(a->file, b->file) == 0;
}

/* Behind an nginx in between every account has its own budget: nginx looks
 * after the credential. */
static int set_budget(account_t *account, settings_t *s, account_t *accounts) {
  budget_t *budget;

  account->payer = account;
  for (account_t *a = accounts; a != NULL && account->payer == account;
       a = a->next)
    if (is_same(&a->credential, &account->credential))
      account->payer = a->payer;

  /* with nginx's 900, one user's 1200 calls in five minutes */
  if (s->budget.nlimits == 0) {
    budget_limit(&s->budget, (struct ais_budget_limit){300, 300 * 1000});
    budget_limit(&s->budget, (struct ais_budget_limit){100, 1000});
  }

  budget = &account->payer->budget;
  for (size_t i = 0; i < s->budget.nlimits; i++)
    if (budget_limit(budget, s->budget.limits[i]) != 0)
      return refuse(
          account,
          "Its credential is that of Account \"%s\" too, and together they "
          "have Budget options for more than %d different numbers of seconds. "
          "Give both the same ones.",
          account->payer->name, AIS_BUDGET_LIMITS);
  if (account->target.timeout + SLACK > budget->hold)
    budget->hold = account->target.timeout + SLACK;
  return 0;
}

/* Who says what to discover wants it discovered, unless DiscoverInstances says
 * otherwise. */
static int add_instances(account_t *account, const oconfig_item_t *ci,
                         size_t *refused) {
  discovery_settings_t *discover = &account->discover;
  bool is_said = false;

  for (int i = 0; i < ci->children_num; i++) {
    is_said |= strcasecmp("DiscoverInstances", ci->children[i].key) == 0;
    if (strcasecmp("Instance", ci->children[i].key) == 0 &&
        read_instance(account, ci->children + i) != 0) {
      account->is_partial = true;
      ++*refused;
    }
  }
  if (!is_said)
    discover->wanted =
        discover->selection.entries != NULL || discover->nnamespaces > 0;

  if (account->polls == 0 && !discover->wanted && !account->is_partial)
    return refuse(account, "Nothing to look at. Add an <Instance> block, or "
                           "DiscoverInstances true.");
  return 0;
}

/* The name stands in every identifier, and the first '-' there ends it. */
static int check_name(const account_t *account, const account_t *accounts) {
  size_t len = strspn(account->name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_"
                                     "abcdefghijklmnopqrstuvwxyz0123456789");

  if (account->name[len] != '\0' || len < 1 || len > ACCOUNT_NAME_MAX)
    return refuse(account,
                  "The name does not fit. Use 1 to %d of A-Z, a-z, 0-9 and _.",
                  ACCOUNT_NAME_MAX);

  for (; accounts != NULL; accounts = accounts->next)
    if (strcasecmp(accounts->name, account->name) == 0)
      return refuse(account, "Two Account blocks have this name. Rename one.");
  return 0;
}

static int read_account(const oconfig_item_t *ci, account_t **accounts,
                        size_t *refused) {
  account_t *account = calloc(1, sizeof(*account));
  settings_t settings = {.account = account,
                         .discovery_interval = 900.0,
                         .stalled_after = 900.0,
                         .overdue_after = -1.0};
  int status;

  if (account == NULL)
    return -1;
  pthread_mutex_init(&account->lock, /* attr = */ NULL);
  account->target.verify_peer = account->target.verify_host = true;

  status = cf_util_get_string(ci, &account->name) != 0 ||
           check_name(account, *accounts) != 0 ||
           read_block(&settings, account_options, ci) != 0 ||
           check_account_id(account) != 0 ||
           set_credential(account, &settings) != 0 ||
           set_url(account, &settings) != 0 || set_tls(account) != 0 ||
           set_times(account, &settings) != 0 ||
           set_budget(account, &settings, *accounts) != 0 ||
           add_instances(account, ci, refused) != 0;

  free_strings(&settings, account_options);
  account->next = *accounts;
  if (status == 0)
    *accounts = account;
  else
    account_free(account);
  return status;
}

/* ---- <Plugin> ------------------------------------------------------------ */

static int read_state_file(const oconfig_item_t *ci, char **path) {
  char *given = NULL;

  if (*path != NULL) {
    ERROR("aisearch plugin: The option `StateFile' is given twice. The first "
          "one stands.");
    return -1;
  }
  if (cf_util_get_string(ci, &given) != 0)
    return -1;
  if (given[0] == '\0' || given[strlen(given) - 1] == '/') {
    ERROR("aisearch plugin: StateFile \"%s\" is no name of a file. Use an "
          "absolute path, or one that is relative to BaseDir.",
          given);
    sfree(given);
    return -1;
  }
  *path = given;
  return 0;
}

size_t config_read(const oconfig_item_t *ci, account_t **accounts,
                   char **state_path) {
  size_t refused = 0;

  for (int i = 0; i < ci->children_num; i++) {
    const oconfig_item_t *child = ci->children + i;
    int status = -1;

    if (strcasecmp("StateFile", child->key) == 0)
      status = read_state_file(child, state_path);
    else if (strcasecmp("Account", child->key) == 0)
      status = read_account(child, accounts, &refused);
    else
      status = refuse_unknown(plugin_options, ci, child->key);
    refused += status != 0;
  }
  return refused;
}
