#include "config_options.h"

/* Of a list, one page: the most that the API gives. */
#define JOBS_PER_PAGE 50

static const char *const instance_options[] = {"Namespace", "Generation", "Job",
                                               NULL};

/* What a block says, before it is made into look-ups. */
typedef struct {
  char *instance;
  char *namespace;  /* NULL: not given */
  char *generation; /* NULL: not given */
  enum ais_generation kind;
  char plugin_instance[DATA_MAX_NAME_LEN];
} instance_settings_t;

void config_free_lookups(lookup_t *lookup) {
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
      .namespace = config_view(l->namespace),
      .instance = config_view(l->instance),
      .job = config_view(l->job),
      .page = AIS_PAGE_NONE,
      .per_page = l->job != NULL ? AIS_PAGE_NONE : JOBS_PER_PAGE,
  };
  ais_resource_path(&l->resource, config_view(l->account->account_id), l->path);
}

/* Adds a look-up of a job, or of the list where job is NULL. */
static int add_lookup(account_t *account, const instance_settings_t *settings,
                      const char *job) {
  lookup_t *l = calloc(1, sizeof(*l));

  if (l == NULL)
    return config_refuse(account, "Out of memory.");

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
    return config_refuse(account,
                         "Instance \"%s\": Generation \"%s\" is not known. Use "
                         "\"instance\" or \"autorag\".",
                         settings->instance, generation);
  else if (settings->namespace != NULL)
    settings->kind = AIS_NAMESPACED;
  else
    settings->kind = AIS_INSTANCE;

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
    return config_refuse(
        account,
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
      return config_refuse(
          account,
          "Two Instance blocks would both report as \"%s\". Put all "
          "Job options of an instance into one block; put an AutoRAG "
          "and an instance of the same name into two Account blocks.",
          settings->plugin_instance);

  return 0;
}

static int add_job(account_t *account, const instance_settings_t *settings,
                   const char *job) {
  if (!ais_job_id_valid(config_view(job)))
    return config_refuse(
        account,
        "Instance \"%s\": Job \"%s\" is no job's id. Use 1 to 64 of "
        "A-Z, a-z, 0-9, _ and -.",
        settings->instance, job);

  /* This block's look-ups stand at the head of the list. */
  for (lookup_t *l = account->lookups; l != NULL; l = l->next)
    if (strcmp(l->plugin_instance, settings->plugin_instance) == 0 &&
        strcmp(l->job, job) == 0)
      return config_refuse(
          account, "Instance \"%s\": Job \"%s\" is given twice. Remove one.",
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
    status = identify(account, &settings);
  if (status == 0)
    status = add_jobs(account, &settings, ci);

  sfree(settings.instance);
  sfree(settings.namespace);
  sfree(settings.generation);
  return status;
}
