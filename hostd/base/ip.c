#include "hostd/base/ip.h"

#include "hostd/base/bytes.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t ip_len(uint8_t family)
{
    return family == 4 ? 4 : family == 6 ? 16 : 0;
}

bool ip_eq(const struct ip_addr *a, const struct ip_addr *b)
{
    return a->family == b->family && memcmp(a->b, b->b, ip_len(a->family)) == 0;
}

int ip_cmp(const struct ip_addr *a, const struct ip_addr *b)
{
    if (a->family != b->family)
        return a->family < b->family ? -1 : 1;
    return memcmp(a->b, b->b, ip_len(a->family));
}

bool ip_in(const struct ip_range *r, const struct ip_addr *a)
{
    if (r->lo.family == 0)
        return true;
    return r->lo.family == a->family && ip_cmp(&r->lo, a) <= 0 && ip_cmp(a, &r->hi) <= 0;
}

int ip_parse(const char *text, struct ip_addr *out)
{
    memset(out, 0, sizeof *out);
    if (inet_pton(AF_INET, text, out->b) == 1)
        out->family = 4;
    else if (inet_pton(AF_INET6, text, out->b) == 1)
        out->family = 6;
    else
        return -EINVAL;
    return 0;
}

static int parse_prefix(const char *text, const char *slash, struct ip_range *out)
{
    char addr[IP_ADDR_STR];
    size_t n = (size_t)(slash - text);
    if (n >= sizeof addr)
        return -EINVAL;
    memcpy(addr, text, n);
    addr[n] = 0;
    char *end;
    errno = 0;
    long bits = strtol(slash + 1, &end, 10);
    if (ip_parse(addr, &out->lo) || *end || end == slash + 1 || errno || bits < 0 ||
        bits > (long)(8 * ip_len(out->lo.family)))
        return -EINVAL;
    out->hi = out->lo;
    for (size_t i = 0; i < ip_len(out->lo.family); i++) {
        long left = bits - 8 * (long)i;
        uint8_t mask = left >= 8 ? 0xff : left <= 0 ? 0 : (uint8_t)(0xff << (8 - left));
        out->lo.b[i] &= mask;
        out->hi.b[i] |= (uint8_t)~mask;
    }
    return 0;
}

static int parse_span(const char *text, const char *dash, struct ip_range *out)
{
    char lo[IP_ADDR_STR];
    size_t n = (size_t)(dash - text);
    if (n >= sizeof lo)
        return -EINVAL;
    memcpy(lo, text, n);
    lo[n] = 0;
    if (ip_parse(lo, &out->lo) || ip_parse(dash + 1, &out->hi) ||
        out->lo.family != out->hi.family || ip_cmp(&out->lo, &out->hi) > 0)
        return -EINVAL;
    return 0;
}

int ip_range_parse(const char *text, struct ip_range *out)
{
    memset(out, 0, sizeof *out);
    if (strcmp(text, "any") == 0)
        return 0;
    const char *slash = strchr(text, '/');
    if (slash)
        return parse_prefix(text, slash, out);
    const char *dash = strchr(text, '-');
    if (dash)
        return parse_span(text, dash, out);
    if (ip_parse(text, &out->lo))
        return -EINVAL;
    out->hi = out->lo;
    return 0;
}

const char *ip_str(const struct ip_addr *a, char *buf)
{
    if (a->family == 0 || !inet_ntop(a->family == 4 ? AF_INET : AF_INET6, a->b, buf, IP_ADDR_STR))
        strcpy(buf, "none");
    return buf;
}

/* Prefix length when the range is one, else -1. */
static int range_prefix(const struct ip_range *r)
{
    int bits = 0;
    bool host = false;
    for (size_t i = 0; i < ip_len(r->lo.family); i++) {
        for (int b = 7; b >= 0; b--) {
            unsigned lo = r->lo.b[i] >> b & 1u, hi = r->hi.b[i] >> b & 1u;
            if (lo == hi) {
                if (host)
                    return -1;
                bits++;
            } else {
                host = true;
                if (lo || !hi)
                    return -1;
            }
        }
    }
    return bits;
}

const char *ip_range_str(const struct ip_range *r, char *buf)
{
    char lo[IP_ADDR_STR], hi[IP_ADDR_STR];
    if (r->lo.family == 0)
        return strcpy(buf, "any");
    int bits = range_prefix(r);
    if (bits == (int)(8 * ip_len(r->lo.family)))
        ip_str(&r->lo, buf);
    else if (bits >= 0)
        snprintf(buf, 2 * IP_ADDR_STR, "%s/%d", ip_str(&r->lo, lo), bits);
    else
        snprintf(buf, 2 * IP_ADDR_STR, "%s-%s", ip_str(&r->lo, lo), ip_str(&r->hi, hi));
    return buf;
}

/* The sum does not depend on byte order until it is stored (RFC 1071, 2B): eight octets at a time
 * as the machine reads them, put into network order once at the end. */
static uint32_t sum_words(const uint8_t *data, size_t len)
{
    uint64_t s = 0, w;
    for (; len; data += 8, len -= 8) {
        memcpy(&w, data, 8);
        s += (w & 0xffffffff) + (w >> 32);
    }
    while (s >> 16)
        s = (s & 0xffff) + (s >> 16);
    uint16_t native = (uint16_t)s;
    uint8_t b[2];
    memcpy(b, &native, 2);
    return get_be16(b);
}

uint32_t ip_sum(const uint8_t *data, size_t len, uint32_t sum)
{
    size_t words = len & ~(size_t)7;
    uint64_t s = (uint64_t)sum + (words ? sum_words(data, words) : 0);
    for (data += words, len -= words; len >= 2; data += 2, len -= 2)
        s += get_be16(data);
    if (len)
        s += (uint32_t)data[0] << 8;
    while (s >> 32)
        s = (s & 0xffffffff) + (s >> 32);
    return (uint32_t)s;
}

uint16_t ip_sum_fold(uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

uint32_t ip_pseudo_sum(const struct ip_addr *src, const struct ip_addr *dst, uint8_t proto,
                       size_t len)
{
    uint64_t sum = ip_sum(src->b, ip_len(src->family), 0);
    sum += ip_sum(dst->b, ip_len(dst->family), 0);
    sum += proto + (len >> 16) + (len & 0xffff);
    while (sum >> 32)
        sum = (sum & 0xffffffff) + (sum >> 32);
    return (uint32_t)sum;
}

void ip4_fix_checksum(uint8_t *hdr, size_t hlen)
{
    put_be16(hdr + 10, 0);
    put_be16(hdr + 10, ip_sum_fold(ip_sum(hdr, hlen, 0)));
}

static void read_ports(const uint8_t *pkt, struct ip_info *o)
{
    size_t left = o->total - o->l4_off;
    const uint8_t *l4 = pkt + o->l4_off;
    if (o->frag == IP_FRAG_LATER)
        return;
    if ((o->proto == IPP_TCP || o->proto == IPP_UDP || o->proto == 132 || o->proto == 136 ||
         o->proto == 33) &&
        left >= 4) {
        o->sport = get_be16(l4);
        o->dport = get_be16(l4 + 2);
        o->has_ports = true;
    } else if ((o->proto == IPP_ICMP || o->proto == IPP_ICMPV6) && left >= 2) {
        o->sport = get_be16(l4);
        o->has_ports = true;
    }
}

static int parse_v4(const uint8_t *p, size_t len, struct ip_info *o)
{
    if (len < 20)
        return -EBADMSG;
    size_t hlen = (size_t)(p[0] & 15) * 4;
    o->total = get_be16(p + 2);
    if (hlen < 20 || o->total < hlen || o->total > len)
        return -EBADMSG;
    o->version = 4;
    o->src.family = o->dst.family = 4;
    memcpy(o->src.b, p + 12, 4);
    memcpy(o->dst.b, p + 16, 4);
    o->tos = p[1];
    o->ttl = p[8];
    o->proto = p[9];
    o->nh_off = 9;
    uint16_t frag = get_be16(p + 6);
    o->df = frag & 0x4000;
    o->frag_more = frag & 0x2000;
    o->frag_off = (uint32_t)(frag & 0x1fff) * 8;
    o->frag_id = get_be16(p + 4);
    o->frag = o->frag_off ? IP_FRAG_LATER : o->frag_more ? IP_FRAG_FIRST : IP_WHOLE;
    o->has_options = hlen > 20;
    o->l4_off = o->unfrag_len = hlen;
    return 0;
}

/* One extension header at off; returns its length, or 0 when it is none or does not fit. */
static size_t ext_len(const uint8_t *p, size_t off, size_t total, uint8_t nh)
{
    if (total - off < 8)
        return 0;
    size_t n = 0;
    if (nh == IPP_HOPOPTS || nh == IPP_ROUTING || nh == IPP_DSTOPTS)
        n = ((size_t)p[off + 1] + 1) * 8;
    else if (nh == IPP_FRAGMENT)
        n = 8;
    return n <= total - off ? n : 0;
}

static bool is_ext(uint8_t nh)
{
    return nh == IPP_HOPOPTS || nh == IPP_ROUTING || nh == IPP_DSTOPTS || nh == IPP_FRAGMENT;
}

static int walk_ext(const uint8_t *p, struct ip_info *o)
{
    bool grow = true;
    for (int depth = 0; is_ext(o->proto); depth++) {
        size_t n = ext_len(p, o->l4_off, o->total, o->proto);
        if (!n || depth == 8)
            return -EBADMSG;
        if (o->proto == IPP_FRAGMENT) {
            uint16_t f = get_be16(p + o->l4_off + 2);
            o->frag_off = f & 0xfff8u;
            o->frag_more = f & 1;
            o->frag_id = get_be32(p + o->l4_off + 4);
            o->frag = o->frag_off ? IP_FRAG_LATER : o->frag_more ? IP_FRAG_FIRST : IP_WHOLE;
            grow = false;
        } else {
            o->has_options = true;
        }
        bool dst = o->proto == IPP_DSTOPTS;
        o->nh_off = o->l4_off;
        o->proto = p[o->l4_off];
        o->l4_off += n;
        if (grow && !dst)
            o->unfrag_len = o->l4_off;
        if (o->frag == IP_FRAG_LATER)
            break;
    }
    return 0;
}

static int parse_v6(const uint8_t *p, size_t len, struct ip_info *o)
{
    if (len < 40)
        return -EBADMSG;
    o->total = 40u + get_be16(p + 4);
    if (o->total > len)
        return -EBADMSG;
    o->version = 6;
    o->src.family = o->dst.family = 6;
    memcpy(o->src.b, p + 8, 16);
    memcpy(o->dst.b, p + 24, 16);
    uint32_t w = get_be32(p);
    o->tos = (uint8_t)(w >> 20);
    o->flow_label = w & 0xfffff;
    o->ttl = p[7];
    o->df = true;
    o->proto = p[6];
    o->nh_off = 6;
    o->l4_off = o->unfrag_len = 40;
    return walk_ext(p, o);
}

int ip_parse_packet(const uint8_t *pkt, size_t len, struct ip_info *out)
{
    memset(out, 0, sizeof *out);
    if (len < 1)
        return -EBADMSG;
    int rc = pkt[0] >> 4 == 4   ? parse_v4(pkt, len, out)
             : pkt[0] >> 4 == 6 ? parse_v6(pkt, len, out)
                                : -EBADMSG;
    if (rc)
        return rc;
    read_ports(pkt, out);
    return 0;
}
