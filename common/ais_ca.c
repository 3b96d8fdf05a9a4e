#include "ais_ca.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * libcurl has no function that loads the certificates; it does so in a handshake, right after the ClientHello was sent.
 * So a handshake is begun with ourselves: on a socket pair, whose other end takes the ClientHello and has already
 * said good-bye.
 */

#define LOAD_TIMEOUT_MS 30000L

CURLcode ais_ca_configure(CURL *easy, const char *ca_file)
{
    CURLcode rc = CURLE_OK;

    if (ca_file != NULL) {
        rc = curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file);
    }
    if (rc == CURLE_OK) {
        rc = curl_easy_setopt(easy, CURLOPT_CAPATH, NULL); /* a directory would turn the cache off */
    }
    /* Some TLS libraries know no such cache: then all is well, only slower. */
    (void) curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, -1L);
    return rc;
}

/* A better reason than libcurl's, where there is one. */
static int check_readable(const char *file, struct ais_error *err)
{
    int fd = open(file, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);

    if (fd == -1) {
        ais_error_set(err, "trusted certificates \"%s\": %s; check the path", file, strerror(errno));
        return -1;
    }
    close(fd);
    return 0;
}

static curl_socket_t give_socket(void *data, curlsocktype purpose, struct curl_sockaddr *address)
{
    int *fd = data;
    curl_socket_t given = *fd;

    (void) purpose;
    (void) address;
    *fd = CURL_SOCKET_BAD; /* libcurl closes it */
    return given;
}

static int already_connected(void *data, curl_socket_t fd, curlsocktype purpose)
{
    (void) data;
    (void) fd;
    (void) purpose;
    return CURL_SOCKOPT_ALREADY_CONNECTED;
}

/* An address rather than a name, so that nothing is looked up; nobody is ever connected. */
static CURLcode prepare(CURL *easy, const char *ca_file, int *fd, char *message)
{
    CURLcode rc = curl_easy_setopt(easy, CURLOPT_URL, "https://127.0.0.1/");

    if (rc == CURLE_OK) {
        rc = curl_easy_setopt(easy, CURLOPT_PROXY, "");
    }
    if (rc == CURLE_OK) {
        rc = ais_ca_configure(easy, ca_file);
    }
    (void) curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    (void) curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
    (void) curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, LOAD_TIMEOUT_MS);
    (void) curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, message);
    (void) curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, give_socket);
    (void) curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, fd);
    (void) curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, already_connected);
    return rc;
}

/* Runs the only transfer to its end. */
static CURLcode run(CURLM *multi, CURL *easy)
{
    CURLcode code = CURLE_FAILED_INIT;
    CURLMsg *msg;
    int running;
    int left;

    if (curl_multi_add_handle(multi, easy) != CURLM_OK) {
        return CURLE_OUT_OF_MEMORY;
    }
    while (curl_multi_perform(multi, &running) == CURLM_OK && running > 0) {
        (void) curl_multi_poll(multi, NULL, 0, 100, NULL);
    }
    msg = curl_multi_info_read(multi, &left);
    if (msg != NULL && msg->msg == CURLMSG_DONE) {
        code = msg->data.result;
    }
    (void) curl_multi_remove_handle(multi, easy);
    return code;
}

static int load(CURLM *multi, CURL *easy, const char *ca_file, int fds[2], struct ais_error *err)
{
    char message[CURL_ERROR_SIZE] = "";
    CURLcode code = prepare(easy, ca_file, &fds[0], message);
    char byte;

    if (code == CURLE_OK) {
        code = run(multi, easy);
    }
    if (code == CURLE_SSL_CACERT_BADFILE) {
        ais_error_set(err, "trusted certificates \"%s\": no certificate in it; it must be a file in PEM format",
                      ca_file != NULL ? ca_file : "");
        return -1;
    }
    if (recv(fds[1], &byte, 1, MSG_DONTWAIT) != 1) {
        ais_error_set(err, "trusted certificates: %s", message[0] != '\0' ? message : curl_easy_strerror(code));
        return -1;
    }
    return 0; /* the handshake has failed, but it had got as far as it had to */
}

static void close_pair(int fds[2])
{
    if (fds[0] != CURL_SOCKET_BAD) {
        close(fds[0]);
    }
    close(fds[1]);
}

int ais_ca_load(CURLM *multi, const char *ca_file, struct ais_error *err)
{
    CURL *easy;
    int fds[2];
    int rc;

    if (ca_file == NULL) {
        ca_file = curl_version_info(CURLVERSION_NOW)->cainfo;
    }
    if (ca_file != NULL && check_readable(ca_file, err) == -1) {
        return -1;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == -1) {
        ais_error_set(err, "trusted certificates: no socket to load them with: %s", strerror(errno));
        return -1;
    }
    (void) shutdown(fds[1], SHUT_WR);

    easy = curl_easy_init();
    if (easy == NULL) {
        ais_error_set(err, "trusted certificates: out of memory");
        rc = -1;
    } else {
        rc = load(multi, easy, ca_file, fds, err);
        curl_easy_cleanup(easy);
    }
    close_pair(fds);
    return rc;
}
