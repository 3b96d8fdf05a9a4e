#ifndef AISEARCH_OUTBOX_H
#define AISEARCH_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The notifications of an account that wait for the next read. Between two
 * reads, at most so many of a kind begin one by one; what is beyond that is
 * told in one summary for the account, which ends when all of it has ended.
 *
 * Pure, without collectd in it.
 */

#define OUTBOX_PER_READ 20

typedef enum {
  CONDITION_FAILED, /* of an instance */
  CONDITION_STALLED,
  CONDITION_OVERDUE,
  CONDITION_CREDENTIAL, /* of an account */
  CONDITION_UNREACHABLE,
  CONDITION_RATE_LIMITED,
} condition_t;

#define CONDITIONS 6

typedef enum { NOTICE_FAILURE, NOTICE_WARNING, NOTICE_OKAY } notice_severity_t;

#define NOTICE_MESSAGE_SIZE 256 /* collectd's */

/* What is to be told. */
typedef struct notice_s notice_t;
struct notice_s {
  condition_t condition;
  notice_severity_t severity;
  char plugin_instance[128];
  char message[NOTICE_MESSAGE_SIZE];

  /* Where it is about a job; empty, or negative, where not. */
  char job[80];
  char source[32];
  char end_reason[256];
  double duration; /* seconds */

  notice_t *next;
};

/* What has been said of the conditions of one plugin instance, a bit each. */
typedef struct {
  uint8_t told;   /* one by one */
  uint8_t summed; /* as part of a summary */
} outbox_told_t;

typedef struct {
  notice_t *first, *last;
  size_t begun[CONDITIONS];  /* since the last read, one by one */
  size_t more[CONDITIONS];   /* since the last read, beyond that */
  size_t summed[CONDITIONS]; /* are part of a summary, and have not ended */
  uint8_t told;              /* summaries that have been told, a bit each */
  bool is_short_of_memory;   /* something could not be told */
} outbox_t;

#pragma GCC visibility push(hidden)

void aisearch_outbox_free(outbox_t *outbox);

/* Whether the condition has begun, and was told. */
bool aisearch_outbox_is_told(const outbox_told_t *told, condition_t condition);

/* The condition has begun (or again, as a job failed after another), or ended.
 * An end that nobody was told the begin of is not told. */
void aisearch_outbox_begin(outbox_t *outbox, outbox_told_t *told,
                           const notice_t *notice);
void aisearch_outbox_end(outbox_t *outbox, outbox_told_t *told,
                         const notice_t *notice);

/* At a read: all that waits, in order, with the summaries for this account
 * behind; to be freed one by one with free(). */
notice_t *aisearch_outbox_take(outbox_t *outbox, const char *account);

#pragma GCC visibility pop

#endif
