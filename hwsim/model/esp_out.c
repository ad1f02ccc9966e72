/* Outbound ESP: outer header, trailer, encryption. */
#include <errno.h>

#include "firmware-if/card_if.h"
#include "hwsim/model/esp.h"

enum { ESP_HEAD = 8, TRAILER = 2, UDP_HEAD = 8, IP4_HEAD = 20, IP6_HEAD = 40 };

/* Where the parts of the packet lie, worked out before anything is written. */
struct plan {
    struct hw_frame in;
    unsigned outer_len;   /* outer IP header (transport: the packet's own, extensions and all) */
    unsigned nh_at;       /* transport IPv6: offset in it of the field that names the next header */
    const uint8_t *body;  /* what is encrypted */
    size_t body_len, pad; /* and what is added behind it */
    uint8_t next_header;
    size_t esp_len, ip_len; /* ESP header to ICV; outer IP packet */
};

static unsigned align_of(const struct hw_esp *e)
{
    return e->pad_align > e->suite->align ? e->pad_align : e->suite->align;
}

/* Transport mode, IPv6: follows the chain of headers to the one that ends at l3_len. */
static bool find_chain_end(const uint8_t *ip, unsigned l3_len, unsigned *nh_at, uint8_t *proto)
{
    unsigned at = IP6_HEAD;

    *nh_at = 6;
    while (at < l3_len) {
        unsigned nh = ip[*nh_at];

        *nh_at = at;
        if (at + 8 > l3_len)
            return false;
        at += nh == 44 ? 8u : (ip[at + 1] + 1u) * 8;
    }
    *proto = ip[*nh_at];
    return at == l3_len;
}

static bool plan_transport(const struct hw_esp *e, unsigned l3_len, struct plan *p)
{
    const uint8_t *ip = p->in.data + p->in.l2_len;

    if (p->in.family != e->family || p->in.fragment)
        return false;
    p->outer_len = l3_len ? l3_len : p->in.l3_len;
    if (p->outer_len > p->in.l3_len || (p->in.family == 4 && p->outer_len != p->in.l3_len))
        return false;
    p->next_header = p->in.proto;
    if (p->in.family == 6 &&
        (p->outer_len < IP6_HEAD || !find_chain_end(ip, p->outer_len, &p->nh_at, &p->next_header)))
        return false;
    p->body = ip + p->outer_len;
    p->body_len = p->in.ip_len - p->outer_len;
    return true;
}

static bool plan_tunnel(const struct hw_esp *e, struct plan *p)
{
    if (e->dec_ttl && p->in.ttl <= 1)
        return false;
    p->outer_len = e->family == 4 ? IP4_HEAD : IP6_HEAD;
    p->next_header = p->in.family == 4 ? HW_IPPROTO_IPIP : HW_IPPROTO_IPV6;
    p->body = p->in.data + p->in.l2_len;
    p->body_len = p->in.ip_len;
    return true;
}

static void plan_sizes(const struct hw_esp *e, struct plan *p)
{
    size_t text = p->body_len + TRAILER;
    unsigned align = align_of(e);

    p->pad = (align - text % align) % align;
    p->esp_len = ESP_HEAD + e->suite->iv_len + text + p->pad + e->suite->icv_len;
    p->ip_len = p->outer_len + (e->udp ? UDP_HEAD : 0) + p->esp_len;
}

/* The longest inner IP packet that would have fitted. */
static uint16_t longest_fit(const struct hw_esp *e, const struct plan *p)
{
    size_t fixed = p->ip_len - (p->body_len + p->pad + TRAILER);
    size_t text;

    if (e->pmtu < fixed + align_of(e))
        return 0;
    text = (e->pmtu - fixed) / align_of(e) * align_of(e);
    return (uint16_t)(text - TRAILER + (e->tunnel ? 0 : p->outer_len));
}

static uint32_t flow_hash(const struct hw_frame *f)
{
    size_t n = f->family == 4 ? 4 : 16, i;
    uint32_t h = 2166136261u;

    for (i = 0; i < 2 * n; i++) /* src and dst lie side by side in both headers */
        h = (h ^ f->src[i]) * 16777619u;
    h = (h ^ f->proto) * 16777619u;
    if (!f->fragment && (f->proto == HW_IPPROTO_TCP || f->proto == HW_IPPROTO_UDP) &&
        hw_payload_len(f) >= 4)
        for (i = 0; i < 4; i++)
            h = (h ^ hw_payload(f)[i]) * 16777619u;
    return (h ^ h >> 20) & 0xfffff;
}

static uint8_t outer_tos(const struct hw_esp *e, const struct hw_frame *in)
{
    uint8_t dscp = e->dscp_mode == HW_DSCP_COPY ? in->tos & 0xfc : (uint8_t)(e->dscp << 2);

    return (uint8_t)(dscp | (e->ecn_mode == HW_ECN_NORMAL ? in->tos & 3 : 0));
}

static bool outer_df(const struct hw_esp *e, const struct hw_frame *in)
{
    if (e->df_mode != HW_DF_COPY)
        return e->df_mode == HW_DF_SET;
    /* An IPv6 packet may not be fragmented on its way: as if DF were set. */
    return in->family == 6 || (in->data[in->l2_len + 6] & 0x40);
}

static uint32_t outer_flow(const struct hw_esp *e, const struct hw_frame *in)
{
    if (e->flow_mode == HW_FLOW_SET)
        return e->flow_label & 0xfffff;
    if (e->flow_mode == HW_FLOW_HASH)
        return flow_hash(in);
    return in->family == 6 ? hw_get32(in->data + in->l2_len) & 0xfffff : 0;
}

static uint8_t outer_ttl(const struct hw_esp *e)
{
    return e->ttl ? e->ttl : 64;
}

static void tunnel_head4(const struct hw_esp *e, const struct plan *p, uint64_t seq, uint8_t *ip)
{
    bool df = outer_df(e, &p->in);

    memset(ip, 0, IP4_HEAD);
    ip[0] = 0x45;
    ip[1] = outer_tos(e, &p->in);
    hw_put16(ip + 2, (uint16_t)p->ip_len);
    hw_put16(ip + 4, df ? 0 : (uint16_t)seq);
    ip[6] = df ? 0x40 : 0;
    ip[8] = outer_ttl(e);
    ip[9] = e->udp ? HW_IPPROTO_UDP : HW_IPPROTO_ESP;
    memcpy(ip + 12, e->src, 4);
    memcpy(ip + 16, e->dst, 4);
    hw_put16(ip + 10, hw_fold(hw_sum(0, ip, IP4_HEAD)));
}

static void tunnel_head6(const struct hw_esp *e, const struct plan *p, uint8_t *ip)
{
    hw_put32(ip, 6u << 28 | (uint32_t)outer_tos(e, &p->in) << 20 | outer_flow(e, &p->in));
    hw_put16(ip + 4, (uint16_t)(p->ip_len - IP6_HEAD));
    ip[6] = e->udp ? HW_IPPROTO_UDP : HW_IPPROTO_ESP;
    ip[7] = outer_ttl(e);
    memcpy(ip + 8, e->src, 16);
    memcpy(ip + 24, e->dst, 16);
}

static void transport_head(const struct hw_esp *e, const struct plan *p, uint8_t *ip)
{
    memcpy(ip, p->in.data + p->in.l2_len, p->outer_len);
    if (p->in.family == 6) {
        ip[p->nh_at] = e->udp ? HW_IPPROTO_UDP : HW_IPPROTO_ESP;
        hw_put16(ip + 4, (uint16_t)(p->ip_len - IP6_HEAD));
        return;
    }
    ip[9] = e->udp ? HW_IPPROTO_UDP : HW_IPPROTO_ESP;
    hw_put16(ip + 2, (uint16_t)p->ip_len);
    hw_put16(ip + 10, 0);
    hw_put16(ip + 10, hw_fold(hw_sum(0, ip, p->outer_len)));
}

static void outer_head(const struct hw_esp *e, const struct plan *p, uint64_t seq, uint8_t *ip)
{
    if (!e->tunnel)
        transport_head(e, p, ip);
    else if (e->family == 4)
        tunnel_head4(e, p, seq, ip);
    else
        tunnel_head6(e, p, ip);
}

/* IPv4: no checksum (RFC 3948); IPv6: computed, when all bytes stand. */
static void udp_head(const struct hw_esp *e, const struct plan *p, uint8_t *ip)
{
    uint8_t *udp = ip + p->outer_len;
    size_t len = UDP_HEAD + p->esp_len;
    uint16_t sum;

    hw_put16(udp, e->sport);
    hw_put16(udp + 2, e->dport);
    hw_put16(udp + 4, (uint16_t)len);
    hw_put16(udp + 6, 0);
    if (e->family == 4)
        return;
    sum =
        hw_fold(hw_sum(hw_sum_pseudo(6, ip + 8, ip + 24, (uint32_t)len, HW_IPPROTO_UDP), udp, len));
    hw_put16(udp + 6, sum ? sum : 0xffff);
}

static void dec_inner_ttl(uint8_t *ip)
{
    uint32_t sum;

    if (ip[0] >> 4 == 6) {
        ip[7]--;
        return;
    }
    sum = (uint32_t)hw_get16(ip + 10) + 0x100; /* RFC 1141 */
    hw_put16(ip + 10, (uint16_t)(sum + (sum >> 16)));
    ip[8]--;
}

static int seal(const struct hw_esp *e, const struct plan *p, uint64_t seq, uint8_t *esp)
{
    uint8_t *text = esp + ESP_HEAD + e->suite->iv_len, *end;
    uint8_t aad[12];
    size_t i, aad_len = e->esn ? 12 : 8;

    hw_put32(esp, e->spi);
    hw_put32(esp + 4, (uint32_t)seq);
    memcpy(text, p->body, p->body_len);
    if (e->tunnel && e->dec_ttl)
        dec_inner_ttl(text);
    end = text + p->body_len;
    for (i = 1; i <= p->pad; i++)
        *end++ = (uint8_t)i;
    *end++ = (uint8_t)p->pad;
    *end++ = p->next_header;
    hw_put32(aad, e->spi);
    if (e->esn)
        hw_put32(aad + 4, (uint32_t)(seq >> 32));
    hw_put32(aad + aad_len - 4, (uint32_t)seq);
    return e->suite->seal(e, seq, aad, aad_len, esp + ESP_HEAD, text, (size_t)(end - text));
}

unsigned hw_esp_protect(const struct hw_esp *e, const uint8_t *frame, size_t len, unsigned l3_len,
                        uint64_t seq, struct hw_build *b)
{
    struct plan p = {0};
    uint8_t *ip;

    hw_parse_frame(frame, len, &p.in);
    if (p.in.family == 0 || !(e->tunnel ? plan_tunnel(e, &p) : plan_transport(e, l3_len, &p)))
        return CIF_TXS_BAD_PACKET;
    plan_sizes(e, &p);
    if (p.ip_len > e->pmtu || p.ip_len + p.in.l2_len > b->cap) {
        b->fit = longest_fit(e, &p);
        return CIF_TXS_PMTU_EXCEEDED;
    }
    memcpy(b->out, frame, p.in.l2_len);
    hw_put16(b->out + p.in.l2_len - 2, e->family == 4 ? HW_ETHER_IPV4 : HW_ETHER_IPV6);
    ip = b->out + p.in.l2_len;
    outer_head(e, &p, seq, ip);
    if (seal(e, &p, seq, ip + p.outer_len + (e->udp ? UDP_HEAD : 0)) < 0)
        return CIF_TXS_ENGINE_FAULT;
    if (e->udp)
        udp_head(e, &p, ip);
    b->len = p.in.l2_len + p.ip_len;
    return CIF_TXS_OK;
}
