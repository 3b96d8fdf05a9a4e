/* SPDX-License-Identifier: BSD-2-Clause */

/* Recognizes UTF-8 sequences and control characters. */

#include "ais_utf8.h"

static bool in_range(struct ais_str s, size_t i, unsigned char low, unsigned char high)
{
    return i < s.len && (unsigned char) s.data[i] >= low && (unsigned char) s.data[i] <= high;
}

size_t ais_utf8_sequence(struct ais_str s)
{
    /* RFC 3629, section 4; overlong forms and surrogates are recognized by the second byte */
    static const struct {
        unsigned char first_low, first_high, second_low, second_high;
        size_t len;
    } forms[] = {
        {0xC2, 0xDF, 0x80, 0xBF, 2}, {0xE0, 0xE0, 0xA0, 0xBF, 3}, {0xE1, 0xEC, 0x80, 0xBF, 3},
        {0xED, 0xED, 0x80, 0x9F, 3}, {0xEE, 0xEF, 0x80, 0xBF, 3}, {0xF0, 0xF0, 0x90, 0xBF, 4},
        {0xF1, 0xF3, 0x80, 0xBF, 4}, {0xF4, 0xF4, 0x80, 0x8F, 4},
    };

    if (in_range(s, 0, 0x00, 0x7F))
        return 1;

    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (!in_range(s, 0, forms[i].first_low, forms[i].first_high))
            continue;
        if (!in_range(s, 1, forms[i].second_low, forms[i].second_high))
            return 0;
        for (size_t n = 2; n < forms[i].len; n++) {
            if (!in_range(s, n, 0x80, 0xBF))
                return 0;
        }
        return forms[i].len;
    }

    return 0;
}

size_t ais_utf8_control(struct ais_str s)
{
    if (in_range(s, 0, 0x00, 0x1F) || in_range(s, 0, 0x7F, 0x7F))
        return 1;

    return in_range(s, 0, 0xC2, 0xC2) && in_range(s, 1, 0x80, 0x9F) ? 2 : 0;
}

void ais_utf8_printable(char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        size_t control = ais_utf8_control((struct ais_str){text + i, len - i});

        memset(text + i, ' ', control);
        i += control > 1;
    }
}
