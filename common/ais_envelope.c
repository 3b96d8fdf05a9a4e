#include "ais_envelope.h"

#include <stdio.h>

#include "ais_json.h"

/* The longest form of one character: \u00XX; U+FFFD is shorter. */
#define ESCAPE_MAX 8

/* The first character of s as it stands in a JSON string, and its length in s. */
static size_t escape(char out[ESCAPE_MAX], struct ais_str s, size_t *used)
{
    unsigned char c = (unsigned char) s.data[0];
    size_t len = ais_utf8_sequence(s);

    *used = len > 0 ? len : 1;

    if (len == 0)
        return (size_t) snprintf(out, ESCAPE_MAX, "\xEF\xBF\xBD");
    if (c == '"' || c == '\\')
        return (size_t) snprintf(out, ESCAPE_MAX, "\\%c", c);
    if (c < 0x20)
        return (size_t) snprintf(out, ESCAPE_MAX, "\\u%04x", c);

    memcpy(out, s.data, len);
    return len;
}

size_t ais_envelope_error(char *buf, int code, const char *message)
{
    static const char tail[] = "\"}],\"messages\":[],\"result\":null}";
    struct ais_str rest = {message, strlen(message)};
    char escaped[ESCAPE_MAX];
    size_t len, escaped_len, used;

    len = (size_t) snprintf(buf, AIS_ENVELOPE_MAX, "{\"success\":false,\"errors\":[{\"code\":%d,\"message\":\"", code);

    while (rest.len > 0) {
        escaped_len = escape(escaped, rest, &used);
        if (len + escaped_len + sizeof(tail) > AIS_ENVELOPE_MAX)
            break;

        memcpy(buf + len, escaped, escaped_len);
        len += escaped_len;
        rest.data += used;
        rest.len -= used;
    }

    memcpy(buf + len, tail, sizeof(tail));
    return len + sizeof(tail) - 1;
}
