#ifndef AISEARCH_NOTICE_H
#define AISEARCH_NOTICE_H

#include <stddef.h>

#include "ais_job.h"

/*
 * What is to be told in one notification. Text that comes from the API is made
 * printable, and cut where there is no room; never inside of a character.
 *
 * Pure, without collectd in it.
 */

typedef enum {
  CONDITION_FAILED, /* of an instance */
  CONDITION_STALLED,
  CONDITION_OVERDUE,
  CONDITION_INSTANCE_ERROR,
  CONDITION_CREDENTIAL, /* of an account */
  CONDITION_UNREACHABLE,
  CONDITION_RATE_LIMITED,
  CONDITION_REFUSED,
} condition_t;

#define CONDITIONS 8

typedef enum { NOTICE_FAILURE, NOTICE_WARNING, NOTICE_OKAY } notice_severity_t;

#define NOTICE_MESSAGE_SIZE 256 /* collectd's */

typedef struct notice_s notice_t;
struct notice_s {
  condition_t condition;
  notice_severity_t severity;
  char plugin_instance[128];
  char message[NOTICE_MESSAGE_SIZE];

  /* Of the job that it is about: empty, and below 0, where there is none. */
  char job[72];
  char source[24];
  char end_reason[256];
  double duration; /* seconds */

  notice_t *next;
};

#pragma GCC visibility push(hidden)

/* "failed", "stalled", "overdue", "instance_error", "credential",
 * "unreachable", "rate_limited", "refused": the type instance. */
const char *aisearch_condition_name(condition_t condition);

/* That the condition has begun, or ended; not about a job, and without a
 * message. */
void aisearch_notice_begin(notice_t *notice, condition_t condition,
                           const char *plugin_instance);
void aisearch_notice_end(notice_t *notice, condition_t condition,
                         const char *plugin_instance);

/* It is about this job, which took so many milliseconds; below 0: unknown. */
void aisearch_notice_job(notice_t *notice, const struct ais_job *job,
                         int64_t duration);

/* Sets the message. */
__attribute__((format(printf, 2, 3))) void
aisearch_notice_say(notice_t *notice, const char *format, ...);

/* "Job ID (SOURCE) WHAT after N s: END_REASON", as far as this is known. */
void aisearch_notice_say_ended(notice_t *notice, const char *what);

#pragma GCC visibility pop

#endif
