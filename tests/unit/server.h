#ifndef SERVER_H
#define SERVER_H

/*
 * A server for tests: a listening socket, a thread that accepts, and a thread for each connection that runs a function
 * of the test. It has counters, and keeps the last request.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "unit.h"

#define SERVER_CONNECTIONS 512

struct server;

/* Serves one connection, which is closed when this returns. nth counts the server's connections from 1. */
typedef void (*serve_fn)(struct server *server, int fd, unsigned nth);

struct connection {
    struct server *server;
    pthread_t thread;
    unsigned nth;
    int fd;
};

struct server {
    int fd;
    int port;
    serve_fn serve;
    void *data; /* for serve */
    pthread_t thread;
    atomic_uint connections;
    atomic_uint closed; /* by the client, as noticed by server_request() */
    atomic_uint requests;
    pthread_mutex_t mutex;
    char last[8192]; /* the last request; read it with server_last() */
    char seen[8192];
    struct connection all[SERVER_CONNECTIONS];
};

/* Reads the header of one request. Returns false if the client has closed the connection. */
static inline bool server_request(struct server *server, int fd)
{
    char buf[sizeof(server->last)];
    size_t len = 0;

    while (len < 4 || memcmp(buf + len - 4, "\r\n\r\n", 4) != 0) {
        /* Byte by byte, since further data belongs to the next request. */
        if (len == sizeof(buf) - 1 || recv(fd, buf + len, 1, 0) != 1) {
            server->closed++;
            return false;
        }
        len++;
    }
    buf[len] = '\0';
    pthread_mutex_lock(&server->mutex);
    memcpy(server->last, buf, len + 1);
    pthread_mutex_unlock(&server->mutex);
    server->requests++;
    return true;
}

static inline const char *server_last(struct server *server)
{
    pthread_mutex_lock(&server->mutex);
    memcpy(server->seen, server->last, sizeof(server->seen));
    pthread_mutex_unlock(&server->mutex);
    return server->seen;
}

static inline void server_send(int fd, const char *text)
{
    size_t len = strlen(text);

    while (len > 0) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

        if (n <= 0) {
            return;
        }
        text += n;
        len -= (size_t) n;
    }
}

/* Waits until the client closes the connection, or the test ends. */
static inline void server_linger(struct server *server, int fd)
{
    char buf[256];

    while (recv(fd, buf, sizeof(buf), 0) > 0) {
    }
    server->closed++;
}

static inline void *server_connection(void *data)
{
    struct connection *c = data;

    c->server->serve(c->server, c->fd, c->nth);
    shutdown(c->fd, SHUT_RDWR);
    return NULL;
}

static inline void *server_accept(void *data)
{
    struct server *server = data;

    for (;;) {
        int fd = accept(server->fd, NULL, NULL);
        struct connection *c;

        if (fd == -1 && errno == EMFILE) {
            usleep(1000); /* a test lets the process run out of descriptors */
            continue;
        }
        if (fd == -1) {
            return NULL; /* server_stop() */
        }
        if (server->connections == SERVER_CONNECTIONS) {
            abort();
        }
        c = &server->all[server->connections++];
        *c = (struct connection){.server = server, .nth = server->connections, .fd = fd};
        if (pthread_create(&c->thread, NULL, server_connection, c) != 0) {
            abort();
        }
    }
}

static inline struct server *server_new(serve_fn serve, int fd)
{
    struct server *server = calloc(1, sizeof(*server));

    assert_non_null(server);
    server->fd = fd;
    server->serve = serve;
    pthread_mutex_init(&server->mutex, NULL);
    return server;
}

static inline void server_run(struct server *server)
{
    assert_int_equal(listen(server->fd, 128), 0);
    assert_int_equal(pthread_create(&server->thread, NULL, server_accept, server), 0);
}

/* On a free port of 127.0.0.1; refuses connections until server_run(). */
static inline struct server *server_bind(serve_fn serve)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    struct server *server = server_new(serve, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));

    assert_int_equal(bind(server->fd, (struct sockaddr *) &addr, sizeof(addr)), 0);
    assert_int_equal(getsockname(server->fd, (struct sockaddr *) &addr, &len), 0);
    server->port = ntohs(addr.sin_port);
    return server;
}

static inline struct server *server_start(serve_fn serve)
{
    struct server *server = server_bind(serve);

    server_run(server);
    return server;
}

static inline struct server *server_start_unix(serve_fn serve, const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct server *server = server_new(serve, socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    assert_int_equal(bind(server->fd, (struct sockaddr *) &addr, sizeof(addr)), 0);
    server_run(server);
    return server;
}

/* Closes all connections and joins the threads. */
static inline void server_stop(struct server *server)
{
    unsigned i;

    if (server->thread != 0) {
        shutdown(server->fd, SHUT_RDWR);
        pthread_join(server->thread, NULL);
    }
    close(server->fd);
    for (i = 0; i < server->connections; i++) {
        shutdown(server->all[i].fd, SHUT_RDWR);
        pthread_join(server->all[i].thread, NULL);
        close(server->all[i].fd);
    }
    pthread_mutex_destroy(&server->mutex);
    free(server);
}

/* Number of this process's open descriptors. */
static inline size_t open_descriptors(void)
{
    size_t n = 0;
    int fd;

    for (fd = 0; fd < 1000; fd++) {
        n += fcntl(fd, F_GETFD) != -1;
    }
    return n;
}

#endif
