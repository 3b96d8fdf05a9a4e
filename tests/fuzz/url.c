/* URLs in a configuration: a line with api_url, and a line with a proxy. libcurl must parse them in the same way. */

#include "fuzz.h"

#include <curl/curl.h>

#include "ais_url.h"

static char *part(CURLU *u, CURLUPart what)
{
    char *text = NULL;

    return curl_url_get(u, what, &text, 0) == CURLUE_OK ? text : NULL;
}

static bool starts_with(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* libcurl must connect to the host that was checked. */
static void check_with_libcurl(const struct ais_url *url)
{
    CURLU *u = curl_url();
    char *scheme, *host;

    MUST(u != NULL);
    MUST(curl_url_set(u, CURLUPART_URL, url->base, CURLU_PATH_AS_IS) == CURLUE_OK);
    scheme = part(u, CURLUPART_SCHEME);
    host = part(u, CURLUPART_HOST);
    MUST(scheme != NULL && strcmp(scheme, url->tls ? "https" : "http") == 0);
    MUST(host != NULL && host[0] != '\0');
    MUST(part(u, CURLUPART_USER) == NULL && part(u, CURLUPART_PASSWORD) == NULL);
    MUST(part(u, CURLUPART_QUERY) == NULL && part(u, CURLUPART_FRAGMENT) == NULL);
    if (url->loopback)
        MUST(strcasecmp(host, "localhost") == 0 || starts_with(host, "127.") || host[0] == '[');
    curl_free(scheme);
    curl_free(host);
    curl_url_cleanup(u);
}

static void check_url(const struct ais_url *url)
{
    size_t len = strnlen(url->base, sizeof(url->base));
    struct ais_url again;

    MUST(len > 0 && len < sizeof(url->base) && url->base[len - 1] != '/');
    for (size_t i = 0; i < len; i++)
        MUST(url->base[i] > 0x20 && url->base[i] < 0x7f && strchr("?#\"<>\\^`{|}", url->base[i]) == NULL);
    MUST(starts_with(url->base, url->tls ? "https://" : "http://"));
    MUST(strnlen(url->unix_socket, sizeof(url->unix_socket)) < sizeof(url->unix_socket));
    MUST(url->unix_socket[0] == '\0' || (url->unix_socket[0] == '/' && url->loopback && !url->tls));

    MUST(ais_url_parse(&again, url->base, NULL) == 0);
    MUST(strcmp(again.base, url->base) == 0);
    MUST(again.tls == url->tls && (again.loopback == url->loopback));
    check_with_libcurl(url);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ais_str rest = whole_input(data, size);
    char *text = text_dup(take_line(&rest));
    char *proxy = text_dup(take_line(&rest));
    struct ais_error err = {""};
    struct ais_url url;

    if (ais_url_parse(&url, text, &err) == 0)
        check_url(&url);
    else
        MUST(err.text[0] != '\0');

    err.text[0] = '\0';
    if (ais_url_check_proxy(proxy, &err) == 0)
        MUST(starts_with(proxy + 4, "://") && strchr(proxy, '@') == NULL);
    else
        MUST(err.text[0] != '\0');

    free(proxy);
    free(text);
    return 0;
}
