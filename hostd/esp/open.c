/* Inbound: find ESP by the IP and UDP lengths, verify and decrypt into the out buffer, then judge
 * what came out. */
#include "hostd/esp/esp_internal.h"

#include <openssl/crypto.h>
#include <string.h>

/* The ESP header's place; op gets version, tos, hdr_len, nh_off. total is the packet's length. */
static bool find_l4(const struct esp_pkt *pkt, struct esp_op *op, uint8_t *proto, size_t *total)
{
    struct esp_look l;
    struct ip_info info;
    if (!esp_look(pkt->in, pkt->in_len, &l) || l.frag)
        return false;
    op->version = l.version;
    op->tos = l.tos;
    op->hdr_len = (uint16_t)l.hdr_len;
    op->nh_off = l.version == 4 ? 9 : 6;
    *proto = l.proto;
    *total = l.total;
    if (l.version == 4 || l.proto == IPP_ESP || l.proto == IPP_UDP)
        return true;
    if (ip_parse_packet(pkt->in, pkt->in_len, &info) || info.frag != IP_WHOLE)
        return false;
    op->hdr_len = (uint16_t)info.l4_off;
    op->nh_off = (uint16_t)info.nh_off;
    *proto = info.proto;
    return true;
}

/* Octets from the ESP header to the ICV, or 0. */
static size_t find_esp(const struct esp_sa *sa, const struct esp_pkt *pkt, struct esp_op *op)
{
    uint8_t proto;
    size_t total;
    if (!find_l4(pkt, op, &proto, &total))
        return 0;
    size_t left = total - op->hdr_len;
    op->esp_off = op->hdr_len;
    if (proto == IPP_ESP)
        return sa->encap == ESP_ENCAP_UDP ? 0 : left;
    if (proto != IPP_UDP || sa->encap == ESP_ENCAP_NONE || left < UDP_HDR)
        return 0;
    size_t len = get_be16(pkt->in + op->hdr_len + 4);
    op->esp_off = (uint16_t)(op->hdr_len + UDP_HDR);
    return len >= UDP_HDR && len <= left ? len - UDP_HDR : 0;
}

static enum esp_result check_header(const struct esp_sa *sa, const struct esp_pkt *pkt,
                                    const uint8_t *esp, size_t len)
{
    size_t over = ESP_HDR + sa->suite.iv_len + sa->suite.icv_len;
    if (len < over + 2 || get_be32(esp) != sa->spi)
        return ESP_BAD_PACKET;
    if (!sa->suite.aead && (len - over) % sa->suite.pad_to)
        return ESP_BAD_PACKET;
    if (!pkt->seq || (!sa->esn && pkt->seq > UINT32_MAX) || get_be32(esp + 4) != (uint32_t)pkt->seq)
        return ESP_BAD_NUMBER;
    return ESP_OK;
}

static enum esp_result prepare(const struct esp_sa *sa, struct esp_pkt *pkt, struct esp_op *op)
{
    if (sa->dir != ESP_IN)
        return ESP_UNSUPPORTED;
    size_t len = find_esp(sa, pkt, op);
    const uint8_t *esp = pkt->in + op->esp_off;
    if (!len)
        return ESP_BAD_PACKET;
    enum esp_result r = check_header(sa, pkt, esp, len);
    if (r != ESP_OK)
        return r;
    if (pkt->out_room < op->esp_off + len)
        return ESP_NO_ROOM;
    size_t iv = sa->suite.iv_len;
    esp_nonce(sa, esp + ESP_HDR, op->iv);
    esp_write_aad(sa, pkt->seq, op->aad);
    op->hdr = esp;
    op->mac_len = len - sa->suite.icv_len;
    op->src = esp + ESP_HDR + iv;
    op->len = len - ESP_HDR - iv - sa->suite.icv_len;
    op->icv_in = op->src + op->len;
    op->dst = pkt->out + (sa->mode == ESP_TUNNEL ? 0 : op->hdr_len);
    op->scratch = pkt->out;
    op->pkt = pkt;
    op->fault = false;
    return ESP_OK;
}

/* Takes the trailer off; *payload is what is left of the text. */
static enum esp_result check_trailer(const struct esp_op *op, size_t *payload)
{
    size_t pad = op->dst[op->len - 2];
    if (pad > op->len - 2)
        return ESP_BAD_PAD;
    *payload = op->len - 2 - pad;
    const uint8_t *p = op->dst + *payload;
    for (size_t i = 0; i < pad; i++)
        if (p[i] != i + 1)
            return ESP_BAD_PAD;
    return ESP_OK;
}

static enum esp_result finish_tunnel(struct esp_op *op, size_t payload)
{
    struct esp_pkt *pkt = op->pkt;
    struct esp_look l;
    if (pkt->next_header != IPP_IPIP && pkt->next_header != IPP_IPV6)
        return ESP_BAD_NEXT_HEADER;
    if (!esp_look(pkt->out, payload, &l) || (l.version == 4) != (pkt->next_header == IPP_IPIP))
        return ESP_BAD_INNER;
    int ecn = esp_ecn_decap(l.tos & 3, op->tos & 3);
    if (ecn < 0)
        return ESP_BAD_ECN;
    if ((unsigned)ecn != (l.tos & 3u))
        esp_ecn_set(pkt->out, l.version, (unsigned)ecn);
    pkt->out_len = l.total; /* what follows is TFC padding */
    return ESP_OK;
}

static enum esp_result finish_transport(struct esp_op *op, size_t payload)
{
    struct esp_pkt *pkt = op->pkt;
    struct ip_info info;
    /* hop-by-hop options can only stand first (RFC 8200, 4.1) */
    if (op->version == 6 && pkt->next_header == IPP_HOPOPTS)
        return ESP_BAD_NEXT_HEADER;
    size_t total = op->hdr_len + payload;
    memcpy(pkt->out, pkt->in, op->hdr_len);
    esp_header_change(pkt->out, op->version, op->hdr_len, op->nh_off, pkt->next_header, total,
                      false);
    if (ip_parse_packet(pkt->out, total, &info))
        return ESP_BAD_INNER;
    pkt->out_len = total;
    return ESP_OK;
}

static enum esp_result finish(const struct esp_sa *sa, struct esp_op *op)
{
    size_t payload;
    if (!op->ok)
        return op->fault ? ESP_CRYPTO_ERROR : ESP_BAD_ICV;
    enum esp_result r = check_trailer(op, &payload);
    if (r != ESP_OK)
        return r;
    op->pkt->next_header = op->dst[op->len - 1];
    if (op->pkt->next_header == IPP_NONE)
        return ESP_DUMMY;
    return sa->mode == ESP_TUNNEL ? finish_tunnel(op, payload) : finish_transport(op, payload);
}

static void run(struct esp_sa *sa, struct esp_op *op, unsigned n)
{
    sa->crypto->open(sa->crypto, op, n);
    for (unsigned i = 0; i < n; i++) {
        struct esp_pkt *pkt = op[i].pkt;
        pkt->result = finish(sa, &op[i]);
        if (pkt->result == ESP_OK)
            continue;
        /* a bad ICV leaves no plaintext behind: the back end saw to that */
        if (op[i].ok || op[i].fault)
            OPENSSL_cleanse(op[i].dst, op[i].len);
        pkt->out_len = 0;
    }
}

void esp_open(struct esp_sa *sa, struct esp_pkt *v, unsigned n)
{
    struct esp_op op[ESP_LANES];
    unsigned held = 0, lanes = sa->crypto->lanes;
    for (unsigned i = 0; i < n; i++) {
        v[i].out_len = 0;
        v[i].next_header = 0;
        v[i].result = prepare(sa, &v[i], &op[held]);
        if (v[i].result != ESP_OK || ++held < lanes)
            continue;
        run(sa, op, held);
        held = 0;
    }
    if (held)
        run(sa, op, held);
}
