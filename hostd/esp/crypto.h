/* The one interface behind which a library does the cryptography of an SA. Chosen when the SA is
 * made; the packet functions call through it and know no library. */
#ifndef SALLYPORT_ESP_CRYPTO_H
#define SALLYPORT_ESP_CRYPTO_H

#include "hostd/esp/esp.h"

/* Operations handed over in one call, at most. */
enum { ESP_LANES = 16 };

/* The cryptography of one packet. The text is what ESP encrypts: payload, padding, pad length, next
 * header. */
struct esp_op {
    const uint8_t *hdr; /* the ESP header; IV and text (dst sealing, src opening) follow it */
    size_t mac_len;     /* what a MAC covers from hdr on: header, IV, text */
    const uint8_t *src;
    uint8_t *dst;          /* sealing: equal to src; opening: elsewhere, with room for len */
    size_t len;            /* CBC: a multiple of 16 */
    uint8_t *icv;          /* sealing: where it goes, right behind dst; at least 16 octets */
    const uint8_t *icv_in; /* opening: what came */
    uint8_t *scratch;      /* opening: room for mac_len + 4 octets, which may overlap dst */
    uint8_t iv[16];        /* GCM: salt || IV (12 octets); CBC: the IV (16) */
    uint8_t aad[12];       /* AEAD: the additional data. Else its first 4 octets hold the number's
                              high half, which the MAC takes in behind the text when ESN is on */
    bool ok;               /* result: sealed, or ICV good and opened */
    bool fault;            /* result of opening: not the packet's fault, the library failed */

    struct esp_pkt *pkt; /* the packet functions' own */
    uint16_t hdr_len, nh_off, esp_off;
    uint8_t version, tos;
};

/* A key in one back end. Back ends embed it as their first member. */
struct esp_crypto {
    const char *name;
    unsigned lanes; /* how many operations are worth collecting for one call: 1..ESP_LANES */
    void (*seal)(struct esp_crypto *c, struct esp_op *op, unsigned n);
    /* Writes nothing but ciphertext into dst before the ICV is known to be good, except that an
     * AEAD may decrypt on the way; then it wipes dst when the ICV is bad. */
    void (*open)(struct esp_crypto *c, struct esp_op *op, unsigned n);
    /* Suites whose IV must be unpredictable: AES-128-ECB(iv_key, 8 zero octets || number). False on
     * a failure of the library. */
    bool (*make_iv)(struct esp_crypto *c, uint64_t number, uint8_t iv[16]);
    /* Wipes and frees. */
    void (*free)(struct esp_crypto *c);
};

/* 0, -ENOTSUP (library, CPU or suite), -ENOMEM. integ_len octets of keys->integ are the MAC's key;
 * it comes from the suite, except that tests give others (1..64). */
int esp_crypto_openssl(struct esp_crypto **out, const struct esp_suite *s,
                       const struct esp_keys *keys, enum esp_dir dir, bool esn);
int esp_crypto_ipsec_mb(struct esp_crypto **out, const struct esp_suite *s,
                        const struct esp_keys *keys, enum esp_dir dir, bool esn);

/* By the caller's wish; ESP_BACKEND_BEST tries intel-ipsec-mb first. */
int esp_crypto_new(struct esp_crypto **out, enum esp_backend backend, const struct esp_suite *s,
                   const struct esp_keys *keys, enum esp_dir dir, bool esn);

#endif
