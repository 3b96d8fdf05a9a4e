/*
 * The client over TLS and HTTP/2, with a real nginx on Unix sockets: what is trusted, how connections are shared, and
 * what a proxy in between can see.
 */

#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "driver.h"
#include "server.h"

#include "ais_credential.h"

#define TOKEN "canary-token-0123456789"

static char dir[] = "/tmp/ais-client-tls-XXXXXX";
static pid_t nginx;
static int port; /* for HTTP/2 over TCP: on a Unix socket, connections cannot be told apart */
static struct ais_credential *credential;

static const char *path_of(const char *name)
{
    static char paths[4][sizeof(dir) + 64];
    static unsigned n;
    char *path = paths[n++ % COUNT(paths)];

    snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
    return path;
}

static void write_file(const char *name, const char *text)
{
    FILE *f = fopen(path_of(name), "w");

    if (f == NULL || fputs(text, f) == EOF || fclose(f) != 0) {
        abort();
    }
}

/* ---- certificates and nginx ---------------------------------------------------------------------------------- */

static bool run(const char *command)
{
    return system(command) == 0;
}

static bool make_certificate(const char *name, const char *host)
{
    char command[1024];

    snprintf(command, sizeof(command),
             "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=%s "
             "-addext subjectAltName=DNS:%s -keyout %s/%s.key -out %s/%s.pem >%s/openssl.log 2>&1",
             host, host, dir, name, dir, name, dir);
    return run(command);
}

static const char config[] = "daemon off; master_process off; pid nginx.pid; error_log error.log;\n"
                             "events { worker_connections 512; }\n"
                             "http {\n"
                             "  access_log off; client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3;\n"
                             "  uwsgi_temp_path t4; scgi_temp_path t5;\n"
                             "  ssl_certificate good.pem; ssl_certificate_key good.key;\n"
                             "  keepalive_requests 100000; http2_max_concurrent_streams 100;\n"
                             "  server { listen unix:h2.sock ssl http2;\n"
                             "    location / { return 200 \"$connection $server_protocol $http_authorization\"; }\n"
                             "    location = /big { return 200 \"0123456789012345678901234567890123456789\"; }\n"
                             "    location = /stall { proxy_pass http://unix:stall.sock; }\n"
                             "  }\n"
                             "  server { listen 127.0.0.1:%d ssl http2;\n"
                             "    location / { return 200 \"$connection $server_protocol $http_authorization\"; }\n"
                             "    location = /fail { return 503 \"$connection\"; }\n"
                             "    location = /misdirected { return 421 \"$connection\"; }\n"
                             "    location = /stall { proxy_pass http://unix:stall.sock; }\n"
                             "  }\n"
                             "  server { listen unix:h1.sock ssl;\n"
                             "    location / { return 200 \"$connection $server_protocol $http_authorization\"; }\n"
                             "  }\n"
                             "  server { listen unix:other.sock ssl http2;\n"
                             "    ssl_certificate other.pem; ssl_certificate_key other.key;\n"
                             "    location / { return 200 other; }\n"
                             "  }\n"
                             "  server { listen unix:old.sock ssl; ssl_protocols TLSv1.1;\n"
                             "    ssl_ciphers ALL:@SECLEVEL=0; location / { return 200 old; }\n"
                             "  }\n"
                             "  server { listen unix:plain.sock;\n"
                             "    location / { return 200 \"$connection $server_protocol $http_authorization\"; }\n"
                             "  }\n"
                             "}\n";

static bool can_connect(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool connected;

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    connected = connect(fd, (struct sockaddr *) &addr, sizeof(addr)) == 0;
    close(fd);
    return connected;
}

/* nginx uses relative socket paths unchanged, so it must run in the directory. */
static bool start_nginx(void)
{
    pid_t parent = getpid();
    int i;

    nginx = fork();
    if (nginx == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent && chdir(dir) == 0 && freopen("stderr.log", "w", stderr) != NULL) {
            setenv("PATH", "/usr/sbin:/usr/local/sbin:/usr/bin:/bin", 1);
            unsetenv("LD_PRELOAD");
            execlp("nginx", "nginx", "-p", dir, "-e", "error.log", "-c", "nginx.conf", (char *) NULL);
        }
        _exit(127);
    }
    for (i = 0; i < 1000 && nginx != -1; i++) {
        if (can_connect(path_of("plain.sock"))) {
            return true;
        }
        if (waitpid(nginx, NULL, WNOHANG) != 0) {
            nginx = -1;
            break;
        }
        usleep(10000);
    }
    return false;
}

/* A port that was free a moment ago. */
static int free_port(void)
{
    struct server *server = server_bind(NULL);
    int free_one = server->port;

    server_stop(server);
    return free_one;
}

static int set_up(void **state)
{
    char text[sizeof(config) + 16];

    (void) state;
    port = free_port();
    snprintf(text, sizeof(text), config, port);
    if (mkdtemp(dir) == NULL || ais_client_global_init() != 0) {
        return -1;
    }
    write_file("nginx.conf", text);
    write_file("token", TOKEN "\n");
    credential = ais_credential_token(path_of("token"), NULL);

    setenv("https_proxy", "http://127.0.0.1:1", 1);
    setenv("no_proxy", "*", 1); /* must not disable the proxy either */

    if (!make_certificate("good", "localhost") || !make_certificate("other", "elsewhere.test") || !start_nginx()) {
        if (chdir(dir) == 0) {
            run("cat *.log >&2");
        }
        return -1;
    }
    return credential != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    char command[128];

    (void) state;
    if (nginx > 0) {
        kill(nginx, SIGTERM);
        waitpid(nginx, NULL, 0);
    }
    ais_credential_free(credential);
    ais_client_global_cleanup();
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    return run(command) ? 0 : -1;
}

/* https on a Unix socket: this cannot be configured, but saves the test a port. */
static struct ais_target target_on(const char *socket_name)
{
    struct ais_target target = target_of("https://localhost");

    snprintf(target.url.unix_socket, sizeof(target.url.unix_socket), "%s", path_of(socket_name));
    return target;
}

static struct driver *driver_trusting(const char *ca, unsigned connections)
{
    char path[sizeof(dir) + 64];
    struct ais_client_options options = {.ca_file = path, .max_host_connections = connections};

    snprintf(path, sizeof(path), "%s", path_of(ca)); /* the path is copied: this buffer is reused */
    return driver_new(&options);
}

static void expect_answer(const struct result *result, const char *protocol)
{
    char expected[256];
    const char *rest = strchr(result->body, ' ');

    assert_string_equal(result->message, "");
    assert_int_equal(result->fault, AIS_FAULT_NONE);
    assert_int_equal(result->status, 200);
    assert_int_equal(result->multiplexed, strcmp(protocol, "HTTP/2.0") == 0);
    assert_non_null(rest);
    snprintf(expected, sizeof(expected), " %s Bearer " TOKEN, protocol);
    assert_string_equal(rest, expected);
}

static void expect_tls_fault(const struct result *result, const char *message)
{
    if (result->fault != AIS_FAULT_TLS || strstr(result->message, message) == NULL) {
        fail_msg("%s: %s", ais_fault_name(result->fault), result->message);
    }
    assert_int_equal(result->status, 0);
    assert_int_equal(result->calls, 0); /* so the credential was not sent */
}

/* ---- trust --------------------------------------------------------------------------------------------------- */

static void test_https(void **state)
{
    struct driver *driver = driver_trusting("good.pem", 0);
    struct ais_target target = target_on("h2.sock");
    struct result result;

    (void) state;
    fetch_whole(driver, &result, &target, credential, "/x");
    expect_answer(&result, "HTTP/2.0");
    target = target_on("h1.sock");
    fetch_whole(driver, &result, &target, credential, "/x");
    expect_answer(&result, "HTTP/1.1");
    driver_free(driver);
}

static void test_unknown_authority(void **state)
{
    struct driver *driver = driver_trusting("other.pem", 0);
    struct ais_target target = target_on("h2.sock");
    struct result result;

    (void) state;
    target.retries = 2;
    fetch_whole(driver, &result, &target, credential, "/x");
    expect_tls_fault(&result, "self-signed certificate");
    target.verify_peer = false;
    fetch_whole(driver, &result, &target, credential, "/x");
    expect_answer(&result, "HTTP/2.0");

    /* An unverified connection is not reused by fetches that require verification. */
    target.verify_peer = true;
    fetch_whole(driver, &result, &target, credential, "/x");
    expect_tls_fault(&result, "self-signed certificate");
    driver_free(driver);

    driver = driver_new(NULL); /* the system's certificates */
    fetch_whole(driver, &result, &target, credential, "/x");
    expect_tls_fault(&result, "");
    driver_free(driver);
}

static void test_wrong_host(void **state)
{
    struct driver *driver = driver_trusting("other.pem", 0);
    struct ais_target target = target_on("other.sock");
    struct result result;

    (void) state;
    fetch_whole(driver, &result, &target, credential, "/x");
    expect_tls_fault(&result, "localhost");
    target.verify_host = false;
    fetch_whole(driver, &result, &target, credential, "/x");
    assert_string_equal(result.body, "other");
    target.verify_host = true;
    fetch_whole(driver, &result, &target, credential, "/x");
    expect_tls_fault(&result, "localhost");
    driver_free(driver);
}

static void test_old_protocol(void **state)
{
    struct driver *driver = driver_trusting("good.pem", 0);
    struct ais_target target = target_on("old.sock");
    struct result result;

    (void) state;
    fetch_whole(driver, &result, &target, credential, "/x");
    expect_tls_fault(&result, "");
    driver_free(driver);
}

static void test_not_tls(void **state)
{
    struct driver *driver = driver_trusting("good.pem", 0);
    struct ais_target target = target_on("plain.sock");
    struct result result;

    (void) state;
    fetch_whole(driver, &result, &target, credential, "/x");
    expect_tls_fault(&result, "");
    driver_free(driver);
}

static void test_load_ca(void **state)
{
    struct driver *driver;
    struct ais_target target;
    struct ais_error err = {""};
    struct result result;

    (void) state;
    assert_int_equal(link(path_of("good.pem"), path_of("once.pem")), 0);
    driver = driver_trusting("once.pem", 0);
    if (ais_client_load_ca(driver->client, NULL, &err) != 0) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(driver->watch_calls, 0); /* without any driver calls */
    assert_int_equal(driver->timer_calls, 0);
    assert_int_equal(ais_client_inflight(driver->client), 0);

    /* Reading the file again would fail now. */
    unlink(path_of("once.pem"));
    target = target_on("h2.sock");
    fetch_whole(driver, &result, &target, credential, "/x");
    expect_answer(&result, "HTTP/2.0");
    target = target_on("h1.sock");
    fetch_whole(driver, &result, &target, credential, "/x");
    expect_answer(&result, "HTTP/1.1");
    target = target_on("other.sock");
    fetch_whole(driver, &result, &target, credential, "/x");
    expect_tls_fault(&result, "certificate"); /* it is neither of that CA nor for that name */

    assert_int_equal(ais_client_load_ca(driver->client, NULL, &err), -1);
    driver_free(driver);
}

static void expect_bad_ca(const char *ca, const char *message)
{
    struct driver *driver = driver_trusting(ca, 0);
    struct ais_error err = {""};

    assert_int_equal(ais_client_load_ca(driver->client, NULL, &err), -1);
    if (strstr(err.text, message) == NULL || strstr(err.text, path_of(ca)) == NULL) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(driver->watch_calls, 0);
    assert_int_equal(driver->timer_calls, 0);
    driver_free(driver);
}

static void test_load_bad_ca(void **state)
{
    (void) state;
    write_file("empty.pem", "");
    write_file("text.pem", "Certificates? None here.\n");
    write_file("broken.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
    expect_bad_ca("missing.pem", "No such file or directory; check the path");
    expect_bad_ca("empty.pem", "the file contains no certificate");
    expect_bad_ca("text.pem", "the file contains no certificate");
    expect_bad_ca("broken.pem", "the file contains no certificate");
    expect_bad_ca("good.key", "the file contains no certificate");
    expect_bad_ca(".", "the file contains no certificate"); /* a directory */
}

static void test_load_system_ca(void **state)
{
    struct driver *driver = driver_new(NULL);
    struct ais_error err = {""};

    (void) state;
    if (access("/etc/ssl/certs/ca-certificates.crt", R_OK) != 0) {
        driver_free(driver);
        skip();
    }
    if (ais_client_load_ca(driver->client, NULL, &err) != 0) {
        fail_msg("%s", err.text);
    }
    driver_free(driver);
}

/* Two targets of one client trust different certificates: no connection or cached data is trusted by the wrong one. */
static void test_targets_with_their_own_ca(void **state)
{
    struct driver *driver = driver_trusting("text.pem", 0);
    struct ais_target good = target_on("h2.sock"), other = target_on("h2.sock");
    struct ais_error err = {""};
    struct result result;
    int i;

    (void) state;
    good.ca_file = path_of("good.pem");
    if (ais_client_load_ca(driver->client, good.ca_file, &err) != 0) {
        fail_msg("%s", err.text);
    }
    for (i = 0; i < 3; i++) {
        good.ca_file = path_of("good.pem");
        fetch_whole(driver, &result, &good, credential, "/x");
        expect_answer(&result, "HTTP/2.0");
        other.ca_file = path_of("other.pem");
        fetch_whole(driver, &result, &other, credential, "/x");
        expect_tls_fault(&result, "self-signed certificate");
        other.ca_file = NULL; /* the client's, which has none */
        fetch_whole(driver, &result, &other, credential, "/x");
        expect_tls_fault(&result, "");
    }
    driver_free(driver);
}

/* ---- HTTP/2 -------------------------------------------------------------------------------------------------- */

#define MANY 300

/* The number of connections that nginx counted. */
static unsigned connections_of(const struct result *results, size_t n)
{
    unsigned seen[MANY];
    unsigned count = 0;
    size_t i;
    unsigned k;

    for (i = 0; i < n; i++) {
        unsigned number = (unsigned) atoi(results[i].body);

        for (k = 0; k < count && seen[k] != number; k++) {
        }
        if (k == count) {
            seen[count++] = number;
        }
    }
    return count;
}

static unsigned fetch_many(const char *socket_name, unsigned connections, const char *protocol)
{
    struct driver *driver = driver_trusting("good.pem", connections);
    struct ais_target target = target_on(socket_name);
    struct result *results = calloc(MANY, sizeof(*results));
    unsigned count;
    int i;

    for (i = 0; i < MANY; i++) {
        fetch(driver, &results[i], &target, credential, "/x");
    }
    DRIVE_UNTIL(driver, ais_client_inflight(driver->client) == 0);
    for (i = 0; i < MANY; i++) {
        expect_answer(&results[i], protocol);
        assert_int_equal(results[i].calls, 1);
    }
    count = connections_of(results, MANY);
    driver_free(driver);
    free(results);
    return count;
}

static void test_many_on_one_connection(void **state)
{
    (void) state;
    assert_int_equal(fetch_many("h2.sock", 1, "HTTP/2.0"), 1);
    assert_true(fetch_many("h2.sock", 3, "HTTP/2.0") <= 3);
    assert_true(fetch_many("h2.sock", 0, "HTTP/2.0") < MANY);
    assert_true(fetch_many("h1.sock", 8, "HTTP/1.1") <= 8);
}

static void serve_stall(struct server *server, int fd, unsigned nth)
{
    (void) nth;
    if (server_request(server, fd)) {
        server_linger(server, fd);
    }
}

/* A stream that fails does not affect others. */
static void test_streams_are_independent(void **state)
{
    struct server *stall = server_start_unix(serve_stall, path_of("stall.sock"));
    struct driver *driver = driver_trusting("good.pem", 1);
    struct ais_target target = target_on("h2.sock");
    struct ais_target small = target;
    struct ais_target quick = target;
    struct result slow[2];
    struct result big;
    struct result ok[4];

    (void) state;
    small.body_max = 39;
    quick.timeout = 200;
    fetch_whole(driver, &ok[0], &target, credential, "/x");

    fetch(driver, &slow[0], &target, credential, "/stall");
    fetch(driver, &slow[1], &quick, credential, "/stall");
    fetch(driver, &big, &small, credential, "/big");
    fetch(driver, &ok[1], &target, credential, "/x");
    DRIVE_UNTIL(driver, stall->requests == 2 && big.done && ok[1].done);
    assert_int_equal(big.fault, AIS_FAULT_BODY);
    expect_answer(&ok[1], "HTTP/2.0");

    DRIVE_UNTIL(driver, slow[1].done);
    assert_int_equal(slow[1].fault, AIS_FAULT_TIMEOUT);
    fetch_whole(driver, &ok[2], &target, credential, "/x");
    expect_answer(&ok[2], "HTTP/2.0");
    ais_fetch_cancel(slow[0].fetch);
    fetch_whole(driver, &ok[3], &target, credential, "/x");
    expect_answer(&ok[3], "HTTP/2.0");
    assert_int_equal(connections_of(ok, COUNT(ok)), 1);
    assert_int_equal(slow[0].done, 0);
    driver_free(driver);
    server_stop(stall);
    unlink(path_of("stall.sock"));
}

/* A stalled connection would fail all new fetches on it. */
static void test_stalled_connection_is_abandoned(void **state)
{
    struct server *stall = server_start_unix(serve_stall, path_of("stall.sock"));
    struct driver *driver = driver_trusting("good.pem", 1);
    struct ais_target target = target_on("h2.sock");
    struct ais_target quick = target;
    struct result slow;
    struct result ok[2];

    (void) state;
    quick.timeout = 100;
    fetch_whole(driver, &ok[0], &target, credential, "/x");
    fetch_whole(driver, &slow, &quick, credential, "/stall");
    assert_int_equal(slow.fault, AIS_FAULT_TIMEOUT);
    fetch_whole(driver, &ok[1], &target, credential, "/x");
    assert_int_equal(connections_of(ok, COUNT(ok)), COUNT(ok));
    driver_free(driver);
    server_stop(stall);
    unlink(path_of("stall.sock"));
}

static struct ais_target target_on_tcp(void)
{
    char url[64];

    snprintf(url, sizeof(url), "https://localhost:%d", port);
    return target_of(url);
}

/* Answers when told to by the test. */
static void serve_later(struct server *server, int fd, unsigned nth)
{
    const atomic_bool *released = server->data;

    (void) nth;
    if (server_request(server, fd)) {
        while (!*released) {
            usleep(1000);
        }
        server_send(fd, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate");
    }
}

/* A failing connection is abandoned while a stream on it continues, which is not affected, and closed when that
 * ends. */
static void test_failing_connection_is_abandoned(void **state)
{
    static const struct {
        const char *path;
        unsigned times; /* until it is abandoned */
    } cases[] = {{"/misdirected", 1}, {"/fail", 3}};
    size_t i;
    size_t k;

    (void) state;
    for (i = 0; i < COUNT(cases); i++) {
        atomic_bool released = false;
        struct server *later = server_start_unix(serve_later, path_of("stall.sock"));
        struct driver *driver = driver_trusting("good.pem", 0);
        struct ais_target target = target_on_tcp();
        struct result slow;
        struct result bad;
        struct result ok[2];
        size_t descriptors;

        later->data = &released;
        fetch_whole(driver, &ok[0], &target, credential, "/x");
        fetch(driver, &slow, &target, credential, "/stall");
        DRIVE_UNTIL(driver, later->requests == 1);
        for (k = 0; k < cases[i].times; k++) {
            fetch_whole(driver, &bad, &target, credential, cases[i].path);
            assert_int_equal(atoi(bad.body), atoi(ok[0].body));
        }
        for (k = 0; k < 5; k++) {
            fetch_whole(driver, &ok[1], &target, credential, "/x");
            expect_answer(&ok[1], "HTTP/2.0");
            assert_int_not_equal(atoi(ok[1].body), atoi(ok[0].body));
        }
        assert_int_equal(slow.done, 0);
        descriptors = open_descriptors();

        released = true;
        DRIVE_UNTIL(driver, slow.done);
        assert_int_equal(slow.fault, AIS_FAULT_NONE);
        assert_string_equal(slow.body, "late");
        DRIVE_UNTIL(driver, open_descriptors() < descriptors); /* libcurl 8.14 closes cleanly first */
        assert_int_equal(open_descriptors(), descriptors - 1);
        ok[0] = ok[1];
        fetch_whole(driver, &ok[1], &target, credential, "/x");
        assert_int_equal(connections_of(ok, COUNT(ok)), 1);
        driver_free(driver);
        server_stop(later);
        unlink(path_of("stall.sock"));
    }
}

/* A retry abandons a connection that others still use, and many retries do not open one each. */
static void test_many_retries_on_few_connections(void **state)
{
    struct server *stall = server_start_unix(serve_stall, path_of("stall.sock"));
    struct driver *driver = driver_trusting("good.pem", 0);
    struct ais_target target = target_on_tcp();
    struct result *results = calloc(MANY, sizeof(*results));
    struct result slow;
    struct result first;
    size_t descriptors;
    size_t most = 0;
    size_t i;

    (void) state;
    target.retries = 2;
    fetch_whole(driver, &first, &target, credential, "/x");
    fetch(driver, &slow, &target, credential, "/stall");
    DRIVE_UNTIL(driver, stall->requests == 1);
    descriptors = open_descriptors();
    for (i = 0; i < 80; i++) {
        fetch(driver, &results[i], &target, credential, "/fail");
    }
    while (ais_client_inflight(driver->client) > 1) {
        driver_round(driver, 5);
        most = open_descriptors() > most ? open_descriptors() : most;
    }
    for (i = 0; i < 80; i++) {
        assert_int_equal(results[i].status, 503);
        assert_int_equal(results[i].calls, 3);
        assert_int_not_equal(atoi(results[i].body), atoi(first.body));
    }
    assert_true(most - descriptors < 10);
    assert_int_equal(slow.done, 0);
    driver_free(driver);
    server_stop(stall);
    unlink(path_of("stall.sock"));
    free(results);
}

/* Lets one request through. */
static bool gate_enter(void *data, uint64_t *ticket)
{
    unsigned *entered = data;

    *ticket = 1;
    return (*entered)++ == 0;
}

static void gate_leave(void *data, uint64_t ticket, bool given_up)
{
    (void) given_up;
    (void) data;
    assert_int_equal(ticket, 1);
}

/* A request that the gate refuses affects neither the connection nor other streams. */
static void test_gate_refuses_a_stream(void **state)
{
    struct server *stall = server_start_unix(serve_stall, path_of("stall.sock"));
    struct driver *driver = driver_trusting("good.pem", 1);
    unsigned entered = 0;
    struct ais_gate gate = {.data = &entered, .enter = gate_enter, .leave = gate_leave};
    struct ais_target target = target_on("h2.sock");
    struct ais_target gated = target;
    struct ais_target quick = target;
    struct result slow;
    struct result refused[2];
    struct result ok[2];

    (void) state;
    gated.gate = &gate;
    quick.timeout = 300;
    fetch_whole(driver, &ok[0], &gated, credential, "/x");
    fetch(driver, &slow, &quick, credential, "/stall");
    DRIVE_UNTIL(driver, stall->requests == 1);
    fetch_whole(driver, &refused[0], &gated, credential, "/x");
    fetch_whole(driver, &refused[1], &gated, credential, "/x");
    assert_int_equal(refused[0].fault, AIS_FAULT_BUDGET);
    assert_int_equal(refused[1].fault, AIS_FAULT_BUDGET);
    assert_int_equal(refused[1].calls, 0);
    assert_int_equal(entered, 3);

    fetch_whole(driver, &ok[1], &target, credential, "/x");
    expect_answer(&ok[1], "HTTP/2.0");
    assert_int_equal(connections_of(ok, COUNT(ok)), 1);
    DRIVE_UNTIL(driver, slow.done);
    assert_int_equal(slow.fault, AIS_FAULT_TIMEOUT);
    driver_free(driver);
    server_stop(stall);
    unlink(path_of("stall.sock"));
}

/* Responses that arrive together: the callback of the first cancels the others, whose ends libcurl has already
 * noted. */
struct group {
    struct ais_fetch *fetches[50];
    unsigned done;
};

struct group_member {
    struct group *group;
    size_t index;
};

static void on_group_done(void *data, const struct ais_response *response)
{
    struct group_member *member = data;
    size_t i;

    assert_int_equal(response->status, 200);
    member->group->done++;
    for (i = 0; i < COUNT(member->group->fetches); i++) {
        if (i != member->index) {
            ais_fetch_cancel(member->group->fetches[i]);
        }
    }
}

static void test_cancel_of_completed_fetches(void **state)
{
    struct driver *driver = driver_trusting("good.pem", 1);
    struct ais_target target = target_on("h2.sock");
    struct group group = {.done = 0};
    struct group_member members[COUNT(group.fetches)];
    struct result result;
    size_t i;

    (void) state;
    fetch_whole(driver, &result, &target, credential, "/x");
    for (i = 0; i < COUNT(members); i++) {
        members[i] = (struct group_member){&group, i};
        group.fetches[i] = ais_client_fetch(driver->client, &target, credential, "/x", on_group_done, &members[i]);
    }
    for (i = 0; i < 5; i++) {
        driver_round(driver, 0);
        if (driver_watched(driver) > 0) {
            break;
        }
    }
    usleep(50000); /* for all responses to arrive together */
    DRIVE_UNTIL(driver, group.done > 0);
    drive_for(driver, 20);
    assert_int_equal(group.done, 1);
    assert_int_equal(ais_client_inflight(driver->client), 0);
    fetch_whole(driver, &result, &target, credential, "/x");
    expect_answer(&result, "HTTP/2.0");
    driver_free(driver);
}

/* ---- proxies ------------------------------------------------------------------------------------------------- */

/* Copies in both directions until one side closes. */
static void relay(int a, int b)
{
    struct pollfd fds[2] = {{.fd = a, .events = POLLIN}, {.fd = b, .events = POLLIN}};
    char buf[16384];

    while (poll(fds, 2, -1) > 0) {
        int i;

        for (i = 0; i < 2; i++) {
            if (fds[i].revents != 0) {
                ssize_t n = recv(fds[i].fd, buf, sizeof(buf), 0);

                if (n <= 0 || send(fds[1 - i].fd, buf, (size_t) n, MSG_NOSIGNAL) != n) {
                    return;
                }
            }
        }
    }
}

/* A forward proxy that connects all clients to the Unix socket of server->data. */
static void serve_proxy(struct server *server, int fd, unsigned nth)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int upstream;

    (void) nth;
    if (!server_request(server, fd)) {
        return;
    }
    upstream = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", (const char *) server->data);
    if (connect(upstream, (struct sockaddr *) &addr, sizeof(addr)) == 0) {
        server_send(fd, "HTTP/1.1 200 Connection established\r\nAge: 5\r\nX-Aisearch-Cache: HIT\r\n\r\n");
        relay(fd, upstream);
    }
    close(upstream);
}

static void through_proxy(const char *url, const char *socket_name, const char *connect_line, const char *protocol)
{
    char upstream[sizeof(dir) + 64];
    char proxy_url[64];
    struct server *proxy = server_bind(serve_proxy);
    struct driver *driver = driver_trusting("good.pem", 0);
    struct ais_target target = target_of(url);
    struct result result;

    snprintf(upstream, sizeof(upstream), "%s", path_of(socket_name));
    proxy->data = upstream;
    server_run(proxy);
    snprintf(proxy_url, sizeof(proxy_url), "http://127.0.0.1:%d", proxy->port);
    target.proxy = proxy_url;

    fetch_whole(driver, &result, &target, credential, "/x");
    expect_answer(&result, protocol);
    assert_int_equal(result.age, -1); /* not the proxy's */
    assert_string_equal(result.cache, "");
    assert_int_equal(result.calls, 1);

    assert_int_equal(strncmp(server_last(proxy), connect_line, strlen(connect_line)), 0);
    assert_null(strstr(server_last(proxy), "uthorization"));
    assert_null(strstr(server_last(proxy), "canary"));
    assert_null(strstr(server_last(proxy), "/x"));

    fetch_whole(driver, &result, &target, credential, "/x");
    expect_answer(&result, protocol);
    assert_int_equal(proxy->connections, 1);
    driver_free(driver);
    server_stop(proxy);
}

static void test_proxy(void **state)
{
    (void) state;
    through_proxy("https://localhost", "h2.sock", "CONNECT localhost:443 HTTP/1.1\r\n", "HTTP/2.0");
    through_proxy("https://localhost:8443", "h1.sock", "CONNECT localhost:8443 HTTP/1.1\r\n", "HTTP/1.1");
    through_proxy("http://api.test", "plain.sock", "CONNECT api.test:80 HTTP/1.1\r\n", "HTTP/1.1");
}

static void serve_refusal(struct server *server, int fd, unsigned nth)
{
    (void) nth;
    if (server_request(server, fd)) {
        server_send(fd, server->data);
    }
}

static void test_proxy_refuses(void **state)
{
    static const char *const refusals[] = {
        "HTTP/1.1 403 Forbidden\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nnope",
        "HTTP/1.1 407 Unauthorized\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\n\r\n<html>",
        "",
    };
    size_t i;

    (void) state;
    for (i = 0; i < COUNT(refusals); i++) {
        char proxy_url[64];
        char reply[256];
        struct server *proxy = server_bind(serve_refusal);
        struct driver *driver = driver_trusting("good.pem", 0);
        struct ais_target target = target_of("https://localhost");
        struct result result;

        snprintf(reply, sizeof(reply), "%s", refusals[i]);
        proxy->data = reply;
        server_run(proxy);
        snprintf(proxy_url, sizeof(proxy_url), "http://127.0.0.1:%d", proxy->port);
        target.proxy = proxy_url;
        fetch_whole(driver, &result, &target, credential, "/x");
        if (result.fault != AIS_FAULT_CONNECT) {
            fail_msg("refusal %zu: %s: %s", i, ais_fault_name(result.fault), result.message);
        }
        assert_int_equal(result.status, 0);
        assert_int_equal(result.calls, 0);
        assert_int_equal(result.retry_after, -1);
        assert_null(strstr(server_last(proxy), "canary"));
        driver_free(driver);
        server_stop(proxy);
    }
}

static void test_proxy_stalls(void **state)
{
    char proxy_url[64];
    struct server *proxy = server_start(serve_stall);
    struct driver *driver = driver_trusting("good.pem", 0);
    struct ais_target target = target_of("https://localhost");
    struct result result;

    (void) state;
    snprintf(proxy_url, sizeof(proxy_url), "http://127.0.0.1:%d", proxy->port);
    target.proxy = proxy_url;
    target.connect_timeout = 150;
    fetch_whole(driver, &result, &target, credential, "/x");
    assert_int_equal(result.fault, AIS_FAULT_TIMEOUT);
    assert_true(result.elapsed >= 150 && result.elapsed < 1150);
    driver_free(driver);
    server_stop(proxy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_https),
        cmocka_unit_test(test_unknown_authority),
        cmocka_unit_test(test_wrong_host),
        cmocka_unit_test(test_old_protocol),
        cmocka_unit_test(test_not_tls),
        cmocka_unit_test(test_load_ca),
        cmocka_unit_test(test_targets_with_their_own_ca),
        cmocka_unit_test(test_load_bad_ca),
        cmocka_unit_test(test_load_system_ca),
        cmocka_unit_test(test_many_on_one_connection),
        cmocka_unit_test(test_streams_are_independent),
        cmocka_unit_test(test_stalled_connection_is_abandoned),
        cmocka_unit_test(test_failing_connection_is_abandoned),
        cmocka_unit_test(test_many_retries_on_few_connections),
        cmocka_unit_test(test_gate_refuses_a_stream),
        cmocka_unit_test(test_cancel_of_completed_fetches),
        cmocka_unit_test(test_proxy),
        cmocka_unit_test(test_proxy_refuses),
        cmocka_unit_test(test_proxy_stalls),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
