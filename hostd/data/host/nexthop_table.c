#include "hostd/data/host/nexthop_table.h"

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct nh_table *nh_table_new(uint64_t seed)
{
    struct nh_table *t = calloc(1, sizeof *t);
    if (t) {
        t->seed = seed;
        t->generation = 1;
    }
    return t;
}

void nh_table_free(struct nh_table *t)
{
    free(t);
}

/* --- rows --- */

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * UINT64_C(0xff51afd7ed558ccd);
    return h ^ h >> 32;
}

static struct nh_row *set_of(const struct nh_table *t, struct nh_row *rows, unsigned n,
                             unsigned ifindex, const struct ip_addr *a)
{
    uint64_t w[2];
    memcpy(w, a->b, sizeof w);
    uint64_t h = mix(mix(mix(mix(t->seed, ifindex), a->family), w[0]), w[1]);
    return &rows[(h >> 8) % (n / NH_WAYS) * NH_WAYS];
}

static struct nh_row *find(struct nh_row *set, unsigned ifindex, const struct ip_addr *a)
{
    for (unsigned i = 0; i < NH_WAYS; i++)
        if (set[i].ifindex == ifindex && ip_eq(&set[i].addr, a))
            return &set[i];
    return NULL;
}

static struct nh_row *get(struct nh_table *t, struct nh_row *set, unsigned ifindex,
                          const struct ip_addr *a)
{
    struct nh_row *r = find(set, ifindex, a);
    if (!r) {
        r = set;
        for (unsigned i = 1; i < NH_WAYS; i++)
            if (set[i].used < r->used)
                r = &set[i];
        *r = (struct nh_row){.addr = *a, .ifindex = ifindex};
    }
    r->used = ++t->clock;
    return r;
}

struct nh_row *nh_route(struct nh_table *t, unsigned ifindex, const struct ip_addr *dst)
{
    struct nh_row *r = get(t, set_of(t, t->routes, NH_ROUTES, ifindex, dst), ifindex, dst);
    if (r->generation != t->generation) {
        r->known = r->good = false;
        r->generation = t->generation;
    }
    return r;
}

struct nh_row *nh_neighbour(struct nh_table *t, unsigned ifindex, const struct ip_addr *a)
{
    return get(t, set_of(t, t->neighbours, NH_NEIGHBOURS, ifindex, a), ifindex, a);
}

bool nh_is_local(const struct nh_table *t, const struct ip_addr *a)
{
    for (unsigned i = 0; i < t->locals.n; i++)
        if (ip_eq(&t->locals.at[i].addr, a))
            return true;
    return false;
}

/* --- messages --- */

/* The body, or NULL when the message is too short for it. */
static const void *body(const struct nlmsghdr *h, size_t len)
{
    return mnl_nlmsg_get_payload_len(h) >= len ? mnl_nlmsg_get_payload(h) : NULL;
}

/* Up to the message's own end: libmnl's is rounded up, beyond what was read at the last one. */
static bool attr_ok(const struct nlmsghdr *h, const struct nlattr *at)
{
    return mnl_attr_ok(at, (int)((const char *)h + h->nlmsg_len - (const char *)at));
}

static bool get_addr(const struct nlattr *a, size_t off, unsigned af, struct ip_addr *out)
{
    uint8_t family = af == AF_INET ? 4 : af == AF_INET6 ? 6 : 0;
    size_t len = mnl_attr_get_payload_len(a);
    if (!family || len < off || len - off < ip_len(family))
        return false;
    *out = (struct ip_addr){.family = family};
    memcpy(out->b, (const uint8_t *)mnl_attr_get_payload(a) + off, ip_len(family));
    return true;
}

/* A gateway of the other family stands in RTA_VIA, behind its own family. */
static void get_via(const struct nlattr *a, struct ip_addr *out)
{
    uint16_t af;
    if (mnl_attr_get_payload_len(a) < sizeof af)
        return;
    memcpy(&af, mnl_attr_get_payload(a), sizeof af);
    (void)get_addr(a, sizeof af, af, out);
}

void nh_route_answer(struct nh_row *r, const struct nlmsghdr *h)
{
    const struct rtmsg *rt = body(h, sizeof *rt);
    uint32_t oif = 0;
    struct ip_addr gw = r->addr;
    const struct nlattr *at;
    if (!rt || h->nlmsg_type != RTM_NEWROUTE || rt->rtm_type != RTN_UNICAST)
        return;
    for (at = mnl_nlmsg_get_payload_offset(h, sizeof *rt); attr_ok(h, at); at = mnl_attr_next(at)) {
        if (mnl_attr_get_type(at) == RTA_OIF && mnl_attr_get_payload_len(at) == sizeof oif)
            oif = mnl_attr_get_u32(at);
        else if (mnl_attr_get_type(at) == RTA_GATEWAY)
            (void)get_addr(at, 0, rt->rtm_family, &gw);
        else if (mnl_attr_get_type(at) == RTA_VIA)
            get_via(at, &gw);
    }
    if (oif != r->ifindex)
        return;
    r->good = true;
    r->gateway = gw;
}

struct seen {
    struct nh_local who;
    bool usable;
    uint8_t mac[6];
};

static bool read_neighbour(const struct nlmsghdr *h, struct seen *out)
{
    const struct ndmsg *nd = body(h, sizeof *nd);
    const struct nlattr *at;
    bool mac = false;
    *out = (struct seen){0};
    if (!nd || nd->ndm_ifindex <= 0)
        return false;
    for (at = mnl_nlmsg_get_payload_offset(h, sizeof *nd); attr_ok(h, at); at = mnl_attr_next(at)) {
        if (mnl_attr_get_type(at) == NDA_DST)
            (void)get_addr(at, 0, nd->ndm_family, &out->who.addr);
        if (mnl_attr_get_type(at) != NDA_LLADDR || mnl_attr_get_payload_len(at) != 6)
            continue;
        memcpy(out->mac, mnl_attr_get_payload(at), 6);
        mac = true;
    }
    out->who.ifindex = (unsigned)nd->ndm_ifindex;
    out->usable =
        h->nlmsg_type == RTM_NEWNEIGH && mac && !(nd->ndm_state & (NUD_FAILED | NUD_INCOMPLETE));
    return out->who.addr.family != 0;
}

static void take_seen(struct nh_row *r, const struct seen *s)
{
    r->known = true;
    r->good = s->usable;
    memcpy(r->mac, s->mac, 6);
}

void nh_neighbour_answer(struct nh_row *r, const struct nlmsghdr *h)
{
    struct seen s;
    if (read_neighbour(h, &s) && s.who.ifindex == r->ifindex && ip_eq(&s.who.addr, &r->addr))
        take_seen(r, &s);
}

static bool on_neighbour(struct nh_table *t, const struct nlmsghdr *h, struct nh_local *ready)
{
    struct seen s;
    if (!read_neighbour(h, &s))
        return false;
    struct nh_row *set = set_of(t, t->neighbours, NH_NEIGHBOURS, s.who.ifindex, &s.who.addr);
    struct nh_row *r = find(set, s.who.ifindex, &s.who.addr);
    if (!r)
        return false;
    bool told = r->good && memcmp(r->mac, s.mac, 6) == 0;
    take_seen(r, &s);
    *ready = s.who;
    return r->good && !told;
}

/* IFA_LOCAL is this end of a point-to-point link, IFA_ADDRESS the other. */
void nh_local_answer(struct nh_locals *l, const struct nlmsghdr *h)
{
    const struct ifaddrmsg *ifa = body(h, sizeof *ifa);
    struct ip_addr a = {0}, local = {0};
    const struct nlattr *at;
    unsigned i = 0;
    if (!ifa)
        return;
    for (at = mnl_nlmsg_get_payload_offset(h, sizeof *ifa); attr_ok(h, at);
         at = mnl_attr_next(at)) {
        if (mnl_attr_get_type(at) == IFA_ADDRESS)
            (void)get_addr(at, 0, ifa->ifa_family, &a);
        else if (mnl_attr_get_type(at) == IFA_LOCAL)
            (void)get_addr(at, 0, ifa->ifa_family, &local);
    }
    if (local.family)
        a = local;
    if (!a.family)
        return;
    while (i < l->n && (l->at[i].ifindex != ifa->ifa_index || !ip_eq(&l->at[i].addr, &a)))
        i++;
    if (h->nlmsg_type == RTM_DELADDR && i < l->n)
        l->at[i] = l->at[--l->n];
    else if (h->nlmsg_type == RTM_NEWADDR && i == l->n && i < NH_LOCALS)
        l->at[l->n++] = (struct nh_local){a, ifa->ifa_index};
}

bool nh_event(struct nh_table *t, const struct nlmsghdr *h, struct nh_local *ready)
{
    switch (h->nlmsg_type) {
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
        return on_neighbour(t, h, ready);
    case RTM_NEWADDR:
    case RTM_DELADDR:
        nh_local_answer(&t->locals, h);
        t->generation++;
        return false;
    case RTM_NEWLINK:
    case RTM_DELLINK:
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
        t->generation++;
        return false;
    default:
        return false;
    }
}

static bool among(const unsigned *list, unsigned n, unsigned x)
{
    for (unsigned i = 0; i < n; i++)
        if (list[i] == x)
            return true;
    return false;
}

unsigned nh_forget(struct nh_table *t, unsigned *waiting, unsigned max)
{
    unsigned n = 0;
    t->generation++;
    for (unsigned i = 0; i < NH_NEIGHBOURS; i++) {
        struct nh_row *nb = &t->neighbours[i];
        nb->known = false;
        if (nb->ifindex && !nb->good && n < max && !among(waiting, n, nb->ifindex))
            waiting[n++] = nb->ifindex;
    }
    return n;
}
