/* The requests to rtnetlink that the host side needs, one at a time and answered at once (the
 * kernel answers within the call). Every function returns 0 or -errno of the kernel. */
#ifndef SALLYPORT_MAIN_HOST_NL_H
#define SALLYPORT_MAIN_HOST_NL_H

#include "hostd/base/ip.h"

#include <stdbool.h>
#include <stdint.h>

/* Marks addresses and routes as ours, so that those made by others are let alone and ours are found
 * again after a restart. */
enum { NL_OURS = 83, NL_METRIC = 20 };

struct nl;

struct nl_link {
    uint32_t index, mtu, flags; /* IFF_UP … */
    uint8_t mac[6];
};

struct nl_addr {
    struct ip_addr addr;
    uint8_t bits, scope, proto;
    uint32_t ifindex, flags;       /* IFA_F_… */
    uint32_t preferred_s, valid_s; /* UINT32_MAX: for ever */
};

/* A unicast route of the main table with one next hop. */
struct nl_route {
    struct ip_addr dst; /* its family is always set */
    uint8_t bits, proto, scope;
    bool onlink;
    struct ip_addr via, src;
    uint32_t oif, metric, mtu;
};

int nl_new(struct nl **out);
void nl_free(struct nl *n);

/* -ENODEV when there is none of that name. */
int nl_link_get(struct nl *n, const char *name, struct nl_link *out);
/* mac may be NULL; mtu 0 leaves it. */
int nl_link_set(struct nl *n, uint32_t index, const uint8_t mac[6], uint32_t mtu, bool up);

typedef void (*nl_on_addr)(void *ctx, const struct nl_addr *a);
typedef void (*nl_on_route)(void *ctx, const struct nl_route *r);
int nl_addr_each(struct nl *n, nl_on_addr on, void *ctx);
int nl_route_each(struct nl *n, nl_on_route on, void *ctx);

/* Adds, or replaces the same address, or takes it away. */
int nl_addr_put(struct nl *n, const struct nl_addr *a);
int nl_addr_drop(struct nl *n, const struct nl_addr *a);
int nl_route_put(struct nl *n, const struct nl_route *r);
int nl_route_drop(struct nl *n, const struct nl_route *r);

/* Makes the kernel resolve a neighbour as if a packet waited for it. */
int nl_neigh_use(struct nl *n, uint32_t ifindex, const struct ip_addr *a);

/* A NETLINK_ROUTE socket in groups (RTMGRP_…), CLOEXEC and non-blocking: fd or -errno. */
int nl_monitor(uint32_t groups);

#endif
