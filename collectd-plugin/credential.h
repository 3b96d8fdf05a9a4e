#ifndef AISEARCH_CREDENTIAL_H
#define AISEARCH_CREDENTIAL_H

#include "ais_credential.h"
#include "ais_policy.h"
#include "ais_rotation.h"
#include "ais_witness.h"

/*
 * The credential of an account: its file is looked at before each look-up, and
 * read again when it has changed. One that the API refuses is complained about
 * once, and then tried once a minute. Of the thread that fetches.
 */

typedef struct {
  const char *account;           /* its name, for messages */
  struct ais_credential *secret; /* NULL: an nginx in between has it */
  struct ais_rotation rotation;  /* of a single slot */
  struct ais_witness witness;
} credential_t;

#pragma GCC visibility push(hidden)

/* Takes over the secret, and warns where everybody can read its file. */
void aisearch_credential_init(credential_t *c, const char *account,
                              struct ais_credential *secret);
void aisearch_credential_free(credential_t *c);

/* Whether to ask with it now; what comes of that is told with the same choice.
 */
bool aisearch_credential_choose(credential_t *c, struct ais_choice *choice);

/* The API refuses it, as far as is known. */
bool aisearch_credential_is_refused(const credential_t *c);

/* Returns true where the fault is that of the credential, which is all that
 * there is to say about it. */
bool aisearch_credential_settle(credential_t *c,
                                const struct ais_choice *choice,
                                enum ais_fault fault, const char *why);

#pragma GCC visibility pop

#endif
