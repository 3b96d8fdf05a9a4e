/*
 * An upstream that sends endless data as fast as it can: flood HOW HEAD PIECE [CERTIFICATE KEY ALPN]
 *
 * It prints its port. To each connection it sends the content of the file HEAD, and then that of PIECE repeatedly.
 * Without a certificate, it starts as soon as it receives something; with one, it uses TLS and starts after a request,
 * in the way HOW:
 *
 *     data     the largest possible records           bytes    records of one byte
 *     tickets  new session tickets                    keys     new keys
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PREFACE_LEN 24
#define HEADERS 1

struct text {
    char *data;
    size_t len;
};

static const char *how;
static const char *alpn;
static struct text head, piece;
static SSL_CTX *context;

static struct text load(const char *path)
{
    FILE *f = fopen(path, "rb");
    struct text text = {malloc(1 << 22), 0};

    if (f == NULL || text.data == NULL)
        abort();
    text.len = fread(text.data, 1, 1 << 22, f);
    fclose(f);
    return text;
}

static bool send_all(int fd, struct text text)
{
    while (text.len > 0) {
        ssize_t n = send(fd, text.data, text.len, 0);

        if (n <= 0)
            return false;
        text.data += n;
        text.len -= (size_t) n;
    }
    return true;
}

/* So that the other side never blocks while writing. */
static void drain(int fd)
{
    static __thread char waste[65536];

    while (recv(fd, waste, sizeof(waste), MSG_DONTWAIT) > 0)
        ;
}

static bool write_all(SSL *ssl, struct text text, size_t most)
{
    while (text.len > 0) {
        size_t n = text.len < most ? text.len : most;

        if (SSL_write(ssl, text.data, (int) n) <= 0)
            return false;
        drain(SSL_get_fd(ssl));
        text.data += n;
        text.len -= n;
    }
    return true;
}

/* Whether a complete request has been received: HTTP/1.1, or HTTP/2 frame by frame. */
static bool has_request(const unsigned char *data, size_t len)
{
    size_t at = PREFACE_LEN;

    if (strcmp(alpn, "h2") != 0)
        return memmem(data, len, "\r\n\r\n", 4) != NULL;
    while (at + 9 <= len) {
        if (data[at + 3] == HEADERS)
            return true;
        at += 9 + ((size_t) data[at] << 16 | (size_t) data[at + 1] << 8 | data[at + 2]);
    }
    return false;
}

static bool read_request(SSL *ssl)
{
    unsigned char data[65536];
    size_t len = 0;

    while (!has_request(data, len)) {
        int n = SSL_read(ssl, data + len, (int) (sizeof(data) - len));

        if (n <= 0)
            return false;
        len += (size_t) n;
    }
    return true;
}

static bool flood_tls(SSL *ssl)
{
    if (strcmp(how, "tickets") == 0)
        return SSL_new_session_ticket(ssl) == 1 && SSL_do_handshake(ssl) == 1;
    if (strcmp(how, "keys") == 0)
        return SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1 && SSL_do_handshake(ssl) == 1;
    return write_all(ssl, piece, how[0] == 'b' ? 1 : 16384);
}

static void serve_tls(int fd)
{
    static const char settings[] = "\0\0\0\4\0\0\0\0\0";
    SSL *ssl = SSL_new(context);

    SSL_set_fd(ssl, fd);
    if (SSL_accept(ssl) == 1 && (strcmp(alpn, "h2") != 0 || SSL_write(ssl, settings, 9) == 9) && read_request(ssl) &&
        write_all(ssl, head, 16384)) {
        while (flood_tls(ssl))
            drain(fd);
    }
    SSL_free(ssl);
}

static void *serve(void *data)
{
    int fd = (int) (long) data;
    char byte;

    if (context != NULL) {
        serve_tls(fd);
    } else if (recv(fd, &byte, 1, 0) == 1 && send_all(fd, head)) {
        while (send_all(fd, piece))
            drain(fd);
    }
    close(fd);
    return NULL;
}

static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *outlen, const unsigned char *in,
                       unsigned int inlen, void *data)
{
    static unsigned char name[16];

    (void) ssl, (void) in, (void) inlen, (void) data;
    *outlen = (unsigned char) strlen(alpn);
    memcpy(name, alpn, *outlen);
    *out = name;
    return SSL_TLSEXT_ERR_OK;
}

static void start(void *(*run)(void *), long data)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, run, (void *) data) != 0)
        abort();
    pthread_detach(thread);
}

int main(int argc, char **argv)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    if (argc != 4 && argc != 7)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    how = argv[1];
    head = load(argv[2]);
    piece = load(argv[3]);
    if (argc == 7) {
        alpn = argv[6];
        context = SSL_CTX_new(TLS_server_method());
        SSL_CTX_set_alpn_select_cb(context, select_alpn, NULL);
        if (SSL_CTX_use_certificate_chain_file(context, argv[4]) != 1 ||
            SSL_CTX_use_PrivateKey_file(context, argv[5], SSL_FILETYPE_PEM) != 1)
            return 2;
    }
    if (bind(listener, (struct sockaddr *) &addr, len) == -1 || listen(listener, 100) == -1 ||
        getsockname(listener, (struct sockaddr *) &addr, &len) == -1)
        return 2;
    printf("%d\n", ntohs(addr.sin_port));
    fflush(stdout);
    for (;;)
        start(serve, accept(listener, NULL, NULL));
}
