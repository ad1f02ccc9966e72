/* What the host side of an interface should look like: pure arithmetic on configuration and
 * addresses, no calls to the system. */
#ifndef SALLYPORT_MAIN_HOST_PLAN_H
#define SALLYPORT_MAIN_HOST_PLAN_H

#include "hostd/base/config.h"

enum {
    PLAN_PREFIXES = 64
}; /* routes for one selector at most; a range that needs more gets the
      first ones, and packets elsewhere still meet the policy in data */

struct plan_prefix {
    struct ip_addr addr; /* host bits are zero in a destination, kept in an address */
    uint8_t bits;
};

/* An address that the host has, on any interface. */
struct plan_addr {
    struct plan_prefix p;
    uint32_t ifindex;
    bool usable; /* as a source: not tentative */
};

struct plan_route {
    struct plan_prefix dst;
    struct ip_addr via; /* family 0: on the link of the interface */
    struct ip_addr src; /* family 0: the kernel chooses */
    uint16_t mtu;       /* 0: the interface's */
    unsigned order;     /* of the policy that wants it */
};

struct plan {
    struct plan_route *routes; /* owned; one for each destination, sorted */
    unsigned n, room;
};

/* The largest inner packet that a tunnel of this policy takes over a port of that MTU without
 * being fragmented, less what padding would cost: 1446 for 1500, AES-GCM and IPv4 outside. 0 when
 * nothing fits. With several transforms the smallest. */
unsigned plan_mtu(unsigned port_mtu, const struct spd_policy *p);

/* The prefixes of one family that make up a range, in order: their number, at most max. A range
 * of both families ("any") gives the whole of that family. */
unsigned plan_prefixes(const struct ip_range *r, uint8_t family, struct plan_prefix *out,
                       unsigned max);
bool plan_contains(const struct plan_prefix *p, const struct ip_addr *a);

/* The interface that a tunnel policy goes by: whose address is the tunnel's local end, else whose
 * link or gateway reaches the peer; NULL when none has an address of that family. */
const struct cfg_interface *plan_interface(const struct cfg *cfg, const struct spd_policy *p);

/* Fills *out (free with plan_free) with the routes of the interface: own is its ifindex in addrs,
 * which is what the host has in the kernel's order. 0 or -ENOMEM. */
int plan_make(struct plan *out, const struct cfg *cfg, const struct cfg_interface *i, uint32_t own,
              const struct plan_addr *addrs, unsigned n_addrs, unsigned port_mtu);
void plan_free(struct plan *p);

/* Same destination? Same in everything? */
bool plan_same_dst(const struct plan_route *a, const struct plan_route *b);
bool plan_same(const struct plan_route *a, const struct plan_route *b);

/* What has to be done to get from have to want: put is called for every wanted route that is not
 * there as it should be (it replaces), then drop for those whose destination is not wanted. In
 * this order no packet finds a gap through which it would leave by another interface. have is
 * sorted on the way. */
void plan_diff(struct plan_route *have, unsigned n_have, const struct plan *want,
               void (*put)(void *ctx, const struct plan_route *r),
               void (*drop)(void *ctx, const struct plan_route *r), void *ctx);

#endif
