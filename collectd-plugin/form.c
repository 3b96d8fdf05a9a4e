#include "aisearch.h"

void aisearch_form_choose(const account_t *account, form_t *form) {
  form->namespaced = account->form.namespaced || form->is_trial;
}

void aisearch_form_apply(const form_t *form, struct ais_resource *resource) {
  if (form->namespaced)
    (void)ais_resource_to_namespaced(resource);
}

void aisearch_form_drop(account_t *account, form_t *form) {
  if (form->is_trial)
    account->trials--;
  form->is_trial = false;
}

static void settle(account_t *account, const struct ais_verdict *verdict) {
  if (ais_form_settle(&account->form, verdict))
    NOTICE("aisearch plugin: Account \"%s\": The API does not know paths "
           "without a namespace any more: asks for \"namespaces/default\" "
           "from now on.",
           account->name);
}

/* Others that ask at the same time do not wait for what comes of a trial. */
bool aisearch_form_again(account_t *account, form_t *form,
                         const struct ais_resource *resource,
                         const struct ais_verdict *verdict) {
  struct ais_resource other = *resource;

  if (form->is_trial) {
    settle(account, verdict);
    aisearch_form_drop(account, form);
    return false;
  }

  if (!verdict->no_route || !ais_resource_to_namespaced(&other))
    return false;

  form->is_trial =
      account->trials > 0 || ais_form_try(&account->form, aisearch_clock());
  if (form->is_trial)
    account->trials++;
  return form->is_trial;
}
