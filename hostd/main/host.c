#include "hostd/main/host.h"

#include "hostd/base/log.h"
#include "hostd/main/child.h"
#include "hostd/main/host_internal.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    SETTLE_MS = 30,        /* the kernel's changes come in flocks */
    CARD_WAIT_S = 2,       /* for a card to tell its MAC before addresses go up without */
    PROBES_PER_SECOND = 50 /* and as many at once */
};

void host_trouble(int *trouble, const char *object, const char *step, int r)
{
    if (!r || *trouble == r)
        return;
    *trouble = r;
    log_event(MSG_HOST_STEP_FAILED, object, step, strerror(-r));
}

static void apply_all(struct host *h)
{
    for (unsigned k = 0; k < CFG_INTERFACES; k++)
        if (h->ifs[k].name[0]) {
            if_apply(&h->ifs[k]);
            if_give(&h->ifs[k]);
        }
}

/* --- the kernel tells of changes --- */

static void on_settle(evutil_socket_t fd, short what, void *ctx)
{
    struct host *h = ctx;
    if (h->cfg)
        apply_all(h);
}

static void on_changed(evutil_socket_t fd, short what, void *ctx)
{
    struct host *h = ctx;
    char buf[16384];
    /* What happened does not matter: everything is compared with what is wanted. Lost records
     * (ENOBUFS) are a change like others. */
    while (recv(fd, buf, sizeof buf, 0) > 0 || errno == ENOBUFS)
        errno = 0;
    struct timeval tv = {0, SETTLE_MS * 1000};
    if (!evtimer_pending(h->settle, NULL))
        event_add(h->settle, &tv);
}

/* --- life --- */

int host_new(struct host **out, struct event_base *base, const struct host_out *give,
             uid_t tap_owner)
{
    struct host *h = calloc(1, sizeof *h);
    if (!h)
        return -ENOMEM;
    h->base = base;
    h->out = *give;
    h->tap_owner = tap_owner;
    h->probe_tokens = PROBES_PER_SECOND;
    for (unsigned k = 0; k < CFG_INTERFACES; k++)
        h->ifs[k] = (struct host_if){.h = h, .tap = -1};
    h->monitor = nl_monitor(RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR);
    int r = h->monitor < 0 ? h->monitor : nl_new(&h->nl);
    if (!r) {
        h->changed = event_new(base, h->monitor, EV_READ | EV_PERSIST, on_changed, h);
        h->settle = evtimer_new(base, on_settle, h);
        r = h->changed && h->settle && !event_add(h->changed, NULL) ? 0 : -ENOMEM;
    }
    if (r)
        host_free(h);
    else
        *out = h;
    return r;
}

void host_free(struct host *h)
{
    if (!h)
        return;
    for (unsigned k = 0; k < CFG_INTERFACES; k++)
        if_close(&h->ifs[k]);
    cards_free(h);
    if (h->changed)
        event_free(h->changed);
    if (h->settle)
        event_free(h->settle);
    if (h->monitor >= 0)
        close(h->monitor);
    nl_free(h->nl);
    free(h);
}

/* --- configuration --- */

static void on_waited(evutil_socket_t fd, short what, void *ctx)
{
    struct host_if *i = ctx;
    i->waited = true;
    if (!i->known) {
        if_apply(i);
        if_give(i);
    }
}

static struct host_if *find(struct host *h, const char *name)
{
    for (unsigned k = 0; k < CFG_INTERFACES && name[0]; k++)
        if (!strcmp(h->ifs[k].name, name))
            return &h->ifs[k];
    return NULL;
}

static void make_if(struct host *h, const struct cfg_interface *c)
{
    struct host_if *i = NULL;
    for (unsigned k = 0; k < CFG_INTERFACES && !i; k++)
        if (!h->ifs[k].name[0])
            i = &h->ifs[k];
    if (!i)
        return;
    *i = (struct host_if){.h = h, .tap = -1, .cfg = c};
    memcpy(i->name, c->name, sizeof i->name);
    port_configure(i);
    struct timeval tv = {CARD_WAIT_S, 0};
    i->wait = evtimer_new(h->base, on_waited, i);
    if (!i->wait || event_add(i->wait, &tv))
        i->waited = true;
}

static void remove_if(struct host_if *i)
{
    for (unsigned k = 0; k < PORT_COUNT; k++)
        port_take_back(i, &i->port[k]);
    struct msg_fd tap = {.kind = MSG_FD_TAP};
    memcpy(tap.name, i->name, sizeof tap.name);
    memcpy(tap.interface, i->name, sizeof tap.interface);
    if (i->tap_given && i->h->attached)
        i->h->out.gone(i->h->out.ctx, &tap);
    port_return(i);
    if (i->tap >= 0)
        sys_tap_forget(i->tap);
    i->tap = -1;
    if_close(i);
}

/* Other ports under the same name: the TAP with its addresses stays, the old ports are let go. */
static void change_ports(struct host_if *i, const struct cfg_interface *c)
{
    struct host_port old[PORT_COUNT];
    memcpy(old, i->port, sizeof old);
    memset(i->port, 0, sizeof i->port);
    i->cfg = c;
    port_configure(i);
    for (unsigned k = 0; k < PORT_COUNT; k++) {
        struct host_port *o = &old[k], *kept = NULL;
        for (unsigned n = 0; n < PORT_COUNT; n++)
            if (o->name[0] && !strcmp(i->port[n].name, o->name))
                kept = &i->port[n];
        if (kept) {
            bool wanted = kept->wanted;
            *kept = *o;
            kept->wanted |= wanted;
            continue;
        }
        port_take_back(i, o);
        if (o->device[0]) {
            sys_drop_out(o->device);
            sys_ipv6_back(o->device);
        }
    }
}

static const struct cfg_interface *wanted_if(const struct cfg *cfg, const char *name)
{
    for (unsigned k = 0; k < cfg->n_interfaces; k++)
        if (!strcmp(cfg->interfaces[k].name, name))
            return &cfg->interfaces[k];
    return NULL;
}

void host_configure(struct host *h, const struct cfg *cfg)
{
    h->cfg = cfg;
    for (unsigned k = 0; k < CFG_INTERFACES; k++) {
        struct host_if *i = &h->ifs[k];
        const struct cfg_interface *c = i->name[0] ? wanted_if(cfg, i->name) : NULL;
        if (i->name[0] && !c)
            remove_if(i);
        else if (c && (strcmp(i->port[0].name, c->port) || strcmp(i->port[1].name, c->standby)))
            change_ports(i, c);
        if (c)
            i->cfg = c;
    }
    for (unsigned k = 0; k < cfg->n_interfaces; k++)
        if (!find(h, cfg->interfaces[k].name))
            make_if(h, &cfg->interfaces[k]);
    apply_all(h);
    cards_configure(h);
}

/* --- data --- */

static void give_netlink(struct host *h)
{
    struct msg_fd what = {.kind = MSG_FD_NETLINK};
    int fd = nl_monitor(RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE |
                        RTMGRP_IPV6_ROUTE | RTMGRP_NEIGH);
    if (fd < 0)
        return;
    h->out.give(h->out.ctx, &what, fd);
    close(fd);
}

void host_attach(struct host *h)
{
    h->attached = true;
    give_netlink(h);
    for (unsigned k = 0; k < CFG_INTERFACES; k++)
        if (h->ifs[k].name[0])
            if_give(&h->ifs[k]);
    cards_configure(h);
}

void host_ready(struct host *h)
{
    h->served = true;
    for (unsigned k = 0; k < CFG_INTERFACES; k++)
        if (h->ifs[k].name[0] && h->ifs[k].tap >= 0)
            sys_tap_carrier(h->ifs[k].tap, true);
}

void host_detach(struct host *h)
{
    h->attached = false;
    for (unsigned k = 0; k < CFG_INTERFACES; k++) {
        struct host_if *i = &h->ifs[k];
        i->tap_given = false;
        for (unsigned p = 0; p < PORT_COUNT; p++) {
            i->port[p].given = false;
            i->port[p].wanted = p == 0;
        }
    }
    cards_detach(h);
}

void host_card_gone(struct host *h, const struct msg_fd *what)
{
    card_gone(h, what->name);
}

void host_port_want(struct host *h, const struct msg_fd *what)
{
    struct host_if *i = find(h, what->interface);
    struct host_port *p = i ? &i->port[1] : NULL;
    if (!p || strncmp(p->name, what->name, sizeof what->name - 1))
        return;
    if (!p->device[0]) {
        cards_want(h, p->name, what->arg);
        return;
    }
    p->wanted = what->arg;
    p->given = false; /* closed by data, or to be opened */
    port_give(i);
}

void host_probe(struct host *h, const struct msg_probe *what)
{
    struct host_if *i = find(h, what->interface);
    uint64_t now = now_ns();
    h->probe_tokens += (double)(now - h->probe_at) / 1e9 * PROBES_PER_SECOND;
    h->probe_at = now;
    if (h->probe_tokens > PROBES_PER_SECOND)
        h->probe_tokens = PROBES_PER_SECOND;
    if (!i || !i->link.index || !ip_len(what->family) || h->probe_tokens < 1)
        return;
    h->probe_tokens--;
    struct ip_addr a = {.family = what->family};
    memcpy(a.b, what->addr, ip_len(what->family));
    nl_neigh_use(h->nl, i->link.index, &a); /* refused for an address that is no neighbour */
}

void host_port_info(struct host *h, const struct msg_port_info *what)
{
    struct host_if *i = find(h, what->interface);
    static const uint8_t none[6];
    /* Only of a card: a plain interface's we know better. Not a group address, not zero. */
    if (!i || i->port[0].device[0] || (what->mac[0] & 1) || !memcmp(what->mac, none, sizeof none))
        return;
    if_learn(i, what->mac, what->mtu);
    if_apply(i);
    if_give(i);
}

/* --- the end --- */

void host_release(struct host *h, bool give_back)
{
    for (unsigned k = 0; k < CFG_INTERFACES; k++) {
        struct host_if *i = &h->ifs[k];
        if (!i->name[0] || (!give_back && i->cfg->after_stop == CFG_STOP_DISCARD))
            continue;
        if (!give_back && !port_plain(i))
            continue; /* a card's wire has nobody to pass to */
        port_return(i);
        if (i->tap >= 0)
            sys_tap_forget(i->tap);
        i->tap = -1;
    }
}

/* --- status --- */

static json_t *port_status(const struct host_port *p)
{
    return json_pack("{s:s,s:s,s:b,s:b,s:b}", "name", p->name, "kind",
                     p->device[0] ? "interface" : "card", "there", p->link.index != 0, "deaf",
                     p->deaf, "given", p->given);
}

static json_t *if_status(const struct host_if *i)
{
    char mac[18];
    const uint8_t *m = i->link.mac;
    snprintf(mac, sizeof mac, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
    json_t *ports = json_array();
    for (unsigned k = 0; k < PORT_COUNT; k++)
        if (i->port[k].name[0])
            json_array_append_new(ports, port_status(&i->port[k]));
    return json_pack("{s:s,s:b,s:i,s:s,s:i,s:b,s:s,s:o}", "name", i->name, "made", i->tap >= 0,
                     "index", (int)i->link.index, "mac", mac, "mtu", (int)i->link.mtu, "mac_known",
                     i->known, "after_stop",
                     i->cfg->after_stop == CFG_STOP_PASS ? "pass" : "discard", "ports", ports);
}

json_t *host_status(const struct host *h)
{
    json_t *ifs = json_array(), *cards = json_array();
    for (unsigned k = 0; k < CFG_INTERFACES; k++)
        if (h->ifs[k].name[0])
            json_array_append_new(ifs, if_status(&h->ifs[k]));
    for (unsigned k = 0; k < CFG_CARDS; k++) {
        const struct host_card *c = &h->cards[k];
        if (c->name[0])
            json_array_append_new(cards,
                                  json_pack("{s:s,s:s,s:b,s:b,s:s}", "name", c->name, "at", c->at,
                                            "wanted", c->wanted, "open", c->given, "trouble",
                                            c->given || !c->trouble ? "" : strerror(-c->trouble)));
    }
    return json_pack("{s:o,s:o}", "interfaces", ifs, "cards", cards);
}
