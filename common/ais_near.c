/* SPDX-License-Identifier: BSD-2-Clause */

/* Compares a word with names, by the number of edits and by the longest common part. */

#include "ais_near.h"

#include <stdio.h>

#define NAME_MAX_LEN 32

/* The shortest common part that counts, and the shortest one if it is all of the shorter word. */
#define PART_MIN 5
#define WHOLE_MIN 3

/* The score of a word without edits: few edits score higher than any common part. */
#define EDITS 1000

/* Copies s in lower case, without the ignored characters, and without a "=" and what follows it. Returns the length, or
 * 0 if it does not fit. */
static int plain(char to[NAME_MAX_LEN], struct ais_str s)
{
    int len = 0;

    for (size_t i = 0; i < s.len && s.data[i] != '='; i++) {
        char c = s.data[i];

        if (c == '_' || c == '-')
            continue;
        if (len == NAME_MAX_LEN)
            return 0;
        to[len++] = (char) (c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    }
    return len;
}

static int min(int a, int b)
{
    return a < b ? a : b;
}

/* Returns how many bytes must be inserted, deleted, replaced, or swapped with the next one. */
static int count_edits(const char *a, int alen, const char *b, int blen)
{
    int d[NAME_MAX_LEN + 1][NAME_MAX_LEN + 1];

    for (int i = 0; i <= alen; i++) {
        for (int k = 0; k <= blen; k++) {
            if (i == 0 || k == 0) {
                d[i][k] = i + k;
                continue;
            }
            d[i][k] = min(min(d[i - 1][k], d[i][k - 1]) + 1, d[i - 1][k - 1] + (a[i - 1] != b[k - 1]));
            if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1])
                d[i][k] = min(d[i][k], d[i - 2][k - 2] + 1);
        }
    }
    return d[alen][blen];
}

/* Returns the length of the longest common part. */
static int count_common(const char *a, int alen, const char *b, int blen)
{
    int best = 0;

    for (int i = 0; i < alen; i++) {
        for (int k = 0; k < blen; k++) {
            int n = 0;

            while (i + n < alen && k + n < blen && a[i + n] == b[k + n])
                n++;
            if (n > best)
                best = n;
        }
    }
    return best;
}

void ais_near_look(struct ais_near *near, struct ais_str name)
{
    char a[NAME_MAX_LEN], b[NAME_MAX_LEN];
    int alen = plain(a, near->word);
    int blen = plain(b, name);
    int edits, common;
    bool is_whole;
    int score = 0;
    size_t len = strlen(near->hint);

    snprintf(near->hint + len, sizeof(near->hint) - len, "%s%.*s", len > 0 ? ", " : "use one of ", (int) name.len,
             name.data);
    if (alen == 0 || blen == 0)
        return;

    edits = count_edits(a, alen, b, blen);
    common = count_common(a, alen, b, blen);
    is_whole = common == min(alen, blen);
    if (edits * 3 <= blen)
        score = EDITS - edits;
    else if (common >= (is_whole ? WHOLE_MIN : PART_MIN))
        score = 2 * common + is_whole;

    if (score > near->score) {
        near->score = score;
        near->best = name;
    }
}

const char *ais_near_hint(struct ais_near *near)
{
    if (near->best.len > 0)
        snprintf(near->hint, sizeof(near->hint), "did you mean \"%.*s\"?", (int) near->best.len, near->best.data);
    return near->hint;
}
