/* SPDX-License-Identifier: BSD-2-Clause */

/* Writes the metrics of a list of jobs, of an instance, and of its statistics. */

#include "ais_exposition.h"

#include <inttypes.h>
#include <stdio.h>

#include "ais_writer.h"

struct writer {
    struct ais_writer text;
    const struct ais_exposition *from;
    const char *name; /* of the current metric family */
};

static void put(struct writer *w, const char *s)
{
    ais_writer_put(&w->text, ais_str_of(s));
}

static void begin_family(struct writer *w, const char *name, const char *help)
{
    w->name = name;
    put(w, "# HELP ");
    put(w, name);
    put(w, " ");
    put(w, help);
    put(w, "\n# TYPE ");
    put(w, name);
    put(w, " gauge\n");
}

/* In the value of a label only backslashes, quotes and line feeds are escaped. */
static void put_escaped(struct writer *w, char c)
{
    if (c == '\n') {
        put(w, "\\n");
        return;
    }

    if (c == '\\' || c == '"')
        put(w, "\\");
    ais_writer_put(&w->text, (struct ais_str){&c, 1});
}

static void put_label(struct writer *w, const char *name, struct ais_str value)
{
    put(w, name);
    put(w, "=\"");
    for (size_t i = 0; i < value.len; i++)
        put_escaped(w, value.data[i]);
    put(w, "\"");
}

/* Writes a sample without its value. state is the value of the label "state", or NULL for no such label. */
static void begin_sample(struct writer *w, const char *state)
{
    const struct ais_resource *res = w->from->resource;

    put(w, w->name);
    put(w, "{");
    put_label(w, "account", w->from->account);
    put_label(w, ",namespace", res->namespace.len > 0 ? res->namespace : AIS_DEFAULT_NAMESPACE);
    put_label(w, ",index", res->instance);
    if (state != NULL)
        put_label(w, ",state", ais_str_of(state));
    put(w, "} ");
}

static void put_number(struct writer *w, const char *state, int64_t value)
{
    char text[32];

    begin_sample(w, state);
    snprintf(text, sizeof(text), "%" PRId64 "\n", value);
    put(w, text);
}

/* Writes a metric family with one time. ms must not be negative, except for AIS_TIME_NONE, which writes nothing. */
static void put_time(struct writer *w, const char *name, const char *help, int64_t ms)
{
    char text[32];

    if (ms == AIS_TIME_NONE)
        return;

    begin_family(w, name, help);
    begin_sample(w, NULL);
    snprintf(text, sizeof(text), "%" PRId64 ".%03d\n", ms / 1000, (int) (ms % 1000));
    put(w, text);
}

static void put_newest(struct writer *w, const struct ais_job *job)
{
    begin_family(w, "aisearch_job_state", "1 for the state of the newest job, 0 for other states.");
    for (int state = 0; state < AIS_STATES; state++)
        put_number(w, ais_state_name(state), job->state == (enum ais_state) state);

    put_time(w, "aisearch_job_started_timestamp_seconds", "Time when the newest job started.", job->started_at);
    put_time(w, "aisearch_job_ended_timestamp_seconds", "Time when the newest job ended.", job->ended_at);
}

static void put_jobs(struct writer *w, const struct ais_answer *answer)
{
    struct ais_jobs jobs = ais_jobs_sum_up(answer->jobs, answer->njobs);

    begin_family(w, "aisearch_listed_jobs", "Jobs on the requested page, by state.");
    for (int state = 0; state < AIS_STATES; state++)
        put_number(w, ais_state_name(state), (int64_t) jobs.counts[state]);

    if (jobs.newest != NULL)
        put_newest(w, jobs.newest);
    put_time(w, "aisearch_last_success_timestamp_seconds", "End time of the last job on that page that succeeded.",
             jobs.succeeded_at);
}

static void put_instance(struct writer *w, const struct ais_instance *instance)
{
    begin_family(w, "aisearch_instance_paused", "1 while the instance is paused, by its owner or by the API.");
    put_number(w, NULL, instance->paused);
    begin_family(w, "aisearch_instance_error", "1 while the API reports an error of the instance.");
    put_number(w, NULL, instance->in_error);
}

static void put_items(struct writer *w, const struct ais_stats *stats)
{
    if (stats->degraded)
        return;

    begin_family(w, "aisearch_items", "Items of the instance, by indexing state.");
    for (int item = 0; item < AIS_STATS_ITEMS; item++) {
        if (stats->items[item] >= 0)
            put_number(w, ais_stats_name(item), stats->items[item]);
    }
}

static void put_answer(struct writer *w, const struct ais_answer *answer)
{
    put_time(w, "aisearch_answer_timestamp_seconds", "Time of the API response these metrics are based on.",
             w->from->answered_at);

    switch (w->from->resource->kind) {
    case AIS_LIST:
        put_jobs(w, answer);
        break;
    case AIS_INSTANCE:
        put_instance(w, &answer->instance);
        break;
    default:
        put_items(w, &answer->stats);
    }
}

bool ais_exposition_possible(enum ais_kind kind)
{
    return kind == AIS_LIST || kind == AIS_INSTANCE || kind == AIS_STATS;
}

size_t ais_exposition_write(char *out, const struct ais_exposition *exposition)
{
    struct writer w = {.text = {.out = out}, .from = exposition};

    begin_family(&w, "aisearch_up", "1 if the API responds, 0 if the values are the last known ones.");
    put_number(&w, NULL, exposition->up);
    if (exposition->answer != NULL)
        put_answer(&w, exposition->answer);
    return w.text.len;
}
