/* The host side of the interfaces (design, section 2): TAPs with their addresses and routes, plain
 * interfaces made deaf, cards connected and watched. Part of the parent: privileged,
 * single-threaded, and never reading a packet. */
#ifndef SALLYPORT_MAIN_HOST_H
#define SALLYPORT_MAIN_HOST_H

#include "hostd/base/config.h"
#include "hostd/base/msg.h"

#include <event2/event.h>
#include <jansson.h>
#include <sys/types.h>

struct host;

/* How descriptors reach data. fd is the caller's after the call; -1 with gone. */
struct host_out {
    void (*give)(void *ctx, const struct msg_fd *what, int fd);
    void (*gone)(void *ctx, const struct msg_fd *what);
    void *ctx;
};

/* tap_owner: the user that data runs as, or (uid_t)-1. 0 or -errno. */
int host_new(struct host **out, struct event_base *base, const struct host_out *give,
             uid_t tap_owner);
/* Closes what is held; everything in the kernel stays as it is. NULL is fine. */
void host_free(struct host *h);

/* Makes the host as cfg says (borrowed until the next call, which must come before the old one is
 * freed): the first time, or after a reload, when only the difference is touched. What cannot be
 * done is logged, and tried again when the kernel tells of a change. */
void host_configure(struct host *h, const struct cfg *cfg);
/* A data process is there: gives it the netlink socket, each TAP and each port. */
void host_attach(struct host *h);
/* It serves: interfaces get their carrier, for good. */
void host_ready(struct host *h);
/* It is gone: its cards and sockets are closed. */
void host_detach(struct host *h);

/* Requests of data, which is less trusted: what does not name something configured is ignored. */
void host_card_gone(struct host *h, const struct msg_fd *what);
void host_port_want(struct host *h, const struct msg_fd *what);
void host_probe(struct host *h, const struct msg_probe *what);
void host_port_info(struct host *h, const struct msg_port_info *what);

/* The end of the daemon: interfaces under after-stop discard stay as they are, without a reader,
 * and their plain ports behind the drop; those under pass, or all with give_back, get their
 * addresses and routes back on the plain port, and the drop is taken out. */
void host_release(struct host *h, bool give_back);

/* {"interfaces": […], "cards": […]}: a new reference or NULL. */
json_t *host_status(const struct host *h);

#endif
