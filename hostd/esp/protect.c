/* Outbound: build headers and trailer around the payload in the out buffer, then seal there. */
#include "hostd/esp/esp_internal.h"

#include <openssl/crypto.h>
#include <string.h>

static bool number_fits(const struct esp_sa *sa, uint64_t number)
{
    return number && (sa->esn || number <= UINT32_MAX);
}

/* What of the packet goes inside, and what stays in front of ESP. */
static enum esp_result divide(const struct esp_sa *sa, const struct esp_pkt *pkt,
                              struct esp_look *l, struct esp_split *s)
{
    if (!esp_look(pkt->in, pkt->in_len, l))
        return ESP_BAD_PACKET;
    if (sa->mode == ESP_TUNNEL) {
        *s = (struct esp_split){.nh = l->version == 4 ? IPP_IPIP : IPP_IPV6};
        return ESP_OK;
    }
    if (sa->src.family && sa->src.family != l->version)
        return ESP_BAD_PACKET;
    enum esp_result r = esp_split_out(pkt->in, l, s);
    /* behind a routing header the UDP checksum is over another destination than the packet's */
    return r == ESP_OK && s->routing && sa->encap == ESP_ENCAP_UDP ? ESP_UNSUPPORTED : r;
}

/* The outer lengths, or false when no outer packet can be that long. */
static bool measure(const struct esp_sa *sa, const struct esp_look *l, const struct esp_split *s,
                    struct esp_op *op, size_t *total)
{
    bool v4 = sa->mode == ESP_TUNNEL ? sa->outer_len == V4_HDR : l->version == 4;
    size_t payload = l->total - s->off;
    op->hdr_len = (uint16_t)(sa->mode == ESP_TUNNEL ? sa->outer_len : s->off);
    op->version = v4 ? 4 : 6;
    op->esp_off = (uint16_t)(op->hdr_len + (sa->encap == ESP_ENCAP_UDP ? UDP_HDR : 0));
    op->len = payload + esp_pad_len(&sa->suite, payload) + 2;
    *total = op->esp_off + ESP_HDR + sa->suite.iv_len + op->len + sa->suite.icv_len;
    return *total - (v4 ? 0 : V6_HDR) <= 0xffff;
}

static void write_headers(const struct esp_sa *sa, const struct esp_pkt *pkt,
                          const struct esp_look *l, const struct esp_split *s,
                          const struct esp_op *op)
{
    bool udp = sa->encap == ESP_ENCAP_UDP;
    if (sa->mode == ESP_TUNNEL) {
        esp_outer_write(sa, l, pkt->seq, pkt->out_len, pkt->out);
    } else {
        memcpy(pkt->out, pkt->in, s->off);
        esp_header_change(pkt->out, l->version, s->off, s->nh_off, udp ? IPP_UDP : IPP_ESP,
                          pkt->out_len, true);
    }
    if (udp)
        esp_udp_write(sa, pkt->out + op->hdr_len, pkt->out_len - op->hdr_len);
}

/* Padding of 16 octets is written whatever is needed: behind the text the ICV has that much room,
 * and it is written last. */
static void write_text(uint8_t *text, const uint8_t *payload, size_t n, size_t len, uint8_t nh)
{
    static const uint8_t pads[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    memcpy(text, payload, n);
    memcpy(text + n, pads, sizeof pads);
    text[len - 2] = (uint8_t)(len - 2 - n);
    text[len - 1] = nh;
}

/* The IV on the wire, and what the cipher takes. */
static bool write_iv(const struct esp_sa *sa, uint64_t number, const uint8_t *given, uint8_t *wire,
                     uint8_t nonce[16])
{
    if (sa->suite.aead) {
        if (given)
            memcpy(wire, given, GCM_IV);
        else
            put_be64(wire, number ^ sa->iv_xor);
        esp_nonce(sa, wire, nonce);
        return true;
    }
    if (given)
        memcpy(nonce, given, CBC_IV);
    else if (!sa->crypto->make_iv(sa->crypto, number, nonce))
        return false;
    memcpy(wire, nonce, CBC_IV);
    return true;
}

static enum esp_result prepare(struct esp_sa *sa, struct esp_pkt *pkt, const uint8_t *iv,
                               struct esp_op *op)
{
    struct esp_look l;
    struct esp_split s;
    size_t total;
    if (sa->dir != ESP_OUT)
        return ESP_UNSUPPORTED;
    if (!number_fits(sa, pkt->seq))
        return ESP_BAD_NUMBER;
    enum esp_result r = divide(sa, pkt, &l, &s);
    if (r != ESP_OK)
        return r;
    if (!measure(sa, &l, &s, op, &total))
        return ESP_BAD_PACKET;
    if (total > pkt->out_room)
        return ESP_NO_ROOM;
    pkt->out_len = total;
    write_headers(sa, pkt, &l, &s, op);
    uint8_t *esp = pkt->out + op->esp_off, *text = esp + ESP_HDR + sa->suite.iv_len;
    put_be32(esp, sa->spi);
    put_be32(esp + 4, (uint32_t)pkt->seq);
    if (!write_iv(sa, pkt->seq, iv, esp + ESP_HDR, op->iv))
        return ESP_CRYPTO_ERROR;
    esp_write_aad(sa, pkt->seq, op->aad);
    write_text(text, pkt->in + s.off, l.total - s.off, op->len, s.nh);
    op->hdr = esp;
    op->mac_len = ESP_HDR + sa->suite.iv_len + op->len;
    op->src = op->dst = text;
    op->icv = text + op->len;
    op->pkt = pkt;
    return ESP_OK;
}

static void seal(struct esp_sa *sa, struct esp_op *op, unsigned n)
{
    sa->crypto->seal(sa->crypto, op, n);
    for (unsigned i = 0; i < n; i++) {
        struct esp_pkt *pkt = op[i].pkt;
        if (!op[i].ok) {
            OPENSSL_cleanse(pkt->out, pkt->out_len);
            pkt->out_len = 0;
            pkt->result = ESP_CRYPTO_ERROR;
        } else if (sa->encap == ESP_ENCAP_UDP && op[i].version == 6) {
            esp_udp6_checksum(pkt->out, op[i].hdr_len, pkt->out_len);
        }
    }
}

static bool add(struct esp_sa *sa, struct esp_pkt *pkt, const uint8_t *iv, struct esp_op *op)
{
    pkt->out_len = 0;
    pkt->result = prepare(sa, pkt, iv, op);
    if (pkt->result != ESP_OK)
        pkt->out_len = 0;
    return pkt->result == ESP_OK;
}

void esp_protect(struct esp_sa *sa, struct esp_pkt *v, unsigned n)
{
    struct esp_op op[ESP_LANES];
    unsigned held = 0, lanes = sa->crypto->lanes;
    for (unsigned i = 0; i < n; i++) {
        if (!add(sa, &v[i], NULL, &op[held]) || ++held < lanes)
            continue;
        seal(sa, op, held);
        held = 0;
    }
    if (held)
        seal(sa, op, held);
}

void esp_protect_iv(struct esp_sa *sa, struct esp_pkt *pkt, const uint8_t *iv)
{
    struct esp_op op;
    if (add(sa, pkt, iv, &op))
        seal(sa, &op, 1);
}
