#ifndef AISEARCH_NOTIFY_H
#define AISEARCH_NOTIFY_H

#include "outbox.h"

#pragma GCC visibility push(hidden)

/* Dispatches these as notifications, in order, and frees them. No lock may be
 * held: other plugins are called. */
void aisearch_notify(notice_t *notices);

#pragma GCC visibility pop

#endif
