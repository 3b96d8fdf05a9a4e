#include "aisearch.h"

#include "ais_poll.h"

#define API_URL "https://api.cloudflare.com/client/v4"

#define DEFAULT_TIMEOUT 5000.0 /* ms */
#define MAX_TIMEOUT 3600000.0
#define RETRIES 2

/* Of a list, one page: the most that the API gives. */
#define JOBS_PER_PAGE 50

/* With it, the longest instance and the longest namespace, an identifier just
 * fits DATA_MAX_NAME_LEN. */
#define ACCOUNT_NAME_MAX 28

static const char *const plugin_options[] = {"Account", NULL};
static const char *const account_options[] = {
    "AccountID",  "TokenFile", "Email",      "KeyFile",    "APIURL",
    "UnixSocket", "CACert",    "VerifyPeer", "VerifyHost", "Proxy",
    "Timeout",    "Instance",  NULL};
static const char *const instance_options[] = {"Namespace", "Generation", "Job",
                                               NULL};

/* What a block says, before it is made into an account or look-ups. */
typedef struct {
  char *token_file;
  char *email;
  char *key_file;
  char *api_url;
  char *unix_socket;
  bool verify_peer;
  bool verify_host;
  double timeout; /* ms */
  bool has_timeout;
} account_settings_t;

typedef struct {
  char *instance;
  char *namespace;  /* NULL: not given */
  char *generation; /* NULL: not given */
  enum ais_generation kind;
  char plugin_instance[DATA_MAX_NAME_LEN];
} instance_settings_t;

static struct ais_str view(const char *s) {
  return (struct ais_str){s, s != NULL ? strlen(s) : 0};
}

/* Says what is wrong with an account. Always returns -1. */
__attribute__((format(printf, 2, 3))) static int
refuse(const account_t *account, const char *format, ...) {
  char text[640];
  va_list ap;

  va_start(ap, format);
  vsnprintf(text, sizeof(text), format, ap);
  va_end(ap);

  ERROR("aisearch plugin: Account \"%s\": %s", account->name, text);
  return -1;
}

/*
 * Options
 */
static size_t find_option(const char *key, const char *const *options) {
  size_t i = 0;

  while (options[i] != NULL && strcasecmp(key, options[i]) != 0)
    i++;
  return i;
}

static bool is_repeatable(const char *key) {
  return strcasecmp(key, "Account") == 0 || strcasecmp(key, "Instance") == 0 ||
         strcasecmp(key, "Job") == 0;
}

static bool is_repeated(const oconfig_item_t *block, int index) {
  for (int i = 0; i < index; i++)
    if (strcasecmp(block->children[i].key, block->children[index].key) == 0)
      return true;
  return false;
}

static void list_options(char *buffer, size_t size,
                         const char *const *options) {
  size_t n = find_option("", options);

  strjoin(buffer, size, (char **)options, n, ", ");
}

/* Every option of the block has to be known, and to stand there once. */
static int check_options(const oconfig_item_t *block,
                         const char *const *options) {
  for (int i = 0; i < block->children_num; i++) {
    const char *key = block->children[i].key;

    if (options[find_option(key, options)] == NULL) {
      char known[256];

      list_options(known, sizeof(known), options);
      ERROR("aisearch plugin: The option `%s' is not known in a `%s' block. "
            "Known ones: %s.",
            key, block->key, known);
      return -1;
    }

    if (!is_repeatable(key) && is_repeated(block, i)) {
      ERROR("aisearch plugin: The option `%s' is given twice in one `%s' "
            "block. Keep one of them.",
            key, block->key);
      return -1;
    }
  }

  return 0;
}

/*
 * Instances
 */
static void free_lookups(lookup_t *lookup) {
  while (lookup != NULL) {
    lookup_t *next = lookup->next;

    sfree(lookup->instance);
    sfree(lookup->namespace);
    sfree(lookup->job);
    sfree(lookup);
    lookup = next;
  }
}

static void make_label(lookup_t *l) {
  char namespace[64] = "";
  char job[96] = "";

  if (l->namespace != NULL)
    ssnprintf(namespace, sizeof(namespace), " in Namespace \"%s\"",
              l->namespace);
  if (l->job != NULL)
    ssnprintf(job, sizeof(job), ", Job \"%s\"", l->job);

  ssnprintf(l->label, sizeof(l->label), "Account \"%s\", Instance \"%s\"%s%s",
            l->account->name, l->instance, namespace, job);
}

static void make_path(lookup_t *l, enum ais_generation generation) {
  l->resource = (struct ais_resource){
      .generation = generation,
      .kind = l->job != NULL ? AIS_JOB : AIS_LIST,
      .namespace = view(l->namespace),
      .instance = view(l->instance),
      .job = view(l->job),
      .page = AIS_PAGE_NONE,
      .per_page = l->job != NULL ? AIS_PAGE_NONE : JOBS_PER_PAGE,
  };
  ais_resource_path(&l->resource, view(l->account->account_id), l->path);
}

/* Adds a look-up of a job, or of the list where job is NULL. */
static int add_lookup(account_t *account, const instance_settings_t *settings,
                      const char *job) {
  lookup_t *l = calloc(1, sizeof(*l));

  if (l == NULL)
    return refuse(account, "Out of memory.");

  l->account = account;
  l->instance = sstrdup(settings->instance);
  l->namespace = sstrdup(settings->namespace);
  l->job = sstrdup(job);
  sstrncpy(l->plugin_instance, settings->plugin_instance,
           sizeof(l->plugin_instance));
  make_label(l);
  make_path(l, settings->kind);
  aisearch_reading_init(&l->reading);

  l->next = account->lookups;
  account->lookups = l;
  return 0;
}

static int set_generation(account_t *account, instance_settings_t *settings) {
  const char *generation = settings->generation;

  if (generation != NULL && strcasecmp(generation, "autorag") == 0)
    settings->kind = AIS_AUTORAG;
  else if (generation != NULL && strcasecmp(generation, "instance") != 0)
    return refuse(account,
                  "Instance \"%s\": Generation \"%s\" is not known. Use "
                  "\"instance\" or \"autorag\".",
                  settings->instance, generation);
  else if (settings->namespace != NULL)
    settings->kind = AIS_NAMESPACED;
  else
    settings->kind = AIS_INSTANCE;

  if (settings->kind == AIS_AUTORAG && settings->namespace != NULL)
    return refuse(account,
                  "Instance \"%s\": AutoRAG has no namespaces. Remove "
                  "Namespace or Generation.",
                  settings->instance);

  return 0;
}

static int check_instance(account_t *account,
                          const instance_settings_t *settings) {
  if (!ais_instance_valid(view(settings->instance), settings->kind))
    return refuse(account,
                  "Instance \"%s\" is no instance's name. Use 1 to %d of a-z, "
                  "0-9 and _, with single - between them.",
                  settings->instance, settings->kind == AIS_AUTORAG ? 32 : 64);

  if (settings->namespace != NULL &&
      !ais_namespace_valid(view(settings->namespace)))
    return refuse(account,
                  "Instance \"%s\": Namespace \"%s\" is no namespace's name. "
                  "Use 1 to 32 of a-z, 0-9 and _, with single - between them.",
                  settings->instance, settings->namespace);

  return 0;
}

/* What plain instances are in is called "default", and needs no mention. */
static int identify(account_t *account, instance_settings_t *settings) {
  const char *namespace = settings->namespace;
  bool other = namespace != NULL && strcmp(namespace, "default") != 0;

  ssnprintf(settings->plugin_instance, sizeof(settings->plugin_instance),
            "%s-%s%s%s", account->name, settings->instance, other ? "@" : "",
            other ? namespace : "");

  for (lookup_t *l = account->lookups; l != NULL; l = l->next)
    if (strcmp(l->plugin_instance, settings->plugin_instance) == 0)
      return refuse(account,
                    "Two Instance blocks would both report as \"%s\". Put all "
                    "Job options of an instance into one block; put an AutoRAG "
                    "and an instance of the same name into two Account blocks.",
                    settings->plugin_instance);

  return 0;
}

static int add_job(account_t *account, const instance_settings_t *settings,
                   const char *job) {
  if (!ais_job_id_valid(view(job)))
    return refuse(account,
                  "Instance \"%s\": Job \"%s\" is no job's id. Use 1 to 64 of "
                  "A-Z, a-z, 0-9, _ and -.",
                  settings->instance, job);

  /* This block's look-ups stand at the head of the list. */
  for (lookup_t *l = account->lookups; l != NULL; l = l->next)
    if (strcmp(l->plugin_instance, settings->plugin_instance) == 0 &&
        strcmp(l->job, job) == 0)
      return refuse(account,
                    "Instance \"%s\": Job \"%s\" is given twice. Remove one.",
                    settings->instance, job);

  return add_lookup(account, settings, job);
}

static int add_jobs(account_t *account, const instance_settings_t *settings,
                    const oconfig_item_t *ci) {
  bool pinned = false;

  for (int i = 0; i < ci->children_num; i++) {
    char *job = NULL;
    int status;

    if (strcasecmp("Job", ci->children[i].key) != 0)
      continue;

    pinned = true;
    status = cf_util_get_string(ci->children + i, &job);
    if (status == 0)
      status = add_job(account, settings, job);
    sfree(job);
    if (status != 0)
      return status;
  }

  return pinned ? 0 : add_lookup(account, settings, /* job = */ NULL);
}

static int read_instance(instance_settings_t *settings,
                         const oconfig_item_t *ci) {
  int status = cf_util_get_string(ci, &settings->instance);

  if (status == 0)
    status = check_options(ci, instance_options);

  for (int i = 0; status == 0 && i < ci->children_num; i++) {
    const oconfig_item_t *child = ci->children + i;

    if (strcasecmp("Namespace", child->key) == 0)
      status = cf_util_get_string(child, &settings->namespace);
    else if (strcasecmp("Generation", child->key) == 0)
      status = cf_util_get_string(child, &settings->generation);
  }

  return status;
}

static int config_instance(account_t *account, const oconfig_item_t *ci) {
  instance_settings_t settings = {.instance = NULL};
  int status = read_instance(&settings, ci);

  if (status == 0)
    status = set_generation(account, &settings);
  if (status == 0)
    status = check_instance(account, &settings);
  if (status == 0)
    status = identify(account, &settings);
  if (status == 0)
    status = add_jobs(account, &settings, ci);

  sfree(settings.instance);
  sfree(settings.namespace);
  sfree(settings.generation);
  return status;
}

/*
 * Accounts
 */
static void free_account(account_t *account) {
  free_lookups(account->lookups);
  ais_credential_free(account->credential);
  sfree(account->name);
  sfree(account->account_id);
  sfree(account->ca_cert);
  sfree(account->proxy);
  pthread_mutex_destroy(&account->lock);
  sfree(account);
}

void aisearch_accounts_free(account_t *account) {
  while (account != NULL) {
    account_t *next = account->next;

    free_account(account);
    account = next;
  }
}

/* A relative path would mean something else once collectd is in its BaseDir.
 * The value is not shown: it may be a token in the wrong place. */
static int check_file(const account_t *account, const char *option,
                      const char *file) {
  if (file != NULL && file[0] != '/')
    return refuse(account, "%s has to be an absolute path.", option);
  return 0;
}

static int check_files(const account_t *account,
                       const account_settings_t *settings) {
  int status = check_file(account, "TokenFile", settings->token_file);

  if (status == 0)
    status = check_file(account, "KeyFile", settings->key_file);
  if (status == 0)
    status = check_file(account, "UnixSocket", settings->unix_socket);
  if (status == 0)
    status = check_file(account, "CACert", account->ca_cert);
  return status;
}

static int check_account_id(const account_t *account) {
  if (account->account_id == NULL)
    return refuse(account, "AccountID is missing. Add the account's id, as "
                           "the dashboard shows it.");

  if (!ais_account_id_valid(view(account->account_id)))
    return refuse(account,
                  "AccountID \"%s\" is no account's id. Use up to 32 of 0-9 "
                  "and a-f, as the dashboard shows it.",
                  account->account_id);

  return 0;
}

static int load_credential(account_t *account,
                           const account_settings_t *settings) {
  const char *option = settings->token_file != NULL ? "TokenFile" : "KeyFile";
  struct ais_error err = {.text = ""};

  if (settings->token_file != NULL && settings->email == NULL &&
      settings->key_file == NULL) {
    account->credential = ais_credential_token(settings->token_file, &err);
  } else if (settings->token_file == NULL && settings->email != NULL &&
             settings->key_file != NULL) {
    account->credential =
        ais_credential_email_key(settings->email, settings->key_file, &err);
  } else if (settings->token_file != NULL) {
    return refuse(account, "TokenFile stands beside Email or KeyFile. Use "
                           "TokenFile alone, or Email and KeyFile.");
  } else if (settings->email != NULL || settings->key_file != NULL) {
    return refuse(account, "Email and KeyFile belong together: %s is missing.",
                  settings->email == NULL ? "Email" : "KeyFile");
  } else if (settings->api_url == NULL) {
    return refuse(account,
                  "The credential is missing. Add TokenFile, or Email and "
                  "KeyFile; or APIURL, for an nginx that has the credential.");
  } else {
    return 0;
  }

  if (account->credential == NULL)
    return refuse(account, "%s: %s", option, err.text);

  return 0;
}

static int set_unix_socket(account_t *account, const char *path) {
  struct ais_url *url = &account->target.url;

  if (path == NULL)
    return 0;

  if (url->tls || url->unix_socket[0] != '\0')
    return refuse(account, "UnixSocket goes with a plain APIURL, such as "
                           "\"http://localhost/client/v4\". Change APIURL, or "
                           "remove UnixSocket.");

  if (account->proxy != NULL)
    return refuse(account, "There is no Proxy on the way to a UnixSocket. "
                           "Remove one of them.");

  if (strlen(path) >= sizeof(url->unix_socket))
    return refuse(account,
                  "UnixSocket \"%s\" is longer than a socket's path can be. "
                  "Use at most %zu bytes.",
                  path, sizeof(url->unix_socket) - 1);

  sstrncpy(url->unix_socket, path, sizeof(url->unix_socket));
  url->loopback = true;
  return 0;
}

static int set_url(account_t *account, const account_settings_t *settings) {
  struct ais_url *url = &account->target.url;
  struct ais_error err = {.text = ""};

  if (settings->unix_socket != NULL && settings->api_url == NULL)
    return refuse(account, "UnixSocket needs an APIURL beside it, such as "
                           "\"http://localhost/client/v4\".");

  if (ais_url_parse(url,
                    settings->api_url != NULL ? settings->api_url : API_URL,
                    &err) != 0)
    return refuse(account, "APIURL: %s", err.text);

  if (account->proxy != NULL && ais_url_check_proxy(account->proxy, &err) != 0)
    return refuse(account, "Proxy: %s", err.text);

  if (set_unix_socket(account, settings->unix_socket) != 0)
    return -1;

  if (account->credential != NULL && !url->tls &&
      (!url->loopback || account->proxy != NULL))
    return refuse(account,
                  "APIURL would send the credential over plain http to "
                  "another host. Use https; or let an nginx of this host have "
                  "the credential, and remove it here.");

  return 0;
}

/* With a loop of its own: no client outlives collectd's fork. */
static int load_ca(const char *file, struct ais_error *err) {
  struct ais_poll *loop;
  struct ais_client *client = NULL;
  int status = -1;

  if (ais_client_global_init() != 0) {
    ais_error_set(err, "Initializing libcurl failed.");
    return -1;
  }

  loop = ais_poll_create(err);
  if (loop != NULL)
    client = ais_poll_client(
        loop, &(struct ais_client_options){.ca_file = file}, err);
  if (client != NULL)
    status = ais_client_load_ca(client, err);

  ais_poll_destroy(loop);
  ais_client_global_cleanup();
  return status;
}

static int set_tls(account_t *account, const account_settings_t *settings) {
  struct ais_target *target = &account->target;
  struct ais_error err = {.text = ""};

  target->verify_peer = settings->verify_peer;
  target->verify_host = settings->verify_host;
  if (target->url.tls && account->credential != NULL &&
      (!target->verify_peer || !target->verify_host))
    WARNING("aisearch plugin: Account \"%s\": Without VerifyPeer and "
            "VerifyHost the credential goes to whoever answers.",
            account->name);

  if (account->ca_cert != NULL && load_ca(account->ca_cert, &err) != 0)
    return refuse(account, "CACert: %s", err.text);

  return 0;
}

/* A look-up is over before the next one is due. */
static int set_timeout(account_t *account, const account_settings_t *settings) {
  double longest = 0.9 * (double)CDTIME_T_TO_MS(plugin_get_interval());
  double timeout = settings->timeout;

  if (!(timeout >= 1.0 && timeout <= MAX_TIMEOUT))
    return refuse(account,
                  "Timeout %g is out of range. Use 1 to %.0f milliseconds.",
                  timeout, MAX_TIMEOUT);

  if (timeout > longest)
    timeout = longest > 1.0 ? longest : 1.0;
  if (settings->has_timeout && timeout < settings->timeout)
    WARNING("aisearch plugin: Account \"%s\": Timeout %g is too long for an "
            "interval of %g seconds. Will use %g.",
            account->name, settings->timeout,
            CDTIME_T_TO_DOUBLE(plugin_get_interval()), timeout);

  account->target.timeout = (int64_t)timeout;
  account->target.connect_timeout = account->target.timeout;
  account->target.retries = RETRIES;
  return 0;
}

static int read_account(account_t *account, account_settings_t *settings,
                        const oconfig_item_t *ci) {
  int status = check_options(ci, account_options);

  for (int i = 0; status == 0 && i < ci->children_num; i++) {
    const oconfig_item_t *child = ci->children + i;

    if (strcasecmp("AccountID", child->key) == 0)
      status = cf_util_get_string(child, &account->account_id);
    else if (strcasecmp("TokenFile", child->key) == 0)
      status = cf_util_get_string(child, &settings->token_file);
    else if (strcasecmp("Email", child->key) == 0)
      status = cf_util_get_string(child, &settings->email);
    else if (strcasecmp("KeyFile", child->key) == 0)
      status = cf_util_get_string(child, &settings->key_file);
    else if (strcasecmp("APIURL", child->key) == 0)
      status = cf_util_get_string(child, &settings->api_url);
    else if (strcasecmp("UnixSocket", child->key) == 0)
      status = cf_util_get_string(child, &settings->unix_socket);
    else if (strcasecmp("CACert", child->key) == 0)
      status = cf_util_get_string(child, &account->ca_cert);
    else if (strcasecmp("VerifyPeer", child->key) == 0)
      status = cf_util_get_boolean(child, &settings->verify_peer);
    else if (strcasecmp("VerifyHost", child->key) == 0)
      status = cf_util_get_boolean(child, &settings->verify_host);
    else if (strcasecmp("Proxy", child->key) == 0)
      status = cf_util_get_string(child, &account->proxy);
    else if (strcasecmp("Timeout", child->key) == 0) {
      status = cf_util_get_double(child, &settings->timeout);
      settings->has_timeout = true;
    }
  }

  return status;
}

static int check_name(const account_t *account, const account_t *accounts) {
  size_t len = strlen(account->name);

  for (size_t i = 0; i < len; i++)
    if (!isalnum((unsigned char)account->name[i]) && account->name[i] != '_')
      len = 0;

  if (len < 1 || len > ACCOUNT_NAME_MAX)
    return refuse(account,
                  "The name does not fit. Use 1 to %d of A-Z, a-z, "
                  "0-9 and _.",
                  ACCOUNT_NAME_MAX);

  for (; accounts != NULL; accounts = accounts->next)
    if (strcasecmp(accounts->name, account->name) == 0)
      return refuse(account, "Two Account blocks have this name. Rename one.");

  return 0;
}

static int add_instances(account_t *account, const oconfig_item_t *ci) {
  int status = 0;

  for (int i = 0; status == 0 && i < ci->children_num; i++)
    if (strcasecmp("Instance", ci->children[i].key) == 0)
      status = config_instance(account, ci->children + i);

  if (status == 0 && account->lookups == NULL)
    return refuse(account, "Nothing to look at. Add an <Instance> block.");

  return status;
}

static int make_account(account_t *account, const account_settings_t *settings,
                        const oconfig_item_t *ci) {
  int status = check_account_id(account);

  if (status == 0)
    status = check_files(account, settings);
  if (status == 0)
    status = load_credential(account, settings);
  if (status == 0)
    status = set_url(account, settings);
  if (status == 0)
    status = set_tls(account, settings);
  if (status == 0)
    status = set_timeout(account, settings);
  if (status == 0)
    status = add_instances(account, ci);
  return status;
}

static int config_account(const oconfig_item_t *ci, account_t **accounts) {
  account_settings_t settings = {
      .verify_peer = true,
      .verify_host = true,
      .timeout = DEFAULT_TIMEOUT,
  };
  account_t *account = calloc(1, sizeof(*account));
  int status;

  if (account == NULL) {
    ERROR("aisearch plugin: Out of memory.");
    return -1;
  }
  pthread_mutex_init(&account->lock, /* attr = */ NULL);

  status = cf_util_get_string(ci, &account->name);
  if (status == 0)
    status = check_name(account, *accounts);
  if (status == 0)
    status = read_account(account, &settings, ci);
  if (status == 0)
    status = make_account(account, &settings, ci);

  sfree(settings.token_file);
  sfree(settings.email);
  sfree(settings.key_file);
  sfree(settings.api_url);
  sfree(settings.unix_socket);

  if (status != 0) {
    free_account(account);
    return status;
  }

  account->next = *accounts;
  *accounts = account;
  return 0;
}

int aisearch_config(oconfig_item_t *ci, account_t **accounts) {
  int status = check_options(ci, plugin_options);

  for (int i = 0; status == 0 && i < ci->children_num; i++)
    status = config_account(ci->children + i, accounts);

  if (status == 0 && *accounts == NULL) {
    ERROR("aisearch plugin: No account is configured. Add an <Account> block.");
    return -1;
  }

  return status;
}
