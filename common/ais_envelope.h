#ifndef AIS_ENVELOPE_H
#define AIS_ENVELOPE_H

#include <stddef.h>

/* The longest text that ais_envelope_error() writes, its NUL included. */
#define AIS_ENVELOPE_MAX 512

/*
 * Writes a refusal of our own in the API's envelope:
 *
 *     {"success":false,"errors":[{"code":CODE,"message":"MESSAGE"}],"messages":[],"result":null}
 *
 * message is escaped as JSON wants it (RFC 8259, section 7) and cut where it does not fit. buf has AIS_ENVELOPE_MAX
 * bytes. Returns the length without the NUL. Pure; for any thread.
 */
size_t ais_envelope_error(char *buf, int code, const char *message);

#endif
