#include "config_options.h"

static const char *const instance_options[] = {"Namespace", "Generation", "Job",
                                               NULL};

/* What a block says, before it is made into look-ups. */
typedef struct {
  char *instance;
  char *namespace;  /* NULL: not given */
  char *generation; /* NULL: not given */
  enum ais_generation kind;
} instance_settings_t;

static lookup_what_t what_of(const instance_settings_t *settings,
                             const char *job) {
  return (lookup_what_t){.instance = settings->instance,
                         .namespace = settings->namespace,
                         .job = job,
                         .generation = settings->kind};
}

/* Adds a look-up of a job, or of the list where job is NULL. */
static int add_lookup(account_t *account, const instance_settings_t *settings,
                      const char *job) {
  lookup_what_t what = what_of(settings, job);

  if (aisearch_lookup_add(account, &what) == NULL)
    return config_refuse(account, "Out of memory.");
  return 0;
}

static int set_generation(account_t *account, instance_settings_t *settings) {
  const char *generation = settings->generation;

  if (generation != NULL && strcasecmp(generation, "autorag") == 0)
    settings->kind = AIS_AUTORAG;
  else if (generation != NULL && strcasecmp(generation, "instance") != 0)
    return config_refuse(account,
                         "Instance \"%s\": Generation \"%s\" is not known. Use "
                         "\"instance\" or \"autorag\".",
                         settings->instance, generation);
  else if (settings->namespace != NULL)
    settings->kind = AIS_NAMESPACED;
  else
    settings->kind = AIS_PLAIN;

  if (settings->kind == AIS_AUTORAG && settings->namespace != NULL)
    return config_refuse(account,
                         "Instance \"%s\": AutoRAG has no namespaces. Remove "
                         "Namespace or Generation.",
                         settings->instance);

  return 0;
}

static int check_instance(account_t *account,
                          const instance_settings_t *settings) {
  if (!ais_instance_valid(config_view(settings->instance), settings->kind))
    return config_refuse(
        account,
        "Instance \"%s\" is no instance's name. Use 1 to %d of a-z, "
        "0-9 and _, with single - between them.",
        settings->instance, settings->kind == AIS_AUTORAG ? 32 : 64);

  if (settings->namespace != NULL &&
      !ais_namespace_valid(config_view(settings->namespace)))
    return config_refuse(account,
                         "Instance \"%s\": Namespace \"%s\" is no namespace's "
                         "name. " CONFIG_NAMESPACE_RULE,
                         settings->instance, settings->namespace);

  return 0;
}

static int check_identity(account_t *account,
                          const instance_settings_t *settings) {
  lookup_what_t what = what_of(settings, /* job = */ NULL);
  char name[DATA_MAX_NAME_LEN];

  aisearch_lookup_name(name, account, &what);
  if (aisearch_lookup_find(account, name) != NULL)
    return config_refuse(
        account,
        "Two Instance blocks would both report as \"%s\". Put all "
        "Job options of an instance into one block; put an AutoRAG "
        "and an instance of the same name into two Account blocks.",
        name);

  return 0;
}

/* Those of this block stand behind all others. */
static bool has_job(const account_t *account, const lookup_t *before,
                    const char *job) {
  for (const lookup_t *l = account->last; l != before; l = l->prev)
    if (strcmp(l->job, job) == 0)
      return true;
  return false;
}

static int add_job(account_t *account, const instance_settings_t *settings,
                   const lookup_t *before, const char *job) {
  if (!ais_job_id_valid(config_view(job)))
    return config_refuse(
        account,
        "Instance \"%s\": Job \"%s\" is no job's id. Use 1 to 64 of "
        "A-Z, a-z, 0-9, _ and -.",
        settings->instance, job);

  if (has_job(account, before, job))
    return config_refuse(
        account, "Instance \"%s\": Job \"%s\" is given twice. Remove one.",
        settings->instance, job);

  return add_lookup(account, settings, job);
}

static int add_jobs(account_t *account, const instance_settings_t *settings,
                    const oconfig_item_t *ci) {
  const lookup_t *before = account->last;
  bool pinned = false;

  for (int i = 0; i < ci->children_num; i++) {
    char *job = NULL;
    int status;

    if (strcasecmp("Job", ci->children[i].key) != 0)
      continue;

    pinned = true;
    status = cf_util_get_string(ci->children + i, &job);
    if (status == 0)
      status = add_job(account, settings, before, job);
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
    status = config_check_options(ci, instance_options);

  for (int i = 0; status == 0 && i < ci->children_num; i++) {
    const oconfig_item_t *child = ci->children + i;

    if (strcasecmp("Namespace", child->key) == 0)
      status = cf_util_get_string(child, &settings->namespace);
    else if (strcasecmp("Generation", child->key) == 0)
      status = cf_util_get_string(child, &settings->generation);
  }

  return status;
}

int config_instance(account_t *account, const oconfig_item_t *ci) {
  instance_settings_t settings = {.instance = NULL};
  int status = read_instance(&settings, ci);

  if (status == 0)
    status = set_generation(account, &settings);
  if (status == 0)
    status = check_instance(account, &settings);
  if (status == 0)
    status = check_identity(account, &settings);
  if (status == 0)
    status = add_jobs(account, &settings, ci);

  sfree(settings.instance);
  sfree(settings.namespace);
  sfree(settings.generation);
  return status;
}
