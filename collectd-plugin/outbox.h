#ifndef AISEARCH_OUTBOX_H
#define AISEARCH_OUTBOX_H

#include <stdbool.h>

#include "notice.h"

/*
 * The notifications of an account that wait for the next read. Between two
 * reads, at most so many of a kind begin one by one; what is beyond that is
 * told in one summary for the account, which ends when all of it has ended.
 *
 * Pure, without collectd in it.
 */

#define OUTBOX_PER_READ 20

/* What has been said of the conditions of one plugin instance, a bit each. */
typedef struct {
  uint32_t told;   /* one by one */
  uint32_t summed; /* as part of a summary */

  /* The latest end of a failed job that was told, ms since the epoch; 0: not
   * known. */
  int64_t failed_at;
} outbox_told_t;

typedef struct {
  notice_t *first;
  notice_t *last;
  size_t begun[CONDITIONS];  /* since the last read, one by one */
  size_t more[CONDITIONS];   /* since the last read, beyond that */
  size_t summed[CONDITIONS]; /* part of a summary, and not ended yet */
  uint32_t told;             /* summaries that were told, a bit each */
} outbox_t;

#pragma GCC visibility push(hidden)

void aisearch_outbox_free(outbox_t *outbox);

/* Whether it was told that the condition has begun, and not that it ended. */
bool aisearch_outbox_is_told(const outbox_told_t *told, condition_t condition);

/* The condition has begun, or a job has failed after another. */
void aisearch_outbox_begin(outbox_t *outbox, outbox_told_t *told,
                           const notice_t *notice);

/* It has ended. Where nobody was told that it had begun, nobody is told. */
void aisearch_outbox_end(outbox_t *outbox, outbox_told_t *told,
                         const notice_t *notice);

/* This was told before a restart. */
void aisearch_outbox_restore(outbox_t *outbox, const outbox_told_t *told);

/* At a read: all that waits, in order, with the summaries for this account
 * behind; to be freed one by one. NULL: nothing. */
notice_t *aisearch_outbox_take(outbox_t *outbox, const char *account);

#pragma GCC visibility pop

#endif
