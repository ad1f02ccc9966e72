/* Super-packets of the host's stack (TSO, USO) into the frames that they stand for, and partial
 * checksums: nothing partial may end up inside ESP. */
#include "hostd/data/path/path.h"

enum { TCP_FIN = 1, TCP_PSH = 8, TCP_CWR = 0x80, MAX_SEGMENTS = 4096 };

bool seg_complete(uint8_t *out, const uint8_t *frame, size_t len, const struct dp_offload *o)
{
    size_t at = (size_t)o->csum_start + o->csum_offset;
    uint16_t type;
    size_t l2;
    if (len > FRAME_BUF || o->csum_start >= len || at + 2 > len ||
        !eth_parse(frame, len, &type, &l2))
        return false;
    struct ip_info i;
    if (o->csum_start < l2 || ip_parse_packet(frame + l2, len - l2, &i))
        return false;
    size_t end = l2 + i.total; /* what lies behind is link padding */
    if (at + 2 > end)
        return false;
    memcpy(out, frame, len);
    /* The field holds the pseudo header's sum, so summing over it completes it. */
    uint16_t sum = ip_sum_fold(ip_sum(out + o->csum_start, end - o->csum_start, 0));
    if (sum == 0 && i.proto == IPP_UDP)
        sum = 0xffff;
    put_be16(out + at, sum);
    return true;
}

static size_t l4_hdr_len(const struct seg *s)
{
    const uint8_t *l4 = s->frame + s->l4_off;
    size_t left = s->end - s->l4_off;
    if (s->o->gso == DP_GSO_UDP)
        return left >= 8 ? 8 : 0;
    size_t n = left >= 20 ? (size_t)(l4[12] >> 4) * 4 : 0;
    return n >= 20 && n <= left ? n : 0;
}

bool seg_begin(struct seg *s, const uint8_t *frame, size_t len, const struct dp_offload *o)
{
    memset(s, 0, sizeof *s);
    if (!pkt_parse(&s->p, frame, len) || s->p.i.frag != IP_WHOLE || !o->gso_size)
        return false;
    s->frame = frame;
    s->o = o;
    s->l4_off = s->p.l2_len + s->p.i.l4_off;
    s->end = s->p.l2_len + s->p.i.total;
    bool udp = o->gso == DP_GSO_UDP;
    if (s->p.i.proto != (udp ? IPP_UDP : IPP_TCP) ||
        (o->gso == DP_GSO_TCP4 && s->p.i.version != 4) ||
        (o->gso == DP_GSO_TCP6 && s->p.i.version != 6))
        return false;
    size_t n = l4_hdr_len(s);
    if (!n)
        return false;
    s->off = s->hdr_len = s->l4_off + n;
    return (s->end - s->off) / o->gso_size < MAX_SEGMENTS;
}

static void fix_ip(const struct seg *s, uint8_t *ip, size_t len)
{
    if (s->p.i.version == 4) {
        put_be16(ip + 2, (uint16_t)len);
        put_be16(ip + 4, (uint16_t)(get_be16(ip + 4) + s->n));
        ip4_fix_checksum(ip, s->p.i.unfrag_len);
    } else {
        put_be16(ip + 4, (uint16_t)(len - 40));
    }
}

static void fix_tcp(const struct seg *s, uint8_t *l4, bool last)
{
    put_be32(l4 + 4, get_be32(l4 + 4) + (uint32_t)(s->off - s->hdr_len));
    if (!last)
        l4[13] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
    if (s->n)
        l4[13] &= (uint8_t)~TCP_CWR;
}

static void fix_checksum(const struct seg *s, uint8_t *l4, size_t len, size_t at)
{
    const struct ip_info *i = &s->p.i;
    put_be16(l4 + at, 0);
    uint32_t sum = ip_pseudo_sum(&i->src, &i->dst, i->proto, len);
    uint16_t v = ip_sum_fold(ip_sum(l4, len, sum));
    put_be16(l4 + at, v == 0 && i->proto == IPP_UDP ? 0xffff : v);
}

size_t seg_next(struct seg *s, uint8_t *out)
{
    size_t left = s->end - s->off;
    if (!left && s->n)
        return 0;
    bool last = left <= s->o->gso_size;
    size_t n = last ? left : s->o->gso_size, len = s->hdr_len + n;
    memcpy(out, s->frame, s->hdr_len);
    memcpy(out + s->hdr_len, s->frame + s->off, n);
    uint8_t *l4 = out + s->l4_off;
    fix_ip(s, out + s->p.l2_len, len - s->p.l2_len);
    if (s->o->gso == DP_GSO_UDP)
        put_be16(l4 + 4, (uint16_t)(len - s->l4_off));
    else
        fix_tcp(s, l4, last);
    fix_checksum(s, l4, len - s->l4_off, s->o->gso == DP_GSO_UDP ? 6 : 16);
    s->off += n;
    s->n++;
    return len;
}
