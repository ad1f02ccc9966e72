/* Known answers: published keys, one packet a suite and direction, what ESP must make of it. */
#ifndef SALLYPORT_CARD_KAT_H
#define SALLYPORT_CARD_KAT_H

#include <sallyport/card.h>

#define KAT_FRAME_MAX 256u
#define KAT_SEQ       1u

struct kat_packet {
    uint8_t clear[KAT_FRAME_MAX]; /* Ethernet header and inner packet */
    uint8_t esp[KAT_FRAME_MAX];   /* Ethernet header, outer IPv4, ESP */
    size_t clear_len, esp_len;
    size_t esp_off; /* where ESP begins in esp */
};

/* Can we say what this suite must make of a packet? */
bool kat_knows(const struct card_suite *s);
/* An SA record with the published keys. */
void kat_record(uint8_t *rec, const struct card_suite *s, enum cif_dir dir, uint32_t spi,
                uint64_t cookie);
/* Both forms of the packet, number KAT_SEQ. 0, -ENOTSUP, -ENOMEM or -EIO (libcrypto). */
int kat_build(struct kat_packet *p, const struct card_suite *s, uint32_t spi);
/* Tunnel where the suite has it, else transport. */
bool kat_tunnel(const struct card_suite *s);

#endif
