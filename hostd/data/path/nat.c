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

static bool is_twin(const struct sa *sa, const struct sa *in, const struct ip_addr *was,
                    uint16_t was_port)
{
    const struct sa_spec *s = &sa->spec;
    return s->dir == ESP_OUT && s->encap == ESP_ENCAP_UDP && s->policy_id == in->spec.policy_id &&
           ip_eq(&s->dst, was) && (!was_port || s->udp_dport == was_port);
}

/* The port that the outbound SAs to this address have, when it is one: two hosts behind one NAT
 * have different ports, and nothing says which of them is meant. 0: none, or more than one. */
static uint16_t only_port(struct dp *d, const struct sa *in, const struct ip_addr *was)
{
    uint16_t port = 0;
    for (struct sa *sa = sad_next(d->sad, NULL); sa; sa = sad_next(d->sad, sa)) {
        if (!is_twin(sa, in, was, 0))
            continue;
        if (port && sa->spec.udp_dport != port)
            return 0;
        port = sa->spec.udp_dport;
    }
    return port;
}

static void move_twin(struct dp *d, const struct sa *in, const struct ip_addr *was,
                      uint16_t was_port, uint16_t port)
{
    bool same_address = ip_eq(was, &in->spec.src);
    if (!was_port)
        was_port = only_port(d, in, was);
    if (!was_port || (same_address && was_port == port))
        return;
    for (struct sa *sa = sad_next(d->sad, NULL); sa; sa = sad_next(d->sad, sa)) {
        if (!is_twin(sa, in, was, was_port))
            continue;
        struct ip_addr src = sa->spec.src, dst = in->spec.src;
        sad_move(d->sad, sa, &src, &dst, sa->spec.udp_sport, port);
        tell_moved(d, sa);
    }
}

/* Only the newest number moves anything: a packet that a NAT delayed does not move it back. A move
 * costs a walk of the SAs and takes them out of the card, so a peer that changes its port with
 * every packet is followed once a second. */
void nat_follow(struct dp *d, uint64_t now, struct sa *sa, const struct pkt *p,
                const struct esp_peek *peek, uint64_t seq)
{
    struct ip_addr was = sa->spec.src, dst = sa->spec.dst, now_at = p->i.src;
    uint16_t was_port = sa->spec.udp_sport;
    if (!peek->udp || sa->spec.encap != ESP_ENCAP_UDP || was.family != now_at.family ||
        seq != *sa->win.top || (ip_eq(&was, &now_at) && was_port == peek->udp_sport))
        return;
    if (sa->moved_at && now - sa->moved_at < SECOND)
        return;
    sa->moved_at = now;
    sad_move(d->sad, sa, &now_at, &dst, peek->udp_sport, peek->udp_dport);
    tell_moved(d, sa);
    move_twin(d, sa, &was, was_port, peek->udp_sport);
}
