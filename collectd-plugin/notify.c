#include "collectd.h"

#include "plugin.h"
#include "utils/common/common.h"

#include "notify.h"

static const int severities[] = {
    [NOTICE_FAILURE] = NOTIF_FAILURE,
    [NOTICE_WARNING] = NOTIF_WARNING,
    [NOTICE_OKAY] = NOTIF_OKAY,
};

static void add_meta(notification_t *n, const notice_t *notice) {
  plugin_notification_meta_add_string(n, "job", notice->job);
  plugin_notification_meta_add_string(n, "source", notice->source);
  if (notice->end_reason[0] != '\0')
    plugin_notification_meta_add_string(n, "end_reason", notice->end_reason);
  if (notice->duration >= 0.0)
    plugin_notification_meta_add_double(n, "duration", notice->duration);
}

static void dispatch(const notice_t *notice) {
  notification_t n = {
      .severity = severities[notice->severity],
      .time = cdtime(),
  };

  sstrncpy(n.message, notice->message, sizeof(n.message));
  sstrncpy(n.host, hostname_g, sizeof(n.host));
  sstrncpy(n.plugin, "aisearch", sizeof(n.plugin));
  sstrncpy(n.plugin_instance, notice->plugin_instance,
           sizeof(n.plugin_instance));
  sstrncpy(n.type, "gauge", sizeof(n.type));
  sstrncpy(n.type_instance, aisearch_condition_name(notice->condition),
           sizeof(n.type_instance));
  if (notice->job[0] != '\0')
    add_meta(&n, notice);

  /* fails where no plugin cares for notifications: nobody needs to know */
  plugin_dispatch_notification(&n);
  if (n.meta != NULL)
    plugin_notification_meta_free(n.meta);
}

void aisearch_notify(notice_t *notices) {
  while (notices != NULL) {
    notice_t *next = notices->next;

    dispatch(notices);
    sfree(notices);
    notices = next;
  }
}
