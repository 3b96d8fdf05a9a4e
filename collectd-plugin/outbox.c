#include "outbox.h"

#include <stdlib.h>

/* Of conditions that many may have at once. */
static const struct {
  const char *begun;
  const char *adjective;
} summaries[CONDITIONS] = {
    [CONDITION_FAILED] = {"jobs have failed", "failed"},
    [CONDITION_STALLED] = {"instances have a stalled job", "stalled"},
    [CONDITION_OVERDUE] = {"instances are overdue", "overdue"},
    [CONDITION_INSTANCE_ERROR] = {"instances are in error", "in error"},
};

static uint32_t bit(condition_t condition) { return UINT32_C(1) << condition; }

void aisearch_outbox_free(outbox_t *outbox) {
  while (outbox->first != NULL) {
    notice_t *next = outbox->first->next;

    free(outbox->first);
    outbox->first = next;
  }
  outbox->last = NULL;
}

bool aisearch_outbox_is_told(const outbox_told_t *told, condition_t condition) {
  return ((told->told | told->summed) & bit(condition)) != 0;
}

static bool append(outbox_t *outbox, const notice_t *notice) {
  notice_t *copy = malloc(sizeof(*copy));

  if (copy == NULL)
    return false;

  *copy = *notice;
  copy->next = NULL;
  if (outbox->last != NULL)
    outbox->last->next = copy;
  else
    outbox->first = copy;
  outbox->last = copy;
  return true;
}

static void add_to_summary(outbox_t *outbox, outbox_told_t *told,
                           condition_t condition) {
  outbox->more[condition]++;
  if ((told->summed & bit(condition)) == 0) {
    told->summed |= bit(condition);
    outbox->summed[condition]++;
  }
}

void aisearch_outbox_begin(outbox_t *outbox, outbox_told_t *told,
                           const notice_t *notice) {
  condition_t condition = notice->condition;

  if (outbox->begun[condition] < OUTBOX_PER_READ && append(outbox, notice)) {
    outbox->begun[condition]++;
    told->told |= bit(condition);
  } else {
    add_to_summary(outbox, told, condition);
  }
}

/* Of what was told one by one every end is told, however many there are:
 * somebody waits for it. */
void aisearch_outbox_end(outbox_t *outbox, outbox_told_t *told,
                         const notice_t *notice) {
  condition_t condition = notice->condition;

  if ((told->told & bit(condition)) != 0 && append(outbox, notice))
    told->told &= ~bit(condition);

  if ((told->summed & bit(condition)) != 0) {
    told->summed &= ~bit(condition);
    outbox->summed[condition]--;
  }
}

void aisearch_outbox_restore(outbox_t *outbox, const outbox_told_t *told) {
  outbox->told |= told->summed;
  for (int c = 0; c < CONDITIONS; c++)
    if ((told->summed & bit(c)) != 0)
      outbox->summed[c]++;
}

static void summarize(outbox_t *outbox, condition_t condition,
                      const char *account) {
  notice_t notice;

  if (outbox->more[condition] > 0) {
    aisearch_notice_begin(&notice, condition, account);
    aisearch_notice_say(&notice, "%zu more %s", outbox->more[condition],
                        summaries[condition].begun);
    if (append(outbox, &notice))
      outbox->told |= bit(condition);
  }

  if ((outbox->told & bit(condition)) != 0 && outbox->summed[condition] == 0) {
    aisearch_notice_end(&notice, condition, account);
    aisearch_notice_say(&notice, "None of the others is %s any more",
                        summaries[condition].adjective);
    if (append(outbox, &notice))
      outbox->told &= ~bit(condition);
  }

  outbox->begun[condition] = 0;
  outbox->more[condition] = 0;
}

notice_t *aisearch_outbox_take(outbox_t *outbox, const char *account) {
  notice_t *notices;

  for (int c = 0; c < CONDITIONS; c++)
    if (summaries[c].begun != NULL)
      summarize(outbox, c, account);

  notices = outbox->first;
  outbox->first = outbox->last = NULL;
  return notices;
}
