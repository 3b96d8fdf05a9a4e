/* LDFLAGS: -Wl,--wrap=ais_client_load_ca -Wl,--wrap=plugin_log */
/* The collectd plugin's configuration: the input is the content of its <Plugin aisearch> block. */

#define _GNU_SOURCE
#include "../plugin/collectd_stub.h"

#include "fuzz.h"

#include <sys/mman.h>

#include "../../collectd-plugin/aisearch.h"

/* The descriptor of a file with a token, for TokenFile and KeyFile. */
#define TOKEN_FD 100
#define TOKEN "fuzz-secret-0123456789"

static bool shows_token; /* the configuration itself contains the token */

void __real_plugin_log(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));
void __wrap_plugin_log(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));
void __wrap_plugin_log(int level, const char *format, ...)
{
    char text[4096];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    MUST(shows_token || strstr(text, TOKEN) == NULL);
    __real_plugin_log(level, "%s", text);
}

/* Certificates are not loaded, since that takes longer than everything else. */
int __wrap_ais_client_load_ca(struct ais_client *client, const char *ca_file, struct ais_error *err);
int __wrap_ais_client_load_ca(struct ais_client *client, const char *ca_file, struct ais_error *err)
{
    (void) client;
    (void) ca_file;
    (void) err;
    return 0;
}

/* What was accepted can be requested and reported. */

static void check_poll(const poll_t *poll, const account_t *account)
{
    char buffer[AIS_RESOURCE_PATH_MAX], label[512];
    struct ais_resource made, parsed;
    struct ais_str path, query;

    poll_resource(poll, poll->job != NULL ? AIS_JOB : AIS_LIST, &made);
    ais_resource_path(&made, ais_str_of(account->account_id), buffer);
    path = (struct ais_str){buffer + 1, strcspn(buffer + 1, "?")};
    query = (struct ais_str){path.data + path.len, 0};
    MUST(poll->request.account == account);
    MUST(ais_resource_parse(&parsed, path, query) == AIS_RESOURCE_OK);
    MUST(parsed.kind == made.kind && strlen(poll->instance->name) < DATA_MAX_NAME_LEN - 1);
    MUST(strncmp(poll->instance->name, account->name, strlen(account->name)) == 0);
    MUST(poll_find(account, poll->instance->name) != NULL);
    poll_label(poll, label, sizeof(label));
    MUST(label[0] != '\0');
}

static void check_account(const account_t *a)
{
    const struct ais_target *t = &a->target;
    size_t polls = 0;

    MUST(a->payer != NULL);
    MUST(a->active_interval >= (int64_t) CDTIME_T_TO_MS(stub_interval));
    MUST(a->idle_interval >= a->active_interval);
    MUST(t->timeout >= 1 && t->timeout < a->active_interval && t->connect_timeout <= t->timeout);
    MUST(a->payer->budget.nlimits >= 1 && a->payer->budget.nlimits <= AIS_BUDGET_LIMITS);
    MUST(a->payer->budget.hold >= t->timeout);
    MUST(a->credential.file == NULL || t->url.tls || t->url.loopback);
    for (const poll_t *poll = a->first; poll != NULL; poll = poll->next, polls++)
        check_poll(poll, a);
    MUST(polls == a->polls && (polls > 0 || a->discover.wanted || a->is_partial));
}

static void set_up(void)
{
    int fd = memfd_create("token", 0);

    MUST(fd != -1 && write(fd, TOKEN, strlen(TOKEN)) == (ssize_t) strlen(TOKEN));
    MUST(dup2(fd, TOKEN_FD) == TOKEN_FD);
    close(fd);
    MUST(ais_client_global_init() == 0);
}

/* Searches the parsed text: in the source, quoted text may contain backslashes. */
static bool has_token(const oconfig_item_t *item)
{
    if (strstr(item->key, TOKEN) != NULL)
        return true;

    for (int i = 0; i < item->values_num; i++) {
        if (item->values[i].type == OCONFIG_TYPE_STRING && strstr(item->values[i].value.string, TOKEN) != NULL)
            return true;
    }

    for (int i = 0; i < item->children_num; i++) {
        if (has_token(&item->children[i]))
            return true;
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool is_up;
    char *text = text_dup(whole_input(data, size));
    config_t config = {.accounts = NULL};
    oconfig_item_t *root;

    if (!is_up)
        set_up();
    is_up = true;

    root = stub_parse(text);
    free(text);
    if (root == NULL)
        return 0;

    root->key = strdup("Plugin");
    stub_counts.logged[LOG_ERR] = 0;
    shows_token = has_token(root);
    config_read(root, &config);
    MUST(!config.is_refused || stub_counts.logged[LOG_ERR] > 0);
    while (config.accounts != NULL) {
        account_t *next = config.accounts->next;

        check_account(config.accounts);
        config_free(config.accounts);
        config.accounts = next;
    }
    free(config.state_path);
    stub_parse_free(root);
    return 0;
}
