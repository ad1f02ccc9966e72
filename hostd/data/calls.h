/* The data process's methods on the control socket: hand-made SAs and the reports (control.h). */
#ifndef SALLYPORT_CALLS_H
#define SALLYPORT_CALLS_H

#include "hostd/data/engine.h"

#include <jansson.h>

/* Runs one call. fd: a descriptor that the client passed (a key memfd for sa.add), or -1; it stays
 * the caller's. Returns a new reference: {"result": …} or {"error": {"code", "message"}}. wall is
 * seconds since 1970 for stamps. testing: whether sa.add and sa.delete are allowed. */
json_t *calls_run(struct engine *e, const char *method, json_t *params, int fd, uint64_t now,
                  bool testing);

/* The body of an acquire event for subscribers. */
json_t *calls_acquire_event(const struct spd_policy *p, const struct spd_flow *f,
                            const struct ip_addr *peer);

enum { CALLS_KEY_LEN = 32 + 64 + 4 + 16 }; /* encr, integ, salt, iv_key in sa.add's memfd */

#endif
