/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_CA_H
#define AIS_CA_H

#include <curl/curl.h>

#include "ais_error.h"

/*
 * The trusted certificates of a multi handle. libcurl parses a PEM file for each new connection, which takes tens of
 * milliseconds, unless it may keep the result in the multi handle. Private to the client.
 */

#pragma GCC visibility push(hidden)

/* Makes a handle trust ca_file (NULL: libcurl's default file) in the way that libcurl's cache needs. */
CURLcode ais_ca_configure(CURL *easy, const char *ca_file);

/*
 * Fills the cache of a multi handle without transfers, in the way that ais_client_load_ca() promises. The socket and
 * timer functions of the multi handle must not be set, or be able to do without what they are told.
 */
int ais_ca_load(CURLM *multi, const char *ca_file, struct ais_error *err);

#pragma GCC visibility pop

#endif
