/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_CA_H
#define AIS_CA_H

#include <curl/curl.h>

#include "ais_error.h"

/*
 * The trusted certificates of a multi handle. Unless libcurl can cache the parsed PEM file in the multi handle, it
 * parses the file for every new connection, which takes tens of milliseconds. Private to the client and its thread.
 */

#pragma GCC visibility push(hidden)

/* Makes a handle trust ca_file (NULL: libcurl's default file), with the options that libcurl's cache requires. Returns
 * libcurl's error. */
CURLcode ais_ca_configure(CURL *easy, const char *ca_file);

/*
 * Fills the cache of a multi handle that has no transfers, as described for ais_client_load_ca(). Blocks. The socket
 * and timer functions of the multi handle must not be set. Returns 0, or -1 with the reason in *err.
 */
int ais_ca_load(CURLM *multi, const char *ca_file, struct ais_error *err);

#pragma GCC visibility pop

#endif
