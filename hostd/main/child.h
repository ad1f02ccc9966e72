/* A child process as the parent sees it: started from our own image, its channel, and what waits to
 * be sent to it. */
#ifndef SALLYPORT_MAIN_CHILD_H
#define SALLYPORT_MAIN_CHILD_H

#include "hostd/main/process.h"

#include <event2/event.h>
#include <sys/types.h>

struct child;
struct out_msg;

/* m is valid only during the call; descriptors that are not taken (set to -1) are closed after. */
typedef void (*child_on_msg)(void *ctx, struct child *c, struct msg *m);

struct child_env {
    struct event_base *base;
    const char *rundir, *user;
    bool quiet; /* the children's standard error goes nowhere */
    child_on_msg on_msg;
    void *ctx;
};

struct child {
    enum proc id;
    const struct child_env *env;
    pid_t pid; /* 0: none */
    struct msg_chan *chan;
    struct event *readable, *writable, *restart;
    struct out_msg *first, **last;
    unsigned queued;
    bool ready, ending;
    unsigned deaths, restarts;
    uint64_t since; /* CLOCK_BOOTTIME, ns */
};

/* Forks and executes /proc/self/exe -p TITLE with the channel as descriptor 3. 0 or -errno. */
int child_start(struct child *c);
/* Sends in order; what the child does not read yet waits (descriptors are duplicated). A child that
 * lets more than a bound wait is ended. Nothing happens when it does not run. */
void child_send(struct child *c, uint16_t type, uint32_t id, const void *body, size_t len,
                const int *fds, unsigned n_fds);
/* A message with a struct msg_arg. */
void child_send_arg(struct child *c, uint16_t type, uint32_t arg, const int *fd);
/* After the process is reaped: channel and queue go. */
void child_down(struct child *c);

uint64_t now_ns(void); /* CLOCK_BOOTTIME */

#endif
