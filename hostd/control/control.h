/* The control process: the socket that tools, metrics and console talk to, and the only writer of
 * logs (design, section 5). JSON-RPC 2.0, one message a line; methods.h has the table of methods.
 *
 * It keeps no state of the daemon: a request goes to the process that owns the answer, descriptors
 * and all, unread. It holds no key and no password. */
#ifndef SALLYPORT_CONTROL_H
#define SALLYPORT_CONTROL_H

#include "hostd/base/msg.h"

/* Serves until MSG_STOP with MSG_STOP_END comes or the parent is gone; returns the exit status.
 * Awaits from the parent: MSG_PEER, MSG_CONFIG, MSG_FD of kinds CONTROL and LOG, in any order. The
 * channel is taken. */
int control_run(struct msg_chan *parent);

#endif
