/* SPDX-License-Identifier: BSD-2-Clause */

/* Derives the state of a job from the API's fields, finds the newest of several jobs, and summarizes a list. */

#include "ais_job.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

const char *ais_state_name(enum ais_state state)
{
    static const char *const names[AIS_STATES] = {
        [AIS_QUEUED] = "queued", [AIS_RUNNING] = "running",     [AIS_SUCCEEDED] = "succeeded",
        [AIS_FAILED] = "failed", [AIS_CANCELLED] = "cancelled",
    };

    return names[state];
}

bool ais_state_active(enum ais_state state)
{
    return state == AIS_QUEUED || state == AIS_RUNNING;
}

/* ASCII only: a state must not depend on the locale. */
static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char) (c - 'A' + 'a') : c;
}

/* Returns what follows word at the beginning of text, or NULL if text does not begin with it. word is in lower case;
 * the case of text is ignored. */
static const char *skip_word(const char *text, const char *word)
{
    for (; *word != '\0'; text++, word++) {
        if (lower(*text) != *word)
            return NULL;
    }

    return text;
}

static bool contains(const char *text, const char *word)
{
    for (; *text != '\0'; text++) {
        if (skip_word(text, word) != NULL)
            return true;
    }

    return false;
}

static bool is_word(const char *text, const char *word)
{
    const char *rest = skip_word(text, word);

    return rest != NULL && *rest == '\0';
}

static bool means_success(const char *end_reason)
{
    static const char *const words[] = {"", "completed", "complete", "success", "succeeded", "finished", "done", "ok"};

    for (size_t i = 0; i < COUNT(words); i++) {
        if (is_word(end_reason, words[i]))
            return true;
    }

    return false;
}

/* A user cancelled the job, or the API ended it because another one was started, which is not a failure. */
static bool means_cancelled(const char *end_reason)
{
    return contains(end_reason, "cancel") || contains(end_reason, "superseded") ||
           is_word(end_reason, "new_job_has_started");
}

enum ais_state ais_job_state(const char *started_at, const char *ended_at, const char *end_reason)
{
    if (ended_at == NULL)
        return started_at == NULL ? AIS_QUEUED : AIS_RUNNING;

    if (end_reason == NULL || means_success(end_reason))
        return AIS_SUCCEEDED;

    return means_cancelled(end_reason) ? AIS_CANCELLED : AIS_FAILED;
}

static bool is_newer(const struct ais_job *a, const struct ais_job *b)
{
    if (b->started_at == AIS_TIME_NONE)
        return false;

    return a->started_at == AIS_TIME_NONE || a->started_at > b->started_at;
}

const struct ais_job *ais_jobs_newest(const struct ais_job *jobs, size_t njobs)
{
    const struct ais_job *newest = jobs;

    if (njobs == 0)
        return NULL;

    for (size_t i = 1; i < njobs; i++) {
        if (is_newer(&jobs[i], newest))
            newest = &jobs[i];
    }

    return newest;
}

struct ais_jobs ais_jobs_sum_up(const struct ais_job *jobs, size_t njobs)
{
    struct ais_jobs sum = {.newest = ais_jobs_newest(jobs, njobs), .succeeded_at = AIS_TIME_NONE};

    for (size_t i = 0; i < njobs; i++) {
        sum.counts[jobs[i].state]++;
        if (jobs[i].state == AIS_SUCCEEDED && jobs[i].ended_at > sum.succeeded_at)
            sum.succeeded_at = jobs[i].ended_at;
    }

    return sum;
}
