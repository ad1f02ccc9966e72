/* The log sink of a child process: records go to the control process, which alone writes logs.
 * While it is away, or does not read, the last LOG_RELAY_KEEP records are kept in order and what
 * comes on top is counted. Any thread may log; attach and flush belong to the main thread. */
#ifndef SALLYPORT_LOG_RELAY_H
#define SALLYPORT_LOG_RELAY_H

#include "hostd/base/log.h"
#include "hostd/base/msg.h"

enum { LOG_RELAY_KEEP = 1000 };

struct log_relay;

/* Makes a relay and sets it as the process's sink. 0 or -ENOMEM. */
int log_relay_new(struct log_relay **out, const char *process);
/* Takes the sink away. NULL is fine. */
void log_relay_free(struct log_relay *l);
/* The channel to control (borrowed), or NULL when it is gone; sends what was kept. */
void log_relay_attach(struct log_relay *l, struct msg_chan *to_control);
/* Sends what is kept, as far as the channel takes it: returns the number still kept. */
unsigned log_relay_flush(struct log_relay *l);

#endif
