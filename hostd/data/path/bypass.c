/* What passes before any policy (design, section 2, Bypasses), the same list both ways. */
#include "hostd/data/path/path.h"

enum { DHCP_SERVER = 67, DHCP_CLIENT = 68 };
#define DHCP_ANSWER (60 * SECOND) /* how long a request of this host may be answered */

bool bypass_type(uint16_t t)
{
    return t == ETH_ARP || t == ETH_LLDP || t == ETH_EAPOL;
}

static bool multicast(const struct ip_addr *a)
{
    return a->family == 4 ? (a->b[0] & 0xf0) == 0xe0 : a->b[0] == 0xff;
}

static bool link_local6(const struct ip_addr *a)
{
    return a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80;
}

/* 0.0.0.0 or :: */
static bool no_address(const struct ip_addr *a)
{
    static const uint8_t zero[16];
    return memcmp(a->b, zero, ip_len(a->family)) == 0;
}

/* Each protocol of the link passes only in the form that no router forwards: neighbour discovery
 * has hop limit 255 (RFC 4861), listener discovery 1 and an address of the link (RFC 3810 5). */
static bool icmpv6(const struct ip_info *i)
{
    unsigned type = i->sport >> 8;
    if (i->proto != IPP_ICMPV6 || !i->has_ports)
        return false;
    if (type >= 133 && type <= 137)
        return i->ttl == 255;
    bool mld = (type >= 130 && type <= 132) || type == 143;
    return mld && i->ttl == 1 && (link_local6(&i->src) || no_address(&i->src));
}

/* RFC 2236 and RFC 3376 4: TTL 1, to a group. */
static bool igmp(const struct ip_info *i)
{
    return i->proto == IPP_IGMP && i->ttl == 1 && multicast(&i->dst);
}

/* A client without an address may be offered one by unicast to it (RFC 2131 4.1), so for a while
 * after this host has asked the destination is not compared. */
static bool dhcp4(struct dp *d, uint64_t now, enum esp_dir dir, const struct ip_info *i)
{
    static const struct ip_addr everyone = {4, {255, 255, 255, 255}};
    bool client = i->sport == DHCP_CLIENT, server = i->sport == DHCP_SERVER;
    if ((!client && !server) || (i->dport != DHCP_CLIENT && i->dport != DHCP_SERVER))
        return false;
    if (dir == ESP_OUT) {
        bool own = no_address(&i->src) || d->ops.is_local(d->ops.ctx, &i->src);
        if (own && client && i->dport == DHCP_SERVER)
            d->dhcp_until = now + DHCP_ANSWER;
        return own;
    }
    return ip_eq(&i->dst, &everyone) || multicast(&i->dst) ||
           d->ops.is_local(d->ops.ctx, &i->dst) ||
           (server && i->dport == DHCP_CLIENT && now < d->dhcp_until);
}

/* RFC 8415: clients and servers of a link speak from link-local addresses. */
static bool dhcp6(enum esp_dir dir, const struct ip_info *i)
{
    if ((i->sport != 546 && i->sport != 547) || (i->dport != 546 && i->dport != 547))
        return false;
    return dir == ESP_OUT ? link_local6(&i->src) : link_local6(&i->dst) || multicast(&i->dst);
}

/* On the encapsulation's port IKE bears four zero octets; our own keep-alives leave as well. */
static bool natt_ike(const struct pkt *p, enum esp_dir dir)
{
    const struct ip_info *i = &p->i;
    if (i->total - i->l4_off < 9)
        return false;
    const uint8_t *data = p->ip + i->l4_off + 8;
    size_t len = get_be16(p->ip + i->l4_off + 4);
    if (len < 9 || len > i->total - i->l4_off)
        return false;
    if (dir == ESP_OUT && len == 9 && data[0] == 0xff)
        return true;
    return len >= 12 && get_be32(data) == 0;
}

/* Ports count where a socket of ours is in use (cfg.ike_ports), the encapsulation's as well: a
 * bypass without one would be anybody's way out in clear. */
static bool ike(const struct dp *d, enum esp_dir dir, const struct pkt *p)
{
    const struct ip_info *i = &p->i;
    uint16_t port = dir == ESP_OUT ? i->sport : i->dport;
    bool natt = d->cfg.natt_port && port == d->cfg.natt_port, ours = false;
    for (unsigned n = 0; n < d->cfg.n_ike_ports; n++)
        ours |= port == d->cfg.ike_ports[n];
    if (!ours || (natt && !natt_ike(p, dir)))
        return false;
    return d->ops.is_local(d->ops.ctx, dir == ESP_OUT ? &i->src : &i->dst);
}

enum bypass bypass_ip(struct dp *d, uint64_t now, enum esp_dir dir, const struct pkt *p)
{
    const struct ip_info *i = &p->i;
    if (i->frag != IP_WHOLE)
        return BYPASS_NO;
    if (i->proto == IPP_UDP && i->has_ports) {
        if (ike(d, dir, p))
            return BYPASS_IKE;
        bool dhcp = i->version == 4 ? dhcp4(d, now, dir, i) : dhcp6(dir, i);
        return dhcp ? BYPASS_YES : BYPASS_NO;
    }
    if (i->version == 6)
        return icmpv6(i) ? BYPASS_YES : BYPASS_NO;
    return igmp(i) ? BYPASS_YES : BYPASS_NO;
}
