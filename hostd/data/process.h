/* The data process: the shell around the engine (libevent, descriptors from the parent). */
#ifndef SALLYPORT_DATA_PROCESS_H
#define SALLYPORT_DATA_PROCESS_H

#include "hostd/base/msg.h"

/* Runs until the parent's channel ends or MSG_STOP's release; takes the channel. Returns the exit
 * status. By now the process has its final user, root and privileges (none). */
int data_run(struct msg_chan *parent);

#endif
