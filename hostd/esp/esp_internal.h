/* What the files of this room share, and what its tests need beside the public header. */
#ifndef SALLYPORT_ESP_INTERNAL_H
#define SALLYPORT_ESP_INTERNAL_H

#include "hostd/esp/crypto.h"
#include "hostd/esp/esp.h"

#include "hostd/base/bytes.h"

enum { ESP_HDR = 8, UDP_HDR = 8, V4_HDR = 20, V6_HDR = 40, GCM_IV = 8, CBC_IV = 16 };

struct esp_sa {
    struct esp_crypto *crypto;
    struct esp_suite suite;
    uint64_t iv_xor;
    uint32_t spi;
    uint8_t dir, mode, encap; /* enum esp_dir, esp_mode, esp_encap */
    bool esn;
    uint8_t salt[4];
    uint16_t udp_sport, udp_dport;
    struct esp_header_rules rules;
    uint8_t outer_len; /* tunnel, outbound: 20 or 40 */
    uint8_t
        outer[V6_HDR];  /* the outer header with all that does not change from packet to packet */
    uint32_t outer_sum; /* of the IPv4 one */
    struct ip_addr src, dst;
};

/* The few fields of an IP header that ESP needs; ext headers are not looked at. */
struct esp_look {
    uint8_t version, tos;
    uint8_t proto; /* IPv6: the first next header */
    bool df;       /* true for IPv6 */
    bool frag;     /* IPv4 only */
    uint32_t flow;
    size_t hdr_len, total;
};
/* False when the header or its lengths do not fit into len. */
bool esp_look(const uint8_t *p, size_t len, struct esp_look *l);

/* Where ESP goes into, or stands in, a packet of transport mode. */
struct esp_split {
    size_t off;    /* of the first octet to protect, or of the ESP (or UDP) header */
    size_t nh_off; /* of the octet that names what stands there */
    uint8_t nh;
    bool routing; /* IPv6: a routing header stands before it */
};
enum esp_result esp_split_out(const uint8_t *p, const struct esp_look *l, struct esp_split *s);

void esp_outer_template(struct esp_sa *sa);
/* Writes sa->outer_len octets. total is the outer packet's length. */
void esp_outer_write(const struct esp_sa *sa, const struct esp_look *inner, uint64_t number,
                     size_t total, uint8_t *out);
/* Gives a header copied in transport mode its new length and next header. fresh: compute the IPv4
 * checksum anew; else it is carried over, so that a wrong one stays wrong. */
void esp_header_change(uint8_t *p, uint8_t version, size_t hdr_len, size_t nh_off, uint8_t nh,
                       size_t total, bool fresh);
void esp_udp_write(const struct esp_sa *sa, uint8_t *udp, size_t len);
/* The UDP checksum of an outer IPv6 packet, over its finished content (RFC 8200, 8.1). */
void esp_udp6_checksum(uint8_t *pkt, size_t udp_off, size_t total);

/* RFC 6040, figure 4: the ECN field of the decapsulated packet, or -1 to drop it. */
int esp_ecn_decap(unsigned inner, unsigned outer);
void esp_ecn_set(uint8_t *pkt, uint8_t version, unsigned ecn);

/* What the ICV covers beside the packet: see struct esp_op. */
static inline void esp_write_aad(const struct esp_sa *sa, uint64_t number, uint8_t aad[12])
{
    if (!sa->suite.aead) {
        put_be32(aad, (uint32_t)(number >> 32));
        return;
    }
    put_be32(aad, sa->spi);
    if (sa->esn)
        put_be64(aad + 4, number);
    else
        put_be32(aad + 4, (uint32_t)number);
}

/* What the cipher takes as its IV, from the one on the wire. Lengths are constants for speed; the
 * suites have no others. */
static inline void esp_nonce(const struct esp_sa *sa, const uint8_t *wire, uint8_t nonce[16])
{
    if (!sa->suite.aead) {
        memcpy(nonce, wire, CBC_IV);
        return;
    }
    memcpy(nonce, sa->salt, sizeof sa->salt);
    memcpy(nonce + sizeof sa->salt, wire, GCM_IV);
}

/* Padding octets for a payload of that length. */
static inline size_t esp_pad_len(const struct esp_suite *s, size_t payload)
{
    return (size_t) - (payload + 2) & (s->pad_to - 1u);
}

/* Protects one packet under an IV given (suite.iv_len octets): for vectors. NULL takes the SA's. */
void esp_protect_iv(struct esp_sa *sa, struct esp_pkt *pkt, const uint8_t *iv);

#endif
