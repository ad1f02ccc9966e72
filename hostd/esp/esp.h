/* Software ESP (RFC 4303, RFC 3948, RFC 4106, RFC 3602, RFC 4868) on vectors of packets. Pure: no
 * clock, no sockets, no numbers of its own. The caller gives every packet its 64-bit number (from
 * sa/), and judges the window; this room only transforms.
 *
 * A packet here starts at its IP header: the link header is the data path's business. */
#ifndef SALLYPORT_ESP_H
#define SALLYPORT_ESP_H

#include "hostd/base/ip.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum esp_dir { ESP_OUT = 1, ESP_IN = 2 };

enum esp_mode { ESP_TRANSPORT = 1, ESP_TUNNEL = 2 };

enum esp_encap {
    ESP_ENCAP_NONE = 0,
    ESP_ENCAP_UDP = 1,
    ESP_ENCAP_EITHER = 2 /* inbound only: RFC 7296, 2.23 lets a peer use UDP unasked */
};

/* One row of the suite table: a whole suite, numbered by the IKEv2 transform IDs. Lengths in
 * octets. */
struct esp_suite {
    const char *name; /* "ESP_AES128_GCM16" */
    uint16_t encr_id, integ_id;
    uint8_t encr_len, integ_len, salt_len; /* keys and salt as IKE derives them */
    uint8_t iv_len, icv_len, pad_to;
    bool aead;
};

const struct esp_suite *esp_suite_at(unsigned i); /* NULL past the end */
const struct esp_suite *esp_suite_by_name(const char *name);
const struct esp_suite *esp_suite_by_id(uint16_t encr_id, uint16_t integ_id, unsigned encr_len);

/* Why a suite is refused for good, in words: encryption without integrity, broken or retired
 * algorithms, short tags (RFC 8221). NULL for others, whether the table has them or not. */
const char *esp_suite_refusal(uint16_t encr_id, uint16_t integ_id);

/* Raw keys in wire order; unused octets are zero. iv_key: AES-128 key of the IV of suites with an
 * unpredictable one: IV = AES-ECB(iv_key, 8 zero octets || number), contract 1.1. */
struct esp_keys {
    uint8_t encr[32];
    uint8_t integ[64];
    uint8_t salt[4];
    uint8_t iv_key[16];
};

/* How the outer header is made (RFC 4301 5.1.2, RFC 6040). The zero value is the default. */
enum esp_field_rule { ESP_COPY = 0, ESP_SET = 1, ESP_CLEAR = 2 };

struct esp_header_rules {
    enum esp_field_rule dscp, df, flow_label;
    uint8_t dscp_value; /* 6 bits */
    uint8_t ttl;        /* 0 means 64 */
    uint32_t flow_value;
};

/* Everything that makes an SA of the packet path. src and dst are the outer addresses: of the
 * tunnel, or of the hosts in transport mode. UDP ports are host order. */
struct esp_params {
    enum esp_dir dir;
    enum esp_mode mode;
    enum esp_encap encap;
    bool esn;
    uint32_t spi;
    const struct esp_suite *suite;
    const struct esp_keys *keys; /* copied */
    struct ip_addr src, dst;
    uint16_t udp_sport, udp_dport;
    uint64_t iv_xor;
    struct esp_header_rules rules;
};

enum esp_backend {
    ESP_BACKEND_BEST = 0, /* intel-ipsec-mb where it is built in and the CPU has it, else OpenSSL */
    ESP_BACKEND_OPENSSL,
    ESP_BACKEND_IPSEC_MB
};

struct esp_sa;

/* 0; -ENOTSUP when the back end is not there or lacks the suite; -EINVAL for parameters that do not
 * fit together; -ENOMEM. The packet functions are chosen here, once. Inbound, and in transport
 * mode, the addresses may be "none": only the tunnel's outer header is made from them. Whether a
 * packet's addresses and ports are the SA's is the data path's to judge (RFC 7296, 2.23). SPI 0 is
 * refused, the reserved ones up to 255 are not: allocating is sa/'s business. One SA belongs to one
 * thread at a time; several SAs may run in several threads. */
int esp_sa_new(struct esp_sa **out, const struct esp_params *p, enum esp_backend backend);
/* Wipes the keys. NULL is fine. */
void esp_sa_free(struct esp_sa *sa);
const char *esp_sa_backend(const struct esp_sa *sa);
/* NAT traversal: a new endpoint of the peer, or of ourselves. */
void esp_sa_move(struct esp_sa *sa, const struct ip_addr *src, const struct ip_addr *dst,
                 uint16_t udp_sport, uint16_t udp_dport);

/* The exact length of the outer IP packet for an inner packet of inner_len octets (transport: the
 * packet before ESP), and the largest inner packet whose outer one fits into outer_max (0: none).
 * ip_hdr_len counts in transport mode only: the octets in front of ESP, which are IPv4's header
 * with its options, or ip_info's unfrag_len and a fragment header that may follow. For outbound
 * SAs. */
size_t esp_outer_len(const struct esp_sa *sa, size_t inner_len, size_t ip_hdr_len);
size_t esp_max_inner(const struct esp_sa *sa, size_t outer_max, size_t ip_hdr_len);

/* Every outcome of one packet; esp_result_text gives the words for reports. */
enum esp_result {
    ESP_OK = 0,
    ESP_BAD_PACKET, /* not IP, lengths that do not fit, too short */
    ESP_NO_ROOM,    /* out_room is too small */
    ESP_BAD_NUMBER, /* number 0, or beyond 2^32-1 without ESN; inbound: low half differs */
    ESP_BAD_ICV,
    ESP_BAD_PAD,
    ESP_BAD_NEXT_HEADER,
    ESP_BAD_INNER, /* decrypted, but the inner packet is malformed */
    ESP_BAD_ECN,   /* RFC 6040: CE outside on a packet that is not ECN-capable inside */
    ESP_DUMMY,     /* next header 59: verified, to be dropped (and counts for the window) */
    ESP_UNSUPPORTED,
    ESP_CRYPTO_ERROR,
    ESP_RESULTS
};
const char *esp_result_text(enum esp_result r);
/* Inbound: the ICV was good, so the number counts for the window, whatever else was wrong. */
bool esp_result_verified(enum esp_result r);

/* One packet of a vector. in and out must not overlap. */
struct esp_pkt {
    const uint8_t *in;
    size_t in_len;
    uint8_t *out;
    size_t out_room;
    size_t out_len;
    uint64_t seq;
    enum esp_result result;
    uint8_t next_header; /* inbound, after ESP_OK */
};

/* Outbound: in is the packet as the host made it, complete checksums (octets beyond its IP length
 * are left out); out is the ESP packet from the outer IP header on. A number in v[i].seq is spent
 * whatever the result. In transport mode a fragment is ESP_UNSUPPORTED (RFC 4303, 3.1.1), and so is
 * a routing header with UDP encapsulation. */
void esp_protect(struct esp_sa *sa, struct esp_pkt *v, unsigned n);
/* Inbound: in is the ESP packet from the outer IP header on, unfragmented; seq is the 64-bit number
 * inferred by the window. out_room must be at least the outer packet's length. Nothing is trusted,
 * and nothing handed out, before the ICV is good: with any result but ESP_OK out_len is 0 and out
 * holds no plaintext. (An AEAD decrypts on the way to its verdict, into out; it is wiped then.)
 * In transport mode out has the addresses that came, and TCP's and UDP's checksum as the peer made
 * it: mending it where a NAT changed an address (RFC 3948, 3.1.2) is the data path's business. */
void esp_open(struct esp_sa *sa, struct esp_pkt *v, unsigned n);

/* A look at a packet that may be ours, before any key is touched. */
struct esp_peek {
    uint32_t spi, seq_lo;
    bool udp;
    uint16_t udp_sport, udp_dport;
    size_t esp_off; /* of the SPI, from the IP header */
    size_t esp_len; /* ESP header to ICV, by the IP or UDP length, never the frame's */
};

enum esp_kind {
    ESP_KIND_NONE,      /* neither ESP nor anything on the ports given */
    ESP_KIND_ESP,       /* peek is filled in */
    ESP_KIND_IKE,       /* UDP 500, or UDP 4500 with the non-ESP marker */
    ESP_KIND_KEEPALIVE, /* one octet 0xFF on 4500 */
    ESP_KIND_SHORT      /* ESP or UDP-encapsulated, but cut short */
};
/* For packets from the wire. info is ip_parse_packet's for pkt; a fragment is ESP_KIND_NONE. UDP is
 * judged by its destination port: 500, and natt_port (ours; 0: none). */
enum esp_kind esp_classify(const uint8_t *pkt, const struct ip_info *info, uint16_t natt_port,
                           struct esp_peek *peek);

#endif
