/* Answers to control, in pages: an answer too large for one message is cut at its one list, all
 * pages are made at once (one snapshot) and wait here while control does not read. */
#ifndef SALLYPORT_REPLIES_H
#define SALLYPORT_REPLIES_H

#include "hostd/base/msg.h"

#include <jansson.h>
#include <stdbool.h>

struct replies;

struct replies *replies_new(void);
void replies_free(struct replies *r);
/* Takes the reference. Sends what control takes now and keeps the rest. */
void replies_send(struct replies *r, struct msg_chan *c, uint32_t id, json_t *answer);
/* true while something waits: call again when the channel is writable. */
bool replies_flush(struct replies *r, struct msg_chan *c);
/* Control is gone: nobody waits for these any more. */
void replies_drop(struct replies *r);

#endif
