/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_URL_H
#define AIS_URL_H

#include <stdbool.h>

#include "ais_error.h"

#pragma GCC visibility push(hidden)

/*
 * The base URL of the API, as given in a configuration file:
 *
 *     https://api.cloudflare.com/client/v4
 *     http://127.0.0.1:8080/client/v4
 *     http://unix:/run/nginx/api.sock:/client/v4
 *
 * http and https only; no user name, query or fragment; trailing slashes are removed. Of the URLs of Cloudflare's own
 * API host, only the first one above is accepted.
 */
struct ais_url {
    char base[1024];       /* the prefix for API paths; for a Unix socket its host is "localhost" */
    char unix_socket[108]; /* the path of the socket, or empty */
    bool tls;
    bool loopback; /* a Unix socket, localhost, 127.0.0.0/8 or [::1]: requests do not leave the host */
    bool api;      /* Cloudflare's own API host, not a gateway to it */
};

/* Parses the URL. Returns 0, or -1 with the reason and a fix in *err. Messages never contain the URL. */
int ais_url_parse(struct ais_url *url, const char *text, struct ais_error *err);

/* Whether requests to a URL, which contain a credential, can be read by others. */
enum ais_url_secrecy {
    AIS_URL_SECRET,        /* no: they use TLS, or do not leave the host */
    AIS_URL_OPEN,          /* yes: they go to another host over plain http */
    AIS_URL_OPEN_TO_PROXY, /* yes: they go to a proxy over plain http, and the loopback address is the proxy's */
};

/* by_proxy says that a proxy is configured. It is not used for a Unix socket. */
enum ais_url_secrecy ais_url_secrecy(const struct ais_url *url, bool by_proxy);

/*
 * Checks the URL of a forward proxy, which must be http://HOST[:PORT]. Without a port, libcurl uses 1080. Returns 0, or
 * -1 with the reason in *err.
 */
int ais_url_check_proxy(const char *text, struct ais_error *err);

#pragma GCC visibility pop

#endif
