/* What passes before any policy (design, section 2, Bypasses), the same list both ways. */
#include "hostd/data/path/path.h"

bool bypass_type(uint16_t t)
{
    return t == ETH_ARP || t == ETH_LLDP || t == ETH_EAPOL;
}

/* Neighbour discovery counts only with hop limit 255: it comes from this link (RFC 4861). */
static bool icmpv6(const struct ip_info *i)
{
    unsigned type = i->sport >> 8;
    if (i->proto != IPP_ICMPV6 || !i->has_ports)
        return false;
    if (type >= 133 && type <= 137)
        return i->ttl == 255;
    return (type >= 130 && type <= 132) || type == 143;
}

static bool dhcp(const struct ip_info *i)
{
    if (i->version == 4)
        return (i->sport == 67 || i->sport == 68) && (i->dport == 67 || i->dport == 68);
    return (i->sport == 546 || i->sport == 547) && (i->dport == 546 || i->dport == 547);
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

static bool ike(const struct dp *d, enum esp_dir dir, const struct pkt *p)
{
    const struct ip_info *i = &p->i;
    uint16_t port = dir == ESP_OUT ? i->sport : i->dport;
    bool natt = d->cfg.natt_port && port == d->cfg.natt_port, ours = false;
    for (unsigned n = 0; n < d->cfg.n_ike_ports; n++)
        ours |= port == d->cfg.ike_ports[n];
    if (natt ? !natt_ike(p, dir) : !ours)
        return false;
    return d->ops.is_local(d->ops.ctx, dir == ESP_OUT ? &i->src : &i->dst);
}

enum bypass bypass_ip(const struct dp *d, enum esp_dir dir, const struct pkt *p)
{
    const struct ip_info *i = &p->i;
    if (i->frag != IP_WHOLE)
        return BYPASS_NO;
    if (i->proto == IPP_UDP && i->has_ports) {
        if (ike(d, dir, p))
            return BYPASS_IKE;
        return dhcp(i) ? BYPASS_YES : BYPASS_NO;
    }
    if (i->version == 6)
        return icmpv6(i) ? BYPASS_YES : BYPASS_NO;
    return i->proto == IPP_IGMP ? BYPASS_YES : BYPASS_NO;
}
