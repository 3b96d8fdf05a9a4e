/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Tracks how many bytes a connection may still receive that are not part of a response. Requests, responses and time
 * add to the allowance; every byte received takes from it.
 */

#include "ais_allowance.h"

#define FIRST ((int64_t) 256 * 1024)
#define MOST ((int64_t) 1024 * 1024)
#define STRAINED ((int64_t) 192 * 1024)
#define PER_REQUEST ((int64_t) 16 * 1024)
#define PER_BYTE 3
#define PER_MS 16

void ais_allowance_begin(struct ais_allowance *allowance)
{
    *allowance = (struct ais_allowance){.left = FIRST};
}

void ais_allowance_add_request(struct ais_allowance *allowance)
{
    allowance->left += PER_REQUEST;
}

void ais_allowance_add_answer(struct ais_allowance *allowance, size_t bytes)
{
    allowance->left += (int64_t) bytes * PER_BYTE;
    allowance->beside -= (int64_t) bytes;
}

void ais_allowance_add_rest(struct ais_allowance *allowance)
{
    allowance->left += MOST;
}

void ais_allowance_limit(struct ais_allowance *allowance, int64_t most)
{
    if (allowance->left > most)
        allowance->left = most;
}

bool ais_allowance_is_strained(const struct ais_allowance *allowance)
{
    return allowance->left < STRAINED;
}

bool ais_allowance_take(struct ais_allowance *allowance, size_t bytes, size_t more, int64_t now)
{
    if (allowance->at != 0)
        allowance->left += (now - allowance->at) * PER_MS;
    allowance->at = now;
    allowance->left -= (int64_t) (bytes + more);
    ais_allowance_limit(allowance, MOST);
    allowance->beside += (int64_t) bytes;
    return allowance->left >= 0;
}
