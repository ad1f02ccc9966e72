/* Checks between keys of a record and between records: see read.h. */
#include "hostd/main/config/read.h"
#include "hostd/main/config/value.h"

#include <string.h>

/* An error of a key, with a remedy that fits the case better than the key's own. */
__attribute__((format(printf, 5, 6))) static void fail(struct loader *l, struct rec *r,
                                                       const char *key, const char *remedy,
                                                       const char *what, ...)
{
    char text[REPORT_WHAT];
    va_list ap;

    va_start(ap, what);
    vsnprintf(text, sizeof text, what, ap);
    va_end(ap);
    if (report_full(&l->report))
        return;
    rec_error(l, r, key, "%s", text);
    report_remedy(&l->report, "%s", remedy);
}

/* True when a name that is not found is certainly missing. */
static bool names_known(const struct loader *l, enum schema_object_id id)
{
    for (const struct rec *r = l->first[id]; r; r = r->next)
        if (!*rec_name(r))
            return false;
    return !l->incomplete;
}

static void check_named(struct loader *l, struct rec *r, const char *key, enum schema_object_id id,
                        const char *name)
{
    const char *words[64] = {NULL}, *near, *what = schema_object(id)->name;
    unsigned n = 0;
    char remedy[REPORT_REMEDY];

    if (!*name || rec_find(l, id, name) || !names_known(l, id))
        return;
    for (const struct rec *o = l->first[id]; o && n < 63; o = o->next)
        words[n++] = rec_name(o);
    near = value_nearest(name, words);
    if (near)
        snprintf(remedy, sizeof remedy, "did you mean %s?", near);
    else
        snprintf(remedy, sizeof remedy, "add the %s, as in %s", what, schema_object(id)->example);
    fail(l, r, key, remedy, "there is no %s \"%.60s\"", what, name);
}

/* --- policies -----------------------------------------------------------------------------------
 */

static void policy_families(struct loader *l, struct rec *r, const struct draft_policy *p)
{
    uint8_t a = p->local.lo.family, b = p->remote.lo.family, family = a ? a : b;

    if (a && b && a != b)
        fail(l, r, "remote", "write both as IPv4 or both as IPv6, in two policies where needed",
             "local is IPv%u and remote is IPv%u", a, b);
    else if (p->proto == IPP_ICMP && family == 6)
        fail(l, r, "protocol", "write protocol: icmpv6", "icmp is for IPv4");
    else if (p->proto == IPP_ICMPV6 && family == 4)
        fail(l, r, "protocol", "write protocol: icmp", "icmpv6 is for IPv6");
}

static void policy_protect_only(struct loader *l, struct rec *r, const struct draft_policy *p)
{
    static const char *const keys[] = {"transforms", "tunnel", "mode", "encap",
                                       "esn",        "window", "soft"};

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (p->action != SPD_PROTECT && rec_has(r, keys[i]))
            fail(l, r, keys[i], "take it out, or write action: protect",
                 "only a policy with action protect has this");
}

static void policy_transforms(struct loader *l, struct rec *r, const struct draft_policy *p)
{
    if (p->action == SPD_PROTECT && p->n_transforms == 0)
        fail(l, r, "transforms", schema_key_find(OBJ_POLICY, "transforms")->remedy,
             "a policy with action protect needs one");
    for (unsigned i = 0; i < p->n_transforms; i++)
        for (unsigned k = 0; k < i; k++)
            if (p->transforms[i].suite == p->transforms[k].suite)
                fail(l, r, "transforms", "keep one of the two", "%s is given twice",
                     p->transforms[i].suite->name);
}

static void policy_mode(struct loader *l, struct rec *r, const struct draft_policy *p)
{
    if (p->action != SPD_PROTECT)
        return;
    if (p->mode == ESP_TRANSPORT && p->tunnel[0])
        fail(l, r, "mode", "take mode out, or take tunnel out",
             "transport mode has no tunnel, and the policy names one");
    if (p->mode == ESP_TUNNEL && !p->tunnel[0])
        fail(l, r, "mode", "add tunnel: with the name of a record of tunnel",
             "tunnel mode needs a tunnel");
}

static bool has_ports(uint32_t proto)
{
    return proto == IPP_TCP || proto == IPP_UDP || proto == 33 || proto == 132 || proto == 136;
}

static void icmp_ports(struct loader *l, struct rec *r, const struct draft_policy *p)
{
    if (p->remote_port.written)
        fail(l, r, "remote-port", "write the type as local-port", "ICMP has no ports");
    if (p->local_port.hi > 255 && p->local_port.written)
        fail(l, r, "local-port", "write a type from 0 to 255, or type/code",
             "%u is not a type of ICMP", p->local_port.hi);
}

static void policy_ports(struct loader *l, struct rec *r, const struct draft_policy *p)
{
    static const char *const keys[2] = {"local-port", "remote-port"};
    const struct draft_ports *ports[2] = {&p->local_port, &p->remote_port};

    if (p->proto == IPP_ICMP || p->proto == IPP_ICMPV6) {
        icmp_ports(l, r, p);
        return;
    }
    for (int i = 0; i < 2; i++) {
        if (!ports[i]->written)
            continue;
        if (!has_ports(p->proto))
            fail(l, r, keys[i], "add protocol: tcp, udp, sctp, dccp or udplite",
                 "the protocol has no ports");
        else if (ports[i]->has_code)
            fail(l, r, keys[i], "write a port or a range", "type/code is for ICMP");
    }
}

static void check_policy(struct loader *l, struct rec *r)
{
    static void (*const rules[])(struct loader *, struct rec *, const struct draft_policy *) = {
        policy_families, policy_protect_only, policy_transforms, policy_mode, policy_ports,
    };
    const struct draft_policy *p = r->data;
    bool bad = r->bad;

    check_named(l, r, "tunnel", OBJ_TUNNEL, p->tunnel);
    for (size_t i = 0; i < sizeof rules / sizeof *rules && !bad; i++)
        rules[i](l, r, p);
}

/* --- tunnels and interfaces ---------------------------------------------------------------------
 */

static void check_tunnel(struct loader *l, struct rec *r)
{
    const struct draft_tunnel *t = r->data;

    if (r->bad)
        return;
    if (t->local.family != t->remote.family)
        fail(l, r, "remote", "write both ends as IPv4 or both as IPv6",
             "local is IPv%u and remote is IPv%u", t->local.family, t->remote.family);
    else if (ip_eq(&t->local, &t->remote))
        fail(l, r, "remote", "write the address of the other host", "both ends are one address");
}

static void check_port(struct loader *l, struct rec *r, const char *key, const char *port)
{
    const struct cfg_interface *f = &((struct draft_interface *)r->data)->out;

    if (strncmp(port, "if:", 3) != 0)
        check_named(l, r, key, OBJ_CARD, port);
    else if (strcmp(port + 3, f->name) == 0)
        fail(l, r, key, "name the plain interface that is the wire", "%s would be its own wire",
             f->name);
}

static void check_port_shared(struct loader *l, struct rec *r, const char *key, const char *port)
{
    for (struct rec *o = l->first[OBJ_INTERFACE]; o != r && *port; o = o->next) {
        const struct cfg_interface *f = &((struct draft_interface *)o->data)->out;
        if (strcmp(f->port, port) == 0 || strcmp(f->standby, port) == 0)
            fail(l, r, key, "give every interface a port of its own", "%.60s is used by %.60s too",
                 port, f->name);
    }
}

static void check_ports(struct loader *l, struct rec *r, const struct cfg_interface *f)
{
    check_port(l, r, "port", f->port);
    check_port(l, r, "standby", f->standby);
    check_port_shared(l, r, "port", f->port);
    check_port_shared(l, r, "standby", f->standby);
    if (*f->port && strcmp(f->port, f->standby) == 0)
        fail(l, r, "standby", "name another card, or the plain interface on the same wire",
             "port and standby are one");
}

static bool same_network(const struct cfg_addr *n, const struct ip_addr *a)
{
    unsigned full = n->bits / 8, rest = n->bits % 8;

    if (n->addr.family != a->family || memcmp(n->addr.b, a->b, full) != 0)
        return false;
    return rest == 0 || (n->addr.b[full] ^ a->b[full]) >> (8 - rest) == 0;
}

static bool link_local(const struct ip_addr *a)
{
    return a->family == 6 && a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80;
}

static void check_gateway(struct loader *l, struct rec *r, const struct cfg_interface *f,
                          const struct ip_addr *gateway)
{
    char text[IP_ADDR_STR];
    bool found = link_local(gateway) || f->take_addresses || !f->n_addresses;

    for (unsigned i = 0; i < f->n_addresses && !found; i++)
        found = same_network(&f->address[i], gateway);
    if (gateway->family && !found)
        fail(l, r, "gateway", "write a gateway of one of the networks of address",
             "%s is in none of the interface's networks", ip_str(gateway, text));
}

static void check_addresses(struct loader *l, struct rec *r, const struct cfg_interface *f)
{
    unsigned mtu = ((const struct draft_interface *)r->data)->mtu;

    if (f->take_addresses && f->n_addresses)
        fail(l, r, "address", "write from-port alone, or addresses alone",
             "from-port stands beside addresses");
    if (f->take_addresses && strncmp(f->port, "if:", 3) != 0 && strncmp(f->standby, "if:", 3) != 0)
        fail(l, r, "address", "write the addresses: a card has none",
             "from-port needs a plain interface as port or standby");
    for (unsigned i = 0; i < f->n_addresses; i++) {
        if (f->address[i].addr.family == 6 && mtu && mtu < 1280) {
            fail(l, r, "mtu", "write mtu: 1280 or more", "IPv6 needs at least 1280");
            break;
        }
    }
    check_gateway(l, r, f, &f->gateway4);
    check_gateway(l, r, f, &f->gateway6);
}

static void check_interface(struct loader *l, struct rec *r)
{
    const struct cfg_interface *f = &((struct draft_interface *)r->data)->out;
    bool bad = r->bad;

    check_ports(l, r, f);
    if (!bad)
        check_addresses(l, r, f);
}

static void check_limits(struct loader *l, struct rec *r)
{
    const struct draft_limits *d = r->data;

    if (r->node && !r->bad && d->hold_per_flow > d->hold)
        fail(l, r, rec_has(r, "hold-per-flow") ? "hold-per-flow" : "hold",
             "write hold-per-flow not larger than hold",
             "one flow may hold %u packets and all together only %u", d->hold_per_flow, d->hold);
}

static void each(struct loader *l, enum schema_object_id id,
                 void (*check)(struct loader *, struct rec *))
{
    for (struct rec *r = l->first[id]; r && !report_full(&l->report); r = r->next)
        check(l, r);
}

int cross_check(struct loader *l, struct cfg *out)
{
    each(l, OBJ_INTERFACE, check_interface);
    each(l, OBJ_POLICY, check_policy);
    each(l, OBJ_TUNNEL, check_tunnel);
    each(l, OBJ_LIMITS, check_limits);
    return l->report.n ? 0 : build_cfg(l, out);
}
