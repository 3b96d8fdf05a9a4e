/* Reads the configuration with a table of options for each kind of block. An
 * invalid block is skipped after a message that says what to do; the others
 * remain valid. */

#include "aisearch.h"

#include "ais_near.h"

#include "state.h"

#define API_URL "https://api.cloudflare.com/client/v4"

#define RETRIES 2

/* Shorter ones were meant in seconds; longer ones in milliseconds. */
#define TIMEOUT_ODD 100            /* ms */
#define INTERVAL_ODD (3600 * 1000) /* ms */
#define MAX_CALLS 1000000.0
#define DAY 86400.0

/* The thread may notice late that a call is over. */
#define SLACK 1000 /* ms */

typedef struct option_s option_t;

/* An option that is being read. */
typedef struct {
  const oconfig_item_t *ci;
  const option_t *option;
  void *value; /* where to store it */
} item_t;

struct option_s {
  const char *name;
  int (*read)(const item_t *item);
  size_t offset; /* of the value, in the structure of the block; 0: the
                    structure itself */
  bool is_repeatable;

  bool (*is_valid)(struct ais_str text); /* NULL: any text is valid */
  const char *rule; /* "VALUE is ...": what is wrong and how to correct it */
  double scale, min, max; /* of a number, which is stored times scale */
};

/* The path of the block that is being read, for messages. A single thread reads
 * the configuration. */
static char where[256];

/* Log what is wrong in the current block and how to correct it. */
#define warn(format, ...)                                                      \
  WARNING("aisearch plugin: %s" format, where, ##__VA_ARGS__)
#define refuse(format, ...)                                                    \
  (ERROR("aisearch plugin: %s" format, where, ##__VA_ARGS__), -1)

/* ---- options ------------------------------------------------------------- */

/* "yes" as a string is a boolean, too. */
static bool takes(const item_t *item, int type, const char *what) {
  const oconfig_value_t *v = item->ci->values;
  bool is_one = item->ci->values_num == 1;

  if (is_one &&
      (v->type == type ||
       (type == OCONFIG_TYPE_BOOLEAN && v->type == OCONFIG_TYPE_STRING &&
        (IS_TRUE(v->value.string) || IS_FALSE(v->value.string)))))
    return true;
  (void)refuse("%s takes %s.", item->option->name, what);
  return false;
}

static int get_text(const item_t *item, char **text) {
  return takes(item, OCONFIG_TYPE_STRING, "one string, in quotes")
             ? cf_util_get_string(item->ci, text)
             : -1;
}

static int read_text(const item_t *item) {
  const option_t *option = item->option;
  char **text = item->value;

  if (get_text(item, text) != 0)
    return -1;
  if (option->is_valid == NULL || option->is_valid(ais_str_of(*text)))
    return 0;
  return refuse("%s \"%s\" is %s", option->name, *text, option->rule);
}

static int read_texts(const item_t *item) {
  texts_t *texts = item->value;
  char *text = NULL;
  int status = read_text(&(item_t){item->ci, item->option, &text});

  for (size_t i = 0; status == 0 && i < texts->n; i++)
    if (strcmp(texts->text[i], text) == 0)
      status = refuse("%s \"%s\" is given twice.", item->option->name, text);
  if (status == 0 && strarray_add(&texts->text, &texts->n, text) != 0)
    status = refuse("Out of memory.");
  sfree(text);
  return status;
}

/* Paths must be absolute, because relative ones would change their meaning when
 * collectd changes to BaseDir. The value is not logged: it may be a misplaced
 * token. It may also name a systemd credential. */
static int read_path(const item_t *item) {
  char **file = item->value;
  char path[AIS_CREDENTIAL_PATH_MAX];
  struct ais_error err = {.text = ""};

  if (get_text(item, file) != 0)
    return -1;
  if (ais_credential_is_named(*file)) {
    if (ais_credential_path(path, *file, "collectd.service collectd -T",
                            &err) != 0)
      return refuse("%s: %s", item->option->name, err.text);
    sfree(*file);
    *file = sstrdup(path);
  }
  if ((*file)[0] != '/')
    return refuse("%s must be an absolute path, not the content of the file.",
                  item->option->name);
  return 0;
}

static int read_boolean(const item_t *item) {
  return takes(item, OCONFIG_TYPE_BOOLEAN, "true or false")
             ? cf_util_get_boolean(item->ci, item->value)
             : -1;
}

/* If 0 is below the minimum, it means never. */
static int read_number(const item_t *item) {
  const option_t *option = item->option;
  double number;

  if (!takes(item, OCONFIG_TYPE_NUMBER,
             "one number (in seconds; for Timeout, in milliseconds), without "
             "quotes or a unit"))
    return -1;
  number = item->ci->values[0].value.number;
  if (!(number >= option->min && number <= option->max) &&
      !(option->rule != NULL && number == 0.0))
    return refuse("%s %.15g is out of range. Use %g to %.0f%s.", option->name,
                  number, option->min, option->max,
                  option->rule != NULL ? option->rule : "");
  *(int64_t *)item->value = (int64_t)(number * option->scale + 0.5);
  return 0;
}

static int read_gone(const item_t *item) {
  warn("%s no longer has any effect. Remove it.", item->option->name);
  return 0;
}

/* Returns the block where an option with that name belongs, or NULL. */
static const char *find_place(const char *name);

/* Returns the block's first option with that name, or NULL. */
static const oconfig_item_t *find_item(const oconfig_item_t *block,
                                       const char *name) {
  for (int i = 0; i < block->children_num; i++)
    if (strcasecmp(block->children[i].key, name) == 0)
      return &block->children[i];
  return NULL;
}

static int refuse_unknown(const oconfig_item_t *block, const option_t *options,
                          const char *key) {
  struct ais_near near = {.word = ais_str_of(key)};
  const char *place = find_place(key);

  if (place != NULL)
    return refuse("The option `%s' does not belong here. Put it into %s.", key,
                  place);
  for (; options->name != NULL; options++)
    if (options->read != read_gone)
      ais_near_look(&near, ais_str_of(options->name));
  return refuse("The option `%s' is unknown in a `%s' block: %s", key,
                block->key, ais_near_hint(&near));
}

/* Each option must be in the table, and only repeatable ones may occur several
 * times. */
static int read_options(const oconfig_item_t *block, const option_t *options,
                        void *values) {
  size_t len = strlen(where);
  int status = 0;

  for (int i = 0; i < block->children_num; i++) {
    const oconfig_item_t *ci = &block->children[i];
    const option_t *option = options;
    void *value;

    while (option->name != NULL && strcasecmp(option->name, ci->key) != 0)
      option++;
    value = (char *)values + option->offset;
    if (option->name == NULL)
      status |= refuse_unknown(block, options, ci->key);
    else if ((!option->is_repeatable && find_item(block, ci->key) != ci) ||
             (option->read == read_text && *(char **)value != NULL))
      status |= refuse("The option `%s' is given twice. Remove one of them.",
                       ci->key);
    else
      status |= option->read(&(item_t){ci, option, value});
    where[len] = '\0';
  }
  return status;
}

/* The first member of the structure is the block's name. */
static int read_block(const item_t *item, const option_t *options,
                      void *values) {
  size_t len = strlen(where);

  if (read_text(&(item_t){item->ci, item->option, values}) != 0)
    return -1;
  ssnprintf(where + len, sizeof(where) - len, "%s \"%s\": ", item->option->name,
            *(char **)values);
  return read_options(item->ci, options, values);
}

static void free_options(const option_t *options, void *values) {
  for (; options->name != NULL; options++) {
    void *value = (char *)values + options->offset;

    if (options->read == read_text || options->read == read_path)
      sfree(*(char **)value);
    if (options->read == read_texts)
      strarray_free(((texts_t *)value)->text, ((texts_t *)value)->n);
  }
}

/* ---- <Instance> ---------------------------------------------------------- */

/* The values of an Instance block. */
typedef struct {
  char *id, *namespace, *generation;
  texts_t jobs;
} settings_t;

static bool is_generation(struct ais_str text) {
  return strcasecmp(text.data, "autorag") == 0 ||
         strcasecmp(text.data, "instance") == 0;
}

#define NAMESPACE_RULE                                                         \
  "not the name of a namespace. Use 1 to 28 characters of a-z, 0-9 and -, "    \
  "but no - at the beginning or end."
#define NAMESPACE .is_valid = ais_namespace_valid, .rule = NAMESPACE_RULE

static const option_t instance_options[] = {
    {"Namespace", read_text, offsetof(settings_t, namespace), NAMESPACE},
    {"Generation", read_text, offsetof(settings_t, generation),
     .is_valid = is_generation,
     .rule = "not known. Use \"instance\" or \"autorag\"."},
    {"Job", read_texts, offsetof(settings_t, jobs), .is_repeatable = true,
     .is_valid = ais_job_id_valid,
     .rule = "not a job id. Use 1 to 64 characters of A-Z, a-z, 0-9, _ and -."},
    {.name = NULL}};

static int add_instance(account_t *account, const settings_t *s) {
  char name[DATA_MAX_NAME_LEN];
  bool autorag =
      s->generation != NULL && strcasecmp(s->generation, "autorag") == 0;
  poll_what_t what = {.instance = s->id, .namespace = s->namespace};

  what.generation = s->namespace != NULL ? AIS_NAMESPACED : AIS_PLAIN;
  if (autorag)
    what.generation = AIS_AUTORAG;
  if (autorag && s->namespace != NULL)
    return refuse("AutoRAG has no namespaces. Remove Namespace or Generation.");
  if (!ais_instance_valid(ais_str_of(s->id), what.generation))
    return refuse("This is not the name of an instance. Use 1 to %d "
                  "characters of a-z, 0-9, _, with single - between them.",
                  autorag ? 32 : 64);

  poll_name(name, account, &what);
  if (poll_find(account, name) != NULL)
    return refuse("Two Instance blocks would both report as \"%s\". Put all "
                  "Job options of an instance into one block. Put an AutoRAG "
                  "and an instance of the same name into two Account blocks.",
                  name);

  for (size_t i = 0; i == 0 || i < s->jobs.n; i++) {
    what.job = s->jobs.n > 0 ? s->jobs.text[i] : NULL;
    if (poll_add(account, &what) == NULL)
      return refuse("Out of memory.");
  }
  return 0;
}

/* An invalid Instance block does not affect the rest of the account. */
static int read_instance(const item_t *item) {
  account_t *account = item->value;
  settings_t s = {.id = NULL};

  account->is_partial |= read_block(item, instance_options, &s) != 0 ||
                         add_instance(account, &s) != 0;
  free_options(instance_options, &s);
  sfree(s.id);
  return 0;
}

/* ---- <Account> ----------------------------------------------------------- */

/* Budget CALLS SECONDS */
static int read_budget(const item_t *item) {
  const oconfig_value_t *v = item->ci->values;
  bool are_numbers = item->ci->values_num == 2 &&
                     v[0].type == OCONFIG_TYPE_NUMBER &&
                     v[1].type == OCONFIG_TYPE_NUMBER;
  double calls = are_numbers ? v[0].value.number : 0.0;
  double seconds = are_numbers ? v[1].value.number : 0.0;

  if (!(calls >= 1.0 && calls <= MAX_CALLS && seconds >= 1.0 &&
        seconds <= DAY) ||
      calls != (double)(uint32_t)calls)
    return refuse("Budget takes a whole number of calls from 1 to %.0f, and 1 "
                  "to %.0f seconds, such as: Budget 300 300.",
                  MAX_CALLS, DAY);
  if (budget_limit(item->value,
                   (struct ais_budget_limit){(uint32_t)calls,
                                             (int64_t)(seconds * 1e3)}) == 0)
    return 0;
  return refuse("There are more than %d Budget options. Remove some.",
                AIS_BUDGET_LIMITS);
}

static int read_discovered(const item_t *item) {
  char *name = NULL, reason[256];
  int status = get_text(item, &name);

  if (status == 0 &&
      selection_add(item->value, name, reason, sizeof(reason)) != 0)
    status = refuse("DiscoverInstance \"%s\" cannot be used: %s. Use the name "
                    "of an instance, or a regular expression between slashes, "
                    "such as \"/^docs-/\".",
                    name, reason);
  sfree(name);
  return status;
}

/* The name is part of each identifier, where it ends at the first '-'. With the
 * longest names of an instance and a namespace, an identifier fits into
 * DATA_MAX_NAME_LEN. */
static bool is_account_name(struct ais_str name) {
  return name.len >= 1 && name.len <= 28 &&
         strspn(name.data, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_"
                           "abcdefghijklmnopqrstuvwxyz0123456789") == name.len;
}

#define AT(member) .offset = offsetof(account_t, member)
#define SECONDS .scale = 1000, .min = 0.001, .max = DAY
#define SECONDS_OR_NEVER                                                       \
  .scale = 1000, .min = 1, .max = 365 * DAY, .rule = ", or 0 for never"

static const option_t account_options[] = {
    {"AccountID", read_text, AT(account_id), .is_valid = ais_account_id_valid,
     .rule = "not the id of an account. Use the 32 digits of 0-9 and a-f, in "
             "lower case, that the dashboard shows."},
    {"TokenFile", read_path, AT(credential.file)},
    {"Email", read_text, AT(credential.email)},
    {"KeyFile", read_path, AT(credential.file)},
    {"APIURL", read_text, AT(api_url)},
    {"UnixSocket", read_text, AT(unix_socket)},
    {"CACert", read_path, AT(ca_cert)},
    {"VerifyPeer", read_boolean, AT(target.verify_peer)},
    {"VerifyHost", read_boolean, AT(target.verify_host)},
    {"Proxy", read_text, AT(proxy)},
    {"Timeout", read_number, AT(target.timeout), .scale = 1, .min = 1,
     .max = 3600e3},
    {"Budget", read_budget, AT(budget), .is_repeatable = true},
    {"ActiveInterval", read_number, AT(active_interval), SECONDS},
    {"IdleInterval", read_number, AT(idle_interval), SECONDS},
    {"DiscoverInstances", read_boolean, AT(discover.wanted)},
    {"DiscoverInstance", read_discovered, AT(discover.selection),
     .is_repeatable = true},
    {"DiscoverNamespace", read_texts, AT(discover.namespaces),
     .is_repeatable = true, NAMESPACE},
    {"IgnoreSelected", read_boolean, AT(discover.selection.ignore)},
    {"DiscoveryInterval", read_number, AT(discover.interval), SECONDS},
    {"StalledAfter", read_number, AT(stalled_after), SECONDS_OR_NEVER},
    {"OverdueAfter", read_number, AT(overdue_after), SECONDS_OR_NEVER},
    {"ReportDetails", read_boolean, AT(has_details)},
    {"ReportItems", read_boolean, AT(has_items)},
    {"Instance", read_instance, .is_repeatable = true},
    {.name = "MaxStreams", .read = read_gone},
    {.name = "ReportJobs", .read = read_gone},
    {.name = "ReportSource", .read = read_gone},
    {.name = NULL}};

/* What is accepted, and hardly meant. */
static void warn_account(const account_t *account, const oconfig_item_t *ci) {
  const budget_t *budget = &account->budget;
  struct ais_error err;

  if (account->target.timeout < TIMEOUT_ODD)
    warn("Timeout is in milliseconds: %g is too short for most lookups.",
         (double)account->target.timeout);
  if (account->active_interval > INTERVAL_ODD)
    warn("ActiveInterval is in seconds: %g is more than an hour.",
         account->active_interval / 1e3);
  if (find_item(ci, "IgnoreSelected") != NULL &&
      account->discover.selection.entries == NULL)
    warn("IgnoreSelected has no effect. Add DiscoverInstance, or remove it.");
  if (account->credential.file != NULL &&
      ais_budget_check(budget->limits, budget->nlimits, &err) != 0)
    warn("Budget allows %s.", err.text);
}

static int check_credential(account_t *account, const oconfig_item_t *ci) {
  bool token = find_item(ci, "TokenFile") != NULL;
  bool email = find_item(ci, "Email") != NULL;
  bool key = find_item(ci, "KeyFile") != NULL;

  if (token && (email || key))
    return refuse("TokenFile cannot be combined with Email or KeyFile. Use "
                  "TokenFile alone, or Email and KeyFile.");
  if (email != key)
    return refuse("Email and KeyFile must be used together: %s is missing.",
                  email ? "KeyFile" : "Email");
  if (!token && !email && account->api_url == NULL)
    return refuse("The credential is missing. Add TokenFile, or Email and "
                  "KeyFile, or the APIURL of an nginx that has one.");
  if (account->credential.file != NULL)
    credential_read(account);
  return 0;
}

static int check_url(account_t *account) {
  struct ais_target *target = &account->target;
  struct ais_url *url = &target->url;
  bool has_credential = account->credential.file != NULL;
  const char *path = account->unix_socket;
  struct ais_error err = {.text = ""};

  if (ais_url_parse(url, account->api_url != NULL ? account->api_url : API_URL,
                    &err) != 0)
    return refuse("APIURL: %s", err.text);
  if (url->api && !has_credential)
    return refuse(
        "APIURL is the API, which needs a credential. Add TokenFile.");
  if (account->proxy != NULL && ais_url_check_proxy(account->proxy, &err) != 0)
    return refuse("Proxy: %s", err.text);

  /* deprecated */
  if (path != NULL &&
      (url->tls || url->unix_socket[0] != '\0' || path[0] != '/' ||
       strlen(path) >= sizeof(url->unix_socket)))
    return refuse("UnixSocket cannot be used. Use APIURL "
                  "\"http://unix:/PATH:/client/v4\" instead.");
  if (path != NULL) {
    warn("UnixSocket is deprecated. Use APIURL \"http://unix:%s:/client/v4\".",
         path);
    sstrncpy(url->unix_socket, path, sizeof(url->unix_socket));
    url->loopback = true;
  }

  target->proxy = account->proxy;
  if (url->unix_socket[0] != '\0' && account->proxy != NULL)
    return refuse("Proxy has no effect on a Unix socket. Remove it.");
  if (has_credential &&
      ais_url_secrecy(url, account->proxy != NULL) != AIS_URL_SECRET)
    return refuse("APIURL would send the credential to another host over "
                  "plain http. Use https, or move the credential to an nginx "
                  "on this host.");
  if (has_credential && url->tls &&
      (!target->verify_peer || !target->verify_host))
    warn("Without VerifyPeer and VerifyHost, anyone who can intercept the "
         "connection can obtain the credential.");
  return 0;
}

/* Looking up more often than values are reported is useless; and a lookup must
 * end before the next one is due. */
static int check_times(account_t *account, const oconfig_item_t *ci) {
  struct ais_target *target = &account->target;
  int64_t interval = (int64_t)CDTIME_T_TO_MS(plugin_get_interval());
  int64_t *active = &account->active_interval, *idle = &account->idle_interval;
  int64_t longest;

  if (*active < interval && find_item(ci, "ActiveInterval") != NULL)
    warn("ActiveInterval %g is below the Interval of the plugin. Will use "
         "that: %g.",
         *active / 1e3, interval / 1e3);
  *active = ais_later(*active, interval);
  if (*idle < *active && find_item(ci, "IdleInterval") != NULL)
    return refuse(
        "IdleInterval %g is below ActiveInterval %g. Use a longer one.",
        *idle / 1e3, *active / 1e3);
  *idle = ais_later(*idle, *active);

  longest = ais_later(*active * 9 / 10, 1);
  if (target->timeout > longest && find_item(ci, "Timeout") != NULL)
    warn("Timeout %g is too long for an ActiveInterval of %g seconds. Will use "
         "%g.",
         (double)target->timeout, *active / 1e3, (double)longest);
  target->timeout = ais_earlier(target->timeout, longest);
  target->connect_timeout = target->timeout;
  target->retries = RETRIES;
  return 0;
}

/* If one of them could not be read yet, compares their paths. */
static bool is_same(const credential_t *a, const credential_t *b) {
  if (a->secret != NULL && b->secret != NULL)
    return ais_credential_equal(a->secret, b->secret);
  return a->file != NULL && b->file != NULL && strcmp(a->file, b->file) == 0;
}

/* Accounts behind an nginx have a budget each, since nginx applies the budget
 * of the credential. */
static int check_budget(account_t *account) {
  budget_t *own = &account->budget, *budget;
  account_t *other = account->next;

  while (other != NULL && !is_same(&other->credential, &account->credential))
    other = other->next;
  account->payer = other != NULL ? other->payer : account;
  budget = &account->payer->budget;

  /* together with nginx's 900, the user's limit of 1200 calls in five
   * minutes */
  if (own->nlimits == 0) {
    budget_limit(own, (struct ais_budget_limit){300, 300 * 1000});
    budget_limit(own, (struct ais_budget_limit){100, 1000});
  }

  for (size_t i = 0; i < own->nlimits; i++)
    if (budget_limit(budget, own->limits[i]) != 0)
      return refuse(
          "It shares its credential with Account \"%s\", and together they "
          "have Budget options for more than %d different numbers of seconds. "
          "Use the same ones in both.",
          account->payer->name, AIS_BUDGET_LIMITS);
  budget->hold = ais_later(budget->hold, account->target.timeout + SLACK);
  return 0;
}

/* Selecting instances or namespaces enables discovery, unless DiscoverInstances
 * is given. */
static int check_account(account_t *account, const oconfig_item_t *ci) {
  discovery_settings_t *discover = &account->discover;

  for (const account_t *a = account->next; a != NULL; a = a->next)
    if (strcasecmp(a->name, account->name) == 0)
      return refuse("Two Account blocks have this name. Rename one.");
  if (account->account_id == NULL)
    return refuse("AccountID is missing. Copy it from the dashboard.");
  if (strlen(account->account_id) != AIS_ACCOUNT_ID_LEN)
    warn("AccountID \"%s\" has %zu digits instead of %d, so the API will "
         "reject it. Copy it from the dashboard again.",
         account->account_id, strlen(account->account_id), AIS_ACCOUNT_ID_LEN);

  if (find_item(ci, "DiscoverInstances") == NULL)
    discover->wanted =
        discover->selection.entries != NULL || discover->namespaces.n > 0;
  if (account->polls == 0 && !discover->wanted && !account->is_partial)
    return refuse("No instance is configured. Add an <Instance> block, or "
                  "DiscoverInstances true.");
  warn_account(account, ci);
  if (check_credential(account, ci) != 0 || check_url(account) != 0 ||
      check_times(account, ci) != 0)
    return -1;
  return check_budget(account);
}

void config_free(account_t *account) {
  free_options(account_options, account);
  sfree(account->name);
  account_free(account);
}

static int read_account(const item_t *item) {
  config_t *config = item->value;
  account_t *account = calloc(1, sizeof(*account));

  if (account == NULL)
    return refuse("Out of memory.");
  pthread_mutex_init(&account->lock, /* attr = */ NULL);
  account->target.verify_peer = account->target.verify_host = true;
  account->target.timeout = 5000;
  account->active_interval = 20 * 1000;
  account->idle_interval = 300 * 1000;
  account->discover.interval = account->stalled_after = 900 * 1000;
  account->overdue_after = OVERDUE_BY_INTERVAL;
  account->next = config->accounts;
  if (read_block(item, account_options, account) != 0 ||
      check_account(account, item->ci) != 0) {
    config_free(account);
    return -1;
  }
  config->accounts = account;
  return account->is_partial ? -1 : 0;
}

/* ---- <Plugin> ------------------------------------------------------------ */

static const option_t plugin_options[] = {
    {"Account", read_account, .is_repeatable = true,
     .is_valid = is_account_name,
     .rule = "not a valid name. Use 1 to 28 characters of A-Z, a-z, 0-9, _."},
    {"StateFile", read_text, offsetof(config_t, state_path),
     .is_valid = state_path_is_valid,
     .rule = "not a file in an existing directory. Create the directory."},
    {.name = NULL}};

static const struct {
  const char *name;
  const option_t *options;
} places[] = {{"an <Instance> block", instance_options},
              {"an <Account> block", account_options},
              {"the <Plugin aisearch> block", plugin_options}};

static const char *find_place(const char *name) {
  for (size_t i = 0; i < STATIC_ARRAY_SIZE(places); i++)
    for (const option_t *o = places[i].options; o->name != NULL; o++)
      if (strcasecmp(o->name, name) == 0)
        return places[i].name;
  return strcasecmp(name, "Interval") == 0 ? "<LoadPlugin aisearch>" : NULL;
}

void config_read(const oconfig_item_t *ci, config_t *config) {
  config->is_refused |= read_options(ci, plugin_options, config) != 0;
}
