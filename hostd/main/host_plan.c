#include "hostd/main/host_plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- sizes --- */

enum { IPV4_LEAST = 68 }; /* RFC 791: every link carries that much */

static unsigned transform_mtu(unsigned port_mtu, const struct spd_policy *p,
                              const struct esp_suite *s)
{
    unsigned outer = p->tunnel_remote.family == 6 ? 40 : 20;
    unsigned fixed = outer + (p->encap == ESP_ENCAP_NONE ? 0 : 8) + 8 + s->iv_len + s->icv_len;
    if (port_mtu <= fixed + 2)
        return 0;
    unsigned cipher = port_mtu - fixed;
    unsigned align = s->pad_to > 4 ? s->pad_to : 4; /* RFC 4303: at least to 4 */
    cipher -= cipher % align;
    cipher -= cipher ? 2 : 0; /* pad length and next header */
    return cipher < IPV4_LEAST ? 0 : cipher;
}

unsigned plan_mtu(unsigned port_mtu, const struct spd_policy *p)
{
    unsigned least = 0;
    for (unsigned i = 0; i < p->n_transforms; i++) {
        if (!p->transforms[i].suite)
            continue;
        unsigned mtu = transform_mtu(port_mtu, p, p->transforms[i].suite);
        if (!least || mtu < least)
            least = mtu;
    }
    return least;
}

/* --- prefixes: an address is its octets, so the arithmetic is by bit --- */

static bool bit(const struct ip_addr *a, unsigned i)
{
    return a->b[i / 8] >> (7 - i % 8) & 1;
}

/* The last address of the prefix that begins at a. */
static struct ip_addr last_of(const struct ip_addr *a, unsigned bits)
{
    struct ip_addr last = *a;
    for (unsigned i = bits; i < ip_len(a->family) * 8; i++)
        last.b[i / 8] |= (uint8_t)(0x80 >> i % 8);
    return last;
}

/* a + 1: false when that wraps. */
static bool next_addr(struct ip_addr *a)
{
    for (size_t i = ip_len(a->family); i-- > 0;)
        if (++a->b[i])
            return true;
    return false;
}

unsigned plan_prefixes(const struct ip_range *r, uint8_t family, struct plan_prefix *out,
                       unsigned max)
{
    unsigned n = 0, all = (unsigned)ip_len(family) * 8;
    if (r->lo.family == 0) {
        if (max)
            out[n++] = (struct plan_prefix){.addr = {.family = family}};
        return n;
    }
    if (r->lo.family != family)
        return 0;
    struct ip_addr at = r->lo;
    while (n < max && ip_cmp(&at, &r->hi) <= 0) {
        /* The shortest prefix that begins here and does not reach beyond the end. */
        unsigned bits = all;
        while (bits > 0 && !bit(&at, bits - 1)) {
            struct ip_addr last = last_of(&at, bits - 1);
            if (ip_cmp(&last, &r->hi) > 0)
                break;
            bits--;
        }
        out[n++] = (struct plan_prefix){at, (uint8_t)bits};
        at = last_of(&at, bits);
        if (!next_addr(&at))
            break;
    }
    return n;
}

bool plan_contains(const struct plan_prefix *p, const struct ip_addr *a)
{
    if (p->addr.family != a->family)
        return false;
    for (unsigned i = 0; i < p->bits; i++)
        if (bit(&p->addr, i) != bit(a, i))
            return false;
    return true;
}

/* Has the interface an address whose link p lies in (a prefix) or is (the same prefix)? */
enum link { LINK_NO, LINK_WITHIN, LINK_SAME };

static enum link on_link(const struct plan_prefix *p, uint32_t own, const struct plan_addr *addrs,
                         unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (addrs[i].ifindex != own || addrs[i].p.bits > p->bits)
            continue;
        if (plan_contains(&addrs[i].p, &p->addr))
            return addrs[i].p.bits == p->bits ? LINK_SAME : LINK_WITHIN;
    }
    return LINK_NO;
}

/* --- which interface --- */

static const struct ip_addr *gateway_of(const struct cfg_interface *i, uint8_t family)
{
    return family == 6 ? &i->gateway6 : &i->gateway4;
}

static int reach(const struct cfg_interface *i, const struct spd_policy *p)
{
    int best = gateway_of(i, p->tunnel_remote.family)->family ? 1 : i->take_addresses ? 1 : 0;
    for (unsigned k = 0; k < i->n_addresses; k++) {
        struct plan_prefix a = {i->address[k].addr, i->address[k].bits};
        if (ip_eq(&a.addr, &p->tunnel_local))
            return 3;
        if (plan_contains(&a, &p->tunnel_remote))
            best = 2;
    }
    return best;
}

const struct cfg_interface *plan_interface(const struct cfg *cfg, const struct spd_policy *p)
{
    const struct cfg_interface *found = NULL;
    int best = 0;
    for (unsigned k = 0; k < cfg->n_interfaces; k++) {
        int r = reach(&cfg->interfaces[k], p);
        if (r > best) {
            best = r;
            found = &cfg->interfaces[k];
        }
    }
    /* With one interface there is no other way. */
    return found ? found : cfg->n_interfaces == 1 ? &cfg->interfaces[0] : NULL;
}

/* --- routes --- */

struct maker {
    struct plan *out;
    const struct cfg_interface *i;
    uint32_t own;
    const struct plan_addr *addrs;
    unsigned n_addrs, port_mtu;
};

static int add_route(struct plan *p, const struct plan_route *r)
{
    if (p->n == p->room) {
        unsigned room = p->room ? p->room * 2 : 16;
        struct plan_route *more = realloc(p->routes, room * sizeof *more);
        if (!more)
            return -ENOMEM;
        p->routes = more;
        p->room = room;
    }
    p->routes[p->n] = *r;
    p->routes[p->n].order = p->n;
    p->n++;
    return 0;
}

static bool of_this_host(const struct plan_addr *a)
{
    const uint8_t *b = a->p.addr.b;
    bool local = a->p.addr.family == 4 ? b[0] == 127 || (b[0] == 169 && b[1] == 254)
                                       : (b[0] == 0xfe && (b[1] & 0xc0) == 0x80) ||
                                             !memcmp(b, (uint8_t[16]){[15] = 1}, 16);
    return a->usable && !local;
}

static bool in_selector(const struct ip_range *local, const struct ip_addr *a)
{
    return local->lo.family == 0 || (local->lo.family == a->family && ip_in(local, a));
}

/* The host's first address inside the policy's local selector; the interface's own come first. */
static struct ip_addr source(const struct maker *m, const struct spd_policy *p, uint8_t family)
{
    for (int own = 1; own >= 0; own--)
        for (unsigned k = 0; k < m->n_addrs; k++) {
            const struct plan_addr *a = &m->addrs[k];
            if ((a->ifindex == m->own) == own && a->p.addr.family == family && of_this_host(a) &&
                in_selector(&p->sel.local, &a->p.addr))
                return a->p.addr;
        }
    return (struct ip_addr){0};
}

/* By the peer's next hop; family 0 (on the link) for a destination of the other family, or one that
 * is on the link itself: data answers ARP and ND for it. */
static struct ip_addr next_hop(const struct maker *m, const struct plan_prefix *dst,
                               const struct ip_addr *peer)
{
    const struct ip_addr *gateway = gateway_of(m->i, peer->family);
    struct plan_prefix p = {*peer, (uint8_t)(ip_len(peer->family) * 8)};
    if (dst->addr.family != peer->family)
        return (struct ip_addr){0};
    /* The default route serves what no policy protects as well: that has to go by the gateway. */
    if (dst->bits == 0 && gateway->family)
        return *gateway;
    if (on_link(dst, m->own, m->addrs, m->n_addrs) == LINK_NO) {
        if (on_link(&p, m->own, m->addrs, m->n_addrs) != LINK_NO)
            return *peer;
        return *gateway;
    }
    return (struct ip_addr){0};
}

static int add_policy(struct maker *m, const struct spd_policy *p, uint8_t family)
{
    struct plan_prefix dst[PLAN_PREFIXES];
    unsigned n = plan_prefixes(&p->sel.remote, family, dst, PLAN_PREFIXES);
    unsigned mtu = plan_mtu(m->port_mtu, p);
    if (family == 6 && mtu && mtu < 1280)
        mtu = 1280; /* IPv6 knows none smaller; data cuts the outer packet */
    for (unsigned k = 0; k < n; k++) {
        if (on_link(&dst[k], m->own, m->addrs, m->n_addrs) == LINK_SAME)
            continue; /* the kernel's own route of the link stands; senders learn the size */
        struct plan_route r = {dst[k], next_hop(m, &dst[k], &p->tunnel_remote),
                               source(m, p, family), (uint16_t)mtu, 0};
        int e = add_route(m->out, &r);
        if (e)
            return e;
    }
    return 0;
}

static int add_gateway(struct maker *m, uint8_t family)
{
    const struct ip_addr *g = gateway_of(m->i, family);
    struct plan_route r = {.dst = {.addr = {.family = family}}, .via = *g};
    return g->family ? add_route(m->out, &r) : 0;
}

static int dst_order(const void *a, const void *b)
{
    const struct plan_route *x = a, *y = b;
    int c = ip_cmp(&x->dst.addr, &y->dst.addr);
    return c ? c : (int)x->dst.bits - (int)y->dst.bits;
}

static int route_order(const void *a, const void *b)
{
    const struct plan_route *x = a, *y = b;
    int c = dst_order(a, b);
    return c ? c : x->order < y->order ? -1 : x->order > y->order;
}

/* The first route of a destination stands. */
static void one_for_each(struct plan *p)
{
    unsigned kept = 0;
    if (p->n)
        qsort(p->routes, p->n, sizeof *p->routes, route_order);
    for (unsigned k = 0; k < p->n; k++)
        if (!kept || !plan_same_dst(&p->routes[kept - 1], &p->routes[k]))
            p->routes[kept++] = p->routes[k];
    p->n = kept;
}

int plan_make(struct plan *out, const struct cfg *cfg, const struct cfg_interface *i, uint32_t own,
              const struct plan_addr *addrs, unsigned n_addrs, unsigned port_mtu)
{
    struct maker m = {out, i, own, addrs, n_addrs, port_mtu};
    int r = 0;
    *out = (struct plan){0};
    for (unsigned k = 0; k < cfg->n_policies && !r; k++) {
        const struct spd_policy *p = &cfg->policies[k];
        if (p->action != SPD_PROTECT || p->mode != ESP_TUNNEL || !p->tunnel_remote.family ||
            plan_interface(cfg, p) != i)
            continue;
        r = add_policy(&m, p, 4);
        if (!r)
            r = add_policy(&m, p, 6);
    }
    if (!r)
        r = add_gateway(&m, 4);
    if (!r)
        r = add_gateway(&m, 6);
    if (r)
        plan_free(out);
    else
        one_for_each(out);
    return r;
}

void plan_free(struct plan *p)
{
    free(p->routes);
    *p = (struct plan){0};
}

bool plan_same_dst(const struct plan_route *a, const struct plan_route *b)
{
    return a->dst.bits == b->dst.bits && ip_eq(&a->dst.addr, &b->dst.addr);
}

static bool same_addr(const struct ip_addr *a, const struct ip_addr *b)
{
    return a->family == b->family && (a->family == 0 || ip_eq(a, b));
}

bool plan_same(const struct plan_route *a, const struct plan_route *b)
{
    return plan_same_dst(a, b) && same_addr(&a->via, &b->via) && same_addr(&a->src, &b->src) &&
           a->mtu == b->mtu;
}

static const struct plan_route *find(const struct plan_route *in, unsigned n,
                                     const struct plan_route *r)
{
    return n ? bsearch(r, in, n, sizeof *in, dst_order) : NULL;
}

void plan_diff(struct plan_route *have, unsigned n_have, const struct plan *want,
               void (*put)(void *ctx, const struct plan_route *r),
               void (*drop)(void *ctx, const struct plan_route *r), void *ctx)
{
    if (n_have)
        qsort(have, n_have, sizeof *have, dst_order);
    for (unsigned w = 0; w < want->n; w++) {
        const struct plan_route *is = find(have, n_have, &want->routes[w]);
        if (!is || !plan_same(is, &want->routes[w]))
            put(ctx, &want->routes[w]);
    }
    for (unsigned h = 0; h < n_have; h++)
        if (!find(want->routes, want->n, &have[h]))
            drop(ctx, &have[h]);
}
