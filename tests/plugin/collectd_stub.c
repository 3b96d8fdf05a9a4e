#include "collectd_stub.h"

#include "utils/common/common.h"
#include "utils_complain.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define READERS_MAX 64

struct reader {
    plugin_read_cb callback;
    user_data_t data;
    char name[DATA_MAX_NAME_LEN];
    pthread_mutex_t busy;
};

struct stub_counts stub_counts;
cdtime_t stub_interval = TIME_T_TO_CDTIME_T(10);
bool stub_reads_once;
int stub_verbosity = -1;
void (*stub_on_values)(const value_list_t *vl);
void (*stub_on_notification)(const notification_t *n);

/* The daemon's variables that a plugin may use. */
char *hostname_g = "stub";
cdtime_t interval_g = TIME_T_TO_CDTIME_T(10);
int timeout_g = 2;

static int (*config_callback)(oconfig_item_t *);
static plugin_init_cb init_callback;
static plugin_shutdown_cb shutdown_callback;

static pthread_mutex_t readers_lock = PTHREAD_MUTEX_INITIALIZER;
static struct reader *readers[READERS_MAX];
static size_t nreaders;

/* ---- the life of a plugin ---------------------------------------------------------------------------------------- */

void stub_load(void)
{
    module_register();
}

int stub_config(oconfig_item_t *block)
{
    return config_callback != NULL ? config_callback(block) : 0;
}

int stub_init(void)
{
    return init_callback != NULL ? init_callback() : 0;
}

static struct reader *reader(size_t n)
{
    struct reader *r;

    pthread_mutex_lock(&readers_lock);
    r = n < nreaders ? readers[n] : NULL;
    pthread_mutex_unlock(&readers_lock);
    return r;
}

size_t stub_readers(void)
{
    size_t n;

    pthread_mutex_lock(&readers_lock);
    n = nreaders;
    pthread_mutex_unlock(&readers_lock);
    return n;
}

int stub_read(size_t n)
{
    struct reader *r = reader(n);
    int status;

    if (r == NULL) {
        return 0;
    }
    pthread_mutex_lock(&r->busy);
    status = r->callback(&r->data);
    pthread_mutex_unlock(&r->busy);
    return status;
}

static void free_reader(struct reader *r)
{
    if (r->data.free_func != NULL) {
        r->data.free_func(r->data.data);
    }
    pthread_mutex_destroy(&r->busy);
    free(r);
}

int stub_shutdown(void)
{
    int status;

    while (nreaders > 0) {
        free_reader(readers[--nreaders]);
    }
    status = shutdown_callback != NULL ? shutdown_callback() : 0;
    config_callback = NULL;
    init_callback = NULL;
    shutdown_callback = NULL;
    return status;
}

/* ---- a plugin's registrations ------------------------------------------------------------------------------------ */

int plugin_register_complex_config(const char *type, int (*callback)(oconfig_item_t *))
{
    (void) type;
    config_callback = callback;
    return 0;
}

int plugin_register_init(const char *name, plugin_init_cb callback)
{
    (void) name;
    init_callback = callback;
    return 0;
}

int plugin_register_shutdown(const char *name, plugin_shutdown_cb callback)
{
    (void) name;
    shutdown_callback = callback;
    return 0;
}

static bool registered(const char *name)
{
    for (size_t i = 0; i < nreaders; i++) {
        if (strcmp(readers[i]->name, name) == 0) {
            return true;
        }
    }
    return false;
}

int plugin_register_complex_read(const char *group, const char *name, plugin_read_cb callback, cdtime_t interval,
                                 const user_data_t *data)
{
    struct reader *r = calloc(1, sizeof(*r));
    int status = -1;

    (void) group;
    (void) interval;
    if (r == NULL) {
        return -1;
    }
    *r = (struct reader){.callback = callback};
    if (data != NULL) {
        r->data = *data;
    }
    sstrncpy(r->name, name, sizeof(r->name));
    pthread_mutex_init(&r->busy, NULL);

    pthread_mutex_lock(&readers_lock);
    if (nreaders < READERS_MAX && !registered(name)) {
        readers[nreaders++] = r;
        status = 0;
    }
    pthread_mutex_unlock(&readers_lock);

    if (status != 0) {
        pthread_mutex_destroy(&r->busy);
        free(r);
    }
    return status;
}

/* ---- a plugin's queries ------------------------------------------------------------------------------------------ */

cdtime_t cdtime(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return TIMESPEC_TO_CDTIME_T(&ts);
}

cdtime_t plugin_get_interval(void)
{
    return stub_interval;
}

plugin_ctx_t plugin_get_ctx(void)
{
    return (plugin_ctx_t){.interval = stub_interval};
}

plugin_ctx_t plugin_set_ctx(plugin_ctx_t ctx)
{
    (void) ctx;
    return plugin_get_ctx();
}

int plugin_thread_create(pthread_t *thread, void *(*start)(void *), void *arg, const char *name)
{
    (void) name;
    return pthread_create(thread, NULL, start, arg);
}

/* ---- a plugin's output ------------------------------------------------------------------------------------------- */

static void log_message(int severity, const char *format, va_list args)
{
    char message[1024]; /* as long as the daemon's own */

    vsnprintf(message, sizeof(message), format, args);
    stub_counts.logged[severity]++;
    if (severity <= stub_verbosity) {
        fprintf(stderr, "%s\n", message);
    }
}

void plugin_log(int level, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    log_message(level, format, args);
    va_end(args);
}

void daemon_log(int level, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    log_message(level, format, args);
    va_end(args);
}

/* At most once per interval, then once in two intervals, and so on. */
static void complain(int level, c_complain_t *c, const char *format, va_list args)
{
    cdtime_t now = cdtime();

    if (c->last + c->interval > now) {
        return;
    }
    c->last = now;
    c->interval = c->interval < stub_interval ? stub_interval : 2 * c->interval;
    c->complained_once = true;
    log_message(level, format, args);
}

void c_complain(int level, c_complain_t *c, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    complain(level, c, format, args);
    va_end(args);
}

void c_complain_once(int level, c_complain_t *c, const char *format, ...)
{
    va_list args;

    if (c->complained_once) {
        return;
    }
    va_start(args, format);
    complain(level, c, format, args);
    va_end(args);
}

void c_do_release(int level, c_complain_t *c, const char *format, ...)
{
    va_list args;

    if (c->interval == 0) {
        return;
    }
    *c = (c_complain_t){.last = c->last};

    va_start(args, format);
    log_message(level, format, args);
    va_end(args);
}

static bool is_name(const char *s)
{
    return memchr(s, '\0', DATA_MAX_NAME_LEN) != NULL && strpbrk(s, "\n\r") == NULL;
}

/* Whether neither the daemon nor a write plugin would reject the identifier. */
static bool is_identifier(const char *plugin, const char *plugin_instance, const char *type, const char *type_instance)
{
    return is_name(plugin) && is_name(plugin_instance) && is_name(type) && is_name(type_instance) &&
           plugin[0] != '\0' && type[0] != '\0' && strpbrk(plugin, "-/") == NULL && strchr(type, '-') == NULL;
}

int plugin_dispatch_values(const value_list_t *vl)
{
    stub_counts.values++;
    if (vl->values == NULL || vl->values_len == 0 ||
        !is_identifier(vl->plugin, vl->plugin_instance, vl->type, vl->type_instance)) {
        stub_counts.malformed++;
        return -1;
    }
    if (stub_on_values != NULL) {
        stub_on_values(vl);
    }
    return 0;
}

int plugin_dispatch_notification(const notification_t *n)
{
    bool severity = n->severity == NOTIF_FAILURE || n->severity == NOTIF_WARNING || n->severity == NOTIF_OKAY;

    stub_counts.notifications++;
    if (!severity || n->time == 0 || memchr(n->message, '\0', NOTIF_MAX_MSG_LEN) == NULL ||
        !is_identifier(n->plugin, n->plugin_instance, n->type, n->type_instance)) {
        stub_counts.malformed++;
        return -1;
    }
    if (stub_on_notification != NULL) {
        stub_on_notification(n);
    }
    return 0;
}

static void free_meta(notification_meta_t *meta)
{
    if (meta->type == NM_TYPE_STRING) {
        free((char *) meta->nm_value.nm_string);
    }
    free(meta);
}

static int add_meta(notification_t *n, const char *name, notification_meta_t value)
{
    notification_meta_t *meta = calloc(1, sizeof(*meta));
    notification_meta_t **end = &n->meta;

    if (meta == NULL) {
        return -1;
    }
    *meta = value;
    if (value.type == NM_TYPE_STRING && (meta->nm_value.nm_string = sstrdup(value.nm_value.nm_string)) == NULL) {
        free_meta(meta);
        return -1;
    }
    sstrncpy(meta->name, name, sizeof(meta->name));
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = meta;
    return 0;
}

int plugin_notification_meta_add_string(notification_t *n, const char *name, const char *value)
{
    return add_meta(n, name, (notification_meta_t){.type = NM_TYPE_STRING, .nm_value.nm_string = value});
}

int plugin_notification_meta_add_signed_int(notification_t *n, const char *name, int64_t value)
{
    return add_meta(n, name, (notification_meta_t){.type = NM_TYPE_SIGNED_INT, .nm_value.nm_signed_int = value});
}

int plugin_notification_meta_add_unsigned_int(notification_t *n, const char *name, uint64_t value)
{
    return add_meta(n, name, (notification_meta_t){.type = NM_TYPE_UNSIGNED_INT, .nm_value.nm_unsigned_int = value});
}

int plugin_notification_meta_add_double(notification_t *n, const char *name, double value)
{
    return add_meta(n, name, (notification_meta_t){.type = NM_TYPE_DOUBLE, .nm_value.nm_double = value});
}

int plugin_notification_meta_add_boolean(notification_t *n, const char *name, bool value)
{
    return add_meta(n, name, (notification_meta_t){.type = NM_TYPE_BOOLEAN, .nm_value.nm_boolean = value});
}

int plugin_notification_meta_free(notification_meta_t *n)
{
    while (n != NULL) {
        notification_meta_t *next = n->next;

        free_meta(n);
        n = next;
    }
    return 0;
}

/* ---- options ----------------------------------------------------------------------------------------------------- */

/* Returns the option's only value if it has this type. */
static const oconfig_value_t *only_value(const oconfig_item_t *ci, int type)
{
    if (ci->values_num == 1 && ci->values[0].type == type) {
        return &ci->values[0];
    }
    ERROR("The %s option takes one argument of another type.", ci->key);
    return NULL;
}

int cf_util_get_string(const oconfig_item_t *ci, char **ret)
{
    const oconfig_value_t *v = only_value(ci, OCONFIG_TYPE_STRING);
    char *copy;

    if (v == NULL || (copy = sstrdup(v->value.string)) == NULL) {
        return -1;
    }
    free(*ret);
    *ret = copy;
    return 0;
}

int cf_util_get_string_buffer(const oconfig_item_t *ci, char *buffer, size_t size)
{
    const oconfig_value_t *v = only_value(ci, OCONFIG_TYPE_STRING);

    if (v == NULL) {
        return -1;
    }
    sstrncpy(buffer, v->value.string, size);
    return 0;
}

int cf_util_get_int(const oconfig_item_t *ci, int *ret)
{
    const oconfig_value_t *v = only_value(ci, OCONFIG_TYPE_NUMBER);

    if (v == NULL) {
        return -1;
    }
    *ret = (int) v->value.number;
    return 0;
}

int cf_util_get_double(const oconfig_item_t *ci, double *ret)
{
    const oconfig_value_t *v = only_value(ci, OCONFIG_TYPE_NUMBER);

    if (v == NULL) {
        return -1;
    }
    *ret = v->value.number;
    return 0;
}

/* Also accepts "true" and the like as a string. */
int cf_util_get_boolean(const oconfig_item_t *ci, bool *ret)
{
    const char *word;

    if (ci->values_num == 1 && ci->values[0].type == OCONFIG_TYPE_STRING) {
        word = ci->values[0].value.string;
        if (!IS_TRUE(word) && !IS_FALSE(word)) {
            ERROR("The %s option takes a boolean.", ci->key);
            return -1;
        }
        *ret = IS_TRUE(word);
        return 0;
    }
    if (only_value(ci, OCONFIG_TYPE_BOOLEAN) == NULL) {
        return -1;
    }
    *ret = ci->values[0].value.boolean != 0;
    return 0;
}

int cf_util_get_flag(const oconfig_item_t *ci, unsigned int *ret, unsigned int flag)
{
    bool set;

    if (cf_util_get_boolean(ci, &set) != 0) {
        return -1;
    }
    *ret = set ? *ret | flag : *ret & ~flag;
    return 0;
}

int cf_util_get_cdtime(const oconfig_item_t *ci, cdtime_t *ret)
{
    const oconfig_value_t *v = only_value(ci, OCONFIG_TYPE_NUMBER);

    if (v == NULL || v->value.number < 0.0) {
        return -1;
    }
    *ret = DOUBLE_TO_CDTIME_T(v->value.number);
    return 0;
}

const char *global_option_get(const char *option)
{
    return strcasecmp(option, "BaseDir") == 0 ? "." : NULL;
}

long global_option_get_long(const char *option, long default_value)
{
    return strcasecmp(option, "ReadThreads") == 0 && stub_reads_once ? -1 : default_value;
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

int sread(int fd, void *buf, size_t count)
{
    char *at = buf;

    for (ssize_t n; count > 0; at += n, count -= (size_t) n) {
        n = read(fd, at, count);
        if (n <= 0)
            return -1;
    }
    return 0;
}

int swrite(int fd, const void *buf, size_t count)
{
    const char *data = buf;

    while (count > 0) {
        ssize_t n = write(fd, data, count);

        if (n < 0 && errno != EINTR) {
            return errno;
        }
        if (n > 0) {
            data += n;
            count -= (size_t) n;
        }
    }
    return 0;
}

/* ---- strings ----------------------------------------------------------------------------------------------------- */

char *sstrncpy(char *dest, const char *src, size_t n)
{
    snprintf(dest, n, "%s", src);
    return dest;
}

int ssnprintf(char *str, size_t size, const char *format, ...)
{
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(str, size, format, args);
    va_end(args);
    return len;
}

char *ssnprintf_alloc(const char *format, ...)
{
    va_list args;
    char *str;
    int len;

    va_start(args, format);
    len = vsnprintf(NULL, 0, format, args);
    va_end(args);

    str = len >= 0 ? malloc((size_t) len + 1) : NULL;
    if (str != NULL) {
        va_start(args, format);
        vsnprintf(str, (size_t) len + 1, format, args);
        va_end(args);
    }
    return str;
}

char *sstrdup(const char *s)
{
    return s != NULL ? strdup(s) : NULL;
}

char *sstrndup(const char *s, size_t n)
{
    return s != NULL ? strndup(s, n) : NULL;
}

char *sstrerror(int errnum, char *buf, size_t buflen)
{
    if (strerror_r(errnum, buf, buflen) != 0) {
        ssnprintf(buf, buflen, "error %d", errnum);
    }
    return buf;
}

int strjoin(char *dst, size_t dst_len, char **fields, size_t fields_num, const char *sep)
{
    size_t len = 0;

    if (dst_len > 0) {
        dst[0] = '\0';
    }
    for (size_t i = 0; i < fields_num; i++) {
        size_t left = len < dst_len ? dst_len - len : 0;
        int n = snprintf(left > 0 ? dst + len : NULL, left, "%s%s", i > 0 && sep != NULL ? sep : "", fields[i]);

        if (n < 0) {
            return -1;
        }
        len += (size_t) n;
    }
    return (int) len;
}

int rfc3339(char *buffer, size_t buffer_size, cdtime_t t)
{
    time_t seconds = CDTIME_T_TO_TIME_T(t);
    struct tm tm;

    gmtime_r(&seconds, &tm);
    return strftime(buffer, buffer_size, "%Y-%m-%dT%H:%M:%SZ", &tm) > 0 ? 0 : -1;
}

int strarray_add(char ***array, size_t *len, const char *str)
{
    char **longer = realloc(*array, (*len + 1) * sizeof(*longer));

    if (longer == NULL) {
        return ENOMEM;
    }
    *array = longer;
    longer[*len] = strdup(str);
    if (longer[*len] == NULL) {
        return ENOMEM;
    }
    (*len)++;
    return 0;
}

void strarray_free(char **array, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        free(array[i]);
    }
    free(array);
}

int escape_slashes(char *buffer, size_t size)
{
    size_t lead;

    if (strcmp(buffer, "/") == 0) {
        sstrncpy(buffer, "root", size);
        return 0;
    }
    lead = strspn(buffer, "/");
    memmove(buffer, buffer + lead, strlen(buffer + lead) + 1);
    for (char *p = buffer; *p != '\0'; p++) {
        if (*p == '/') {
            *p = '_';
        }
    }
    return 0;
}
