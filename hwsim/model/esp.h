/* ESP as a card does it: one packet, one SA's worth of keys and header rules, no table, no state.
 * Plain code on OpenSSL EVP, written apart from hostd/esp so that each checks the other.
 * RFC 4303 (ESP), 4106 (AES-GCM), 3948 (UDP), 6040 (ECN), contract 1.1, 1.4, 1.5. */
#ifndef SALLYPORT_HWSIM_ESP_H
#define SALLYPORT_HWSIM_ESP_H

#include <openssl/evp.h>

#include "hwsim/model/packet.h"

struct hw_esp;

/* A whole suite (contract 1.1): lengths, and the three operations that make it. */
struct hw_suite {
    const char *name; /* transform name, for dumps */
    uint16_t encr_id, integ_id;
    uint8_t key_len, integ_len, salt_len, icv_len, iv_len, align;
    int (*load)(struct hw_esp *e, const uint8_t *key);
    /* Encrypts buf[0..len) in place, writes the IV of wire form before it and the ICV behind it. */
    int (*seal)(const struct hw_esp *e, uint64_t seq, const uint8_t *aad, size_t aad_len,
                uint8_t *iv, uint8_t *buf, size_t len);
    /* Decrypts in[0..len) to out and compares the ICV at in + len. -EBADMSG: ICV wrong. */
    int (*open)(const struct hw_esp *e, const uint8_t *iv, const uint8_t *aad, size_t aad_len,
                const uint8_t *in, size_t len, uint8_t *out);
};

/* The row for these numbers and key length, or NULL. */
const struct hw_suite *hw_suite_find(unsigned encr_id, unsigned integ_id, unsigned key_len);

enum hw_hdr_dscp { HW_DSCP_COPY, HW_DSCP_SET, HW_DSCP_TABLE };
enum hw_hdr_df { HW_DF_COPY, HW_DF_SET, HW_DF_CLEAR };
enum hw_hdr_ecn { HW_ECN_NORMAL, HW_ECN_COMPAT, HW_ECN_DROP };
enum hw_hdr_flow { HW_FLOW_COPY, HW_FLOW_SET, HW_FLOW_HASH };

struct hw_esp {
    const struct hw_suite *suite;
    EVP_CIPHER_CTX *ctx; /* keyed; freed (and with it wiped) by hw_esp_clear */
    uint8_t salt[4];
    uint64_t iv_xor;
    uint32_t spi;
    bool outbound, esn, tunnel, udp, dec_ttl;
    uint8_t family; /* of the outer header */
    uint8_t ttl, dscp, pad_align;
    uint8_t dscp_mode, df_mode, ecn_mode, flow_mode;
    uint32_t flow_label;
    uint16_t sport, dport;
    uint16_t pmtu;            /* largest outer L3 packet */
    uint8_t src[16], dst[16]; /* outer, wire order, IPv4 in the first four */
};

/* Keys e for its direction (e->suite, e->outbound and e->salt set before). 0 or -errno. */
int hw_esp_key(struct hw_esp *e, const uint8_t *key);
/* Wipes keys; e may be reused after. */
void hw_esp_clear(struct hw_esp *e);

/* A frame in plain form and the room for what comes out. */
struct hw_build {
    uint8_t *out;
    size_t cap, len;
    uint16_t fit; /* with PMTU_EXCEEDED: the longest inner IP packet that fits; 0: none */
};

/* Outbound: the frame (outer Ethernet header and inner IP packet) becomes a protected frame under
 * the number seq. l3_len (transport mode) says where ESP goes; 0: behind all extension headers.
 * Returns a CIF_TXS_ status; nothing was built unless it is CIF_TXS_OK. */
unsigned hw_esp_protect(const struct hw_esp *e, const uint8_t *frame, size_t len, unsigned l3_len,
                        uint64_t seq, struct hw_build *b);

/* Inbound, in three steps, so that the caller can commit the number between them.
 * hw_esp_open: ICV and decryption of the ESP packet at esp[0..len) into plain (as long as esp). 0
 * and *plain_len, or -EBADMSG (ICV), -EINVAL (too short or not aligned), -EIO (algorithm fault). */
int hw_esp_open(const struct hw_esp *e, const uint8_t *esp, size_t len, uint32_t seq_hi,
                uint8_t *plain, size_t *plain_len);
/* hw_esp_strip: checks and takes off padding and next header. 0 or -EBADMSG. */
int hw_esp_strip(const uint8_t *plain, size_t *len, uint8_t *next_header);
/* hw_esp_deliver: builds Ethernet header + inner packet. 0, or -EINVAL (inner header wrong),
 * -EPROTO (next header does not fit the mode), -ECONNABORTED (CE on a not-ECT inner packet, RFC
 * 6040). */
int hw_esp_deliver(const struct hw_esp *e, const struct hw_frame *outer, uint8_t next_header,
                   const uint8_t *plain, size_t len, struct hw_build *b);

/* Sequence number inference (RFC 4303 appendix A2) from the highest accepted number t. */
uint64_t hw_esn_infer(uint64_t t, uint32_t seq_lo, uint32_t window);

#endif
