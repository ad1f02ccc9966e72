#include "hwsim/model/packet.h"

enum { ETH_LEN = 14, VLAN_LEN = 4, VLAN_MAX = 2, IP4_MIN = 20, IP6_LEN = 40, EXT_MAX = 8 };

uint32_t hw_sum(uint32_t sum, const uint8_t *p, size_t n)
{
    uint64_t wide = sum;

    for (; n >= 2; n -= 2, p += 2)
        wide += hw_get16(p);
    if (n)
        wide += (uint32_t)p[0] << 8;
    while (wide >> 32)
        wide = (wide & 0xffffffffu) + (wide >> 32);
    return (uint32_t)wide;
}

uint16_t hw_fold(uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

uint32_t hw_sum_pseudo(unsigned family, const uint8_t *src, const uint8_t *dst, uint32_t len,
                       uint8_t proto)
{
    size_t n = family == 4 ? 4 : 16;
    uint8_t tail[8] = {0};

    hw_put32(tail, len);
    tail[7] = proto;
    return hw_sum(hw_sum(hw_sum(0, src, n), dst, n), tail, sizeof(tail));
}

static void parse_ip4(struct hw_frame *f, const uint8_t *ip, size_t room)
{
    size_t head, total;
    uint16_t frag;

    if (room < IP4_MIN)
        return;
    head = (size_t)(ip[0] & 15) * 4;
    total = hw_get16(ip + 2);
    if (head < IP4_MIN || total < head || total > room)
        return;
    frag = hw_get16(ip + 6);
    f->family = 4;
    f->l3_len = (uint16_t)head;
    f->ip_len = (uint16_t)total;
    f->tos = ip[1];
    f->ttl = ip[8];
    f->proto = ip[9];
    f->options = head > IP4_MIN;
    f->later = (frag & 0x1fff) != 0;
    f->fragment = f->later || (frag & 0x2000);
    f->src = ip + 12;
    f->dst = ip + 16;
}

static bool is_ext(uint8_t proto)
{
    /* hop-by-hop, routing, fragment, destination options, mobility, HIP, shim6 */
    return proto == 0 || proto == 43 || proto == 44 || proto == 60 || proto == 135 ||
           proto == 139 || proto == 140;
}

/* Walks the extension headers; false when one is cut off or there are too many. */
static bool walk_ext(struct hw_frame *f, const uint8_t *ip, size_t total)
{
    size_t at = IP6_LEN;
    unsigned n;

    for (n = 0; is_ext(f->proto) && !f->later; n++) {
        size_t len;

        if (n == EXT_MAX || at + 8 > total)
            return false;
        if (f->proto == 44) {
            len = 8;
            f->fragment = true;
            f->later = (hw_get16(ip + at + 2) & 0xfff8) != 0;
        } else {
            len = ((size_t)ip[at + 1] + 1) * 8;
            f->options = true;
        }
        if (at + len > total)
            return false;
        f->proto = ip[at];
        at += len;
    }
    f->l3_len = (uint16_t)at;
    return true;
}

static void parse_ip6(struct hw_frame *f, const uint8_t *ip, size_t room)
{
    size_t total;

    if (room < IP6_LEN)
        return;
    total = (size_t)hw_get16(ip + 4) + IP6_LEN;
    if (total > room || total > UINT16_MAX)
        return;
    f->proto = ip[6];
    if (!walk_ext(f, ip, total))
        return;
    f->family = 6;
    f->ip_len = (uint16_t)total;
    f->tos = (uint8_t)(hw_get16(ip) >> 4);
    f->ttl = ip[7];
    f->src = ip + 8;
    f->dst = ip + 24;
}

static void parse_l3(struct hw_frame *f, unsigned family)
{
    const uint8_t *ip = f->data + f->l2_len;
    size_t room = f->len - f->l2_len;

    if (room == 0 || ip[0] >> 4 != family)
        return;
    if (family == 4)
        parse_ip4(f, ip, room);
    else
        parse_ip6(f, ip, room);
}

void hw_parse_frame(const uint8_t *data, size_t len, struct hw_frame *f)
{
    size_t at = ETH_LEN;
    unsigned tags;
    uint16_t type;

    memset(f, 0, sizeof(*f));
    f->data = data;
    f->len = len;
    f->l2_len = (uint16_t)(len < ETH_LEN ? len : ETH_LEN);
    if (len < ETH_LEN)
        return;
    type = hw_get16(data + 12);
    for (tags = 0; tags < VLAN_MAX && (type == 0x8100 || type == 0x88a8); tags++) {
        if (at + VLAN_LEN > len)
            return;
        type = hw_get16(data + at + 2);
        at += VLAN_LEN;
    }
    f->l2_len = (uint16_t)at;
    if (type == HW_ETHER_IPV4)
        parse_l3(f, 4);
    else if (type == HW_ETHER_IPV6)
        parse_l3(f, 6);
}

void hw_parse_ip(const uint8_t *data, size_t len, struct hw_frame *f)
{
    memset(f, 0, sizeof(*f));
    f->data = data;
    f->len = len;
    if (len && (data[0] >> 4 == 4 || data[0] >> 4 == 6))
        parse_l3(f, data[0] >> 4);
}
