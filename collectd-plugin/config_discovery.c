#include "config_options.h"

#define DEFAULT_INTERVAL 900.0
#define MAX_INTERVAL 86400.0

const config_discovery_t config_discovery_default = {
    .interval = DEFAULT_INTERVAL,
};

bool config_is_discovery(const char *option) {
  return strcasecmp(option, "DiscoverInstances") == 0 ||
         strcasecmp(option, "DiscoverInstance") == 0 ||
         strcasecmp(option, "DiscoverNamespace") == 0 ||
         strcasecmp(option, "IgnoreSelected") == 0 ||
         strcasecmp(option, "DiscoveryInterval") == 0;
}

/* A name that is one, if not of an instance: an empty one is told of as such. */
static bool is_no_instance(const char *name) {
  return name[0] != '\0' && !aisearch_selection_is_regex(name) &&
         !ais_instance_valid(config_view(name), AIS_PLAIN);
}

static int add_name(account_t *account, const char *name) {
  char reason[256] = "no instance can have this name";

  if (!is_no_instance(name) &&
      aisearch_selection_add(&account->discover.selection, name, reason,
                             sizeof(reason)) == 0)
    return 0;

  return config_refuse(account,
                       "DiscoverInstance \"%s\" does not do: %s. Use an "
                       "instance's name, or a regular expression between "
                       "slashes, such as \"/^docs-/\".",
                       name, reason);
}

static int append(discovery_settings_t *discover, const char *name) {
  char **namespaces =
      realloc(discover->namespaces,
              (discover->nnamespaces + 1) * sizeof(*discover->namespaces));
  char *copy = strdup(name);

  if (namespaces != NULL)
    discover->namespaces = namespaces;
  if (namespaces == NULL || copy == NULL) {
    sfree(copy);
    return -1;
  }

  namespaces[discover->nnamespaces++] = copy;
  return 0;
}

static int add_namespace(account_t *account, const char *name) {
  discovery_settings_t *discover = &account->discover;

  if (!ais_namespace_valid(config_view(name)))
    return config_refuse(account,
                         "DiscoverNamespace \"%s\" is no namespace's "
                         "name. " CONFIG_NAMESPACE_RULE,
                         name);

  for (size_t i = 0; i < discover->nnamespaces; i++)
    if (strcmp(discover->namespaces[i], name) == 0)
      return config_refuse(
          account, "DiscoverNamespace \"%s\" is given twice. Remove one.",
          name);

  return append(discover, name) == 0 ? 0
                                     : config_refuse(account, "Out of memory.");
}

static int add_string(account_t *account, const oconfig_item_t *ci,
                      int (*add)(account_t *, const char *)) {
  char *name = NULL;
  int status = cf_util_get_string(ci, &name);

  if (status == 0)
    status = add(account, name);
  sfree(name);
  return status;
}

int config_discovery(account_t *account, config_discovery_t *discovery,
                     const oconfig_item_t *ci) {
  if (strcasecmp("DiscoverInstances", ci->key) == 0) {
    discovery->is_said = true;
    return cf_util_get_boolean(ci, &discovery->wanted);
  }
  if (strcasecmp("IgnoreSelected", ci->key) == 0)
    return cf_util_get_boolean(ci, &account->discover.selection.ignore);
  if (strcasecmp("DiscoveryInterval", ci->key) == 0)
    return cf_util_get_double(ci, &discovery->interval);
  if (strcasecmp("DiscoverNamespace", ci->key) == 0)
    return add_string(account, ci, add_namespace);
  return add_string(account, ci, add_name);
}

/* Who says what to discover wants it discovered, unless DiscoverInstances says
 * otherwise. */
int config_discovery_set(account_t *account,
                         const config_discovery_t *discovery) {
  discovery_settings_t *discover = &account->discover;

  if (!(discovery->interval > 0.0 && discovery->interval <= MAX_INTERVAL))
    return config_refuse(
        account,
        "DiscoveryInterval %.15g is out of range. Use up to %.0f seconds.",
        discovery->interval, MAX_INTERVAL);

  discover->interval = (int64_t)(discovery->interval * 1000.0);
  discover->wanted = discovery->is_said ? discovery->wanted
                                        : discover->selection.entries != NULL ||
                                              discover->nnamespaces > 0;
  return 0;
}

void config_discovery_free(discovery_settings_t *discover) {
  aisearch_selection_free(&discover->selection);
  for (size_t i = 0; i < discover->nnamespaces; i++)
    sfree(discover->namespaces[i]);
  sfree(discover->namespaces);
  discover->nnamespaces = 0;
}
