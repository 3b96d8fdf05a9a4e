/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_EXPOSITION_H
#define AIS_EXPOSITION_H

#include "ais_answer.h"
#include "ais_resource.h"

/*
 * What an answer tells, for Prometheus: text format 0.0.4 (Prometheus' documentation, "Exposition formats"). Pure; for
 * any thread or process.
 */

#pragma GCC visibility push(hidden)

#define AIS_EXPOSITION_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct ais_exposition {
    struct ais_str account; /* its name in the configuration: any text */
    const struct ais_resource *resource;
    bool up;                         /* the API answers */
    const struct ais_answer *answer; /* what it said of the resource, a success; NULL: nothing is known */
    int64_t answered_at;             /* ms since the epoch; without an answer, of no account */
};

/* Whether there are metrics of this kind of resource: of a list of jobs, of an instance and of what is indexed in it.
 * There are none of a single job: ids never end, and each would leave series behind. */
bool ais_exposition_possible(enum ais_kind kind);

/*
 * Writes the metrics to out and returns their length; with NULL for out it returns the length alone. Each has the
 * labels account, namespace ("default" where the resource names none) and index, which is the instance: "instance" is
 * Prometheus' own label. Values are gauges. Times are points in time, seconds since the epoch, never ages. What the API
 * did not tell is left out.
 */
size_t ais_exposition_write(char *out, const struct ais_exposition *exposition);

#pragma GCC visibility pop

#endif
