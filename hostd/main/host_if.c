/* One interface of the host: its TAP, addresses and routes. */
#include "hostd/base/log.h"
#include "hostd/main/host_internal.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ADDRS_MAX = 512 };

/* --- the TAP --- */

/* None of these hinders duplicate address detection or autoconfiguration: IPv6 stays as it comes.
 */
static const struct {
    const char *family, *key, *value;
} tap_sysctls[] = {
    /* A gateway forwards between tunnels on one interface: no redirects around them. */
    {"ipv4", "send_redirects", "0"},
    /* A MAC learnt late, or moved to another port, is told to the neighbours. */
    {"ipv4", "arp_notify", "1"},
    {"ipv6", "ndisc_notify", "1"},
};

static int open_tap(struct host_if *i)
{
    uint32_t index;
    int fd = sys_tap_open(i->name, i->h->tap_owner, &index);
    if (fd < 0) {
        if (i->trouble != fd)
            log_event(MSG_TAP_FAILED, i->name, strerror(-fd));
        i->trouble = fd;
        return fd;
    }
    i->trouble = 0;
    i->tap = fd;
    /* Duplicate address detection must not run while nobody carries its packets. */
    sys_tap_carrier(fd, i->h->served);
    for (size_t k = 0; k < sizeof tap_sysctls / sizeof *tap_sysctls; k++)
        sys_sysctl(tap_sysctls[k].family, i->name, tap_sysctls[k].key, tap_sysctls[k].value);
    return 0;
}

static uint16_t wanted_mtu(const struct host_if *i)
{
    if (!i->mtu)
        return i->cfg->mtu;
    return i->cfg->mtu && i->cfg->mtu < i->mtu ? i->cfg->mtu : i->mtu;
}

static void set_link(struct host_if *i)
{
    uint16_t mtu = wanted_mtu(i);
    /* Not up before its MAC is known: the link-local address is made from it. */
    bool up = if_may_have_addresses(i);
    bool mac = i->known && memcmp(i->mac, i->link.mac, sizeof i->mac);
    bool size = mtu && mtu != i->link.mtu;
    if (!mac && !size && (!up || (i->link.flags & IFF_UP)))
        return;
    int r = nl_link_set(i->h->nl, i->link.index, mac ? i->mac : NULL, size ? mtu : 0, up);
    host_trouble(&i->trouble, i->name, "setting MAC, MTU and state of the interface", r);
    nl_link_get(i->h->nl, i->name, &i->link);
}

bool if_may_have_addresses(const struct host_if *i)
{
    return i->known || i->waited;
}

void if_learn(struct host_if *i, const uint8_t mac[6], uint16_t mtu)
{
    memcpy(i->mac, mac, sizeof i->mac);
    if (mtu)
        i->mtu = mtu;
    i->known = true;
}

/* --- addresses --- */

struct addr_list {
    struct nl_addr a[ADDRS_MAX];
    unsigned n;
};

static void list_addr(void *ctx, const struct nl_addr *a)
{
    struct addr_list *l = ctx;
    if (l->n < ADDRS_MAX)
        l->a[l->n++] = *a;
}

static bool wants_addr(const struct host_if *i, const struct nl_addr *a)
{
    for (unsigned k = 0; k < i->cfg->n_addresses; k++)
        if (ip_eq(&i->cfg->address[k].addr, &a->addr) && i->cfg->address[k].bits == a->bits)
            return true;
    return false;
}

static bool has_addr(const struct host_if *i, const struct addr_list *l, const struct cfg_addr *w)
{
    for (unsigned k = 0; k < l->n; k++)
        if (l->a[k].ifindex == i->link.index && l->a[k].bits == w->bits &&
            ip_eq(&l->a[k].addr, &w->addr))
            return true;
    return false;
}

static void put_addr(struct host_if *i, struct nl_addr a)
{
    a.ifindex = i->link.index;
    a.proto = NL_OURS;
    int r = nl_addr_put(i->h->nl, &a);
    host_trouble(&i->trouble, i->name, "adding an address", r);
}

/* Ours that are configured no longer go; those taken from the port stay, since nothing but the port
 * says what they are. */
static void set_addresses(struct host_if *i, const struct addr_list *l)
{
    for (unsigned k = 0; k < i->n_addr; k++)
        put_addr(i, i->addr[k]);
    i->n_addr = 0;
    for (unsigned k = 0; k < i->cfg->n_addresses; k++) {
        const struct cfg_addr *w = &i->cfg->address[k];
        if (!has_addr(i, l, w))
            put_addr(i, (struct nl_addr){.addr = w->addr,
                                         .bits = w->bits,
                                         .preferred_s = UINT32_MAX,
                                         .valid_s = UINT32_MAX});
    }
    for (unsigned k = 0; k < l->n && !i->cfg->take_addresses; k++)
        if (l->a[k].ifindex == i->link.index && l->a[k].proto == NL_OURS &&
            !wants_addr(i, &l->a[k]))
            nl_addr_drop(i->h->nl, &l->a[k]);
}

static void move_routes(struct host_if *i)
{
    for (unsigned k = 0; k < i->n_route; k++) {
        struct nl_route r = i->route[k];
        r.oif = i->link.index;
        host_trouble(&i->trouble, i->name, "moving a route of the port",
                     nl_route_put(i->h->nl, &r));
    }
    i->n_route = 0;
}

/* --- routes --- */

struct route_list {
    uint32_t oif;
    struct plan_route *r;
    unsigned n, room;
};

static void list_route(void *ctx, const struct nl_route *r)
{
    struct route_list *l = ctx;
    if (r->oif != l->oif || r->proto != NL_OURS || r->metric != NL_METRIC)
        return;
    if (l->n == l->room) {
        unsigned room = l->room ? l->room * 2 : 32;
        struct plan_route *more = realloc(l->r, room * sizeof *more);
        if (!more)
            return;
        l->r = more;
        l->room = room;
    }
    l->r[l->n++] = (struct plan_route){{r->dst, r->bits}, r->via, r->src, (uint16_t)r->mtu, 0};
}

static struct nl_route to_nl(const struct host_if *i, const struct plan_route *r)
{
    return (struct nl_route){.dst = r->dst.addr,
                             .bits = r->dst.bits,
                             .proto = NL_OURS,
                             .scope = r->via.family || r->dst.addr.family == 6 ? RT_SCOPE_UNIVERSE
                                                                               : RT_SCOPE_LINK,
                             .onlink = true,
                             .via = r->via,
                             .src = r->src,
                             .oif = i->link.index,
                             .metric = NL_METRIC,
                             .mtu = r->mtu};
}

static void put_route(void *ctx, const struct plan_route *r)
{
    struct host_if *i = ctx;
    struct nl_route n = to_nl(i, r);
    char step[96], addr[IP_ADDR_STR];
    snprintf(step, sizeof step, "adding the route to %s/%u", ip_str(&r->dst.addr, addr),
             r->dst.bits);
    host_trouble(&i->trouble, i->name, step, nl_route_put(i->h->nl, &n));
}

static void drop_route(void *ctx, const struct plan_route *r)
{
    struct host_if *i = ctx;
    struct nl_route n = to_nl(i, r);
    nl_route_drop(i->h->nl, &n);
}

static void set_routes(struct host_if *i, const struct addr_list *l)
{
    static struct plan_addr addrs[ADDRS_MAX];
    struct route_list have = {.oif = i->link.index};
    struct plan want;
    for (unsigned k = 0; k < l->n; k++)
        addrs[k] = (struct plan_addr){
            {l->a[k].addr, l->a[k].bits},
            l->a[k].ifindex,
            !(l->a[k].flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED | IFA_F_DEPRECATED))};
    if (!nl_route_each(i->h->nl, list_route, &have) &&
        !plan_make(&want, i->h->cfg, i->cfg, i->link.index, addrs, l->n,
                   i->link.mtu ? i->link.mtu : 1500)) {
        plan_diff(have.r, have.n, &want, put_route, drop_route, i);
        plan_free(&want);
    }
    free(have.r);
}

/* --- all of it --- */

static void learn_from_plain(struct host_if *i)
{
    struct host_port *p = port_plain(i);
    if (!p || !p->deaf)
        return;
    /* A card tells its own MAC; until then (or where it never comes) the standby's serves. */
    if (p == &i->port[0] || (!i->known && i->waited))
        if_learn(i, p->link.mac, (uint16_t)(p->link.mtu > 65535 ? 65535 : p->link.mtu));
}

void if_apply(struct host_if *i)
{
    static struct addr_list l;
    for (unsigned k = 0; k < PORT_COUNT; k++)
        if (i->port[k].device[0])
            port_prepare(i, &i->port[k]);
    learn_from_plain(i);
    if (i->tap < 0 && open_tap(i))
        return;
    if (nl_link_get(i->h->nl, i->name, &i->link))
        return;
    set_link(i);
    l.n = 0;
    if (nl_addr_each(i->h->nl, list_addr, &l) || !if_may_have_addresses(i))
        return;
    set_addresses(i, &l);
    move_routes(i);
    l.n = 0;
    if (!nl_addr_each(i->h->nl, list_addr, &l))
        set_routes(i, &l);
}

void if_give(struct host_if *i)
{
    if (!i->h->attached || i->tap < 0)
        return;
    if (!i->tap_given) {
        struct msg_fd what = {
            .kind = MSG_FD_TAP, .ifindex = i->link.index, .mtu = (uint16_t)i->link.mtu};
        memcpy(what.name, i->name, sizeof what.name);
        memcpy(what.interface, i->name, sizeof what.interface);
        memcpy(what.mac, i->link.mac, sizeof what.mac);
        i->h->out.give(i->h->out.ctx, &what, i->tap);
        i->tap_given = true;
    }
    port_give(i);
}

void if_close(struct host_if *i)
{
    if (i->tap >= 0)
        close(i->tap);
    if (i->wait)
        event_free(i->wait);
    *i = (struct host_if){.h = i->h, .tap = -1};
}
