/* Where the roles begin: each runs until its channel to the parent closes or MSG_STOP_END comes,
 * and returns the exit status. Called without any privilege. */
#ifndef SALLYPORT_MAIN_ROLES_H
#define SALLYPORT_MAIN_ROLES_H

#include "hostd/base/msg.h"

int data_run(struct msg_chan *parent);    /* hostd/data/process.c */
int control_run(struct msg_chan *parent); /* hostd/control */

#endif
