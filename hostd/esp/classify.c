#include "hostd/esp/esp.h"

#include "hostd/base/bytes.h"

enum { UDP_HDR = 8, IKE_PORT = 500 };

static enum esp_kind peek_esp(const uint8_t *pkt, size_t off, size_t len, struct esp_peek *peek)
{
    peek->esp_off = off;
    peek->esp_len = len;
    if (len < 8)
        return ESP_KIND_SHORT;
    peek->spi = get_be32(pkt + off);
    peek->seq_lo = get_be32(pkt + off + 4);
    return ESP_KIND_ESP;
}

/* RFC 3948, 2.2 and 2.3: four zero octets mark IKE, one 0xFF keeps a NAT's mapping alive. */
static enum esp_kind peek_natt(const uint8_t *pkt, size_t off, size_t len, struct esp_peek *peek)
{
    if (len == 1 && pkt[off] == 0xff)
        return ESP_KIND_KEEPALIVE;
    if (len >= 4 && get_be32(pkt + off) == 0)
        return ESP_KIND_IKE;
    return peek_esp(pkt, off, len, peek);
}

static enum esp_kind peek_udp(const uint8_t *pkt, const struct ip_info *info, uint16_t natt_port,
                              struct esp_peek *peek)
{
    size_t left = info->total - info->l4_off;
    bool natt = natt_port && info->dport == natt_port;
    if (!info->has_ports || (!natt && info->dport != IKE_PORT))
        return ESP_KIND_NONE;
    if (left < UDP_HDR)
        return ESP_KIND_SHORT;
    size_t len = get_be16(pkt + info->l4_off + 4);
    if (len < UDP_HDR || len > left)
        return ESP_KIND_SHORT;
    if (!natt)
        return ESP_KIND_IKE;
    peek->udp = true;
    peek->udp_sport = info->sport;
    peek->udp_dport = info->dport;
    return peek_natt(pkt, info->l4_off + UDP_HDR, len - UDP_HDR, peek);
}

enum esp_kind esp_classify(const uint8_t *pkt, const struct ip_info *info, uint16_t natt_port,
                           struct esp_peek *peek)
{
    *peek = (struct esp_peek){0};
    if (info->frag != IP_WHOLE)
        return ESP_KIND_NONE;
    if (info->proto == IPP_ESP)
        return peek_esp(pkt, info->l4_off, info->total - info->l4_off, peek);
    if (info->proto == IPP_UDP)
        return peek_udp(pkt, info, natt_port, peek);
    return ESP_KIND_NONE;
}
