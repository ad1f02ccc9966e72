/* Inbound ESP: ICV, padding, the packet that was inside. */
#include <errno.h>

#include "hwsim/model/esp.h"

enum { ESP_HEAD = 8, TRAILER = 2, IP6_HEAD = 40 };

uint64_t hw_esn_infer(uint64_t t, uint32_t seq_lo, uint32_t window)
{
    uint32_t th = (uint32_t)(t >> 32), tl = (uint32_t)t, bottom = tl - window + 1;

    if (tl >= window - 1) { /* the window lies in one half space */
        if (seq_lo < bottom)
            th++;
    } else if (seq_lo >= bottom && th > 0) { /* it reaches back into the one before */
        th--;
    }
    return (uint64_t)th << 32 | seq_lo;
}

int hw_esp_open(const struct hw_esp *e, const uint8_t *esp, size_t len, uint32_t seq_hi,
                uint8_t *plain, size_t *plain_len)
{
    size_t head = ESP_HEAD + e->suite->iv_len, text;
    size_t aad_len = e->esn ? 12 : 8;
    uint8_t aad[12];

    if (len < head + TRAILER + e->suite->icv_len)
        return -EINVAL;
    text = len - head - e->suite->icv_len;
    if (text % e->suite->align)
        return -EINVAL;
    memcpy(aad, esp, 4);
    if (e->esn)
        hw_put32(aad + 4, seq_hi);
    memcpy(aad + aad_len - 4, esp + 4, 4);
    *plain_len = text;
    return e->suite->open(e, esp + ESP_HEAD, aad, aad_len, esp + head, text, plain);
}

int hw_esp_strip(const uint8_t *plain, size_t *len, uint8_t *next_header)
{
    size_t pad = plain[*len - 2], i, start;

    *next_header = plain[*len - 1];
    if (pad + TRAILER > *len)
        return -EBADMSG;
    start = *len - TRAILER - pad;
    for (i = 0; i < pad; i++)
        if (plain[start + i] != i + 1)
            return -EBADMSG;
    *len = start;
    return 0;
}

/* RFC 6040 figure 4: rows inner, columns outer (not-ECT, ECT1, ECT0, CE in bit order); 4 = drop. */
static const uint8_t ecn_out[4][4] = {
    {0, 0, 0, 4}, /* not-ECT */
    {1, 1, 1, 3}, /* ECT(1) */
    {2, 1, 2, 3}, /* ECT(0) */
    {3, 3, 3, 3}, /* CE */
};

static void set_tos4(uint8_t *ip, uint8_t tos)
{
    /* RFC 1624: only the change goes into the checksum, a bad one stays bad. */
    uint32_t sum = (uint32_t)(uint16_t)~hw_get16(ip + 10);

    sum += (uint16_t)~hw_get16(ip);
    ip[1] = tos;
    sum += hw_get16(ip);
    hw_put16(ip + 10, hw_fold(sum));
}

static int merge_ecn(uint8_t *ip, uint8_t inner_tos, uint8_t outer_tos)
{
    uint8_t ecn = ecn_out[inner_tos & 3][outer_tos & 3];
    uint8_t tos = (uint8_t)((inner_tos & 0xfc) | (ecn & 3));

    if (ecn == 4)
        return -ECONNABORTED;
    if (tos == inner_tos)
        return 0;
    if (ip[0] >> 4 == 4)
        set_tos4(ip, tos);
    else
        hw_put16(ip, (uint16_t)(0x6000 | tos << 4 | (ip[1] & 15)));
    return 0;
}

static int deliver_tunnel(const struct hw_frame *outer, uint8_t nh, const uint8_t *plain,
                          size_t len, struct hw_build *b)
{
    struct hw_frame in;
    uint8_t *ip = b->out + outer->l2_len;

    if (nh != HW_IPPROTO_IPIP && nh != HW_IPPROTO_IPV6)
        return -EPROTO;
    hw_parse_ip(plain, len, &in);
    if (in.family != (nh == HW_IPPROTO_IPIP ? 4 : 6))
        return -EINVAL;
    memcpy(ip, plain, in.ip_len); /* what lies behind is traffic-flow padding */
    hw_put16(ip - 2, in.family == 4 ? HW_ETHER_IPV4 : HW_ETHER_IPV6);
    b->len = (size_t)outer->l2_len + in.ip_len;
    return merge_ecn(ip, in.tos, outer->tos);
}

static int deliver_transport(const struct hw_frame *outer, uint8_t nh, const uint8_t *plain,
                             size_t len, struct hw_build *b)
{
    uint8_t *ip = b->out + outer->l2_len;

    memcpy(ip, outer->data + outer->l2_len, outer->l3_len);
    memcpy(ip + outer->l3_len, plain, len);
    b->len = (size_t)outer->l2_len + outer->l3_len + len;
    if (outer->family == 6) {
        ip[6] = nh; /* the parser hands extension headers up raw: there are none here */
        hw_put16(ip + 4, (uint16_t)(outer->l3_len - IP6_HEAD + len));
        return 0;
    }
    ip[9] = nh;
    hw_put16(ip + 2, (uint16_t)(outer->l3_len + len));
    hw_put16(ip + 10, 0);
    hw_put16(ip + 10, hw_fold(hw_sum(0, ip, outer->l3_len)));
    return 0;
}

int hw_esp_deliver(const struct hw_esp *e, const struct hw_frame *outer, uint8_t next_header,
                   const uint8_t *plain, size_t len, struct hw_build *b)
{
    if ((size_t)outer->l2_len + outer->l3_len + len > b->cap)
        return -EINVAL;
    memcpy(b->out, outer->data, outer->l2_len);
    if (e->tunnel)
        return deliver_tunnel(outer, next_header, plain, len, b);
    return deliver_transport(outer, next_header, plain, len, b);
}
