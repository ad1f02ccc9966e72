#include "hostd/data/host/nexthop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CACHE = 256, NEIGHBOURS = 1024, LOCALS = 256 };
#define PROBE_EVERY 1000000000ull

/* One destination's gateway by one interface, valid for one generation of the routes. */
struct route {
    struct ip_addr dst, gateway;
    unsigned ifindex;
    uint64_t generation;
    bool reachable;
};

struct neighbour {
    struct ip_addr addr;
    unsigned ifindex;
    uint8_t mac[6];
    bool valid;
    uint64_t probed;
};

struct nexthop {
    struct mnl_socket *events, *ask;
    uint64_t generation;
    struct route routes[CACHE];
    struct neighbour neighbours[NEIGHBOURS];
    unsigned n_neighbours;
    struct ip_addr locals[LOCALS];
    unsigned n_locals;
    nexthop_probe probe;
    nexthop_ready ready;
    void *ctx;
};

static uint8_t family_of(uint8_t af)
{
    return af == AF_INET ? 4 : af == AF_INET6 ? 6 : 0;
}

static bool attr_addr(const struct nlattr *a, uint8_t family, struct ip_addr *out)
{
    memset(out, 0, sizeof *out);
    if (!family || mnl_attr_get_payload_len(a) < ip_len(family))
        return false;
    out->family = family;
    memcpy(out->b, mnl_attr_get_payload(a), ip_len(family));
    return true;
}

static struct neighbour *neighbour_find(struct nexthop *n, unsigned ifindex,
                                        const struct ip_addr *a)
{
    for (unsigned i = 0; i < n->n_neighbours; i++)
        if (n->neighbours[i].ifindex == ifindex && ip_eq(&n->neighbours[i].addr, a))
            return &n->neighbours[i];
    return NULL;
}

/* The row for an address, made when it is new; the table full: the first invalid one is reused. */
static struct neighbour *neighbour_get(struct nexthop *n, unsigned ifindex, const struct ip_addr *a)
{
    struct neighbour *nb = neighbour_find(n, ifindex, a);
    if (nb)
        return nb;
    if (n->n_neighbours < NEIGHBOURS)
        nb = &n->neighbours[n->n_neighbours++];
    for (unsigned i = 0; !nb && i < NEIGHBOURS; i++)
        if (!n->neighbours[i].valid)
            nb = &n->neighbours[i];
    if (!nb)
        nb = &n->neighbours[0];
    *nb = (struct neighbour){.addr = *a, .ifindex = ifindex};
    return nb;
}

static void on_neighbour(struct nexthop *n, const struct nlmsghdr *h)
{
    const struct ndmsg *nd = mnl_nlmsg_get_payload(h);
    struct ip_addr a = {0};
    const uint8_t *mac = NULL;
    struct nlattr *at; /* not const: the macro casts */
    mnl_attr_for_each(at, h, sizeof *nd)
    {
        if (mnl_attr_get_type(at) == NDA_DST)
            (void)attr_addr(at, family_of(nd->ndm_family), &a);
        else if (mnl_attr_get_type(at) == NDA_LLADDR && mnl_attr_get_payload_len(at) == 6)
            mac = mnl_attr_get_payload(at);
    }
    if (!a.family)
        return;
    struct neighbour *nb = neighbour_get(n, (unsigned)nd->ndm_ifindex, &a);
    bool usable =
        h->nlmsg_type == RTM_NEWNEIGH && mac && !(nd->ndm_state & (NUD_FAILED | NUD_INCOMPLETE));
    bool was = nb->valid && usable && memcmp(nb->mac, mac, 6) == 0;
    nb->valid = usable;
    if (!usable)
        return;
    memcpy(nb->mac, mac, 6);
    if (!was && n->ready)
        n->ready(n->ctx, nb->ifindex, &a);
}

static void on_address(struct nexthop *n, const struct nlmsghdr *h)
{
    const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(h);
    struct ip_addr a = {0}, local = {0};
    struct nlattr *at; /* not const: the macro casts */
    mnl_attr_for_each(at, h, sizeof *ifa)
    {
        if (mnl_attr_get_type(at) == IFA_ADDRESS)
            (void)attr_addr(at, family_of(ifa->ifa_family), &a);
        else if (mnl_attr_get_type(at) == IFA_LOCAL)
            (void)attr_addr(at, family_of(ifa->ifa_family), &local);
    }
    if (local.family)
        a = local;
    unsigned i = 0;
    while (i < n->n_locals && !ip_eq(&n->locals[i], &a))
        i++;
    if (h->nlmsg_type == RTM_DELADDR && i < n->n_locals)
        n->locals[i] = n->locals[--n->n_locals];
    else if (h->nlmsg_type == RTM_NEWADDR && i == n->n_locals && i < LOCALS)
        n->locals[n->n_locals++] = a;
}

static int on_message(const struct nlmsghdr *h, void *ctx)
{
    struct nexthop *n = ctx;
    n->generation++;
    switch (h->nlmsg_type) {
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
        on_neighbour(n, h);
        break;
    case RTM_NEWADDR:
    case RTM_DELADDR:
        on_address(n, h);
        break;
    default:
        break;
    }
    return MNL_CB_OK;
}

static int dump(struct nexthop *n, uint16_t type, size_t body)
{
    char buf[32768];
    struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
    h->nlmsg_type = type;
    h->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    h->nlmsg_seq = 1;
    memset(mnl_nlmsg_put_extra_header(h, body), 0, body);
    if (mnl_socket_sendto(n->ask, h, h->nlmsg_len) < 0)
        return -errno;
    for (;;) {
        ssize_t got = mnl_socket_recvfrom(n->ask, buf, sizeof buf);
        if (got < 0)
            return -errno;
        int rc = mnl_cb_run(buf, (size_t)got, 1, 0, on_message, n);
        if (rc <= 0)
            return rc < 0 ? -errno : 0;
    }
}

int nexthop_new(struct nexthop **out, int fd)
{
    struct nexthop *n = calloc(1, sizeof *n);
    if (!n) {
        if (fd >= 0)
            close(fd);
        return -ENOMEM;
    }
    n->generation = 1;
    unsigned groups = RTMGRP_LINK | RTMGRP_NEIGH | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR |
                      RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
    n->events = fd >= 0 ? mnl_socket_fdopen(fd)
                        : mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
    n->ask = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (!n->events || !n->ask ||
        (fd < 0 && mnl_socket_bind(n->events, groups, MNL_SOCKET_AUTOPID)) ||
        mnl_socket_bind(n->ask, 0, MNL_SOCKET_AUTOPID) ||
        dump(n, RTM_GETADDR, sizeof(struct ifaddrmsg)) ||
        dump(n, RTM_GETNEIGH, sizeof(struct ndmsg))) {
        int rc = -(errno ? errno : EIO);
        nexthop_free(n);
        return rc;
    }
    *out = n;
    return 0;
}

void nexthop_free(struct nexthop *n)
{
    if (!n)
        return;
    if (n->events)
        mnl_socket_close(n->events);
    if (n->ask)
        mnl_socket_close(n->ask);
    free(n);
}

int nexthop_fd(const struct nexthop *n)
{
    return mnl_socket_get_fd(n->events);
}

void nexthop_set_callbacks(struct nexthop *n, nexthop_probe probe, nexthop_ready ready, void *ctx)
{
    n->probe = probe;
    n->ready = ready;
    n->ctx = ctx;
}

void nexthop_read(struct nexthop *n)
{
    char buf[32768];
    for (int i = 0; i < 64; i++) {
        ssize_t got = recv(nexthop_fd(n), buf, sizeof buf, MSG_DONTWAIT);
        if (got < 0 && errno == ENOBUFS) { /* events were lost: the truth is read anew */
            n->n_neighbours = n->n_locals = 0;
            n->generation++;
            (void)dump(n, RTM_GETADDR, sizeof(struct ifaddrmsg));
            (void)dump(n, RTM_GETNEIGH, sizeof(struct ndmsg));
            continue;
        }
        if (got <= 0)
            return;
        (void)mnl_cb_run(buf, (size_t)got, 0, 0, on_message, n);
    }
}

static int on_route(const struct nlmsghdr *h, void *ctx)
{
    struct route *r = ctx;
    const struct rtmsg *rt = mnl_nlmsg_get_payload(h);
    unsigned oif = 0;
    struct ip_addr gw = r->dst;
    struct nlattr *at; /* not const: the macro casts */
    mnl_attr_for_each(at, h, sizeof *rt)
    {
        if (mnl_attr_get_type(at) == RTA_OIF && mnl_attr_get_payload_len(at) == 4)
            oif = mnl_attr_get_u32(at);
        else if (mnl_attr_get_type(at) == RTA_GATEWAY)
            (void)attr_addr(at, family_of(rt->rtm_family), &gw);
    }
    if (h->nlmsg_type == RTM_NEWROUTE && rt->rtm_type == RTN_UNICAST && oif == r->ifindex) {
        r->reachable = true;
        r->gateway = gw;
    }
    return MNL_CB_OK;
}

/* The kernel's own choice, restricted to the interface: what it would do with the outer packet. */
static void ask_route(struct nexthop *n, struct route *r)
{
    char buf[8192];
    struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
    h->nlmsg_type = RTM_GETROUTE;
    h->nlmsg_flags = NLM_F_REQUEST;
    h->nlmsg_seq = 2;
    struct rtmsg *rt = mnl_nlmsg_put_extra_header(h, sizeof *rt);
    memset(rt, 0, sizeof *rt);
    rt->rtm_family = r->dst.family == 4 ? AF_INET : AF_INET6;
    rt->rtm_dst_len = (uint8_t)(8 * ip_len(r->dst.family));
    mnl_attr_put(h, RTA_DST, ip_len(r->dst.family), r->dst.b);
    mnl_attr_put_u32(h, RTA_OIF, r->ifindex);
    r->reachable = false;
    if (mnl_socket_sendto(n->ask, h, h->nlmsg_len) < 0)
        return;
    ssize_t got = mnl_socket_recvfrom(n->ask, buf, sizeof buf);
    if (got > 0)
        (void)mnl_cb_run(buf, (size_t)got, 2, 0, on_route, r);
}

static struct route *route_of(struct nexthop *n, unsigned ifindex, const struct ip_addr *dst)
{
    uint32_t hash = ifindex;
    for (size_t i = 0; i < ip_len(dst->family); i++)
        hash = hash * 31 + dst->b[i];
    struct route *r = &n->routes[hash % CACHE];
    if (r->generation == n->generation && r->ifindex == ifindex && ip_eq(&r->dst, dst))
        return r;
    *r = (struct route){.dst = *dst, .ifindex = ifindex, .generation = n->generation};
    ask_route(n, r);
    return r;
}

int nexthop_find(struct nexthop *n, unsigned ifindex, const struct ip_addr *dst, uint64_t now,
                 uint8_t mac[6])
{
    struct route *r = route_of(n, ifindex, dst);
    if (!r->reachable)
        return -EHOSTUNREACH;
    struct neighbour *nb = neighbour_get(n, ifindex, &r->gateway);
    if (nb->valid) {
        memcpy(mac, nb->mac, 6);
        return 0;
    }
    if (n->probe && (!nb->probed || now - nb->probed >= PROBE_EVERY)) {
        nb->probed = now ? now : 1;
        n->probe(n->ctx, ifindex, &r->gateway);
    }
    return -EAGAIN;
}

bool nexthop_is_local(const struct nexthop *n, const struct ip_addr *a)
{
    for (unsigned i = 0; i < n->n_locals; i++)
        if (ip_eq(&n->locals[i], a))
            return true;
    return false;
}
