/* What the parser of the pipeline finds in a frame. Pure: bytes in, facts out. */
#ifndef SALLYPORT_HWSIM_PACKET_H
#define SALLYPORT_HWSIM_PACKET_H

#include "hwsim/model/hw_bytes.h"

#define HW_ETHER_IPV4   0x0800u
#define HW_ETHER_IPV6   0x86ddu
#define HW_IPPROTO_ICMP 1u
#define HW_IPPROTO_IPIP 4u
#define HW_IPPROTO_TCP  6u
#define HW_IPPROTO_UDP  17u
#define HW_IPPROTO_IPV6 41u
#define HW_IPPROTO_ESP  50u
#define HW_IPPROTO_AH   51u
#define HW_IPPROTO_NONE 59u

struct hw_frame {
    const uint8_t *data; /* the frame, from its Ethernet header on */
    size_t len;          /* its bytes, Ethernet padding included */
    uint16_t l2_len;     /* Ethernet header and at most two VLAN tags */
    uint8_t family;      /* 4, 6, or 0: not IP, or not well-formed IP */
    uint8_t proto;       /* first header that is not an IPv6 extension header */
    uint16_t l3_len;     /* IP header with its options or extension headers */
    uint16_t ip_len;     /* from the IP header: l3_len and payload, never beyond the frame */
    uint8_t tos, ttl;    /* traffic class, hop limit */
    bool options;        /* IPv4 options or an IPv6 extension header other than fragment */
    bool fragment;       /* a fragment, first or later */
    bool later;          /* a fragment with an offset: no upper header inside */
    const uint8_t *src;  /* 4 or 16 bytes inside data */
    const uint8_t *dst;
};

/* Parses a frame. Always fills *f; f->family is 0 for what is not well-formed IP. A length in the
 * IP header beyond the frame is malformed; a frame beyond that length is Ethernet padding. */
void hw_parse_frame(const uint8_t *data, size_t len, struct hw_frame *f);

/* Parses an IP packet without Ethernet header of the family that its first nibble says. */
void hw_parse_ip(const uint8_t *data, size_t len, struct hw_frame *f);

/* Upper-layer bytes: the payload behind l3_len and its length. */
static inline const uint8_t *hw_payload(const struct hw_frame *f)
{
    return f->data + f->l2_len + f->l3_len;
}

static inline size_t hw_payload_len(const struct hw_frame *f)
{
    return (size_t)(f->ip_len - f->l3_len);
}

/* Internet checksum (RFC 1071): hw_sum adds bytes to a running sum, hw_fold makes the 16-bit ones'
 * complement of it. An odd length is allowed in the last piece only. */
uint32_t hw_sum(uint32_t sum, const uint8_t *p, size_t n);
uint16_t hw_fold(uint32_t sum);
/* Sum of the pseudo header: family 4 or 6, addresses in wire order. */
uint32_t hw_sum_pseudo(unsigned family, const uint8_t *src, const uint8_t *dst, uint32_t len,
                       uint8_t proto);

#endif
