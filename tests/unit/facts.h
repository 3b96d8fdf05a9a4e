#ifndef FACTS_H
#define FACTS_H

/* For the collectd plugin's instance.c, which must be included before. */

static bool facts_equal(const facts_t *a, const facts_t *b)
{
    return a->created_at == b->created_at && a->sync_interval == b->sync_interval && a->indexed == b->indexed &&
           a->disabled == b->disabled && a->paused == b->paused && a->in_error == b->in_error &&
           strcmp(a->status, b->status) == 0;
}

#endif
