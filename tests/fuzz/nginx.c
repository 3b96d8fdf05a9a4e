/* LDFLAGS: -Wl,--wrap=ais_client_load_ca */
/*
 * nginx's configuration: the input is the content of its http block. Debian has no nginx sources to link with, so this
 * is a library, including the module, that is preloaded into a real nginx. Instead of nginx's main() it runs
 * libFuzzer's, and parses configurations with nginx's own functions. Only the modules relevant here are used.
 */

#define _GNU_SOURCE
#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "../../nginx-module/ngx_http_aisearch_ctx.h"

#include "fuzz.h"

#include <dlfcn.h>
#include <netdb.h>
#include <sanitizer/lsan_interface.h>
#include <sys/mman.h>

#define TOKEN_FD 100
#define TOKEN "fuzz-secret-0123456789"

void __llvm_profile_write_file(void);
int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*callback)(const uint8_t *data, size_t size));

static const char *const kept_modules[] = {"ngx_core_module", "ngx_http_module", "ngx_http_core_module",
                                           "ngx_http_rewrite_module"};

static ngx_module_t *modules[8];
static ngx_uint_t nmodules;
static char conf_path[32];
static int conf_fd;
static ngx_cycle_t none; /* used before the first configuration */
static ngx_log_t quiet;
static ngx_open_file_t log_file;
static unsigned complaints;
static bool shows_token; /* the configuration itself contains the token */

/* Runs libFuzzer instead of nginx's main(). */

/* Child processes are not nginx (except for a merge, when it starts itself). */
static void leave_children_alone(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "-merge=", strlen("-merge=")) == 0)
            return;
    }
    unsetenv("LD_PRELOAD");
}

/* Destructors of libraries used by libcurl may hang because the sanitizer's have run before, so they are skipped. */
static void leave(int status, void *data)
{
    (void) data;
    __llvm_profile_write_file();
    __lsan_do_leak_check();
    _exit(status);
}

static int fuzz_main(int argc, char **argv, char **envp)
{
    (void) envp;
    leave_children_alone(argc, argv);
    ngx_os_argv = argv;
    on_exit(leave, NULL);
    return LLVMFuzzerRunDriver(&argc, &argv, LLVMFuzzerTestOneInput);
}

typedef int (*main_fn)(int argc, char **argv, char **envp);
typedef int (*start_fn)(main_fn main, int argc, char **argv, void (*init)(void), void (*fini)(void),
                        void (*rtld_fini)(void), void *stack_end);

int __libc_start_main(main_fn main, int argc, char **argv, void (*init)(void), void (*fini)(void),
                      void (*rtld_fini)(void), void *stack_end);
int __libc_start_main(main_fn main, int argc, char **argv, void (*init)(void), void (*fini)(void),
                      void (*rtld_fini)(void), void *stack_end)
{
    start_fn start = (start_fn) dlsym(RTLD_NEXT, "__libc_start_main");

    (void) main;
    return start(fuzz_main, argc, argv, init, fini, rtld_fini, stack_end);
}

/* Inputs must neither cause DNS requests nor load all of the system's certificates. */

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **res)
{
    (void) node;
    (void) service;
    (void) hints;
    (void) res;
    return EAI_NONAME;
}

int __wrap_ais_client_load_ca(struct ais_client *client, const char *ca_file, struct ais_error *err);
int __wrap_ais_client_load_ca(struct ais_client *client, const char *ca_file, struct ais_error *err)
{
    (void) client;
    (void) ca_file;
    (void) err;
    return 0;
}

/* nginx's messages. */

static void write_log(ngx_log_t *log, ngx_uint_t level, u_char *text, size_t len)
{
    (void) log;
    MUST(shows_token || memmem(text, len, TOKEN, strlen(TOKEN)) == NULL);
    complaints += level <= NGX_LOG_EMERG;
}

/* Preparations before the first input. */

static void keep_module(const char *name)
{
    for (ngx_uint_t i = 0; ngx_modules[i] != NULL; i++) {
        if (strcmp(ngx_modules[i]->name, name) == 0)
            modules[nmodules++] = ngx_modules[i];
    }
}

static void choose_modules(void)
{
    MUST(ngx_preinit_modules() == NGX_OK);
    for (size_t i = 0; i < sizeof(kept_modules) / sizeof(kept_modules[0]); i++)
        keep_module(kept_modules[i]);
    MUST(nmodules == sizeof(kept_modules) / sizeof(kept_modules[0]));
    ngx_http_aisearch_module.index = ngx_max_module - 1;
    ngx_http_aisearch_module.name = (char *) "ngx_http_aisearch_module";
    modules[nmodules++] = &ngx_http_aisearch_module;
}

static void make_token(void)
{
    int fd = memfd_create("token", 0);

    MUST(fd != -1 && write(fd, TOKEN, strlen(TOKEN)) == (ssize_t) strlen(TOKEN));
    MUST(fchmod(fd, 0600) == 0 && dup2(fd, TOKEN_FD) == TOKEN_FD);
    close(fd);
}

static void set_up(void)
{
    quiet.log_level = NGX_LOG_WARN;
    quiet.writer = write_log;
    quiet.file = &log_file;
    none.log = &quiet;
    ngx_cycle = &none;
    MUST(ngx_strerror_init() == NGX_OK);
    ngx_time_init();
    ngx_regex_init();
    MUST(ngx_os_init(&quiet) == NGX_OK && ngx_crc32_table_init() == NGX_OK);
    ngx_slab_sizes_init();
    choose_modules();
    make_token();
    conf_fd = memfd_create("nginx.conf", MFD_CLOEXEC);
    MUST(conf_fd != -1);
    snprintf(conf_path, sizeof(conf_path), "/proc/self/fd/%d", conf_fd);
}

/* Creates a cycle like ngx_init_cycle(), up to where it reads the configuration. */

static void make_lists(ngx_cycle_t *cycle)
{
    ngx_pool_t *pool = cycle->pool;

    MUST(ngx_array_init(&cycle->paths, pool, 10, sizeof(ngx_path_t *)) == NGX_OK);
    MUST(ngx_array_init(&cycle->config_dump, pool, 1, sizeof(ngx_conf_dump_t)) == NGX_OK);
    MUST(ngx_list_init(&cycle->open_files, pool, 20, sizeof(ngx_open_file_t)) == NGX_OK);
    MUST(ngx_list_init(&cycle->shared_memory, pool, 1, sizeof(ngx_shm_zone_t)) == NGX_OK);
    MUST(ngx_array_init(&cycle->listening, pool, 10, sizeof(ngx_listening_t)) == NGX_OK);
    ngx_queue_init(&cycle->reusable_connections_queue);
}

static void create_confs(ngx_cycle_t *cycle)
{
    for (ngx_uint_t i = 0; i < nmodules; i++) {
        ngx_core_module_t *module = modules[i]->ctx;

        if (modules[i]->type == NGX_CORE_MODULE && module->create_conf != NULL)
            cycle->conf_ctx[modules[i]->index] = module->create_conf(cycle);
    }
}

static ngx_cycle_t *make_cycle(ngx_cycle_t *old)
{
    ngx_pool_t *pool = ngx_create_pool(NGX_CYCLE_POOL_SIZE, &quiet);
    ngx_cycle_t *cycle = ngx_pcalloc(pool, sizeof(*cycle));

    cycle->pool = pool;
    cycle->log = &quiet;
    cycle->old_cycle = old;
    ngx_str_set(&cycle->conf_prefix, "/etc/nginx/");
    ngx_str_set(&cycle->prefix, "/usr/share/nginx/");
    ngx_str_set(&cycle->hostname, "fuzz");
    cycle->conf_file = (ngx_str_t){strlen(conf_path), (u_char *) conf_path};
    cycle->modules = modules;
    cycle->modules_n = nmodules;
    make_lists(cycle);
    cycle->conf_ctx = ngx_pcalloc(pool, ngx_max_module * sizeof(void *));
    create_confs(cycle);
    return cycle;
}

static void write_conf(const uint8_t *data, size_t size)
{
    static const char head[] = "http {\n";
    static const char tail[] = "\n}\n";

    MUST(ftruncate(conf_fd, 0) == 0);
    MUST(pwrite(conf_fd, head, strlen(head), 0) == (ssize_t) strlen(head));
    MUST(pwrite(conf_fd, data, size, (off_t) strlen(head)) == (ssize_t) size);
    MUST(pwrite(conf_fd, tail, strlen(tail), (off_t) (strlen(head) + size)) == (ssize_t) strlen(tail));
}

/* What was accepted can be used for requests. */

static void check_account(const ngx_http_aisearch_account_t *a)
{
    const struct ais_target *t = &a->target;

    MUST(a->name.len > 0 && a->prefix.len > 0);
    MUST(ais_account_id_valid((struct ais_str){(char *) a->account_id.data, a->account_id.len}));
    MUST(t->url.tls || t->url.loopback || a->allow_plain_http);
    MUST(t->timeout > 0 && t->connect_timeout > 0 && t->retries <= 10);
    MUST(a->net != NULL && a->zone != NULL);
}

static void check(ngx_cycle_t *cycle)
{
    ngx_http_aisearch_main_conf_t *amcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_aisearch_module);
    ngx_http_aisearch_account_t **accounts;
    ngx_http_aisearch_pass_t **passes;

    if (amcf == NULL)
        return;
    accounts = amcf->accounts.elts;
    for (ngx_uint_t i = 0; i < amcf->accounts.nelts; i++)
        check_account(accounts[i]);
    passes = amcf->passes.elts;
    for (ngx_uint_t i = 0; i < amcf->passes.nelts; i++)
        MUST(passes[i]->account != NULL);
}

static bool has(const uint8_t *data, size_t size, const char *word)
{
    return memmem(data, size, word, strlen(word)) != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ngx_cycle_t *cycle;
    ngx_conf_t conf;
    bool accepted;

    /* other files, and hash tables of any size, are up to nginx */
    if (has(data, size, "include") || has(data, size, "hash"))
        return -1;

    if (nmodules == 0)
        set_up();
    write_conf(data, size);
    cycle = make_cycle(&none);

    ngx_memzero(&conf, sizeof(conf));
    conf.args = ngx_array_create(cycle->pool, 10, sizeof(ngx_str_t));
    conf.temp_pool = ngx_create_pool(NGX_CYCLE_POOL_SIZE, &quiet);
    conf.ctx = cycle->conf_ctx;
    conf.cycle = cycle;
    conf.pool = cycle->pool;
    conf.log = &quiet;
    conf.module_type = NGX_CORE_MODULE;
    conf.cmd_type = NGX_MAIN_CONF;

    complaints = 0;
    shows_token = has(data, size, TOKEN);
    accepted = ngx_conf_parse(&conf, &cycle->conf_file) == NGX_CONF_OK;
    MUST(accepted || complaints > 0);
    if (accepted)
        check(cycle);
    ngx_destroy_pool(conf.temp_pool);
    ngx_destroy_pool(cycle->pool);
    return 0;
}
