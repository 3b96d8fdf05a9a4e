/* SPDX-License-Identifier: BSD-2-Clause */

/* Sets the options of libcurl's easy handle: those of a transfer, and those of each try. */

#include "ais_transfer.h"

#include <stdlib.h>
#include <string.h>

#include "ais_ca.h"
#include "ais_meter.h"
#include "ais_version.h"

/* The buffer size of a connection without TLS. libcurl 7.88 reads a hundred buffers before it reports progress. */
#define PLAIN_BUFFER_SIZE 2048L

/* The option bits that encode a label; AIS_LABEL_HTTP_1 is the greatest one. */
static const long label_bits[] = {CURLSSLOPT_NO_REVOKE, CURLSSLOPT_REVOKE_BEST_EFFORT, CURLSSLOPT_AUTO_CLIENT_CERT};

_Static_assert(AIS_LABEL_HTTP_1 < 1 << (sizeof(label_bits) / sizeof(label_bits[0])), "too many labels");

/* Returns whether the connections of the transfer use TLS and count the records that they receive. */
static bool counts_itself(const struct ais_transfer *t)
{
    return t->tls && ais_meter_sees_tls();
}

static CURLcode set_url(struct ais_transfer *t, const struct ais_target *target, const char *path)
{
    size_t base_len = strlen(target->url.base);
    size_t path_len = strlen(path);
    char *url = malloc(base_len + path_len + 1);
    CURLcode rc;

    if (url == NULL)
        return CURLE_OUT_OF_MEMORY;

    memcpy(url, target->url.base, base_len);
    memcpy(url + base_len, path, path_len + 1);
    rc = curl_easy_setopt(t->easy, CURLOPT_URL, url);
    free(url);
    if (rc != CURLE_OK)
        return rc;

    AIS_SET(t, CURLOPT_PROTOCOLS_STR, "http,https");
    AIS_SET(t, CURLOPT_PATH_AS_IS, 1L);
    AIS_SET(t, CURLOPT_FOLLOWLOCATION, 0L);
    AIS_SET(t, CURLOPT_HTTPGET, 1L);
    AIS_SET(t, CURLOPT_HTTP09_ALLOWED, 0L);
    AIS_SET(t, CURLOPT_USERAGENT, "aisearch-jobs/" AIS_VERSION);
    AIS_SET(t, CURLOPT_HTTPHEADER, t->headers);
    AIS_SET(t, CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
    return CURLE_OK;
}

static CURLcode set_connection(struct ais_transfer *t, const struct ais_target *target)
{
    bool is_unix = target->url.unix_socket[0] != '\0';
    bool by_proxy = target->proxy != NULL && !is_unix;

    /* Without both, a DNS lookup that outlasts its timeout blocks the caller until the resolver thread has ended. */
    AIS_SET(t, CURLOPT_NOSIGNAL, 1L);
    AIS_SET(t, CURLOPT_QUICK_EXIT, 1L);

    AIS_SET(t, CURLOPT_TCP_KEEPALIVE, 1L);
    if (!t->tls)
        AIS_SET(t, CURLOPT_BUFFERSIZE, PLAIN_BUFFER_SIZE);
    AIS_SET(t, CURLOPT_MAXAGE_CONN, 60L);        /* seconds idle; most servers close it later */
    AIS_SET(t, CURLOPT_MAXLIFETIME_CONN, 3600L); /* seconds in all, to follow DNS changes */
    if (is_unix)
        AIS_SET(t, CURLOPT_UNIX_SOCKET_PATH, target->url.unix_socket);

    /* "" rather than NULL, which would make libcurl use the proxy from the environment. */
    AIS_SET(t, CURLOPT_PROXY, by_proxy ? target->proxy : "");
    AIS_SET(t, CURLOPT_NOPROXY, "");
    /* Always a tunnel, so that the proxy sees neither our requests nor their headers. */
    AIS_SET(t, CURLOPT_HTTPPROXYTUNNEL, 1L);
    AIS_SET(t, CURLOPT_NOPROGRESS, by_proxy || !counts_itself(t) ? 0L : 1L);
    AIS_SET(t, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    AIS_SET(t, CURLOPT_HEADEROPT, (long) CURLHEADER_SEPARATE);
    return CURLE_OK;
}

static CURLcode set_tls(struct ais_transfer *t, const struct ais_target *target, const char *ca_file)
{
    AIS_SET(t, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
    AIS_SET(t, CURLOPT_SSL_VERIFYPEER, target->verify_peer ? 1L : 0L);
    AIS_SET(t, CURLOPT_SSL_VERIFYHOST, target->verify_host ? 2L : 0L);
    return ais_ca_configure(t->easy, ca_file);
}

CURLcode ais_transfer_set_up(struct ais_transfer *t, const struct ais_target *target, const char *ca_file,
                             const char *path)
{
    CURLcode rc = set_url(t, target, path);

    if (rc == CURLE_OK)
        rc = set_connection(t, target);
    if (rc == CURLE_OK)
        rc = set_tls(t, target, ca_file);
    if (rc == CURLE_OK)
        rc = ais_transfer_set_request(t);
    if (rc == CURLE_OK)
        rc = ais_transfer_set_answer(t);
    return rc;
}

/*
 * Encodes a label as TLS options. libcurl reuses a connection only for transfers with the same TLS options (since
 * CVE-2022-27782). These options have an effect only in Windows' own TLS library, so here they only serve to keep
 * connections apart.
 */
static long label_options(unsigned label)
{
    long options = 0;

    for (size_t i = 0; i < sizeof(label_bits) / sizeof(label_bits[0]); i++)
        options |= (label >> i) & 1 ? label_bits[i] : 0;
    return options;
}

void ais_transfer_begin(struct ais_transfer *t, const struct ais_try *how)
{
    bool http_2 = counts_itself(t) && !how->http_1; /* libcurl reports no progress while it reads HTTP/2 */
    long version = http_2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1;

    t->how = *how;
    (void) curl_easy_setopt(t->easy, CURLOPT_TIMEOUT_MS, (long) how->timeout);
    (void) curl_easy_setopt(t->easy, CURLOPT_CONNECTTIMEOUT_MS, (long) how->connect_timeout);
    (void) curl_easy_setopt(t->easy, CURLOPT_SSL_OPTIONS, label_options(how->label));
    (void) curl_easy_setopt(t->easy, CURLOPT_FRESH_CONNECT, how->fresh ? 1L : 0L);
    (void) curl_easy_setopt(t->easy, CURLOPT_FORBID_REUSE, 0L);
    (void) curl_easy_setopt(t->easy, CURLOPT_HTTP_VERSION, version);
    (void) curl_easy_setopt(t->easy, CURLOPT_PIPEWAIT, http_2 ? 1L : 0L);
}
