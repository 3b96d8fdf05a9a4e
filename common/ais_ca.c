/* SPDX-License-Identifier: BSD-2-Clause */

/* Loads the trusted certificates into libcurl before the first connection needs them. */

#include "ais_ca.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/*
 * libcurl has no function to load the certificates. It loads them during a handshake, right after sending the
 * ClientHello. So we let it connect to a server of our own, on an abstract Unix socket, that closes the connection
 * after the ClientHello. (A socket pair would be simpler, but CURL_SOCKOPT_ALREADY_CONNECTED does not work in libcurl
 * 7.88.)
 */

#define LOAD_TIMEOUT_MS 30000L

CURLcode ais_ca_configure(CURL *easy, const char *ca_file)
{
    CURLcode rc = CURLE_OK;

    if (ca_file != NULL)
        rc = curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(easy, CURLOPT_CAPATH, NULL); /* a directory would disable the cache */
    /* Not all TLS libraries support the cache; without it, connections only take longer. */
    (void) curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, -1L);
    return rc;
}

/* Reports a file that cannot be opened, with a better reason than libcurl gives. */
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

/* Listens on an abstract address chosen by the kernel. Returns the descriptor and fills name, or returns -1. */
static int open_server(char *name, size_t size)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    socklen_t len = sizeof(addr);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd == -1)
        return -1;
    if (bind(fd, (struct sockaddr *) &addr, sizeof(addr.sun_family)) == -1 || listen(fd, 1) == -1 ||
        getsockname(fd, (struct sockaddr *) &addr, &len) == -1) {
        close(fd);
        return -1;
    }
    /* sun_path holds a zero byte and then the name, which is not NUL-terminated. */
    len -= (socklen_t) offsetof(struct sockaddr_un, sun_path) + 1;
    if (len >= size) {
        close(fd);
        return -1;
    }
    memcpy(name, addr.sun_path + 1, len);
    name[len] = '\0';
    return fd;
}

static CURLcode prepare(CURL *easy, const char *ca_file, const char *server, char *message)
{
    CURLcode rc = curl_easy_setopt(easy, CURLOPT_URL, "https://localhost/");

    if (rc == CURLE_OK)
        rc = curl_easy_setopt(easy, CURLOPT_ABSTRACT_UNIX_SOCKET, server);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(easy, CURLOPT_PROXY, "");
    if (rc == CURLE_OK)
        rc = ais_ca_configure(easy, ca_file);
    (void) curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    (void) curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, LOAD_TIMEOUT_MS);
    (void) curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, message);
    return rc;
}

/* Runs the only transfer. *peer becomes the server's end of the connection, or stays -1 if there was none. */
static CURLcode run(CURLM *multi, CURL *easy, int server, int *peer)
{
    CURLcode code = CURLE_FAILED_INIT;
    CURLMsg *msg;
    int running;
    int left;

    if (curl_multi_add_handle(multi, easy) != CURLM_OK)
        return CURLE_OUT_OF_MEMORY;

    while (curl_multi_perform(multi, &running) == CURLM_OK && running > 0) {
        if (*peer == -1 && (*peer = accept(server, NULL, NULL)) != -1)
            (void) shutdown(*peer, SHUT_WR);
        (void) curl_multi_poll(multi, NULL, 0, 100, NULL);
    }
    msg = curl_multi_info_read(multi, &left);
    if (msg != NULL && msg->msg == CURLMSG_DONE)
        code = msg->data.result;
    (void) curl_multi_remove_handle(multi, easy);
    return code;
}

static int load(CURLM *multi, CURL *easy, const char *ca_file, struct ais_error *err)
{
    char message[CURL_ERROR_SIZE] = "";
    char name[sizeof(((struct sockaddr_un *) NULL)->sun_path)];
    CURLcode code;
    bool greeted;
    char byte;
    int server = open_server(name, sizeof(name));
    int peer = -1;

    if (server == -1) {
        ais_error_set(err, "trusted certificates: cannot create a socket to load them: %s", strerror(errno));
        return -1;
    }
    code = prepare(easy, ca_file, name, message);
    if (code == CURLE_OK)
        code = run(multi, easy, server, &peer);
    close(server);
    greeted = peer != -1 && recv(peer, &byte, 1, MSG_DONTWAIT) == 1;
    if (peer != -1)
        close(peer);

    if (code == CURLE_SSL_CACERT_BADFILE) {
        ais_error_set(err, "trusted certificates \"%s\": the file contains no certificate; it must be in PEM format",
                      ca_file != NULL ? ca_file : "");
        return -1;
    }
    if (!greeted) {
        ais_error_set(err, "trusted certificates: %s", message[0] != '\0' ? message : curl_easy_strerror(code));
        return -1;
    }
    return 0; /* the handshake has failed, but only after the certificates were loaded */
}

int ais_ca_load(CURLM *multi, const char *ca_file, struct ais_error *err)
{
    CURL *easy;
    int rc;

    if (ca_file == NULL)
        ca_file = curl_version_info(CURLVERSION_NOW)->cainfo;
    if (ca_file != NULL && check_readable(ca_file, err) != 0)
        return -1;

    easy = curl_easy_init();
    if (easy == NULL) {
        ais_error_set(err, "trusted certificates: out of memory");
        return -1;
    }
    rc = load(multi, easy, ca_file, err);
    curl_easy_cleanup(easy);
    return rc;
}
