/* SPDX-License-Identifier: BSD-2-Clause */

/* Runs a client with libcurl's own event loop. */

#include "ais_poll.h"

#include <limits.h>

#include "ais_clock.h"
#include "ais_fetch.h"

void ais_poll_wait(struct ais_client *client, int64_t ms)
{
    int64_t wait = ais_earlier(ais_earlier(ms, INT_MAX), ais_clock_until(client->due_at));

    (void) curl_multi_poll(client->multi, NULL, 0, (int) wait, NULL);
    ais_client_perform(client);
}

void ais_poll_wake(struct ais_client *client)
{
    (void) curl_multi_wakeup(client->multi);
}
