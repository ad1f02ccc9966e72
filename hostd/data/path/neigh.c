/* ARP and neighbour discovery for what lies behind a tunnel and looks on-link to the host: nobody
 * on the wire would answer.
 *
 * Exactly: the target is inside the remote selector of a protect policy in tunnel mode, and is
 * neither an address of ours nor a tunnel's far end, which is a real neighbour. A selector without
 * bounds ("any", or the whole family) says nothing about what is on-link and does not count: the
 * default gateway lies in it. Probes for duplicates (no sender address) are never answered.
 *
 * The MAC told is the TAP's own, made locally administered, its last octet inverted (dp.h). It
 * means nothing on the wire: tunnel mode writes its own link header, and a frame for it that leaves
 * in clear or in transport mode gets the real next hop's MAC first. */
#include "hostd/data/path/path.h"

static bool bounded(const struct ip_range *r)
{
    static const uint8_t zero[16];
    if (r->lo.family == 0)
        return false;
    size_t n = ip_len(r->lo.family);
    bool all = memcmp(r->lo.b, zero, n) == 0;
    for (size_t i = 0; i < n; i++)
        all = all && r->hi.b[i] == 0xff;
    return !all;
}

static bool behind_tunnel(struct dp *d, const struct ip_addr *a)
{
    bool behind = false;
    if (d->mode != DP_RUNNING || d->ops.is_local(d->ops.ctx, a))
        return false;
    for (unsigned i = 0; i < spd_count(d->spd); i++) {
        const struct spd_policy *p = spd_at(d->spd, i);
        if (p->action != SPD_PROTECT || p->mode != ESP_TUNNEL)
            continue;
        if (ip_eq(&p->tunnel_remote, a))
            return false;
        behind = behind || (bounded(&p->sel.remote) && ip_in(&p->sel.remote, a));
    }
    return behind;
}

bool neigh_arp(struct dp *d, const uint8_t *frame, size_t len, size_t l2)
{
    static const uint8_t request[8] = {0, 1, 8, 0, 6, 4, 0, 1};
    uint8_t out[ETH_MAX_HDR + 28];
    struct ip_addr from = {.family = 4}, target = {.family = 4};
    if (len < l2 + 28 || memcmp(frame + l2, request, sizeof request) != 0)
        return false;
    const uint8_t *arp = frame + l2;
    memcpy(from.b, arp + 14, 4);
    memcpy(target.b, arp + 24, 4);
    if (get_be32(from.b) == 0 || ip_eq(&from, &target) || !behind_tunnel(d, &target))
        return false;
    memcpy(out, frame, l2 + 28);
    memcpy(out, frame + 6, 6);
    memcpy(out + 6, d->far_mac, 6);
    out[l2 + 7] = 2;
    memcpy(out + l2 + 8, d->far_mac, 6);
    memcpy(out + l2 + 14, target.b, 4);
    memcpy(out + l2 + 18, arp + 8, 10);
    in_tap(d, out, l2 + 28);
    return true;
}

static bool solicitation(const struct pkt *p, struct ip_addr *target)
{
    const struct ip_info *i = &p->i;
    const uint8_t *icmp = p->ip + i->l4_off;
    if (i->version != 6 || i->proto != IPP_ICMPV6 || i->total - i->l4_off < 24 || icmp[0] != 135 ||
        icmp[1] != 0 || i->ttl != 255)
        return false;
    *target = (struct ip_addr){.family = 6};
    memcpy(target->b, icmp + 8, 16);
    return (get_be64(i->src.b) | get_be64(i->src.b + 8)) != 0;
}

bool neigh_nd(struct dp *d, const struct pkt *p)
{
    enum { LEN = 32, SOLICITED = 0x40, OVERRIDE = 0x20, TARGET_LINK = 2 };
    uint8_t out[ETH_MAX_HDR + 40 + LEN];
    struct ip_addr target;
    if (!solicitation(p, &target) || !behind_tunnel(d, &target))
        return false;
    memset(out, 0, sizeof out);
    memcpy(out, p->l2, p->l2_len);
    memcpy(out, p->l2 + 6, 6);
    memcpy(out + 6, d->far_mac, 6);
    uint8_t *ip = out + p->l2_len, *icmp = ip + 40;
    ip[0] = 0x60;
    put_be16(ip + 4, LEN);
    ip[6] = IPP_ICMPV6;
    ip[7] = 255;
    memcpy(ip + 8, target.b, 16);
    memcpy(ip + 24, p->i.src.b, 16);
    icmp[0] = 136;
    icmp[4] = SOLICITED | OVERRIDE;
    memcpy(icmp + 8, target.b, 16);
    icmp[24] = TARGET_LINK;
    icmp[25] = 1;
    memcpy(icmp + 26, d->far_mac, 6);
    uint32_t sum = ip_pseudo_sum(&target, &p->i.src, IPP_ICMPV6, LEN);
    put_be16(icmp + 2, ip_sum_fold(ip_sum(icmp, LEN, sum)));
    in_tap(d, out, p->l2_len + 40 + LEN);
    return true;
}
