/*
 * A collectd plugin that only dispatches what aisearch does: ten values for each of many instances, a tenth of them in
 * each tenth of an interval. It also prints how many values collectd considers missing.
 */

#include "collectd.h"

#include "plugin.h"
#include "utils/common/common.h"

static const struct {
    const char *type;
    const char *type_instance;
} series[] = {
    {"gauge", "state"},          {"gauge", "failed"},      {"gauge", "stalled"},       {"gauge", "overdue"},
    {"gauge", "instance_error"}, {"duration", "job"},      {"duration", "since_read"}, {"duration", "since_success"},
    {"operations", "succeeded"}, {"operations", "failed"},
};

#define SLICES 10

static int instances;
static cdtime_t interval;

static int missing;
static pthread_mutex_t missing_lock = PTHREAD_MUTEX_INITIALIZER;

static int series_missing(const value_list_t *vl, user_data_t *ud)
{
    (void) vl;
    (void) ud;
    pthread_mutex_lock(&missing_lock);
    missing++;
    pthread_mutex_unlock(&missing_lock);
    return 0;
}

static void tell_missing(void)
{
    int told;

    pthread_mutex_lock(&missing_lock);
    told = missing;
    missing = 0;
    pthread_mutex_unlock(&missing_lock);
    if (told > 0) {
        WARNING("series plugin: missing: %d", told);
    }
}

static void dispatch(int instance, size_t n)
{
    value_t value = {.gauge = 1.0};
    value_list_t vl = VALUE_LIST_INIT;

    if (strcmp(series[n].type, "operations") == 0) {
        value.derive = 1;
    }
    vl.values = &value;
    vl.values_len = 1;
    vl.interval = interval;
    sstrncpy(vl.plugin, "aisearch", sizeof(vl.plugin));
    snprintf(vl.plugin_instance, sizeof(vl.plugin_instance), "docs-instance-%04d", instance);
    sstrncpy(vl.type, series[n].type, sizeof(vl.type));
    sstrncpy(vl.type_instance, series[n].type_instance, sizeof(vl.type_instance));
    plugin_dispatch_values(&vl);
}

static int series_read(user_data_t *ud)
{
    static int slice;

    (void) ud;
    tell_missing();
    for (int i = slice; i < instances; i += SLICES) {
        for (size_t n = 0; n < STATIC_ARRAY_SIZE(series); n++) {
            dispatch(i, n);
        }
    }
    slice = (slice + 1) % SLICES;
    return 0;
}

static int series_config(oconfig_item_t *ci)
{
    return cf_util_get_int(&ci->children[0], &instances);
}

static int series_init(void)
{
    interval = plugin_get_interval();
    plugin_register_missing("series", series_missing, NULL);
    return plugin_register_complex_read("series", "series", series_read, interval / SLICES, NULL);
}

void module_register(void)
{
    plugin_register_complex_config("series", series_config);
    plugin_register_init("series", series_init);
}
