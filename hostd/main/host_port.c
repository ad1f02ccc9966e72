/* Plain interfaces as wire ports: deaf to the host while they carry the wire, and given back. */
#include "hostd/base/log.h"
#include "hostd/main/host_internal.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char plain_prefix[] = "if:";

static void set_name(struct host_port *p, const char *name)
{
    size_t skip = sizeof plain_prefix - 1;
    snprintf(p->name, sizeof p->name, "%s", name);
    if (!strncmp(name, plain_prefix, skip) && strlen(name + skip) < sizeof p->device)
        memcpy(p->device, name + skip, strlen(name + skip) + 1);
}

void port_configure(struct host_if *i)
{
    set_name(&i->port[0], i->cfg->port);
    set_name(&i->port[1], i->cfg->standby);
    i->port[0].wanted = true;
}

struct host_port *port_plain(struct host_if *i)
{
    for (unsigned k = 0; k < PORT_COUNT; k++)
        if (i->port[k].device[0])
            return &i->port[k];
    return NULL;
}

/* --- its addresses and routes: taken, or only taken away --- */

struct move {
    struct host_if *i;
    uint32_t from;
    struct nl_addr addr[HOST_TAKEN];
    struct nl_route route[HOST_TAKEN];
    unsigned n_addr, n_route;
};

static bool link_local(const struct ip_addr *a)
{
    return a->family == 6 && a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80;
}

/* What the kernel makes for itself (link-local, router announcements) it makes anew elsewhere. */
static void note_addr(void *ctx, const struct nl_addr *a)
{
    struct move *m = ctx;
    bool of_kernel = a->addr.family == 6 && !(a->flags & IFA_F_PERMANENT) &&
                     !(a->proto == NL_OURS) && a->valid_s != UINT32_MAX;
    if (a->ifindex == m->from && !link_local(&a->addr) && !of_kernel && m->n_addr < HOST_TAKEN)
        m->addr[m->n_addr++] = *a;
}

static void note_route(void *ctx, const struct nl_route *r)
{
    struct move *m = ctx;
    if (r->oif == m->from && r->proto != RTPROT_KERNEL && r->proto != RTPROT_RA &&
        m->n_route < HOST_TAKEN)
        m->route[m->n_route++] = *r;
}

static void note_all(struct move *m)
{
    int r = nl_addr_each(m->i->h->nl, note_addr, m);
    if (!r)
        r = nl_route_each(m->i->h->nl, note_route, m);
    if (r)
        log_event(MSG_HOST_STEP_FAILED, m->i->name, "reading addresses", strerror(-r));
}

static bool configured(const struct cfg_interface *c, const struct nl_addr *a)
{
    for (unsigned k = 0; k < c->n_addresses; k++)
        if (ip_eq(&c->address[k].addr, &a->addr))
            return true;
    return false;
}

static void keep(struct host_if *i, const struct move *m)
{
    for (unsigned k = 0; k < m->n_addr && i->n_addr < HOST_TAKEN; k++)
        i->addr[i->n_addr++] = m->addr[k];
    for (unsigned k = 0; k < m->n_route && i->n_route < HOST_TAKEN; k++)
        i->route[i->n_route++] = m->route[k];
}

static void undress(struct host_if *i, struct host_port *p)
{
    struct move m = {.i = i, .from = p->link.index};
    char text[IP_ADDR_STR];
    note_all(&m);
    bool take = i->cfg->take_addresses && p == port_plain(i);
    if (take)
        keep(i, &m);
    for (unsigned k = 0; k < m.n_addr; k++) {
        if (!take && !configured(i->cfg, &m.addr[k]))
            log_event(MSG_ADDRESS_REMOVED, i->name, ip_str(&m.addr[k].addr, text), m.addr[k].bits,
                      p->name);
        nl_addr_drop(i->h->nl, &m.addr[k]);
    }
    for (unsigned k = 0; k < m.n_route; k++) /* most went with their addresses */
        nl_route_drop(i->h->nl, &m.route[k]);
}

/* --- deaf --- */

/* The drop comes first: from there on the host's stack sees nothing of the wire. */
static int deafen(struct host_if *i, struct host_port *p)
{
    int r = sys_drop_in(p->device);
    host_trouble(&p->trouble, i->name, "the drop of what the port receives (nft netdev ingress)",
                 r);
    if (r)
        return r;
    undress(i, p);
    sys_sysctl("ipv6", p->device, "disable_ipv6", "1"); /* a kernel without IPv6 has no such file */
    r = nl_link_set(i->h->nl, p->link.index, NULL, 0, true);
    host_trouble(&p->trouble, i->name, "setting the port up", r);
    if (!r)
        log_event(MSG_PORT_TAKEN, i->name, p->name);
    return r;
}

/* A socket tells of its device's end or sleep once, and data lets go of it then; its MAC and size
 * are told with it. So after any of these data gets a new one. */
static bool changed(const struct nl_link *a, const struct nl_link *b)
{
    return a->index != b->index || a->mtu != b->mtu || (a->flags & IFF_UP) != (b->flags & IFF_UP) ||
           memcmp(a->mac, b->mac, sizeof a->mac);
}

bool port_prepare(struct host_if *i, struct host_port *p)
{
    struct nl_link link;
    int r = nl_link_get(i->h->nl, p->device, &link);
    if (r) {
        if (p->trouble != r)
            log_event(MSG_PORT_MISSING, i->name, p->name, strerror(-r));
        p->trouble = r;
        p->deaf = false;
        link = (struct nl_link){0};
    }
    if (link.index != p->link.index)
        p->deaf = false; /* another device of the same name */
    if (changed(&link, &p->link))
        port_take_back(i, p);
    p->link = link;
    if (r)
        return false;
    if (!p->deaf && deafen(i, p) == 0) {
        p->deaf = true;
        nl_link_get(i->h->nl, p->device, &p->link);
    }
    return p->deaf;
}

/* --- to data --- */

static struct msg_fd describe(const struct host_if *i, const struct host_port *p)
{
    uint32_t mtu = p->link.mtu < UINT16_MAX ? p->link.mtu : UINT16_MAX;
    struct msg_fd what = {.kind = MSG_FD_PACKET, .ifindex = p->link.index, .mtu = (uint16_t)mtu};
    snprintf(what.name, sizeof what.name, "%.63s", p->name);
    snprintf(what.interface, sizeof what.interface, "%s", i->name);
    memcpy(what.mac, p->link.mac, sizeof what.mac);
    return what;
}

void port_take_back(struct host_if *i, struct host_port *p)
{
    struct msg_fd what = describe(i, p);
    if (p->given && i->h->attached)
        i->h->out.gone(i->h->out.ctx, &what);
    p->given = false;
}

static void give_socket(struct host_if *i, struct host_port *p)
{
    struct msg_fd what = describe(i, p);
    int fd = sys_packet_open(p->link.index);
    host_trouble(&p->trouble, i->name, "opening the port", fd < 0 ? fd : 0);
    if (fd < 0)
        return;
    i->h->out.give(i->h->out.ctx, &what, fd);
    p->given = true;
    close(fd); /* data's alone: what comes while it is dead is not kept for the next one */
}

void port_give(struct host_if *i)
{
    if (!i->h->attached)
        return;
    for (unsigned k = 0; k < PORT_COUNT; k++) {
        struct host_port *p = &i->port[k];
        if (p->device[0] && p->wanted && p->deaf && !p->given && (p->link.flags & IFF_UP))
            give_socket(i, p);
    }
}

/* --- given back --- */

static void dress(struct host_if *i, const struct host_port *p, const struct move *m)
{
    struct nl *nl = i->h->nl;
    for (unsigned k = 0; k < m->n_addr; k++) {
        struct nl_addr a = m->addr[k];
        nl_addr_drop(nl, &a);
        a.ifindex = p->link.index;
        a.proto = 0;
        nl_addr_put(nl, &a);
    }
    for (unsigned k = 0; k < m->n_route; k++) {
        struct nl_route r = m->route[k];
        bool default_route = r.bits == 0 && r.via.family;
        nl_route_drop(nl, &r);
        if (r.proto == NL_OURS && !default_route)
            continue; /* a policy's: it meant the tunnel */
        r.oif = p->link.index;
        r.mtu = 0;
        if (r.proto == NL_OURS) {
            r.proto = RTPROT_STATIC;
            r.src = (struct ip_addr){0};
        }
        nl_route_put(nl, &r);
    }
}

void port_return(struct host_if *i)
{
    struct host_port *to = port_plain(i);
    struct move m = {.i = i, .from = i->link.index};
    note_all(&m);
    /* What was taken from the port and never reached the TAP. */
    for (unsigned k = 0; k < i->n_addr && m.n_addr < HOST_TAKEN; k++)
        m.addr[m.n_addr++] = i->addr[k];
    for (unsigned k = 0; k < i->n_route && m.n_route < HOST_TAKEN; k++)
        m.route[m.n_route++] = i->route[k];
    for (unsigned k = 0; k < PORT_COUNT; k++) {
        struct host_port *p = &i->port[k];
        if (!p->device[0] || nl_link_get(i->h->nl, p->device, &p->link))
            continue;
        sys_ipv6_back(p->device);
        if (p == to)
            dress(i, p, &m);
        sys_drop_out(p->device);
        p->deaf = false;
        log_event(MSG_PORT_RETURNED, i->name, p->name);
    }
}
