/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_URL_H
#define AIS_URL_H

#include <stdbool.h>

#include "ais_error.h"

#pragma GCC visibility push(hidden)

/*
 * The base URL of the API, as it stands in a configuration file:
 *
 *     https://api.cloudflare.com/client/v4
 *     http://127.0.0.1:8080/client/v4
 *     http://unix:/run/nginx/api.sock:/client/v4
 *
 * http and https only; no user, query or fragment; slashes at the end are taken off. Of Cloudflare's own host only the
 * first of these is one.
 */
struct ais_url {
    char base[1024];       /* what to put in front of an API path; for a Unix socket the host is "localhost" */
    char unix_socket[108]; /* the path of the socket, or empty */
    bool tls;
    bool loopback; /* a Unix socket, localhost, 127.0.0.0/8 or [::1]: what is sent does not leave the host */
    bool api;      /* Cloudflare's own, and no gateway to it */
};

/* Returns 0, or -1 with what is wrong and the cure in *err. */
int ais_url_parse(struct ais_url *url, const char *text, struct ais_error *err);

/* Whether what is sent there, a credential with it, stays between us and the API. */
enum ais_url_secrecy {
    AIS_URL_SECRET,        /* by TLS, or since it does not leave the host */
    AIS_URL_OPEN,          /* it goes over plain http to another host */
    AIS_URL_OPEN_TO_PROXY, /* over plain http to a proxy, whose loopback is not ours */
};

/* by_proxy: a proxy is configured. None is on the way to a Unix socket. */
enum ais_url_secrecy ais_url_secrecy(const struct ais_url *url, bool by_proxy);

/*
 * Checks the URL of a forward proxy: http://HOST[:PORT], nothing more. Without a port libcurl takes 1080. Returns 0, or
 * -1 with the reason in *err.
 */
int ais_url_check_proxy(const char *text, struct ais_error *err);

#pragma GCC visibility pop

#endif
