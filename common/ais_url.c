/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Parses the base URL of the API, and checks the URL of a proxy. Messages never repeat the URL, because it may contain
 * a password.
 */

#include "ais_url.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>

#include "ais_str.h"

#define HOST_MAX 255

#define API_HOST "api.cloudflare.com"
#define API_PATH "/client/v4"
#define API_URL "https://" API_HOST API_PATH

/* The authority of a URL, without a user name: a host and optionally ":PORT". */
struct authority {
    struct ais_str whole;
    char host[HOST_MAX + 1]; /* without the brackets of an IPv6 address */
    bool ipv6;
};

static bool is_alnum(char c)
{
    return ais_is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static int wrong(struct ais_error *err, const char *what)
{
    ais_error_set(err, "%s", what);
    return -1;
}

/* Skips prefix at the front of *text, ignoring case. Returns whether it was there. */
static bool take_prefix(const char **text, const char *prefix)
{
    size_t len = strlen(prefix);

    if (strncasecmp(*text, prefix, len) != 0)
        return false;

    *text += len;
    return true;
}

/* ":" and 1 to 65535, or nothing. */
static bool port_valid(struct ais_str s)
{
    unsigned port = 0;

    if (s.len == 0)
        return true;

    if (s.data[0] != ':' || s.len < 2 || s.len > 6)
        return false;

    for (size_t i = 1; i < s.len; i++) {
        if (!ais_is_digit(s.data[i]))
            return false;
        port = port * 10 + (unsigned) (s.data[i] - '0');
    }

    return port >= 1 && port <= 65535;
}

/* A name or an IPv4 address: letters, digits, "-", "_" and ".", without empty labels. */
static bool host_valid(const char *host)
{
    bool label = false;

    for (; *host != '\0'; host++) {
        if (*host == '.') {
            if (!label)
                return false;
            label = false;
        } else if (is_alnum(*host) || *host == '-' || *host == '_') {
            label = true;
        } else {
            return false;
        }
    }

    return true;
}

/* Parses HOST[:PORT] at the front of text, up to a slash or the end. */
static int parse_authority(struct authority *a, const char *text, struct ais_error *err)
{
    struct in6_addr address;
    size_t len, end;

    a->whole = (struct ais_str){text, strcspn(text, "/")};
    a->ipv6 = text[0] == '[';

    if (memchr(text, '@', a->whole.len) != NULL)
        return wrong(err, "the URL must not contain a user or a password; remove them and the \"@\"");

    end = a->ipv6 ? strcspn(text, "]") : strcspn(text, ":/");
    if (end > a->whole.len)
        return wrong(err, "the IPv6 address in the URL has no closing \"]\"");

    len = a->ipv6 ? end - 1 : end;
    if (len == 0 || len > HOST_MAX)
        return wrong(err, "the URL has no host, or one longer than 255 bytes");

    memcpy(a->host, text + end - len, len);
    a->host[len] = '\0';

    if (a->ipv6) {
        if (text[end] != ']')
            return wrong(err, "the IPv6 address in the URL has no closing \"]\"");
        if (inet_pton(AF_INET6, a->host, &address) != 1)
            return wrong(err, "the address between \"[\" and \"]\" is not an IPv6 address");
        end++;

    } else if (!host_valid(a->host)) {
        return wrong(err, "the host in the URL must consist of letters, digits, \"-\", \"_\" and single \".\"");
    }

    if (!port_valid((struct ais_str){text + end, a->whole.len - end}))
        return wrong(err, "the port in the URL must be a number from 1 to 65535");

    return 0;
}

/* Anything that is not strictly a loopback address is treated as another host. */
static bool is_loopback(const struct authority *a)
{
    struct in_addr v4;
    struct in6_addr v6;

    if (a->ipv6)
        return inet_pton(AF_INET6, a->host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);

    return strcasecmp(a->host, "localhost") == 0 ||
           (inet_pton(AF_INET, a->host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127);
}

/* Returns whether a segment is "." or "..", even percent-encoded: a client would resolve it to a different path. */
static bool is_dot_segment(struct ais_str s)
{
    size_t dots = 0;

    for (size_t i = 0; i < s.len; dots++) {
        if (s.data[i] == '.')
            i += 1;
        else if (s.len - i >= 3 && strncasecmp(s.data + i, "%2e", 3) == 0)
            i += 3;
        else
            return false;
    }

    return dots == 1 || dots == 2;
}

/* Checks that a path is empty, or "/" and path characters (RFC 3986, section 3.3). */
static int check_path(const char *path, struct ais_error *err)
{
    size_t segment = 0;

    for (size_t i = 0;; i++) {
        char c = path[i];

        if (c == '\0' || c == '/') {
            if (is_dot_segment((struct ais_str){path + segment, i - segment}))
                return wrong(err, "the path of the URL must not contain \".\" or \"..\"");
            if (c == '\0')
                return 0;
            segment = i + 1;

        } else if (c == '?' || c == '#') {
            return wrong(err, "the URL must not have a query or a fragment; remove the \"?\" or \"#\" and "
                              "everything after it");

        } else if (c == '%') {
            if (ais_hex_digit(path[i + 1]) < 0 || ais_hex_digit(path[i + 2]) < 0)
                return wrong(err, "a \"%\" in the path of the URL must be followed by two hex digits");

        } else if (!is_alnum(c) && strchr("-._~!$&'()*+,;=:@", c) == NULL) {
            return wrong(err, "the path of the URL contains a character that must be percent-encoded");
        }
    }
}

/* Builds base, without trailing slashes. */
static int set_base(struct ais_url *url, const char *scheme, struct ais_str authority, const char *path,
                    struct ais_error *err)
{
    size_t scheme_len = strlen(scheme);
    size_t path_len = strlen(path);
    char *p = url->base;

    if (check_path(path, err) != 0)
        return -1;

    while (path_len > 0 && path[path_len - 1] == '/')
        path_len--;

    if (scheme_len + authority.len + path_len >= sizeof(url->base))
        return wrong(err, "the URL is too long; the maximum is 1023 bytes");

    memcpy(p, scheme, scheme_len);
    memcpy(p + scheme_len, authority.data, authority.len);
    memcpy(p + scheme_len + authority.len, path, path_len);
    p[scheme_len + authority.len + path_len] = '\0';
    return 0;
}

/* Parses SOCKET[:PATH], after "http://unix:". */
static int parse_unix(struct ais_url *url, const char *text, struct ais_error *err)
{
    size_t len = strcspn(text, ":");
    const char *path = text[len] == ':' ? text + len + 1 : "";

    if (text[0] != '/' || len < 2)
        return wrong(err, "the socket must be an absolute path, as in http://unix:/run/api.sock:/client/v4");

    if (len >= sizeof(url->unix_socket))
        return wrong(err, "the path of the Unix socket is too long; the maximum is 107 bytes");

    if (path[0] != '\0' && path[0] != '/')
        return wrong(err, "the path after the Unix socket must begin with a slash, as in "
                          "http://unix:/run/api.sock:/client/v4");

    memcpy(url->unix_socket, text, len);
    url->unix_socket[len] = '\0';
    url->loopback = true;
    return set_base(url, "http://", AIS_STR("localhost"), path, err);
}

static bool has_port(const struct authority *a, const char *port)
{
    size_t len = strlen(port);

    return a->whole.len > len && memcmp(a->whole.data + a->whole.len - len, port, len) == 0;
}

/* What is sent elsewhere on the API's host, or by the other scheme of a port, gets no answer that is one. */
static int check_api(struct ais_url *url, const struct authority *a, struct ais_error *err)
{
    const char *path = url->base + strlen(url->tls ? "https://" : "http://") + a->whole.len;

    if (strcasecmp(a->host, "dash.cloudflare.com") == 0)
        return wrong(err, "this is the dashboard; the API is at " API_URL);

    if (!url->tls && has_port(a, ":443"))
        return wrong(err, "port 443 is for https; begin the URL with https://");
    if (url->tls && has_port(a, ":80"))
        return wrong(err, "port 80 is for plain http; omit it, or begin the URL with http://");

    url->api = strcasecmp(a->host, API_HOST) == 0;
    if (url->api && !url->tls)
        return wrong(err, "the API does not support plain http; use " API_URL);
    if (url->api && strcmp(path, API_PATH) != 0)
        return wrong(err, "the URL of the API must end with \"" API_PATH "\"; use " API_URL);
    return 0;
}

static int parse_host(struct ais_url *url, const char *text, struct ais_error *err)
{
    struct authority a;

    if (strpbrk(text, "?#") != NULL)
        return wrong(err, "the URL must not have a query or a fragment; remove the \"?\" or \"#\" and everything "
                          "after it");

    if (parse_authority(&a, text, err) != 0)
        return -1;

    url->loopback = is_loopback(&a);
    if (set_base(url, url->tls ? "https://" : "http://", a.whole, text + a.whole.len, err) != 0)
        return -1;
    return check_api(url, &a, err);
}

int ais_url_parse(struct ais_url *url, const char *text, struct ais_error *err)
{
    memset(url, 0, sizeof(*url));

    url->tls = take_prefix(&text, "https://");
    if (!url->tls && !take_prefix(&text, "http://"))
        return wrong(err, "the URL must begin with https:// or http://");

    if (!take_prefix(&text, "unix:"))
        return parse_host(url, text, err);

    if (url->tls)
        return wrong(err, "a Unix socket is used without TLS; begin the URL with http://unix:");

    return parse_unix(url, text, err);
}

enum ais_url_secrecy ais_url_secrecy(const struct ais_url *url, bool by_proxy)
{
    if (url->tls)
        return AIS_URL_SECRET;

    if (!url->loopback)
        return AIS_URL_OPEN;

    return by_proxy && url->unix_socket[0] == '\0' ? AIS_URL_OPEN_TO_PROXY : AIS_URL_SECRET;
}

int ais_url_check_proxy(const char *text, struct ais_error *err)
{
    struct authority a;

    if (!take_prefix(&text, "http://"))
        return wrong(err, "the proxy must be specified as http://HOST:PORT");

    if (parse_authority(&a, text, err) != 0)
        return -1;

    if (text[a.whole.len] != '\0')
        return wrong(err, "nothing may follow the host and port of the proxy; use http://HOST:PORT");

    return 0;
}
