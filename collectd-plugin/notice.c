#include "notice.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ais_utf8.h"

static const struct {
  const char *name;
  notice_severity_t severity;
} conditions[CONDITIONS] = {
    [CONDITION_FAILED] = {"failed", NOTICE_FAILURE},
    [CONDITION_STALLED] = {"stalled", NOTICE_WARNING},
    [CONDITION_OVERDUE] = {"overdue", NOTICE_WARNING},
    [CONDITION_INSTANCE_ERROR] = {"instance_error", NOTICE_FAILURE},
    [CONDITION_CREDENTIAL] = {"credential", NOTICE_FAILURE},
    [CONDITION_UNREACHABLE] = {"unreachable", NOTICE_WARNING},
    [CONDITION_RATE_LIMITED] = {"rate_limited", NOTICE_WARNING},
    [CONDITION_REFUSED] = {"refused", NOTICE_WARNING},
};

const char *aisearch_condition_name(condition_t condition) {
  return conditions[condition].name;
}

/* Copies whole characters while there is room, and ends what had to be cut with
 * "...". Returns the length. */
static size_t copy_printable(char *to, size_t size, const char *from) {
  size_t len = 0;
  size_t last_fit = 0; /* so long, and the dots fit behind */
  size_t n;

  for (; *from != '\0'; from += n > 0 ? n : 1) {
    struct ais_str rest = {from, strnlen(from, AIS_UTF8_MAX)};
    bool is_control = ais_utf8_control(rest) > 0;

    n = ais_utf8_sequence(rest);
    size_t width = n == 0 || is_control ? 1 : n;

    if (len + width >= size) {
      size_t dots = size - 1 - last_fit < 3 ? size - 1 - last_fit : 3;

      memcpy(to + last_fit, "...", dots);
      to[last_fit + dots] = '\0';
      return last_fit + dots;
    }

    if (n == 0)
      to[len] = '?';
    else if (is_control)
      to[len] = ' ';
    else
      memcpy(to + len, from, n);
    len += width;
    if (len + 3 < size)
      last_fit = len;
  }

  to[len] = '\0';
  return len;
}

static void init(notice_t *notice, condition_t condition,
                 const char *plugin_instance) {
  *notice = (notice_t){.condition = condition, .duration = -1.0};
  snprintf(notice->plugin_instance, sizeof(notice->plugin_instance), "%s",
           plugin_instance);
}

void aisearch_notice_begin(notice_t *notice, condition_t condition,
                           const char *plugin_instance) {
  init(notice, condition, plugin_instance);
  notice->severity = conditions[condition].severity;
}

void aisearch_notice_end(notice_t *notice, condition_t condition,
                         const char *plugin_instance) {
  init(notice, condition, plugin_instance);
  notice->severity = NOTICE_OKAY;
}

void aisearch_notice_job(notice_t *notice, const struct ais_job *job,
                         int64_t duration) {
  copy_printable(notice->job, sizeof(notice->job), job->id);
  copy_printable(notice->source, sizeof(notice->source), job->source);
  if (job->end_reason != NULL)
    copy_printable(notice->end_reason, sizeof(notice->end_reason),
                   job->end_reason);
  notice->duration = duration < 0 ? -1.0 : (double)duration / 1000.0;
}

void aisearch_notice_say(notice_t *notice, const char *format, ...) {
  va_list ap;

  va_start(ap, format);
  vsnprintf(notice->message, sizeof(notice->message), format, ap);
  va_end(ap);
}

/* All but the reason fits; that is cut to what is left. */
void aisearch_notice_say_ended(notice_t *notice, const char *what) {
  char after[40] = "";
  size_t len;

  if (notice->duration >= 0.0)
    snprintf(after, sizeof(after), " after %.0f s", notice->duration);
  aisearch_notice_say(notice, "Job %s (%s) %s%s", notice->job, notice->source,
                      what, after);

  len = strlen(notice->message);
  if (notice->end_reason[0] != '\0' && len + 2 < sizeof(notice->message)) {
    memcpy(notice->message + len, ": ", 3);
    copy_printable(notice->message + len + 2, sizeof(notice->message) - len - 2,
                   notice->end_reason);
  }
}
