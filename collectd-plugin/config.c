#include "config_options.h"

#include "ais_poll.h"

#include "state.h"

#define API_URL "https://api.cloudflare.com/client/v4"

#define DEFAULT_TIMEOUT 5000.0 /* ms */
#define MAX_TIMEOUT 3600000.0
#define RETRIES 2

/* With it, the longest instance and the longest namespace, an identifier fits
 * DATA_MAX_NAME_LEN. */
#define ACCOUNT_NAME_MAX 28

static const char *const plugin_options[] = {"Account", "StateFile", NULL};
static const char *const account_options[] = {"AccountID",
                                              "TokenFile",
                                              "Email",
                                              "KeyFile",
                                              "APIURL",
                                              "UnixSocket",
                                              "CACert",
                                              "VerifyPeer",
                                              "VerifyHost",
                                              "Proxy",
                                              "Timeout",
                                              "Budget",
                                              "ActiveInterval",
                                              "IdleInterval",
                                              "MaxStreams",
                                              "DiscoverInstances",
                                              "DiscoverInstance",
                                              "DiscoverNamespace",
                                              "IgnoreSelected",
                                              "DiscoveryInterval",
                                              "StalledAfter",
                                              "OverdueAfter",
                                              "ReportSource",
                                              "ReportJobs",
                                              "ReportItems",
                                              "Instance",
                                              NULL};

/* What an Account block says, but for what goes into the account as it is. */
typedef struct {
  char *token_file;
  char *email;
  char *key_file;
  char *api_url;
  char *unix_socket;
  bool verify_peer;
  bool verify_host;
  double timeout; /* ms; NAN: not given */
  config_budget_t budget;
  config_pacing_t pacing;
  config_discovery_t discovery;
  config_alarms_t alarms;
} account_settings_t;

static void free_account(account_t *account) {
  aisearch_schedule_free(&account->schedule);
  aisearch_discover_free(account);
  aisearch_lookups_free(account);
  config_discovery_free(&account->discover);
  aisearch_outbox_free(&account->outbox);
  aisearch_credential_free(&account->credential);
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

  aisearch_state_config_free();
}

/* A relative path would mean something else once collectd is in its BaseDir.
 * The value is not shown: it may be a token in the wrong place. */
static int check_file(const account_t *account, const char *option,
                      const char *file) {
  if (file != NULL && file[0] != '/')
    return config_refuse(account, "%s has to be an absolute path.", option);
  return 0;
}

/* The same for a file that may be one of systemd's credentials instead. */
static int find_secret(const account_t *account, const char *option,
                       char **file) {
  char path[AIS_CREDENTIAL_PATH_MAX];
  struct ais_error err = {.text = ""};

  if (*file == NULL || !ais_credential_is_named(*file))
    return check_file(account, option, *file);

  if (ais_credential_path(path, *file, &err) != 0)
    return config_refuse(account, "%s: %s", option, err.text);

  sfree(*file);
  *file = sstrdup(path);
  return 0;
}

static int check_files(const account_t *account, account_settings_t *settings) {
  int status = find_secret(account, "TokenFile", &settings->token_file);

  if (status == 0)
    status = find_secret(account, "KeyFile", &settings->key_file);
  if (status == 0)
    status = check_file(account, "UnixSocket", settings->unix_socket);
  if (status == 0)
    status = check_file(account, "CACert", account->ca_cert);
  return status;
}

static int check_account_id(const account_t *account) {
  if (account->account_id == NULL)
    return config_refuse(account,
                         "AccountID is missing. Add the account's id, as "
                         "the dashboard shows it.");

  if (!ais_account_id_valid(config_view(account->account_id)))
    return config_refuse(
        account,
        "AccountID \"%s\" is no account's id. Use up to 32 of 0-9 "
        "and a-f, as the dashboard shows it.",
        account->account_id);

  if (strlen(account->account_id) != AIS_ACCOUNT_ID_LEN)
    WARNING("aisearch plugin: Account \"%s\": AccountID \"%s\" has %zu digits, "
            "and the API's have %d, so that it will refuse it. Copy it again "
            "from the dashboard.",
            account->name, account->account_id, strlen(account->account_id),
            AIS_ACCOUNT_ID_LEN);

  return 0;
}

static int load_credential(account_t *account,
                           const account_settings_t *settings) {
  bool token = settings->token_file != NULL;
  bool email = settings->email != NULL;
  bool key = settings->key_file != NULL;
  struct ais_error err = {.text = ""};
  struct ais_credential *secret;

  if (token && (email || key))
    return config_refuse(account, "TokenFile stands beside Email or KeyFile. "
                                  "Use TokenFile alone, or Email and KeyFile.");

  if (email != key)
    return config_refuse(account,
                         "Email and KeyFile belong together: %s is missing.",
                         email ? "KeyFile" : "Email");

  if (!token && !email && settings->api_url == NULL)
    return config_refuse(
        account, "The credential is missing. Add TokenFile, or Email and "
                 "KeyFile; or APIURL, for an nginx that has the credential.");

  if (!token && !email)
    return 0;

  secret = token ? ais_credential_token(settings->token_file, &err)
                 : ais_credential_email_key(settings->email, settings->key_file,
                                            &err);
  if (secret == NULL)
    return config_refuse(account, "%s: %s",
                         token ? "TokenFile" : "Email and KeyFile", err.text);

  aisearch_credential_init(&account->credential, account->name, secret);
  return 0;
}

static int set_unix_socket(account_t *account, const char *path) {
  struct ais_url *url = &account->target.url;

  if (path == NULL)
    return 0;

  if (url->tls || url->unix_socket[0] != '\0')
    return config_refuse(account,
                         "UnixSocket goes with a plain APIURL, such as "
                         "\"http://localhost/client/v4\". Change APIURL, or "
                         "remove UnixSocket.");

  if (strlen(path) >= sizeof(url->unix_socket))
    return config_refuse(
        account,
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
    return config_refuse(account,
                         "UnixSocket needs an APIURL beside it, such as "
                         "\"http://localhost/client/v4\".");

  if (ais_url_parse(url,
                    settings->api_url != NULL ? settings->api_url : API_URL,
                    &err) != 0)
    return config_refuse(account, "APIURL: %s", err.text);

  if (account->proxy != NULL && ais_url_check_proxy(account->proxy, &err) != 0)
    return config_refuse(account, "Proxy: %s", err.text);

  if (set_unix_socket(account, settings->unix_socket) != 0)
    return -1;

  if (url->unix_socket[0] != '\0' && account->proxy != NULL)
    return config_refuse(account, "No Proxy is on the way to a Unix socket. "
                                  "Remove one of them.");
  account->target.proxy = account->proxy;

  if (account->credential.secret != NULL &&
      ais_url_secrecy(url, account->proxy != NULL) != AIS_URL_SECRET)
    return config_refuse(
        account, "APIURL would send the credential over plain http to "
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
  if (target->url.tls && account->credential.secret != NULL &&
      (!target->verify_peer || !target->verify_host))
    WARNING("aisearch plugin: Account \"%s\": Without VerifyPeer and "
            "VerifyHost the credential goes to whoever answers.",
            account->name);

  if (account->ca_cert != NULL && load_ca(account->ca_cert, &err) != 0)
    return config_refuse(account, "CACert: %s", err.text);

  return 0;
}

/* A look-up is over before the next one is due. */
static double longest_timeout(const account_t *account) {
  double timeout = 0.9 * (double)account->pacing.active_interval;

  return timeout > 1.0 ? timeout : 1.0;
}

static int set_timeout(account_t *account, const account_settings_t *settings) {
  double longest = longest_timeout(account);
  double timeout = settings->timeout;

  if (isnan(timeout))
    timeout = DEFAULT_TIMEOUT < longest ? DEFAULT_TIMEOUT : longest;

  if (!(timeout >= 1.0 && timeout <= MAX_TIMEOUT))
    return config_refuse(
        account, "Timeout %g is out of range. Use 1 to %.0f milliseconds.",
        timeout, MAX_TIMEOUT);

  if (timeout > longest) {
    timeout = longest;
    WARNING("aisearch plugin: Account \"%s\": Timeout %g is too long for an "
            "ActiveInterval of %g seconds. Will use %.0f.",
            account->name, settings->timeout,
            (double)account->pacing.active_interval / 1000.0, timeout);
  }

  account->target.timeout = (int64_t)timeout;
  account->target.connect_timeout = account->target.timeout;
  account->target.retries = RETRIES;
  return 0;
}

static int read_account(account_t *account, account_settings_t *settings,
                        const oconfig_item_t *ci) {
  int status = config_check_options(ci, account_options);

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
    else if (strcasecmp("Timeout", child->key) == 0)
      status = cf_util_get_double(child, &settings->timeout);
    else if (strcasecmp("Budget", child->key) == 0)
      status = config_budget(account, &settings->budget, child);
    else if (config_is_pacing(child->key))
      status = config_pacing(&settings->pacing, child);
    else if (config_is_discovery(child->key))
      status = config_discovery(account, &settings->discovery, child);
    else if (config_is_alarm(child->key))
      status = config_alarm(&settings->alarms, child);
    else if (strcasecmp("ReportSource", child->key) == 0)
      status = cf_util_get_boolean(child, &account->report_source);
    else if (strcasecmp("ReportJobs", child->key) == 0)
      status = cf_util_get_boolean(child, &account->report_jobs);
    else if (strcasecmp("ReportItems", child->key) == 0)
      status = cf_util_get_boolean(child, &account->report_items);
  }

  return status;
}

/* The name stands in every identifier, and the first '-' there ends it. */
static bool is_name(const char *s) {
  size_t len = 0;

  while (isalnum((unsigned char)s[len]) || s[len] == '_')
    len++;

  return s[len] == '\0' && len >= 1 && len <= ACCOUNT_NAME_MAX;
}

static int check_name(const account_t *account, const account_t *accounts) {
  if (!is_name(account->name))
    return config_refuse(account,
                         "The name does not fit. Use 1 to %d of A-Z, a-z, 0-9 "
                         "and _.",
                         ACCOUNT_NAME_MAX);

  for (; accounts != NULL; accounts = accounts->next)
    if (strcasecmp(accounts->name, account->name) == 0)
      return config_refuse(account,
                           "Two Account blocks have this name. Rename one.");

  return 0;
}

static int add_instances(account_t *account, const oconfig_item_t *ci) {
  int status = 0;

  for (int i = 0; status == 0 && i < ci->children_num; i++)
    if (strcasecmp("Instance", ci->children[i].key) == 0)
      status = config_instance(account, ci->children + i);

  if (status == 0 && account->lookups == 0 && !account->discover.wanted)
    return config_refuse(account,
                         "Nothing to look at. Add an <Instance> block, or "
                         "DiscoverInstances true.");

  return status;
}

static int make_account(account_t *account, account_settings_t *settings,
                        const oconfig_item_t *ci, account_t *accounts) {
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
    status = config_pacing_set(account, &settings->pacing);
  if (status == 0)
    status = config_alarms_set(account, &settings->alarms);
  if (status == 0)
    status = set_timeout(account, settings);
  if (status == 0)
    status = config_budget_join(account, &settings->budget, accounts);
  if (status == 0)
    status = config_discovery_set(account, &settings->discovery);
  if (status == 0)
    status = add_instances(account, ci);
  return status;
}

static int config_account(const oconfig_item_t *ci, account_t **accounts) {
  account_settings_t settings = {
      .verify_peer = true,
      .verify_host = true,
      .timeout = NAN,
      .pacing = config_pacing_default,
      .discovery = config_discovery_default,
      .alarms = config_alarms_default,
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
    status = make_account(account, &settings, ci, *accounts);

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

static int config_option(const oconfig_item_t *ci, account_t **accounts) {
  if (strcasecmp("StateFile", ci->key) == 0)
    return aisearch_state_config(ci);
  return config_account(ci, accounts);
}

int aisearch_config(oconfig_item_t *ci, account_t **accounts) {
  int status = config_check_options(ci, plugin_options);

  for (int i = 0; status == 0 && i < ci->children_num; i++)
    status = config_option(ci->children + i, accounts);

  if (status == 0 && *accounts == NULL) {
    ERROR("aisearch plugin: No account is configured. Add an <Account> block.");
    return -1;
  }

  return status;
}
