/* IP headers: the outer one of tunnel mode (RFC 4301 5.1.2, RFC 6040, RFC 6864), the changed one of
 * transport mode, and the UDP header between (RFC 3948). */
#include "hostd/esp/esp_internal.h"

#include <string.h>

static bool look_v4(const uint8_t *p, size_t len, struct esp_look *l)
{
    if (len < V4_HDR)
        return false;
    l->version = 4;
    l->hdr_len = (size_t)(p[0] & 15) * 4;
    l->total = get_be16(p + 2);
    l->tos = p[1];
    l->proto = p[9];
    l->df = p[6] & 0x40;
    l->frag = get_be16(p + 6) & 0x3fff;
    l->flow = 0;
    return l->hdr_len >= V4_HDR && l->total >= l->hdr_len && l->total <= len;
}

static bool look_v6(const uint8_t *p, size_t len, struct esp_look *l)
{
    if (len < V6_HDR)
        return false;
    uint32_t w = get_be32(p);
    l->version = 6;
    l->hdr_len = V6_HDR;
    l->total = V6_HDR + (size_t)get_be16(p + 4);
    l->tos = (uint8_t)(w >> 20);
    l->proto = p[6];
    l->df = true;
    l->frag = false;
    l->flow = w & 0xfffff;
    return l->total <= len;
}

bool esp_look(const uint8_t *p, size_t len, struct esp_look *l)
{
    if (!len)
        return false;
    return p[0] >> 4 == 4 ? look_v4(p, len, l) : p[0] >> 4 == 6 && look_v6(p, len, l);
}

/* --- outer header of tunnel mode ----------------------------------------------------------- */

static uint8_t outer_proto(const struct esp_sa *sa)
{
    return sa->encap == ESP_ENCAP_UDP ? IPP_UDP : IPP_ESP;
}

void esp_outer_template(struct esp_sa *sa)
{
    uint8_t *h = sa->outer, ttl = sa->rules.ttl ? sa->rules.ttl : 64;
    memset(h, 0, sizeof sa->outer);
    sa->outer_len = sa->src.family == 4 ? V4_HDR : V6_HDR;
    if (sa->src.family == 4) {
        h[0] = 0x45;
        h[8] = ttl;
        h[9] = outer_proto(sa);
        memcpy(h + 12, sa->src.b, 4);
        memcpy(h + 16, sa->dst.b, 4);
        sa->outer_sum = ip_sum(h, V4_HDR, 0);
    } else {
        h[6] = outer_proto(sa);
        h[7] = ttl;
        memcpy(h + 8, sa->src.b, 16);
        memcpy(h + 24, sa->dst.b, 16);
    }
}

static uint32_t by_rule(enum esp_field_rule rule, uint32_t inner, uint32_t set)
{
    return rule == ESP_COPY ? inner : rule == ESP_SET ? set : 0;
}

static void write_v4(const struct esp_sa *sa, uint8_t tos, bool df, uint64_t number, size_t total,
                     uint8_t *out)
{
    /* an ID matters only where the packet may be fragmented (RFC 6864) */
    uint16_t id = df ? 0 : (uint16_t)number, off = df ? 0x4000 : 0;
    memcpy(out, sa->outer, V4_HDR);
    out[1] = tos;
    put_be16(out + 2, (uint16_t)total);
    put_be16(out + 4, id);
    put_be16(out + 6, off);
    put_be16(out + 10, ip_sum_fold(sa->outer_sum + tos + (uint32_t)total + id + off));
}

void esp_outer_write(const struct esp_sa *sa, const struct esp_look *inner, uint64_t number,
                     size_t total, uint8_t *out)
{
    const struct esp_header_rules *r = &sa->rules;
    /* ECN is always copied: RFC 6040's normal mode */
    uint8_t tos =
        (uint8_t)(by_rule(r->dscp, inner->tos >> 2, r->dscp_value) << 2 | (inner->tos & 3));
    if (sa->outer_len == V4_HDR) {
        write_v4(sa, tos, by_rule(r->df, inner->df, 1), number, total, out);
        return;
    }
    memcpy(out, sa->outer, V6_HDR);
    put_be32(out,
             6u << 28 | (uint32_t)tos << 20 | by_rule(r->flow_label, inner->flow, r->flow_value));
    put_be16(out + 4, (uint16_t)(total - V6_HDR));
}

/* --- transport mode ------------------------------------------------------------------------ */

static bool is_outside(uint8_t nh)
{
    return nh == IPP_HOPOPTS || nh == IPP_ROUTING || nh == IPP_FRAGMENT || nh == IPP_DSTOPTS;
}

/* ESP follows the hop-by-hop, routing and fragment headers; destination options stay outside only
 * where one of these comes behind them (RFC 4303, 3.1.1). */
static enum esp_result split_v6(const uint8_t *p, const struct esp_look *l, struct esp_split *s)
{
    size_t at = V6_HDR, name = 6;
    uint8_t nh = p[6];
    for (int depth = 0; is_outside(nh); depth++) {
        if (depth == 8 || l->total - at < 8)
            return ESP_BAD_PACKET;
        size_t n = nh == IPP_FRAGMENT ? 8 : ((size_t)p[at + 1] + 1) * 8;
        if (n > l->total - at)
            return ESP_BAD_PACKET;
        if (nh == IPP_FRAGMENT && (get_be16(p + at + 2) & 0xfff9))
            return ESP_UNSUPPORTED;
        s->routing |= nh == IPP_ROUTING;
        bool moves = nh != IPP_DSTOPTS;
        name = at;
        nh = p[at];
        at += n;
        if (moves)
            *s = (struct esp_split){.off = at, .nh_off = name, .nh = nh, .routing = s->routing};
    }
    return ESP_OK;
}

enum esp_result esp_split_out(const uint8_t *p, const struct esp_look *l, struct esp_split *s)
{
    *s = (struct esp_split){.off = l->hdr_len, .nh_off = l->version == 4 ? 9 : 6, .nh = l->proto};
    if (l->version == 6)
        return split_v6(p, l, s);
    return l->frag ? ESP_UNSUPPORTED : ESP_OK;
}

/* RFC 1624: the checksum after one 16-bit word of the header went from was to now. */
static void checksum_carry(uint8_t *p, uint16_t was, uint16_t now)
{
    uint32_t sum = (uint16_t)~get_be16(p + 10);
    sum += (uint16_t)~was;
    sum += now;
    put_be16(p + 10, ip_sum_fold(sum));
}

void esp_header_change(uint8_t *p, uint8_t version, size_t hdr_len, size_t nh_off, uint8_t nh,
                       size_t total, bool fresh)
{
    if (version == 6) {
        p[nh_off] = nh;
        put_be16(p + 4, (uint16_t)(total - V6_HDR));
        return;
    }
    uint16_t was_len = get_be16(p + 2), was_nh = get_be16(p + 8);
    put_be16(p + 2, (uint16_t)total);
    p[9] = nh;
    if (fresh) {
        ip4_fix_checksum(p, hdr_len);
        return;
    }
    checksum_carry(p, was_len, (uint16_t)total);
    checksum_carry(p, was_nh, get_be16(p + 8));
}

/* --- UDP ----------------------------------------------------------------------------------- */

void esp_udp_write(const struct esp_sa *sa, uint8_t *udp, size_t len)
{
    put_be16(udp, sa->udp_sport);
    put_be16(udp + 2, sa->udp_dport);
    put_be16(udp + 4, (uint16_t)len);
    put_be16(udp + 6, 0);
}

void esp_udp6_checksum(uint8_t *pkt, size_t udp_off, size_t total)
{
    size_t len = total - udp_off;
    uint32_t sum = ip_sum(pkt + 8, 32, (uint32_t)(IPP_UDP + len));
    uint16_t c = ip_sum_fold(ip_sum(pkt + udp_off, len, sum));
    put_be16(pkt + udp_off + 6, c ? c : 0xffff);
}

/* --- ECN ----------------------------------------------------------------------------------- */

enum { NOT_ECT = 0, ECT1 = 1, ECT0 = 2, CE = 3, DROP = -1 };

int esp_ecn_decap(unsigned inner, unsigned outer)
{
    static const int8_t table[4][4] = {
        /*             outer: Not-ECT   ECT(1)   ECT(0)   CE   */
        [NOT_ECT] = {NOT_ECT, NOT_ECT, NOT_ECT, DROP},
        [ECT1] = {ECT1, ECT1, ECT1, CE},
        [ECT0] = {ECT0, ECT1, ECT0, CE},
        [CE] = {CE, CE, CE, CE},
    };
    return table[inner & 3][outer & 3];
}

void esp_ecn_set(uint8_t *p, uint8_t version, unsigned ecn)
{
    if (version == 6) {
        p[1] = (uint8_t)((p[1] & 0xcf) | ecn << 4);
        return;
    }
    uint16_t was = get_be16(p);
    p[1] = (uint8_t)((p[1] & 0xfc) | ecn);
    checksum_carry(p, was, get_be16(p));
}
