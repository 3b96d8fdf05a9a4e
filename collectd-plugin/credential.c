#include "aisearch.h"

#include "ais_clock.h"

void aisearch_credential_init(credential_t *c, const char *account,
                              struct ais_credential *secret) {
  *c = (credential_t){.account = account, .secret = secret};
  if (secret == NULL)
    return;

  ais_rotation_begin(&c->rotation, &(uint64_t){ais_credential_version(secret)},
                     1,
                     /* configuration = */ 0, (int64_t)time(NULL));

  if (ais_credential_exposed(secret))
    WARNING("aisearch plugin: Account \"%s\": Everybody on this machine can "
            "read or write \"%s\". Take that from its mode, say with chmod "
            "0600.",
            account, ais_credential_file(secret));
}

void aisearch_credential_free(credential_t *c) {
  ais_credential_free(c->secret);
  c->secret = NULL;
}

/* What is under way has a copy of the old one. */
static void renew(credential_t *c) {
  struct ais_error err = {.text = ""};

  switch (ais_credential_renew(&c->secret, &err)) {
  case AIS_RENEWAL_NONE:
    return;

  case AIS_RENEWAL_DONE:
    INFO("aisearch plugin: Account \"%s\": \"%s\" has changed, and was read.",
         c->account, ais_credential_file(c->secret));
    (void)ais_rotation_renewed(&c->rotation, 0,
                               ais_credential_version(c->secret),
                               (int64_t)time(NULL));
    return;

  case AIS_RENEWAL_CLOSED:
  case AIS_RENEWAL_UNUSABLE:
    WARNING("aisearch plugin: Account \"%s\": The credential has changed, but "
            "cannot be read: %s. The one before stays in use.",
            c->account, err.text);
    return;
  }
}

bool aisearch_credential_choose(credential_t *c, struct ais_choice *choice) {
  if (c->secret == NULL)
    return true;

  renew(c);
  *choice = ais_rotation_choose(&c->rotation, ais_clock());
  return !choice->none;
}

bool aisearch_credential_is_refused(const credential_t *c) {
  return c->secret != NULL && ais_rotation_exhausted(&c->rotation);
}

static void refused(credential_t *c, const struct ais_choice *choice,
                    const char *why) {
  if (ais_rotation_refused(&c->rotation, choice, ais_clock(),
                           (int64_t)time(NULL)) == AIS_ROTATION_EXHAUSTED)
    ERROR("aisearch plugin: Account \"%s\": cannot be read: credential: %s. "
          "Write another one into \"%s\", which is read as soon as it changes; "
          "until then the present one is tried once a minute.",
          c->account, why, ais_credential_file(c->secret));
}

static void accepted(credential_t *c, const struct ais_choice *choice) {
  if (ais_rotation_accepted(&c->rotation, choice, (int64_t)time(NULL)) ==
      AIS_ROTATION_RECOVERED)
    INFO("aisearch plugin: Account \"%s\": The API accepts the credential "
         "again.",
         c->account);
}

bool aisearch_credential_settle(credential_t *c,
                                const struct ais_choice *choice,
                                enum ais_fault fault, const char *why) {
  if (c->secret == NULL)
    return false;

  if (fault == AIS_FAULT_NONE)
    accepted(c, choice);
  else if (fault == AIS_FAULT_CREDENTIAL && !choice->none)
    refused(c, choice, why);

  return fault == AIS_FAULT_CREDENTIAL;
}
