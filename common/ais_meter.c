/* SPDX-License-Identifier: BSD-2-Clause */

/* Counts the bytes that connections receive, from inside libcurl, and cuts a connection that receives too many. */

#include "ais_meter.h"

#include <curl/curl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "ais_clock.h"

/* Work that the length does not show, in bytes: decrypting a record; a new key, or a ticket with a session to keep. */
#define PER_RECORD 64
#define PER_MESSAGE 1024

/*
 * shutdown() alone would not be enough: libcurl could still read what is in the socket's buffer, which may be some
 * megabytes. Disconnecting discards it.
 */
static void cut(int fd)
{
    struct sockaddr nobody = {.sa_family = AF_UNSPEC};

    if (connect(fd, &nobody, sizeof(nobody)) == -1)
        (void) shutdown(fd, SHUT_RDWR);
}

static void take(struct ais_connections *connections, struct ais_connection *c, size_t bytes, size_t more)
{
    if (!ais_connection_take(connections, c, bytes, more, ais_clock()))
        cut(c->fd);
}

bool ais_meter_sees_tls(void)
{
    const char *name = curl_version_info(CURLVERSION_NOW)->ssl_version;
    const char *ours = OPENSSL_VERSION_TEXT; /* "OpenSSL 3.0.1 ..."; libcurl has "OpenSSL/3.0.1" */
    size_t major = sizeof("OpenSSL/3.") - 1;

    return name != NULL && strncmp(name, "OpenSSL/", 8) == 0 && strncmp(name + 8, ours + 8, major - 8) == 0;
}

/* OpenSSL calls this with the header of each record, and with each message of the TLS protocol, in both directions. */
static void on_tls(int is_ours, int version, int type, const void *data, size_t len, SSL *ssl, void *connections)
{
    uintptr_t id = (uintptr_t) SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    struct ais_connection *c = ais_connection_get(connections, id);
    const unsigned char *header = data;

    (void) version;
    if (is_ours || c == NULL)
        return;
    if (type == SSL3_RT_HEADER && len == SSL3_RT_HEADER_LENGTH)
        take(connections, c, len + ((size_t) header[3] << 8 | header[4]), PER_RECORD);
    else if (type == SSL3_RT_HANDSHAKE)
        take(connections, c, 0, PER_MESSAGE);
}

void ais_meter_tls(void *ssl_ctx, struct ais_connections *connections, struct ais_connection *connection)
{
    connection->counts_itself = true;
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): it is never used as a pointer */
    SSL_CTX_set_app_data(ssl_ctx, (void *) (uintptr_t) connection->id);
    SSL_CTX_set_msg_callback(ssl_ctx, on_tls);
    SSL_CTX_set_msg_callback_arg(ssl_ctx, connections);
}

/* Returns how many bytes have been read from a TCP socket, or 0 if unknown. Bytes that arrive between the two calls are
 * not counted as read. */
static uint64_t bytes_read(int fd)
{
    struct tcp_info info;
    socklen_t len = sizeof(info);
    int unread;

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == -1 ||
        len < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof(info.tcpi_bytes_received) ||
        ioctl(fd, FIONREAD, &unread) == -1 || (uint64_t) unread > info.tcpi_bytes_received)
        return 0;
    return info.tcpi_bytes_received - (uint64_t) unread;
}

void ais_meter_look(struct ais_connections *connections, struct ais_connection *connection)
{
    uint64_t bytes = connection->counts_itself ? 0 : bytes_read(connection->fd);

    if (bytes > connection->counted) {
        take(connections, connection, bytes - connection->counted, 0);
        connection->counted = bytes;
    }
}
