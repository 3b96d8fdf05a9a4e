/* LDFLAGS: -Wl,--wrap=ais_client_load_ca -Wl,--wrap=plugin_log */
/* The collectd plugin's configuration: the input is what stands in its <Plugin aisearch> block. */

#define _GNU_SOURCE
#include "../plugin/collectd_stub.h"

#include "fuzz.h"

#include <sys/mman.h>

#include "../../collectd-plugin/aisearch.h"

/* A file with a token in it, for TokenFile and KeyFile. */
#define TOKEN_FD 100
#define TOKEN "fuzz-secret-0123456789"

static bool shows_token; /* the configuration itself */

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

/* Certificates are not looked at: it takes longer than all the rest. */
int __wrap_ais_client_load_ca(struct ais_client *client, struct ais_error *err);
int __wrap_ais_client_load_ca(struct ais_client *client, struct ais_error *err)
{
    (void) client;
    (void) err;
    return 0;
}

/* What was accepted can be asked for, and reported. */

static void check_lookup(const lookup_t *l, const account_t *account)
{
    struct ais_str path = {l->path + 1, strcspn(l->path + 1, "?")};
    struct ais_str query = {path.data + path.len, strlen(path.data + path.len)};
    struct ais_resource res;

    if (query.len > 0) {
        query.data++;
        query.len--;
    }
    MUST(l->account == account);
    MUST(ais_resource_parse(&res, path, query) == AIS_RESOURCE_OK);
    MUST(res.kind == l->resource.kind && strlen(l->plugin_instance) < DATA_MAX_NAME_LEN - 1);
    MUST(strncmp(l->plugin_instance, account->name, strlen(account->name)) == 0);
    MUST(l->label[0] != '\0');
}

static void check_account(const account_t *a)
{
    const struct ais_target *t = &a->target;

    MUST(a->payer != NULL);
    MUST(t->timeout >= 1 && t->timeout <= 9000 && t->connect_timeout <= t->timeout);
    MUST(a->payer->budget.nlimits >= 1 && a->payer->budget.nlimits <= AIS_BUDGET_LIMITS);
    MUST(a->payer->budget.hold >= t->timeout);
    MUST(a->credential.secret == NULL || t->url.tls || t->url.loopback);
    for (const lookup_t *l = a->lookups; l != NULL; l = l->next)
        check_lookup(l, a);
}

static void set_up(void)
{
    int fd = memfd_create("token", 0);

    MUST(fd != -1 && write(fd, TOKEN, strlen(TOKEN)) == (ssize_t) strlen(TOKEN));
    MUST(dup2(fd, TOKEN_FD) == TOKEN_FD);
    close(fd);
    MUST(ais_client_global_init() == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool is_up;
    char *text = text_copy(whole_input(data, size));
    account_t *accounts = NULL;
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
    shows_token = memmem(data, size, TOKEN, strlen(TOKEN)) != NULL;
    if (aisearch_config(root, &accounts) == 0) {
        MUST(accounts != NULL);
        for (const account_t *a = accounts; a != NULL; a = a->next)
            check_account(a);
    } else {
        MUST(stub_counts.logged[LOG_ERR] > 0);
    }
    aisearch_accounts_free(accounts);
    stub_parse_free(root);
    return 0;
}
