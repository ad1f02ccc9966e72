#include "hostd/main/host_nl.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { NL_ROOM = 32768 }; /* what the kernel asks a reader of dumps to have */

struct nl {
    struct mnl_socket *sock;
    uint32_t seq;
    _Alignas(16) char buf[NL_ROOM];
};

int nl_new(struct nl **out)
{
    struct nl *n = calloc(1, sizeof *n);
    if (!n)
        return -ENOMEM;
    n->sock = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (!n->sock || mnl_socket_bind(n->sock, 0, MNL_SOCKET_AUTOPID) < 0) {
        int r = -errno;
        nl_free(n);
        return r;
    }
    *out = n;
    return 0;
}

void nl_free(struct nl *n)
{
    if (!n)
        return;
    if (n->sock)
        mnl_socket_close(n->sock);
    free(n);
}

int nl_monitor(uint32_t groups)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    struct sockaddr_nl sa = {.nl_family = AF_NETLINK, .nl_groups = groups};
    if (fd < 0)
        return -errno;
    int big = 1 << 20;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &big, sizeof big);
    if (bind(fd, (struct sockaddr *)&sa, sizeof sa)) {
        int r = -errno;
        close(fd);
        return r;
    }
    return fd;
}

/* --- one request, its answers --- */

static struct nlmsghdr *begin(struct nl *n, uint16_t type, uint16_t flags)
{
    struct nlmsghdr *h = mnl_nlmsg_put_header(n->buf);
    h->nlmsg_type = type;
    h->nlmsg_flags = NLM_F_REQUEST | flags;
    h->nlmsg_seq = ++n->seq;
    return h;
}

static int ask(struct nl *n, struct nlmsghdr *h, mnl_cb_t cb, void *ctx)
{
    uint32_t port = mnl_socket_get_portid(n->sock);
    if (mnl_socket_sendto(n->sock, h, h->nlmsg_len) < 0)
        return -errno;
    int r;
    do {
        ssize_t got = mnl_socket_recvfrom(n->sock, n->buf, sizeof n->buf);
        if (got < 0)
            return -errno;
        r = mnl_cb_run(n->buf, (size_t)got, n->seq, port, cb, ctx);
        if (r < 0)
            return -errno;
    } while (r > MNL_CB_STOP);
    return 0;
}

static int command(struct nl *n, struct nlmsghdr *h)
{
    h->nlmsg_flags |= NLM_F_ACK;
    return ask(n, h, NULL, NULL);
}

/* --- attributes --- */

struct table {
    const struct nlattr *at[64];
};

static int collect(const struct nlattr *a, void *ctx)
{
    struct table *t = ctx;
    if (mnl_attr_get_type(a) < 64)
        t->at[mnl_attr_get_type(a)] = a;
    return MNL_CB_OK;
}

static uint32_t attr_u32(const struct table *t, unsigned type, uint32_t missing)
{
    uint32_t v;
    if (!t->at[type] || mnl_attr_get_payload_len(t->at[type]) < sizeof v)
        return missing;
    memcpy(&v, mnl_attr_get_payload(t->at[type]), sizeof v);
    return v;
}

static struct ip_addr attr_addr(const struct table *t, unsigned type, uint8_t family)
{
    struct ip_addr a = {0};
    size_t len = ip_len(family);
    if (t->at[type] && mnl_attr_get_payload_len(t->at[type]) == len) {
        a.family = family;
        memcpy(a.b, mnl_attr_get_payload(t->at[type]), len);
    }
    return a;
}

static uint8_t family_of(uint8_t af)
{
    return af == AF_INET ? 4 : af == AF_INET6 ? 6 : 0;
}

static uint8_t af_of(uint8_t family)
{
    return family == 6 ? AF_INET6 : AF_INET;
}

static void put_addr(struct nlmsghdr *h, uint16_t type, const struct ip_addr *a)
{
    mnl_attr_put(h, type, ip_len(a->family), a->b);
}

/* --- links --- */

static int on_link(const struct nlmsghdr *h, void *ctx)
{
    struct nl_link *out = ctx;
    const struct ifinfomsg *i = mnl_nlmsg_get_payload(h);
    struct table t = {{0}};
    mnl_attr_parse(h, sizeof *i, collect, &t);
    out->index = (uint32_t)i->ifi_index;
    out->flags = i->ifi_flags;
    out->mtu = attr_u32(&t, IFLA_MTU, 0);
    const struct nlattr *mac = t.at[IFLA_ADDRESS];
    if (mac && mnl_attr_get_payload_len(mac) == 6)
        memcpy(out->mac, mnl_attr_get_payload(mac), 6);
    return MNL_CB_OK;
}

int nl_link_get(struct nl *n, const char *name, struct nl_link *out)
{
    *out = (struct nl_link){0};
    if (strlen(name) >= IFNAMSIZ)
        return -ENODEV;
    struct nlmsghdr *h = begin(n, RTM_GETLINK, 0);
    struct ifinfomsg *i = mnl_nlmsg_put_extra_header(h, sizeof *i);
    i->ifi_family = AF_UNSPEC;
    mnl_attr_put_strz(h, IFLA_IFNAME, name);
    /* One answer, no acknowledgement: the loop ends with it. */
    if (mnl_socket_sendto(n->sock, h, h->nlmsg_len) < 0)
        return -errno;
    ssize_t got = mnl_socket_recvfrom(n->sock, n->buf, sizeof n->buf);
    if (got < 0)
        return -errno;
    uint32_t port = mnl_socket_get_portid(n->sock);
    return mnl_cb_run(n->buf, (size_t)got, n->seq, port, on_link, out) < 0 ? -errno : 0;
}

int nl_link_set(struct nl *n, uint32_t index, const uint8_t mac[6], uint32_t mtu, bool up)
{
    struct nlmsghdr *h = begin(n, RTM_NEWLINK, 0);
    struct ifinfomsg *i = mnl_nlmsg_put_extra_header(h, sizeof *i);
    i->ifi_index = (int)index;
    if (up)
        i->ifi_flags = i->ifi_change = IFF_UP;
    if (mac)
        mnl_attr_put(h, IFLA_ADDRESS, 6, mac);
    if (mtu)
        mnl_attr_put_u32(h, IFLA_MTU, mtu);
    return command(n, h);
}

/* --- addresses --- */

struct each {
    nl_on_addr on_addr;
    nl_on_route on_route;
    void *ctx;
};

static int on_addr(const struct nlmsghdr *h, void *ctx)
{
    struct each *e = ctx;
    const struct ifaddrmsg *i = mnl_nlmsg_get_payload(h);
    struct table t = {{0}};
    mnl_attr_parse(h, sizeof *i, collect, &t);
    struct nl_addr a = {.bits = i->ifa_prefixlen, .scope = i->ifa_scope, .ifindex = i->ifa_index};
    uint8_t family = family_of(i->ifa_family);
    a.addr = attr_addr(&t, t.at[IFA_LOCAL] ? IFA_LOCAL : IFA_ADDRESS, family);
    a.flags = attr_u32(&t, IFA_FLAGS, i->ifa_flags);
    if (t.at[IFA_PROTO])
        a.proto = mnl_attr_get_u8(t.at[IFA_PROTO]);
    a.preferred_s = a.valid_s = UINT32_MAX;
    struct ifa_cacheinfo ci;
    if (t.at[IFA_CACHEINFO] && mnl_attr_get_payload_len(t.at[IFA_CACHEINFO]) >= sizeof ci) {
        memcpy(&ci, mnl_attr_get_payload(t.at[IFA_CACHEINFO]), sizeof ci);
        a.preferred_s = ci.ifa_prefered;
        a.valid_s = ci.ifa_valid;
    }
    if (a.addr.family)
        e->on_addr(e->ctx, &a);
    return MNL_CB_OK;
}

int nl_addr_each(struct nl *n, nl_on_addr on, void *ctx)
{
    struct each e = {.on_addr = on, .ctx = ctx};
    struct nlmsghdr *h = begin(n, RTM_GETADDR, NLM_F_DUMP);
    struct ifaddrmsg *i = mnl_nlmsg_put_extra_header(h, sizeof *i);
    i->ifa_family = AF_UNSPEC;
    return ask(n, h, on_addr, &e);
}

static struct nlmsghdr *addr_request(struct nl *n, uint16_t type, uint16_t flags,
                                     const struct nl_addr *a)
{
    struct nlmsghdr *h = begin(n, type, flags);
    struct ifaddrmsg *i = mnl_nlmsg_put_extra_header(h, sizeof *i);
    i->ifa_family = af_of(a->addr.family);
    i->ifa_prefixlen = a->bits;
    i->ifa_scope = a->scope;
    i->ifa_index = a->ifindex;
    put_addr(h, IFA_LOCAL, &a->addr);
    put_addr(h, IFA_ADDRESS, &a->addr);
    return h;
}

int nl_addr_put(struct nl *n, const struct nl_addr *a)
{
    struct nlmsghdr *h = addr_request(n, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, a);
    if (a->proto)
        mnl_attr_put_u8(h, IFA_PROTO, a->proto);
    if (a->valid_s && a->valid_s != UINT32_MAX) {
        struct ifa_cacheinfo ci = {.ifa_prefered = a->preferred_s, .ifa_valid = a->valid_s};
        mnl_attr_put(h, IFA_CACHEINFO, sizeof ci, &ci);
    }
    return command(n, h);
}

int nl_addr_drop(struct nl *n, const struct nl_addr *a)
{
    return command(n, addr_request(n, RTM_DELADDR, 0, a));
}

/* --- routes --- */

static uint32_t metric_mtu(const struct table *t)
{
    struct table m = {{0}};
    if (t->at[RTA_METRICS])
        mnl_attr_parse_nested(t->at[RTA_METRICS], collect, &m);
    return attr_u32(&m, RTAX_MTU, 0);
}

static int on_route(const struct nlmsghdr *h, void *ctx)
{
    struct each *e = ctx;
    const struct rtmsg *m = mnl_nlmsg_get_payload(h);
    struct table t = {{0}};
    mnl_attr_parse(h, sizeof *m, collect, &t);
    uint8_t family = family_of(m->rtm_family);
    if (m->rtm_type != RTN_UNICAST || !family || (m->rtm_flags & RTM_F_CLONED) ||
        attr_u32(&t, RTA_TABLE, m->rtm_table) != RT_TABLE_MAIN || t.at[RTA_MULTIPATH])
        return MNL_CB_OK;
    struct nl_route r = {.bits = m->rtm_dst_len,
                         .proto = m->rtm_protocol,
                         .scope = m->rtm_scope,
                         .onlink = m->rtm_flags & RTNH_F_ONLINK,
                         .via = attr_addr(&t, RTA_GATEWAY, family),
                         .src = attr_addr(&t, RTA_PREFSRC, family),
                         .oif = attr_u32(&t, RTA_OIF, 0),
                         .metric = attr_u32(&t, RTA_PRIORITY, 0),
                         .mtu = metric_mtu(&t)};
    r.dst = attr_addr(&t, RTA_DST, family);
    r.dst.family = family;
    e->on_route(e->ctx, &r);
    return MNL_CB_OK;
}

int nl_route_each(struct nl *n, nl_on_route on, void *ctx)
{
    struct each e = {.on_route = on, .ctx = ctx};
    struct nlmsghdr *h = begin(n, RTM_GETROUTE, NLM_F_DUMP);
    struct rtmsg *m = mnl_nlmsg_put_extra_header(h, sizeof *m);
    m->rtm_family = AF_UNSPEC;
    return ask(n, h, on_route, &e);
}

static struct nlmsghdr *route_request(struct nl *n, uint16_t type, uint16_t flags,
                                      const struct nl_route *r)
{
    struct nlmsghdr *h = begin(n, type, flags);
    struct rtmsg *m = mnl_nlmsg_put_extra_header(h, sizeof *m);
    m->rtm_family = af_of(r->dst.family);
    m->rtm_dst_len = r->bits;
    m->rtm_table = RT_TABLE_MAIN;
    m->rtm_type = RTN_UNICAST;
    m->rtm_protocol = r->proto;
    m->rtm_scope = r->scope;
    m->rtm_flags = r->onlink && r->via.family ? RTNH_F_ONLINK : 0;
    if (r->bits)
        put_addr(h, RTA_DST, &r->dst);
    if (r->via.family)
        put_addr(h, RTA_GATEWAY, &r->via);
    if (r->src.family)
        put_addr(h, RTA_PREFSRC, &r->src);
    mnl_attr_put_u32(h, RTA_OIF, r->oif);
    if (r->metric)
        mnl_attr_put_u32(h, RTA_PRIORITY, r->metric);
    if (r->mtu) {
        struct nlattr *nest = mnl_attr_nest_start(h, RTA_METRICS);
        mnl_attr_put_u32(h, RTAX_MTU, r->mtu);
        mnl_attr_nest_end(h, nest);
    }
    return h;
}

int nl_route_put(struct nl *n, const struct nl_route *r)
{
    return command(n, route_request(n, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, r));
}

int nl_route_drop(struct nl *n, const struct nl_route *r)
{
    return command(n, route_request(n, RTM_DELROUTE, 0, r));
}

/* --- neighbours --- */

int nl_neigh_use(struct nl *n, uint32_t ifindex, const struct ip_addr *a)
{
    struct nlmsghdr *h = begin(n, RTM_NEWNEIGH, NLM_F_CREATE);
    struct ndmsg *m = mnl_nlmsg_put_extra_header(h, sizeof *m);
    m->ndm_family = af_of(a->family);
    m->ndm_ifindex = (int)ifindex;
    m->ndm_flags = NTF_USE;
    put_addr(h, NDA_DST, a);
    return command(n, h);
}
