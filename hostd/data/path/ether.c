#include "hostd/data/path/path.h"

bool eth_parse(const uint8_t *frame, size_t len, uint16_t *type, size_t *l2_len)
{
    size_t off = ETH_HDR;
    for (int tags = 0;; tags++, off += 4) {
        if (len < off)
            return false;
        *type = get_be16(frame + off - 2);
        *l2_len = off;
        if ((*type != ETH_VLAN && *type != ETH_QINQ) || tags == 2)
            return true;
    }
}

bool pkt_parse(struct pkt *p, const uint8_t *frame, size_t len)
{
    uint16_t type;
    memset(p, 0, sizeof *p);
    if (!eth_parse(frame, len, &type, &p->l2_len))
        return false;
    p->l2 = frame;
    p->ip = frame + p->l2_len;
    return ip_parse_packet(p->ip, len - p->l2_len, &p->i) == 0 && type == eth_type(p->i.version);
}

void eth_write(uint8_t *out, const uint8_t dst[6], const uint8_t src[6], uint16_t type)
{
    memcpy(out, dst, 6);
    memcpy(out + 6, src, 6);
    put_be16(out + 12, type);
}
