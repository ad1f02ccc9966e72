/* "Too big" told to the host, and ICMP errors of the wire that quote our ESP. */
#include "hostd/data/path/path.h"

enum {
    V4_QUOTE = 548, /* RFC 1812: the whole message within 576 octets */
    V6_QUOTE = V6_MIN_MTU - 48,
    PER_SECOND = 1000,
    BURST = 200,
    WALKS_PER_SECOND = 100
};

/* May an error be sent about this packet (RFC 1122 3.2.2, RFC 4443 2.4)? */
static bool may_answer(const struct ip_info *i)
{
    unsigned type = i->has_ports ? i->sport >> 8 : 0;
    if (i->version == 6)
        return i->src.b[0] != 0xff && get_be64(i->src.b) + get_be64(i->src.b + 8) != 0 &&
               !(i->proto == IPP_ICMPV6 && type < 128);
    if (i->proto == IPP_ICMP && (type == 3 || type == 4 || type == 5 || type == 11 || type == 12))
        return false;
    return get_be32(i->src.b) != 0 && i->src.b[0] < 224 && i->dst.b[0] < 224;
}

static size_t write4(uint8_t *ip, const struct pkt *p, size_t mtu, const struct ip_addr *src)
{
    size_t quote = p->i.total < V4_QUOTE ? p->i.total : V4_QUOTE, total = 28 + quote;
    uint8_t *icmp = ip + 20;
    memset(ip, 0, 28);
    ip[0] = 0x45;
    put_be16(ip + 2, (uint16_t)total);
    ip[8] = 64;
    ip[9] = IPP_ICMP;
    memcpy(ip + 12, src->b, 4);
    memcpy(ip + 16, p->i.src.b, 4);
    ip4_fix_checksum(ip, 20);
    icmp[0] = 3;
    icmp[1] = 4;
    put_be16(icmp + 6, (uint16_t)mtu);
    memcpy(icmp + 8, p->ip, quote);
    put_be16(icmp + 2, ip_sum_fold(ip_sum(icmp, 8 + quote, 0)));
    return total;
}

static size_t write6(uint8_t *ip, const struct pkt *p, size_t mtu, const struct ip_addr *src)
{
    size_t quote = p->i.total < V6_QUOTE ? p->i.total : V6_QUOTE, len = 8 + quote;
    uint8_t *icmp = ip + 40;
    memset(ip, 0, 48);
    ip[0] = 0x60;
    put_be16(ip + 4, (uint16_t)len);
    ip[6] = IPP_ICMPV6;
    ip[7] = 64;
    memcpy(ip + 8, src->b, 16);
    memcpy(ip + 24, p->i.src.b, 16);
    icmp[0] = 2;
    put_be32(icmp + 4, (uint32_t)(mtu < V6_MIN_MTU ? V6_MIN_MTU : mtu));
    memcpy(icmp + 8, p->ip, quote);
    uint32_t sum = ip_pseudo_sum(src, &p->i.src, IPP_ICMPV6, len);
    put_be16(icmp + 2, ip_sum_fold(ip_sum(icmp, len, sum)));
    return 40 + len;
}

void icmp_too_big(struct dp *d, uint64_t now, const struct pkt *p, size_t mtu,
                  const struct ip_addr *src)
{
    uint8_t out[ETH_MAX_HDR + V6_MIN_MTU];
    if (d->told_once || mtu == 0 || mtu > IP_MAX || src->family != p->i.version ||
        !may_answer(&p->i) || !bucket_take(&d->told, now, PER_SECOND, BURST))
        return;
    d->told_once = true;
    memcpy(out, p->l2, p->l2_len);
    memcpy(out, p->l2 + 6, 6);
    memcpy(out + 6, p->l2, 6);
    uint8_t *ip = out + p->l2_len;
    size_t n = p->i.version == 4 ? write4(ip, p, mtu, src) : write6(ip, p, mtu, src);
    d->c.too_big_sent++;
    in_tap(d, out, p->l2_len + n);
}

/* --- errors about our ESP --- */

struct quote {
    struct ip_addr src, dst;
    uint8_t proto;
    uint16_t len; /* IPv4: what its header says */
    struct reader l4;
    bool udp;
    uint16_t sport, dport;
    uint32_t spi, seq;
};

static bool is_error(const struct ip_info *i)
{
    unsigned type = i->sport >> 8;
    if (!i->has_ports || i->frag != IP_WHOLE || i->total - i->l4_off < 8)
        return false;
    if (i->version == 4)
        return i->proto == IPP_ICMP && (type == 3 || type == 4 || type == 11 || type == 12);
    return i->proto == IPP_ICMPV6 && type >= 1 && type <= 4;
}

static bool sum_good(const struct pkt *p)
{
    const struct ip_info *i = &p->i;
    size_t len = i->total - i->l4_off;
    uint32_t sum = i->version == 6 ? ip_pseudo_sum(&i->src, &i->dst, IPP_ICMPV6, len) : 0;
    return ip_sum_fold(ip_sum(p->ip + i->l4_off, len, sum)) == 0;
}

/* The quoted packet is cut short, so it is no packet for ip_parse_packet. */
static bool read_quote4(struct quote *q, const uint8_t *ip, size_t len)
{
    if (len < 20 || ip[0] >> 4 != 4 || get_be16(ip + 6) & 0x1fff)
        return false;
    size_t hlen = (size_t)(ip[0] & 15) * 4;
    if (hlen < 20 || hlen > len)
        return false;
    q->src.family = q->dst.family = 4;
    memcpy(q->src.b, ip + 12, 4);
    memcpy(q->dst.b, ip + 16, 4);
    q->len = get_be16(ip + 2);
    q->proto = ip[9];
    q->l4 = rd_from(ip + hlen, len - hlen);
    return true;
}

static bool read_quote6(struct quote *q, const uint8_t *ip, size_t len)
{
    size_t off = 40;
    if (len < 40 || ip[0] >> 4 != 6)
        return false;
    q->proto = ip[6];
    if (q->proto == IPP_FRAGMENT) {
        if (len < 48 || get_be16(ip + 42) & 0xfff8)
            return false;
        q->proto = ip[40];
        off = 48;
    }
    q->src.family = q->dst.family = 6;
    memcpy(q->src.b, ip + 8, 16);
    memcpy(q->dst.b, ip + 24, 16);
    q->l4 = rd_from(ip + off, len - off);
    return true;
}

static bool read_quote(struct quote *q, const struct pkt *p)
{
    const uint8_t *ip = p->ip + p->i.l4_off + 8, *skip;
    size_t len = p->i.total - p->i.l4_off - 8;
    memset(q, 0, sizeof *q);
    if (p->i.version == 4 ? !read_quote4(q, ip, len) : !read_quote6(q, ip, len))
        return false;
    q->udp = q->proto == IPP_UDP;
    if (q->udp &&
        !(rd_u16(&q->l4, &q->sport) && rd_u16(&q->l4, &q->dport) && rd_bytes(&q->l4, &skip, 4)))
        return false;
    return (q->udp || q->proto == IPP_ESP) && rd_u32(&q->l4, &q->spi) && rd_u32(&q->l4, &q->seq);
}

/* Did this SA send it? Without ESN the quoted number must have been used, too. */
static bool sent_by(const struct sa *sa, const struct quote *q)
{
    const struct sa_spec *s = &sa->spec;
    bool udp = s->encap == ESP_ENCAP_UDP;
    return s->dir == ESP_OUT && s->spi == q->spi && udp == q->udp && ip_eq(&s->dst, &q->dst) &&
           ip_eq(&s->src, &q->src) &&
           (!udp || (s->udp_sport == q->sport && s->udp_dport == q->dport)) &&
           (s->esn || (q->seq != 0 && q->seq < sa->next));
}

/* SPIs of different peers may be equal: then all are looked at, a bounded number of times. */
static struct sa *find_quoted(struct dp *d, uint64_t now, const struct quote *q)
{
    struct sa *sa = sad_by_spi(d->sad, ESP_OUT, q->spi);
    if (!sa || sent_by(sa, q))
        return sa;
    if (!bucket_take(&d->walks, now, WALKS_PER_SECOND, WALKS_PER_SECOND))
        return NULL;
    for (sa = sad_next(d->sad, NULL); sa; sa = sad_next(d->sad, sa))
        if (sent_by(sa, q))
            return sa;
    return NULL;
}

/* A router that does not say (RFC 1191, 5): the next common size below what it refused. */
static uint32_t plateau(uint32_t refused)
{
    static const uint16_t sizes[] = {8166, 4352, 2002, 1492, 1280, 1006, 576};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i] < refused)
            return sizes[i];
    return 0;
}

static uint32_t told_mtu(const struct pkt *p, const struct quote *q)
{
    const uint8_t *icmp = p->ip + p->i.l4_off;
    if (p->i.version == 6)
        return icmp[0] == 2 ? get_be32(icmp + 4) : 0;
    if (icmp[0] != 3 || icmp[1] != 4)
        return 0;
    uint32_t mtu = get_be16(icmp + 6);
    return mtu ? mtu : plateau(q->len);
}

bool icmp_quotes_us(struct dp *d, uint64_t now, const struct pkt *p)
{
    struct quote q;
    if (!is_error(&p->i) || !sum_good(p) || !read_quote(&q, p) || !ip_eq(&q.src, &p->i.dst))
        return false;
    struct sa *sa = find_quoted(d, now, &q);
    if (!sa)
        return false;
    uint32_t mtu = told_mtu(p, &q), least = p->i.version == 6 ? V6_MIN_MTU : 576;
    uint32_t have = sa->pmtu ? sa->pmtu : d->port ? d->port->mtu : IP_MAX;
    if (mtu >= least && mtu < have)
        sa->pmtu = (uint16_t)mtu;
    return true;
}
