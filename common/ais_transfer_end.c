/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Decides how a try ended: with a fault, or with a status and a body. An HTTP status is never a fault here; it is
 * judged by ais_policy_judge(). Timeouts and retries are decided in ais_fetch.c.
 */

#include "ais_transfer.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ais_utf8.h"

/* Replaces libcurl's message with this one, and returns fault. */
static enum ais_fault end(struct ais_transfer *t, enum ais_fault fault, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static enum ais_fault end(struct ais_transfer *t, enum ais_fault fault, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void) vsnprintf(t->message, sizeof(t->message), format, args);
    va_end(args);
    return fault;
}

/* Returns the fault for a connection that was lost, or a response that broke off, at the current stage. */
static enum ais_fault broken(const struct ais_transfer *t)
{
    static const enum ais_fault faults[] = {
        [AIS_STAGE_UNSENT] = AIS_FAULT_CONNECT,
        [AIS_STAGE_SENT] = AIS_FAULT_CONNECT,
        [AIS_STAGE_HEADER] = AIS_FAULT_SERVER,
        [AIS_STAGE_BODY] = AIS_FAULT_BODY,
    };

    return faults[t->stage];
}

/* Returns the fault for a response that is not valid HTTP, or too large. */
static enum ais_fault malformed(const struct ais_transfer *t)
{
    return t->stage == AIS_STAGE_BODY ? AIS_FAULT_BODY : AIS_FAULT_SERVER;
}

/* Adds what libcurl's message lacks after a failed connect(): the path of a Unix socket, and the errno. */
static void explain_connect(struct ais_transfer *t)
{
    size_t len = strlen(t->message);
    long error = 0;

    (void) curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &error);
    if (error == 0)
        return;
    if (t->unix_socket[0] != '\0') {
        snprintf(t->message, sizeof(t->message), "connect() to unix:%s failed (%ld: %s)", t->unix_socket, error,
                 strerror((int) error));
    } else {
        snprintf(t->message + len, sizeof(t->message) - len, " (%ld: %s)", error, strerror((int) error));
    }
}

/* Judges by libcurl's result, with its own message if there is one. */
static enum ais_fault judge_code(struct ais_transfer *t, CURLcode code)
{
    if (t->message[0] == '\0')
        snprintf(t->message, sizeof(t->message), "%s", curl_easy_strerror(code));
    else if (code == CURLE_COULDNT_CONNECT)
        explain_connect(t);

    switch (code) {
    case CURLE_OK:
        if (t->stage < AIS_STAGE_BODY)
            return end(t, broken(t), "the connection was closed within the header of the response");
        t->message[0] = '\0';
        return AIS_FAULT_NONE;

    case CURLE_COULDNT_CONNECT:
        if (t->stop == AIS_STOP_NO_SOCKET)
            return end(t, AIS_FAULT_INTERNAL, "cannot create a socket: too many open files, or out of memory");
        return AIS_FAULT_CONNECT;

    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_PROXY:
        return t->stop == AIS_STOP_NO_SOCKET ? AIS_FAULT_INTERNAL : AIS_FAULT_CONNECT;

    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
        return broken(t);

    case CURLE_UNSUPPORTED_PROTOCOL: /* HTTP/0.9 */
    case CURLE_WEIRD_SERVER_REPLY:
        return malformed(t);

    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CRL_BADFILE:
    case CURLE_SSL_ENGINE_INITFAILED:
    case CURLE_SSL_ENGINE_NOTFOUND:
    case CURLE_SSL_ENGINE_SETFAILED:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
    case CURLE_SSL_SHUTDOWN_FAILED:
    case CURLE_USE_SSL_FAILED:
        return AIS_FAULT_TLS;

    case CURLE_OPERATION_TIMEDOUT:
        return AIS_FAULT_TIMEOUT;

    case CURLE_OUT_OF_MEMORY: /* libcurl 7.88 also returns this if a header line exceeds its limit */
        if (t->stage == AIS_STAGE_HEADER)
            return end(t, AIS_FAULT_SERVER, "the header of the response is too large");
        return AIS_FAULT_INTERNAL;

    default: /* may be a code that is newer than the headers that this was built with */
        return t->stage >= AIS_STAGE_HEADER ? broken(t) : AIS_FAULT_INTERNAL;
    }
}

/* Returns how many bytes have flooded the connection that the try used or was to use; 0: it was not flooded. */
static uint64_t count_flood(const struct ais_transfer *t)
{
    uint64_t id = ais_transfer_is_sent(t) ? t->connection : t->made;

    return id != 0 ? ais_connection_flood(t->connections, id) : 0;
}

/* Judges by our own reason to stop the try, if there is one: libcurl only knows that a callback returned an error, or
 * that the connection was reset. */
static enum ais_fault judge(struct ais_transfer *t, CURLcode code)
{
    uint64_t flood = count_flood(t);

    switch (t->stop) {
    case AIS_STOP_GATE:
        return end(t, AIS_FAULT_BUDGET, "%s", ais_policy_client_text(AIS_FAULT_BUDGET));

    case AIS_STOP_PROXY_ENDLESS:
        return end(t, AIS_FAULT_CONNECT, "the proxy's response to CONNECT is larger than %d bytes",
                   AIS_PROXY_TURNS_MAX);

    case AIS_STOP_HEADER_TOO_LARGE:
        return end(t, malformed(t), "the header of the response, including trailers, is larger than %zu bytes",
                   AIS_HEADER_MAX);

    case AIS_STOP_BODY_TOO_LARGE:
        return end(t, AIS_FAULT_BODY, "the response is larger than %zu bytes", t->body_max);

    default:
        break;
    }

    if (flood > 0)
        return end(t, code == CURLE_SSL_CONNECT_ERROR ? AIS_FAULT_TLS : broken(t),
                   "the connection was flooded: %llu bytes were received that are not part of a response",
                   (unsigned long long) flood);

    if (t->stop == AIS_STOP_REPEATED)
        return end(t, AIS_FAULT_CONNECT, "the request was refused, or its connection was lost, more than once");

    if (t->stop == AIS_STOP_NO_MEMORY)
        return end(t, AIS_FAULT_INTERNAL, "out of memory");

    return judge_code(t, code);
}

void ais_transfer_end(struct ais_transfer *t, CURLcode code, struct ais_response *response)
{
    long status = 0;
    long version = 0;

    ais_transfer_leave_gate(t, code == CURLE_OPERATION_TIMEDOUT);
    if (code == CURLE_FILESIZE_EXCEEDED)
        t->stop = AIS_STOP_BODY_TOO_LARGE;
    if (t->stop == AIS_STOP_BODY_TOO_LARGE)
        ais_transfer_give_up(t);

    *response = ais_response_none(judge(t, code), t->message);
    ais_utf8_printable(t->message, strlen(t->message)); /* it may contain names from a certificate */
    if (t->stage == AIS_STAGE_BODY) {
        curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
        curl_easy_getinfo(t->easy, CURLINFO_HTTP_VERSION, &version);
        ais_transfer_read_limits(t, &response->limits);
    }
    if (response->fault == AIS_FAULT_NONE)
        response->body = (struct ais_str){t->body != NULL ? t->body : "", t->body_len};
    response->status = (int) status;
    response->multiplexed = version >= CURL_HTTP_VERSION_2_0;
    response->retry_after = t->retry_after;
    response->age = t->age;
    memcpy(response->cache, t->cache, sizeof(t->cache));
    response->calls = t->calls;
}
