/* The kernel's routes and neighbours as the packet path needs them: the MAC for an outer
 * destination on one interface. Follows rtnetlink; needs no privilege. The kernel is asked when a
 * route or a neighbour is met for the first time (one system call each way, at most a quarter of a
 * second if it is silent), and its events keep the answers true; nothing is kept of interfaces and
 * neighbours that nobody asked about. */
#ifndef SALLYPORT_NEXTHOP_H
#define SALLYPORT_NEXTHOP_H

#include "hostd/base/ip.h"

#include <stdbool.h>
#include <stdint.h>

struct nexthop;

/* fd: a NETLINK_ROUTE socket in the link, address, route and neighbour groups (the parent's), or -1
 * to open one. Takes it. Reads the host's addresses once. 0 or -errno. */
int nexthop_new(struct nexthop **out, int fd);
void nexthop_free(struct nexthop *n);
int nexthop_fd(const struct nexthop *n);

/* Asked when a neighbour has to be resolved: the parent makes the kernel do it. */
typedef void (*nexthop_probe)(void *ctx, unsigned ifindex, const struct ip_addr *a);
/* Told when one was resolved, or (a of family 0: events were lost) any may have been; from
 * nexthop_read alone, and it may call nexthop_find. */
typedef void (*nexthop_ready)(void *ctx, unsigned ifindex, const struct ip_addr *a);
void nexthop_set_callbacks(struct nexthop *n, nexthop_probe probe, nexthop_ready ready, void *ctx);

/* The MAC towards dst by interface ifindex: 0; -EHOSTUNREACH (no route by this interface), -EAGAIN
 * (being resolved; probe was asked, at most once a second an address). */
int nexthop_find(struct nexthop *n, unsigned ifindex, const struct ip_addr *dst, uint64_t now,
                 uint8_t mac[6]);
/* Has this host the address (on any interface)? */
bool nexthop_is_local(const struct nexthop *n, const struct ip_addr *a);
/* Reads what the kernel has to say; call when the descriptor is readable. */
void nexthop_read(struct nexthop *n);

#endif
