/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_EXPOSITION_H
#define AIS_EXPOSITION_H

#include "ais_answer.h"
#include "ais_resource.h"

/*
 * Writes an answer as metrics in Prometheus' text format 0.0.4 (Prometheus' documentation, "Exposition formats"). All
 * functions are pure and may be called from any thread or process.
 */

#pragma GCC visibility push(hidden)

#define AIS_EXPOSITION_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct ais_exposition {
    struct ais_str account; /* the name of the account in the configuration; any text */
    const struct ais_resource *resource;
    bool up;                         /* the API responds */
    const struct ais_answer *answer; /* a successful answer for the resource; NULL: none is known */
    int64_t answered_at;             /* when the API gave it, in ms since the epoch; ignored if answer is NULL */
};

/* Returns whether there are metrics for this kind of resource: lists of jobs, instances, and statistics. There are none
 * for single jobs, because new job ids never end and each one would leave time series behind. */
bool ais_exposition_possible(enum ais_kind kind);

/*
 * Writes the metrics to out, without a NUL, and returns their length. If out is NULL, only returns the length. All
 * metrics are gauges, and have the labels account, namespace ("default" if the resource names none) and index, which is
 * the id of the instance, because Prometheus uses the label "instance" itself. Times are in seconds since the epoch,
 * never ages. Metrics for values that the API did not send are omitted.
 */
size_t ais_exposition_write(char *out, const struct ais_exposition *exposition);

#pragma GCC visibility pop

#endif
