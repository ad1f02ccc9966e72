/* What is known of routes, neighbours and the host's addresses, and how netlink messages change it.
 * Pure: no socket, no clock. Messages are hostile input; one that is too short, or of addresses
 * that are none, changes nothing. */
#ifndef SALLYPORT_NEXTHOP_TABLE_H
#define SALLYPORT_NEXTHOP_TABLE_H

#include "hostd/base/ip.h"

#include <libmnl/libmnl.h>
#include <stdbool.h>
#include <stdint.h>

enum { NH_WAYS = 4, NH_ROUTES = 16384, NH_NEIGHBOURS = 8192, NH_LOCALS = 1024 };

/* One destination by one interface. Both kinds of row are in sets of NH_WAYS; a set that is full
 * gives the row that was used longest ago. */
struct nh_row {
    struct ip_addr addr;
    unsigned ifindex; /* 0: empty */
    bool known;       /* asked of the kernel, and its answer still holds */
    bool good;        /* known: there is a way; or there is a MAC */
    uint64_t used;
    uint64_t generation;    /* route: that of its answer */
    struct ip_addr gateway; /* route */
    uint8_t mac[6];         /* neighbour */
    uint64_t probed;        /* neighbour: when the kernel was last made to resolve it; 0 never */
};

struct nh_local {
    struct ip_addr addr;
    unsigned ifindex;
};

struct nh_locals {
    struct nh_local at[NH_LOCALS];
    unsigned n;
};

struct nh_table {
    uint64_t generation, seed, clock;
    struct nh_row routes[NH_ROUTES], neighbours[NH_NEIGHBOURS];
    struct nh_locals locals;
};

/* seed keeps peers from choosing addresses that share a set. NULL: no memory. */
struct nh_table *nh_table_new(uint64_t seed);
void nh_table_free(struct nh_table *t);

/* The row, made when there is none. !known: it is to be asked of the kernel. Valid until the next
 * call of one of these two. */
struct nh_row *nh_route(struct nh_table *t, unsigned ifindex, const struct ip_addr *dst);
struct nh_row *nh_neighbour(struct nh_table *t, unsigned ifindex, const struct ip_addr *a);
bool nh_is_local(const struct nh_table *t, const struct ip_addr *a);

/* An event of the kernel. Routes are asked anew after one of a link, an address or a route, not of
 * a neighbour. Only rows that were asked for change, so the neighbours of other interfaces cost
 * nothing. True when *ready is a neighbour that is resolved now and was not, or has another MAC. */
bool nh_event(struct nh_table *t, const struct nlmsghdr *h, struct nh_local *ready);
/* Events were lost: nothing is known of routes and neighbours any more. Writes the interfaces, up
 * to max, that have a neighbour which was not resolved yet: it may be by now. Their number. */
unsigned nh_forget(struct nh_table *t, unsigned *waiting, unsigned max);

/* Parts of answers. A route that is no way by r's interface, a neighbour that is not r's: no
 * change. */
void nh_route_answer(struct nh_row *r, const struct nlmsghdr *h);
void nh_neighbour_answer(struct nh_row *r, const struct nlmsghdr *h);
void nh_local_answer(struct nh_locals *l, const struct nlmsghdr *h);

#endif
