#include "hostd/data/path/path.h"

/* The ICV has already proved the contents, so a checksum that the NAT's new address broke may be
 * made anew (RFC 3948 3.1.2, b). Without a checksum (UDP over IPv4) there is none to mend. */
void nat_mend(uint8_t *ip, const struct ip_info *i)
{
    size_t len = i->total - i->l4_off, at = i->proto == IPP_TCP ? 16 : 6;
    uint8_t *l4 = ip + i->l4_off;
    if ((i->proto != IPP_TCP && i->proto != IPP_UDP) || i->frag != IP_WHOLE || len < at + 2)
        return;
    if (i->proto == IPP_UDP) {
        size_t udp = get_be16(l4 + 4);
        if (get_be16(l4 + 6) == 0 || udp < 8 || udp > len)
            return;
        len = udp;
    }
    uint32_t pseudo = ip_pseudo_sum(&i->src, &i->dst, i->proto, len);
    put_be16(l4 + at, 0);
    uint16_t sum = ip_sum_fold(ip_sum(l4, len, pseudo));
    put_be16(l4 + at, sum == 0 && i->proto == IPP_UDP ? 0xffff : sum);
}

static void tell_moved(struct dp *d, struct sa *sa)
{
    if (d->ops.moved)
        d->ops.moved(d->ops.ctx, sa);
}

static void move_twin(struct dp *d, const struct sa *in, const struct ip_addr *was,
                      uint16_t was_port, uint16_t port)
{
    for (struct sa *sa = sad_next(d->sad, NULL); sa; sa = sad_next(d->sad, sa)) {
        const struct sa_spec *s = &sa->spec;
        if (s->dir != ESP_OUT || s->encap != ESP_ENCAP_UDP || s->policy_id != in->spec.policy_id ||
            !ip_eq(&s->dst, was) || (was_port && s->udp_dport != was_port))
            continue;
        struct ip_addr src = s->src, dst = in->spec.src;
        sad_move(d->sad, sa, &src, &dst, s->udp_sport, port);
        tell_moved(d, sa);
    }
}

/* Only the newest number moves anything: a packet that a NAT delayed does not move it back. */
void nat_follow(struct dp *d, struct sa *sa, const struct pkt *p, const struct esp_peek *peek,
                uint64_t seq)
{
    struct ip_addr was = sa->spec.src, dst = sa->spec.dst, now_at = p->i.src;
    uint16_t was_port = sa->spec.udp_sport;
    if (!peek->udp || sa->spec.encap != ESP_ENCAP_UDP || was.family != now_at.family ||
        seq != *sa->win.top || (ip_eq(&was, &now_at) && was_port == peek->udp_sport))
        return;
    sad_move(d->sad, sa, &now_at, &dst, peek->udp_sport, peek->udp_dport);
    tell_moved(d, sa);
    move_twin(d, sa, &was, was_port, peek->udp_sport);
}
