#include "hostd/data/host/nexthop.h"

#include "hostd/data/host/nexthop_nl.h"
#include "hostd/data/host/nexthop_table.h"

#include <errno.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PROBE_EVERY 1000000000ull
#define QUIET       1000000000ull /* after a question without an answer */
enum { DUMP_TRIES = 4, READS = 64, WAITING = 16 };

struct nexthop {
    int events;
    struct nl_ask ask;
    struct nh_table *table;
    struct nh_locals fresh; /* a dump of the addresses under way */
    bool locals_old;        /* events were lost and the addresses could not be read yet */
    uint64_t quiet_until;
    nexthop_probe probe;
    nexthop_ready ready;
    void *ctx;
};

/* --- questions --- */

static void take_local(void *ctx, const struct nlmsghdr *h)
{
    nh_local_answer(ctx, h);
}

/* The old addresses hold until the new ones are all there. */
static int read_locals(struct nexthop *n)
{
    _Alignas(struct nlmsghdr) uint8_t buf[128];
    int rc = -EINTR;
    for (int i = 0; i < DUMP_TRIES && (rc == -EINTR || rc == -EBUSY); i++) {
        struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
        struct ifaddrmsg *ifa = mnl_nlmsg_put_extra_header(h, sizeof *ifa);
        h->nlmsg_type = RTM_GETADDR;
        ifa->ifa_family = AF_UNSPEC;
        n->fresh.n = 0;
        rc = nl_question(&n->ask, h, NLM_F_DUMP, take_local, &n->fresh);
    }
    n->locals_old = rc != 0;
    if (rc == 0)
        n->table->locals = n->fresh;
    return rc;
}

static void take_route(void *ctx, const struct nlmsghdr *h)
{
    nh_route_answer(ctx, h);
}

static void take_neighbour(void *ctx, const struct nlmsghdr *h)
{
    nh_neighbour_answer(ctx, h);
}

static uint8_t af_of(const struct ip_addr *a)
{
    return a->family == 4 ? AF_INET : AF_INET6;
}

/* An answer, a refusal too, is kept; a silent kernel is left alone for a while: the packet path
 * waits here. */
static void ask_row(struct nexthop *n, struct nh_row *r, struct nlmsghdr *h, nl_take take,
                    uint64_t now)
{
    if (now < n->quiet_until)
        return;
    int rc = nl_question(&n->ask, h, 0, take, r);
    if (rc == -ETIMEDOUT || rc == -ENOBUFS)
        n->quiet_until = now + QUIET;
    else
        r->known = true;
}

/* The kernel's own choice, restricted to the interface: what it would do with the outer packet. */
static void ask_route(struct nexthop *n, struct nh_row *r, uint64_t now)
{
    _Alignas(struct nlmsghdr) uint8_t buf[256];
    struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
    struct rtmsg *rt = mnl_nlmsg_put_extra_header(h, sizeof *rt);
    h->nlmsg_type = RTM_GETROUTE;
    rt->rtm_family = af_of(&r->addr);
    rt->rtm_dst_len = (uint8_t)(8 * ip_len(r->addr.family));
    mnl_attr_put(h, RTA_DST, ip_len(r->addr.family), r->addr.b);
    mnl_attr_put_u32(h, RTA_OIF, r->ifindex);
    ask_row(n, r, h, take_route, now);
}

/* What the kernel has already brings no event, so it is asked first. */
static void ask_neighbour(struct nexthop *n, struct nh_row *r, uint64_t now)
{
    _Alignas(struct nlmsghdr) uint8_t buf[256];
    struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
    struct ndmsg *nd = mnl_nlmsg_put_extra_header(h, sizeof *nd);
    h->nlmsg_type = RTM_GETNEIGH;
    nd->ndm_family = af_of(&r->addr);
    nd->ndm_ifindex = (int)r->ifindex;
    mnl_attr_put(h, NDA_DST, ip_len(r->addr.family), r->addr.b);
    r->good = false;
    ask_row(n, r, h, take_neighbour, now);
}

/* --- life --- */

static int open_events(void)
{
    struct sockaddr_nl at = {.nl_family = AF_NETLINK,
                             .nl_groups = RTMGRP_LINK | RTMGRP_NEIGH | RTMGRP_IPV4_IFADDR |
                                          RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE |
                                          RTMGRP_IPV6_ROUTE};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) == 0)
        return fd < 0 ? -errno : fd;
    int rc = -errno;
    close(fd);
    return rc;
}

int nexthop_new(struct nexthop **out, int fd)
{
    struct nexthop *n = calloc(1, sizeof *n);
    uint64_t seed;
    if (!n) {
        if (fd >= 0)
            close(fd);
        return -ENOMEM;
    }
    n->ask.fd = -1;
    n->events = fd >= 0 ? fd : open_events();
    int rc = n->events < 0 ? n->events : 0;
    if (!rc && RAND_bytes((unsigned char *)&seed, sizeof seed) != 1)
        rc = -EIO;
    if (!rc && !(n->table = nh_table_new(seed)))
        rc = -ENOMEM;
    if (!rc)
        rc = nl_ask_open(&n->ask);
    if (!rc)
        rc = read_locals(n);
    if (rc) {
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
    if (n->events >= 0)
        close(n->events);
    nl_ask_close(&n->ask);
    nh_table_free(n->table);
    free(n);
}

int nexthop_fd(const struct nexthop *n)
{
    return n->events;
}

void nexthop_set_callbacks(struct nexthop *n, nexthop_probe probe, nexthop_ready ready, void *ctx)
{
    n->probe = probe;
    n->ready = ready;
    n->ctx = ctx;
}

/* --- events --- */

static void take_event(void *ctx, const struct nlmsghdr *h)
{
    struct nexthop *n = ctx;
    struct nh_local who;
    if (nh_event(n->table, h, &who) && n->ready)
        n->ready(n->ctx, who.ifindex, &who.addr);
}

static void start_anew(struct nexthop *n)
{
    const struct ip_addr any = {0};
    unsigned waiting[WAITING];
    unsigned count = nh_forget(n->table, waiting, WAITING);
    for (unsigned i = 0; n->ready && i < count; i++)
        n->ready(n->ctx, waiting[i], &any);
}

/* ready may ask questions of its own, so no question is under way when it is called. */
void nexthop_read(struct nexthop *n)
{
    _Alignas(struct nlmsghdr) uint8_t buf[NL_BUFFER];
    bool lost = false;
    for (int i = 0; i < READS; i++) {
        int got = nl_receive(n->events, buf, sizeof buf, MSG_DONTWAIT);
        if (got == -ENOBUFS || got == -EMSGSIZE)
            lost = true;
        else if (got < 0)
            break;
        else
            nl_each(buf, (size_t)got, take_event, n);
    }
    if (lost || n->locals_old)
        (void)read_locals(n);
    if (lost)
        start_anew(n);
}

int nexthop_find(struct nexthop *n, unsigned ifindex, const struct ip_addr *dst, uint64_t now,
                 uint8_t mac[6])
{
    if (!ifindex || !ip_len(dst->family))
        return -EHOSTUNREACH;
    struct nh_row *r = nh_route(n->table, ifindex, dst);
    if (!r->known)
        ask_route(n, r, now);
    if (!r->good)
        return -EHOSTUNREACH;
    struct nh_row *nb = nh_neighbour(n->table, ifindex, &r->gateway);
    if (!nb->known)
        ask_neighbour(n, nb, now);
    if (nb->good) {
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
    return nh_is_local(n->table, a);
}
