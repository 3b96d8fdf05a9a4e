#include "notice.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

/* The length in bytes of the character that begins here, 1 to 4; 0 where none
 * does. (RFC 3629, section 4.) */
static size_t character(const char *text) {
  const unsigned char *s = (const unsigned char *)text;
  size_t len = s[0] < 0x80                   ? 1
               : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
               : s[0] >= 0xe0 && s[0] < 0xf0 ? 3
               : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
                                             : 0;

  for (size_t i = 1; i < len; i++)
    if ((s[i] & 0xc0) != 0x80)
      return 0;
  if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
      (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
    return 0;
  return len;
}

/* C0, DEL and C1. */
static bool is_control(const char *text) {
  unsigned char c = (unsigned char)text[0];

  return c < 0x20 || c == 0x7f || (c == 0xc2 && (unsigned char)text[1] < 0xa0);
}

/* Copies whole characters while there is room, and ends what had to be cut with
 * "...". Returns the length. */
static size_t copy_printable(char *to, size_t size, const char *from) {
  size_t len = 0;
  size_t last_fit = 0; /* so long, and the dots fit behind */
  size_t n;

  for (; *from != '\0'; from += n > 0 ? n : 1) {
    n = character(from);
    size_t width = n == 0 || is_control(from) ? 1 : n;

    if (len + width >= size) {
      size_t dots = size - 1 - last_fit < 3 ? size - 1 - last_fit : 3;

      memcpy(to + last_fit, "...", dots);
      to[last_fit + dots] = '\0';
      return last_fit + dots;
    }

    if (n == 0)
      to[len] = '?';
    else if (is_control(from))
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
